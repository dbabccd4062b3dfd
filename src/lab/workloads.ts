/**
 * What a workload's controller would make: the pods of a Deployment, StatefulSet and so on, with
 * names that are the same on every run. Pure; must not know nodes' addresses or the store.
 */
import { createHash } from 'node:crypto';
import type { KubeObject, ObjectMeta, Pod, PodSpec, PodTemplateSpec } from '../k8s/types.ts';

interface WorkloadSpec {
  readonly replicas?: number | null;
  readonly parallelism?: number | null;
  readonly template?: PodTemplateSpec;
}

/** Kinds whose pods the lab makes, with the API version it accepts. */
export const workloadKinds: Readonly<Record<string, string>> = {
  Deployment: 'apps/v1',
  ReplicaSet: 'apps/v1',
  StatefulSet: 'apps/v1',
  DaemonSet: 'apps/v1',
  Job: 'batch/v1',
  ReplicationController: 'v1',
};

/** The alphabet of Kubernetes' own generated names: no vowels, nothing to misread. */
const alphabet = 'bcdfghjklmnpqrstvwxz2456789';

/** `length` characters that depend on `text` only. */
export function stableSuffix(text: string, length: number): string {
  const digest = createHash('sha256').update(text).digest();
  let suffix = '';
  for (let index = 0; index < length; index++) {
    suffix += alphabet.charAt((digest[index] ?? 0) % alphabet.length);
  }
  return suffix;
}

/** Room for the suffixes in a pod's name, which also is its host name. */
const longestBase = 46;

/** The pods `workload` stands for, without status; a DaemonSet's carry their node's name. */
export function podsOfWorkload(workload: KubeObject, nodes: readonly string[]): Pod[] {
  const spec = (workload.spec ?? {}) as WorkloadSpec;
  const template: PodTemplateSpec = spec.template ?? {};
  const { kind } = workload;
  const name = (workload.metadata.name ?? '').slice(0, longestBase);
  const hash = stableSuffix(JSON.stringify(template), 8);
  const make = (podName: string, nodeName?: string): Pod => {
    const metadata: ObjectMeta = {
      name: podName,
      labels: { ...template.metadata?.labels },
      annotations: { ...template.metadata?.annotations },
      ownerReferences: [ownerOf(workload)],
      ...(workload.metadata.namespace === undefined
        ? {}
        : { namespace: workload.metadata.namespace }),
    };
    const podSpec: PodSpec = { ...template.spec, ...(nodeName === undefined ? {} : { nodeName }) };
    return { apiVersion: 'v1', kind: 'Pod', metadata, spec: podSpec };
  };
  if (kind === 'DaemonSet') {
    return nodes.map((node) => make(`${name}-${stableSuffix(`${hash} ${node}`, 5)}`, node));
  }
  const count = replicasOf(kind, spec);
  return Array.from({ length: count }, (_, index) => {
    if (kind === 'StatefulSet') return make(`${name}-${index}`);
    const own = stableSuffix(`${hash} ${name} ${index}`, 5);
    return make(kind === 'Deployment' ? `${name}-${hash}-${own}` : `${name}-${own}`);
  });
}

function replicasOf(kind: string, spec: WorkloadSpec): number {
  const wanted = kind === 'Job' ? spec.parallelism : spec.replicas;
  return Math.max(0, wanted ?? 1);
}

function ownerOf(workload: KubeObject): NonNullable<ObjectMeta['ownerReferences']>[number] {
  const { uid, name = '' } = workload.metadata;
  return {
    apiVersion: workload.apiVersion,
    kind: workload.kind,
    name,
    controller: true,
    ...(uid === undefined ? {} : { uid }),
  };
}
