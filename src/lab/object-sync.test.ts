import { beforeEach, describe, expect, it } from 'vitest';
import type { SyncOrder } from './hosted.ts';
import { followStore, wholeOrder, type ObjectSync } from './object-sync.ts';
import { createStore, type Store } from './api/store.ts';
import type { ApiObject } from './api/object.ts';

const pod = (name: string, role = ''): ApiObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'a', uid: name, labels: { role } },
});
const map: ApiObject = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'm', namespace: 'a', uid: 'm' },
};
const namespace: ApiObject = {
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'a', uid: 'a' },
};

const brief = ({ put, gone }: SyncOrder): string =>
  [
    ...put.map(({ metadata }) => `${metadata.name}${metadata.labels?.['role'] ?? ''}`),
    ...gone.map(({ kind, name }) => `-${kind}/${name}`),
  ].join(' ');

interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}
function gate(): Gate {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10));

let store: Store;
let told: string[];
let enforced: number;
let troubles: string[];
/** What the daemon does with a call; replaced by tests. */
let onTell: () => Promise<boolean>;
let onEnforce: () => Promise<void>;
const start = (): ObjectSync =>
  followStore(
    store,
    {
      async tell(order) {
        const changed = await onTell();
        told.push(brief(order));
        return changed;
      },
      async enforce() {
        await onEnforce();
        enforced += 1;
      },
    },
    (error) => troubles.push(String(error)),
  );

beforeEach(() => {
  store = createStore();
  told = [];
  enforced = 0;
  troubles = [];
  onTell = async () => true;
  onEnforce = async () => {};
});

describe('following the store', () => {
  it('tells first what is there, then what changes; other kinds never', async () => {
    store.put('/namespaces', 'a', namespace);
    store.put('/pods', 'a/x', pod('x'));
    store.put('/configmaps', 'a/m', map);
    expect(brief(wholeOrder(store))).toBe('a x');
    const sync = start();
    await sync.settled();
    store.put('/configmaps', 'a/m', map);
    store.put('/pods', 'a/y', pod('y'));
    store.remove('/pods', 'a/x');
    await sync.settled();
    expect(told).toEqual(['a x', 'y -Pod/x']);
    sync.stop();
  });

  it('many changes go together, each object in its newest state', async () => {
    const sync = start();
    store.put('/pods', 'a/x', pod('x', '1'));
    store.put('/pods', 'a/x', pod('x', '2'));
    store.put('/pods', 'a/y', pod('y'));
    store.remove('/pods', 'a/y');
    await sync.settled();
    expect(told).toEqual(['x2 -Pod/y']);
    sync.stop();
  });

  it('what changes while the daemon is told goes in the next call', async () => {
    const slow = gate();
    onTell = async () => {
      await slow.opened;
      return true;
    };
    const sync = start();
    store.put('/pods', 'a/x', pod('x', '1'));
    await turn();
    store.put('/pods', 'a/x', pod('x', '2'));
    await turn();
    expect(told).toEqual([]);
    slow.open();
    await sync.settled();
    expect(told).toEqual(['x1', 'x2']);
    sync.stop();
  });

  it('is told of the next change while the last is not in force yet', async () => {
    const slow = gate();
    onEnforce = () => slow.opened;
    const sync = start();
    store.put('/pods', 'a/x', pod('x'));
    await turn();
    store.put('/pods', 'a/y', pod('y'));
    await expect.poll(() => told).toEqual(['x', 'y']);
    expect(enforced).toBe(0);
    slow.open();
    await sync.settled();
    expect(enforced).toBeGreaterThan(0);
    sync.stop();
  });
});

describe('settled', () => {
  it('waits for what was told before, not only for its own', async () => {
    const slow = gate();
    onEnforce = () => slow.opened;
    const sync = start();
    store.put('/pods', 'a/x', pod('x'));
    await turn();
    onEnforce = async () => {};
    let done = false;
    const waiting = sync.settled().then(() => (done = true));
    await turn();
    await turn();
    expect(done).toBe(false);
    slow.open();
    await waiting;
    expect(done).toBe(true);
    sync.stop();
  });

  it('a change that judges no packet differently asks for no work', async () => {
    onTell = async () => false;
    const sync = start();
    store.put('/pods', 'a/x', pod('x'));
    await expect.poll(() => told).toEqual(['x']);
    await turn();
    expect(enforced).toBe(0);
    sync.stop();
  });
});

describe('trouble', () => {
  it('is reported, and what was not told is told again, newest states only', async () => {
    let failures = 1;
    onTell = async () => {
      if (failures > 0) {
        failures -= 1;
        throw new Error('the daemon is busy');
      }
      return true;
    };
    const sync = start();
    store.put('/pods', 'a/x', pod('x', '1'));
    store.put('/pods', 'a/y', pod('y'));
    await expect.poll(() => troubles).toEqual(['Error: the daemon is busy']);
    store.put('/pods', 'a/x', pod('x', '2'));
    await sync.settled();
    expect(told).toEqual(['x2 y']);
    sync.stop();
  });

  it('what is not in force is asked for again', async () => {
    let failures = 1;
    onEnforce = async () => {
      failures -= 1;
      if (failures >= 0) throw new Error('agents are late');
    };
    const sync = start();
    store.put('/pods', 'a/x', pod('x'));
    await sync.settled();
    expect(troubles).toEqual(['Error: agents are late']);
    expect(enforced).toBe(1);
    sync.stop();
  });

  it('after stop nothing is told', async () => {
    const sync = start();
    await sync.settled();
    sync.stop();
    store.put('/pods', 'a/x', pod('x'));
    await turn();
    expect(told).toEqual([]);
  });
});
