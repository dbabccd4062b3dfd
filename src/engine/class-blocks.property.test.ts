import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomCluster } from '../../test/arbitrary/cluster.ts';
import type { KubeObject } from '../k8s/types.ts';
import { formatConnections, isNoConnections } from '../net/connection-set.ts';
import { buildSnapshot } from './build.ts';
import { generateCluster } from './generate.ts';
import { computeReach } from './reach.ts';
import type { PairCounts, PairResult, Reach, ReachPeer } from './reach.ts';
import type { Settings } from './snapshot.ts';
import { updateReach } from './update-reach.ts';

const runs = Number(process.env['PODWALL_RUNS'] ?? 60);
const seeds = fc.integer({ min: 0, max: 0x7fffffff });
const settings: fc.Arbitrary<Partial<Settings>> = fc.record(
  {
    hostNetworkPods: fc.constantFrom('node', 'unknown'),
    podToOwnNode: fc.constantFrom('policy', 'allow', 'unknown'),
    ipBlockAddress: fc.constantFrom('backend', 'unknown'),
    terminatedPods: fc.constantFrom('ignore', 'include'),
    baselineSkip: fc.constantFrom('per-direction', 'per-pod', 'unknown'),
  },
  { requiredKeys: [] },
);

function reachOf(objects: readonly unknown[], chosen: Partial<Settings> = {}): Reach {
  const { snapshot } = buildSnapshot(
    objects.map((object) => ({ object: object as KubeObject })),
    { settings: chosen },
  );
  return computeReach(snapshot);
}

function textOf({ allowed, unknown }: PairResult): string {
  return `${formatConnections(allowed)} | ${formatConnections(unknown)}`;
}

const closed = 'none | none';

function counted(reach: Reach): PairCounts {
  const { pods } = reach.statistics;
  const counts = { open: 0, unknown: 0, total: pods * (pods - 1) };
  for (let i = 0; i < pods; i++)
    for (let j = 0; j < pods; j++) {
      if (i === j) continue;
      const { allowed, unknown } = reach.lookup(i, j);
      if (!isNoConnections(allowed)) counts.open++;
      else if (!isNoConnections(unknown)) counts.unknown++;
    }
  return counts;
}

/** Whether the node of one may be the other, or hold its address: such pairs are not in blocks. */
function mayBeNear(a: ReachPeer, b: ReachPeer): boolean {
  if (a.kind === 'world' || b.kind === 'world') return false;
  const nodeOf = (peer: ReachPeer): string | undefined =>
    peer.kind === 'node' ? peer.node.name : peer.kind === 'pod' ? peer.pod.node : undefined;
  return nodeOf(a) === undefined || nodeOf(b) === undefined || nodeOf(a) === nodeOf(b);
}

function isNodeTraffic(peer: ReachPeer): boolean {
  return peer.kind === 'node' || (peer.kind === 'pod' && peer.pod.hostNetwork);
}

/** Holds blocks to single questions; returns how many pairs they list. */
function holdBlocks(reach: Reach, explained: boolean): number {
  const positions = new Map(reach.peers.map((peer, position) => [peer, position]));
  const inBlocks = new Map<string, string>();
  for (const block of reach.blocks()) {
    expect(block.size).toBe(block.sources.length * block.destinations.length);
    const reasons = explained ? JSON.stringify(block.explain(), plain) : '';
    for (const source of block.sources)
      for (const destination of block.destinations) {
        const [i = 0, j = 0] = [positions.get(source), positions.get(destination)];
        const pair = `${i}>${j}`;
        expect(inBlocks.has(pair), `${pair} in two blocks`).toBe(false);
        inBlocks.set(pair, textOf(block));
        if (!explained || i === j) continue;
        if (!isNear(source, destination))
          expect(JSON.stringify(reach.explain(i, j), plain), pair).toBe(reasons);
      }
  }
  for (const [i, source] of reach.peers.entries())
    for (const [j, destination] of reach.peers.entries()) {
      if (i === j || (source.kind !== 'pod' && destination.kind !== 'pod')) continue;
      if (isNear(source, destination)) continue;
      expect(inBlocks.get(`${i}>${j}`) ?? closed, `${i}>${j}`).toBe(textOf(reach.lookup(i, j)));
    }
  return inBlocks.size;
}

