/**
 * Random API traffic with faults against a lab with real pods: no crash, everything ends as it was
 * asked for, and when all is deleted the lab holds no more of the machine than before. An hour with
 * PODWALL_SOAK=1, else as long as PODWALL_SOAK_SECONDS says (30 s).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { startClusterWatch } from '../../src/client/cluster-watch.ts';
import { connect } from '../../src/client/transport.ts';
import { LabUnavailable, startLab, type Lab } from '../../src/lab/index.ts';
import { footprint } from './soak/footprint.ts';
import { createTraffic, spaces, type Item, type Traffic } from './soak/traffic.ts';

const soak = process.env['PODWALL_SOAK'] === '1';
const seconds = Number(process.env['PODWALL_SOAK_SECONDS'] ?? (soak ? 3600 : 30));
const seed = Number(process.env['PODWALL_SEED'] ?? Math.floor(Math.random() * 1e9));
const atOnce = 4;

async function whyNot(): Promise<string | undefined> {
  try {
    await (await startLab({ outside: [] }, { lifetime: 'parent' })).down();
    return undefined;
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

const unavailable = await whyNot();
if (unavailable !== undefined) console.log(`SKIPPED: random traffic in a lab: ${unavailable}`);

const list = async (traffic: Traffic, path: string): Promise<readonly Item[]> => {
  const { code, body } = await traffic.call('GET', path);
  if (code !== 200 || body.items === undefined) throw new Error(`${path}: ${code}`);
  return body.items;
};

const number = (item: Item, part: 'spec' | 'status', field: string): number =>
  Number((item[part] ?? {})[field] ?? 0);

/** What is not yet as it was asked for. */
async function problems(traffic: Traffic, lab: Lab): Promise<string[]> {
  const found: string[] = [];
  const owners = new Set<string>();
  for (const kind of ['deployments', 'statefulsets', 'replicasets', 'daemonsets']) {
    for (const item of await list(traffic, `/apis/apps/v1/${kind}`)) {
      owners.add(item.metadata.uid);
      const [wanted, made] =
        kind === 'daemonsets'
          ? [
              number(item, 'status', 'desiredNumberScheduled'),
              number(item, 'status', 'currentNumberScheduled'),
            ]
          : [number(item, 'spec', 'replicas'), number(item, 'status', 'replicas')];
      if (wanted !== made) found.push(`${kind} ${item.metadata.name}: ${made} of ${wanted}`);
    }
  }
  for (const job of await list(traffic, '/apis/batch/v1/jobs')) owners.add(job.metadata.uid);
  for (const pod of await list(traffic, '/api/v1/pods')) {
    const { name, namespace, ownerReferences = [] } = pod.metadata;
    if (pod.status?.['phase'] === 'Pending') {
      const { containerStatuses: why = [], podIP = '' } = pod.status as {
        containerStatuses?: unknown[];
        podIP?: string;
      };
      found.push(`pod ${namespace}/${name} ${podIP} is Pending ${JSON.stringify(why)}`);
    }
    if (ownerReferences.some(({ uid }) => !owners.has(uid))) found.push(`orphan ${name}`);
  }
  for (const space of await list(traffic, '/api/v1/namespaces'))
    if (space.status?.['phase'] !== 'Active') found.push(`namespace ${space.metadata.name}`);
  const { readyPods, pods } = await lab.status();
  if (readyPods > pods) found.push(`${readyPods} of ${pods} pods are ready`);
  return found;
}

async function until(
  what: () => Promise<readonly string[]>,
  limitMs: number,
): Promise<readonly string[]> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const left = await what().catch((error: unknown) => [String(error)]);
    if (left.length === 0 || Date.now() > deadline) return left;
    await sleep(200);
  }
}

async function emptyOut(traffic: Traffic): Promise<readonly string[]> {
  for (const space of spaces) await traffic.call('DELETE', `/api/v1/namespaces/${space}`);
  return until(async () => {
    const left = await list(traffic, '/api/v1/namespaces');
    return left.map(({ metadata }) => metadata.name).filter((name) => spaces.includes(name));
  }, 120_000);
}

