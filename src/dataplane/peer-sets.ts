/**
 * The address sets that programs ask for, kept true while pods, namespaces and nodes change: a
 * change reaches only the sets whose members it changes. Must not know of rules or of the kernel.
 */
import { formatAddress } from '../net/address.ts';
import type { Address, Family } from '../net/address.ts';
import { containsAddress } from '../net/address-set.ts';
import type { Protocol } from '../net/connection-set.ts';
import { matches, selectorEverything } from '../k8s/selector.ts';
import type { Selector } from '../k8s/selector.ts';
import type { Labels } from '../k8s/types.ts';
import type { NodeInfo, PodInfo } from '../engine/snapshot.ts';
import type { CompiledRule, PodMatcher } from '../policy/compiled.ts';
import { createMatcherIndex } from './matcher-index.ts';
import { families, namespaceLabelsOf } from './node-facts.ts';
import { destinationsId, isNamed, namedPortPeer, nodePeer, podPeer } from './objects.ts';
import type { GroupPeer, NamedPortOfPolicy, PeerBook } from './objects.ts';

/** Who asks for sets, a program: the keys of what it asked for. */
export type User = Set<string>;

export interface PeerSet {
  readonly members: Readonly<Record<Family, Members>>;
  /** Told of each address that comes or goes. */
  readonly listeners: Set<(family: Family, address: string) => void>;
  /** Users whose names or rules say which addresses are in the set. */
  readonly frozenBy: Set<User>;
}

/** Addresses that are there for several reasons leave with the last of them. */
interface Members {
  readonly present: Set<string>;
  /** Reasons beyond the first. */
  readonly more: Map<string, number>;
}

export interface PeerSets {
  /** What a program asks; what it asked for is kept until `release`. */
  bookFor(user: User): PeerBook;
  release(user: User): void;
  set(key: string): PeerSet | undefined;
  setPods(changes: ReadonlyMap<string, PodInfo | undefined>): void;
  setNamespaces(changes: ReadonlyMap<string, Labels | undefined>): void;
  setNodes(changes: ReadonlyMap<string, NodeInfo | undefined>): void;
  /** By `namespace/name`. */
  pod(id: string): PodInfo | undefined;
  pods(): Iterable<PodInfo>;
  namespaceLabels(name: string): Labels;
  node(name: string): NodeInfo | undefined;
  readonly families: readonly Family[];
}

/** Something asked for, there as long as somebody uses it. */
interface Source {
  readonly users: Set<User>;
  drop(): void;
}

/** Told of the pods that a matcher selects. */
interface Follower {
  enter(pod: PodInfo): void;
  leave(pod: PodInfo): void;
}