function isNear(a: ReachPeer, b: ReachPeer): boolean {
  return (isNodeTraffic(a) || isNodeTraffic(b)) && mayBeNear(a, b);
}

function plain(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

/** Namespaces admit those of their team: every leg has a large set of its own. */
function teams(namespaces: number): object[] {
  return Array.from({ length: namespaces }, (_, n) => {
    const own = `n${n}`;
    const namespaceSelector = { matchLabels: { team: `t${n % 2}` } };
    const podAt = (p: number): object => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { namespace: own, name: `p${p}`, labels: { app: `a${p}` } },
      spec: { containers: [] },
    });
    return [
      {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: own, labels: namespaceSelector.matchLabels },
      },
      podAt(0),
      podAt(1),
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { namespace: own, name: 'team' },
        spec: {
          podSelector: { matchLabels: { app: 'a0' } },
          policyTypes: ['Ingress', 'Egress'],
          ingress: [
            { from: [{ namespaceSelector }], ports: [{ port: 80 }, { port: 81 }] },
            { from: [{ podSelector: {} }], ports: [{ port: 90 }] },
          ],
          egress: [{ to: [{ namespaceSelector }], ports: [{ port: 80 }] }],
        },
      },
    ];
  }).flat();
}

describe('count', () => {
  it('equals one question per pair where every leg has a large set', () => {
    const reach = reachOf(teams(60));
    expect(reach.count()).toEqual(counted(reach));
    const { lookup } = reach;
    const at = (id: string): number => reach.positionOf(id) ?? -1;
    expect(textOf(lookup(at('n0/p0'), at('n2/p0')))).toBe('TCP 80 | none');
    expect(textOf(lookup(at('n0/p0'), at('n1/p0')))).toBe('none | none');
    expect(textOf(lookup(at('n0/p1'), at('n0/p0')))).toBe('TCP 80-81,90 | none');
    expect(holdBlocks(reach, true)).toBeGreaterThan(60 * 30);
  });

  it('equals one question per pair, on random clusters under random settings', () => {
    fc.assert(
      fc.property(seeds, settings, (seed, chosen) => {
        const reach = reachOf(randomCluster(seed).objects, chosen);
        expect(reach.count()).toEqual(counted(reach));
      }),
      { numRuns: runs * 4 },
    );
  });

  it('equals one question per pair where sets are large', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const reach = reachOf(generateCluster({ pods: 260, namespaces: 80, policies: 60, seed }));
        const counts = reach.count();
        expect(counts).toEqual(counted(reach));
        expect(counts.open).toBeGreaterThan(0);
      }),
      { numRuns: Math.ceil(runs / 20) },
    );
  });

  it('equals one question per pair after updates', () => {
    fc.assert(
      fc.property(seeds, seeds, fc.nat(), (seed, otherSeed, draw) => {
        let reach = reachOf(generateCluster({ pods: 40, namespaces: 6, policies: 14, seed }));
        const other = reachOf(
          generateCluster({ pods: 40, namespaces: 6, policies: 14, seed: otherSeed }),
        ).snapshot;
        const policy = other.policies[draw % other.policies.length];
        if (policy !== undefined)
          reach = updateReach(reach, { kind: 'policy', key: policy.ref.key, policy });
        const pod = reach.snapshot.pods[draw % reach.snapshot.pods.length];
        const labels = other.pods[draw % other.pods.length]?.labels ?? {};
        if (pod !== undefined)
          reach = updateReach(reach, { kind: 'pod-labels', id: pod.id, labels });
        expect(reach.count()).toEqual(counted(reach));
      }),
      { numRuns: runs },
    );
  });
});

describe('blocks', () => {
  it('hold each pair that is not closed once, as lookup answers and explains it', () => {
    let pairs = 0;
    fc.assert(
      fc.property(seeds, settings, (seed, chosen) => {
        pairs += holdBlocks(reachOf(randomCluster(seed).objects, chosen), true);
      }),
      { numRuns: runs },
    );
    expect(pairs).toBeGreaterThan(runs * 10);
  });

  it('the same where sets are large', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const objects = generateCluster({ pods: 160, namespaces: 60, policies: 40, seed });
        expect(holdBlocks(reachOf(objects), false)).toBeGreaterThan(1000);
      }),
      { numRuns: Math.ceil(runs / 20) },
    );
  });
});
