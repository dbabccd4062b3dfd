/**
 * How a controller runs: it hears of changes, remembers which keys are dirty, and works them off
 * one after another outside the write that dirtied them. Knows no kind.
 */
import type { Store, StoreEvent } from '../store.ts';

export interface Controller {
  /** Looks at a key again, now or after some milliseconds. */
  enqueue(key: string, afterMs?: number): void;
  stop(): void;
}

export interface ControllerOptions {
  readonly store: Store;
  /** Buckets to hear; the keys to look at for an event. */
  readonly watches: Readonly<Record<string, (event: StoreEvent) => readonly string[]>>;
  /** Brings the world nearer to what the object at `key` asks. A throw is tried again, later. */
  reconcile(key: string): void;
}

/** Starts a controller; everything that exists is looked at once. */
export function startController(options: ControllerOptions): Controller {
  const { store } = options;
  const dirty = new Set<string>();
  const failures = new Map<string, number>();
  const timers = new Set<NodeJS.Timeout>();
  let scheduled = false;
  let stopped = false;

  const later = (key: string, ms: number): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      enqueue(key);
    }, ms);
    timer.unref();
    timers.add(timer);
  };

  const work = (): void => {
    scheduled = false;
    const batch = [...dirty];
    dirty.clear();
    for (const key of batch) {
      if (stopped) return;
      try {
        options.reconcile(key);
        failures.delete(key);
      } catch {
        // Conflicts and objects that vanish meanwhile are normal; try again, more slowly each time.
        const count = (failures.get(key) ?? 0) + 1;
        failures.set(key, count);
        later(key, Math.min(5 * 2 ** count, 5000));
      }
    }
  };

  const enqueue = (key: string, afterMs = 0): void => {
    if (stopped) return;
    if (afterMs > 0) {
      later(key, afterMs);
      return;
    }
    dirty.add(key);
    if (scheduled) return;
    scheduled = true;
    setImmediate(work);
  };

  const ends = Object.entries(options.watches).map(([bucket, keysFor]) => {
    for (const object of store.list(bucket).objects) {
      const key = `${object.metadata.namespace === undefined ? '' : `${object.metadata.namespace}/`}${object.metadata.name}`;
      for (const dirtyKey of keysFor({ type: 'ADDED', bucket, key, version: 0, object }))
        enqueue(dirtyKey);
    }
    return store.listen(bucket, (event) => {
      for (const key of keysFor(event)) enqueue(key);
    });
  });

  return {
    enqueue,
    stop() {
      stopped = true;
      for (const end of ends) end();
      for (const timer of timers) clearTimeout(timer);
    },
  };
}

/** For a watch: the object itself. */
export const itself = (event: StoreEvent): readonly string[] => [event.key];

/** For a watch on pods: the owner of a kind that controls the object, before and after. */
export function ownerOfKind(kind: string): (event: StoreEvent) => readonly string[] {
  return (event) => {
    const keys = new Set<string>();
    for (const object of [event.object, event.previous])
      for (const reference of object?.metadata.ownerReferences ?? [])
        if (reference.kind === kind && reference.controller === true)
          keys.add(`${object?.metadata.namespace ?? ''}/${reference.name}`);
    return [...keys];
  };
}

export function splitKey(key: string): { namespace: string; name: string } {
  const slash = key.indexOf('/');
  return slash < 0
    ? { namespace: '', name: key }
    : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}
