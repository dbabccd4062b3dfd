import { describe, expect, it } from 'vitest';
import { spawnOnTerminal } from './pty.ts';
import type { ExecSession } from './runtime.ts';

function textOf(session: ExecSession): { text: string; until(pattern: RegExp): Promise<void> } {
  const seen = {
    text: '',
    async until(pattern: RegExp): Promise<void> {
      for (let tries = 0; tries < 400 && !pattern.test(seen.text); tries += 1)
        await new Promise((resolve) => setTimeout(resolve, 25));
      expect(seen.text).toMatch(pattern);
    },
  };
  session.stdout.on('data', (chunk: Buffer) => {
    seen.text += chunk.toString();
  });
  return seen;
}

describe('terminal', () => {
  it('is a terminal, takes input, gives the exit code', async () => {
    const session = spawnOnTerminal(['sh', '-c', 'tty; read -r line; echo "got $line"; exit 5']);
    const seen = textOf(session);
    await seen.until(/\/dev\/pts/);
    session.stdin.write('hello\n');
    expect(await session.exit).toBe(5);
    await seen.until(/got hello/);
  });

  it('changes its size while the program runs', async () => {
    const session = spawnOnTerminal([
      'sh',
      '-c',
      'trap "stty size; exit 0" WINCH; echo ready; while :; do sleep 0.05; done',
    ]);
    const seen = textOf(session);
    await seen.until(/ready/);
    session.resize?.(132, 43);
    expect(await session.exit).toBe(0);
    await seen.until(/43 132/);
  });

  it('of many sizes in a row the last one stays', async () => {
    const session = spawnOnTerminal(['sh', '-c', 'read -r line; stty size']);
    const seen = textOf(session);
    for (let rows = 10; rows <= 40; rows += 1) session.resize?.(100 + rows, rows);
    await new Promise((resolve) => setTimeout(resolve, 500));
    session.stdin.write('now\n');
    expect(await session.exit).toBe(0);
    await seen.until(/40 140/);
  });

  it('a signal reaches the program, not only what made the terminal', async () => {
    const session = spawnOnTerminal([
      'sh',
      '-c',
      'trap "echo asked; exit 9" TERM; echo up; while :; do sleep 0.05; done',
    ]);
    const seen = textOf(session);
    await seen.until(/up/);
    session.signal('SIGTERM');
    expect(await session.exit).toBe(9);
    await seen.until(/asked/);
  });

  it('keeps arguments apart and can be killed', async () => {
    const session = spawnOnTerminal(['sh', '-c', 'echo "<$1>"; sleep 60', 'sh', "it's a b"]);
    const seen = textOf(session);
    await seen.until(/<it's a b>/);
    session.kill();
    expect(await session.exit).not.toBe(0);
  });
});
