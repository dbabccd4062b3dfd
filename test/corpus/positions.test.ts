/** Where the diagnostics of a policy point to, through the positions that the parser keeps. */
import { describe, expect, it } from 'vitest';
import { parseManifests } from '../../src/manifest/parse.ts';
import { checkPolicy, type CheckResult } from '../../src/policy/index.ts';

function fromYaml(text: string): CheckResult {
  const { objects } = parseManifests({ file: 'web.yaml', text });
  return checkPolicy(objects[0] as NonNullable<(typeof objects)[0]>);
}

describe('positions', () => {
  it('points at the line of each fault', () => {
    const result = fromYaml(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  labels:
    team: shop
    owner: a b
spec:
  podSelector:
    matchLabels:
      app: web
      tier: front/end
  ingress:
    - ports:
        - port: 0
      from:
        - {}
`);
    expect(
      result.diagnostics.map(({ fieldPath, range, object }) => [
        fieldPath,
        range?.start.line,
        object,
      ]),
    ).toEqual([
      ['metadata.labels', 7, 'NetworkPolicy default/web'],
      ['spec.podSelector.matchLabels', 12, 'NetworkPolicy default/web'],
      ['spec.ingress[0].ports[0].port', 15, 'NetworkPolicy default/web'],
      ['spec.ingress[0].from[0]', 17, 'NetworkPolicy default/web'],
    ]);
  });

  it('S72: warnings stand at the value', () => {
    const result = fromYaml(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  ingress:
    - from:
        - ipBlock:
            cidr: 10.1.2.3/8
`);
    expect(result.policy).toBeDefined();
    expect(result.diagnostics).toMatchObject([
      { code: 'ambiguous-cidr', severity: 'warning', range: { start: { line: 8 } } },
    ]);
  });
});
