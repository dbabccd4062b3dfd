/**
 * Whether two snapshots answer every question alike: over all peers there are, class by class; and,
 * where it can be decided, over pods that do not exist yet. Must not know of files or output.
 */
import { formatAddressSet, intersect, isEmptyAddressSet } from '../net/address-set.ts';
import {
  equalConnections,
  hasConnection,
  protocols,
  subtractConnections,
  unionConnections,
  type ConnectionSet,
  type Protocol,
} from '../net/connection-set.ts';
import type { Labels } from '../k8s/types.ts';
import type {
  CompiledPeer,
  CompiledPolicy,
  CompiledRule,
  Direction,
  PodMatcher,
} from '../policy/compiled.ts';
import { canMatch, canNeverMatch, coverOf, isolatorOf, type Place } from './coverage.ts';
import { createEvaluator } from './evaluate.ts';
import { NAME_LABEL } from './peers.ts';
import type { PairResult, Reach, ReachPeer } from './reach.ts';
import { exampleLabels } from './selector-algebra.ts';
import type { NamespaceInfo, PodInfo, Snapshot } from './snapshot.ts';
import { representatives } from './world.ts';
import type { Endpoint } from './verdict.ts';

/** A connection that the two sides answer differently. */
export interface Witness {
  readonly source: string;
  readonly destination: string;
  readonly protocol: Protocol | 'other';
  /** Absent for other protocols. */
  readonly port?: number;
  /** The ends, by side. */
  readonly ends: readonly [Ends, Ends];
}

interface Ends {
  readonly source: Endpoint;
  readonly destination: Endpoint;
}

export type Comparison =
  | { readonly equal: true; readonly peers: number; readonly pairs: number }
  | { readonly equal: false; readonly reason: 'pair'; readonly witness: Witness }
  /** One side has peers that the other has not. */
  | {
      readonly equal: false;
      readonly reason: 'peers';
      readonly onlyA: readonly string[];
      readonly onlyB: readonly string[];
    };

/** One peer of both sides, standing for `count` that are alike on both. */
interface Joint {
  readonly id: string;
  readonly kind: ReachPeer['kind'];
  readonly a: number;
  readonly b: number;
  /** Another of the same kind, for the pair of two that are alike. */
  second?: readonly [number, number];
  count: number;
}

/** O(joint classes²) look-ups. */
export function compareReach(a: Reach, b: Reach): Comparison {
  const namesA = namesOf(a);
  const namesB = namesOf(b);
  const onlyA = [...namesA.keys()].filter((name) => !namesB.has(name));
  const onlyB = [...namesB.keys()].filter((name) => !namesA.has(name));
  if (onlyA.length + onlyB.length > 0) return { equal: false, reason: 'peers', onlyA, onlyB };
  const joints = jointsOf(a, b, namesA, namesB);
  let pairs = 0;
  for (const from of joints)
    for (const to of joints) {
      if (from.kind !== 'pod' && to.kind !== 'pod') continue;
      const same = from === to;
      const [toA, toB] = same ? (from.second ?? [from.a, from.b]) : [to.a, to.b];
      if (same && from.second === undefined && isOne(a, from.a)) continue;
      pairs += same ? from.count * Math.max(1, from.count - 1) : from.count * to.count;
      const x = a.lookup(from.a, toA);
      const y = b.lookup(from.b, toB);
      const found = differenceOf(x, y);
      if (found === undefined) continue;
      return {
        equal: false,
        reason: 'pair',
        witness: {
          source: from.id,
          destination: same ? nameOf(a.peers[toA]) : to.id,
          ...found,
          ends: [endsOf(a, from, toA, a, b, to), endsOf(b, from, toB, a, b, to)],
        },
      };
    }
  return { equal: true, peers: joints.reduce((sum, { count }) => sum + count, 0), pairs };
}

/** A pod that is one: itself is not its peer. */
function isOne(reach: Reach, position: number): boolean {
  const peer = reach.peers[position];
  return peer?.kind !== 'pod' || !peer.pod.template || peer.pod.replicas === 1;
}

function nameOf(peer: ReachPeer | undefined): string {
  if (peer === undefined) return '';
  if (peer.kind === 'pod') return peer.pod.id;
  return peer.kind === 'node'
    ? `node/${peer.node.name}`
    : `world ${formatAddressSet(peer.addresses)}`;
}

