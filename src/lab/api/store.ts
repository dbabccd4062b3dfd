/**
 * The state of the cluster: objects by bucket and key, one counter of versions, a ring of past
 * events from which older states are rebuilt. Objects are never changed in place. Knows no kind and
 * no HTTP.
 */
import type { ApiObject } from './object.ts';

export type EventType = 'ADDED' | 'MODIFIED' | 'DELETED';

export interface StoreEvent {
  readonly type: EventType;
  readonly bucket: string;
  readonly key: string;
  readonly version: number;
  /** For DELETED: the last state, with the version of the deletion. */
  readonly object: ApiObject;
  readonly previous?: ApiObject;
}

export type Listener = (event: StoreEvent) => void;

export interface Snapshot {
  readonly version: number;
  /** In order of key. */
  readonly objects: readonly ApiObject[];
}

export interface Store {
  version(): number;
  /** The oldest version from which `eventsAfter` can still answer. */
  oldest(): number;
  get(bucket: string, key: string): ApiObject | undefined;
  /** All objects of a bucket, or those whose key begins with `prefix`, now. */
  list(bucket: string, prefix?: string): Snapshot;
  /** The state at an older version; undefined when history no longer reaches it. */
  listAt(bucket: string, version: number, prefix?: string): Snapshot | undefined;
  /** Stores an object, stamped with a new version, and tells the listeners. */
  put(bucket: string, key: string, object: ApiObject): ApiObject;
  remove(bucket: string, key: string, last?: ApiObject): ApiObject | undefined;
  /** Events of a bucket after a version; undefined when history no longer reaches it. */
  eventsAfter(bucket: string, version: number): StoreEvent[] | undefined;
  /** Returns the function that ends it. `undefined` as bucket hears everything. */
  listen(bucket: string | undefined, listener: Listener): () => void;
  /** Forgets history up to now, as etcd's compaction does. */
  compact(): void;
  /** Jumps the counter, so that versions are not consecutive. */
  skipVersions(count: number): void;
  buckets(): string[];
  dump(): StoreDump;
}

export interface StoreDump {
  readonly version: number;
  readonly objects: readonly { bucket: string; key: string; object: ApiObject }[];
}

export interface StoreOptions {
  /** Events kept; default 20,000. */
  readonly history?: number;
  readonly initial?: StoreDump;
}

interface Bucket {
  readonly objects: Map<string, ApiObject>;
  sorted: string[] | undefined;
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export function createStore(options: StoreOptions = {}): Store {
  const capacity = options.history ?? 20_000;
  const buckets = new Map<string, Bucket>();
  const listeners = new Map<string | undefined, Set<Listener>>();
  let history: StoreEvent[] = [];
  let version = options.initial?.version ?? 1;
  let compacted = version;

  const bucketOf = (name: string): Bucket => {
    let bucket = buckets.get(name);
    if (!bucket) buckets.set(name, (bucket = { objects: new Map(), sorted: undefined }));
    return bucket;
  };
  for (const item of options.initial?.objects ?? [])
    bucketOf(item.bucket).objects.set(item.key, item.object);

  const keysOf = (bucket: Bucket): string[] =>
    (bucket.sorted ??= [...bucket.objects.keys()].sort(compareText));

  const emit = (event: StoreEvent): void => {
    history.push(event);
    if (history.length > capacity * 2) {
      const dropped = history.length - capacity;
      compacted = history[dropped - 1]?.version ?? compacted;
      history = history.slice(dropped);
    }
    for (const listener of listeners.get(event.bucket) ?? []) listener(event);
    for (const listener of listeners.get(undefined) ?? []) listener(event);
  };

  const stamp = (object: ApiObject): ApiObject => ({
    ...object,
    metadata: { ...object.metadata, resourceVersion: String(version) },
  });

  /** Index of the first event after `after`: history is in order, so halve. */
  const firstAfter = (after: number): number => {
    let low = 0;
    let high = history.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((history[middle]?.version ?? 0) > after) high = middle;
      else low = middle + 1;
    }
    return low;
  };

  const list = (name: string, prefix = ''): Snapshot => {
    const bucket = bucketOf(name);
    const objects: ApiObject[] = [];
    for (const key of keysOf(bucket)) {
      if (prefix !== '' && !key.startsWith(prefix)) continue;
      const object = bucket.objects.get(key);
      if (object) objects.push(object);
    }
    return { version, objects };
  };

  return {
    version: () => version,
    oldest: () => compacted,
    get: (bucket, key) => bucketOf(bucket).objects.get(key),
    list,
    listAt(name, wanted, prefix = '') {
      if (wanted > version || wanted < compacted) return undefined;
      if (wanted === version) return list(name, prefix);
      const state = new Map(bucketOf(name).objects);
      for (let index = history.length - 1; index >= firstAfter(wanted); index -= 1) {
        const event = history[index];
        if (!event || event.bucket !== name) continue;
        if (event.previous) state.set(event.key, event.previous);
        else state.delete(event.key);
      }
      const objects = [...state.entries()]
        .filter(([key]) => key.startsWith(prefix))
        .sort(([a], [b]) => compareText(a, b))
        .map(([, object]) => object);
      return { version: wanted, objects };
    },
    put(name, key, object) {
      const bucket = bucketOf(name);
      const previous = bucket.objects.get(key);
      version += 1;
      const stored = stamp(object);
      bucket.objects.set(key, stored);
      if (!previous) bucket.sorted = undefined;
      emit({
        type: previous ? 'MODIFIED' : 'ADDED',
        bucket: name,
        key,
        version,
        object: stored,
        ...(previous ? { previous } : {}),
      });
      return stored;
    },
    remove(name, key, last) {
      const bucket = bucketOf(name);
      const previous = bucket.objects.get(key);
      if (!previous) return undefined;
      version += 1;
      const object = stamp(last ?? previous);
      bucket.objects.delete(key);
      bucket.sorted = undefined;
      emit({ type: 'DELETED', bucket: name, key, version, object, previous });
      return object;
    },
    eventsAfter(bucket, after) {
      if (after < compacted) return undefined;
      return history.slice(firstAfter(after)).filter((event) => event.bucket === bucket);
    },
    listen(bucket, listener) {
      let set = listeners.get(bucket);
      if (!set) listeners.set(bucket, (set = new Set()));
      set.add(listener);
      return () => {
        set.delete(listener);
      };
    },
    compact() {
      history = [];
      compacted = version;
    },
    skipVersions(count) {
      version += count;
    },
    buckets: () => [...buckets.keys()],
    dump: () => ({
      version,
      objects: [...buckets].flatMap(([bucket, { objects }]) =>
        [...objects].map(([key, object]) => ({ bucket, key, object })),
      ),
    }),
  };
}
