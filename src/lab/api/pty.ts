/**
 * A process on a pseudo terminal without a native module: util-linux `script` makes the terminal,
 * `stty` resizes it.
 */
import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import type { ExecSession } from './runtime.ts';

const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** The terminal a child of `script` sits on; undefined until it has started. */
async function terminalOf(pid: number): Promise<string | undefined> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  for (const child of children.split(' ').filter(Boolean))
    for (const fd of await readdir(`/proc/${child}/fd`).catch(() => [] as string[])) {
      const link = await readlink(`/proc/${child}/fd/${fd}`).catch(() => '');
      if (link.startsWith('/dev/pts/')) return link;
    }
  return undefined;
}

interface Size {
  readonly columns: number;
  readonly rows: number;
}

export interface TerminalSession extends ExecSession {
  /** To the program and everything of its process group. */
  signal(name: NodeJS.Signals): void;
}

function signalGroup(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(-pid, name);
  } catch {
    // Already gone.
  }
}

/** The programs on the terminal: each child of `script` leads a group of its own. */
function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Runs a command on a terminal of its own. Error: `script` is not installed. */
export function spawnOnTerminal(
  command: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {},
): TerminalSession {
  const child = spawn('script', ['-qefc', `exec ${command.map(quote).join(' ')}`, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { TERM: 'xterm', ...(options.env ?? process.env), SHELL: '/bin/sh' },
    detached: true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const exit = new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      resolve(code ?? 137);
    });
  });
  exit.catch(() => {});
  const stderr = new PassThrough();
  stderr.end();
  stderr.resume();
  const setSize = async ({ columns, rows }: Size): Promise<void> => {
    for (let attempt = 0; attempt < 20; attempt += 1) {
      const terminal = child.pid === undefined ? undefined : await terminalOf(child.pid);
      if (terminal !== undefined) {
        const args = ['-F', terminal, 'cols', String(columns), 'rows', String(rows)];
        await new Promise<void>((resolve) => execFile('stty', args, () => resolve()));
        return;
      }
      if (child.exitCode !== null) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  };
  /** The newest size that is not set yet. Two at once could end in either. */
  let wanted: Size | undefined;
  let setting = false;
  const resize = async (columns: number, rows: number): Promise<void> => {
    wanted = { columns, rows };
    if (setting) return;
    setting = true;
    while (wanted !== undefined) {
      const next: Size = wanted;
      wanted = undefined;
      await setSize(next);
    }
    setting = false;
  };
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    stderr,
    exit,
    resize: (columns, rows) => void resize(columns, rows),
    signal(name) {
      const { pid } = child;
      if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      for (const one of childrenOf(pid)) signalGroup(one, name);
    },
    kill() {
      const { pid } = child;
      if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      for (const one of childrenOf(pid)) signalGroup(one, 'SIGKILL');
      signalGroup(pid, 'SIGKILL');
    },
  };
}
