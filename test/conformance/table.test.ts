/** docs/reference/conformance.md says what the tests say. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  claimsOf,
  collectTests,
  conformancePage,
  conformancePath,
  faultsOf,
  titlesOf,
} from '../../scripts/conformance.ts';
import { statuses } from './status.ts';

describe('the conformance table', () => {
  it('has every item once: tested, or with a status', () => {
    expect(faultsOf(collectTests(), statuses)).toEqual([]);
  });

  it('is up to date: npx tsx scripts/conformance.ts', () => {
    expect(readFileSync(conformancePath, 'utf8')).toBe(conformancePage(collectTests()));
  });

  it('reads lists and ranges of items from titles', () => {
    expect(claimsOf('S1: a')).toEqual({ items: [1], rest: 'a' });
    expect(claimsOf('S93 S94, S96–S98: a: b').items).toEqual([93, 94, 96, 97, 98]);
    expect(claimsOf('S3 is mentioned').items).toEqual([]);
  });

  it('finds the titles of tests, of tables and of groups', () => {
    const source = [
      "it('one', () => {});",
      "it.each([[1, 'x']])('two %s', () => {});",
      'it.each([\n  { a: [1] },\n])(`three`, () => {});',
      "describe('four \\'quoted\\'', () => {});",
      "expect(it).not.toBe('five');",
    ].join('\n');
    expect(titlesOf(source)).toEqual(['one', 'two %s', 'three', "four 'quoted'"]);
  });

  it('refuses an item that is tested and excused at once, and one that is neither', () => {
    const tests = new Map([[2, [{ file: 'a.test.ts', title: 'a' }]]]);
    const faults = faultsOf(tests, { 2: { kind: 'open', text: 'b' } });
    expect(faults[0]).toBe('S1: neither tested nor in test/conformance/status.ts');
    expect(faults[1]).toBe('S2: open by status.ts, but tested in a.test.ts');
  });
});
