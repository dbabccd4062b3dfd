/**
 * The life of one container: its command is run, and run again as the restart policy says, with
 * growing pauses; every turn is reported. Must not know of pods, networks or the API.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerEnd, ContainerState } from './api/runtime.ts';
import type { ContainerLog } from './pod-log.ts';
import type { PodProcess } from './pod-process.ts';

export type RestartPolicy = 'Always' | 'OnFailure' | 'Never';

export interface LifeOptions {
  /** Starts one run; its output is read here. */
  readonly start: () => PodProcess;
  readonly policy: RestartPolicy;
  readonly log: ContainerLog;
  report(state: ContainerState, restartCount: number, last: ContainerEnd | undefined): void;
  /** A run that may begin again ended like this. True: somebody else takes over, and life is over. */
  readonly giveUp?: (end: ContainerEnd) => boolean;
  /** For the message of a back-off: `NAME pod=POD_NAMESPACE(UID)`. */
  readonly label: string;
  /** The pod is stopped: nothing is run or reported any more. */
  readonly stopped: AbortSignal;
  /** Tests replace waiting. */
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

/** Before the second restart; it doubles each time. The first comes at once. */
export const firstPauseMs = 1_000;
export const longestPauseMs = 60_000;
/** Who ran as long as this starts over with short pauses. */
export const steadyMs = 10_000;

/** How long the output of a run that is over is waited for: a child may hold it open for ever. */
const lingerMs = 500;

/** Runs until the policy ends it; the result is its last end, undefined when it was stopped. */
export async function liveContainer(options: LifeOptions): Promise<ContainerEnd | undefined> {
  const { policy, log, report, stopped } = options;
  const pause =
    options.pause ??
    ((ms: number, signal: AbortSignal) => sleep(ms, undefined, { ref: false, signal }));
  let last: ContainerEnd | undefined;
  let pauseMs = 0;
  for (let restarts = 0; !stopped.aborted; restarts += 1) {
    const end = await runOnce(options, restarts, last);
    if (stopped.aborted) return undefined;
    if (policy === 'Never' || (policy === 'OnFailure' && end.exitCode === 0)) {
      log.current().end();
      report(end, restarts, last);
      return end;
    }
    log.current().end();
    if (options.giveUp?.(end) === true) return end;
    report(end, restarts, last);
    if (end.finishedAt - end.startedAt >= steadyMs) pauseMs = 0;
    if (pauseMs > 0) {
      const message = `back-off ${pauseMs / 1000}s restarting failed container=${options.label}`;
      report({ kind: 'waiting', reason: 'CrashLoopBackOff', message }, restarts, end);
      await pause(pauseMs, stopped).catch(() => {});
    }
    pauseMs = Math.min(Math.max(firstPauseMs, pauseMs * 2), longestPauseMs);
    last = end;
  }
  return undefined;
}

async function runOnce(
  { start, log, report }: LifeOptions,
  restarts: number,
  last: ContainerEnd | undefined,
): Promise<ContainerEnd> {
  const mine = restarts === 0 ? log.current() : log.next();
  const startedAt = Date.now();
  const ended = (
    exitCode: number,
    more: { reason?: string; message?: string } = {},
  ): ContainerEnd => ({
    kind: 'terminated',
    exitCode,
    startedAt,
    finishedAt: Date.now(),
    ...more,
  });
  try {
    const child = start();
    mine.take(child.stdout);
    mine.take(child.stderr);
    report({ kind: 'running', startedAt }, restarts, last);
    const end = ended(await child.ended);
    // What it left behind goes with it, as in a container; what it said is read to the end.
    child.kill();
    await Promise.race([child.exit, sleep(lingerMs, undefined, { ref: false })]);
    return end;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    mine.add(message);
    return ended(128, { reason: 'StartError', message });
  }
}
