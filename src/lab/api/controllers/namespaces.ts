/**
 * Namespaces: what every one of them holds from the start, and how one is emptied when deleted.
 */
import { type ApiObject, objectAt, stringAt } from '../object.ts';
import { isReview, kindOf, resourceTypes } from '../registry.ts';
import { keyOf } from '../resource.ts';
import type { Writer } from '../write.ts';
import { type Controller, itself, startController } from './controller.ts';

/** `authority` is the PEM that pods would find as kube-root-ca.crt. */
export function startNamespaceController(writer: Writer, authority: string): Controller {
  const { store } = writer;
  const namespaceType = kindOf('v1', 'Namespace');
  const accountType = kindOf('v1', 'ServiceAccount');
  const mapType = kindOf('v1', 'ConfigMap');
  const contained = resourceTypes.filter(
    (type) => type.namespaced && !isReview(type) && !type.convert,
  );
  const terminating = new Set<string>();

  const furnish = (name: string): void => {
    if (!store.get(accountType.bucket, keyOf(accountType, name, 'default')))
      writer.create(accountType, name, {
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name: 'default' },
      });
    const data = { 'ca.crt': authority };
    const known = store.get(mapType.bucket, keyOf(mapType, name, 'kube-root-ca.crt'));
    // One that was kept has the authority of an earlier server.
    if (known && stringAt(known, 'data', 'ca.crt') !== authority)
      writer.update(mapType, name, 'kube-root-ca.crt', (old) => ({ ...old, data }));
    if (!known)
      writer.create(mapType, name, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'kube-root-ca.crt' },
        data,
      });
  };

  const empty = (name: string): boolean => {
    let left = 0;
    for (const type of contained)
      for (const object of store.list(type.bucket, `${name}/`).objects) {
        if (object.metadata.deletionTimestamp === undefined)
          writer.remove(type, name, object.metadata.name);
        if (store.get(type.bucket, keyOf(type, name, object.metadata.name))) left += 1;
      }
    return left === 0;
  };

  const finalize = (namespace: ApiObject): void => {
    store.put(namespaceType.bucket, namespace.metadata.name, {
      ...namespace,
      spec: { ...objectAt(namespace, 'spec'), finalizers: [] },
    });
    if ((namespace.metadata.finalizers ?? []).length === 0)
      writer.erase(namespaceType, undefined, namespace.metadata.name);
  };

  const controller = startController({
    store,
    watches: {
      [namespaceType.bucket]: itself,
      // Whatever goes may be the last thing a dying namespace waits for.
      ...Object.fromEntries(
        contained.map((type) => [
          type.bucket,
          (event: { type: string; object: ApiObject }) => {
            const { namespace = '' } = event.object.metadata;
            const wakes =
              (event.type === 'DELETED' && terminating.has(namespace)) ||
              // The two objects every namespace holds come back when they are deleted.
              (event.type === 'DELETED' &&
                ['default', 'kube-root-ca.crt'].includes(event.object.metadata.name));
            return wakes ? [namespace] : [];
          },
        ]),
      ),
    },
    reconcile(name) {
      const namespace = store.get(namespaceType.bucket, name);
      if (!namespace) {
        terminating.delete(name);
        return;
      }
      if (namespace.metadata.deletionTimestamp === undefined) {
        furnish(name);
        return;
      }
      terminating.add(name);
      if (empty(name)) finalize(namespace);
      else controller.enqueue(name, 1000);
    },
  });
  return controller;
}
