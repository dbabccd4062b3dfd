/**
 * The client against the lab's API server, which others wrote: both must agree on the wire. Covers
 * discovery, HTTPS, WatchList, every way a watch ends, overload and restarts.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startClusterWatch } from '../../src/client/cluster-watch.ts';
import type { ClusterWatch } from '../../src/client/cluster-watch.ts';
import { readCluster } from '../../src/client/snapshot-source.ts';
import { connect } from '../../src/client/transport.ts';
import type { Connection } from '../../src/client/transport.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import { createFakeRuntime } from '../../src/lab/api/fake-runtime.ts';
import { startLabApi } from '../../src/lab/api/start.ts';
import type { LabApi } from '../../src/lab/api/start.ts';

let api: LabApi;
let connection: Connection;
let cluster: ClusterWatch | undefined;
let errors: string[] = [];

beforeAll(async () => {
  api = await startLabApi({
    runtime: createFakeRuntime(),
    seed: 7,
    bookmarkEvery: 100,
    recordEvents: false,
  });
  connection = connect({
    server: api.url,
    source: 'lab',
    namespace: 'default',
    insecureSkipTlsVerify: false,
    ca: { data: api.certificate.cert },
    auth: { token: api.token },
  });
});
afterAll(async () => {
  await cluster?.stop();
  connection?.close();
  await api?.stop();
});

const pods = '/api/v1/namespaces/default/pods';
const make = (name: string, label: string): Promise<unknown> =>
  connection.request(pods, {
    method: 'POST',
    body: {
      metadata: { name, labels: { v: label } },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 80, name: 'web' }] }],
      },
    },
  });
const relabel = (name: string, label: string): Promise<unknown> =>
  connection.request(`${pods}/${name}`, {
    method: 'PATCH',
    contentType: 'application/merge-patch+json',
    body: {
      metadata: { labels: { v: label }, annotations: { 'podwall.dev/note': `größe 😀 ${label}` } },
    },
  });
const remove = (name: string): Promise<unknown> =>
  connection.request(`${pods}/${name}`, { method: 'DELETE' });

function picture(objects: Iterable<KubeObject>): string[] {
  return [...objects]
    .map(
      ({ kind, metadata, status }) =>
        `${kind} ${metadata.namespace ?? ''}/${metadata.name} ${metadata.uid} ${metadata.resourceVersion} ${JSON.stringify([metadata.labels, metadata.annotations])} ${JSON.stringify((status as { podIP?: string })?.podIP)}`,
    )
    .toSorted();
}

async function agree(): Promise<void> {
  const kinds = [
    'Namespace',
    'Node',
    'Pod',
    'NetworkPolicy',
    'ClusterNetworkPolicy',
    'AdminNetworkPolicy',
    'BaselineAdminNetworkPolicy',
  ];
  const end = Date.now() + 10_000;
  for (;;) {
    const seen = picture(cluster?.objects() ?? []);
    const real = picture((await readCluster(connection, { kinds })).objects);
    if (JSON.stringify(seen) === JSON.stringify(real)) return;
    if (Date.now() > end) return expect(seen).toEqual(real);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

it('lists everything through discovery', async () => {
  await make('first', '1');
  const { objects, missing } = await readCluster(connection);
  expect(missing).toEqual([]);
  expect(objects.map((object) => object.kind)).toEqual(
    expect.arrayContaining(['Namespace', 'Node', 'Pod', 'Service']),
  );
});

it('WatchList gives the first state, events the rest', async () => {
  cluster = startClusterWatch(connection, {
    backoff: { initialMs: 5, maximumMs: 50 },
    idleTimeoutMs: 400,
    initialIdleMs: 300,
    metrics: { error: (resource, reason) => errors.push(`${resource} ${reason}`) },
  });
  await cluster.synced;
  expect(errors).toEqual([]);
  expect(cluster.status().map((one) => one.state)).toEqual(Array(7).fill('synced'));
  await make('second', '1');
  await relabel('first', '2');
  await remove('second');
  await make('second', '3');
  await agree();
});

it.each(['close', 'reset', 'expire', 'stall'] as const)(
  'outlasts watches that end by %s',
  async (watchEnd) => {
    errors = [];
    const id = api.faults.add({ verb: 'watch', watchForMs: 60, watchEnd, times: 12 });
    for (const watch of api.watches) watch.reset();
    for (let i = 0; i < 10; i += 1) {
      await relabel('first', `${watchEnd}-${i}`);
      await make(`${watchEnd}-${i}`, String(i));
      if (i % 2 === 0) await remove(`${watchEnd}-${i}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    api.faults.remove(id);
    await agree();
    expect(errors.length).toBeGreaterThan(0);
  },
);

it('outlasts 429, 500, split and duplicate events, small pages, no WatchList and a restart', async () => {
  errors = [];
  api.faults.add({ code: 429, retryAfterSeconds: 1, resource: 'pods', verb: 'watch', times: 1 });
  api.faults.add({ code: 500, resource: 'namespaces', verb: 'watch', times: 2 });
  api.faults.add({
    verb: 'watch',
    duplicate: true,
    splitBytes: 3,
    noWatchList: true,
    noBookmarks: true,
    times: 20,
  });
  api.faults.add({ verb: 'list', pageSize: 2 });
  const restarted = api.restart(80);
  await new Promise((resolve) => setTimeout(resolve, 200));
  await restarted;
  await relabel('first', 'after-the-restart');
  await agree();
  expect(errors.some((line) => line.endsWith('TooManyRequests'))).toBe(true);
  api.faults.clear();
});

it('403 for one resource is reported and holds what was known', async () => {
  const before = cluster?.stores.get('pods')?.size;
  const id = api.faults.add({ code: 403, resource: 'pods' });
  for (const watch of api.watches) watch.reset();
  const state = (): string | undefined =>
    cluster?.status().find((one) => one.resource.plural === 'pods')?.state;
  while (state() !== 'forbidden') await new Promise((resolve) => setTimeout(resolve, 5));
  expect(cluster?.stores.get('pods')?.size).toBe(before);
  const { missing } = await readCluster(connection, { kinds: ['Pod', 'Namespace'] });
  expect(missing.map((one) => one.resource)).toEqual(['pods']);
  api.faults.remove(id);
  while (state() !== 'synced') await new Promise((resolve) => setTimeout(resolve, 5));
  await agree();
});
