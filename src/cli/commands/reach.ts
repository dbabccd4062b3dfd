/**
 * `podwall reach`: all pairs at once, workloads collapsed, the world as address ranges. Must not
 * know how reachability is computed.
 */
import type { PeerGroup } from '../../engine/groups.ts';
import { computeReach } from '../../engine/reach.ts';
import { resolveReference, splitPort } from '../../engine/reference.ts';
import type { Snapshot } from '../../engine/snapshot.ts';
import { containsAddress } from '../../net/address-set.ts';
import { connectionsOf, type ConnectionSet } from '../../net/connection-set.ts';
import { formats } from '../../report/formats/index.ts';
import { toReachability } from '../../report/to-reachability.ts';
import { CliError, type CommandModule } from '../command.ts';
import { completenessNote, declareInput, readSnapshot, type InputOptions } from '../input.ts';

interface ReachOptions extends InputOptions {
  readonly from?: string;
  readonly to?: string;
  readonly port?: string;
  readonly pods?: boolean;
  readonly output: string;
}

const help = `
Formats (-o):
${formats.map((format) => `  ${format.name.padEnd(9)}${format.summary}`).join('\n')}

Examples:
  podwall reach -f manifests/
  podwall reach -f manifests/ --to prod/deploy/db --port 5432
  podwall reach -f manifests/ --from dev -o matrix
  helm template . | podwall reach -f - -o json > reach.json
  podwall reach --context prod -o html > reach.html

--from and --to take a namespace, or what \`podwall why\` takes.
Pairs that are not listed are closed.

Exit codes: 0 fine, 2 usage or input error, 3 the cluster could not be read.`;

/** A filter of groups: a namespace by its name, else an end as `why` understands it. */
function chooser(
  snapshot: Snapshot,
  text: string | undefined,
  namespace: string | undefined,
): ((group: PeerGroup) => boolean) | undefined {
  if (text === undefined) return undefined;
  if (snapshot.namespaces.has(text)) return (group) => group.namespace === text;
  const found = resolveReference(snapshot, text, namespace);
  if ('fault' in found) throw new CliError(found.fault, 2, found.hint);
  switch (found.kind) {
    case 'world':
      return (group) => group.kind === 'world';
    case 'address':
      return ({ first }) =>
        first.kind === 'world'
          ? containsAddress(first.addresses, found.address)
          : (first.kind === 'pod' ? first.pod : first.node).addresses.some(
              (address) => address.value === found.address.value,
            );
    default: {
      const ids = new Set(found.pods.map((pod) => pod.id));
      return ({ first }) => first.kind === 'pod' && ids.has(first.pod.id);
    }
  }
}

function portSet(text: string | undefined): ConnectionSet | undefined {
  if (text === undefined) return undefined;
  const split = splitPort(`x:${text}`);
  if ('fault' in split) throw new CliError(split.fault, 2, split.hint);
  const { port, protocol = 'TCP' } = split.port ?? {};
  if (typeof port !== 'number') {
    throw new CliError(`--port takes a number, not "${text}"`, 2, 'for example 80 or 53/UDP');
  }
  return connectionsOf(protocol, port);
}

export const reach: CommandModule = {
  declare(command) {
    command
      .description(
        'Who can reach whom on what: all pairs, workloads collapsed, the world as ranges.',
      )
      .option('--from <end>', 'only these sources')
      .option('--to <end>', 'only these destinations')
      .option('--port <port[/proto]>', 'only what is open on this port')
      .option('--pods', 'one line a pod: do not collapse workloads')
      .option('-o, --output <format>', formats.map((format) => format.name).join(', '), 'table')
      .addHelpText('after', help);
    declareInput(command);
  },
  async run(io, _args, raw) {
    const options = raw as unknown as ReachOptions;
    const format = formats.find((one) => one.name === options.output);
    if (format === undefined) {
      const names = formats.map((one) => one.name).join(', ');
      throw new CliError(`no such output format: ${options.output}`, 2, `use ${names}`);
    }
    const within = portSet(options.port);
    const { snapshot } = await readSnapshot(io, options);
    if (snapshot.pods.length === 0) {
      throw new CliError(
        'no pods and no workloads in the input',
        2,
        'reach needs them beside the policies',
      );
    }
    const from = chooser(snapshot, options.from, options.namespace);
    const to = chooser(snapshot, options.to, options.namespace);
    const result = toReachability(computeReach(snapshot), {
      ...(from === undefined ? {} : { from }),
      ...(to === undefined ? {} : { to }),
      ...(within === undefined ? {} : { within }),
      eachPod: options.pods ?? false,
    });
    io.out(format.render(result, { color: io.color, columns: io.columns }));
    const incomplete = completenessNote(snapshot);
    if (incomplete !== '' && !options.quiet) io.err(`input: ${incomplete}\n`);
    return 0;
  },
};
