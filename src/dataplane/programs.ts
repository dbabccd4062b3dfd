/**
 * The program of one direction of a pod: rules cut into pieces of ports, each piece a chain that
 * looks at addresses only. Must not know which pods there are, nor what the kernel holds.
 */
import { formatAddress } from '../net/address.ts';
import { emptyAddressSet, toRanges, union } from '../net/address-set.ts';
import type { AddressSet } from '../net/address-set.ts';
import { allConnections, connectionsOf, noConnections, protocols } from '../net/connection-set.ts';
import type { ConnectionSet, Protocol } from '../net/connection-set.ts';
import type { NamedPort, Settings } from '../engine/snapshot.ts';
import type { Action, CompiledPolicy, CompiledRule, Direction, Tier } from '../policy/compiled.ts';
import { frameChains } from './model.ts';
import type { Chain, Condition, End, PortMap, Rule } from './model.ts';
import { policyName } from './node-facts.ts';
import { createObjects, isNamed } from './objects.ts';
import type { GroupDraft, Objects, Peer, PeerBook } from './objects.ts';

/** More selectors than this in one step are merged into one set: each costs a lookup (70 ns). */
const MAX_GROUPS_PER_STEP = 4;
/** Up to so many address ranges are compared one by one (20 ns each) rather than looked up (250 ns and more). */
const MAX_INLINE_RANGES = 6;
/** Up to so many ports are compared one by one (15 ns each) rather than looked up in a map (70 ns). */
const MAX_INLINE_PORTS = 4;
/** A port range up to this width goes into the map when there is one. */
const MAX_SPREAD_RANGE = 16;

/** A rule, or the part of a rule that has fixed ports, after named ports are resolved. */
interface Entry {
  readonly tier: Tier;
  readonly action: Action;
  readonly connections: ConnectionSet;
  readonly peers: readonly Peer[];
}

/** One direction of some pods, complete: the target that decides, and what it leads to. */
export interface Program {
  readonly target: string;
  /** Each before those that lead to it. */
  readonly chains: readonly Chain[];
  readonly portMaps: readonly PortMap[];
  readonly groups: readonly GroupDraft[];
}

/**
 * Compiles the policies of a pod, which stand in order of evaluation. Of the pod only the named ports
 * matter, and those only for Ingress.
 */
export function compileProgram(
  namedPorts: readonly NamedPort[],
  policies: readonly CompiledPolicy[],
  direction: Direction,
  settings: Settings,
  book: PeerBook,
): Program {
  const objects = createObjects(book);
  return prune(compileDirection(namedPorts, policies, direction, settings, objects), objects);
}

/**
 * Pods with equal texts and equal policies share the program of the direction.
 */
export function portsKey(
  namedPorts: readonly NamedPort[],
  policies: readonly CompiledPolicy[],
  direction: Direction,
): string {
  const matter =
    direction === 'Ingress' &&
    policies.some((policy) =>
      policy.rules.Ingress.some(
        (rule) => rule.ports !== 'any' && rule.ports.some((port) => port.kind === 'named'),
      ),
    );
  if (!matter) return '';
  return namedPorts
    .map(({ name, port, protocol }) => `${name}/${port}/${protocol}`)
    .sort()
    .join(',');
}

/** Leaves out what the target does not reach, for example the class of a port that a later step left out. */
function prune(target: string, objects: Objects): Program {
  const live = new Set<string>();
  const visit = (name: string): void => {
    if (live.has(name)) return;
    live.add(name);
    for (const next of objects.portMaps.get(name)?.entries.values() ?? []) visit(next);
    for (const rule of objects.chains.get(name)?.rules ?? []) {
      if (rule.kind === 'ports') visit(rule.map);
      else {
        for (const condition of rule.when) if (condition.kind === 'group') visit(condition.group);
        visit(rule.target);
      }
    }
  };
  visit(target);
  const kept = <T extends { readonly name: string }>(map: ReadonlyMap<string, T>): T[] =>
    [...map.values()].filter(({ name }) => live.has(name));
  return {
    target,
    chains: kept(objects.chains),
    portMaps: kept(objects.portMaps),
    groups: kept(objects.groups),
  };
}

function compileDirection(
  namedPorts: readonly NamedPort[],
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
      entries.push(...entriesOf(rule, policy.tier, direction, namedPorts, objects.book));
  }
  const names = policies.map(({ ref }) => policyName(ref));
  const about = `${direction} of pods selected by ${names.length === 0 ? 'no policy' : names.join(', ')}`;
  const scene: Scene = {
    allow,
    deny,
    isolationEnd: isolationEnd(direction, auditedOnly, settings),
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

/** Where traffic goes that no NetworkPolicy admits. Exemptions are of this tier only (S304, S307). */
function isolationEnd(direction: Direction, auditedOnly: boolean, settings: Settings): string {
  const exempt =
    settings.selfThroughService === 'allow' ||
    (direction === 'Egress' && settings.podToOwnNode === 'allow');
  const [enforced, audited, exemptEnforced, exemptAudited] =
    direction === 'Egress'
      ? [
          frameChains.denyEgress,
          frameChains.auditEgress,
          frameChains.exemptEgress,
          frameChains.exemptAuditEgress,
        ]
      : [
          frameChains.denyIngress,
          frameChains.auditIngress,
          frameChains.exemptIngress,
          frameChains.exemptAuditIngress,
        ];
  if (exempt) return auditedOnly ? exemptAudited : exemptEnforced;
  return auditedOnly ? audited : enforced;
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
  namedPorts: readonly NamedPort[],
  book: PeerBook,
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
      if (peer.kind === 'pods') peers.push(book.podGroup(peer.matcher));
      else if (peer.kind === 'addresses') peers.push({ kind: 'addresses', set: peer.set });
      else if (peer.kind === 'nodes') peers.push(book.nodeGroup(peer.selector));
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
      for (const named of namedPorts) {
        if (isNamed(named, port)) add(connectionsOf(named.protocol, named.port), peers);
      }
    else
      for (const { number, protocol, group } of book.namedPortGroups(rule.peers, port))
        add(connectionsOf(protocol, number), [group]);
  }
  return entries;
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
  const groups = [...step.groups].sort(([a], [b]) => (a < b ? -1 : 1));
  const merged = groups.length > MAX_GROUPS_PER_STEP ? [groups] : groups.map((group) => [group]);
  for (const members of merged)
    for (const family of objects.book.families)
      add({ kind: 'group', end, family, group: objects.group(members, family, frozen) });

  for (const family of objects.book.families) {
    const ranges = toRanges(step.addresses)
      .filter(({ from }) => from.family === family)
      .map(({ from, to }) => ({ from: formatAddress(from), to: formatAddress(to) }));
    if (ranges.length > MAX_INLINE_RANGES)
      add({ kind: 'group', end, family, group: objects.ranges(ranges, family) });
    else for (const { from, to } of ranges) add({ kind: 'addresses', end, family, from, to });
  }
  return rules;
}
