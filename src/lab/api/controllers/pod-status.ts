/**
 * The status of a pod from what its runtime says of it: phase, conditions, container statuses, as a
 * kubelet writes them. Pure: must not write objects or know a clock.
 */
import {
  type ApiObject,
  at,
  type JsonObject,
  listAt,
  numberAt,
  objectAt,
  stringAt,
  timestamp,
} from '../object.ts';
import type { ContainerChange, ContainerEnd, ContainerState, StartedPod } from '../runtime.ts';

export interface PodFacts {
  /** Absent: the runtime has not answered yet, its containers wait. */
  readonly started: StartedPod | undefined;
  /** Newest first-hand news, by container name. */
  readonly containers: ReadonlyMap<string, ContainerChange>;
}

export function condition(
  type: string,
  status: string,
  now: number,
  more: JsonObject = {},
): JsonObject {
  return { type, status, lastProbeTime: null, lastTransitionTime: timestamp(now), ...more };
}

export function addressStatus({ podIPs, hostIP }: StartedPod): JsonObject {
  const [podIP] = podIPs;
  return {
    hostIP,
    hostIPs: [{ ip: hostIP }],
    ...(podIP === undefined ? {} : { podIP, podIPs: podIPs.map((ip) => ({ ip })) }),
  };
}

type Role = 'init' | 'sidecar' | 'main' | 'ephemeral';

const roleOfInit = (container: JsonObject): Role =>
  container['restartPolicy'] === 'Always' ? 'sidecar' : 'init';

/** What a container does that the runtime has said nothing of. */
function presumed(role: Role, facts: PodFacts, hasInit: boolean, now: number): ContainerState {
  if (facts.started === undefined && role !== 'ephemeral') {
    const waits = hasInit && role !== 'init' ? 'PodInitializing' : 'ContainerCreating';
    return { kind: 'waiting', reason: waits };
  }
  if (role === 'init') return { kind: 'terminated', exitCode: 0, startedAt: now, finishedAt: now };
  return { kind: 'running', startedAt: now };
}

function endJson(end: ContainerEnd, id: string): JsonObject {
  return {
    terminated: {
      exitCode: end.exitCode,
      reason: end.reason ?? (end.exitCode === 0 ? 'Completed' : 'Error'),
      ...(end.message === undefined ? {} : { message: end.message }),
      startedAt: timestamp(end.startedAt),
      finishedAt: timestamp(end.finishedAt),
      containerID: id,
    },
  };
}

function stateJson(state: ContainerState, id: string): JsonObject {
  switch (state.kind) {
    case 'waiting':
      return {
        waiting: {
          reason: state.reason,
          ...(state.message === undefined ? {} : { message: state.message }),
        },
      };
    case 'running':
      return { running: { startedAt: timestamp(state.startedAt) } };
    case 'terminated':
      return endJson(state, id);
  }
}

function containerStatus(
  pod: ApiObject,
  container: JsonObject,
  role: Role,
  facts: PodFacts,
  now: number,
): JsonObject {
  const name = stringAt(container, 'name');
  const known = facts.containers.get(name);
  const hasInit = listAt(pod, 'spec', 'initContainers').length > 0;
  const old = oldStatus(pod, name);
  const state = known?.state ?? presumed(role, facts, hasInit, now);
  const restartCount = known?.restartCount ?? 0;
  const id = `podwall://${pod.metadata.uid ?? ''}/${name}/${restartCount}`;
  const running = state.kind === 'running';
  const done = role === 'init' && state.kind === 'terminated' && state.exitCode === 0;
  // What is only presumed keeps its first time.
  const kept =
    known === undefined && at(old, 'state', state.kind) !== undefined ? old?.['state'] : undefined;
  return {
    name,
    image: stringAt(container, 'image'),
    imageID: '',
    ...(state.kind === 'waiting' && known?.last === undefined ? {} : { containerID: id }),
    lastState: known?.last === undefined ? {} : endJson(known.last, id),
    // No probe is run, so what runs is ready, as for a container that has none.
    ready: role === 'ephemeral' ? false : running || done,
    ...(role === 'ephemeral' ? {} : { started: running }),
    restartCount,
    state: kept ?? stateJson(state, id),
  };
}

function oldStatus(pod: ApiObject, name: string): JsonObject | undefined {
  return ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses']
    .flatMap((list) => listAt(pod, 'status', list))
    .find((status) => status['name'] === name);
}

const exitOf = (status: JsonObject, where: 'state' | 'lastState' = 'state'): number | undefined =>
  numberAt(status, where, 'terminated', 'exitCode');

/** Init containers are over and, where they had to, succeeded; sidecars have started. */
function isInitialized(pod: ApiObject, init: readonly JsonObject[]): boolean {
  return listAt(pod, 'spec', 'initContainers').every((container, index) => {
    const status = init[index] ?? {};
    if (roleOfInit(container) === 'sidecar') return status['started'] === true;
    return exitOf(status) === 0;
  });
}

