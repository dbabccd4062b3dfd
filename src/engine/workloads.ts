/**
 * Which workload a pod belongs to, and the pods a workload without live pods will make. Must not
 * know of policies.
 */
import type { KubeObject } from '../k8s/types.ts';
import { at, listOf, numberOf, textOf } from './json.ts';
import type { WorkloadRef } from './snapshot.ts';

/** Kinds whose objects make pods from a template, and where the template stands. */
const templates: Readonly<Record<string, readonly string[]>> = {
  Deployment: ['template'],
  ReplicaSet: ['template'],
  StatefulSet: ['template'],
  DaemonSet: ['template'],
  ReplicationController: ['template'],
  Job: ['template'],
  CronJob: ['jobTemplate', 'spec', 'template'],
};

export function isWorkloadKind(kind: string): boolean {
  return Object.hasOwn(templates, kind);
}

/** The pod template of a workload: metadata and spec, not checked. */
export function templateOf(workload: KubeObject): unknown {
  return at(workload.spec, ...(templates[workload.kind] ?? []));
}

/** How many pods the workload asks for; undefined where the cluster decides. */
export function replicasOf(workload: KubeObject): number | undefined {
  switch (workload.kind) {
    case 'DaemonSet':
      return undefined;
    case 'Job':
      return numberOf(at(workload.spec, 'parallelism')) ?? 1;
    case 'CronJob':
      return numberOf(at(workload.spec, 'jobTemplate', 'spec', 'parallelism')) ?? 1;
    default:
      return numberOf(at(workload.spec, 'replicas')) ?? 1;
  }
}

/** A Job that is done, or a ReplicaSet that was replaced: makes no more pods. */
export function makesNoPods(workload: KubeObject): boolean {
  if (workload.kind === 'Job')
    return listOf(at(workload.status, 'conditions')).some(
      (condition) =>
        at(condition, 'status') === 'True' &&
        (at(condition, 'type') === 'Complete' || at(condition, 'type') === 'Failed'),
    );
  return (
    workload.kind === 'ReplicaSet' &&
    numberOf(at(workload.spec, 'replicas')) === 0 &&
    (ownerOf(workload) !== undefined || templateHash(workload) !== undefined)
  );
}

/** The controlling owner reference, or the only one there is. */
function ownerOf(object: KubeObject): { kind: string; name: string } | undefined {
  const references = listOf(at(object.metadata, 'ownerReferences'));
  const reference =
    references.find((item) => at(item, 'controller') === true) ??
    (references.length === 1 ? references[0] : undefined);
  const kind = textOf(at(reference, 'kind'));
  const name = textOf(at(reference, 'name'));
  return kind === undefined || name === undefined ? undefined : { kind, name };
}

function templateHash(object: KubeObject): string | undefined {
  return textOf(at(object.metadata, 'labels', 'pod-template-hash'));
}

/**
 * The outermost owner: follows owner references from object to object, and from a ReplicaSet to its
 * Deployment also by the `pod-template-hash` in its name when the ReplicaSet is not given. `lookup`
 * finds a workload object by kind and name in the namespace.
 */
export function workloadOf(
  object: KubeObject,
  namespace: string,
  name: string,
  lookup: (kind: string, name: string) => KubeObject | undefined,
): WorkloadRef {
  let current: KubeObject | undefined = object;
  let found: WorkloadRef = { kind: object.kind, namespace, name };
  // Owners form a chain of at most four; a bound guards against references in a circle.
  for (let depth = 0; depth < 8 && current !== undefined; depth++) {
    const owner = ownerOf(current);
    // A pod that a node runs by itself names the node as its owner.
    if (owner?.kind === 'Node') return found;
    const hash = templateHash(current);
    if (owner !== undefined) {
      found = { kind: owner.kind, namespace, name: owner.name };
      current = lookup(owner.kind, owner.name);
      if (current !== undefined || owner.kind !== 'ReplicaSet') continue;
    } else if (current.kind !== 'ReplicaSet') return found;
    // A ReplicaSet without a known owner.
    if (hash !== undefined && found.kind === 'ReplicaSet' && found.name.endsWith(`-${hash}`))
      found = { kind: 'Deployment', namespace, name: found.name.slice(0, -hash.length - 1) };
    return found;
  }
  return found;
}
