/**
 * Pods, policies and namespaces come and go, through an API that misbehaves; when all is as it was in the
 * beginning, so are the kernel's objects, the agent's memory and its files. Twelve seconds; ten minutes with
 * `npm run test:soak`.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KubeObject } from '../../src/k8s/types.ts';
import { chance, listOf, pick, seededDraw } from '../arbitrary/draw.ts';
import { startChaos } from '../client/chaos.ts';
import { startFakeApi, type FakeApi } from '../client/fake-api.ts';
import { clusterObjects, networkPolicy, podObject } from '../contract/dataplane.ts';
import { agentHome, converged, type AgentHome, type AgentProcess } from './agent/agent-process.ts';
import { canMakeBed, makeBed } from './dataplane/bed.ts';
import type { Bed } from './dataplane/bed.ts';
import { normalise } from './dataplane/ruleset.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`soak test skipped: ${impossible}`);
const soak = process.env['PODWALL_SOAK'] === '1';
const seconds = Number(process.env['PODWALL_SOAK_SECONDS'] ?? (soak ? 600 : 12));
const fixed = process.env['CI'] && !soak ? '20261122' : undefined;
const seed = Number(process.env['PODWALL_SEED'] ?? fixed ?? Date.now() % 0x7fffffff);

interface Footprint {
  readonly ruleset: string;
  readonly chains: number;
  readonly sets: number;
  readonly elements: number;
  /** Resident memory of the agent and of its long-lived nft, in MB. */
  readonly agentMb: number;
  readonly nftMb: number;
  readonly files: number;
  /** Of the whole machine, so for the reader only, in MB. */
  readonly slabMb: number;
}

