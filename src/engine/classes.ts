/**
 * Pods, nodes and the rest of the world in equivalence classes: members of one class are treated
 * alike by every policy there is, but for the exemption of the own node. Must not know of rules.
 */
import type { AddressSet } from '../net/address-set.ts';
import type { Address, Family } from '../net/address.ts';
import { atomsOf } from './atoms.ts';
import type { Atoms } from './atoms.ts';
import { counts } from './ends.ts';
import type { AddressBook } from './ends.ts';
import { labelSignature, mention, createMentions } from './mentions.ts';
import type { Mentions } from './mentions.ts';
import type { NodeInfo, PodInfo, Snapshot } from './snapshot.ts';

export type ClassKind = 'pod' | 'node' | 'world';

/** One way of looking at a class as a peer: by address family, and for hostNetwork pods by option of S184. */
export interface Column {
  readonly class: number;
  /** 0: policies do not tell the families of this class apart. */
  readonly family: Family | 0;
  readonly hostNetworkLikePods: boolean;
  /** Atoms its addresses are in; empty: the address is not known. */
  readonly atoms: readonly number[];
}

export interface PeerClass {
  readonly id: number;
  readonly kind: ClassKind;
  /** Pods: what tells the class from others. */
  key?: string;
  /** Stands for all members; absent for node and world. */
  pod?: PodInfo;
  readonly node?: NodeInfo;
  /** World: its addresses. Those that a pod or node owns are theirs, not the world's. */
  readonly addresses?: AddressSet;
  /** Positions in `snapshot.pods`, or one of the nodes; one stands for the world. */
  readonly members: number[];
  /** Node traffic under the second option of S184: nodes and hostNetwork pods. */
  readonly nodeTraffic: boolean;
  /** Whether policies see it as a pod: not world, nodes, finished pods. */
  readonly counts: boolean;
  /** Families its addresses have; both when they are not known. */
  readonly families: readonly Family[];
  readonly columns: number[];
}

export interface Classes {
  readonly list: PeerClass[];
  readonly columns: Column[];
  /** Class of each pod, by position in `snapshot.pods`. */
  readonly ofPod: Int32Array;
  readonly nodes: readonly NodeInfo[];
  /** Classes of nodes in the same order. */
  readonly ofNode: Int32Array;
  readonly mentions: Mentions;
  readonly atoms: Atoms;
  readonly byKey: Map<string, number>;
  /** Classes of the pods of a namespace. */
  readonly byNamespace: Map<string, Set<number>>;
  /** World class of each atom; -1 where pods and nodes own every address. */
  readonly ofAtom: Int32Array;
}

export function buildClasses(snapshot: Snapshot, book: AddressBook): Classes {
  const mentions = createMentions();
  for (const policy of snapshot.policies) mention(mentions, policy);
  for (const { namespace } of snapshot.completeness.invalidPolicies)
    if (namespace !== undefined) mentions.namespaces.add(namespace);
  const atoms = atomsOf(mentions.addressSets);
  const nodes = [...snapshot.nodes.values()];
  const classes: Classes = {
    list: [],
    columns: [],
    ofPod: new Int32Array(snapshot.pods.length),
    nodes,
    ofNode: new Int32Array(nodes.length),
    mentions,
    atoms,
    byKey: new Map(),
    byNamespace: new Map(),
    ofAtom: new Int32Array(atoms.list.length).fill(-1),
  };
  const keys = createKeys(snapshot, classes);
  snapshot.pods.forEach((pod, position) => {
    classes.ofPod[position] = placePod(snapshot, classes, pod, position, keys.of(pod));
  });
  nodes.forEach((node, position) => {
    classes.ofNode[position] = addClass(classes, {
      kind: 'node',
      node,
      members: [position],
      nodeTraffic: true,
      counts: false,
      addresses: node.addresses,
    }).id;
  });
  addWorld(classes, book);
  return classes;
}

