/**
 * One lesson from the story to the score: asks for predictions, shows what the packets did, tries the
 * learner's policies. Must not know how a lesson is judged or printed in detail.
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  attempt,
  enact,
  flowKey,
  pointsOf,
  readAnswer,
  sameAnswer,
  setStage,
  submissionFault,
  type Attempt,
  type Flow,
  type Lesson,
  type LessonResult,
  type Question,
  type Scene,
} from '../../lab/lessons/index.ts';
import { LabRefusal } from '../../lab/errors.ts';
import type { Lab } from '../../lab/types.ts';
import type { ManifestObject } from '../../manifest/parse.ts';
import { paint } from '../../report/matrix.ts';
import { CliError, type Io } from '../command.ts';
import { wrapText } from '../wrap-text.ts';
import type { Asker } from './ask.ts';
import {
  answerText,
  renderAttempt,
  renderIntroduction,
  renderQuestion,
  renderScene,
  renderSolution,
  renderTask,
  renderWhy,
  sceneLegend,
} from './text.ts';

export interface Prediction {
  readonly question: Question;
  readonly answer: readonly string[];
  readonly right: boolean;
}

/** What happened in one run through a lesson. */
export interface Run {
  readonly predictions: readonly Prediction[];
  /** The given policies in force; absent when no predictions were made. */
  readonly scene?: Scene;
  /** The last try at the task. */
  readonly attempt?: Attempt;
  readonly result: LessonResult;
}

/** Where predictions and policies come from when nobody sits at the terminal. */
export interface Script {
  readonly predictions?: readonly Prediction[];
  readonly policies?: readonly ManifestObject[];
  readonly solutionSeen: boolean;
}

function progressOf(
  predictions: readonly Prediction[],
  lesson: Lesson,
  run: Pick<LessonResult, 'solved' | 'hints' | 'solutionSeen'>,
): LessonResult {
  const right = predictions.filter((one) => one.right).length;
  const base = { right, questions: lesson.questions.length, ...run };
  return { ...base, ...pointsOf(base) };
}

function predicted(question: Question, answer: readonly string[]): Prediction {
  return { question, answer, right: sameAnswer(answer, question.answer) };
}

/** Answers, one per line; throws `CliError` where one is missing or cannot be read. */
export function readPredictions(lesson: Lesson, lines: readonly string[]): Prediction[] {
  if (lines.length > lesson.questions.length) {
    throw new CliError(`${lines.length} answers for ${lesson.questions.length} questions`);
  }
  return lesson.questions.map((question, index) => {
    const line = lines[index];
    const what = `question ${index + 1} (${question.ask})`;
    if (line === undefined) throw new CliError(`${what} has no answer`, 2, 'one answer per line');
    const answer = readAnswer(question, line);
    if (typeof answer === 'string') throw new CliError(`${what}: ${answer}`);
    return predicted(question, answer);
  });
}

/** Runs a lesson without a person. `report` takes text as it comes; nothing is asked. */
export async function runScripted(
  io: Io,
  lab: Lab,
  lesson: Lesson,
  script: Script,
  report: (text: string) => void,
): Promise<Run> {
  const { predictions = [] } = script;
  await setStage(lab, lesson);
  let scene: Scene | undefined;
  if (script.predictions !== undefined) {
    scene = await enact(lab, lesson, lesson.given, { signal: io.signal });
    report(renderOutcome(lesson, scene, predictions, io));
  }
  let last: Attempt | undefined;
  if (script.policies !== undefined) {
    report(`${renderTask(lesson, io)}\n`);
    last = await attempt(lab, lesson, script.policies, { signal: io.signal });
    report(renderAttempt(lesson, last, io));
  }
  const { solutionSeen } = script;
  const result = progressOf(predictions, lesson, {
    solved: last?.solved ?? false,
    hints: 0,
    solutionSeen,
  });
  return {
    predictions,
    result,
    ...(scene === undefined ? {} : { scene }),
    ...(last === undefined ? {} : { attempt: last }),
  };
}

/** What the packets did, and each prediction with the reason. */
function renderOutcome(
  lesson: Lesson,
  scene: Scene,
  predictions: readonly Prediction[],
  io: Io,
): string {
  const parts = [`${sceneLegend}\n\n${renderScene(lesson, scene, io)}\n`];
  for (const [index, { question, answer, right }] of predictions.entries()) {
    const mark = right ? paint('right', '1;32', io.color) : paint('wrong', '1;31', io.color);
    const yours = right ? '' : ` (you said ${answerText(answer)})`;
    parts.push(`${index + 1}. ${mark}  ${question.ask}  ${answerText(question.answer)}${yours}\n`);
    const because = wrapText(question.because, Math.min(io.columns, 100) - 3);
    parts.push(...because.map((line) => `   ${line}\n`));
    const flow = worthShowing(question, answer);
    const sight = flow === undefined ? undefined : scene.sights.get(flowKey(flow));
    if (sight !== undefined) parts.push(renderWhy(scene, sight, io));
    parts.push('\n');
  }
  return parts.join('');
}

/** The one connection of a question that says most: the one that was answered wrongly. */
function worthShowing(question: Question, answer: readonly string[]): Flow | undefined {
  if (question.flows.length === 1) return question.flows[0];
  const index = question.choices.findIndex(
    (choice) => answer.includes(choice) !== question.answer.includes(choice),
  );
  return question.flows[index];
}

const prompts = 'edit, a file name, hint, why FROM TO, task, solution, quit';