function namesOf(reach: Reach): Map<string, number> {
  const names = new Map<string, number>();
  for (const [position, peer] of reach.peers.entries())
    if (peer.kind !== 'world') names.set(nameOf(peer), position);
  return names;
}

/** Peers that both sides treat alike, as one; node traffic by node, as own-node exemptions need it. */
function jointsOf(
  a: Reach,
  b: Reach,
  namesA: ReadonlyMap<string, number>,
  namesB: ReadonlyMap<string, number>,
): Joint[] {
  const joints = new Map<string, Joint>();
  const someOnNodes = [a, b].some((reach) =>
    reach.parts.classes.list.some(({ nodeTraffic }) => nodeTraffic),
  );
  for (const [name, position] of namesA) {
    const other = namesB.get(name) ?? -1;
    const one = a.peers[position];
    const two = b.peers[other];
    if (one === undefined || two === undefined) continue;
    const place = (peer: ReachPeer): string =>
      someOnNodes && peer.kind === 'pod' ? (peer.pod.node ?? '?') : '';
    const key = [one.kind, one.class, two.class, place(one), place(two)].join();
    const joint = joints.get(key);
    if (joint === undefined)
      joints.set(key, { id: name, kind: one.kind, a: position, b: other, count: 1 });
    else {
      joint.second ??= [position, other];
      joint.count += 1;
    }
  }
  const list = [...joints.values()];
  for (const [i, one] of a.peers.entries())
    for (const [j, two] of b.peers.entries()) {
      if (one.kind !== 'world' || two.kind !== 'world') continue;
      const both = intersect(one.addresses, two.addresses);
      if (isEmptyAddressSet(both)) continue;
      list.push({ id: `world ${formatAddressSet(both)}`, kind: 'world', a: i, b: j, count: 1 });
    }
  return list;
}

function endsOf(
  reach: Reach,
  from: Joint,
  toPosition: number,
  a: Reach,
  b: Reach,
  to: Joint,
): Ends {
  const endpoint = (joint: Joint, position: number): Endpoint => {
    const peer = reach.peers[position];
    if (peer?.kind === 'pod') return { kind: 'pod', pod: peer.pod };
    if (peer?.kind === 'node') return { kind: 'node', node: peer.node };
    const [one, two] = [a.peers[joint.a], b.peers[joint.b]];
    const piece =
      one?.kind === 'world' && two?.kind === 'world'
        ? intersect(one.addresses, two.addresses)
        : { v4: [0, 0], v6: [] };
    const [address = { family: 4 as const, value: 0 }] = representatives(piece);
    return { kind: 'address', address };
  };
  return {
    source: endpoint(from, reach === a ? from.a : from.b),
    destination: endpoint(to, toPosition),
  };
}

/** The first connection, TCP first and low ports first, of which the answers differ. */
function differenceOf(
  x: PairResult,
  y: PairResult,
): { readonly protocol: Protocol | 'other'; readonly port?: number } | undefined {
  if (equalConnections(x.allowed, y.allowed) && equalConnections(x.unknown, y.unknown))
    return undefined;
  const either = (a: ConnectionSet, b: ConnectionSet): ConnectionSet =>
    unionConnections(subtractConnections(a, b), subtractConnections(b, a));
  const all = unionConnections(either(x.allowed, y.allowed), either(x.unknown, y.unknown));
  for (const protocol of protocols) {
    const [port] = all[protocol];
    if (port !== undefined) return { protocol, port: commonPort(all, protocol) ?? port };
  }
  return { protocol: 'other' };
}

/** A port that says something to a person, when there is the choice. */
function commonPort(set: ConnectionSet, protocol: Protocol): number | undefined {
  return [80, 443, 53].find((port) => hasConnection(set, protocol, port));
}

// --- pods that do not exist yet -----------------------------------------------------------------

export type FutureComparison =
  /** Shown by selectors, addresses and ports: equal in whatever cluster. */
  | { readonly verdict: 'equal' }
  /** Imagined pods that the two sides treat differently. */
  | {
      readonly verdict: 'different';
      readonly witness: Witness;
      readonly imagined: readonly Imagined[];
    }
  /** Neither shown nor refuted; `open` is what has no counterpart on the other side. */
  | { readonly verdict: 'not-decided'; readonly open: readonly string[] };

