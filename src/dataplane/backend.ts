/**
 * Keeps one node's table equal to a program: reads what is there, plans, commits in order. Must not
 * know where programs come from.
 */
import type { DataplaneOptions, Drop, NodeProgram, ProgramDelta } from './model.ts';
import { defaultDataplaneOptions } from './model.ts';
import { readDrops, readTable } from './listing.ts';
import { applyOperations, transactionText, unhookLines } from './operations.ts';
import type { Phase, Transaction } from './operations.ts';
import { plan } from './plan.ts';
import { checkOptions, families, maxEpoch, observedGroup, observedTotal } from './render.ts';
import { emptyTable } from './state.ts';
import type { TableState } from './state.ts';
import type { NftResult, NftRunner } from './runner.ts';

export interface ApplyReport {
  /** Transactions committed, in order. None: nothing was to do. */
  readonly transactions: readonly {
    readonly phase: Phase;
    readonly operations: number;
    readonly milliseconds: number;
  }[];
  /** Epoch in force afterwards. */
  readonly epoch: number;
  /** Whether the belief was found wrong on the way and the kernel read again. */
  readonly reread: boolean;
  /** Whether only what the delta names was looked at. */
  readonly partial: boolean;
  /** When the program was in force, in milliseconds since the epoch: collecting comes after. */
  readonly enforcedAt: number;
}

export interface Backend {
  /**
   * Brings the kernel to `desired`. Calls queue up; each sees the result of the one before.
   *
   * @throws NftError when nft refuses a transaction also after the kernel was read again. What was
   * committed until then stays, and is as safe as every state in between.
   *
   * @param delta all that differs from the program before: then only that is looked at, provided that
   * the program before is what was applied last.
   */
  apply(desired: NodeProgram, delta?: ProgramDelta): Promise<ApplyReport>;
  /** Denied flows since the last reset; empty unless `observe`. */
  drops(): Promise<Drop[]>;
  resetDrops(): Promise<void>;
  /** Packets denied (or audited) so far; 0 unless `observe`. Cheaper than `drops`. */
  denials(): Promise<number>;
  /** What the kernel holds of podwall's tables, read now. */
  read(): Promise<readonly TableState[]>;
  /** Forgets the belief: the next apply reads the kernel first. */
  forget(): void;
  /** Removes every trace. Nothing is enforced afterwards. */
  cleanup(): Promise<void>;
}

/** nft refused, with its words. */
export class NftError extends Error {
  override readonly name = 'NftError';
  readonly stderr: string;
  readonly script: string;

  constructor(message: string, details: { stderr: string; script: string }) {
    super(message);
    this.stderr = details.stderr;
    this.script = details.script;
  }

  isNotFound(): boolean {
    return /No such file or directory/.test(this.stderr);
  }
}

export interface BackendOptions {
  readonly nft: NftRunner;
  readonly options?: Partial<DataplaneOptions>;
  /** Pause before unreachable objects are deleted, in milliseconds, for packets still inside; default 10. */
  readonly collectAfterMs?: number;
  /**
   * Clears the mask's bits of every conntrack mark; called when epochs have run out, while updates go
   * on. Until it has succeeded every packet is judged, which is safe but slower. Without it: for good.
   */
  readonly sweepMarks?: (mask: number) => Promise<void>;
  /** Told why marks could not be swept; it is tried again with an update a minute later or more. */
  readonly onSweepFailure?: (error: unknown) => void;
  /** Called before each transaction; a test may end the process there. */
  readonly onTransaction?: (phase: Phase, script: string) => void;
}

