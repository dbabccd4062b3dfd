/**
 * Who can reach whom on what: all ordered pairs of pods, nodes and the world at once, exact, with
 * the rules that decide. Works on classes of peers and expands to single peers only when asked. Must
 * not know of manifests or output.
 */
import type { AddressSet } from '../net/address-set.ts';
import type { ConnectionSet } from '../net/connection-set.ts';
import type { Direction, PolicyRef } from '../policy/compiled.ts';
import { buildClasses, meetings } from './classes.ts';
import type { Classes, Meeting, PeerClass } from './classes.ts';
import { createColumnSets } from './column-sets.ts';
import type { ColumnSets } from './column-sets.ts';
import { ALL, createConnectionTable, NONE } from './connection-table.ts';
import type { ConnectionTable } from './connection-table.ts';
import { createAddressBook } from './ends.ts';
import type { AddressBook } from './ends.ts';
import type { Effect, Leg as SetLeg, Occurrence } from './legs.ts';
import { createPeerSets } from './peer-sets.ts';
import type { PeerSets } from './peer-sets.ts';
import { createPrograms } from './programs.ts';
import type { Programs } from './programs.ts';
import type { NodeInfo, PodInfo, Snapshot } from './snapshot.ts';
import type { Truth } from './truth.ts';
import type { RuleRef } from './verdict.ts';

export type ReachPeer =
  | { readonly kind: 'pod'; readonly class: number; readonly pod: PodInfo }
  | { readonly kind: 'node'; readonly class: number; readonly node: NodeInfo }
  /** Addresses that policies do not tell apart. An address of a known pod or node is that peer's, not the world's. */
  | { readonly kind: 'world'; readonly class: number; readonly addresses: AddressSet };

/** Disjoint; what is in neither is denied. */
export interface PairResult {
  readonly allowed: ConnectionSet;
  readonly unknown: ConnectionSet;
}

export interface Pair extends PairResult {
  readonly source: ReachPeer;
  readonly destination: ReachPeer;
}

/** One direction of a pair, explained. */
export interface LegExplanation extends PairResult {
  readonly direction: Direction;
  /** NetworkPolicies that isolate the pod in this direction. */
  readonly isolatedBy: readonly PolicyRef[];
  /** Every rule that matches some connection of the pair, in order of evaluation. */
  readonly rules: readonly (RuleRef & {
    readonly connections: ConnectionSet;
    readonly sure: boolean;
  })[];
}

/** All ordered pairs between members of two classes, but for own-node exemptions and self. */
export interface Block extends PairResult {
  readonly sources: readonly ReachPeer[];
  readonly destinations: readonly ReachPeer[];
}

/** Ordered pairs of pods. */
export interface PairCounts {
  /** Some connection is allowed. */
  readonly open: number;
  /** None is allowed for sure, but some may be. */
  readonly unknown: number;
  readonly total: number;
}

export interface ReachStatistics {
  readonly pods: number;
  readonly nodes: number;
  readonly policies: number;
  readonly classes: number;
  /** Distinct (policies, direction) combinations that were evaluated. */
  readonly legs: number;
  readonly connectionSets: number;
}

export interface Reach {
  readonly snapshot: Snapshot;
  /** Pods in the order of the snapshot, then nodes, then the world. */
  readonly peers: readonly ReachPeer[];
  readonly statistics: ReachStatistics;
  /** Position of a pod among `peers`. */
  positionOf(podId: string): number | undefined;
  /** By positions in `peers`. */
  lookup(source: number, destination: number): PairResult;
  explain(source: number, destination: number): { egress: LegExplanation; ingress: LegExplanation };
  /** Every pair with a pod in it, but self, of which something is allowed or unknown. */
  pairs(): IterableIterator<Pair>;
  /** The same, class by class; own-node exemptions are only in {@link pairs}. */
  blocks(): IterableIterator<Block>;
  /** Visits all ordered pairs of different pods, class by class. */
  count(): PairCounts;
  /** The engine room; for updateReach. */
  readonly parts: ReachParts;
}