/**
 * Equal when every policy's isolation and every rule's peers are held by single policies and rules
 * of the other side, both ways. Where one is not, pods are imagined that it speaks of, and both
 * sides are asked about them.
 */
export function compareFuture(a: Snapshot, b: Snapshot): FutureComparison {
  const open: string[] = [];
  for (const [own, other] of [
    [a, b],
    [b, a],
  ] as const) {
    for (const gap of gapsOf(own, other)) {
      open.push(gap.text);
      const found = refute(a, b, gap);
      if (found !== undefined) return { verdict: 'different', ...found };
    }
  }
  return open.length === 0 ? { verdict: 'equal' } : { verdict: 'not-decided', open };
}

interface Gap {
  readonly text: string;
  readonly policy: CompiledPolicy;
  readonly direction: Direction;
  readonly rule?: CompiledRule;
}

/** What of one side is not held by the other. Tiers with an order have to be the same, word by word. */
function gapsOf(own: Snapshot, other: Snapshot): Gap[] {
  const gaps: Gap[] = [];
  const ordered = (snapshot: Snapshot): Set<string> =>
    new Set(
      snapshot.policies.filter(({ tier }) => tier !== 'NetworkPolicy').map((one) => textOf(one)),
    );
  const same = ordered(other);
  const peersOf = (policy: CompiledPolicy): CompiledPolicy[] =>
    other.policies.filter(
      (one) =>
        one.tier === 'NetworkPolicy' &&
        ('name' in one.subject.namespaces && 'name' in policy.subject.namespaces
          ? one.subject.namespaces.name === policy.subject.namespaces.name
          : true),
    );
  for (const policy of own.policies) {
    if (!canMatch(policy.subject)) continue;
    const { key } = policy.ref;
    for (const direction of ['Ingress', 'Egress'] as const) {
      if (policy.tier !== 'NetworkPolicy') {
        if (policy.rules[direction].length > 0 && !same.has(textOf(policy)))
          gaps.push({
            text: key,
            policy,
            direction,
            ...(policy.rules[direction][0] === undefined
              ? {}
              : { rule: policy.rules[direction][0] }),
          });
        continue;
      }
      if (!policy.isolates[direction]) continue;
      const candidates = peersOf(policy);
      if (isolatorOf(policy, direction, candidates) === undefined)
        gaps.push({ text: `${key} isolates for ${direction.toLowerCase()}`, policy, direction });
      const places: Place[] = candidates.flatMap((one) =>
        one.rules[direction].map((rule) => ({ policy: one, rule })),
      );
      for (const rule of policy.rules[direction])
        if (!canNeverMatch(rule) && coverOf(rule, policy.subject, places) === undefined)
          gaps.push({ text: `${key} ${rule.path}`, policy, direction, rule });
    }
  }
  return gaps;
}

/** Everything of a policy but its name's place in files. */
function textOf(policy: CompiledPolicy): string {
  const { ref: _ref, ...content } = policy;
  return JSON.stringify([policy.ref.key, content], (_, value: unknown) =>
    typeof value === 'bigint' ? `${value}n` : value,
  );
}

/** Imagines a subject, and a peer where one is needed, and asks both sides. */
function refute(
  a: Snapshot,
  b: Snapshot,
  { policy, direction, rule }: Gap,
): { witness: Witness; imagined: readonly Imagined[] } | undefined {
  const peers: (CompiledPeer | undefined)[] =
    rule === undefined || rule.peers === 'any' ? [undefined] : [...rule.peers];
  for (const full of [false, true]) {
    const subject = imagine(policy.subject, 'subject', full, [a, b]);
    if (subject === undefined) continue;
    for (const peer of peers) {
      const other = otherEnd(peer, full, [a, b]);
      if (other === undefined) continue;
      const made = [subject, ...(other.made === undefined ? [] : [other.made])];
      const [x, y] = [a, b].map((snapshot) => createEvaluator(withImagined(snapshot, made)));
      if (x === undefined || y === undefined) continue;
      const own: Endpoint = { kind: 'pod', pod: subject.pod };
      const [source, destination] =
        direction === 'Egress' ? [own, other.endpoint] : [other.endpoint, own];
      for (const [protocol, port] of askedOf(rule)) {
        const question = {
          source,
          destination,
          protocol,
          ...(port === undefined ? {} : { port }),
        };
        const outcomes = [x, y].map((evaluator) => evaluator.evaluate(question).outcome);
        if (outcomes[0] === outcomes[1] || outcomes.includes('unknown')) continue;
        const name = (end: Endpoint): string =>
          end.kind === 'pod' ? `a pod like ${end.pod.id}` : 'an address';
        const ends: Ends = { source, destination };
        return {
          imagined: made,
          witness: {
            source: name(source),
            destination: name(destination),
            protocol,
            ...(port === undefined ? {} : { port }),
            ends: [ends, ends],
          },
        };
      }
    }
  }
  return undefined;
}

