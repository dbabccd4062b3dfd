/**
 * Exponential waiting with jitter, as client-go's reflector does it. Must not know what failed.
 */
import { systemClock, type Clock } from '../system/clock.ts';
import { ConnectionError, KubeApiError } from './errors.ts';

export interface BackoffOptions {
  /** First wait in milliseconds, before jitter. Default 800. */
  readonly initialMs?: number;
  /** Longest wait in milliseconds, before jitter. Default 30,000. */
  readonly maximumMs?: number;
  /** The wait is multiplied by a number in [1, 1 + jitter). Default 1. */
  readonly jitter?: number;
  /** After this long without a failure, waiting starts from the beginning. Default 120,000. */
  readonly resetMs?: number;
  readonly clock?: Clock;
}

export interface Backoff {
  /** Milliseconds to wait before the next try; at least `atLeastMs`. Each call doubles the next one. */
  next(atLeastMs?: number): number;
  reset(): void;
}

export function createBackoff(options: BackoffOptions = {}): Backoff {
  const {
    initialMs = 800,
    maximumMs = 30_000,
    jitter = 1,
    resetMs = 120_000,
    clock = systemClock,
  } = options;
  let wait = initialMs;
  let last = -Infinity;
  return {
    next(atLeastMs = 0) {
      const now = clock.now();
      if (now - last > resetMs) wait = initialMs;
      last = now;
      const jittered = wait * (1 + clock.random() * jitter);
      wait = Math.min(wait * 2, maximumMs);
      return Math.max(jittered, atLeastMs);
    },
    reset() {
      wait = initialMs;
      last = -Infinity;
    },
  };
}

/** True when the same request may succeed later: overload, restart, a broken connection. */
export function isTransient(error: unknown): boolean {
  if (error instanceof ConnectionError) return true;
  if (!(error instanceof KubeApiError)) return false;
  return error.status === 429 || (error.status >= 500 && error.status !== 501);
}

/** Milliseconds that the server asked to wait; 0 when it did not ask. */
export function askedWait(error: unknown): number {
  return error instanceof KubeApiError ? (error.retryAfter ?? 0) * 1000 : 0;
}

/**
 * Runs `attempt` until it succeeds, fails for good, `attempts` are used up or `signal` is aborted.
 * Waits between tries as the back-off and the server's Retry-After say.
 */
export async function retryTransient<T>(
  attempt: () => Promise<T>,
  options: { attempts: number; backoff: Backoff; clock: Clock; signal?: AbortSignal | undefined },
): Promise<T> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (tried >= options.attempts || !isTransient(error) || options.signal?.aborted) throw error;
      await options.clock.sleep(options.backoff.next(askedWait(error)), options.signal);
    }
  }
}
