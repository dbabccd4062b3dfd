import { expect, it } from 'vitest';
import { buildSnapshot } from './build.ts';
import { generateCluster, realClusterSize } from './generate.ts';

const count = (objects: readonly { kind: string }[], kind: string): number =>
  objects.filter((object) => object.kind === kind).length;

it('makes the numbers asked for, all valid', () => {
  const objects = generateCluster({ pods: 200, namespaces: 20, policies: 120, seed: 3 });
  expect(['Namespace', 'Pod', 'NetworkPolicy'].map((kind) => count(objects, kind))).toEqual([
    20, 200, 120,
  ]);
  const { snapshot, diagnostics } = buildSnapshot(objects.map((object) => ({ object })));
  expect(diagnostics).toEqual([]);
  expect(snapshot.policies).toHaveLength(120);
});

it('makes the same cluster for the same seed, another for another', () => {
  const make = (seed: number): string =>
    JSON.stringify(generateCluster({ pods: 50, namespaces: 5, policies: 20, seed }));
  expect(make(1)).toBe(make(1));
  expect(make(1)).not.toBe(make(2));
});

it('has the measured shape in the real profile', () => {
  const objects = generateCluster({ ...realClusterSize, profile: 'real' });
  expect(['Namespace', 'Pod', 'NetworkPolicy'].map((kind) => count(objects, kind))).toEqual([
    604, 5413, 13678,
  ]);
  const { snapshot } = buildSnapshot(objects.map((object) => ({ object })));
  const perNode = new Map<string, number>();
  for (const { node = '' } of snapshot.pods) perNode.set(node, (perNode.get(node) ?? 0) + 1);
  expect(median([...perNode.values()])).toBe(6);
  const peers = snapshot.policies.map(({ rules }) =>
    [...rules.Ingress, ...rules.Egress].flatMap((rule) => (rule.peers === 'any' ? [] : rule.peers)),
  );
  expect(median(peers.map((list) => list.length))).toBe(1);
  const byApp = new Map<string, number>();
  for (const { namespace, labels } of snapshot.pods) {
    const key = `${namespace}/${labels['app'] ?? ''}`;
    byApp.set(key, (byApp.get(key) ?? 0) + 1);
  }
  const found = peers.flat().map((peer) => {
    if (peer.kind !== 'pods') return 0;
    const { namespaces, pods } = peer.matcher;
    const name =
      'name' in namespaces ? namespaces.name : namespaces.selector.requirements[0]?.values[0];
    return byApp.get(`${name ?? ''}/${pods.requirements[0]?.values[0] ?? ''}`) ?? 0;
  });
  expect(median(found)).toBe(2);
});

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}
