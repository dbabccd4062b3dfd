/**
 * The lab itself: one process in network, mount and process namespaces of its own, that builds the
 * network, keeps the objects, serves every listener and runs probes. When it ends the kernel removes
 * everything. Must not be imported; `start.ts` runs it.
 */
import { spawn } from 'node:child_process';
import { existsSync, rmdirSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { ExecError, run } from '../system/exec.ts';
import type { KubeObject } from '../k8s/types.ts';
import { completeLabConfig, planNodes, type NodePlan } from './config.ts';
import { callControl, serveControl, toWire, type Handler } from './control.ts';
import { createAgentEnforcer, createEnforcer, type Enforcer } from './enforce.ts';
import { answerDns, clusterNames, dnsPodId, type DnsNames } from './dns.ts';
import { LabError, LabUnavailable } from './errors.ts';
import { agentKubeconfig, startApi } from './api-child.ts';
import { createHosted, wirings } from './hosted.ts';
import { createListeners, type Listeners } from './listeners.ts';
import { createMirror } from './mirror.ts';
import { busyLimit, mapLimited } from './parallel.ts';
import { endOf, planProbes, runProbes, type ProbeRunner } from './probe.ts';
import { commandArgs, scriptArgs, scriptEnv } from './scripts.ts';
import { servicesScript } from './services.ts';
import { apiControlPath, controlPath, labFiles } from './state-dir.ts';
import {
  createStore,
  noSuchEndpoint,
  type LabStore,
  type LabView,
  type StoreChange,
} from './store.ts';
import {
  addPodsScript,
  fabricScript,
  netnsPath,
  nodeNetns,
  outsideNetns,
  removePodsScript,
} from './topology.ts';
import type {
  ApiStatus,
  ApplyResult,
  LabConfig,
  LabLifetime,
  LabObject,
  LabPort,
  LabStatus,
  ObjectRef,
  ProbeRequest,
} from './types.ts';
import type { ProbeBatch, ProbeSighting } from './wire.ts';

/** What `start.ts` writes on standard input once the daemon has said hello. */
export interface DaemonOrder {
  readonly config: LabConfig;
  readonly stateDir: string;
  readonly lifetime: LabLifetime;
  readonly privileges: 'root' | 'user namespace';
  /** The namespaces' first process as the host numbers it. */
  readonly hostPid: number;
  /** Objects are kept by an API, whose listening socket came along as a descriptor. */
  readonly api: boolean;
  /** Every node has an agent, which enforces in the daemon's place. Needs the API. */
  readonly agents: boolean;
  /** Where the API keeps the objects between labs. */
  readonly stateFile?: string;
}

/** What the daemon writes on standard output until it is ready. */
export type DaemonNews =
  | { readonly kind: 'hello' }
  | { readonly kind: 'progress'; readonly text: string }
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly error: ReturnType<typeof toWire> };

const probesPerSource = 200;
/** Sources probed from at a time: they mostly wait, and each is a process of 40 MB. */
const probersAtOnce = Math.max(8, busyLimit() * 2);
/** A prober ends by itself; this is for a machine that stands still. */
const proberTimeoutMs = 600_000;

const socketCheckMs = 5_000;
const agentPauseMs = 1_000;
const savePatienceMs = 5_000;

let stopping = false;
/** The socket is ours; another lab's must stay. */
let listening = false;

function tell(news: DaemonNews): void {
  process.stdout.write(`${JSON.stringify(news)}\n`);
}

function logTrouble(error: unknown): void {
  const text = error instanceof Error ? error.message : String(error);
  process.stderr.write(`${new Date().toISOString()} ${text}\n`);
}

// Nobody reads any more once a detached lab is ready.
process.stdout.on('error', () => {});

async function shell(script: string): Promise<void> {
  if (script === '') return;
  const { code, stderr } = await run('sh', ['-s'], { input: script, env: scriptEnv() });
  if (code !== 0) throw explainKernel(stderr.trim() || `sh ended with code ${code}`);
}

/** A kernel that lacks a part says so only in these words. */
function explainKernel(message: string): Error {
  if (/unknown device type|operation not supported/i.test(message)) {
    return new LabUnavailable(
      `the kernel lacks a part it needs: ${message}`,
      'as root: modprobe -a veth nf_tables nf_conntrack nft_ct nft_fib_inet',
    );
  }
  return new LabError(`building the network failed: ${message}`);
}

