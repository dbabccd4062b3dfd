/**
 * `podwall lab up` as a cluster for kubectl: real pods, real packets, and nothing left afterwards. The
 * lab is started and ended by the command line in this process; kubectl is the machine's own.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Io } from '../../src/cli/command.ts';
import { runCli } from '../../src/cli/main.ts';
import { connectLab, LabUnavailable, startLab } from '../../src/lab/index.ts';
import type { LabStatus } from '../../src/lab/types.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

async function whyNot(): Promise<string | undefined> {
  if (spawnSync('kubectl', ['version', '--client']).error !== undefined) {
    return 'there is no kubectl on this machine';
  }
  try {
    await (await startLab({ outside: [] }, { lifetime: 'parent' })).down();
    return undefined;
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

const unavailable = await whyNot();
if (unavailable !== undefined) console.log(`SKIPPED: kubectl on the lab: ${unavailable}`);

interface Outcome {
  readonly code: number;
  readonly text: string;
}

/** What a careless lab would change on this machine. */
function hostState(): string {
  const read = (program: string, ...args: string[]): string =>
    spawnSync(program, args, {
      encoding: 'utf8',
      env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
    }).stdout;
  return [
    read('ip', '-d', 'link'),
    read('ip', 'address'),
    read('ip', 'route', 'show', 'table', 'all'),
    read('ip', 'rule'),
    read('nft', 'list', 'ruleset'),
    existsSync('/run/netns') ? readdirSync('/run/netns').join() : 'none',
    readFileSync('/proc/self/mountinfo', 'utf8'),
    readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8'),
  ].join('\n');
}

function processesIn(namespace: string): string[] {
  return readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/ns/mnt`) === namespace;
    } catch {
      return false;
    }
  });
}

const denyIngress = (namespace: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny, namespace: ${namespace} }
spec: { podSelector: {}, policyTypes: [Ingress] }
`;

const admitClients = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: clients, namespace: prod }
spec:
  podSelector: {}
  ingress:
    - from: [{ namespaceSelector: {}, podSelector: { matchLabels: { role: client } } }]
`;

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: dev }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: c, image: nginx, ports: [{ containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: dev }
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: { app: web }
  ports: [{ port: 80, targetPort: 8080, nodePort: 30080 }]
`;

