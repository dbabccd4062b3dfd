/**
 * `podwall lab …`: the lab by hand. Turns command lines into calls of the lab and its answers into
 * text. Must not know how pods are made or probes are sent.
 */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type {
  Lab,
  LabConfig,
  LabObject,
  LabPort,
  ObjectRef,
  OutsideHost,
  Stack,
  Wiring,
} from '../../lab/types.ts';
import { CliError, type CommandModule, type ExitCode, type Io } from '../command.ts';
import { declareFault, runFault } from '../lab-fault.ts';
import { declareLessons, runLessons } from './lab-lessons.ts';

const help = `
Examples:
  podwall lab up                           two nodes, dev and prod, four pods
  export KUBECONFIG=…                      the line that lab up prints
  podwall lab up -f manifests/ --nodes 3   three nodes, all of a directory
  podwall lab apply -f policy.yaml         returns when every node enforces it
  podwall lab get pods -A -o wide
  podwall lab exec dev/devserver-1 -- curl -m1 http://10.244.2.2/
  podwall lab probe --port 80,53/UDP       everybody to every pod
  podwall lab probe --from dev/devserver-1 --to prod/prodserver-1
  podwall lab down

Pods are written NAMESPACE/NAME, outside hosts and nodes by their bare name. A
pod listens on its containers' ports, or on TCP 80 when it declares none, and
answers with its name.`;

const collect = (value: string, previous: readonly string[] = []): string[] => [...previous, value];

function declareUp(command: Command): void {
  command
    .command('up')
    .description('Start the lab; it lives until `podwall lab down`, this command only starts it.')
    .option(
      '-f, --filename <path>',
      'apply these instead of dev and prod: file, directory, -',
      collect,
    )
    .option('--empty', 'no pods at all')
    .option('--state <file>', 'keep objects in this file; a lab that starts with it has them again')
    .option('--agents', 'an agent on every node enforces, as in a real cluster')
    .option('--nodes <n|names>', 'how many nodes, or their names separated by commas')
    .option('--stack <stack>', 'ipv4, ipv6 or dual (default dual)')
    .option('--wiring <wiring>', 'routed, or bridge: pods are ports of a bridge (default routed)')
    .option('--masquerade', "pods reach outside hosts with their node's address")
    .option('--outside <name=addresses>', 'a host beside the cluster (repeatable)', collect)
    .addHelpText(
      'after',
      `
Examples:
  podwall lab up
  podwall lab up -f app/ --nodes 3
  podwall lab up --stack ipv4 --outside office=198.51.100.7
  podwall lab up --wiring bridge --agents
  podwall lab up --outside cdn=192.0.2.1,2001:db8::1
  podwall lab up --state lab.json     what was there before, pods made again`,
    );
}

function declareObjects(command: Command): void {
  command
    .command('apply')
    .description('Create or change objects; returns when the change is in force on every node.')
    .requiredOption('-f, --filename <path>', 'file, directory or - (repeatable)', collect)
    .option('-n, --namespace <name>', 'namespace of objects that name none', 'default');
  command
    .command('delete')
    .description('Delete objects, by file or by kind and name.')
    .argument('[kind]', 'pods, netpol, deployments, …')
    .argument('[name...]', 'names')
    .option('-f, --filename <path>', 'delete what these files hold (repeatable)', collect)
    .option('-n, --namespace <name>', 'namespace', 'default')
    .option('--ignore-not-found', 'a missing object is no error');
  command
    .command('get')
    .description('Show objects.')
    .argument('<kind>', 'pods, netpol, nodes, namespaces, services, deployments, …')
    .argument('[name]')
    .option('-n, --namespace <name>', 'namespace', 'default')
    .option('-A, --all-namespaces', 'objects of every namespace')
    .option('-o, --output <format>', 'wide, json, yaml or name');
}

