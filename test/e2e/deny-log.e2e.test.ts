/** What an operator sees of an agent that runs: denied connections, audit, Events, findings, metrics. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { AgentStatus } from '../../src/agent/agent.ts';
import type { DenyEntry } from '../../src/agent/deny-log.ts';
import { askSocket } from '../../src/agent/http.ts';
import { run } from '../../src/system/exec.ts';
import { startFakeApi, type FakeApi } from '../client/fake-api.ts';
import { clusterObjects, networkPolicy, pods, tcpPorts } from '../contract/dataplane.ts';
import { canMakeBed, makeBed } from './dataplane/bed.ts';
import type { Bed, PodProcess } from './dataplane/bed.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`deny log e2e tests skipped: ${impossible}`);

const denyAll = networkPolicy('deny', { podSelector: {}, policyTypes: ['Ingress'] });

describe.skipIf(impossible !== undefined)('what operators see', () => {
  const directory = mkdtempSync(join(tmpdir(), 'podwall-operators-'));
  const socket = join(directory, 'agent.sock');
  const metricsSocket = join(directory, 'metrics.sock');
  const kubeconfig = join(directory, 'kubeconfig');
  const processes = new Map<string, PodProcess>();
  const events: { path: string; body: Record<string, unknown> }[] = [];
  let bed: Bed;
  let api: FakeApi;
  let front: http.Server;
  let agent: ChildProcess | undefined;
  let messages: string[] = [];
  const cli = [
    '--import',
    import.meta.resolve('tsx'),
    new URL('cli-process.ts', import.meta.url).pathname,
  ];
  const address = (name: string): string => {
    const pod = pods.find((one) => one.name === name);
    return `10.244.${pod?.node}.${pod?.host}`;
  };
  const tries = (from: string, to: string, port = 80): Promise<string> =>
    (processes.get(from) as PodProcess).ask({
      do: 'connect',
      host: address(to),
      port,
      timeout: 250,
    });

  async function start(...more: string[]): Promise<void> {
    const child = spawn(
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
        '--socket',
        socket,
        '--listen',
        metricsSocket,
        '--state-file',
        '',
        '--deny-log-interval',
        '0.2',
        ...more,
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    agent = child;
    messages = [];
    await new Promise<void>((resolve, reject) => {
      createInterface({ input: child.stderr }).on('line', (line) => {
        messages.push(line);
        if (line.includes('the kernel is equal to the cluster')) resolve();
      });
      child.once('exit', () => reject(new Error(messages.join('\n'))));
    });
    // The first poll of the deny log only remembers.
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  async function end(): Promise<void> {
    const child = agent;
    agent = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await ended;
  }
  async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
    const limit = Date.now() + 10_000;
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      if (Date.now() > limit) throw new Error(`did not happen: ${what}\n${messages.join('\n')}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  const logged = async (): Promise<DenyEntry[]> => {
    const { stdout } = await run(process.execPath, [...cli, 'agent', 'log', '--socket', socket]);
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as DenyEntry);
  };
  const metrics = (): Promise<string> =>
    new Promise((resolve, reject) => {
      http
        .get({ socketPath: metricsSocket, path: '/metrics' }, (response) => {
          let text = '';
          response.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
          response.on('end', () => resolve(text));
        })
        .on('error', reject);
    });

  beforeAll(async () => {
    api = await startFakeApi();
    for (const object of clusterObjects()) api.put(object);
    // The fake API takes no objects: Events are caught before it.
    front = http.createServer((request, response) => {
      if (request.method === 'POST') {
        let text = '';
        request.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
        request.on('end', () => {
          events.push({ path: request.url ?? '', body: JSON.parse(text) as never });
          response.writeHead(201, { 'content-type': 'application/json' }).end(text);
        });
        return;
      }
      const { port } = new URL(api.url);
      const onward = http.request(
        { port, path: request.url, headers: request.headers },
        (answer) => {
          response.writeHead(answer.statusCode ?? 500, answer.headers);
          response.flushHeaders();
          answer.pipe(response);
          response.on('close', () => answer.destroy());
        },
      );
      onward.on('error', () => response.destroy());
      onward.end();
    });
    await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'test',
        clusters: [
          {
            name: 'c',
            cluster: { server: `http://127.0.0.1:${(front.address() as AddressInfo).port}` },
          },
        ],
        users: [{ name: 'u', user: {} }],
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
  afterEach(end);
  afterAll(async () => {
    await end();
    await bed?.close();
    front?.closeAllConnections();
    front?.close();
    await api?.close();
    rmSync(directory, { recursive: true });
  });

  it('a denied connection is a line with pods, port, direction and policies, and a metric', async () => {
    api.put(denyAll);
    await start();
    const db = pods.find((one) => one.name === 'db');
    expect(await tries('dev1', 'db')).toBe('timeout');
    const [entry] = await until('a line', async () => {
      const lines = await logged();
      return lines.length > 0 ? lines : undefined;
    });
    expect(entry).toMatchObject({
      node: 'node-1',
      verdict: 'denied',
      direction: 'Ingress',
      source: { address: address('dev1'), pod: 'dev1' },
      destination: { address: address('db'), pod: 'db', namespace: db?.namespace },
      protocol: 'TCP',
      port: 80,
      packets: 1,
      policies: [`NetworkPolicy ${db?.namespace}/deny`],
    });
    console.log(JSON.stringify(entry));
    expect(await metrics()).toContain(
      `podwall_denied_flows_total{namespace="${db?.namespace}",pod="db",direction="Ingress",verdict="denied"} 1`,
    );
  });

  it('agent log --follow prints what comes, and ends with Ctrl-C', async () => {
    await start();
    const follower = spawn(
      process.execPath,
      [...cli, 'agent', 'log', '--follow', '--socket', socket],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const line = new Promise<string>((resolve) =>
      createInterface({ input: follower.stdout }).once('line', resolve),
    );
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect(await tries('dev1', 'db', 443)).toBe('timeout');
    expect(JSON.parse(await line)).toMatchObject({ port: 443, verdict: 'denied' });
    const ended = new Promise((resolve) => follower.once('exit', resolve));
    follower.kill('SIGINT');
    expect(await ended).toBe(130);
  });

  it('--mode audit: nothing is dropped, the lines say audited', async () => {
    await start('--mode', 'audit');
    expect(((await askSocket(socket, '/status')) as AgentStatus).mode).toBe('audit');
    expect(await tries('dev1', 'db', 6379)).toBe('open');
    const line = await until('a line', async () =>
      (await logged()).find((one) => one.port === 6379),
    );
    expect(line).toMatchObject({ verdict: 'audited', direction: 'Ingress' });
    await end();
    await start();
    expect(await tries('dev1', 'db', 6379)).toBe('timeout');
  });

  it('annotation audit of one policy, set and taken away again', async () => {
    await start();
    const annotated = {
      ...denyAll,
      metadata: { ...denyAll.metadata, annotations: { 'podwall.dev/mode': 'audit' } },
    };
    api.put(annotated);
    await until('dev1 passes', async () =>
      (await tries('dev1', 'db')) === 'open' ? true : undefined,
    );
    await until('a line', async () => (await logged()).find((one) => one.verdict === 'audited'));
    api.put(denyAll);
    await until('dev1 is denied', async () =>
      (await tries('dev1', 'db')) === 'timeout' ? true : undefined,
    );
  });

  it('an invalid policy is an Event, once', async () => {
    await start();
    const broken = networkPolicy('broken', {
      podSelector: {},
      ingress: [{ ports: [{ port: 0 }] }],
    });
    api.put(broken);
    const event = await until('an Event', async () => events[0]);
    const { namespace } = broken.metadata;
    expect(event.path).toBe(`/api/v1/namespaces/${namespace}/events`);
    expect(event.body).toMatchObject({
      reason: 'InvalidPolicy',
      type: 'Warning',
      involvedObject: { kind: 'NetworkPolicy', name: 'broken', namespace },
      message: expect.stringMatching(/^not valid, so the pods of namespace \S+ are closed: spec/),
    });
    api.put(networkPolicy('other', { podSelector: {}, ingress: [{}] }));
    await until('the next round', async () =>
      messages.some((line) => line.includes('applied')) ? true : undefined,
    );
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(events).toHaveLength(1);
    expect(await metrics()).toContain('podwall_policy_events_total{outcome="written"} 1');
    api.delete('NetworkPolicy', namespace, 'broken');
    api.delete('NetworkPolicy', namespace, 'other');
  });

  it('findings of the self-checks are in log, status and metrics', async () => {
    await bed.sh(
      `ip netns exec node-1 nft 'add table ip other; add chain ip other c { type filter hook forward priority 0; }; add rule ip other c ct mark set 0x1'`,
    );
    await start('--deny-log', 'off');
    await until('the finding', async () =>
      messages.some((line) => line.includes('table ip other writes bits')) ? true : undefined,
    );
    const { findings } = (await askSocket(socket, '/status')) as AgentStatus;
    expect(findings).toMatchObject([{ check: 'conntrack-mark', severity: 'warning' }]);
    expect(await metrics()).toContain(
      'podwall_self_check_findings{check="conntrack-mark",severity="warning"} 1',
    );
    const { code, stderr } = await run(process.execPath, [
      ...cli,
      'agent',
      'log',
      '--socket',
      socket,
    ]);
    expect([code, stderr]).toEqual([3, expect.stringContaining('no deny log')]);
  });
});
