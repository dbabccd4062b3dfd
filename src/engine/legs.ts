/**
 * What one direction allows for a class, against every column at once: the set-wise form of
 * direction.ts. Must not know how columns were found.
 */
import type { CompiledRule, Direction } from '../policy/compiled.ts';
import { ALL, NONE } from './connection-table.ts';
import type { ConnectionId, ConnectionTable } from './connection-table.ts';
import { appended, EVERY, indexIn } from './column-sets.ts';
import type { ColumnSets, SetId } from './column-sets.ts';
import { isDenied } from './effects.ts';
import type { Effect } from './effects.ts';
import type { Settings } from './snapshot.ts';
import type { Truth } from './truth.ts';

export type { Effect } from './effects.ts';

/** A rule on the columns it matches. */
export interface Occurrence {
  /** Position in the list of policies. */
  readonly policy: number;
  readonly rule: CompiledRule;
  readonly effect: 'Accept' | 'Deny' | 'Pass';
  readonly columns: SetId;
  readonly connections: ConnectionId;
  readonly maybe: boolean;
}

/** A policy that selects a class, with its rules for a direction. */
export interface Step {
  readonly policy: number;
  readonly priority: number;
  readonly truth: Truth;
  readonly occurrences: readonly Occurrence[];
}

/** Everything that decides one direction for a class. */
export interface Program {
  readonly direction: Direction;
  readonly admin: readonly Step[];
  readonly isolating: readonly Step[];
  /** Whether some NetworkPolicy selects it for any direction (S293). */
  readonly selected: Truth;
  readonly baseline: readonly Step[];
  /** Tiers with policies that did not validate and might select it. */
  readonly invalid: {
    readonly admin: boolean;
    readonly networkPolicy: boolean;
    readonly baseline: boolean;
  };
}

/** S161: how the NetworkPolicy tier treats traffic that it may have no say in. */
export interface SetExemption {
  readonly choice: 'allow' | 'unknown';
  readonly truth: Truth;
}

export interface Leg {
  readonly program: Program;
  effectAt(column: number): Effect;
  /** A number per distinct list of matching rules. */
  cellAt(column: number): number;
  effectOf(cell: number): Effect;
  /** The rules that match some connection with the column, in order of evaluation. */
  occurrencesAt(column: number): readonly Occurrence[];
  exemptEffectAt(column: number, exemption: SetExemption): Effect;
  /** Whether every column is denied that is neither listed nor in one of the large sets. */
  readonly closed: boolean;
  /** Columns listed one by one, sorted. */
  readonly listed: Int32Array;
  /** Large sets: a column that is not listed is treated by which of these hold it. */
  readonly broad: readonly SetId[];
  /** Adds columns that are treated like others; see {@link ColumnSets.addLike}. */
  addLike(copies: ReadonlyMap<number, readonly number[]>, isCopied: Uint8Array): void;
}

/** The effect of {@link Program} where `matching` are the rules that match, in order. */
export function decideSets(
  program: Program,
  matching: ReadonlySet<Occurrence>,
  settings: Settings,
  table: ConnectionTable,
  exemption?: SetExemption,
): Effect {
  let canAllow: ConnectionId = NONE;
  let canDeny: ConnectionId = NONE;

  /** Walks a tier from `open` on; returns what may go on behind it. */
  const walk = (steps: readonly Step[], invalid: boolean, open: ConnectionId): ConnectionId => {
    if (invalid) {
      canAllow = table.union(canAllow, open);
      canDeny = table.union(canDeny, open);
    }
    let remaining = open;
    let passed: ConnectionId = NONE;
    for (let start = 0; start < steps.length;) {
      let end = start + 1;
      if (settings.equalPriority === 'unknown')
        while (end < steps.length && steps[end]?.priority === steps[start]?.priority) end++;
      let after = remaining;
      for (let i = start; i < end; i++) {
        const { truth, occurrences } = steps[i] as Step;
        let mine = remaining;
        /** What the policy's next rules see, if it selects the pod at all. */
        let own = remaining;
        for (const occurrence of occurrences) {
          if (!matching.has(occurrence)) continue;
          const hit = table.intersect(own, occurrence.connections);
          if (hit === NONE) continue;
          if (occurrence.effect === 'Accept') canAllow = table.union(canAllow, hit);
          else if (occurrence.effect === 'Deny') canDeny = table.union(canDeny, hit);
          else passed = table.union(passed, hit);
          if (occurrence.maybe) continue;
          own = table.subtract(own, hit);
          if (truth === 'yes') mine = table.subtract(mine, hit);
        }
        after = table.intersect(after, mine);
      }
      remaining = after;
      start = end;
    }
    return table.union(remaining, passed);
  };

  const open = walk(program.admin, program.invalid.admin, ALL);
  let rest = open;
  let isolated: Truth = program.invalid.networkPolicy ? 'maybe' : 'no';
  for (const { truth } of program.isolating)
    if (truth === 'yes') isolated = 'yes';
    else if (isolated === 'no') isolated = truth;
  if (isolated !== 'no') {
    let sure: ConnectionId = NONE;
    let possible: ConnectionId = program.invalid.networkPolicy ? ALL : NONE;
    for (const { truth, occurrences } of program.isolating)
      for (const occurrence of occurrences) {
        if (!matching.has(occurrence)) continue;
        possible = table.union(possible, occurrence.connections);
        if (!occurrence.maybe && truth === 'yes') sure = table.union(sure, occurrence.connections);
      }
    [sure, possible] = withOtherProtocols(sure, possible, settings, table);
    if (exemption !== undefined) {
      possible = ALL;
      if (exemption.choice === 'allow' && exemption.truth === 'yes') sure = ALL;
    }
    canAllow = table.union(canAllow, table.intersect(open, possible));
    canDeny = table.union(canDeny, table.subtract(open, sure));
    if (isolated === 'yes') rest = NONE;
  }
  if (rest !== NONE) {
    const elsewhere: Truth =
      program.selected === 'no' && program.invalid.networkPolicy ? 'maybe' : program.selected;
    const skip = settings.baselineSkip !== 'per-direction' && elsewhere !== 'no';
    if (skip) canAllow = table.union(canAllow, rest);
    if (!skip || settings.baselineSkip === 'unknown' || elsewhere === 'maybe') {
      const through = walk(program.baseline, program.invalid.baseline, rest);
      canAllow = table.union(canAllow, through);
    }
  }
  return {
    allowed: table.subtract(canAllow, canDeny),
    unknown: table.intersect(canAllow, canDeny),
  };
}

