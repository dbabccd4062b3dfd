/**
 * What differs in reachability between two snapshots, pair by pair, and which edit caused it. Must
 * not know where the snapshots came from or how differences are shown.
 */
import { intersect, isEmptyAddressSet, union, type AddressSet } from '../net/address-set.ts';
import {
  complementConnections,
  equalConnections,
  intersectConnections,
  isNoConnections,
  noConnections,
  subtractConnections,
  unionConnections,
  type ConnectionSet,
} from '../net/connection-set.ts';
import type { CompiledPolicy, PolicyRef } from '../policy/compiled.ts';
import { groupPeers, lookupGroups, worldId, type PeerGroup } from './groups.ts';
import type { PairResult, Reach } from './reach.ts';
import type { Snapshot } from './snapshot.ts';

export type PolicyEdit = 'added' | 'removed' | 'changed';

export type Cause =
  | { readonly kind: 'policy'; readonly edit: PolicyEdit; readonly policy: PolicyRef }
  | { readonly kind: 'labels'; readonly object: string }
  | { readonly kind: 'peer'; readonly edit: 'added' | 'removed'; readonly peer: string };

export interface PairChange {
  readonly source: string;
  readonly destination: string;
  /**
   * `opened`: nothing before. `closed`: nothing after. `widened`, `narrowed`: more, less of
   * something. `changed`: some more and some less. `undecided`: only what is unknown differs.
   */
  readonly kind: 'opened' | 'closed' | 'widened' | 'narrowed' | 'changed' | 'undecided';
  readonly opened: ConnectionSet;
  readonly closed: ConnectionSet;
  /** Decided on one side only. */
  readonly undecided: ConnectionSet;
  readonly before: ConnectionSet;
  readonly after: ConnectionSet;
  readonly causes: readonly Cause[];
}

export interface ReachDiff {
  readonly changes: readonly PairChange[];
  readonly edits: readonly { readonly edit: PolicyEdit; readonly policy: PolicyRef }[];
  readonly peersAdded: readonly string[];
  readonly peersRemoved: readonly string[];
}

const nothing: PairResult = { allowed: noConnections, unknown: noConnections };

/** One group on both sides; absent where the cluster does not have it. */
interface Side {
  readonly id: string;
  readonly before?: PeerGroup;
  readonly after?: PeerGroup;
  /** Of a piece of the world. */
  readonly addresses?: AddressSet;
}

/** O(groups²) look-ups; attribution only for pairs that differ. */
export function diffReach(before: Reach, after: Reach): ReachDiff {
  const sides = match(before, after);
  const edits = policyEdits(before.snapshot, after.snapshot);
  const relabelled = relabelledObjects(before.snapshot, after.snapshot);
  const changes: (PairChange & { readonly from: Side; readonly to: Side })[] = [];
  for (const from of sides) {
    for (const to of sides) {
      if (from === to || (from.addresses !== undefined && to.addresses !== undefined)) continue;
      const old = pairOf(before, from.before, to.before);
      const now = pairOf(after, from.after, to.after);
      if (same(old, now)) continue;
      const change = compare(old, now);
      const causes = causesOf(before, after, from, to, edits, relabelled);
      changes.push({ source: from.id, destination: to.id, ...change, causes, from, to });
    }
  }
  const whole = sides.filter((side) => side.addresses === undefined);
  return {
    changes: mergeWorld(changes),
    edits: [...edits.values()],
    peersAdded: whole.filter((side) => side.before === undefined).map((side) => side.id),
    peersRemoved: whole.filter((side) => side.after === undefined).map((side) => side.id),
  };
}

function same(a: PairResult, b: PairResult): boolean {
  return equalConnections(a.allowed, b.allowed) && equalConnections(a.unknown, b.unknown);
}

function pairOf(reach: Reach, from: PeerGroup | undefined, to: PeerGroup | undefined): PairResult {
  return from === undefined || to === undefined ? nothing : lookupGroups(reach, from, to);
}

