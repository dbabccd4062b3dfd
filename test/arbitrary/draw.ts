/**
 * Where random choices come from: a seed, or fast-check. Generators are written once against
 * `Draw`; they must not know which of the two they run on.
 */
import fc from 'fast-check';

export interface Draw {
  /** A whole number, both bounds included. */
  integer(min: number, max: number): number;
}

/** Same seed, same choices, on every machine (splitmix32). */
export function seededDraw(seed: number): Draw {
  let state = seed >>> 0;
  return {
    integer(min, max) {
      state = (state + 0x9e3779b9) >>> 0;
      let mixed = state ^ (state >>> 16);
      mixed = Math.imul(mixed, 0x21f0aaad);
      mixed ^= mixed >>> 15;
      mixed = Math.imul(mixed, 0x735a2d97);
      mixed = (mixed ^ (mixed >>> 15)) >>> 0;
      return min + Math.floor((mixed / 0x1_0000_0000) * (max - min + 1));
    },
  };
}

/** An arbitrary of whatever `generate` makes; fast-check repeats and shrinks its choices. */
export function drawn<T>(generate: (draw: Draw) => T): fc.Arbitrary<T> {
  const integers = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max });
  return fc.gen().map((gen) => generate({ integer: (min, max) => gen(integers, min, max) }));
}

export function chance(draw: Draw, percent: number): boolean {
  return draw.integer(1, 100) > 100 - percent;
}

export function pick<T>(draw: Draw, items: readonly T[]): T {
  if (items.length === 0) throw new Error('nothing to pick from');
  return items[draw.integer(0, items.length - 1)] as T;
}

export function listOf<T>(draw: Draw, min: number, max: number, make: (index: number) => T): T[] {
  return Array.from({ length: draw.integer(min, max) }, (_, index) => make(index));
}

/** Between `min` and `max` different items, in the order of `items`. */
export function someOf<T>(draw: Draw, items: readonly T[], min: number, max: number): T[] {
  const wanted = Math.min(items.length, draw.integer(min, max));
  const rest = items.map((item, index) => ({ item, index }));
  const chosen: { item: T; index: number }[] = [];
  while (chosen.length < wanted) chosen.push(...rest.splice(draw.integer(0, rest.length - 1), 1));
  return chosen.toSorted((a, b) => a.index - b.index).map(({ item }) => item);
}
