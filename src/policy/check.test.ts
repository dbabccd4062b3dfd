import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { checkPolicy, policyKindOf, policyKinds } from './index.ts';

type Loose = Record<string, unknown>;

function netpol(
  spec?: unknown,
  metadata: unknown = { name: 'web', namespace: 'shop' },
): KubeObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata,
    ...(spec === undefined ? {} : { spec }),
  } as KubeObject;
}

function hints(spec: unknown): (string | undefined)[] {
  return checkPolicy({ object: netpol(spec) }).diagnostics.map(({ hint }) => hint);
}

describe('policy kinds', () => {
  it('finds a kind by apiVersion and kind, exactly', () => {
    for (const kind of policyKinds) expect(policyKindOf(kind.apiVersion, kind.kind)).toBe(kind);
    expect(policyKindOf('networking.k8s.io/v1', 'networkpolicy')).toBeUndefined();
    expect(policyKindOf('crd.projectcalico.org/v1', 'NetworkPolicy')).toBeUndefined();
    expect(policyKinds).toHaveLength(4);
  });

  it('says when it does not know the kind', () => {
    const object = { ...netpol(), apiVersion: 'projectcalico.org/v3' };
    const result = checkPolicy({ object });
    expect(result.diagnostics.map(({ code, message }) => [code, message])).toEqual([
      ['unknown-kind', 'no matches for kind "NetworkPolicy" in version "projectcalico.org/v3"'],
    ]);
    expect(result.policy).toBeUndefined();
  });
});

