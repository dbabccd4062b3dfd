/**
 * Sets of port numbers 1–65535 as canonical intervals. Must not know of protocols or names of ports.
 */
import {
  combineNumbers,
  containsNumber,
  equalLists,
  INTERSECT,
  SUBTRACT,
  UNION,
} from './intervals.ts';

/** Flat inclusive intervals `lo,hi,lo,hi…` over 1–65535, sorted, disjoint, not adjacent. */
export type PortSet = readonly number[];

export const allPorts: PortSet = Object.freeze([1, 65535]);
export const noPorts: PortSet = Object.freeze([]);

/** Ports from `lo` to `hi` inclusive, cut to 1–65535; empty when `hi` is below `lo`. */
export function portRange(lo: number, hi: number): PortSet {
  const from = Math.max(1, lo);
  const to = Math.min(65535, hi);
  if (from > to) return noPorts;
  return from === 1 && to === 65535 ? allPorts : [from, to];
}

export function unionPorts(a: PortSet, b: PortSet): PortSet {
  if (a.length === 0 || b === allPorts || a === b) return b;
  if (b.length === 0 || a === allPorts) return a;
  return interned(combineNumbers(a, b, UNION));
}

export function intersectPorts(a: PortSet, b: PortSet): PortSet {
  if (a.length === 0 || b === allPorts || a === b) return a;
  if (b.length === 0 || a === allPorts) return b;
  return interned(combineNumbers(a, b, INTERSECT));
}

export function subtractPorts(a: PortSet, b: PortSet): PortSet {
  if (a.length === 0 || b.length === 0) return a;
  if (b === allPorts || a === b) return noPorts;
  return interned(combineNumbers(a, b, SUBTRACT));
}

export function complementPorts(a: PortSet): PortSet {
  return subtractPorts(allPorts, a);
}

export function hasPort(set: PortSet, port: number): boolean {
  return containsNumber(set, port);
}

export function equalPorts(a: PortSet, b: PortSet): boolean {
  return equalLists(a, b);
}

/** `80,443,8000-8080`; `none` for the empty set, `1-65535` for all. */
export function formatPorts(set: PortSet): string {
  if (set.length === 0) return 'none';
  const parts: string[] = [];
  for (let i = 0; i < set.length; i += 2) {
    const lo = set[i] as number;
    const hi = set[i + 1] as number;
    parts.push(lo === hi ? String(lo) : `${lo}-${hi}`);
  }
  return parts.join(',');
}

/** The two constants keep their identity, so that the quick tests above meet them often. */
function interned(set: PortSet): PortSet {
  if (set.length === 0) return noPorts;
  return set.length === 2 && set[0] === 1 && set[1] === 65535 ? allPorts : set;
}
