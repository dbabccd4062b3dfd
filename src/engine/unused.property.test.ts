import fc from 'fast-check';
import { expect, it } from 'vitest';
import { randomCluster } from '../../test/arbitrary/cluster.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { Protocol } from '../net/connection-set.ts';
import { intersect, isEmptyAddressSet, toRanges, type AddressSet } from '../net/address-set.ts';
import type { CompiledPolicy, CompiledRule, Direction } from '../policy/compiled.ts';
import { buildSnapshot } from './build.ts';
import { createAddressBook } from './ends.ts';
import { createEvaluator } from './evaluate.ts';
import { computeReach } from './reach.ts';
import type { Settings, Snapshot } from './snapshot.ts';
import type { UnusedFinding } from './unused-finding.ts';
import { findUnused } from './unused.ts';
import type { Endpoint } from './verdict.ts';

const questions: [Protocol | 'other', number?][] = [
  ...([1, 53, 79, 80, 81, 82, 443, 8079, 8080, 65535] as const).flatMap(
    (port): [Protocol, number][] => [
      ['TCP', port],
      ['UDP', port],
      ['SCTP', port],
    ],
  ),
  ['other'],
];

const settings: fc.Arbitrary<Partial<Settings>> = fc.record(
  {
    podToOwnNode: fc.constantFrom('policy', 'allow'),
    otherProtocols: fc.constantFrom('portless-rules', 'allow', 'deny'),
    terminatedPods: fc.constantFrom('ignore', 'include'),
    baselineSkip: fc.constantFrom('per-direction', 'per-pod'),
  },
  { requiredKeys: [] },
);

/** Pods, nodes, and an address of every part of the world that policies tell apart. */
function endpointsOf(snapshot: Snapshot): Endpoint[] {
  const book = createAddressBook(snapshot);
  return computeReach(snapshot).peers.flatMap((peer): Endpoint[] => {
    if (peer.kind === 'pod') return [{ kind: 'pod', pod: peer.pod }];
    if (peer.kind === 'node') return [{ kind: 'node', node: peer.node }];
    return toRanges(peer.addresses)
      .flatMap(({ from, to }) => [from, to])
      .filter(
        ({ value }) => !book.pods.has(value) && !book.nodes.has(value) && !book.hostPods.has(value),
      )
      .slice(0, 2)
      .map((address) => ({ kind: 'address', address }));
  });
}

/** Every verdict there is, and which pods are isolated, as one text per pair. */
function answers(snapshot: Snapshot, ends: readonly Endpoint[]): string[] {
  const evaluator = createEvaluator(snapshot);
  const found: string[] = [];
  for (const source of ends)
    for (const destination of ends) {
      if (source.kind !== 'pod' && destination.kind !== 'pod') continue;
      for (const [protocol, port] of questions)
        found.push(
          evaluator.evaluate({
            source,
            destination,
            protocol,
            ...(port === undefined ? {} : { port }),
            ...(source === destination ? { throughService: true } : {}),
          }).outcome,
        );
    }
  return found;
}

/** Every pair on all ports: what matters may matter on a port that nobody asks for. */
function allPairs(snapshot: Snapshot, pieces: readonly AddressSet[]): string {
  const reach = computeReach(snapshot);
  const count = snapshot.pods.length + snapshot.nodes.size;
  const world = pieces.map((piece) =>
    reach.peers.findIndex(
      (peer) => peer.kind === 'world' && !isEmptyAddressSet(intersect(peer.addresses, piece)),
    ),
  );
  const positions = [...reach.peers.keys()].slice(0, count).concat(world);
  return JSON.stringify(
    positions.map((source) =>
      positions.map((destination) =>
        source === destination || (source >= count && destination >= count)
          ? []
          : reach.lookup(source, destination),
      ),
    ),
  );
}

function isolation(snapshot: Snapshot): string[] {
  const evaluator = createEvaluator(snapshot);
  return snapshot.pods.flatMap((pod) =>
    (['Ingress', 'Egress'] as const).map((direction) =>
      String(evaluator.policiesOf(pod, direction).some(({ tier }) => tier === 'NetworkPolicy')),
    ),
  );
}

function without(snapshot: Snapshot, findings: readonly UnusedFinding[]): Snapshot {
  const policies = snapshot.policies.flatMap((policy): CompiledPolicy[] => {
    const own = findings.filter((finding) => finding.policy.key === policy.ref.key);
    if (own.some(({ path }) => path === undefined)) return [];
    const keep = (direction: Direction): CompiledRule[] =>
      policy.rules[direction]
        .filter((rule) => !own.some(({ path }) => path === rule.path))
        .map((rule) =>
          rule.peers === 'any'
            ? rule
            : {
                ...rule,
                peers: rule.peers.filter((peer) => !own.some(({ path }) => path === peer.path)),
              },
        );
    return [{ ...policy, rules: { Ingress: keep('Ingress'), Egress: keep('Egress') } }];
  });
  return { ...snapshot, policies };
}

it('what is found can go, alone and all together; a policy that is not found matters', () => {
  fc.assert(
    fc.property(fc.integer(), fc.boolean(), settings, (seed, gaps, chosen) => {
      const cluster = randomCluster(seed, { gaps, maxPods: 6, maxPolicies: 7 });
      const { snapshot } = buildSnapshot(
        cluster.objects.map((object) => ({ object: object as unknown as KubeObject })),
        { settings: chosen },
      );
      const { findings, notJudged } = findUnused(snapshot);
      const ends = endpointsOf(snapshot);
      const wanted = answers(snapshot, ends);
      const pieces = computeReach(snapshot).peers.flatMap((peer) =>
        peer.kind === 'world' ? [peer.addresses] : [],
      );
      const pairs = allPairs(snapshot, pieces);
      const isolated = isolation(snapshot);
      for (const finding of findings) {
        const reduced = without(snapshot, [finding]);
        const name = `${finding.kind} ${finding.policy.key} ${finding.path ?? ''}`;
        expect(answers(reduced, ends).join() === wanted.join(), name).toBe(true);
        expect(isolation(reduced)).toEqual(isolated);
      }
      const bare = without(snapshot, findings);
      expect(answers(bare, ends).join() === wanted.join(), 'all together').toBe(true);
      expect(isolation(bare)).toEqual(isolated);
      for (const policy of bare.policies) {
        if (notJudged.some((one) => one.policy.key === policy.ref.key)) continue;
        const changes = [snapshot, bare].some((base) => {
          const less = {
            ...base,
            policies: base.policies.filter(({ ref }) => ref.key !== policy.ref.key),
          };
          return (
            allPairs(less, pieces) !== pairs ||
            isolation(less).join() !== isolated.join() ||
            answers(less, ends).join() !== wanted.join()
          );
        });
        expect(changes, `${policy.ref.key} matters`).toBe(true);
      }
    }),
    { numRuns: Number(process.env['PODWALL_RUNS'] ?? 30) },
  );
});

it('meets every kind in random clusters, or the property says nothing of it', () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 150; seed++) {
    const { objects } = randomCluster(seed, { maxPods: 6, maxPolicies: 7 });
    const { snapshot } = buildSnapshot(
      objects.map((object) => ({ object: object as unknown as KubeObject })),
    );
    for (const { kind } of findUnused(snapshot).findings) seen.add(kind);
  }
  expect([...seen].toSorted()).toEqual([
    'no-pair-changes',
    'peer-matches-nothing',
    'peer-redundant',
    'policy-redundant',
    'rule-matches-nothing',
    'rule-redundant',
    'selects-no-pod',
    'shadowed',
  ]);
});