export interface ReachParts {
  readonly book: AddressBook;
  readonly classes: Classes;
  readonly sets: ColumnSets;
  readonly table: ConnectionTable;
  readonly peerSets: PeerSets;
  readonly programs: Programs;
  /** Pods by id, once asked for. */
  positions?: ReadonlyMap<string, number>;
}

const everything: Effect = { allowed: ALL, unknown: NONE };

/** Computes both legs of every pair. */
export function computeReach(given: Snapshot): Reach {
  // A copy, since updateReach keeps it up to date in place.
  const snapshot: Snapshot = {
    ...given,
    pods: [...given.pods],
    podById: new Map(given.podById),
    namespaces: new Map(given.namespaces),
  };
  const book = createAddressBook(snapshot);
  const classes = buildClasses(snapshot, book);
  const sets = createColumnSets();
  const table = createConnectionTable();
  const peerSets = createPeerSets(snapshot, book, classes, sets);
  const programs = createPrograms(snapshot, classes, peerSets, sets, table);
  for (const { id, pod, nodeTraffic } of classes.list) {
    if (pod === undefined) continue;
    programs.legOf(id, 'Ingress', nodeTraffic);
    programs.legOf(id, 'Egress', nodeTraffic);
  }
  return createReach(snapshot, { book, classes, sets, table, peerSets, programs });
}

