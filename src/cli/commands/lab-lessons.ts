/**
 * `podwall lab lessons …`: lists, plays, shows and checks the lessons. Turns options into runs and
 * runs into exit codes. Must not know how a lesson is played.
 */
import type { Command } from 'commander';
import type { Lesson, LessonCheck } from '../../lab/lessons/index.ts';
import type { Lab } from '../../lab/types.ts';
import type { ManifestObject } from '../../manifest/parse.ts';
import { CliError, type ExitCode, type Io } from '../command.ts';
import type { Run } from '../lessons/session.ts';

const help = `
Examples:
  podwall lab lessons                    what there is, and what you have done
  podwall lab lessons start              the first one that is not solved yet
  podwall lab lessons start and-or       by name or number
  podwall lab lessons start 11 --answers predictions.txt --try policy.yaml
  podwall lab lessons show and-or --solution
  podwall lab lessons check --simulate   every expected answer, no privileges

A lesson tells a story, asks for predictions, puts policies in force and sends
real packets, shows the rule that decided, and then gives a task: a policy to
write, graded on every connection. Where packets cannot be sent they are
simulated, and it says so.`;

export function declareLessons(command: Command): void {
  const lessons = command
    .command('lessons')
    .description('Learn NetworkPolicy: predict, apply, watch packets, see the rule that decided.')
    .option('--reset', 'forget what was achieved')
    .option('--dir <directory>', 'lessons of your own instead of those of podwall')
    .option('-o, --output <format>', 'text or json', 'text')
    .addHelpText('after', help);
  lessons
    .command('start')
    .description('Play a lesson; in a terminal it asks, otherwise it takes --answers and --try.')
    .argument('[lesson]', 'name or number (default: the first that is not solved)')
    .option('--answers <file>', 'predictions, one per line (- for stdin)')
    .option('--try <file>', 'policies for the task: file, directory or -')
    .option('--solution', "try the lesson's own solution; earns no points")
    .option('--simulate', 'send no packets: interpret the compiled programs instead')
    .option('--dir <directory>', 'lessons of your own instead of those of podwall')
    .option('-o, --output <format>', 'text or json', 'text')
    .addHelpText(
      'after',
      `
An answer is yes or no; or egress, ingress, both or neither; or names (or their
letters) with blanks between, or none.

Exit codes: 0 every prediction that was made is right and the task is solved
(if it was tried), 1 not so, 2 usage or input error, 3 the lab broke.`,
    );
  lessons
    .command('show')
    .description('Print a lesson: story, pods, policies, questions and task. Nothing is started.')
    .argument('<lesson>', 'name or number')
    .option('--manifests', 'only the YAML of its cluster and policies, for lab up or kubectl')
    .option('--hints', 'all hints')
    .option('--solution', 'answers and solution')
    .option('--dir <directory>', 'lessons of your own instead of those of podwall')
    .addHelpText(
      'after',
      `
Examples:
  podwall lab lessons show and-or --hints
  podwall lab lessons show and-or --manifests | podwall lab up -f -
                                   the lesson by hand, with kubectl`,
    );
  lessons
    .command('check')
    .description(
      'Hold every expected answer and every solution against the engine and against packets.',
    )
    .argument('[lesson...]', 'names or numbers (default: all)')
    .option('--simulate', 'send no packets: interpret the compiled programs instead')
    .option('--dir <directory>', 'lessons of your own instead of those of podwall')
    .option('-o, --output <format>', 'text or json', 'text')
    .addHelpText(
      'after',
      `
Exit codes: 0 all is as the lessons say, 1 something is not, 2 usage or input
error, 3 the lab broke.`,
    );
}

interface LessonsOptions {
  readonly reset?: boolean;
  readonly dir?: string;
  readonly output?: string;
  readonly answers?: string;
  readonly try?: string;
  readonly hints?: boolean;
  readonly manifests?: boolean;
  readonly solution?: boolean;
  readonly simulate?: boolean;
}

