import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { commands } from './commands/index.ts';
import { runCli } from './main.ts';

async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const code = await runCli(argv, {
    out: (text) => (out += text),
    err: (text) => (err += text),
    stdin: Readable.from(['']),
    isTty: false,
    color: false,
    columns: 80,
    env: {},
    cwd: process.cwd(),
    signal: new AbortController().signal,
  });
  return { code, out, err };
}

const subcommands = [
  ...['up', 'apply', 'delete', 'get', 'exec', 'probe', 'status', 'down'].map((sub) => ['lab', sub]),
  ['lab', 'lessons'],
  ...['start', 'show', 'check'].map((sub) => ['lab', 'lessons', sub]),
  ['gen', 'cluster'],
];

it.each([[[]], ...commands.map(({ name }) => [[name]]), ...subcommands.map((path) => [path])])(
  'help of podwall %j fits 80 columns',
  async (path) => {
    const { code, out } = await run(...path, '--help');
    expect(code).toBe(0);
    expect(out).toContain('Usage: podwall');
    expect(out.split('\n').filter((line) => [...line].length > 80)).toEqual([]);
  },
);

it('podwall help VERB is podwall VERB --help', async () => {
  for (const { name } of commands)
    expect((await run('help', name)).out).toBe((await run(name, '--help')).out);
});

it.each(['lab', 'gen'])('names the subcommands of %s when one is mistyped', async (verb) => {
  const { code, err } = await run(verb, 'nope');
  expect(code).toBe(2);
  expect(err).toContain(`no such subcommand: ${verb} nope`);
  expect(err).toContain('hint: ');
});
