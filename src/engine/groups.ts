/**
 * Peers as a person wants to see them: the pods of a workload as one when policy cannot tell them
 * apart, nodes, and the ranges of the world. Must not know of output formats.
 */
import {
  allAddresses,
  equalAddressSets,
  formatAddressSet,
  type AddressSet,
} from '../net/address-set.ts';
import { isNoConnections } from '../net/connection-set.ts';
import type { PairResult, Reach, ReachPeer } from './reach.ts';
import type { PodInfo } from './snapshot.ts';
import type { Truth } from './truth.ts';

export interface PeerGroup {
  /** Unique, and the same in another snapshot of the same cluster. */
  readonly id: string;
  readonly kind: 'pod' | 'workload' | 'node' | 'world';
  readonly namespace?: string;
  readonly name?: string;
  /** Positions in `Reach.peers`; all behave alike. */
  readonly members: readonly number[];
  readonly first: ReachPeer;
}

export interface GroupOptions {
  /** One group a pod, whatever its workload. */
  readonly eachPod?: boolean;
  /** Leave out nodes. */
  readonly withoutNodes?: boolean;
}

/** Groups in the order of the snapshot: pods, nodes, world. O(peers). */
export function groupPeers(reach: Reach, options: GroupOptions = {}): PeerGroup[] {
  const workloads = new Map<string, number[]>();
  const groups: PeerGroup[] = [];
  for (const [position, peer] of reach.peers.entries()) {
    if (peer.kind === 'pod') {
      const id = options.eachPod ? peer.pod.id : workloadId(peer.pod);
      const held = workloads.get(id);
      if (held === undefined) workloads.set(id, [position]);
      else held.push(position);
    }
  }
  for (const [id, members] of workloads) groups.push(...groupsOf(reach, id, members));
  for (const [position, peer] of reach.peers.entries()) {
    if (peer.kind === 'node' && !options.withoutNodes) {
      const { name } = peer.node;
      groups.push({ id: `node/${name}`, kind: 'node', name, members: [position], first: peer });
    }
    if (peer.kind === 'world') {
      const id = worldId(peer.addresses);
      groups.push({ id, kind: 'world', members: [position], first: peer });
    }
  }
  return groups;
}

/** `world`, or `world` with the part of it that is meant. */
export function worldId(addresses: AddressSet): string {
  return equalAddressSets(addresses, allAddresses)
    ? 'world'
    : `world ${formatAddressSet(addresses)}`;
}

function workloadId(pod: PodInfo): string {
  const { kind, namespace, name } = pod.workload;
  return kind === 'Pod' ? pod.id : `${namespace}/${kind}/${name}`;
}

/** Pods of one workload that policy tells apart (labels changed by hand) stay single. */
function groupsOf(reach: Reach, id: string, members: readonly number[]): PeerGroup[] {
  const [position = 0] = members;
  const first = reach.peers[position];
  if (first?.kind !== 'pod') return [];
  const alike = members.every((member) => reach.peers[member]?.class === first.class);
  if (!alike) {
    return members.flatMap((member) => {
      const peer = reach.peers[member];
      return peer?.kind === 'pod' ? [groupOfPod(peer, member)] : [];
    });
  }
  const { namespace, name, kind } = first.pod.workload;
  if (kind === 'Pod' || id === first.pod.id) return [groupOfPod(first, position)];
  return [{ id, kind: 'workload', namespace, name, members, first }];
}

function groupOfPod(peer: ReachPeer & { kind: 'pod' }, position: number): PeerGroup {
  const { id, namespace, name, template } = peer.pod;
  return {
    id,
    kind: template ? 'workload' : 'pod',
    namespace,
    name,
    members: [position],
    first: peer,
  };
}

/** What is open from one group to another, seen at {@link typicalPair}. */
export function lookupGroups(reach: Reach, source: PeerGroup, destination: PeerGroup): PairResult {
  return reach.lookup(...typicalPair(reach, source, destination));
}

/** An ordered pair of groups of which something is allowed or unknown, by their places in the list. */
export interface OpenGroups extends PairResult {
  readonly source: number;
  readonly destination: number;
}

/**
 * Every pair of groups that has a pod in it and is not closed, but for groups with themselves; in no
 * order. O(what is open), where asking for each pair would be O(groups²).
 */
