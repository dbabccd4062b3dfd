/** docs/reference/lessons.md names a test for every lesson; the tests must exist, and no lesson may be missing. */
import { readFileSync, readdirSync } from 'node:fs';
import { expect, it } from 'vitest';

const root = new URL('../', import.meta.url);
const read = (file: string): string => readFileSync(new URL(file, root), 'utf8');

interface Row {
  readonly number: number;
  readonly cell: string;
  readonly tests: readonly { readonly file: string; readonly name: string }[];
}

const named = (cell: string): Row['tests'] =>
  [...cell.matchAll(/`([^`]+\.ts)` "([^"]+)"/g)].map(([, file = '', name = '']) => ({
    file,
    name,
  }));

const text = read('docs/reference/lessons.md');
const rows: Row[] = text.split('\n').flatMap((line) => {
  const match = /^\|\s*(\d+) \|[^|]*\|([^|]*)\|$/.exec(line);
  if (match === null) return [];
  const [, number = '', cell = ''] = match;
  return [{ number: Number(number), cell: cell.trim(), tests: named(cell) }];
});

it('every lesson has one row', () => {
  expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: 48 }, (_, i) => i + 1));
});

it('every named test exists, as the title of a test or group', () => {
  const missing = named(text).filter(({ file, name }) => {
    const lines = read(file).split('\n');
    return !lines.some(
      (line) => /\b(it|test|describe)\b|^\s*[`'"]/.test(line) && line.includes(name),
    );
  });
  expect(missing).toEqual([]);
  expect(named(text).length).toBeGreaterThan(60);
});

it('every path has a test', () => {
  const paths = text
    .slice(text.indexOf('## Paths'))
    .split('\n')
    .filter((line) => line.startsWith('| ') && !/^\| (path|-)/.test(line));
  expect(paths.length).toBeGreaterThan(15);
  expect(paths.filter((line) => named(line).length === 0)).toEqual([]);
});

it('a row without a test says why', () => {
  expect(rows.filter(({ cell, tests }) => tests.length === 0 && !/This kernel/.test(cell))).toEqual(
    [],
  );
});

it('every test that is called after a lesson is in its row', () => {
  const files = ['test/e2e', 'test/e2e/enforcement', 'src/agent', 'src/dataplane']
    .flatMap((directory) =>
      readdirSync(new URL(directory, root)).map((file) => `${directory}/${file}`),
    )
    .filter((file) => file.endsWith('.ts'));
  const missing = files.flatMap((file) =>
    [...read(file).matchAll(/\bit\(\s*['`]lessons? (\d+)(?: and (\d+))?/g)].flatMap(
      ([, first, second]) =>
        [first, second]
          .filter((number) => number !== undefined)
          .filter((number) => !rows[Number(number) - 1]?.tests.some((test) => test.file === file))
          .map((number) => `${file}: lesson ${number}`),
    ),
  );
  expect(missing).toEqual([]);
});
