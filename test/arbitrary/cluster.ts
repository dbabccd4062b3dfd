/**
 * Random clusters with policies of all four kinds, as plain Kubernetes objects, made so that
 * selectors hit, blocks cut through pods and ports collide. Must not import the code under test,
 * nor know who evaluates the result.
 */
import type fc from 'fast-check';
import {
  inBlock,
  parseIp,
  type NaiveConnection,
  type NaiveEnd,
  type NaiveObject,
} from '../naive/evaluate.ts';
import { chance, drawn, listOf, pick, seededDraw, someOf, type Draw } from './draw.ts';

export type PolicyKindName =
  'NetworkPolicy' | 'ClusterNetworkPolicy' | 'AdminNetworkPolicy' | 'BaselineAdminNetworkPolicy';

export interface ClusterOptions {
  readonly kinds: readonly PolicyKindName[];
  readonly families: 'v4' | 'dual';
  readonly protocols: readonly ('TCP' | 'UDP' | 'SCTP')[];
  readonly maxPods: number;
  readonly maxPolicies: number;
  /** Facts that may be missing: namespaces without object, pods without address or node, domain names. */
  readonly gaps: boolean;
  readonly hostNetwork: boolean;
  readonly terminated: boolean;
}

export const fullOptions: ClusterOptions = {
  kinds: [
    'NetworkPolicy',
    'ClusterNetworkPolicy',
    'AdminNetworkPolicy',
    'BaselineAdminNetworkPolicy',
  ],
  families: 'dual',
  protocols: ['TCP', 'UDP', 'SCTP'],
  maxPods: 8,
  maxPolicies: 9,
  gaps: true,
  hostNetwork: true,
  terminated: true,
};

/** What a real kernel can be asked: no missing facts, one family, at most ten pods. */
export const packetOptions: ClusterOptions = {
  ...fullOptions,
  kinds: ['NetworkPolicy'],
  families: 'v4',
  protocols: ['TCP', 'UDP'],
  maxPods: 10,
  gaps: false,
  hostNetwork: false,
  terminated: false,
};

export interface RandomCluster {
  readonly objects: readonly NaiveObject[];
  /** Ids `namespace/name`. */
  readonly pods: readonly string[];
  readonly nodes: readonly string[];
  /** Addresses worth asking for: of pods, of nodes and of nobody. */
  readonly addresses: readonly string[];
  /** Those of nobody: the world. */
  readonly outside: readonly string[];
}

/** The same cluster for the same seed and options, without fast-check. */
export function randomCluster(seed: number, options: Partial<ClusterOptions> = {}): RandomCluster {
  return drawCluster(seededDraw(seed), { ...fullOptions, ...options });
}

export function clusterArbitrary(
  options: Partial<ClusterOptions> = {},
): fc.Arbitrary<RandomCluster> {
  return drawn((draw) => drawCluster(draw, { ...fullOptions, ...options }));
}

// --- Words, chosen so that they meet ------------------------------------------------------------

const labelKeys = ['app', 'role', 'x.io/y'];
/** `a` twice, so that it is common and that lists repeat a value (S88). */
const labelValues = ['a', 'a', 'b', ''];
const namespaceNames = ['dev', 'prod', 'test', 'sys'];
const nameKey = 'kubernetes.io/metadata.name';
const portNames = ['web', 'dns', 'alt'];
const portNumbers = [53, 80, 81, 8080];
/** Ports worth asking for: declared ones, their neighbours and the ends of the space. */
export const askedPorts: readonly number[] = [1, 53, 79, 80, 81, 82, 443, 8079, 8080, 65535];

const outside4 = ['172.17.0.5', '172.17.1.5', '8.8.8.8', '10.0.0.7'];
const outside6 = ['2001:db8::5', 'fd00:172:17:1::5'];

type Labels = Record<string, string>;

