/**
 * The naive evaluator: the decision procedure of the semantics text (Part 4, S354–S359) read
 * straight from plain Kubernetes objects, as the second opinion that tests hold the engine to. It
 * must import nothing from `src`: not the selectors, not the addresses, not the defaulting. Slow and
 * plain on purpose; it expects valid objects.
 *
 * Where a fact is missing, both answers are followed: an outcome is `unknown` exactly when the
 * facts that are missing can lead to both.
 */

// --- Input --------------------------------------------------------------------------------------

export interface NaiveObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>> | null;
  };
  readonly spec?: unknown;
  readonly status?: unknown;
}

/** `pod` is `namespace/name`. An `address` alone is looked up among pods and nodes first. */
export type NaiveEnd =
  | { readonly pod: string; readonly address?: string }
  | { readonly node: string; readonly address?: string }
  | { readonly address: string };

export interface NaiveConnection {
  readonly source: NaiveEnd;
  readonly destination: NaiveEnd;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP' | 'other';
  /** Absent only for `other`. */
  readonly port?: number;
  readonly throughService?: boolean;
}

export interface NaiveSettings {
  readonly hostNetworkPods: 'node' | 'unknown';
  readonly podToOwnNode: 'policy' | 'allow' | 'unknown';
  readonly selfThroughService: 'policy' | 'allow' | 'unknown';
  readonly ipBlockAddress: 'backend' | 'unknown';
  readonly otherProtocols: 'portless-rules' | 'allow' | 'deny' | 'unknown';
  readonly terminatedPods: 'ignore' | 'include';
  readonly equalPriority: 'name' | 'unknown';
  readonly baselineSkip: 'per-direction' | 'per-pod' | 'unknown';
}

export const naiveDefaults: NaiveSettings = {
  hostNetworkPods: 'node',
  podToOwnNode: 'policy',
  selfThroughService: 'policy',
  ipBlockAddress: 'backend',
  otherProtocols: 'portless-rules',
  terminatedPods: 'ignore',
  equalPriority: 'name',
  baselineSkip: 'per-direction',
};

// --- Output -------------------------------------------------------------------------------------

export type NaiveOutcome = 'allowed' | 'denied' | 'unknown';

export interface NaiveVerdict {
  readonly outcome: NaiveOutcome;
  readonly egress: NaiveOutcome;
  readonly ingress: NaiveOutcome;
}

// --- Shapes of the objects that are read --------------------------------------------------------

interface Selector {
  matchLabels?: Record<string, string> | null;
  matchExpressions?: { key: string; operator: string; values?: string[] | null }[] | null;
}

interface V1Peer {
  podSelector?: Selector | null;
  namespaceSelector?: Selector | null;
  ipBlock?: { cidr: string; except?: string[] | null } | null;
}

interface V1Port {
  protocol?: string | null;
  port?: number | string | null;
  endPort?: number | null;
}

interface V1Rule {
  from?: V1Peer[] | null;
  to?: V1Peer[] | null;
  ports?: V1Port[] | null;
}

interface V1Spec {
  podSelector?: Selector | null;
  policyTypes?: string[] | null;
  ingress?: V1Rule[] | null;
  egress?: V1Rule[] | null;
}

interface PodsSelector {
  namespaceSelector?: Selector | null;
  podSelector?: Selector | null;
}

/** A peer or subject of ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy. */
interface ClusterPeer {
  namespaces?: Selector | null;
  pods?: PodsSelector | null;
  networks?: string[] | null;
  nodes?: Selector | null;
  domainNames?: string[] | null;
}

/** ClusterNetworkPolicy v1alpha2. */
interface ProtocolEntry {
  tcp?: L4 | null;
  udp?: L4 | null;
  sctp?: L4 | null;
  destinationNamedPort?: string | null;
}

interface L4 {
  destinationPort?: { number?: number; range?: { start: number; end: number } };
}

/** AdminNetworkPolicy and BaselineAdminNetworkPolicy v1alpha1. */
interface PortEntry {
  portNumber?: { protocol?: string; port: number } | null;
  portRange?: { protocol?: string; start: number; end: number } | null;
  namedPort?: string | null;
}

interface ClusterRule {
  action: string;
  from?: ClusterPeer[];
  to?: ClusterPeer[];
  protocols?: ProtocolEntry[] | null;
  ports?: PortEntry[] | null;
}

interface ClusterSpec {
  tier?: string;
  priority?: number;
  subject: ClusterPeer;
  ingress?: ClusterRule[] | null;
  egress?: ClusterRule[] | null;
}

interface PodSpec {
  nodeName?: string;
  hostNetwork?: boolean;
  containers?: ContainerSpec[] | null;
  initContainers?: ContainerSpec[] | null;
}

