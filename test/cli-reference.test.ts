/** docs/reference/cli.md says what `--help` says. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { cliReference, cliReferencePath } from '../scripts/cli-reference.ts';
import { commands } from '../src/cli/commands/index.ts';

it('is up to date: npx tsx scripts/cli-reference.ts', async () => {
  expect(readFileSync(cliReferencePath, 'utf8')).toBe(await cliReference());
});

it('has every verb', async () => {
  const page = await cliReference();
  for (const { name } of commands) expect(page).toContain(`\n## podwall ${name}\n`);
});