function labels(draw: Draw): Labels {
  return Object.fromEntries(
    someOf(draw, labelKeys, chance(draw, 10) ? 0 : 1, 3).map((key) => [
      key,
      pick(draw, labelValues),
    ]),
  );
}

/** `nullable`: a built-in kind, where null means absent; a CRD refuses it. */
function selector(draw: Draw, ofNamespaces: boolean, nullable = true): object {
  if (chance(draw, 15)) return {};
  const keys = ofNamespaces ? [...labelKeys, nameKey] : labelKeys;
  const valuesOf = (key: string): string[] => (key === nameKey ? namespaceNames : labelValues);
  const form = draw.integer(0, 3);
  const matchLabels = Object.fromEntries(
    someOf(draw, keys, 1, chance(draw, 25) ? 2 : 1).map((key) => [key, pick(draw, valuesOf(key))]),
  );
  const matchExpressions = listOf(draw, 1, chance(draw, 30) ? 2 : 1, () => {
    const key = pick(draw, keys);
    const operator = pick(draw, ['In', 'NotIn', 'Exists', 'DoesNotExist']);
    const values = someOf(draw, valuesOf(key), 1, 2);
    if (operator === 'In' || operator === 'NotIn') return { key, operator, values };
    return chance(draw, 20) ? { key, operator, values: [] } : { key, operator };
  });
  if (form === 0) return { matchExpressions };
  if (form === 1) return { matchLabels, matchExpressions };
  return nullable && chance(draw, 10) ? { matchLabels, matchExpressions: null } : { matchLabels };
}

// --- Namespaces, nodes, pods --------------------------------------------------------------------

function addressesOf(options: ClusterOptions, v4: string, v6: string, draw: Draw): string[] {
  if (options.families === 'v4') return [v4];
  const form = draw.integer(0, 5);
  if (form === 4) return [v6];
  if (form === 5) return [v4];
  return form === 3 ? [v6, v4] : [v4, v6];
}

function drawNodes(draw: Draw, options: ClusterOptions): NaiveObject[] {
  return listOf(draw, 1, 3, (index) => {
    const ips = addressesOf(options, `192.168.0.1${index}`, `fd00:192::1${index}`, draw);
    const addresses = ips.map((address) => ({ type: 'InternalIP', address }));
    return {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: `node-${index}`, labels: labels(draw) },
      spec: { podCIDR: `10.244.${index}.0/24` },
      status: { addresses: [...addresses, { type: 'Hostname', address: `node-${index}` }] },
    };
  });
}

function drawNamespaces(
  draw: Draw,
  options: ClusterOptions,
): { names: string[]; objects: NaiveObject[] } {
  const names = someOf(draw, namespaceNames, 1, 3);
  const objects = names
    .filter(() => !(options.gaps && chance(draw, 8)))
    .map((name) => {
      const own = labels(draw);
      const metadata = { name, labels: chance(draw, 50) ? { ...own, [nameKey]: name } : own };
      return { apiVersion: 'v1', kind: 'Namespace', metadata };
    });
  return { names, objects };
}

function containers(draw: Draw, options: ClusterOptions): object {
  const container = (prefix: string, index: number): object => {
    const names = someOf(draw, portNames, 0, 2);
    const ports = names.map((name) => {
      const protocol = pick(draw, options.protocols);
      const port = { name, containerPort: pick(draw, portNumbers) };
      return protocol === 'TCP' && chance(draw, 50) ? port : { ...port, protocol };
    });
    if (chance(draw, 20))
      ports.push({ containerPort: pick(draw, portNumbers) } as (typeof ports)[0]);
    return { name: `${prefix}${index}`, image: 'none', ports };
  };
  const list = listOf(draw, 1, 2, (index) => container('c', index));
  if (!chance(draw, 10)) return { containers: list };
  const init = {
    ...container('init', 0),
    ...(chance(draw, 50) ? { restartPolicy: 'Always' } : {}),
  };
  return { containers: list, initContainers: [init] };
}