interface ContainerSpec {
  restartPolicy?: string;
  ports?: { name?: string; containerPort: number; protocol?: string }[] | null;
}

interface PodStatus {
  phase?: string;
  podIP?: string;
  podIPs?: { ip: string }[] | null;
}

// --- Three-valued logic and possible outcomes ---------------------------------------------------

type Truth = 'yes' | 'no' | 'unknown';

function truth(value: boolean): Truth {
  return value ? 'yes' : 'no';
}

function every(...values: Truth[]): Truth {
  if (values.includes('no')) return 'no';
  return values.includes('unknown') ? 'unknown' : 'yes';
}

function some(...values: Truth[]): Truth {
  if (values.includes('yes')) return 'yes';
  return values.includes('unknown') ? 'unknown' : 'no';
}

/** The outcomes that are still possible, given what is known. Never empty. */
type Possible = ReadonlySet<'allowed' | 'denied'>;

const allowed: Possible = new Set(['allowed'] as const);
const denied: Possible = new Set(['denied'] as const);
const both: Possible = new Set(['allowed', 'denied'] as const);

function either<T>(a: ReadonlySet<T>, b: ReadonlySet<T>): ReadonlySet<T> {
  return new Set([...a, ...b]);
}

/** `then` if the condition holds, `otherwise` if not, both when it is not known. */
function branch<T>(
  condition: Truth,
  then: () => ReadonlySet<T>,
  otherwise: () => ReadonlySet<T>,
): ReadonlySet<T> {
  if (condition === 'yes') return then();
  if (condition === 'no') return otherwise();
  return either(then(), otherwise());
}

function outcomeOf(possible: Possible): NaiveOutcome {
  if (possible.size === 2) return 'unknown';
  return possible.has('allowed') ? 'allowed' : 'denied';
}

// --- Addresses (S66–S70, S73, S113, S118) -------------------------------------------------------

interface Ip {
  readonly family: 4 | 6;
  readonly bits: bigint;
}

/** Lenient about leading zeros, as servers before strict parsing are (S67). */
export function parseIp(text: string): Ip {
  if (!text.includes(':')) return { family: 4, bits: ipv4Bits(text) };
  let hex = text;
  const lastColon = text.lastIndexOf(':');
  const tail = text.slice(lastColon + 1);
  if (tail.includes('.')) {
    const bits = ipv4Bits(tail);
    hex = `${text.slice(0, lastColon + 1)}${(bits >> 16n).toString(16)}:${(bits & 0xffffn).toString(16)}`;
  }
  const [head = '', rest] = hex.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = rest === undefined || rest === '' ? [] : rest.split(':');
  const zeros = rest === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array.from({ length: zeros }, () => '0'), ...right];
  if (groups.length !== 8) throw new Error(`not an IPv6 address: ${text}`);
  return {
    family: 6,
    bits: groups.reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n),
  };
}

function ipv4Bits(text: string): bigint {
  const octets = text.split('.');
  if (octets.length !== 4) throw new Error(`not an IPv4 address: ${text}`);
  return octets.reduce((sum, octet) => sum * 256n + BigInt(octet.replace(/^0+(?=\d)/, '')), 0n);
}

function sameIp(a: Ip, b: Ip): boolean {
  return a.family === b.family && a.bits === b.bits;
}

interface Block {
  readonly family: 4 | 6;
  readonly network: bigint;
  readonly hostBits: bigint;
}

const blocks = new Map<string, Block>();

/** Host bits that are set are masked off (S67, S73). */
function parseBlock(cidr: string): Block {
  const known = blocks.get(cidr);
  if (known !== undefined) return known;
  const [address = '', prefix = ''] = cidr.split('/');
  const ip = parseIp(address);
  const hostBits = (ip.family === 4 ? 32n : 128n) - BigInt(prefix.replace(/^0+(?=\d)/, ''));
  const block = { family: ip.family, network: ip.bits >> hostBits, hostBits };
  blocks.set(cidr, block);
  return block;
}

/** S118: an address of the other family is never inside. */
export function inBlock(ip: Ip, cidr: string): boolean {
  const block = parseBlock(cidr);
  return block.family === ip.family && ip.bits >> block.hostBits === block.network;
}

// --- Selectors (S89–S97) ------------------------------------------------------------------------

/** Labels of an object; `complete` is false when there may be more than the ones known (S25). */
interface LabelSet {
  readonly labels: Readonly<Record<string, string>>;
  readonly complete: boolean;
}

