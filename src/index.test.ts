import { expect, it } from 'vitest';
import * as podwall from './index.ts';

it('answers a question with the public functions alone', () => {
  const text = `
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: shop}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {}}
`;
  const { objects, diagnostics } = podwall.parseManifests({ file: 'shop.yaml', text });
  expect(diagnostics).toEqual([]);
  const { snapshot } = podwall.buildSnapshot(objects);
  const [source, destination] = snapshot.pods.map((pod) => ({ kind: 'pod', pod }) as const);
  if (source === undefined || destination === undefined) throw new Error('two pods were given');
  const verdict = podwall
    .createEvaluator(snapshot)
    .evaluate({ source, destination, protocol: 'TCP', port: 80 });
  expect(verdict.outcome).toBe('denied');
  expect(verdict.ingress.isolatedBy.map((policy) => policy.name)).toEqual(['closed']);
  const document = podwall.toReachability(podwall.computeReach(snapshot));
  expect(document.connections.some(({ dst }) => dst.startsWith('shop/'))).toBe(false);
});
