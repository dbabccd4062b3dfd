/**
 * What is superfluous among policies, as text and as the Unused document. Must not know how it was
 * found.
 */
import type { UnusedFinding, UnusedKind, UnusedResult } from '../engine/unused-finding.ts';
import type { Completeness } from '../engine/snapshot.ts';
import type { PolicyRef } from '../policy/compiled.ts';
import { paint } from './matrix.ts';
import { completenessJson } from './verdict-json.ts';
import { nameOf } from './verdict-text.ts';

/** Where a field of a policy stands, `file:line`; empty when it came from a cluster. */
export type PlaceOf = (policy: PolicyRef, path?: string) => string;

const titles: Readonly<Record<UnusedKind, string>> = {
  'selects-no-pod': 'selects no pod',
  'policy-redundant': 'redundant',
  'direction-without-effect': 'rules without effect',
  'rule-matches-nothing': 'matches nothing',
  'rule-redundant': 'redundant rule',
  shadowed: 'shadowed',
  'no-pair-changes': 'changes no pair',
  'peer-matches-nothing': 'peer matches nothing',
  'peer-redundant': 'redundant peer',
};

function findingLines(finding: UnusedFinding, place: PlaceOf, color: boolean): string[] {
  const { kind, policy, path, holds, coveredBy, reason } = finding;
  const where = [nameOf(policy), path].filter((part) => part !== undefined).join(' ');
  const title = paint(titles[kind].toUpperCase(), '1;33', color);
  const always = holds === 'always' ? 'whatever pods there are' : 'with the pods of this input';
  const shown = coveredBy.slice(0, 4);
  return [
    `${title}  ${where}  ${place(policy, path)}`.trimEnd(),
    `  ${reason}`,
    ...shown.map((one) =>
      `  see ${nameOf(one.policy)} ${one.path ?? ''}`
        .trimEnd()
        .concat(place(one.policy, one.path) === '' ? '' : `  ${place(one.policy, one.path)}`),
    ),
    ...(coveredBy.length > shown.length ? [`  and ${coveredBy.length - shown.length} more`] : []),
    `  holds ${always}`,
  ];
}

/** Policies that could not be judged, one line a reason. */
function notJudgedLines({ notJudged }: UnusedResult): string[] {
  const byReason = new Map<string, PolicyRef[]>();
  for (const { policy, reason } of notJudged) {
    const list = byReason.get(reason);
    if (list === undefined) byReason.set(reason, [policy]);
    else list.push(policy);
  }
  return [...byReason].map(([reason, policies]) => {
    const names = policies.slice(0, 3).map(nameOf).join(', ');
    const more = policies.length > 3 ? ', …' : '';
    return `not judged: ${count(policies.length, 'policy', 'policies')} (${names}${more}): ${reason}`;
  });
}

function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** The findings, ending in a newline; then what was not judged and the sum. */
export function renderUnused(result: UnusedResult, place: PlaceOf, color: boolean): string {
  const blocks = result.findings.map((finding) => findingLines(finding, place, color).join('\n'));
  const found = result.findings.length;
  const sum = [
    ...notJudgedLines(result),
    `${count(result.policies, 'policy', 'policies')}, ${found === 0 ? 'nothing superfluous found' : count(found, 'finding', 'findings')}${
      found > 1 ? '; each can go alone, and all of them together' : ''
    }`,
  ];
  return `${[...blocks, sum.join('\n')].join('\n\n')}\n`;
}

function policyJson(policy: PolicyRef, place: string): object {
  return {
    kind: policy.kind,
    ...(policy.namespace === undefined ? {} : { namespace: policy.namespace }),
    name: policy.name,
    ...(place === '' ? {} : { place }),
  };
}

export function toUnusedJson(
  result: UnusedResult,
  place: PlaceOf,
  completeness: Completeness,
): object {
  return {
    apiVersion: 'podwall/v1',
    kind: 'Unused',
    completeness: completenessJson(completeness),
    policies: result.policies,
    findings: result.findings.map(
      ({ kind, policy, direction, path, holds, coveredBy, reason }) => ({
        kind,
        policy: policyJson(policy, place(policy, path)),
        ...(direction === undefined ? {} : { direction }),
        ...(path === undefined ? {} : { path }),
        holds,
        reason,
        coveredBy: coveredBy.map((one) => ({
          policy: policyJson(one.policy, place(one.policy, one.path)),
          ...(one.path === undefined ? {} : { path: one.path }),
        })),
      }),
    ),
    notJudged: result.notJudged.map(({ policy, reason }) => ({
      policy: policyJson(policy, place(policy)),
      reason,
    })),
  };
}