function declareUse(command: Command): void {
  command
    .command('exec')
    .description(
      "Run any program of this machine inside a pod's, outside host's or node's network.",
    )
    .argument('<where>', 'NAMESPACE/POD, outside host or node')
    .argument('<command...>', 'program and arguments, after --')
    .passThroughOptions()
    .addHelpText(
      'after',
      `
Examples:
  podwall lab exec dev/devserver-1 -- curl -m1 http://10.244.2.2/
  podwall lab exec world-a -- ping -c1 10.244.1.2
  podwall lab exec node-1 -- nft list table inet podwall
  podwall lab exec dev/devserver-1 -- bash`,
    );
  command
    .command('probe')
    .description('Send real packets and say what came of each: a denial only with evidence.')
    .option('--from <names>', 'sources, NAMESPACE/* for all its pods (repeatable, commas)', collect)
    .option('--to <names>', 'destinations, likewise', collect)
    .option('--port <ports>', 'for example 80,6379/TCP,53/UDP', '80')
    .option('--family <4|6>', 'only this IP version')
    .option('--timeout <ms>', 'wait for the first attempt (later ones wait longer)')
    .option('--no-self', 'leave out pods to themselves')
    .option('-o, --output <format>', 'matrix, table or json (default by size)')
    .addHelpText(
      'after',
      `
Outcomes:
  OPEN         the expected listener answered
  DROPPED      no answer, the listener answered a control that no policy
               touches, and a node counted the drop of exactly this flow
  REFUSED      something answered no, although the listener was there
  NO-LISTENER  nothing listens there: says nothing about policy
  ERROR        anything else, with the reason; the exit code is then 1`,
    );
  command
    .command('status')
    .description('What runs, and which program each node enforces.')
    .option('-o, --output <format>', 'text or json', 'text');
  command.command('down').description('End the lab and everything in it.');
}

type Options = Record<string, unknown>;
type Sub = (io: Io, args: readonly string[], options: Options) => Promise<ExitCode>;

export const lab: CommandModule = {
  declare(command) {
    command
      .description('A small cluster on this machine: pods with real addresses, packets, policies.')
      .addHelpText('after', help);
    declareUp(command);
    declareObjects(command);
    declareUse(command);
    declareFault(command);
    declareLessons(command);
  },
  async run(io, args, options) {
    const [name = '', ...rest] = args;
    const sub = Object.hasOwn(subcommands, name) ? subcommands[name] : undefined;
    if (sub === undefined) {
      const what = name === '' ? 'lab needs a subcommand' : `no such subcommand: lab ${name}`;
      throw new CliError(what, 2, `one of ${Object.keys(subcommands).join(', ')}; see lab --help`);
    }
    try {
      return await sub(io, rest, options);
    } catch (error) {
      // Ctrl-C needs no message; `main` sets the code.
      if (io.signal.aborted) return 3;
      throw error;
    }
  },
};

/** Ctrl-C ends the waiting; what the lab does meanwhile it ends by itself. */
function abortable<T>(io: Io, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(io.signal.reason as Error);
    if (io.signal.aborted) return abort();
    io.signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject);
  });
}

async function connected(): Promise<Lab> {
  const { connectLab } = await import('../../lab/index.ts');
  const running = await connectLab();
  if (running !== undefined) return running;
  throw new CliError('no lab is running', 3, 'start one with `podwall lab up`');
}

const up: Sub = async (io, _args, options) => {
  const { connectLab, completeLabConfig, keptShape, startLab, LabUnavailable } =
    await import('../../lab/index.ts');
  const wanted = readConfig(options);
  const complete = completeLabConfig(wanted);
  const files = options['filename'] as string[] | undefined;
  const given = options['state'] as string | undefined;
  const state = given === undefined ? undefined : resolve(io.cwd, given);
  const running = await connectLab();
  if (running !== undefined) {
    const { config, uptimeMs, api, stateFile } = await running.status();
    if (state !== undefined && state !== stateFile) {
      throw new CliError(
        `a lab is already running, and keeps its objects ${stateFile === undefined ? 'nowhere' : `in ${stateFile}`}`,
        2,
        'end it with `podwall lab down` first',
      );
    }
    const plain = Object.keys(wanted).length === 0;
    const same = JSON.stringify(config) === JSON.stringify(complete);
    if ((!plain && !same) || files !== undefined) {
      throw new CliError(
        files === undefined
          ? 'a lab of another shape is already running'
          : 'a lab is already running',
        2,
        files === undefined
          ? 'end it with `podwall lab down` first'
          : 'use `podwall lab apply -f`, or end it with `podwall lab down` first',
      );
    }
    const { formatDuration } = await import('../lab-output.ts');
    io.err(`a lab is already running, up for ${formatDuration(uptimeMs)}\n`);
    io.err('look at it with `podwall lab status`, end it with `podwall lab down`\n');
    if (api !== undefined) io.out(`export KUBECONFIG=${shellWord(api.kubeconfig)}\n`);
    return 0;
  }
  const kept = state === undefined ? undefined : await keptShape(state);
  const objects =
    files !== undefined
      ? await readObjects(io, files, 'default')
      : options['empty'] === true || kept !== undefined
        ? []
        : await seedObjects(complete.nodes);
  const started = performance.now();
  let fresh: Lab;
  try {
    fresh = await startLab(wanted, {
      lifetime: 'detached',
      api: true,
      agents: options['agents'] === true,
      ...(state === undefined ? {} : { stateFile: state }),
      signal: io.signal,
      onProgress: (text) => io.err(`  ${text}\n`),
    });
  } catch (error) {
    if (!(error instanceof LabUnavailable)) throw error;
    throw new CliError(error.message, 3, error.remedy);
  }
  try {
    if (kept !== undefined) {
      io.err(`  starting the pods kept in ${state}\n`);
      report(io, await abortable(io, fresh.apply([])), true);
    }
    if (objects.length > 0) {
      io.err(`  applying ${objects.length} objects\n`);
      report(io, await abortable(io, fresh.apply(objects)), true);
    }
  } catch (error) {
    // Half a lab would make the same command say "already running" next time.
    await fresh.down();
    throw error;
  }
  const { nodes, readyPods, api } = await fresh.status();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  io.err(`the lab is up: ${nodes.length} nodes, ${readyPods} pods, in ${seconds} s\n`);
  io.err('next: kubectl, `podwall lab probe`, `podwall lab down`\n');
  if (api !== undefined) io.out(`export KUBECONFIG=${shellWord(api.kubeconfig)}\n`);
  return 0;
};

