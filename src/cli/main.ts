/**
 * Entry of the command line: builds the verb list, runs one verb, and is the only place that turns
 * exceptions into messages and exit codes. Must not know what any verb does.
 */
import { Command, CommanderError } from 'commander';
import { readFileSync } from 'node:fs';
import { CliError, type ExitCode, type Io } from './command.ts';
import { commands } from './commands/index.ts';

const examples = `
Examples:
  podwall demo                          the whole story with real packets
  podwall lab up                        a small cluster on this machine
  podwall COMMAND --help                options and examples of one command

Exit codes: 0 fine, 1 findings or differences, 2 usage or input error,
3 could not reach the cluster, lab or kernel.`;

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** The process as an `Io`. Colour follows NO_COLOR, FORCE_COLOR and the terminal. */
export function processIo(signal: AbortSignal): Io {
  const env = process.env;
  const isTty = process.stdout.isTTY ?? false;
  const forced = env['FORCE_COLOR'] !== undefined && env['FORCE_COLOR'] !== '0';
  const color = !env['NO_COLOR'] && (forced || (isTty && env['TERM'] !== 'dumb'));
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    stdin: process.stdin,
    isTty,
    color,
    // A pseudo-terminal that nobody gave a size says 0.
    columns: process.stdout.columns || Number(env['COLUMNS']) || 80,
    env,
    cwd: process.cwd(),
    signal,
  };
}

/** Runs one command line and returns its exit code; never throws for a user's mistake. */
export async function runCli(argv: readonly string[], io: Io): Promise<ExitCode> {
  let code: ExitCode = 0;
  const program = new Command('podwall')
    .description(
      'The firewall for Kubernetes pods: understand, prove, try, enforce and see NetworkPolicies.',
    )
    .version(version())
    .addHelpText('after', examples)
    .showSuggestionAfterError()
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: io.out,
      writeErr: io.err,
      getOutHelpWidth: () => io.columns,
      getErrHelpWidth: () => io.columns,
    });
  const [first, second] = argv.filter((word) => !word.startsWith('-'));
  const wanted = first === 'help' ? second : first;
  for (const entry of commands) {
    const command = program.command(entry.name).summary(entry.summary).description(entry.summary);
    if (entry.name !== wanted) continue;
    const module = await entry.load();
    command.copyInheritedSettings(program);
    module.declare(command);
    // A verb may have subcommands; their names then come first in `args`.
    const bind = (leaf: Command, path: readonly string[]): void => {
      // Otherwise a mistyped subcommand would be one argument too many; the verb says it better.
      if (leaf.commands.length > 0) leaf.allowExcessArguments();
      leaf.action(async () => {
        code = await module.run(io, [...path, ...leaf.args], leaf.opts());
      });
      for (const inner of leaf.commands) bind(inner, [...path, inner.name()]);
    };
    bind(command, []);
  }
  try {
    if (argv.length === 0) {
      program.outputHelp();
      return 0;
    }
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    return report(error, io);
  }
}

/**
 * Errors that the rooms below throw for things a user can meet, by name: importing the classes here
 * would load those rooms for every verb.
 */
const expected: Readonly<Record<string, ExitCode>> = {
  KubeconfigError: 2,
  GitError: 2,
  LabRefusal: 2,
  LabNotFound: 2,
  KubeApiError: 3,
  ConnectionError: 3,
  ExecError: 3,
  NftError: 3,
  LabError: 3,
  LabUnavailable: 3,
};

function report(error: unknown, io: Io): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof CliError) {
    io.err(`error: ${error.message}\n`);
    if (error.hint !== undefined) io.err(`hint: ${error.hint}\n`);
    return error.code;
  }
  const text = error instanceof Error ? error.message : String(error);
  io.err(`error: ${text}\n`);
  const known = error instanceof Error ? expected[error.name] : undefined;
  if (known !== undefined) {
    for (const key of ['hint', 'remedy']) {
      const hint: unknown = Reflect.get(error as Error, key);
      if (typeof hint === 'string') io.err(`hint: ${hint}\n`);
    }
    return known;
  }
  if (io.env['PODWALL_DEBUG'] && error instanceof Error) io.err(`${error.stack}\n`);
  else io.err('hint: this should not happen; PODWALL_DEBUG=1 shows where it comes from\n');
  return 3;
}

export async function main(argv: readonly string[]): Promise<void> {
  const abort = new AbortController();
  let interrupted: NodeJS.Signals | undefined;
  let handedOver = false;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (handedOver && name === 'SIGINT') return;
      interrupted ??= name;
      abort.abort();
    });
  }
  // A closed pipe (`podwall … | head`) is the reader's choice, not an error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    process.stderr.write(`error: cannot write the output: ${error.message}\n`);
    process.exit(3);
  });
  // Nobody listens to messages any more: the answer and the exit code still count.
  process.stderr.on('error', () => {});
  const io: Io = {
    ...processIo(abort.signal),
    handOver: () => {
      handedOver = true;
      return () => {
        handedOver = false;
      };
    },
  };
  const code = await runCli(argv, io);
  if (interrupted !== undefined) process.exitCode = interrupted === 'SIGINT' ? 130 : 143;
  else process.exitCode = code;
}
