/**
 * The lab with real packets: what it builds, what it proves, and that it leaves nothing, whatever
 * ends it. Needs root or user namespaces; says why when it has neither.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Io } from '../../src/cli/command.ts';
import { runCli } from '../../src/cli/main.ts';
import { connectLab, LabRefusal, LabUnavailable, startLab } from '../../src/lab/index.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import type { Lab, ProbeReport, ProbeRequest, ProbeResult } from '../../src/lab/types.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const isRoot = process.getuid?.() === 0;

/** A machine that cannot run the lab at all is told apart from a lab that fails. */
async function whyNot(): Promise<string | undefined> {
  try {
    const lab = await startLab({}, { lifetime: 'parent' });
    await lab.down();
    return undefined;
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

const unavailable = await whyNot();
if (unavailable !== undefined) console.log(`SKIPPED: the lab cannot run here: ${unavailable}`);

const bothPorts = [
  { containerPort: 80 },
  { containerPort: 6379 },
  { containerPort: 53, protocol: 'UDP' },
];

function pod(namespace: string, name: string, node: string, labels = {}): KubeObject {
  const spec = { nodeName: node, containers: [{ name: 'main', ports: bothPorts }] };
  return { apiVersion: 'v1', kind: 'Pod', metadata: { namespace, name, labels }, spec };
}

function policy(namespace: string, name: string, spec: object): KubeObject {
  const metadata = { namespace, name };
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec };
}

const cluster = [
  pod('dev', 'client', 'node-1', { role: 'frontend' }),
  pod('dev', 'other', 'node-2'),
  pod('prod', 'near', 'node-1'),
  pod('prod', 'far', 'node-2'),
];

function outcomes(report: ProbeReport): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { outcome } of report.results) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
}

/** Everything of the host that a careless lab would change. */
function hostState(): Record<string, string> {
  const read = (command: string, args: string[]): string => {
    const { stdout, status, error } = spawnSync(command, args, {
      encoding: 'utf8',
      env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` },
      maxBuffer: 1 << 26,
    });
    return error === undefined ? `${status} ${stdout}` : error.message;
  };
  const settings: string[] = [];
  const walk = (directory: string): void => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) walk(path);
      // Counts what flows through the host now: no setting.
      else if (entry.name !== 'nf_conntrack_count') {
        try {
          settings.push(`${path} ${readFileSync(path, 'utf8')}`);
        } catch {
          settings.push(`${path} unreadable`);
        }
      }
    }
  };
  walk('/proc/sys/net');
  return {
    links: read('ip', ['-d', 'link']),
    addresses: read('ip', ['-br', 'address']),
    routes4: read('ip', ['-4', 'route', 'show', 'table', 'all']),
    routes6: read('ip', ['-6', 'route', 'show', 'table', 'all']),
    neighbours: read('ip', ['neigh', 'show', 'nud', 'permanent']),
    rules: read('ip', ['rule']),
    nftables: read('nft', ['list', 'ruleset']),
    netns: existsSync('/run/netns') ? readdirSync('/run/netns').join() : 'none',
    mounts: readFileSync('/proc/self/mountinfo', 'utf8'),
    sysctls: settings.join('\n'),
  };
}

function namespaceOf(pid: string | number, kind: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/${kind}`);
  } catch {
    return undefined;
  }
}

/** Clock ticks since boot at which a process started; undefined when it is gone. */
function startOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  } catch {
    return undefined;
  }
}

/**
 * Processes in these mount or pid namespaces, as `pid@start`. The kernel uses the numbers of ended
 * namespaces again, so a process that started later than the lab's is somebody else's.
 */
function processesOf(namespaces: readonly (string | undefined)[], latest = Infinity): string[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    const inside = ['mnt', 'pid'].some((kind) => {
      const found = namespaceOf(name, kind);
      return found !== undefined && namespaces.includes(found);
    });
    const start = inside ? startOf(name) : undefined;
    return start !== undefined && start <= latest ? [`${name}@${start}`] : [];
  });
}

function latestOf(processes: readonly string[]): number {
  return Math.max(...processes.map((text) => Number(text.split('@')[1])));
}

interface Traces {
  readonly namespaces: readonly (string | undefined)[];
  /** Start of the youngest process seen in them. */
  readonly latest: number;
  readonly stateDir: string;
}