/** S91: all entries are ANDed; S92: `matchLabels: {k: v}` is `k In [v]`; S89: `{}` matches all. */
function selects(selector: Selector, object: LabelSet): Truth {
  return every(
    ...Object.entries(selector.matchLabels ?? {}).map(([key, value]) =>
      requirement(key, 'In', [value], object),
    ),
    ...(selector.matchExpressions ?? []).map((expression) =>
      requirement(expression.key, expression.operator, expression.values ?? [], object),
    ),
  );
}

/** S93 In, S94 NotIn, S95 Exists, S96 DoesNotExist, S97 exact comparison. */
function requirement(key: string, operator: string, values: string[], object: LabelSet): Truth {
  const present = Object.hasOwn(object.labels, key);
  if (!present && !object.complete) return 'unknown';
  const listed = present && values.includes(object.labels[key] ?? '');
  switch (operator) {
    case 'In':
      return truth(present && listed);
    case 'NotIn':
      return truth(!present || !listed);
    case 'Exists':
      return truth(present);
    case 'DoesNotExist':
      return truth(!present);
    default:
      throw new Error(`operator ${operator}: see usable()`);
  }
}

/** S250, S268: the CRDs admit operators that nobody knows. */
function usable(selector: Selector | null | undefined): boolean {
  return (selector?.matchExpressions ?? []).every((expression) =>
    ['In', 'NotIn', 'Exists', 'DoesNotExist'].includes(expression.operator),
  );
}

// --- The two ends of a connection ---------------------------------------------------------------

/** One end, as policy sees it. */
interface End {
  /** A pod that selectors can select: not hostNetwork (S184 second option, S255, S256), not finished. */
  readonly pod?: NaiveObject;
  /** A hostNetwork pod under the first option of S184: NetworkPolicy sees it, the CRD kinds never do. */
  readonly onlyNetworkPolicy?: boolean;
  /** Name of the node whose traffic this is; `undefined` with `nodeTraffic` means: some node. */
  readonly node?: string;
  readonly nodeTraffic: boolean;
  /** Addresses this end may have on this connection; empty: not known. */
  readonly addresses: readonly Ip[];
  /** Of the connection, hence of both ends; undefined when they have none in common. */
  readonly family?: 4 | 6 | undefined;
}

interface World {
  readonly objects: readonly NaiveObject[];
  readonly settings: NaiveSettings;
  /** S184: which of the two options the cluster takes. */
  readonly hostNetworkLikePods: boolean;
}

function podSpec(pod: NaiveObject): PodSpec {
  return pod.spec ?? {};
}

function podIps(pod: NaiveObject): Ip[] {
  const status = (pod.status ?? {}) as PodStatus;
  const listed = (status.podIPs ?? []).map((entry) => entry.ip);
  const all = listed.length > 0 ? listed : [status.podIP ?? ''];
  return all.filter((text) => text !== '').map(parseIp);
}

function nodeIps(node: NaiveObject): Ip[] {
  const status = (node.status ?? {}) as { addresses?: { type: string; address: string }[] | null };
  const texts = (status.addresses ?? []).map((entry) => entry.address);
  return texts.filter((text) => /^[0-9.]+$|:/.test(text)).map(parseIp);
}

/** A hostNetwork pod that does not tell its address has that of its node. */
function knownIps(world: World, pod: NaiveObject): Ip[] {
  const own = podIps(pod);
  const { hostNetwork, nodeName } = podSpec(pod);
  if (own.length > 0 || hostNetwork !== true) return own;
  const node = world.objects.find((o) => o.kind === 'Node' && o.metadata.name === nodeName);
  const status = (node?.status ?? {}) as { addresses?: { type: string; address: string }[] | null };
  const internal = (status.addresses ?? []).filter((entry) => entry.type === 'InternalIP');
  return internal.map((entry) => parseIp(entry.address));
}

function finished(pod: NaiveObject): boolean {
  const phase = ((pod.status ?? {}) as PodStatus).phase;
  return phase === 'Succeeded' || phase === 'Failed';
}

function podId(pod: NaiveObject): string {
  return `${pod.metadata.namespace ?? ''}/${pod.metadata.name}`;
}

/** The end as policy sees it: pod, node or mere address. */
function endOf(world: World, end: NaiveEnd): End {
  if ('pod' in end) {
    const pod = world.objects.find((o) => o.kind === 'Pod' && podId(o) === end.pod);
    if (pod === undefined) throw new Error(`no such pod: ${end.pod}`);
    return podEnd(world, pod, end.address);
  }
  if ('node' in end) {
    const node = world.objects.find((o) => o.kind === 'Node' && o.metadata.name === end.node);
    if (node === undefined) throw new Error(`no such node: ${end.node}`);
    const addresses = end.address === undefined ? nodeIps(node) : [parseIp(end.address)];
    return { node: end.node, nodeTraffic: true, addresses };
  }
  return addressEnd(world, end.address);
}