describe.skipIf(unavailable !== undefined)('kubectl on a lab', () => {
  let runtime = '';
  let before = '';
  let status: LabStatus;
  let namespace = '';
  const previous = process.env['XDG_RUNTIME_DIR'];

  async function podwall(...argv: string[]): Promise<Outcome & { readonly out: string }> {
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
    return { code, out, text: out + err };
  }

  async function running(): Promise<LabStatus> {
    const lab = await connectLab();
    if (lab === undefined) throw new Error('no lab is running');
    return lab.status();
  }

  function spawnKubectl(...args: string[]): ChildProcess {
    const env = {
      ...process.env,
      KUBECONFIG: join(runtime, 'podwall', 'kubeconfig'),
      HOME: runtime,
    };
    return spawn('kubectl', args, { env, stdio: 'pipe' });
  }

  function kubectl(args: string, input = ''): Promise<Outcome> {
    const child = spawnKubectl(...args.split(' '));
    return new Promise((resolve, reject) => {
      let text = '';
      child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
      child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
      child.on('error', reject);
      child.on('close', (code) => resolve({ code: code ?? -1, text }));
      child.stdin?.on('error', () => {});
      child.stdin?.end(input);
    });
  }

  const ipOf = async (pod: string): Promise<string> =>
    (await kubectl(`get pod ${pod} -o jsonpath={.status.podIP}`)).text;

  /** One probe as the network policy tests of Kubernetes make it. */
  const connects = (from: string, host: string, port = 80): Promise<Outcome> =>
    kubectl(`exec ${from} -- /agnhost connect ${host}:${port} --timeout=2s --protocol=tcp`);

  beforeAll(async () => {
    before = hostState();
    runtime = mkdtempSync(join(tmpdir(), 'podwall-test-'));
    process.env['XDG_RUNTIME_DIR'] = runtime;
    writeFileSync(
      join(runtime, 'late.yaml'),
      '{apiVersion: v1, kind: Pod, metadata: {name: late}}',
    );
    const up = await podwall('lab', 'up');
    expect(up, up.text).toMatchObject({ code: 0 });
    expect(up.out).toBe(`export KUBECONFIG=${join(runtime, 'podwall', 'kubeconfig')}\n`);
    status = await running();
    namespace = readlinkSync(`/proc/${status.pid}/ns/mnt`);
  });

  afterAll(async () => {
    await (await connectLab())?.down();
    if (previous === undefined) delete process.env['XDG_RUNTIME_DIR'];
    else process.env['XDG_RUNTIME_DIR'] = previous;
    rmSync(runtime, { recursive: true, force: true });
  });

  it('shows the seed cluster, the same to kubectl and to podwall', async () => {
    const { text } = await kubectl('get pods -A -o wide');
    for (const line of [
      /dev +devserver-1 +1\/1 +Running .* 10\.244\.1\.\d+ +node-1/,
      /dev +devserver-2 +1\/1 +Running .* 10\.244\.2\.\d+ +node-2/,
      /prod +prodserver-1 +1\/1 +Running .* node-1/,
      /prod +prodserver-2 +1\/1 +Running .* node-2/,
    ]) {
      expect(text).toMatch(line);
    }
    expect((await podwall('lab', 'get', 'pods', '-A')).out).toContain('prodserver-2');
    expect((await kubectl('get nodes')).text).toMatch(/node-1 +Ready[^]*node-2 +Ready/);
  });

  it('keeps its kubeconfig to its owner and answers nobody without the token', async () => {
    const file = status.api?.kubeconfig ?? '';
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const plain = spawnSync('curl', [
      '-sk',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      `${status.api?.server}/api/v1/pods`,
    ]);
    if (plain.error === undefined) expect(plain.stdout.toString()).toBe('401');
  });

  it('plays the seed story: open, denied by a policy, open again', async () => {
    const dev = await ipOf('-n dev devserver-1');
    const from = '-n prod prodserver-1';
    expect(await connects(from, dev)).toMatchObject({ code: 0 });
    expect((await kubectl('apply -f -', denyIngress('dev'))).text).toContain('created');
    expect(await connects(from, dev)).toMatchObject({
      code: 1,
      text: expect.stringContaining('TIMEOUT') as string,
    });
    expect((await podwall('lab', 'get', 'netpol', '-n', 'dev')).out).toContain('deny');
    const probe = await podwall(
      'lab',
      'probe',
      '--from',
      'prod/prodserver-1',
      '--to',
      'dev/devserver-1',
    );
    expect(probe.out).toMatch(/DROPPED/);
    expect((await kubectl('delete netpol deny -n dev')).code).toBe(0);
    expect(await connects(from, dev)).toMatchObject({ code: 0 });
  });

  it('refuses a policy that an API server would refuse', async () => {
    const bad = await kubectl('apply -f -', denyIngress('dev').replace('[Ingress]', '[Sideways]'));
    expect(bad.code).toBe(1);
    expect(bad.text).toContain('spec.policyTypes[0]: Unsupported value: "Sideways"');
  });

  it('a label decides: run, closed, relabelled, open', async () => {
    const run = await kubectl('run visitor -n dev --image=nginx --port=80 --labels=role=nobody');
    expect(run.text).toContain('pod/visitor created');
    expect(
      (await kubectl('wait -n dev --for=condition=Ready pod/visitor --timeout=30s')).code,
    ).toBe(0);
    await kubectl('apply -f -', admitClients);
    const prod = await ipOf('-n prod prodserver-2');
    expect(await connects('-n dev visitor', prod)).toMatchObject({ code: 1 });
    await kubectl('label pod visitor -n dev role=client --overwrite');
    expect(await connects('-n dev visitor', prod)).toMatchObject({ code: 0 });
    await kubectl('label pod visitor -n dev role-');
    expect(await connects('-n dev visitor', prod)).toMatchObject({ code: 1 });
    await kubectl('delete netpol clients -n prod');
    expect((await kubectl('delete pod visitor -n dev --timeout=20s')).code).toBe(0);
  });

  it('rolls out and scales', async () => {
    expect((await kubectl('apply -f -', web)).text).toContain('deployment.apps/web created');
    expect((await kubectl('rollout status deploy/web -n dev --timeout=60s')).text).toContain(
      'successfully rolled out',
    );
    await kubectl('scale deploy/web -n dev --replicas=4');
    expect((await kubectl('rollout status deploy/web -n dev --timeout=60s')).code).toBe(0);
    const pods = await kubectl('get pods -n dev -l app=web --no-headers');
    expect(pods.text.match(/1\/1 +Running/g)).toHaveLength(4);
    await kubectl('scale deploy/web -n dev --replicas=1');
    await kubectl('wait -n dev --for=jsonpath={.status.replicas}=1 deploy/web --timeout=30s');
    const open = await podwall(
      'lab',
      'probe',
      '--from',
      'prod/*',
      '--to',
      'dev/*',
      '--port',
      '8080',
      '-o',
      'json',
    );
    expect(open.out).toContain('"OPEN"');
  });

  it('translates services of both families and node ports; policy judges the pod behind', async () => {
    const field = async (path: string): Promise<string> =>
      (await kubectl(`get svc web -n dev -o jsonpath={${path}}`)).text;
    const first = await field('.spec.clusterIPs[0]');
    const second = await field('.spec.clusterIPs[1]');
    expect(await connects('-n prod prodserver-1', first)).toMatchObject({ code: 0 });
    expect(await connects('-n prod prodserver-1', `[${second}]`)).toMatchObject({ code: 0 });
    const name = 'web.dev.svc.cluster.local';
    expect(await connects('-n prod prodserver-1', name)).toMatchObject({ code: 0 });
    expect((await kubectl('exec -n prod prodserver-1 -- getent hosts web.dev')).text).toContain(
      name,
    );
    const behind = (await kubectl('get pods -n dev -l app=web -o name')).text.trim();
    expect(await connects(`-n dev ${behind}`, first)).toMatchObject({ code: 0 });
    const lab = await connectLab();
    const outside = await lab?.exec('world-a', [
      process.execPath,
      '-e',
      "fetch('http://192.168.200.11:30080/').then((r) => r.text()).then(console.log)",
    ]);
    expect(outside?.stdout).toMatch(/^web-/);
    await kubectl('apply -f -', denyIngress('dev'));
    expect(await connects('-n prod prodserver-1', first)).toMatchObject({ code: 1 });
    await kubectl('delete netpol deny -n dev');
    expect(await connects('-n prod prodserver-1', first)).toMatchObject({ code: 0 });
  });

  it('runs commands: exit codes, standard input, output, the pod own network', async () => {
    const own = await kubectl('exec -n prod prodserver-1 -- ip -br address show eth0');
    expect(own.text).toContain(await ipOf('-n prod prodserver-1'));
    expect(await kubectl('exec -n prod prodserver-1 -- false')).toMatchObject({ code: 1 });
    expect((await kubectl('exec -i -n prod prodserver-1 -- cat', 'through\n')).text).toBe(
      'through\n',
    );
    const touched = await kubectl('exec -n prod prodserver-1 -- touch /podwall-was-here');
    expect(touched.text).toContain('Read-only file system');
    expect(existsSync('/podwall-was-here')).toBe(false);
  });

  it('runs a container command, keeps its log, ends it with the pod', async () => {
    const made = await kubectl(
      'run ticker --image=busybox -- sh -c echo${IFS}tick;exec${IFS}sleep${IFS}98765',
    );
    expect(made.code).toBe(0);
    await kubectl('wait --for=condition=Ready pod/ticker --timeout=30s');
    const visitor = await ipOf('-n prod prodserver-1');
    await connects('-n prod prodserver-1', await ipOf('-n dev devserver-1'));
    const answered = await kubectl('logs -n dev devserver-1 --tail=20');
    expect(answered.text).toContain(`TCP 80 from ${visitor}\n`);
    await expect.poll(() => kubectl('logs ticker').then(({ text }) => text)).toBe('tick\n');
    const sleeping = (): boolean =>
      spawnSync('pgrep', ['-fx', 'sleep 98765'], { encoding: 'utf8' }).stdout !== '';
    expect(sleeping()).toBe(true);
    expect((await kubectl('delete pod ticker --timeout=20s')).code).toBe(0);
    expect(sleeping()).toBe(false);
  });

  it('forwards a port', async () => {
    const child = spawnKubectl('port-forward', '-n', 'prod', 'pod/prodserver-2', ':80');
    const port = await new Promise<string>((resolve, reject) => {
      let text = '';
      child.stdout?.on('data', (chunk: Buffer) => {
        text += chunk.toString('utf8');
        const found = /127\.0\.0\.1:(\d+) ->/.exec(text)?.[1];
        if (found !== undefined) resolve(found);
      });
      child.on('close', () => reject(new Error(`port-forward ended: ${text}`)));
    });
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    expect(await answer.text()).toBe('prodserver-2\n');
    child.kill();
  });

  it('ends a namespace with everything in it', async () => {
    await kubectl('create ns short');
    await kubectl('run one -n short --image=nginx');
    await kubectl('wait -n short --for=condition=Ready pod/one --timeout=30s');
    expect((await kubectl('delete ns short --timeout=30s')).code).toBe(0);
    expect((await podwall('lab', 'get', 'pods', '-A')).out).not.toContain('short');
  });

  it('leaves this machine as it was while it runs', () => {
    expect(hostState()).toBe(before);
  });

  it('leaves nothing after down', async () => {
    expect((await podwall('lab', 'down')).code).toBe(0);
    expect(processesIn(namespace)).toEqual([]);
    expect(existsSync(join(runtime, 'podwall'))).toBe(false);
    expect(hostState()).toBe(before);
    await expect(fetch(`${status.api?.server}/version`)).rejects.toThrow();
  });

  it.each(['the daemon', 'the API'])('SIGKILL of %s ends the whole lab', async (victim) => {
    expect((await podwall('lab', 'up', '--empty', '--nodes', '1')).code).toBe(0);
    const { pid: first = 0, stateDir = '' } = await running();
    const mount = readlinkSync(`/proc/${first}/ns/mnt`);
    const script = victim === 'the API' ? 'api-main' : 'daemon';
    const pid = processesIn(mount).find((one) =>
      readFileSync(`/proc/${one}/cmdline`, 'utf8').includes(`/lab/${script}.`),
    );
    process.kill(Number(pid), 'SIGKILL');
    await expect.poll(() => processesIn(mount), { timeout: 10_000 }).toEqual([]);
    expect(await connectLab()).toBeUndefined();
    await sleep(50);
    expect(existsSync(join(stateDir, 'kubeconfig'))).toBe(false);
    expect(hostState()).toBe(before);
  });

  it('with agents: each node follows the API by itself, also after its agent was killed', async () => {
    const up = await podwall('lab', 'up', '--agents');
    expect(up, up.text).toMatchObject({ code: 0 });
    const { pid: first = 0 } = await running();
    const mount = readlinkSync(`/proc/${first}/ns/mnt`);
    const agents = (): string[] =>
      processesIn(mount).filter((one) =>
        readFileSync(`/proc/${one}/cmdline`, 'utf8').includes('--node=node-'),
      );
    expect(agents()).toHaveLength(2);
    const dev = await ipOf('-n dev devserver-2');
    const from = '-n prod prodserver-1';
    expect(await connects(from, dev)).toMatchObject({ code: 0 });
    await kubectl('apply -f -', denyIngress('dev'));
    await expect.poll(() => connects(from, dev), { timeout: 10_000 }).toMatchObject({ code: 1 });
    const probe = await podwall('lab', 'probe', '--from', 'prod/*', '--to', 'dev/*');
    expect(probe.out).not.toContain('OPEN');
    expect(probe.out).toContain('DROPPED');
    for (const pid of agents()) process.kill(Number(pid), 'SIGKILL');
    // Its rules stay, and another one takes over.
    expect(await connects(from, dev)).toMatchObject({ code: 1 });
    await kubectl('delete netpol deny -n dev');
    await expect.poll(() => connects(from, dev), { timeout: 20_000 }).toMatchObject({ code: 0 });
    const late = await podwall('lab', 'apply', '-f', join(runtime, 'late.yaml'));
    expect(late, late.text).toMatchObject({ code: 0 });
    expect((await kubectl('get pod late')).text).toMatch(/late +1\/1 +Running/);
    expect((await podwall('lab', 'down')).code).toBe(0);
    expect(processesIn(mount)).toEqual([]);
    expect(hostState()).toBe(before);
  });
});