async function tracesOf(lab: Lab): Promise<Traces> {
  const { pid = 0, stateDir = '' } = await lab.status();
  const namespaces = ['mnt', 'pid'].map((kind) => namespaceOf(pid, kind));
  expect(namespaces.every((one) => one !== undefined)).toBe(true);
  expect(namespaces).not.toContain(namespaceOf('self', 'mnt'));
  const processes = processesOf(namespaces);
  expect(processes.length).toBeGreaterThanOrEqual(2);
  return { namespaces, latest: latestOf(processes), stateDir };
}

async function expectGone({ namespaces, latest, stateDir }: Traces, files = true): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (
    (processesOf(namespaces, latest).length > 0 || (files && existsSync(stateDir))) &&
    Date.now() < deadline
  ) {
    await sleep(20);
  }
  expect(processesOf(namespaces, latest)).toEqual([]);
  if (files) expect(existsSync(stateDir)).toBe(false);
}

describe.skipIf(unavailable !== undefined)('the real lab', () => {
  let before: Record<string, string>;
  let lab: Lab;
  const one = async (request: ProbeRequest): Promise<ProbeResult> => {
    const { results } = await lab.probe({ family: 4, ...request });
    expect(results).toHaveLength(1);
    return results[0] as ProbeResult;
  };

  beforeAll(async () => {
    before = hostState();
    lab = await startLab({}, { lifetime: 'parent' });
    const { changes } = await lab.apply(cluster);
    expect(changes.filter((change) => change.ref.kind === 'Pod')).toHaveLength(4);
  });
  afterAll(() => lab.down());

  it('gives pods addresses of their node, Ready only when they answer', async () => {
    const pods = await lab.get('Pod');
    expect(pods.map((each) => each.status)).toMatchObject([
      { phase: 'Running', podIP: '10.244.1.2', podIPs: [{}, { ip: 'fd00:244:1::2' }] },
      { phase: 'Running', podIP: '10.244.2.2' },
      { phase: 'Running', podIP: '10.244.2.3' },
      { phase: 'Running', podIP: '10.244.1.3' },
    ]);
  });

  it('carries TCP and UDP, IPv4 and IPv6, on one node, across nodes, from and to the world', async () => {
    const report = await lab.probe({
      from: ['dev/*', 'prod/*', 'world-a', 'internet'],
      to: ['dev/*', 'prod/*', 'world-b'],
      ports: [
        { protocol: 'TCP', port: 80 },
        { protocol: 'UDP', port: 53 },
      ],
    });
    expect(report.results).toHaveLength(6 * 5 * 2 * 2);
    expect(report.results.filter((each) => each.outcome !== 'OPEN')).toEqual([]);
    expect(report.perSecond).toBeGreaterThan(0);
  });

  it('runs programs inside a pod: its network, stdin, exit code', async () => {
    const own = await lab.exec('prod/far', ['ip', '-br', 'address', 'show', 'eth0']);
    expect(own.stdout).toContain('10.244.2.3/32');
    expect(own.stdout).toContain('fd00:244:2::3/128');
    expect(await lab.exec('prod/far', ['cat'], { stdin: 'hello' })).toMatchObject({
      code: 0,
      stdout: 'hello',
    });
    expect((await lab.exec('world-a', ['sh', '-c', 'exit 7'])).code).toBe(7);
    expect((await lab.exec('node-1', ['no-such-program'])).code).toBe(127);
    await expect(lab.exec('prod/none', ['true'])).rejects.toThrow('there is no pod prod/none');
  });

  it('answers HTTP with the name of the pod', async () => {
    const script = `
      fetch('http://10.244.2.3/').then(async (r) => {
        console.log(r.status, r.headers.get('x-podwall-endpoint'), (await r.text()).trim());
      });`;
    const { stdout, stderr } = await lab.exec('dev/client', [process.execPath, '-e', script]);
    expect(stdout, stderr).toBe('200 prod/far far\n');
  });

  it('calls a denial DROPPED only with the drop counter of that flow, on the side that denied', async () => {
    await lab.apply([policy('prod', 'deny', { podSelector: {}, policyTypes: ['Ingress'] })]);
    for (const [to, node] of [
      ['prod/near', 'node-1'],
      ['prod/far', 'node-2'],
    ] as const) {
      for (const from of ['dev/client', 'prod/near', 'world-a']) {
        if (from === to) continue;
        expect(await one({ from: [from], to: [to] })).toMatchObject({
          outcome: 'DROPPED',
          evidence: { control: true, drop: { node, direction: 'Ingress' } },
        });
      }
    }
    expect((await one({ from: ['prod/near'], to: ['dev/client'] })).outcome).toBe('OPEN');
    await lab.apply([policy('dev', 'mute', { podSelector: {}, policyTypes: ['Egress'] })]);
    expect(
      await one({ from: ['dev/client'], to: ['world-b'], ports: [{ protocol: 'UDP', port: 53 }] }),
    ).toMatchObject({
      outcome: 'DROPPED',
      evidence: { control: true, drop: { node: 'node-1', direction: 'Egress' } },
    });
    await lab.delete([
      { kind: 'NetworkPolicy', namespace: 'prod', name: 'deny' },
      { kind: 'NetworkPolicy', namespace: 'dev', name: 'mute' },
    ]);
    expect(outcomes(await lab.probe())).toEqual({ OPEN: 64 });
  });

  it('admits what a policy admits and nothing beside it', async () => {
    const from = [{ namespaceSelector: {}, podSelector: { matchLabels: { role: 'frontend' } } }];
    await lab.apply([
      policy('prod', 'redis', { podSelector: {}, ingress: [{ from, ports: [{ port: 6379 }] }] }),
    ]);
    const ports = [80, 6379].map((port) => ({ protocol: 'TCP' as const, port }));
    const report = await lab.probe({ from: ['dev/*'], to: ['prod/near'], ports, family: 6 });
    expect(report.results.map(({ source, port, outcome }) => [source, port, outcome])).toEqual([
      ['dev/client', 80, 'DROPPED'],
      ['dev/client', 6379, 'OPEN'],
      ['dev/other', 80, 'DROPPED'],
      ['dev/other', 6379, 'DROPPED'],
    ]);
    await lab.delete([{ kind: 'NetworkPolicy', namespace: 'prod', name: 'redis' }]);
  });

  it('says NO-LISTENER when nothing listens, with and without a policy', async () => {
    const port = { protocol: 'TCP', port: 6379 } as const;
    await lab.closeListener('prod/near', port);
    expect(await one({ from: ['dev/client'], to: ['prod/near'], ports: [port] })).toMatchObject({
      outcome: 'NO-LISTENER',
      evidence: { control: false },
    });
    await lab.apply([policy('prod', 'deny', { podSelector: {}, policyTypes: ['Ingress'] })]);
    const closed = await one({ from: ['dev/client'], to: ['prod/near'], ports: [port] });
    expect(closed.outcome).toBe('NO-LISTENER');
    const never = { protocol: 'UDP', port: 9999 } as const;
    const udp = await one({ from: ['dev/client'], to: ['dev/other'], ports: [never] });
    expect(udp.outcome).toBe('NO-LISTENER');
    await lab.delete([{ kind: 'NetworkPolicy', namespace: 'prod', name: 'deny' }]);
  });

  it('follows label changes, replaces pods, scales workloads, cascades namespaces', async () => {
    const template = { metadata: { labels: { app: 'web' } }, spec: { containers: [] } };
    const web = (replicas: number): KubeObject => ({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { namespace: 'shop', name: 'web' },
      spec: { replicas, selector: { matchLabels: { app: 'web' } }, template },
    });
    await lab.apply([web(3)]);
    expect(outcomes(await lab.probe({ from: ['dev/client'], to: ['shop/*'], family: 4 }))).toEqual({
      OPEN: 3,
    });
    await lab.apply([web(1)]);
    expect(await lab.get('Pod', { namespace: 'shop' })).toHaveLength(1);
    await lab.apply([
      policy('shop', 'frontends', {
        podSelector: { matchLabels: { app: 'web' } },
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: 'a' } } }] }],
      }),
    ]);
    const request: ProbeRequest = { from: ['dev/client'], to: ['shop/*'] };
    expect((await one(request)).outcome).toBe('DROPPED');
    const dev = {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'dev', labels: { team: 'a' } },
    };
    await lab.apply([dev]);
    expect((await one(request)).outcome).toBe('OPEN');
    await lab.delete([{ kind: 'Namespace', name: 'shop' }]);
    expect((await lab.objects()).filter((each) => each.metadata.namespace === 'shop')).toEqual([]);
    expect((await lab.status()).pods).toBe(4);
  });

  it('refuses what an API server would, and then applies nothing of the batch', async () => {
    const bad = policy('prod', 'bad', {
      podSelector: {},
      ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/33' } }] }],
    });
    const batch = lab.apply([pod('prod', 'extra', 'node-1'), bad]);
    await expect(batch).rejects.toBeInstanceOf(LabRefusal);
    await expect(batch).rejects.toThrow('spec.ingress[0].from[0].ipBlock.cidr: Invalid value');
    expect(await lab.get('Pod', { namespace: 'prod', name: 'extra' })).toEqual([]);
  });

  it('leaves the host byte-identical while it runs', () => {
    expect(hostState()).toEqual(before);
  });

  it('leaves nothing after down, and the host byte-identical', async () => {
    const traces = await tracesOf(lab);
    await lab.down();
    await expectGone(traces);
    await lab.down();
    expect(hostState()).toEqual(before);
    await expect(lab.status()).rejects.toThrow('the lab has ended');
  });
});

