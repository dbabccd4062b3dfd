/**
 * What the daemon knows of a cluster whose objects the API keeps: a copy of those that decide about
 * packets, and the pods it runs with their addresses. Must not touch the machine.
 */
import type { KubeObject, Pod } from '../k8s/types.ts';
import { policyKindOf } from '../policy/index.ts';
import { planNodes, podAddresses, podsPerNode, type NodePlan } from './config.ts';
import { dnsPodId } from './dns.ts';
import { LabError } from './errors.ts';
import { endpointNamed, type LabView, type StoredPod } from './store.ts';
import type { LabConfig, ObjectRef } from './types.ts';

export interface Mirror extends LabView {
  /** Takes newer states in. True when packets may be judged differently now. */
  put(objects: readonly KubeObject[]): boolean;
  /** Forgets objects. True when packets may be judged differently now. */
  drop(refs: readonly ObjectRef[]): boolean;
  /** Gives a pod addresses on its node. Throws `LabError` when there is no such node or no address. */
  place(pod: Pod): StoredPod;
  /** Takes the addresses back; undefined when the pod does not run here. */
  release(uid: string): StoredPod | undefined;
  /** The pod that runs under this name. */
  running(id: string): StoredPod | undefined;
}

function keyOf(ref: { kind: string; namespace?: string | undefined; name: string }): string {
  return `${ref.kind}/${ref.namespace ?? ''}/${ref.name}`;
}

function keyOfObject({ kind, metadata }: KubeObject): string {
  return keyOf({ kind, namespace: metadata.namespace, name: metadata.name ?? '' });
}

/** The part of an object that can change what happens to a packet. */
function signature(object: KubeObject): string {
  const { metadata, spec } = object;
  const phase = (object as Pod).status?.phase;
  const { nodeName, hostNetwork } = (spec ?? {}) as { nodeName?: string; hostNetwork?: boolean };
  const { endpoints, ports } = object as unknown as { endpoints?: unknown; ports?: unknown };
  const body =
    object.kind === 'Pod'
      ? { nodeName, hostNetwork, over: phase === 'Succeeded' || phase === 'Failed' }
      : [spec, endpoints, ports];
  return JSON.stringify([metadata.uid, metadata.labels, body]);
}

/** An empty copy for a lab of this shape. */
export function createMirror(config: LabConfig): Mirror {
  const nodes = planNodes(config);
  const objects = new Map<string, { object: KubeObject; signature: string }>();
  const byUid = new Map<string, StoredPod>();
  const byId = new Map<string, StoredPod>();
  const slots = new Map(nodes.map((node) => [node.name, { next: 2, used: new Set<number>() }]));

  /** A freed address is not used again at once: others may still remember its last owner. */
  const takeSlot = (node: NodePlan): number => {
    const mine = slots.get(node.name);
    if (mine !== undefined) {
      for (let step = 0; step < podsPerNode; step++) {
        const slot = 2 + ((mine.next - 2 + step) % podsPerNode);
        if (mine.used.has(slot)) continue;
        mine.next = slot + 1;
        mine.used.add(slot);
        return slot;
      }
    }
    throw new LabError(`no address is left on ${node.name}: a node holds ${podsPerNode} pods`);
  };

  const takeLast = (node: NodePlan): number | false => {
    const mine = slots.get(node.name);
    const last = podsPerNode + 1;
    if (mine === undefined || mine.used.has(last)) return false;
    mine.used.add(last);
    return last;
  };

  /** The addresses of a pod that runs are the lab's to say, whatever the API has written yet. */
  const withAddresses = (object: KubeObject): KubeObject => {
    const pod = object.kind === 'Pod' ? byUid.get(object.metadata.uid ?? '') : undefined;
    if (pod === undefined) return object;
    const [podIP] = pod.addresses;
    const status = {
      ...(object as Pod).status,
      hostIP: pod.node.addresses[0],
      ...(podIP === undefined ? {} : { podIP }),
      podIPs: pod.addresses.map((ip) => ({ ip })),
    };
    return { ...object, status };
  };

  return {
    config,
    nodes,
    put(given) {
      let changed = false;
      for (const object of given) {
        const key = keyOfObject(object);
        const old = objects.get(key);
        const newer = Number(object.metadata.resourceVersion ?? 0);
        if (old !== undefined && Number(old.object.metadata.resourceVersion ?? 0) > newer) continue;
        const now = signature(object);
        // A pod without a network yet sends and receives nothing.
        const counts = object.kind !== 'Pod' || byUid.has(object.metadata.uid ?? '');
        changed = changed || (counts && old?.signature !== now);
        objects.set(key, { object, signature: now });
      }
      return changed;
    },
    drop(refs) {
      let changed = false;
      for (const ref of refs) changed = objects.delete(keyOf(ref)) || changed;
      return changed;
    },
    place(object) {
      const { namespace = 'default', name = '', uid = '' } = object.metadata;
      const node = nodes.find((one) => one.name === object.spec?.nodeName);
      if (node === undefined) {
        throw new LabError(`this lab has no node "${object.spec?.nodeName ?? ''}"`);
      }
      const hostNetwork = object.spec?.hostNetwork === true;
      // The lab's own pod sits at the end, so that the first of the user's has the first address.
      const own = `${namespace}/${name}` === dnsPodId && takeLast(node);
      const slot = hostNetwork ? 0 : own || takeSlot(node);
      const addresses = hostNetwork ? node.addresses : podAddresses(config, node, slot);
      const id = `${namespace}/${name}`;
      const pod = { id, namespace, name, node, slot, addresses, ports: [], hostNetwork, uid };
      byUid.set(uid, pod);
      byId.set(id, pod);
      return pod;
    },
    release(uid) {
      const pod = byUid.get(uid);
      if (pod === undefined) return undefined;
      byUid.delete(uid);
      if (byId.get(pod.id) === pod) byId.delete(pod.id);
      slots.get(pod.node.name)?.used.delete(pod.slot);
      return pod;
    },
    running: (id) => byId.get(id),
    objects: () => [...objects.values()].map(({ object }) => withAddresses(object)),
    pods: () => [...byId.values()],
    endpoint: (name) => endpointNamed(name, { config, nodes, pod: (id) => byId.get(id) }),
    readyPods: () =>
      [...objects.values()].filter(({ object }) => {
        const { conditions = [] } = (object.status ?? {}) as {
          conditions?: readonly { type: string; status: string }[];
        };
        const ready = conditions.some((one) => one.type === 'Ready' && one.status === 'True');
        const own = `${object.metadata.namespace}/${object.metadata.name}` === dnsPodId;
        return object.kind === 'Pod' && ready && !own;
      }).length,
    countPolicies: () =>
      [...objects.values()].filter(
        ({ object }) => policyKindOf(object.apiVersion, object.kind) !== undefined,
      ).length,
  };
}
