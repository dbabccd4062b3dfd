/**
 * Brings a computed reach up to date after one change, at the cost of what the change touches. Must
 * not know how changes are found.
 */
import type { NamespaceInfo, PodInfo, Snapshot } from './snapshot.ts';
import type { CompiledPeer, CompiledPolicy } from '../policy/compiled.ts';
import { createKeys, displacePod, placePod, relist } from './classes.ts';
import type { PeerClass } from './classes.ts';
import type { Labels } from '../k8s/types.ts';
import { addressSetKey, mention, PRESENCE } from './mentions.ts';
import type { LabelMentions } from './mentions.ts';
import { createPeerUsers } from './peer-users.ts';
import type { PeerUsers } from './peer-users.ts';
import { computeReach, createReach } from './reach.ts';
import type { Reach } from './reach.ts';

/** One object that is now different. Pods and nodes that come or go need a new {@link computeReach}. */
export type ReachChange =
  /** A policy by `ref.key`: added, replaced, or (without `policy`) removed. */
  | { readonly kind: 'policy'; readonly key: string; readonly policy?: CompiledPolicy }
  /** A pod that is known, with other labels. */
  | { readonly kind: 'pod-labels'; readonly id: string; readonly labels: PodInfo['labels'] }
  /** A namespace that is known, with other labels. */
  | {
      readonly kind: 'namespace-labels';
      readonly name: string;
      readonly labels: NamespaceInfo['labels'];
    };

/** Where pods are found by what a new policy may mention. */
export interface PodIndex {
  readonly byNamespace: ReadonlyMap<string, readonly number[]>;
  /** Key, then value. */
  readonly byLabel: ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>;
  readonly byPortName: ReadonlyMap<string, readonly number[]>;
}

const indices = new WeakMap<Reach['parts'], PodIndex>();

const users = new WeakMap<Reach['parts'], PeerUsers>();

function usersOf({ snapshot, parts }: Reach): PeerUsers {
  let known = users.get(parts);
  if (known === undefined) {
    known = createPeerUsers(snapshot, parts.book, parts.classes);
    for (const [position, policy] of parts.programs.policies.entries())
      if (policy !== undefined) known.add(position, policy);
    users.set(parts, known);
  }
  return known;
}

/** Builds what updates need beforehand, so that the first one is as quick as the others. */
export function prepareUpdates(reach: Reach): void {
  indexOf(reach);
  usersOf(reach);
  reach.positionOf('');
}

function indexOf({ snapshot, parts }: Reach): PodIndex {
  const known = indices.get(parts);
  if (known !== undefined) return known;
  const byNamespace = new Map<string, number[]>();
  const byLabel = new Map<string, Map<string, number[]>>();
  const byPortName = new Map<string, number[]>();
  const add = (map: Map<string, number[]>, key: string, position: number): void => {
    const list = map.get(key);
    if (list === undefined) map.set(key, [position]);
    else list.push(position);
  };
  snapshot.pods.forEach((pod, position) => {
    add(byNamespace, pod.namespace, position);
    for (const key in pod.labels) enlist(byLabel, key, pod.labels[key] as string, position);
    for (const { name } of pod.namedPorts) add(byPortName, name, position);
  });
  const index = { byNamespace, byLabel, byPortName };
  indices.set(parts, index);
  return index;
}

function enlist(
  byLabel: Map<string, Map<string, number[]>>,
  key: string,
  value: string,
  position: number,
): void {
  let values = byLabel.get(key);
  if (values === undefined) {
    values = new Map();
    byLabel.set(key, values);
  }
  const list = values.get(value);
  if (list === undefined) values.set(value, [position]);
  else list.push(position);
}

/**
 * The reach after a change. The one given is used up: its parts live on in the result. A policy with
 * an address block or node selector that no policy had before makes everything anew.
 */
export function updateReach(reach: Reach, change: ReachChange): Reach {
  switch (change.kind) {
    case 'policy':
      return updatePolicy(reach, change.key, change.policy);
    case 'pod-labels':
      return updatePodLabels(reach, change.id, change.labels);
    case 'namespace-labels':
      return updateNamespaceLabels(reach, change.name, change.labels);
  }
}

function updatePolicy(reach: Reach, key: string, policy: CompiledPolicy | undefined): Reach {
  const { parts } = reach;
  const { programs } = parts;
  const policies = reach.snapshot.policies.filter(({ ref }) => ref.key !== key);
  if (policy !== undefined) policies.push(policy);
  const snapshot: Snapshot = { ...reach.snapshot, policies };

  if (policy !== undefined) {
    if (mentionsNewAddresses(reach, policy)) return computeReach(snapshot);
    splitClasses(reach, policy);
  }
  const known = programs.policies.findIndex((other) => other?.ref.key === key);
  const before = programs.policies[known];
  if (before !== undefined) forgetPeers(parts.peerSets, before);
  const position = known < 0 ? programs.policies.length : known;
  if (policy !== undefined) users.get(parts)?.add(position, policy);
  for (const id of programs.replace(position, policy)) refreshLegs(reach, id);
  return createReach(snapshot, parts);
}

