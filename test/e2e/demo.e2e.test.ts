/**
 * The demo as a user runs it: a process of its own, with real packets, interrupted at awkward
 * moments. Needs the build (`npm test` makes it).
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';

const bin = resolve(import.meta.dirname, '..', '..', 'bin', 'podwall.js');

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the demo; `interrupt` sends a signal after some milliseconds. */
async function demo(
  args: readonly string[],
  interrupt?: { readonly afterMs: number; readonly signal: NodeJS.Signals },
): Promise<Run> {
  const child = spawn(process.execPath, [bin, 'demo', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const ended = new Promise<number | null>((done) => child.on('close', done));
  if (interrupt !== undefined) {
    await sleep(interrupt.afterMs);
    child.kill(interrupt.signal);
  }
  return { code: await ended, stdout, stderr };
}

/** Network namespaces of all processes, and processes of a lab. */
function world(): { namespaces: number; processes: string[] } {
  const namespaces = new Set<string>();
  const processes: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const link = spawnSync('readlink', [join('/proc', pid, 'ns', 'net')]);
      namespaces.add(link.stdout.toString());
      const command = readFileSync(join('/proc', pid, 'cmdline'), 'utf8').replaceAll('\0', ' ');
      if (/lab\/(daemon|prober|binder)\.(js|ts)/.test(command)) processes.push(command);
    } catch {
      // The process ended while we looked.
    }
  }
  return { namespaces: namespaces.size, processes };
}

function isUnavailable(run: Run): boolean {
  return run.stderr.includes('SIMULATED');
}

it('is built', () =>
  expect(existsSync(resolve(bin, '..', '..', 'dist', 'cli', 'main.js'))).toBe(true));

it('plays all steps and ends with one line and exit code 0', async () => {
  const run = await demo([]);
  const last = run.stdout.trimEnd().split('\n').at(-1) ?? '';
  expect(last).toMatch(/^12 steps, (\d+) probes, \1 agreements: (observed|SIMULATED) = predicted$/);
  expect(run.code).toBe(0);
  if (isUnavailable(run)) console.log(`simulated: ${run.stderr}`);
  else expect(run.stdout).not.toContain('SIMULATED');
});

it('-o json is one document with every cell', async () => {
  const run = await demo(['-o', 'json', '--step', 'and-or', '--simulate']);
  const report = JSON.parse(run.stdout) as {
    simulated: boolean;
    summary: { probes: number; agreements: number };
    steps: { cells: object[] }[];
  };
  expect(report.simulated).toBe(true);
  expect(report.summary.probes).toBe(report.steps[0]?.cells.length);
  expect(report.summary.agreements).toBe(report.summary.probes);
});

it.each([
  ['SIGINT', 150],
  ['SIGINT', 700],
  ['SIGINT', 2500],
  ['SIGTERM', 1200],
  ['SIGKILL', 1200],
  ['SIGKILL', 2500],
] as const)('%s after %i ms leaves nothing behind', async (signal, afterMs) => {
  const before = world();
  const run = await demo([], { afterMs, signal });
  expect(run.code).not.toBe(0);
  // The kernel takes namespaces down in the background.
  for (
    let tries = 0;
    tries < 40 && world().processes.length > before.processes.length;
    tries += 1
  ) {
    await sleep(100);
  }
  const after = world();
  expect(after.processes).toEqual(before.processes);
  expect(after.namespaces).toBeLessThanOrEqual(before.namespaces);
  expect(run.stderr).not.toContain('at file:');
});

it('a wrong step is told with the right ones', async () => {
  const run = await demo(['--step', 'default-deny']);
  expect(run.code).toBe(2);
  expect(run.stderr).toContain('no such step: default-deny');
  expect(run.stderr).toContain('default-deny-ingress');
});
