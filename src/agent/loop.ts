/**
 * The reconcile loop of one node: whenever something changed, the present objects become a program
 * and the program becomes the kernel's. One writer; what comes while it works waits for the next
 * round. Must not know where objects come from or how the kernel is reached.
 */
import { createBackoff, type BackoffOptions } from '../client/backoff.ts';
import { compileNode, NftError } from '../dataplane/index.ts';
import type { ApplyReport, Backend, DataplaneOptions, NodeProgram } from '../dataplane/index.ts';
import { buildSnapshot, createBuildCache } from '../engine/build.ts';
import type { Settings, Snapshot } from '../engine/snapshot.ts';
import type { Diagnostic } from '../k8s/diagnostic.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { CompiledPolicy, PolicyRef } from '../policy/compiled.ts';
import { systemClock, type Clock } from '../system/clock.ts';

/** Why a round was asked for. `audit` and `drift` read the kernel anew instead of trusting memory. */
export type Reason = 'sync' | 'changes' | 'state-file' | 'audit' | 'drift' | 'retry';

export interface Round {
  readonly reasons: readonly Reason[];
  /** When the first cause arrived, in milliseconds since the epoch. */
  readonly since: number;
  readonly finished: number;
  readonly buildMs: number;
  readonly applyMs: number;
  readonly report: ApplyReport;
  readonly program: NodeProgram;
  /** What the program was made from; absent when only the kernel was compared with the last program. */
  readonly built?: {
    readonly snapshot: Snapshot;
    /** Faults of objects. */
    readonly diagnostics: readonly Diagnostic[];
    /** Policies that nft refuses: the pods they could select are closed. */
    readonly quarantined: readonly PolicyRef[];
  };
  /** The kernel was not what we had written, and is again. */
  readonly repaired: boolean;
}

export interface LoopOptions {
  readonly node: string;
  /** The present objects; asked once a round, synchronously. `undefined`: too little is known to decide. */
  readonly objects: () => Iterable<KubeObject> | undefined;
  readonly backend: Backend;
  readonly dataplane?: Partial<DataplaneOptions>;
  readonly settings?: Partial<Settings>;
  readonly strictCidr?: boolean;
  /**
   * Asks nft whether a program would be accepted, without changing anything; the answer is its
   * complaint, or undefined. With it, a policy that breaks a transaction is found and set aside.
   */
  readonly check?: (program: NodeProgram) => Promise<string | undefined>;
  readonly clock?: Clock;
  readonly retry?: BackoffOptions;
  readonly onRound?: (round: Round) => void;
  readonly onFailure?: (error: unknown) => void;
}

export interface Loop {
  /** Asks for a round; `since` is when its cause arrived. Returns at once. */
  trigger(reason: Reason, since?: number): void;
  /** A round is under way or will be. */
  readonly busy: boolean;
  /** Resolves when nothing is asked for any more (failed rounds that will be retried count as asked for). */
  idle(): Promise<void>;
  /** Ends after the round under way. The kernel stays as it is. */
  stop(): Promise<void>;
}