function refreshLegs({ parts }: Reach, id: number): void {
  const { nodeTraffic } = parts.classes.list[id] as PeerClass;
  parts.programs.legOf(id, 'Ingress', nodeTraffic);
  parts.programs.legOf(id, 'Egress', nodeTraffic);
}

function mentionsNewAddresses({ parts }: Reach, policy: CompiledPolicy): boolean {
  const { addressSetIndex, nodes } = parts.classes.mentions;
  return allPeers(policy).some(
    (peer) =>
      (peer.kind === 'addresses' && !addressSetIndex.has(addressSetKey(peer.set))) ||
      (peer.kind === 'nodes' && !nodes),
  );
}

function allPeers(policy: CompiledPolicy): CompiledPeer[] {
  return [...policy.rules.Ingress, ...policy.rules.Egress].flatMap(({ peers }) =>
    peers === 'any' ? [] : peers,
  );
}

/** A policy may tell pods apart that no policy did before: their class becomes two. */
function splitClasses(reach: Reach, policy: CompiledPolicy): void {
  const { snapshot, parts } = reach;
  const { classes } = parts;
  const { mentions } = classes;
  const before = {
    podKeys: sizesOf(mentions.podLabels),
    podKeysIn: new Map(
      [...namespacesIn(policy)].map((name) => [name, sizesOf(mentions.podLabelsIn.get(name))]),
    ),
    namespaceKeys: sizesOf(mentions.namespaceLabels),
    namespaces: mentions.namespaces.size,
    portNames: mentions.portNames.size,
  };
  if (!mention(mentions, policy)) return;
  const index = indexOf(reach);

  const affected = new Set<number>();
  const affect = (positions: Iterable<number> | undefined): void => {
    for (const position of positions ?? []) affected.add(position);
  };
  for (const [key, values] of mentions.podLabels) {
    // Sets keep the order of adding: what is new stands last.
    for (const value of [...values].slice(before.podKeys.get(key) ?? 0)) {
      const byValue = index.byLabel.get(key);
      if (value !== PRESENCE) affect(byValue?.get(value));
      else for (const positions of byValue?.values() ?? []) affect(positions);
    }
  }
  for (const [name, known] of before.podKeysIn)
    for (const [key, values] of mentions.podLabelsIn.get(name) ?? []) {
      const made = [...values].slice(known.get(key) ?? 0);
      if (made.length === 0) continue;
      for (const position of index.byNamespace.get(name) ?? [])
        if (isToldApart((snapshot.pods[position] as PodInfo).labels, key, made))
          affected.add(position);
    }
  for (const [key, values] of mentions.namespaceLabels)
    if (before.namespaceKeys.get(key) !== values.size)
      for (const { name, labels } of snapshot.namespaces.values())
        if (isToldApart(labels, key, [...values].slice(before.namespaceKeys.get(key) ?? 0)))
          affect(index.byNamespace.get(name));
  for (const name of [...mentions.namespaces].slice(before.namespaces))
    affect(index.byNamespace.get(name));
  for (const name of [...mentions.portNames].slice(before.portNames))
    affect(index.byPortName.get(name));

  const keys = createKeys(snapshot, classes);
  const groups = new Map<number, Map<string, number[]>>();
  for (const position of affected) {
    const pod = snapshot.pods[position] as PodInfo;
    const key = keys.of(pod);
    const id = classes.ofPod[position] as number;
    if (classes.list[id]?.key === key) continue;
    let group = groups.get(id);
    if (group === undefined) groups.set(id, (group = new Map<string, number[]>()));
    const list = group.get(key);
    if (list === undefined) group.set(key, [position]);
    else list.push(position);
  }

  const copies = new Map<number, number[]>();
  const added: PeerClass[] = [];
  const renamed = new Set<string>();
  for (const [id, group] of groups) {
    const own = classes.list[id] as PeerClass;
    for (const [key, positions] of group) {
      if (positions.length === own.members.length) {
        // All that are left go the same way: only the name of the class changes.
        if (own.key !== undefined && classes.byKey.get(own.key) === id)
          classes.byKey.delete(own.key);
        own.key = key;
        classes.byKey.set(key, id);
        continue;
      }
      for (const position of positions) renamed.add((snapshot.pods[position] as PodInfo).namespace);
      const moving = new Set(positions);
      const staying = own.members.filter((position) => !moving.has(position));
      own.members.length = 0;
      for (const position of staying) own.members.push(position);
      own.pod = snapshot.pods[staying[0] as number] as PodInfo;
      for (const position of positions)
        classes.ofPod[position] = placePod(
          snapshot,
          classes,
          snapshot.pods[position] as PodInfo,
          position,
          key,
        );
      const made = classes.list[classes.ofPod[positions[0] as number] as number] as PeerClass;
      own.columns.forEach((column, i) => {
        const copy = made.columns[i] as number;
        const list = copies.get(column);
        if (list === undefined) copies.set(column, [copy]);
        else list.push(copy);
      });
      parts.programs.split(id, made.id);
      parts.peerSets.reindex(own);
      added.push(made);
    }
  }
  for (const made of added) parts.peerSets.admit(made);
  if (copies.size > 0) {
    parts.sets.addLike(copies);
    parts.programs.addLike(copies);
  }
  for (const name of renamed) relist(classes, name, index.byNamespace.get(name) ?? []);
}

