/**
 * Canonical sets of integers as flat inclusive intervals `lo,hi,lo,hi…`, sorted, disjoint and never
 * adjacent. One sweep does every operation. Must not know what the integers stand for.
 */

/**
 * Truth tables of a set operation: bit (inA + 2·inB) says whether a value is kept. Bit 0 is always
 * clear, so that a result ends where its operands end.
 */
export const UNION = 0b1110;
export const INTERSECT = 0b1000;
export const SUBTRACT = 0b0010;

/**
 * Sweeps over the boundaries of two canonical lists. The number and the bigint version are apart on
 * purpose: one function for both is about three times slower on numbers, because the engine can no longer
 * compile its comparisons for machine numbers.
 */
export function combineNumbers(
  a: readonly number[],
  b: readonly number[],
  table: number,
): readonly number[] {
  const out: number[] = [];
  let i = 0;
  let j = 0;
  let inside = 0;
  while (i < a.length || j < b.length) {
    // An even index is the first value of an interval; an odd one the last, so the state changes one after it.
    const nextA = i < a.length ? (a[i] as number) + (i & 1) : Infinity;
    const nextB = j < b.length ? (b[j] as number) + (j & 1) : Infinity;
    const at = nextA < nextB ? nextA : nextB;
    if (nextA === at) i++;
    if (nextB === at) j++;
    const now = (table >> ((i & 1) | ((j & 1) << 1))) & 1;
    if (now !== inside) {
      out.push(now === 1 ? at : at - 1);
      inside = now;
    }
  }
  return out;
}

/** As {@link combineNumbers}, over bigints. */
export function combineBigints(
  a: readonly bigint[],
  b: readonly bigint[],
  table: number,
): readonly bigint[] {
  const out: bigint[] = [];
  let i = 0;
  let j = 0;
  let inside = 0;
  while (i < a.length || j < b.length) {
    const nextA = i < a.length ? boundary(a, i) : undefined;
    const nextB = j < b.length ? boundary(b, j) : undefined;
    const at =
      nextA === undefined || (nextB !== undefined && nextB < nextA) ? (nextB as bigint) : nextA;
    if (nextA === at) i++;
    if (nextB === at) j++;
    const now = (table >> ((i & 1) | ((j & 1) << 1))) & 1;
    if (now !== inside) {
      out.push(now === 1 ? at : at - 1n);
      inside = now;
    }
  }
  return out;
}

function boundary(list: readonly bigint[], index: number): bigint {
  const value = list[index] as bigint;
  return (index & 1) === 1 ? value + 1n : value;
}

/** Makes a canonical list of flat pairs in any order that may overlap. Does not keep its argument. */
export function normalizeNumbers(pairs: readonly number[]): readonly number[] {
  if (pairs.length <= 2) return pairs.slice();
  const order: number[] = [];
  let sorted = true;
  for (let i = 0; i < pairs.length; i += 2) {
    order.push(i);
    if (i > 0 && (pairs[i] as number) < (pairs[i - 2] as number)) sorted = false;
  }
  if (!sorted) order.sort((x, y) => (pairs[x] as number) - (pairs[y] as number));
  const out: number[] = [];
  for (const i of order) {
    const lo = pairs[i] as number;
    const hi = pairs[i + 1] as number;
    const end = out.length - 1;
    if (end > 0 && lo <= (out[end] as number) + 1) {
      if (hi > (out[end] as number)) out[end] = hi;
    } else {
      out.push(lo, hi);
    }
  }
  return out;
}

/** As {@link normalizeNumbers}, over bigints. */
export function normalizeBigints(pairs: readonly bigint[]): readonly bigint[] {
  if (pairs.length <= 2) return pairs.slice();
  const order: number[] = [];
  for (let i = 0; i < pairs.length; i += 2) order.push(i);
  order.sort((x, y) => {
    const left = pairs[x] as bigint;
    const right = pairs[y] as bigint;
    return left < right ? -1 : left > right ? 1 : 0;
  });
  const out: bigint[] = [];
  for (const i of order) {
    const lo = pairs[i] as bigint;
    const hi = pairs[i + 1] as bigint;
    const end = out.length - 1;
    if (end > 0 && lo <= (out[end] as bigint) + 1n) {
      if (hi > (out[end] as bigint)) out[end] = hi;
    } else {
      out.push(lo, hi);
    }
  }
  return out;
}

/** Whether `value` is in a canonical list, by binary search. */
export function containsNumber(list: readonly number[], value: number): boolean {
  let low = 0;
  let high = list.length >> 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value > (list[2 * middle + 1] as number)) low = middle + 1;
    else high = middle;
  }
  return 2 * low < list.length && value >= (list[2 * low] as number);
}

/** As {@link containsNumber}, over bigints. */
export function containsBigint(list: readonly bigint[], value: bigint): boolean {
  let low = 0;
  let high = list.length >> 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value > (list[2 * middle + 1] as bigint)) low = middle + 1;
    else high = middle;
  }
  return 2 * low < list.length && value >= (list[2 * low] as bigint);
}

/** Equal lists hold equal sets, because both are canonical. */
export function equalLists<T extends number | bigint>(a: readonly T[], b: readonly T[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
