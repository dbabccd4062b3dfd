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

const rows: Row[] = read('docs/reference/lessons.md')
  .split('\n')
  .flatMap((line) => {
    const match = /^\|\s*(\d+) \|[^|]*\|([^|]*)\|$/.exec(line);
    if (match === null) return [];
    const [, number = '', cell = ''] = match;
    const tests = [...cell.matchAll(/`([^`]+\.ts)` "([^"]+)"/g)].map(
      ([, file = '', name = '']) => ({
        file,
        name,
      }),
    );
    return [{ number: Number(number), cell: cell.trim(), tests }];
  });

it('every lesson has one row', () => {
  expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: 48 }, (_, i) => i + 1));
});

it('every named test exists, as the title of a test or group', () => {
  const missing = rows.flatMap(({ number, tests }) =>
    tests
      .filter(({ file, name }) => {
        const text = read(file);
        return !["'", '`', '"'].some((quote) =>
          text
            .split('\n')
            .some(
              (line) =>
                /\b(it|test|describe)\b|^\s*[`'"]/.test(line) &&
                line.includes(quote) &&
                line.includes(name),
            ),
        );
      })
      .map(({ file, name }) => `${number}: ${file} "${name}"`),
  );
  expect(missing).toEqual([]);
});

it('a row without a test says why', () => {
  expect(rows.filter(({ cell, tests }) => tests.length === 0 && cell.length < 4)).toEqual([]);
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