function sizesOf(mentions: LabelMentions | undefined): Map<string, number> {
  return new Map([...(mentions ?? [])].map(([key, values]) => [key, values.size]));
}

/** The namespaces that matchers of a policy name. */
function namespacesIn(policy: CompiledPolicy): Set<string> {
  const matchers = [
    policy.subject,
    ...allPeers(policy).flatMap((peer) => (peer.kind === 'pods' ? [peer.matcher] : [])),
  ];
  return new Set(
    matchers.flatMap(({ namespaces }) => ('name' in namespaces ? [namespaces.name] : [])),
  );
}

function isToldApart(labels: Labels, key: string, values: readonly string[]): boolean {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
  return value !== undefined && (values.includes(value) || values.includes(PRESENCE));
}

function updatePodLabels(reach: Reach, id: string, labels: PodInfo['labels']): Reach {
  const position = reach.positionOf(id);
  const before = position === undefined ? undefined : reach.snapshot.pods[position];
  if (position === undefined || before === undefined) return reach;
  const pod: PodInfo = { ...before, labels };
  const index = indexOf(reach);
  const byLabel = index.byLabel as Map<string, Map<string, number[]>>;
  for (const key in before.labels) {
    const list = byLabel.get(key)?.get(before.labels[key] as string);
    list?.splice(list.indexOf(position), 1);
  }
  for (const key in labels) enlist(byLabel, key, labels[key] as string, position);
  return moveAll(reach, new Map([[position, pod]]), undefined);
}

function updateNamespaceLabels(reach: Reach, name: string, labels: NamespaceInfo['labels']): Reach {
  const before = reach.snapshot.namespaces.get(name);
  if (before === undefined) return reach;
  const index = indexOf(reach);
  const moved = new Map<number, PodInfo>();
  for (const position of index.byNamespace.get(name) ?? [])
    moved.set(position, reach.snapshot.pods[position] as PodInfo);
  return moveAll(reach, moved, { ...before, labels, implied: false });
}

/** Pods that are now different, each to the class it belongs to. */
function moveAll(
  reach: Reach,
  pods: ReadonlyMap<number, PodInfo>,
  namespace: NamespaceInfo | undefined,
): Reach {
  const { snapshot, parts } = reach;
  const { classes, peerSets, programs } = parts;
  // The parts were made for this snapshot and read it on: it changes in place.
  const pieces = {
    pods: snapshot.pods as PodInfo[],
    podById: snapshot.podById as Map<string, PodInfo>,
    namespaces: snapshot.namespaces as Map<string, NamespaceInfo>,
  };
  if (namespace !== undefined) pieces.namespaces.set(namespace.name, namespace);
  for (const [position, pod] of pods) {
    const own = classes.list[classes.ofPod[position] as number] as PeerClass;
    displacePod(snapshot, classes, position);
    peerSets.reindex(own);
    pieces.pods[position] = pod;
    pieces.podById.set(pod.id, pod);
  }
  if (namespace !== undefined) peerSets.relabel(namespace);

  const keys = createKeys(snapshot, classes);
  const before = classes.list.length;
  for (const [position, pod] of pods)
    classes.ofPod[position] = placePod(snapshot, classes, pod, position, keys.of(pod));
  const added = classes.list.slice(before);
  const index = indexOf(reach);
  for (const name of new Set([...pods.values()].map((pod) => pod.namespace)))
    relist(classes, name, index.byNamespace.get(name) ?? []);
  for (const made of added) peerSets.admit(made);

  const touched = new Set<number>();
  const namespaceName = namespace?.name ?? [...pods.values()][0]?.namespace ?? '';
  for (const position of added.length === 0 ? [] : usersOf(reach).of(added, namespaceName)) {
    const policy = programs.policies[position];
    if (policy === undefined) continue;
    forgetPeers(peerSets, policy);
    for (const id of programs.invalidate(position)) touched.add(id);
  }
  for (const made of added) {
    programs.refresh(made.id);
    touched.add(made.id);
  }
  for (const id of touched) refreshLegs(reach, id);
  return createReach(snapshot, parts);
}

/** No answer about peers may outlive the policies that asked: nobody would keep it up to date. */
function forgetPeers(peerSets: Reach['parts']['peerSets'], policy: CompiledPolicy): void {
  for (const { peers, ports } of [...policy.rules.Ingress, ...policy.rules.Egress])
    peerSets.forget(
      peers === 'any' ? [] : peers,
      policy.tier,
      ports === 'any' ? [] : ports.flatMap((port) => (port.kind === 'named' ? [port.name] : [])),
    );
}
