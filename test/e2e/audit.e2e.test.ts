/** Audit and the recording of denied flows in a real kernel: what they count, and that no verdict depends on it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compileNode, createBackend, spawnRunner } from '../../src/dataplane/index.ts';
import type { Backend, DataplaneOptions } from '../../src/dataplane/index.ts';
import { buildSnapshot } from '../../src/engine/build.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import { clusterObjects, networkPolicy, pods, tcpPorts } from '../contract/dataplane.ts';
import { canMakeBed, makeBed } from './dataplane/bed.ts';
import type { Bed, PodProcess } from './dataplane/bed.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`audit e2e tests skipped: ${impossible}`);

const denyAll = networkPolicy('deny', { podSelector: {}, policyTypes: ['Ingress'] });
const frontTo80 = networkPolicy('front', {
  podSelector: { matchLabels: { role: 'db' } },
  ingress: [
    { from: [{ podSelector: { matchLabels: { role: 'frontend' } } }], ports: [{ port: 80 }] },
  ],
});
const audited = (policy: KubeObject): KubeObject => ({
  ...policy,
  metadata: { ...policy.metadata, annotations: { 'podwall.dev/mode': 'audit' } },
});

describe.skipIf(impossible !== undefined)('audit', () => {
  let bed: Bed;
  const processes = new Map<string, PodProcess>();
  const address = (name: string, family: 4 | 6 = 4): string => {
    const pod = pods.find((one) => one.name === name);
    return family === 4
      ? `10.244.${pod?.node}.${pod?.host}`
      : `fd00:244:${pod?.node}::${pod?.host}`;
  };
  const tries = (from: string, to: string, port = 80, family: 4 | 6 = 4): Promise<string> =>
    (processes.get(from) as PodProcess).ask({
      do: 'connect',
      host: address(to, family),
      port,
      timeout: 300,
    });
  const enforce = async (
    policies: KubeObject[],
    options: Partial<DataplaneOptions>,
  ): Promise<Backend> => {
    const { snapshot } = buildSnapshot(
      [...clusterObjects(), ...policies].map((object) => ({ object })),
    );
    const full = { observe: true, ...options };
    const backend = createBackend({
      nft: spawnRunner({ netns: bed.netns('node-1') }),
      options: full,
      collectAfterMs: 0,
    });
    await backend.apply(compileNode(snapshot, 'node-1', full));
    await backend.resetDrops();
    return backend;
  };

  beforeAll(async () => {
    bed = await makeBed(pods);
    for (const { name } of pods) processes.set(name, bed.process(name));
    await Promise.all(
      [...processes.values()].flatMap((one) => [
        ...tcpPorts.map((port) => one.ask({ do: 'listen', protocol: 'tcp', port })),
        one.ask({ do: 'listen', protocol: 'udp', port: 53 }),
      ]),
    );
  });
  afterAll(async () => {
    await bed?.close();
  });

  it('of a node: everything passes, v4 and v6, and what would be dropped is counted', async () => {
    const backend = await enforce([denyAll, frontTo80], { mode: 'audit' });
    expect(await tries('dev1', 'db')).toBe('open');
    expect(await tries('dev1', 'db', 80, 6)).toBe('open');
    expect(await tries('front', 'db')).toBe('open');
    const drops = (await backend.drops()).toSorted((a, b) => a.family - b.family);
    expect(drops).toMatchObject([
      {
        audited: true,
        direction: 'Ingress',
        family: 4,
        source: address('dev1'),
        destination: address('db'),
        protocol: 'TCP',
        port: 80,
        packets: 1,
      },
      { audited: true, family: 6, source: address('dev1', 6), port: 80, packets: 1 },
    ]);
    // An unknown address of the pod range passes as well: nothing at all is dropped.
    expect((await backend.read())[0]?.hooked).toBe(true);
  });

  it('from audit to enforce: connections that audit let pass stop', async () => {
    const [dev1, db] = [processes.get('dev1') as PodProcess, address('db')];
    expect(await dev1.ask({ do: 'hold', host: db, port: 80 })).toBe('open');
    expect(Number(await dev1.ask({ do: 'watch', ms: 200, say: true }))).toBeGreaterThan(0);
    await enforce([denyAll, frontTo80], { mode: 'enforce' });
    expect(Number(await dev1.ask({ do: 'watch', ms: 400, say: true }))).toBe(0);
    expect(await tries('dev1', 'db')).toBe('timeout');
    expect(await tries('front', 'db')).toBe('open');
  });

  it('of a policy: what it alone isolates passes, what an enforced one isolates does not', async () => {
    const one = await enforce([audited(denyAll)], {});
    expect(await tries('dev1', 'db')).toBe('open');
    expect(await one.drops()).toMatchObject([{ audited: true, direction: 'Ingress', port: 80 }]);
    const two = await enforce([audited(denyAll), frontTo80], {});
    expect(await tries('dev1', 'db')).toBe('timeout');
    expect(await tries('dev1', 'front')).toBe('open');
    expect(await tries('front', 'db')).toBe('open');
    const drops = await two.drops();
    expect(drops.find((drop) => drop.destination === address('db'))).not.toHaveProperty('audited');
    expect(drops.find((drop) => drop.destination === address('front'))).toMatchObject({
      audited: true,
    });
  });

  it('lesson 47: under a flood that is far above the limit, verdicts stay what they are', async () => {
    const backend = await enforce([denyAll, frontTo80], { observeLimit: 10 });
    const dev1 = processes.get('dev1') as PodProcess;
    await dev1.ask({
      do: 'flood',
      host: address('db'),
      ports: [53, 5353, 6000, 6001],
      batch: 64,
      pauseMs: 0,
      maxMs: 15_000,
    });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const seen: string[] = [];
    for (let i = 0; i < 10; i += 1) {
      seen.push(await tries('front', 'db'), await tries('dev2', 'db'));
    }
    await dev1.ask({ do: 'stop-flood' });
    expect(seen).toEqual(Array.from({ length: 10 }, () => ['open', 'timeout']).flat());
    // The deny chain counts all of them, the recording only what the limit lets through.
    const listing = await bed.sh(
      'ip netns exec node-1 nft list chain inet podwall d_in 2>/dev/null || ip netns exec node-1 nft list chain inet podwall_b d_in',
    );
    const all = Number(/counter packets (\d+) bytes \d+ drop/.exec(listing)?.[1]);
    const recorded = (await backend.drops()).reduce((sum, drop) => sum + drop.packets, 0);
    console.log(`denied ${all}, recorded ${recorded} at 10 a second and rule`);
    expect(all).toBeGreaterThan(10_000);
    expect(recorded).toBeGreaterThan(0);
    expect(recorded).toBeLessThan(all / 10);
  });
});
