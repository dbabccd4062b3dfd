import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ApiObject } from './object.ts';
import { createStore } from './store.ts';

const object = (name: string, value = 0): ApiObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data: { value },
});
const values = (list: readonly ApiObject[] | undefined): unknown =>
  list?.map((item) => [item.metadata.name, item['data']]);

describe('store', () => {
  it('stamps every write with a new version and lists in order of key', () => {
    const store = createStore();
    for (const name of ['b', 'a', 'c']) store.put('x', name, object(name));
    expect(
      store.list('x').objects.map((o) => [o.metadata.name, o.metadata.resourceVersion]),
    ).toEqual([
      ['a', '3'],
      ['b', '2'],
      ['c', '4'],
    ]);
  });

  it('tells listeners what happened, with the state before', () => {
    const store = createStore();
    const seen: unknown[] = [];
    const end = store.listen('x', (event) =>
      seen.push([event.type, event.version, event.object['data'], event.previous?.['data']]),
    );
    store.put('x', 'a', object('a', 1));
    store.put('x', 'a', object('a', 2));
    store.put('y', 'a', object('a', 9));
    store.remove('x', 'a');
    end();
    store.put('x', 'a', object('a', 3));
    expect(seen).toEqual([
      ['ADDED', 2, { value: 1 }, undefined],
      ['MODIFIED', 3, { value: 2 }, { value: 1 }],
      ['DELETED', 5, { value: 2 }, { value: 2 }],
    ]);
  });

  it('property: an older list is what the list was then', () => {
    const step = fc.record({
      key: fc.constantFrom('n1/a', 'n1/b', 'n2/a'),
      remove: fc.boolean(),
      value: fc.nat(5),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const store = createStore();
        const past = new Map<number, unknown>();
        for (const { key, remove, value } of steps) {
          if (remove) store.remove('x', key);
          else store.put('x', key, object(key, value));
          past.set(store.version(), values(store.list('x').objects));
        }
        for (const [version, expected] of past)
          expect(values(store.listAt('x', version)?.objects)).toEqual(expected);
      }),
    );
  });

  it('forgets what no longer fits, and says so', () => {
    const store = createStore({ history: 10 });
    for (let index = 0; index < 100; index += 1) store.put('x', 'a', object('a', index));
    expect(store.eventsAfter('x', 2)).toBeUndefined();
    expect(store.listAt('x', 2)).toBeUndefined();
    expect(store.eventsAfter('x', store.version() - 5)).toHaveLength(5);
    store.compact();
    expect(store.eventsAfter('x', store.version() - 1)).toBeUndefined();
    expect(store.eventsAfter('x', store.version())).toEqual([]);
  });

  it('goes on from a dump', () => {
    const store = createStore();
    store.put('x', 'a', object('a', 1));
    const next = createStore({ initial: store.dump() });
    expect(values(next.list('x').objects)).toEqual([['a', { value: 1 }]]);
    expect(next.put('x', 'b', object('b')).metadata.resourceVersion).toBe('3');
    expect(next.eventsAfter('x', 1)).toBeUndefined();
  });
});