/** Runs a lesson with a person; undefined when they left before the predictions were done. */
export async function runInteractive(
  io: Io,
  lab: Lab,
  lesson: Lesson,
  total: number,
  context: {
    readonly asker: Asker;
    /** Where the learner's policies are kept. */
    readonly directory: string;
    readonly readPolicies: (file: string) => Promise<readonly ManifestObject[]>;
  },
): Promise<Run | undefined> {
  const { asker } = context;
  io.out(`${renderIntroduction(lesson, total, io)}\n`);
  const preparing = setStage(lab, lesson);
  // Asking takes longer than preparing; a fault is told when it is waited for.
  preparing.catch(() => {});
  const predictions: Prediction[] = [];
  for (const [index, question] of lesson.questions.entries()) {
    io.out(`${renderQuestion(question, index + 1, lesson.questions.length, io)}\n`);
    for (;;) {
      const line = await asker.ask('> ');
      if (line === undefined) return undefined;
      const answer = readAnswer(question, line);
      if (typeof answer === 'string') {
        io.err(`${answer}\n`);
        continue;
      }
      predictions.push(predicted(question, answer));
      break;
    }
  }
  await preparing;
  io.err('applying the policies, sending packets\n');
  const scene = await enact(lab, lesson, lesson.given, { signal: io.signal });
  io.out(`\n${renderOutcome(lesson, scene, predictions, io)}`);
  const { last, hints, solutionSeen } = await workOnTask(io, lab, lesson, scene, context);
  const result = progressOf(predictions, lesson, {
    solved: last?.solved ?? false,
    hints,
    solutionSeen,
  });
  return { predictions, scene, result, ...(last === undefined ? {} : { attempt: last }) };
}

async function workOnTask(
  io: Io,
  lab: Lab,
  lesson: Lesson,
  given: Scene,
  context: Parameters<typeof runInteractive>[4],
): Promise<{ last: Attempt | undefined; hints: number; solutionSeen: boolean }> {
  const { asker } = context;
  let hints = 0;
  let solutionSeen = false;
  let last: Attempt | undefined;
  io.out(`${renderTask(lesson, io)}\n`);
  while (last?.solved !== true) {
    const line = await asker.ask(`${prompts}\n> `);
    const [word = '', ...rest] = (line ?? 'quit').trim().split(/\s+/);
    if (word === 'quit' || word === 'q') break;
    if (word === '' || word === 'help') continue;
    if (word === 'task') io.out(`${renderTask(lesson, io)}\n`);
    else if (word === 'hint' || word === 'h') {
      const hint = lesson.task.hints[hints];
      if (hint === undefined) io.out('there are no more hints; solution shows one\n');
      else io.out(`${++hints}/${lesson.task.hints.length} ${hint.trim()}\n`);
    } else if (word === 'solution') {
      solutionSeen = true;
      io.out(renderSolution(lesson, io));
    } else if (word === 'why') explain(io, last?.scene ?? given, rest);
    else {
      try {
        const file =
          word === 'edit' || word === 'e' ? await ownFile(lesson, context.directory) : word;
        if (word === 'edit' || word === 'e') await asker.edit(file);
        last = await tryFile(io, lab, lesson, resolve(io.cwd, file), context);
      } catch (error) {
        if (!(error instanceof CliError || error instanceof LabRefusal)) throw error;
        io.err(`${error.message}\n`);
        if (error instanceof CliError && error.hint !== undefined) io.err(`hint: ${error.hint}\n`);
      }
    }
  }
  return { last, hints, solutionSeen };
}

/** Throws `CliError` for what is no answer to the task at all. */
export function checkSubmission(lesson: Lesson, policies: readonly ManifestObject[]): void {
  const fault = submissionFault(lesson, policies);
  if (fault !== undefined) throw new CliError(`this cannot be tried: ${fault}`);
}

async function tryFile(
  io: Io,
  lab: Lab,
  lesson: Lesson,
  file: string,
  context: Parameters<typeof runInteractive>[4],
): Promise<Attempt> {
  const policies = await context.readPolicies(file);
  checkSubmission(lesson, policies);
  io.err('applying your policies, sending packets\n');
  const result = await attempt(lab, lesson, policies, { signal: io.signal });
  io.out(`\n${renderAttempt(lesson, result, io)}`);
  return result;
}

/** `why FROM TO [PORT]`, for connections that were tried. */
function explain(io: Io, scene: Scene, words: readonly string[]): void {
  const [from = '', to = '', port] = words.flatMap((word) => word.split(/:(?=\d)/));
  const sights = [...scene.sights.values()].filter(
    ({ flow }) =>
      flow.source === from &&
      flow.destination === to &&
      (port === undefined || String(flow.port.port) === port.split('/')[0]),
  );
  if (sights.length === 0)
    io.err('no such connection was tried: why FROM TO, names as in the matrix\n');
  for (const sight of sights) io.out(renderWhy(scene, sight, io));
}

/** The learner's file for this lesson; made with something to start from. */
async function ownFile(lesson: Lesson, directory: string): Promise<string> {
  const file = join(directory, `${lesson.name}.yaml`);
  if (existsSync(file)) return file;
  const { kinds, namespace, text } = lesson.task;
  const cluster = kinds[0] === 'ClusterNetworkPolicy';
  const start = [
    `# ${lesson.title}`,
    ...text
      .trim()
      .split('\n')
      .map((line) => `# ${line}`),
    `apiVersion: ${cluster ? 'policy.networking.k8s.io/v1alpha2' : 'networking.k8s.io/v1'}`,
    `kind: ${cluster ? 'ClusterNetworkPolicy' : 'NetworkPolicy'}`,
    'metadata:',
    ...(cluster ? [] : [`  namespace: ${namespace}`]),
    '  name: mine',
    'spec:',
    '',
  ];
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(file, start.join('\n'));
  return file;
}
