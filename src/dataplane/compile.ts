/**
 * One node's program from a cluster snapshot: pure, complete, deterministic, and from nothing but
 * the snapshot. What the agent keeps between changes (incremental.ts) must equal this. Must not know
 * what the kernel holds at present, nor how nftables is written.
 */
import { formatAddress } from '../net/address.ts';
import type { Address, Family } from '../net/address.ts';
import { containsAddress } from '../net/address-set.ts';
import type { Protocol } from '../net/connection-set.ts';
import { matches } from '../k8s/selector.ts';
import type { PodInfo, Snapshot } from '../engine/snapshot.ts';
import type { CompiledPolicy, PodMatcher } from '../policy/compiled.ts';
import { defaultDataplaneOptions, frameChains } from './model.ts';
import type {
  AddressGroup,
  Chain,
  DataplaneOptions,
  LocalPod,
  NodeProgram,
  PortMap,
} from './model.ts';
import {
  closersOf,
  comparePolicies,
  directions,
  families,
  frameSettings,
  isFinished,
  isLocal,
  judgedBy,
  matchesPod,
  namespaceLabelsOf,
  podRangesOf,
} from './node-facts.ts';
import {
  destinationsId,
  isNamed,
  namedPortPeer,
  nodePeer,
  podPeer,
  smallerText,
} from './objects.ts';
import type { GroupPeer, PeerBook } from './objects.ts';
import { compileProgram, portsKey } from './programs.ts';

/**
 * Compiles what `nodeName` must enforce. Pods of other nodes matter as peers only. A pod without a
 * node whose address lies in the node's pod range counts as local.
 *
 * @param setAside policies that shall be treated as not valid: they are left out, and the pods that
 * they select are closed.
 */
export function compileNode(
  snapshot: Snapshot,
  nodeName: string,
  options: Partial<DataplaneOptions> = {},
  setAside: readonly CompiledPolicy[] = [],
): NodeProgram {
  const full: DataplaneOptions = { ...defaultDataplaneOptions, ...options };
  const cluster = readCluster(snapshot);
  const book = createBook(cluster);
  const ranges = podRangesOf(nodeName, snapshot.nodes.get(nodeName), full);
  const closers = closersOf(snapshot.completeness.invalidPolicies, setAside, full);
  const aside = new Set(setAside.map(({ ref }) => ref.key));
  const policies = snapshot.policies.filter(({ ref }) => !aside.has(ref.key));
  const bySubject = createSubjectIndex(snapshot, policies);

  const dispatch = {
    Ingress: { 4: new Map<string, string>(), 6: new Map<string, string>() },
    Egress: { 4: new Map<string, string>(), 6: new Map<string, string>() },
  };
  const groups = new Map<string, AddressGroup>();
  const chains = new Map<string, Chain>();
  const portMaps = new Map<string, PortMap>();
  const programs = new Map<string, string>();
  const pods = new Map<string, LocalPod>();

  for (const [pod, addresses] of cluster.owned) {
    if (!isLocal(pod, addresses, nodeName, ranges.set)) continue;
    const selecting = bySubject(pod);
    const closing = closers.filter(({ closes }) =>
      matchesPod(closes, pod, namespaceLabels(snapshot, pod.namespace)),
    );
    for (const direction of directions) {
      let target: string | undefined;
      if (closing.length > 0)
        target = direction === 'Ingress' ? frameChains.denyIngress : frameChains.denyEgress;
      else {
        // Pods with the same policies share the program, unless named ports make them differ.
        const key = [
          direction,
          ...selecting.map((policy) => policy.ref.key),
          portsKey(pod.namedPorts, selecting, direction),
        ].join('\u0001');
        target = programs.get(key);
        if (target === undefined) {
          const { settings } = snapshot;
          const program = compileProgram(pod.namedPorts, selecting, direction, settings, book);
          target = program.target;
          programs.set(key, target);
          for (const { content, ...group } of program.groups)
            keep(groups, {
              ...group,
              elements:
                content.kind === 'fixed'
                  ? content.elements
                  : new Set(content.keys.flatMap((one) => book.members(one, group.family))),
            });
          for (const chain of program.chains) keep(chains, chain);
          for (const map of program.portMaps) portMaps.set(map.name, map);
        }
      }
      for (const address of addresses)
        dispatch[direction][address.family].set(formatAddress(address), target);
    }
    const known = {
      namespace: pod.namespace,
      name: pod.name,
      judgedBy: judgedBy(selecting, closing),
    };
    for (const address of addresses) pods.set(formatAddress(address), known);
  }

  return {
    node: nodeName,
    options: full,
    frame: frameSettings(snapshot.settings),
    podCidrs: ranges.texts,
    groups,
    chains,
    portMaps,
    dispatch,
    audits: policies.some((policy) => policy.audit === true),
    pods,
    warnings: ranges.warnings,
  };
}

function keep<T extends { readonly name: string; readonly about: string }>(
  map: Map<string, T>,
  item: T,
): void {
  const held = map.get(item.name);
  if (held === undefined || smallerText(held.about, item.about) !== held.about)
    map.set(item.name, item);
}

// --- the cluster ------------------------------------------------------------------------------

interface Cluster {
  readonly snapshot: Snapshot;
  /** Pods that policy sees, with the addresses that are theirs. */
  readonly owned: ReadonlyMap<PodInfo, readonly Address[]>;
  /** Families that some pod uses: rules for another one could never be reached. */
  readonly families: readonly Family[];
  podsMatching(matcher: PodMatcher): readonly PodInfo[];
}

