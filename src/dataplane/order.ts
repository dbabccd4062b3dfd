/**
 * The order in which the changes of one update are committed, so that no packet meets a mixture that
 * is laxer than both ends: new rules with members that are about to go, or old rules with members
 * that only the new rules were meant for. Pure. Must not know how changes are found or written.
 */
import type { Family } from '../net/address.ts';
import type { AddressGroup, Chain, NodeProgram, PortMap, Rule } from './model.ts';
import { nameOf } from './naming.ts';
import type { Operation } from './operations.ts';
import { refsOf } from './state.ts';
import type { TableState } from './state.ts';

/** What an update does, by what it does to packets. */
export interface Changes {
  /** Makes what nobody reaches yet. */
  readonly prepare: readonly Operation[];
  /** Adds, and points addresses elsewhere. */
  readonly add: readonly Operation[];
  readonly remove: readonly Operation[];
  /** What waits until all else has changed. */
  readonly settle: readonly Operation[];
  readonly collect: readonly Operation[];
}

/** Commits in this order; each list is at least one, empty ones are none. */
export interface Steps {
  readonly prepare: readonly Operation[];
  readonly switches: readonly (readonly Operation[])[];
  readonly revoke: readonly Operation[];
  readonly settle: readonly Operation[];
  readonly collect: readonly Operation[];
}

type Point = Operation & { readonly kind: 'point' };
/** Members that come or go, by group. */
type Moves = ReadonlyMap<string, ReadonlySet<string>>;

/**
 * Usually: what is added and pointed elsewhere in one commit, what is taken away in another. But when
 * an update both points an address to another program and changes members of a set that this program
 * reads, each order of the two is laxer in between than both ends, or stricter. Then the address is
 * pointed to a copy of its new program with the final sets first, and to the program itself at the end.
 */
export function inOrder(desired: NodeProgram, actual: TableState, changes: Changes): Steps {
  const { prepare, add, remove, settle: waiting, collect } = changes;
  const plain: Steps = { prepare, switches: [add], revoke: remove, settle: waiting, collect };
  const points = add.filter(isPoint);
  const departures = remove.filter(isPoint);
  const gained = movesOf(add, 'add-members');
  const lost = movesOf(remove, 'delete-members');
  if (points.length + departures.length === 0 || gained.size + lost.size === 0) return plain;

  const oldReach = reachOf(
    (name) => actual.chains.get(name)?.refs ?? actual.portMaps.get(name)?.refs,
  );
  const newReach = reachOf((name) => refsIn(desired, name));
  const meets = (reach: ReadonlySet<string>, moves: Moves, own: string): boolean => {
    for (const name of reach)
      for (const member of moves.get(name) ?? [])
        // A pod's own address in a set that it reads itself admits itself only.
        if (member !== own) return true;
    return false;
  };
  // A packet inside may have found the old program, and look into a set after the commit.
  const apart = points.some(
    ({ from, address }) => from !== undefined && meets(oldReach(from), gained, address),
  );
  const frozen = new Set<string>();
  const first = new Map<Operation, Operation>();
  const settle: Operation[] = [...waiting];
  const late = new Set<Operation>();
  for (const point of points) {
    const { from, to, address } = point;
    if (to === undefined) continue;
    const reach = newReach(to);
    const moves = meets(reach, lost, address) || (apart && meets(reach, gained, address));
    if (!moves) continue;
    // A new address can wait: it was denied until now, or let pass as unknown.
    if (from === undefined) late.add(point);
    else frozen.add(to);
  }
  // Denied from now on whatever its program says; later, it would admit new members for a moment.
  const early = new Set<Operation>(
    desired.options.unknownPod === 'allow'
      ? []
      : departures.filter(
          ({ from, address }) => from !== undefined && meets(oldReach(from), gained, address),
        ),
  );
  if (!apart && frozen.size + late.size + early.size === 0) return plain;

  const copies = freeze(desired, frozen, new Set([...gained.keys(), ...lost.keys()]), actual);
  for (const point of points) {
    const copy = point.from === undefined ? undefined : copies.names.get(point.to ?? '');
    if (copy === undefined) continue;
    first.set(point, { ...point, to: copy });
    // By then both forms point to the copy.
    const { packetFrom: _, ...rest } = point;
    settle.push({ ...rest, from: copy });
  }
  settle.push(...late);
  const now = [...early, ...add.filter((operation) => !late.has(operation))];
  const joins = (operation: Operation): boolean => operation.kind === 'add-members';
  const epochs = (operation: Operation): boolean => operation.kind === 'epoch';
  const others = now.filter((operation) => !joins(operation) && !epochs(operation));
  const pointed = others.map((operation) => first.get(operation) ?? operation);
  const joined = now.filter(joins);
  const epoch = [...add, ...remove].filter(epochs);
  // Unknown pods may be let pass: whoever was, before a late address was known, is judged again.
  const last = late.size > 0 && desired.options.unknownPod === 'allow';
  const taken = remove.filter((operation) => !epochs(operation) && !early.has(operation));
  const withSets = last || taken.length > 0 ? [] : epoch;
  return {
    prepare: [...prepare, ...copies.made],
    switches: apart ? [pointed, [...joined, ...withSets]] : [[...pointed, ...joined, ...withSets]],
    revoke: last || taken.length === 0 ? taken : [...taken, ...epoch],
    settle: last ? [...settle, ...epoch] : settle,
    collect: [...collect, ...copies.unmade],
  };
}

