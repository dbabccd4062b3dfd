/**
 * Sets of IP addresses of both families as canonical intervals, with linear set algebra and binary
 * search. Must not know of pods or policies.
 */
import { formatAddress } from './address.ts';
import type { Address } from './address.ts';
import type { Cidr } from './cidr.ts';
import {
  combineBigints,
  combineNumbers,
  containsBigint,
  containsNumber,
  equalLists,
  INTERSECT,
  normalizeBigints,
  normalizeNumbers,
  SUBTRACT,
  UNION,
} from './intervals.ts';

/** Flat inclusive intervals `lo,hi,lo,hi…` per family: sorted, disjoint, not adjacent. */
export interface AddressSet {
  readonly v4: readonly number[];
  readonly v6: readonly bigint[];
}

const MAX_V4 = 0xffffffff;
const MAX_V6 = (1n << 128n) - 1n;

const none4: readonly number[] = Object.freeze([]);
const none6: readonly bigint[] = Object.freeze([]);
const all4: readonly number[] = Object.freeze([0, MAX_V4]);
const all6: readonly bigint[] = Object.freeze([0n, MAX_V6]);

export const emptyAddressSet: AddressSet = Object.freeze({ v4: none4, v6: none6 });
export const allAddresses: AddressSet = Object.freeze({ v4: all4, v6: all6 });

/** The set of the given addresses and networks, in any order. */
export function addressSetOf(...items: readonly (Address | Cidr)[]): AddressSet {
  return addressSetFrom(items);
}

/** As {@link addressSetOf}, for collections too long to be arguments. */
export function addressSetFrom(items: Iterable<Address | Cidr>): AddressSet {
  const v4: number[] = [];
  const v6: bigint[] = [];
  for (const item of items) {
    const first = 'first' in item ? item.first : item;
    const last = 'first' in item ? item.last : item;
    if (first.family === 4) v4.push(first.value, last.value as number);
    else v6.push(first.value, last.value as bigint);
  }
  return setOf(normalizeNumbers(v4), normalizeBigints(v6));
}

export function union(a: AddressSet, b: AddressSet): AddressSet {
  if (a === b || isEmptyAddressSet(b)) return a;
  if (isEmptyAddressSet(a)) return b;
  return setOf(
    a.v4.length === 0 ? b.v4 : b.v4.length === 0 ? a.v4 : combineNumbers(a.v4, b.v4, UNION),
    a.v6.length === 0 ? b.v6 : b.v6.length === 0 ? a.v6 : combineBigints(a.v6, b.v6, UNION),
  );
}

/** Union of many sets in one pass; repeated {@link union} would be quadratic. */
export function unionAll(sets: Iterable<AddressSet>): AddressSet {
  const v4: number[] = [];
  const v6: bigint[] = [];
  for (const set of sets) {
    for (const value of set.v4) v4.push(value);
    for (const value of set.v6) v6.push(value);
  }
  return setOf(normalizeNumbers(v4), normalizeBigints(v6));
}

export function intersect(a: AddressSet, b: AddressSet): AddressSet {
  if (a === b || b === allAddresses) return a;
  if (a === allAddresses) return b;
  return setOf(
    a.v4.length === 0 || b.v4.length === 0 ? none4 : combineNumbers(a.v4, b.v4, INTERSECT),
    a.v6.length === 0 || b.v6.length === 0 ? none6 : combineBigints(a.v6, b.v6, INTERSECT),
  );
}

export function subtract(a: AddressSet, b: AddressSet): AddressSet {
  if (isEmptyAddressSet(b)) return a;
  return setOf(
    a.v4.length === 0 || b.v4.length === 0 ? a.v4 : combineNumbers(a.v4, b.v4, SUBTRACT),
    a.v6.length === 0 || b.v6.length === 0 ? a.v6 : combineBigints(a.v6, b.v6, SUBTRACT),
  );
}

export function complement(a: AddressSet): AddressSet {
  return subtract(allAddresses, a);
}

export function isEmptyAddressSet(set: AddressSet): boolean {
  return set.v4.length === 0 && set.v6.length === 0;
}

export function containsAddress(set: AddressSet, address: Address): boolean {
  return address.family === 4
    ? containsNumber(set.v4, address.value)
    : containsBigint(set.v6, address.value);
}

/** Whether everything in `b` is also in `a`. */
export function containsAddressSet(a: AddressSet, b: AddressSet): boolean {
  return isEmptyAddressSet(subtract(b, a));
}

export function equalAddressSets(a: AddressSet, b: AddressSet): boolean {
  return a === b || (equalLists(a.v4, b.v4) && equalLists(a.v6, b.v6));
}

/** The fewest networks whose union is the set, in address order, IPv4 first. */
export function toCidrs(set: AddressSet): string[] {
  const out: string[] = [];
  for (let i = 0; i < set.v4.length; i += 2) {
    let lo = set.v4[i] as number;
    const hi = set.v4[i + 1] as number;
    while (lo <= hi) {
      let size = 1;
      let prefix = 32;
      // The largest aligned block that starts here and does not pass the end.
      while (prefix > 0 && lo % (size * 2) === 0 && lo + size * 2 - 1 <= hi) {
        size *= 2;
        prefix--;
      }
      out.push(`${formatAddress({ family: 4, value: lo })}/${prefix}`);
      lo += size;
    }
  }
  for (let i = 0; i < set.v6.length; i += 2) {
    let lo = set.v6[i] as bigint;
    const hi = set.v6[i + 1] as bigint;
    while (lo <= hi) {
      let size = 1n;
      let prefix = 128;
      while (prefix > 0 && (lo & (size * 2n - 1n)) === 0n && lo + size * 2n - 1n <= hi) {
        size *= 2n;
        prefix--;
      }
      out.push(`${formatAddress({ family: 6, value: lo })}/${prefix}`);
      lo += size;
    }
  }
  return out;
}

/** The intervals of the set, in address order, IPv4 first. */
export function toRanges(set: AddressSet): { from: Address; to: Address }[] {
  const out: { from: Address; to: Address }[] = [];
  for (let i = 0; i < set.v4.length; i += 2)
    out.push({
      from: { family: 4, value: set.v4[i] as number },
      to: { family: 4, value: set.v4[i + 1] as number },
    });
  for (let i = 0; i < set.v6.length; i += 2)
    out.push({
      from: { family: 6, value: set.v6[i] as bigint },
      to: { family: 6, value: set.v6[i + 1] as bigint },
    });
  return out;
}

/**
 * Short text for people: `none`, `any`, else per interval one network when it is one, otherwise
 * `from-to`; single addresses stand without a prefix length.
 */
export function formatAddressSet(set: AddressSet): string {
  if (isEmptyAddressSet(set)) return 'none';
  if (equalAddressSets(set, allAddresses)) return 'any';
  return toRanges(set)
    .map(({ from, to }) => {
      if (from.value === to.value) return formatAddress(from);
      const cidrs = toCidrs(
        from.family === 4
          ? { v4: [from.value, to.value as number], v6: none6 }
          : { v4: none4, v6: [from.value, to.value as bigint] },
      );
      return cidrs.length === 1
        ? (cidrs[0] as string)
        : `${formatAddress(from)}-${formatAddress(to)}`;
    })
    .join(',');
}

function setOf(v4: readonly number[], v6: readonly bigint[]): AddressSet {
  if (v4.length === 0 && v6.length === 0) return emptyAddressSet;
  return { v4, v6 };
}
