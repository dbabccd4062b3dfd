/**
 * The answer to "do these two mean the same?" as text and as the Equality document. Must not know
 * how it was found.
 */
import type { Comparison, FutureComparison, Witness } from '../engine/equal.ts';
import type { PodInfo } from '../engine/snapshot.ts';
import type { Verdict } from '../engine/verdict.ts';
import { paint } from './matrix.ts';

/** A witness with what each side says of it. */
export interface WitnessView {
  readonly witness: Witness;
  readonly verdicts: readonly [Verdict, Verdict];
  /** Both verdicts in full, as text. */
  readonly texts: readonly [string, string];
}

export interface EqualityView {
  readonly a: string;
  readonly b: string;
  /** Absent when there are no pods on either side. */
  readonly now?: Comparison;
  readonly nowWitness?: WitnessView;
  readonly future: FutureComparison;
  readonly futureWitness?: WitnessView;
}

/** `TCP 80`. */
export function onText({ protocol, port }: Witness): string {
  return port === undefined ? 'protocols other than TCP, UDP and SCTP' : `${protocol} ${port}`;
}

function indent(text: string): string[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => `    ${line}`);
}

function witnessLines(view: EqualityView, { witness, texts }: WitnessView): string[] {
  return [
    `  ${witness.source} → ${witness.destination}  ${onText(witness)}`,
    `  ${view.a} says`,
    ...indent(texts[0]),
    `  ${view.b} says`,
    ...indent(texts[1]),
  ];
}

function podText({ namespace, labels }: PodInfo): string {
  const list = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  return `namespace ${namespace}, ${list.length === 0 ? 'no labels' : list.join(',')}`;
}

export function renderEquality(view: EqualityView, color: boolean): string {
  const { now, future } = view;
  const lines: string[] = [];
  const no = paint('NOT EQUAL', '1;31', color);
  if (now?.equal === true) {
    lines.push(`${paint('equal', '1;32', color)}: ${now.peers} peers, ${now.pairs} pairs compared`);
  } else if (now?.reason === 'peers') {
    lines.push(`${no}: the two sides do not have the same pods and nodes`);
    for (const [side, names] of [
      [view.a, now.onlyA],
      [view.b, now.onlyB],
    ] as const) {
      const more = names.length > 5 ? `, … (${names.length})` : '';
      if (names.length > 0) lines.push(`  only in ${side}: ${names.slice(0, 5).join(', ')}${more}`);
    }
  } else if (view.nowWitness !== undefined) {
    lines.push(no, ...witnessLines(view, view.nowWitness));
  }
  if (now !== undefined && !now.equal) return `${lines.join('\n')}\n`;
  switch (future.verdict) {
    case 'equal':
      lines.push('pods that do not exist yet: equal, whatever their labels');
      break;
    case 'different':
      lines.push(`pods that do not exist yet: ${no}`);
      for (const { pod } of future.imagined) lines.push(`  imagine ${pod.id}: ${podText(pod)}`);
      if (view.futureWitness !== undefined) lines.push(...witnessLines(view, view.futureWitness));
      break;
    case 'not-decided': {
      const more = future.open.length > 3 ? `, … (${future.open.length})` : '';
      lines.push(
        `pods that do not exist yet: not decided; no single counterpart for ${future.open.slice(0, 3).join(', ')}${more}`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

function witnessJson({ witness, verdicts }: WitnessView): object {
  return {
    src: witness.source,
    dst: witness.destination,
    protocol: witness.protocol,
    ...(witness.port === undefined ? {} : { port: witness.port }),
    a: sideJson(verdicts[0]),
    b: sideJson(verdicts[1]),
  };
}

function sideJson({ outcome, egress, ingress }: Verdict): object {
  return {
    outcome,
    egress: { outcome: egress.outcome, reason: egress.reason },
    ingress: { outcome: ingress.outcome, reason: ingress.reason },
  };
}

export function toEqualityJson(view: EqualityView): object {
  const { now, future } = view;
  return {
    apiVersion: 'podwall/v1',
    kind: 'Equality',
    a: view.a,
    b: view.b,
    ...(now === undefined
      ? {}
      : {
          existing: {
            equal: now.equal,
            ...(now.equal ? { peers: now.peers, pairs: now.pairs } : {}),
            ...(!now.equal && now.reason === 'peers' ? { onlyA: now.onlyA, onlyB: now.onlyB } : {}),
            ...(view.nowWitness === undefined ? {} : { witness: witnessJson(view.nowWitness) }),
          },
        }),
    future: {
      verdict: future.verdict,
      ...(future.verdict === 'not-decided' ? { open: future.open } : {}),
      ...(future.verdict === 'different'
        ? {
            imagined: future.imagined.map(({ pod, namespace }) => ({
              id: pod.id,
              labels: pod.labels,
              namespaceLabels: namespace.labels,
            })),
          }
        : {}),
      ...(view.futureWitness === undefined ? {} : { witness: witnessJson(view.futureWitness) }),
    },
  };
}
