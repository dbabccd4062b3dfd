/**
 * The API's pods as network namespaces: asks the daemon for the network, runs what containers run,
 * and reaches into pods for exec, logs and port-forward. Lives in the lab's namespaces. Must not know
 * how a network is built.
 */
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from '../k8s/types.ts';
import type { ContainerExit, ExecSession, PodRuntime } from './api/runtime.ts';
import type { ApiObject } from './api/object.ts';
import { planPod, isAgnhost, type Command } from './container-plan.ts';
import { resolvConf } from './dns.ts';
import { LabError } from './errors.ts';
import type { PodAnswer, PodName, PodOrder, VisitsOrder } from './hosted.ts';
import type { Visit } from './listeners.ts';
import { createPodLog, type PodLog } from './pod-log.ts';
import { startInPod, type PodProcess, type ProcessPlace } from './pod-process.ts';
import { scriptArgs, scriptEnv, searchPath } from './scripts.ts';

/** One call to the daemon. */
export type Call = (method: string, params: unknown) => Promise<unknown>;

interface RunningPod {
  readonly object: Pod;
  readonly answer: PodAnswer;
  readonly logs: Map<string, PodLog>;
  readonly processes: Set<PodProcess>;
  /** Main processes by container. */
  readonly mains: Map<string, PodProcess>;
  stopping: boolean;
  /** Number of the last visit that is in the logs. */
  lastVisit: number;
}

const longestPauseMs = 60_000;
/** A program that ends sooner has not found what it needs. */
const soonMs = 2_000;
const dialTimeoutMs = 15_000;
const followEveryMs = 300;

/** `root`: mount namespace of containers; without it their commands are not run. */
export function createPodRuntime({
  call,
  root,
  dns,
}: {
  readonly call: Call;
  readonly root?: string | undefined;
  /** Address of the cluster's DNS. */
  readonly dns: string;
}): PodRuntime {
  const pods = new Map<string, RunningPod>();
  const listeners: ((exit: ContainerExit) => void)[] = [];
  const path = searchPath();

  const podOf = (uid: string): RunningPod => {
    const pod = pods.get(uid);
    if (pod === undefined) throw new LabError('the pod does not run');
    return pod;
  };
  const environment = (
    pod: Pod,
    more: Readonly<Record<string, string>>,
  ): Record<string, string> => ({
    PATH: path,
    HOME: '/root',
    HOSTNAME: pod.metadata.name ?? '',
    LANG: 'C.UTF-8',
    ...more,
  });

  /** Brings the logs of a pod up to date with who came to its listeners. */
  async function takeVisits(pod: RunningPod): Promise<void> {
    const { namespace = '', name = '' } = pod.object.metadata;
    const order: VisitsOrder = { endpoint: `${namespace}/${name}`, after: pod.lastVisit };
    const visits = (await call('visits', order)) as readonly Visit[];
    const containers = pod.object.spec?.containers ?? [];
    for (const { number, at, protocol, port, from } of visits) {
      if (number <= pod.lastVisit) continue;
      pod.lastVisit = number;
      const owner =
        containers.find(({ ports }) => ports?.some((one) => one.containerPort === port)) ??
        containers[0];
      pod.logs.get(owner?.name ?? '')?.add(`${protocol} ${port} from ${from}`, at);
    }
  }

  const placeOf = (pod: RunningPod, more: Readonly<Record<string, string>>): ProcessPlace => {
    const { namespace = '' } = pod.object.metadata;
    return {
      netns: pod.answer.netns,
      root,
      env: environment(pod.object, more),
      resolver: { namespace, text: resolvConf(dns, namespace) },
    };
  };

  async function runCommand(uid: string, pod: RunningPod, command: Command): Promise<void> {
    const log = pod.logs.get(command.container);
    const { restartPolicy: policy = 'Always' } = (pod.object.spec ?? {}) as {
      restartPolicy?: string;
    };
    const place = placeOf(pod, command.env);
    for (let pauseMs = 1_000; !pod.stopping; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      const started = Date.now();
      const child = startInPod(place, command.argv, { tty: command.tty === true });
      pod.processes.add(child);
      pod.mains.set(command.container, child);
      child.stdin.on('error', () => {});
      if (command.stdin !== true) child.stdin.end();
      log?.take(child.stdout);
      log?.take(child.stderr);
      const exitCode = await child.exit.catch((error: Error) => {
        log?.add(error.message);
        return 127;
      });
      pod.processes.delete(child);
      pod.mains.delete(command.container);
      if (pod.stopping) return;
      if (policy === 'Never' || (policy === 'OnFailure' && exitCode === 0)) {
        log?.end();
        for (const listener of listeners) listener({ uid, container: command.container, exitCode });
        return;
      }
      if (Date.now() - started > soonMs) pauseMs = 1_000;
      log?.add(`[podwall] ended with code ${exitCode}; again in ${pauseMs / 1000} s`);
      await sleep(pauseMs, undefined, { ref: false });
    }
  }

  return {
    async start(object: ApiObject, onAddress) {
      const pod = object as unknown as Pod;
      const { uid = '' } = pod.metadata;
      const plan = planPod(pod, root === undefined ? '' : path);
      const order: PodOrder = { object: pod, ports: plan.ports };
      const answer = (await call('podWire', order)) as PodAnswer;
      const { podIPs, hostIP } = answer;
      onAddress?.({ podIPs, hostIP });
      const notices = (await call('podOpen', { uid } satisfies PodName)) as readonly string[];
      const logs = new Map(
        [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].map((container) => [
          container.name,
          createPodLog(),
        ]),
      );
      const running: RunningPod = {
        object: pod,
        answer,
        logs,
        processes: new Set(),
        mains: new Map(),
        stopping: false,
        lastVisit: 0,
      };
      pods.set(uid, running);
      for (const notice of notices) for (const log of logs.values()) log.add(`[podwall] ${notice}`);
      for (const command of plan.commands) void runCommand(uid, running, command);
      return { podIPs, hostIP };
    },

    async stop(uid, graceSeconds) {
      const pod = pods.get(uid);
      if (pod !== undefined) {
        pod.stopping = true;
        pods.delete(uid);
        await endProcesses(pod.processes, graceSeconds * 1000);
        for (const log of pod.logs.values()) log.end();
      }
      const end: PodName = { uid };
      await call('podStop', end);
    },

    async exec(ref, { command, tty }) {
      const pod = podOf(ref.uid);
      const container = pod.object.spec?.containers?.find(({ name }) => name === ref.container);
      const env: Record<string, string> = {};
      for (const { name, value } of container?.env ?? [])
        if (value !== undefined) env[name] = value;
      const place = placeOf(pod, env);
      // Our own script may lie where containers see a directory of their own.
      const child = isAgnhost(command[0])
        ? startInPod({ ...place, root: undefined }, [
            process.execPath,
            ...scriptArgs('agnhost'),
            ...command.slice(1),
          ])
        : startInPod(place, command, { tty });
      pod.processes.add(child);
      const forget = (): void => {
        pod.processes.delete(child);
      };
      child.exit.then(forget, forget);
      return child;
    },

    async attach(ref, { tty, stdin }) {
      const pod = podOf(ref.uid);
      const main = pod.mains.get(ref.container);
      const container = pod.object.spec?.containers?.find(({ name }) => name === ref.container);
      const { stdinOnce = false } = (container ?? {}) as { stdinOnce?: boolean };
      if (main !== undefined) return share(main, { stdin, once: stdinOnce });
      if (container !== undefined) {
        throw new LabError(`container ${ref.container} runs no command to attach to`);
      }
      // Ephemeral: a shell in the pod's network, for as long as somebody looks.
      const place = placeOf(pod, {});
      const child = startInPod(place, ['sh'], { tty });
      pod.processes.add(child);
      const forget = (): void => {
        pod.processes.delete(child);
      };
      child.exit.then(forget, forget);
      return child;
    },

    async logs(ref, options) {
      const pod = podOf(ref.uid);
      const log = pod.logs.get(ref.container);
      if (log === undefined) throw new LabError(`no container ${ref.container}`);
      await takeVisits(pod);
      const out = log.read(options);
      if (options.follow) {
        const timer = setInterval(() => void takeVisits(pod).catch(() => {}), followEveryMs);
        out.on('close', () => clearInterval(timer));
      }
      return out;
    },

    dial: (ref, port) => dialInside(podOf(ref.uid).answer.netns, port),

    onExit(listener) {
      listeners.push(listener);
    },
  };
}

