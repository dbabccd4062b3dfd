import { expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { formatConnections } from '../net/connection-set.ts';
import { buildSnapshot } from './build.ts';
import { computeReach } from './reach.ts';

function pod(name: string, port: number): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', labels: { app: 'web' } },
    spec: { containers: [{ name: 'c', ports: [{ name: 'http', containerPort: port }] }] },
  };
}

const objects: readonly KubeObject[] = [
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
  pod('old', 80),
  pod('new', 8080),
  pod('newer', 8080),
  {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'by-name', namespace: 'shop' },
    spec: {
      podSelector: {},
      ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 'http' }] }],
    },
  },
];

it('S134: pods that differ in a named port alone are told apart, in all pairs too', () => {
  const reach = computeReach(buildSnapshot(objects.map((object) => ({ object }))).snapshot);
  const open = (from: string, to: string): string => {
    const [source = -1, destination = -1] = [from, to].map((name) =>
      reach.positionOf(`shop/${name}`),
    );
    return formatConnections(reach.lookup(source, destination).allowed);
  };
  expect(open('new', 'old')).toBe('TCP 80');
  expect(open('old', 'new')).toBe('TCP 8080');
  expect(open('new', 'newer')).toBe('TCP 8080');
});

it('a hostNetwork pod is no peer of a selector that its labels match, in all pairs too', () => {
  const host = pod('host', 80);
  (host as { spec: { hostNetwork?: boolean } }).spec.hostNetwork = true;
  const { snapshot } = buildSnapshot([...objects, host].map((object) => ({ object })));
  const reach = computeReach(snapshot);
  const [from = -1, plain = -1, to = -1] = ['host', 'new', 'old'].map((name) =>
    reach.positionOf(`shop/${name}`),
  );
  expect(formatConnections(reach.lookup(plain, to).allowed)).toBe('TCP 80');
  expect(formatConnections(reach.lookup(from, to).allowed)).toBe('none');
});
