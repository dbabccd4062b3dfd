/**
 * `podwall agent`: the enforcer of one node, its status and its removal. Turns options into calls of
 * src/agent; must not know how the kernel is programmed.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { Option, type Command } from 'commander';
import type { AgentStatus } from '../../agent/agent.ts';
import { CliError, type CommandModule, type ExitCode, type Io } from '../command.ts';
import { parseSettings } from '../input.ts';

interface Options {
  readonly node?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly netns?: string;
  readonly stateFile: string;
  readonly socket: string;
  readonly listen: string;
  readonly unknownPod: string;
  readonly deny: string;
  readonly coalesce: string;
  readonly auditInterval: string;
  readonly strictCidr?: boolean;
  readonly set?: readonly string[];
  readonly dryRun?: boolean;
  readonly observe?: boolean;
  readonly logLevel: string;
  readonly mode: string;
  readonly denyLog: string;
  readonly denyLogInterval: string;
  readonly events: boolean;
  readonly follow?: boolean;
  readonly output: string;
}

const collect = (value: string, previous: readonly string[] = []): string[] => [...previous, value];

const help = `
Actions:
  run       watch the cluster and enforce (the default)
  status    what the agent of this node is doing
  log       denied connections of late, as JSON lines; with --follow also those
            to come
  cleanup   remove every rule; nothing is enforced afterwards

The rules stay in the kernel when the agent stops, crashes or is upgraded; only
cleanup removes them.

Examples:
  podwall agent --node "$NODE_NAME"                 in a DaemonSet
  podwall agent --kubeconfig admin.conf --dry-run   what would be written
  podwall agent --mode audit                        drop nothing, count and log
  podwall agent status
  podwall agent log --follow
  podwall agent cleanup`;

export const agent: CommandModule = {
  declare(command: Command): void {
    command
      .argument('[action]', 'run, status, log or cleanup', 'run')
      .option('--node <name>', 'name of this node (default: $NODE_NAME, else the host name)')
      .option('--kubeconfig <file>', 'default: $KUBECONFIG, ~/.kube/config, or the service account')
      .option('--context <name>', 'context of the kubeconfig')
      .option('--netns <file>', "the node's network namespace (default: this one)")
      .option(
        '--state-file <file>',
        'last known objects, for a boot without the API; "" for none',
        '/var/lib/podwall/state',
      )
      .option('--socket <file>', 'socket for `agent status`; "" for none', '/run/podwall.sock')
      .option('--listen <address>', '/metrics, /healthz and /readyz; "" for none', '127.0.0.1:9733')
      .option(
        '--unknown-pod <verdict>',
        'address in the pod range that no known pod has: deny or allow',
        'deny',
      )
      .option('--deny <how>', 'denied packets: drop (silently) or reject', 'drop')
      .option(
        '--mode <mode>',
        'enforce, or audit: what would be dropped is counted, logged and let pass',
        'enforce',
      )
      .option(
        '--deny-log <where>',
        'denied connections: socket (for `agent log`), stdout (there, too) or off',
        'socket',
      )
      .option('--deny-log-interval <s>', 'read what the kernel recorded so often', '5')
      .option('--no-events', 'no Events on policies that are not valid')
      .option('--follow', 'of log: do not end')
      .option('--coalesce <ms>', 'gather changes so long after the first', '25')
      .option('--audit-interval <s>', 'read the kernel and compare so often; 0 for never', '60')
      .option('--strict-cidr', 'parse CIDRs as Kubernetes 1.36 and later do')
      .option(
        '--set <name=value>',
        'decide what the specification leaves open (repeatable)',
        collect,
      )
      .option('--dry-run', 'print the nft transactions that would be committed, and end')
      .addOption(new Option('--observe', 'count denied flows, for `podwall lab`').hideHelp())
      .option('--log-level <level>', 'debug, info, warn or error', 'info')
      .option('-o, --output <format>', 'of status: text or json', 'text')
      .addHelpText('after', help);
  },

  async run(io: Io, args: readonly string[], raw: Record<string, unknown>): Promise<ExitCode> {
    const options = raw as unknown as Options;
    switch (args[0] ?? 'run') {
      case 'run':
        return options.dryRun ? dryRun(io, options) : start(io, options);
      case 'status':
        return status(io, options);
      case 'log':
        return log(io, options);
      case 'cleanup':
        return cleanup(io, options);
      default:
        throw new CliError(
          `no such action: ${args[0]}`,
          2,
          'actions are run, status, log and cleanup',
        );
    }
  },
};

function oneOf<T extends string>(value: string, allowed: readonly T[], name: string): T {
  const found = allowed.find((one) => one === value);
  if (found === undefined)
    throw new CliError(`${name} cannot be "${value}"`, 2, `use ${allowed.join(' or ')}`);
  return found;
}

function number(value: string, name: string): number {
  const result = Number(value);
  if (value.trim() === '' || !Number.isFinite(result) || result < 0)
    throw new CliError(`${name} must be a number, not "${value}"`);
  return result;
}

/** Recorded flows a second and rule; the rest is counted by the kernel only. */
const recordLimit = 1000;

