/**
 * Splits the addresses of both families into atoms: groups of ranges that the same address sets
 * contain. Must not know of pods or policies.
 */
import type { AddressSet } from '../net/address-set.ts';
import type { Address, Family } from '../net/address.ts';

export interface Atom {
  readonly family: Family;
  readonly addresses: AddressSet;
  /** Indices into the given sets, sorted: exactly these contain the atom. */
  readonly sets: readonly number[];
}

export interface Atoms {
  readonly list: readonly Atom[];
  /** The atom an address is in. */
  atomOf(address: Address): number;
}

interface Sweep<T extends number | bigint> {
  readonly starts: T[];
  readonly groups: number[];
}

/** Exact: two addresses are in one atom if and only if the same sets contain them. */
export function atomsOf(sets: readonly AddressSet[]): Atoms {
  const list: { family: Family; v4: number[]; v6: bigint[]; sets: readonly number[] }[] = [];
  const v4 = sweep<number>(
    sets.map((set) => set.v4),
    0,
    0xffffffff,
    (value) => value + 1,
    (value) => value - 1,
    (active) => list.push({ family: 4, v4: [], v6: [], sets: active }) - 1,
    (group, lo, hi) => list[group]?.v4.push(lo, hi),
  );
  const v6 = sweep<bigint>(
    sets.map((set) => set.v6),
    0n,
    (1n << 128n) - 1n,
    (value) => value + 1n,
    (value) => value - 1n,
    (active) => list.push({ family: 6, v4: [], v6: [], sets: active }) - 1,
    (group, lo, hi) => list[group]?.v6.push(lo, hi),
  );
  return {
    list: list.map((atom) => ({
      family: atom.family,
      addresses: { v4: atom.v4, v6: atom.v6 },
      sets: atom.sets,
    })),
    atomOf: (address) => (address.family === 4 ? find(v4, address.value) : find(v6, address.value)),
  };
}

function find<T extends number | bigint>({ starts, groups }: Sweep<T>, value: T): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((starts[middle] as T) <= value) low = middle;
    else high = middle - 1;
  }
  return groups[low] as number;
}

/** Walks the bounds of all sets in order; ranges with the same sets around them share a group. */
function sweep<T extends number | bigint>(
  sets: readonly (readonly T[])[],
  first: T,
  last: T,
  next: (value: T) => T,
  before: (value: T) => T,
  open: (active: readonly number[]) => number,
  extend: (group: number, lo: T, hi: T) => void,
): Sweep<T> {
  const events: { at: T; set: number }[] = [];
  sets.forEach((intervals, set) => {
    for (let i = 0; i < intervals.length; i += 2) {
      events.push({ at: intervals[i] as T, set });
      const hi = intervals[i + 1] as T;
      if (hi !== last) events.push({ at: next(hi), set });
    }
  });
  events.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));

  const active = new Set<number>();
  const groups = new Map<string, number>();
  const result: Sweep<T> = { starts: [], groups: [] };
  let at = first;
  let i = 0;
  for (;;) {
    while (i < events.length && events[i]?.at === at) {
      const { set } = events[i++] as { set: number };
      if (!active.delete(set)) active.add(set);
    }
    const members = [...active].sort((a, b) => a - b);
    const key = members.join();
    let group = groups.get(key);
    if (group === undefined) groups.set(key, (group = open(members)));
    const end = i < events.length ? before((events[i] as { at: T }).at) : last;
    extend(group, at, end);
    result.starts.push(at);
    result.groups.push(group);
    if (i >= events.length) return result;
    at = (events[i] as { at: T }).at;
  }
}