function drawPod(
  draw: Draw,
  options: ClusterOptions,
  index: number,
  namespaces: readonly string[],
  nodes: readonly NaiveObject[],
): NaiveObject {
  const node = pick(draw, nodes);
  const place = nodes.indexOf(node);
  const nodeName = options.gaps && chance(draw, 4) ? {} : { nodeName: node.metadata.name };
  const hostNetwork = options.hostNetwork && chance(draw, 10);
  const status = node.status as { addresses: { type: string; address: string }[] };
  const nodeIps = status.addresses.filter((a) => a.type === 'InternalIP').map((a) => a.address);
  // A finished pod's address may already be in use again (S195).
  const terminated = options.terminated && chance(draw, 7);
  const host = terminated && index > 1 && chance(draw, 50) ? 1 : index + 1;
  const podIps = addressesOf(
    options,
    `10.244.${place}.${host}`,
    `fd00:10:244:${place}::${host}`,
    draw,
  );
  const ips = hostNetwork ? nodeIps : podIps;
  const pending = options.gaps && chance(draw, 4);
  const phase = terminated ? pick(draw, ['Succeeded', 'Failed']) : pending ? 'Pending' : 'Running';
  const known = { podIP: ips[0] ?? '', podIPs: ips.map((ip) => ({ ip })) };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: pick(draw, namespaces), name: `pod-${index}`, labels: labels(draw) },
    spec: { ...nodeName, ...(hostNetwork ? { hostNetwork } : {}), ...containers(draw, options) },
    status: pending ? { phase } : { phase, ...known },
  };
}

/** The pod with the namespace and labels of another, and with its containers or with its own. */
function replica(pod: NaiveObject, like: NaiveObject, sameContainers: boolean): NaiveObject {
  const { namespace = '', labels: same = {} } = like.metadata;
  const metadata = { namespace, name: pod.metadata.name, labels: same };
  if (!sameContainers) return { ...pod, metadata };
  const { containers: list, initContainers } = like.spec as Record<string, unknown>;
  const init = initContainers === undefined ? {} : { initContainers };
  const { initContainers: _, ...own } = pod.spec as Record<string, unknown>;
  return { ...pod, metadata, spec: { ...own, containers: list, ...init } };
}

// --- Address blocks -----------------------------------------------------------------------------

const prefixes4 = [0, 1, 8, 16, 22, 24, 28, 29, 30, 31, 32];
const prefixes6 = [0, 1, 16, 32, 48, 64, 96, 112, 124, 126, 127, 128];

function formatIp(family: 4 | 6, bits: bigint): string {
  const part = family === 4 ? 8n : 16n;
  const count = family === 4 ? 4 : 8;
  const parts = Array.from({ length: count }, (_, index) => {
    const value = (bits >> (part * BigInt(count - 1 - index))) & ((1n << part) - 1n);
    return value.toString(family === 4 ? 10 : 16);
  });
  return parts.join(family === 4 ? '.' : ':');
}

/** A block around one of the addresses; in one of eight the host bits stay set (S67). */
function blockAround(draw: Draw, address: string, minPrefix: number): string {
  const { family, bits } = parseIp(address);
  const prefixes = (family === 4 ? prefixes4 : prefixes6).filter((prefix) => prefix >= minPrefix);
  const prefix = pick(draw, prefixes);
  if (chance(draw, 12)) return `${address}/${prefix}`;
  const host = BigInt((family === 4 ? 32 : 128) - prefix);
  return `${formatIp(family, (bits >> host) << host)}/${prefix}`;
}

function ipBlock(draw: Draw, addresses: readonly string[]): object {
  const cidr = blockAround(draw, pick(draw, addresses), 0);
  const prefix = Number(cidr.split('/')[1]);
  const inside = addresses.filter((address) => inBlock(parseIp(address), cidr));
  const longest = cidr.includes(':') ? 128 : 32;
  if (inside.length === 0 || prefix === longest || chance(draw, 40)) {
    return chance(draw, 10) ? { cidr, except: pick(draw, [null, []]) } : { cidr };
  }
  const except = listOf(draw, 1, 2, () => blockAround(draw, pick(draw, inside), prefix + 1));
  return { cidr, except };
}