function dataplaneOptions(options: Options): {
  unknownPod: 'deny' | 'allow';
  deny: 'drop' | 'reject';
  mode: 'enforce' | 'audit';
  observe: boolean;
  observeLimit: number;
} {
  const where = oneOf(options.denyLog, ['socket', 'stdout', 'off'], '--deny-log');
  return {
    mode: oneOf(options.mode, ['enforce', 'audit'], '--mode'),
    observe: where !== 'off',
    observeLimit: recordLimit,
    unknownPod: oneOf(options.unknownPod, ['deny', 'allow'], '--unknown-pod'),
    deny: oneOf(options.deny, ['drop', 'reject'], '--deny'),
  };
}

async function connection(
  io: Io,
  options: Options,
): Promise<import('../../client/transport.ts').Connection> {
  const { connectTo } = await import('../../client/transport.ts');
  const { KubeconfigError } = await import('../../client/errors.ts');
  try {
    return connectTo({
      env: io.env,
      cwd: io.cwd,
      kubeconfig: options.kubeconfig,
      context: options.context,
      userAgent: 'podwall-agent',
    });
  } catch (error) {
    if (error instanceof KubeconfigError) throw new CliError(error.message, 2, error.hint);
    throw error;
  }
}

const nodeName = (io: Io, options: Options): string =>
  options.node ?? io.env['NODE_NAME'] ?? hostname();

