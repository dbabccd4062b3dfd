/**
 * Keeps both sides of a connection at one moment while an update goes on: an address whose program
 * changes goes by what its old AND its new program allow until everything else has changed. Pure.
 * Must not know why programs change.
 *
 * Without it, one label that turns "egress denied, ingress allowed" into the opposite lets packets
 * through between the commits: the pod's egress is already new, the peer's set of it still old.
 */
import type { Direction } from '../policy/compiled.ts';
import { frameChains } from './model.ts';
import type { Chain, NodeProgram, PortMap, Rule } from './model.ts';
import { nameOf } from './naming.ts';
import type { Operation } from './operations.ts';
import { refsOf } from './state.ts';
import type { TableState } from './state.ts';

/** The operations of an update, by phase. */
export interface UpdateOperations {
  readonly prepare: readonly Operation[];
  /** Before `add`, in a commit of its own: whoever was judged by the old egress meets no new set yet. */
  readonly restrict: readonly Operation[];
  readonly add: readonly Operation[];
  readonly remove: readonly Operation[];
  /** After `remove`, in a commit of its own: programs that only now may say all they say. */
  readonly settle: readonly Operation[];
  readonly collect: readonly Operation[];
}

type Point = Operation & { readonly kind: 'point' };

/**
 * The kernel refuses chains more than 15 deep, counted over every way that it can imagine: up to 5 of
 * the frame before a program, 1 between the two and 1 behind. A program is 1 to 3 deep, and 1 more
 * where its end is a chain that goes on.
 */
const MAX_DEPTH = 4;
const goingOn: ReadonlySet<string> = new Set([
  frameChains.auditEgress,
  frameChains.auditIngress,
  frameChains.exemptEgress,
  frameChains.exemptIngress,
  frameChains.exemptAuditEgress,
  frameChains.exemptAuditIngress,
]);

const passing: Readonly<Record<Direction, readonly string[]>> = {
  Egress: [frameChains.ingress, frameChains.auditEgress],
  Ingress: [frameChains.accept, frameChains.auditIngress],
};
const denying: Readonly<Record<Direction, string>> = {
  Egress: frameChains.denyEgress,
  Ingress: frameChains.denyIngress,
};

/**
 * Puts the detour into an update where it can matter: where the other side of the address's
 * connections changes too. It is left out where the old program would lose what the new one allows
 * by another set (two objects changed at once), and where chains would become too deep.
 */
export function judgeBothSidesAtOnce(
  desired: NodeProgram,
  actual: TableState,
  update: Omit<UpdateOperations, 'restrict' | 'settle'>,
): UpdateOperations {
  const plain: UpdateOperations = { ...update, restrict: [], settle: [] };
  const moved = update.add.filter(
    (operation): operation is Point =>
      operation.kind === 'point' && operation.from !== undefined && operation.to !== undefined,
  );
  if (moved.length === 0) return plain;
  const other = { Egress: 'Ingress', Ingress: 'Egress' } as const;
  const directions = new Set(moved.map(({ direction }) => direction));
  const members = new Set<string>();
  /** What groups in use lose and gain, by group. */
  const losses = new Map<string, readonly string[]>();
  const gains = new Map<string, readonly string[]>();
  for (const operation of [...update.add, ...update.remove]) {
    if (operation.kind !== 'add-members' && operation.kind !== 'delete-members') continue;
    for (const element of operation.elements) members.add(element);
    (operation.kind === 'add-members' ? gains : losses).set(operation.group, operation.elements);
  }
  const candidates = moved.filter(
    ({ direction, address }) => directions.has(other[direction]) || members.has(address),
  );
  if (candidates.length === 0) return plain;

  const before = createWalk(referencesIn(actual));
  const after = createWalk(referencesOf(desired));
  const samePod = (a: string, b: string): boolean => {
    const pod = desired.pods?.get(a);
    return a === b || (pod !== undefined && pod === desired.pods?.get(b));
  };
  const keepsItsOwn = ({ address, from, to }: Point): boolean => {
    const own = (
      walk: Walk,
      chain: string | undefined,
      changes: ReadonlyMap<string, readonly string[]>,
    ): boolean =>
      changes.size === 0 ||
      walk
        .reached(chain as string)
        .every((name) => (changes.get(name) ?? []).every((one) => samePod(one, address)));
    // Members that the old program gains and the new one loses would pass both; `order.ts` sees to them.
    return (
      own(before, from, losses) &&
      own(after, to, gains) &&
      (own(before, from, gains) || own(after, to, losses))
    );
  };
  const detours = createDetours(desired, before, after);

  const targets = new Map<Point, string>();
  for (const point of candidates) {
    if (!keepsItsOwn(point)) continue;
    const meanwhile = detours.of(point.direction, point.from as string, point.to as string);
    if (meanwhile !== undefined) targets.set(point, meanwhile);
  }
  const restrict: Operation[] = [];
  const add: Operation[] = [];
  const settle: Operation[] = [];
  for (const operation of update.add) {
    const meanwhile = targets.get(operation as Point);
    if (meanwhile === undefined) {
      add.push(operation);
      continue;
    }
    const point = operation as Point;
    if (meanwhile !== point.from) restrict.push({ ...point, to: meanwhile });
    if (meanwhile === point.to) continue;
    // Once restricted, both forms point to the same.
    const { packetFrom: _, ...rest } = point;
    settle.push({ ...(meanwhile === point.from ? point : rest), from: meanwhile });
  }
  const { chains, portMaps } = detours;
  const leaving = new Set(
    update.collect.flatMap((operation) => ('name' in operation ? [operation.name] : [])),
  );
  const isNew = ({ name }: { name: string }): boolean =>
    !desired.chains.has(name) &&
    !desired.portMaps.has(name) &&
    !actual.chains.has(name) &&
    !actual.portMaps.has(name);
  const temporary = ({ name }: { name: string }): boolean =>
    !desired.chains.has(name) && !desired.portMaps.has(name) && !leaving.has(name);
  return {
    prepare: [
      ...update.prepare,
      ...chains.filter(isNew).map((chain): Operation => ({ kind: 'add-chain', chain })),
      ...portMaps.filter(isNew).map((map): Operation => ({ kind: 'add-port-map', map })),
    ],
    restrict,
    add,
    remove: update.remove,
    settle,
    collect: [
      ...chains.filter(temporary).map(({ name }): Operation => ({ kind: 'delete-chain', name })),
      ...portMaps
        .filter(temporary)
        .map(({ name }): Operation => ({ kind: 'delete-port-map', name })),
      ...update.collect,
    ],
  };
}

