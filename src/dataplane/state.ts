/**
 * What a table in the kernel holds, as believed after our own writes or as read back. Must not know
 * how a state is reached or brought about.
 */
import type { Family } from '../net/address.ts';
import type { Direction } from '../policy/compiled.ts';
import type { Rule } from './model.ts';

export interface ChainState {
  /** Names of groups, port maps and chains that the rules use. */
  readonly refs: ReadonlySet<string>;
  readonly ruleCount: number;
  /** Absent when the chain was read from the kernel. */
  readonly rules?: readonly Rule[];
}

export interface PortMapState {
  readonly refs: ReadonlySet<string>;
  readonly entries: ReadonlyMap<number, string>;
}

export interface GroupState {
  readonly family: Family;
  readonly kind: 'members' | 'ranges';
  readonly elements: Set<string>;
}

export interface TableState {
  readonly table: string;
  frameId: string | undefined;
  /** Whether base chains are in place, that is, whether packets are judged. */
  hooked: boolean;
  /** 0: no connection is taken for granted. */
  epoch: number;
  /** The pod ranges as written into the frame. */
  ranges: string;
  /** Rules per chain of the frame, when read from the kernel. */
  frameRules?: ReadonlyMap<string, number>;
  /** The two forms of a program are not those of one program: only what was read can show it. */
  formsDiffer?: boolean;
  /** What the form that reads packets dispatches; absent: the same as the other form. */
  packetDispatch?: TableState['dispatch'];
  readonly groups: Map<string, GroupState>;
  readonly chains: Map<string, ChainState>;
  readonly portMaps: Map<string, PortMapState>;
  readonly dispatch: Readonly<Record<Direction, Readonly<Record<Family, Map<string, string>>>>>;
  readonly locals: Readonly<Record<Family, Set<string>>>;
}

export function emptyTable(table: string): TableState {
  return {
    table,
    frameId: undefined,
    hooked: false,
    epoch: 0,
    ranges: '',
    groups: new Map(),
    chains: new Map(),
    portMaps: new Map(),
    dispatch: {
      Ingress: { 4: new Map(), 6: new Map() },
      Egress: { 4: new Map(), 6: new Map() },
    },
    locals: { 4: new Set(), 6: new Set() },
  };
}

function copyDispatch(dispatch: TableState['dispatch']): TableState['dispatch'] {
  const copy = (map: Map<string, string>): Map<string, string> => new Map(map);
  const { Ingress, Egress } = dispatch;
  return {
    Ingress: { 4: copy(Ingress[4]), 6: copy(Ingress[6]) },
    Egress: { 4: copy(Egress[4]), 6: copy(Egress[6]) },
  };
}

export function copyTable(state: TableState): TableState {
  return {
    ...state,
    ...(state.packetDispatch === undefined
      ? {}
      : { packetDispatch: copyDispatch(state.packetDispatch) }),
    groups: new Map(
      [...state.groups].map(([name, group]) => [
        name,
        { ...group, elements: new Set(group.elements) },
      ]),
    ),
    chains: new Map(state.chains),
    portMaps: new Map(state.portMaps),
    dispatch: copyDispatch(state.dispatch),
    locals: { 4: new Set(state.locals[4]), 6: new Set(state.locals[6]) },
  };
}

export function refsOf(rules: readonly Rule[]): Set<string> {
  const refs = new Set<string>();
  for (const rule of rules) {
    if (rule.kind === 'ports') refs.add(rule.map);
    else {
      refs.add(rule.target);
      for (const condition of rule.when) if (condition.kind === 'group') refs.add(condition.group);
    }
  }
  return refs;
}

/** Names of all objects that some packet can reach. */
export function reachable(state: TableState): Set<string> {
  const seen = new Set<string>();
  const visit = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    for (const ref of state.chains.get(name)?.refs ?? []) visit(ref);
    for (const ref of state.portMaps.get(name)?.refs ?? []) visit(ref);
  };
  for (const direction of ['Ingress', 'Egress'] as const)
    for (const family of [4, 6] as const)
      for (const target of state.dispatch[direction][family].values()) visit(target);
  return seen;
}
