/** The import directions of ARCHITECTURE.md, read from every import in `src/`. */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { expect, it } from 'vitest';

const source = resolve(import.meta.dirname, '..', 'src');

const pure = ['net', 'k8s', 'manifest', 'policy', 'engine', 'report', 'graph', 'lint'];

/** What each room may import besides itself. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  net: [],
  k8s: ['net'],
  manifest: ['net', 'k8s'],
  policy: ['net', 'k8s'],
  engine: ['net', 'k8s', 'policy'],
  report: ['net', 'k8s', 'policy', 'engine'],
  system: pure,
  client: [...pure, 'system'],
  dataplane: ['net', 'k8s', 'policy', 'engine', 'system'],
  agent: [...pure, 'system', 'client', 'dataplane'],
  lab: [...pure, 'system', 'dataplane', 'client'],
  cli: [...pure, 'system', 'client', 'dataplane', 'agent', 'lab'],
};

function files(): string[] {
  return readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(source, name));
}

function room(file: string): string {
  return relative(source, file).split(sep)[0] ?? '';
}

function imports(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const found = text.matchAll(
    /^(?:import|export)\s(?:[^';]*?\sfrom\s)?'([^']+)'|\bimport\('([^']+)'\)/gm,
  );
  return [...found].map((match) => match[1] ?? match[2] ?? '');
}

it('imports only in the directions of ARCHITECTURE.md', () => {
  const wrong: string[] = [];
  let seen = 0;
  for (const file of files()) {
    const from = room(file);
    for (const target of imports(file).filter((name) => name.startsWith('.'))) {
      seen += 1;
      const to = room(resolve(dirname(file), target));
      if (from.startsWith('index.') || to === from) continue;
      // Tests beside the code may use what tests share.
      if (to === '..' && file.endsWith('.test.ts')) continue;
      if (!allowed[from]?.includes(to)) wrong.push(`${relative(source, file)} imports ${target}`);
    }
  }
  expect(seen).toBeGreaterThan(10);
  expect(wrong).toEqual([]);
});

it('keeps Node out of the pure tier, tests aside', () => {
  const wrong: string[] = [];
  for (const file of files().filter((name) => !name.endsWith('.test.ts'))) {
    if (!pure.includes(room(file))) continue;
    for (const target of imports(file)) {
      if (!target.startsWith('.') && target !== 'yaml') {
        wrong.push(`${relative(source, file)} imports ${target}`);
      }
    }
  }
  expect(wrong).toEqual([]);
});

it('has a rule for every room', () => {
  const rooms = readdirSync(source, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
  expect(rooms.filter((name) => !(name in allowed))).toEqual([]);
});

it('starts every module with a header sentence', () => {
  const bare = files()
    .filter((file) => !file.endsWith('.test.ts'))
    .filter((file) => !/^(#!.*\n)?(\/\*\*|\/\/ )/.test(readFileSync(file, 'utf8')));
  expect(bare.map((file) => relative(source, file))).toEqual([]);
});

it('has a lock entry for every optional platform package, or `npm ci` refuses to start', () => {
  const text = readFileSync(join(source, '..', 'package-lock.json'), 'utf8');
  const { packages } = JSON.parse(text) as {
    packages: Record<string, { optionalDependencies?: Record<string, string> }>;
  };
  const missing = Object.values(packages)
    .flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}))
    .filter((name) => !Object.keys(packages).some((key) => key.endsWith(`node_modules/${name}`)));
  expect(missing).toEqual([]);
  expect(text).not.toContain('"resolved": "http');
});
