/**
 * A verdict as text for a person: both legs, what isolates, what admits, what came close. Never says
 * that a NetworkPolicy denies: it isolates, and none admits. Must not know how verdicts are found.
 */
import type { PairChange } from '../engine/diff.ts';
import type { JudgedFix } from '../engine/judge-fix.ts';
import type { NearMiss } from '../engine/near-miss.ts';
import type { Leg, Outcome, RuleRef, Verdict } from '../engine/verdict.ts';
import type { Labels } from '../k8s/types.ts';
import { formatConnections, isNoConnections } from '../net/connection-set.ts';
import type { PolicyRef } from '../policy/compiled.ts';
import { paint } from './matrix.ts';
import { describePeer, describePods, describePort } from './policy-text.ts';

export interface VerdictView {
  /** As the user would name them: `dev/web`, `10.0.0.1`, `world`. */
  readonly source: string;
  readonly destination: string;
  /** `TCP 80`, or `any other protocol`. */
  readonly on: string;
  readonly verdict: Verdict;
  readonly nearMisses: readonly NearMiss[];
  readonly fixes: readonly JudgedFix[];
  /** Labels of the pod at each end, for saying what a selector missed. */
  readonly labels: { readonly source?: Labels; readonly destination?: Labels };
  /** Where a field of a policy stands, `file:line`. */
  place(policy: PolicyRef, path?: string): string;
}

const words: Readonly<Record<Outcome, string>> = {
  allowed: 'ALLOWED',
  denied: 'DENIED',
  unknown: 'UNKNOWN',
};

const outcomeColors: Readonly<Record<Outcome, string>> = {
  allowed: '1;32',
  denied: '1;31',
  unknown: '1;33',
};

/** `NetworkPolicy prod/web`, as short as it stays unique. */
export function nameOf(policy: PolicyRef): string {
  const name = policy.namespace === undefined ? policy.name : `${policy.namespace}/${policy.name}`;
  return policy.kind === 'NetworkPolicy' ? name : `${policy.kind} ${name}`;
}

function ruleText(view: VerdictView, ref: RuleRef): string {
  const parts = [ref.peerPath, ref.portPath].filter((path) => path !== undefined);
  const path = parts[0] ?? ref.rule.path;
  return `${nameOf(ref.policy)} ${path}  ${view.place(ref.policy, path)}`.trimEnd();
}

function legLines(view: VerdictView, leg: Leg, color: boolean): string[] {
  const subject = leg.direction === 'Egress' ? view.source : view.destination;
  const label = `  ${leg.direction.toLowerCase().padEnd(8)}${subject}  `;
  const outcome = paint(words[leg.outcome], outcomeColors[leg.outcome], color);
  const head = (text: string): string => `${label}${outcome}  ${text}`;
  const isolated =
    leg.isolatedBy.length === 0
      ? []
      : leg.isolatedBy.map((ref) =>
          `      isolated by ${nameOf(ref)}  ${view.place(ref)}`.trimEnd(),
        );
  const passed = (leg.passedBy ?? []).map((ref) => `      passed on by ${ruleText(view, ref)}`);
  const direction = leg.direction.toLowerCase();
  switch (leg.reason) {
    case 'not-applicable':
      return [head('no pod that policy applies to')];
    case 'not-isolated':
      return [head(`not isolated for ${direction}: no policy selects it`), ...passed];
    case 'self':
      return [head('its own address: outside policy')];
    case 'own-node':
      return [head('traffic of its own node is never blocked')];
    case 'accepted':
      return [
        head(
          leg.tier === 'NetworkPolicy'
            ? 'isolated, and a rule admits it'
            : `accepted in the ${leg.tier} tier`,
        ),
        ...passed,
        ...isolated,
        ...(leg.decidedBy === undefined
          ? []
          : [`      admitted by ${ruleText(view, leg.decidedBy)}`]),
        ...(leg.alsoAdmittedBy ?? []).map((ref) => `      and by      ${ruleText(view, ref)}`),
      ];
    case 'denied-by-rule':
      return [
        head(`denied in the ${leg.tier ?? ''} tier`),
        ...passed,
        ...(leg.decidedBy === undefined
          ? []
          : [`      denied by ${ruleText(view, leg.decidedBy)}`]),
      ];
    case 'none-admits': {
      const count = leg.isolatedBy.length;
      const who =
        count === 1 ? 'it does not admit this' : `none of these ${count} policies admits this`;
      return [head(`isolated for ${direction}, and ${who}`), ...passed, ...isolated];
    }
    case 'unknown':
      return [
        head('a fact is missing'),
        ...(leg.missing ?? []).map((sentence) => `      missing: ${sentence}`),
        ...isolated,
      ];
  }
}

