/**
 * Gives pods a node, has the runtime start and stop them, and writes their status: scheduler and
 * kubelet of the lab in one.
 */
import {
  type ApiObject,
  at,
  type JsonObject,
  listAt,
  objectAt,
  stringAt,
  stringMapAt,
} from '../object.ts';
import { kindOf } from '../registry.ts';
import { keyOf } from '../resource.ts';
import type { ContainerChange, PodRuntime, StartedPod } from '../runtime.ts';
import type { Writer } from '../write.ts';
import { type Controller, itself, splitKey, startController } from './controller.ts';
import { createRecorder } from './events.ts';
import { addressStatus, condition, failedStatus, podStatus } from './pod-status.ts';

const podType = kindOf('v1', 'Pod');
const nodeType = kindOf('v1', 'Node');

/** Does the pod bear every taint of the node that keeps pods off? */
function tolerates(pod: ApiObject, node: ApiObject): boolean {
  const tolerations = listAt(pod, 'spec', 'tolerations');
  return listAt(node, 'spec', 'taints')
    .filter((taint) => taint['effect'] !== 'PreferNoSchedule')
    .every((taint) =>
      tolerations.some(
        (toleration) =>
          ['', stringAt(taint, 'effect')].includes(stringAt(toleration, 'effect')) &&
          (toleration['operator'] === 'Exists'
            ? ['', stringAt(taint, 'key')].includes(stringAt(toleration, 'key'))
            : stringAt(toleration, 'key') === stringAt(taint, 'key') &&
              stringAt(toleration, 'value') === stringAt(taint, 'value')),
      ),
    );
}

interface Running {
  readonly key: string;
  readonly node: string;
  state: 'starting' | 'running' | 'stopping' | 'failed';
  /** Settles when the runtime has answered to the start. */
  settled: Promise<void>;
  attempts: number;
  retryAt: number;
  /** Set when the runtime has answered to the start. */
  started: StartedPod | undefined;
  readonly containers: Map<string, ContainerChange>;
  /** A status will be written at the end of this turn. */
  due: boolean;
}

const isReady = (node: ApiObject): boolean =>
  at(node, 'spec', 'unschedulable') !== true &&
  listAt(node, 'status', 'conditions').some((c) => c['type'] === 'Ready' && c['status'] === 'True');

