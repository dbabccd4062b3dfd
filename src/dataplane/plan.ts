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
import type { Direction } from '../policy/compiled.ts';
import { frameChains } from './model.ts';
import type { AddressGroup, Chain, NodeProgram, PortMap } from './model.ts';
import {
  braces,
  declareChains,
  dispatchElement,
  dispatchMap,
  epochChains,
  epochGroup,
  families,
  forms,
  frameOf,
  groupText,
  inForm,
  localAddresses,
  localGroup,
  maxEpoch,
  portMapText,
  programChainText,
  rangeChains,
  rangesKey,
  selfGroup,
} from './render.ts';
import { emptyTable, reachable, refsOf } from './state.ts';
import type { TableState } from './state.ts';

export type Phase = 'prepare' | 'switch' | 'revoke' | 'collect';

export type Operation =
  | { readonly kind: 'add-group'; readonly group: AddressGroup }
  | { readonly kind: 'add-chain'; readonly chain: Chain }
  | { readonly kind: 'add-port-map'; readonly map: PortMap }
  | { readonly kind: 'add-members'; readonly group: string; readonly elements: readonly string[] }
  | {
      readonly kind: 'delete-members';
      readonly group: string;
      readonly elements: readonly string[];
    }
  | {
      readonly kind: 'point';
      readonly direction: Direction;
      readonly family: Family;
      readonly address: string;
      readonly from: string | undefined;
      /** Absent: the address is no local pod any more. */
      readonly to: string | undefined;
    }
  | { readonly kind: 'add-locals'; readonly family: Family; readonly elements: readonly string[] }
  | {
      readonly kind: 'delete-locals';
      readonly family: Family;
      readonly elements: readonly string[];
    }
  | { readonly kind: 'epoch'; readonly from: number; readonly to: number }
  | { readonly kind: 'ranges'; readonly program: NodeProgram }
  | { readonly kind: 'frame'; readonly program: NodeProgram; readonly epoch: number }
  | { readonly kind: 'hooks'; readonly program: NodeProgram; readonly epoch: number }
  | { readonly kind: 'delete-chain'; readonly name: string }
  | { readonly kind: 'delete-port-map'; readonly name: string }
  | { readonly kind: 'delete-group'; readonly name: string }
  | { readonly kind: 'unhook' }
  | { readonly kind: 'delete-table' };

export interface Transaction {
  readonly phase: Phase;
  readonly table: string;
  readonly operations: readonly Operation[];
}

/** More elements than this in one transaction hold the kernel's lock too long (27 ms at 5,000). */
const MAX_ELEMENTS = 5000;

/**
 * Plans from `actual`, the tables found, to `desired`. Empty when nothing is to do.
 *
 * @param firstEpoch epoch for a table made where none was: not one that old connections may carry.
 */
