/**
 * One node's program from a cluster snapshot: pure, complete, deterministic. Must not know what the
 * kernel holds at present, nor how nftables is written.
 *
 * A program decides one direction of one pod. Ports come first: they are cut into the pieces on
 * which the same rules apply, and each piece leads to one chain that looks at addresses only.
 */
import { formatAddress } from '../net/address.ts';
import type { Address, Family } from '../net/address.ts';
import {
  addressSetFrom,
  containsAddress,
  emptyAddressSet,
  toRanges,
  union,
} from '../net/address-set.ts';
import type { AddressSet } from '../net/address-set.ts';
import { formatCidr, parseCidr } from '../net/cidr.ts';
import { allConnections, connectionsOf, noConnections, protocols } from '../net/connection-set.ts';
import type { ConnectionSet, Protocol } from '../net/connection-set.ts';
import { matches } from '../k8s/selector.ts';
import type { Selector } from '../k8s/selector.ts';
import type { NodeInfo, PodInfo, Settings, Snapshot } from '../engine/snapshot.ts';
import type {
  Action,
  CompiledPolicy,
  CompiledPort,
  CompiledRule,
  Direction,
  PodMatcher,
  PolicyRef,
  Tier,
} from '../policy/compiled.ts';
import { defaultDataplaneOptions, frameChains } from './model.ts';
import type {
  AddressGroup,
  Chain,
  Condition,
  DataplaneOptions,
  End,
  LocalPod,
  NodeProgram,
  PortMap,
  Rule,
} from './model.ts';
import { nameOf } from './naming.ts';

/** More selectors than this in one step are merged into one set: each costs a lookup (70 ns). */
const MAX_GROUPS_PER_STEP = 4;
/** Up to so many address ranges are compared one by one (20 ns each) rather than looked up (250 ns and more). */
const MAX_INLINE_RANGES = 6;
/** Up to so many ports are compared one by one (15 ns each) rather than looked up in a map (70 ns). */
const MAX_INLINE_PORTS = 4;
/** A port range up to this width goes into the map when there is one. */
const MAX_SPREAD_RANGE = 16;

const families: readonly Family[] = [4, 6];

/** Addresses that a peer stands for. */
type Peer =
  | { readonly kind: 'any' }
  /** Known addresses that change with the cluster. */
  | { readonly kind: 'group'; readonly key: string; readonly about: string }
  | { readonly kind: 'addresses'; readonly set: AddressSet };

/** A rule, or the part of a rule that has fixed ports, after named ports are resolved. */
interface Entry {
  readonly tier: Tier;
  readonly action: Action;
  readonly connections: ConnectionSet;
  readonly peers: readonly Peer[];
}

/**
 * Compiles what `nodeName` must enforce. Pods of other nodes matter as peers only. A pod without a
 * node whose address lies in the node's pod range counts as local.
 */
