/**
 * All watched resources together: one store each, one promise for the first complete picture, and
 * one stream of coalesced changes. Resources come in no order; a reader must judge states, never
 * the order of events. Must not know what the objects mean.
 */
import type { KubeObject } from '../k8s/types.ts';
import { createInternPool, createKeep } from './keep.ts';
import {
  startReflector,
  type Reflector,
  type ReflectorOptions,
  type ReflectorStatus,
} from './reflector.ts';
import { policyResources, resourceName, type Resource } from './resource.ts';
import { storeKey, type Change, type Store } from './store.ts';
import type { Connection } from './transport.ts';

export interface ResourceChange extends Change {
  readonly resource: Resource;
}

/** Changes of one coalescing window; at most one an object, from the state last handed out to the newest. */
export interface ChangeBatch {
  readonly changes: readonly ResourceChange[];
  /** When the first of them arrived, in milliseconds since the epoch: where programming latency begins. */
  readonly since: number;
}

export interface ClusterWatchOptions extends Pick<
  ReflectorOptions,
  | 'metrics'
  | 'watchList'
  | 'pageSize'
  | 'backoff'
  | 'idleTimeoutMs'
  | 'timeoutSeconds'
  | 'initialIdleMs'
  | 'initialTotalMs'
  | 'absentRetryMs'
  | 'signal'
  | 'onStatus'
> {
  /** Default: the resources that decide policy. */
  readonly resources?: readonly Resource[];
  /** How long changes are gathered after the first one. Default 25 ms. */
  readonly coalesceMs?: number;
  /**
   * Called once, when `synced` resolves: what the stores hold at this moment is what the first batch
   * changes. (A waiter of the promise runs a little later and may already see newer objects.)
   */
  readonly onSync?: () => void;
  /** Not called before `onSync`. Must not throw. */
  readonly onChange?: (batch: ChangeBatch) => void;
}

export interface ClusterWatch {
  /** By resource name, for example `pods`. */
  readonly stores: ReadonlyMap<string, Store>;
  objects(): IterableIterator<KubeObject>;
  status(): ReflectorStatus[];
  /** Every resource was read once, or cannot be read (see `status`). */
  readonly synced: Promise<void>;
  stop(): Promise<void>;
}

export function startClusterWatch(
  connection: Connection,
  options: ClusterWatchOptions = {},
): ClusterWatch {
  const { resources = policyResources, coalesceMs = 25, onChange, onSync, ...shared } = options;
  const pool = createInternPool();
  const pending = new Map<string, ResourceChange>();
  let since = 0;
  let timer: NodeJS.Timeout | undefined;
  let ready = false;

  function flush(): void {
    timer = undefined;
    const changes = [...pending.values()];
    pending.clear();
    if (changes.length > 0) onChange?.({ changes, since });
  }

  function gather(resource: Resource, changes: readonly Change[]): void {
    // The first complete picture is read from the stores.
    if (!ready || onChange === undefined) return;
    for (const change of changes) {
      const { namespace, name } = change.object.metadata;
      const key = `${resourceName(resource)} ${storeKey(namespace, name ?? '')}`;
      const earlier = pending.get(key);
      const merged = earlier === undefined ? change : mergeChanges(earlier, change);
      if (merged === undefined) pending.delete(key);
      else pending.set(key, { ...merged, resource });
    }
    if (timer === undefined && pending.size > 0) {
      since = connection.clock.now();
      timer = setTimeout(flush, coalesceMs);
    }
  }

  const reflectors = new Map<string, Reflector>();
  for (const resource of resources) {
    reflectors.set(
      resourceName(resource),
      startReflector(connection, resource, {
        ...shared,
        keep: createKeep(resource.apiVersion, resource.kind, pool),
        onChanges: (changes) => gather(resource, changes),
      }),
    );
  }
  const all = [...reflectors.values()];
  const synced = Promise.all(all.map((reflector) => reflector.settled)).then(() => {
    ready = true;
    onSync?.();
  });

  return {
    stores: new Map([...reflectors].map(([name, reflector]) => [name, reflector.store])),
    *objects() {
      for (const reflector of all) yield* reflector.store.values();
    },
    status: () => all.map((reflector) => reflector.status()),
    synced,
    async stop() {
      clearTimeout(timer);
      timer = undefined;
      await Promise.all(all.map((reflector) => reflector.stop()));
    },
  };
}

/** Two changes of one object as one; `undefined` when they cancel out. */
export function mergeChanges(earlier: Change, later: Change): Change | undefined {
  const before = earlier.type === 'added' ? undefined : (earlier.previous ?? earlier.object);
  if (later.type === 'deleted') {
    return before === undefined ? undefined : { type: 'deleted', object: before };
  }
  return before === undefined
    ? { type: 'added', object: later.object }
    : { type: 'modified', object: later.object, previous: before };
}
