/**
 * `podwall lab up --state FILE`: a lab that comes back after `lab down` and after a kill, with the same
 * objects, pods made again, and their policies in force.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Io } from '../../src/cli/command.ts';
import { runCli } from '../../src/cli/main.ts';
import { connectLab, LabUnavailable, startLab, type Lab } from '../../src/lab/index.ts';
import type { KubeObject, Pod } from '../../src/k8s/types.ts';

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
if (unavailable !== undefined) console.log(`SKIPPED: a lab that comes back: ${unavailable}`);

const mayWriteRun = existsSync('/run') && process.getuid?.() === 0;
if (!mayWriteRun) console.log('SKIPPED: a state file below /run: only root can make one there');

const objects = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny, namespace: dev }
spec: { podSelector: { matchLabels: { closed: 'yes' } }, policyTypes: [Ingress] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: dev }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web, closed: 'yes' } }
    spec: { containers: [{ name: c, image: nginx, ports: [{ containerPort: 80 }] }] }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: dev }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
`;

describe.skipIf(unavailable !== undefined)('a lab that comes back', () => {
  let runtime = '';
  let state = '';
  let manifest = '';
  const previous = process.env['XDG_RUNTIME_DIR'];

  async function podwall(...argv: string[]): Promise<{ code: number; text: string }> {
    let text = '';
    const io: Io = {
      out: (more) => void (text += more),
      err: (more) => void (text += more),
      stdin: process.stdin,
      isTty: false,
      color: false,
      columns: 100,
      env: process.env,
      cwd: runtime,
      signal: new AbortController().signal,
    };
    return { code: await runCli(argv, io), text };
  }
  const up = async (...more: string[]): Promise<Lab> => {
    const done = await podwall('lab', 'up', '--state', 'lab.json', ...more);
    expect(done, done.text).toMatchObject({ code: 0 });
    return (await connectLab()) as Lab;
  };
  /** What names an object for good, without what the machine gives it. */
  const picture = async (lab: Lab): Promise<string[]> =>
    (await lab.objects())
      .filter(({ kind }) => kind !== 'Lease' && kind !== 'EndpointSlice')
      .filter(({ metadata }) => metadata.name !== 'kube-root-ca.crt')
      .map(
        ({ kind, metadata, spec }) =>
          `${kind} ${metadata.namespace ?? ''}/${metadata.name} ${metadata.uid} ${kind === 'Service' && metadata.name === 'kubernetes' ? '' : JSON.stringify(spec)}`,
      )
      .toSorted();
  const versionsOf = (all: readonly KubeObject[]): number[] =>
    all.map(({ metadata }) => Number(metadata.resourceVersion));
  const outcomes = async (lab: Lab): Promise<string> => {
    const pods = (await lab.get('Pod', { namespace: 'dev' })) as Pod[];
    const web = pods.filter(({ metadata }) => metadata.labels?.['app'] === 'web');
    const { results } = await lab.probe({
      from: ['prod/prodserver-1'],
      to: [...web.map(({ metadata }) => `dev/${metadata.name}`), 'dev/devserver-1'],
      family: 4,
    });
    return results.map(({ outcome }) => outcome).join(' ');
  };
  /** The answer to a watch from an older version. */
  const watchFrom = async (lab: Lab, version: number): Promise<string> => {
    const { server = '', kubeconfig = '' } = (await lab.status()).api ?? {};
    const config = JSON.parse(readFileSync(kubeconfig, 'utf8')) as {
      users: { user: { token: string } }[];
    };
    const { hostname, port } = new URL(server);
    return new Promise((resolve, reject) => {
      const out = request(
        {
          hostname,
          port,
          path: `/api/v1/pods?watch=true&resourceVersion=${version}&timeoutSeconds=2`,
          rejectUnauthorized: false,
          agent: false,
          headers: { Authorization: `Bearer ${config.users[0]?.user.token}` },
        },
        (reply) => {
          let text = '';
          reply.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
          reply.on('end', () => resolve(text));
        },
      );
      out.on('error', reject);
      out.end();
    });
  };

  beforeAll(() => {
    runtime = mkdtempSync(join(tmpdir(), 'podwall-test-'));
    process.env['XDG_RUNTIME_DIR'] = runtime;
    state = join(runtime, 'lab.json');
    manifest = join(runtime, 'web.yaml');
    writeFileSync(manifest, objects);
  });
  afterAll(async () => {
    await (await connectLab())?.down();
    if (previous === undefined) delete process.env['XDG_RUNTIME_DIR'];
    else process.env['XDG_RUNTIME_DIR'] = previous;
    rmSync(runtime, { recursive: true, force: true });
  });

  it('up, apply, down, up: the same objects, pods made again, policy in force', async () => {
    const first = await up('--nodes', '3');
    expect((await podwall('lab', 'apply', '-f', manifest)).code).toBe(0);
    const before = await picture(first);
    const versions = versionsOf(await first.objects());
    expect(await outcomes(first)).toBe('DROPPED DROPPED OPEN');
    expect((await podwall('lab', 'status')).text).toContain(`objects in ${state}`);
    expect((await podwall('lab', 'down')).code).toBe(0);
    expect(statSync(state).mode & 0o777).toBe(0o600);

    // Its shape comes from the file.
    const second = await up();
    expect((await second.status()).nodes).toHaveLength(3);
    expect(await picture(second)).toEqual(before);
    const newest = Math.max(...versions);
    const pods = (await second.get('Pod', {})) as Pod[];
    expect(Math.min(...versionsOf(pods))).toBeGreaterThan(newest);
    const { readyPods, pods: count } = await second.status();
    expect(readyPods).toBe(count);
    expect(await outcomes(second)).toBe('DROPPED DROPPED OPEN');
    expect(await watchFrom(second, newest)).toContain('"code":410');
    const latest = Number(pods[0]?.metadata.resourceVersion);
    expect(await watchFrom(second, latest)).not.toContain('"code":410');
  });

  it('a lab killed while it writes comes back with what was safe', async () => {
    const lab = (await connectLab()) as Lab;
    const note = 'x'.repeat(1000);
    const map = (n: number): KubeObject => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: `map-${n}`, namespace: 'dev', annotations: { note } },
    });
    const writing = (async () => {
      for (let n = 0; n < 10_000; n += 1) await lab.apply([map(n)]);
    })().catch(() => {});
    await sleep(2_000);
    const { pid = 0 } = await lab.status();
    process.kill(pid, 'SIGKILL');
    await writing;
    await expect.poll(() => existsSync(`/proc/${pid}`)).toBe(false);
    const again = await up();
    const maps = await again.get('ConfigMap', { namespace: 'dev' });
    expect(maps.filter(({ metadata }) => metadata.name?.startsWith('map-')).length).toBeGreaterThan(
      0,
    );
    expect(await outcomes(again)).toBe('DROPPED DROPPED OPEN');
  });

  it('refuses another shape, another lab, and a damaged file, each with what to do', async () => {
    expect(await podwall('lab', 'up', '--state', 'other.json')).toMatchObject({
      code: 2,
      text: expect.stringContaining(`keeps its objects in ${state}`) as string,
    });
    expect((await podwall('lab', 'down')).code).toBe(0);
    const shape = await podwall('lab', 'up', '--state', 'lab.json', '--nodes', '2');
    expect(shape.code).not.toBe(0);
    expect(shape.text).toContain('keeps a lab with nodes node-1,node-2,node-3, not node-1,node-2');
    const whole = readFileSync(state, 'utf8');
    writeFileSync(state, whole.slice(0, whole.length / 2));
    const damaged = await podwall('lab', 'up', '--state', 'lab.json');
    expect(damaged.code).not.toBe(0);
    expect(damaged.text).toContain(`mv ${state} ${state}.damaged`);
    expect(await connectLab()).toBeUndefined();
    writeFileSync(state, whole);
  });

  it('agents: kept policies are in force before kept pods answer', async () => {
    const lab = await up('--agents');
    expect(await outcomes(lab)).toBe('DROPPED DROPPED OPEN');
    await lab.down();
  });

  it.skipIf(!mayWriteRun)(
    'a file below /run, where the lab has a directory of its own, is the machine own one',
    async () => {
      const folder = mkdtempSync('/run/podwall-test-');
      try {
        const file = join(folder, 'lab.json');
        expect((await podwall('lab', 'up', '--empty', '--state', file)).code).toBe(0);
        expect((await podwall('lab', 'down')).code).toBe(0);
        expect(readFileSync(file, 'utf8')).toContain('podwall-lab-state');
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
      expect(spawnSync('ls', ['/run']).stdout.toString()).not.toContain('podwall-test-');
    },
  );
});