describe.skipIf(unavailable !== undefined)('ends of a lab', () => {
  it('SIGKILL of the daemon, of its first process or of unshare leaves nothing running', async () => {
    for (const depth of [0, 1, 2]) {
      const lab = await startLab({ outside: [] }, { lifetime: 'parent' });
      await lab.apply([pod('default', 'a', 'node-1')]);
      const traces = await tracesOf(lab);
      const { pid: first = 0 } = await lab.status();
      const parent = /^\d+ \(.*\) \S (\d+)/.exec(readFileSync(`/proc/${first}/stat`, 'utf8'))?.[1];
      const children = readFileSync(`/proc/${first}/task/${first}/children`, 'utf8').trim();
      const victim = [Number(children.split(' ')[0]), first, Number(parent)][depth] ?? 0;
      expect(victim).toBeGreaterThan(1);
      process.kill(victim, 'SIGKILL');
      await expectGone(traces, false);
      await expect(lab.status()).rejects.toThrow('the lab has ended');
      await lab.down();
      expect(existsSync(traces.stateDir)).toBe(false);
    }
  });

  it('SIGKILL of the parent ends a lab that lives with it', async () => {
    const { child, traces } = await startElsewhere([]);
    child.kill('SIGKILL');
    await expectGone(traces);
  });

  it('a lab whose socket was removed, so that nobody can end it, ends by itself', async () => {
    const lab = await startLab({ outside: [] }, { lifetime: 'parent' });
    const traces = await tracesOf(lab);
    rmSync(join(traces.stateDir, 'control.sock'));
    await sleep(5_000);
    await expectGone(traces);
  });

  it('takes everything back when aborted while it starts', async () => {
    const abort = new AbortController();
    const labs = (): string[] =>
      readdirSync(tmpdir()).filter((name) => name.startsWith('podwall-lab-'));
    const before = labs();
    const starting = startLab(
      {},
      { lifetime: 'parent', signal: abort.signal, onProgress: () => abort.abort() },
    );
    await expect(starting).rejects.toThrow();
    expect(labs().filter((name) => !before.includes(name))).toEqual([]);
  });
});

