/**
 * From what the kernel holds to what it shall hold, as an ordered list of transactions. Pure. Must
 * not know how a transaction reaches the kernel.
 *
 * One nft transaction is not atomic for packets in flight: rules are those of the moment a packet
 * entered, set elements those of the moment of the lookup. Hence the order, each phase a commit of
 * its own: prepare what nobody reaches yet; switch, which only adds; revoke, which takes away and
 * moves the epoch; collect what nobody reaches any more. In each state between, a flow that old and
 * new program both deny is denied, and one that both allow is allowed.
 */
import type { Family } from '../net/address.ts';
import { judgeBothSidesAtOnce } from './both-sides.ts';
import { frameChains } from './model.ts';
import type { NodeProgram, ProgramDelta } from './model.ts';
import { applyOperations } from './operations.ts';
import type { Operation, Phase, Transaction } from './operations.ts';
import { inOrder } from './order.ts';
import { families, frameOf, maxEpoch, rangeChains, rangesKey } from './render.ts';
import { emptyTable, reachable, refsOf } from './state.ts';
import type { TableState } from './state.ts';

/** More elements than this in one transaction hold the kernel's lock too long (27 ms at 5,000). */
const MAX_ELEMENTS = 5000;

/**
 * Plans from `actual`, the tables found, to `desired`. Empty when nothing is to do.
 *
 * @param firstEpoch epoch for a table made where none was: not one that old connections may carry.
 * @param delta all that can differ; only when `actual` is known to be what `delta.from` asks for.
 */
export function plan(
  desired: NodeProgram,
  actual: readonly TableState[],
  firstEpoch: number,
  delta?: ProgramDelta,
): Transaction[] {
  const frameId = frameIdOf(desired);
  const [only] = actual;
  if (delta !== undefined && actual.length === 1 && only?.hooked && only.frameId === frameId)
    return planInPlace(desired, only, scopeOfDelta(delta));
  const hooked = actual.filter((state) => state.hooked);
  const sound = (state: TableState): boolean =>
    state.frameId === frameId && !isDamaged(desired, state);
  const base = hooked.find(sound) ?? hooked[0];
  const doomed = (keep: TableState | undefined): Transaction[] =>
    actual
      .filter((state) => state !== keep && (state.hooked || keep !== undefined))
      .flatMap(({ table, hooked: inUse }) => {
        const step = (kind: 'unhook' | 'delete-table'): Transaction => ({
          phase: 'collect',
          table,
          operations: [{ kind }],
        });
        // A packet inside goes by the old rules, but looks into maps that are gone at once.
        return inUse ? [step('unhook'), step('delete-table')] : [step('delete-table')];
      });
  if (base !== undefined && sound(base))
    return [...planInPlace(desired, base, fullScope(desired, base)), ...doomed(base)];

  // Another frame, a damaged one, or none: a second table beside the first. While both stand, both must agree.
  const { table } = desired.options;
  const free = base?.table === table ? `${table}_b` : table;
  const epoch = base === undefined ? firstEpoch : nextEpoch(base.epoch, desired);
  const leftover = actual.find((state) => state.table === free);
  return [
    ...(leftover === undefined
      ? []
      : [{ phase: 'prepare', table: free, operations: [{ kind: 'delete-table' }] } as Transaction]),
    ...planNewTable(desired, free, epoch),
    ...doomed(undefined).filter((transaction) => transaction.table !== free),
  ];
}

const frameIds = new WeakMap<NodeProgram['options'], { frame: NodeProgram['frame']; id: string }>();

/** The id of the frame; the texts that it is made of are long, and the same for most programs. */
function frameIdOf(program: NodeProgram): string {
  const { options, frame } = program;
  let known = frameIds.get(options);
  if (known?.frame !== frame) {
    known = { frame, id: frameOf(program, 1).id };
    frameIds.set(options, known);
  }
  return known.id;
}

/**
 * Whether somebody changed what podwall never changes: the frame, or something named by its content.
 * Only what was read from the kernel can tell. Members of sets and dispatch are mended in place.
 */
