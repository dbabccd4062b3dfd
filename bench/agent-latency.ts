/**
 * From the API event to the kernel, with real nft in a private network namespace: label flips of a
 * local pod, pods that come and go, policy edits. The API server is the tests' fake, in a process
 * of its own.
 *
 *   node --import tsx bench/agent-latency.ts [pods=5000] [policies=1000] [changes=60]
 */
import { fork, spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { createLoop, type Round } from '../src/agent/loop.ts';
import { startClusterWatch } from '../src/client/cluster-watch.ts';
import { policyResources, resourceName } from '../src/client/resource.ts';
import { connect } from '../src/client/transport.ts';
import { createBackend, interactiveRunner } from '../src/dataplane/index.ts';
import type { ObjectRef } from '../src/engine/cluster-facts.ts';
import type { KubeObject } from '../src/k8s/types.ts';
import { startFakeApi } from '../test/client/fake-api.ts';
import { cluster } from './agent-cluster.ts';

const numbers = process.argv
  .slice(2)
  .filter((word) => /^\d+$/.test(word))
  .map(Number);
const [podCount = 5_000, policyCount = 1_000, changes = 60] = numbers;
const coalesceMs = 25;
const node = 'node-1';

async function serve(): Promise<void> {
  const api = await startFakeApi();
  const objects = cluster(podCount, policyCount);
  for (const object of objects) api.put(object);
  const local = objects.filter(
    (one) => one.kind === 'Pod' && (one.spec as { nodeName: string }).nodeName === node,
  );
  const policies = objects.filter((one) => one.kind === 'NetworkPolicy');
  let serial = 0;
  const actions: Record<string, () => void> = {
    'label flip': () => {
      const pod = local[serial % local.length];
      if (pod)
        api.put({
          ...pod,
          metadata: {
            ...pod.metadata,
            labels: { ...pod.metadata.labels, app: `app-${serial % 10}` },
          },
        });
    },
    'pod add and delete': () => {
      const pod = local[0];
      if (pod === undefined) return;
      const { namespace = '' } = pod.metadata;
      if (serial % 2 === 0) api.delete('Pod', namespace, 'extra');
      else
        api.put({
          ...pod,
          metadata: { name: 'extra', namespace, labels: { app: 'app-1' } },
          status: { phase: 'Running', podIP: '10.0.1.250' },
        } as typeof pod);
    },
    'policy edit': () => {
      const policy = policies[serial % policies.length];
      const spec = policy?.spec as { ingress: { ports: { port: number }[] }[] } | undefined;
      if (policy && spec) {
        const ingress = spec.ingress.map((rule) => ({
          ...rule,
          ports: [{ port: 8000 + (serial % 100) }],
        }));
        api.put({ ...policy, spec: { ...spec, ingress } } as typeof policy);
      }
    },
  };
  const control = createServer((request, response) => {
    serial += 1;
    actions[decodeURIComponent((request.url ?? '').slice(1))]?.();
    response.end();
  });
  control.listen(0, '127.0.0.1', () =>
    process.send?.({
      port: api.port,
      control: (control.address() as { port: number }).port,
      kinds: Object.keys(actions),
    }),
  );
}

function refOf({ apiVersion, kind, metadata }: KubeObject): ObjectRef {
  return { apiVersion, kind, namespace: metadata.namespace, name: metadata.name ?? '' };
}

function quantile(values: readonly number[], q: number): string {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? NaN)
    .toFixed(0)
    .padStart(5);
}

async function measure(): Promise<void> {
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo up; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  const child = fork(fileURLToPath(import.meta.url), [...process.argv.slice(2), 'serve'], {
    execArgv: ['--import', 'tsx'],
  });
  const { port, control, kinds } = await new Promise<{
    port: number;
    control: number;
    kinds: string[];
  }>((resolve) =>
    child.once('message', (message) =>
      resolve(message as { port: number; control: number; kinds: string[] }),
    ),
  );
  const nft = interactiveRunner({ netns: `/proc/${holder.pid}/ns/net` });
  const connection = connect({
    server: `http://127.0.0.1:${port}`,
    source: 'bench',
    namespace: 'default',
    insecureSkipTlsVerify: false,
    auth: {},
  });
  const rounds: Round[] = [];
  const started = performance.now();
  let listed = 0;
  const watching = startClusterWatch(connection, {
    coalesceMs,
    onSync: () => {
      listed = performance.now();
      loop.trigger('sync');
    },
    onChange: (batch) =>
      loop.trigger(
        'changes',
        batch.since,
        batch.changes.map(({ object }) => refOf(object)),
      ),
  });
  const loop = createLoop({
    node,
    objects: () => watching.objects(),
    find: ({ kind, namespace, name }) => {
      const resource = policyResources.find((one) => one.kind === kind);
      const store =
        resource === undefined ? undefined : watching.stores.get(resourceName(resource));
      return store?.get(namespace, name);
    },
    backend: createBackend({ nft: nft.run }),
    onRound: (round) => rounds.push(round),
    onFailure: (error) => console.error(error),
  });
  await watching.synced;
  await loop.idle();
  console.log(
    `${podCount} pods, ${policyCount} policies: lists ${(listed - started).toFixed(0)} ms, first program in the kernel ${(performance.now() - listed).toFixed(0)} ms later`,
  );
  console.log(
    `ms after the event, without the ${coalesceMs} ms of coalescing   p50   p99   of these: build p50, apply p50`,
  );
  for (const kind of kinds) {
    rounds.length = 0;
    for (let i = 0; i < changes; i += 1) {
      const before = rounds.length;
      await fetch(`http://127.0.0.1:${control}/${encodeURIComponent(kind)}`);
      const end = performance.now() + 2_000;
      while (rounds.length === before && performance.now() < end)
        await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const measured = rounds.filter((round) => round.report.transactions.length > 0);
    const latency = measured.map((round) => round.report.enforcedAt - round.since - coalesceMs);
    console.log(
      `${`${kind} (${measured.length})`.padEnd(56)} ${quantile(latency, 0.5)} ${quantile(latency, 0.99)}   ${quantile(
        measured.map((one) => one.buildMs),
        0.5,
      )} ${quantile(
        measured.map((one) => one.applyMs),
        0.5,
      )}`,
    );
  }
  await watching.stop();
  await loop.stop();
  await nft.close();
  connection.close();
  child.kill();
  holder.stdin.end();
}

if (process.argv.includes('serve')) await serve();
else await measure();