async function start(io: Io, options: Options): Promise<ExitCode> {
  // Lists of large clusters leave much garbage; without this V8 lets it pile up to several times the
  // size of the stores (figures: bench/client-memory.ts).
  setFlagsFromString('--optimize-for-size');
  const { pino } = await import('pino');
  const { runAgent } = await import('../../agent/agent.ts');
  const level = oneOf(options.logLevel, ['debug', 'info', 'warn', 'error'], '--log-level');
  const file = new URL('../../../package.json', import.meta.url);
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  await runAgent({
    node: nodeName(io, options),
    connection: await connection(io, options),
    version,
    log: pino(
      { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
      { write: (line: string) => io.err(line) },
    ),
    signal: io.signal,
    netns: options.netns,
    stateFile: options.stateFile || undefined,
    listen: [options.listen, options.socket].filter((where) => where !== ''),
    // The lab reads every denied flow as evidence: no limit then.
    dataplane: {
      ...dataplaneOptions(options),
      ...(options.observe === true ? { observe: true, observeLimit: 0 } : {}),
    },
    settings: parseSettings(options.set),
    strictCidr: options.strictCidr ?? false,
    coalesceMs: number(options.coalesce, '--coalesce'),
    auditMs: number(options.auditInterval, '--audit-interval') * 1000,
    denyLogMs:
      // In the lab, probes empty the record; two readers would take it from each other.
      options.denyLog === 'off' || options.observe === true
        ? 0
        : Math.max(0.1, number(options.denyLogInterval, '--deny-log-interval')) * 1000,
    ...(options.denyLog === 'stdout' ? { onDenied: (line) => io.out(`${line}\n`) } : {}),
    events: options.events,
  });
  return 0;
}

async function log(io: Io, options: Options): Promise<ExitCode> {
  const { streamSocket } = await import('../../agent/http.ts');
  try {
    await streamSocket(
      options.socket,
      options.follow ? '/log?follow=true' : '/log',
      io.signal,
      (text) => io.out(text),
    );
  } catch (error) {
    throw new CliError(
      `no deny log on ${options.socket}: ${(error as Error).message}`,
      3,
      'the agent must run, and not with --deny-log off',
    );
  }
  if (options.follow && !io.signal.aborted) {
    io.err('the agent has ended\n');
    return 3;
  }
  return 0;
}

async function status(io: Io, options: Options): Promise<ExitCode> {
  const { askSocket } = await import('../../agent/http.ts');
  let answer: AgentStatus;
  try {
    answer = (await askSocket(options.socket, '/status')) as AgentStatus;
  } catch (error) {
    throw new CliError(
      `no agent answers on ${options.socket}: ${(error as Error).message}`,
      3,
      'its rules, if there are any, stay in the kernel all the same',
    );
  }
  if (oneOf(options.output, ['text', 'json'], '--output') === 'json') {
    io.out(
      `${JSON.stringify({ apiVersion: 'podwall/v1', kind: 'AgentStatus', ...answer }, undefined, 2)}\n`,
    );
  } else {
    io.out(formatStatus(answer));
  }
  return answer.ready && answer.lastError === undefined ? 0 : 1;
}

function formatStatus(answer: AgentStatus): string {
  const lines = [
    `node       ${answer.node}`,
    `agent      ${answer.version}, since ${answer.startedAt}`,
    `cluster    ${answer.server}`,
    `mode       ${answer.mode}${answer.mode === 'audit' ? ': nothing is dropped' : ''}`,
    `ready      ${answer.ready ? 'yes' : 'no'} (rules from: ${answer.source})`,
    `applied    ${answer.lastApplied ?? 'never'}${answer.epoch === undefined ? '' : `, epoch ${answer.epoch}`}`,
  ];
  const { program } = answer;
  if (program !== undefined) {
    lines.push(
      `program    ${program.policies} policies, ${program.localAddresses} local addresses, ${program.sets} sets with ${program.elements} elements, ${program.chains} chains`,
    );
  }
  lines.push(`repairs    ${answer.driftRepairs}`);
  if (answer.closedBy.length > 0) lines.push(`closed by  ${answer.closedBy.join(', ')}`);
  if (answer.lastError !== undefined) lines.push(`error      ${answer.lastError}`);
  for (const { severity, message } of answer.findings)
    lines.push(`${severity.padEnd(10)} ${message}`);
  for (const text of program?.warnings ?? []) lines.push(`warning    ${text}`);
  for (const one of answer.resources) {
    const trouble =
      one.state === 'synced' || one.lastError === undefined ? '' : `  ${one.lastError}`;
    lines.push(`  ${one.resource.padEnd(58)} ${one.state.padEnd(9)} ${one.objects}${trouble}`);
  }
  return `${lines.join('\n')}\n`;
}

async function cleanup(io: Io, options: Options): Promise<ExitCode> {
  const { createBackend, spawnRunner } = await import('../../dataplane/index.ts');
  const backend = createBackend({
    nft: spawnRunner(options.netns === undefined ? {} : { netns: options.netns }),
  });
  const tables = await backend.read();
  await backend.cleanup();
  io.err(
    tables.length === 0
      ? 'there was nothing to remove\n'
      : `removed: ${tables.map((one) => `table inet ${one.table}`).join(', ')}\n`,
  );
  return 0;
}

async function dryRun(io: Io, options: Options): Promise<ExitCode> {
  const { readCluster } = await import('../../client/snapshot-source.ts');
  const { policyResources } = await import('../../client/resource.ts');
  const { buildSnapshot } = await import('../../engine/build.ts');
  const { compileNode, createBackend, spawnRunner } = await import('../../dataplane/index.ts');
  const cluster = await connection(io, options);
  try {
    const { objects, missing } = await readCluster(cluster, {
      kinds: policyResources.map((one) => one.kind),
      signal: io.signal,
    });
    if (missing.length > 0) throw new CliError(missing.map((one) => one.reason).join('; '), 3);
    const { snapshot } = buildSnapshot(
      objects.map((object) => ({ object })),
      { settings: parseSettings(options.set), strictCidr: options.strictCidr ?? false },
    );
    const program = compileNode(snapshot, nodeName(io, options), dataplaneOptions(options));
    const real = spawnRunner(options.netns === undefined ? {} : { netns: options.netns });
    const backend = createBackend({
      // Reading is real; what would be written is printed instead.
      nft: (script) =>
        script.startsWith('list ')
          ? real(script)
          : Promise.resolve({ code: 0, stdout: '', stderr: '' }),
      options: dataplaneOptions(options),
      collectAfterMs: 0,
      onTransaction: (phase, script) => io.out(`# ${phase}\n${script}`),
    });
    const { transactions } = await backend.apply(program);
    if (transactions.length === 0) io.err('the kernel is up to date\n');
    return transactions.length === 0 ? 0 : 1;
  } finally {
    cluster.close();
  }
}
