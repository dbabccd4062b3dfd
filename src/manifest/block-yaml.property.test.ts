import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { locateBlockYaml, readBlockYaml } from './block-yaml.ts';
import { readFullYaml } from './full-yaml.ts';
import type { PositionNode } from './positions.ts';

/** Plain data of positions, so that two trees compare. */
function flat(node: PositionNode): unknown {
  const { start, end, children } = node;
  if (children === undefined) return { start, end };
  return {
    start,
    end,
    children:
      'get' in children
        ? [...children].map(([name, { key, value }]) => [name, key, flat(value)])
        : children.map(({ value }) => flat(value)),
  };
}

/** Where nothing is written, the two readers may point at different places after the key or dash. */
function holdsEmpty({ start, end, children }: PositionNode): boolean {
  if (children === undefined) return end === start;
  const entries = 'get' in children ? [...children.values()] : children;
  return entries.some(({ value }) => holdsEmpty(value));
}

/** Whenever the quick reader answers at all, the full parser must answer the same. Returns whether it did. */
function compare(text: string): boolean {
  const quick = readBlockYaml(text, 0, text.length);
  if (quick === undefined) return false;
  const full = readFullYaml(text, 0);
  expect(full.map(({ faults }) => faults)).toEqual([[]]);
  const [document] = full;
  expect(quick.value).toEqual(document?.value);
  const positions = locateBlockYaml(text, 0, text.length);
  if (positions === undefined || document === undefined) throw new Error(`no positions: ${text}`);
  if (holdsEmpty(document.positions)) return true;
  expect(flat(positions)).toEqual(flat(document.positions));
  expect({ start: quick.start, end: quick.end }).toEqual({
    start: document.positions.start,
    end: document.positions.end,
  });
  return true;
}

const scalar = fc.constantFrom(
  'web',
  '80',
  '"80"',
  "'it''s'",
  'yes',
  '~',
  '""',
  '10.0.0.0/8',
  'a b c',
  'x # note',
  'a#b',
  'a:b',
  'http://h:80/p',
  '-1',
  '- 1',
  '1.5',
  '.5',
  '0777',
  '{}',
  '[]',
  '[a, "b", 3]',
  '{a: b, c: [d]}',
  '{a: b, }',
  '"a\\nb"',
  '"\\u00e4"',
  '"\\x41"',
  'ä',
  '|',
  '|-',
  '*x',
  '&x y',
  '!t z',
  '@',
  '%',
  '? a',
  '-',
  ':',
  '[a',
  '{a: 1',
  'null',
  'Null',
  '<<',
  '1_0',
  '0x1f',
  '1e3',
  'e1',
  '.',
  '..',
  '...',
  '---',
  '"a',
  "'b",
  'a: b',
  'a:',
  '',
  '[ ]',
  '{ }',
  '[a b]',
  '[a:b]',
  '[-1]',
  '[-]',
  '[- a]',
  '{a:b}',
  '{"a":b}',
  '{"a": b}',
  '[a,b]',
  '[a ,b]',
  '[,]',
  '{a}',
);

const key = fc.constantFrom(
  'a',
  'b',
  'app.kubernetes.io/name',
  '"q"',
  "'r'",
  'items',
  'spec',
  'yes',
  '80',
  '~',
  'a b',
  '-',
  '__proto__',
  'constructor',
  '<<',
  '.5',
  '- a',
  'x-y',
  '"a b"',
  '"a\\"b"',
  '?',
  '/',
  'null',
);

const space = fc.constantFrom('', '', '', '', ' ', '  # c', ' #', '#', '\t');
const ending = fc.constantFrom(
  '\n',
  '\n',
  '\n',
  '\n',
  '\n',
  '\n\n',
  '\n# c\n',
  '\n  # c\n',
  '\r\n',
  '\n \n',
);

const line = fc
  .tuple(
    fc.integer({ min: 0, max: 4 }),
    fc.constantFrom('', '', '', '- ', '-   ', '- - ', '-'),
    fc.option(key, { freq: 5 }),
    fc.constantFrom(': ', ': ', ': ', ':', ':  ', ' : '),
    fc.option(scalar, { freq: 3 }),
    space,
    ending,
  )
  .map(([indent, dash, name, colon, value, tail, end]) => {
    const body = name === null ? (value ?? '') : `${name}${colon}${value ?? ''}`;
    return `${'  '.repeat(indent)}${dash}${body}${tail}${end}`;
  });

/** Nested data written as people write it, so that most texts are good YAML. */
interface Tree {
  readonly text: (indent: string) => string;
}

