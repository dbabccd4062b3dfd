/**
 * Writes docs/reference/conformance.md: every item S1–S391 of the semantics and validation
 * specification with the tests that hold it, or with the reason why none does. Items are claimed by
 * test titles (`it('S93 S94: …')`); what no test claims stands in test/conformance/status.ts. Run
 * with `npx tsx scripts/conformance.ts`; `--check` only compares.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { argv, exit, stdout } from 'node:process';
import { fileURLToPath } from 'node:url';
import { itemCount, sections, statuses, type ItemStatus } from '../test/conformance/status.ts';

function say(line: string): void {
  stdout.write(`${line}\n`);
}

const root = fileURLToPath(new URL('..', import.meta.url));
export const conformancePath: string = join(root, 'docs', 'reference', 'conformance.md');

export interface ItemTest {
  /** Relative to the repository. */
  readonly file: string;
  /** The title without its item numbers. */
  readonly title: string;
}

/** `S12`, `S12 S13`, `S12, S13`, `S12–S15`, then a colon: the head of a test title. */
const head = /^((?:S\d+(?:[–-]S?\d+)?(?:,? (?:and )?)?)+):\s*(.*)$/s;
const call =
  /\b(?:it|test|describe)(?:\.\w+)*(?:\((?:[^()'"`]|\([^()]*\))*\)|\(\s*\[[^\]]*\]\s*(?:as const)?,?\s*\))?\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`)/g;
/** `each` with a long table: the title stands after the table's closing bracket. */
const afterTable =
  /\]\s*(?:as const\s*)?,?\s*\)\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`)/g;

/** The item numbers that a title claims, and the rest of it. */
export function claimsOf(title: string): { items: number[]; rest: string } {
  const match = head.exec(title);
  if (match === null) return { items: [], rest: title };
  const items: number[] = [];
  for (const [, from = '', to] of (match[1] ?? '').matchAll(/S(\d+)(?:[–-]S?(\d+))?/g)) {
    for (let item = Number(from); item <= Number(to ?? from); item += 1) items.push(item);
  }
  return { items, rest: match[2] ?? '' };
}

/** Titles of all tests in a source text, in order. */
export function titlesOf(text: string): string[] {
  const found = new Map<number, string>();
  for (const pattern of [call, afterTable]) {
    for (const match of text.matchAll(pattern)) {
      const title = match[1] ?? match[2] ?? match[3] ?? '';
      found.set(match.index + match[0].length, title.replaceAll(/\\(.)/g, '$1'));
    }
  }
  return [...found].toSorted(([a], [b]) => a - b).map(([, title]) => title);
}

function testFiles(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return testFiles(path);
      return entry.name.endsWith('.test.ts') ? [path] : [];
    })
    .toSorted();
}

/** Which tests claim which item. */
export function collectTests(): Map<number, ItemTest[]> {
  const tests = new Map<number, ItemTest[]>();
  for (const path of [...testFiles(join(root, 'src')), ...testFiles(join(root, 'test'))]) {
    const file = relative(root, path);
    for (const title of titlesOf(readFileSync(path, 'utf8'))) {
      const { items, rest } = claimsOf(title);
      for (const item of items)
        tests.set(item, [...(tests.get(item) ?? []), { file, title: rest }]);
    }
  }
  return tests;
}

/** What is wrong with the claims; empty when every item is claimed exactly one way. */
export function faultsOf(
  tests: ReadonlyMap<number, readonly ItemTest[]>,
  known: Readonly<Record<number, ItemStatus>>,
): string[] {
  const faults: string[] = [];
  for (let item = 1; item <= itemCount; item += 1) {
    const claimed = tests.get(item)?.[0];
    const status = known[item];
    if (claimed === undefined && status === undefined) {
      faults.push(`S${item}: neither tested nor in test/conformance/status.ts`);
    }
    if (claimed !== undefined && status !== undefined && status.kind !== 'choice') {
      faults.push(`S${item}: ${status.kind} by status.ts, but tested in ${claimed.file}`);
    }
  }
  for (const [item, status] of Object.entries(known)) {
    if (status.kind !== 'tested') continue;
    const path = join(root, status.file);
    const titles = existsSync(path) ? titlesOf(readFileSync(path, 'utf8')) : [];
    if (!titles.some((title) => title.startsWith(status.title))) {
      faults.push(`S${item}: ${status.file} has no test "${status.title}…"`);
    }
  }
  for (const item of [...tests.keys(), ...Object.keys(known).map(Number)]) {
    if (item < 1 || item > itemCount) faults.push(`S${item}: there is no such item`);
  }
  return faults;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ').trim();
}

function row(item: number, tests: readonly ItemTest[], status: ItemStatus | undefined): string {
  const places = new Map<string, string[]>();
  for (const { file, title } of tests) places.set(file, [...(places.get(file) ?? []), title]);
  const proof = [...places].map(
    ([file, titles]) => `${[...new Set(titles)].join('; ')} (\`${file}\`)`,
  );
  if (status?.kind === 'tested') {
    return `| S${item} | tested | ${cell(`${status.title} … (\`${status.file}\`)`)} |`;
  }
  if (status === undefined) return `| S${item} | tested | ${cell(proof.join('; '))} |`;
  const setting =
    status.kind === 'choice' && status.setting ? ` Setting \`${status.setting}\`.` : '';
  const held = proof.length > 0 ? ` Tested: ${proof.join('; ')}` : '';
  const names = {
    choice: 'implementation choice',
    'not-applicable': 'not applicable',
    informational: 'not applicable (informational)',
    open: 'open',
  };
  return `| S${item} | ${names[status.kind]} | ${cell(status.text + setting + held)} |`;
}

export function conformancePage(tests: ReadonlyMap<number, readonly ItemTest[]>): string {
  let tested = 0;
  const counts = { choice: 0, 'not-applicable': 0, informational: 0, open: 0 };
  let testedChoices = 0;
  for (let item = 1; item <= itemCount; item += 1) {
    const status = statuses[item];
    const held = (tests.get(item) ?? []).length > 0;
    if (status === undefined || status.kind === 'tested') tested += 1;
    else counts[status.kind] += 1;
    if (status?.kind === 'choice' && held) testedChoices += 1;
  }
  const lines = [
    '# Conformance',
    '',
    '<!-- Generated by scripts/conformance.ts from the titles of the tests and test/conformance/status.ts. -->',
    '',
    `The behaviour podwall must have is specified in ${itemCount} numbered items, S1–S${itemCount}, drawn from the`,
    'Kubernetes and network-policy-api sources. Test titles cite the items they hold.',
    '',
    '| Status | Items | Meaning |',
    '| --- | --- | --- |',
    `| tested | ${tested} | at least one test of this repository is named after the item |`,
    `| implementation choice | ${counts.choice} | upstream leaves it open; the choice made is named, ${testedChoices} of them are tested as well |`,
    `| not applicable | ${counts['not-applicable'] + counts.informational} | a remark about other systems (${counts.informational}), or nothing an analyzer or enforcer could do differently |`,
    `| open | ${counts.open} | concerns a part of podwall that does not exist yet or has no test yet |`,
    '',
  ];
  sections.forEach(({ from, title }, index) => {
    const end = sections[index + 1]?.from ?? itemCount + 1;
    lines.push(`## ${title}`, '', '| Item | Status | How |', '| --- | --- | --- |');
    for (let item = from; item < end; item += 1) {
      lines.push(row(item, tests.get(item) ?? [], statuses[item]));
    }
    lines.push('');
  });
  return lines.join('\n');
}

function main(): number {
  const tests = collectTests();
  const faults = faultsOf(tests, statuses);
  for (const fault of faults) say(fault);
  if (faults.length > 0) {
    say(`${faults.length} faults; docs/reference/conformance.md not written`);
    return 1;
  }
  const page = conformancePage(tests);
  if (!argv.includes('--check')) {
    writeFileSync(conformancePath, page);
    say(`wrote ${relative(root, conformancePath)}`);
    return 0;
  }
  if (readFileSync(conformancePath, 'utf8') === page) return 0;
  say('docs/reference/conformance.md is out of date: npx tsx scripts/conformance.ts');
  return 1;
}

if (argv[1] === fileURLToPath(import.meta.url)) exit(main());
