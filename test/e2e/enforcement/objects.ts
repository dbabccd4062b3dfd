/** Changes of the lessons' objects: a pod relabelled, moved, added, ended. Must not know of packets. */
import type { KubeObject } from '../../../src/k8s/types.ts';
import { networkPolicy } from '../../contract/dataplane.ts';
import { stranger } from './cluster.ts';
import type { LessonCluster } from './cluster.ts';

interface PodLike {
  metadata: { name: string; labels?: Record<string, string> };
  spec: Record<string, unknown>;
  status: Record<string, unknown>;
}

/** `objects` with the pod `name` changed by `change`. */
export function withPod(
  objects: readonly KubeObject[],
  name: string,
  change: (pod: PodLike) => void,
): KubeObject[] {
  let found = false;
  const next = objects.map((object) => {
    if (object.kind !== 'Pod' || object.metadata.name !== name) return object;
    found = true;
    const copy = structuredClone(object);
    change(copy as unknown as PodLike);
    return copy;
  });
  if (!found) throw new Error(`no pod ${name}`);
  return next;
}

export function withLabels(
  objects: readonly KubeObject[],
  name: string,
  labels: Record<string, string>,
): KubeObject[] {
  return withPod(objects, name, (pod) => {
    pod.metadata.labels = labels;
  });
}

export function withoutPod(objects: readonly KubeObject[], name: string): KubeObject[] {
  return objects.filter((object) => object.kind !== 'Pod' || object.metadata.name !== name);
}

export function withNamespaceLabels(
  objects: readonly KubeObject[],
  name: string,
  labels: Record<string, string>,
): KubeObject[] {
  return objects.map((object) =>
    object.kind === 'Namespace' && object.metadata.name === name
      ? {
          ...object,
          metadata: {
            ...object.metadata,
            labels: { 'kubernetes.io/metadata.name': name, ...labels },
          },
        }
      : object,
  );
}

/** A pod with the addresses that `holder` has in this cluster. */
export function podWithAddressOf(
  cluster: LessonCluster,
  holder: string,
  name: string,
  labels: Record<string, string>,
  parts: { phase?: string; spec?: object; startTime?: string } = {},
): KubeObject {
  const node =
    holder === stranger.name
      ? 1
      : Number(
          /:(\d)::|\.(\d)\.\d+$/
            .exec(cluster.address(holder, cluster.families[0] ?? 4))
            ?.slice(1)
            .find((part) => part !== undefined),
        );
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'prod', labels },
    spec: { nodeName: `node-${node}`, containers: [{ name: 'c' }], ...parts.spec },
    status: {
      phase: parts.phase ?? 'Running',
      ...(parts.startTime === undefined ? {} : { startTime: parts.startTime }),
      podIPs: cluster.families.map((family) => ({ ip: cluster.address(holder, family) })),
    },
  };
}

/** Of namespace prod, both directions. */
export const denyAll: KubeObject = networkPolicy('deny', {
  podSelector: {},
  policyTypes: ['Ingress', 'Egress'],
});

/** Peers that are exactly these ends' addresses. */
export function blocksOf(cluster: LessonCluster, ...names: string[]): object[] {
  return names.flatMap((name) =>
    cluster.families.map((family) => ({
      ipBlock: { cidr: `${cluster.address(name, family)}/${family === 4 ? 32 : 128}` },
    })),
  );
}