function readCluster(snapshot: Snapshot): Cluster {
  const owners = new Map<string, { pod: PodInfo; address: Address }>();
  for (const pod of snapshot.pods) {
    if (pod.template || pod.hostNetwork) continue;
    for (const address of pod.addresses) {
      const text = formatAddress(address);
      const held = owners.get(text);
      // A finished pod may still hold the address that a new pod was given (S195).
      if (held === undefined || (isFinished(held.pod) && !isFinished(pod)))
        owners.set(text, { pod, address });
    }
  }
  const owned = new Map<PodInfo, Address[]>();
  for (const { pod, address } of owners.values()) {
    if (snapshot.settings.terminatedPods === 'ignore' && isFinished(pod)) continue;
    const list = owned.get(pod);
    if (list === undefined) owned.set(pod, [address]);
    else list.push(address);
  }
  const used = families.filter((family) =>
    [...owned.values()].some((list) => list.some((address) => address.family === family)),
  );

  const byNamespace = new Map<string, PodInfo[]>();
  for (const pod of owned.keys()) {
    const list = byNamespace.get(pod.namespace);
    if (list === undefined) byNamespace.set(pod.namespace, [pod]);
    else list.push(pod);
  }
  const podsMatching = (matcher: PodMatcher): readonly PodInfo[] => {
    const found: PodInfo[] = [];
    const look = (namespace: string): void => {
      for (const pod of byNamespace.get(namespace) ?? [])
        if (matches(matcher.pods, pod.labels)) found.push(pod);
    };
    if ('name' in matcher.namespaces) look(matcher.namespaces.name);
    else
      for (const namespace of byNamespace.keys())
        if (matches(matcher.namespaces.selector, namespaceLabels(snapshot, namespace)))
          look(namespace);
    return found;
  };
  return { snapshot, owned, families: used, podsMatching };
}

function namespaceLabels(snapshot: Snapshot, name: string): Readonly<Record<string, string>> {
  return namespaceLabelsOf(snapshot.namespaces.get(name)?.labels, name);
}

function createSubjectIndex(
  snapshot: Snapshot,
  policies: readonly CompiledPolicy[],
): (pod: PodInfo) => readonly CompiledPolicy[] {
  const byNamespace = new Map<string, CompiledPolicy[]>();
  const anywhere: CompiledPolicy[] = [];
  for (const policy of policies) {
    const { namespaces } = policy.subject;
    if (!('name' in namespaces)) {
      anywhere.push(policy);
      continue;
    }
    const list = byNamespace.get(namespaces.name);
    if (list === undefined) byNamespace.set(namespaces.name, [policy]);
    else list.push(policy);
  }
  return (pod) =>
    [...(byNamespace.get(pod.namespace) ?? []), ...anywhere]
      .filter(({ subject }) => matchesPod(subject, pod, namespaceLabels(snapshot, pod.namespace)))
      .sort(comparePolicies);
}

// --- peers ------------------------------------------------------------------------------------

interface Book extends PeerBook {
  members(key: string, family: Family): readonly string[];
}

function createBook(cluster: Cluster): Book {
  /** Group key → its addresses as text. Groups share pods, so each address is written once. */
  const known = new Map<string, Readonly<Record<Family, readonly string[]>>>();
  const define = (peer: GroupPeer, find: () => readonly Address[]): GroupPeer => {
    if (!known.has(peer.key)) {
      const texts: Record<Family, string[]> = { 4: [], 6: [] };
      for (const address of find()) texts[address.family].push(formatAddress(address));
      known.set(peer.key, texts);
    }
    return peer;
  };
  const members = (key: string, family: Family): readonly string[] =>
    known.get(key)?.[family] ?? [];
  return {
    families: cluster.families,
    members,
    frozen: members,
    podGroup: (matcher) =>
      define(podPeer(matcher), () =>
        cluster.podsMatching(matcher).flatMap((pod) => cluster.owned.get(pod) ?? []),
      ),
    nodeGroup: (selector) =>
      define(nodePeer(selector), () => {
        const found: Address[] = [];
        for (const node of cluster.snapshot.nodes.values())
          if (matches(selector, node.labels)) found.push(...node.addresses);
        return found;
      }),
    namedPortGroups: (peers, port) => {
      const found = new Map<
        string,
        { number: number; protocol: Protocol; addresses: Map<string, Address> }
      >();
      const add = (pod: PodInfo, addresses: readonly Address[]): void => {
        for (const named of pod.namedPorts) {
          if (!isNamed(named, port)) continue;
          const key = `${named.port}/${named.protocol}`;
          const entry = found.get(key) ?? {
            number: named.port,
            protocol: named.protocol,
            addresses: new Map<string, Address>(),
          };
          for (const address of addresses) entry.addresses.set(formatAddress(address), address);
          found.set(key, entry);
        }
      };
      if (peers === 'any') for (const [pod, addresses] of cluster.owned) add(pod, addresses);
      else
        for (const peer of peers) {
          if (peer.kind === 'pods')
            for (const pod of cluster.podsMatching(peer.matcher))
              add(pod, cluster.owned.get(pod) ?? []);
          else if (peer.kind === 'addresses')
            for (const [pod, addresses] of cluster.owned)
              add(
                pod,
                addresses.filter((address) => containsAddress(peer.set, address)),
              );
        }
      const id = destinationsId(peers);
      return [...found.values()]
        .filter(({ addresses }) => addresses.size > 0)
        .map(({ number, protocol, addresses }) => ({
          number,
          protocol,
          group: define(namedPortPeer(port, number, protocol, id), () => [...addresses.values()]),
        }));
    },
  };
}