export function createLoop(options: LoopOptions): Loop {
  const clock = options.clock ?? systemClock;
  const backoff = createBackoff({ initialMs: 500, clock, ...options.retry });
  const stopping = new AbortController();
  const reasons = new Set<Reason>();
  let since = Infinity;
  let running: Promise<void> | undefined;
  let waiting: (() => void)[] = [];
  /** By policy key; empty unless nft refused something. */
  let quarantine = new Map<string, PolicyRef>();
  /** What the kernel should hold by now. */
  let last: NodeProgram | undefined;
  // Stores keep the object itself as long as it does not change.
  const cache = createBuildCache();

  async function round(asked: readonly Reason[], began: number): Promise<void> {
    if (last !== undefined && asked.every((reason) => reason === 'audit' || reason === 'drift')) {
      return recheck(asked, began, last);
    }
    const started = clock.now();
    const objects = options.objects();
    if (objects === undefined) return;
    const { snapshot, diagnostics } = buildSnapshot(
      [...objects].map((object) => ({ object })),
      {
        cache,
        ...(options.settings === undefined ? {} : { settings: options.settings }),
        ...(options.strictCidr === undefined ? {} : { strictCidr: options.strictCidr }),
      },
    );
    // A policy that was refused may have been mended: it gets its chance when objects change.
    if (asked.includes('changes') || asked.includes('sync')) quarantine = new Map();
    if (asked.includes('audit') || asked.includes('drift')) options.backend.forget();
    let program = compile(setAside(snapshot, quarantine));
    const built = clock.now();
    let report: ApplyReport;
    try {
      report = await options.backend.apply(program);
    } catch (error) {
      const culprits = error instanceof NftError ? await findCulprits(snapshot) : [];
      if (culprits.length === 0) throw error;
      quarantine = new Map(culprits.map((policy) => [policy.ref.key, policy.ref]));
      program = compile(setAside(snapshot, quarantine));
      report = await options.backend.apply(program);
    }
    last = program;
    const finished = clock.now();
    options.onRound?.({
      reasons: asked,
      since: began,
      finished,
      buildMs: built - started,
      applyMs: finished - built,
      report,
      program,
      built: { snapshot, diagnostics, quarantined: [...quarantine.values()] },
      repaired: false,
    });
  }

  /**
   * Reads the kernel and writes the last program again. Objects that changed meanwhile have a round
   * of their own, so whatever is to do here was done to our table by somebody else.
   */
  async function recheck(
    asked: readonly Reason[],
    began: number,
    program: NodeProgram,
  ): Promise<void> {
    const started = clock.now();
    options.backend.forget();
    const report = await options.backend.apply(program);
    const finished = clock.now();
    options.onRound?.({
      reasons: asked,
      since: began,
      finished,
      buildMs: 0,
      applyMs: finished - started,
      report,
      program,
      repaired: report.transactions.length > 0,
    });
  }

  function compile(snapshot: Snapshot, table?: string): NodeProgram {
    return compileNode(snapshot, options.node, {
      ...options.dataplane,
      ...(table === undefined ? {} : { table }),
    });
  }

  /** Policies that nft refuses by themselves, by halving; none when the whole is accepted. */
  async function findCulprits(snapshot: Snapshot): Promise<CompiledPolicy[]> {
    const { check } = options;
    if (check === undefined) return [];
    const refused = async (policies: readonly CompiledPolicy[]): Promise<boolean> =>
      (await check(compile({ ...snapshot, policies }, 'podwall_check'))) !== undefined;
    const search = async (policies: readonly CompiledPolicy[]): Promise<CompiledPolicy[]> => {
      if (policies.length === 0 || !(await refused(policies))) return [];
      if (policies.length === 1) return [...policies];
      const half = policies.length >> 1;
      return [...(await search(policies.slice(0, half))), ...(await search(policies.slice(half)))];
    };
    return search(snapshot.policies);
  }

  async function work(): Promise<void> {
    while (reasons.size > 0 && !stopping.signal.aborted) {
      const asked = [...reasons];
      const began = since;
      reasons.clear();
      since = Infinity;
      try {
        await round(asked, began);
        backoff.reset();
      } catch (error) {
        options.onFailure?.(error);
        // What was asked stays asked: the next try must cover it, and read the kernel first.
        for (const reason of asked) reasons.add(reason);
        reasons.add('retry').add('audit');
        since = Math.min(since, began);
        await clock.sleep(backoff.next(), stopping.signal);
      }
    }
    running = undefined;
    const done = waiting;
    waiting = [];
    for (const resolve of done) resolve();
  }

  return {
    trigger(reason, at = clock.now()) {
      if (stopping.signal.aborted) return;
      reasons.add(reason);
      since = Math.min(since, at);
      running ??= work();
    },
    get busy() {
      return running !== undefined;
    },
    idle: () =>
      running === undefined ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve)),
    async stop() {
      stopping.abort();
      await running;
    },
  };
}

/** The snapshot with some policies treated as not valid, so that the pods they could select are closed. */
function setAside(snapshot: Snapshot, quarantine: ReadonlyMap<string, PolicyRef>): Snapshot {
  if (quarantine.size === 0) return snapshot;
  return {
    ...snapshot,
    policies: snapshot.policies.filter((policy) => !quarantine.has(policy.ref.key)),
    completeness: {
      ...snapshot.completeness,
      invalidPolicies: [...snapshot.completeness.invalidPolicies, ...quarantine.values()],
    },
  };
}