function podEnd(world: World, pod: NaiveObject, address: string | undefined): End {
  const addresses = address === undefined ? knownIps(world, pod) : [parseIp(address)];
  // S195: by default a finished pod is neither subject nor peer.
  if (finished(pod) && world.settings.terminatedPods === 'ignore') {
    return { nodeTraffic: false, addresses };
  }
  const { hostNetwork, nodeName } = podSpec(pod);
  if (hostNetwork !== true) return { pod, nodeTraffic: false, addresses };
  const place = nodeName === undefined ? {} : { node: nodeName };
  if (world.hostNetworkLikePods)
    return { pod, onlyNetworkPolicy: true, nodeTraffic: false, addresses };
  return { ...place, nodeTraffic: true, addresses };
}

/** S195: an address used again belongs to the pod that runs. A node's address is the node's. */
function addressEnd(world: World, text: string): End {
  const ip = parseIp(text);
  const owners = world.objects.filter(
    (o) =>
      o.kind === 'Pod' &&
      podSpec(o).hostNetwork !== true &&
      podIps(o).some((mine) => sameIp(mine, ip)),
  );
  const owner = owners.find((pod) => !finished(pod)) ?? owners[0];
  if (owner !== undefined) return podEnd(world, owner, text);
  const node = world.objects.find(
    (o) => o.kind === 'Node' && nodeIps(o).some((mine) => sameIp(mine, ip)),
  );
  if (node !== undefined) return { node: node.metadata.name, nodeTraffic: true, addresses: [ip] };
  const guest = world.objects.find(
    (o) => o.kind === 'Pod' && podIps(o).some((mine) => sameIp(mine, ip)),
  );
  if (guest !== undefined) return podEnd(world, guest, text);
  return { nodeTraffic: false, addresses: [ip] };
}

/**
 * The families a connection between two ends can have; an end of unknown address can have either.
 * Where they have none in common, each keeps its addresses.
 */
function families(a: End, b: End): (4 | 6 | undefined)[] {
  const has = (end: End, family: 4 | 6): boolean =>
    end.addresses.length === 0 || end.addresses.some((ip) => ip.family === family);
  const common = ([4, 6] as const).filter((family) => has(a, family) && has(b, family));
  return common.length === 0 ? [undefined] : common;
}

function inFamily(end: End, family: 4 | 6 | undefined): End {
  if (family === undefined) return end;
  return { ...end, family, addresses: end.addresses.filter((ip) => ip.family === family) };
}

/** S25: a namespace always bears its own name as a label; without its object the rest is not known. */
function namespaceLabels(world: World, name: string): LabelSet {
  const object = world.objects.find((o) => o.kind === 'Namespace' && o.metadata.name === name);
  return {
    labels: { ...object?.metadata.labels, 'kubernetes.io/metadata.name': name },
    complete: object !== undefined,
  };
}

function podLabels(pod: NaiveObject): LabelSet {
  return { labels: pod.metadata.labels ?? {}, complete: true };
}

// --- Ports --------------------------------------------------------------------------------------

/** The connection's last part: what a ports entry is compared with (S128, S129). */
interface Target {
  readonly protocol: NaiveConnection['protocol'];
  readonly port: number | undefined;
  /** The destination, if it is a pod: named ports are its own (S132, S134). */
  readonly pod: NaiveObject | undefined;
  readonly throughService: boolean;
}

/**
 * S132–S137, S272, S274: some container port of that name has this number and protocol. Init
 * containers count only as sidecars, which keep running beside the others (S136 leaves it open).
 */
function namedPortIs(target: Target, name: string, protocol: string | undefined): boolean {
  if (target.pod === undefined) return false;
  const spec = podSpec(target.pod);
  const sidecars = (spec.initContainers ?? []).filter((c) => c.restartPolicy === 'Always');
  const ports = [...(spec.containers ?? []), ...sidecars].flatMap((c) => c.ports ?? []);
  return ports.some(
    (port) =>
      port.name === name &&
      port.containerPort === target.port &&
      (port.protocol ?? 'TCP') === target.protocol &&
      (protocol === undefined || protocol === target.protocol),
  );
}

/** S7, S51, S52, S120–S126, S130, S132–S135. */
function v1PortsMatch(ports: V1Port[] | null | undefined, target: Target): boolean {
  if (ports === undefined || ports === null || ports.length === 0) return true;
  return ports.some((entry) => {
    const protocol = entry.protocol ?? 'TCP';
    if (protocol !== target.protocol) return false;
    const { port, endPort } = entry;
    if (port === undefined || port === null) return true;
    if (typeof port === 'string') return namedPortIs(target, port, protocol);
    if (target.port === undefined) return false;
    if (endPort === undefined || endPort === null) return target.port === port;
    return target.port >= port && target.port <= endPort;
  });
}

