/** `podwall doctor` with real packets: the lab, a network without an agent, and one with. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clientLabels, examine, listenerLabels } from '../../src/agent/doctor.ts';
import type { DoctorOptions, DoctorReport, DoctorSite } from '../../src/agent/doctor.ts';
import { connectTo } from '../../src/client/transport.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import { run } from '../../src/system/exec.ts';
import { startFakeApi, type FakeApi } from '../client/fake-api.ts';
import { canMakeBed, makeBed } from './dataplane/bed.ts';
import type { Bed, PodProcess } from './dataplane/bed.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`doctor e2e tests skipped: ${impossible}`);

const cli = [
  '--import',
  import.meta.resolve('tsx'),
  new URL('cli-process.ts', import.meta.url).pathname,
];
const where = { namespace: 'doctor', port: 8080 };

describe.skipIf(impossible !== undefined)('podwall doctor', () => {
  let bed: Bed;
  let api: FakeApi;
  let client: PodProcess;
  let listener: PodProcess;
  const directory = mkdtempSync(join(tmpdir(), 'podwall-doctor-'));
  const pod = (name: string, host: number, labels: object): KubeObject =>
    ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: where.namespace, labels },
      spec: { nodeName: 'node-1', containers: [{ name: 'c' }] },
      status: { phase: 'Running', podIP: `10.244.1.${host}`, podIPs: [{ ip: `10.244.1.${host}` }] },
    }) as unknown as KubeObject;

  /** Policies go to an API; whether anybody acts on them is what the doctor finds out. */
  const site = (after: { denied?: () => void } = {}): DoctorSite => ({
    prepare: async () => {},
    add: async (policy) => {
      api.put(policy);
      after.denied?.();
    },
    attempt: async () =>
      (await client.ask({ do: 'connect', host: '10.244.1.10', port: 8080, timeout: 250 })) ===
      'open'
        ? 'open'
        : 'closed',
    cleanup: async () => {
      for (const name of ['podwall-doctor-deny', 'podwall-doctor-allow'])
        if (api.objects('NetworkPolicy').some((one) => one.metadata.name === name))
          api.delete('NetworkPolicy', where.namespace, name);
    },
  });
  const examined = (
    place: DoctorSite = site(),
    options: Partial<DoctorOptions> = {},
  ): Promise<DoctorReport> =>
    examine(place, where, {
      signal: new AbortController().signal,
      patienceMs: 1500,
      ...options,
    });

  beforeAll(async () => {
    api = await startFakeApi();
    const name = where.namespace;
    api.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    api.put({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'node-1' },
      spec: { podCIDRs: ['10.244.1.0/24'] },
    });
    api.put(pod('listener', 10, listenerLabels));
    api.put(pod('client', 11, clientLabels));
    bed = await makeBed([
      { name: 'listener', node: 1, host: 10 },
      { name: 'client', node: 1, host: 11 },
    ]);
    [listener, client] = [bed.process('listener'), bed.process('client')];
    await listener.ask({ do: 'listen', protocol: 'tcp', port: 8080 });
  });
  afterAll(async () => {
    await bed?.close();
    await api?.close();
    rmSync(directory, { recursive: true });
  });

  it('pods that nobody guards: NOT ENFORCED', async () => {
    expect(await examined()).toMatchObject({ verdict: 'NOT ENFORCED' });
    expect(api.objects('NetworkPolicy')).toEqual([]);
  });

  it('the same pods with an agent: ENFORCED, with the time from the API to packets', async () => {
    const kubeconfig = join(directory, 'kubeconfig');
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'test',
        clusters: [{ name: 'c', cluster: { server: api.url } }],
        users: [{ name: 'u', user: {} }],
        contexts: [{ name: 'test', context: { cluster: 'c', user: 'u' } }],
      }),
    );
    const agent = spawn(
      process.execPath,
      [
        ...cli,
        'agent',
        '--node',
        'node-1',
        '--netns',
        bed.netns('node-1'),
        '--kubeconfig',
        kubeconfig,
        '--listen',
        '',
        '--socket',
        '',
        '--state-file',
        '',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    try {
      await new Promise<void>((resolve, reject) => {
        let log = '';
        agent.stderr.on('data', (chunk: Buffer) => {
          log += chunk.toString('utf8');
          if (log.includes('the kernel is equal to the cluster')) resolve();
        });
        agent.once('exit', () => reject(new Error(log)));
      });
      const report = await examined();
      console.log(`agent: ${report.verdict} (${report.reason})`);
      expect(report).toMatchObject({ verdict: 'ENFORCED', tries: 3 });
      expect(report.denyAfterMs).toBeLessThan(1500);

      // The listener dies under the deny policy: all connections fail, which proves nothing.
      const dying = site({ denied: () => listener.close() });
      expect(await examined(dying)).toMatchObject({
        verdict: 'INCONCLUSIVE',
        reason: expect.stringContaining('did not pass again') as string,
      });
      expect(await examined()).toMatchObject({
        verdict: 'INCONCLUSIVE',
        reason: expect.stringContaining('control failed') as string,
      });
    } finally {
      const ended = new Promise((resolve) => agent.once('exit', resolve));
      agent.kill('SIGTERM');
      await ended;
    }
  });

  it('--lab: ENFORCED in a lab of its own, nothing left', async () => {
    const state = join(directory, 'lab');
    const { code, stdout, stderr } = await run(
      process.execPath,
      [...cli, 'doctor', '--lab', '--patience', '10'],
      { env: { ...process.env, PODWALL_LAB_DIR: state, XDG_RUNTIME_DIR: directory } },
    );
    console.log(`lab: ${stdout.trim()}`);
    expect(stderr).toContain('cleaning up');
    expect(stdout).toMatch(/^ENFORCED \(deny held 3\/3, allow held 3\/3, converged in \d+ ms\)\n$/);
    expect(code).toBe(0);
  });
});