// --- NetworkPolicy ------------------------------------------------------------------------------

function v1Peer(draw: Draw, addresses: readonly string[]): object {
  switch (draw.integer(0, 6)) {
    case 0:
    case 1:
      return { podSelector: selector(draw, false) };
    case 2:
    case 3:
      return { namespaceSelector: selector(draw, true) };
    case 4:
      return { namespaceSelector: selector(draw, true), podSelector: selector(draw, false) };
    default: {
      const block = { ipBlock: ipBlock(draw, addresses) };
      return chance(draw, 5) ? { ...block, podSelector: null } : block;
    }
  }
}

function v1Port(draw: Draw, options: ClusterOptions): object {
  const protocol = chance(draw, 30) ? {} : { protocol: pick(draw, options.protocols) };
  switch (draw.integer(0, 5)) {
    case 0:
      return chance(draw, 10) ? { ...protocol, port: null, endPort: null } : protocol;
    case 1:
      return { ...protocol, port: pick(draw, [...portNames, 'nowhere']) };
    case 2: {
      const port = pick(draw, askedPorts);
      const reach = pick(draw, [0, 1, 2, 1000, 65535]);
      return { ...protocol, port, endPort: Math.min(65535, port + reach) };
    }
    default:
      return { ...protocol, port: pick(draw, askedPorts) };
  }
}

/** A list under `key`; or the key absent, null or empty, which all mean the same (S15, S102, S121). */
function optionalList(draw: Draw, key: string, absent: number, make: () => object): object {
  if (!chance(draw, absent)) return { [key]: listOf(draw, 1, 3, make) };
  return pick(draw, [{}, {}, {}, { [key]: null }, { [key]: [] }]);
}

function v1Rules(
  draw: Draw,
  options: ClusterOptions,
  peers: string,
  addresses: readonly string[],
): object {
  const key = peers === 'from' ? 'ingress' : 'egress';
  if (chance(draw, 30)) return pick(draw, [{}, {}, { [key]: [] }, { [key]: null }]);
  const rules = listOf(draw, 1, 3, () => ({
    ...optionalList(draw, peers, 15, () => v1Peer(draw, addresses)),
    ...optionalList(draw, 'ports', 40, () => v1Port(draw, options)),
  }));
  return { [key]: rules };
}

function drawNetworkPolicy(
  draw: Draw,
  options: ClusterOptions,
  index: number,
  namespaces: readonly string[],
  addresses: readonly string[],
): NaiveObject {
  const types = pick(draw, [
    undefined,
    undefined,
    null,
    [],
    ['Ingress'],
    ['Ingress'],
    ['Egress'],
    ['Ingress', 'Egress'],
    ['Egress', 'Ingress'],
    ['Ingress', 'Ingress'],
  ]);
  const spec = {
    ...(chance(draw, 5) ? {} : { podSelector: chance(draw, 5) ? null : selector(draw, false) }),
    ...(types === undefined ? {} : { policyTypes: types }),
    ...v1Rules(draw, options, 'from', addresses),
    ...v1Rules(draw, options, 'to', addresses),
  };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: pick(draw, namespaces), name: `policy-${index}` },
    ...(chance(draw, 2) ? {} : { spec }),
  };
}

// --- ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy -----------------------

function podsPart(draw: Draw, bothRequired: boolean): object {
  const podSelector = selector(draw, false, false);
  if (!bothRequired && chance(draw, 25)) return { podSelector };
  return { namespaceSelector: selector(draw, true, false), podSelector };
}

