/**
 * The daemon's part when the API keeps the objects: it runs the pods it is told to, follows the
 * objects that decide about packets, and answers when both are in force. What comes in while it works
 * is done together in the next round. Must not know of the API beyond its calls.
 */
import type { KubeObject, Pod } from '../k8s/types.ts';
import type { Handler } from './control.ts';
import type { Enforcer } from './enforce.ts';
import { dnsPodId } from './dns.ts';
import { LabError } from './errors.ts';
import type { Listeners } from './listeners.ts';
import type { Mirror } from './mirror.ts';
import { busyLimit, mapLimited } from './parallel.ts';
import { endOf } from './probe.ts';
import type { StoredPod } from './store.ts';
import { addPodsScript, netnsPath, removePodsScript, type PodWiring } from './topology.ts';
import type { LabListener, ObjectRef } from './types.ts';

/** `podWire`: a pod with `metadata.uid` and `spec.nodeName`. */
export interface PodOrder {
  readonly object: Pod;
}

/**
 * `podOpen`, which comes when the API has published the addresses: waits until policy is in force, then
 * the lab answers on these ports of the pod, besides those of earlier calls. Answered with the ports that
 * could not be opened, one sentence each.
 */
export interface PodOpening extends PodName {
  readonly ports: readonly LabListener[];
}

/** `podStop`. */
export interface PodName {
  readonly uid: string;
}

/** Answer to `podWire`: it has its network, and nothing in it. */
export interface PodAnswer {
  readonly podIPs: readonly string[];
  readonly hostIP: string;
  /** Path of its network namespace. */
  readonly netns: string;
}

/**
 * `sync`: newer states of objects, and objects that are gone; answered at once, with true when packets
 * may be judged differently. `enforce`, with that answer, returns when everything is in force.
 */
export interface SyncOrder {
  readonly put: readonly KubeObject[];
  readonly gone: readonly ObjectRef[];
}

/** `visits`: who came to the listeners of a pod; answered with `Visit[]`. */
export interface VisitsOrder {
  readonly endpoint: string;
  readonly after: number;
}

interface Parts {
  readonly mirror: Mirror;
  readonly enforcer: Enforcer;
  readonly listeners: Listeners;
  /** Rounds and probe runs take turns. */
  readonly queue: <T>(act: () => Promise<T>) => Promise<T>;
  readonly shell: (script: string) => Promise<void>;
  readonly onObjects?: (objects: readonly KubeObject[]) => Promise<void>;
  readonly onTrouble: (error: unknown) => void;
  /** Answers the queries that reach the DNS pod. */
  readonly dns: (query: Buffer) => Buffer | undefined;
}

type Job =
  | ({ readonly kind: 'wire' } & PodOrder)
  | ({ readonly kind: 'open' } & PodOpening)
  | ({ readonly kind: 'stop' } & PodName)
  | { readonly kind: 'enforce'; readonly changed: boolean };

/** Pods with a network of their own; hostNetwork pods have their node's. */
export function wirings(pods: readonly StoredPod[]): PodWiring[] {
  return pods
    .filter((pod) => !pod.hostNetwork)
    .map(({ namespace, name, node, slot, addresses }) => {
      const link = `v${node.index}-${slot}`;
      return { namespace, name, node, slot, addresses, link };
    });
}