/** @param stale told of users that must ask again, because what they froze has changed */
export function createPeerSets(stale: (user: User) => void): PeerSets {
  const byNamespace = new Map<string, Map<string, PodInfo>>();
  const namespaces = new Map<string, Labels>();
  const nodes = new Map<string, NodeInfo>();
  const addressesIn = { 4: 0, 6: 0 };
  const sets = new Map<string, PeerSet>();
  const sources = new Map<string, Source>();
  const followers = createMatcherIndex<Follower>();
  const nodeSets = new Map<PeerSet, Selector>();
  /** For each question about a named port: addresses by the number that they have under it. */
  const numbers = new Map<string, Map<string, PortNumber>>();

  // --- members ------------------------------------------------------------------------------------

  function createSet(key: string): PeerSet {
    const members = (): Members => ({ present: new Set(), more: new Map() });
    const made: PeerSet = {
      members: { 4: members(), 6: members() },
      listeners: new Set(),
      frozenBy: new Set(),
    };
    sets.set(key, made);
    return made;
  }

  function tell(set: PeerSet, family: Family, text: string): void {
    for (const listener of set.listeners) listener(family, text);
    for (const user of set.frozenBy) stale(user);
  }

  function enter(set: PeerSet, address: Address): void {
    const text = formatAddress(address);
    const { present, more } = set.members[address.family];
    if (present.has(text)) more.set(text, (more.get(text) ?? 0) + 1);
    else {
      present.add(text);
      tell(set, address.family, text);
    }
  }

  function leave(set: PeerSet, address: Address): void {
    const text = formatAddress(address);
    const { present, more } = set.members[address.family];
    const reasons = more.get(text) ?? 0;
    if (reasons > 1) more.set(text, reasons - 1);
    else if (reasons === 1) more.delete(text);
    else if (present.delete(text)) tell(set, address.family, text);
  }

  // --- following pods -----------------------------------------------------------------------------

  function namespaceLabels(namespace: string): Labels {
    return namespaceLabelsOf(namespaces.get(namespace), namespace);
  }

  function* matching({ namespaces: where, pods }: PodMatcher): Generator<PodInfo> {
    for (const name of 'name' in where ? [where.name] : byNamespace.keys()) {
      if (!('name' in where) && !matches(where.selector, namespaceLabels(name))) continue;
      for (const pod of byNamespace.get(name)?.values() ?? [])
        if (matches(pods, pod.labels)) yield pod;
    }
  }

  /** Begins with the pods there are. Returns how to end. */
  function follow(matcher: PodMatcher, follower: Follower): () => void {
    followers.add(follower, matcher);
    for (const pod of matching(matcher)) follower.enter(pod);
    return () => followers.delete(follower, matcher);
  }

  /** Follows the destinations of a rule; `change` gets the addresses that a pod brings or takes. */
  function followDestinations(
    peers: CompiledRule['peers'],
    change: (come: boolean, pod: PodInfo, addresses: readonly Address[]) => void,
  ): () => void {
    const everywhere = { namespaces: { selector: selectorEverything }, pods: selectorEverything };
    const through = (pick: (pod: PodInfo) => readonly Address[]): Follower => ({
      enter: (pod) => change(true, pod, pick(pod)),
      leave: (pod) => change(false, pod, pick(pod)),
    });
    const all = through((pod) => pod.addresses);
    if (peers === 'any') return follow(everywhere, all);
    const ends = peers.flatMap((peer) => {
      // A follower of its own each: two peers may have one matcher.
      if (peer.kind === 'pods') return [follow(peer.matcher, { ...all })];
      if (peer.kind !== 'addresses') return [];
      const inside = through((pod) =>
        pod.addresses.filter((address) => containsAddress(peer.set, address)),
      );
      return [follow(everywhere, inside)];
    });
    return () => {
      for (const end of ends) end();
    };
  }

  // --- what programs ask for ----------------------------------------------------------------------

  function use(key: string, user: User, make: () => () => void): void {
    let source = sources.get(key);
    if (source === undefined) {
      source = { users: new Set(), drop: make() };
      sources.set(key, source);
    }
    source.users.add(user);
    user.add(key);
  }

  /** A set under the peer's key, filled by `fill`, which says how to end. */
  function useSet(peer: GroupPeer, user: User, fill: (set: PeerSet) => () => void): GroupPeer {
    use(peer.key, user, () => {
      const set = createSet(peer.key);
      const end = fill(set);
      return () => {
        end();
        sets.delete(peer.key);
      };
    });
    return peer;
  }

  function followNodes(set: PeerSet, selector: Selector): () => void {
    nodeSets.set(set, selector);
    for (const node of nodes.values())
      if (matches(selector, node.labels)) for (const address of node.addresses) enter(set, address);
    return () => nodeSets.delete(set);
  }

  /** Counts addresses by number; whoever asked asks again when a number appears or disappears. */
  function followNumbers(
    id: string,
    peers: CompiledRule['peers'],
    port: NamedPortOfPolicy,
  ): () => void {
    const found = new Map<string, PortNumber>();
    numbers.set(id, found);
    const end = followDestinations(peers, (come, pod, addresses) => {
      if (addresses.length === 0) return;
      for (const named of pod.namedPorts) {
        if (!isNamed(named, port)) continue;
        const key = `${named.port}/${named.protocol}`;
        const entry = found.get(key) ?? { number: named.port, protocol: named.protocol, count: 0 };
        const before = entry.count;
        entry.count += come ? addresses.length : -addresses.length;
        if (entry.count > 0) found.set(key, entry);
        else found.delete(key);
        if (before === 0 || entry.count === 0)
          for (const user of sources.get(id)?.users ?? []) stale(user);
      }
    });
    return () => {
      end();
      numbers.delete(id);
    };
  }

  function bookFor(user: User): PeerBook {
    return {
      get families() {
        return familiesInUse();
      },
      podGroup: (matcher) =>
        useSet(podPeer(matcher), user, (set) =>
          follow(matcher, {
            enter: ({ addresses }) => addresses.forEach((address) => enter(set, address)),
            leave: ({ addresses }) => addresses.forEach((address) => leave(set, address)),
          }),
        ),
      nodeGroup: (selector) =>
        useSet(nodePeer(selector), user, (set) => followNodes(set, selector)),
      namedPortGroups: (peers, port) => {
        const destinations = destinationsId(peers);
        const id = `ports ${port.name} ${port.protocol ?? ''} ${destinations}`;
        use(id, user, () => followNumbers(id, peers, port));
        return [...(numbers.get(id)?.values() ?? [])].map(({ number, protocol }) => ({
          number,
          protocol,
          group: useSet(namedPortPeer(port, number, protocol, destinations), user, (set) =>
            followDestinations(peers, (come, pod, addresses) => {
              for (const named of pod.namedPorts)
                if (
                  named.name === port.name &&
                  named.port === number &&
                  named.protocol === protocol
                )
                  for (const address of addresses) (come ? enter : leave)(set, address);
            }),
          ),
        }));
      },
      frozen: (key, family) => {
        const set = sets.get(key);
        set?.frozenBy.add(user);
        return set?.members[family].present ?? [];
      },
    };
  }

  function familiesInUse(): readonly Family[] {
    return families.filter((family) => addressesIn[family] > 0);
  }

  // --- changes ------------------------------------------------------------------------------------
  // What comes enters before what goes leaves: an address that stays in a set is then never missing.

  function setPods(changes: ReadonlyMap<string, PodInfo | undefined>): void {
    const before: PodInfo[] = [];
    for (const [id, pod] of changes) {
      const namespace = id.slice(0, id.indexOf('/'));
      const inNamespace = byNamespace.get(namespace) ?? new Map<string, PodInfo>();
      const old = inNamespace.get(id);
      if (old !== undefined) before.push(old);
      if (pod === undefined) inNamespace.delete(id);
      else inNamespace.set(id, pod);
      if (inNamespace.size === 0) byNamespace.delete(namespace);
      else byNamespace.set(namespace, inNamespace);
    }
    for (const pod of changes.values()) {
      if (pod === undefined) continue;
      for (const { family } of pod.addresses) addressesIn[family] += 1;
      followers.each(pod, namespaces.get(pod.namespace), (follower) => follower.enter(pod));
    }
    for (const pod of before) {
      for (const { family } of pod.addresses) addressesIn[family] -= 1;
      followers.each(pod, namespaces.get(pod.namespace), (follower) => follower.leave(pod));
    }
  }

  function setNamespace(name: string, labels: Labels | undefined): void {
    const before = namespaceLabels(name);
    if (labels === undefined) namespaces.delete(name);
    else namespaces.set(name, labels);
    const after = namespaceLabels(name);
    const pods = byNamespace.get(name);
    if (pods === undefined) return;
    for (const [follower, matcher] of followers.byNamespaceLabels) {
      if ('name' in matcher.namespaces) continue;
      const was = matches(matcher.namespaces.selector, before);
      const is = matches(matcher.namespaces.selector, after);
      if (was === is) continue;
      for (const pod of pods.values())
        if (matches(matcher.pods, pod.labels))
          if (is) follower.enter(pod);
          else follower.leave(pod);
    }
  }

  function setNode(name: string, node: NodeInfo | undefined): void {
    const before = nodes.get(name);
    if (node === undefined) nodes.delete(name);
    else nodes.set(name, node);
    for (const [set, selector] of nodeSets) {
      if (node !== undefined && matches(selector, node.labels))
        for (const address of node.addresses) enter(set, address);
      if (before !== undefined && matches(selector, before.labels))
        for (const address of before.addresses) leave(set, address);
    }
  }

  return {
    bookFor,
    release(user) {
      for (const key of user) {
        sets.get(key)?.frozenBy.delete(user);
        const source = sources.get(key);
        if (source?.users.delete(user) !== true || source.users.size > 0) continue;
        sources.delete(key);
        source.drop();
      }
    },
    set: (key) => sets.get(key),
    setPods,
    setNamespaces: (changes) => {
      for (const [name, labels] of changes) setNamespace(name, labels);
    },
    setNodes: (changes) => {
      for (const [name, node] of changes) setNode(name, node);
    },
    pod: (id) => byNamespace.get(id.slice(0, id.indexOf('/')))?.get(id),
    *pods() {
      for (const pods of byNamespace.values()) yield* pods.values();
    },
    namespaceLabels,
    node: (name) => nodes.get(name),
    get families() {
      return familiesInUse();
    },
  };
}

interface PortNumber {
  readonly number: number;
  readonly protocol: Protocol;
  /** Addresses that have it, each as often as there are reasons. */
  count: number;
}