describe.skipIf(impossible !== undefined)("podwall doctor through a lab's Kubernetes API", () => {
  const directory = mkdtempSync(join(tmpdir(), 'podwall-doctor-api-'));
  const kubeconfig = join(directory, 'podwall', 'kubeconfig');
  const env = { ...process.env, XDG_RUNTIME_DIR: directory };
  const podwall = (...args: string[]): ReturnType<typeof run> =>
    run(process.execPath, [...cli, ...args], { env, timeoutMs: 120_000 });
  // Programs of this machine instead of an image's.
  const commands = [
    '--server-command',
    `exec ${process.execPath} -e 'require("net").createServer((s) => s.end()).listen(+process.env.PORT)'`,
    '--client-command',
    `${process.execPath} -e 'const s = require("net").connect(+process.env.PORT, process.env.HOST, () => process.exit(0)); s.on("error", () => process.exit(1)); setTimeout(() => process.exit(1), 1000)'`,
  ];
  const namespaces = async (): Promise<string[]> => {
    const connection = connectTo({ kubeconfig });
    try {
      const list = await connection.request<{
        items: { metadata: { name: string }; status?: { phase?: string } }[];
      }>('/api/v1/namespaces');
      return list.items.map(({ metadata }) => metadata.name);
    } finally {
      connection.close();
    }
  };
  const gone = async (): Promise<void> => {
    const limit = Date.now() + 10_000;
    for (;;) {
      const left = (await namespaces()).filter((name) => name.startsWith('podwall-doctor'));
      if (left.length === 0) return;
      if (Date.now() > limit) throw new Error(`left behind: ${left.join(', ')}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };

  beforeAll(async () => {
    const up = await podwall('lab', 'up', '--empty', '--agents', '--nodes', '1');
    if (up.code !== 0) throw new Error(up.stderr);
  });
  afterAll(async () => {
    await podwall('lab', 'down');
    rmSync(directory, { recursive: true, force: true });
  });

  it('agents on every node: ENFORCED, and the namespace is gone', async () => {
    const result = await podwall('doctor', '--kubeconfig', kubeconfig, ...commands);
    console.log(`through the API: ${result.stdout.trim()}`);
    expect(result.stdout).toMatch(/^ENFORCED \(deny held 3\/3, allow held 3\/3/);
    expect(result.code).toBe(0);
    await gone();
  });

  it('Ctrl-C in the middle leaves nothing', async () => {
    const child = spawn(
      process.execPath,
      [
        ...cli,
        'doctor',
        '--kubeconfig',
        kubeconfig,
        ...commands.slice(0, 2),
        '--client-command',
        'false',
      ],
      { env, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    await new Promise<void>((resolve) => {
      child.stderr.on('data', (chunk: Buffer) => {
        if (chunk.toString('utf8').includes('control:')) resolve();
      });
    });
    expect((await namespaces()).some((name) => name.startsWith('podwall-doctor'))).toBe(true);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    await gone();
  });
});

describe.skipIf(impossible !== undefined)('podwall doctor on a bridge', () => {
  it('without an agent: NOT ENFORCED; listener killed: INCONCLUSIVE', async () => {
    const bed = await makeBed([]);
    try {
      await bed.sh(`
ip netns add client; ip netns add listener; ip netns exec node-1 ip link add cni0 type bridge
ip -n node-1 link set cni0 up; ip -n node-1 addr add 10.244.1.1/24 dev cni0
for p in client listener; do
  ip link add b-$p netns node-1 type veth peer name eth0 netns $p
  ip -n node-1 link set b-$p master cni0 up; ip -n $p link set eth0 up; ip -n $p link set lo up
done
ip -n listener addr add 10.244.1.10/24 dev eth0; ip -n client addr add 10.244.1.11/24 dev eth0`);
      const [listener, client] = [bed.process('listener'), bed.process('client')];
      await listener.ask({ do: 'listen', protocol: 'tcp', port: 8080 });
      const site: DoctorSite = {
        prepare: async () => {},
        add: async () => {},
        attempt: async () =>
          (await client.ask({ do: 'connect', host: '10.244.1.10', port: 8080, timeout: 250 })) ===
          'open'
            ? 'open'
            : 'closed',
        cleanup: async () => {},
      };
      const options = { signal: new AbortController().signal, patienceMs: 500 };
      expect(await examine(site, where, options)).toMatchObject({ verdict: 'NOT ENFORCED' });
      listener.close();
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(await examine(site, where, options)).toMatchObject({ verdict: 'INCONCLUSIVE' });
    } finally {
      await bed.close();
    }
  });
});
