/**
 * From the API event to the kernel, with real nft in a private network namespace, for each kind of
 * change; and the cold start. The API server is the tests' fake, in a process of its own. Latency
 * counts until the program is in force; what nobody uses any more is collected later.
 *
 *   node --import tsx bench/agent-latency.ts [pods=5000] [policies=1000] [changes=100]
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
const [podCount = 5_000, policyCount = 1_000, changes = 100] = numbers;
const coalesceMs = 25;
const node = 'node-1';

async function serve(): Promise<void> {
  const api = await startFakeApi();
  const objects = cluster(podCount, policyCount);
  for (const object of objects) api.put(object);
  const local = objects.filter(
    (one) => one.kind === 'Pod' && (one.spec as { nodeName: string }).nodeName === node,
  );
  const remote = objects.filter(
    (one) => one.kind === 'Pod' && (one.spec as { nodeName: string }).nodeName !== node,
  );
  const policies = objects.filter(
    (policy) => policy.kind === 'NetworkPolicy' && local.some((pod) => selects(policy, pod)),
  );
  let serial = 0;
  const at = <T>(list: readonly T[]): T => list[(serial * 7) % list.length] as T;
  /** Another one each time that the same object's turn comes. */
  const varying = (list: readonly unknown[]): number =>
    (serial + Math.floor(serial / list.length)) % 10;
  const relabelled = (pod: KubeObject, app: number): KubeObject => ({
    ...pod,
    metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, app: `app-${app}` } },
  });
  const edited = (policy: KubeObject): KubeObject => {
    const spec = policy.spec as { ingress: { ports: unknown[] }[] };
    const ingress = spec.ingress.map((rule) => ({
      ...rule,
      ports: [{ port: 8000 + (serial % 1000) }],
    }));
    return { ...policy, spec: { ...spec, ingress } };
  };
  const actions: Record<string, () => void> = {
    'rules of a policy': () => api.put(edited(at(policies))),
    'a policy comes or goes': () => {
      const policy = policies[0] as KubeObject;
      const { namespace = '' } = policy.metadata;
      if (serial % 2 === 0) api.delete('NetworkPolicy', namespace, 'extra');
      else api.put(edited({ ...policy, metadata: { namespace, name: 'extra' } }));
    },
    'labels of a pod here': () => api.put(relabelled(at(local), varying(local))),
    'labels of a pod elsewhere': () => api.put(relabelled(at(remote), varying(remote))),
    'a pod comes or goes here': () => {
      const pod = local[0] as KubeObject;
      const { namespace = '' } = pod.metadata;
      if (serial % 2 === 0) api.delete('Pod', namespace, 'extra');
      else
        api.put({
          ...pod,
          metadata: { name: 'extra', namespace, labels: pod.metadata.labels },
          status: { phase: 'Running', podIP: '10.0.1.250' },
        } as KubeObject);
    },
    'labels of a namespace (50 pods)': () => {
      const all = objects.filter((one) => one.kind === 'Namespace');
      const namespace = at(all);
      const team = `t${varying(all)}`;
      api.put({ ...namespace, metadata: { ...namespace.metadata, labels: { team } } });
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

/** As far as these clusters go: a policy of the pod's namespace that names its app. */
function selects({ metadata, spec }: KubeObject, pod: KubeObject): boolean {
  const { matchLabels } = (spec as { podSelector: { matchLabels: Record<string, string> } })
    .podSelector;
  return (
    metadata.namespace === pod.metadata.namespace &&
    matchLabels['app'] === pod.metadata.labels?.['app']
  );
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
    `${`ms after the event, beyond ${coalesceMs} ms of coalescing`.padEnd(56)}  p50    p99    max  compile  nft    CPU (medians)`,
  );
  for (const kind of kinds) {
    rounds.length = 0;
    const spent: number[] = [];
    for (let i = 0; i < changes; i += 1) {
      const before = rounds.length;
      const cpu = process.cpuUsage();
      await fetch(`http://127.0.0.1:${control}/${encodeURIComponent(kind)}`);
      const end = performance.now() + 2_000;
      while ((rounds.length === before || loop.busy) && performance.now() < end)
        await new Promise((resolve) => setTimeout(resolve, 2));
      const { user, system } = process.cpuUsage(cpu);
      spent.push((user + system) / 1000);
    }
    const measured = rounds.filter((round) => round.report.transactions.length > 0);
    const latency = measured.map((round) => round.report.enforcedAt - round.since - coalesceMs);
    const inNft = measured.map((round) =>
      round.report.transactions
        .filter(({ phase }) => phase !== 'collect')
        .reduce((sum, { milliseconds }) => sum + milliseconds, 0),
    );
    const compiling = measured.map((one) => one.buildMs);
    console.log(
      `${`${kind} (${measured.length} of ${changes} reach the kernel)`.padEnd(56)}${[
        quantile(latency, 0.5),
        quantile(latency, 0.99),
        quantile(latency, 1),
        quantile(compiling, 0.5),
        quantile(inNft, 0.5),
        quantile(spent, 0.5),
      ].join('  ')}`,
    );
    const whole = rounds.filter((round) => !round.report.partial).length;
    if (whole > 0) console.log(`  ${whole} of these rounds compared everything`);
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
