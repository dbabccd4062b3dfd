/**
 * A run through a lesson as versioned JSON (`podwall/v1`, kind `LessonRun`). Must not know how it was
 * played.
 */
import { flowKey, type Lesson, type Scene } from '../../lab/lessons/index.ts';
import type { Outcome } from '../../engine/verdict.ts';
import type { Run } from './session.ts';

function connections(scene: Scene, wanted?: ReadonlyMap<string, Outcome>): object[] {
  return [...scene.sights].map(([key, { flow, verdict, observed, drop, reason, agrees }]) => ({
    source: flow.source,
    destination: flow.destination,
    protocol: flow.port.protocol,
    port: flow.port.port,
    ...(wanted === undefined ? {} : { wanted: wanted.get(key) }),
    predicted: verdict.outcome,
    observed,
    agrees,
    ...(drop === undefined ? {} : { drop }),
    ...(reason === undefined ? {} : { reason }),
  }));
}

export function runJson(lesson: Lesson, run: Run): object {
  const { predictions, scene, attempt, result } = run;
  const simulated = attempt?.scene.simulated ?? scene?.simulated ?? false;
  return {
    apiVersion: 'podwall/v1',
    kind: 'LessonRun',
    lesson: lesson.name,
    simulated,
    predictions: predictions.map(({ question, answer, right }) => ({
      ask: question.ask,
      answer,
      right,
      expected: question.answer,
      because: question.because,
    })),
    ...(scene === undefined ? {} : { given: connections(scene) }),
    ...(attempt === undefined
      ? {}
      : {
          task: {
            solved: attempt.solved,
            wrong: attempt.wrong.map(({ sight }) => flowKey(sight.flow)),
            ...(attempt.mistake === undefined ? {} : { mistake: attempt.mistake.says }),
            connections: connections(attempt.scene, attempt.wanted),
          },
        }),
    result,
  };
}
