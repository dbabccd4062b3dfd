/**
 * Every lesson with real packets: answers, solutions, and the side where each packet fell. Needs root
 * or user namespaces; says why when it has neither.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { LabUnavailable, startLab } from '../../src/lab/index.ts';
import { checkLesson, loadLessons } from '../../src/lab/lessons/index.ts';
import type { Lab } from '../../src/lab/types.ts';

async function open(): Promise<Lab | string> {
  try {
    return await startLab({ stack: 'ipv4' }, { lifetime: 'parent' });
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

const lab = await open();
if (typeof lab === 'string') console.log(`SKIPPED: the lab cannot run here: ${lab}`);
const { lessons } = await loadLessons();
afterAll(async () => {
  if (typeof lab !== 'string') await lab.down();
});

describe.skipIf(typeof lab === 'string')('lessons, one lab for all', () => {
  it.each(lessons.map((one) => [one.name, one] as const))('%s', async (_, lesson) => {
    if (typeof lab === 'string') throw new Error(lab);
    const result = await checkLesson(lab, lesson);
    expect(result.faults).toEqual([]);
    expect(result.simulated).toBe(false);
    expect(result.connections).toBeGreaterThan(0);
  });

  it('Ctrl-C in the middle leaves no process and no file', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'podwall-lessons-'));
    try {
      const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
      const main = fileURLToPath(new URL('cli-process.ts', import.meta.url));
      const child = spawn(
        process.execPath,
        ['--import', tsx, main, 'lab', 'lessons', 'check', '1', '2'],
        { env: { ...process.env, TMPDIR: directory }, stdio: ['ignore', 'ignore', 'pipe'] },
      );
      let said = '';
      let running = 0;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        // Once the lab is up and the first lesson is being played.
        if (!said.includes('1 open-by-default') && `${said}${text}`.includes('1 open-by-default')) {
          running = processesWith(directory).length;
          child.kill('SIGINT');
        }
        said += text;
      });
      expect(await ended, said).toBe(130);
      expect(running).toBeGreaterThan(1);
      expect(said).toContain('stopped; the lab is gone');
      await expect.poll(() => processesWith(directory), { timeout: 20_000 }).toEqual([]);
      // tsx keeps its cache there as well.
      expect(readdirSync(directory).filter((name) => name.startsWith('podwall'))).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

/** Ids of processes that were started with this directory as TMPDIR. */
function processesWith(directory: string): string[] {
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/environ`, 'utf8').includes(`TMPDIR=${directory}`);
    } catch {
      return false;
    }
  });
}