/** S269–S273 for `protocols`, S327–S329, S347 for the older `ports`. */
function clusterPortsMatch(rule: ClusterRule, target: Target): boolean {
  const entries = [...(rule.protocols ?? []).map(asPorts), ...(rule.ports ?? []).map(asPorts)];
  if (entries.length === 0) return true;
  return entries.some((entry) => {
    if ('name' in entry) return namedPortIs(target, entry.name, undefined);
    if (entry.protocol !== target.protocol || target.port === undefined) return false;
    return target.port >= entry.start && target.port <= entry.end;
  });
}

function asPorts(
  entry: ProtocolEntry & PortEntry,
): { name: string } | { protocol: string; start: number; end: number } {
  const name = entry.destinationNamedPort ?? entry.namedPort;
  if (name !== undefined && name !== null) return { name };
  if (entry.portNumber) {
    const { protocol = 'TCP', port } = entry.portNumber;
    return { protocol, start: port, end: port };
  }
  if (entry.portRange) return { protocol: 'TCP', ...entry.portRange };
  for (const protocol of ['tcp', 'udp', 'sctp'] as const) {
    const l4 = entry[protocol];
    if (!l4) continue;
    const { number, range } = l4.destinationPort ?? {};
    if (number !== undefined)
      return { protocol: protocol.toUpperCase(), start: number, end: number };
    return { protocol: protocol.toUpperCase(), ...(range ?? { start: 1, end: 65535 }) };
  }
  throw new Error('a ports entry with no known field');
}

// --- NetworkPolicy v1 ---------------------------------------------------------------------------

type Direction = 'Ingress' | 'Egress';

function v1Spec(policy: NaiveObject): V1Spec {
  return policy.spec ?? {};
}

/** S8–S12: what policyTypes is after defaulting. */
function policyTypes(policy: NaiveObject): string[] {
  const { policyTypes: given, egress } = v1Spec(policy);
  if (given !== undefined && given !== null && given.length > 0) return given;
  return (egress ?? []).length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
}

/** S6, S100: a missing podSelector is `{}`; only pods of the policy's own namespace. */
function v1Selects(policy: NaiveObject, pod: NaiveObject): Truth {
  if (policy.metadata.namespace !== pod.metadata.namespace) return 'no';
  return selects(v1Spec(policy).podSelector ?? {}, podLabels(pod));
}

/** S102–S110, S113, S118. */
function v1PeerMatches(world: World, policy: NaiveObject, peer: V1Peer, other: End): Truth {
  if (peer.ipBlock) return addressesIn(other, [peer.ipBlock.cidr], peer.ipBlock.except ?? []);
  if (other.pod === undefined) return 'no';
  const namespace = other.pod.metadata.namespace ?? '';
  return every(
    peer.namespaceSelector
      ? selects(peer.namespaceSelector, namespaceLabels(world, namespace))
      : truth(namespace === policy.metadata.namespace),
    peer.podSelector ? selects(peer.podSelector, podLabels(other.pod)) : 'yes',
  );
}

/** Inside one of the blocks and none of the exceptions (S113, S258). */
function addressesIn(other: End, cidrs: readonly string[], except: readonly string[]): Truth {
  const inside = (ip: Ip): boolean =>
    cidrs.some((cidr) => inBlock(ip, cidr)) && !except.some((cidr) => inBlock(ip, cidr));
  // An unknown address is inside for sure if every address of its family is, outside if none is:
  // that can only change where a block begins or has just ended.
  const { family } = other;
  const steps = [...cidrs, ...except].map(parseBlock).filter((block) => block.family === family);
  const anywhere = steps.flatMap(({ network, hostBits }) => [
    network << hostBits,
    (network + 1n) << hostBits,
  ]);
  const last = family === 4 ? 1n << 32n : 1n << 128n;
  const candidates =
    other.addresses.length > 0 || family === undefined
      ? other.addresses
      : [0n, ...anywhere].filter((bits) => bits < last).map((bits) => ({ family, bits }));
  return agreed(candidates.map(inside));
}

function agreed(answers: readonly boolean[]): Truth {
  if (answers.length === 0) return 'unknown';
  if (answers.every((answer) => answer)) return 'yes';
  return answers.some((answer) => answer) ? 'unknown' : 'no';
}

