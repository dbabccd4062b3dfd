import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startFakeApi, type FakeApi } from '../../test/client/fake-api.ts';
import type { KubeObject } from '../k8s/types.ts';
import { isServed } from './discovery.ts';
import { listAll } from './list.ts';
import { policyResources, type Resource } from './resource.ts';
import { readCluster } from './snapshot-source.ts';
import { connect, type Connection } from './transport.ts';
import { createLineSplitter, watch, type WatchEvent, type WatchOptions } from './watch.ts';

const pods = policyResources.find((item) => item.kind === 'Pod') as Resource;
let api: FakeApi;
let connection: Connection;

beforeEach(async () => {
  api = await startFakeApi();
  connection = connect(api.config());
});
afterEach(async () => {
  connection.close();
  await api.close();
});

function pod(name: string, namespace = 'default', labels: Record<string, string> = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels },
    spec: { nodeName: 'n1' },
    status: { podIP: '10.0.0.1' },
  };
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it succeeded');
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

describe('listAll', () => {
  it('pages until there is no continue token, whatever page size the server chooses', async () => {
    for (let i = 0; i < 25; i += 1) api.put(pod(`p${i}`));
    const sizes: number[] = [];
    const result = await listAll(connection, pods, {
      pageSize: 10,
      onPage: (count) => sizes.push(count),
    });
    expect(sizes).toEqual([10, 20, 25]);
    expect(result).toMatchObject({ resourceVersion: '125', pages: 3, inconsistent: false });
    api.faults.pageCap = 4;
    expect((await listAll(connection, pods)).items).toHaveLength(25);
  });

  it('starts again when a continue token expired, and takes the inconsistent one in the end', async () => {
    for (let i = 0; i < 25; i += 1) api.put(pod(`p${i}`));
    api.expireContinue(1);
    expect(await listAll(connection, pods, { pageSize: 10 })).toMatchObject({
      inconsistent: false,
      pages: 4,
    });
    api.expireContinue(4);
    const result = await listAll(connection, pods, { pageSize: 10 });
    expect(result.inconsistent).toBe(true);
    expect(result.items).toHaveLength(25);
  });

  it('keeps only what `keep` returns', async () => {
    api.put(pod('a'));
    api.put(pod('b'));
    const result = await listAll(connection, pods, {
      keep: (object) => (object.metadata.name === 'a' ? object : undefined),
    });
    expect(result.items.map((item) => item.metadata.name)).toEqual(['a']);
  });

  it('fails on a body that breaks off', async () => {
    api.put(pod('a'));
    api.faults.partialLists = 1;
    expect(await failure(listAll(connection, pods))).toMatchObject({ name: 'ConnectionError' });
    expect((await listAll(connection, pods)).items).toHaveLength(1);
  });
});

describe('watch', () => {
  async function collect(
    options: WatchOptions,
    during: () => void | Promise<void>,
  ): Promise<{ events: string[]; error?: unknown }> {
    const events: string[] = [];
    await until(() => api.watchers() === 0);
    const stream = watch(connection, pods, options);
    const running = (async () => {
      for await (const event of stream) events.push(describeEvent(event));
    })();
    const outcome = running.then(
      () => ({ events }),
      (error: unknown) => ({ events, error }),
    );
    await until(() => api.watchers() > 0);
    await during();
    return await outcome;
  }
  function describeEvent(event: WatchEvent): string {
    return event.type === 'BOOKMARK'
      ? `BOOKMARK ${event.resourceVersion}${event.initialEventsEnd ? ' end' : ''}`
      : `${event.type} ${event.object.metadata.name} ${JSON.stringify(event.object.metadata.labels)}`;
  }

  it('yields events after a version, bookmarks, and ends when the server ends', async () => {
    api.put(pod('before'));
    const { events } = await collect({ resourceVersion: '101' }, async () => {
      api.put(pod('a'));
      api.put(pod('a', 'default', { app: 'x' }));
      api.delete('Pod', 'default', 'a');
      api.sendBookmarks();
      api.closeWatches();
    });
    expect(events).toEqual([
      'ADDED a {}',
      'MODIFIED a {"app":"x"}',
      'DELETED a {"app":"x"}',
      'BOOKMARK 104',
    ]);
    const query = api.requests[0]?.query ?? {};
    expect(query).toMatchObject({
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: '101',
    });
    expect(Number(query['timeoutSeconds'])).toBeGreaterThanOrEqual(300);
    expect(Number(query['timeoutSeconds'])).toBeLessThanOrEqual(600);
  });

  it('decodes characters that are split between chunks', async () => {
    api.faults.splitBytes = 1;
    const { events } = await collect({ resourceVersion: '100' }, () => {
      api.put(pod('a', 'default', { note: 'größe 😀 漢字' }));
      api.closeWatches();
    });
    expect(events).toEqual(['ADDED a {"note":"größe 😀 漢字"}']);
  });

  it('gives the whole state first with sendInitialEvents', async () => {
    api.put(pod('a'));
    const { events } = await collect({ sendInitialEvents: true }, () => api.closeWatches());
    expect(events).toEqual(['ADDED a {}', 'BOOKMARK 101 end']);
    expect(api.requests[0]?.query).toMatchObject({
      sendInitialEvents: 'true',
      resourceVersionMatch: 'NotOlderThan',
    });
  });

  it('throws 410 for an ERROR event', async () => {
    api.compact();
    expect(await failure(watch(connection, pods, { resourceVersion: '100' }).next())).toMatchObject(
      {
        name: 'KubeApiError',
        status: 410,
        expired: true,
        message: 'too old resource version: 100 (101)',
      },
    );
  });

  it('notices a dead connection by its own time-out', async () => {
    api.faults.stall = true;
    const { error } = await collect({ resourceVersion: '100', idleTimeoutMs: 40 }, () => undefined);
    expect(error).toMatchObject({
      code: 'EIDLE',
      message: 'watch of pods: nothing came for 0.04 s',
    });
  });

  it('reports a reset, a broken line and an unknown type', async () => {
    expect(
      (await collect({ resourceVersion: '100' }, () => api.resetWatches())).error,
    ).toMatchObject({ code: 'ECONNRESET' });
    expect(
      (await collect({ resourceVersion: '100' }, () => api.inject('pods', '{"type":\n'))).error,
    ).toMatchObject({ code: 'EBADJSON' });
    expect(
      (
        await collect({ resourceVersion: '100' }, () =>
          api.inject('pods', '{"type":"NEW","object":{}}\n'),
        )
      ).error,
    ).toMatchObject({ code: 'EBADEVENT' });
  });

  it('stops at the signal and hangs up', async () => {
    const controller = new AbortController();
    const { error } = await collect({ resourceVersion: '100', signal: controller.signal }, () =>
      controller.abort(),
    );
    expect(error).toBeDefined();
    await until(() => api.watchers() === 0);
  });
});

