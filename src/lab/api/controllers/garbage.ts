/**
 * Garbage collection: what a deleted object owned goes too; a foreground delete waits for it.
 */
import type { ApiObject } from '../object.ts';
import { isReview, resourceTypes } from '../registry.ts';
import { keyOf, type ResourceType } from '../resource.ts';
import type { Writer } from '../write.ts';
import { type Controller, startController } from './controller.ts';

/** Keys of this controller are uids of owners. */
export function startGarbageCollector(writer: Writer): Controller {
  const { store } = writer;
  const types = resourceTypes.filter((type) => !isReview(type) && !type.convert);
  const byOwner = new Map<string, Map<string, { type: ResourceType; object: ApiObject }>>();
  const alive = new Map<string, { type: ResourceType; object: ApiObject }>();

  const index = (type: ResourceType, object: ApiObject, gone: boolean): void => {
    const uid = object.metadata.uid ?? '';
    if (gone) alive.delete(uid);
    else alive.set(uid, { type, object });
    for (const reference of object.metadata.ownerReferences ?? []) {
      let owned = byOwner.get(reference.uid);
      if (!owned) byOwner.set(reference.uid, (owned = new Map()));
      if (gone) owned.delete(uid);
      else owned.set(uid, { type, object });
      if (owned.size === 0) byOwner.delete(reference.uid);
    }
  };

  const releaseOwner = (uid: string): void => {
    const owner = alive.get(uid);
    if (!owner?.object.metadata.finalizers?.includes('foregroundDeletion')) return;
    const { metadata } = owner.object;
    writer.update(owner.type, metadata.namespace, metadata.name, (old) => ({
      ...old,
      metadata: {
        ...old.metadata,
        finalizers: (old.metadata.finalizers ?? []).filter((f) => f !== 'foregroundDeletion'),
      },
    }));
  };

  return startController({
    store,
    watches: Object.fromEntries(
      types.map((type) => [
        type.bucket,
        (event: { type: string; object: ApiObject }) => {
          const gone = event.type === 'DELETED';
          index(type, event.object, gone);
          const owners = (event.object.metadata.ownerReferences ?? []).map((o) => o.uid);
          const own =
            gone || event.object.metadata.deletionTimestamp !== undefined
              ? [event.object.metadata.uid ?? '']
              : [];
          // An object may name an owner that went before it came.
          const orphaned = gone ? owners : owners.filter((uid) => !alive.has(uid));
          return [...own, ...orphaned];
        },
      ]),
    ),
    reconcile(uid) {
      const owner = alive.get(uid);
      const foreground =
        owner?.object.metadata.finalizers?.includes('foregroundDeletion') === true &&
        owner.object.metadata.deletionTimestamp !== undefined;
      if (owner && !foreground) return;
      for (const { type, object } of Array.from(byOwner.get(uid)?.values() ?? [])) {
        const { namespace, name } = object.metadata;
        const current = store.get(type.bucket, keyOf(type, namespace, name));
        if (!current || current.metadata.uid !== object.metadata.uid) continue;
        const others = (current.metadata.ownerReferences ?? []).some(
          (reference) => reference.uid !== uid && alive.has(reference.uid),
        );
        if (!others && current.metadata.deletionTimestamp === undefined)
          writer.remove(type, namespace, name);
      }
      if (foreground && !byOwner.has(uid)) releaseOwner(uid);
    },
  });
}