/** S101, S143, S144, S149. */
function v1RuleMatches(
  world: World,
  policy: NaiveObject,
  rule: V1Rule,
  peers: V1Peer[] | null | undefined,
  other: End,
  target: Target,
): Truth {
  const noPeers = peers === undefined || peers === null || peers.length === 0;
  return every(
    noPeers ? 'yes' : some(...peers.map((peer) => v1PeerMatches(world, policy, peer, other))),
    truth(v1PortsMatch(rule.ports, target)),
  );
}

/** The NetworkPolicies whose podSelector selects the pod, whatever their direction. */
function v1Policies(world: World): NaiveObject[] {
  return world.objects.filter((o) => o.kind === 'NetworkPolicy');
}

/** S139–S142, S145: is the pod isolated, and if so, does any rule of any policy admit? */
function networkPolicyTier(
  world: World,
  direction: Direction,
  subject: NaiveObject,
  other: End,
  target: Target,
): { isolated: Truth; admits: () => Possible } {
  const isolating = v1Policies(world).filter((policy) => policyTypes(policy).includes(direction));
  // S175, S176: what an ipBlock is compared with, if NAT may have rewritten it, is not known.
  const rewritten = direction === 'Ingress' ? other.pod === undefined : target.throughService;
  const seen =
    rewritten && world.settings.ipBlockAddress === 'unknown' ? { ...other, addresses: [] } : other;
  return {
    isolated: some(...isolating.map((policy) => v1Selects(policy, subject))),
    admits: () => {
      if (target.protocol === 'other') {
        // S200: undefined by the text, so a setting decides.
        const choice = world.settings.otherProtocols;
        if (choice === 'allow') return allowed;
        if (choice === 'deny') return denied;
        if (choice === 'unknown') return both;
      }
      const matches = isolating.flatMap((policy) => {
        const spec = v1Spec(policy);
        const rules = (direction === 'Ingress' ? spec.ingress : spec.egress) ?? [];
        return rules.map((rule) => {
          const peers = direction === 'Ingress' ? rule.from : rule.to;
          return every(
            v1Selects(policy, subject),
            v1RuleMatches(world, policy, rule, peers, seen, target),
          );
        });
      });
      return branch(
        some(...matches),
        () => allowed,
        () => denied,
      );
    },
  };
}

// --- ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy -----------------------

function clusterSpec(policy: NaiveObject): ClusterSpec {
  return policy.spec as ClusterSpec;
}

/** S225, S276, S334, S339–S343. */
function tierOf(policy: NaiveObject): 'Admin' | 'Baseline' | undefined {
  if (policy.kind === 'AdminNetworkPolicy') return 'Admin';
  if (policy.kind === 'BaselineAdminNetworkPolicy') return 'Baseline';
  if (policy.kind !== 'ClusterNetworkPolicy') return undefined;
  return clusterSpec(policy).tier === 'Admin' ? 'Admin' : 'Baseline';
}

/** S253–S256: `namespaces` or `pods`, as subject or as peer. */
function clusterSelects(world: World, part: ClusterPeer, end: End): Truth {
  if (end.pod === undefined || end.onlyNetworkPolicy === true) return 'no';
  const namespace = namespaceLabels(world, end.pod.metadata.namespace ?? '');
  if (part.namespaces) return selects(part.namespaces, namespace);
  return every(
    selects(part.pods?.namespaceSelector ?? {}, namespace),
    selects(part.pods?.podSelector ?? {}, podLabels(end.pod)),
  );
}

/** S266, S268: a peer that nobody can read. */
function peerUsable(peer: ClusterPeer): boolean {
  const parts = [peer.namespaces, peer.nodes, peer.pods?.namespaceSelector, peer.pods?.podSelector];
  return parts.every(usable);
}

/** S257–S263, S309, S313. */
function clusterPeerMatches(world: World, peer: ClusterPeer, other: End): Truth {
  if (peer.networks) return addressesIn(other, peer.networks, []);
  if (peer.nodes) return nodesMatch(world, peer.nodes, other);
  // Which addresses a name has is DNS's to say: no fact of the cluster decides it.
  if (peer.domainNames) return 'unknown';
  return clusterSelects(world, peer, other);
}

/**
 * S261, S262: the address is one of a selected node's addresses. A pod of its own address is on
 * none; a hostNetwork pod of unknown address has its node's.
 */
function nodesMatch(world: World, selector: Selector, other: End): Truth {
  if (other.pod !== undefined && other.onlyNetworkPolicy !== true) return 'no';
  const nodes = world.objects.filter((o) => o.kind === 'Node');
  const selected = nodes.filter((node) => selects(selector, podLabels(node)) === 'yes');
  if (other.addresses.length > 0) {
    const wanted = selected.flatMap((node) => nodeIps(node));
    return agreed(other.addresses.map((ip) => wanted.some((mine) => sameIp(mine, ip))));
  }
  const name = other.node ?? (other.pod === undefined ? undefined : podSpec(other.pod).nodeName);
  if (!nodes.some((node) => node.metadata.name === name)) return 'unknown';
  return truth(selected.some((node) => node.metadata.name === name));
}

