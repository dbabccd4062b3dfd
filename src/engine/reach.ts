/**
 * Who can reach whom on what: all ordered pairs of pods, nodes and the world at once, exact, with
 * the rules that decide. Works on classes of peers and expands to single peers only when asked. Must
 * not know of manifests or output.
 */
import type { AddressSet } from '../net/address-set.ts';
import type { ConnectionSet } from '../net/connection-set.ts';
import type { Direction, PolicyRef } from '../policy/compiled.ts';
import { classBlocks } from './class-blocks.ts';
import type { ClassBlock } from './class-blocks.ts';
import { buildClasses, meetings } from './classes.ts';
import type { Classes, PeerClass } from './classes.ts';
import { createColumnSets } from './column-sets.ts';
import type { ColumnSets } from './column-sets.ts';
import { createConnectionTable, NONE } from './connection-table.ts';
import type { ConnectionTable } from './connection-table.ts';
import { everything, isDenied, mergeEffects } from './effects.ts';
import type { Effect } from './effects.ts';
import { createAddressBook } from './ends.ts';
import type { AddressBook } from './ends.ts';
import type { Occurrence } from './legs.ts';
import { createPairEffects } from './pair-effects.ts';
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

export interface Explanation {
  readonly egress: LegExplanation;
  readonly ingress: LegExplanation;
}

/**
 * All ordered pairs between two lists of peers, but for own-node exemptions and self: the same rules
 * decide each of them. Lists are made when asked for.
 */
export interface Block extends PairResult {
  readonly sources: readonly ReachPeer[];
  readonly destinations: readonly ReachPeer[];
  /** Length of one list times the length of the other. */
  readonly size: number;
  /** Why, for every pair of the block. */
  explain(): Explanation;
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
  explain(source: number, destination: number): Explanation;
  /** Every pair with a pod in it, but self, of which something is allowed or unknown. */
  pairs(): IterableIterator<Pair>;
  /** The same by blocks, each pair in one; own-node exemptions are only in {@link pairs}. */
  blocks(): IterableIterator<Block>;
  /** All ordered pairs of different pods, by the sizes of blocks. */
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
  const { classes, sets, table, programs } = parts;
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

  const { inMeeting, pairEffect: classPair } = createPairEffects(parts, settings, {
    legEffect: (leg, _, column) => leg.effectAt(column),
    exemptEffect: (leg, _, column, exemption) => leg.exemptEffectAt(column, exemption),
  });

  const nodeNameOf = (peer: ReachPeer): string | undefined =>
    peer.kind === 'node' ? peer.node.name : peer.kind === 'pod' ? peer.pod.node : undefined;

  const classOf = (peer: ReachPeer): PeerClass => classes.list[peer.class] as PeerClass;

  /** Whether one end is the node of the other, or on it with its address (S160, S188). */
  const nearness = (a: ReachPeer, b: ReachPeer): Truth => {
    if (a.kind === 'world' || b.kind === 'world') return 'no';
    if (!classOf(a).nodeTraffic && !classOf(b).nodeTraffic) return 'no';
    const ofA = nodeNameOf(a);
    const ofB = nodeNameOf(b);
    if (ofA === undefined || ofB === undefined) return 'maybe';
    return ofA === ofB ? 'yes' : 'no';
  };

  const isSelf = (source: ReachPeer, destination: ReachPeer): boolean =>
    source.kind === 'pod' && destination.kind === 'pod'
      ? source.pod === destination.pod && (!source.pod.template || source.pod.replicas === 1)
      : source === destination;

  const pairEffect = (source: ReachPeer, destination: ReachPeer): Effect => {
    const from = classOf(source);
    const to = classOf(destination);
    if (isSelf(source, destination) && from.counts) return everything;
    return classPair(from, to, nearness(source, destination));
  };

  const resultOf = ({ allowed, unknown }: Effect): PairResult => ({
    allowed: table.setOf(allowed),
    unknown: table.setOf(unknown),
  });