const { tree } = fc.letrec<{ tree: Tree; leaf: Tree; map: Tree; list: Tree }>((tie) => ({
  tree: fc.oneof({ maxDepth: 4, withCrossShrink: true }, tie('leaf'), tie('map'), tie('list')),
  leaf: fc
    .oneof(
      fc.constantFrom(
        'web',
        '80',
        '"x: y"',
        "'z'",
        'true',
        'v1',
        '{}',
        '[]',
        '[80, http]',
        '{app: web}',
        'a b',
      ),
      fc.constantFrom(
        '|\n@one\n@ two\n\n@three',
        '|-\n@one',
        '|+\n@one\n\n',
        'plain\n@continued',
        '>\n@folded',
      ),
    )
    .map((text): Tree => ({ text: (indent) => ` ${text.replaceAll('@', `${indent}  `)}` })),
  map: fc
    .uniqueArray(fc.tuple(fc.constantFrom('a', 'b', 'c', 'items', 'x.io/y'), tie('tree')), {
      minLength: 1,
      maxLength: 3,
      selector: ([name]) => name,
    })
    .map((entries): Tree => ({
      text: (indent) =>
        entries.map(([name, value]) => `\n${indent}${name}:${value.text(`${indent}  `)}`).join(''),
    })),
  list: fc.array(tie('tree'), { minLength: 1, maxLength: 3 }).map((items): Tree => ({
    text: (indent) => items.map((value) => `\n${indent}-${value.text(`${indent}  `)}`).join(''),
  })),
}));

const treeText = fc.tuple(tree, fc.boolean(), ending).map(([{ text }, compact, end]) => {
  const whole = `${text('').trimStart()}${end}`;
  // `-` and its mapping on one line, as everybody writes it.
  return compact ? whole.replaceAll(/-\n +/g, '- ') : whole;
});

describe('the quick YAML reader', () => {
  it('reads nested data as the full parser does', () => {
    let answered = 0;
    let runs = 0;
    fc.assert(
      fc.property(treeText, (text) => {
        runs++;
        if (compare(text)) answered++;
      }),
      { numRuns: 1500 },
    );
    // A comparison that never takes place would prove nothing.
    expect(answered).toBeGreaterThan(runs / 8);
  });

  it('agrees with the full parser or gives up on odd lines', () => {
    let answered = 0;
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 8 }), (lines) => {
        if (compare(lines.join(''))) answered++;
      }),
      { numRuns: 4000 },
    );
    expect(answered).toBeGreaterThan(100);
  });

  it('ends a literal block where the full parser does when its last line ends in spaces', () => {
    expect(compare('a: |\n  web \n')).toBe(true);
  });

  it('agrees with the full parser or gives up on single values', () => {
    fc.assert(
      fc.property(key, scalar, scalar, space, ending, (name, one, two, tail, end) => {
        compare(`${name}: ${one}${tail}${end}`);
        compare(`a: ${one}\nb: ${two}${tail}`);
        compare(`a:\n- ${one}${end}- ${two}${end}`);
        compare(`a:\n  - ${name}: ${one}${end}    x: ${two}${end}  - y${end}`);
        compare(`a: [${one}, ${two}]${end}`);
        compare(`a: {${name}: ${one}, z: ${two}}${end}`);
      }),
      { numRuns: 1500 },
    );
  });

  it('agrees with the full parser or gives up on characters at random', () => {
    const text = fc.string({
      unit: fc.constantFrom(...`ab: -\n\n  "'#{}[],|>&*!%@\t\r0.~?\\`),
      maxLength: 40,
    });
    fc.assert(
      fc.property(text, (tail) => {
        compare(tail);
        compare(`k: ${tail}`);
        compare(`k:\n  - a: b\n    c: ${tail}`);
      }),
      { numRuns: 3000 },
    );
  });

  it('gives up on what it does not know', () => {
    for (const text of [
      'a: &x 1\nb: *x\n',
      'a: !!str 1\n',
      'a: >\n  folded\n',
      'a: |2\n   x\n',
      'a: one\n  two\n',
      'a: 1\na: 2\n',
      '? a\n: b\n',
      'a:\tb\n',
      'a: [1,\n 2]\n',
      '%YAML 1.1\n---\na: 1\n',
      'a: 1\n...\n',
      'just text\n',
      'a: |\n  x',
      '__proto__: 1\n',
      'yes: 1\n',
    ])
      expect([text, readBlockYaml(text, 0, text.length)]).toEqual([text, undefined]);
  });

  it('reads literal blocks with all three endings', () => {
    for (const mark of ['|', '|-', '|+', '| # c'])
      expect(
        compare(`a: ${mark}\n  one\n\n   two # no comment\n\n\nb:\n- ${mark}\n  x\ty\n# c\n`),
      ).toBe(true);
  });
});
