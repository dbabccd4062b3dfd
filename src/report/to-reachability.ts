/**
 * A computed reach as the Reachability document. Must not know how either is used.
 */
import {
  groupPeers,
  lookupGroups,
  openGroups,
  type OpenGroups,
  type PeerGroup,
} from '../engine/groups.ts';
import type { Reach } from '../engine/reach.ts';
import { formatAddress } from '../net/address.ts';
import { toCidrs } from '../net/address-set.ts';
import {
  intersectConnections,
  isNoConnections,
  type ConnectionSet,
} from '../net/connection-set.ts';
import {
  allowOf,
  type Reachability,
  type ReachabilityConnection,
  type ReachabilityPeer,
} from './reachability.ts';
import { completenessJson } from './verdict-json.ts';

export interface ReachabilityOptions {
  readonly from?: (group: PeerGroup) => boolean;
  readonly to?: (group: PeerGroup) => boolean;
  /** Only what is open inside this set. */
  readonly within?: ConnectionSet;
  readonly eachPod?: boolean;
}

/** O(what is open); a few filtered sources or destinations are looked up pair by pair. */
export function toReachability(reach: Reach, options: ReachabilityOptions = {}): Reachability {
  const groups = groupPeers(reach, { eachPod: options.eachPod ?? false });
  const sources = groups.filter((group) => options.from?.(group) ?? true);
  const destinations = groups.filter((group) => options.to?.(group) ?? true);
  const connections: ReachabilityConnection[] = [];
  const unknown: ReachabilityConnection[] = [];
  const few = sources.length * destinations.length < groups.length * 20;
  const pairs = few
    ? lookedUp(reach, groups, sources, destinations)
    : chosen(reach, groups, new Set(sources), new Set(destinations));
  for (const pair of pairs) {
    const [source, destination] = [groups[pair.source], groups[pair.destination]];
    if (source === undefined || destination === undefined) continue;
    add(connections, source, destination, pair.allowed, options.within);
    add(unknown, source, destination, pair.unknown, options.within);
  }
  const within = options.within === undefined ? 'all' : allowOf(options.within);
  const shown = new Set([...sources, ...destinations]);
  return {
    apiVersion: 'podwall/v1',
    kind: 'Reachability',
    completeness: completenessJson(reach.snapshot.completeness),
    ...(within === 'all' ? {} : { within }),
    peers: groups.filter((group) => shown.has(group)).map((group) => peerOf(reach, group)),
    connections,
    unknown,
  };
}

function* lookedUp(
  reach: Reach,
  groups: readonly PeerGroup[],
  sources: readonly PeerGroup[],
  destinations: readonly PeerGroup[],
): IterableIterator<OpenGroups> {
  const place = new Map(groups.map((group, index) => [group, index]));
  for (const source of sources) {
    for (const destination of destinations) {
      // Self pairs, and pairs that do not touch a pod, are nobody's policy.
      if (source === destination || (!isPods(source) && !isPods(destination))) continue;
      yield {
        source: place.get(source) ?? -1,
        destination: place.get(destination) ?? -1,
        ...lookupGroups(reach, source, destination),
      };
    }
  }
}

/** In the order of the groups, whatever the order they were found in. */
function chosen(
  reach: Reach,
  groups: readonly PeerGroup[],
  sources: ReadonlySet<PeerGroup>,
  destinations: ReadonlySet<PeerGroup>,
): OpenGroups[] {
  const wanted = (set: ReadonlySet<PeerGroup>): boolean[] => groups.map((group) => set.has(group));
  const [from, to] = [wanted(sources), wanted(destinations)];
  const pairs: OpenGroups[] = [];
  for (const pair of openGroups(reach, groups)) {
    if (from[pair.source] && to[pair.destination]) pairs.push(pair);
  }
  return pairs.toSorted((a, b) => a.source - b.source || a.destination - b.destination);
}

function isPods(group: PeerGroup): boolean {
  return group.kind === 'pod' || group.kind === 'workload';
}

function add(
  list: ReachabilityConnection[],
  source: PeerGroup,
  destination: PeerGroup,
  set: ConnectionSet,
  within: ConnectionSet | undefined,
): void {
  const open = within === undefined ? set : intersectConnections(set, within);
  if (isNoConnections(open)) return;
  const allow = allowOf(open);
  // Nothing but protocols without ports: it has no place in the document.
  if (allow !== 'all' && allow.length === 0) return;
  list.push({ src: source.id, dst: destination.id, allow });
}

function peerOf(reach: Reach, group: PeerGroup): ReachabilityPeer {
  const { id, kind, namespace, name, members, first } = group;
  const common = {
    id,
    kind: kind === 'world' ? ('ipBlock' as const) : kind,
    ...(namespace === undefined ? {} : { namespace }),
    ...(name === undefined ? {} : { name }),
  };
  if (first.kind === 'world') return { ...common, addresses: toCidrs(first.addresses) };
  const addresses = members.flatMap((member) => {
    const peer = reach.peers[member];
    if (peer?.kind === 'pod') return peer.pod.addresses.map(formatAddress);
    return peer?.kind === 'node' ? peer.node.addresses.map(formatAddress) : [];
  });
  return {
    ...common,
    ...(addresses.length === 0 ? {} : { addresses }),
    ...(kind === 'workload' ? { pods: members.length } : {}),
  };
}
