/**
 * The cluster of the README, typed by a user: every command as it stands there, every line it shows.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCliLab, whyNoLab } from './cli-lab.ts';
import { run } from './kubectl-steps.ts';

interface Command {
  readonly text: string;
  readonly shows: readonly string[];
}

/** Lines after `$ `, a here-document included, and what follows them. */
function commandsOf(block: string): Command[] {
  const commands: { text: string; shows: string[] }[] = [];
  let end: string | undefined;
  for (const line of block.split('\n')) {
    const last = commands.at(-1);
    if (end !== undefined && last !== undefined) {
      last.text += `\n${line}`;
      if (line === end) end = undefined;
    } else if (line.startsWith('$ ')) {
      commands.push({ text: line.slice(2), shows: [] });
      end = /<<'(\w+)'$/.exec(line)?.[1];
    } else last?.shows.push(line);
  }
  return commands;
}

/** What differs each time: durations, ages, the place of the kubeconfig, blanks between columns. */
const plain = (text: string): string =>
  text
    .replaceAll(/\d+(\.\d+)? ?s\b/g, 'TIME')
    .replaceAll(/KUBECONFIG=\S+/g, 'KUBECONFIG=FILE')
    .replaceAll(/ {2,}/g, ' ')
    .trim();

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const [, block = ''] = /```\n(\$ podwall lab up\n[^]*?)```/.exec(readme) ?? [];
const commands = commandsOf(block);

const needed = ['kubectl', 'curl'].filter(
  (program) => spawnSync(program, ['--help'], { stdio: 'ignore' }).error !== undefined,
);
const unavailable =
  needed.length > 0 ? `there is no ${needed.join(' and no ')} on this machine` : await whyNoLab();
if (unavailable !== undefined) console.log(`SKIPPED: the cluster of the README: ${unavailable}`);

describe.skipIf(unavailable !== undefined)('the cluster of the README', () => {
  const lab = createCliLab('podwall-readme-');
  const bin = join(lab.runtime, 'bin');
  const env = {
    ...lab.env,
    XDG_RUNTIME_DIR: lab.runtime,
    PATH: `${bin}:${process.env['PATH'] ?? ''}`,
  };

  beforeAll(() => {
    process.env['XDG_RUNTIME_DIR'] = lab.runtime;
    mkdirSync(bin);
    const cli = fileURLToPath(new URL('cli-process.ts', import.meta.url));
    const tsx = createRequire(import.meta.url).resolve('tsx');
    const script = `#!/bin/sh\nexec "${process.execPath}" --import "${tsx}" "${cli}" "$@"\n`;
    writeFileSync(join(bin, 'podwall'), script);
    chmodSync(join(bin, 'podwall'), 0o755);
  });
  afterAll(() => lab.end());

  it('is told in commands', () => {
    expect(commands.length).toBeGreaterThan(8);
    expect(commands.at(-1)?.text).toBe('podwall lab down');
  });

  it.each(commands.filter(({ text }) => !text.startsWith('export ')))('$text', async (command) => {
    const { text } = await run('sh', ['-c', `cd "${lab.runtime}"\n${command.text}`], { env });
    const seen = plain(text);
    for (const line of command.shows) expect(seen).toContain(plain(line));
  });
});
