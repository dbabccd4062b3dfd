/** The minimiser itself. */
import { expect, it } from 'vitest';
import { minimise } from './minimise.ts';

it('keeps what the failure needs and nothing else', () => {
  const value = { a: [1, { b: 'x', c: [2, 3] }, 4], d: null };
  const fails = (candidate: typeof value): boolean => JSON.stringify(candidate).includes('3');
  expect(minimise(value, fails)).toEqual({ a: [{ c: [3] }] });
  expect(value.a).toHaveLength(3);
});

it('takes a candidate that throws as one that does not fail', () => {
  const fails = (candidate: { a?: number; b: number }): boolean => {
    if (candidate.b === undefined) throw new Error('broken');
    return true;
  };
  expect(minimise({ a: 1, b: 2 }, fails)).toEqual({ b: 2 });
});