function isPoint(operation: Operation): operation is Point {
  return operation.kind === 'point';
}

function movesOf(operations: readonly Operation[], kind: 'add-members' | 'delete-members'): Moves {
  const moves = new Map<string, Set<string>>();
  for (const operation of operations)
    if (operation.kind === kind) moves.set(operation.group, new Set(operation.elements));
  return moves;
}

/** All names that a chain leads to, itself included; remembers what it has found. */
function reachOf(
  refs: (name: string) => Iterable<string> | undefined,
): (name: string) => ReadonlySet<string> {
  const known = new Map<string, ReadonlySet<string>>();
  return (start) => {
    const held = known.get(start);
    if (held !== undefined) return held;
    const seen = new Set<string>();
    const visit = (name: string): void => {
      if (seen.has(name)) return;
      seen.add(name);
      for (const ref of refs(name) ?? []) visit(ref);
    };
    visit(start);
    known.set(start, seen);
    return seen;
  };
}

function refsIn(program: NodeProgram, name: string): Iterable<string> | undefined {
  const chain = program.chains.get(name);
  return chain === undefined ? program.portMaps.get(name)?.entries.values() : refsOf(chain.rules);
}

/** Copies of programs that read copies of the moving sets, named by their content like all that never changes. */
function freeze(
  program: NodeProgram,
  targets: ReadonlySet<string>,
  moving: ReadonlySet<string>,
  actual: TableState,
): {
  readonly names: ReadonlyMap<string, string>;
  readonly made: readonly Operation[];
  readonly unmade: readonly Operation[];
} {
  const names = new Map<string, string>();
  const groups = new Map<string, AddressGroup>();
  const chains = new Map<string, Chain>();
  const portMaps = new Map<string, PortMap>();
  const copyOf = (name: string): string => {
    const held = names.get(name);
    if (held !== undefined) return held;
    const copy = makeCopy(name);
    names.set(name, copy);
    return copy;
  };
  const makeCopy = (name: string): string => {
    const group = program.groups.get(name);
    if (group !== undefined) {
      if (!moving.has(name)) return name;
      const copy = frozenName(group.family, group.elements);
      groups.set(copy, { ...group, name: copy });
      return copy;
    }
    const chain = program.chains.get(name);
    if (chain !== undefined) {
      const rules = chain.rules.map(copyRule);
      if (chain.rules.every((rule, index) => rule === rules[index])) return name;
      const copy = nameOf(prefixOf(name), JSON.stringify(rules));
      chains.set(copy, { ...chain, name: copy, rules });
      return copy;
    }
    const map = program.portMaps.get(name);
    if (map === undefined) return name;
    const entries = new Map([...map.entries].map(([port, target]) => [port, copyOf(target)]));
    if ([...map.entries].every(([port, target]) => entries.get(port) === target)) return name;
    const copy = nameOf(prefixOf(name), JSON.stringify([...entries]));
    portMaps.set(copy, { name: copy, entries });
    return copy;
  };
  const copyRule = (rule: Rule): Rule => {
    if (rule.kind === 'ports') {
      const map = copyOf(rule.map);
      return map === rule.map ? rule : { ...rule, map };
    }
    const target = copyOf(rule.target);
    const when = rule.when.map((condition) => {
      if (condition.kind !== 'group') return condition;
      const group = copyOf(condition.group);
      return group === condition.group ? condition : { ...condition, group };
    });
    const same = target === rule.target && rule.when.every((one, index) => one === when[index]);
    return same ? rule : { ...rule, target, when };
  };
  for (const target of targets) copyOf(target);

  const made: Operation[] = [];
  const unmade: Operation[] = [];
  // Content-named, so one that is there already is what is needed; what the new program has, too, stays.
  for (const group of groups.values())
    if (!actual.groups.has(group.name) && !program.groups.has(group.name))
      made.push({ kind: 'add-group', group });
  for (const chain of chains.values())
    if (!actual.chains.has(chain.name) && !program.chains.has(chain.name))
      made.push({ kind: 'add-chain', chain });
  for (const map of portMaps.values())
    if (!actual.portMaps.has(map.name) && !program.portMaps.has(map.name))
      made.push({ kind: 'add-port-map', map });
  // What was there before and is not wanted is collected anyway.
  for (const operation of made) {
    if (operation.kind === 'add-chain')
      unmade.push({ kind: 'delete-chain', name: operation.chain.name });
    if (operation.kind === 'add-port-map')
      unmade.push({ kind: 'delete-port-map', name: operation.map.name });
    if (operation.kind === 'add-group')
      unmade.push({ kind: 'delete-group', name: operation.group.name });
  }
  for (const [name, copy] of names) if (name === copy) names.delete(name);
  return { names, made, unmade };
}

/** `e_…` gives `e`. */
function prefixOf(name: string): string {
  return name.slice(0, name.indexOf('_'));
}

/** As sets that never change are named everywhere. */
function frozenName(family: Family, elements: ReadonlySet<string>): string {
  return nameOf(`f${family}`, [...elements].sort().join(','));
}
