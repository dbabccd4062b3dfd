/**
 * Whether one rule or policy says no more than others do, in whatever cluster: by selectors,
 * addresses and ports alone. Sufficient, not necessary. Must not know of pods that exist.
 */
import { isEmptyAddressSet, subtract } from '../net/address-set.ts';
import {
  connectionsOf,
  containsConnections,
  noConnections,
  unionConnections,
  type ConnectionSet,
} from '../net/connection-set.ts';
import { compileSelector, type Selector } from '../k8s/selector.ts';
import type {
  CompiledPeer,
  CompiledPolicy,
  CompiledRule,
  Direction,
  PodMatcher,
} from '../policy/compiled.ts';
import { NAME_LABEL } from './peers.ts';
import { implies, isSatisfiable } from './selector-algebra.ts';

export interface Place {
  readonly policy: CompiledPolicy;
  /** Absent: the policy as a whole. */
  readonly rule?: CompiledRule;
}

/** S25: a namespace has its name as a label; more is not known of it here. */
function namespaceSelector(matcher: PodMatcher): Selector {
  return 'name' in matcher.namespaces
    ? compileSelector({ matchLabels: { [NAME_LABEL]: matcher.namespaces.name } })
    : matcher.namespaces.selector;
}

/** Whether every pod that `a` matches, `b` matches too. */
export function matcherWithin(a: PodMatcher, b: PodMatcher): boolean {
  if (!canMatch(a)) return true;
  if (!implies(a.pods, b.pods)) return false;
  if ('name' in a.namespaces && 'name' in b.namespaces)
    return a.namespaces.name === b.namespaces.name;
  return implies(namespaceSelector(a), namespaceSelector(b));
}

/** Whether some pod could match. */
export function canMatch(matcher: PodMatcher): boolean {
  return (
    isSatisfiable(matcher.pods) &&
    ('name' in matcher.namespaces || isSatisfiable(matcher.namespaces.selector))
  );
}

/** Whether every other end that `a` matches, `b` matches too. */
export function peerWithin(a: CompiledPeer, b: CompiledPeer): boolean {
  if (a.kind === 'pods' && b.kind === 'pods') return matcherWithin(a.matcher, b.matcher);
  if (a.kind === 'addresses' && b.kind === 'addresses')
    return isEmptyAddressSet(subtract(a.set, b.set));
  if (a.kind === 'nodes' && b.kind === 'nodes') return implies(a.selector, b.selector);
  if (a.kind === 'domainNames' && b.kind === 'domainNames')
    return a.names.every((name) => b.names.includes(name));
  return false;
}

function rangesOf(rule: CompiledRule): ConnectionSet {
  let all = noConnections;
  if (rule.ports !== 'any')
    for (const port of rule.ports)
      if (port.kind === 'range')
        all = unionConnections(all, connectionsOf(port.protocol, port.from, port.to));
  return all;
}

export function portsWithin(a: CompiledRule, b: CompiledRule): boolean {
  if (b.ports === 'any') return true;
  if (a.ports === 'any') return false;
  const names = b.ports.filter((port) => port.kind === 'named');
  return (
    containsConnections(rangesOf(b), rangesOf(a)) &&
    a.ports.every(
      (port) =>
        port.kind === 'range' ||
        names.some(
          (other) =>
            other.name === port.name &&
            (other.protocol === undefined || other.protocol === port.protocol),
        ),
    )
  );
}

/** Whether a rule can match no connection in any cluster. */
export function canNeverMatch(rule: CompiledRule): boolean {
  return (
    (rule.ports !== 'any' && rule.ports.length === 0) ||
    (rule.peers !== 'any' &&
      rule.peers.every((peer) =>
        peer.kind === 'pods'
          ? !canMatch(peer.matcher)
          : peer.kind === 'addresses'
            ? isEmptyAddressSet(peer.set)
            : peer.kind === 'nodes' && !isSatisfiable(peer.selector),
      ))
  );
}

/**
 * The rules among `candidates` that together hold everything of `rule` for the subjects of its
 * policy; undefined when that is not shown. Each peer must be held by one rule alone.
 */
export function coverOf(
  rule: CompiledRule,
  subject: PodMatcher,
  candidates: readonly Place[],
): Place[] | undefined {
  const usable = candidates.filter(
    (one) =>
      one.rule !== undefined &&
      one.rule !== rule &&
      portsWithin(rule, one.rule) &&
      matcherWithin(subject, one.policy.subject),
  );
  if (usable.length === 0) return undefined;
  const all = usable.find((one) => one.rule?.peers === 'any');
  if (all !== undefined) return [all];
  if (rule.peers === 'any') return undefined;
  const found = new Set<Place>();
  for (const peer of rule.peers) {
    const holder = usable.find(
      (one) =>
        one.rule !== undefined &&
        one.rule.peers !== 'any' &&
        one.rule.peers.some((other) => peerWithin(peer, other)),
    );
    if (holder === undefined) return undefined;
    found.add(holder);
  }
  return [...found];
}

/** A policy among `candidates` that isolates all subjects of `policy` in a direction. */
export function isolatorOf(
  policy: CompiledPolicy,
  direction: Direction,
  candidates: readonly CompiledPolicy[],
): CompiledPolicy | undefined {
  return candidates.find(
    (other) =>
      other !== policy && other.isolates[direction] && matcherWithin(policy.subject, other.subject),
  );
}