export function compileNode(
  snapshot: Snapshot,
  nodeName: string,
  options: Partial<DataplaneOptions> = {},
): NodeProgram {
  const full: DataplaneOptions = { ...defaultDataplaneOptions, ...options };
  const cluster = readCluster(snapshot);
  const node = snapshot.nodes.get(nodeName);
  const objects = createObjects(cluster);
  const warnings: string[] = [];
  const podCidrs = cidrsOf(node, warnings);
  if (full.unknownPod === 'deny' && podCidrs[4].length + podCidrs[6].length === 0)
    warnings.push(
      `node ${nodeName} has no pod range (spec.podCIDRs): pods that are not announced yet cannot be told from other addresses and are not denied`,
    );

  const dispatch = {
    Ingress: { 4: new Map<string, string>(), 6: new Map<string, string>() },
    Egress: { 4: new Map<string, string>(), 6: new Map<string, string>() },
  };
  const closed = closedNamespaces(snapshot, full);
  const bySubject = createSubjectIndex(snapshot);
  const programs = new Map<string, string>();
  const pods = new Map<string, LocalPod>();
  const judges = createJudges();

  for (const [pod, addresses] of cluster.owned) {
    if (!isLocal(pod, addresses, nodeName, podCidrs.set)) continue;
    const policies = bySubject(pod);
    for (const direction of ['Ingress', 'Egress'] as const) {
      let target: string;
      if (closed === 'all' || closed.has(pod.namespace))
        target = direction === 'Ingress' ? frameChains.denyIngress : frameChains.denyEgress;
      else {
        // Pods with the same policies share the program, unless named ports make them differ.
        const key = [
          direction,
          ...policies.map((policy) => policy.ref.key),
          direction === 'Ingress' && usesNamedPorts(policies) ? portsKey(pod) : '',
        ].join('\u0001');
        const known = programs.get(key);
        target = known ?? compileProgram(pod, policies, direction, snapshot.settings, objects);
        if (known === undefined) programs.set(key, target);
      }
      for (const address of addresses)
        dispatch[direction][address.family].set(formatAddress(address), target);
    }
    const known = {
      namespace: pod.namespace,
      name: pod.name,
      judgedBy: judges(
        policies,
        closed === 'all' || closed.has(pod.namespace)
          ? snapshot.completeness.invalidPolicies
          : undefined,
      ),
    };
    for (const address of addresses) pods.set(formatAddress(address), known);
  }

  prune(dispatch, objects);
  return {
    node: nodeName,
    options: full,
    frame: {
      podToOwnNode: snapshot.settings.podToOwnNode === 'allow' ? 'allow' : 'policy',
      selfThroughService: snapshot.settings.selfThroughService === 'allow' ? 'allow' : 'policy',
    },
    podCidrs: { 4: podCidrs[4], 6: podCidrs[6] },
    groups: objects.groups,
    chains: objects.chains,
    portMaps: objects.portMaps,
    dispatch,
    audits: snapshot.policies.some((policy) => policy.audit === true),
    pods,
    warnings,
  };
}

const auditChains = {
  Egress: frameChains.auditEgress,
  Ingress: frameChains.auditIngress,
} as const;

