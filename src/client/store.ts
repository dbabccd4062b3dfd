/**
 * The last known state of one resource, and the differences that events and lists make to it.
 * Applying anything twice changes nothing. Must not know where events come from.
 */
import type { KubeObject } from '../k8s/types.ts';

export interface Change {
  readonly type: 'added' | 'modified' | 'deleted';
  /** The new state; for `deleted` the last known one. */
  readonly object: KubeObject;
  /** The state before, for `modified`; it may have another uid (deleted and made again). */
  readonly previous?: KubeObject;
}

export interface Store {
  readonly size: number;
  get(namespace: string | undefined, name: string): KubeObject | undefined;
  values(): IterableIterator<KubeObject>;
  /** The stored object when `object` is the same state (uid and resourceVersion), so that a list need not hold both. */
  same(object: KubeObject): KubeObject | undefined;
  /** An ADDED or MODIFIED event. `undefined`: nothing new. */
  upsert(object: KubeObject): Change | undefined;
  /** A DELETED event. `undefined`: unknown, or the name belongs to a newer object by now. */
  remove(object: KubeObject): Change | undefined;
  /** A complete list: what is missing in it is deleted. */
  replace(objects: readonly KubeObject[]): Change[];
}

/** The key of an object inside its resource. */
export function storeKey(namespace: string | undefined, name: string): string {
  return namespace === undefined || namespace === '' ? name : `${namespace}/${name}`;
}

function keyOf(object: KubeObject): string {
  return storeKey(object.metadata.namespace, object.metadata.name ?? '');
}

function isSameState(a: KubeObject, b: KubeObject): boolean {
  return (
    a.metadata.uid === b.metadata.uid &&
    a.metadata.resourceVersion !== undefined &&
    a.metadata.resourceVersion === b.metadata.resourceVersion
  );
}

/**
 * True when version `a` is certainly older than `b`, both of one resource: versions of a real
 * server are decimal numbers that grow; anything else is not compared. Without this, a replayed
 * history would flicker through states that are over, and enforcement with it.
 */
export function isEarlierVersion(a: string = '', b: string = ''): boolean {
  if (!/^[1-9]\d*$/.test(a) || !/^[1-9]\d*$/.test(b)) return false;
  return a.length === b.length ? a < b : a.length < b.length;
}

function isEarlier(a: KubeObject, b: KubeObject): boolean {
  return isEarlierVersion(a.metadata.resourceVersion, b.metadata.resourceVersion);
}

/** How many deleted uids are remembered, so that a replayed ADDED does not bring them back. */
const rememberedUids = 4096;

export function createStore(): Store {
  const objects = new Map<string, KubeObject>();
  const buried = new Set<string>();

  function bury(object: KubeObject): void {
    const uid = object.metadata.uid;
    if (uid === undefined) return;
    buried.add(uid);
    if (buried.size > rememberedUids) {
      for (const oldest of buried) {
        buried.delete(oldest);
        break;
      }
    }
  }

  function put(key: string, object: KubeObject, stored: KubeObject | undefined): Change {
    objects.set(key, object);
    if (stored === undefined) return { type: 'added', object };
    if (stored.metadata.uid !== object.metadata.uid && isEarlier(stored, object)) bury(stored);
    return { type: 'modified', object, previous: stored };
  }

  return {
    get size() {
      return objects.size;
    },
    get: (namespace, name) => objects.get(storeKey(namespace, name)),
    values: () => objects.values(),
    same(object) {
      const stored = objects.get(keyOf(object));
      return stored !== undefined && isSameState(stored, object) ? stored : undefined;
    },
    upsert(object) {
      const key = keyOf(object);
      const stored = objects.get(key);
      const uid = object.metadata.uid;
      if (uid !== undefined && buried.has(uid)) return undefined;
      if (stored !== undefined && isSameState(stored, object)) return undefined;
      // Also of another uid: then it is the one that had this name before.
      if (stored !== undefined && isEarlier(object, stored)) return undefined;
      return put(key, object, stored);
    },
    remove(object) {
      const key = keyOf(object);
      const stored = objects.get(key);
      bury(object);
      if (stored === undefined) return undefined;
      // A late DELETED of an object whose name has a new owner.
      if (object.metadata.uid !== undefined && stored.metadata.uid !== object.metadata.uid)
        return undefined;
      objects.delete(key);
      return { type: 'deleted', object: stored };
    },
    replace(list) {
      // The list is the truth, also when the server went back in time (restored, or a stale replica).
      buried.clear();
      const changes: Change[] = [];
      const seen = new Set<string>();
      for (const object of list) {
        const key = keyOf(object);
        seen.add(key);
        const stored = objects.get(key);
        if (stored === object || (stored !== undefined && isSameState(stored, object))) continue;
        changes.push(put(key, object, stored));
      }
      if (objects.size > seen.size) {
        for (const [key, object] of objects) {
          if (seen.has(key)) continue;
          objects.delete(key);
          bury(object);
          changes.push({ type: 'deleted', object });
        }
      }
      return changes;
    },
  };
}