function match(before: Reach, after: Reach): Side[] {
  const old = groupsOf(before, after);
  const now = groupsOf(after, before);
  const ids = new Map<string, { before?: PeerGroup; after?: PeerGroup }>();
  for (const group of old) if (group.kind !== 'world') ids.set(group.id, { before: group });
  for (const group of now) {
    if (group.kind !== 'world') ids.set(group.id, { ...ids.get(group.id), after: group });
  }
  const world = old.flatMap((one) =>
    now.flatMap((two): Side[] => {
      if (one.first.kind !== 'world' || two.first.kind !== 'world') return [];
      const addresses = intersect(one.first.addresses, two.first.addresses);
      if (isEmptyAddressSet(addresses)) return [];
      return [{ id: worldId(addresses), before: one, after: two, addresses }];
    }),
  );
  return [...[...ids].map(([id, groups]) => ({ id, ...groups })), ...world];
}

/** A workload that one side has to show pod by pod is shown so on both, or their names do not meet. */
function groupsOf(reach: Reach, other: Reach): PeerGroup[] {
  const groups = groupPeers(reach);
  const others = new Set(groupPeers(other).map((group) => group.id));
  const single = groupPeers(reach, { eachPod: true });
  return groups.flatMap((group) => {
    if (group.kind !== 'workload' || others.has(group.id) || group.members.length === 1) {
      return [group];
    }
    const pods = single.filter((pod) => group.members.includes(pod.members[0] ?? -1));
    return pods.some((pod) => others.has(pod.id)) ? pods : [group];
  });
}

function compare(
  old: PairResult,
  now: PairResult,
): Omit<PairChange, 'source' | 'destination' | 'causes'> {
  const maybeOld = unionConnections(old.allowed, old.unknown);
  const maybeNow = unionConnections(now.allowed, now.unknown);
  const opened = subtractConnections(now.allowed, maybeOld);
  const closed = subtractConnections(old.allowed, maybeNow);
  const undecided = unionConnections(
    intersectConnections(old.unknown, complementConnections(now.unknown)),
    intersectConnections(now.unknown, complementConnections(old.unknown)),
  );
  const more = !isNoConnections(opened);
  const less = !isNoConnections(closed);
  const kind =
    !more && !less
      ? 'undecided'
      : more && less
        ? 'changed'
        : more
          ? isNoConnections(maybeOld)
            ? 'opened'
            : 'widened'
          : isNoConnections(maybeNow)
            ? 'closed'
            : 'narrowed';
  return { kind, opened, closed, undecided, before: old.allowed, after: now.allowed };
}

function fingerprint(policy: CompiledPolicy): string {
  const { ref: _ref, ...content } = policy;
  return JSON.stringify(content, (_, value: unknown) =>
    typeof value === 'bigint' ? `${value}n` : value,
  );
}

function policyEdits(
  before: Snapshot,
  after: Snapshot,
): Map<string, { edit: PolicyEdit; policy: PolicyRef }> {
  const old = new Map(before.policies.map((policy) => [policy.ref.key, policy]));
  const now = new Map(after.policies.map((policy) => [policy.ref.key, policy]));
  const edits = new Map<string, { edit: PolicyEdit; policy: PolicyRef }>();
  for (const [key, policy] of now) {
    const was = old.get(key);
    if (was === undefined) edits.set(key, { edit: 'added', policy: policy.ref });
    else if (fingerprint(was) !== fingerprint(policy)) {
      edits.set(key, { edit: 'changed', policy: policy.ref });
    }
  }
  for (const [key, policy] of old) {
    if (!now.has(key)) edits.set(key, { edit: 'removed', policy: policy.ref });
  }
  return edits;
}

