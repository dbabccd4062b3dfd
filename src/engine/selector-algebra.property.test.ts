import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileSelector, matches } from '../k8s/selector.ts';
import type { Labels } from '../k8s/types.ts';
import { exampleLabels, implies, isSatisfiable } from './selector-algebra.ts';

const keys = ['a', 'b'];
/** `z` is in no selector: it stands for every other value. */
const values = ['x', 'y', 'z'];
const allLabels: Labels[] = [undefined, ...values].flatMap((a) =>
  [undefined, ...values].map((b) => ({
    ...(a === undefined ? {} : { a }),
    ...(b === undefined ? {} : { b }),
  })),
);

const expression = fc.oneof(
  fc.record({
    key: fc.constantFrom(...keys),
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.subarray(['x', 'y'], { minLength: 1 }),
  }),
  fc.record({ key: fc.constantFrom(...keys), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
);
const selector = fc
  .array(expression, { maxLength: 3 })
  .map((matchExpressions) => compileSelector({ matchExpressions }));

describe('selectors against every set of labels there can be', () => {
  it('implies', () => {
    fc.assert(
      fc.property(selector, selector, (a, b) => {
        const brute = allLabels.every((labels) => !matches(a, labels) || matches(b, labels));
        expect(implies(a, b)).toBe(brute);
      }),
      { numRuns: 3000 },
    );
  });

  it('isSatisfiable and exampleLabels', () => {
    fc.assert(
      fc.property(selector, fc.boolean(), (one, full) => {
        expect(isSatisfiable(one)).toBe(allLabels.some((labels) => matches(one, labels)));
        const example = exampleLabels(one, full);
        expect(example === undefined).toBe(!isSatisfiable(one));
        if (example !== undefined) expect(matches(one, example)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  it('absent selectors match nothing, so they imply everything', () => {
    expect(implies(compileSelector(undefined), compileSelector({}))).toBe(true);
    expect(implies(compileSelector({}), compileSelector(undefined))).toBe(false);
  });
});
