import { describe, expect, it } from 'vitest';
import {
  compileSelector,
  equalSelectors,
  formatSelector,
  matches,
  selectorEverything,
  selectorKeys,
  selectorNothing,
} from './selector.ts';
import type { LabelSelector, LabelSelectorRequirement, SelectorOperator } from './types.ts';

function expression(
  key: string,
  operator: SelectorOperator,
  values?: string[],
): LabelSelectorRequirement {
  return values === undefined ? { key, operator } : { key, operator, values };
}

function match(selector: LabelSelector, labels: Record<string, string>): boolean {
  return matches(compileSelector(selector), labels);
}

describe('selectors', () => {
  it('S89: an empty selector matches everything', () => {
    for (const selector of [
      {},
      { matchLabels: {} },
      { matchExpressions: [] },
      { matchLabels: null },
    ]) {
      expect(compileSelector(selector)).toBe(selectorEverything);
      expect(match(selector, {})).toBe(true);
      expect(match(selector, { a: 'b' })).toBe(true);
    }
  });

  it('S90: an absent selector matches nothing', () => {
    for (const absent of [undefined, null]) {
      expect(compileSelector(absent)).toBe(selectorNothing);
      expect(matches(compileSelector(absent), { a: 'b' })).toBe(false);
    }
  });

  it('S91: all entries must hold', () => {
    const selector = {
      matchLabels: { a: '1', b: '2' },
      matchExpressions: [expression('c', 'Exists')],
    };
    expect(match(selector, { a: '1', b: '2', c: '' })).toBe(true);
    expect(match(selector, { a: '1', b: '2' })).toBe(false);
    expect(match(selector, { a: '1', c: '' })).toBe(false);
  });

  it('S92: matchLabels is In with one value, and an empty value needs the label', () => {
    expect(
      equalSelectors(
        compileSelector({ matchLabels: { a: 'x' } }),
        compileSelector({ matchExpressions: [expression('a', 'In', ['x'])] }),
      ),
    ).toBe(true);
    expect(match({ matchLabels: { a: '' } }, { a: '' })).toBe(true);
    expect(match({ matchLabels: { a: '' } }, {})).toBe(false);
    expect(match({ matchLabels: { a: '' } }, { a: 'x' })).toBe(false);
  });

  it('S93: In', () => {
    const selector = { matchExpressions: [expression('a', 'In', ['y', 'x'])] };
    expect(match(selector, { a: 'x' })).toBe(true);
    expect(match(selector, { a: 'z' })).toBe(false);
    expect(match(selector, {})).toBe(false);
  });

  it('S94: NotIn matches an absent key', () => {
    const selector = { matchExpressions: [expression('a', 'NotIn', ['x'])] };
    expect(match(selector, {})).toBe(true);
    expect(match(selector, { a: 'y' })).toBe(true);
    expect(match(selector, { a: 'x' })).toBe(false);
  });

  it('S95: Exists matches an empty value', () => {
    expect(match({ matchExpressions: [expression('a', 'Exists')] }, { a: '' })).toBe(true);
    expect(match({ matchExpressions: [expression('a', 'Exists')] }, {})).toBe(false);
  });

  it('S96: DoesNotExist', () => {
    expect(match({ matchExpressions: [expression('a', 'DoesNotExist', [])] }, {})).toBe(true);
    expect(match({ matchExpressions: [expression('a', 'DoesNotExist')] }, { a: '' })).toBe(false);
  });

  it('S97: keys and values are compared exactly', () => {
    expect(match({ matchLabels: { App: 'Web' } }, { app: 'Web' })).toBe(false);
    expect(match({ matchLabels: { App: 'Web' } }, { App: 'web' })).toBe(false);
    expect(match({ matchLabels: { App: 'Web' } }, { App: 'Web' })).toBe(true);
  });

  it('S88: contradictory and repeated requirements are compiled; they match nothing', () => {
    const selector = {
      matchExpressions: [expression('a', 'In', ['1']), expression('a', 'In', ['2', '2'])],
    };
    expect(match(selector, { a: '1' })).toBe(false);
    expect(match(selector, { a: '2' })).toBe(false);
    expect(formatSelector(compileSelector(selector))).toBe('a in (1),a in (2,2)');
  });

  it('sees only the labels an object has itself', () => {
    for (const key of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
      const exists = compileSelector({ matchExpressions: [expression(key, 'Exists')] });
      const absent = compileSelector({ matchExpressions: [expression(key, 'DoesNotExist')] });
      const labels = JSON.parse(`{${JSON.stringify(key)}: "x"}`) as Record<string, string>;
      const equal = compileSelector({ matchLabels: labels });
      expect(matches(exists, {})).toBe(false);
      expect(matches(absent, {})).toBe(true);
      expect(matches(equal, {})).toBe(false);
      const bare = Object.assign(Object.create(null) as Record<string, string>);
      Object.defineProperty(bare, key, { value: 'x', enumerable: true });
      for (const own of [labels, bare]) {
        expect(matches(exists, own)).toBe(true);
        expect(matches(absent, own)).toBe(false);
        expect(matches(equal, own)).toBe(true);
      }
      expect(formatSelector(equal)).toBe(`${key}=x`);
    }
  });

  it('finds a value among many', () => {
    const values = Array.from({ length: 500 }, (_, i) => `v${i}`);
    const selector = compileSelector({ matchExpressions: [expression('a', 'In', values)] });
    for (const value of values) expect(matches(selector, { a: value })).toBe(true);
    for (const value of ['', 'v', 'v500', 'w', 'v49x'])
      expect(matches(selector, { a: value })).toBe(false);
  });

  it('takes absent labels for none', () => {
    expect(matches(selectorEverything, undefined)).toBe(true);
    expect(
      matches(compileSelector({ matchExpressions: [expression('a', 'DoesNotExist')] }), null),
    ).toBe(true);
  });
});

