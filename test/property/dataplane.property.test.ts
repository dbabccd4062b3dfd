/**
 * Compiled node programs against the engine on random clusters, and every state between two
 * transactions of an update against the states before and after.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { compileNode } from '../../src/dataplane/compile.ts';
import type { DataplaneOptions, NodeProgram } from '../../src/dataplane/model.ts';
import { applyOperations } from '../../src/dataplane/operations.ts';
import { plan } from '../../src/dataplane/plan.ts';
import { judgeLeg, simulate } from '../../src/dataplane/simulate.ts';
import type { Packet } from '../../src/dataplane/simulate.ts';
import { copyTable, emptyTable } from '../../src/dataplane/state.ts';
import type { TableState } from '../../src/dataplane/state.ts';
import { buildSnapshot } from '../../src/engine/build.ts';
import { createEvaluator } from '../../src/engine/evaluate.ts';
import type { PodInfo, Settings, Snapshot } from '../../src/engine/snapshot.ts';
import type { Outcome } from '../../src/engine/verdict.ts';
import { formatAddress, parseAddress, sameAddress } from '../../src/net/address.ts';
import type { Address } from '../../src/net/address.ts';
import { askedPorts, clusterArbitrary } from '../arbitrary/cluster.ts';
import type { RandomCluster } from '../arbitrary/cluster.ts';
import { pick, seededDraw } from '../arbitrary/draw.ts';
import type { Draw } from '../arbitrary/draw.ts';

const { PODWALL_CASES, PODWALL_SEED } = process.env;
const seed = PODWALL_SEED === undefined ? Date.now() % 0x7fffffff : Number(PODWALL_SEED);
const clusters = Number(PODWALL_CASES ?? 600);
const packetsPerCluster = 60;

type Objects = RandomCluster['objects'];

function snapshotOf(objects: Objects, settings: Partial<Settings>): Snapshot {
  return buildSnapshot(
    objects.map((object) => ({ object: structuredClone(object) as never })),
    { settings },
  ).snapshot;
}

/** Pods with an address of their own that no other pod has. */
function owners(snapshot: Snapshot): Map<string, PodInfo> {
  const found = new Map<string, PodInfo>();
  for (const pod of snapshot.pods)
    if (!pod.hostNetwork)
      for (const address of pod.addresses) {
        const text = formatAddress(address);
        const held = found.get(text);
        const finished = held?.phase === 'Succeeded' || held?.phase === 'Failed';
        if (held === undefined || finished) found.set(text, pod);
      }
  return found;
}

function randomPacket(draw: Draw, addresses: readonly Address[]): Packet | undefined {
  const source = pick(draw, addresses);
  const destination = pick(draw, addresses);
  if (source.family !== destination.family || sameAddress(source, destination)) return undefined;
  const protocol = pick(draw, ['TCP', 'UDP', 'SCTP', 'other'] as const);
  return {
    source,
    destination,
    protocol,
    ...(protocol === 'other' ? {} : { port: pick(draw, askedPorts) }),
  };
}

function addressesOf(cluster: RandomCluster, snapshot: Snapshot): Address[] {
  return [...cluster.addresses, ...cluster.outside]
    .flatMap((text) => parseAddress(text) ?? [])
    .concat(snapshot.pods.flatMap((pod) => (pod.hostNetwork ? [] : pod.addresses)));
}

/** What the nodes that a packet crosses do with it, together. */
function crossed(
  programs: ReadonlyMap<string, NodeProgram>,
  snapshot: Snapshot,
  owner: ReadonlyMap<string, PodInfo>,
  packet: Packet,
): 'allowed' | 'denied' {
  const from = owner.get(formatAddress(packet.source))?.node;
  const to = owner.get(formatAddress(packet.destination))?.node;
  const isNode = (name: string | undefined, address: Address): boolean =>
    (snapshot.nodes.get(name ?? '')?.addresses ?? []).some((own) => sameAddress(own, address));
  for (const name of new Set([from, to])) {
    const program = name === undefined ? undefined : programs.get(name);
    if (program === undefined) continue;
    const path =
      name === from && isNode(name, packet.destination)
        ? 'from-pod-to-node'
        : name === to && isNode(name, packet.source)
          ? 'from-node'
          : 'forward';
    if (simulate(program, packet, path).outcome === 'denied') return 'denied';
  }
  return 'allowed';
}

