/**
 * Which labels, port names and addresses the policies speak of: whatever they do not mention cannot
 * tell two pods apart. Must not know of pods.
 */
import type { AddressSet } from '../net/address-set.ts';
import type { Selector } from '../k8s/selector.ts';
import type { Labels } from '../k8s/types.ts';
import type { CompiledPeer, CompiledPolicy, PodMatcher } from '../policy/compiled.ts';

/**
 * Mentioned keys, each with its mentioned values; {@link PRESENCE} among them when some selector asks
 * whether the key is there at all (Exists, DoesNotExist). In and NotIn tell only their values apart.
 */
export type LabelMentions = Map<string, Set<string>>;

/** No label value holds a control character. */
export const PRESENCE = '\u0000';

export interface Mentions {
  /** By matchers for pods of any namespace that is selected. */
  readonly podLabels: LabelMentions;
  /** By matchers for pods of one named namespace: they tell no others apart. */
  readonly podLabelsIn: Map<string, LabelMentions>;
  readonly namespaceLabels: LabelMentions;
  /** Namespaces that a matcher names, as NetworkPolicies name their own. */
  readonly namespaces: Set<string>;
  readonly portNames: Set<string>;
  /** Distinct address sets in order of first mention, and their index by key. */
  readonly addressSets: AddressSet[];
  readonly addressSetIndex: Map<string, number>;
  /** Whether any peer selects nodes. */
  nodes: boolean;
}

export function createMentions(): Mentions {
  return {
    podLabels: new Map(),
    podLabelsIn: new Map(),
    namespaceLabels: new Map(),
    namespaces: new Set(),
    portNames: new Set(),
    addressSets: [],
    addressSetIndex: new Map(),
    nodes: false,
  };
}

/** Adds what a policy mentions. Returns whether anything of it was new. */
export function mention(mentions: Mentions, policy: CompiledPolicy): boolean {
  let isNew = mentionMatcher(mentions, policy.subject);
  for (const direction of ['Ingress', 'Egress'] as const)
    for (const rule of policy.rules[direction]) {
      if (rule.peers !== 'any')
        for (const peer of rule.peers) if (mentionPeer(mentions, peer)) isNew = true;
      if (rule.ports === 'any') continue;
      for (const port of rule.ports) {
        if (port.kind !== 'named' || mentions.portNames.has(port.name)) continue;
        mentions.portNames.add(port.name);
        isNew = true;
      }
    }
  return isNew;
}

function mentionPeer(mentions: Mentions, peer: CompiledPeer): boolean {
  switch (peer.kind) {
    case 'pods':
      return mentionMatcher(mentions, peer.matcher);
    case 'addresses': {
      const key = addressSetKey(peer.set);
      if (mentions.addressSetIndex.has(key)) return false;
      mentions.addressSetIndex.set(key, mentions.addressSets.length);
      mentions.addressSets.push(peer.set);
      return true;
    }
    case 'nodes': {
      const isNew = !mentions.nodes;
      mentions.nodes = true;
      return isNew;
    }
    default:
      return false;
  }
}

export function addressSetKey(set: AddressSet): string {
  return `${set.v4.join()}|${set.v6.join()}`;
}

function mentionMatcher(mentions: Mentions, { namespaces, pods }: PodMatcher): boolean {
  if (!('name' in namespaces)) {
    const isNew = mentionSelector(mentions.podLabels, pods);
    return mentionSelector(mentions.namespaceLabels, namespaces.selector) || isNew;
  }
  const { name } = namespaces;
  const isNew = !mentions.namespaces.has(name);
  mentions.namespaces.add(name);
  let own = mentions.podLabelsIn.get(name);
  if (own === undefined) {
    own = new Map();
    mentions.podLabelsIn.set(name, own);
  }
  return mentionSelector(own, pods) || isNew;
}

function mentionSelector(mentions: LabelMentions, selector: Selector): boolean {
  let isNew = false;
  for (const { key, values, operator } of selector.requirements) {
    let known = mentions.get(key);
    if (known === undefined) {
      known = new Set();
      mentions.set(key, known);
    }
    const asked = operator === 'In' || operator === 'NotIn' ? values : [PRESENCE];
    for (const value of asked) {
      if (known.has(value)) continue;
      known.add(value);
      isNew = true;
    }
  }
  return isNew;
}

/** Equal for two sets of labels that no mentioned requirement tells apart. */
export function labelSignature(
  labels: Labels,
  mentions: LabelMentions,
  more?: LabelMentions,
): string {
  const parts: string[] = [];
  for (const key in labels) {
    const values = mentions.get(key);
    const others = more?.get(key);
    if (values === undefined && others === undefined) continue;
    const value = labels[key] as string;
    const has = (asked: string): boolean =>
      values?.has(asked) === true || others?.has(asked) === true;
    // Control characters separate: no key or value that validates holds one.
    if (has(value)) parts.push(`${key}\u0001${value}`);
    else if (has(PRESENCE)) parts.push(`${key}\u0002`);
  }
  return parts.length < 2 ? (parts[0] ?? '') : parts.sort().join('\u0003');
}