/** Puts a pod into the class of its key, which is made if there is none. */
export function placePod(
  snapshot: Snapshot,
  classes: Classes,
  pod: PodInfo,
  position: number,
  key: string,
): number {
  const known = classes.byKey.get(key);
  if (known !== undefined) {
    classes.list[known]?.members.push(position);
    listInNamespace(classes, pod.namespace, known);
    return known;
  }
  const { settings } = snapshot;
  const counted = counts(pod, settings);
  const made = addClass(classes, {
    kind: 'pod',
    pod,
    members: [position],
    nodeTraffic: counted && pod.hostNetwork,
    counts: counted,
    addresses: pod.addresses,
    twice: counted && pod.hostNetwork && settings.hostNetworkPods === 'unknown',
  });
  made.key = key;
  classes.byKey.set(key, made.id);
  listInNamespace(classes, pod.namespace, made.id);
  return made.id;
}

/**
 * Takes a pod out of its class. A class without members is forgotten for good: it has no pod to
 * select any more, for the labels it stands for may be out of date.
 */
export function displacePod(snapshot: Snapshot, classes: Classes, position: number): void {
  const own = classes.list[classes.ofPod[position] as number] as PeerClass;
  own.members.splice(own.members.indexOf(position), 1);
  const other = own.members[0];
  if (other !== undefined) {
    own.pod = snapshot.pods[other] as PodInfo;
    return;
  }
  if (own.key !== undefined && classes.byKey.get(own.key) === own.id) classes.byKey.delete(own.key);
  delete own.pod;
}

function listInNamespace(classes: Classes, namespace: string, id: number): void {
  const list = classes.byNamespace.get(namespace);
  if (list === undefined) classes.byNamespace.set(namespace, new Set([id]));
  else list.add(id);
}

/** Lists the classes of a namespace anew from the pods in it. */
export function relist(classes: Classes, namespace: string, positions: Iterable<number>): void {
  const ids = new Set<number>();
  for (const position of positions) ids.add(classes.ofPod[position] as number);
  classes.byNamespace.set(namespace, ids);
}

/** What tells pods apart; equal keys, equal treatment. */
export function createKeys(snapshot: Snapshot, classes: Classes): { of(pod: PodInfo): string } {
  const { mentions, atoms } = classes;
  const namespaces = new Map<string, string>();
  const namespaceKey = (name: string): string => {
    let key = namespaces.get(name);
    if (key === undefined) {
      const info = snapshot.namespaces.get(name);
      key = mentions.namespaces.has(name)
        ? `=${name}`
        : `${info?.implied === false ? '' : '?'}${labelSignature(info?.labels ?? {}, mentions.namespaceLabels)}`;
      namespaces.set(name, key);
    }
    return key;
  };
  const usesAddresses = mentions.addressSets.length > 0;
  return {
    of(pod) {
      let key = `${namespaceKey(pod.namespace)}\u0004${labelSignature(pod.labels, mentions.podLabels, mentions.podLabelsIn.get(pod.namespace))}`;
      if (mentions.portNames.size > 0 && pod.namedPorts.length > 0) {
        const ports = pod.namedPorts.filter(({ name }) => mentions.portNames.has(name));
        if (ports.length > 0)
          key += `\u0005${ports
            .map(({ name, port, protocol }) => `${name}/${port}/${protocol}`)
            .sort()
            .join()}`;
      }
      if (pod.hostNetwork) key += mentions.nodes ? `\u0006h${pod.id}` : '\u0006h';
      if (!counts(pod, snapshot.settings)) key += '\u0006f';
      // Families first: they decide which answers a pair has to merge.
      for (const address of pod.addresses)
        key += usesAddresses
          ? `\u0007${address.family}:${atoms.atomOf(address)}`
          : `\u0007${address.family}`;
      return key;
    },
  };
}

interface ClassParts {
  readonly kind: ClassKind;
  readonly pod?: PodInfo;
  readonly node?: NodeInfo;
  readonly members: number[];
  readonly nodeTraffic: boolean;
  readonly counts: boolean;
  readonly addresses: readonly Address[];
  /** Under both options of S184. */
  readonly twice?: boolean;
}

