/**
 * The two ends of a connection as policy sees them: a pod that selectors can select, traffic of a
 * node, or a mere address. Must not know of policies.
 */
import { formatAddress } from '../net/address.ts';
import type { Address, Family } from '../net/address.ts';
import type { NodeInfo, PodInfo, ServiceInfo, Settings, Snapshot } from './snapshot.ts';
import type { Endpoint } from './verdict.ts';

/** One end of a connection under one {@link Variant}. */
export interface End {
  /** A pod that policies can select as subject or peer; absent for finished and node-like pods. */
  readonly pod?: PodInfo;
  /** A hostNetwork pod under the first option of S184: seen by NetworkPolicy, never by the others (S255, S256). */
  readonly onlyNetworkPolicy: boolean;
  /** Traffic of a node: the node itself, or a hostNetwork pod under the second option of S184. */
  readonly nodeTraffic: boolean;
  /** Which node; undefined beside `nodeTraffic`: some node. */
  readonly nodeName?: string;
  /** Addresses this end may have on this connection; empty: not known. */
  readonly addresses: readonly Address[];
  /** Set when the family is known although the address is not. */
  readonly family?: Family;
  /** The cluster address of a Service: which backend stands behind it is not known here (S178, S305). */
  readonly service?: ServiceInfo;
  /** For sentences: `pod shop/web`. */
  readonly name: string;
}

/** One way in which what the input leaves open may turn out; legs must agree over all variants. */
export interface Variant {
  /** Undefined: the ends have no family in common, each keeps its own addresses. */
  readonly family?: Family;
  /** First option of S184: hostNetwork pods are like other pods for NetworkPolicy. */
  readonly hostNetworkLikePods: boolean;
}

/** Who owns an address. */
export interface AddressBook {
  /** A pod with its own address; of several the one that runs, then the newest (S195). */
  readonly pods: ReadonlyMap<number | bigint, PodInfo>;
  readonly nodes: ReadonlyMap<number | bigint, NodeInfo>;
  /** Nodes known only as the place of hostNetwork pods. */
  readonly hostPods: ReadonlyMap<number | bigint, PodInfo>;
  readonly services: ReadonlyMap<number | bigint, ServiceInfo>;
}

export function createAddressBook(snapshot: Snapshot): AddressBook {
  const pods = new Map<number | bigint, PodInfo>();
  const hostPods = new Map<number | bigint, PodInfo>();
  for (const pod of snapshot.pods) {
    const map = pod.hostNetwork ? hostPods : pods;
    for (const { value } of pod.addresses) {
      const held = map.get(value);
      if (held === undefined || (isFinished(held) && !isFinished(pod))) map.set(value, pod);
    }
  }
  const nodes = new Map<number | bigint, NodeInfo>();
  for (const node of snapshot.nodes.values())
    for (const { value } of node.addresses) if (!nodes.has(value)) nodes.set(value, node);
  const services = new Map<number | bigint, ServiceInfo>();
  for (const service of snapshot.services)
    for (const { value } of service.clusterIps) services.set(value, service);
  return { pods, nodes, hostPods, services };
}

/** Phase Succeeded or Failed (S195). */
export function isFinished(pod: PodInfo): boolean {
  return pod.phase === 'Succeeded' || pod.phase === 'Failed';
}

/** Whether policies see the pod as an end of its own, hostNetwork aside (S195). */
export function counts(pod: PodInfo, settings: Settings): boolean {
  return settings.terminatedPods === 'include' || !isFinished(pod);
}

/** Names the owner of an address: an end given by address becomes the pod or node that has it. */
export function ownerOf(endpoint: Endpoint, book: AddressBook): Endpoint {
  if (endpoint.kind !== 'address') return endpoint;
  const { address } = endpoint;
  const pod = book.pods.get(address.value);
  if (pod !== undefined) return { kind: 'pod', pod, address };
  const node = book.nodes.get(address.value);
  if (node !== undefined) return { kind: 'node', node, address };
  const hostPod = book.hostPods.get(address.value);
  if (hostPod !== undefined) return { kind: 'pod', pod: hostPod, address };
  return endpoint;
}

/** Addresses an owned endpoint may have, before the family of the connection is chosen. */
export function candidateAddresses(endpoint: Endpoint): readonly Address[] {
  if (endpoint.address !== undefined) return [endpoint.address];
  if (endpoint.kind === 'pod') return endpoint.pod.addresses;
  return endpoint.kind === 'node' ? endpoint.node.addresses : [];
}

/** The end an owned endpoint is, under one variant. */
export function endOf(
  endpoint: Endpoint,
  variant: Variant,
  settings: Settings,
  book: AddressBook,
): End {
  const { family } = variant;
  const known = candidateAddresses(endpoint);
  const addresses =
    family === undefined || known.every((address) => address.family === family)
      ? known
      : known.filter((address) => address.family === family);
  const common = {
    onlyNetworkPolicy: false,
    nodeTraffic: false,
    addresses,
    ...withFamily(family, addresses),
  };
  switch (endpoint.kind) {
    case 'pod': {
      const { pod } = endpoint;
      const name = `pod ${pod.id}`;
      if (!counts(pod, settings)) return { ...common, name };
      if (!pod.hostNetwork) return { ...common, pod, name };
      if (variant.hostNetworkLikePods) return { ...common, pod, onlyNetworkPolicy: true, name };
      return {
        ...common,
        nodeTraffic: true,
        ...(pod.node === undefined ? {} : { nodeName: pod.node }),
        name,
      };
    }
    case 'node':
      return {
        ...common,
        nodeTraffic: true,
        nodeName: endpoint.node.name,
        name: `node ${endpoint.node.name}`,
      };
    case 'address': {
      const service = book.services.get(endpoint.address.value);
      return {
        ...common,
        ...(service === undefined ? {} : { service }),
        name: formatAddress(endpoint.address),
      };
    }
  }
}

function withFamily(
  family: Family | undefined,
  addresses: readonly Address[],
): { readonly family?: Family } {
  if (family !== undefined) return { family };
  const first = addresses[0]?.family;
  return first !== undefined && addresses.every((address) => address.family === first)
    ? { family: first }
    : {};
}

/** Every way the facts that the input leaves open may combine for two ends. Never empty. */
export function variantsOf(
  source: Endpoint,
  destination: Endpoint,
  settings: Settings,
): readonly Variant[] {
  const families = commonFamilies(candidateAddresses(source), candidateAddresses(destination));
  const hosts =
    settings.hostNetworkPods === 'unknown' && (usesHost(source) || usesHost(destination))
      ? [false, true]
      : [false];
  return families.flatMap((family) =>
    hosts.map((hostNetworkLikePods) => ({
      ...(family === undefined ? {} : { family }),
      hostNetworkLikePods,
    })),
  );
}

function usesHost(endpoint: Endpoint): boolean {
  return endpoint.kind === 'pod' && endpoint.pod.hostNetwork;
}

/** An end without known addresses may have either family. No common family: each keeps its own. */
function commonFamilies(
  a: readonly Address[],
  b: readonly Address[],
): readonly (Family | undefined)[] {
  const has = (list: readonly Address[], family: Family): boolean =>
    list.length === 0 || list.some((address) => address.family === family);
  const common = ([4, 6] as const).filter((family) => has(a, family) && has(b, family));
  return common.length === 0 ? [undefined] : common;
}
