import { afterEach, expect, it } from 'vitest';
import { encodeList, encodeObject, type Encoding } from './encode.ts';
import { startIdleEncoder } from './idle-encoder.ts';
import type { ApiObject } from './object.ts';
import { kindOf } from './registry.ts';
import { createStore } from './store.ts';

const mapType = kindOf('v1', 'ConfigMap');
const json: Encoding = { form: 'json', version: 'v1', include: 'Metadata' };

/** A map that counts how often it is serialised. */
function counted(name: string): { readonly object: ApiObject; readonly times: () => number } {
  let times = 0;
  const data = {
    toJSON: () => {
      times += 1;
      return { text: 'größe 😀' };
    },
  };
  return {
    object: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'a' }, data },
    times: () => times,
  };
}

const store = createStore();
const encoder = startIdleEncoder(store);
afterEach(() => encoder.stop());

const text = (): string => {
  const { objects } = store.list(mapType.bucket);
  return encodeList(mapType, objects, { resourceVersion: '9' }, json, 0).toString('utf8');
};

it('an object is serialised once, when it rests; lists and events then use that', async () => {
  const one = counted('one');
  const two = counted('two');
  for (let n = 0; n < 3; n += 1) store.put(mapType.bucket, 'a/one', one.object);
  store.put(mapType.bucket, 'a/two', two.object);
  store.remove(mapType.bucket, 'a/two');
  expect(one.times()).toBe(0);
  await expect.poll(one.times, { timeout: 10_000 }).toBe(1);
  const listed = JSON.parse(text()) as { items: { metadata: object; data: object }[] };
  expect(listed.items).toEqual([
    { metadata: { name: 'one', namespace: 'a', resourceVersion: '4' }, data: { text: 'größe 😀' } },
  ]);
  const [object] = store.list(mapType.bucket).objects;
  expect(JSON.parse(encodeObject(mapType, object as ApiObject, json, 0))).toMatchObject({
    kind: 'ConfigMap',
    apiVersion: 'v1',
    data: { text: 'größe 😀' },
  });
  expect(one.times()).toBe(1);
  // Deleted before its turn came.
  expect(two.times()).toBe(0);
});
