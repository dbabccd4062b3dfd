/**
 * What a user types for one end of a connection (`ns/pod`, `ns/kind/name`, `svc/…`, an IP, `world`)
 * as pods, services and addresses of the snapshot. Must not know of policies or output.
 */
import { formatAddress, parseAddress, type Address } from '../net/address.ts';
import type { Protocol } from '../net/connection-set.ts';
import type { PodInfo, ServiceInfo, Snapshot } from './snapshot.ts';

export type Reference =
  | { readonly kind: 'pods'; readonly text: string; readonly pods: readonly PodInfo[] }
  | {
      readonly kind: 'service';
      readonly text: string;
      readonly service: ServiceInfo;
      readonly pods: readonly PodInfo[];
    }
  | { readonly kind: 'address'; readonly text: string; readonly address: Address }
  | { readonly kind: 'world'; readonly text: string };

export interface ReferenceFault {
  readonly fault: string;
  readonly hint?: string;
}

export interface PortReference {
  /** A number, or a port name of a Service or container. */
  readonly port: number | string;
  readonly protocol?: Protocol;
}

/** Short names of kinds that make pods, as kubectl accepts them. */
const workloadKinds: Readonly<Record<string, string>> = {
  pod: 'Pod',
  pods: 'Pod',
  po: 'Pod',
  deployment: 'Deployment',
  deployments: 'Deployment',
  deploy: 'Deployment',
  replicaset: 'ReplicaSet',
  replicasets: 'ReplicaSet',
  rs: 'ReplicaSet',
  statefulset: 'StatefulSet',
  statefulsets: 'StatefulSet',
  sts: 'StatefulSet',
  daemonset: 'DaemonSet',
  daemonsets: 'DaemonSet',
  ds: 'DaemonSet',
  replicationcontroller: 'ReplicationController',
  replicationcontrollers: 'ReplicationController',
  rc: 'ReplicationController',
  job: 'Job',
  jobs: 'Job',
  cronjob: 'CronJob',
  cronjobs: 'CronJob',
  cj: 'CronJob',
};

const nodeKinds = new Set(['node', 'nodes']);

const serviceKinds = new Set(['svc', 'service', 'services']);

/**
 * Splits `DST[:PORT[/PROTO]]`. IPv6 with a port needs brackets: `[fd00::1]:80`.
 */
export function splitPort(
  text: string,
): { readonly end: string; readonly port?: PortReference } | ReferenceFault {
  const bracket = /^\[([^\]]+)\](?::(.+))?$/.exec(text);
  if (bracket === null && parseAddress(text) !== undefined) return { end: text };
  const colon = text.lastIndexOf(':');
  const end = bracket === null ? (colon < 0 ? text : text.slice(0, colon)) : (bracket[1] ?? '');
  const tail = bracket === null ? (colon < 0 ? undefined : text.slice(colon + 1)) : bracket[2];
  if (tail === undefined) return { end };
  const [port = '', protocol, ...rest] = tail.split('/');
  const upper = protocol?.toUpperCase();
  if (rest.length > 0 || (upper !== undefined && !/^(TCP|UDP|SCTP)$/.test(upper))) {
    return {
      fault: `"${tail}" is no port`,
      hint: 'write PORT or PORT/PROTOCOL, for example 80 or 53/UDP',
    };
  }
  const known = upper === undefined ? {} : { protocol: upper as Protocol };
  if (/^\d+$/.test(port)) {
    const number = Number(port);
    if (number < 1 || number > 65535) {
      return { fault: `port ${port} is out of range`, hint: 'ports are 1 to 65535' };
    }
    return { end, port: { port: number, ...known } };
  }
  if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(port)) {
    return { fault: `"${port}" is neither a port number nor a port name` };
  }
  return { end, port: { port, ...known } };
}

/** Finds what `text` names. `namespace` completes names without one. */
export function resolveReference(
  snapshot: Snapshot,
  text: string,
  namespace = 'default',
): Reference | ReferenceFault {
  if (text === 'world') return { kind: 'world', text };
  const address = parseAddress(text);
  if (address !== undefined) return { kind: 'address', text: formatAddress(address), address };
  const parts = text.split('/');
  if (parts.some((part) => part === '') || parts.length > 3) {
    return { fault: `"${text}" names no end of a connection`, hint: grammar };
  }
  if (parts.length === 3) {
    const [first = '', second = '', name = ''] = parts;
    // Both orders are common: ns/svc/name and svc/ns/name.
    return isKind(first) && !isKind(second)
      ? byKind(snapshot, first, second, name)
      : byKind(snapshot, second, first, name);
  }
  if (parts.length === 2) {
    const [first = '', name = ''] = parts;
    const asPod = podNamed(snapshot, first, name);
    if (asPod !== undefined) return asPod;
    if (nodeKinds.has(first.toLowerCase())) return nodeNamed(snapshot, name);
    if (isKind(first)) return byKind(snapshot, first, namespace, name);
    return unknownPod(snapshot, first, name);
  }
  return podNamed(snapshot, namespace, text) ?? unknownPod(snapshot, namespace, text);
}

const grammar =
  'use NAMESPACE/POD, NAMESPACE/KIND/NAME, NAMESPACE/svc/NAME, an IP address, or world';

function isKind(word: string): boolean {
  const lower = word.toLowerCase();
  return serviceKinds.has(lower) || Object.hasOwn(workloadKinds, lower);
}

