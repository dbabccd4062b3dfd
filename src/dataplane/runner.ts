/**
 * Ways to give a script to nft: a process per script, or one long-lived process. Must not know what
 * the scripts say.
 */
import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { constants } from 'node:fs';
import { open as openFile, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { isMissingProgram, run } from '../system/exec.ts';

export interface NftResult {
  /** Exit code; null when a signal ended nft. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one nft script in native syntax as one transaction. */
export type NftRunner = (script: string) => Promise<NftResult>;

export interface RunnerOptions {
  /** Network namespace file, for example `/run/netns/node-1`; entering it takes nsenter (util-linux). */
  readonly netns?: string;
  /** After so many milliseconds nft is ended; default 120,000. */
  readonly timeoutMs?: number;
}

/** Without a home nft keeps no history file, which would grow with every command and slow each down. */
const environment = { ...process.env, HOME: '/nonexistent', LC_ALL: 'C' };

function command(options: RunnerOptions, args: readonly string[]): [string, string[]] {
  return options.netns === undefined
    ? ['nft', [...args]]
    : ['nsenter', [`--net=${options.netns}`, 'nft', ...args]];
}

/** One `nft -f -` per script. Simple, and nothing to go stale. */
export function spawnRunner(options: RunnerOptions = {}): NftRunner {
  const [program, args] = command(options, ['-f', '-']);
  return async (script) => {
    try {
      const { code, stdout, stderr } = await run(program, args, {
        input: script,
        env: environment,
        timeoutMs: options.timeoutMs ?? 120_000,
      });
      if (options.netns !== undefined && code === 127 && /nft: No such file/.test(stderr))
        throw new Error(missing('nft'));
      return { code, stdout, stderr };
    } catch (error) {
      if (isMissingProgram(error)) throw new Error(missing(program), { cause: error });
      throw error;
    }
  };
}

function missing(program: string): string {
  const name = program === 'nft' ? 'nftables' : 'util-linux';
  return `${program} is not installed: it is in the Debian and Ubuntu package ${name} (apt-get install ${name})`;
}

export interface InteractiveRunner {
  readonly run: NftRunner;
  /** Scripts done by the long-lived process, and by a process of their own. */
  readonly counts: { interactive: number; spawned: number };
  close(): Promise<void>;
}

/** What opens a file without a name, on Linux, given a folder. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/** Where the child finds the file that {@link namelessFile} made: as its descriptor after the usual three. */
const SCRIPT_PATH = '/proc/self/fd/3';

/** A file that is gone with the processes that hold it, however those end. */
async function namelessFile(): Promise<FileHandle> {
  try {
    return await openFile(tmpdir(), O_TMPFILE | constants.O_RDWR, 0o600);
  } catch {
    // Not every file system can.
    const path = join(
      tmpdir(),
      `podwall-nft-${process.pid}-${Math.random().toString(36).slice(2)}`,
    );
    const file = await openFile(path, 'wx+', 0o600);
    await unlink(path);
    return file;
  }
}

/** nft grows slowly while it runs: after so many commands it is replaced. */
const RECYCLE_AFTER = 2000;
const MAX_LINE = 4096;

/**
 * One long-lived `nft -i`, several times as fast as a process per script. What it cannot do (it
 * ended, it does not answer) is done by {@link spawnRunner}; a script that lists anything always is.
 * Scripts run one after the other.
 */
export function interactiveRunner(
  options: RunnerOptions & { readonly answerWithinMs?: number } = {},
): InteractiveRunner {
  const fallback = spawnRunner(options);
  const counts = { interactive: 0, spawned: 0 };
  type Session = {
    readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
    errors: string;
    output: string;
    done: number;
    readonly ended: Promise<void>;
    dead: boolean;
    wake: () => void;
  };
  let session: Session | undefined;
  /** Scripts that do not fit on a line; one at a time. */
  let file: FileHandle | undefined;
  let queue: Promise<unknown> = Promise.resolve();
  let serial = 0;
  let failures = 0;

  const open = (scripts: FileHandle): Session => {
    const [program, args] = command(options, ['-i']);
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe', scripts.fd],
      env: environment,
    }) as ChildProcessByStdio<Writable, Readable, Readable>;
    let finish: () => void = () => {};
    const made: Session = {
      child,
      errors: '',
      output: '',
      done: 0,
      dead: false,
      wake: () => {},
      ended: new Promise((resolve) => {
        finish = resolve;
      }),
    };
    const end = (): void => {
      made.dead = true;
      made.wake();
      finish();
    };
    child.on('error', end);
    child.on('close', end);
    child.stdin.on('error', end);
    child.stdout.on('data', (data: Buffer) => {
      made.output = (made.output + data.toString('utf8')).slice(-65536);
    });
    child.stderr.on('data', (data: Buffer) => {
      made.errors += data.toString('utf8');
      made.wake();
    });
    return made;
  };
  const shut = async (old: Session): Promise<void> => {
    old.child.stdin.end('quit\n');
    const timer = setTimeout(() => old.child.kill('SIGKILL'), 2000);
    await old.ended;
    clearTimeout(timer);
  };

  const viaSession = async (script: string): Promise<NftResult | undefined> => {
    if (failures >= 3) return undefined;
    try {
      file ??= await namelessFile();
    } catch {
      // Nowhere to put long scripts: a process each needs no place.
      failures = 3;
      return undefined;
    }
    session ??= open(file);
    const current = session;
    let line = script
      .trim()
      .split('\n')
      .filter((part) => part !== '')
      .join('; ');
    // Blocks do not fit on one line, and long lines are slow: nft then reads a file.
    if (script.includes('{\n') || script.includes('#') || line.length > MAX_LINE) {
      await file.truncate(0);
      await file.write(script, 0);
      line = `include "${SCRIPT_PATH}"`;
    }
    // nft prints no end of command; a question about a table that cannot be makes it print an error.
    const mark = `end_${++serial}`;
    current.errors = '';
    if (current.dead) return undefined;
    current.child.stdin.write(`${line}\nlist chain inet ${mark} c\n`);
    const answer = await waitFor(current, mark, options.answerWithinMs ?? 60_000);
    if (answer === undefined) return undefined;
    current.done += 1;
    counts.interactive += 1;
    if (current.done >= RECYCLE_AFTER) {
      session = undefined;
      void shut(current);
    }
    return { code: answer === '' ? 0 : 1, stdout: '', stderr: answer };
  };

  const execute = async (script: string): Promise<NftResult> => {
    if (!/^\s*(list|#)/.test(script)) {
      const result = await viaSession(script);
      if (result !== undefined) {
        failures = 0;
        return result;
      }
      failures += 1;
      const broken = session;
      session = undefined;
      broken?.child.kill('SIGKILL');
      await broken?.ended;
      // The script may have been committed before the process ended. The caller reads the kernel
      // again after a failure, so a failure it is; running it twice could be another change.
      if (failures < 3)
        return { code: null, stdout: '', stderr: 'nft ended or did not answer; outcome not known' };
    }
    counts.spawned += 1;
    return fallback(script);
  };

  return {
    counts,
    run: (script) => {
      const result = queue.then(() => execute(script));
      queue = result.catch(() => {});
      return result;
    },
    close: async () => {
      await queue;
      if (session !== undefined && !session.dead) await shut(session);
      session = undefined;
      await file?.close();
      file = undefined;
    },
  };
}

/** What nft printed before the error about `mark`; undefined when it ended or took too long. */
function waitFor(
  session: { errors: string; dead: boolean; wake: () => void },
  mark: string,
  withinMs: number,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => finish(undefined), withinMs);
    const finish = (answer: string | undefined): void => {
      clearTimeout(timer);
      session.wake = (): void => {};
      resolve(answer);
    };
    session.wake = (): void => {
      // Three lines: the error, the command, a line of marks under it.
      const found = new RegExp(`Error:[^\\n]*\\nlist chain inet ${mark} c\\n[ ^]*\\n`).exec(
        session.errors,
      );
      if (found !== null) finish(session.errors.slice(0, found.index));
      else if (session.dead) finish(undefined);
    };
    session.wake();
  });
}
