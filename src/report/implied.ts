/**
 * What a NetworkPolicy means without writing it: defaults, empty lists, empty selectors. Reads the
 * object as the user wrote it, before defaulting; must not know how the policy compiles.
 */
import type {
  LabelSelector,
  NetworkPolicySpec,
  NetworkPolicyPeer,
  NetworkPolicyPort,
} from '../k8s/types.ts';

interface Rule {
  readonly from?: NetworkPolicyPeer[] | null;
  readonly to?: NetworkPolicyPeer[] | null;
  readonly ports?: NetworkPolicyPort[] | null;
}

function isEmptySelector(selector: LabelSelector | null | undefined): boolean {
  return (
    Object.keys(selector?.matchLabels ?? {}).length === 0 &&
    (selector?.matchExpressions ?? []).length === 0
  );
}

function subjectNotes(spec: NetworkPolicySpec): string[] {
  const selector = spec.podSelector;
  if (selector === undefined || selector === null) {
    return ['podSelector is not set: it means ALL pods of the namespace (S6)'];
  }
  if (!isEmptySelector(selector)) return [];
  return 'matchLabels' in selector
    ? ['podSelector has a matchLabels without labels: it selects ALL pods of the namespace (S89)']
    : ['podSelector is empty: it selects ALL pods of the namespace (S89)'];
}

function typeNotes(spec: NetworkPolicySpec): string[] {
  const types = spec.policyTypes ?? [];
  const egress = spec.egress ?? [];
  if (types.length === 0) {
    if (egress.length > 0) {
      return [
        'policyTypes is not set: there are egress rules, so it means [Ingress, Egress] (S8, S10)',
      ];
    }
    const trap =
      spec.egress === undefined
        ? ''
        : '; an empty egress list alone does NOT isolate egress (S9): write policyTypes: [Egress]';
    return [`policyTypes is not set: it means [Ingress] (S8)${trap}`];
  }
  const notes: string[] = [];
  for (const [type, rules] of [
    ['Ingress', spec.ingress ?? []],
    ['Egress', egress],
  ] as const) {
    if (rules.length > 0 && !types.includes(type)) {
      notes.push(
        `${type.toLowerCase()} rules are written, but policyTypes lacks ${type}: they have NO effect (S78)`,
      );
    }
  }
  return notes;
}

/** A null entry of a list decodes to an empty one. */
function ruleNotes(rules: readonly (Rule | null)[], field: 'ingress' | 'egress'): string[] {
  const side = field === 'ingress' ? 'from' : 'to';
  const who = field === 'ingress' ? 'ANY source' : 'ANY destination';
  return rules.flatMap((given, index) => {
    const rule = given ?? {};
    const at = `${field}[${index}]`;
    const notes: string[] = [];
    const peers = rule[side] ?? [];
    const ports = rule.ports ?? [];
    if (peers.length === 0 && ports.length === 0) {
      notes.push(`${at} is empty: it admits EVERYTHING in this direction (S149)`);
    } else if (peers.length === 0) {
      const how = rule[side] === undefined ? `has no ${side}` : `has an empty ${side}`;
      notes.push(`${at} ${how}: it means ${who}, inside or outside the cluster (S102)`);
    } else if (ports.length === 0) {
      notes.push(`${at} has no ports: it means ANY port and protocol (S121)`);
    }
    for (const [number, port] of ports.entries()) {
      const { protocol } = (port as NetworkPolicyPort | null) ?? {};
      if (protocol === undefined || protocol === null) {
        notes.push(`${at}.ports[${number}] has no protocol: it means TCP only (S7)`);
      }
    }
    const onlyNamespace = peers.some((peer) => peer.namespaceSelector && !peer.podSelector);
    const onlyPods = peers.some((peer) => peer.podSelector && !peer.namespaceSelector);
    if (onlyNamespace && onlyPods) {
      notes.push(
        `${at}.${side} has namespaceSelector and podSelector as SEPARATE peers (two dashes): OR. In one peer (one dash) they would be AND (S105, S106)`,
      );
    }
    return notes;
  });
}

/** Notes for one NetworkPolicy, each one sentence with its specification item. */
export function impliedNotes(spec: NetworkPolicySpec | undefined): string[] {
  if (spec === undefined || spec === null) {
    return ['spec is not set: ALL pods of the namespace are isolated for ingress (S5)'];
  }
  return [
    ...subjectNotes(spec),
    ...typeNotes(spec),
    ...ruleNotes(spec.ingress ?? [], 'ingress'),
    ...ruleNotes(spec.egress ?? [], 'egress'),
  ];
}
