/**
 * `podwall gen cluster`: realistic synthetic objects for tests and benchmarks. Must not know the
 * distributions.
 */
import type { Command } from 'commander';
import { generateCluster, realClusterSize, type ClusterProfile } from '../../engine/generate.ts';
import { CliError, type CommandModule } from '../command.ts';

const help = `
The same options and seed give the same objects on every machine. Profiles:
  default   teams, tiers and a few services for the whole cluster
  real      one peer selector a policy that finds about two pods, six pods on a
            node, as measured on a large production cluster; without numbers
            ${realClusterSize.pods} pods, ${realClusterSize.namespaces} namespaces, ${realClusterSize.policies} policies

Examples:
  podwall gen cluster --pods 1000 --namespaces 50 --policies 200 > cluster.yaml
  podwall gen cluster --profile real -o json | podwall reach -f - -o csv
  podwall gen cluster --pods 20 --policies 6 | podwall unused -f -`;

function numberIn(
  options: Record<string, unknown>,
  name: string,
  least: number,
): number | undefined {
  const text = options[name];
  if (text === undefined) return undefined;
  const given = typeof text === 'string' ? text : '';
  const value = /^-?\d+$/.test(given) ? Number(given) : Number.NaN;
  if (!Number.isSafeInteger(value) || value < least) {
    throw new CliError(
      `--${name} ${given} is no ${least < 0 ? 'integer' : `number from ${least}`}`,
      2,
      `for example --${name} 100`,
    );
  }
  return value;
}

function declareCluster(command: Command): void {
  command
    .command('cluster')
    .description('Namespaces, nodes, pods and NetworkPolicies of a cluster that does not exist.')
    .option('--pods <n>', 'how many pods (default 100)')
    .option('--namespaces <n>', 'how many namespaces (default 10)')
    .option('--policies <n>', 'how many NetworkPolicies (default 50)')
    .option('--seed <n>', 'any integer (default 1)')
    .option('--profile <name>', 'default or real', 'default')
    .option('-o, --output <format>', 'yaml or json', 'yaml')
    .addHelpText('after', help);
}

export const gen: CommandModule = {
  declare(command) {
    command
      .description('Synthetic input for tests and benchmarks.')
      .addHelpText('after', '\nSee podwall gen cluster --help.');
    declareCluster(command);
  },
  async run(io, args, options) {
    if (args[0] !== 'cluster') {
      const what =
        args[0] === undefined ? 'gen needs a subcommand' : `no such subcommand: gen ${args[0]}`;
      throw new CliError(what, 2, 'there is `podwall gen cluster`');
    }
    const { profile, output } = options as { profile: string; output: string };
    if (profile !== 'default' && profile !== 'real') {
      throw new CliError(`no such profile: ${profile}`, 2, 'use default or real');
    }
    if (output !== 'yaml' && output !== 'json') {
      throw new CliError(`no such output format: ${output}`, 2, 'use yaml or json');
    }
    const size = profile === 'real' ? realClusterSize : { pods: 100, namespaces: 10, policies: 50 };
    const objects = generateCluster({
      pods: numberIn(options, 'pods', 0) ?? size.pods,
      namespaces: numberIn(options, 'namespaces', 1) ?? size.namespaces,
      policies: numberIn(options, 'policies', 0) ?? size.policies,
      seed: numberIn(options, 'seed', Number.MIN_SAFE_INTEGER) ?? 1,
      profile: profile satisfies ClusterProfile,
    });
    const { stringify } = await import('yaml');
    // A piece at a time: the whole may not fit one string, and a reader may close the pipe early.
    let piece = output === 'json' ? '{"apiVersion":"v1","kind":"List","items":[\n' : '';
    for (const [index, object] of objects.entries()) {
      if (io.signal.aborted) return 1;
      piece +=
        output === 'json'
          ? `${index === 0 ? '' : ',\n'}${JSON.stringify(object)}`
          : `${index === 0 ? '' : '---\n'}${stringify(object, { lineWidth: 0 })}`;
      if (piece.length < 65536) continue;
      io.out(piece);
      piece = '';
      // Lets the stream write, and an error of the pipe arrive.
      await new Promise((resolve) => setImmediate(resolve));
    }
    io.out(output === 'json' ? `${piece}\n]}\n` : piece);
    return 0;
  },
};
