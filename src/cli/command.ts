/**
 * The contract between `main` and a verb: what a command declares and what it is given. A command
 * must not touch `process` for output or exit: it gets an `Io`, so that tests can run it whole.
 */
import type { Command } from 'commander';

/** 0 fine · 1 findings or differences · 2 usage or input error · 3 cluster, lab or kernel could not be reached. */
export type ExitCode = 0 | 1 | 2 | 3;

export interface Io {
  /** Data: what a pipe should receive. */
  out(text: string): void;
  /** Everything else: progress, warnings, errors. */
  err(text: string): void;
  readonly stdin: NodeJS.ReadableStream;
  readonly isTty: boolean;
  readonly color: boolean;
  /** Terminal width in columns; 80 when unknown. */
  readonly columns: number;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Aborted by Ctrl-C or SIGTERM: finish cleaning up, then return. */
  readonly signal: AbortSignal;
  /**
   * From now on Ctrl-C is for a program that runs in this terminal, not for podwall; what comes back
   * ends that.
   */
  handOver?(): () => void;
}

export interface CommandModule {
  /** Adds this verb's arguments, options, description and examples to an empty commander command. */
  declare(command: Command): void;
  /**
   * `args` and `options` as commander parsed them; a subcommand's name, and its own options. A verb
   * that runs another program hands back that program's exit code.
   */
  run(io: Io, args: readonly string[], options: Record<string, unknown>): Promise<ExitCode>;
}

/** A usage or input error whose message is complete for the user; `main` prints it and exits with `code`. */
export class CliError extends Error {
  readonly code: ExitCode;
  readonly hint: string | undefined;
  constructor(message: string, code: ExitCode = 2, hint?: string) {
    super(message);
    this.name = 'CliError';
    this.code = code;
    this.hint = hint;
  }
}
