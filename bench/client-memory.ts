/**
 * Resident memory of the stores: a fake API server in a child process serves pods of realistic
 * size, this process lists and watches them, then survives churn and one full relist.
 *
 *   node --import tsx bench/client-memory.ts [pods=100000] [--no-watch-list] [--v8=--heap-growing-percent=50]
 */
import { fork } from 'node:child_process';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { startClusterWatch } from '../src/client/cluster-watch.ts';
import { connect } from '../src/client/transport.ts';
import type { KubeObject } from '../src/k8s/types.ts';
import { startFakeApi } from '../test/client/fake-api.ts';

const count = Number(process.argv.find((word) => /^\d+$/.test(word)) ?? 100_000);
const flag = process.argv.find((word) => word.startsWith('--v8='))?.slice(5);
const watchList = !process.argv.includes('--no-watch-list');

// What a real pod carries and policy does not need: 3 to 4 kB, the same text for all of them.
const managedFields = Array.from({ length: 2 }, (_, i) => ({
  manager: 'kubelet',
  operation: 'Update',
  apiVersion: 'v1',
  time: '2026-01-01T00:00:00Z',
  fieldsType: 'FieldsV1',
  fieldsV1: Object.fromEntries(
    Array.from({ length: 25 }, (__, k) => [`f:status-${i}-${k}`, { 'f:conditions': { '.': {} } }]),
  ),
}));
const conditions = Array.from({ length: 5 }, (_, i) => ({
  type: `Condition${i}`,
  status: 'True',
  lastTransitionTime: '2026-01-01T00:00:00Z',
}));

function makePod(index: number, revision = 0): KubeObject {
  const workload = Math.floor(index / 20);
  const namespace = `team-${workload % 1000}`;
  const hash = ((workload * 2654435761) % 4294967296).toString(16).padStart(8, '0');
  const statefulSet = workload % 10 === 0;
  const name = statefulSet
    ? `db-${workload}-${index % 20}`
    : `web-${workload}-${hash}-${index.toString(36).padStart(5, '0')}`;
  const ip = `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;
  const object = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      uid: `${hash}-0000-4000-8000-${index.toString(16).padStart(12, '0')}`,
      labels: {
        app: `web-${workload}`,
        'app.kubernetes.io/part-of': `shop-${workload % 50}`,
        'pod-template-hash': hash,
        revision: String(revision),
        ...(statefulSet ? { 'statefulset.kubernetes.io/pod-name': name } : {}),
      },
      annotations: { 'cni.example/address': ip },
      ownerReferences: [
        {
          apiVersion: 'apps/v1',
          kind: statefulSet ? 'StatefulSet' : 'ReplicaSet',
          name: `web-${workload}-${hash}`,
          uid: hash,
          controller: true,
        },
      ],
      managedFields,
    },
    spec: {
      nodeName: `node-${index % 2000}`,
      serviceAccountName: 'default',
      volumes: [{ name: `kube-api-access-${index}`, projected: { sources: [] } }],
      containers: [
        {
          name: 'main',
          image: `registry.example/web-${workload}:1`,
          ports: [{ name: 'http', containerPort: 8080, protocol: 'TCP' }],
          env: Array.from({ length: 8 }, (_, i) => ({ name: `ENV_${i}`, value: `value ${i}` })),
        },
        { name: 'sidecar', image: 'registry.example/sidecar:2' },
      ],
    },
    status: {
      phase: 'Running',
      podIP: ip,
      podIPs: [{ ip }],
      hostIP: `192.168.${(index % 2000) >> 8}.${index % 256}`,
      startTime: `2026-01-0${1 + (index % 9)}T00:00:00Z`,
      conditions,
    },
  };
  return object;
}

async function serve(): Promise<void> {
  const api = await startFakeApi();
  api.faults.noWatchList = !watchList;
  const average = JSON.stringify(makePod(7)).length;
  for (let i = 0; i < count; i += 1) api.put(makePod(i));
  for (let i = 0; i < 1000; i += 1)
    api.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: `team-${i}` } });
  for (let i = 0; i < 2000; i += 1)
    api.put({ apiVersion: 'v1', kind: 'Node', metadata: { name: `node-${i}` } });
  for (let i = 0; i < 10_000; i += 1) {
    api.put({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `p${i}`, namespace: `team-${i % 1000}` },
      spec: {
        podSelector: { matchLabels: { app: `web-${i}` } },
        ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 8080 }] }],
      },
    });
  }
  api.compact();
  let revision = 0;
  const control = createServer((request, response) => {
    if (request.url === '/churn') {
      revision += 1;
      for (let i = 0; i < 20_000; i += 1) api.put(makePod((i * 5) % count, revision));
    } else if (request.url === '/relist') {
      api.compact();
      api.resetWatches();
    }
    response.end(String(revision));
  });
  control.listen(0, '127.0.0.1', () =>
    process.send?.({
      port: api.port,
      control: (control.address() as { port: number }).port,
      average,
    }),
  );
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6);
}

async function measure(): Promise<void> {
  if (flag !== undefined) setFlagsFromString(flag);
  const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2).concat('serve'), {
    execArgv: ['--import', 'tsx'],
  });
  const { port, control, average } = await new Promise<{
    port: number;
    control: number;
    average: number;
  }>((resolve) =>
    child.once('message', (message) =>
      resolve(message as { port: number; control: number; average: number }),
    ),
  );
  let peak = 0;
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 20);
  const line = (what: string): void => {
    const { rss, heapUsed } = process.memoryUsage();
    const { user, system } = process.cpuUsage();
    console.log(
      `${what.padEnd(34)} rss ${String(megabytes(rss)).padStart(4)} MB  peak ${String(megabytes(peak)).padStart(4)} MB  heap used ${String(megabytes(heapUsed)).padStart(4)} MB  cpu ${((user + system) / 1e6).toFixed(1)} s`,
    );
  };
  console.log(
    `${count} pods of ${average} bytes as JSON, 10000 policies, 1000 namespaces, 2000 nodes; ${watchList ? 'WatchList' : 'LIST, 500 a page'}; node ${process.version}`,
  );
  line('before');
  const connection = connect({
    server: `http://127.0.0.1:${port}`,
    source: 'bench',
    namespace: 'default',
    insecureSkipTlsVerify: false,
    auth: {},
  });
  let changes = 0;
  const started = Date.now();
  const cluster = startClusterWatch(connection, {
    onChange: (batch) => (changes += batch.changes.length),
  });
  await cluster.synced;
  line(`synced after ${((Date.now() - started) / 1000).toFixed(1)} s`);
  const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  for (let i = 0; i < 5; i += 1) {
    const before = changes;
    await fetch(`http://127.0.0.1:${control}/churn`);
    while (changes < before + Math.min(20_000, count / 5)) await wait(50);
  }
  line(`after ${changes} changes`);
  await fetch(`http://127.0.0.1:${control}/relist`);
  await wait(1_000);
  while (cluster.status().some((one) => one.state !== 'synced' && one.state !== 'absent'))
    await wait(50);
  await wait(10_000);
  line('after a full relist and 10 s');
  console.log(
    `objects ${[...cluster.stores.values()].reduce((sum, store) => sum + store.size, 0)}`,
  );
  clearInterval(timer);
  await cluster.stop();
  connection.close();
  child.kill();
}

if (process.argv.includes('serve')) await serve();
else await measure();