/** As the kubelet decides it, from the states of all containers and the restart policy. */
function phaseOf(pod: ApiObject, init: readonly JsonObject[], main: readonly JsonObject[]): string {
  const policy = stringAt(pod, 'spec', 'restartPolicy') || 'Always';
  const failedInit = listAt(pod, 'spec', 'initContainers').some(
    (container, index) =>
      roleOfInit(container) === 'init' &&
      policy === 'Never' &&
      (exitOf(init[index] ?? {}) ?? 0) !== 0,
  );
  if (failedInit) return 'Failed';
  const begun = main.some(
    (status) =>
      at(status, 'state', 'waiting') === undefined || exitOf(status, 'lastState') !== undefined,
  );
  if (!isInitialized(pod, init) && !begun) return 'Pending';
  const waiting = main.filter(
    (status) =>
      at(status, 'state', 'waiting') !== undefined && exitOf(status, 'lastState') === undefined,
  );
  if (waiting.length > 0) return 'Pending';
  if (main.some((status) => at(status, 'state', 'running') !== undefined)) return 'Running';
  if (policy === 'Always') return 'Running';
  const codes = main.map((status) => exitOf(status) ?? exitOf(status, 'lastState'));
  if (main.some((status) => at(status, 'state', 'waiting') !== undefined)) return 'Running';
  if (codes.every((code) => code === 0)) return 'Succeeded';
  return policy === 'Never' ? 'Failed' : 'Running';
}

/** Replaces conditions of the same type; an unchanged status keeps its time. */
function withConditions(old: readonly JsonObject[], next: readonly JsonObject[]): JsonObject[] {
  const mine = next.map((made) => {
    const before = old.find((one) => one['type'] === made['type']);
    if (before === undefined || before['status'] !== made['status']) return made;
    return { ...made, lastTransitionTime: before['lastTransitionTime'] };
  });
  const others = old.filter((one) => !next.some((made) => made['type'] === one['type']));
  return [...mine, ...others];
}

/** The whole status; fields it does not know are kept. */
export function podStatus(pod: ApiObject, facts: PodFacts, now: number): JsonObject {
  const old = objectAt(pod, 'status');
  const statuses = (list: string, role: (container: JsonObject) => Role): JsonObject[] =>
    listAt(pod, 'spec', list).map((one) => containerStatus(pod, one, role(one), facts, now));
  const init = statuses('initContainers', roleOfInit);
  const main = statuses('containers', () => 'main');
  const ephemeral = statuses('ephemeralContainers', () => 'ephemeral');
  const phase = phaseOf(pod, init, main);
  const over = phase === 'Succeeded' || phase === 'Failed';
  const initialized = phase === 'Succeeded' || isInitialized(pod, init);
  const unready = [...init.filter((one) => one['ready'] !== true), ...main].filter(
    (one) => one['ready'] !== true,
  );
  const ready = initialized && unready.length === 0;
  const names = unready.map((one) => stringAt(one, 'name')).join(' ');
  const why =
    phase === 'Succeeded'
      ? { reason: 'PodCompleted' }
      : phase === 'Failed'
        ? { reason: 'PodFailed' }
        : {
            reason: 'ContainersNotReady',
            message: `containers with unready status: [${names}]`,
          };
  const readiness = (type: string): JsonObject =>
    ready && !over ? condition(type, 'True', now) : condition(type, 'False', now, why);
  const addressed = facts.started !== undefined || stringAt(old, 'podIP') !== '';
  return {
    ...old,
    phase,
    conditions: withConditions(listAt(old, 'conditions'), [
      condition('PodReadyToStartContainers', addressed ? 'True' : 'False', now),
      initialized
        ? condition('Initialized', 'True', now)
        : condition('Initialized', 'False', now, {
            reason: 'ContainersNotInitialized',
            message: `containers with incomplete status: [${names}]`,
          }),
      readiness('Ready'),
      readiness('ContainersReady'),
      condition('PodScheduled', 'True', now),
    ]),
    ...(facts.started === undefined ? {} : addressStatus(facts.started)),
    startTime: old['startTime'] ?? timestamp(now),
    ...(init.length > 0 ? { initContainerStatuses: init } : {}),
    containerStatuses: main,
    ...(ephemeral.length > 0 ? { ephemeralContainerStatuses: ephemeral } : {}),
  };
}

/** The status of a pod that could not be started. */
export function failedStatus(pod: ApiObject, message: string, now: number): JsonObject {
  const state = { kind: 'waiting', reason: 'CreateContainerError', message } as const;
  const containers = new Map(
    listAt(pod, 'spec', 'containers').map((container) => {
      const name = stringAt(container, 'name');
      const uid = pod.metadata.uid ?? '';
      return [name, { uid, container: name, state, restartCount: 0 }] as const;
    }),
  );
  return podStatus(pod, { started: undefined, containers }, now);
}