/** What a rule or policy may do; `miss`: it leaves the connection to those behind it. */
type Decision = ReadonlySet<'allowed' | 'denied' | 'miss'>;

const miss: Decision = new Set(['miss'] as const);

/**
 * One tier (S277–S280, S282, S284–S288): the first rule that matches decides; `next` is what
 * follows Pass or no match.
 */
function clusterTier(
  world: World,
  tier: 'Admin' | 'Baseline',
  direction: Direction,
  subject: End,
  other: End,
  target: Target,
  next: () => Possible,
): Possible {
  const policies = world.objects.filter((policy) => tierOf(policy) === tier);
  const after = next();
  // From the last group to the first: `rest` is what follows when a group does not decide.
  return groupsByOrder(world, policies).reduceRight((rest, group) => {
    const decisions = group.map((policy) =>
      policyDecides(world, policy, direction, subject, other, target, after),
    );
    // S289: any policy of the group may be the one that is applied.
    const decided = new Set([...decisions.reduce(either)].filter((one) => one !== 'miss'));
    return decisions.every((decision) => decision.has('miss')) ? either(decided, rest) : decided;
  }, after);
}

/** The first rule of a policy that matches (S278, S279). */
function policyDecides(
  world: World,
  policy: NaiveObject,
  direction: Direction,
  subject: End,
  other: End,
  target: Target,
  after: Possible,
): Decision {
  const spec = clusterSpec(policy);
  const rules = (direction === 'Ingress' ? spec.ingress : spec.egress) ?? [];
  return branch(
    clusterSelects(world, spec.subject, subject),
    () =>
      rules.reduceRight(
        (rest, rule) => ruleDecides(world, rule, direction, other, target, after, rest),
        miss,
      ),
    () => miss,
  );
}

/** What one rule does: decides if it matches (`after` is what follows Pass), else leaves it to the `rest`. */
function ruleDecides(
  world: World,
  rule: ClusterRule,
  direction: Direction,
  other: End,
  target: Target,
  after: Possible,
  rest: Decision,
): Decision {
  const peers = (direction === 'Ingress' ? rule.from : rule.to) ?? [];
  const accepts = rule.action === 'Accept' || rule.action === 'Allow';
  // S266, S267: the rule fails closed. Accept matches nothing, Deny and Pass deny everything.
  if (!peers.every(peerUsable)) return accepts ? rest : denied;
  const match = every(
    some(...peers.map((peer) => clusterPeerMatches(world, peer, other))),
    truth(clusterPortsMatch(rule, target)),
  );
  const effect: Decision = accepts ? allowed : rule.action === 'Deny' ? denied : after;
  return branch(
    match,
    () => effect,
    () => rest,
  );
}

/**
 * S277: lower number first. S289: equal numbers are one group, unless the setting says that names
 * decide. BaselineAdminNetworkPolicy has no priority (S340); how it stands to Baseline
 * ClusterNetworkPolicies is written nowhere, and podwall takes it as 0.
 */