/** A word as every shell reads it back. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

async function seedObjects(nodes: readonly string[]): Promise<LabObject[]> {
  const { seedClusterOn } = await import('../../lab/story/cluster.ts');
  const { parseManifests } = await import('../../manifest/parse.ts');
  const { objects } = parseManifests({ file: 'the seed cluster', text: seedClusterOn(nodes) });
  return objects.map(({ object }) => ({ object }));
}

function readConfig(options: Options): Partial<LabConfig> {
  const nodes = options['nodes'] as string | undefined;
  const stack = options['stack'] as string | undefined;
  const outside = options['outside'] as string[] | undefined;
  if (stack !== undefined && !['ipv4', 'ipv6', 'dual'].includes(stack)) {
    throw new CliError(`no such stack: ${stack}`, 2, 'use ipv4, ipv6 or dual');
  }
  const wiring = options['wiring'] as string | undefined;
  if (wiring !== undefined && !['routed', 'bridge'].includes(wiring)) {
    throw new CliError(`no such wiring: ${wiring}`, 2, 'use routed or bridge');
  }
  return {
    ...(options['masquerade'] === true ? { masquerade: true } : {}),
    ...(wiring === undefined ? {} : { wiring: wiring as Wiring }),
    ...(nodes === undefined ? {} : { nodes: readNodes(nodes) }),
    ...(stack === undefined ? {} : { stack: stack as Stack }),
    ...(outside === undefined ? {} : { outside: outside.map(readOutside) }),
  };
}

function readNodes(text: string): string[] {
  if (!/^\d+$/.test(text)) return text.split(',');
  const count = Number(text);
  // The lab says what it thinks of 0 and of too many.
  return Array.from({ length: Math.min(count, 1000) }, (_, index) => `node-${index + 1}`);
}

function readOutside(text: string): OutsideHost {
  const [name = '', addresses = ''] = text.split('=', 2);
  if (name === '' || addresses === '') {
    throw new CliError(`--outside ${text} is not NAME=ADDRESS[,ADDRESS]`, 2);
  }
  return { name, addresses: addresses.split(',') };
}

async function readObjects(
  io: Io,
  files: readonly string[],
  namespace: string,
): Promise<LabObject[]> {
  const { readInput, printDiagnostics } = await import('../input.ts');
  const { namespacedIn } = await import('../../lab/index.ts');
  const input = await readInput(io, { filename: files });
  printDiagnostics(io, input.diagnostics, false);
  if (input.objects.length === 0) throw new CliError(`no objects in ${input.origin}`, 2);
  return input.objects.map(({ object, source }) => ({
    object: namespacedIn(object, namespace),
    ...(source === undefined ? {} : { source }),
  }));
}

function refText(ref: ObjectRef): string {
  const where =
    ref.namespace === undefined || ref.namespace === 'default' ? '' : `${ref.namespace}/`;
  return `${ref.kind.toLowerCase()} ${where}${ref.name}`;
}

function report(io: Io, result: Awaited<ReturnType<Lab['apply']>>, quiet = false): void {
  if (!quiet) for (const { ref, action } of result.changes) io.out(`${refText(ref)} ${action}\n`);
  for (const notice of result.notices) io.err(`note: ${notice}\n`);
}

const apply: Sub = async (io, _args, options) => {
  const files = options['filename'] as string[];
  const objects = await readObjects(io, files, options['namespace'] as string);
  const running = await connected();
  report(io, await abortable(io, running.apply(objects)));
  return 0;
};

async function kindOf(word: string): Promise<string> {
  const { kindNamed } = await import('../../lab/index.ts');
  const kind = kindNamed(word);
  if (kind !== undefined) return kind;
  throw new CliError(
    `the lab keeps no "${word}"`,
    2,
    'pods, netpol, nodes, namespaces, services, deployments, statefulsets, daemonsets, jobs, …',
  );
}

const remove: Sub = async (io, args, options) => {
  const files = options['filename'] as string[] | undefined;
  const namespace = options['namespace'] as string;
  const refs: ObjectRef[] = [];
  if (files !== undefined) {
    const { refOf } = await import('../../lab/index.ts');
    const objects = await readObjects(io, files, namespace);
    refs.push(...objects.map(({ object }) => refOf(object)).toReversed());
  }
  const [word, ...given] = args;
  if (word !== undefined) {
    const [kindWord = '', only] = word.split('/', 2);
    const kind = await kindOf(kindWord);
    const all = only === undefined ? given : [only, ...given];
    if (all.length === 0) throw new CliError(`delete ${word} needs a name`, 2);
    refs.push(...all.map((name) => ({ kind, name, namespace })));
  }
  if (refs.length === 0) throw new CliError('delete needs -f FILE or KIND NAME', 2);
  const running = await connected();
  const wanted = options['ignoreNotFound'] === true ? await onlyPresent(running, refs) : refs;
  report(io, await abortable(io, running.delete(wanted)));
  return 0;
};

async function onlyPresent(running: Lab, refs: readonly ObjectRef[]): Promise<ObjectRef[]> {
  const present: ObjectRef[] = [];
  for (const ref of refs) {
    const found = await running.get(ref.kind, { name: ref.name });
    const { namespace } = ref;
    const same = found.some(
      ({ metadata }) =>
        metadata.namespace === undefined || metadata.namespace === (namespace ?? 'default'),
    );
    if (same) present.push(ref);
  }
  return present;
}

const outputs = [undefined, 'wide', 'json', 'yaml', 'name'];

const get: Sub = async (io, args, options) => {
  const [word = '', name] = args;
  const output = options['output'] as string | undefined;
  if (!outputs.includes(output)) {
    throw new CliError(`no such output format: ${output}`, 2, 'use wide, json, yaml or name');
  }
  const kind = await kindOf(word);
  const running = await connected();
  const { clusterKinds, pluralOf } = await import('../../lab/index.ts');
  const everywhere = options['allNamespaces'] === true || clusterKinds().includes(kind);
  const namespace = options['namespace'] as string;
  const objects = await running.get(kind, {
    ...(everywhere ? {} : { namespace }),
    ...(name === undefined ? {} : { name }),
  });
  if (name !== undefined && objects.length === 0) {
    throw new CliError(`${pluralOf(kind)} "${name}" not found`, 2);
  }
  const { renderMachine, renderObjects } = await import('../lab-output.ts');
  if (output === 'json' || output === 'yaml') {
    io.out(renderMachine(objects, output, name !== undefined));
  } else if (output === 'name') {
    io.out(objects.map(({ metadata }) => `${kind.toLowerCase()}/${metadata.name}\n`).join(''));
  } else if (objects.length === 0) {
    io.err(
      `no ${pluralOf(kind)} found${everywhere ? '' : ` in namespace ${namespace}; -A shows all`}\n`,
    );
  } else {
    const namespaces = options['allNamespaces'] === true && !clusterKinds().includes(kind);
    io.out(renderObjects(kind, objects, { wide: output === 'wide', namespaces, now: Date.now() }));
  }
  return 0;
};

const exec: Sub = async (io, args) => {
  const [where = '', ...rest] = args;
  const argv = rest[0] === '--' ? rest.slice(1) : rest;
  if (argv.length === 0)
    throw new CliError('exec needs a command', 2, 'lab exec NS/POD -- COMMAND');
  const running = await connected();
  io.handOver?.();
  const { code } = await running.exec(where, argv, {
    stdio: 'inherit',
    env: io.env,
    signal: io.signal,
  });
  // The program's own code, whatever it means.
  return code as ExitCode;
};

/** `80`, `6379/TCP`, `53/UDP`, separated by commas. */
export function parsePorts(text: string): LabPort[] {
  return text.split(',').map((part) => {
    const match = /^\s*(\d{1,5})(?:\/(tcp|udp|sctp))?\s*$/i.exec(part);
    const port = Number(match?.[1]);
    if (match === null || port < 1 || port > 65_535) {
      throw new CliError(`"${part}" is no port`, 2, 'write 80, 6379/TCP or 53/UDP');
    }
    return { protocol: (match[2] ?? 'TCP').toUpperCase() as LabPort['protocol'], port };
  });
}