describe('checkPolicy', () => {
  it('gives the compiled policy, the stored object and no diagnostics', () => {
    const source = { file: 'a.yaml', start: { line: 3, column: 1 } };
    const result = checkPolicy({ object: netpol({ egress: [{ ports: [{ port: 53 }] }] }), source });
    expect(result.diagnostics).toEqual([]);
    expect(result.errors).toEqual([]);
    expect(result.policy?.ref.source).toBe(source);
    expect(result.defaulted?.spec).toEqual({
      egress: [{ ports: [{ port: 53, protocol: 'TCP' }] }],
      policyTypes: ['Ingress', 'Egress'],
    });
  });

  it('S35: fills in the namespace that the request would give', () => {
    const object = netpol({}, { name: 'web' });
    expect(checkPolicy({ object }).policy?.ref.namespace).toBe('default');
    expect(checkPolicy({ object }, { defaultNamespace: 'prod' }).policy?.ref.key).toBe(
      'NetworkPolicy/prod/web',
    );
    expect(checkPolicy({ object }, { defaultNamespace: '' }).errors).toMatchObject([
      { path: 'metadata.namespace', kind: 'Required' },
    ]);
    expect(object.metadata).toEqual({ name: 'web' });
  });

  it('S4: unknown fields are refused, warned of, or dropped', () => {
    const object = netpol({ ingress: [{ ports: [{ prot: 'UDP' }] }] });
    const strict = checkPolicy({ object });
    expect(strict.policy).toBeUndefined();
    expect(strict.diagnostics).toMatchObject([{ code: 'unknown-field', severity: 'error' }]);
    const warn = checkPolicy({ object }, { fieldValidation: 'warn' });
    expect(warn.diagnostics).toMatchObject([{ code: 'unknown-field', severity: 'warning' }]);
    const ignore = checkPolicy({ object }, { fieldValidation: 'ignore' });
    expect(ignore.diagnostics).toEqual([]);
    for (const { policy, defaulted } of [warn, ignore]) {
      expect(policy?.rules.Ingress[0]?.ports).toMatchObject([
        { protocol: 'TCP', from: 1, to: 65535 },
      ]);
      expect(defaulted?.spec).toMatchObject({ ingress: [{ ports: [{ protocol: 'TCP' }] }] });
    }
  });

  it('S4: the hint says what the object means without the field', () => {
    const dropped = 'A server that is not asked to be strict drops it';
    const rows: [Loose, string][] = [
      [
        { ingress: [{ ports: [{ prot: 'UDP' }] }] },
        `Did you mean "protocol"? ${dropped}, and then the entry allows all TCP ports.`,
      ],
      [
        { ingress: [{ ports: [{ port: 53, protcol: 'UDP' }] }] },
        `Did you mean "protocol"? ${dropped}, and then the entry allows TCP port 53 only.`,
      ],
      [
        { ingress: [{ form: [{ podSelector: {} }] }] },
        `Did you mean "from"? ${dropped}, and then the rule allows everything, for every source.`,
      ],
      [
        { policyTypes: ['Egress'], egress: [{ from: [], ports: [{}] }] },
        `${dropped}, and then the rule allows every destination.`,
      ],
      [
        { podselector: {}, policyTypes: ['Ingress', 'Egress'] },
        `Did you mean "podSelector"? ${dropped}, and then the policy selects every pod of its namespace; no ingress rule is left, so all ingress to the selected pods is denied; no egress rule is left, so all egress of the selected pods is denied.`,
      ],
      [
        { podSelector: { matchLabel: {} }, ingress: [{}] },
        `Did you mean "matchLabels"? ${dropped}, and then the selector is empty and selects every pod.`,
      ],
      [
        { ingress: [{ from: [{ podSelector: {}, namespaceselector: {} }] }] },
        `Did you mean "namespaceSelector"? ${dropped}, and then the peer selects pods of the policy's own namespace only.`,
      ],
      [
        { ingress: [{ from: [{ ipBlock: { cidr: '::/0', exept: [] } }] }] },
        `Did you mean "except"? ${dropped}, and then nothing is taken out of the block.`,
      ],
      [
        { ingress: [{ from: [{ podSelectr: {} }] }] },
        `Did you mean "podSelector"? ${dropped}, and then the peer is empty, which is refused.`,
      ],
    ];
    for (const [spec, hint] of rows) expect(hints(spec)).toEqual([hint]);
    const noSpec = { ...netpol(), specs: {} } as unknown as KubeObject;
    expect(checkPolicy({ object: noSpec }).diagnostics[0]?.hint).toBe(
      `Did you mean "spec"? ${dropped}, and then the object has no spec, so it denies all ingress to every pod of its namespace.`,
    );
  });

  it('S220: namespaces: {namespaceSelector: …} would select every namespace', () => {
    const object = {
      apiVersion: 'policy.networking.k8s.io/v1alpha2',
      kind: 'ClusterNetworkPolicy',
      metadata: { name: 'guard' },
      spec: {
        tier: 'Admin',
        priority: 1,
        subject: { namespaces: { namespaceSelector: { matchLabels: { team: 'a' } } } },
      },
    };
    const [diagnostic] = checkPolicy({ object }).diagnostics;
    expect(diagnostic?.hint).toBe(
      'A server that is not asked to be strict drops it, and then the selector is empty and selects every namespace.',
    );
    const dropped = checkPolicy({ object }, { fieldValidation: 'ignore' });
    expect(dropped.policy?.subject.namespaces).toMatchObject({ selector: { requirements: [] } });
  });

  it('S31: wrong JSON types end the check', () => {
    const result = checkPolicy({
      object: netpol({ ingress: {}, podSelector: { matchLabels: { a: 1 } } }),
    });
    expect(result.diagnostics.map(({ code, message }) => [code, message])).toEqual([
      ['wrong-type', 'spec.ingress: must be a list, not an object'],
      ['wrong-type', 'spec.podSelector.matchLabels[a]: must be a string, not the number 1'],
    ]);
    expect(result.diagnostics[1]?.hint).toMatch(/^Put it in quotes/);
    expect(result).toMatchObject({ errors: [] });
    expect(result.policy).toBeUndefined();
  });

  it('reports other faults beside an unknown field, but not those that follow from it', () => {
    const result = checkPolicy({
      object: netpol({ ingress: [{ from: [{ podSelectr: {} }], ports: [{ port: 0 }] }] }),
    });
    expect(result.diagnostics.map(({ code, fieldPath }) => [code, fieldPath])).toEqual([
      ['unknown-field', 'spec.ingress[0].from[0].podSelectr'],
      ['invalid-object', 'spec.ingress[0].ports[0].port'],
    ]);
  });

  it('marks the server’s remark on rules that were not run as information', () => {
    const object = {
      apiVersion: 'policy.networking.k8s.io/v1alpha2',
      kind: 'ClusterNetworkPolicy',
      metadata: { name: 'guard' },
      spec: {},
    };
    expect(checkPolicy({ object }).diagnostics.map(({ severity }) => severity)).toEqual([
      'error',
      'error',
      'error',
      'info',
    ]);
  });

  it('is not misled by labels named as parts of objects', () => {
    const labels = JSON.parse('{"__proto__": "a", "constructor": "b"}') as Record<string, string>;
    const result = checkPolicy({ object: netpol({ podSelector: { matchLabels: labels } }) });
    expect(result.diagnostics.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^spec.podSelector.matchLabels: Invalid value: "__proto__": name part/),
    ]);
  });

  it('stays quick on objects made to be slow', () => {
    const entries = (count: number, value: string): Record<string, string> =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, `${value}${i}`]));
    const long = 'a-'.repeat(200_000);
    const started = performance.now();
    const bad = checkPolicy({
      object: netpol({ podSelector: { matchLabels: entries(10_000, 'v v') } }),
    });
    expect(bad.diagnostics).toHaveLength(10_000);
    const unknown = checkPolicy({ object: netpol(entries(10_000, '')) });
    expect(unknown.diagnostics).toHaveLength(10_000);
    expect(checkPolicy({ object: netpol({ [long]: 1 }) }).diagnostics).toHaveLength(1);
    expect(checkPolicy({ object: netpol({}, { name: long }) }).diagnostics).toHaveLength(2);
    // Two orders of magnitude above what it takes; what was quadratic took minutes.
    expect(performance.now() - started).toBeLessThan(20_000);
  });
});
