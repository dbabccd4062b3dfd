/**
 * A computed reach as the Reachability document. Must not know how either is used.
 */
import { groupPeers, lookupGroups, type PeerGroup } from '../engine/groups.ts';
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

/** O(groups²) look-ups. */
export function toReachability(reach: Reach, options: ReachabilityOptions = {}): Reachability {
  const groups = groupPeers(reach, { eachPod: options.eachPod ?? false });
  const sources = groups.filter((group) => options.from?.(group) ?? true);
  const destinations = groups.filter((group) => options.to?.(group) ?? true);
  const connections: ReachabilityConnection[] = [];
  const unknown: ReachabilityConnection[] = [];
  for (const source of sources) {
    for (const destination of destinations) {
      // Self pairs, and pairs that do not touch a pod, are nobody's policy.
      if (source === destination || (!isPods(source) && !isPods(destination))) continue;
      const pair = lookupGroups(reach, source, destination);
      add(connections, source, destination, pair.allowed, options.within);
      add(unknown, source, destination, pair.unknown, options.within);
    }
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
