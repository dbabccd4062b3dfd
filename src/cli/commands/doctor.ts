/**
 * `podwall doctor`: are policies enforced here? Chooses the place (a cluster or the lab) and prints
 * the verdict; must not know how it is reached.
 */
import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import type { DoctorReport, DoctorSite } from '../../agent/doctor.ts';
import type { Connection } from '../../client/transport.ts';
import type { Lab } from '../../lab/index.ts';
import { CliError, type CommandModule, type ExitCode, type Io } from '../command.ts';

interface Options {
  readonly lab?: boolean;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly image: string;
  readonly serverCommand?: string;
  readonly clientCommand?: string;
  readonly node?: string;
  readonly tries: string;
  readonly patience: string;
  readonly output: string;
}

const help = `
A namespace with two pods is made: a listener and a client. Without a policy the
client must reach the listener (control), then a policy must stop it (deny),
then another must let it pass again (allow). Everything is taken away
afterwards, also after Ctrl-C.

  ENFORCED       exit code 0, with the time until policies were in force
  NOT ENFORCED   exit code 1: the deny policy changed nothing
  INCONCLUSIVE   exit code 3: a control failed, so a denial would prove nothing

Examples:
  podwall doctor                       the cluster of the current context
  podwall doctor --node worker-2       the listener on this node
  podwall doctor --lab                 the running lab, or one of its own`;

const port = 8080;

/** How the API of a lab names its version. */
const labVersionSuffix = '+podwall';

export const doctor: CommandModule = {
  declare(command: Command): void {
    command
      .option('--lab', 'examine the lab on this machine instead of a cluster')
      .option('--kubeconfig <file>', 'default: $KUBECONFIG, ~/.kube/config, or the service account')
      .option('--context <name>', 'context of the kubeconfig')
      .option('--image <image>', 'image of both pods, with a shell', 'busybox:1.36')
      .option('--server-command <shell>', 'listens on $PORT (default: httpd of BusyBox)')
      .option('--client-command <shell>', 'connects once to $HOST $PORT (default: nc of BusyBox)')
      .option('--node <name>', 'run the listener on this node')
      .option('--tries <n>', 'connections that must agree in each step', '3')
      .option('--patience <s>', 'how long each step may take to hold', '30')
      .option('-o, --output <format>', 'text or json', 'text')
      .addHelpText('after', help);
  },

  async run(io: Io, _args: readonly string[], raw: Record<string, unknown>): Promise<ExitCode> {
    const options = raw as unknown as Options;
    if (!['text', 'json'].includes(options.output))
      throw new CliError(`--output cannot be "${options.output}"`, 2, 'use text or json');
    const limits = {
      tries: whole(options.tries, '--tries', 1),
      patienceMs: whole(options.patience, '--patience', 1) * 1000,
    };
    const namespace = `podwall-doctor-${randomBytes(4).toString('hex')}`;
    const { examine } = await import('../../agent/doctor.ts');
    const { site, close } = options.lab
      ? await labPlace(io, namespace, options)
      : await clusterPlace(io, namespace, options);
    let report: DoctorReport;
    try {
      report = await examine(
        site,
        { namespace, port },
        { ...limits, signal: io.signal, onStep: (text) => io.err(`${text}\n`) },
      );
    } catch (error) {
      if (io.signal.aborted) {
        io.err('stopped\n');
        return 3;
      }
      const hint: unknown = Reflect.get(error as object, 'hint');
      if (error instanceof Error && error.name === 'DoctorError')
        throw new CliError(error.message, 3, typeof hint === 'string' ? hint : undefined);
      throw error;
    } finally {
      await close();
    }
    io.out(
      options.output === 'json'
        ? `${JSON.stringify({ apiVersion: 'podwall/v1', kind: 'DoctorReport', ...report }, undefined, 2)}\n`
        : `${report.verdict} (${report.reason})\n`,
    );
    return report.verdict === 'ENFORCED' ? 0 : report.verdict === 'NOT ENFORCED' ? 1 : 3;
  },
};

interface Place {
  readonly site: DoctorSite;
  close(): Promise<void>;
}

function whole(text: string, name: string, least: number): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < least)
    throw new CliError(`${name} must be a whole number of at least ${least}, not "${text}"`);
  return value;
}

async function clusterPlace(io: Io, namespace: string, options: Options): Promise<Place> {
  const { connectTo } = await import('../../client/transport.ts');
  const { createClusterSite } = await import('../../agent/doctor-cluster.ts');
  const connection = connectTo({
    env: io.env,
    cwd: io.cwd,
    kubeconfig: options.kubeconfig,
    context: options.context,
    userAgent: 'podwall-doctor',
  });
  if (options.serverCommand === undefined || options.clientCommand === undefined)
    await refuseLab(connection);
  io.err(`${connection.description}: namespace ${namespace}\n`);
  return {
    site: createClusterSite({
      connection,
      namespace,
      port,
      image: options.image,
      serverCommand: options.serverCommand,
      clientCommand: options.clientCommand,
      node: options.node,
    }),
    close: async () => connection.close(),
  };
}

/** The pods of a lab run programs of this machine: an image's BusyBox they wait for in vain. */
async function refuseLab(connection: Connection): Promise<void> {
  const version = await connection
    .request<{ gitVersion?: string }>('/version')
    .catch(() => undefined);
  if (version?.gitVersion?.endsWith(labVersionSuffix) !== true) return;
  connection.close();
  throw new CliError(
    `${connection.description} is a lab, whose pods have no image and so no BusyBox`,
    2,
    '`podwall doctor --lab` examines it; or give --server-command and --client-command with programs of this machine',
  );
}

async function labPlace(io: Io, namespace: string, options: Options): Promise<Place> {
  const { connectLab, startLab } = await import('../../lab/index.ts');
  const { createLabSite } = await import('../doctor-lab.ts');
  let lab: Lab | undefined = await connectLab();
  const own = lab === undefined;
  // One that ends with this process, however that happens.
  lab ??= await startLab({ outside: [] }, { lifetime: 'parent', signal: io.signal });
  const used = lab;
  io.err(own ? 'a small lab of its own\n' : `the running lab: namespace ${namespace}\n`);
  return {
    site: createLabSite(used, { namespace, port, node: options.node }),
    close: async () => {
      if (own) await used.down();
    },
  };
}