function labelText(labels: Labels | undefined): string {
  const entries = Object.entries(labels ?? {});
  if (entries.length === 0) return 'no labels';
  return entries.map(([key, value]) => `${key}=${value}`).join(',');
}

/** One near miss as a sentence. */
export function describeNearMiss(view: VerdictView, miss: NearMiss): string {
  const { rule, direction } = miss;
  const otherName = direction === 'Egress' ? view.destination : view.source;
  const otherLabels = direction === 'Egress' ? view.labels.destination : view.labels.source;
  const subjectLabels = direction === 'Egress' ? view.labels.source : view.labels.destination;
  const peers = rule.peers === 'any' ? 'anyone' : rule.peers.map(describePeer).join(' OR ');
  const ports = rule.ports === 'any' ? 'any port' : rule.ports.map(describePort).join(' OR ');
  const has = otherLabels === undefined ? '' : ` (it has ${labelText(otherLabels)})`;
  switch (miss.lacks) {
    case 'ports':
      return `admits ${otherName}, but only on ${ports}`;
    case 'peers':
      return `admits ${view.on}, but not ${otherName}${has}: only ${peers}`;
    case 'subject':
      return `would admit this, but selects ${describePods(miss.subject)}; this one has ${labelText(subjectLabels)}`;
    case 'both':
      return `admits only ${peers}, on ${ports}`;
  }
}

/** The whole answer, ending in a newline. */
export function renderVerdict(view: VerdictView, color: boolean): string {
  const { verdict } = view;
  const outcome = paint(words[verdict.outcome], outcomeColors[verdict.outcome], color);
  const lines = [
    `${outcome}  ${view.source} → ${view.destination}  ${view.on}`,
    ...legLines(view, verdict.egress, color),
    ...legLines(view, verdict.ingress, color),
  ];
  if (view.nearMisses.length > 0) {
    lines.push('  near miss');
    for (const miss of view.nearMisses.slice(0, 5)) {
      lines.push(
        `      ${nameOf(miss.policy)} ${miss.rule.path}  ${view.place(miss.policy, miss.rule.path)}`,
      );
      lines.push(`        ${describeNearMiss(view, miss)}`);
    }
    const more = view.nearMisses.length - 5;
    if (more > 0) lines.push(`      and ${more} more (-o json lists them)`);
  }
  lines.push(...fixLines(view));
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

/** "opens dev/a → prod/b TCP 80". */
export function describeSideEffect(change: PairChange): string {
  const parts = [
    ...(isNoConnections(change.opened) ? [] : [`opens ${formatConnections(change.opened)}`]),
    ...(isNoConnections(change.closed) ? [] : [`closes ${formatConnections(change.closed)}`]),
  ];
  return `${change.source} → ${change.destination}: ${parts.join(', ') || 'is no longer decided'}`;
}

/** The best change of each closed leg, and the one that opens least; the others are in the JSON. */
function fixLines(view: VerdictView): string[] {
  const lines: string[] = [];
  for (const direction of ['Egress', 'Ingress']) {
    const judged = view.fixes.find(({ fix }) => fix.direction === direction);
    if (judged === undefined) continue;
    lines.push(`  smallest change for ${direction.toLowerCase()}`, ...fixLine(view, judged));
    // A small edit may open much; then the one that opens least is worth its lines.
    const effects = (one: JudgedFix): number => one.also?.length ?? Infinity;
    const [least] = view.fixes
      .filter(({ fix }) => fix.direction === direction)
      .toSorted((x, y) => effects(x) - effects(y));
    if (least !== undefined && effects(least) < effects(judged))
      lines.push('  or, with less effect elsewhere', ...fixLine(view, least));
  }
  return lines;
}

function fixLine(view: VerdictView, { fix, also }: JudgedFix): string[] {
  const place = fix.isNew ? 'new' : view.place(fix.policy, fix.path);
  const lines = [`      ${nameOf(fix.policy)}  ${place}`.trimEnd(), `        ${fix.description}`];
  if (also === undefined)
    return [...lines, '        what else it opens: compare with podwall diff'];
  if (also.length === 0) return [...lines, '        nothing else changes'];
  return [
    ...lines,
    `        ${also.length} more ${also.length === 1 ? 'pair changes' : 'pairs change'}`,
    ...also.slice(0, 5).map((change) => `          ${describeSideEffect(change)}`),
    ...(also.length > 5 ? ['          …'] : []),
  ];
}
