import fc from 'fast-check';
import { expect, it } from 'vitest';
import { randomCluster } from '../../test/arbitrary/cluster.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { Protocol } from '../net/connection-set.ts';
import { intersect, isEmptyAddressSet } from '../net/address-set.ts';
import { buildSnapshot } from './build.ts';
import { compareFuture, compareReach, withImagined } from './equal.ts';
import { createEvaluator } from './evaluate.ts';
import { computeReach } from './reach.ts';
import type { Snapshot } from './snapshot.ts';
import type { Endpoint } from './verdict.ts';
import { representatives, worldOf } from './world.ts';

const ports = [1, 53, 79, 80, 81, 82, 443, 8079, 8080, 65535];
const questions: [Protocol | 'other', number?][] = [
  ...(['TCP', 'UDP', 'SCTP'] as const).flatMap((protocol) =>
    ports.map((port): [Protocol, number] => [protocol, port]),
  ),
  ['other'],
];

/** All ends of a snapshot, with an address of each piece of the world that either side tells apart. */
function endsOf(a: Snapshot, b: Snapshot): Endpoint[] {
  const pieces = [a, b].map((side) =>
    computeReach(side).peers.flatMap((peer) => (peer.kind === 'world' ? [peer.addresses] : [])),
  );
  const world = (pieces[0] ?? []).flatMap((one) =>
    (pieces[1] ?? []).map((two) => intersect(intersect(one, two), worldOf(a))),
  );
  return [
    ...a.pods.map((pod): Endpoint => ({ kind: 'pod', pod })),
    ...[...a.nodes.values()].map((node): Endpoint => ({ kind: 'node', node })),
    ...world
      .filter((piece) => !isEmptyAddressSet(piece))
      .flatMap((piece) => representatives(piece))
      .map((address): Endpoint => ({ kind: 'address', address })),
  ];
}

function differs(a: Snapshot, b: Snapshot): boolean {
  const ends = endsOf(a, b);
  const [x, y] = [createEvaluator(a), createEvaluator(b)];
  return ends.some((source) =>
    ends.some(
      (destination) =>
        source !== destination &&
        (source.kind === 'pod' || destination.kind === 'pod') &&
        questions.some(([protocol, port]) => {
          const question = {
            source,
            destination,
            protocol,
            ...(port === undefined ? {} : { port }),
          };
          return x.evaluate(question).outcome !== y.evaluate(question).outcome;
        }),
    ),
  );
}

/** Two snapshots of one cluster that differ in some policies. */
function pairOf(seed: number, gaps: boolean, mask: number): [Snapshot, Snapshot] {
  const { objects } = randomCluster(seed, { gaps, maxPods: 6, maxPolicies: 6 });
  const { snapshot } = buildSnapshot(
    objects.map((object) => ({ object: object as unknown as KubeObject })),
  );
  const policies = snapshot.policies.filter((_, index) => ((mask >> index) & 1) === 0);
  return [snapshot, { ...snapshot, policies }];
}

it('equal says what brute force says, and a witness is one', () => {
  const seen = { equal: 0, different: 0 };
  fc.assert(
    fc.property(fc.integer(), fc.boolean(), fc.integer({ min: 0, max: 63 }), (seed, gaps, mask) => {
      const [a, b] = pairOf(seed, gaps, mask);
      const result = compareReach(computeReach(a), computeReach(b));
      if (result.equal) {
        seen.equal += 1;
        expect(differs(a, b)).toBe(false);
        return;
      }
      seen.different += 1;
      expect(result.reason).toBe('pair');
      if (result.reason !== 'pair') return;
      const { protocol, port, ends } = result.witness;
      const [one, two] = [a, b].map(
        (side, index) =>
          createEvaluator(side).evaluate({
            ...(ends[index] as (typeof ends)[number]),
            protocol,
            ...(port === undefined ? {} : { port }),
          }).outcome,
      );
      expect(one).not.toBe(two);
    }),
    { numRuns: Number(process.env['PODWALL_RUNS'] ?? 60) },
  );
  expect(seen.equal).toBeGreaterThan(5);
  expect(seen.different).toBeGreaterThan(5);
});

it('what is said of pods to come holds: equal for the pods of random clusters, and witnesses differ', () => {
  const seen = { equal: 0, different: 0, 'not-decided': 0 };
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 0, max: 63 }), (seed, mask) => {
      const [a, b] = pairOf(seed, false, mask);
      const result = compareFuture(a, b);
      seen[result.verdict] += 1;
      if (result.verdict === 'equal') expect(differs(a, b)).toBe(false);
      if (result.verdict !== 'different') return;
      const { protocol, port, ends } = result.witness;
      const [one, two] = [a, b].map(
        (side, index) =>
          createEvaluator(withImagined(side, result.imagined)).evaluate({
            ...(ends[index] as (typeof ends)[number]),
            protocol,
            ...(port === undefined ? {} : { port }),
          }).outcome,
      );
      expect(one).not.toBe(two);
    }),
    { numRuns: Number(process.env['PODWALL_RUNS'] ?? 60) },
  );
  expect(seen.equal).toBeGreaterThan(0);
  expect(seen.different).toBeGreaterThan(5);
});