export function createBackend(settings: BackendOptions): Backend {
  const options: DataplaneOptions = { ...defaultDataplaneOptions, ...settings.options };
  checkOptions(options);
  const tables = [options.table, `${options.table}_b`];
  /** What the kernel is believed to hold; undefined: not known. */
  let belief: TableState[] | undefined;
  /** The program that the belief is equal to. */
  let settled: NodeProgram | undefined;
  let queue: Promise<unknown> = Promise.resolve();

  const enqueue = <T>(task: () => Promise<T>): Promise<T> => {
    const result = queue.then(task);
    queue = result.catch(() => {});
    return result;
  };
  const must = async (script: string, what: string): Promise<NftResult> => {
    const result = await settings.nft(script);
    if (result.code === 0) return result;
    throw new NftError(`nft: ${what} failed: ${reasonOf(result)}`, {
      stderr: result.stderr,
      script,
    });
  };
  const list = async (table: string): Promise<string | undefined> => {
    try {
      return (await must(`list table inet ${table}\n`, `listing table ${table}`)).stdout;
    } catch (error) {
      if (error instanceof NftError && error.isNotFound()) return undefined;
      throw error;
    }
  };
  const readAll = async (): Promise<TableState[]> => {
    const found: TableState[] = [];
    for (const table of tables) {
      const listing = await list(table);
      if (listing !== undefined) found.push(readTable(table, listing));
    }
    return found;
  };

  const commit = async (
    transactions: readonly Transaction[],
    desired: NodeProgram,
    done: { phase: Phase; operations: number; milliseconds: number }[],
  ): Promise<void> => {
    const state = belief as TableState[];
    for (const transaction of transactions) {
      if (transaction.phase === 'collect') await pause(settings.collectAfterMs ?? 10);
      const script = transactionText(transaction, desired);
      settings.onTransaction?.(transaction.phase, script);
      const start = performance.now();
      await must(script, `${transaction.phase} transaction`);
      done.push({
        phase: transaction.phase,
        operations: transaction.operations.length,
        milliseconds: performance.now() - start,
      });
      let table = state.find((known) => known.table === transaction.table);
      if (transaction.operations.some((operation) => operation.kind === 'delete-table')) {
        if (table !== undefined) state.splice(state.indexOf(table), 1);
        continue;
      }
      if (table === undefined) {
        table = emptyTable(transaction.table);
        state.push(table);
      }
      applyOperations(table, transaction.operations);
    }
  };

  let sweeping = false;
  let sweepAgain = 0;
  /** Nobody marks connections while epochs have run out: what is swept stays so. */
  const sweepSoon = (desired: NodeProgram): void => {
    const { sweepMarks } = settings;
    if (sweepMarks === undefined || sweeping || Date.now() < sweepAgain) return;
    sweeping = true;
    const begin = async (): Promise<void> => {
      // Packets inside may still mark by the rules before.
      await pause(settings.collectAfterMs ?? 10);
      await sweepMarks(options.markMask);
      await enqueue(async () => {
        const current = belief?.find((state) => state.hooked);
        if (current?.epoch !== 0) return;
        const operations = [{ kind: 'epoch', from: 0, to: 1 }] as const;
        await commit([{ phase: 'switch', table: current.table, operations }], desired, []);
      });
    };
    begin()
      .catch((error: unknown) => {
        sweepAgain = Date.now() + 60_000;
        // If it was the commit that failed, the kernel is not what it was taken for.
        if (error instanceof NftError) belief = undefined;
        settings.onSweepFailure?.(error);
      })
      .finally(() => {
        sweeping = false;
      });
  };

  const applyNow = async (desired: NodeProgram, delta?: ProgramDelta): Promise<ApplyReport> => {
    if (desired.options.table !== options.table)
      throw new RangeError(
        `program for table ${desired.options.table} given to the backend of table ${options.table}`,
      );
    const done: { phase: Phase; operations: number; milliseconds: number }[] = [];
    let reread = false;
    let partial = false;
    let enforcedAt = 0;
    for (let attempt = 0; ; attempt++) {
      const known = belief !== undefined;
      const usable = known && delta !== undefined && delta.from === settled;
      settled = undefined;
      belief ??= await readAll();
      const firstEpoch = 1 + Math.floor(Math.random() * (maxEpoch(options) - 1));
      try {
        const transactions = plan(desired, belief, firstEpoch, usable ? delta : undefined);
        const last = transactions.findLastIndex(({ phase }) => phase !== 'collect') + 1;
        await commit(transactions.slice(0, last), desired, done);
        enforcedAt = Date.now();
        await commit(transactions.slice(last), desired, done);
        settled = desired;
        partial = usable;
        break;
      } catch (error) {
        // The kernel is not what it was taken for. Once more from what it really holds.
        belief = undefined;
        if (!(error instanceof NftError) || attempt > 0 || !known) throw error;
        reread = true;
      }
    }
    audits = options.mode === 'audit' || desired.audits === true;
    inUse = families.filter(
      (family) =>
        desired.podCidrs[family].length > 0 ||
        desired.dispatch.Ingress[family].size + desired.dispatch.Egress[family].size > 0,
    );
    const current = (belief ?? []).find((state) => state.hooked);
    if (current?.epoch === 0) sweepSoon(desired);
    return { transactions: done, epoch: current?.epoch ?? 0, reread, partial, enforcedAt };
  };

  const enforcing = async (): Promise<TableState | undefined> => {
    belief ??= await readAll();
    return belief.find((state) => state.hooked);
  };
  /** Whether the program in force counts what audited policies would deny. */
  let audits = true;
  /** Families that some rule of the program in force can deny in. */
  let inUse = families;
  const observed = (): string[] =>
    [false, true]
      // In audit mode nothing is denied; without audited policies nothing is audited.
      .filter((audited) => (audited ? audits : options.mode !== 'audit'))
      .flatMap((audited) =>
        (['Egress', 'Ingress'] as const).flatMap((direction) =>
          inUse.flatMap((family) =>
            [true, false].map((ported) => observedGroup(direction, family, ported, audited)),
          ),
        ),
      );

  return {
    apply: (desired, delta) => enqueue(() => applyNow(desired, delta)),
    drops: () =>
      enqueue(async () => {
        const state = await enforcing();
        if (state === undefined || !options.observe) return [];
        // One process each: of several sets named in one script, nft 1.0.6 loads only the last.
        const listings = await Promise.all(
          observed().map((set) =>
            must(`list set inet ${state.table} ${set}\n`, 'listing denied flows'),
          ),
        );
        return listings.flatMap(({ stdout }) => readDrops(stdout));
      }),
    denials: () =>
      enqueue(async () => {
        const state = await enforcing();
        if (state === undefined || !options.observe) return 0;
        const script = `list set inet ${state.table} ${observedTotal}\n`;
        const { stdout } = await must(script, 'listing denials');
        return [...stdout.matchAll(/counter packets (\d+)/g)].reduce(
          (sum, [, packets]) => sum + Number(packets),
          0,
        );
      }),
    resetDrops: () =>
      enqueue(async () => {
        const state = await enforcing();
        if (state === undefined || !options.observe) return;
        const script = observed()
          .map((set) => `flush set inet ${state.table} ${set}\n`)
          .join('');
        await must(script, 'resetting denied flows');
      }),
    read: () => enqueue(readAll),
    forget: () => {
      belief = undefined;
    },
    cleanup: () =>
      enqueue(async () => {
        belief = undefined;
        // Adding first makes the deletion succeed whether or not the table exists.
        for (const table of tables)
          await must([`add table inet ${table}`, ...unhookLines(table), ''].join('\n'), 'cleanup');
        await new Promise((resolve) => setTimeout(resolve, settings.collectAfterMs ?? 10));
        for (const table of tables)
          await must(`add table inet ${table}\ndelete table inet ${table}\n`, 'cleanup');
      }),
  };
}

/** nft's first line; when it says nothing, what became of it. */
function reasonOf({ code, stderr }: NftResult): string {
  const said = firstLine(stderr);
  if (said !== '') return said;
  if (code !== null) return `exit code ${code}`;
  // Seen with nft 1.0.6: it reads the sets of all tables before it changes one of them.
  return 'it was ended by a signal. nft crashes on sets of a newer nft, whichever table holds them: install a newer nft for podwall, or remove that table';
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] ?? '';
}
