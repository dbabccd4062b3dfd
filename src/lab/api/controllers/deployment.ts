/**
 * Deployments make replica sets, replica sets make pods.
 */
import {
  type ApiObject,
  at,
  clone,
  deepEqual,
  ensureObject,
  listAt,
  numberAt,
  objectAt,
  stringAt,
} from '../object.ts';
import { kindOf } from '../registry.ts';
import type { Writer } from '../write.ts';
import { type Controller, itself, ownerOfKind, startController } from './controller.ts';
import { createRecorder } from './events.ts';
import {
  countPods,
  createPod,
  isActive,
  isGoing,
  isReady,
  ownedBy,
  ownerReference,
  plainTemplate,
  removePod,
  replicasOf,
  startPodOwner,
  templateHash,
  withCondition,
  writeStatus,
} from './pods.ts';

const deploymentType = kindOf('apps/v1', 'Deployment');
const replicaSetType = kindOf('apps/v1', 'ReplicaSet');
const hashLabel = 'pod-template-hash';
const revision = 'deployment.kubernetes.io/revision';

export function startReplicaSetController(writer: Writer): Controller {
  const record = createRecorder(writer, 'replicaset-controller');
  return startPodOwner(writer, replicaSetType, (set, pods) => {
    const active = pods.filter(isActive);
    if (!isGoing(set)) {
      const missing = replicasOf(set) - active.length;
      for (let count = 0; count < missing; count += 1) {
        const pod = createPod(writer, set);
        if (missing <= 20)
          record(set, 'Normal', 'SuccessfulCreate', `Created pod: ${pod.metadata.name}`);
      }
      if (missing < 0) {
        // The least useful first: without a node, not ready, youngest.
        const rank = (pod: ApiObject): number =>
          stringAt(pod, 'spec', 'nodeName') === '' ? 0 : isReady(pod) ? 2 : 1;
        const doomed = active
          .sort(
            (a, b) =>
              rank(a) - rank(b) ||
              Number(b.metadata.resourceVersion) - Number(a.metadata.resourceVersion),
          )
          .slice(0, -missing);
        for (const pod of doomed) {
          removePod(writer, pod);
          record(set, 'Normal', 'SuccessfulDelete', `Deleted pod: ${pod.metadata.name}`);
        }
      }
    }
    const { active: replicas, ready } = countPods(writer, set);
    writeStatus(writer, replicaSetType, set, {
      replicas,
      fullyLabeledReplicas: replicas || undefined,
      readyReplicas: ready || undefined,
      availableReplicas: ready || undefined,
      observedGeneration: set.metadata.generation,
    });
  });
}

/** `25%` of the replicas or a number. */
function share(value: unknown, replicas: number, round: (n: number) => number): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'string' && value.endsWith('%'))
    return round((Number(value.slice(0, -1)) * replicas) / 100);
  return 0;
}

