/**
 * The operations that transactions are made of: their effect on a believed state, and their text for
 * nft. Must not know why or in which order they are done.
 */
import type { Family } from '../net/address.ts';
import type { Direction } from '../policy/compiled.ts';
import type { AddressGroup, Chain, NodeProgram, PortMap } from './model.ts';
import {
  braces,
  declareChains,
  dispatchElement,
  dispatchMap,
  epochChains,
  epochGroup,
  forms,
  frameOf,
  groupText,
  inForm,
  localGroup,
  portMapText,
  programChainText,
  rangeChains,
  rangesKey,
  selfGroup,
} from './render.ts';
import { refsOf } from './state.ts';
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
      /** Where the form that reads packets points, if not there, too; `null`: nowhere. */
      readonly packetFrom?: string | null;
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
        for (const dispatch of [state.dispatch, state.packetDispatch]) {
          const map = dispatch?.[operation.direction][operation.family];
          if (operation.to === undefined) map?.delete(operation.address);
          else map?.set(operation.address, operation.to);
        }
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
          const { from, packetFrom = from } = operation;
          const present = (form === 'packet' ? packetFrom : from) ?? undefined;
          if (present !== undefined) entry.gone.push(operation.address);
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