interface Walk {
  /** Everything that packets can reach from a chain, itself included. */
  reached(chain: string): readonly string[];
  /** How many chains follow each other at most. */
  depth(chain: string): number;
}

/** What a chain or map uses, and whether the name is a chain's. */
interface References {
  of(name: string): Iterable<string>;
  isChain(name: string): boolean;
}

function referencesIn(state: TableState): References {
  return {
    of: (name) => state.chains.get(name)?.refs ?? state.portMaps.get(name)?.refs ?? [],
    isChain: (name) => state.chains.has(name),
  };
}

function referencesOf(program: NodeProgram): References {
  return {
    of: (name) => {
      const chain = program.chains.get(name);
      return chain === undefined
        ? (program.portMaps.get(name)?.entries.values() ?? [])
        : refsOf(chain.rules);
    },
    isChain: (name) => program.chains.has(name),
  };
}

function createWalk(refs: References): Walk {
  const known = new Map<string, readonly string[]>();
  const depth = (name: string): number => {
    const own = refs.isChain(name) || goingOn.has(name) ? 1 : 0;
    let deepest = 0;
    for (const ref of refs.of(name)) deepest = Math.max(deepest, depth(ref));
    return own + deepest;
  };
  return {
    depth,
    reached: (chain) => {
      let found = known.get(chain);
      if (found === undefined) {
        const seen = new Set<string>();
        const visit = (name: string): void => {
          if (seen.has(name)) return;
          seen.add(name);
          for (const ref of refs.of(name)) visit(ref);
        };
        visit(chain);
        known.set(chain, (found = [...seen]));
      }
      return found;
    },
  };
}

interface Detours {
  /** The chain that allows what both allow; undefined when there can be none. */
  of(direction: Direction, from: string, to: string): string | undefined;
  /** Chains and maps that it took. */
  readonly chains: readonly Chain[];
  readonly portMaps: readonly PortMap[];
}

/** A detour is a copy of the new program in which "allowed" leads into the old one. */
function createDetours(desired: NodeProgram, before: Walk, after: Walk): Detours {
  const chains = new Map<string, Chain>();
  const portMaps = new Map<string, PortMap>();
  const known = new Map<string, string | undefined>();

  const copy = (direction: Direction, name: string, from: string): string => {
    if (passing[direction].includes(name)) return from;
    const map = desired.portMaps.get(name);
    if (map !== undefined) {
      const entries = new Map(
        [...map.entries].map(([port, target]) => [port, copy(direction, target, from)]),
      );
      const copied = nameOf('p', JSON.stringify([...entries]));
      portMaps.set(copied, { name: copied, entries });
      return copied;
    }
    const chain = desired.chains.get(name);
    if (chain === undefined) return name;
    const rules = chain.rules.map((rule): Rule =>
      rule.kind === 'ports'
        ? { ...rule, map: copy(direction, rule.map, from) }
        : { ...rule, target: copy(direction, rule.target, from) },
    );
    const copied = nameOf(name.slice(0, 1), JSON.stringify(rules));
    chains.set(copied, { name: copied, rules, about: `${chain.about}, and as before` });
    return copied;
  };
  return {
    of: (direction, from, to) => {
      const key = `${direction} ${from} ${to}`;
      if (known.has(key)) return known.get(key);
      let meanwhile: string | undefined;
      if (to === denying[direction] || passing[direction].includes(from)) meanwhile = to;
      else if (from === denying[direction] || passing[direction].includes(to)) meanwhile = from;
      else if (before.depth(from) + after.depth(to) <= MAX_DEPTH)
        meanwhile = copy(direction, to, from);
      known.set(key, meanwhile);
      return meanwhile;
    },
    get chains() {
      return [...chains.values()];
    },
    get portMaps() {
      return [...portMaps.values()];
    },
  };
}