export function isDamaged(desired: NodeProgram, state: TableState): boolean {
  if (state.frameRules === undefined) return false;
  if (state.formsDiffer === true) return true;
  const { frameRules } = state;
  const written = [...frameOf(desired, state.epoch).body, ...frameOf(desired, state.epoch).hooks];
  for (const text of written) {
    const name = /^ {2}chain (\w+) \{/.exec(text)?.[1];
    if (name === undefined) continue;
    // One line each for the head and the end, and one for the hook of a base chain.
    const rules = text.includes('\n') ? text.split('\n').length - 2 : 0;
    const expected = name.startsWith('h_') ? rules - 1 : rules;
    // The pod ranges have a comparison of their own.
    if (name in rangeChains(desired)) continue;
    if (frameRules.get(name) !== expected) return true;
  }
  const wanted = rangeChains(desired);
  if (state.ranges === rangesKey(desired))
    for (const [name, rules] of Object.entries(wanted))
      if (frameRules.get(name) !== rules.length) return true;
  for (const chain of desired.chains.values()) {
    const held = state.chains.get(chain.name);
    if (held === undefined || held.rules !== undefined) continue;
    if (held.ruleCount !== chain.rules.length || !sameSet(held.refs, refsOf(chain.rules)))
      return true;
  }
  for (const map of desired.portMaps.values()) {
    const held = state.portMaps.get(map.name);
    if (held === undefined) continue;
    if (held.entries.size !== map.entries.size) return true;
    for (const [port, target] of map.entries) if (held.entries.get(port) !== target) return true;
  }
  for (const group of desired.groups.values()) {
    const held = state.groups.get(group.name);
    if (held !== undefined && group.kind === 'ranges' && !sameSet(held.elements, group.elements))
      return true;
  }
  return false;
}

function sameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  if (a.size !== b.size) return false;
  for (const item of a) if (!b.has(item)) return false;
  return true;
}

function planNewTable(desired: NodeProgram, table: string, epoch: number): Transaction[] {
  const state = emptyTable(table);
  const frame: Operation = { kind: 'frame', program: desired, epoch };
  applyOperations(state, [frame]);
  const rest = planInPlace(desired, state, fullScope(desired, state))
    .flatMap((transaction) => transaction.operations)
    .filter((operation) => operation.kind !== 'epoch' && operation.kind !== 'ranges');
  return [
    ...chunked('prepare', table, [frame, ...rest]),
    { phase: 'switch', table, operations: [{ kind: 'hooks', program: desired, epoch }] },
  ];
}

function nextEpoch(epoch: number, program: NodeProgram): number {
  // 0, no connection taken for granted, when there is no epoch left: the backend then sweeps marks.
  return epoch === 0 || epoch >= maxEpoch(program.options) ? 0 : epoch + 1;
}

/** Where a state and a program may differ, and what is known of both there. */
interface Scope {
  readonly groups: Iterable<readonly [name: string, elements: ReadonlySet<string> | 'all']>;
  readonly chains: Iterable<string>;
  readonly portMaps: Iterable<string>;
  /** Of local pods. */
  readonly addresses: Readonly<Record<Family, Iterable<string>>>;
  /** Whether packets may meet the group now. */
  reached(group: string): boolean;
  /** Whether members of the group only ever gain by being in it. */
  grants(group: string): boolean;
}

function fullScope(desired: NodeProgram, actual: TableState): Scope {
  const live = reachable(actual);
  const granting = grantingGroups(desired);
  const both = (a: Iterable<string>, b: Iterable<string>): Set<string> => {
    const names = new Set(a);
    for (const name of b) names.add(name);
    return names;
  };
  const addresses = (family: Family): Set<string> => {
    const found = new Set<string>();
    for (const maps of [
      desired.dispatch,
      actual.dispatch,
      actual.packetDispatch ?? actual.dispatch,
    ])
      for (const direction of directions)
        for (const address of maps[direction][family].keys()) found.add(address);
    for (const address of actual.locals[family]) found.add(address);
    return found;
  };
  return {
    groups: [...both(desired.groups.keys(), actual.groups.keys())].map((name) => [name, 'all']),
    chains: both(desired.chains.keys(), actual.chains.keys()),
    portMaps: both(desired.portMaps.keys(), actual.portMaps.keys()),
    addresses: { 4: addresses(4), 6: addresses(6) },
    reached: (group) => live.has(group),
    grants: (group) => granting.has(group),
  };
}

/** What a program in force holds is reached: whatever was not has been collected. */
function scopeOfDelta(delta: ProgramDelta): Scope {
  return { ...delta, reached: () => true, grants: (group) => delta.grants(group) };
}

const directions = ['Egress', 'Ingress'] as const;