describe('createLineSplitter', () => {
  it('ignores blank lines and joins pieces', () => {
    const splitter = createLineSplitter();
    const lines = ['{"a":1}\r\n\n{"b', '":2}\n\r\n', '{"c":3}'].flatMap((text) =>
      splitter.push(Buffer.from(text)),
    );
    expect(lines.map((line) => line.toString().trim())).toEqual(['{"a":1}', '{"b":2}']);
    expect(splitter.rest().toString()).toBe('{"c":3}');
    expect(splitter.rest()).toHaveLength(0);
  });

  it('refuses a line without end', () => {
    const splitter = createLineSplitter(10);
    expect(() => splitter.push(Buffer.from('x'.repeat(11)))).toThrow('longer than 10 bytes');
  });
});

describe('readCluster', () => {
  it('lists every kind the server has, filled in and cut down, in one order', async () => {
    api.faults.absent = new Set([
      'clusternetworkpolicies',
      'adminnetworkpolicies',
      'baselineadminnetworkpolicies',
      'httproutes',
      'grpcroutes',
    ]);
    api.put({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'default', annotations: { x: 'y' } },
    });
    api.put(pod('a'));
    api.put(pod('b', 'other'));
    api.put({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'd', namespace: 'default' },
      spec: {
        replicas: 2,
        template: {
          metadata: { labels: { app: 'd' } },
          spec: { containers: [{ name: 'c', image: 'i' }] },
        },
      },
    });
    const progress: string[] = [];
    const { objects, missing } = await readCluster(connection, {
      onProgress: (one) => progress.push(one.resource),
    });
    expect(missing).toEqual([]);
    expect(
      objects.map((object) => `${object.apiVersion} ${object.kind} ${object.metadata.name}`),
    ).toEqual(['v1 Namespace default', 'v1 Pod a', 'v1 Pod b', 'apps/v1 Deployment d']);
    expect(objects[0]?.metadata).not.toHaveProperty('annotations');
    expect(objects[3]?.spec).toEqual({
      replicas: 2,
      template: { metadata: { labels: { app: 'd' } }, spec: { containers: [{ name: 'c' }] } },
    });
    expect(progress).toContain('deployments.apps');
  });

  it('notes what is forbidden and goes on', async () => {
    api.put(pod('a'));
    api.faults.forbidden = new Set(['networkpolicies', 'secrets']);
    const { objects, missing } = await readCluster(connection);
    expect(objects).toHaveLength(1);
    expect(missing).toEqual([
      {
        resource: 'networkpolicies.networking.k8s.io',
        reason: expect.stringContaining('networkpolicies is forbidden') as string,
      },
    ]);
  });

  it('reads single namespaces and kinds, and waits for an overloaded server', async () => {
    api.put(pod('a', 'x'));
    api.put(pod('b', 'y'));
    api.faults.fail.push({
      match: ({ path }) => path.endsWith('/pods'),
      status: 429,
      retryAfter: 0.01,
      times: 1,
    });
    const quick = { ...connection, clock: { ...connection.clock, sleep: () => Promise.resolve() } };
    const { objects } = await readCluster(quick, { namespaces: ['x', 'z'], kinds: ['Pod'] });
    expect(objects.map((object) => object.metadata.name)).toEqual(['a']);
    expect(api.requests.map((request) => `${request.path} ${request.status}`)).toEqual(
      expect.arrayContaining([
        '/api/v1/namespaces/x/pods 429',
        '/api/v1/namespaces/x/pods 200',
        '/api/v1/namespaces/z/pods 200',
      ]),
    );
  });

  it('hands on errors of a server that does not recover', async () => {
    api.faults.fail.push({ match: ({ path }) => path.endsWith('/pods'), status: 500, times: 10 });
    const quick = { ...connection, clock: { ...connection.clock, sleep: () => Promise.resolve() } };
    expect(await failure(readCluster(quick, { kinds: ['Pod'] }))).toMatchObject({ status: 500 });
  });

  it('knows what is served', async () => {
    api.faults.absent = new Set(['clusternetworkpolicies']);
    const [cnp] = policyResources.filter((item) => item.kind === 'ClusterNetworkPolicy');
    expect(await isServed(connection, cnp as Resource)).toBe(false);
    expect(await isServed(connection, pods)).toBe(true);
  });
});
