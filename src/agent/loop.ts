/**
 * The reconcile loop of one node: whenever something changed, what changed becomes the next program
 * and that the kernel's. One writer; what comes while it works waits for the next round. Must not
 * know where objects come from or how the kernel is reached.
 */
import { createBackoff, type BackoffOptions } from '../client/backoff.ts';
import { compileNode, NftError } from '../dataplane/index.ts';
import type {
  ApplyReport,
  Backend,
  DataplaneOptions,
  NodeProgram,
  ProgramDelta,
} from '../dataplane/index.ts';
import { buildSnapshot } from '../engine/build.ts';
import type { ObjectRef } from '../engine/cluster-facts.ts';
import type { Settings } from '../engine/snapshot.ts';
import type { Diagnostic } from '../k8s/diagnostic.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { CompiledPolicy, PolicyRef } from '../policy/compiled.ts';
import { systemClock, type Clock } from '../system/clock.ts';
import { createPipeline, type Pipeline } from './pipeline.ts';

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
  readonly built?: Built;
  /** The kernel was not what we had written, and is again. */
  readonly repaired: boolean;
}

export interface Built {
  /** Why everything was read and compiled anew; absent: only what changed. */
  readonly anew?: Rebuild;
  readonly objects: number;
  /** Policies that validate. */
  readonly policies: number;
  readonly invalid: readonly PolicyRef[];
  /** Faults of objects. */
  readonly errors: readonly Diagnostic[];
  /** Policies that nft refuses: the pods they select are closed. */
  readonly quarantined: readonly PolicyRef[];
}

/**
 * `asked`: nobody said what changed (a first sync, a relist of a resource that could not be read).
 * `retry`: a round failed. `fault`: what was kept did not stand a change, which is an error of ours.
 */
export type Rebuild = 'asked' | 'retry' | 'fault';

export interface LoopOptions {
  readonly node: string;
  /** All present objects, asked synchronously. `undefined`: too little is known to decide. */
  readonly objects: () => Iterable<KubeObject> | undefined;
  /** One of them; undefined: it is not there. */
  readonly find?: (ref: ObjectRef) => KubeObject | undefined;
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
  /**
   * Asks for a round; `since` is when its cause arrived. Returns at once.
   *
   * @param changed objects that may differ since the last round, needs `find`; without it anything may
   */
  trigger(reason: Reason, since?: number, changed?: readonly ObjectRef[]): void;
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
  let quarantine = new Map<string, CompiledPolicy>();
  /** What the kernel should hold by now. */
  let last: NodeProgram | undefined;
  /** Objects that may differ from what the pipeline took in; everything without one. */
  let changed = new Map<string, ObjectRef>();
  let pipeline: Pipeline | undefined;
  /** Why the pipeline must begin anew. */
  let anew: Rebuild | undefined = 'asked';

  async function round(asked: readonly Reason[], began: number): Promise<void> {
    if (last !== undefined && asked.every((reason) => reason === 'audit' || reason === 'drift')) {
      return recheck(asked, began, last);
    }
    const started = clock.now();
    const taken = takeIn();
    if (taken === undefined) return;
    if (asked.includes('audit') || asked.includes('drift')) options.backend.forget();
    const { why } = taken;
    let { step } = taken;
    const built = clock.now();
    let report: ApplyReport;
    try {
      report = await options.backend.apply(step.program, step.delta);
    } catch (error) {
      const culprits = error instanceof NftError ? await findCulprits() : [];
      if (culprits.length === 0) throw error;
      quarantine = new Map(culprits.map((policy) => [policy.ref.key, policy]));
      step = taken.pipeline.set(new Set(quarantine.keys()));
      report = await options.backend.apply(step.program, step.delta);
    }
    last = step.program;
    options.onRound?.({
      reasons: asked,
      since: began,
      finished: clock.now(),
      buildMs: built - started,
      applyMs: clock.now() - built,
      report,
      program: step.program,
      built: {
        ...(why === undefined ? {} : { anew: why }),
        ...taken.pipeline.facts(),
        quarantined: [...quarantine.values()].map(({ ref }) => ref),
      },
      repaired: false,
    });
  }

  interface Taken {
    readonly pipeline: Pipeline;
    readonly step: { readonly program: NodeProgram; readonly delta: ProgramDelta | undefined };
    readonly why: Rebuild | undefined;
  }

  /** The next program, from what changed or from everything. */
  function takeIn(): Taken | undefined {
    const refs = changed;
    const why = pipeline === undefined ? (anew ?? 'asked') : anew;
    changed = new Map();
    const { find } = options;
    if (why === undefined && pipeline !== undefined && find !== undefined) {
      try {
        const changes = [...refs.values()].map((ref) => [ref, find(ref)] as const);
        return { pipeline, step: takeChanges(pipeline, changes), why };
      } catch (error) {
        // What is kept may be half changed now.
        options.onFailure?.(error);
        return takeAll('fault');
      }
    }
    return takeAll(why ?? 'asked');
  }

  /** A policy that was refused gets its chance when it changes. */
  function takeChanges(
    from: Pipeline,
    changes: readonly (readonly [ObjectRef, KubeObject | undefined])[],
  ): Taken['step'] {
    from.take(changes);
    for (const [key, policy] of quarantine) if (from.policy(key) !== policy) quarantine.delete(key);
    return from.set(new Set(quarantine.keys()));
  }

  function takeAll(why: Rebuild): Taken | undefined {
    pipeline = undefined;
    anew = why;
    const objects = options.objects();
    if (objects === undefined) return undefined;
    // Something else may have made nft refuse a policy: each gets another chance.
    quarantine = new Map();
    const made = createPipeline(options);
    made.take([...objects].map((object) => [refOf(object), object] as const));
    const step = made.set(new Set());
    pipeline = made;
    anew = undefined;
    return { pipeline: made, step, why };
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

  /** Policies that nft refuses by themselves, by halving; none when the whole is accepted. */
  async function findCulprits(): Promise<CompiledPolicy[]> {
    const { check } = options;
    const objects = options.objects();
    if (check === undefined || objects === undefined) return [];
    const { snapshot } = buildSnapshot(
      [...objects].map((object) => ({ object })),
      options,
    );
    const dataplane = { ...options.dataplane, table: 'podwall_check' };
    const refused = async (policies: readonly CompiledPolicy[]): Promise<boolean> =>
      (await check(compileNode({ ...snapshot, policies }, options.node, dataplane))) !== undefined;
    const search = async (policies: readonly CompiledPolicy[]): Promise<CompiledPolicy[]> => {
      if (policies.length === 0 || !(await refused(policies))) return [];
      if (policies.length === 1) return [...policies];
      const half = policies.length >> 1;
      return [...(await search(policies.slice(0, half))), ...(await search(policies.slice(half)))];
    };
    // An nft that refuses everything (it crashes, it lacks a capability) says nothing of policies.
    if (await refused([])) return [];
    const found = await search(snapshot.policies);
    return found.flatMap(({ ref }) => pipeline?.policy(ref.key) ?? []);
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
        anew = 'retry';
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
    trigger(reason, at = clock.now(), refs) {
      if (stopping.signal.aborted) return;
      reasons.add(reason);
      if (refs !== undefined && options.find !== undefined)
        for (const ref of refs) changed.set(`${ref.kind} ${ref.namespace ?? ''}/${ref.name}`, ref);
      else if (reason !== 'audit' && reason !== 'drift') anew ??= 'asked';
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

function refOf({ apiVersion, kind, metadata }: KubeObject): ObjectRef {
  return { apiVersion, kind, namespace: metadata.namespace, name: metadata.name ?? '' };
}
