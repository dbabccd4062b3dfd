/**
 * Which columns the peers of rules match: selectors through indices, addresses through atoms, each
 * distinct peer once. Must not know of tiers or of who is subject.
 */
import type { Selector } from '../k8s/selector.ts';
import type { AddressSet } from '../net/address-set.ts';
import type {
  CompiledPeer,
  CompiledPort,
  Direction,
  PodMatcher,
  Tier,
} from '../policy/compiled.ts';
import type { Classes, PeerClass } from './classes.ts';
import { EMPTY, EVERY } from './column-sets.ts';
import type { ColumnSets, SetId } from './column-sets.ts';
import type { AddressBook } from './ends.ts';
import { createLabelIndex } from './label-index.ts';
import { addressSetKey } from './mentions.ts';
import { inAny, knowsNodes, matchesNamespace, matchesNode } from './peers.ts';
import { isNamed } from './ports.ts';
import type { NamespaceInfo, Snapshot } from './snapshot.ts';
import { agreed, and, selects } from './truth.ts';
import type { Truth } from './truth.ts';

/** Columns that match, and columns of which it is not known; disjoint. */
export interface Matching {
  readonly yes: SetId;
  readonly maybe: SetId;
}

export interface PeerSets {
  peers(peers: 'any' | readonly CompiledPeer[], tier: Tier, direction: Direction): Matching;
  /** Classes that a matcher selects as subjects, with how sure that is. */
  subjects(matcher: PodMatcher, tier: Tier): { readonly class: number; readonly truth: Truth }[];
  /** Whether a matcher selects one class as subject. */
  selectsClass(matcher: PodMatcher, id: number, tier: Tier): Truth;
  /** Columns by the ports that a named entry means there (S134). */
  named(entry: CompiledPort & { readonly kind: 'named' }): readonly NamedGroup[];
  /** Takes a class that was added after the indices were built into all of them. */
  admit(added: PeerClass): void;
  /** Makes a class known by the labels of another pod that now stands for it. */
  reindex(known: PeerClass): void;
  /** Forgets which columns these peers match, and who declares these ports. */
  forget(peers: readonly CompiledPeer[], tier: Tier, portNames: readonly string[]): void;
  /** Takes the changed labels of a namespace in. */
  relabel(namespace: NamespaceInfo): void;
}

/** Destinations that resolve a port name to the same ports. */
export interface NamedGroup {
  readonly ports: readonly { readonly protocol: 'TCP' | 'UDP' | 'SCTP'; readonly port: number }[];
  readonly columns: SetId;
}

const nothing: Matching = { yes: EMPTY, maybe: EMPTY };