/** Namespaces and pods that both sides have, with different labels. */
function relabelledObjects(before: Snapshot, after: Snapshot): Set<string> {
  const found = new Set<string>();
  for (const [name, { labels }] of after.namespaces) {
    const was = before.namespaces.get(name);
    if (was !== undefined && !sameLabels(was.labels, labels)) found.add(`Namespace ${name}`);
  }
  for (const [id, { labels }] of after.podById) {
    const was = before.podById.get(id);
    if (was !== undefined && !sameLabels(was.labels, labels)) found.add(`pod ${id}`);
  }
  return found;
}

function sameLabels(
  a: Readonly<Record<string, string>>,
  b: Readonly<Record<string, string>>,
): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

function causesOf(
  before: Reach,
  after: Reach,
  from: Side,
  to: Side,
  edits: ReadonlyMap<string, { edit: PolicyEdit; policy: PolicyRef }>,
  relabelled: ReadonlySet<string>,
): Cause[] {
  const peers = [from, to].flatMap((side): Cause[] => {
    if (side.before === undefined) return [{ kind: 'peer', edit: 'added', peer: side.id }];
    return side.after === undefined ? [{ kind: 'peer', edit: 'removed', peer: side.id }] : [];
  });
  if (peers.length > 0) return peers;
  const keys = new Set([
    ...policiesAt(before, from.before, to.before),
    ...policiesAt(after, from.after, to.after),
  ]);
  const policies = [...keys].flatMap((key): Cause[] => {
    const edit = edits.get(key);
    return edit === undefined ? [] : [{ kind: 'policy', ...edit }];
  });
  const labels = [...relabelled]
    .filter((object) => [from, to].some((side) => touches(side, object)))
    .map((object): Cause => ({ kind: 'labels', object }));
  return [...policies, ...labels];
}

function touches(side: Side, object: string): boolean {
  const { first, namespace } = side.after ?? side.before ?? {};
  return (
    object === `Namespace ${namespace}` ||
    (first?.kind === 'pod' && object === `pod ${first.pod.id}`)
  );
}

/** Keys of the policies that isolate either end of a pair or have a rule for it. */
function policiesAt(
  reach: Reach,
  from: PeerGroup | undefined,
  to: PeerGroup | undefined,
): string[] {
  if (from === undefined || to === undefined) return [];
  const [source = 0] = from.members;
  const destination = to.members.find((member) => member !== source) ?? to.members[0] ?? 0;
  const { egress, ingress } = reach.explain(source, destination);
  return [egress, ingress].flatMap(({ isolatedBy, rules }) => [
    ...isolatedBy.map((ref) => ref.key),
    ...rules.map((rule) => rule.policy.key),
  ]);
}

/** Pieces of the world that changed alike for one peer are told as one. */
function mergeWorld(
  changes: readonly (PairChange & { readonly from: Side; readonly to: Side })[],
): PairChange[] {
  const merged = new Map<string, PairChange & { addresses?: AddressSet; side?: 'from' | 'to' }>();
  for (const { from, to, ...change } of changes) {
    const side =
      from.addresses !== undefined ? 'from' : to.addresses !== undefined ? 'to' : undefined;
    const addresses = from.addresses ?? to.addresses;
    const key = JSON.stringify([
      side === 'from' ? '' : change.source,
      side === 'to' ? '' : change.destination,
      change.kind,
      change.before,
      change.after,
      change.undecided,
      change.causes.map((cause) => JSON.stringify(cause)),
    ]);
    const held = merged.get(key);
    if (side === undefined || addresses === undefined || held?.addresses === undefined) {
      merged.set(key, { ...change, ...(side && addresses ? { side, addresses } : {}) });
      continue;
    }
    const all = union(held.addresses, addresses);
    const id = worldId(all);
    merged.set(key, {
      ...held,
      addresses: all,
      ...(side === 'from' ? { source: id } : { destination: id }),
    });
  }
  return [...merged.values()].map(({ addresses: _addresses, side: _side, ...change }) => change);
}