  const explainLeg = (
    from: PeerClass,
    to: PeerClass,
    node: Truth,
    direction: Direction,
    self: boolean,
  ): LegExplanation => {
    const subject = direction === 'Egress' ? from : to;
    const isolatedBy = new Map<number, PolicyRef>();
    const rules = new Map<Occurrence, LegExplanation['rules'][number]>();
    let merged: Effect | undefined;
    for (const meeting of meetings(classes, from, to)) {
      const own = inMeeting(from, to, meeting, direction, node);
      merged = merged === undefined ? own : mergeEffects(table, merged, own);
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
    const effect = (self ? undefined : merged) ?? everything;
    return {
      direction,
      ...resultOf(effect),
      isolatedBy: [...isolatedBy.values()],
      rules: [...rules.values()],
    };
  };

  const explainPair = (source: ReachPeer, destination: ReachPeer): Explanation => {
    const from = classOf(source);
    const to = classOf(destination);
    const node = nearness(source, destination);
    const self = isSelf(source, destination) && from.counts;
    return {
      egress: explainLeg(from, to, node, 'Egress', self),
      ingress: explainLeg(from, to, node, 'Ingress', self),
    };
  };

  /** Peers by class, for output. */
  const members = (): ReachPeer[][] => {
    const lists: ReachPeer[][] = classes.list.map(() => []);
    for (const peer of peers()) lists[peer.class]?.push(peer);
    return lists;
  };

  const blocksOfClasses = (): IterableIterator<ClassBlock> =>
    classBlocks(classes, programs, sets, table);

  function* blocks(): IterableIterator<Block> {
    let lists: ReachPeer[][] | undefined;
    const peersOf = (own: readonly PeerClass[]): ReachPeer[] => {
      lists ??= members();
      return own.flatMap(({ id }) => (lists as ReachPeer[][])[id] ?? []);
    };
    for (const { effect, sources, destinations } of blocksOfClasses())
      yield {
        ...resultOf(effect),
        get sources() {
          return peersOf(sources.classes());
        },
        get destinations() {
          return peersOf(destinations.classes());
        },
        size: sources.peers * destinations.peers,
        explain: () => ({
          egress: explainLeg(sources.first, destinations.first, 'no', 'Egress', false),
          ingress: explainLeg(sources.first, destinations.first, 'no', 'Ingress', false),
        }),
      };
  }

  function* pairs(): IterableIterator<Pair> {
    const lists = members();
    for (const { effect, sources, destinations } of blocksOfClasses()) {
      const result = resultOf(effect);
      const others = destinations.classes();
      for (const from of sources.classes())
        for (const source of lists[from.id] ?? [])
          for (const to of others)
            for (const destination of lists[to.id] ?? []) {
              if (isSelf(source, destination)) continue;
              if ((from.nodeTraffic || to.nodeTraffic) && nearness(source, destination) !== 'no')
                continue;
              yield { source, destination, ...result };
            }
    }
    yield* nearPairs();
  }

  /** The pairs with an own-node exemption that may hold: only they differ within a block. */
  function* nearPairs(): IterableIterator<Pair> {
    const byNode = new Map<string | undefined, ReachPeer[]>();
    const nodeTraffic: ReachPeer[] = [];
    for (const peer of peers()) {
      if (peer.kind === 'world') continue;
      if (classOf(peer).nodeTraffic) nodeTraffic.push(peer);
      const name = nodeNameOf(peer);
      const list = byNode.get(name);
      if (list === undefined) byNode.set(name, [peer]);
      else list.push(peer);
    }
    for (const near of nodeTraffic) {
      const name = nodeNameOf(near);
      const others =
        name === undefined
          ? [...byNode.values()].flat()
          : [...(byNode.get(name) ?? []), ...(byNode.get(undefined) ?? [])];
      for (const other of others) {
        if (isSelf(near, other) || (near.kind !== 'pod' && other.kind !== 'pod')) continue;
        const pair = (source: ReachPeer, destination: ReachPeer): Pair[] => {
          const effect = pairEffect(source, destination);
          return isDenied(effect) ? [] : [{ source, destination, ...resultOf(effect) }];
        };
        yield* pair(near, other);
        // Otherwise the other one's turn brings the way back.
        if (!classOf(other).nodeTraffic) yield* pair(other, near);
      }
    }
  }

  const count = (): PairCounts => {
    const counted = { open: 0, unknown: 0, total: podCount * (podCount - 1) };
    const add = ({ allowed, unknown }: Effect, pairsOfBoth: number): void => {
      if (allowed !== NONE) counted.open += pairsOfBoth;
      else if (unknown !== NONE) counted.unknown += pairsOfBoth;
    };
    for (const { effect, sources, destinations } of blocksOfClasses())
      if (sources.first.kind === 'pod' && destinations.first.kind === 'pod')
        add(effect, sources.peers * destinations.peers);
    for (const own of classes.list)
      if (own.kind === 'pod' && own.members.length > 0)
        add(classPair(own, own, 'no'), -own.members.length);
    for (const { from, to, node, pairsOfBoth } of nearClassPairs()) {
      add(classPair(from, to, 'no'), -pairsOfBoth);
      add(classPair(from, to, node), pairsOfBoth);
    }
    return counted;
  };

  /** How many pairs of different pods of two classes have an own-node exemption that may hold. */
  function* nearClassPairs(): IterableIterator<{
    from: PeerClass;
    to: PeerClass;
    node: Truth;
    pairsOfBoth: number;
  }> {
    const onNode = new Map<string | undefined, Map<PeerClass, number>>();
    for (const own of classes.list) {
      if (own.kind !== 'pod') continue;
      for (const member of own.members) {
        const name = snapshot.pods[member]?.node;
        let held = onNode.get(name);
        if (held === undefined) onNode.set(name, (held = new Map<PeerClass, number>()));
        held.set(own, (held.get(own) ?? 0) + 1);
      }
    }
    const homeless = onNode.get(undefined) ?? new Map<PeerClass, number>();
    onNode.delete(undefined);
    /** Both ways; the way back of two that are node traffic comes at the other one's turn. */
    const ways = (
      near: PeerClass,
      other: PeerClass,
      node: Truth,
      ordered: number,
    ): { from: PeerClass; to: PeerClass; node: Truth; pairsOfBoth: number }[] => [
      { from: near, to: other, node, pairsOfBoth: ordered },
      ...(other.nodeTraffic ? [] : [{ from: other, to: near, node, pairsOfBoth: ordered }]),
    ];
    for (const held of onNode.values())
      for (const [near, here] of held)
        if (near.nodeTraffic)
          for (const [other, there] of held)
            yield* ways(near, other, 'yes', here * (near === other ? there - 1 : there));
    for (const near of classes.list) {
      if (near.kind !== 'pod' || !near.nodeTraffic) continue;
      const lost = homeless.get(near) ?? 0;
      for (const other of lost > 0 ? classes.list : homeless.keys()) {
        if (other.kind !== 'pod') continue;
        const known =
          (near.members.length - lost) * (other.members.length - (homeless.get(other) ?? 0));
        const all =
          near.members.length * other.members.length - known - (near === other ? lost : 0);
        if (all > 0) yield* ways(near, other, 'maybe', all);
      }
    }
  }

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
    explain: (source, destination) => explainPair(peerAt(source), peerAt(destination)),
    pairs,
    blocks,
    count,
    parts,
  };
}
