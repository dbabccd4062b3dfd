import fc from 'fast-check';
import { expect, it } from 'vitest';
import { randomCluster } from '../../test/arbitrary/cluster.ts';
import type { KubeObject } from '../k8s/types.ts';
import { hasConnection } from '../net/connection-set.ts';
import type { ConnectionSet, Protocol } from '../net/connection-set.ts';
import { toRanges } from '../net/address-set.ts';
import { buildSnapshot } from './build.ts';
import { createAddressBook } from './ends.ts';
import { createEvaluator } from './evaluate.ts';
import { computeReach } from './reach.ts';
import type { Reach, ReachPeer } from './reach.ts';
import type { Settings } from './snapshot.ts';
import type { Endpoint, Outcome } from './verdict.ts';

const settings: fc.Arbitrary<Partial<Settings>> = fc.record(
  {
    hostNetworkPods: fc.constantFrom('node', 'unknown'),
    podToOwnNode: fc.constantFrom('policy', 'allow', 'unknown'),
    ipBlockAddress: fc.constantFrom('backend', 'unknown'),
    otherProtocols: fc.constantFrom('portless-rules', 'allow', 'deny', 'unknown'),
    terminatedPods: fc.constantFrom('ignore', 'include'),
    equalPriority: fc.constantFrom('name', 'unknown'),
    baselineSkip: fc.constantFrom('per-direction', 'per-pod', 'unknown'),
  },
  { requiredKeys: [] },
);

const questions: [Protocol | 'other', number?][] = [
  ...([1, 53, 79, 80, 81, 82, 443, 8079, 8080, 65535] as const).flatMap(
    (port): [Protocol, number][] => [
      ['TCP', port],
      ['UDP', port],
    ],
  ),
  ['SCTP', 80],
  ['other'],
];

function outcomeIn(
  allowed: ConnectionSet,
  unknown: ConnectionSet,
  protocol: Protocol | 'other',
  port?: number,
): Outcome {
  if (hasConnection(allowed, protocol, port)) return 'allowed';
  return hasConnection(unknown, protocol, port) ? 'unknown' : 'denied';
}

/** Every way to name the peer to the evaluator. */
function endpointsOf(reach: Reach, peer: ReachPeer): Endpoint[] {
  if (peer.kind === 'pod') return [{ kind: 'pod', pod: peer.pod }];
  if (peer.kind === 'node') return [{ kind: 'node', node: peer.node }];
  const book = createAddressBook(reach.snapshot);
  return toRanges(peer.addresses)
    .flatMap(({ from, to }) => [from, to])
    .filter(
      ({ value }) => !book.pods.has(value) && !book.nodes.has(value) && !book.hostPods.has(value),
    )
    .map((address) => ({ kind: 'address', address }));
}

/** Compares every pair that has a pod in it; returns how many points that was. */
export function compare(reach: Reach): number {
  const evaluator = createEvaluator(reach.snapshot);
  const endpoints = reach.peers.map((peer) => endpointsOf(reach, peer));
  let points = 0;
  for (const [i, source] of reach.peers.entries())
    for (const [j, destination] of reach.peers.entries()) {
      if (source.kind !== 'pod' && destination.kind !== 'pod') continue;
      const { allowed, unknown } = reach.lookup(i, j);
      for (const from of endpoints[i] ?? [])
        for (const to of endpoints[j] ?? [])
          for (const [protocol, port] of questions) {
            const expected = evaluator.evaluate({
              source: from,
              destination: to,
              protocol,
              ...(port === undefined ? {} : { port }),
            });
            points++;
            const found = outcomeIn(allowed, unknown, protocol, port);
            if (found !== expected.outcome)
              throw new Error(
                `${JSON.stringify([from, to, protocol, port], (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}: evaluate says ${JSON.stringify(expected, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value), 1)}, reach says ${found}`,
              );
          }
    }
  return points;
}

it('agrees with the evaluator at every point of random clusters', () => {
  let points = 0;
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0x7fffffff }), settings, (seed, chosen) => {
      const { objects } = randomCluster(seed);
      const { snapshot } = buildSnapshot(
        objects.map((object) => ({ object: object as KubeObject })),
        { settings: chosen },
      );
      points += compare(computeReach(snapshot));
    }),
    { numRuns: Number(process.env['PODWALL_RUNS'] ?? 60) },
  );
  expect(points).toBeGreaterThan(10_000);
});

it('lists exactly the pairs of which something is allowed or unknown', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0x7fffffff }), (seed) => {
      const { objects } = randomCluster(seed);
      const { snapshot } = buildSnapshot(
        objects.map((object) => ({ object: object as KubeObject })),
      );
      const reach = computeReach(snapshot);
      const listed = new Map<string, string>();
      for (const { source, destination, allowed, unknown } of reach.pairs())
        listed.set(
          `${reach.peers.indexOf(source)}>${reach.peers.indexOf(destination)}`,
          JSON.stringify([allowed, unknown]),
        );
      const expected = new Map<string, string>();
      for (const [i, source] of reach.peers.entries())
        for (const [j, destination] of reach.peers.entries()) {
          if (i === j || (source.kind !== 'pod' && destination.kind !== 'pod')) continue;
          const { allowed, unknown } = reach.lookup(i, j);
          const text = JSON.stringify([allowed, unknown]);
          if (!text.includes('1') && !text.includes('true') && !/\d/.test(text)) continue;
          expected.set(`${i}>${j}`, text);
        }
      expect(listed).toEqual(expected);
    }),
    { numRuns: 30 },
  );
});
