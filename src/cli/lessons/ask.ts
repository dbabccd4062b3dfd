/**
 * Asks a person in a terminal, line by line, and lends the terminal to their editor. Must not know
 * what is asked.
 */
import { spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import { CliError, type Io } from '../command.ts';

export interface Asker {
  /** The next line, without its end; undefined at the end of the input and after Ctrl-C. */
  ask(prompt: string): Promise<string | undefined>;
  /** Runs the user's editor on a file. Throws `CliError` when it cannot be started or fails. */
  edit(file: string): Promise<void>;
  close(): void;
}

/** Reads from the `Io`'s standard input until closed. */
export function createAsker(io: Io): Asker {
  const waiting: ((line: string | undefined) => void)[] = [];
  const lines: string[] = [];
  let ended = false;
  let reader: Interface | undefined;

  const end = (): void => {
    ended = true;
    for (const give of waiting.splice(0)) give(undefined);
  };
  const open = (): Interface => {
    const fresh = createInterface({ input: io.stdin, terminal: false });
    fresh.on('line', (line) => {
      const give = waiting.shift();
      if (give === undefined) lines.push(line);
      else give(line);
    });
    fresh.on('close', () => {
      if (reader === fresh) end();
    });
    return fresh;
  };
  const release = (): void => {
    const old = reader;
    // Its end is ours, not the input's.
    reader = undefined;
    old?.close();
  };
  io.signal.addEventListener('abort', end, { once: true });

  return {
    ask(prompt) {
      io.err(prompt);
      if (io.signal.aborted) return Promise.resolve(undefined);
      const line = lines.shift();
      if (line !== undefined) return Promise.resolve(line);
      if (ended) return Promise.resolve(undefined);
      reader ??= open();
      return new Promise((resolve) => waiting.push(resolve));
    },
    async edit(file) {
      // Set and empty is not set.
      const editor = io.env['VISUAL'] || io.env['EDITOR'] || 'vi';
      release();
      const takeBack = io.handOver?.();
      try {
        await runEditor(editor, file, io.env);
      } finally {
        takeBack?.();
      }
    },
    close() {
      release();
      io.signal.removeEventListener('abort', end);
    },
  };
}

/** EDITOR may carry arguments, so a shell reads it, as git does. */
function runEditor(editor: string, file: string, env: NodeJS.ProcessEnv): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('sh', ['-c', `${editor} "$1"`, 'sh', file], { stdio: 'inherit', env });
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (code === 0) return resolve();
      const hint = 'set EDITOR, or write the file elsewhere and give its name';
      reject(new CliError(`the editor "${editor}" ended with ${code ?? signal}`, 2, hint));
    });
  });
}