describe('S211: printing', () => {
  it('prints requirements sorted by key with sorted values', () => {
    const selector = compileSelector({
      matchLabels: { tier: 'web', app: 'shop' },
      matchExpressions: [
        expression('env', 'In', ['prod', 'dev']),
        expression('zone', 'NotIn', ['b', 'a']),
        expression('canary', 'DoesNotExist'),
        expression('owner', 'Exists'),
        expression('one', 'In', ['x']),
      ],
    });
    expect(formatSelector(selector)).toBe(
      'app=shop,!canary,env in (dev,prod),one in (x),owner,tier=web,zone notin (a,b)',
    );
    expect(selectorKeys(selector)).toEqual([
      'app',
      'canary',
      'env',
      'one',
      'owner',
      'tier',
      'zone',
    ]);
  });

  it('prints <none> for everything and <error> for what does not convert', () => {
    expect(formatSelector(compileSelector({}))).toBe('<none>');
    expect(formatSelector(compileSelector(undefined))).toBe('<none>');
    for (const broken of [
      expression('a', 'In', []),
      expression('a', 'NotIn'),
      expression('a', 'Exists', ['x']),
      expression('a', 'Gt' as SelectorOperator, ['1']),
    ]) {
      const selector = compileSelector({ matchExpressions: [broken] });
      expect(formatSelector(selector)).toBe('<error>');
      expect(selector.fault).toBeTypeOf('string');
      expect(matches(selector, { a: 'x' })).toBe(false);
    }
  });
});

describe('equalSelectors', () => {
  it('does not mind order, repeats or spelling', () => {
    const a = compileSelector({
      matchLabels: { b: '2' },
      matchExpressions: [expression('a', 'In', ['y', 'x', 'x']), expression('a', 'In', ['x', 'y'])],
    });
    const b = compileSelector({
      matchExpressions: [expression('a', 'In', ['x', 'y']), expression('b', 'In', ['2'])],
    });
    expect(equalSelectors(a, b)).toBe(true);
    expect(a.requirements).toEqual(b.requirements);
    expect(equalSelectors(a, selectorEverything)).toBe(false);
    expect(equalSelectors(selectorNothing, selectorEverything)).toBe(false);
    expect(
      equalSelectors(
        compileSelector({ matchExpressions: [expression('a', 'Exists')] }),
        compileSelector({ matchExpressions: [expression('a', 'DoesNotExist')] }),
      ),
    ).toBe(false);
  });
});

it('S92: a null value in matchLabels is the empty one, as Go decodes it', () => {
  const selector = compileSelector({ matchLabels: { app: null } } as never);
  expect(matches(selector, { app: '' })).toBe(true);
  expect(matches(selector, {})).toBe(false);
  expect(matches(selector, { app: 'null' })).toBe(false);
});
