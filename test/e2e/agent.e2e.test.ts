/**
 * `podwall agent` as a process: objects of an API server become verdicts of a kernel, and stay when
 * the agent, the API or the table comes to harm. The agent runs on node-1 of a private cluster.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AgentStatus } from '../../src/agent/agent.ts';
import { askSocket } from '../../src/agent/http.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import { run } from '../../src/system/exec.ts';
import { startChaos, type Chaos } from '../client/chaos.ts';
import { startFakeApi, type FakeApi } from '../client/fake-api.ts';
import { clusterObjects, networkPolicy, pods, tcpPorts } from '../contract/dataplane.ts';
import { canMakeBed, makeBed } from './dataplane/bed.ts';
import type { Bed, PodProcess } from './dataplane/bed.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`agent e2e tests skipped: ${impossible}`);

const denyAll = networkPolicy('deny', { podSelector: {}, policyTypes: ['Ingress'] });
const onlyFront = networkPolicy('front', {
  podSelector: { matchLabels: { role: 'db' } },
  ingress: [
    { from: [{ podSelector: { matchLabels: { role: 'frontend' } } }], ports: [{ port: 80 }] },
  ],
});

interface AgentProcess {
  readonly child: ChildProcess;
  readonly log: { msg: string; changed?: boolean; [key: string]: unknown }[];
}

describe.skipIf(impossible !== undefined)('podwall agent', () => {
  const directory = mkdtempSync(join(tmpdir(), 'podwall-agent-'));
  const socket = join(directory, 'agent.sock');
  const kubeconfig = join(directory, 'kubeconfig');
  const stateFile = join(directory, 'state', 'objects');
  const processes = new Map<string, PodProcess>();
  let bed: Bed;
  let api: FakeApi;
  /** Faults of the API are the rule, not a test of their own. */
  let chaos: Chaos | undefined;
  let agent: AgentProcess | undefined;

  const cli = [
    '--import',
    import.meta.resolve('tsx'),
    new URL('cli-process.ts', import.meta.url).pathname,
  ];
  const flags = (): string[] => [
    '--node',
    'node-1',
    '--netns',
    bed.netns('node-1'),
    '--kubeconfig',
    kubeconfig,
    '--socket',
    socket,
  ];

  function start(...more: string[]): AgentProcess {
    const child = spawn(
      process.execPath,
      [
        ...cli,
        'agent',
        ...flags(),
        '--listen',
        '',
        '--state-file',
        stateFile,
        '--audit-interval',
        '0',
        ...more,
      ],
      { stdio: ['ignore', 'inherit', 'pipe'] },
    );
    const log: AgentProcess['log'] = [];
    createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      try {
        log.push(JSON.parse(line) as { msg: string });
      } catch {
        log.push({ msg: line });
      }
    });
    agent = { child, log };
    return agent;
  }
  async function end(signal: NodeJS.Signals): Promise<void> {
    const child = agent?.child;
    agent = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }
  async function until(
    what: string,
    condition: () => boolean | Promise<boolean>,
    ms = 30_000,
  ): Promise<number> {
    const began = performance.now();
    for (;;) {
      if (await condition()) return performance.now() - began;
      if (performance.now() - began > ms)
        throw new Error(
          `did not happen within ${ms} ms: ${what}\n${agent?.log.map((line) => JSON.stringify(line)).join('\n')}`,
        );
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  const says = (text: string): boolean =>
    agent?.log.some((line) => line.msg.includes(text)) ?? false;
  const converged = (): Promise<number> =>
    until('convergence', () => says('the kernel is equal to the cluster'), 60_000);
  const status = async (): Promise<AgentStatus> =>
    (await askSocket(socket, '/status')) as AgentStatus;

  const address = (name: string): string => {
    const pod = pods.find((one) => one.name === name);
    return `10.244.${pod?.node}.${pod?.host}`;
  };
  const tries = async (from: string, to: string, port = 80, timeout = 300): Promise<boolean> => {
    const answer = await (processes.get(from) as PodProcess).ask({
      do: 'connect',
      host: address(to),
      port,
      timeout,
    });
    if (answer !== 'open' && answer !== 'timeout') throw new Error(`${from} → ${to}: ${answer}`);
    return answer === 'open';
  };
  const nft = async (...args: string[]): Promise<string> => {
    const { stdout, stderr, code } = await run('nsenter', [
      `--net=${bed.netns('node-1')}`,
      'nft',
      ...args,
    ]);
    return code === 0 ? stdout : `failed: ${stderr}`;
  };
  /** The table as text, without what packets alone change. */
  const table = async (): Promise<string> =>
    (await nft('list', 'table', 'inet', 'podwall'))
      .replaceAll(/\tset (?:a?o[ei][46]x?|oall) \{\n[\s\S]*?\n\t\}\n/g, '')
      .replaceAll(/packets \d+ bytes \d+/g, '');

  beforeAll(async () => {
    api = await startFakeApi({ token: 'agent-token' });
    for (const object of clusterObjects()) api.put(object);
    chaos = startChaos(api, { everyMs: 2500 });
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'test',
        clusters: [{ name: 'c', cluster: { server: api.url } }],
        users: [{ name: 'u', user: { token: 'agent-token' } }],
        contexts: [{ name: 'test', context: { cluster: 'c', user: 'u' } }],
      }),
    );
    bed = await makeBed(pods);
    for (const { name } of pods) processes.set(name, bed.process(name));
    await Promise.all(
      [...processes.values()].flatMap((one) =>
        tcpPorts.map((port) => one.ask({ do: 'listen', protocol: 'tcp', port })),
      ),
    );
  });
  afterAll(async () => {
    chaos?.stop();
    await end('SIGKILL');
    console.log(
      `faults of the API: ${[...(chaos?.counts ?? [])].map(([what, times]) => `${what} ${times}`).join(', ')}`,
    );
    await bed?.close();
    await api?.close();
    rmSync(directory, { recursive: true });
  });

  it('makes the kernel equal to the cluster and says so', async () => {
    start();
    await converged();
    expect(await tries('dev1', 'db')).toBe(true);
    const now = await status();
    expect(now).toMatchObject({
      node: 'node-1',
      ready: true,
      source: 'cluster',
      closedBy: [],
      driftRepairs: 0,
    });
    expect(now.program).toMatchObject({ localAddresses: 6, policies: 0 });
    await until(
      'all resources are read',
      async () => (await status()).resources.filter((one) => one.state === 'synced').length === 7,
    );
  });

  it('a policy event denies packets, an allow event lets them pass', async () => {
    api.put(denyAll);
    const denied = await until('dev1 is denied', async () => !(await tries('dev1', 'db', 80, 150)));
    expect(await tries('dev1', 'front')).toBe(false);
    api.put(onlyFront);
    const allowed = await until('front passes', () => tries('front', 'db', 80, 100));
    expect(await tries('front', 'db', 6379)).toBe(false);
    expect(await tries('dev1', 'db')).toBe(false);
    // Each try that ends in silence takes its own time-out; the agent's figure is in its log.
    const applied =
      agent?.log.filter(
        (line) => line.msg === 'applied' && (line['reasons'] as string[]).includes('changes'),
      ) ?? [];
    console.log(
      `event → kernel: ${applied.map((line) => `${String(line['sinceEventMs'])} ms`).join(', ')}; seen by packets after ${denied.toFixed(0)} ms (incl. a 150 ms time-out) and ${allowed.toFixed(0)} ms`,
    );
    expect(applied.length).toBeGreaterThanOrEqual(2);
  });

  it('a label change in place is enforced', async () => {
    const front = pods.find((one) => one.name === 'front');
    const object = clusterObjects().find(
      (one) => one.kind === 'Pod' && one.metadata.name === 'front',
    ) as KubeObject;
    api.put({ ...object, metadata: { ...object.metadata, labels: { role: 'other' } } });
    await until('front is denied', async () => !(await tries('front', 'db', 80, 150)));
    api.put({ ...object, metadata: { ...object.metadata, labels: { ...front?.labels } } });
    await until('front passes again', () => tries('front', 'db', 80, 150));
  });

  it('heartbeats cause no work', async () => {
    const applied = (): number | undefined =>
      agent?.log.filter(({ msg }) => msg === 'applied').length;
    const before = applied();
    const node = clusterObjects().find((one) => one.kind === 'Node') as KubeObject;
    for (let i = 0; i < 5; i += 1)
      api.put({
        ...node,
        status: { ...(node.status as object), conditions: [{ n: i }] },
      });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(applied()).toBe(before);
  });

  it('SIGKILL: the rules stay; the next agent changes nothing', async () => {
    const before = await table();
    await end('SIGKILL');
    expect(await tries('dev1', 'db')).toBe(false);
    expect(await tries('front', 'db')).toBe(true);
    start();
    await converged();
    expect(says('rules of an earlier agent are in the kernel')).toBe(true);
    expect(agent?.log.find((line) => line.msg.includes('equal to the cluster'))?.changed).toBe(
      false,
    );
    expect(says('applied')).toBe(false);
    expect(await table()).toBe(before);
  });

  it('the API goes away: the rules stay; it comes back: the rules follow', async () => {
    await api.down();
    await until('the agent notices', () => says('not reading'));
    expect(await tries('dev1', 'db')).toBe(false);
    expect(await tries('front', 'db')).toBe(true);
    api.delete('NetworkPolicy', 'prod', 'deny');
    api.compact();
    await api.up();
    await until('front is reachable', () => tries('dev1', 'front', 80, 150), 20_000);
    expect(await tries('dev1', 'db')).toBe(false);
  });

  it('somebody changes our table: noticed and repaired', async () => {
    await until('calm', async () => (await status()).ready);
    await new Promise((resolve) => setTimeout(resolve, 400));
    const before = await table();
    const chain = /chain (\S+) \{\n\s+type filter hook forward/.exec(before)?.[1];
    expect(chain).toBeDefined();
    const map = /map (\S+) \{[^}]*elements = \{ (\S+) :/.exec(before);
    expect(map).not.toBeNull();
    await nft('delete', 'element', 'inet', 'podwall', map?.[1] ?? '', `{ ${map?.[2]} }`);
    const took = await until('repair', async () => (await status()).driftRepairs > 0);
    expect(await table()).toBe(before);
    console.log(`drift repaired ${took.toFixed(0)} ms after the change`);
  });

  it('SIGKILL again and again under a flood and changes: nothing denied arrives, nothing allowed is lost', async () => {
    const kills = Number(process.env['PODWALL_AGENT_KILLS'] ?? 4);
    api.put(
      networkPolicy('udp', {
        podSelector: { matchLabels: { role: 'db' } },
        ingress: [
          {
            from: [{ podSelector: { matchLabels: { role: 'frontend' } } }],
            ports: [{ protocol: 'UDP', port: 7000 }],
          },
        ],
      }),
    );
    await until('the policy is in force', async () => (await status()).program?.policies === 2);
    const count = async (name: string, hook: string, port: number): Promise<number> => {
      const text = await bed.sh(`ip netns exec ${name} nft list chain inet watch ${hook}`);
      return Number(new RegExp(`udp dport ${port} counter packets (\\d+)`).exec(text)?.[1] ?? NaN);
    };
    for (const [name, hook] of [
      ['db', 'input'],
      ['dev1', 'output'],
      ['front', 'output'],
    ] as const) {
      await bed.sh(`ip netns exec ${name} nft -f - <<'END'
table inet watch { chain ${hook} { type filter hook ${hook} priority 0; udp dport 7000 counter${hook === 'input' ? ' drop' : ''}
 udp dport 7002 counter
 }
}
END`);
    }
    const flood = (port: number, batch: number) =>
      ({
        do: 'flood',
        host: address('db'),
        ports: [port],
        batch,
        pauseMs: 1,
        fresh: false,
        maxMs: 120_000,
      }) as const;
    await Promise.all([
      (processes.get('dev1') as PodProcess).ask(flood(7002, 32)),
      (processes.get('front') as PodProcess).ask(flood(7000, 2)),
    ]);
    let changes = 0;
    const churn = setInterval(() => {
      changes += 1;
      const namespace = clusterObjects().find(
        (one) => one.kind === 'Namespace' && one.metadata.name === 'dev',
      ) as KubeObject;
      api.put({
        ...namespace,
        metadata: {
          ...namespace.metadata,
          labels: { ...namespace.metadata.labels, n: String(changes) },
        },
      });
      if (changes % 2 === 0)
        api.put(
          networkPolicy('extra', {
            podSelector: {},
            ingress: [{ from: [{ namespaceSelector: {} }], ports: [{ port: 1000 + changes }] }],
          }),
        );
      else api.delete('NetworkPolicy', 'prod', 'extra');
    }, 40);
    for (let i = 0; i < kills; i += 1) {
      await end('SIGKILL');
      start();
      await converged();
      await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 300));
    }
    clearInterval(churn);
    await Promise.all(
      ['dev1', 'front'].map((name) =>
        (processes.get(name) as PodProcess).ask({ do: 'stop-flood' }),
      ),
    );
    await new Promise((resolve) => setTimeout(resolve, 300));
    const [denied, leaked, sent, arrived] = await Promise.all([
      count('dev1', 'output', 7002),
      count('db', 'input', 7002),
      count('front', 'output', 7000),
      count('db', 'input', 7000),
    ]);
    console.log(
      `${kills} kills, ${changes} changes: ${denied} denied packets, ${leaked} leaked; ${sent} allowed packets, ${sent - arrived} lost`,
    );
    expect(denied).toBeGreaterThan(1000);
    expect(sent).toBeGreaterThan(100);
    expect({ leaked, lost: sent - arrived }).toEqual({ leaked: 0, lost: 0 });
    api.delete('NetworkPolicy', 'prod', 'extra');
    api.delete('NetworkPolicy', 'prod', 'udp');
    await until('one policy is left', async () => (await status()).program?.policies === 1);
  });

  it('SIGTERM: the rules stay, the state file is written', async () => {
    const { child } = agent as AgentProcess;
    await end('SIGTERM');
    expect(child.exitCode).toBe(143);
    expect(await tries('dev1', 'db')).toBe(false);
  });

  it('a boot without rules and without the API enforces what was known last', async () => {
    await api.down();
    await nft('delete', 'table', 'inet', 'podwall');
    expect(await tries('dev1', 'db')).toBe(true);
    start();
    await until('the state file is in force', async () => says('applied'), 20_000);
    expect(await tries('dev1', 'db')).toBe(false);
    expect(await tries('front', 'db')).toBe(true);
    expect(await status()).toMatchObject({ ready: false, source: 'state file' });
    await api.up();
    await converged();
    expect(await status()).toMatchObject({ ready: true, source: 'cluster' });
  });

  it('a resource that cannot be read does not open what it closed', async () => {
    await end('SIGKILL');
    api.faults.forbidden = new Set(['networkpolicies']);
    rmSync(stateFile, { force: true });
    start();
    await until('the agent says why', () => says('cannot decide without this resource'), 20_000);
    expect(await tries('dev1', 'db')).toBe(false);
    expect(await status()).toMatchObject({
      ready: false,
      lastError: expect.stringContaining('networkpolicies') as string,
    });
    api.faults.forbidden.clear();
    await converged();
  });

  it('an invalid policy closes its namespace only, and is named', async () => {
    expect(await tries('front', 'db')).toBe(true);
    api.put(networkPolicy('broken', { podSelector: {}, ingress: [{ ports: [{ port: 0 }] }] }));
    await until('prod is closed', async () => !(await tries('front', 'db', 80, 150)));
    expect(await tries('db', 'dev1')).toBe(false);
    expect((await status()).closedBy.join()).toContain('broken');
    api.delete('NetworkPolicy', 'prod', 'broken');
    await until('prod is open again', () => tries('front', 'db', 80, 150));
  });

  it('--dry-run prints what would change and changes nothing; cleanup removes everything', async () => {
    // A command that asks once says so when it is refused.
    chaos?.calm();
    const command = (
      ...args: string[]
    ): Promise<{ code: number | null; stdout: string; stderr: string }> =>
      run(process.execPath, [...cli, 'agent', ...args, ...flags()]);
    expect(await command('--dry-run')).toMatchObject({
      code: 0,
      stdout: '',
      stderr: 'the kernel is up to date\n',
    });
    await end('SIGTERM');
    const before = await table();
    api.put(denyAll);
    const dry = await command('--dry-run');
    expect(dry.code).toBe(1);
    expect(dry.stdout).toMatch(/^# (prepare|switch)\n/);
    expect(await table()).toBe(before);
    expect(await command('cleanup')).toMatchObject({
      code: 0,
      stderr: 'removed: table inet podwall\n',
    });
    expect(await nft('list', 'tables')).toBe('');
    expect(await command('cleanup')).toMatchObject({
      code: 0,
      stderr: 'there was nothing to remove\n',
    });
    expect(await command('status')).toMatchObject({ code: 3 });
  });
});