function addClass(classes: Classes, parts: ClassParts): PeerClass {
  const { addresses, twice = false, ...rest } = parts;
  const families = ([4, 6] as const).filter(
    (family) => addresses.length === 0 || addresses.some((address) => address.family === family),
  );
  const made: PeerClass = { id: classes.list.length, ...rest, families, columns: [] };
  classes.list.push(made);
  const views: readonly (Family | 0)[] =
    classes.mentions.addressSets.length === 0 ? [0] : families.length === 0 ? [0] : families;
  for (const hostNetworkLikePods of twice ? [false, true] : [false])
    for (const family of views) {
      const own = addresses.filter((address) => family === 0 || address.family === family);
      made.columns.push(classes.columns.length);
      classes.columns.push({
        class: made.id,
        family,
        hostNetworkLikePods,
        atoms: [...new Set(own.map((address) => classes.atoms.atomOf(address)))],
      });
    }
  return made;
}

/** One class per atom of which some address belongs to nobody known. */
function addWorld(classes: Classes, book: AddressBook): void {
  const owned = new Float64Array(classes.atoms.list.length);
  const seen = new Set<number | bigint>();
  for (const owners of [book.pods, book.nodes, book.hostPods])
    for (const value of owners.keys()) {
      if (seen.has(value)) continue;
      seen.add(value);
      const atom = classes.atoms.atomOf(
        typeof value === 'number' ? { family: 4, value } : { family: 6, value },
      );
      owned[atom] = (owned[atom] as number) + 1;
    }
  classes.atoms.list.forEach((atom, position) => {
    if (sizeOf(atom.addresses) <= (owned[position] as number)) return;
    const made: PeerClass = {
      id: classes.list.length,
      kind: 'world',
      addresses: atom.addresses,
      members: [position],
      nodeTraffic: false,
      counts: false,
      families: [atom.family],
      columns: [classes.columns.length],
    };
    classes.list.push(made);
    classes.ofAtom[position] = made.id;
    classes.columns.push({
      class: made.id,
      family: atom.family,
      hostNetworkLikePods: false,
      atoms: [position],
    });
  });
}

/** How many addresses; large counts lose digits, which does no harm here. */
function sizeOf({ v4, v6 }: AddressSet): number {
  let size = 0;
  for (let i = 0; i < v4.length; i += 2) size += (v4[i + 1] as number) - (v4[i] as number) + 1;
  for (let i = 0; i < v6.length; i += 2)
    size += Number((v6[i + 1] as bigint) - (v6[i] as bigint)) + 1;
  return size;
}

/** One way in which two classes meet: the column of each that the other sees. */
export interface Meeting {
  readonly source: number;
  readonly destination: number;
  /** First option of S184. */
  readonly likePods: boolean;
}

/** The columns two classes meet in: one per family they share and per option of S184. */
export function meetings(
  classes: Classes,
  source: PeerClass,
  destination: PeerClass,
): readonly Meeting[] {
  const { columns } = classes;
  if (source.columns.length === 1 && destination.columns.length === 1)
    return [
      {
        source: source.columns[0] as number,
        destination: destination.columns[0] as number,
        likePods: false,
      },
    ];
  const common: (Family | 0)[] = source.families.filter((family) =>
    destination.families.includes(family),
  );
  const options = [source, destination].some(({ columns: own }) =>
    own.some((column) => columns[column]?.hostNetworkLikePods === true),
  )
    ? [false, true]
    : [false];
  const found = new Map<string, Meeting>();
  for (const likePods of options)
    for (const family of common.length === 0 ? [0 as const] : common) {
      const from = columnFor(classes, source, family, likePods);
      const to = columnFor(classes, destination, family, likePods);
      found.set(`${from},${to},${likePods ? 1 : 0}`, { source: from, destination: to, likePods });
    }
  return [...found.values()];
}

function columnFor(
  classes: Classes,
  { columns }: PeerClass,
  family: Family | 0,
  likePods: boolean,
): number {
  const fits = (column: number, option: boolean): boolean => {
    const { family: own, hostNetworkLikePods } = classes.columns[column] as Column;
    return hostNetworkLikePods === option && (own === 0 || family === 0 || own === family);
  };
  return (
    columns.find((column) => fits(column, likePods)) ??
    columns.find((column) => fits(column, false)) ??
    (columns[0] as number)
  );
}
