/**
 * Runs another program to its end and hands back what it printed. Must not know which programs
 * podwall runs or what their output means.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

export interface RunOptions {
  /** Written to standard input, which is then closed. Without it standard input is empty. */
  readonly input?: string | Uint8Array;
  /** After this many milliseconds the program is killed and ExecError `ETIMEDOUT` thrown. */
  readonly timeoutMs?: number;
  /** Aborting kills the program and throws ExecError `ABORT_ERR` with the reason as cause. */
  readonly signal?: AbortSignal;
  /** The whole environment; default: this process's. */
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Limit of standard output and standard error each, in bytes; default 256 MiB. Beyond: ExecError `EMSGSIZE`. */
  readonly maxOutput?: number;
}

export interface RunResult {
  /** Exit code; null when a signal ended the program. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that could not be started, or was stopped by podwall. Not thrown for a failing exit code. */
export class ExecError extends Error {
  override readonly name = 'ExecError';
  /** `ENOENT` (no such program), `EACCES`, …, or `ETIMEDOUT`, `ABORT_ERR`, `EMSGSIZE`. */
  readonly code: string;
  readonly command: string;
  /** What the program had written to standard error by then. */
  readonly stderr: string;

  constructor(
    message: string,
    details: { code: string; command: string; stderr?: string; cause?: unknown },
  ) {
    super(message, { cause: details.cause });
    this.code = details.code;
    this.command = details.command;
    this.stderr = details.stderr ?? '';
  }
}

const DEFAULT_MAX_OUTPUT = 256 * 1024 * 1024;

/** How long a program may take to end after SIGTERM before SIGKILL follows. */
const GRACE_MS = 2000;

/**
 * Runs `command` with `args`, without a shell. Resolves on every exit, failing or not.
 *
 * @throws ExecError when the program cannot start, takes too long, prints too much or is aborted.
 */
export function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const { signal } = options;
    if (signal?.aborted === true) {
      reject(abortError(command, signal));
      return;
    }

    let child: ChildProcess;
    try {
      child = spawn(command, [...args], {
        stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
        ...(options.env === undefined ? {} : { env: options.env }),
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      });
    } catch (error) {
      // For example a NUL byte in an argument: spawn throws at once.
      reject(startError(command, error));
      return;
    }

    const maxOutput = options.maxOutput ?? DEFAULT_MAX_OUTPUT;
    const out = collector(maxOutput);
    const err = collector(maxOutput);
    let stopped: ((stderr: string) => ExecError) | undefined;
    let timer: NodeJS.Timeout | undefined;
    let killTimer: NodeJS.Timeout | undefined;

    const stop = (reason: (stderr: string) => ExecError): void => {
      if (stopped !== undefined) return;
      stopped = reason;
      child.kill('SIGTERM');
      killTimer = setTimeout(() => {
        child.kill('SIGKILL');
        // A grandchild may keep the pipes open for ever; `close` must not wait for it.
        child.stdout?.destroy();
        child.stderr?.destroy();
      }, GRACE_MS);
    };
    const settle = (): void => {
      clearTimeout(timer);
      clearTimeout(killTimer);
      signal?.removeEventListener('abort', onAbort);
    };
    const onAbort = (): void =>
      stop((stderr) => abortError(command, signal as AbortSignal, stderr));
    const onOverflow = (): void =>
      stop(
        (stderr) =>
          new ExecError(`${command} printed more than ${maxOutput} bytes`, {
            code: 'EMSGSIZE',
            command,
            stderr,
          }),
      );

    child.stdout?.on('data', (chunk: Buffer) => {
      if (!out.add(chunk)) onOverflow();
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      if (!err.add(chunk)) onOverflow();
    });
    if (options.input !== undefined) {
      // The program may end without reading its input; its exit code tells the story, EPIPE does not.
      child.stdin?.on('error', () => {});
      child.stdin?.end(options.input);
    }
    if (options.timeoutMs !== undefined) {
      const limit = options.timeoutMs;
      timer = setTimeout(() => {
        stop(
          (stderr) =>
            new ExecError(`${command} did not end within ${limit} ms`, {
              code: 'ETIMEDOUT',
              command,
              stderr,
            }),
        );
      }, limit);
    }
    signal?.addEventListener('abort', onAbort, { once: true });

    child.once('error', (error) => {
      // Also emitted when a kill fails; only a program that never started has no pid.
      if (child.pid !== undefined) return;
      settle();
      reject(startError(command, error));
    });
    child.once('close', (code, exitSignal) => {
      if (child.pid === undefined) return;
      settle();
      const stderr = err.text();
      if (stopped === undefined) resolve({ code, signal: exitSignal, stdout: out.text(), stderr });
      else reject(stopped(stderr));
    });
  });
}

function collector(limit: number): { add(chunk: Buffer): boolean; text(): string } {
  const chunks: Buffer[] = [];
  let size = 0;
  return {
    add(chunk) {
      size += chunk.length;
      if (size > limit) return false;
      chunks.push(chunk);
      return true;
    },
    text: () => Buffer.concat(chunks).toString('utf8'),
  };
}

function startError(command: string, error: unknown): ExecError {
  const code = errorCode(error) ?? 'EUNKNOWN';
  const message =
    code === 'ENOENT'
      ? `cannot run ${command}: no such program (or no such working directory)`
      : `cannot run ${command}: ${error instanceof Error ? error.message : String(error)}`;
  return new ExecError(message, { code, command, cause: error });
}

function abortError(command: string, signal: AbortSignal, stderr = ''): ExecError {
  return new ExecError(`${command} was stopped`, {
    code: 'ABORT_ERR',
    command,
    stderr,
    cause: signal.reason,
  });
}

function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Whether an error says that the program is not installed. */
export function isMissingProgram(error: unknown): boolean {
  return error instanceof ExecError && error.code === 'ENOENT';
}
