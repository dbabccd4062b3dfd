/**
 * Writes docs/reference/cli.md: the help of every verb and subcommand, as the program prints it. Run
 * with `npx tsx scripts/cli-reference.ts`; test/cli-reference.test.ts holds the file to it.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { argv } from 'node:process';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { commands } from '../src/cli/commands/index.ts';
import { runCli } from '../src/cli/main.ts';

export const cliReferencePath: string = join(
  fileURLToPath(new URL('..', import.meta.url)),
  'docs',
  'reference',
  'cli.md',
);

async function helpOf(words: readonly string[]): Promise<string> {
  let text = '';
  await runCli([...words, '--help'], {
    out: (part) => (text += part),
    err: (part) => (text += part),
    stdin: Readable.from(['']),
    isTty: false,
    color: false,
    columns: 100,
    env: {},
    cwd: '/',
    signal: new AbortController().signal,
  });
  return text.trimEnd();
}

/** Names in the list that follows "Commands:", `help` aside. */
function subcommandsOf(help: string): string[] {
  const list = /^Commands:\n((?: {2}.*\n?)+)/m.exec(help)?.[1] ?? '';
  return [...list.matchAll(/^ {2}([a-z][a-z-]*)/gm)]
    .map((match) => match[1] ?? '')
    .filter((name) => name !== 'help');
}

/** A verb with its subcommands, and theirs. */
async function sectionsOf(words: readonly string[]): Promise<string[]> {
  const help = await helpOf(words);
  const parts = [
    `${'#'.repeat(words.length + 1)} podwall ${words.join(' ')}`,
    `\`\`\`text\n${help}\n\`\`\``,
  ];
  for (const inner of subcommandsOf(help)) parts.push(...(await sectionsOf([...words, inner])));
  return parts;
}

/** The whole page. */
export async function cliReference(): Promise<string> {
  const parts = [
    '# Command line',
    'Generated from `--help` by `npx tsx scripts/cli-reference.ts`.',
    `\`\`\`text\n${await helpOf([])}\n\`\`\``,
  ];
  for (const { name } of commands) parts.push(...(await sectionsOf([name])));
  return `${parts.join('\n\n')}\n`;
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(cliReferencePath, await cliReference());
}