type Queue = <T>(act: () => Promise<T>) => Promise<T>;

/** One change or probe run at a time, in the order asked: a report is about one state. */
function createQueue(): Queue {
  let last: Promise<unknown> = Promise.resolve();
  return (act) => {
    const next = last.then(act, act);
    last = next.catch(() => {});
    return next;
  };
}

interface Running {
  readonly handlers: Readonly<Record<string, Handler>>;
  /** Calls that come before the lab is ready: the API's own. */
  readonly internal: readonly string[];
  boot(): Promise<void>;
}

/** Objects kept here, changed by the calls `apply` and `delete`: for a lab without an API. */
function createDirect(
  store: LabStore,
  enforcer: Enforcer,
  listeners: Listeners,
  queue: Queue,
): Record<string, Handler> {
  const { wiring } = store.config;
  async function carryOut(change: StoreChange, started: number): Promise<ApplyResult> {
    const notices = [...change.notices];
    for (const pod of change.removed) listeners.close(pod.id);
    await shell(removePodsScript(wirings(change.removed), wiring));
    await shell(addPodsScript(wirings(change.added), wiring));
    if (change.changes.some((one) => one.action !== 'unchanged')) {
      notices.push(...(await enforcer.enforce(store.objects())));
    }
    // Only now, with policies in force, does anything answer in the new pods.
    const faults = await mapLimited(change.added, busyLimit(), (pod) =>
      listeners.open({
        endpoint: pod.id,
        netns: endOf({ kind: 'pod', pod }).netns,
        addresses: pod.addresses,
        ports: pod.ports,
        ownNetwork: !pod.hostNetwork,
      }),
    );
    notices.push(...faults.flat());
    store.markReady(change.added);
    return { changes: change.changes, notices, tookMs: performance.now() - started };
  }
  const changing = (act: () => StoreChange): Promise<ApplyResult> =>
    queue(async () => {
      const started = performance.now();
      return carryOut(act(), started);
    });
  return {
    apply: (params) => changing(() => store.apply(params as LabObject[])),
    delete: (params) => changing(() => store.delete(params as ObjectRef[])),
  };
}