export function plan(
  desired: NodeProgram,
  actual: readonly TableState[],
  firstEpoch: number,
): Transaction[] {
  const frame = frameOf(desired, 1);
  const hooked = actual.filter((state) => state.hooked);
  const sound = (state: TableState): boolean =>
    state.frameId === frame.id && !isDamaged(desired, state);
  const base = hooked.find(sound) ?? hooked[0];
  const doomed = (keep: TableState | undefined): Transaction[] =>
    actual
      .filter((state) => state !== keep && (state.hooked || keep !== undefined))
      .flatMap(({ table, hooked }) => {
        const step = (kind: 'unhook' | 'delete-table'): Transaction => ({
          phase: 'collect',
          table,
          operations: [{ kind }],
        });
        // A packet inside goes by the old rules, but looks into maps that are gone at once.
        return hooked ? [step('unhook'), step('delete-table')] : [step('delete-table')];
      });
  if (base !== undefined && sound(base)) return [...planInPlace(desired, base), ...doomed(base)];

  // Another frame, a damaged one, or none: a second table beside the first. While both stand, both must agree.
  const { table } = desired.options;
  const free = base?.table === table ? `${table}_b` : table;
  const epoch = base === undefined ? firstEpoch : nextEpoch(base.epoch, desired) || 1;
  const leftover = actual.find((state) => state.table === free);
  return [
    ...(leftover === undefined
      ? []
      : [{ phase: 'prepare', table: free, operations: [{ kind: 'delete-table' }] } as Transaction]),
    ...planNewTable(desired, free, epoch),
    ...doomed(undefined).filter((transaction) => transaction.table !== free),
  ];
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
  const rest = planInPlace(desired, state)
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

function planInPlace(desired: NodeProgram, actual: TableState): Transaction[] {
  const live = reachable(actual);
  const prepare: Operation[] = [];
  const add: Operation[] = [];
  const remove: Operation[] = [];
  let revokes = false;
  const granting = grantingGroups(desired);

  for (const group of desired.groups.values()) {
    const held = actual.groups.get(group.name);
    if (held === undefined) {
      prepare.push({ kind: 'add-group', group });
      continue;
    }
    const added = [...group.elements].filter((element) => !held.elements.has(element));
    const gone = [...held.elements].filter((element) => !group.elements.has(element));
    // Not reached at present, so it can be brought up to date at once.
    const reached = live.has(group.name);
    if (added.length > 0) {
      (reached ? add : prepare).push({ kind: 'add-members', group: group.name, elements: added });
      if (reached && !granting.has(group.name)) revokes = true;
    }
    if (gone.length > 0) {
      (reached ? remove : prepare).push({
        kind: 'delete-members',
        group: group.name,
        elements: gone,
      });
      if (reached) revokes = true;
    }
  }
  for (const chain of desired.chains.values())
    if (!actual.chains.has(chain.name)) prepare.push({ kind: 'add-chain', chain });
  for (const map of desired.portMaps.values())
    if (!actual.portMaps.has(map.name)) prepare.push({ kind: 'add-port-map', map });

  for (const family of families) {
    const wanted = new Set(localAddresses(desired, family));
    const held = actual.locals[family];
    const added = [...wanted].filter((address) => !held.has(address));
    const gone = [...held].filter((address) => !wanted.has(address));
    if (added.length > 0) add.push({ kind: 'add-locals', family, elements: added });
    for (const direction of ['Egress', 'Ingress'] as const) {
      const to = desired.dispatch[direction][family];
      const from = actual.dispatch[direction][family];
      for (const [address, target] of to) {
        const present = from.get(address);
        if (present === target) continue;
        add.push({ kind: 'point', direction, family, address, from: present, to: target });
        // A new address was denied until now, unless unknown pods are let pass.
        if (present !== undefined || desired.options.unknownPod === 'allow') revokes = true;
      }
      for (const [address, target] of from)
        if (!to.has(address)) {
          remove.push({ kind: 'point', direction, family, address, from: target, to: undefined });
          revokes = true;
        }
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

  const collect: Operation[] = [];
  for (const name of actual.chains.keys())
    if (!desired.chains.has(name)) collect.push({ kind: 'delete-chain', name });
  for (const name of actual.portMaps.keys())
    if (!desired.portMaps.has(name)) collect.push({ kind: 'delete-port-map', name });
  for (const name of actual.groups.keys())
    if (!desired.groups.has(name)) collect.push({ kind: 'delete-group', name });

  const { table } = actual;
  return [
    ...chunked('prepare', table, prepare),
    ...chunked('switch', table, add),
    ...chunked('revoke', table, remove),
    ...(collect.length > 0 ? [{ phase: 'collect' as const, table, operations: collect }] : []),
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

// --- effect and text of operations ------------------------------------------------------------

/** Changes the belief as the kernel would be changed. */
export function applyOperations(state: TableState, operations: readonly Operation[]): void {
  for (const operation of operations)
    switch (operation.kind) {
      case 'add-group': {
        const { name, family, kind, elements } = operation.group;
        state.groups.set(name, { family, kind, elements: new Set(elements) });
        break;
      }
      case 'add-chain': {
        const { name, rules } = operation.chain;
        state.chains.set(name, { refs: refsOf(rules), ruleCount: rules.length, rules });
        break;
      }
      case 'add-port-map': {
        const { name, entries } = operation.map;
        state.portMaps.set(name, { refs: new Set(entries.values()), entries });
        break;
      }
      case 'add-members':
        for (const element of operation.elements)
          state.groups.get(operation.group)?.elements.add(element);
        break;
      case 'delete-members':
        for (const element of operation.elements)
          state.groups.get(operation.group)?.elements.delete(element);
        break;
      case 'point': {
        const map = state.dispatch[operation.direction][operation.family];
        if (operation.to === undefined) map.delete(operation.address);
        else map.set(operation.address, operation.to);
        break;
      }
      case 'add-locals':
        for (const element of operation.elements) state.locals[operation.family].add(element);
        break;
      case 'delete-locals':
        for (const element of operation.elements) state.locals[operation.family].delete(element);
        break;
      case 'epoch':
        state.epoch = operation.to;
        break;
      case 'ranges':
        state.ranges = rangesKey(operation.program);
        break;
      case 'frame':
        state.frameId = frameOf(operation.program, operation.epoch).id;
        state.epoch = operation.epoch;
        state.ranges = rangesKey(operation.program);
        break;
      case 'hooks':
        state.hooked = true;
        break;
      case 'unhook':
        state.hooked = false;
        break;
      case 'delete-chain':
        state.chains.delete(operation.name);
        break;
      case 'delete-port-map':
        state.portMaps.delete(operation.name);
        break;
      case 'delete-group':
        state.groups.delete(operation.name);
        break;
      case 'delete-table':
        break;
    }
}

/** Takes a table's base chains away, those that are there; packets inside find everything else. */
export function unhookLines(table: string): string[] {
  // Adding first makes the deletion succeed whether or not the chain exists.
  return ['h_forward', 'h_input', 'h_output'].flatMap((chain) =>
    ['add', 'flush', 'delete'].map((verb) => `${verb} chain inet ${table} ${chain}`),
  );
}

/** The nft script of a transaction: what one `nft -f` commits. */
export function transactionText(transaction: Transaction, program: NodeProgram): string {
  const { table, operations } = transaction;
  const blocks: string[] = [];
  const lines: string[] = [];
  const chains: Chain[] = [];
  let declared = '';
  const elements = (verb: 'add' | 'delete', set: string, list: readonly string[]): void => {
    lines.push(`${verb} element inet ${table} ${set} ${braces(list)}`);
  };
  const pairs = (list: readonly string[]): string[] => list.map((item) => `${item} . ${item}`);
  const self = program.frame.selfThroughService === 'allow';
  const rewrite = (chainRules: Readonly<Record<string, readonly string[]>>): void => {
    for (const [name, rules] of Object.entries(chainRules)) {
      lines.push(`flush chain inet ${table} ${name}`);
      for (const rule of rules) lines.push(`add rule inet ${table} ${name} ${rule}`);
    }
  };
  /** Map changes together, deletions first: nft takes a new value for a key only after its deletion. */
  const points = new Map<string, { gone: string[]; come: string[] }>();
  const both = (name: string): string[] => forms.map((form) => inForm(form, name));

  for (const operation of operations)
    switch (operation.kind) {
      case 'frame': {
        const frame = frameOf(operation.program, operation.epoch);
        blocks.push(...frame.body);
        lines.push(`add element inet ${table} ${epochGroup} { ${operation.epoch} }`);
        break;
      }
      case 'hooks':
        blocks.push(...frameOf(operation.program, operation.epoch).hooks);
        break;
      case 'add-group':
        blocks.push(groupText(operation.group));
        break;
      case 'add-chain':
        chains.push(operation.chain);
        break;
      case 'add-port-map':
        blocks.push(portMapText(operation.map));
        break;
      case 'add-members':
        elements('add', operation.group, operation.elements);
        break;
      case 'delete-members':
        elements('delete', operation.group, operation.elements);
        break;
      case 'add-locals':
        elements('add', localGroup(operation.family), operation.elements);
        if (self) elements('add', selfGroup(operation.family), pairs(operation.elements));
        break;
      case 'delete-locals':
        elements('delete', localGroup(operation.family), operation.elements);
        if (self) elements('delete', selfGroup(operation.family), pairs(operation.elements));
        break;
      case 'point': {
        for (const form of forms) {
          const map = dispatchMap(operation.direction, operation.family, form);
          const entry = points.get(map) ?? { gone: [], come: [] };
          if (operation.from !== undefined) entry.gone.push(operation.address);
          if (operation.to !== undefined)
            entry.come.push(dispatchElement(operation.address, operation.to, form));
          points.set(map, entry);
        }
        break;
      }
      case 'epoch':
        rewrite(epochChains(program.options, operation.to));
        elements('delete', epochGroup, [String(operation.from)]);
        elements('add', epochGroup, [String(operation.to)]);
        break;
      case 'ranges':
        rewrite(rangeChains(operation.program));
        break;
      case 'delete-chain':
        for (const name of both(operation.name)) lines.push(`flush chain inet ${table} ${name}`);
        break;
      case 'delete-port-map':
      case 'delete-group':
        break;
      case 'unhook':
        lines.push(...unhookLines(table));
        break;
      case 'delete-table':
        lines.push(`delete table inet ${table}`);
        break;
    }
  if (chains.length > 0) declared = declareChains(chains.map(({ name }) => name));
  blocks.push(...chains.flatMap((chain) => forms.map((form) => programChainText(chain, form))));
  for (const [map, { gone, come }] of points) {
    if (gone.length > 0) elements('delete', map, gone);
    if (come.length > 0) elements('add', map, come);
  }
  // Flushed above, the chains use nothing any more; maps may still name chains, so they go first.
  for (const operation of operations)
    if (operation.kind === 'delete-port-map')
      for (const name of both(operation.name)) lines.push(`delete map inet ${table} ${name}`);
  for (const operation of operations)
    if (operation.kind === 'delete-chain')
      for (const name of both(operation.name)) lines.push(`delete chain inet ${table} ${name}`);
  for (const operation of operations)
    if (operation.kind === 'delete-group') lines.push(`delete set inet ${table} ${operation.name}`);
  const block =
    blocks.length > 0 ? `table inet ${table} {\n${declared}${blocks.join('\n')}\n}\n` : '';
  return block + lines.map((line) => `${line}\n`).join('');
}
