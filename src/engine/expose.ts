/**
 * What each pod or workload is exposed to by its own policies: who could come in and where it could
 * go, by selector, so also peers that do not exist yet, and which existing peers that means. Must
 * not know of output.
 */
import { formatConnections, isNoConnections, type ConnectionSet } from '../net/connection-set.ts';
import type { CompiledPeer, CompiledRule, Direction, PolicyRef, Tier } from '../policy/compiled.ts';
import type { PeerClass } from './classes.ts';
import type { Leg } from './legs.ts';
import { groupPeers, nearness, type PeerGroup } from './groups.ts';
import type { Reach } from './reach.ts';
import { createWhatIf, type WhatIf } from './what-if.ts';

/** One peer of one rule, or a rule for everybody, with the existing peers it means. */
export interface ExposedTo {
  readonly tier: Tier;
  readonly action: 'Accept' | 'Deny' | 'Pass';
  readonly policy: PolicyRef;
  readonly rule: CompiledRule;
  /** Absent: everybody. */
  readonly peer?: CompiledPeer;
  /** Ids of groups; empty: none of them exists yet. */
  readonly matches: readonly string[];
  /** Ids of groups of which it is not known. */
  readonly mayMatch: readonly string[];
}

/** An existing peer, and what the pod's own side lets through. */
export interface ExposedPeer {
  readonly group: PeerGroup;
  readonly allowed: ConnectionSet;
  readonly unknown: ConnectionSet;
  /** What of `allowed` the other end lets through as well. */
  readonly open: ConnectionSet;
}

export interface ExposedSide {
  readonly direction: Direction;
  /** NetworkPolicies that isolate it for sure. */
  readonly isolatedBy: readonly PolicyRef[];
  /** NetworkPolicies that may isolate it: facts are missing. */
  readonly maybeIsolatedBy: readonly PolicyRef[];
  /** No policy of any tier has a say: every pod there is or will be, nodes, the world. */
  readonly anyone: boolean;
  /** Policy does not apply to it at all: hostNetwork or finished. */
  readonly exempt: boolean;
  /** In order of evaluation. */
  readonly rules: readonly ExposedTo[];
  readonly peers: readonly ExposedPeer[];
}

export interface Exposure {
  readonly group: PeerGroup;
  readonly ingress: ExposedSide;
  readonly egress: ExposedSide;
}

/** O(subjects × classes) legs, expanded to groups. */
export function* exposures(
  reach: Reach,
  chosen: (group: PeerGroup) => boolean = () => true,
): IterableIterator<Exposure> {
  const groups = groupPeers(reach);
  const byClass = new Map<number, PeerGroup[]>();
  for (const group of groups) {
    const list = byClass.get(group.first.class);
    if (list === undefined) byClass.set(group.first.class, [group]);
    else list.push(group);
  }
  const legs = createWhatIf(reach);
  for (const group of groups) {
    if (group.first.kind !== 'pod' || !chosen(group)) continue;
    yield {
      group,
      ingress: sideOf(reach, legs, group, 'Ingress', byClass),
      egress: sideOf(reach, legs, group, 'Egress', byClass),
    };
  }
}

function sideOf(
  reach: Reach,
  legs: WhatIf,
  group: PeerGroup,
  direction: Direction,
  byClass: ReadonlyMap<number, readonly PeerGroup[]>,
): ExposedSide {
  const { classes, programs, table } = reach.parts;
  const subject = classes.list[group.first.class] as PeerClass;
  const leg = programs.legOf(subject.id, direction, subject.nodeTraffic);
  const peers: ExposedPeer[] = [];
  for (const [id, groups] of byClass) {
    const other = classes.list[id] as PeerClass;
    for (const one of groups) {
      // A pod and itself are no pair; the pods of one workload are.
      if (one === group && isSingle(group)) continue;
      const [source, destination] = direction === 'Egress' ? [subject, other] : [other, subject];
      const [from, to] = direction === 'Egress' ? [group, one] : [one, group];
      const node = nearness(reach, from, to);
      const own = legs.ownEffect(source, destination, direction, node);
      const pair = legs.pairEffect(source, destination, node);
      peers.push({
        group: one,
        allowed: table.setOf(own.allowed),
        unknown: table.setOf(own.unknown),
        open: table.setOf(table.intersect(pair.allowed, own.allowed)),
      });
    }
  }
  const position = new Map([...byClass.values()].flat().map((one, index) => [one, index]));
  peers.sort((a, b) => (position.get(a.group) ?? 0) - (position.get(b.group) ?? 0));
  return {
    direction,
    isolatedBy: isolators(reach, leg, 'yes'),
    maybeIsolatedBy: isolators(reach, leg, 'maybe'),
    exempt: leg === undefined || subject.nodeTraffic,
    anyone: leg !== undefined && hasNoSay(leg),
    rules: leg === undefined ? [] : rulesOf(reach, leg, direction, byClass),
    peers: peers.filter(
      ({ allowed, unknown }) => !isNoConnections(allowed) || !isNoConnections(unknown),
    ),
  };
}

function isSingle({ members, first }: PeerGroup): boolean {
  return (
    members.length === 1 &&
    (first.kind !== 'pod' || !first.pod.template || first.pod.replicas === 1)
  );
}

function hasNoSay({ program }: Leg): boolean {
  const { admin, isolating, baseline, invalid } = program;
  return (
    admin.length + isolating.length + baseline.length === 0 &&
    !invalid.admin &&
    !invalid.networkPolicy &&
    !invalid.baseline
  );
}

function isolators(reach: Reach, leg: Leg | undefined, wanted: 'yes' | 'maybe'): PolicyRef[] {
  return (leg?.program.isolating ?? []).flatMap(({ policy, truth }) => {
    const ref = reach.parts.programs.policies[policy]?.ref;
    return truth === wanted && ref !== undefined ? [ref] : [];
  });
}

function rulesOf(
  reach: Reach,
  { program }: Leg,
  direction: Direction,
  byClass: ReadonlyMap<number, readonly PeerGroup[]>,
): ExposedTo[] {
  const { programs, peerSets, sets, classes } = reach.parts;
  const idsOf = (columns: number): string[] => {
    const found = new Set<string>();
    for (const column of sets.columnsOf(columns))
      for (const { id } of byClass.get(classes.columns[column]?.class ?? -1) ?? []) found.add(id);
    return [...found];
  };
  return [...program.admin, ...program.isolating, ...program.baseline].flatMap((step) => {
    const policy = programs.policies[step.policy];
    if (policy === undefined) return [];
    return policy.rules[direction].flatMap((rule): ExposedTo[] => {
      const common = { tier: policy.tier, action: rule.action, policy: policy.ref, rule };
      if (rule.peers === 'any') return [{ ...common, matches: [], mayMatch: [] }];
      return rule.peers.map((peer) => {
        const { yes, maybe } = peerSets.peers([peer], policy.tier, direction);
        // What a domain name stands for is not known: nobody in particular.
        const unsure = peer.kind === 'domainNames' ? [] : idsOf(maybe);
        return { ...common, peer, matches: idsOf(yes), mayMatch: unsure };
      });
    });
  });
}

/** Existing peers with the same answer, together. */
export function byConnections(
  peers: readonly ExposedPeer[],
): { readonly on: string; readonly peers: readonly ExposedPeer[] }[] {
  const groups = new Map<string, ExposedPeer[]>();
  for (const peer of peers) {
    const key = formatConnections(peer.allowed);
    const list = groups.get(key);
    if (list === undefined) groups.set(key, [peer]);
    else list.push(peer);
  }
  return [...groups].map(([on, list]) => ({ on, peers: list }));
}
