/**
 * `podwall render`: the nftables program of one node, with comments naming what each part is for.
 * Must not touch a kernel.
 */
import type { Command } from 'commander';
import { CliError, type CommandModule, type ExitCode, type Io } from '../command.ts';
import { declareInput, readSnapshot, type InputOptions } from '../input.ts';

export const render: CommandModule = {
  declare(command: Command): void {
    declareInput(command);
    command
      .option('--node <name>', 'the node whose program is wanted (default: the only one)')
      .addHelpText(
        'after',
        `
Examples:
  podwall render --node node-1 -f cluster/
  podwall render --node node-1 -f cluster/ | nft -c -f -   would nft accept it?`,
      );
  },

  async run(io: Io, _args: readonly string[], raw: Record<string, unknown>): Promise<ExitCode> {
    const options = raw as InputOptions & { readonly node?: string };
    const { compileNode, renderProgram } = await import('../../dataplane/index.ts');
    const { snapshot } = await readSnapshot(io, options);
    const nodes = new Set([
      ...snapshot.nodes.keys(),
      ...snapshot.pods.flatMap((pod) => pod.node ?? []),
    ]);
    const known =
      nodes.size === 0
        ? 'the input names no node'
        : `the input names ${[...nodes].toSorted().join(', ')}`;
    const [only] = nodes;
    const node = options.node ?? (nodes.size === 1 ? only : undefined);
    if (node === undefined) throw new CliError('--node is needed', 2, known);
    if (!nodes.has(node)) throw new CliError(`no node "${node}"`, 2, known);
    const program = compileNode(snapshot, node);
    for (const text of program.warnings) io.err(`warning: ${text}\n`);
    io.out(renderProgram(program));
    return 0;
  },
};