function clusterSubject(draw: Draw, bothRequired: boolean): object {
  // Often everybody, so that several policies and rules meet on one connection.
  if (chance(draw, 30)) return { namespaces: {} };
  if (chance(draw, 60)) return { namespaces: selector(draw, true, false) };
  return { pods: podsPart(draw, bothRequired) };
}

function clusterPeer(
  draw: Draw,
  direction: 'from' | 'to',
  addresses: readonly string[],
  form: { bothRequired: boolean; domainNames: boolean },
): object {
  if (direction === 'to' && chance(draw, 40)) {
    if (form.domainNames && chance(draw, 5))
      return { domainNames: ['*.example.com', 'example.org'] };
    if (chance(draw, 30)) return { nodes: selector(draw, false, false) };
    const networks = listOf(draw, 1, 2, () => blockAround(draw, pick(draw, addresses), 0));
    return { networks: [...new Set(networks)] };
  }
  if (chance(draw, 3)) {
    // S250, S268: admitted by the CRD, usable by nobody.
    return { namespaces: { matchExpressions: [{ key: 'app', operator: 'Foo', values: ['a'] }] } };
  }
  return clusterSubject(draw, form.bothRequired);
}

function range(draw: Draw): { start: number; end: number } {
  const start = pick(draw, askedPorts.slice(0, -1));
  return { start, end: Math.min(65535, start + pick(draw, [1, 2, 1000, 65534])) };
}

function protocolEntry(draw: Draw, options: ClusterOptions, named: boolean): object {
  if (named && chance(draw, 30))
    return { destinationNamedPort: pick(draw, [...portNames, 'nowhere']) };
  const protocol = pick(draw, options.protocols).toLowerCase();
  const destinationPort = chance(draw, 50)
    ? { number: pick(draw, askedPorts) }
    : { range: range(draw) };
  return { [protocol]: { destinationPort } };
}

function portEntry(draw: Draw, options: ClusterOptions, named: boolean): object {
  if (named && chance(draw, 30)) return { namedPort: pick(draw, [...portNames, 'nowhere']) };
  const protocol = chance(draw, 20) ? {} : { protocol: pick(draw, options.protocols) };
  if (chance(draw, 50)) return { portNumber: { ...protocol, port: pick(draw, askedPorts) } };
  return { portRange: { ...protocol, ...range(draw) } };
}

function clusterRules(
  draw: Draw,
  options: ClusterOptions,
  kind: PolicyKindName,
  peers: 'from' | 'to',
  addresses: readonly string[],
): object {
  const key = peers === 'from' ? 'ingress' : 'egress';
  const old = kind !== 'ClusterNetworkPolicy';
  const actions = {
    NetworkPolicy: [],
    ClusterNetworkPolicy: ['Accept', 'Deny', 'Pass'],
    AdminNetworkPolicy: ['Allow', 'Deny', 'Pass'],
    BaselineAdminNetworkPolicy: ['Allow', 'Deny'],
  }[kind];
  if (chance(draw, 25)) return pick(draw, [{}, { [key]: [] }]);
  const rules = listOf(draw, 1, 3, (index) => {
    const action = pick(draw, actions);
    const domainNames =
      options.gaps &&
      kind !== 'BaselineAdminNetworkPolicy' &&
      (action === 'Accept' || action === 'Allow');
    const form = { bothRequired: old, domainNames };
    const list = listOf(draw, 1, 2, () => clusterPeer(draw, peers, addresses, form));
    // The experimental channel forbids named ports beside these peers (S247, S332).
    const named = !list.some(
      (peer) => 'networks' in peer || 'nodes' in peer || 'domainNames' in peer,
    );
    const entry = old ? portEntry : protocolEntry;
    const entries = listOf(draw, 1, 3, () => entry(draw, options, named));
    const ports = chance(draw, 35) ? {} : { [old ? 'ports' : 'protocols']: entries };
    return {
      ...(chance(draw, 20) ? { name: `rule ${index}` } : {}),
      action,
      [peers]: list,
      ...ports,
    };
  });
  return { [key]: rules };
}