/** The calls `podWire`, `podOpen`, `podStop`, `visits`, `sync` and `enforce`. */
export function createHosted(parts: Parts): Readonly<Record<string, Handler>> {
  const { mirror, enforcer, listeners } = parts;
  const { wiring } = mirror.config;

  /** Pods that could not be taken away: tried again in the next round. */
  let leftovers: readonly StoredPod[] = [];

  /** Whatever happens here must not keep others from starting. */
  async function takeAway(pods: readonly StoredPod[]): Promise<void> {
    // The networks of a name that is used again are another pod's.
    const all = [...leftovers.filter(({ id }) => mirror.running(id) === undefined), ...pods];
    leftovers = [];
    try {
      await parts.shell(removePodsScript(wirings(all), wiring));
    } catch (error) {
      leftovers = all;
      parts.onTrouble(error);
    }
  }

  /** Makes pods, together or, when that fails, one by one: one that cannot be is not the others' fault. */
  async function build(wired: ReadonlyMap<number, StoredPod>): Promise<Map<number, unknown>> {
    const failed = new Map<number, unknown>();
    const make = async (entries: readonly (readonly [number, StoredPod])[]): Promise<void> => {
      const pods = wirings(entries.map(([, pod]) => pod));
      try {
        await parts.shell(addPodsScript(pods, wiring));
      } catch (error) {
        // Half of it may be there.
        await parts.shell(removePodsScript(pods, wiring)).catch(parts.onTrouble);
        const [only] = entries;
        if (entries.length > 1) for (const entry of entries) await make([entry]);
        else if (only !== undefined) {
          mirror.release(only[1].uid);
          failed.set(only[0], error);
        }
      }
    };
    await make([...wired]);
    return failed;
  }

  async function round(jobs: readonly Job[]): Promise<unknown[]> {
    const removed: StoredPod[] = [];
    const wired = new Map<number, StoredPod>();
    const opened = new Map<
      number,
      { readonly pod: StoredPod; readonly ports: readonly LabListener[] }
    >();
    const results: unknown[] = jobs.map(() => undefined);
    let changed = false;
    const end = (pod: StoredPod | undefined): void => {
      if (pod === undefined) return;
      removed.push(pod);
      listeners.close(pod.id);
    };
    jobs.forEach((job, index) => {
      try {
        if (job.kind === 'stop') {
          end(mirror.release(job.uid));
          for (const [open, { pod }] of opened) {
            if (pod.uid !== job.uid) continue;
            opened.delete(open);
            results[open] = new LabError('the pod was stopped before it started');
          }
        } else if (job.kind === 'wire') {
          const { namespace = 'default', name = '' } = job.object.metadata;
          // Deleted by force and made again: the old one has to go first.
          const old = mirror.running(`${namespace}/${name}`);
          const unmade = [...wired].find(([, pod]) => pod.uid === old?.uid)?.[0];
          if (unmade !== undefined) {
            // Replaced before its turn came: there is nothing of it to take away.
            wired.delete(unmade);
            mirror.release(old?.uid ?? '');
            results[unmade] = new LabError('the pod was replaced before it started');
          } else if (old !== undefined) end(mirror.release(old.uid));
          wired.set(index, mirror.place(job.object));
          mirror.put([job.object]);
        } else if (job.kind === 'open') {
          const pod = mirror.pods().find(({ uid }) => uid === job.uid);
          if (pod === undefined) throw new LabError('the pod was stopped before it started');
          opened.set(index, { pod, ports: job.ports });
        } else {
          changed = changed || job.changed;
        }
      } catch (error) {
        results[index] = error;
      }
    });
    await takeAway(removed);
    for (const [index, error] of await build(wired)) {
      results[index] = error;
      wired.delete(index);
    }
    for (const [index, pod] of wired) {
      const { netns } = endOf({ kind: 'pod', pod });
      const [hostIP = ''] = pod.node.addresses;
      const answer: PodAnswer = { podIPs: pod.addresses, hostIP, netns: netnsPath(netns) };
      results[index] = answer;
    }
    // A pod that was only wired is not published yet: agents cannot know it, so nobody may wait for them.
    if (wired.size === 0 && (changed || removed.length > 0 || opened.size > 0)) {
      const objects = mirror.objects();
      await enforcer.enforce(objects);
      // Services that cannot be loaded must not hold up policies and pods.
      await parts.onObjects?.(objects).catch(parts.onTrouble);
    }
    // Only now, with policies in force, does anything answer in the new pods.
    await mapLimited([...opened], busyLimit(), async ([index, { pod, ports }]) => {
      const opening = listeners.open({
        endpoint: pod.id,
        netns: endOf({ kind: 'pod', pod }).netns,
        addresses: pod.addresses,
        ports,
        ownNetwork: !pod.hostNetwork,
        ...(pod.id === dnsPodId ? { dns: parts.dns } : {}),
      });
      results[index] = await opening.catch((error: unknown) => error);
    });
    return results;
  }

  const add = createBatch<Job>((jobs) => parts.queue(() => round(jobs)));
  const wire = createBatch<Job>((jobs) => parts.queue(() => round(jobs)));
  return {
    podWire: (params) => wire({ kind: 'wire', ...(params as PodOrder) }),
    podOpen: (params) => add({ kind: 'open', ...(params as PodOpening) }),
    podStop: (params) => add({ kind: 'stop', ...(params as PodName) }),
    async visits(params) {
      const { endpoint, after } = params as VisitsOrder;
      return listeners.visits(endpoint, after);
    },
    async sync(params) {
      const { put, gone } = params as SyncOrder;
      // Known before the round is over: whoever waits for agents compares with the newest.
      const differs = mirror.put(put);
      return mirror.drop(gone) || differs;
    },
    enforce: (params) => add({ kind: 'enforce', changed: params === true }),
  };
}

interface Waiting<T> {
  readonly item: T;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/** Gathers what is added while `run` works; a result that is an `Error` rejects its item alone. */
export function createBatch<T>(
  run: (items: readonly T[]) => Promise<unknown[]>,
): (item: T) => Promise<unknown> {
  let waiting: Waiting<T>[] = [];
  let working = false;
  const work = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        const results = await run(batch.map(({ item }) => item));
        batch.forEach(({ resolve, reject }, index) => {
          const result = results[index];
          if (result instanceof Error) reject(result);
          else resolve(result);
        });
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    working = false;
  };
  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject });
      if (working) return;
      working = true;
      setImmediate(() => void work());
    });
}
