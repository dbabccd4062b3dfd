/**
 * A difference of reachability as text, Markdown and JSON. Must not know how it was found.
 */
import type { Cause, PairChange, ReachDiff } from '../engine/diff.ts';
import { formatConnections, isNoConnections, type ConnectionSet } from '../net/connection-set.ts';
import type { PolicyRef } from '../policy/compiled.ts';
import { paint } from './matrix.ts';
import { allowOf } from './reachability.ts';
import { nameOf } from './verdict-text.ts';

const signs: Readonly<Record<PairChange['kind'], string>> = {
  opened: '+',
  closed: '-',
  widened: '>',
  narrowed: '<',
  changed: '~',
  undecided: '?',
};

const colors: Readonly<Record<PairChange['kind'], string>> = {
  opened: '32',
  closed: '31',
  widened: '32',
  narrowed: '31',
  changed: '36',
  undecided: '33',
};

const kinds = Object.keys(signs) as PairChange['kind'][];

function place(policy: PolicyRef): string {
  return policy.source === undefined ? '' : ` ${policy.source.file}:${policy.source.start.line}`;
}

/** "closed by cortex-access (added) policies.yaml:3". */
export function describeCause(cause: Cause): string {
  switch (cause.kind) {
    case 'policy':
      return `${nameOf(cause.policy)} (${cause.edit})${place(cause.policy)}`;
    case 'labels':
      return `labels of ${cause.object}`;
    case 'peer':
      return `${cause.peer} is ${cause.edit === 'added' ? 'new' : 'gone'}`;
  }
}

/** What of a pair changed: `TCP 80`, or both directions of a change. */
export function describeChange(change: PairChange): string {
  const parts: string[] = [];
  const say = (word: string, set: ConnectionSet): void => {
    if (!isNoConnections(set)) parts.push(`${word}${formatConnections(set)}`);
  };
  if (change.kind === 'undecided') return `not decided: ${formatConnections(change.undecided)}`;
  say(change.kind === 'opened' ? '' : 'opens ', change.opened);
  say(change.kind === 'closed' ? '' : 'closes ', change.closed);
  return parts.join(', ');
}

function summary(diff: ReachDiff): string {
  const counts = kinds
    .map((kind) => ({ kind, count: diff.changes.filter((change) => change.kind === kind).length }))
    .filter(({ count }) => count > 0)
    .map(({ kind, count }) => `${signs[kind]}${count} ${kind}`);
  return counts.length === 0 ? 'no difference in reachability' : counts.join('  ');
}

function sorted(changes: readonly PairChange[]): PairChange[] {
  return changes.toSorted((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
}

export function renderDiff(diff: ReachDiff, color: boolean): string {
  const lines = [`Reachability: ${summary(diff)}`];
  for (const change of sorted(diff.changes)) {
    const head = `  ${signs[change.kind]} ${change.source} → ${change.destination}  ${describeChange(change)}`;
    lines.push(paint(head, colors[change.kind], color));
    for (const cause of change.causes) lines.push(`      by ${describeCause(cause)}`);
  }
  const edits = diff.edits.filter(
    ({ policy }) =>
      !diff.changes.some((change) =>
        change.causes.some((cause) => cause.kind === 'policy' && cause.policy.key === policy.key),
      ),
  );
  if (edits.length > 0) {
    lines.push('Edits without effect on any pair:');
    for (const { edit, policy } of edits)
      lines.push(`  ${nameOf(policy)} (${edit})${place(policy)}`);
  }
  return `${lines.join('\n')}\n`;
}

function escape(text: string): string {
  return text.replaceAll('|', '\\|');
}

/** Fit for a pull-request comment: the summary first, long lists folded. */
export function renderDiffMarkdown(diff: ReachDiff): string {
  const rows = sorted(diff.changes).map((change) => {
    const causes = change.causes.map(describeCause).join('<br>');
    return `| ${change.kind} | ${[`\`${change.source}\` → \`${change.destination}\``, describeChange(change), causes].map(escape).join(' | ')} |`;
  });
  const head = `### Reachability: ${summary(diff)}\n`;
  if (rows.length === 0) return head;
  const table = ['| | Pair | What | By |', '| --- | --- | --- | --- |', ...rows].join('\n');
  if (rows.length <= 20) return `${head}\n${table}\n`;
  return `${head}\n<details><summary>${rows.length} pairs</summary>\n\n${table}\n\n</details>\n`;
}

function causeJson(cause: Cause): object {
  if (cause.kind !== 'policy') return cause;
  const { kind, namespace, name } = cause.policy;
  return {
    kind: 'policy',
    edit: cause.edit,
    policy: { kind, ...(namespace === undefined ? {} : { namespace }), name },
  };
}

export function toDiffJson(diff: ReachDiff): object {
  return {
    apiVersion: 'podwall/v1',
    kind: 'Diff',
    changes: sorted(diff.changes).map((change) => ({
      src: change.source,
      dst: change.destination,
      kind: change.kind,
      opened: allowOf(change.opened),
      closed: allowOf(change.closed),
      undecided: allowOf(change.undecided),
      causes: change.causes.map(causeJson),
    })),
    edits: diff.edits.map(({ edit, policy }) => causeJson({ kind: 'policy', edit, policy })),
    peersAdded: diff.peersAdded,
    peersRemoved: diff.peersRemoved,
  };
}