function groupsByOrder(world: World, policies: readonly NaiveObject[]): NaiveObject[][] {
  const priority = (policy: NaiveObject): number => clusterSpec(policy).priority ?? 0;
  const sorted = policies.toSorted(
    (a, b) =>
      priority(a) - priority(b) ||
      compareText(a.metadata.name, b.metadata.name) ||
      compareText(a.kind, b.kind),
  );
  if (world.settings.equalPriority === 'name') return sorted.map((policy) => [policy]);
  const groups = new Map<number, NaiveObject[]>();
  for (const policy of sorted) {
    groups.set(priority(policy), [...(groups.get(priority(policy)) ?? []), policy]);
  }
  return [...groups.values()];
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

// --- Deciding a direction and a connection ------------------------------------------------------

/** S357: Admin, NetworkPolicy, Baseline, default allow. */
function decide(
  world: World,
  direction: Direction,
  subject: End & { pod: NaiveObject },
  other: End,
  target: Target,
  exempt: Exemption,
): Possible {
  const cluster = (tier: 'Admin' | 'Baseline', next: () => Possible): Possible =>
    clusterTier(world, tier, direction, subject, other, target, next);
  const baseline = (): Possible => cluster('Baseline', () => allowed);
  const notIsolated = (): Possible => {
    // S293: selected by a NetworkPolicy of the other direction only.
    const selected = some(...v1Policies(world).map((policy) => v1Selects(policy, subject.pod)));
    if (world.settings.baselineSkip === 'per-direction') return baseline();
    if (world.settings.baselineSkip === 'per-pod') return branch(selected, () => allowed, baseline);
    return branch(selected, () => either(allowed, baseline()), baseline);
  };
  const tier = networkPolicyTier(world, direction, subject.pod, other, target);
  const networkPolicy = (): Possible => {
    // Where NetworkPolicy has no say it admits (S161, S166); Baseline remains for pods it never isolates.
    const admits = (): Possible => exempt.networkPolicy(tier.admits);
    return branch(tier.isolated, admits, notIsolated);
  };
  return cluster('Admin', networkPolicy);
}

/** What the NetworkPolicy tier does for a connection that it may not have a say in. */
interface Exemption {
  networkPolicy(byPolicy: () => Possible): Possible;
}

const noExemption: Exemption = { networkPolicy: (byPolicy) => byPolicy() };

function exemption(choice: 'policy' | 'allow' | 'unknown', applies: Truth): Exemption {
  if (choice === 'policy') return noExemption;
  return {
    networkPolicy: (byPolicy) =>
      branch(applies, () => (choice === 'allow' ? allowed : either(allowed, byPolicy())), byPolicy),
  };
}

/** S160, S188: traffic of the node the pod runs on. */
function fromOwnNode(pod: NaiveObject, other: End): Truth {
  if (!other.nodeTraffic) return 'no';
  const mine = podSpec(pod).nodeName;
  if (mine === undefined || other.node === undefined) return 'unknown';
  return truth(mine === other.node);
}

interface Legs {
  readonly egress: Possible;
  readonly ingress: Possible;
}

function legs(world: World, connection: NaiveConnection, source: End, destination: End): Legs {
  const { settings } = world;
  const target = {
    protocol: connection.protocol,
    port: connection.port,
    pod: destination.pod,
    throughService: connection.throughService === true,
  };
  const sourcePod = source.pod;
  const destinationPod = destination.pod;
  const self = sourcePod !== undefined && sourcePod === destinationPod;
  // S354, S165, S167, S303.
  if (self && connection.throughService !== true) return { egress: allowed, ingress: allowed };
  const hairpin = exemption(settings.selfThroughService, truth(self));

  // S355, S161.
  const egress = (): Possible => {
    if (sourcePod === undefined) return allowed;
    const toOwnNode = fromOwnNode(sourcePod, destination);
    const exempt = self ? hairpin : exemption(settings.podToOwnNode, toOwnNode);
    return decide(world, 'Egress', { ...source, pod: sourcePod }, destination, target, exempt);
  };
  // S356, S160.
  const ingress = (): Possible => {
    if (destinationPod === undefined) return allowed;
    const byPolicy = (): Possible =>
      decide(world, 'Ingress', { ...destination, pod: destinationPod }, source, target, hairpin);
    return branch(fromOwnNode(destinationPod, source), () => allowed, byPolicy);
  };
  return { egress: egress(), ingress: ingress() };
}

/** S148: both legs must allow. */
function together({ egress, ingress }: Legs): Possible {
  return branch(
    every(truthOf(egress), truthOf(ingress)),
    () => allowed,
    () => denied,
  );
}

function truthOf(possible: Possible): Truth {
  const outcome = outcomeOf(possible);
  if (outcome === 'unknown') return 'unknown';
  return truth(outcome === 'allowed');
}

/**
 * Whether a new connection comes up, by leg and in all (S148, S354–S357). Objects of kinds other
 * than Namespace, Node, Pod and the four policy kinds are ignored.
 */
export function naiveEvaluate(
  objects: readonly NaiveObject[],
  connection: NaiveConnection,
  settings: Partial<NaiveSettings> = {},
): NaiveVerdict {
  const chosen = { ...naiveDefaults, ...settings };
  // S184: where the setting says unknown, either option may be the cluster's.
  const options = chosen.hostNetworkPods === 'unknown' ? [false, true] : [false];
  const possibilities = options.flatMap((hostNetworkLikePods) => {
    const world = { objects, settings: chosen, hostNetworkLikePods };
    const source = endOf(world, connection.source);
    const destination = endOf(world, connection.destination);
    return families(source, destination).map((family) =>
      legs(world, connection, inFamily(source, family), inFamily(destination, family)),
    );
  });
  return {
    outcome: outcomeOf(possibilities.map(together).reduce(either)),
    egress: outcomeOf(possibilities.map((one) => one.egress).reduce(either)),
    ingress: outcomeOf(possibilities.map((one) => one.ingress).reduce(either)),
  };
}