/** A process that goes on when the one who looks at it leaves; `once`: its input ends with theirs. */
function share(
  main: PodProcess,
  { stdin: wantsInput, once }: { readonly stdin: boolean; readonly once: boolean },
): ExecSession {
  const stdin = new PassThrough();
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  if (wantsInput) stdin.pipe(main.stdin, { end: once });
  main.stdout.pipe(stdout);
  main.stderr.pipe(stderr);
  return {
    stdin,
    stdout,
    stderr,
    exit: main.exit,
    resize: (columns, rows) => main.resize?.(columns, rows),
    kill() {
      stdin.unpipe(main.stdin);
      main.stdout.unpipe(stdout);
      main.stderr.unpipe(stderr);
      // A pipe that stood still would stop the process.
      main.stdout.resume();
      main.stderr.resume();
      stdout.end();
      stderr.end();
    },
  };
}

async function endProcesses(processes: ReadonlySet<PodProcess>, graceMs: number): Promise<void> {
  if (processes.size === 0) return;
  const all = [...processes];
  for (const one of all) one.signal('SIGTERM');
  const done = Promise.all(all.map((one) => one.exit.catch(() => 0)));
  const patience = sleep(graceMs, 'late' as const, { ref: false });
  // The daemon kills whatever is left in the pod's network.
  if ((await Promise.race([done, patience])) === 'late') for (const one of all) one.kill();
}

/** A connection is made inside by a process that hands it over and ends. */
function dialInside(netns: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      'nsenter',
      [`--net=${netns}`, process.execPath, ...scriptArgs('dialer'), String(port)],
      { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env: scriptEnv(), timeout: dialTimeoutMs },
    );
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    child.on('message', (message: { error?: string }, handle) => {
      if (handle instanceof Socket) resolve(handle);
      else reject(new LabError(message.error ?? 'the connection was lost on its way'));
    });
    child.on('error', reject);
    child.on('close', () => reject(new LabError(stderr.trim() || `no connection to port ${port}`)));
  });
}