export function createPeerSets(
  snapshot: Snapshot,
  book: AddressBook,
  classes: Classes,
  sets: ColumnSets,
): PeerSets {
  const matchings = new Map<string, Matching>();
  const namespaceSelectors = new Map<string, Map<string, Truth>>();
  const selectorById = new Map<string, Selector>();
  const namedGroups = new Map<string, readonly NamedGroup[]>();

  const podLabels = createLabelIndex();
  const namespaceLabels = createLabelIndex();
  const namespaces: NamespaceInfo[] = [];
  const implied: number[] = [];
  for (const namespace of snapshot.namespaces.values()) {
    namespaceLabels.add(namespaces.length, namespace.labels);
    if (namespace.implied) implied.push(namespaces.length);
    namespaces.push(namespace);
  }
  /** Classes that declare a port name. */
  const classesByPortName = new Map<string, number[]>();
  /** Columns by atom, where the atom is the only one; then the rest. */
  const columnsByAtom: number[][] = classes.atoms.list.map(() => []);
  const manyAtoms: number[] = [];
  const unknownAddress: number[] = [];
  const withoutPod: number[] = [];

  const reindex = (known: PeerClass): void => {
    if (known.pod === undefined || !known.counts) return;
    podLabels.add(known.id, known.pod.labels);
    for (const { name } of known.pod.namedPorts) {
      const list = classesByPortName.get(name);
      if (list === undefined) classesByPortName.set(name, [known.id]);
      else if (list[list.length - 1] !== known.id) list.push(known.id);
    }
  };

  const admit = (added: PeerClass): void => {
    reindex(added);
    for (const column of added.columns) {
      const { atoms, hostNetworkLikePods } = classes.columns[column] as Classes['columns'][number];
      if (atoms.length === 0) unknownAddress.push(column);
      else if (atoms.length === 1) columnsByAtom[atoms[0] as number]?.push(column);
      else manyAtoms.push(column);
      if (!added.counts || (added.nodeTraffic && !hostNetworkLikePods)) withoutPod.push(column);
    }
  };
  for (const peerClass of classes.list) admit(peerClass);

  /** Columns in which a selector sees the class as a pod (S184, S256). */
  const podColumns = (id: number, tier: Tier): readonly number[] => {
    const { counts, nodeTraffic, columns } = classes.list[id] as PeerClass;
    if (!counts) return [];
    if (!nodeTraffic) return columns;
    if (tier !== 'NetworkPolicy') return [];
    return columns.filter((column) => classes.columns[column]?.hostNetworkLikePods === true);
  };

  const namespacesOf = (selector: Selector): Map<string, Truth> => {
    let found = namespaceSelectors.get(selector.id);
    if (found !== undefined) return found;
    found = new Map<string, Truth>();
    const candidates = namespaceLabels.candidates(selector);
    const positions =
      candidates === undefined ? namespaces.keys() : new Set([...candidates, ...implied]);
    for (const position of positions) {
      const namespace = namespaces[position] as NamespaceInfo;
      const truth = matchesNamespace(selector, namespace, namespace.name);
      if (truth !== 'no') found.set(namespace.name, truth);
    }
    namespaceSelectors.set(selector.id, found);
    selectorById.set(selector.id, selector);
    return found;
  };

  const classesOf = (matcher: PodMatcher): Map<number, Truth> => {
    const found = new Map<number, Truth>();
    const test = (id: number, namespace: Truth): void => {
      const { pod } = classes.list[id] as PeerClass;
      if (pod === undefined) return;
      const truth = and(namespace, selects(matcher.pods, pod.labels, true));
      if (truth !== 'no') found.set(id, truth);
    };
    if ('name' in matcher.namespaces) {
      for (const id of classes.byNamespace.get(matcher.namespaces.name) ?? []) test(id, 'yes');
      return found;
    }
    const inNamespaces = namespacesOf(matcher.namespaces.selector);
    const candidates = podLabels.candidates(matcher.pods);
    if (candidates !== undefined && candidates.length < inNamespaces.size * 2) {
      for (const id of candidates) {
        const namespace = classes.list[id]?.pod?.namespace;
        test(id, (namespace === undefined ? undefined : inNamespaces.get(namespace)) ?? 'no');
      }
      return found;
    }
    for (const [name, truth] of inNamespaces)
      for (const id of classes.byNamespace.get(name) ?? []) if (!found.has(id)) test(id, truth);
    return found;
  };

  const keyOf = (matcher: PodMatcher, tier: Tier): string =>
    `${tier === 'NetworkPolicy' ? 'n' : 'c'}${
      'name' in matcher.namespaces
        ? `=${matcher.namespaces.name}`
        : `~${matcher.namespaces.selector.id}`
    }\u0006${matcher.pods.id}`;

  const matching = (found: Iterable<readonly [number, Truth]>, tier: Tier): Matching => {
    const yes: number[] = [];
    const maybe: number[] = [];
    for (const [id, truth] of found) (truth === 'yes' ? yes : maybe).push(...podColumns(id, tier));
    return { yes: sets.intern(sorted(yes)), maybe: sets.intern(sorted(maybe)) };
  };

  const ofMatcher = (matcher: PodMatcher, tier: Tier): Matching => {
    const key = keyOf(matcher, tier);
    let found = matchings.get(key);
    if (found === undefined) {
      found = matching(classesOf(matcher), tier);
      matchings.set(key, found);
    }
    return found;
  };

  const ofAddresses = (set: AddressSet, tier: Tier, direction: Direction): Matching => {
    const open =
      snapshot.settings.ipBlockAddress === 'unknown' &&
      tier === 'NetworkPolicy' &&
      direction === 'Ingress';
    const key = `a${open ? '?' : '.'}${addressSetKey(set)}`;
    let found = matchings.get(key);
    if (found !== undefined) return found;
    const index = classes.mentions.addressSetIndex.get(addressSetKey(set)) ?? -1;
    const rewritten = new Set(open ? withoutPod : []);
    const yes: number[] = [];
    const maybe: number[] = [];
    const put = (column: number, truth: Truth): void => {
      if (truth === 'yes') yes.push(column);
      else if (truth === 'maybe') maybe.push(column);
    };
    const inSet = (atom: number): boolean =>
      classes.atoms.list[atom]?.sets.includes(index) === true;
    const familyOf = (column: number): 4 | 6 | undefined =>
      classes.columns[column]?.family || undefined;
    classes.atoms.list.forEach((atom, position) => {
      if (!atom.sets.includes(index)) return;
      for (const column of columnsByAtom[position] ?? [])
        if (!rewritten.has(column)) yes.push(column);
    });
    for (const column of manyAtoms)
      if (!rewritten.has(column))
        put(
          column,
          agreed(
            (classes.columns[column]?.atoms ?? []).map((atom) => (inSet(atom) ? 'yes' : 'no')),
          ),
        );
    for (const column of unknownAddress)
      if (!rewritten.has(column)) put(column, inAny(set, familyOf(column)));
    for (const column of rewritten) put(column, inAny(set, familyOf(column)));
    found = { yes: sets.intern(sorted(yes)), maybe: sets.intern(sorted(maybe)) };
    matchings.set(key, found);
    return found;
  };

  /** As `matchesNodes` in peers.ts, for every column that is no pod to selectors. */
  const ofNodes = (selector: Selector): Matching => {
    const key = `o${selector.id}`;
    let found = matchings.get(key);
    if (found !== undefined) return found;
    const yes: number[] = [];
    const maybe: number[] = [];
    const known = knowsNodes(snapshot);
    for (const { kind, pod, node, counts, nodeTraffic, columns } of classes.list) {
      if (counts && !nodeTraffic) continue;
      for (const column of columns) {
        const { family } = classes.columns[column] as Classes['columns'][number];
        const addresses = (pod?.addresses ?? node?.addresses ?? []).filter(
          (address) => family === 0 || address.family === family,
        );
        let truth: Truth;
        if (kind === 'world') truth = known ? 'no' : 'maybe';
        else if (addresses.length > 0)
          truth = agreed(
            addresses.map((address) => {
              const owner = book.nodes.get(address.value);
              if (owner === undefined) return known ? 'no' : 'maybe';
              return matchesNode(selector, owner);
            }),
          );
        else {
          const name = node?.name ?? (counts ? pod?.node : undefined);
          const own = name === undefined ? undefined : snapshot.nodes.get(name);
          truth = own === undefined ? 'maybe' : matchesNode(selector, own);
        }
        if (truth === 'yes') yes.push(column);
        else if (truth === 'maybe') maybe.push(column);
      }
    }
    found = { yes: sets.intern(sorted(yes)), maybe: sets.intern(sorted(maybe)) };
    matchings.set(key, found);
    return found;
  };

  const ofPeer = (peer: CompiledPeer, tier: Tier, direction: Direction): Matching => {
    switch (peer.kind) {
      case 'pods':
        return ofMatcher(peer.matcher, tier);
      case 'addresses':
        return ofAddresses(peer.set, tier, direction);
      case 'nodes':
        return ofNodes(peer.selector);
      case 'domainNames':
        return { yes: EMPTY, maybe: EVERY };
      case 'unusable':
        return nothing;
    }
  };

  return {
    peers(peers, tier, direction) {
      if (peers === 'any') return { yes: EVERY, maybe: EMPTY };
      if (peers.length === 1 && peers[0] !== undefined) return ofPeer(peers[0], tier, direction);
      const all = peers.map((peer) => ofPeer(peer, tier, direction));
      // A column may be in both: then the sure match decides, as in rules.ts.
      return {
        yes: sets.union(all.map(({ yes }) => yes)),
        maybe: sets.union(all.map(({ maybe }) => maybe)),
      };
    },
    subjects(matcher, tier) {
      const found: { class: number; truth: Truth }[] = [];
      for (const [id, truth] of classesOf(matcher))
        if (podColumns(id, tier).length > 0) found.push({ class: id, truth });
      return found;
    },
    selectsClass(matcher, id, tier) {
      const { pod } = classes.list[id] as PeerClass;
      if (pod === undefined || podColumns(id, tier).length === 0) return 'no';
      const own = selects(matcher.pods, pod.labels, true);
      if (own === 'no' || 'name' in matcher.namespaces)
        return 'name' in matcher.namespaces && matcher.namespaces.name !== pod.namespace
          ? 'no'
          : own;
      return and(own, namespacesOf(matcher.namespaces.selector).get(pod.namespace) ?? 'no');
    },
    named(entry) {
      const key = `${entry.name}/${entry.protocol ?? ''}`;
      const known = namedGroups.get(key);
      if (known !== undefined) return known;
      const groups = new Map<string, { ports: NamedGroup['ports']; columns: number[] }>();
      for (const id of new Set(classesByPortName.get(entry.name))) {
        const { pod } = classes.list[id] as PeerClass;
        const ports = (pod?.namedPorts ?? []).filter((port) => isNamed(port, entry));
        if (ports.length === 0) continue;
        const groupKey = ports
          .map(({ protocol, port }) => `${protocol}${port}`)
          .sort()
          .join();
        // Under the first option of S184 a hostNetwork pod's names count for every tier.
        const columns = podColumns(id, 'NetworkPolicy');
        const group = groups.get(groupKey);
        if (group === undefined) groups.set(groupKey, { ports, columns: [...columns] });
        else group.columns.push(...columns);
      }
      const found = [...groups.values()].map(({ ports, columns }) => ({
        ports,
        columns: sets.intern(sorted(columns)),
      }));
      namedGroups.set(key, found);
      return found;
    },
    admit,
    reindex,
    forget(peers, tier, portNames) {
      for (const peer of peers)
        if (peer.kind === 'pods') matchings.delete(keyOf(peer.matcher, tier));
        else if (peer.kind === 'nodes') matchings.delete(`o${peer.selector.id}`);
        else if (peer.kind === 'addresses')
          for (const open of ['?', '.']) matchings.delete(`a${open}${addressSetKey(peer.set)}`);
      if (portNames.length > 0)
        for (const key of namedGroups.keys())
          if (portNames.includes(key.slice(0, key.lastIndexOf('/')))) namedGroups.delete(key);
    },
    relabel(namespace) {
      let position = namespaces.findIndex(({ name }) => name === namespace.name);
      if (position < 0) position = namespaces.length;
      namespaces[position] = namespace;
      // Candidates may be too many: old entries do no harm.
      namespaceLabels.add(position, namespace.labels);
      for (const [id, found] of namespaceSelectors) {
        const selector = selectorById.get(id) as Selector;
        const truth = matchesNamespace(selector, namespace, namespace.name);
        if (truth === 'no') found.delete(namespace.name);
        else found.set(namespace.name, truth);
      }
    },
  };
}

function sorted(columns: number[]): number[] {
  for (let i = 1; i < columns.length; i++)
    if ((columns[i - 1] as number) > (columns[i] as number)) return columns.sort((a, b) => a - b);
  return columns;
}