/** Names of the policies that may deny, the same object for pods with the same policies. */
function createJudges(): (
  policies: readonly CompiledPolicy[],
  invalid: readonly PolicyRef[] | undefined,
) => LocalPod['judgedBy'] {
  const known = new Map<readonly unknown[], LocalPod['judgedBy']>();
  const nameOf = ({ kind, namespace, name }: PolicyRef): string =>
    `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
  const judging = (policies: readonly CompiledPolicy[], direction: Direction): string[] =>
    policies
      .filter((policy) =>
        policy.tier === 'NetworkPolicy'
          ? policy.isolates[direction]
          : policy.rules[direction].some((rule) => rule.action === 'Deny'),
      )
      .map((policy) => nameOf(policy.ref));
  return (policies, invalid) => {
    const key = invalid ?? policies;
    let judges = known.get(key);
    if (judges === undefined) {
      const closedBy = invalid?.map((ref) => `${nameOf(ref)} (not valid)`);
      judges = {
        Ingress: closedBy ?? judging(policies, 'Ingress'),
        Egress: closedBy ?? judging(policies, 'Egress'),
      };
      known.set(key, judges);
    }
    return judges;
  };
}

/** Takes out what no pod's program reaches, for example the class of a port that a later step left out. */
function prune(dispatch: NodeProgram['dispatch'], objects: Objects): void {
  const live = new Set<string>();
  const visit = (name: string): void => {
    if (live.has(name)) return;
    live.add(name);
    for (const target of objects.portMaps.get(name)?.entries.values() ?? []) visit(target);
    for (const rule of objects.chains.get(name)?.rules ?? []) {
      if (rule.kind === 'ports') visit(rule.map);
      else {
        for (const condition of rule.when) if (condition.kind === 'group') visit(condition.group);
        visit(rule.target);
      }
    }
  };
  for (const direction of ['Ingress', 'Egress'] as const)
    for (const family of families)
      for (const target of dispatch[direction][family].values()) visit(target);
  for (const map of [objects.groups, objects.chains, objects.portMaps])
    for (const name of map.keys()) if (!live.has(name)) map.delete(name);
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

function isFinished(pod: PodInfo): boolean {
  return pod.phase === 'Succeeded' || pod.phase === 'Failed';
}

function namespaceLabels(snapshot: Snapshot, name: string): Readonly<Record<string, string>> {
  return snapshot.namespaces.get(name)?.labels ?? { 'kubernetes.io/metadata.name': name };
}

function cidrsOf(
  node: NodeInfo | undefined,
  warnings: string[],
): { readonly 4: string[]; readonly 6: string[]; readonly set: AddressSet } {
  const texts: { 4: string[]; 6: string[] } = { 4: [], 6: [] };
  const cidrs = [];
  for (const text of node?.podCidrs ?? []) {
    const parsed = parseCidr(text);
    if (!parsed.ok) {
      warnings.push(`node ${node?.name}: pod range ${text} is not a CIDR (${parsed.fault})`);
      continue;
    }
    const canonical = formatCidr(parsed.cidr);
    const list = texts[parsed.cidr.family];
    if (!list.includes(canonical)) list.push(canonical);
    cidrs.push(parsed.cidr);
  }
  return { 4: texts[4].sort(), 6: texts[6].sort(), set: addressSetFrom(cidrs) };
}

function isLocal(
  pod: PodInfo,
  addresses: readonly Address[],
  nodeName: string,
  podRange: AddressSet,
): boolean {
  if (pod.node !== undefined) return pod.node === nodeName;
  return addresses.some((address) => containsAddress(podRange, address));
}

function closedNamespaces(
  snapshot: Snapshot,
  options: DataplaneOptions,
): ReadonlySet<string> | 'all' {
  const closed = new Set<string>();
  if (options.invalidPolicies === 'ignore') return closed;
  for (const ref of snapshot.completeness.invalidPolicies) {
    // Which pods it selects cannot be told, so it is all that it could select.
    if (ref.namespace === undefined) return 'all';
    closed.add(ref.namespace);
  }
  return closed;
}

function createSubjectIndex(snapshot: Snapshot): (pod: PodInfo) => readonly CompiledPolicy[] {
  const byNamespace = new Map<string, CompiledPolicy[]>();
  const anywhere: CompiledPolicy[] = [];
  // Order inside a tier is what decides between policies that both match (S277, S289, S290).
  const ordered = snapshot.policies.toSorted(
    (a, b) =>
      a.priority - b.priority ||
      compareText(a.ref.name, b.ref.name) ||
      compareText(a.ref.key, b.ref.key),
  );
  for (const policy of ordered) {
    const { namespaces } = policy.subject;
    if (!('name' in namespaces)) {
      anywhere.push(policy);
      continue;
    }
    const list = byNamespace.get(namespaces.name);
    if (list === undefined) byNamespace.set(namespaces.name, [policy]);
    else list.push(policy);
  }
  // Pods of one workload have the same labels, and so the same policies.
  const known = new Map<string, readonly CompiledPolicy[]>();
  const select = (pod: PodInfo): readonly CompiledPolicy[] => {
    const found = (byNamespace.get(pod.namespace) ?? []).filter((policy) =>
      matches(policy.subject.pods, pod.labels),
    );
    for (const policy of anywhere) {
      const { namespaces, pods } = policy.subject;
      if ('name' in namespaces || !matches(pods, pod.labels)) continue;
      if (matches(namespaces.selector, namespaceLabels(snapshot, pod.namespace)))
        found.push(policy);
    }
    return found;
  };
  return (pod) => {
    const key = JSON.stringify([
      pod.namespace,
      Object.entries(pod.labels).sort(([a], [b]) => compareText(a, b)),
    ]);
    let policies = known.get(key);
    if (policies === undefined) known.set(key, (policies = select(pod)));
    return policies;
  };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function usesNamedPorts(policies: readonly CompiledPolicy[]): boolean {
  return policies.some((policy) =>
    policy.rules.Ingress.some(
      (rule) => rule.ports !== 'any' && rule.ports.some((port) => port.kind === 'named'),
    ),
  );
}

function portsKey(pod: PodInfo): string {
  return pod.namedPorts
    .map(({ name, port, protocol }) => `${name}/${port}/${protocol}`)
    .sort()
    .join(',');
}

// --- one program ------------------------------------------------------------------------------

function compileProgram(
  pod: PodInfo,
  policies: readonly CompiledPolicy[],
  direction: Direction,
  settings: Settings,
  objects: Objects,
): string {
  const allow = direction === 'Egress' ? frameChains.ingress : frameChains.accept;
  const deny = direction === 'Egress' ? frameChains.denyEgress : frameChains.denyIngress;
  const isolating = policies.filter((policy) => policy.isolates[direction]);
  const isolated = isolating.length > 0;
  // What an audited policy allows stays allowed: audit softens denials, it never makes one.
  const auditedOnly = isolated && isolating.every((policy) => policy.audit === true);
  const skipsBaseline =
    isolated ||
    (settings.baselineSkip === 'per-pod' &&
      policies.some((policy) => policy.tier === 'NetworkPolicy'));

  const entries: Entry[] = [];
  for (const policy of policies) {
    if (policy.tier === 'Baseline' && skipsBaseline) continue;
    if (policy.tier === 'NetworkPolicy' && !policy.isolates[direction]) continue;
    for (const rule of policy.rules[direction])
      entries.push(...entriesOf(rule, policy.tier, direction, pod, objects));
  }
  const about = `${direction} of pods selected by ${
    policies.length === 0
      ? 'no policy'
      : policies
          .map(
            ({ ref }) =>
              `${ref.kind} ${ref.namespace === undefined ? '' : `${ref.namespace}/`}${ref.name}`,
          )
          .join(', ')
  }`;
  const scene: Scene = {
    allow,
    deny,
    isolationEnd: auditedOnly ? auditChains[direction] : deny,
    isolated,
    end: direction === 'Egress' ? 'destination' : 'source',
    about,
  };

  const classes = new Map<string, string>();
  /** The target that decides for traffic to which exactly these entries apply. */
  const classOf = (applying: readonly number[]): string => {
    const key = applying.join(',');
    const known = classes.get(key);
    if (known !== undefined) return known;
    const target = objects.target(
      'k',
      addressRules(
        applying.map((index) => entries[index] as Entry),
        scene,
        objects,
      ),
      about,
    );
    classes.set(key, target);
    return target;
  };

  const rules: Rule[] = [];
  const others = otherTarget(entries, isolated, settings, classOf);
  for (const protocol of protocols) {
    const pieces = portPieces(entries, protocol, classOf);
    const base = commonest(pieces);
    addPortRules(
      rules,
      protocol,
      pieces.filter((piece) => piece.target !== base),
      objects,
    );
    if (base !== others)
      rules.push({ kind: 'goto', when: [{ kind: 'protocol', protocol }], target: base });
  }
  rules.push({ kind: 'goto', when: [], target: others });
  return objects.target(direction === 'Egress' ? 'e' : 'i', rules, about);
}

interface Scene {
  readonly allow: string;
  readonly deny: string;
  /** Where an isolated pod's traffic goes that no NetworkPolicy allows. */
  readonly isolationEnd: string;
  readonly isolated: boolean;
  /** Which end of the connection peers are compared with. */
  readonly end: End;
  readonly about: string;
}

/** A rule after named ports are resolved; empty when it can match nothing. */
function entriesOf(
  rule: CompiledRule,
  tier: Tier,
  direction: Direction,
  pod: PodInfo,
  objects: Objects,
): Entry[] {
  // S266: a Deny or Pass rule that is not understood denies everything; an Accept rule loses the peer.
  const opaque = (kind: string): boolean => kind === 'unusable' || kind === 'domainNames';
  if (
    rule.action !== 'Accept' &&
    rule.peers !== 'any' &&
    rule.peers.some((peer) => opaque(peer.kind))
  )
    return [{ tier, action: 'Deny', connections: allConnections, peers: [{ kind: 'any' }] }];

  const peers: Peer[] = rule.peers === 'any' ? [{ kind: 'any' }] : [];
  if (rule.peers !== 'any')
    for (const peer of rule.peers) {
      if (peer.kind === 'pods') peers.push(objects.podGroup(peer.matcher));
      else if (peer.kind === 'addresses') peers.push({ kind: 'addresses', set: peer.set });
      else if (peer.kind === 'nodes') peers.push(objects.nodeGroup(peer.selector));
    }
  if (peers.length === 0) return [];
  if (rule.ports === 'any')
    return [{ tier, action: rule.action, connections: allConnections, peers }];

  const entries: Entry[] = [];
  const add = (connections: ConnectionSet, to: readonly Peer[]): void => {
    entries.push({ tier, action: rule.action, connections, peers: to });
  };
  for (const port of rule.ports) {
    if (port.kind === 'range') add(connectionsOf(port.protocol, port.from, port.to), peers);
    else if (direction === 'Ingress')
      for (const named of pod.namedPorts) {
        if (isNamed(named, port)) add(connectionsOf(named.protocol, named.port), peers);
      }
    else
      for (const { number, protocol, group } of objects.namedPortGroups(rule.peers, port))
        add(connectionsOf(protocol, number), [group]);
  }
  return entries;
}

function isNamed(
  named: { readonly name: string; readonly protocol: Protocol },
  port: CompiledPort & { readonly kind: 'named' },
): boolean {
  return (
    named.name === port.name && (port.protocol === undefined || port.protocol === named.protocol)
  );
}

/** S200: the setting speaks for NetworkPolicy only; the other tiers name protocols by rules without ports. */
function otherTarget(
  entries: Entry[],
  isolated: boolean,
  settings: Settings,
  classOf: (applying: readonly number[]) => string,
): string {
  const { otherProtocols } = settings;
  const judged = isolated && (otherProtocols === 'allow' || otherProtocols === 'deny');
  const applying = indicesOf(
    entries,
    (entry) => entry.connections.other && !(judged && entry.tier === 'NetworkPolicy'),
  );
  if (judged && otherProtocols === 'allow') {
    entries.push({
      tier: 'NetworkPolicy',
      action: 'Accept',
      connections: { ...noConnections, other: true },
      peers: [{ kind: 'any' }],
    });
    applying.push(entries.length - 1);
  }
  return classOf(applying);
}

interface Piece {
  readonly from: number;
  readonly to: number;
  readonly target: string;
}

/** Cuts 1..65535 into maximal pieces on which one target decides. */
function portPieces(
  entries: readonly Entry[],
  protocol: Protocol,
  classOf: (applying: readonly number[]) => string,
): Piece[] {
  const starts = new Set<number>([1]);
  for (const { connections } of entries) {
    const list = connections[protocol];
    for (let i = 0; i < list.length; i += 2) {
      starts.add(list[i] as number);
      const next = (list[i + 1] as number) + 1;
      if (next <= 65535) starts.add(next);
    }
  }
  const sorted = [...starts].sort((a, b) => a - b);
  const at = new Map(sorted.map((from, index) => [from, index]));
  const applying: number[][] = sorted.map(() => []);
  for (const [index, { connections }] of entries.entries()) {
    const list = connections[protocol];
    for (let i = 0; i < list.length; i += 2) {
      const to = list[i + 1] as number;
      // Every interval begins at a start, so it covers whole pieces.
      for (let piece = at.get(list[i] as number) as number; (sorted[piece] ?? 65536) <= to; piece++)
        (applying[piece] as number[]).push(index);
    }
  }
  const pieces: Piece[] = [];
  for (const [index, from] of sorted.entries()) {
    const to = (sorted[index + 1] ?? 65536) - 1;
    const target = classOf(applying[index] as number[]);
    const last = pieces.at(-1);
    if (last?.target === target) pieces[pieces.length - 1] = { ...last, to };
    else pieces.push({ from, to, target });
  }
  return pieces;
}

function indicesOf(entries: readonly Entry[], applies: (entry: Entry) => boolean): number[] {
  const found: number[] = [];
  for (const [index, entry] of entries.entries()) if (applies(entry)) found.push(index);
  return found;
}

/** The target that covers most ports becomes the protocol's last rule. */
function commonest(pieces: readonly Piece[]): string {
  const width = new Map<string, number>();
  for (const { from, to, target } of pieces)
    width.set(target, (width.get(target) ?? 0) + to - from + 1);
  let best = '';
  for (const [target, ports] of width) if (ports > (width.get(best) ?? 0)) best = target;
  return best;
}

function addPortRules(
  rules: Rule[],
  protocol: Protocol,
  pieces: readonly Piece[],
  objects: Objects,
): void {
  const exact = pieces.filter((piece) => piece.from === piece.to).length;
  const useMap = exact > MAX_INLINE_PORTS;
  const entries = new Map<number, string>();
  const compared: Rule[] = [];
  for (const { from, to, target } of pieces) {
    if (useMap && to - from < MAX_SPREAD_RANGE)
      for (let port = from; port <= to; port++) entries.set(port, target);
    else
      compared.push({
        kind: 'goto',
        when: [
          { kind: 'protocol', protocol },
          { kind: 'port', from, to },
        ],
        target,
      });
  }
  if (entries.size > 0) rules.push({ kind: 'ports', protocol, map: objects.portMap(entries) });
  rules.push(...compared);
}

/** Rules for one piece of the ports: only addresses are left to look at. */
function addressRules(entries: readonly Entry[], scene: Scene, objects: Objects): Rule[] {
  const admin = steps(entries.filter((entry) => entry.tier === 'Admin'));
  // Sets that a Pass rule takes part in must not change while in use: a packet that sees one change
  // and not the other could be admitted although neither the old nor the new state admits it.
  const frozen = admin.some((step) => step.action === 'Pass');
  const lower = lowerRules(entries, scene, objects, frozen);
  const rules: Rule[] = [];
  let rest: string | undefined;
  for (const step of admin) {
    if (step.action === 'Pass' && step.any) return [...rules, ...lower];
    let target: string;
    if (step.action === 'Pass') target = rest ??= objects.target('k', lower, scene.about);
    else target = step.action === 'Accept' ? scene.allow : scene.deny;
    rules.push(...stepRules(step, target, scene.end, objects, frozen));
    if (step.any) return rules;
  }
  return rest === undefined
    ? [...rules, ...lower]
    : [...rules, { kind: 'goto', when: [], target: rest }];
}

/** NetworkPolicy when it isolates, otherwise Baseline and the default (S292–S294). */
function lowerRules(
  entries: readonly Entry[],
  scene: Scene,
  objects: Objects,
  frozen: boolean,
): Rule[] {
  const rules: Rule[] = [];
  if (scene.isolated) {
    for (const step of steps(entries.filter((entry) => entry.tier === 'NetworkPolicy'))) {
      rules.push(...stepRules(step, scene.allow, scene.end, objects, frozen));
      if (step.any) return rules;
    }
    rules.push({ kind: 'goto', when: [], target: scene.isolationEnd });
    return rules;
  }
  for (const step of steps(entries.filter((entry) => entry.tier === 'Baseline'))) {
    // Pass in the last tier leads to the default, which is to allow (S286).
    const target = step.action === 'Deny' ? scene.deny : scene.allow;
    rules.push(...stepRules(step, target, scene.end, objects, frozen));
    if (step.any) return rules;
  }
  rules.push({ kind: 'goto', when: [], target: scene.allow });
  return rules;
}

/** Neighbouring entries with one action: their order has no meaning, so their peers are one step. */
interface Step {
  readonly action: Action;
  any: boolean;
  readonly groups: Map<string, string>;
  addresses: AddressSet;
}

function steps(entries: readonly Entry[]): Step[] {
  const list: Step[] = [];
  for (const entry of entries) {
    let step = list.at(-1);
    if (step?.any === true) break;
    if (step === undefined || step.action !== entry.action) {
      step = { action: entry.action, any: false, groups: new Map(), addresses: emptyAddressSet };
      list.push(step);
    }
    for (const peer of entry.peers) {
      if (peer.kind === 'any') step.any = true;
      else if (peer.kind === 'group') step.groups.set(peer.key, peer.about);
      else step.addresses = union(step.addresses, peer.set);
    }
  }
  return list;
}

function stepRules(
  step: Step,
  target: string,
  end: End,
  objects: Objects,
  frozen: boolean,
): Rule[] {
  if (step.any) return [{ kind: 'goto', when: [], target }];
  const rules: Rule[] = [];
  const add = (condition: Condition): void => {
    rules.push({ kind: 'goto', when: [condition], target });
  };
  const groups = [...step.groups].sort(([a], [b]) => compareText(a, b));
  const merged = groups.length > MAX_GROUPS_PER_STEP ? [groups] : groups.map((group) => [group]);
  for (const members of merged)
    for (const family of objects.families)
      add({ kind: 'group', end, family, group: objects.group(members, family, frozen) });

  for (const family of objects.families) {
    const ranges = toRanges(step.addresses)
      .filter(({ from }) => from.family === family)
      .map(({ from, to }) => ({ from: formatAddress(from), to: formatAddress(to) }));
    if (ranges.length > MAX_INLINE_RANGES)
      add({ kind: 'group', end, family, group: objects.ranges(ranges, family) });
    else for (const { from, to } of ranges) add({ kind: 'addresses', end, family, from, to });
  }
  return rules;
}

// --- kernel objects ---------------------------------------------------------------------------

interface Objects {
  readonly families: readonly Family[];
  readonly groups: Map<string, AddressGroup>;
  readonly chains: Map<string, Chain>;
  readonly portMaps: Map<string, PortMap>;
  podGroup(matcher: PodMatcher): Peer & { kind: 'group' };
  nodeGroup(selector: Selector): Peer & { kind: 'group' };
  /** Destinations among `peers` by the number that they have under a port's name (S133, S134). */
  namedPortGroups(
    peers: CompiledRule['peers'],
    port: CompiledPort & { readonly kind: 'named' },
  ): readonly { number: number; protocol: Protocol; group: Peer & { kind: 'group' } }[];
  /** Name of the set of all addresses of these groups. */
  group(members: readonly (readonly [string, string])[], family: Family, frozen: boolean): string;
  ranges(list: readonly { from: string; to: string }[], family: Family): string;
  portMap(entries: ReadonlyMap<number, string>): string;
  /** Where to go for these rules: a new chain, or directly the target of a lone jump. */
  target(prefix: string, rules: readonly Rule[], about: string): string;
}

function createObjects(cluster: Cluster): Objects {
  const groups = new Map<string, AddressGroup>();
  const chains = new Map<string, Chain>();
  const portMaps = new Map<string, PortMap>();
  /** Group key → its addresses as text. Groups share pods, so each address is written once. */
  const members = new Map<string, Readonly<Record<Family, readonly string[]>>>();

  const define = (
    key: string,
    about: string,
    find: () => readonly Address[],
  ): Peer & { kind: 'group' } => {
    if (!members.has(key)) {
      const texts: Record<Family, string[]> = { 4: [], 6: [] };
      for (const address of find()) texts[address.family].push(formatAddress(address));
      members.set(key, texts);
    }
    return { kind: 'group', key, about };
  };
  const addressesOf = (pods: Iterable<PodInfo>): Address[] =>
    [...pods].flatMap((pod) => cluster.owned.get(pod) ?? []);

  const objects: Objects = {
    families: cluster.families,
    groups,
    chains,
    portMaps,
    podGroup: (matcher) =>
      define(`pods ${matcherId(matcher)}`, aboutMatcher(matcher), () =>
        addressesOf(cluster.podsMatching(matcher)),
      ),
    nodeGroup: (selector) =>
      define(`nodes ${selectorId(selector)}`, `nodes ${selector.text}`, () => {
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
      const ids: string[] = [];
      if (peers === 'any') {
        ids.push('any');
        for (const [pod, addresses] of cluster.owned) add(pod, addresses);
      } else
        for (const peer of peers) {
          if (peer.kind === 'pods') {
            ids.push(`pods ${matcherId(peer.matcher)}`);
            for (const pod of cluster.podsMatching(peer.matcher))
              add(pod, cluster.owned.get(pod) ?? []);
          } else if (peer.kind === 'addresses') {
            ids.push(`addresses ${peer.set.v4.join(',')} ${peer.set.v6.join(',')}`);
            for (const [pod, addresses] of cluster.owned)
              add(
                pod,
                addresses.filter((address) => containsAddress(peer.set, address)),
              );
          }
        }
      const id = ids.sort().join('\u0003');
      return [...found.values()]
        .filter(({ addresses }) => addresses.size > 0)
        .map(({ number, protocol, addresses }) => ({
          number,
          protocol,
          group: define(
            `named ${port.name} ${number} ${protocol} ${id}`,
            `port ${port.name} = ${protocol} ${number}`,
            () => [...addresses.values()],
          ),
        }));
    },
    group: (list, family, frozen) => {
      const collect = (): Set<string> => {
        const elements = new Set<string>();
        for (const [key] of list)
          for (const text of members.get(key)?.[family] ?? []) elements.add(text);
        return elements;
      };
      const content = frozen ? [[...collect()].sort().join(',')] : list.map(([key]) => key);
      const name = nameOf(`${frozen ? 'f' : 's'}${family}`, ...content);
      if (!groups.has(name))
        groups.set(name, {
          name,
          family,
          kind: 'members',
          elements: collect(),
          about: list.map(([, about]) => about).join(' or '),
        });
      return name;
    },
    ranges: (list, family) => {
      const elements = list.map(({ from, to }) => (from === to ? from : `${from}-${to}`));
      const name = nameOf(`r${family}`, elements.join(','));
      if (!groups.has(name))
        groups.set(name, {
          name,
          family,
          kind: 'ranges',
          elements: new Set(elements),
          about: 'ipBlock',
        });
      return name;
    },
    portMap: (entries) => {
      const name = nameOf('p', JSON.stringify([...entries]));
      if (!portMaps.has(name)) portMaps.set(name, { name, entries });
      return name;
    },
    target: (prefix, rules, about) => {
      const [first] = rules;
      if (first?.kind === 'goto' && first.when.length === 0) return first.target;
      const name = nameOf(prefix, JSON.stringify(rules));
      if (!chains.has(name)) chains.set(name, { name, rules, about });
      return name;
    },
  };
  return objects;
}

function selectorId(selector: Selector): string {
  return selector.id;
}

function matcherId(matcher: PodMatcher): string {
  const { namespaces, pods } = matcher;
  return 'name' in namespaces
    ? `in ${namespaces.name} ${selectorId(pods)}`
    : `where ${selectorId(namespaces.selector)} \u0004 ${selectorId(pods)}`;
}

function aboutMatcher(matcher: PodMatcher): string {
  const { namespaces, pods } = matcher;
  const where = 'name' in namespaces ? namespaces.name : `{${namespaces.selector.text}}`;
  return `pods {${pods.text}} in ${where}`;
}