/** A pod that does not exist, and its namespace. */
export interface Imagined {
  readonly pod: PodInfo;
  readonly namespace: NamespaceInfo;
}

/** A pod, and its namespace, that a matcher selects; undefined when there can be none. */
function imagine(
  matcher: PodMatcher,
  name: string,
  full: boolean,
  sides: readonly Snapshot[],
): Imagined | undefined {
  const labels = exampleLabels(matcher.pods, full);
  if (labels === undefined) return undefined;
  let namespace: NamespaceInfo | undefined;
  if ('name' in matcher.namespaces) {
    const own = matcher.namespaces.name;
    namespace = sides
      .map((side) => side.namespaces.get(own))
      .find((one) => one?.implied === false) ?? {
      name: own,
      labels: { [NAME_LABEL]: own },
      implied: false,
    };
  } else {
    const wanted: Labels | undefined = exampleLabels(matcher.namespaces.selector, full);
    if (wanted === undefined) return undefined;
    const own = wanted[NAME_LABEL] ?? `imagined-${name}`;
    const given = sides.map((side) => side.namespaces.get(own)).find((one) => one !== undefined);
    // A namespace that is given has the labels it has.
    if (given !== undefined && !given.implied) namespace = given;
    else namespace = { name: own, labels: { ...wanted, [NAME_LABEL]: own }, implied: false };
  }
  return {
    namespace,
    pod: {
      id: `${namespace.name}/imagined-${name}`,
      namespace: namespace.name,
      name: `imagined-${name}`,
      labels,
      addresses: [],
      hostNetwork: false,
      namedPorts: [],
      declaredPorts: [],
      workload: { kind: 'Pod', namespace: namespace.name, name: `imagined-${name}` },
      template: false,
    },
  };
}

function otherEnd(
  peer: CompiledPeer | undefined,
  full: boolean,
  sides: readonly Snapshot[],
): { endpoint: Endpoint; made?: Imagined } | undefined {
  if (peer === undefined)
    return { endpoint: { kind: 'address', address: { family: 4, value: 1 } } };
  if (peer.kind === 'pods') {
    const made = imagine(peer.matcher, 'peer', full, sides);
    return made === undefined ? undefined : { made, endpoint: { kind: 'pod', pod: made.pod } };
  }
  if (peer.kind !== 'addresses') return undefined;
  const [address] = representatives(peer.set);
  return address === undefined ? undefined : { endpoint: { kind: 'address', address } };
}

/** The snapshot with imagined pods in it. */
export function withImagined(snapshot: Snapshot, made: readonly Imagined[]): Snapshot {
  const pods = [...snapshot.pods, ...made.map(({ pod }) => pod)];
  const namespaces = new Map(snapshot.namespaces);
  for (const { namespace } of made) namespaces.set(namespace.name, namespace);
  return { ...snapshot, pods, namespaces, podById: new Map(pods.map((pod) => [pod.id, pod])) };
}

function askedOf(rule: CompiledRule | undefined): [Protocol | 'other', number?][] {
  if (rule === undefined || rule.ports === 'any')
    return [['TCP', 80], ['TCP', 65535], ['UDP', 53], ['SCTP', 80], ['other']];
  return rule.ports.flatMap((port): [Protocol, number][] =>
    port.kind === 'range'
      ? [
          [port.protocol, port.from],
          [port.protocol, port.to],
        ]
      : [],
  );
}