/** `args` begins with the subcommand's name, when one was given. */
export async function runLessons(
  io: Io,
  args: readonly string[],
  raw: Record<string, unknown>,
): Promise<ExitCode> {
  const options = raw as LessonsOptions;
  const { output = 'text' } = options;
  if (output !== 'text' && output !== 'json') {
    throw new CliError(`no such output format: ${output}`, 2, 'use text or json');
  }
  const [verb, ...rest] = args;
  switch (verb) {
    case undefined:
      return list(io, options);
    case 'start':
      return start(io, rest[0], options);
    case 'show':
      return show(io, rest[0] ?? '', options);
    case 'check':
      return check(io, rest, options);
    default:
      throw new CliError(
        `no such subcommand: lab lessons ${verb}`,
        2,
        `start, show or check; to play one: podwall lab lessons start ${verb}`,
      );
  }
}

async function load(io: Io, options: LessonsOptions): Promise<readonly Lesson[]> {
  const { loadLessons, ownLessons } = await import('../../lab/lessons/index.ts');
  const { printDiagnostics } = await import('../input.ts');
  const { resolve } = await import('node:path');
  const directory = options.dir === undefined ? ownLessons : resolve(io.cwd, options.dir);
  let loaded: Awaited<ReturnType<typeof loadLessons>>;
  try {
    loaded = await loadLessons(directory);
  } catch (error) {
    const { message } = error as NodeJS.ErrnoException;
    throw new CliError(`the lessons cannot be read: ${message}`);
  }
  printDiagnostics(io, loaded.diagnostics, false);
  if (loaded.lessons.length === 0) {
    throw new CliError(
      `there are no lessons in ${directory}`,
      2,
      'each is a folder NN-name; docs/guide/lessons.md says what is in it',
    );
  }
  return loaded.lessons;
}

function choose(lessons: readonly Lesson[], word: string): Lesson {
  const found = lessons.find((one) => one.name === word || String(one.number) === word);
  if (found !== undefined) return found;
  throw new CliError(
    `no such lesson: ${word}`,
    2,
    `lessons are 1 to ${lessons.length}, or ${lessons.map((one) => one.name).join(', ')}`,
  );
}

/** Results of a teacher's lessons are kept apart from ours. */
async function stateOf(io: Io, options: LessonsOptions): Promise<string> {
  const { progressDirectory } = await import('../../lab/lessons/index.ts');
  const directory = progressDirectory(io.env);
  if (options.dir === undefined) return directory;
  const { join, resolve } = await import('node:path');
  return join(directory, encodeURIComponent(resolve(io.cwd, options.dir)));
}

async function list(io: Io, options: LessonsOptions): Promise<ExitCode> {
  const { readProgress, resetProgress } = await import('../../lab/lessons/index.ts');
  const directory = await stateOf(io, options);
  if (options.reset === true) {
    await resetProgress(directory);
    io.err('what was achieved is forgotten; policies you wrote stay\n');
  }
  const lessons = await load(io, options);
  const progress = await readProgress(directory);
  if (options.output === 'json') {
    const report = {
      apiVersion: 'podwall/v1',
      kind: 'Lessons',
      lessons: lessons.map(({ number, name, title, point, questions }) => ({
        number,
        name,
        title,
        point,
        questions: questions.length,
        ...(progress.has(name) ? { result: progress.get(name) } : {}),
      })),
    };
    io.out(`${JSON.stringify(report, null, 2)}\n`);
    return 0;
  }
  const { renderList } = await import('../lessons/text.ts');
  io.out(renderList(lessons, progress));
  io.err('play one: podwall lab lessons start\n');
  return 0;
}

async function show(io: Io, word: string, options: LessonsOptions): Promise<ExitCode> {
  const lessons = await load(io, options);
  const lesson = choose(lessons, word);
  if (options.manifests === true) {
    io.out([lesson.clusterText, lesson.givenText].filter((text) => text !== '').join('---\n'));
    return 0;
  }
  const { answerText, renderIntroduction, renderQuestion, renderSolution, renderTask } =
    await import('../lessons/text.ts');
  io.out(`${renderIntroduction(lesson, lessons.length, io)}\n`);
  for (const [index, question] of lesson.questions.entries()) {
    io.out(`${renderQuestion(question, index + 1, lesson.questions.length, io)}\n`);
    if (options.solution === true) {
      io.out(`    ${answerText(question.answer)}: ${question.because}\n`);
    }
  }
  io.out(`\n${renderTask(lesson, io)}`);
  if (options.hints === true) {
    for (const [index, hint] of lesson.task.hints.entries()) {
      io.out(`${index === 0 ? '\n' : ''}hint ${index + 1}: ${hint.trim()}\n`);
    }
  }
  if (options.solution === true) io.out(`\n${renderSolution(lesson, io)}`);
  return 0;
}

