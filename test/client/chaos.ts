/**
 * Makes a fake API server behave as badly as real ones do now and then, all the time: watches that
 * end, break, stall or go on with 410, events twice or again, lists cut off or slow, 401, 429 and 500.
 * What a client reads in the end is still true. For tests only.
 */
import type { FakeApi, Faults } from './fake-api.ts';

export interface Chaos {
  /** How often each fault was injected. */
  readonly counts: ReadonlyMap<string, number>;
  /** No new faults; those under way are over when this returns. */
  calm(): void;
  /** Ends it for good. */
  stop(): void;
}

export interface ChaosOptions {
  /** Draws the faults; `Math.random` when the test has no seed of its own. */
  readonly random?: () => number;
  /** A fault about so often. */
  readonly everyMs?: number;
}

/** Begins at once. Probabilities of single events are set as well: duplicates, replays, cuts, odd pieces. */
export function startChaos(api: FakeApi, options: ChaosOptions = {}): Chaos {
  const random = options.random ?? Math.random;
  const counts = new Map<string, number>();
  const { faults } = api;
  const count = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1);
  const standing: Partial<Faults> = {
    duplicate: 0.2,
    replay: 0.1,
    cut: 0.03,
    splitBytes: 61,
    pageCap: 3,
  };
  const failing = (status: number, reason: string, retryAfter?: number): void => {
    faults.fail.push({
      match: () => true,
      status,
      reason,
      times: 1 + Math.floor(random() * 2),
      ...(retryAfter === undefined ? {} : { retryAfter }),
    });
    // What nobody asked for in time must not hit a later, calm part of the test.
    if (faults.fail.length > 4) faults.fail.shift();
  };
  const acts: readonly (readonly [string, () => void])[] = [
    ['watches closed', () => api.closeWatches()],
    ['watches reset', () => api.resetWatches()],
    [
      'history gone (410)',
      () => {
        api.compact();
        api.closeWatches();
      },
    ],
    ['bookmarks', () => api.sendBookmarks()],
    [
      'stalled watches',
      () => {
        faults.stall = true;
        // Half-open connections end at some time, at the latest when the client's patience does.
        setTimeout(() => {
          faults.stall = false;
          api.resetWatches();
        }, 150);
      },
    ],
    ['429', () => failing(429, 'TooManyRequests', 0)],
    ['500', () => failing(500, 'InternalError')],
    ['401', () => failing(401, 'Unauthorized')],
    [
      'continue token expired',
      () => {
        api.expireContinue(1);
        api.compact();
        api.closeWatches();
      },
    ],
    ['list cut off', () => void (faults.partialLists = 1)],
    ['slow lists', () => void (faults.delayMs = Math.floor(random() * 80))],
    [
      'no watch list',
      () => {
        faults.noWatchList = !(faults.noWatchList ?? false);
        api.compact();
        api.resetWatches();
      },
    ],
  ];
  let timer: NodeJS.Timeout | undefined;
  const next = (): void => {
    timer = setTimeout(
      () => {
        const [what, act] = acts[Math.floor(random() * acts.length)] as (typeof acts)[number];
        count(what);
        act();
        next();
      },
      (options.everyMs ?? 150) * 2 * random(),
    );
  };
  Object.assign(faults, standing);
  next();
  const calm = (): void => {
    clearTimeout(timer);
    faults.fail.length = 0;
    faults.partialLists = 0;
    faults.delayMs = 0;
    faults.duplicate = 0;
    faults.replay = 0;
    faults.cut = 0;
    if (faults.stall) {
      faults.stall = false;
      api.resetWatches();
    }
  };
  return { counts, calm, stop: calm };
}