it(`node programs decide as the engine does (seed ${seed})`, () => {
  let points = 0;
  let denied = 0;
  const options: Partial<DataplaneOptions> = { unknownPod: 'allow' };
  const settings = fc.record({
    otherProtocols: fc.constantFrom<Settings['otherProtocols']>('portless-rules', 'allow', 'deny'),
    terminatedPods: fc.constantFrom<Settings['terminatedPods']>('ignore', 'include'),
    baselineSkip: fc.constantFrom<Settings['baselineSkip']>('per-direction', 'per-pod'),
    podToOwnNode: fc.constantFrom<Settings['podToOwnNode']>('policy', 'allow'),
  });
  fc.assert(
    fc.property(
      clusterArbitrary({ gaps: false }),
      settings,
      fc.integer({ min: 0, max: 0x7fffffff }),
      (cluster, chosen, start) => {
        const snapshot = snapshotOf(cluster.objects, chosen);
        const evaluator = createEvaluator(snapshot);
        const nodes = new Set([
          ...snapshot.nodes.keys(),
          ...snapshot.pods.flatMap(({ node }) => node ?? []),
        ]);
        const programs = new Map(
          [...nodes].map((name) => [name, compileNode(snapshot, name, options)]),
        );
        const owner = owners(snapshot);
        const addresses = addressesOf(cluster, snapshot);
        const draw = seededDraw(start);
        for (let i = 0; i < packetsPerCluster; i++) {
          const packet = randomPacket(draw, addresses);
          if (packet === undefined) continue;
          const from = owner.get(formatAddress(packet.source));
          // A pod's way to itself over its other address never leaves the pod.
          if (from !== undefined && from === owner.get(formatAddress(packet.destination))) continue;
          const verdict = evaluator.evaluate({
            source: { kind: 'address', address: packet.source },
            destination: { kind: 'address', address: packet.destination },
            protocol: packet.protocol,
            ...(packet.port === undefined ? {} : { port: packet.port }),
          });
          if (verdict.outcome === 'unknown') continue;
          points++;
          if (verdict.outcome === 'denied') denied++;
          const found: Outcome = crossed(programs, snapshot, owner, packet);
          if (found !== verdict.outcome)
            throw new Error(
              `${formatAddress(packet.source)} -> ${formatAddress(packet.destination)} ${packet.protocol} ${packet.port}: ` +
                `programs ${found}, engine ${verdict.outcome} (egress ${verdict.egress.outcome} ${verdict.egress.reason}, ingress ${verdict.ingress.outcome} ${verdict.ingress.reason}), settings ${JSON.stringify(chosen)}\n` +
                JSON.stringify(cluster.objects, undefined, 1),
            );
        }
      },
    ),
    { seed, numRuns: clusters, endOnFailure: true },
  );
  console.info(`programs and engine agree on ${points} packets, ${denied} of them denied`);
  expect(denied).toBeGreaterThan(points / 50);
});

/** Another cluster a few events later: labels flip, policies and pods go. */
function laterObjects(draw: Draw, objects: Objects): Objects {
  const labelled = objects.filter(({ metadata }) => metadata?.labels !== undefined);
  const next = objects.map((object) => structuredClone(object));
  // Many at a time, as when events are gathered: an update that does several things at once.
  for (let events = draw.integer(1, 8); events > 0; events--) {
    const at = draw.integer(0, next.length - 1);
    const object = next[at];
    if (object === undefined || object.kind === 'Node') continue;
    const flips = object.kind === 'Namespace' || (object.kind === 'Pod' && draw.integer(0, 3) > 0);
    if (!flips) next.splice(at, 1);
    else if (labelled.length > 0) {
      const labels = structuredClone(pick(draw, labelled).metadata?.labels);
      next[at] = { ...object, metadata: { ...object.metadata, labels } } as Objects[number];
    }
  }
  return next;
}

it(`no state between two transactions is laxer than both ends (seed ${seed})`, () => {
  let states = 0;
  let checked = 0;
  fc.assert(
    fc.property(
      clusterArbitrary({ gaps: false, maxPods: 10 }),
      fc.integer({ min: 0, max: 0x7fffffff }),
      fc.boolean(),
      (cluster, start, back) => {
        const draw = seededDraw(start);
        const later = laterObjects(draw, cluster.objects);
        const [first, second] = back ? [later, cluster.objects] : [cluster.objects, later];
        const before = snapshotOf(first, {});
        const after = snapshotOf(second, {});
        const addresses = addressesOf(cluster, before);
        const packets = Array.from({ length: 30 }, () => randomPacket(draw, addresses)).filter(
          (packet) => packet !== undefined,
        );
        for (const node of before.nodes.keys()) {
          const state = emptyTable('podwall');
          for (const { operations } of plan(compileNode(before, node), [], 1))
            applyOperations(state, operations);
          const legs = (at: TableState): (string | undefined)[] =>
            packets.flatMap((packet) =>
              (['Egress', 'Ingress'] as const).map((direction) => judgeLeg(at, direction, packet)),
            );
          const desired = compileNode(after, node);
          const old = legs(state);
          const seen: (string | undefined)[][] = [];
          for (const { phase, operations } of plan(desired, [state], 1)) {
            const inside = copyTable(state);
            applyOperations(state, operations);
            seen.push(legs(state));
            // A packet that has found its program before the commit, and its sets after it.
            if (phase !== 'collect') seen.push(legs({ ...inside, groups: state.groups }));
          }
          const now = legs(state);
          const fresh = emptyTable('podwall');
          for (const { operations } of plan(desired, [], 1)) applyOperations(fresh, operations);
          expect(now).toEqual(legs(fresh));
          expect(plan(desired, [state], 1)).toEqual([]);
          expect([...state.groups.keys()].sort()).toEqual([...fresh.groups.keys()].sort());
          expect([...state.chains.keys()].sort()).toEqual([...fresh.chains.keys()].sort());
          for (const between of seen) {
            states++;
            for (const [index, verdict] of between.entries()) {
              if (old[index] === undefined || old[index] !== now[index]) continue;
              checked++;
              expect(verdict).toBe(old[index]);
            }
          }
        }
      },
    ),
    { seed, numRuns: clusters, endOnFailure: true },
  );
  console.info(`${states} states in between, ${checked} decisions that had to hold`);
  expect(states).toBeGreaterThan(clusters / 2);
});