async function withLab<T>(
  io: Io,
  simulate: boolean,
  act: (lab: Lab) => Promise<T>,
): Promise<T | undefined> {
  const { openLabOrSimulation } = await import('../lab-or-simulation.ts');
  let lab: Lab | undefined;
  try {
    // Their ipBlocks are IPv4.
    ({ lab } = await openLabOrSimulation(io, { stack: 'ipv4' }, { simulate }));
    return await act(lab);
  } catch (error) {
    if (!io.signal.aborted) throw error;
    return undefined;
  } finally {
    await lab?.down();
    if (io.signal.aborted) io.err('\nstopped; the lab is gone\n');
  }
}

async function check(io: Io, words: readonly string[], options: LessonsOptions): Promise<ExitCode> {
  const { checkLesson } = await import('../../lab/lessons/index.ts');
  const all = await load(io, options);
  const lessons = words.length === 0 ? all : words.map((word) => choose(all, word));
  const checks = await withLab(io, options.simulate === true, async (lab) => {
    const results: LessonCheck[] = [];
    for (const lesson of lessons) {
      io.err(`  ${lesson.number} ${lesson.name}\n`);
      results.push(await checkLesson(lab, lesson, { signal: io.signal }));
    }
    return results;
  });
  if (checks === undefined) return 1;
  const faults = checks.reduce((sum, one) => sum + one.faults.length, 0);
  if (options.output === 'json') {
    const report = { apiVersion: 'podwall/v1', kind: 'LessonCheck', lessons: checks, faults };
    io.out(`${JSON.stringify(report, null, 2)}\n`);
  } else {
    const { renderCheck } = await import('../lessons/text.ts');
    io.out(renderCheck(checks));
  }
  return faults === 0 ? 0 : 1;
}

async function readPolicies(io: Io, file: string): Promise<readonly ManifestObject[]> {
  const { readManifests } = await import('../../system/read-manifests.ts');
  const { printDiagnostics } = await import('../input.ts');
  const read = await readManifests([file], { cwd: io.cwd, stdin: io.stdin, signal: io.signal });
  printDiagnostics(io, read.diagnostics, false);
  return read.objects;
}

