/**
 * The API's pods as network namespaces: asks the daemon for the network, runs what containers run,
 * and reaches into pods for exec, logs and port-forward. Lives in the lab's namespaces. Must not know
 * how a network is built.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Container, Pod } from '../k8s/types.ts';
import type { ContainerChange, ContainerState, PodRuntime } from './api/runtime.ts';
import type { ApiObject } from './api/object.ts';
import { badRequest } from './api/status.ts';
import { liveContainer, type RestartPolicy } from './container-life.ts';
import { environmentOf, expand, hostnameOf, podFields } from './container-env.ts';
import { type Command, isAgnhost, planCommand, planPod, type PodPlan } from './container-plan.ts';
import { resolvConf } from './dns.ts';
import { LabError } from './errors.ts';
import type { PodAnswer, PodName, PodOpening, PodOrder, VisitsOrder } from './hosted.ts';
import type { Visit } from './listeners.ts';
import { type ContainerLog, createContainerLog } from './pod-log.ts';
import { dialInside } from './pod-dial.ts';
import {
  type Backlog,
  endMarked,
  endProcesses,
  keepBacklog,
  podMark,
  startInPod,
  shareProcess,
  type PodProcess,
  type ProcessPlace,
} from './pod-process.ts';
import { scriptArgs, searchPath } from './scripts.ts';
import { listenPorts } from './store.ts';
import type { LabListener } from './types.ts';

/** One call to the daemon. */
export type Call = (method: string, params: unknown) => Promise<unknown>;

interface RunningPod {
  readonly object: Pod;
  /** All of them; ephemeral ones are added. */
  readonly containers: Container[];
  readonly answer: PodAnswer;
  /** Everything the lab answers. */
  readonly ports: LabListener[];
  readonly logs: Map<string, ContainerLog>;
  readonly processes: Set<PodProcess>;
  /** Main processes by container; with a backlog when somebody will attach. */
  readonly mains: Map<string, { readonly child: PodProcess; readonly backlog?: Backlog }>;
  /** Aborted when the pod is stopped. */
  readonly stop: AbortController;
  /** Number of the last visit that is in the logs. */
  lastVisit: number;
}

const followEveryMs = 300;
const openAgainMs = 5_000;

/** How a shell says that there is no such program, or none that runs here. */
const missingProgram: readonly number[] = [126, 127];

const waiting = (reason: string, message?: string): ContainerState => ({
  kind: 'waiting',
  reason,
  ...(message === undefined ? {} : { message }),
});