/** Starts a lab in a process of its own, through `wrapper` (for another user). */
async function startElsewhere(
  wrapper: readonly string[],
): Promise<{ child: ChildProcess; traces: Traces; line: string }> {
  const script = `
    const { startLab } = await import(${JSON.stringify(pathToFileURL(join(root, 'src/lab/index.ts')).href)});
    const lab = await startLab({ outside: [] }, { lifetime: 'parent' });
    const spec = { containers: [] };
    await lab.apply(['a', 'b'].map((name) => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec })));
    const deny = { podSelector: { matchLabels: {} }, policyTypes: ['Egress'] };
    const open = await lab.probe({ from: ['default/a'], to: ['default/b'] });
    await lab.apply([{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'deny' }, spec: deny }]);
    const closed = await lab.probe({ from: ['default/a'], to: ['default/b'] });
    const outcomes = [open, closed].flatMap((report) => report.results.map((one) => one.outcome));
    const inside = await lab.exec('default/a', ['ip', '-br', 'address', 'show', 'eth0']);
    console.log(JSON.stringify({ ...(await lab.status()), outcomes, inside: inside.stdout }));
    setInterval(() => {}, 1000);`;
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const args = [process.execPath, '--import', tsx, '--input-type=module', '-e', script];
  const [command = '', ...rest] = [...wrapper, ...args];
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'], cwd: tmpdir() });
  let stdout = '';
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk;
      if (stdout.includes('\n')) resolve(stdout);
    });
    child.on('exit', () => reject(new Error(`the other process ended: ${stderr}`)));
  });
  const { pid, stateDir } = JSON.parse(line) as { pid: number; stateDir: string };
  const namespaces = ['mnt', 'pid'].map((kind) => namespaceOf(pid, kind));
  const processes = processesOf(namespaces);
  expect(processes.length).toBeGreaterThanOrEqual(2);
  return { child, traces: { namespaces, latest: latestOf(processes), stateDir }, line };
}