async function readAnswers(io: Io, file: string): Promise<string[]> {
  const { readFile } = await import('node:fs/promises');
  const { resolve } = await import('node:path');
  let text = '';
  if (file === '-') {
    for await (const part of io.stdin) text += String(part);
  } else {
    try {
      text = await readFile(resolve(io.cwd, file), 'utf8');
    } catch (error) {
      throw new CliError(`${file}: ${(error as NodeJS.ErrnoException).message}`);
    }
  }
  const lines = text.split('\n').map((line) => line.replace(/#.*/, '').trim());
  return lines.filter((line) => line !== '');
}

async function start(io: Io, word: string | undefined, options: LessonsOptions): Promise<ExitCode> {
  const lessons = await load(io, options);
  const directory = await stateOf(io, options);
  const lesson = word === undefined ? await nextLesson(lessons, directory) : choose(lessons, word);
  const scripted =
    options.answers !== undefined || options.try !== undefined || options.solution === true;
  if (!scripted && !isTerminal(io.stdin)) {
    throw new CliError(
      'nobody to ask: standard input is not a terminal',
      2,
      'give --answers FILE and --try FILE, or read it with `podwall lab lessons show`',
    );
  }
  if (!scripted && options.output === 'json') {
    throw new CliError('-o json needs --answers or --try', 2, 'a conversation has no JSON');
  }
  return scripted
    ? playScript(io, lesson, directory, options)
    : converse(io, lessons, lesson, directory, options);
}

function isTerminal(stream: NodeJS.ReadableStream): boolean {
  return 'isTTY' in stream && stream.isTTY === true;
}

async function nextLesson(lessons: readonly Lesson[], directory: string): Promise<Lesson> {
  const { readProgress } = await import('../../lab/lessons/index.ts');
  const progress = await readProgress(directory);
  const next = lessons.find((one) => progress.get(one.name)?.solved !== true);
  if (next !== undefined) return next;
  throw new CliError('every lesson is solved', 2, 'name one, or begin anew with --reset');
}

async function playScript(
  io: Io,
  lesson: Lesson,
  directory: string,
  options: LessonsOptions,
): Promise<ExitCode> {
  if (options.try !== undefined && options.solution === true) {
    throw new CliError('--try and --solution exclude each other');
  }
  if (options.answers === '-' && options.try === '-') {
    throw new CliError('--answers and --try cannot both read standard input');
  }
  const { checkSubmission, readPredictions, runScripted } = await import('../lessons/session.ts');
  const predictions =
    options.answers === undefined
      ? undefined
      : readPredictions(lesson, await readAnswers(io, options.answers));
  const policies =
    options.try !== undefined
      ? await readPolicies(io, options.try)
      : options.solution === true
        ? lesson.solution
        : undefined;
  if (policies !== undefined) checkSubmission(lesson, policies);
  const json = options.output === 'json';
  const run = await withLab(io, options.simulate === true, (lab) =>
    runScripted(
      io,
      lab,
      lesson,
      {
        solutionSeen: options.solution === true,
        ...(predictions === undefined ? {} : { predictions }),
        ...(policies === undefined ? {} : { policies }),
      },
      (text) => json || io.out(text),
    ),
  );
  if (run === undefined) return 1;
  await remember(io, directory, lesson, run);
  if (json) {
    const { runJson } = await import('../lessons/json.ts');
    io.out(`${JSON.stringify(runJson(lesson, run), null, 2)}\n`);
  } else io.out(scoreText(run));
  const right = run.predictions.every((one) => one.right);
  return right && (run.attempt?.solved ?? true) ? 0 : 1;
}

async function remember(io: Io, directory: string, lesson: Lesson, run: Run): Promise<void> {
  const { recordResult } = await import('../../lab/lessons/index.ts');
  try {
    await recordResult(directory, lesson.name, run.result);
  } catch (error) {
    io.err(`the result is not kept: ${(error as Error).message}\n`);
  }
}

function scoreText({ predictions, result }: Run): string {
  const { right, questions, solved, points, of, hints, solutionSeen } = result;
  const helped = solutionSeen
    ? ' after seeing the solution'
    : hints > 0
      ? ` with ${hints} ${hints === 1 ? 'hint' : 'hints'}`
      : '';
  const task = solved ? `solved${helped}` : 'not solved';
  const said = predictions.length === 0 ? 'none made' : `${right} of ${questions} right`;
  return `\npredictions: ${said}; task: ${task}; ${points} of ${of} points\n`;
}

async function converse(
  io: Io,
  lessons: readonly Lesson[],
  first: Lesson,
  directory: string,
  options: LessonsOptions,
): Promise<ExitCode> {
  const { runInteractive } = await import('../lessons/session.ts');
  const { createAsker } = await import('../lessons/ask.ts');
  const asker = createAsker(io);
  let solved = false;
  try {
    await withLab(io, options.simulate === true, async (lab) => {
      for (let lesson: Lesson | undefined = first; lesson !== undefined;) {
        const run: Run | undefined = await runInteractive(io, lab, lesson, lessons.length, {
          asker,
          directory,
          readPolicies: (file) => readPolicies(io, file),
        });
        if (run === undefined) break;
        await remember(io, directory, lesson, run);
        io.out(scoreText(run));
        ({ solved } = run.result);
        const next: Lesson | undefined = lessons[lesson.number];
        if (!solved || next === undefined) break;
        const answer = await asker.ask(`\nnext: ${next.title} (Enter, or q to stop) `);
        lesson = answer?.trim() === '' ? next : undefined;
      }
    });
  } finally {
    asker.close();
  }
  return solved ? 0 : 1;
}