/** Starts scheduling and running pods; those the store already holds are started too. */
export function startKubelet(
  writer: Writer,
  runtime: PodRuntime,
  options: {
    readonly recordEvents?: boolean;
    /** A fault: how long a pod that has ended stays known, in milliseconds. */
    readonly lateDeleteMs?: () => number;
  } = {},
): Controller {
  const { store } = writer;
  const pods = new Map<string, Running>();
  const load = new Map<string, number>();
  const record = createRecorder(writer, 'kubelet');
  const scheduled = createRecorder(writer, 'default-scheduler');
  const say = options.recordEvents !== false;

  const choose = (pod: ApiObject): string | undefined => {
    const wanted = stringMapAt(pod, 'spec', 'nodeSelector');
    let best: string | undefined;
    for (const node of store.list(nodeType.bucket).objects) {
      const labels = node.metadata.labels ?? {};
      if (
        !isReady(node) ||
        !tolerates(pod, node) ||
        Object.entries(wanted).some(([key, value]) => labels[key] !== value)
      )
        continue;
      const { name } = node.metadata;
      if (best === undefined || (load.get(name) ?? 0) < (load.get(best) ?? 0)) best = name;
    }
    return best;
  };

  const schedule = (pod: ApiObject, key: string): void => {
    const node = choose(pod);
    if (node === undefined) {
      if (listAt(pod, 'status', 'conditions').some((c) => c['reason'] === 'Unschedulable')) {
        controller.enqueue(key, 2000);
        return;
      }
      if (say)
        scheduled(
          pod,
          'Warning',
          'FailedScheduling',
          'no node is ready and matches the node selector',
        );
      setStatus(pod, {
        ...objectAt(pod, 'status'),
        conditions: [
          condition('PodScheduled', 'False', writer.now(), {
            reason: 'Unschedulable',
            message: 'no node is ready and matches the node selector',
          }),
        ],
      });
      controller.enqueue(key, 2000);
      return;
    }
    const { namespace, name } = pod.metadata;
    const bound = writer.update(podType, namespace, name, (old) => ({
      ...old,
      spec: { ...objectAt(old, 'spec'), nodeName: node },
    }));
    if (say)
      scheduled(
        pod,
        'Normal',
        'Scheduled',
        `Successfully assigned ${namespace ?? ''}/${name} to ${node}`,
      );
    start(bound, key);
  };

  const start = (pod: ApiObject, key: string): void => {
    const uid = pod.metadata.uid ?? '';
    const attempts = (pods.get(uid)?.attempts ?? 0) + 1;
    const node = stringAt(pod, 'spec', 'nodeName');
    if (attempts === 1) load.set(node, (load.get(node) ?? 0) + 1);
    const entry: Running = {
      key,
      node,
      state: 'starting',
      settled: Promise.resolve(),
      attempts,
      retryAt: 0,
      started: undefined,
      containers: new Map(),
      due: false,
    };
    pods.set(uid, entry);
    const publish = (addressed: StartedPod): void => {
      const current = store.get(podType.bucket, key);
      if (entry.state !== 'starting' || current?.metadata.uid !== uid) return;
      const status = podStatus(current, entry, writer.now());
      setStatus(current, { ...status, ...addressStatus(addressed) });
    };
    entry.settled = runtime.start(pod, publish).then(
      (started) => {
        if (entry.state !== 'starting') return;
        entry.state = 'running';
        const current = store.get(podType.bucket, key);
        if (current?.metadata.uid !== uid) {
          stop(uid, entry, 0);
          return;
        }
        entry.started = started;
        for (const container of listAt(current, 'spec', 'containers')) {
          const name = stringAt(container, 'name');
          if (!entry.containers.has(name)) sayStarted(current, name);
        }
        setStatus(current, podStatus(current, entry, writer.now()));
        const more = listAt(current, 'spec', 'ephemeralContainers').length > 0;
        if (more || current.metadata.deletionTimestamp !== undefined) controller.enqueue(key);
      },
      (error: unknown) => {
        const message = error instanceof Error ? error.message : String(error);
        if (entry.state === 'stopping') return;
        const wait = Math.min(1000 * 2 ** attempts, 60_000);
        entry.state = 'failed';
        entry.retryAt = Date.now() + wait;
        controller.enqueue(key, wait + 10);
        const current = store.get(podType.bucket, key);
        if (current?.metadata.uid !== uid) {
          // Half of it may have been made.
          stop(uid, entry, 0);
          return;
        }
        record(current, 'Warning', 'Failed', `Error: ${message}`);
        setStatus(current, failedStatus(current, message, writer.now()));
      },
    );
  };

  const setStatus = (pod: ApiObject, status: JsonObject): void => {
    try {
      writer.update(
        podType,
        pod.metadata.namespace,
        pod.metadata.name,
        (old) => (old.metadata.uid === pod.metadata.uid ? { ...old, status } : old),
        { subresource: 'status' },
      );
    } catch {
      // Deleted meanwhile.
    }
  };

  const forget = (uid: string, entry: Running): void => {
    if (pods.delete(uid)) load.set(entry.node, Math.max(0, (load.get(entry.node) ?? 1) - 1));
  };

  const stop = (uid: string, entry: Running, grace: number): void => {
    if (entry.state === 'stopping') return;
    const gone = (): void => {
      forget(uid, entry);
      const { namespace, name } = splitKey(entry.key);
      const current = store.get(podType.bucket, entry.key);
      if (current?.metadata.uid !== uid || current.metadata.deletionTimestamp === undefined) return;
      try {
        writer.remove(podType, namespace, name, { gracePeriodSeconds: 0 });
      } catch {
        // Somebody else was faster.
      }
    };
    // A start that is under way is stopped too, and once more when it has settled: it may have
    // finished in between.
    const starting = entry.state === 'starting';
    entry.state = 'stopping';
    // A stop that failed is tried once more: a pod that nobody knows any more would run for ever.
    const stopped = runtime.stop(uid, grace).catch(() => runtime.stop(uid, 0));
    const all = starting
      ? stopped
          .catch(() => {})
          .then(() => entry.settled)
          .then(() => runtime.stop(uid, 0))
      : stopped;
    const end = (): void => {
      const late = options.lateDeleteMs?.() ?? 0;
      if (late > 0) setTimeout(gone, late).unref();
      else gone();
    };
    all.then(end, end);
  };

  const sayStarted = (pod: ApiObject, container: string): void => {
    if (say) record(pod, 'Normal', 'Started', `Started container ${container}`);
  };

  const noteChange = (pod: ApiObject, change: ContainerChange): void => {
    const { container, state } = change;
    if (state.kind === 'running') sayStarted(pod, container);
    if (state.kind === 'waiting' && state.reason === 'CrashLoopBackOff' && say) {
      const { namespace = '', name, uid = '' } = pod.metadata;
      const where = `${container} in pod ${name}_${namespace}(${uid})`;
      record(pod, 'Warning', 'BackOff', `Back-off restarting failed container ${where}`);
    }
  };

  runtime.onChange?.((change) => {
    const entry = pods.get(change.uid);
    if (entry === undefined || entry.state === 'stopping') return;
    entry.containers.set(change.container, change);
    const pod = store.get(podType.bucket, entry.key);
    if (pod?.metadata.uid !== change.uid) return;
    noteChange(pod, change);
    if (entry.due || entry.state !== 'running') return;
    // Several containers often change in one turn; the pod is written once.
    entry.due = true;
    queueMicrotask(() => {
      entry.due = false;
      const current = store.get(podType.bucket, entry.key);
      if (entry.state === 'running' && current?.metadata.uid === change.uid)
        setStatus(current, podStatus(current, entry, writer.now()));
    });
  });

  /** Containers added to a pod that runs (`kubectl debug`) start as soon as they are named. */
  const startEphemeral = (pod: ApiObject, entry: Running): void => {
    const known = listAt(pod, 'status', 'ephemeralContainerStatuses');
    const fresh = listAt(pod, 'spec', 'ephemeralContainers').filter(
      (container) => !known.some((status) => status['name'] === container['name']),
    );
    if (fresh.length === 0) return;
    for (const container of fresh) runtime.startEphemeral?.(pod.metadata.uid ?? '', container);
    setStatus(pod, podStatus(pod, entry, writer.now()));
  };

  const controller = startController({
    store,
    watches: {
      [podType.bucket]: (event) => {
        if (event.type === 'DELETED') {
          const uid = event.object.metadata.uid ?? '';
          const entry = pods.get(uid);
          if (entry) stop(uid, entry, 0);
          return [];
        }
        return itself(event);
      },
      [nodeType.bucket]: (event) => {
        if (event.type === 'DELETED') return [];
        return store
          .list(podType.bucket)
          .objects.filter((pod) => stringAt(pod, 'spec', 'nodeName') === '')
          .map((pod) => keyOf(podType, pod.metadata.namespace, pod.metadata.name));
      },
    },
    reconcile(key) {
      const pod = store.get(podType.bucket, key);
      if (!pod) return;
      const uid = pod.metadata.uid ?? '';
      const entry = pods.get(uid);
      if (pod.metadata.deletionTimestamp !== undefined) {
        if (entry) {
          if (say && entry.state === 'running')
            for (const container of listAt(pod, 'spec', 'containers'))
              record(pod, 'Normal', 'Killing', `Stopping container ${stringAt(container, 'name')}`);
          stop(uid, entry, pod.metadata.deletionGracePeriodSeconds ?? 0);
        } else if ((pod.metadata.deletionGracePeriodSeconds ?? 0) > 0) {
          const { namespace, name } = pod.metadata;
          writer.remove(podType, namespace, name, { gracePeriodSeconds: 0 });
        }
        return;
      }
      if (entry && !(entry.state === 'failed' && Date.now() >= entry.retryAt)) {
        if (entry.state === 'running') startEphemeral(pod, entry);
        return;
      }
      const phase = stringAt(pod, 'status', 'phase');
      if (phase === 'Succeeded' || phase === 'Failed') return;
      if (stringAt(pod, 'spec', 'nodeName') === '') schedule(pod, key);
      else start(pod, key);
    },
  });
  return controller;
}