export function* openGroups(
  reach: Reach,
  groups: readonly PeerGroup[],
): IterableIterator<OpenGroups> {
  const ofClass = new Map<number, number[]>();
  for (const [index, group] of groups.entries()) {
    const held = ofClass.get(group.first.class);
    if (held === undefined) ofClass.set(group.first.class, [index]);
    else held.push(index);
  }
  const near = nearPairs(reach, groups);
  const groupsOf = (peers: readonly ReachPeer[]): number[] =>
    [...new Set(peers.map((peer) => peer.class))].flatMap((id) => ofClass.get(id) ?? []);
  for (const block of reach.blocks()) {
    const { allowed, unknown } = block;
    const destinations = groupsOf(block.destinations);
    for (const source of groupsOf(block.sources)) {
      for (const destination of destinations) {
        if (source === destination || near.has(source * groups.length + destination)) continue;
        yield { source, destination, allowed, unknown };
      }
    }
  }
  // Blocks know nothing of the exemption of the own node.
  for (const pair of near) {
    const [source, destination] = [Math.floor(pair / groups.length), pair % groups.length];
    const [from, to] = [groups[source], groups[destination]];
    if (from === undefined || to === undefined) continue;
    const { allowed, unknown } = lookupGroups(reach, from, to);
    if (isNoConnections(allowed) && isNoConnections(unknown)) continue;
    yield { source, destination, allowed, unknown };
  }
}

/** Pairs of a node, or of a hostNetwork pod, with pods that are or may be on that node; both ways. */
function nearPairs(reach: Reach, groups: readonly PeerGroup[]): Set<number> {
  const onNode = new Map<string | undefined, Set<number>>();
  for (const [index, group] of groups.entries()) {
    if (group.kind === 'world') continue;
    for (const member of group.members) {
      const name = nodeOf(reach.peers[member]);
      const held = onNode.get(name) ?? new Set();
      onNode.set(name, held.add(index));
    }
  }
  const found = new Set<number>();
  for (const [index, group] of groups.entries()) {
    if (!usesNode(reach, group)) continue;
    const names = new Set(group.members.map((member) => nodeOf(reach.peers[member])));
    const others = names.has(undefined) ? [...onNode.keys()] : [...names, undefined];
    for (const other of new Set(others.flatMap((name) => [...(onNode.get(name) ?? [])]))) {
      const peer = groups[other];
      if (peer === undefined || other === index) continue;
      if (group.kind === 'node' && peer.kind === 'node') continue;
      if (nearness(reach, group, peer) !== 'no') found.add(index * groups.length + other);
      if (nearness(reach, peer, group) !== 'no') found.add(other * groups.length + index);
    }
  }
  return found;
}

/**
 * Two members that are not the same pod, on different nodes when there are such: what only a node
 * and its own pods may do is not said of all pods. O(members).
 */
export function typicalPair(
  reach: Reach,
  source: PeerGroup,
  destination: PeerGroup,
): readonly [source: number, destination: number] {
  const [from = 0] = source.members;
  const to = destination.members.find((member) => member !== from) ?? destination.members[0] ?? 0;
  if (!usesNode(reach, source) && !usesNode(reach, destination)) return [from, to];
  const apart = (a: number, b: number): boolean => {
    const [one, other] = [nodeOf(reach.peers[a]), nodeOf(reach.peers[b])];
    return one !== undefined && other !== undefined && one !== other;
  };
  const away = destination.members.find((member) => apart(from, member));
  if (away !== undefined) return [from, away];
  const start = source.members.find((member) => apart(member, to));
  return start === undefined ? [from, to] : [start, to];
}

function usesNode(reach: Reach, { first }: PeerGroup): boolean {
  return reach.parts.classes.list[first.class]?.nodeTraffic === true;
}

function nodeOf(peer: ReachPeer | undefined): string | undefined {
  if (peer?.kind === 'pod') return peer.pod.node;
  return peer?.kind === 'node' ? peer.node.name : undefined;
}

/** Whether one end is the node of the other, or on it with its address, for one pair of groups. */
export function nearness(reach: Reach, source: PeerGroup, destination: PeerGroup): Truth {
  if (source.kind === 'world' || destination.kind === 'world') return 'no';
  if (!usesNode(reach, source) && !usesNode(reach, destination)) return 'no';
  const [from, to] = typicalPair(reach, source, destination);
  const [one, other] = [nodeOf(reach.peers[from]), nodeOf(reach.peers[to])];
  if (one === undefined || other === undefined) return 'maybe';
  return one === other ? 'yes' : 'no';
}