function drawClusterPolicy(
  draw: Draw,
  options: ClusterOptions,
  kind: Exclude<PolicyKindName, 'NetworkPolicy'>,
  index: number,
  addresses: readonly string[],
): NaiveObject {
  const old = kind !== 'ClusterNetworkPolicy';
  const priority = { priority: pick(draw, [0, 1, 1, 5, 1000]) };
  const spec = {
    ...(old ? {} : { tier: chance(draw, 60) ? 'Admin' : 'Baseline' }),
    ...(kind === 'BaselineAdminNetworkPolicy' ? {} : priority),
    subject: clusterSubject(draw, old),
    ...clusterRules(draw, options, kind, 'from', addresses),
    ...clusterRules(draw, options, kind, 'to', addresses),
  };
  const name = `${pick(draw, ['a', 'm', 'z'])}-${index}`;
  return {
    apiVersion: `policy.networking.k8s.io/${old ? 'v1alpha1' : 'v1alpha2'}`,
    kind,
    metadata: { name: kind === 'BaselineAdminNetworkPolicy' ? 'default' : name },
    spec,
  };
}

// --- The cluster --------------------------------------------------------------------------------

function drawPolicies(
  draw: Draw,
  options: ClusterOptions,
  namespaces: readonly string[],
  addresses: readonly string[],
): NaiveObject[] {
  let baseline = false;
  const policies: NaiveObject[] = [];
  // Now and then one kind alone, so that its own policies meet; of Baseline there is only one.
  const many = options.kinds.filter((kind) => kind !== 'BaselineAdminNetworkPolicy');
  const kinds = many.length > 0 && chance(draw, 30) ? [pick(draw, many)] : options.kinds;
  const count = chance(draw, 5) ? 0 : draw.integer(1, options.maxPolicies);
  for (let index = 0; index < count; index += 1) {
    const kind = pick(draw, kinds);
    if (kind === 'NetworkPolicy') {
      policies.push(drawNetworkPolicy(draw, options, index, namespaces, addresses));
    } else if (kind !== 'BaselineAdminNetworkPolicy' || !baseline) {
      policies.push(drawClusterPolicy(draw, options, kind, index, addresses));
      baseline ||= kind === 'BaselineAdminNetworkPolicy';
    }
  }
  return policies;
}

function drawCluster(draw: Draw, options: ClusterOptions): RandomCluster {
  const nodes = drawNodes(draw, options);
  const { names, objects } = drawNamespaces(draw, options);
  const pods: NaiveObject[] = [];
  for (let left = draw.integer(2, options.maxPods); left > 0; left -= 1) {
    const pod = drawPod(draw, options, pods.length, names, nodes);
    // Replicas: nothing tells them apart but name, node and address.
    const like = pods.length > 0 && chance(draw, 30) ? pick(draw, pods) : undefined;
    pods.push(like === undefined ? pod : replica(pod, like, chance(draw, 50)));
  }
  const outside = options.families === 'v4' ? outside4 : [...outside4, ...outside6];
  const podIps = pods.flatMap((pod) => {
    const status = pod.status as { podIPs?: { ip: string }[] };
    return (status.podIPs ?? []).map((entry) => entry.ip);
  });
  const nodeIps = nodes.flatMap((node) => {
    const status = node.status as { addresses: { type: string; address: string }[] };
    return status.addresses.filter((a) => a.type === 'InternalIP').map((a) => a.address);
  });
  const addresses = [...new Set([...podIps, ...nodeIps, ...outside])];
  return {
    objects: [...nodes, ...objects, ...pods, ...drawPolicies(draw, options, names, addresses)],
    pods: pods.map((pod) => `${pod.metadata.namespace ?? ''}/${pod.metadata.name}`),
    nodes: nodes.map((node) => node.metadata.name),
    addresses,
    outside,
  };
}

// --- Connections --------------------------------------------------------------------------------

