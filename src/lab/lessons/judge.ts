/**
 * What the engine says of a lesson's connections under some policies, and what a task demands of
 * them. Must not send packets.
 */
import { buildSnapshot } from '../../engine/build.ts';
import { createEvaluator } from '../../engine/evaluate.ts';
import type { Snapshot } from '../../engine/snapshot.ts';
import type { Connection, Endpoint, Outcome, Verdict } from '../../engine/verdict.ts';
import type { KubeObject } from '../../k8s/types.ts';
import { parseAddress } from '../../net/address.ts';
import { policyKindOf } from '../../policy/index.ts';
import { familyOf } from '../config.ts';
import type { LabObject, OutsideHost } from '../types.ts';
import { allFlows, flowKey, type Flow } from './flows.ts';
import type { Lesson, Mistake } from './lesson.ts';

/** One connection as the engine decides it. */
export interface Judged {
  readonly flow: Flow;
  readonly connection: Connection;
  readonly verdict: Verdict;
}

/** By `flowKey`. */
export type Judgement = ReadonlyMap<string, Judged>;

export function isPolicy({ apiVersion, kind }: KubeObject): boolean {
  return policyKindOf(apiVersion, kind) !== undefined;
}

/**
 * Every connection of the lesson under `policies` alone; policies among `objects` do not count. Pods
 * need their addresses. IPv4, as the lessons' labs are.
 */
export function judgeFlows(
  lesson: Lesson,
  objects: readonly KubeObject[],
  outside: readonly OutsideHost[],
  policies: readonly LabObject[],
): { readonly snapshot: Snapshot; readonly judged: Judgement } {
  const { snapshot } = buildSnapshot([
    ...objects.filter((object) => !isPolicy(object)).map((object) => ({ object })),
    ...policies,
  ]);
  const evaluator = createEvaluator(snapshot);
  const end = (name: string): Endpoint | undefined => {
    const pod = snapshot.podById.get(name);
    if (pod !== undefined) return { kind: 'pod', pod };
    const host = outside.find((one) => one.name === name);
    const address = parseAddress(host?.addresses.find((one) => familyOf(one) === 4) ?? '');
    return address === undefined ? undefined : { kind: 'address', address };
  };
  const judged = new Map<string, Judged>();
  for (const flow of allFlows(lesson.parties, lesson.ports)) {
    const source = end(flow.source);
    const destination = end(flow.destination);
    // A pod that comes later is not there yet.
    if (source === undefined || destination === undefined) continue;
    const connection = { source, destination, ...flow.port };
    judged.set(flowKey(flow), { flow, connection, verdict: evaluator.evaluate(connection) });
  }
  return { snapshot, judged };
}

/** Policies that a task is graded with, beside the learner's. */
export function standing(lesson: Lesson): readonly LabObject[] {
  return lesson.task.keepGiven ? lesson.given : [];
}

/** What the task demands of every connection. `before` is the judgement of {@link standing}. */
export function wantedOf(lesson: Lesson, before: Judgement): ReadonlyMap<string, Outcome> {
  const { allowed, denied, otherwise } = lesson.task;
  const named = new Map<string, Outcome>([
    ...allowed.map((flow): [string, Outcome] => [flowKey(flow), 'allowed']),
    ...denied.map((flow): [string, Outcome] => [flowKey(flow), 'denied']),
  ]);
  const wanted = new Map<string, Outcome>();
  for (const [key, { verdict }] of before) {
    wanted.set(key, named.get(key) ?? (otherwise === 'before' ? verdict.outcome : otherwise));
  }
  return wanted;
}

/** Connections that the engine decides otherwise than the task demands. */
export function wrongIn(judged: Judgement, wanted: ReadonlyMap<string, Outcome>): Judged[] {
  return [...judged].flatMap(([key, one]) =>
    one.verdict.outcome === wanted.get(key) ? [] : [one],
  );
}

/** The lesson's known mistake with exactly the effect of `judged`, if there is one. */
export function knownMistake(
  lesson: Lesson,
  objects: readonly KubeObject[],
  outside: readonly OutsideHost[],
  judged: Judgement,
): Mistake | undefined {
  return lesson.task.mistakes.find((mistake) => {
    const policies = [...standing(lesson), ...mistake.policies];
    const theirs = judgeFlows(lesson, objects, outside, policies).judged;
    return [...judged].every(
      ([key, { verdict }]) => theirs.get(key)?.verdict.outcome === verdict.outcome,
    );
  });
}

/** A question's true answer by the engine. */
export function engineAnswer(
  question: Lesson['questions'][number],
  judged: Judgement,
): readonly string[] {
  const verdicts = question.flows.map((flow) => judged.get(flowKey(flow))?.verdict);
  const [verdict] = verdicts;
  switch (question.kind) {
    case 'reach':
      return [verdict?.outcome === 'allowed' ? 'yes' : 'no'];
    case 'side': {
      const egress = verdict?.egress.outcome === 'denied';
      const ingress = verdict?.ingress.outcome === 'denied';
      return [egress ? (ingress ? 'both' : 'egress') : ingress ? 'ingress' : 'neither'];
    }
    default:
      return question.choices.filter((_, index) => verdicts[index]?.outcome === 'allowed');
  }
}

/** The same words, in whatever order. */
export function sameAnswer(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((word) => b.includes(word));
}