/** Runs a command as a user without any privilege; undefined with a printed reason when that cannot be. */
function plainUser(): string[] | undefined {
  const wrapper = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--no-new-privs'];
  const env = ['env', '-u', 'XDG_RUNTIME_DIR', `HOME=${tmpdir()}`];
  if (!isRoot) {
    console.log('SKIPPED: not root, so every test of this file already ran as a plain user');
    return undefined;
  }
  try {
    const test = `require('fs').accessSync(${JSON.stringify(join(root, 'package.json'))})`;
    execFileSync('setpriv', [...wrapper.slice(1), process.execPath, '-e', test]);
    execFileSync('setpriv', [
      ...wrapper.slice(1),
      'unshare',
      '--user',
      '--map-root-user',
      '--net',
      'true',
    ]);
    return [...wrapper, ...env];
  } catch (error) {
    console.log(`SKIPPED: cannot run as a plain user here: ${(error as Error).message}`);
    return undefined;
  }
}

describe.skipIf(unavailable !== undefined)('a plain user', () => {
  const wrapper = unavailable === undefined ? plainUser() : undefined;

  it.skipIf(wrapper === undefined)('gets the same lab through a user namespace', async () => {
    const before = hostState();
    const { child, traces, line } = await startElsewhere(wrapper ?? []);
    expect(JSON.parse(line)).toMatchObject({
      privileges: 'user namespace',
      readyPods: 2,
      outcomes: ['OPEN', 'OPEN', 'DROPPED', 'DROPPED'],
      inside: expect.stringContaining('10.244.1.2/32') as string,
    });
    child.kill('SIGKILL');
    await expectGone(traces);
    expect(hostState()).toEqual(before);
  });
});

describe.skipIf(unavailable !== undefined || !isRoot)('a machine that forbids namespaces', () => {
  const podwall = (...wrapper: string[]): { status: number | null; stderr: string } => {
    const script = `
      const { runCli, processIo } = await import(${JSON.stringify(pathToFileURL(join(root, 'src/cli/main.ts')).href)});
      process.exitCode = await runCli(['lab', 'up'], processIo(new AbortController().signal));`;
    const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
    const node = [process.execPath, '--import', tsx, '--input-type=module', '-e', script];
    const [command = '', ...rest] = [...wrapper, ...node];
    const { XDG_RUNTIME_DIR: _runtime, ...env } = process.env;
    return spawnSync(command, rest, { encoding: 'utf8', cwd: tmpdir(), env });
  };

  it('root without CAP_SYS_ADMIN is told what is missing', () => {
    const { status, stderr } = podwall('setpriv', '--bounding-set=-sys_admin');
    expect(stderr).toContain('the lab cannot run here: root may not make namespaces here');
    expect(stderr).toContain('SYS_ADMIN');
    expect(status).toBe(3);
  });

  it('a plain user is told which setting forbids it', () => {
    // Inside a user namespace of its own, where the limit can be set without touching the host.
    const limited = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" "$@"';
    const drop = ['setpriv', '--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all'];
    const user = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const space = ['unshare', '--user', '--map-user=65534', '--keep-caps', 'sh', '-c', limited];
    const { status, stderr } = podwall(...user, ...space, ...drop);
    expect(stderr).toContain('the lab cannot run here: this user may not make namespaces');
    expect(stderr).toContain('as root: sysctl user.max_user_namespaces=10000');
    expect(status).toBe(3);
  });
});

