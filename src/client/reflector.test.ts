import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startFakeApi, type FakeApi } from '../../test/client/fake-api.ts';
import type { KubeObject } from '../k8s/types.ts';
import {
  mergeChanges,
  startClusterWatch,
  type ChangeBatch,
  type ClusterWatch,
  type ClusterWatchOptions,
} from './cluster-watch.ts';
import { createKeep } from './keep.ts';
import { startReflector, type Reflector, type ReflectorOptions } from './reflector.ts';
import { policyResources, type Resource } from './resource.ts';
import { createStore, type Change } from './store.ts';
import { connect, type Connection } from './transport.ts';

const pods = policyResources.find((item) => item.kind === 'Pod') as Resource;
let api: FakeApi;
let connection: Connection;
const running: { stop(): Promise<void> }[] = [];

beforeEach(async () => {
  api = await startFakeApi();
  connection = connect(api.config());
});
afterEach(async () => {
  for (const one of running.splice(0)) await one.stop();
  connection.close();
  await api.close();
});

function pod(
  name: string,
  labels: Record<string, string> = {},
  more: KubeObject['metadata'] = {},
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels, ...more },
    status: { podIP: '10.0.0.1' },
  };
}

async function until(condition: () => boolean, what = condition.toString()): Promise<void> {
  const end = Date.now() + 5_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`did not happen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const log: string[] = [];
const errors: string[] = [];
function follow(options: Partial<ReflectorOptions> = {}): Reflector {
  log.length = 0;
  errors.length = 0;
  const reflector = startReflector(connection, pods, {
    keep: createKeep('v1', 'Pod'),
    backoff: { initialMs: 5, maximumMs: 40 },
    onChanges: (changes) => {
      for (const { type, object } of changes) log.push(`${type} ${object.metadata.name}`);
    },
    metrics: { error: (_resource, reason) => errors.push(reason) },
    ...options,
  });
  running.push(reflector);
  return reflector;
}
const names = (reflector: Reflector): string[] =>
  [...reflector.store.values()].map((object) => object.metadata.name ?? '').sort();

describe('startReflector', () => {
  it.each([true, false])('reads the state, then follows (WatchList %s)', async (watchList) => {
    api.put(pod('a'));
    const reflector = follow({ watchList });
    await reflector.settled;
    expect(names(reflector)).toEqual(['a']);
    await until(() => api.watchers() === 1);
    api.put(pod('b'));
    api.put(pod('b', { x: '1' }));
    api.delete('Pod', 'default', 'a');
    await until(() => log.length === 4);
    expect(log).toEqual(['added a', 'added b', 'modified b', 'deleted a']);
    expect(reflector.store.get('default', 'b')?.metadata.labels).toEqual({ x: '1' });
    expect(reflector.status()).toMatchObject({
      state: 'synced',
      everSynced: true,
      objects: 1,
      lastError: undefined,
    });
    expect(api.requests.some((request) => request.query['limit'] !== undefined)).toBe(!watchList);
  });

  it('falls back to LIST when WatchList is refused', async () => {
    api.faults.noWatchList = true;
    api.put(pod('a'));
    const reflector = follow();
    await reflector.settled;
    expect(names(reflector)).toEqual(['a']);
    expect(errors).toEqual(['no-watch-list']);
    expect(reflector.status().lastError).toBeUndefined();
  });

  it.each(['silence', 'live events'])(
    'falls back to LIST when the end bookmark is missing (%s)',
    async (what) => {
      api.faults.dropEndBookmark = true;
      api.put(pod('a'));
      const reflector = follow({ initialIdleMs: 60, initialTotalMs: 120 });
      const timer =
        what === 'silence'
          ? undefined
          : setInterval(() => api.put(pod('b', { n: String(Math.random()) })), 10);
      await reflector.settled;
      clearInterval(timer);
      expect(reflector.store.get('default', 'a')).toBeDefined();
      expect(errors).toEqual(['no-watch-list']);
    },
  );

  it('resumes from the last version after a clean end and after a reset, without a list', async () => {
    const reflector = follow({ watchList: false });
    await reflector.settled;
    await until(() => api.watchers() === 1);
    api.put(pod('a'));
    await until(() => log.length === 1);
    api.closeWatches();
    api.put(pod('b'));
    await until(() => names(reflector).length === 2);
    await until(() => api.watchers() === 1);
    api.resetWatches();
    api.put(pod('c'));
    await until(() => names(reflector).length === 3);
    expect(log).toEqual(['added a', 'added b', 'added c']);
    expect(api.requests.filter((request) => request.query['limit'] !== undefined)).toHaveLength(1);
  });

  it('resumes from a bookmark', async () => {
    const reflector = follow({ watchList: false });
    await reflector.settled;
    await until(() => api.watchers() === 1);
    api.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'elsewhere' } });
    api.sendBookmarks();
    await until(() => reflector.status().resourceVersion === '101');
    api.closeWatches();
    await until(() => api.requests.at(-1)?.query['resourceVersion'] === '101');
    expect(names(reflector)).toEqual([]);
  });

  it('lists again after 410 without forgetting: deletions only when the new list is complete', async () => {
    api.put(pod('stays'));
    api.put(pod('goes'));
    const reflector = follow({ watchList: false });
    await reflector.settled;
    await until(() => api.watchers() === 1);
    await api.down();
    api.delete('Pod', 'default', 'goes');
    api.put(pod('new'));
    api.compact();
    api.faults.delayMs = 100;
    await api.up();
    await until(() => errors.includes('Expired'));
    expect(names(reflector)).toEqual(['goes', 'stays']);
    await until(() => names(reflector).length === 2 && names(reflector)[0] === 'new');
    expect(log).toEqual(['added stays', 'added goes', 'added new', 'deleted goes']);
  });

  it('keeps the objects it has when a list repeats them', async () => {
    api.put(pod('a'));
    const reflector = follow({ watchList: false });
    await reflector.settled;
    const before = reflector.store.get('default', 'a');
    await until(() => api.watchers() === 1);
    api.compact();
    api.resetWatches();
    await until(
      () => api.requests.filter((request) => request.query['limit'] !== undefined).length === 2,
    );
    await until(() => api.watchers() === 1);
    expect(reflector.store.get('default', 'a')).toBe(before);
    expect(log).toEqual(['added a']);
  });

  it('reports 403, settles, and goes on when it is allowed', async () => {
    api.faults.forbidden = new Set(['pods']);
    api.put(pod('a'));
    const states: string[] = [];
    const reflector = follow({ onStatus: (status) => states.push(status.state) });
    await reflector.settled;
    expect(reflector.status()).toMatchObject({
      state: 'forbidden',
      everSynced: false,
      lastError: expect.stringContaining('forbidden') as string,
    });
    api.faults.forbidden.clear();
    await until(() => names(reflector).length === 1);
    expect(states).toEqual(['forbidden', 'synced']);
  });

  it('a resource that becomes forbidden keeps its objects', async () => {
    api.put(pod('a'));
    const reflector = follow({ watchList: false });
    await reflector.settled;
    await until(() => api.watchers() === 1);
    api.faults.forbidden = new Set(['pods']);
    api.closeWatches();
    await until(() => reflector.status().state === 'forbidden');
    expect(names(reflector)).toEqual(['a']);
  });

  it('settles for a resource the server does not have, and finds it later', async () => {
    api.faults.absent = new Set(['pods']);
    const reflector = follow({ absentRetryMs: 20 });
    await reflector.settled;
    expect(reflector.status().state).toBe('absent');
    api.faults.absent.clear();
    api.put(pod('a'));
    await until(() => names(reflector).length === 1);
    api.faults.absent.add('pods');
    api.closeWatches();
    await until(() => reflector.status().state === 'absent');
    expect(names(reflector)).toEqual([]);
  });

  it('does not believe a 404 that discovery contradicts', async () => {
    api.put(pod('a'));
    const reflector = follow({ watchList: false });
    await reflector.settled;
    await until(() => api.watchers() === 1);
    api.faults.fail.push({ match: ({ watch }) => watch, status: 404, times: 2 });
    api.closeWatches();
    await until(() => errors.filter((reason) => reason === 'NotFound').length === 2);
    expect(names(reflector)).toEqual(['a']);
    await until(() => reflector.status().state === 'synced');
  });

  it('outlasts 500, 429, a broken list and refused connections', async () => {
    api.put(pod('a'));
    api.faults.partialLists = 1;
    api.faults.fail.push(
      { match: () => true, status: 500, times: 2 },
      { match: () => true, status: 429, retryAfter: 0.05, times: 1 },
    );
    const reflector = follow({ watchList: false });
    await reflector.settled;
    expect(errors.slice(0, 3)).toEqual(['InternalError', 'InternalError', 'TooManyRequests']);
    expect(names(reflector)).toEqual(['a']);
    await api.down();
    await until(() => errors.includes('ECONNREFUSED'));
    expect(reflector.status()).toMatchObject({ state: 'failing', everSynced: true, objects: 1 });
    await api.up();
    api.put(pod('b'));
    await until(() => names(reflector).length === 2);
    await until(() => reflector.status().state === 'synced');
  });

  it('notices a stalled watch', async () => {
    const reflector = follow({ watchList: false, idleTimeoutMs: 50 });
    await reflector.settled;
    await until(() => api.watchers() === 1);
    api.faults.stall = true;
    api.put(pod('a'));
    await until(() => errors.includes('EIDLE'));
    api.faults.stall = false;
    await until(() => names(reflector).length === 1);
  });

  it('lists again when the server went back in time', async () => {
    const reflector = follow({ watchList: false });
    await reflector.settled;
    await until(() => api.watchers() === 1);
    api.faults.fail.push({
      match: ({ watch }) => watch,
      status: 504,
      message: 'Too large resource version: 100, current: 7',
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
      times: 3,
    });
    api.closeWatches();
    await until(
      () => api.requests.filter((request) => request.query['limit'] !== undefined).length === 2,
    );
  });

  it('drops objects without a name', async () => {
    const reflector = follow();
    await reflector.settled;
    api.inject('pods', '{"type":"ADDED","object":{"metadata":{}}}\n{"type":"ADDED","object":{}}\n');
    api.put(pod('a'));
    await until(() => names(reflector).length === 1);
    expect(errors).toEqual(['nameless-object', 'nameless-object']);
  });

  it('stops at once, also while it waits', async () => {
    api.faults.fail.push({ match: () => true, status: 500, times: 1000 });
    const reflector = follow({ backoff: { initialMs: 60_000 } });
    await until(() => errors.length > 0);
    await reflector.stop();
    await reflector.settled;
    expect(reflector.status().everSynced).toBe(false);
  });
});

describe('createStore', () => {
  const at = (name: string, uid: string, version: string): KubeObject =>
    pod(name, {}, { uid, resourceVersion: version });
  const told = (change: Change | undefined): string | undefined =>
    change &&
    `${change.type} ${change.object.metadata.uid}@${change.object.metadata.resourceVersion}`;

  it('ignores duplicates, replays and late deletes', () => {
    const store = createStore();
    expect(told(store.upsert(at('a', 'u1', '10')))).toBe('added u1@10');
    expect(store.upsert(at('a', 'u1', '10'))).toBeUndefined();
    expect(told(store.upsert(at('a', 'u1', '12')))).toBe('modified u1@12');
    expect(store.upsert(at('a', 'u1', '9'))).toBeUndefined();
    expect(store.remove(at('b', 'u9', '13'))).toBeUndefined();
    expect(told(store.upsert(at('a', 'u2', '20')))).toBe('modified u2@20');
    expect(store.remove(at('a', 'u1', '19'))).toBeUndefined();
    expect(store.upsert(at('a', 'u1', '11'))).toBeUndefined();
    expect(told(store.remove(at('a', 'u2', '21')))).toBe('deleted u2@20');
    expect(store.upsert(at('a', 'u2', '20'))).toBeUndefined();
    expect(store.size).toBe(0);
  });

  it('compares no versions that are not numbers', () => {
    const store = createStore();
    store.upsert(at('a', 'u1', 'zz'));
    expect(told(store.upsert(at('a', 'u1', 'aa')))).toBe('modified u1@aa');
    expect(told(store.upsert(at('a', 'u1', '00')))).toBe('modified u1@00');
  });

  it('a list is the truth, also an older one', () => {
    const store = createStore();
    store.upsert(at('a', 'u1', '10'));
    store.upsert(at('b', 'u2', '11'));
    store.remove(at('b', 'u2', '12'));
    expect(store.replace([at('a', 'u1', '9'), at('b', 'u2', '11')]).map(told)).toEqual([
      'modified u1@9',
      'added u2@11',
    ]);
    expect(store.replace([]).map(told)).toEqual(['deleted u1@9', 'deleted u2@11']);
  });
});

describe('startClusterWatch', () => {
  const batches: ChangeBatch[] = [];
  function start(options: ClusterWatchOptions = {}): ClusterWatch {
    batches.length = 0;
    const cluster = startClusterWatch(connection, {
      backoff: { initialMs: 5, maximumMs: 40 },
      absentRetryMs: 50,
      coalesceMs: 20,
      onChange: (batch) => batches.push(batch),
      ...options,
    });
    running.push(cluster);
    return cluster;
  }
  const told = (batch: ChangeBatch | undefined): string[] =>
    (batch?.changes ?? []).map(
      ({ type, object, resource }) => `${type} ${resource.kind} ${object.metadata.name}`,
    );

  it('is synced when everything readable was read; what is not says why', async () => {
    api.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' } });
    api.put(pod('a'));
    api.faults.absent = new Set([
      'clusternetworkpolicies',
      'adminnetworkpolicies',
      'baselineadminnetworkpolicies',
    ]);
    api.faults.forbidden = new Set(['nodes']);
    const cluster = start();
    await cluster.synced;
    expect([...cluster.objects()].map((object) => object.kind)).toEqual(['Namespace', 'Pod']);
    expect(
      Object.fromEntries(cluster.status().map((one) => [one.resource.plural, one.state])),
    ).toEqual({
      namespaces: 'synced',
      nodes: 'forbidden',
      networkpolicies: 'synced',
      clusternetworkpolicies: 'absent',
      adminnetworkpolicies: 'absent',
      baselineadminnetworkpolicies: 'absent',
      pods: 'synced',
    });
    expect(batches).toEqual([]);
    api.faults.forbidden.clear();
    api.put({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } });
    await until(() => batches.length === 1);
    expect(told(batches[0])).toEqual(['added Node n1']);
  });

  it('waits for a resource that only fails', async () => {
    api.faults.fail.push({ match: ({ path }) => path.endsWith('/nodes'), status: 500, times: 4 });
    const cluster = start();
    await cluster.synced;
    expect(cluster.status().every((one) => one.state === 'synced')).toBe(true);
  });

  it('hands out one change an object and window', async () => {
    api.put(pod('old'));
    const cluster = start();
    await cluster.synced;
    await until(() => api.watchers() === 7);
    const before = cluster.stores.get('pods')?.get('default', 'old');
    api.put(pod('old', { x: '1' }));
    api.put(pod('old', { x: '2' }));
    api.put(pod('blink'));
    api.delete('Pod', 'default', 'blink');
    await until(() => batches.length === 1);
    expect(told(batches[0])).toEqual(['modified Pod old']);
    expect(batches[0]?.changes[0]?.previous).toBe(before);
    expect(batches[0]?.changes[0]?.object.metadata.labels).toEqual({ x: '2' });
  });

  it('merges as if only the ends had been seen', () => {
    const a = pod('a', { v: '1' });
    const b = pod('a', { v: '2' });
    const c = pod('a', { v: '3' });
    expect(
      mergeChanges({ type: 'added', object: a }, { type: 'modified', object: b, previous: a }),
    ).toEqual({ type: 'added', object: b });
    expect(
      mergeChanges({ type: 'added', object: a }, { type: 'deleted', object: a }),
    ).toBeUndefined();
    expect(
      mergeChanges(
        { type: 'modified', object: b, previous: a },
        { type: 'modified', object: c, previous: b },
      ),
    ).toEqual({ type: 'modified', object: c, previous: a });
    expect(
      mergeChanges({ type: 'modified', object: b, previous: a }, { type: 'deleted', object: b }),
    ).toEqual({ type: 'deleted', object: a });
    expect(mergeChanges({ type: 'deleted', object: a }, { type: 'added', object: b })).toEqual({
      type: 'modified',
      object: b,
      previous: a,
    });
  });
});
