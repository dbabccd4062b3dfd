/**
 * Random traffic with faults: the server must neither fall over nor leak, the controllers must end
 * in the state that was asked for, and a watcher must end with what the server has. An hour with
 * PODWALL_SOAK=1, else as long as PODWALL_SOAK_SECONDS says (6 s).
 */
import { readdirSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { expect, it } from 'vitest';
import { createFakeRuntime } from './fake-runtime.ts';
import { seededRandom } from './faults.ts';
import { numberAt, objectAt, stringAt, type ApiObject, type JsonObject } from './object.ts';
import { startLabApi, type LabApi } from './start.ts';

const soak = process.env['PODWALL_SOAK'] === '1';
const seconds = Number(process.env['PODWALL_SOAK_SECONDS'] ?? (soak ? 3600 : 6));
const seed = Number(process.env['PODWALL_SEED'] ?? Math.floor(Math.random() * 1e9));

const openFiles = (): number => readdirSync('/proc/self/fd').length;

function call(
  api: LabApi,
  agent: Agent,
  method: string,
  path: string,
  body?: unknown,
  type = 'application/json',
): Promise<number> {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(api.url);
    const out = request(
      {
        hostname,
        port,
        method,
        path,
        agent,
        headers: { Authorization: `Bearer ${api.token}`, 'Content-Type': type },
      },
      (reply) => {
        reply.resume();
        reply.on('close', () => {
          resolve(reply.statusCode ?? 0);
        });
      },
    );
    // Cut connections are part of the test.
    out.on('error', () => {
      resolve(0);
    });
    out.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** A watch that resumes from what it saw last, and lists again after 410. */
function follow(api: LabApi, agent: Agent): { seen: Map<string, string>; stop(): void } {
  const seen = new Map<string, string>();
  let version = '';
  let stopped = false;
  const apply = (line: string): boolean => {
    const event = JSON.parse(line) as { type: string; object: ApiObject };
    if (event.type === 'ERROR') {
      version = '';
      return false;
    }
    const { metadata } = event.object;
    version = metadata.resourceVersion ?? version;
    const key = `${metadata.namespace ?? ''}/${metadata.name}`;
    if (event.type === 'DELETED') seen.delete(key);
    else if (event.type !== 'BOOKMARK') seen.set(key, version);
    return true;
  };
  const once = (): Promise<void> =>
    new Promise((resolve) => {
      const { hostname, port } = new URL(api.url);
      const fresh = version === '';
      if (fresh) seen.clear();
      const out = request(
        {
          hostname,
          port,
          agent,
          path: `/api/v1/pods?watch=true&allowWatchBookmarks=true${fresh ? '' : `&resourceVersion=${version}`}`,
          headers: { Authorization: `Bearer ${api.token}` },
        },
        (reply) => {
          if (reply.statusCode !== 200) {
            if (reply.statusCode === 410) version = '';
            reply.resume();
            resolve();
            return;
          }
          let rest = '';
          reply.on('data', (chunk: Buffer) => {
            rest += chunk.toString('utf8');
            for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
              apply(rest.slice(0, end));
              rest = rest.slice(end + 1);
            }
          });
          reply.on('close', () => {
            resolve();
          });
          reply.on('error', () => {
            resolve();
          });
        },
      );
      out.on('error', () => {
        resolve();
      });
      out.end();
    });
  const loop = async (): Promise<void> => {
    while (!stopped) {
      await once();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  void loop();
  return {
    seen,
    stop() {
      stopped = true;
    },
  };
}

const workload = (kind: string, name: string, replicas: number, image: string): JsonObject => ({
  metadata: { name },
  spec: {
    ...(kind === 'daemonsets' ? {} : { replicas }),
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      spec: { terminationGracePeriodSeconds: 0, containers: [{ name: 'c', image }] },
    },
  },
});

it(
  `random traffic with faults, ${seconds} s, seed ${seed}`,
  { timeout: (seconds + 60) * 1000 },
  async () => {
    const random = seededRandom(seed);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
    const runtime = createFakeRuntime({ startMs: 5 });
    const api = await startLabApi({ runtime, seed, bookmarkEvery: 50, history: 500 });
    const agent = new Agent({ keepAlive: true, maxSockets: 8, ca: api.certificate.cert });
    const watchAgent = new Agent({ ca: api.certificate.cert });
    const before = openFiles();
    const watcher = follow(api, watchAgent);
    api.faults.add({ probability: 0.03, code: 500 });
    api.faults.add({ probability: 0.02, code: 429 });
    api.faults.add({ probability: 0.01, reset: true });
    api.faults.add({ verb: 'watch', watchForMs: 60, watchEnd: 'reset', probability: 0.3 });
    api.faults.add({ verb: 'watch', watchForMs: 90, watchEnd: 'close', probability: 0.3 });
    api.faults.add({ verb: 'watch', watchForMs: 90, watchEnd: 'expire', probability: 0.1 });

    const spaces = ['default', 't1', 't2'];
    const kinds = ['deployments', 'statefulsets', 'daemonsets'];
    const act = async (): Promise<void> => {
      const space = pick(spaces);
      const kind = pick(kinds);
      const name = pick(['a', 'b', 'c']);
      const base = `/apis/apps/v1/namespaces/${space}/${kind}`;
      switch (Math.floor(random() * 10)) {
        case 0:
          await call(api, agent, 'POST', '/api/v1/namespaces', {
            metadata: { name: pick(['t1', 't2']) },
          });
          return;
        case 1:
          if (random() < 0.2)
            await call(api, agent, 'DELETE', `/api/v1/namespaces/${pick(['t1', 't2'])}`);
          return;
        case 2:
        case 3:
          await call(
            api,
            agent,
            'POST',
            base,
            workload(kind, `${name}-${kind}`, Math.floor(random() * 4), 'i1'),
          );
          return;
        case 4:
          await call(
            api,
            agent,
            'PATCH',
            `${base}/${name}-${kind}`,
            {
              spec: {
                template: {
                  spec: { containers: [{ name: 'c', image: pick(['i1', 'i2', 'i3']) }] },
                },
              },
            },
            'application/strategic-merge-patch+json',
          );
          return;
        case 5:
          await call(
            api,
            agent,
            'PATCH',
            `${base}/${name}-${kind}/scale`,
            { spec: { replicas: Math.floor(random() * 4) } },
            'application/merge-patch+json',
          );
          return;
        case 6:
          await call(
            api,
            agent,
            'DELETE',
            `${base}/${name}-${kind}?propagationPolicy=${pick(['Background', 'Foreground'])}`,
          );
          return;
        case 7:
          if (random() < 0.2) await call(api, agent, 'DELETE', `/api/v1/namespaces/${space}/pods`);
          return;
        case 8:
          await call(api, agent, 'GET', '/api/v1/pods?limit=3');
          return;
        default:
          if (random() < 0.05) await api.restart(20);
      }
    };
    const end = Date.now() + seconds * 1000;
    while (Date.now() < end) await Promise.all([act(), act(), act(), act()]);

    api.faults.clear();
    const pods = (): readonly ApiObject[] => api.store.list('/pods').objects;
    const problems = (): string[] => {
      const found: string[] = [];
      for (const kind of ['deployments', 'statefulsets', 'replicasets'])
        for (const object of api.store.list(`apps/${kind}`).objects) {
          const wanted = numberAt(object, 'spec', 'replicas') ?? 1;
          const ready = numberAt(object, 'status', 'readyReplicas') ?? 0;
          if (wanted !== ready)
            found.push(`${kind} ${object.metadata.name}: ${ready} of ${wanted}`);
        }
      for (const pod of pods()) {
        const owner = pod.metadata.ownerReferences?.[0];
        if (stringAt(pod, 'status', 'phase') !== 'Running') found.push(`pod ${pod.metadata.name}`);
        const bucket = {
          ReplicaSet: 'replicasets',
          StatefulSet: 'statefulsets',
          DaemonSet: 'daemonsets',
        }[owner?.kind ?? ''];
        const known = api.store.get(
          `apps/${bucket ?? ''}`,
          `${pod.metadata.namespace ?? ''}/${owner?.name ?? ''}`,
        );
        if (known?.metadata.uid !== owner?.uid) found.push(`orphan ${pod.metadata.name}`);
      }
      for (const space of api.store.list('/namespaces').objects)
        if (objectAt(space, 'status')['phase'] !== 'Active')
          found.push(`namespace ${space.metadata.name}`);
      const real = pods().map(
        (p) =>
          `${p.metadata.namespace ?? ''}/${p.metadata.name} ${p.metadata.resourceVersion ?? ''}`,
      );
      const seen = [...watcher.seen].map(([key, version]) => `${key} ${version}`).toSorted();
      if (JSON.stringify(real.toSorted()) !== JSON.stringify(seen))
        found.push('the watcher differs');
      const uids = new Set(pods().map((pod) => pod.metadata.uid));
      for (const uid of runtime.running) if (!uids.has(uid)) found.push(`leaked ${uid}`);
      return found;
    };
    for (let tries = 0; tries < 300 && problems().length > 0; tries += 1)
      await new Promise((resolve) => setTimeout(resolve, 50));
    expect(problems()).toEqual([]);
    watcher.stop();
    agent.destroy();
    await api.restart(1);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(api.watches.size).toBe(0);
    expect(openFiles()).toBeLessThanOrEqual(before + 2);
    await api.stop();
    watchAgent.destroy();
  },
);