/** The view of parts that are ready. */
export function createReach(snapshot: Snapshot, parts: ReachParts): Reach {
  const { classes, table, programs } = parts;
  const { settings } = snapshot;
  const podCount = snapshot.pods.length;
  const nodeCount = classes.nodes.length;
  const world: ReachPeer[] = [];
  for (const { id, kind, addresses } of classes.list)
    if (kind === 'world' && addresses !== undefined)
      world.push({ kind: 'world', addresses, class: id });

  const peerAt = (position: number): ReachPeer => {
    const pod = snapshot.pods[position];
    if (pod !== undefined) return { kind: 'pod', pod, class: classes.ofPod[position] as number };
    const node = classes.nodes[position - podCount];
    if (node !== undefined)
      return { kind: 'node', node, class: classes.ofNode[position - podCount] as number };
    const found = world[position - podCount - nodeCount];
    if (found === undefined) throw new RangeError(`no peer at position ${position}`);
    return found;
  };
  let all: ReachPeer[] | undefined;
  const peers = (): ReachPeer[] =>
    (all ??= Array.from({ length: podCount + nodeCount + world.length }, (_, i) => peerAt(i)));

  /** One leg in one meeting of two classes. */
  const legEffect = (
    source: PeerClass,
    destination: PeerClass,
    meeting: Meeting,
    direction: Direction,
    node: Truth,
  ): Effect => {
    const subject = direction === 'Egress' ? source : destination;
    const other = direction === 'Egress' ? destination : source;
    const leg = programs.legOf(subject.id, direction, meeting.likePods);
    if (leg === undefined) return everything;
    const column = direction === 'Egress' ? meeting.destination : meeting.source;
    // Under the first option of S184 a hostNetwork pod is not its node.
    const near = other.nodeTraffic && !(meeting.likePods && other.kind === 'pod') ? node : 'no';
    return withOwnNode(leg, column, direction, near);
  };

  /** Both legs over all meetings; own-node exemptions as `node` says. */
  const classPair = (source: PeerClass, destination: PeerClass, node: Truth): Effect => {
    let merged: Effect | undefined;
    for (const meeting of meetings(classes, source, destination)) {
      const effect = both(
        legEffect(source, destination, meeting, 'Egress', node),
        legEffect(source, destination, meeting, 'Ingress', node),
      );
      merged = merged === undefined ? effect : merge(merged, effect);
    }
    return merged ?? everything;
  };

  const withOwnNode = (leg: SetLeg, column: number, direction: Direction, near: Truth): Effect => {
    if (near === 'no') return leg.effectAt(column);
    if (direction === 'Ingress') {
      // S160.
      if (near === 'yes') return everything;
      const { allowed } = leg.effectAt(column);
      return { allowed, unknown: table.subtract(ALL, allowed) };
    }
    const choice = settings.podToOwnNode;
    if (choice === 'policy') return leg.effectAt(column);
    return leg.exemptEffectAt(column, { choice, truth: near });
  };

  const merge = (a: Effect, b: Effect): Effect => {
    const allowed = table.intersect(a.allowed, b.allowed);
    const possible = table.union(
      table.union(a.allowed, a.unknown),
      table.union(b.allowed, b.unknown),
    );
    return { allowed, unknown: table.subtract(possible, allowed) };
  };

  /** S148: both ends must allow. */
  const both = (egress: Effect, ingress: Effect): Effect => {
    const allowed = table.intersect(egress.allowed, ingress.allowed);
    if (egress.unknown === NONE && ingress.unknown === NONE) return { allowed, unknown: NONE };
    const possible = table.intersect(
      table.union(egress.allowed, egress.unknown),
      table.union(ingress.allowed, ingress.unknown),
    );
    return { allowed, unknown: table.subtract(possible, allowed) };
  };

  const nodeNameOf = (peer: ReachPeer): string | undefined =>
    peer.kind === 'node' ? peer.node.name : peer.kind === 'pod' ? peer.pod.node : undefined;

  /** Whether one end is the node of the other (S160, S188). */
  const nearness = (a: ReachPeer, b: ReachPeer): Truth => {
    const ofA = nodeNameOf(a);
    const ofB = nodeNameOf(b);
    if (ofA === undefined || ofB === undefined) return 'maybe';
    return ofA === ofB ? 'yes' : 'no';
  };

  const classOf = (peer: ReachPeer): PeerClass => classes.list[peer.class] as PeerClass;

  const isSelf = (source: ReachPeer, destination: ReachPeer): boolean =>
    source.kind === 'pod' && destination.kind === 'pod'
      ? source.pod === destination.pod && (!source.pod.template || source.pod.replicas === 1)
      : source === destination;

  const pairEffect = (source: ReachPeer, destination: ReachPeer): Effect => {
    const from = classOf(source);
    const to = classOf(destination);
    if (isSelf(source, destination) && from.counts) return everything;
    const node = from.nodeTraffic || to.nodeTraffic ? nearness(source, destination) : 'no';
    return classPair(from, to, node);
  };

  const resultOf = ({ allowed, unknown }: Effect): PairResult => ({
    allowed: table.setOf(allowed),
    unknown: table.setOf(unknown),
  });

  const explainLeg = (
    source: ReachPeer,
    destination: ReachPeer,
    direction: Direction,
  ): LegExplanation => {
    const from = classOf(source);
    const to = classOf(destination);
    const node = from.nodeTraffic || to.nodeTraffic ? nearness(source, destination) : 'no';
    const subject = direction === 'Egress' ? from : to;
    const isolatedBy = new Map<number, PolicyRef>();
    const rules = new Map<Occurrence, LegExplanation['rules'][number]>();
    let merged: Effect | undefined;
    for (const meeting of meetings(classes, from, to)) {
      const own = legEffect(from, to, meeting, direction, node);
      merged = merged === undefined ? own : merge(merged, own);
      const leg = programs.legOf(subject.id, direction, meeting.likePods);
      if (leg === undefined) continue;
      for (const { policy, truth } of leg.program.isolating) {
        const ref = programs.policies[policy]?.ref;
        if (truth === 'yes' && ref !== undefined) isolatedBy.set(policy, ref);
      }
      const column = direction === 'Egress' ? meeting.destination : meeting.source;
      for (const occurrence of leg.occurrencesAt(column)) {
        const ref = programs.policies[occurrence.policy]?.ref;
        if (ref === undefined) continue;
        rules.set(occurrence, {
          policy: ref,
          rule: occurrence.rule,
          connections: table.setOf(occurrence.connections),
          sure: !occurrence.maybe,
        });
      }
    }
    const effect = (isSelf(source, destination) && from.counts ? undefined : merged) ?? everything;
    return {
      direction,
      ...resultOf(effect),
      isolatedBy: [...isolatedBy.values()],
      rules: [...rules.values()],
    };
  };

  /** Peers by class, for output. */
  const members = (): ReachPeer[][] => {
    const lists: ReachPeer[][] = classes.list.map(() => []);
    for (const peer of peers()) lists[peer.class]?.push(peer);
    return lists;
  };

  /** Single-column pods that are no node traffic: members fare alike, and legs say whom to look at. */
  const isPlain = ({ kind, counts, nodeTraffic, columns }: PeerClass): boolean =>
    kind === 'pod' && counts && !nodeTraffic && columns.length === 1;

  /** Sources from which anything can reach a class: all, or the ones its ingress leg lists. */
  const sourcesFor = (to: PeerClass, others: readonly PeerClass[]): readonly PeerClass[] => {
    const leg = isPlain(to) ? programs.legOf(to.id, 'Ingress', false) : undefined;
    if (leg?.closed !== true) return classes.list;
    const listed = [...leg.listed].flatMap((column) => {
      const from = classes.list[classes.columns[column]?.class ?? -1];
      return from !== undefined && isPlain(from) ? [from] : [];
    });
    return [...listed, ...others];
  };

  /** Pairs of classes with a pod in them; without an effect where single pairs may differ (S160). */
  function* classPairs(): IterableIterator<{
    from: PeerClass;
    to: PeerClass;
    effect: Effect | undefined;
  }> {
    const others = classes.list.filter((peerClass) => !isPlain(peerClass));
    for (const to of classes.list) {
      if (to.members.length === 0) continue;
      for (const from of sourcesFor(to, others)) {
        if (from.members.length === 0 || (from.kind !== 'pod' && to.kind !== 'pod')) continue;
        if (from.nodeTraffic || to.nodeTraffic) {
          yield { from, to, effect: undefined };
          continue;
        }
        const effect = classPair(from, to, 'no');
        if (effect.allowed !== NONE || effect.unknown !== NONE) yield { from, to, effect };
      }
    }
  }

  function* blocks(): IterableIterator<Block> {
    const lists = members();
    for (const { from, to, effect } of classPairs()) {
      const result = effect ?? classPair(from, to, 'no');
      if (result.allowed === NONE && result.unknown === NONE) continue;
      yield {
        sources: lists[from.id] ?? [],
        destinations: lists[to.id] ?? [],
        ...resultOf(result),
      };
    }
  }

  function* pairs(): IterableIterator<Pair> {
    const lists = members();
    for (const { from, to, effect } of classPairs())
      for (const source of lists[from.id] ?? [])
        for (const destination of lists[to.id] ?? []) {
          if (isSelf(source, destination)) continue;
          const result = effect ?? pairEffect(source, destination);
          if (result.allowed === NONE && result.unknown === NONE) continue;
          yield { source, destination, ...resultOf(result) };
        }
  }

  /** Visits every pair of classes; own-node exemptions stay out. */
  const count = (): PairCounts => {
    const counts = { open: 0, unknown: 0, total: podCount * (podCount - 1) };
    for (const { from, to, effect } of classPairs()) {
      if (from.kind !== 'pod' || to.kind !== 'pod') continue;
      const { allowed, unknown } = effect ?? classPair(from, to, 'no');
      const pairsOfBoth = from.members.length * (to.members.length - (from === to ? 1 : 0));
      if (allowed !== NONE) counts.open += pairsOfBoth;
      else if (unknown !== NONE) counts.unknown += pairsOfBoth;
    }
    return counts;
  };

  return {
    snapshot,
    get peers() {
      return peers();
    },
    get statistics() {
      return {
        pods: snapshot.pods.length,
        nodes: classes.nodes.length,
        policies: snapshot.policies.length,
        classes: classes.list.length,
        legs: programs.legs.size,
        connectionSets: table.size,
      };
    },
    positionOf(podId) {
      parts.positions ??= new Map(snapshot.pods.map((pod, position) => [pod.id, position]));
      return parts.positions.get(podId);
    },
    lookup: (source, destination) => resultOf(pairEffect(peerAt(source), peerAt(destination))),
    explain: (source, destination) => ({
      egress: explainLeg(peerAt(source), peerAt(destination), 'Egress'),
      ingress: explainLeg(peerAt(source), peerAt(destination), 'Ingress'),
    }),
    pairs,
    blocks,
    count,
    parts,
  };
}
