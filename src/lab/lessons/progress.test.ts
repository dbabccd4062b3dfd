import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import {
  pointsOf,
  progressDirectory,
  readProgress,
  recordResult,
  resetProgress,
  type LessonResult,
} from './progress.ts';

const directory = await mkdtemp(join(tmpdir(), 'podwall-progress-'));
afterAll(() => rm(directory, { recursive: true }));

function result(run: Partial<LessonResult>): LessonResult {
  const base = { right: 0, questions: 3, solved: false, hints: 0, solutionSeen: false, ...run };
  return { ...base, ...pointsOf(base) };
}

it('gives a point for a prediction, five for a task, less with hints, none for a copied one', () => {
  expect(result({ right: 3, solved: true })).toMatchObject({ points: 8, of: 8 });
  expect(result({ right: 1, solved: true, hints: 2 }).points).toBe(4);
  expect(result({ solved: true, hints: 9 }).points).toBe(1);
  expect(result({ right: 2, solved: true, solutionSeen: true }).points).toBe(2);
});

it('keeps the best result, and forgets on demand', async () => {
  const state = join(directory, 'state');
  expect((await readProgress(state)).size).toBe(0);
  await recordResult(state, 'a', result({ right: 1, solved: true }));
  await recordResult(state, 'a', result({ right: 2 }));
  await recordResult(state, 'b', result({ right: 3 }));
  expect((await readProgress(state)).get('a')).toMatchObject({ points: 6, solved: true });
  await recordResult(state, 'a', result({ right: 3, solved: true }));
  expect((await readProgress(state)).get('a')).toMatchObject({ points: 8 });
  await resetProgress(state);
  expect((await readProgress(state)).size).toBe(0);
});

it('does not overwrite what it does not understand', async () => {
  const file = join(directory, 'progress.json');
  await writeFile(file, '{"version":2}');
  await expect(recordResult(directory, 'a', result({}))).rejects.toThrow('is no progress file');
  expect(await readFile(file, 'utf8')).toBe('{"version":2}');
});

it('lies where the user keeps state', () => {
  expect(progressDirectory({ XDG_STATE_HOME: '/state', HOME: '/home/u' })).toBe(
    '/state/podwall/lessons',
  );
  expect(progressDirectory({ HOME: '/home/u' })).toBe('/home/u/.local/state/podwall/lessons');
});
