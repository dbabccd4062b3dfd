/**
 * Tells the daemon of every change of objects that decide about packets, and knows when it is in
 * force. What changes meanwhile goes in one more call. Must not know what the daemon does with it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeObject } from '../k8s/types.ts';
import { policyKinds } from '../policy/index.ts';
import { kindOf } from './api/registry.ts';
import type { ResourceType } from './api/resource.ts';
import type { Store, StoreEvent } from './api/store.ts';
import type { SyncOrder } from './hosted.ts';

export interface ObjectSync {
  /** Resolves when everything that was in the store when it was called is in force. */
  settled(): Promise<void>;
  stop(): void;
}

/** Kinds whose objects say what happens to a packet. */
function followedTypes(): ResourceType[] {
  return [
    kindOf('v1', 'Namespace'),
    kindOf('v1', 'Node'),
    kindOf('v1', 'Pod'),
    kindOf('v1', 'Service'),
    kindOf('discovery.k8s.io/v1', 'EndpointSlice'),
    ...policyKinds.map((kind) => kindOf(kind.apiVersion, kind.kind)),
  ];
}

/** The daemon's side. */
export interface SyncTarget {
  /** It knows from now on; true when packets may be judged differently. */
  tell(order: SyncOrder): Promise<boolean>;
  /** Everything it knows is in force. `changed`: something it was told asks for work. */
  enforce(changed: boolean): Promise<unknown>;
}

/** Everything that decides about packets, as it is now. */
export function wholeOrder(store: Store): SyncOrder {
  const put = followedTypes().flatMap((type) => store.list(type.bucket).objects);
  return { put: put, gone: [] };
}

/** Changes within this time go together. */
const gatherMs = 3;
const retryMs = 500;

/**
 * Telling and waiting are two calls: a round of the daemon may last until agents follow what the API
 * says now, so it has to learn the next change while it waits for the last.
 */
export function followStore(
  store: Store,
  target: SyncTarget,
  onTrouble: (error: unknown) => void,
): ObjectSync {
  const types = new Map(followedTypes().map((type) => [type.bucket, type]));
  const dirty = new Map<string, StoreEvent>();
  const enforcing = new Set<Promise<void>>();
  let timer: NodeJS.Timeout | undefined;
  let telling = false;
  let stopped = false;
  let waiting: (() => void)[] = [];

  const mark = (event: StoreEvent): void => {
    dirty.set(`${event.bucket} ${event.key}`, event);
    schedule(gatherMs);
  };
  const schedule = (ms: number): void => {
    if (telling || stopped) return;
    timer ??= setTimeout(() => void flush(), ms);
  };
  const flush = async (): Promise<void> => {
    timer = undefined;
    telling = true;
    const events = [...dirty];
    dirty.clear();
    const served = waiting;
    waiting = [];
    let pause = 0;
    try {
      const order = orderOf(
        events.map(([, event]) => event),
        store,
      );
      const told = order.put.length + order.gone.length > 0;
      enforce(told && (await target.tell(order)), served);
    } catch (error) {
      if (!stopped) onTrouble(error);
      // What came meanwhile is newer.
      for (const [key, event] of events) if (!dirty.has(key)) dirty.set(key, event);
      waiting.push(...served);
      pause = retryMs;
    }
    telling = false;
    if (dirty.size > 0 || waiting.length > 0) schedule(pause);
  };
  /** Asks again until it works; who waits, waits for what was told earlier too. */
  const enforce = (changed: boolean, served: readonly (() => void)[]): void => {
    if (!changed && served.length === 0) return;
    const earlier = [...enforcing];
    const work = async (): Promise<void> => {
      for (let asks = changed; !stopped; asks = true) {
        try {
          await target.enforce(asks);
          break;
        } catch (error) {
          if (!stopped) onTrouble(error);
          await sleep(retryMs);
        }
      }
      await Promise.all(earlier);
      for (const done of served) done();
    };
    const promise = work().finally(() => enforcing.delete(promise));
    enforcing.add(promise);
  };

  for (const type of types.values()) {
    for (const object of store.list(type.bucket).objects) {
      const { namespace, name } = object.metadata;
      const key = namespace === undefined ? name : `${namespace}/${name}`;
      mark({ type: 'ADDED', bucket: type.bucket, key, version: 0, object });
    }
  }
  const ends = [...types.keys()].map((bucket) => store.listen(bucket, mark));
  return {
    settled: () =>
      new Promise((resolve) => {
        waiting.push(resolve);
        schedule(0);
      }),
    stop() {
      stopped = true;
      clearTimeout(timer);
      for (const end of ends) end();
    },
  };
}

function orderOf(events: readonly StoreEvent[], store: Store): SyncOrder {
  const put: KubeObject[] = [];
  const gone: { kind: string; namespace?: string; name: string }[] = [];
  for (const event of events) {
    const object = store.get(event.bucket, event.key);
    if (object !== undefined) {
      put.push(object);
      continue;
    }
    const { kind, metadata } = event.object;
    const { namespace, name } = metadata;
    gone.push({ kind, name, ...(namespace === undefined ? {} : { namespace }) });
  }
  return { put, gone };
}