describe.skipIf(impossible !== undefined)('podwall agent, soaked', () => {
  let bed: Bed;
  let api: FakeApi;
  let home: AgentHome;

  beforeAll(async () => {
    bed = await makeBed([]);
    api = await startFakeApi({ token: 'agent-token' });
    home = agentHome();
  });
  afterAll(async () => {
    await home?.close();
    await bed?.close();
    await api?.close();
  });

  const ruleset = async (): Promise<string> =>
    normalise(await bed.sh('ip netns exec node-1 nft list ruleset'));

  async function footprint({ child }: AgentProcess): Promise<Footprint> {
    const pid = String(child.pid);
    const listing = await ruleset();
    const count = (pattern: RegExp): number => listing.match(pattern)?.length ?? 0;
    const nft = children(pid).find((one) => readCommand(one).includes('-i'));
    return {
      ruleset: listing,
      chains: count(/^\tchain /gm),
      sets: count(/^\t(set|map) /gm),
      elements: [...listing.matchAll(/elements = \{([^}]*)\}/g)].reduce(
        (sum, [, list]) => sum + (list ?? '').split(',').length,
        0,
      ),
      agentMb: residentMb(pid),
      nftMb: nft === undefined ? 0 : residentMb(nft),
      files: openFiles(pid),
      slabMb: Number(/^Slab:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) / 1024,
    };
  }

  it(`${seconds} s of churn leave nothing behind (seed ${seed})`, async () => {
    const draw = seededDraw(seed);
    const role = (): string => `r${draw.integer(0, 9)}`;
    const base: KubeObject[] = [
      ...clusterObjects(),
      ...listOf(draw, 40, 40, (index) =>
        podObject({
          name: `base-${index}`,
          namespace: 'prod',
          node: index % 2 === 0 ? 1 : 2,
          host: 20 + index,
          labels: { role: role() },
          web: 80,
        }),
      ),
      ...listOf(draw, 20, 20, (index) =>
        networkPolicy(`base-${index}`, {
          podSelector: { matchLabels: { role: role() } },
          ingress: [{ from: [{ podSelector: { matchLabels: { role: role() } } }] }],
        }),
      ),
    ];
    for (const object of base) api.put(object);
    const original = new Map(base.map((object) => [keyOf(object), object]));
    const agent = home.start({
      node: 'node-1',
      netns: bed.netns('node-1'),
      api,
      flags: ['--audit-interval', '5'],
    });
    await agent.says(converged, 60_000);

    let events = 0;
    const guests = new Map<string, KubeObject>();
    const event = (): void => {
      events++;
      const namespace = pick(draw, ['prod', 'dev', 'come', 'go']);
      const number = draw.integer(0, 99);
      const put = (object: KubeObject): void => {
        api.put(object);
        if (!original.has(keyOf(object))) guests.set(keyOf(object), object);
      };
      if (chance(draw, 30) && guests.size > 0) {
        const gone = pick(draw, [...guests.values()]);
        guests.delete(keyOf(gone));
        api.delete(gone.kind, gone.metadata.namespace, gone.metadata.name ?? '');
      } else if (chance(draw, 50))
        put(
          podObject({
            name: `guest-${number}`,
            namespace,
            node: 1,
            host: 100 + number,
            labels: { role: role() },
            web: 80,
          }),
        );
      else if (chance(draw, 70))
        put(
          networkPolicy(
            `guest-${draw.integer(0, 29)}`,
            {
              podSelector: chance(draw, 20) ? {} : { matchLabels: { role: role() } },
              ingress: [
                {
                  from: [
                    { podSelector: { matchLabels: { role: role() } } },
                    { ipBlock: { cidr: `10.${number}.0.0/16`, except: [`10.${number}.1.0/24`] } },
                  ],
                  ports: listOf(draw, 1, 8, () => ({ port: draw.integer(1, 9999) })),
                },
              ],
            },
            namespace,
          ),
        );
      else {
        const labels = { project: pick(draw, ['prod', 'dev', 'other']) };
        put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels } });
      }
    };
    const churn = async (ms: number): Promise<void> => {
      const end = performance.now() + ms;
      const chaos = startChaos(api, { everyMs: 1000 });
      while (performance.now() < end) {
        for (let i = draw.integer(1, 5); i > 0; i--) event();
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      chaos.stop();
    };
    /** All as in the beginning, also for the agent. */
    const restore = async (reference?: string): Promise<Footprint> => {
      for (const guest of guests.values())
        api.delete(guest.kind, guest.metadata.namespace, guest.metadata.name ?? '');
      guests.clear();
      for (const object of base) api.put(object);
      const deadline = performance.now() + 60_000;
      let last = '';
      let same = 0;
      // Without a reference: quiet for a while. The client may be waiting after a fault.
      while (performance.now() < deadline && same < (reference === undefined ? 20 : 4)) {
        await new Promise((resolve) => setTimeout(resolve, 250));
        const now = await ruleset();
        same = now === (reference ?? last) ? same + 1 : 0;
        last = now;
      }
      return footprint(agent);
    };

    // What V8, the client and nft take once and keep is part of where it begins.
    await churn(Math.min(15_000, seconds * 200));
    const before = await restore();
    events = 0;
    await churn(seconds * 1000);
    const during = await footprint(agent);
    const after = await restore(before.ruleset);

    const row = (what: string, one: Footprint): string =>
      `  ${what}: ${one.chains} chains, ${one.sets} sets and maps, ${one.elements} elements; ` +
      `agent ${one.agentMb.toFixed(0)} MB, nft ${one.nftMb.toFixed(1)} MB, ${one.files} files; ` +
      `slab of the machine ${one.slabMb.toFixed(0)} MB`;
    const { driftRepairs, lastError } = await agent.status();
    console.info(
      `${seconds} s, ${events} events, ${api.requests.length} requests:\n` +
        [row('before', before), row('during', during), row('after', after)].join('\n'),
    );
    expect(after.ruleset).toBe(before.ruleset);
    expect(during.ruleset).not.toBe(before.ruleset);
    expect(driftRepairs).toBe(0);
    expect(lastError).toBeUndefined();
    expect(events).toBeGreaterThan(seconds * 5);
    // Sockets of watches that are being opened anew.
    expect(after.files).toBeLessThanOrEqual(before.files + 8);
    expect(after.agentMb).toBeLessThan(before.agentMb + 60);
    expect(after.nftMb).toBeLessThan(before.nftMb + 30);
    await agent.end('SIGTERM');
  }, 1_800_000);
});

function keyOf({ kind, metadata }: KubeObject): string {
  return `${kind} ${metadata.namespace ?? ''} ${metadata.name ?? ''}`;
}

function residentMb(pid: string): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** Files and sockets; not what Node itself keeps for its threads and signals. */
function openFiles(pid: string): number {
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return !readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('anon_inode:');
    } catch {
      return false;
    }
  }).length;
}

function children(pid: string): string[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter((child) => child !== '');
}

function readCommand(pid: string): string[] {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
}