/** A pod, or else a workload of any kind, by name. */
function podNamed(snapshot: Snapshot, namespace: string, name: string): Reference | undefined {
  const pod = snapshot.podById.get(`${namespace}/${name}`);
  if (pod !== undefined) return { kind: 'pods', text: pod.id, pods: [pod] };
  const pods = snapshot.pods.filter(
    (one) => one.workload.namespace === namespace && one.workload.name === name,
  );
  return pods.length === 0 ? undefined : { kind: 'pods', text: `${namespace}/${name}`, pods };
}

function byKind(
  snapshot: Snapshot,
  word: string,
  namespace: string,
  name: string,
): Reference | ReferenceFault {
  const lower = word.toLowerCase();
  if (serviceKinds.has(lower)) return serviceNamed(snapshot, namespace, name);
  const kind = workloadKinds[lower];
  if (kind === undefined) {
    return { fault: `"${word}" is no kind that has pods`, hint: grammar };
  }
  const text = `${namespace}/${kind}/${name}`;
  const pods = snapshot.pods.filter((pod) =>
    kind === 'Pod'
      ? pod.namespace === namespace && pod.name === name && !pod.template
      : pod.workload.namespace === namespace &&
        pod.workload.kind === kind &&
        pod.workload.name === name,
  );
  if (pods.length > 0) return { kind: 'pods', text, pods };
  const names = snapshot.pods
    .filter((pod) => pod.namespace === namespace && pod.workload.kind === kind)
    .map((pod) => pod.workload.name);
  return { fault: `no ${kind} ${namespace}/${name} in the input`, ...suggest(name, names) };
}

function serviceNamed(
  snapshot: Snapshot,
  namespace: string,
  name: string,
): Reference | ReferenceFault {
  const inNamespace = snapshot.services.filter((one) => one.namespace === namespace);
  const service = inNamespace.find((one) => one.name === name);
  if (service === undefined) {
    const names = inNamespace.map((one) => one.name);
    return { fault: `no Service ${namespace}/${name} in the input`, ...suggest(name, names) };
  }
  const text = `${namespace}/svc/${name}`;
  return { kind: 'service', text, service, pods: backends(snapshot, service) };
}

/** A node is asked for by its first address. */
function nodeNamed(snapshot: Snapshot, name: string): Reference | ReferenceFault {
  const node = snapshot.nodes.get(name);
  if (node === undefined) {
    return { fault: `no node ${name} in the input`, ...suggest(name, [...snapshot.nodes.keys()]) };
  }
  const [address] = node.addresses;
  if (address === undefined) return { fault: `node ${name} has no address in the input` };
  return { kind: 'address', text: `node/${name}`, address };
}

/** Pods behind a Service by its selector; none when it has no selector. */
export function backends(snapshot: Snapshot, service: ServiceInfo): PodInfo[] {
  const { selector } = service;
  if (selector === undefined || Object.keys(selector).length === 0) return [];
  const wanted = Object.entries(selector);
  return snapshot.pods.filter(
    (pod) =>
      pod.namespace === service.namespace &&
      wanted.every(([key, value]) => pod.labels[key] === value),
  );
}

function unknownPod(snapshot: Snapshot, namespace: string, name: string): ReferenceFault {
  if (/^[\d.]+$/.test(name) || name.includes(':')) {
    return { fault: `"${name}" is no IP address`, hint: grammar };
  }
  if (snapshot.services.some((one) => one.namespace === namespace && one.name === name)) {
    return {
      fault: `no pod or workload ${namespace}/${name} in the input`,
      hint: `there is a Service of that name: ${namespace}/svc/${name}`,
    };
  }
  const inNamespace = snapshot.pods.filter((pod) => pod.namespace === namespace);
  if (inNamespace.length === 0) {
    const namespaces = [...new Set(snapshot.pods.map((pod) => pod.namespace))];
    return {
      fault: `no pod or workload ${namespace}/${name}: namespace ${namespace} has no pods in the input`,
      ...suggest(namespace, namespaces),
    };
  }
  const names = [...new Set(inNamespace.flatMap((pod) => [pod.name, pod.workload.name]))];
  return { fault: `no pod or workload ${namespace}/${name} in the input`, ...suggest(name, names) };
}

function suggest(wanted: string, names: readonly string[]): { hint?: string } {
  const unique = [...new Set(names)];
  const close = unique
    .map((name) => ({ name, distance: editDistance(wanted, name) }))
    .filter(({ name, distance }) => distance <= Math.max(2, name.length / 3))
    .toSorted((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ name }) => name);
  if (close.length > 0) return { hint: `did you mean ${close.join(' or ')}?` };
  if (unique.length === 0) return { hint: grammar };
  const more = unique.length > 8 ? ', …' : '';
  return { hint: `there are ${unique.slice(0, 8).join(', ')}${more}` };
}

/** Levenshtein distance, O(|a|·|b|); for names, so short. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      next[j] = Math.min((next[j - 1] ?? 0) + 1, (row[j] ?? 0) + 1, (row[j - 1] ?? 0) + cost);
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/**
 * The port a backend pod listens on for a Service's port (S180: policy compares the target port).
 * Undefined when a named target port is not on the pod.
 */
export function targetPort(pod: PodInfo, port: ServiceInfo['ports'][number]): number | undefined {
  if (typeof port.targetPort === 'number') return port.targetPort;
  return pod.namedPorts.find(
    (named) => named.name === port.targetPort && named.protocol === port.protocol,
  )?.port;
}