function planInPlace(desired: NodeProgram, actual: TableState, scope: Scope): Transaction[] {
  const prepare: Operation[] = [];
  const add: Operation[] = [];
  const remove: Operation[] = [];
  const collect: Operation[] = [];
  let revokes = false;

  const unused: Operation[] = [];
  for (const [name, elements] of scope.groups) {
    const group = desired.groups.get(name);
    const held = actual.groups.get(name);
    if (group === undefined) {
      if (held !== undefined) unused.push({ kind: 'delete-group', name });
      continue;
    }
    if (held === undefined) {
      prepare.push({ kind: 'add-group', group });
      continue;
    }
    const added = [...(elements === 'all' ? group.elements : elements)].filter(
      (element) => group.elements.has(element) && !held.elements.has(element),
    );
    const gone = [...(elements === 'all' ? held.elements : elements)].filter(
      (element) => held.elements.has(element) && !group.elements.has(element),
    );
    // Not reached at present, so it can be brought up to date at once.
    const reached = scope.reached(name);
    if (added.length > 0) {
      (reached ? add : prepare).push({ kind: 'add-members', group: name, elements: added });
      if (reached && !scope.grants(name)) revokes = true;
    }
    if (gone.length > 0) {
      (reached ? remove : prepare).push({ kind: 'delete-members', group: name, elements: gone });
      if (reached) revokes = true;
    }
  }
  for (const name of scope.chains) {
    const chain = desired.chains.get(name);
    if (chain === undefined) {
      if (actual.chains.has(name)) collect.push({ kind: 'delete-chain', name });
    } else if (!actual.chains.has(name)) prepare.push({ kind: 'add-chain', chain });
  }
  for (const name of scope.portMaps) {
    const map = desired.portMaps.get(name);
    if (map === undefined) {
      if (actual.portMaps.has(name)) collect.push({ kind: 'delete-port-map', name });
    } else if (!actual.portMaps.has(name)) prepare.push({ kind: 'add-port-map', map });
  }
  collect.push(...unused);

  for (const family of families) {
    const added: string[] = [];
    const gone: string[] = [];
    for (const address of scope.addresses[family]) {
      const wanted = directions.some((one) => desired.dispatch[one][family].has(address));
      if (wanted === actual.locals[family].has(address)) continue;
      (wanted ? added : gone).push(address);
    }
    if (added.length > 0) add.push({ kind: 'add-locals', family, elements: added });
    for (const direction of directions)
      for (const address of scope.addresses[family]) {
        const to = desired.dispatch[direction][family].get(address);
        const from = actual.dispatch[direction][family].get(address);
        const packetFrom = (actual.packetDispatch ?? actual.dispatch)[direction][family].get(
          address,
        );
        if (from === to && packetFrom === to) continue;
        const point: Operation = {
          kind: 'point',
          direction,
          family,
          address,
          from,
          to,
          ...(packetFrom === from ? {} : { packetFrom: packetFrom ?? null }),
        };
        if (to === undefined) {
          remove.push(point);
          revokes = true;
          continue;
        }
        add.push(point);
        // A new address was denied until now, unless unknown pods are let pass.
        const moves = [from, packetFrom].some((one) => one !== undefined && one !== to);
        if (moves || desired.options.unknownPod === 'allow') revokes = true;
      }
    if (gone.length > 0) remove.push({ kind: 'delete-locals', family, elements: gone });
  }
  if (actual.ranges !== rangesKey(desired)) {
    add.push({ kind: 'ranges', program: desired });
    revokes = true;
  }
  if (revokes && actual.epoch !== 0) {
    const epoch: Operation = {
      kind: 'epoch',
      from: actual.epoch,
      to: nextEpoch(actual.epoch, desired),
    };
    // With the last change of the update: whoever is judged after it is judged by the new program.
    (remove.length > 0 ? remove : add).push(epoch);
  }

  const { table } = actual;
  const sides = judgeBothSidesAtOnce(desired, actual, { prepare, add, remove, collect });
  const steps = inOrder(desired, actual, sides);
  return [
    ...chunked('prepare', table, steps.prepare),
    ...chunked('switch', table, sides.restrict),
    ...steps.switches.flatMap((operations) => chunked('switch', table, operations)),
    ...chunked('revoke', table, steps.revoke),
    ...chunked('switch', table, steps.settle),
    ...(steps.collect.length > 0
      ? [{ phase: 'collect' as const, table, operations: steps.collect }]
      : []),
  ];
}

/** Groups whose members only ever gain by being in them. */
function grantingGroups(program: NodeProgram): Set<string> {
  const granting = new Set(program.groups.keys());
  for (const chain of program.chains.values())
    for (const rule of chain.rules) {
      if (rule.kind !== 'goto') continue;
      if (rule.target === frameChains.ingress || rule.target === frameChains.accept) continue;
      for (const condition of rule.when)
        if (condition.kind === 'group') granting.delete(condition.group);
    }
  return granting;
}

/** Splits long lists of element changes; objects stay together. */
function chunked(phase: Phase, table: string, operations: readonly Operation[]): Transaction[] {
  const transactions: Transaction[] = [];
  let current: Operation[] = [];
  let elements = 0;
  const flush = (): void => {
    if (current.length > 0) transactions.push({ phase, table, operations: current });
    current = [];
    elements = 0;
  };
  for (const operation of operations) {
    const size =
      operation.kind === 'add-members' || operation.kind === 'delete-members'
        ? operation.elements.length
        : operation.kind === 'add-group'
          ? operation.group.elements.size
          : operation.kind === 'point'
            ? 1
            : 0;
    // A prepared chain and the maps and sets it uses go together, whatever their size.
    if (phase !== 'prepare' && elements > 0 && elements + size > MAX_ELEMENTS) flush();
    current.push(operation);
    elements += size;
  }
  flush();
  return transactions;
}
