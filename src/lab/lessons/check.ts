/**
 * The machine check of a lesson: every expected answer, the solution, and that everything else is
 * refused, by the engine and by what the lab observes. Must not print.
 */
import type { Lab } from '../types.ts';
import { flowKey } from './flows.ts';
import { engineAnswer, judgeFlows, sameAnswer, standing, wantedOf, wrongIn } from './judge.ts';
import type { Lesson } from './lesson.ts';
import {
  attempt,
  enact,
  packetsConfirm,
  setStage,
  submissionFault,
  type PlayOptions,
  type Scene,
} from './play.ts';

export interface LessonCheck {
  readonly lesson: string;
  readonly simulated: boolean;
  readonly questions: number;
  /** Connections tried, with the given policies and with the solution. */
  readonly connections: number;
  readonly mistakes: number;
  /** What is not as it should be, one sentence each; empty: all is well. */
  readonly faults: readonly string[];
}

/** Plays the lesson from end to end with its own answers and solution. */
export async function checkLesson(
  lab: Lab,
  lesson: Lesson,
  options: PlayOptions = {},
): Promise<LessonCheck> {
  const faults: string[] = [];
  await setStage(lab, lesson);
  const given = await enact(lab, lesson, lesson.given, options);
  faults.push(...disagreements(given, 'given policies'));
  for (const question of lesson.questions) {
    const engine = engineAnswer(question, given.sights);
    if (!sameAnswer(engine, question.answer)) {
      faults.push(
        `"${question.ask}": the lesson says ${words(question.answer)}, the engine ${words(engine)}`,
      );
    }
    if (!packetsConfirm(question, given)) {
      faults.push(`"${question.ask}": the packets do not bear out ${words(question.answer)}`);
    }
  }
  const unfit = submissionFault(lesson, lesson.solution);
  if (unfit !== undefined) faults.push(`the solution is refused: ${unfit}`);
  const solved = await attempt(lab, lesson, lesson.solution, options);
  faults.push(...disagreements(solved.scene, 'the solution'));
  for (const { sight, wanted } of solved.wrong) {
    faults.push(`the solution: ${flowKey(sight.flow)} is not ${wanted}`);
  }
  const { outside } = (await lab.status()).config;
  const { objects } = solved.scene;
  const judge = (policies: Lesson['solution']): ReturnType<typeof judgeFlows>['judged'] =>
    judgeFlows(lesson, objects, outside, [...standing(lesson), ...policies]).judged;
  const wanted = wantedOf(lesson, judge([]));
  if (wrongIn(judge([]), wanted).length === 0) faults.push('the task is solved by doing nothing');
  for (const { name, policies } of lesson.task.mistakes) {
    if (wrongIn(judge(policies), wanted).length === 0) {
      faults.push(`the mistake "${name}" solves the task`);
    }
  }
  return {
    lesson: lesson.name,
    simulated: lab.simulated,
    questions: lesson.questions.length,
    connections: given.sights.size + solved.scene.sights.size,
    mistakes: lesson.task.mistakes.length,
    faults,
  };
}

function disagreements(scene: Scene, what: string): string[] {
  return [...scene.sights.values()]
    .filter((sight) => !sight.agrees)
    .map(
      ({ flow, verdict, observed, drop, reason }) =>
        `${what}: ${flowKey(flow)}: the engine says ${verdict.outcome}, seen ${observed}` +
        `${drop === undefined ? '' : ` at ${drop.direction}`}${reason === undefined ? '' : ` (${reason})`}`,
    );
}

function words(answer: readonly string[]): string {
  return answer.length === 0 ? 'none' : answer.join(', ');
}
