/**
 * Command-line tests as text: each `.scenario` file holds input files, one command, and what must
 * come out. Run in-process through the same entry as the real command.
 */
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { runCli } from '../../src/cli/main.ts';

interface Scenario {
  readonly name: string;
  readonly sections: ReadonlyMap<string, string>;
}

function read(file: string): Scenario {
  const text = readFileSync(join(import.meta.dirname, file), 'utf8');
  const parts = text.split(/^====(.+?)====\n/m);
  const sections = new Map<string, string>();
  for (let index = 1; index < parts.length; index += 2) {
    sections.set(parts[index] ?? '', parts[index + 1] ?? '');
  }
  return { name: file.replace('.scenario', ''), sections };
}

/** Writes what came out into the file, for a person to read and judge: UPDATE_SCENARIOS=1. */
function update(file: string, seen: Readonly<Record<string, string>>): void {
  const sections = new Map(read(file).sections);
  for (const [name, text] of Object.entries(seen)) sections.set(name, text);
  const text = [...sections].map(([name, body]) => `====${name}====\n${body}`).join('');
  writeFileSync(join(import.meta.dirname, file), text);
}

/** Words of a command line; single quotes group. */
function words(line: string): string[] {
  return [...line.trim().matchAll(/'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2] ?? '');
}

const files = readdirSync(import.meta.dirname)
  .filter((name) => name.endsWith('.scenario'))
  .toSorted();

it('has scenarios', () => expect(files.length).toBeGreaterThan(5));

it.each(files.map((file) => [file]))('%s', async (file) => {
  const { sections } = read(file);
  const known = /^(test|command|columns|stdin|stdout|stderr|status|file .+)$/;
  expect([...sections.keys()].filter((name) => !known.test(name))).toEqual([]);
  const directory = mkdtempSync(join(tmpdir(), 'podwall-scenario-'));
  try {
    for (const [name, text] of sections) {
      if (!name.startsWith('file ')) continue;
      const path = join(directory, name.slice(5));
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
    let stdout = '';
    let stderr = '';
    const [program, ...argv] = words(sections.get('command') ?? '');
    expect(program).toBe('podwall');
    const code = await runCli(argv, {
      out: (text) => (stdout += text),
      err: (text) => (stderr += text),
      stdin: Readable.from([sections.get('stdin') ?? '']),
      isTty: false,
      color: false,
      columns: Number(sections.get('columns') ?? 80),
      env: { HOME: directory },
      cwd: directory,
      signal: new AbortController().signal,
    });
    if (process.env['UPDATE_SCENARIOS'] === '1')
      update(file, { stdout, stderr, status: `${code}\n` });
    // Both streams first: a wrong status alone tells nothing.
    const seen = { stdout, stderr, status: code };
    const { sections: wanted } = read(file);
    expect(seen).toEqual({
      stdout: wanted.get('stdout') ?? '',
      stderr: wanted.get('stderr') ?? '',
      status: Number(wanted.get('status') ?? 0),
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