/** `root`: mount namespace of containers; without it their commands are not run. */
export function createPodRuntime({
  call,
  root,
  dns,
  run = startInPod,
}: {
  readonly call: Call;
  readonly root?: string | undefined;
  /** Address of the cluster's DNS. */
  readonly dns: string;
  /** Tests replace what starts programs. */
  readonly run?: typeof startInPod;
}): PodRuntime {
  const pods = new Map<string, RunningPod>();
  const listeners: ((change: ContainerChange) => void)[] = [];
  const path = searchPath();

  const podOf = (uid: string): RunningPod => {
    const pod = pods.get(uid);
    if (pod === undefined) throw new LabError('the pod does not run');
    return pod;
  };
  const report = (pod: RunningPod, container: string, state: ContainerState): void => {
    tell({ uid: pod.object.metadata.uid ?? '', container, state, restartCount: 0 });
  };
  const tell = (change: ContainerChange): void => {
    for (const listener of listeners) listener(change);
  };
  const logOf = (pod: RunningPod, container: string): ContainerLog => {
    const log = pod.logs.get(container) ?? createContainerLog();
    pod.logs.set(container, log);
    return log;
  };

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
      const played = pod.ports.find((one) => one.protocol === protocol && one.port === port);
      pod.logs
        .get(played?.container ?? owner?.name ?? '')
        ?.current()
        .add(`${protocol} ${port} from ${from}`, at);
    }
  }

  const placeOf = (pod: RunningPod, container: string): ProcessPlace => {
    const { namespace = '', uid = '' } = pod.object.metadata;
    const hostname = hostnameOf(pod.object);
    const given = pod.containers.find((one) => one.name === container);
    const own = given === undefined ? {} : environmentOf(given, podFields(pod.object, pod.answer));
    return {
      netns: pod.answer.netns,
      root,
      env: {
        PATH: path,
        HOME: '/root',
        HOSTNAME: hostname,
        LANG: 'C.UTF-8',
        [podMark]: uid,
        ...own,
      },
      hostname,
      resolver: { namespace, text: resolvConf(dns, namespace) },
    };
  };

  /** What `agnhost netexec` runs, it runs like any command of its container. */
  const withPlace = (pod: RunningPod, port: LabListener): LabListener => {
    if (port.answer?.kind !== 'netexec') return port;
    const { env, resolver, hostname } = placeOf(pod, port.container ?? '');
    const place = { env, resolver, hostname, ...(root === undefined ? {} : { root }) };
    return { ...port, answer: { ...port.answer, place } };
  };

  /** Starts a program that ends with the pod. */
  const launch = (
    pod: RunningPod,
    place: ProcessPlace,
    argv: readonly string[],
    options: { readonly tty?: boolean } = {},
  ): PodProcess => {
    const child = run(place, argv, options);
    pod.processes.add(child);
    const forget = (): void => {
      pod.processes.delete(child);
    };
    child.exit.then(forget, forget);
    child.stdin.on('error', () => {});
    return child;
  };

  /** Lets the lab answer on ports of a pod, as soon as policy is in force. */
  async function open(pod: RunningPod, given: readonly LabListener[]): Promise<void> {
    const ports = given.map((port) => withPlace(pod, port));
    pod.ports.push(...ports);
    const order: PodOpening = { uid: pod.object.metadata.uid ?? '', ports };
    const notices = (await call('podOpen', order)) as readonly string[];
    const [first] = pod.object.spec?.containers ?? [];
    for (const notice of notices)
      logOf(pod, first?.name ?? '')
        .current()
        .add(`[podwall] ${notice}`);
  }

  /** Runs the command of a container for as long as the policy wants it. */
  async function live(
    pod: RunningPod,
    command: Command,
    policy: RestartPolicy,
    spare: readonly LabListener[] = [],
  ): ReturnType<typeof liveContainer> {
    const { uid = '', namespace = '', name = '' } = pod.object.metadata;
    const { container } = command;
    const log = logOf(pod, container);
    return liveContainer({
      policy,
      log,
      stopped: pod.stop.signal,
      label: `${container} pod=${name}_${namespace}(${uid})`,
      start() {
        const place = placeOf(pod, container);
        const argv = command.argv.map((word) => expand(word, place.env));
        const child = launch(pod, place, argv, { tty: command.tty === true });
        const main = command.stdin === true ? { child, backlog: keepBacklog(child) } : { child };
        pod.mains.set(container, main);
        const forget = (): void => {
          if (pod.mains.get(container) === main) pod.mains.delete(container);
        };
        child.exit.then(forget, forget);
        if (command.stdin !== true) child.stdin.end();
        return child;
      },
      report(state, restartCount, last) {
        tell({ uid, container, state, restartCount, ...(last === undefined ? {} : { last }) });
      },
      // A script that wants programs of its image: what it would listen on answers all the same.
      giveUp({ exitCode }) {
        if (spare.length === 0 || !missingProgram.includes(exitCode)) return false;
        const why = `the command ended with code ${exitCode}, as programs of its image are missing`;
        log.next().add(`[podwall] ${why}: its ports are answered instead`);
        report(pod, container, { kind: 'running', startedAt: Date.now() });
        open(pod, spare).catch(() => {});
        return true;
      },
    });
  }

  const policyOf = (pod: RunningPod): RestartPolicy =>
    ((pod.object.spec ?? {}) as { restartPolicy?: RestartPolicy }).restartPolicy ?? 'Always';

  /** Starts the commands of the main containers. */
  function begin(pod: RunningPod, plan: PodPlan): void {
    for (const command of plan.commands) {
      const container = pod.object.spec?.containers?.find(({ name }) => name === command.container);
      const declared = (container?.ports ?? []).length > 0;
      const spare =
        container !== undefined && declared
          ? listenPorts({ ...pod.object, spec: { containers: [container] } })
          : [];
      void live(pod, command, policyOf(pod), spare);
    }
  }

  /** Init containers one after the other, then the others. */
  async function initialize(pod: RunningPod, plan: PodPlan): Promise<void> {
    const { signal } = pod.stop;
    for (const { container, sidecar, command } of plan.init) {
      const now = Date.now();
      if (command === undefined) {
        const done = { kind: 'terminated', exitCode: 0, startedAt: now, finishedAt: now } as const;
        report(pod, container, sidecar ? { kind: 'running', startedAt: now } : done);
      } else if (sidecar) {
        void live(pod, command, 'Always');
      } else {
        const policy = policyOf(pod);
        const end = await live(pod, command, policy === 'Always' ? 'OnFailure' : policy);
        if (end === undefined || end.exitCode !== 0) return;
      }
    }
    while (!signal.aborted) {
      try {
        await open(pod, plan.ports);
        break;
      } catch (error) {
        if (signal.aborted) return;
        const message = error instanceof Error ? error.message : String(error);
        for (const { name } of pod.object.spec?.containers ?? [])
          report(pod, name, waiting('RunContainerError', message));
        await sleep(openAgainMs, undefined, { ref: false, signal }).catch(() => {});
      }
    }
    if (signal.aborted) return;
    const commanded = new Set(plan.commands.map(({ container }) => container));
    for (const { name } of pod.object.spec?.containers ?? [])
      if (!commanded.has(name)) report(pod, name, { kind: 'running', startedAt: Date.now() });
    begin(pod, plan);
  }

  return {
    async start(object: ApiObject, onAddress) {
      const pod = object as unknown as Pod;
      const { uid = '' } = pod.metadata;
      const plan = planPod(pod, root === undefined ? '' : path);
      const order: PodOrder = { object: pod };
      const answer = (await call('podWire', order)) as PodAnswer;
      const { podIPs, hostIP } = answer;
      onAddress?.({ podIPs, hostIP });
      const running: RunningPod = {
        object: pod,
        containers: [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])],
        answer,
        ports: [],
        logs: new Map(),
        processes: new Set(),
        mains: new Map(),
        stop: new AbortController(),
        lastVisit: 0,
      };
      pods.set(uid, running);
      for (const { name } of running.containers) logOf(running, name);
      for (const { container, note } of plan.init)
        if (note !== undefined) logOf(running, container).current().add(`[podwall] ${note}`);
      const waits = plan.init.some(({ command }) => command !== undefined);
      try {
        await open(running, waits ? [] : plan.ports);
      } catch (error) {
        if (pods.get(uid) === running) pods.delete(uid);
        throw error;
      }
      if (running.stop.signal.aborted) return { podIPs, hostIP };
      if (waits) {
        for (const { name } of running.containers)
          report(running, name, waiting('PodInitializing'));
        void initialize(running, plan);
      } else begin(running, plan);
      return { podIPs, hostIP };
    },

    async stop(uid, graceSeconds) {
      const pod = pods.get(uid);
      if (pod !== undefined) {
        pod.stop.abort();
        pods.delete(uid);
        await endProcesses(pod.processes, graceSeconds * 1000);
        // The others end with their network.
        if (pod.object.spec?.hostNetwork === true) endMarked(uid);
        for (const log of pod.logs.values()) log.current().end();
      }
      const end: PodName = { uid };
      await call('podStop', end);
    },

    startEphemeral(uid, given) {
      const pod = podOf(uid);
      const container = given as unknown as Container;
      pod.containers.push(container);
      const command = planCommand(container, root === undefined ? '' : path);
      if (command !== undefined) {
        void live(pod, command, 'Never');
        return;
      }
      const now = Date.now();
      const [program] = container.command ?? container.args ?? [];
      const message =
        program === undefined
          ? 'its image is not pulled: name a command, or ask for a terminal with -it'
          : `this machine has no program ${program}`;
      logOf(pod, container.name).current().add(`[podwall] ${message}`);
      const end = { kind: 'terminated', startedAt: now, finishedAt: now } as const;
      report(pod, container.name, { ...end, exitCode: 128, reason: 'StartError', message });
    },

    async exec(ref, { command, tty }) {
      const pod = podOf(ref.uid);
      const place = placeOf(pod, ref.container);
      // Our own script may lie where containers see a directory of their own.
      return isAgnhost(command[0])
        ? launch(pod, { ...place, root: undefined }, [
            process.execPath,
            ...scriptArgs('agnhost'),
            ...command.slice(1),
          ])
        : launch(pod, place, command, { tty });
    },

    async attach(ref, { stdin }) {
      const pod = podOf(ref.uid);
      const main = pod.mains.get(ref.container);
      if (main === undefined)
        throw new LabError(`container ${ref.container} runs no command to attach to`);
      const container = pod.containers.find(({ name }) => name === ref.container);
      const { stdinOnce = false } = (container ?? {}) as { stdinOnce?: boolean };
      const { child, backlog } = main;
      const keeps = backlog === undefined ? {} : { backlog };
      return shareProcess(child, { stdin, once: stdinOnce, ...keeps });
    },

    async logs(ref, options) {
      const pod = podOf(ref.uid);
      const log = pod.logs.get(ref.container);
      if (log === undefined) throw new LabError(`no container ${ref.container}`);
      if (options.previous) {
        const before = log.previous();
        if (before === undefined) {
          const { container, name } = ref;
          throw badRequest(
            `previous terminated container "${container}" in pod "${name}" not found`,
          );
        }
        return before.read(options);
      }
      await takeVisits(pod);
      const out = log.current().read(options);
      if (options.follow) {
        const timer = setInterval(() => void takeVisits(pod).catch(() => {}), followEveryMs);
        out.on('close', () => clearInterval(timer));
      }
      return out;
    },

    dial: (ref, port) => dialInside(podOf(ref.uid).answer.netns, port),

    onChange(listener) {
      listeners.push(listener);
    },
  };
}