describe.skipIf(unavailable !== undefined)('random traffic in a lab', () => {
  it(
    `${seconds} s against real pods, seed ${seed}`,
    { timeout: (seconds + 400) * 1000 },
    async () => {
      const lab = await startLab(
        {
          nodes: ['node-1', 'node-2', 'node-3'],
          outside: [{ name: 'world-a', addresses: ['203.0.113.9'] }],
        },
        { lifetime: 'parent', api: true },
      );
      const status = await lab.status();
      const traffic = createTraffic(lab, status, seed);
      // Its token is not among those that are rotated: what is read once from a kubeconfig stays.
      const { token = '' } = (await traffic.order({ order: 'addToken', user: 'follower' })) as {
        token?: string;
      };
      const connection = connect({
        server: status.api?.server ?? '',
        source: 'lab',
        namespace: 'default',
        insecureSkipTlsVerify: true,
        auth: { token },
      });
      try {
        // Once through everything that is made on first use.
        for (let step = 0; step < 60; step += 1) await traffic.act();
        await traffic.order({ order: 'clearFaults' });
        expect(await emptyOut(traffic)).toEqual([]);
        await sleep(1_500);
        const before = await footprint(lab, status);
        traffic.counts.clear();

        const cluster = startClusterWatch(connection, {
          backoff: { initialMs: 20, maximumMs: 500 },
          idleTimeoutMs: 5_000,
          initialIdleMs: 2_000,
        });
        const end = Date.now() + seconds * 1000;
        let nextReport = Date.now() + 60_000;
        const worker = async (): Promise<void> => {
          while (Date.now() < end) {
            await traffic.act();
            if (Date.now() < nextReport) continue;
            nextReport += 60_000;
            const acts = [...traffic.counts.values()].reduce((sum, n) => sum + n, 0);
            const { descriptors, memory, processes } = await footprint(lab, status);
            console.log(
              `soak: ${Math.max(0, Math.round((end - Date.now()) / 60_000))} min left, ${acts} acts, ` +
                `${processes.length} processes, descriptors ${JSON.stringify(descriptors)}, ` +
                `MB ${JSON.stringify(memory)}`,
            );
          }
        };
        await Promise.all(Array.from({ length: atOnce }, worker));
        const took: string[] = [];
        let last = Date.now();
        const lap = (what: string): void => {
          took.push(`${what} ${((Date.now() - last) / 1000).toFixed(1)} s`);
          last = Date.now();
        };

        await traffic.order({ order: 'clearFaults' });
        expect(await until(() => problems(traffic, lab), 90_000)).toEqual([]);
        lap('settled in');
        // Who followed all along has what the server has.
        const differs = async (): Promise<string[]> => {
          const real = (await list(traffic, '/api/v1/pods')).map(
            ({ metadata }) => `${metadata.namespace}/${metadata.name} ${metadata.resourceVersion}`,
          );
          const seen = [...cluster.objects()]
            .filter(({ kind }) => kind === 'Pod')
            .map(
              ({ metadata }) =>
                `${metadata.namespace}/${metadata.name} ${metadata.resourceVersion}`,
            );
          return real.toSorted().join() === seen.toSorted().join() ? [] : ['the follower differs'];
        };
        expect(await until(differs, 30_000)).toEqual([]);
        await cluster.stop();
        lap('followed in');

        expect(await emptyOut(traffic)).toEqual([]);
        const same = async (): Promise<string[]> => {
          const now = await footprint(lab, status);
          const differences: string[] = [];
          for (const part of ['processes', 'namespaces', 'links', 'programs', 'mounts'] as const) {
            const [was, is] = [JSON.stringify(before[part]), JSON.stringify(now[part])];
            if (was !== is) differences.push(`${part}: ${was} became ${is}`);
          }
          for (const [name, count] of Object.entries(now.descriptors)) {
            // A connection or two of this test's may just be closing.
            const was = before.descriptors[name] ?? 0;
            if (count > was + 4) differences.push(`${name}: ${was} descriptors became ${count}`);
          }
          return differences;
        };
        lap('emptied in');
        expect(await until(same, 30_000)).toEqual([]);
        lap('as before in');
        const after = await footprint(lab, status);
        expect((await lab.status()).api?.pid).toBe(status.api?.pid);
        const log = readFileSync(join(status.stateDir ?? '', 'daemon.log'), 'utf8');
        // What nobody caught is written there with where it came from.
        expect(log.match(/^ {4}at .*$/m) === null ? '' : log).toBe('');
        const acts = [...traffic.counts.values()].reduce((sum, n) => sum + n, 0);
        console.log(
          `soak: ${acts} acts in ${seconds} s: ${JSON.stringify(Object.fromEntries(traffic.counts))}; ` +
            `answers ${JSON.stringify(Object.fromEntries(traffic.codes))}; ` +
            `${took.join(', ')}; MB ${JSON.stringify(before.memory)} to ${JSON.stringify(after.memory)}; ` +
            `descriptors ${JSON.stringify(before.descriptors)} to ${JSON.stringify(after.descriptors)}`,
        );
        expect(acts).toBeGreaterThan(seconds);
      } catch (error) {
        const log = readFileSync(join(status.stateDir ?? '', 'daemon.log'), 'utf8');
        console.log(`soak: the log of the lab ends with\n${log.slice(-4000)}`);
        throw error;
      } finally {
        connection.close();
        traffic.close();
        await lab.down();
      }
    },
  );
});