describe.skipIf(unavailable !== undefined)('the commands', () => {
  // Under /run where that can be written: there the lab must bind its directory back.
  let runtime = '';
  let manifests = '';
  const previous = process.env['XDG_RUNTIME_DIR'];

  beforeAll(() => {
    const base = isRoot && existsSync('/run') ? '/run' : tmpdir();
    runtime = mkdtempSync(join(base, 'podwall-test-'));
    manifests = join(runtime, 'manifests.yaml');
    process.env['XDG_RUNTIME_DIR'] = runtime;
  });
  afterAll(async () => {
    await (await connectLab())?.down();
    if (previous === undefined) delete process.env['XDG_RUNTIME_DIR'];
    else process.env['XDG_RUNTIME_DIR'] = previous;
    rmSync(runtime, { recursive: true, force: true });
  });

  async function podwall(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
    let out = '';
    let err = '';
    const io: Io = {
      out: (text) => void (out += text),
      err: (text) => void (err += text),
      stdin: process.stdin,
      isTty: false,
      color: false,
      columns: 100,
      env: process.env,
      cwd: root,
      signal: new AbortController().signal,
    };
    const code = await runCli(argv, io);
    return { code, out, err };
  }

  it('play a whole session', async () => {
    const { writeFileSync } = await import('node:fs');
    writeFileSync(
      manifests,
      [...cluster, { apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: 'v' } }]
        .map((object) => JSON.stringify(object))
        .join('\n'),
    );
    expect(await podwall('lab', 'status')).toMatchObject({
      code: 0,
      out: expect.stringContaining('no lab is running') as string,
    });
    expect((await podwall('lab', 'probe')).code).toBe(3);
    const up = await podwall('lab', 'up', '--stack', 'ipv4', '-f', manifests);
    expect(up, up.err).toMatchObject({ code: 0 });
    expect(up.err).toContain('2 nodes, 4 pods');
    expect(up.err).toContain('1 PersistentVolume');
    const traces = await tracesOf((await connectLab()) as Lab);
    expect((await podwall('lab', 'up')).err).toContain('already running');
    expect((await podwall('lab', 'up', '--stack', 'ipv4')).code).toBe(0);
    expect((await podwall('lab', 'up', '--nodes', '3')).code).toBe(2);
    expect((await podwall('lab', 'get', 'po', '-n', 'dev')).out).toMatch(
      /^NAME +READY +STATUS +AGE +IP +NODE\nclient +1\/1 +Running +\d+s +10\.244\.1\.2 +node-1\nother /,
    );
    const yaml = await podwall('lab', 'get', 'pods', 'near', '-n', 'prod', '-o', 'yaml');
    expect(yaml.out).toContain('podIP: 10.244.1.3\n');
    const probe = await podwall(
      'lab',
      'probe',
      '--from',
      'dev/client',
      '--to',
      'prod/*',
      '-o',
      'json',
    );
    expect(JSON.parse(probe.out)).toMatchObject({
      kind: 'ProbeReport',
      results: [{ outcome: 'OPEN' }, { outcome: 'OPEN' }],
    });
    expect((await podwall('lab', 'probe')).out).toContain('TCP 80 IPv4');
    expect((await podwall('lab', 'delete', 'pod', 'other', '-n', 'dev')).out).toBe(
      'pod dev/other deleted\n',
    );
    expect((await podwall('lab', 'delete', 'pod', 'other', '-n', 'dev')).code).toBe(2);
    expect(
      (await podwall('lab', 'delete', 'pod', 'other', '-n', 'dev', '--ignore-not-found')).code,
    ).toBe(0);
    expect((await podwall('lab', 'exec', 'dev/client', '--', 'sh', '-c', 'exit 5')).code).toBe(5);
    expect((await podwall('lab', 'status')).out).toContain('3 of 3 ready');
    expect(await podwall('lab', 'down')).toMatchObject({ code: 0 });
    await expectGone(traces);
    expect(await podwall('lab', 'down')).toMatchObject({ code: 0, err: 'no lab is running\n' });
  });
});

describe.skipIf(unavailable !== undefined)('size', () => {
  it('50 pods and their whole matrix', async () => {
    const started = performance.now();
    const lab = await startLab({}, { lifetime: 'parent' });
    try {
      const up = performance.now();
      const spec = { containers: [] };
      const pods = Array.from({ length: 50 }, (_, index): KubeObject => {
        const metadata = { namespace: index % 2 === 0 ? 'even' : 'odd', name: `pod-${index}` };
        return { apiVersion: 'v1', kind: 'Pod', metadata, spec };
      });
      const { tookMs } = await lab.apply(pods);
      const open = await lab.probe({ family: 4 });
      expect(outcomes(open)).toEqual({ OPEN: 54 * 50 });
      await lab.apply([policy('odd', 'deny', { podSelector: {}, policyTypes: ['Ingress'] })]);
      const half = await lab.probe({ family: 4 });
      // A pod reaches itself, whatever a policy says.
      expect(outcomes(half)).toEqual({ OPEN: 54 * 25 + 25, DROPPED: 54 * 25 - 25 });
      console.log(
        `lab up in ${Math.round(up - started)} ms, 50 pods in ${Math.round(tookMs)} ms; ` +
          `${open.results.length} open probes at ${Math.round(open.perSecond)}/s, ` +
          `half of them dropped at ${Math.round(half.perSecond)}/s`,
      );
    } finally {
      await lab.down();
    }
  });
});
