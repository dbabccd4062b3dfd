/**
 * Stateful sets, daemon sets and jobs; starts the controllers of all workloads.
 */
import {
  type ApiObject,
  listAt,
  numberAt,
  objectAt,
  stringAt,
  stringMapAt,
  timestamp,
} from '../object.ts';
import { kindOf } from '../registry.ts';
import type { Writer } from '../write.ts';
import type { Controller } from './controller.ts';
import { startDeploymentController, startReplicaSetController } from './deployment.ts';
import {
  countPods,
  createPod,
  isActive,
  isGoing,
  isReady,
  removePod,
  replicasOf,
  revisionLabel,
  revisionOf,
  startPodOwner,
  templateHash,
  withCondition,
  writeStatus,
} from './pods.ts';

const statefulSetType = kindOf('apps/v1', 'StatefulSet');
const daemonSetType = kindOf('apps/v1', 'DaemonSet');
const jobType = kindOf('batch/v1', 'Job');
const nodeType = kindOf('v1', 'Node');

const hashOf = (workload: ApiObject): string =>
  templateHash(objectAt(workload, 'spec', 'template'));

function startStatefulSetController(writer: Writer): Controller {
  return startPodOwner(writer, statefulSetType, (set, pods) => {
    const hash = `${set.metadata.name}-${hashOf(set)}`;
    const ordinal = (pod: ApiObject): number =>
      Number(/-(\d+)$/.exec(pod.metadata.name)?.[1] ?? -1);
    const byOrdinal = new Map(pods.map((pod) => [ordinal(pod), pod]));
    if (!isGoing(set)) {
      const parallel = stringAt(set, 'spec', 'podManagementPolicy') === 'Parallel';
      fill(set, hash, byOrdinal, parallel);
      shrink(set, hash, pods, ordinal, parallel);
    }
    const { active, ready, updated } = countPods(writer, set, hash);
    const all = updated === replicasOf(set);
    writeStatus(writer, statefulSetType, set, {
      observedGeneration: set.metadata.generation,
      replicas: active,
      readyReplicas: ready || undefined,
      availableReplicas: ready,
      currentReplicas: all ? updated : active - updated || undefined,
      updatedReplicas: updated || undefined,
      currentRevision: all ? hash : stringAt(set, 'status', 'currentRevision') || hash,
      updateRevision: hash,
      collisionCount: 0,
    });
  });

  /** Creates what is missing, one after the other when order is asked for. */
  function fill(
    set: ApiObject,
    hash: string,
    byOrdinal: ReadonlyMap<number, ApiObject>,
    parallel: boolean,
  ): void {
    for (let index = 0; index < replicasOf(set); index += 1) {
      const pod = byOrdinal.get(index);
      if (!pod) {
        const name = `${set.metadata.name}-${index}`;
        createPod(writer, set, {
          name,
          labels: {
            'statefulset.kubernetes.io/pod-name': name,
            'apps.kubernetes.io/pod-index': String(index),
            [revisionLabel]: hash,
          },
          spec: {
            hostname: name,
            ...(stringAt(set, 'spec', 'serviceName') === ''
              ? {}
              : { subdomain: stringAt(set, 'spec', 'serviceName') }),
          },
        });
        if (!parallel) return;
      } else if (!isReady(pod) || isGoing(pod)) if (!parallel) return;
    }
  }

  /** Removes what is too many from the top, then replaces what has an older template. */
  function shrink(
    set: ApiObject,
    hash: string,
    pods: readonly ApiObject[],
    ordinal: (pod: ApiObject) => number,
    parallel: boolean,
  ): void {
    const replicas = replicasOf(set);
    if (!parallel && pods.some((pod) => isGoing(pod))) return;
    const extra = pods
      .filter((pod) => ordinal(pod) >= replicas && isActive(pod))
      .sort((a, b) => ordinal(b) - ordinal(a));
    for (const pod of parallel ? extra : extra.slice(0, 1)) removePod(writer, pod);
    if (extra.length > 0 || stringAt(set, 'spec', 'updateStrategy', 'type') === 'OnDelete') return;
    const partition = numberAt(set, 'spec', 'updateStrategy', 'rollingUpdate', 'partition') ?? 0;
    if (pods.filter(isReady).length < replicas) return;
    const stale = pods
      .filter((pod) => revisionOf(pod) !== hash && ordinal(pod) >= partition)
      .sort((a, b) => ordinal(b) - ordinal(a))[0];
    if (stale) removePod(writer, stale);
  }
}

