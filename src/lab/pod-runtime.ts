/**
 * The API's pods as network namespaces: asks the daemon for the network, runs what containers run,
 * and reaches into pods for exec, logs and port-forward. Lives in the lab's namespaces. Must not know
 * how a network is built.
 */
import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from '../k8s/types.ts';
import type { ContainerExit, PodRuntime } from './api/runtime.ts';
import type { ApiObject } from './api/object.ts';
import { planPod, isAgnhost, type Command } from './container-plan.ts';
import { LabError } from './errors.ts';
import type { PodAnswer, PodName, PodOrder } from './hosted.ts';
import { createPodLog, type PodLog } from './pod-log.ts';
import { startInPod, type PodProcess } from './pod-process.ts';
import { scriptArgs, scriptEnv, searchPath } from './scripts.ts';

/** One call to the daemon. */
export type Call = (method: string, params: unknown) => Promise<unknown>;

interface RunningPod {
  readonly object: Pod;
  readonly answer: PodAnswer;
  readonly logs: Map<string, PodLog>;
  readonly processes: Set<PodProcess>;
  stopping: boolean;
}

const longestPauseMs = 60_000;
/** A program that ends sooner has not found what it needs. */
const soonMs = 2_000;
const dialTimeoutMs = 15_000;

/** `root`: mount namespace of containers; without it their commands are not run. */
export function createPodRuntime({
  call,
  root,
}: {
  readonly call: Call;
  readonly root?: string | undefined;
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

  async function runCommand(uid: string, pod: RunningPod, command: Command): Promise<void> {
    const log = pod.logs.get(command.container);
    const { restartPolicy: policy = 'Always' } = (pod.object.spec ?? {}) as {
      restartPolicy?: string;
    };
    const place = { netns: pod.answer.netns, root, env: environment(pod.object, command.env) };
    for (let pauseMs = 1_000; !pod.stopping; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      const started = Date.now();
      const child = startInPod(place, command.argv);
      pod.processes.add(child);
      child.stdin.end();
      log?.take(child.stdout);
      log?.take(child.stderr);
      const exitCode = await child.exit.catch((error: Error) => {
        log?.add(error.message);
        return 127;
      });
      pod.processes.delete(child);
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
        stopping: false,
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
      const here = { netns: pod.answer.netns, env: environment(pod.object, env) };
      // Our own script may lie where containers see a directory of their own.
      const child = isAgnhost(command[0])
        ? startInPod(here, [process.execPath, ...scriptArgs('agnhost'), ...command.slice(1)])
        : startInPod({ ...here, root }, command, { tty });
      pod.processes.add(child);
      const forget = (): void => {
        pod.processes.delete(child);
      };
      child.exit.then(forget, forget);
      return child;
    },

    async logs(ref, options) {
      const log = podOf(ref.uid).logs.get(ref.container);
      if (log === undefined) throw new LabError(`no container ${ref.container}`);
      return log.read(options);
    },

    dial: (ref, port) => dialInside(podOf(ref.uid).answer.netns, port),

    onExit(listener) {
      listeners.push(listener);
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
