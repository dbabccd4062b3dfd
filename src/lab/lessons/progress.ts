/**
 * What a learner has done so far: a small file in the user's state directory. Must not know what
 * lessons teach.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { LabError } from '../errors.ts';

/** Best result of one lesson. */
export interface LessonResult {
  /** Right predictions, of how many. */
  readonly right: number;
  readonly questions: number;
  readonly solved: boolean;
  readonly hints: number;
  readonly solutionSeen: boolean;
  readonly points: number;
  readonly of: number;
}

/** By name of the lesson. */
export type Progress = ReadonlyMap<string, LessonResult>;

/** What a task is worth; every hint costs one. */
const taskPoints = 5;

/** Points of one run through a lesson, and the most there are. */
export function pointsOf(run: Omit<LessonResult, 'points' | 'of'>): {
  readonly points: number;
  readonly of: number;
} {
  const task = run.solved && !run.solutionSeen ? Math.max(1, taskPoints - run.hints) : 0;
  return { points: run.right + task, of: run.questions + taskPoints };
}

/** Where progress and the learner's own policies are kept. */
export function progressDirectory(env: NodeJS.ProcessEnv): string {
  const state = env['XDG_STATE_HOME'];
  const home = env['HOME'] ?? homedir();
  const base = state?.startsWith('/') ? state : join(home, '.local', 'state');
  return join(base, 'podwall', 'lessons');
}

function progressFile(directory: string): string {
  return join(directory, 'progress.json');
}

/** Throws `LabError` when the file is there and cannot be understood: it is not overwritten then. */
export async function readProgress(directory: string): Promise<Progress> {
  const file = progressFile(directory);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return new Map();
    throw new LabError(`the progress file cannot be read: ${message}`);
  }
  try {
    const { version, lessons } = JSON.parse(text) as { version: number; lessons: object };
    const entries = Object.entries(lessons) as [string, LessonResult][];
    const sound = entries.every(([, one]) => typeof one.points === 'number' && 'solved' in one);
    if (version === 1 && sound) return new Map(entries);
  } catch {
    // Told below, with what to do.
  }
  throw new LabError(`${file} is no progress file of podwall; lab lessons --reset removes it`);
}

/** Keeps the result if none with more points is there. The file is replaced in one step. */
export async function recordResult(
  directory: string,
  lesson: string,
  result: LessonResult,
): Promise<void> {
  const progress = new Map(await readProgress(directory));
  const old = progress.get(lesson);
  if (old !== undefined && old.points >= result.points && (old.solved || !result.solved)) return;
  progress.set(lesson, result);
  const text = JSON.stringify({ version: 1, lessons: Object.fromEntries(progress) }, null, 2);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = `${progressFile(directory)}.${process.pid}`;
  await writeFile(temporary, `${text}\n`, { mode: 0o600 });
  await rename(temporary, progressFile(directory));
}

/** Forgets every result; the learner's policies stay. */
export async function resetProgress(directory: string): Promise<void> {
  await rm(progressFile(directory), { force: true });
}