function createLab(order: DaemonOrder, config: LabConfig): Running {
  const listeners = createListeners();
  const queue = createQueue();
  const startedAt = new Date();

  const loadServices = createServices(planNodes(config), config.masquerade);
  let view: LabView;
  let enforcer: Enforcer;
  let changes: Readonly<Record<string, Handler>>;
  if (order.api) {
    const mirror = createMirror(config);
    view = mirror;
    enforcer = order.agents
      ? createAgentEnforcer(config.nodes, () => mirror.objects())
      : createEnforcer(config.nodes);
    let names: DnsNames = new Map();
    changes = createHosted({
      mirror,
      enforcer,
      listeners,
      queue,
      shell,
      dns: (query) => answerDns(query, names),
      onObjects(objects) {
        const relevant = objects.filter(
          ({ kind }) => kind === 'Service' || kind === 'EndpointSlice',
        );
        names = clusterNames(relevant, [...config.outside, ...mirror.nodes]);
        return loadServices(relevant);
      },
      onTrouble: logTrouble,
    });
  } else {
    const store = createStore(config);
    view = store;
    enforcer = createEnforcer(config.nodes);
    changes = createDirect(store, enforcer, listeners, queue);
  }
  let api: ApiStatus | undefined;

  const runner: ProbeRunner = {
    attempt: (netns, tasks) => sendProbes(netns, { concurrency: probesPerSource, tasks }),
    resetDrops: () => enforcer.resetDrops(),
    drops: () => enforcer.drops(),
    parallel: probersAtOnce,
  };

  const status = (): LabStatus => {
    const pods = view.pods();
    return {
      simulated: false,
      startedAt: startedAt.toISOString(),
      uptimeMs: Date.now() - startedAt.getTime(),
      config,
      nodes: view.nodes.map((node) => ({
        name: node.name,
        addresses: node.addresses,
        podCidrs: node.podCidrs,
        pods: pods.filter((pod) => pod.node.name === node.name).length,
        revision: enforcer.revision(node.name),
      })),
      outside: config.outside,
      pods: pods.filter(({ id }) => id !== dnsPodId).length,
      readyPods: view.readyPods(),
      policies: view.countPolicies(),
      privileges: order.privileges,
      pid: order.hostPid,
      stateDir: order.stateDir,
      ...(order.stateFile === undefined ? {} : { stateFile: order.stateFile }),
      ...(api === undefined ? {} : { api }),
    };
  };

  const handlers: Record<string, Handler> = {
    ...changes,
    objects: async () => view.objects(),
    status: async () => status(),
    async where(params) {
      const endpoint = view.endpoint(params as string);
      if (endpoint === undefined) throw noSuchEndpoint(params as string, view);
      return { netns: netnsPath(endOf(endpoint).netns), pid: order.hostPid };
    },
    probe: (params, onProgress) =>
      queue(async () => {
        const request = params as ProbeRequest;
        const plan = planProbes(view, request);
        const { timeoutMs } = request;
        return runProbes(plan, runner, {
          onProgress,
          ...(timeoutMs === undefined ? {} : { timeoutMs }),
        });
      }),
    async closeListener(params) {
      const { endpoint, port } = params as { endpoint: string; port: LabPort };
      if (listeners.close(endpoint, port)) return;
      throw new LabError(`${endpoint} has no listener on ${port.protocol} ${port.port}`);
    },
    async down() {
      setImmediate(() => stop(order, 0));
    },
  };

  return {
    handlers,
    internal: Object.keys(order.api ? changes : {}),
    async boot() {
      tell({ kind: 'progress', text: `building ${config.nodes.length} nodes and the wire` });
      await shell(fabricScript(planNodes(config), config.outside, config.wiring));
      if (!order.agents) await enforcer.enforce(view.objects());
      if (config.masquerade) await loadServices([]);
      tell({ kind: 'progress', text: `starting ${config.outside.length} outside hosts` });
      await mapLimited(config.outside, busyLimit(), ({ name, addresses, ports = [] }) =>
        listeners.open({
          endpoint: name,
          netns: outsideNetns(name),
          addresses,
          ports,
          ownNetwork: true,
        }),
      );
      if (!order.api) return;
      tell({ kind: 'progress', text: 'starting the API' });
      const { stateDir } = order;
      const { stateFile } = order;
      const kept = stateFile === undefined ? {} : { stateFile };
      api = await startApi({ config, stateDir, agents: order.agents, ...kept }, (code) => {
        // It kept the objects: without it this is no cluster any more.
        process.stderr.write(`the API ended (code ${code ?? 'none'}), and the lab with it\n`);
        stop(order, 1);
      });
      if (!order.agents) return;
      tell({ kind: 'progress', text: `starting ${config.nodes.length} agents` });
      for (const node of config.nodes) keepAgent(node);
    },
  };
}

/** The agent of a node in the node's network, started again when it ends: its rules stay meanwhile. */
function keepAgent(node: string): void {
  const options = {
    node,
    kubeconfig: agentKubeconfig,
    'state-file': '',
    socket: `/run/podwall-agent-${node}.sock`,
    listen: '',
    'log-level': 'warn',
  };
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  const child = spawn(
    'nsenter',
    [
      `--net=${netnsPath(nodeNetns(node))}`,
      process.execPath,
      ...commandArgs(),
      'agent',
      'run',
      '--observe',
      ...args,
    ],
    // Its temporary files go with the lab's own /run.
    {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...scriptEnv(), TMPDIR: '/run' },
      cwd: '/',
    },
  );
  const again = (): void => {
    if (!stopping) setTimeout(() => keepAgent(node), agentPauseMs);
  };
  child.once('error', again);
  child.once('exit', again);
}

/** Loads the services of the cluster on every node, when they changed. */
function createServices(
  nodes: readonly NodePlan[],
  masquerade: boolean,
): (objects: readonly KubeObject[]) => Promise<void> {
  const loaded = new Map<string, string>();
  return async (objects) => {
    await Promise.all(
      nodes.map(async (node) => {
        const script = servicesScript(objects, node, masquerade);
        if (loaded.get(node.name) === script) return;
        const args = [`--net=${netnsPath(nodeNetns(node.name))}`, 'nft', '-f', '-'];
        const { code, stderr } = await run('nsenter', args, { input: script, env: scriptEnv() });
        if (code !== 0) throw new LabError(`services of ${node.name}: ${stderr.trim()}`);
        loaded.set(node.name, script);
      }),
    );
  };
}