function startDaemonSetController(writer: Writer): Controller {
  const { store } = writer;
  const allSets = (): string[] =>
    store
      .list(daemonSetType.bucket)
      .objects.map((set) => `${set.metadata.namespace ?? ''}/${set.metadata.name}`);
  const nodeOf = (pod: ApiObject): string => stringAt(pod, 'spec', 'nodeName');
  const reconcile = (set: ApiObject, pods: readonly ApiObject[]): void => {
    const hash = hashOf(set);
    const wanted = stringMapAt(set, 'spec', 'template', 'spec', 'nodeSelector');
    const nodes = store
      .list(nodeType.bucket)
      .objects.filter((node) =>
        Object.entries(wanted).every(([name, value]) => node.metadata.labels?.[name] === value),
      );
    if (!isGoing(set)) {
      for (const node of nodes)
        if (!pods.some((pod) => nodeOf(pod) === node.metadata.name))
          createPod(writer, set, {
            labels: { [revisionLabel]: hash },
            spec: { nodeName: node.metadata.name },
          });
      for (const pod of pods)
        if (isActive(pod) && !nodes.some((node) => node.metadata.name === nodeOf(pod)))
          removePod(writer, pod);
      const settled = pods.every((pod) => isActive(pod) && isReady(pod));
      const stale = pods.find((pod) => revisionOf(pod) !== hash);
      if (stale && settled && stringAt(set, 'spec', 'updateStrategy', 'type') !== 'OnDelete')
        removePod(writer, stale);
    }
    const { active, ready, updated } = countPods(writer, set, hash);
    writeStatus(writer, daemonSetType, set, {
      currentNumberScheduled: active,
      numberMisscheduled: 0,
      desiredNumberScheduled: nodes.length,
      numberReady: ready,
      numberAvailable: ready || undefined,
      numberUnavailable: nodes.length - ready || undefined,
      updatedNumberScheduled: updated || undefined,
      observedGeneration: set.metadata.generation,
    });
  };
  return startPodOwner(writer, daemonSetType, reconcile, { [nodeType.bucket]: allSets });
}

const restartsOf = (pod: ApiObject): number =>
  ['containerStatuses', 'initContainerStatuses']
    .flatMap((list) => listAt(pod, 'status', list))
    .reduce((sum, status) => sum + (numberAt(status, 'restartCount') ?? 0), 0);

function startJobController(writer: Writer): Controller {
  return startPodOwner(writer, jobType, (job, pods) => {
    if (isGoing(job)) return;
    const old = objectAt(job, 'status');
    const finished = listAt(old, 'conditions').some(
      (c) => ['Complete', 'Failed'].includes(stringAt(c, 'type')) && c['status'] === 'True',
    );
    if (finished) return;
    const active = pods.filter(isActive);
    const phase = (name: string): number =>
      pods.filter((pod) => stringAt(pod, 'status', 'phase') === name).length;
    const succeeded = phase('Succeeded');
    const failed = phase('Failed');
    const completions = numberAt(job, 'spec', 'completions') ?? 1;
    const limit = numberAt(job, 'spec', 'backoffLimit') ?? 6;
    let conditions = listAt(old, 'conditions');
    const done = succeeded >= completions;
    // Pods that start their containers again do not fail: the restarts are counted.
    const restarts =
      stringAt(job, 'spec', 'template', 'spec', 'restartPolicy') === 'OnFailure'
        ? active.reduce((sum, pod) => sum + restartsOf(pod), 0)
        : 0;
    const broken = failed > limit || (restarts > 0 && restarts >= limit);
    if (done)
      conditions = withCondition(writer, conditions, {
        type: 'Complete',
        status: 'True',
        reason: 'CompletionsReached',
        message: 'Reached expected number of succeeded pods',
      });
    else if (broken) {
      conditions = withCondition(writer, conditions, {
        type: 'Failed',
        status: 'True',
        reason: 'BackoffLimitExceeded',
        message: 'Job has reached the specified backoff limit',
      });
      for (const pod of active) removePod(writer, pod);
    } else if (job['spec'] && objectAt(job, 'spec')['suspend'] !== true) {
      const parallelism = numberAt(job, 'spec', 'parallelism') ?? 1;
      const missing = Math.min(parallelism, completions - succeeded) - active.length;
      for (let count = 0; count < missing; count += 1) active.push(createPod(writer, job));
    }
    writeStatus(writer, jobType, job, {
      startTime: old['startTime'] ?? timestamp(writer.now()),
      active: done || broken ? undefined : active.length || undefined,
      ready: active.filter(isReady).length,
      succeeded: succeeded || undefined,
      failed: failed || undefined,
      terminating: 0,
      conditions: conditions.length > 0 ? conditions : undefined,
      completionTime: done ? timestamp(writer.now()) : undefined,
    });
  });
}

export function startWorkloadControllers(writer: Writer): Controller[] {
  return [
    startReplicaSetController(writer),
    startDeploymentController(writer),
    startStatefulSetController(writer),
    startDaemonSetController(writer),
    startJobController(writer),
  ];
}