/** S200: what NetworkPolicy does about protocols other than TCP, UDP and SCTP is a setting. */
function withOtherProtocols(
  sure: ConnectionId,
  possible: ConnectionId,
  { otherProtocols }: Settings,
  table: ConnectionTable,
): [ConnectionId, ConnectionId] {
  if (otherProtocols === 'portless-rules') return [sure, possible];
  const set = (id: ConnectionId, other: boolean): ConnectionId =>
    table.idOf({ ...table.setOf(id), other });
  return [
    set(sure, otherProtocols === 'allow'),
    set(possible, otherProtocols === 'allow' || otherProtocols === 'unknown'),
  ];
}

/** Evaluates a program against all columns: listed ones now, the others by kind when asked. */
export function createLeg(
  program: Program,
  sets: ColumnSets,
  table: ConnectionTable,
  settings: Settings,
): Leg {
  const occurrences = [...program.admin, ...program.isolating, ...program.baseline].flatMap(
    (step) => step.occurrences,
  );
  const sparse = occurrences.map(({ columns }) => sets.isSparse(columns));
  const broad: SetId[] = [];
  for (const { columns } of occurrences)
    if (!sets.isSparse(columns) && !broad.includes(columns)) broad.push(columns);

  /** One per distinct list of matching rules. */
  const cells: { matching: readonly Occurrence[]; effect: Effect }[] = [];
  const cellIds = new Map<string, number>();
  const cellOf = (positions: readonly number[]): number => {
    const key = positions.join();
    let id = cellIds.get(key);
    if (id === undefined) {
      id = cells.length;
      cellIds.set(key, id);
      const matching = positions.map((position) => occurrences[position] as Occurrence);
      cells.push({ matching, effect: decideSets(program, new Set(matching), settings, table) });
    }
    return id;
  };

  const lists = new Map<number, number[]>();
  occurrences.forEach(({ columns }, position) => {
    if (sparse[position] !== true) return;
    for (const column of sets.columnsOf(columns)) {
      const list = lists.get(column);
      if (list === undefined) lists.set(column, [position]);
      else list.push(position);
    }
  });
  let listed: Int32Array = Int32Array.from(lists.keys()).sort();
  const broadPositions = [...occurrences.keys()].filter((position) => sparse[position] !== true);
  let listedCells: Int32Array = new Int32Array(listed.length);
  listed.forEach((column, i) => {
    const list = lists.get(column) as number[];
    const all =
      broadPositions.length === 0
        ? list
        : [
            ...list,
            ...broadPositions.filter((position) =>
              sets.has((occurrences[position] as Occurrence).columns, column),
            ),
          ].sort((a, b) => a - b);
    listedCells[i] = cellOf(all);
  });

  const byBroad = new Map<string, number>();
  const none = broad.includes(EVERY) ? -1 : cellOf([]);
  const cellAt = (column: number): number => {
    const at = listed.length === 0 ? -1 : indexIn(listed, column);
    if (at >= 0) return listedCells[at] as number;
    if (broad.length === 0) return none;
    let key = '';
    for (const id of broad) key += sets.has(id, column) ? '1' : '0';
    let cell = byBroad.get(key);
    if (cell === undefined) {
      cell = cellOf(
        broadPositions.filter((position) =>
          sets.has((occurrences[position] as Occurrence).columns, column),
        ),
      );
      byBroad.set(key, cell);
    }
    return cell;
  };

  return {
    program,
    broad,
    closed: none >= 0 && isDenied((cells[none] as (typeof cells)[number]).effect),
    get listed() {
      return listed;
    },
    cellAt,
    effectOf: (cell) => (cells[cell] as (typeof cells)[number]).effect,
    effectAt: (column) => (cells[cellAt(column)] as (typeof cells)[number]).effect,
    occurrencesAt: (column) => (cells[cellAt(column)] as (typeof cells)[number]).matching,
    exemptEffectAt: (column, exemption) =>
      decideSets(
        program,
        new Set((cells[cellAt(column)] as (typeof cells)[number]).matching),
        settings,
        table,
        exemption,
      ),
    addLike(copies, isCopied) {
      const added: { column: number; cell: number }[] = [];
      for (let i = 0; i < listed.length; i++) {
        const original = listed[i] as number;
        if (isCopied[original] === 1)
          for (const column of copies.get(original) ?? [])
            added.push({ column, cell: listedCells[i] as number });
      }
      if (added.length === 0) return;
      added.sort((a, b) => a.column - b.column);
      const cellIdsOfAll = new Int32Array(listed.length + added.length);
      cellIdsOfAll.set(listedCells);
      cellIdsOfAll.set(
        added.map(({ cell }) => cell),
        listed.length,
      );
      listed = appended(
        listed,
        added.map(({ column }) => column),
      );
      listedCells = cellIdsOfAll;
    },
  };
}