function ownAddresses(cluster: RandomCluster, kind: string, id: string): string[] {
  const object = cluster.objects.find((o) => {
    const { namespace, name } = o.metadata;
    return o.kind === kind && (namespace === undefined ? name : `${namespace}/${name}`) === id;
  });
  const status = (object?.status ?? {}) as {
    podIPs?: { ip: string }[];
    addresses?: { type: string; address: string }[];
  };
  const ofNode = (status.addresses ?? [])
    .filter((a) => a.type === 'InternalIP')
    .map((a) => a.address);
  const own = [...(status.podIPs ?? []).map((entry) => entry.ip), ...ofNode];
  // A hostNetwork pod without an address of its own has its node's.
  const { hostNetwork, nodeName } = (object?.spec ?? {}) as {
    hostNetwork?: boolean;
    nodeName?: string;
  };
  return own.length === 0 && hostNetwork === true && nodeName !== undefined
    ? ownAddresses(cluster, 'Node', nodeName)
    : own;
}

/** Whether two ends have addresses of one family; an end whose addresses are not known may. */
export function canConnect(cluster: RandomCluster, a: NaiveEnd, b: NaiveEnd): boolean {
  const families = (end: NaiveEnd): boolean[] => {
    const addresses =
      'pod' in end
        ? ownAddresses(cluster, 'Pod', end.pod)
        : 'node' in end
          ? ownAddresses(cluster, 'Node', end.node)
          : [end.address];
    return addresses.length === 0 ? [false, true] : addresses.map((text) => text.includes(':'));
  };
  return families(a).some((family) => families(b).includes(family));
}

function drawEnd(draw: Draw, cluster: RandomCluster): { end: NaiveEnd; addresses: string[] } {
  const form = draw.integer(1, 20);
  if (form === 1) {
    const node = pick(draw, cluster.nodes);
    return { end: { node }, addresses: ownAddresses(cluster, 'Node', node) };
  }
  if (form <= 5) {
    const address = pick(draw, chance(draw, 50) ? cluster.addresses : cluster.outside);
    return { end: { address }, addresses: [address] };
  }
  const pod = pick(draw, cluster.pods);
  return { end: { pod }, addresses: ownAddresses(cluster, 'Pod', pod) };
}

/**
 * A connection whose two ends, where both addresses are known, speak the same family. One in ten
 * leaves out the addresses of pods and nodes.
 */
export function drawConnection(
  draw: Draw,
  cluster: RandomCluster,
  protocols: readonly NaiveConnection['protocol'][],
): NaiveConnection {
  const protocol = pick(draw, protocols);
  const port = protocol === 'other' ? {} : { port: pick(draw, askedPorts) };
  let source = drawEnd(draw, cluster);
  let destination = drawEnd(draw, cluster);
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const pairs = source.addresses.flatMap((from) =>
      destination.addresses
        .filter((to) => from.includes(':') === to.includes(':'))
        .map((to) => ({ from, to })),
    );
    if (pairs.length > 0) {
      const { from, to } = pick(draw, pairs);
      const named = chance(draw, 10);
      const same =
        'pod' in source.end && 'pod' in destination.end && source.end.pod === destination.end.pod;
      return {
        source: named ? source.end : { ...source.end, address: from },
        destination: named ? destination.end : { ...destination.end, address: to },
        protocol,
        ...port,
        ...(same && chance(draw, 50) ? { throughService: true } : {}),
      };
    }
    if (source.addresses.length === 0 || destination.addresses.length === 0) break;
    source = drawEnd(draw, cluster);
    destination = drawEnd(draw, cluster);
  }
  const withAddress = (end: { end: NaiveEnd; addresses: string[] }): NaiveEnd => {
    const [only] = end.addresses.length === 1 ? end.addresses : [];
    return only === undefined ? end.end : { ...end.end, address: only };
  };
  return { source: withAddress(source), destination: withAddress(destination), protocol, ...port };
}
