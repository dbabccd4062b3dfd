import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { kindOf } from './api/registry.ts';
import { createStore } from './api/store.ts';
import type { SyncOrder } from './hosted.ts';
import { followStore, type ObjectSync } from './object-sync.ts';

const bucket = kindOf('v1', 'Pod').bucket;

function pod(name: string, labels: Record<string, string> = {}): never {
  const metadata = { namespace: 'x', name, uid: name, labels };
  return { apiVersion: 'v1', kind: 'Pod', metadata } as never;
}

/** A daemon that knows at once and enforces when the test says so. */
function createDaemon() {
  const told: SyncOrder[] = [];
  const rounds: { readonly changed: boolean; finish(error?: Error): void }[] = [];
  return {
    told,
    rounds,
    tell: async (order: SyncOrder) => {
      told.push(order);
      return true;
    },
    enforce: (changed: boolean) =>
      new Promise<void>((resolve, reject) => {
        rounds.push({ changed, finish: (error) => (error ? reject(error) : resolve()) });
      }),
  };
}

async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !what(); i++) await sleep(5);
  expect(what()).toBe(true);
}

const isDone = async (promise: Promise<void>): Promise<boolean> =>
  Promise.race([promise.then(() => true), sleep(30).then(() => false)]);

describe('followStore', () => {
  let sync: ObjectSync | undefined;
  afterEach(() => sync?.stop());

  it('tells the next change while the last is not in force yet', async () => {
    const store = createStore();
    const daemon = createDaemon();
    sync = followStore(store, daemon, () => {});
    store.put(bucket, 'x/a', pod('a'));
    await until(() => daemon.rounds.length === 1);
    // Agents follow the API, so they may wait for exactly this one.
    store.remove(bucket, 'x/a');
    await until(() => daemon.told.length === 2);
    expect(daemon.told[0]?.put.map(({ metadata }) => metadata.name)).toEqual(['a']);
    expect(daemon.told[1]?.gone).toEqual([{ kind: 'Pod', namespace: 'x', name: 'a' }]);
  });

  it('is settled when everything told before is in force, not only the last', async () => {
    const store = createStore();
    const daemon = createDaemon();
    sync = followStore(store, daemon, () => {});
    store.put(bucket, 'x/a', pod('a'));
    await until(() => daemon.rounds.length === 1);
    store.put(bucket, 'x/b', pod('b'));
    const settled = sync.settled();
    await until(() => daemon.rounds.length === 2);
    daemon.rounds[1]?.finish();
    expect(await isDone(settled)).toBe(false);
    daemon.rounds[0]?.finish();
    await settled;
  });

  it('asks again for what could not be enforced, and says so', async () => {
    const store = createStore();
    const daemon = createDaemon();
    const troubles: unknown[] = [];
    sync = followStore(store, daemon, (error) => troubles.push(error));
    store.put(bucket, 'x/a', pod('a'));
    const settled = sync.settled();
    await until(() => daemon.rounds.length === 1);
    daemon.rounds[0]?.finish(new Error('the agent of n does not follow'));
    await until(() => daemon.rounds.length === 2);
    expect(daemon.rounds[1]?.changed).toBe(true);
    expect(await isDone(settled)).toBe(false);
    daemon.rounds[1]?.finish();
    await settled;
    expect(troubles.map((error) => (error as Error).message)).toEqual([
      'the agent of n does not follow',
    ]);
  });

  it('tells again what did not arrive, newest state only', async () => {
    const store = createStore();
    const daemon = createDaemon();
    let failures = 1;
    sync = followStore(
      store,
      {
        ...daemon,
        tell: async (order) => {
          if (failures-- > 0) throw new Error('no daemon');
          return daemon.tell(order);
        },
      },
      () => {},
    );
    store.put(bucket, 'x/a', pod('a', { v: '1' }));
    await until(() => failures === 0);
    store.put(bucket, 'x/a', pod('a', { v: '2' }));
    await until(() => daemon.told.length === 1);
    expect(daemon.told[0]?.put.map(({ metadata }) => metadata.labels)).toEqual([{ v: '2' }]);
  });
});