async function sendProbes(netns: string, batch: ProbeBatch): Promise<ProbeSighting[]> {
  const args = [`--net=${netnsPath(netns)}`, process.execPath, ...scriptArgs('prober')];
  const { stdout, stderr, code } = await run('nsenter', args, {
    input: JSON.stringify(batch),
    env: scriptEnv(),
    timeoutMs: proberTimeoutMs,
  });
  const sightings = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ProbeSighting);
  if (sightings.length === batch.tasks.length) return sightings;
  throw new LabError(`the prober in ${netns} ended early (code ${code}): ${stderr.trim()}`);
}

/** The API ends with this process, without a word: what it keeps in a file has to be there before. */
async function saveFirst(order: DaemonOrder | undefined): Promise<void> {
  if (order?.stateFile === undefined) return;
  const patience = sleep(savePatienceMs, undefined, { ref: false });
  const saved = callControl(apiControlPath(order.stateDir), 'save', null).catch(logTrouble);
  await Promise.race([saved, patience]);
}

/** Leaves nothing: the namespaces go with the process, the state directory is removed here. */
function stop(order: DaemonOrder | undefined, code: number): never {
  if (!stopping && listening && order !== undefined) {
    stopping = true;
    for (const file of labFiles(order.stateDir)) rmSync(file, { force: true });
    try {
      rmdirSync(order.stateDir);
    } catch {
      // Bound into our own /run it cannot be removed from inside: `down` does that from outside. Nor
      // is it when somebody keeps other things there.
    }
  }
  process.exit(code);
}

/** Why nft does not work here, before a policy depends on it. */
async function checkNft(): Promise<void> {
  const test = 'add table inet podwall_check\ndelete table inet podwall_check\n';
  try {
    const { code, stderr } = await run('nft', ['-f', '-'], { input: test, env: scriptEnv() });
    if (code !== 0) throw explainKernel(stderr.trim() || `operation not supported (code ${code})`);
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    throw new LabUnavailable(error.message, 'install the package nftables');
  }
}

/** Without it the lab would let everything pass between pods of one bridge, and look as if it filtered. */
function checkBridgeFilter(): void {
  if (existsSync('/proc/sys/net/bridge/bridge-nf-call-iptables')) return;
  throw new LabUnavailable(
    'this kernel has no br_netfilter: packets between pods on one bridge would pass no policy',
    'as root: modprobe br_netfilter; or use routed pods (--wiring routed)',
  );
}

async function main(): Promise<void> {
  const input = createInterface({ input: process.stdin });
  let order: DaemonOrder | undefined;
  const first = new Promise<DaemonOrder>((resolve) => {
    input.once('line', (line) => resolve(JSON.parse(line) as DaemonOrder));
  });
  // The pipe closes when the process that started us ends, whatever ended it.
  input.on('close', () => {
    if (order === undefined || order.lifetime === 'parent') stop(order, 0);
  });
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(name, () => void saveFirst(order).finally(() => stop(order, 0)));
  }
  tell({ kind: 'hello' });
  order = await first;
  try {
    const config = completeLabConfig(order.config);
    const lab = createLab(order, config);
    let ready = false;
    const guarded = Object.fromEntries(
      Object.entries(lab.handlers).map(([method, handler]): [string, Handler] => [
        method,
        async (params, onProgress) => {
          if (!ready && method !== 'down' && !lab.internal.includes(method))
            throw new LabError('the lab is still starting');
          return handler(params, onProgress);
        },
      ]),
    );
    await serveControl(controlPath(order.stateDir), guarded);
    listening = true;
    const { stateDir } = order;
    // Who lost its socket (a cleaner of /tmp, a removed directory) can never be told to end.
    setInterval(() => {
      if (!existsSync(controlPath(stateDir))) stop(order, 1);
    }, socketCheckMs).unref();
    await checkNft();
    if (config.wiring === 'bridge') checkBridgeFilter();
    await lab.boot();
    ready = true;
    tell({ kind: 'ready' });
  } catch (error) {
    tell({ kind: 'failed', error: toWire(error) });
    stop(order, 1);
  }
}

// Zero pages of a long log help nobody: say in one line what broke.
process.on('uncaughtException', (error) => {
  process.stderr.write(`${new Date().toISOString()} ${error.stack ?? error.message}\n`);
});

if (process.env['PODWALL_LAB'] !== 'inside' || process.ppid !== 1) {
  throw new LabError('the lab daemon runs only in namespaces of its own; use `podwall lab up`');
}
await main();
