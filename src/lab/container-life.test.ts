import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { ContainerEnd, ContainerState } from './api/runtime.ts';
import { liveContainer, longestPauseMs, type RestartPolicy } from './container-life.ts';
import { createContainerLog } from './pod-log.ts';
import type { PodProcess } from './pod-process.ts';

/** A program that says its number and ends. */
function program(number: number, code: number): PodProcess {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  stdout.end(`run ${number}\n`);
  stderr.end();
  const over = new Promise<number>((resolve) => stdout.on('end', () => resolve(code)));
  const nothing = (): void => {};
  return {
    stdin: new PassThrough(),
    stdout,
    stderr,
    ended: over,
    exit: over,
    kill: nothing,
    signal: nothing,
  };
}

interface Seen {
  readonly states: string[];
  readonly pauses: number[];
  readonly end: ContainerEnd | undefined;
  readonly log: ReturnType<typeof createContainerLog>;
}

/** Lets a container live whose runs end with these codes; stopped after the last. */
async function lives(policy: RestartPolicy, codes: readonly number[]): Promise<Seen> {
  const states: string[] = [];
  const pauses: number[] = [];
  const stop = new AbortController();
  const log = createContainerLog();
  let run = 0;
  const say = (state: ContainerState, restarts: number, last?: ContainerEnd): void => {
    const detail = state.kind === 'terminated' ? ` ${state.exitCode}` : '';
    const why = state.kind === 'waiting' ? ` ${state.reason}: ${state.message}` : '';
    const before = last === undefined ? '' : ` after ${last.exitCode}`;
    states.push(`${state.kind}${detail}${why} #${restarts}${before}`);
  };
  const end = await liveContainer({
    policy,
    log,
    label: 'c pod=p_ns(u)',
    stopped: stop.signal,
    start: () => program(run, codes[run++] ?? 0),
    report: say,
    async pause(ms) {
      pauses.push(ms);
      if (run >= codes.length) stop.abort();
    },
  });
  return { states, pauses, end, log };
}

async function textOf(stream: NodeJS.ReadableStream | undefined): Promise<string> {
  let text = '';
  for await (const chunk of stream ?? []) text += String(chunk);
  return text;
}

const all = { follow: false, timestamps: false, previous: false };

describe('the life of a container', () => {
  it('Never: one run, whatever its exit code', async () => {
    expect(await lives('Never', [3])).toMatchObject({
      states: ['running #0', 'terminated 3 #0'],
      pauses: [],
      end: { exitCode: 3 },
    });
  });

  it('OnFailure: again until it succeeds', async () => {
    const seen = await lives('OnFailure', [1, 0]);
    expect(seen.states).toEqual([
      'running #0',
      'terminated 1 #0',
      'running #1 after 1',
      'terminated 0 #1 after 1',
    ]);
    expect(seen.end?.exitCode).toBe(0);
  });

  it('Always: the first restart at once, then back-off, CrashLoopBackOff between', async () => {
    const seen = await lives('Always', [2, 0, 2, 2]);
    expect(seen.states.slice(3)).toEqual([
      'terminated 0 #1 after 2',
      'waiting CrashLoopBackOff: back-off 1s restarting failed container=c pod=p_ns(u) #1 after 0',
      'running #2 after 0',
      'terminated 2 #2 after 0',
      'waiting CrashLoopBackOff: back-off 2s restarting failed container=c pod=p_ns(u) #2 after 2',
      'running #3 after 2',
      'terminated 2 #3 after 2',
      'waiting CrashLoopBackOff: back-off 4s restarting failed container=c pod=p_ns(u) #3 after 2',
    ]);
    expect(seen.end).toBeUndefined();
  });

  it('back-off doubles up to its longest', async () => {
    const { pauses } = await lives(
      'Always',
      Array.from({ length: 12 }, () => 1),
    );
    expect(pauses).toEqual(pauses.toSorted((a, b) => a - b));
    expect(pauses.at(-1)).toBe(longestPauseMs);
  });

  it('a child that holds the output open does not keep its parent alive', async () => {
    const killed: string[] = [];
    const states: string[] = [];
    const parent = program(0, 4);
    const end = await liveContainer({
      policy: 'Never',
      log: createContainerLog(),
      label: '',
      stopped: new AbortController().signal,
      start: () => ({
        ...parent,
        exit: new Promise<number>(() => {}),
        kill: () => void killed.push('group'),
      }),
      report: ({ kind }) => void states.push(kind),
    });
    expect(end?.exitCode).toBe(4);
    expect(killed).toEqual(['group']);
    expect(states).toEqual(['running', 'terminated']);
  });

  it('keeps the log of the run before', async () => {
    const { log } = await lives('Always', [1, 1, 1]);
    expect(await textOf(log.current().read(all))).toBe('run 2\n');
    expect(await textOf(log.previous()?.read(all))).toBe('run 1\n');
  });

  it('a program that cannot be started says so', async () => {
    const seen: ContainerState[] = [];
    const end = await liveContainer({
      policy: 'Never',
      log: createContainerLog(),
      label: '',
      stopped: new AbortController().signal,
      start: () => {
        throw new Error('no nsenter');
      },
      report: (state) => void seen.push(state),
    });
    expect(end).toMatchObject({ exitCode: 128, reason: 'StartError', message: 'no nsenter' });
    expect(seen).toEqual([end]);
  });

  it('who gives up is left to somebody else, unreported', async () => {
    const seen: string[] = [];
    await liveContainer({
      policy: 'Always',
      log: createContainerLog(),
      label: '',
      stopped: new AbortController().signal,
      start: () => program(0, 127),
      report: ({ kind }) => void seen.push(kind),
      giveUp: ({ exitCode }) => exitCode === 127,
    });
    expect(seen).toEqual(['running']);
  });
});