export function startDeploymentController(writer: Writer): Controller {
  const record = createRecorder(writer, 'deployment-controller');
  const { store } = writer;

  const scale = (deployment: ApiObject, set: ApiObject, replicas: number): ApiObject => {
    if (replicasOf(set) === replicas) return set;
    record(
      deployment,
      'Normal',
      'ScalingReplicaSet',
      `Scaled ${replicas > replicasOf(set) ? 'up' : 'down'} replica set ${set.metadata.name} from ${replicasOf(set)} to ${replicas}`,
    );
    return writer.update(replicaSetType, set.metadata.namespace, set.metadata.name, (old) => {
      const next = clone(old);
      ensureObject(next, 'spec')['replicas'] = replicas;
      return next;
    });
  };

  const makeSet = (deployment: ApiObject, number: number): ApiObject => {
    const template = clone(objectAt(deployment, 'spec', 'template'));
    const hash = templateHash(template);
    const labels = { ...objectAt(template, 'metadata', 'labels'), [hashLabel]: hash };
    ensureObject(template, 'metadata')['labels'] = labels;
    const selector = clone(objectAt(deployment, 'spec', 'selector'));
    ensureObject(selector, 'matchLabels')[hashLabel] = hash;
    const set = writer.create(replicaSetType, deployment.metadata.namespace, {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: {
        name: `${deployment.metadata.name}-${hash}`,
        labels,
        annotations: { [revision]: String(number) },
        ownerReferences: [ownerReference(deployment)],
      },
      spec: { replicas: 0, selector, template },
    });
    return set;
  };

  const setRevision = (
    type: typeof deploymentType,
    object: ApiObject,
    number: string,
  ): ApiObject =>
    object.metadata.annotations?.[revision] === number
      ? object
      : writer.update(type, object.metadata.namespace, object.metadata.name, (old) => ({
          ...old,
          metadata: {
            ...old.metadata,
            annotations: { ...old.metadata.annotations, [revision]: number },
          },
        }));

  const roll = (deployment: ApiObject, current: ApiObject, olds: readonly ApiObject[]): void => {
    const replicas = replicasOf(deployment);
    const available = (set: ApiObject): number => numberAt(set, 'status', 'availableReplicas') ?? 0;
    const oldTotal = olds.reduce((sum, set) => sum + replicasOf(set), 0);
    if (stringAt(deployment, 'spec', 'strategy', 'type') === 'Recreate') {
      for (const set of olds) scale(deployment, set, 0);
      const left = olds.reduce((sum, set) => sum + (numberAt(set, 'status', 'replicas') ?? 0), 0);
      if (oldTotal === 0 && left === 0) scale(deployment, current, replicas);
      return;
    }
    const rolling = objectAt(deployment, 'spec', 'strategy', 'rollingUpdate');
    const surge = share(rolling['maxSurge'], replicas, Math.ceil);
    let unavailable = share(rolling['maxUnavailable'], replicas, Math.floor);
    if (surge === 0 && unavailable === 0) unavailable = 1;
    const room = replicas + surge - oldTotal - replicasOf(current);
    const wanted =
      replicasOf(current) > replicas
        ? replicas
        : Math.min(replicas, replicasOf(current) + Math.max(0, room));
    const set = scale(deployment, current, wanted);
    if (oldTotal === 0) return;
    const total = oldTotal + replicasOf(set);
    let spare = total - (replicas - unavailable) - (replicasOf(set) - available(set));
    // Old pods that are not available go first and cost nothing.
    for (const old of olds) {
      if (spare <= 0) break;
      const step = Math.min(spare, replicasOf(old));
      if (step > 0) scale(deployment, old, replicasOf(old) - step);
      spare -= step;
    }
  };

  return startController({
    store,
    watches: {
      [deploymentType.bucket]: itself,
      [replicaSetType.bucket]: ownerOfKind('Deployment'),
    },
    reconcile(key) {
      let deployment = store.get(deploymentType.bucket, key);
      if (!deployment) return;
      const sets = ownedBy(writer, replicaSetType, deployment);
      const template = objectAt(deployment, 'spec', 'template');
      let current = sets.find((set) => deepEqual(plainTemplate(set, hashLabel), template));
      const alive = !isGoing(deployment);
      if (alive && at(deployment, 'spec', 'paused') !== true) {
        const newest = Math.max(
          0,
          ...sets.map((s) => Number(s.metadata.annotations?.[revision] ?? 0)),
        );
        if (!current) current = makeSet(deployment, newest + 1);
        else if (Number(current.metadata.annotations?.[revision] ?? 0) < newest)
          current = setRevision(replicaSetType, current, String(newest + 1));
        const number = current.metadata.annotations?.[revision] ?? '1';
        deployment = setRevision(deploymentType, deployment, number);
        const uid = current.metadata.uid;
        const olds = sets.filter((set) => set.metadata.uid !== uid);
        roll(deployment, current, olds);
        const limit = numberAt(deployment, 'spec', 'revisionHistoryLimit') ?? 10;
        const idle = olds
          .filter(
            (set) => replicasOf(set) === 0 && (numberAt(set, 'status', 'replicas') ?? 0) === 0,
          )
          .sort(
            (a, b) =>
              Number(a.metadata.annotations?.[revision]) -
              Number(b.metadata.annotations?.[revision]),
          );
        for (const set of idle.slice(0, Math.max(0, idle.length - limit)))
          writer.remove(replicaSetType, set.metadata.namespace, set.metadata.name);
      } else if (alive && current && sets.length === 1)
        scale(deployment, current, replicasOf(deployment));
      report(deployment, current);
    },
  });

  function report(deployment: ApiObject, current: ApiObject | undefined): void {
    const sets = ownedBy(writer, replicaSetType, deployment);
    const sum = (field: string, list: readonly ApiObject[]): number =>
      list.reduce((total, set) => total + (numberAt(set, 'status', field) ?? 0), 0);
    const fresh = sets.filter((set) => set.metadata.uid === current?.metadata.uid);
    const replicas = replicasOf(deployment);
    const total = sum('replicas', sets);
    const updated = sum('replicas', fresh);
    const available = sum('availableReplicas', sets);
    const rolling = objectAt(deployment, 'spec', 'strategy', 'rollingUpdate');
    const needed = replicas - share(rolling['maxUnavailable'], replicas, Math.floor);
    const done = updated === replicas && total === replicas && available >= replicas;
    let conditions = listAt(deployment, 'status', 'conditions');
    conditions = withCondition(writer, conditions, {
      type: 'Available',
      status: available >= needed ? 'True' : 'False',
      reason: available >= needed ? 'MinimumReplicasAvailable' : 'MinimumReplicasUnavailable',
      message:
        available >= needed
          ? 'Deployment has minimum availability.'
          : 'Deployment does not have minimum availability.',
    });
    const name = current?.metadata.name ?? '';
    conditions = withCondition(writer, conditions, {
      type: 'Progressing',
      status: 'True',
      reason: done ? 'NewReplicaSetAvailable' : 'ReplicaSetUpdated',
      message: done
        ? `ReplicaSet "${name}" has successfully progressed.`
        : `ReplicaSet "${name}" is progressing.`,
    });
    writeStatus(writer, deploymentType, deployment, {
      observedGeneration: deployment.metadata.generation,
      replicas: total || undefined,
      updatedReplicas: updated || undefined,
      readyReplicas: sum('readyReplicas', sets) || undefined,
      availableReplicas: available || undefined,
      unavailableReplicas: Math.max(0, Math.max(total, replicas) - available) || undefined,
      conditions,
    });
  }
}