function names(options: Options, key: string): { [name: string]: string[] } {
  const given = options[key] as string[] | undefined;
  return given === undefined ? {} : { [key]: given.flatMap((text) => text.split(',')) };
}

function readNumber(options: Options, key: string): number | undefined {
  const text = options[key] as string | undefined;
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text) || Number(text) === 0) {
    throw new CliError(`--${key} ${text} is no positive number`, 2);
  }
  return Number(text);
}

/** Above so many results a matrix says more than a list. */
const tableLimit = 24;

const probe: Sub = async (io, _args, options) => {
  const output = options['output'] as string | undefined;
  if (![undefined, 'matrix', 'table', 'json'].includes(output)) {
    throw new CliError(`no such output format: ${output}`, 2, 'use matrix, table or json');
  }
  const ports = parsePorts(options['port'] as string);
  const family = readNumber(options, 'family');
  if (family !== undefined && family !== 4 && family !== 6) {
    throw new CliError(`--family ${family} is neither 4 nor 6`, 2);
  }
  const timeoutMs = readNumber(options, 'timeout');
  const running = await connected();
  const result = await abortable(
    io,
    running.probe(
      {
        ...names(options, 'from'),
        ...names(options, 'to'),
        ports,
        includeSelf: options['self'] !== false,
        ...(family === undefined ? {} : { family }),
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      },
      (text) => io.err(`  ${text}\n`),
    ),
  );
  const { probeSummary, renderProbeMatrix, renderProbeTable } = await import('../lab-output.ts');
  // A matrix of one row or column says less than the lines of a table.
  const thin = result.sources.length === 1 || result.destinations.length === 1;
  const table =
    output === 'table' || (output === undefined && (thin || result.results.length <= tableLimit));
  if (output === 'json') {
    io.out(
      `${JSON.stringify({ apiVersion: 'podwall/v1', kind: 'ProbeReport', ...result }, null, 2)}\n`,
    );
  } else io.out(table ? renderProbeTable(result, io.color) : renderProbeMatrix(result, io));
  io.err(`${probeSummary(result)}\n`);
  const errors = result.results.filter((one) => one.outcome === 'ERROR');
  if (!table && output !== 'json') {
    for (const one of errors.slice(0, 10)) {
      io.err(
        `error: ${one.source} to ${one.destination} ${one.protocol}/${one.port}: ${one.reason}\n`,
      );
    }
  }
  return errors.length > 0 ? 1 : 0;
};

const status: Sub = async (io, _args, options) => {
  const { connectLab } = await import('../../lab/index.ts');
  const running = await connectLab();
  if (running === undefined) {
    if (options['output'] === 'json') io.out('{"running":false}\n');
    else io.out('no lab is running; start one with `podwall lab up`\n');
    return 0;
  }
  const state = await running.status();
  const { renderStatus } = await import('../lab-output.ts');
  io.out(
    options['output'] === 'json'
      ? `${JSON.stringify({ running: true, ...state }, null, 2)}\n`
      : renderStatus(state),
  );
  return 0;
};

const down: Sub = async (io) => {
  const { connectLab } = await import('../../lab/index.ts');
  const running = await connectLab();
  if (running === undefined) {
    io.err('no lab is running\n');
    return 0;
  }
  await running.down();
  io.err('the lab is down; nothing of it is left\n');
  return 0;
};

const fault: Sub = async (io, args, options) => {
  const { stateDir = '' } = await (await connected()).status();
  return runFault(io, stateDir, args, options);
};

const subcommands: Readonly<Record<string, Sub>> = {
  up,
  apply,
  delete: remove,
  get,
  exec,
  probe,
  status,
  fault,
  down,
  lessons: runLessons,
};
