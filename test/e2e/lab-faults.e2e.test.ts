/**
 * `podwall lab fault` on a running lab with agents: what kubectl says of each fault, and that the
 * agents keep enforcing through them.
 */
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Io } from '../../src/cli/command.ts';
import { runCli } from '../../src/cli/main.ts';
import { connectLab, LabUnavailable, startLab, type Lab } from '../../src/lab/index.ts';

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
if (unavailable !== undefined) console.log(`SKIPPED: faults in a running lab: ${unavailable}`);

const denyIngress = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny, namespace: dev }
spec: { podSelector: {}, policyTypes: [Ingress] }
`;

interface Outcome {
  readonly code: number;
  readonly text: string;
}

describe.skipIf(unavailable !== undefined)('faults in a running lab', () => {
  let runtime = '';
  let kubeconfig = '';
  let lab: Lab;
  let target = '';
  const previous = process.env['XDG_RUNTIME_DIR'];

  async function podwall(...argv: string[]): Promise<Outcome> {
    let text = '';
    const io: Io = {
      out: (more) => void (text += more),
      err: (more) => void (text += more),
      stdin: process.stdin,
      isTty: false,
      color: false,
      columns: 100,
      env: process.env,
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      signal: new AbortController().signal,
    };
    return { code: await runCli(argv, io), text };
  }
  const fault = (line: string): Promise<Outcome> => podwall('lab', 'fault', ...line.split(' '));

  function kubectl(args: string, input = ''): Promise<Outcome> {
    const child = spawn('kubectl', args.split(' '), {
      env: { ...process.env, KUBECONFIG: kubeconfig, HOME: runtime },
      stdio: 'pipe',
    });
    return new Promise((resolve, reject) => {
      let text = '';
      child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
      child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
      child.on('error', reject);
      child.on('close', (code) => resolve({ code: code ?? -1, text }));
      child.stdin.on('error', () => {});
      child.stdin.end(input);
    });
  }
  /** Whether packets of prod reach dev: OPEN or DROPPED, with the probe's evidence. */
  const probed = async (): Promise<string> => {
    const { results } = await lab.probe({
      from: ['prod/prodserver-1'],
      to: ['dev/devserver-2'],
      family: 4,
    });
    return results.map((one) => one.outcome).join();
  };
  /** The same while agents are in trouble, for which a probe would wait: one connection. */
  const outcome = async (): Promise<string> => {
    const command = `/agnhost connect ${target}:80 --timeout=2s --protocol=tcp`;
    const { code, text } = await kubectl(`exec -n prod prodserver-1 -- ${command}`);
    return code === 0 ? 'OPEN' : text.includes('TIMEOUT') ? 'DROPPED' : text;
  };

  beforeAll(async () => {
    runtime = mkdtempSync(join(tmpdir(), 'podwall-test-'));
    process.env['XDG_RUNTIME_DIR'] = runtime;
    kubeconfig = join(runtime, 'podwall', 'kubeconfig');
    const up = await podwall('lab', 'up', '--agents');
    expect(up, up.text).toMatchObject({ code: 0 });
    lab = (await connectLab()) as Lab;
    // Discovery once, so that later requests are the ones a test means.
    target = (await kubectl('get pod devserver-2 -n dev -o jsonpath={.status.podIP}')).text;
  });
  afterAll(async () => {
    await (await connectLab())?.down();
    if (previous === undefined) delete process.env['XDG_RUNTIME_DIR'];
    else process.env['XDG_RUNTIME_DIR'] = previous;
    rmSync(runtime, { recursive: true, force: true });
  });

  it('takes orders on a socket of its owner', async () => {
    expect(statSync(join(runtime, 'podwall', 'faults.sock')).mode & 0o777).toBe(0o600);
    expect((await fault('list')).text).toMatch(/^no rules\n\d+ open watches, 0 stalled\n$/);
    expect(await fault('nonsense')).toMatchObject({ code: 2 });
  });

  it('kubectl waits out 429, says 403 and 500 as from a cluster', async () => {
    await fault('code 429 --retry-after 1 --times 2 --resource pods --user podwall-admin');
    const patient = await kubectl('get pods -n dev');
    expect(patient.code).toBe(0);
    expect((await fault('list')).text).toContain('left=0');
    await fault('clear');
    await fault('code 403 --resource networkpolicies --user podwall-admin');
    expect((await kubectl('get netpol -n dev')).text).toContain(
      'Error from server (Forbidden): networkpolicies.networking.k8s.io is forbidden',
    );
    expect((await kubectl('auth can-i list networkpolicies.networking.k8s.io')).text).toContain(
      'no',
    );
    expect((await kubectl('get pods -n dev')).code).toBe(0);
    await fault('clear');
    await fault('code 500 --resource pods --user podwall-admin');
    expect((await kubectl('get pods -n dev')).text).toContain('InternalError');
    await fault('clear');
    expect((await kubectl('get netpol -n dev')).code).toBe(0);
  });

  it('kubectl wait outlasts watches that close, break and expire', async () => {
    await fault('short 150 --verb watch --end close --user podwall-admin --times 2');
    const waiting = kubectl(
      'wait -n dev --for=jsonpath={.metadata.labels.seen}=yes pod/devserver-1',
    );
    await expect.poll(() => fault('list').then(({ text }) => text)).toContain('left=0');
    await fault('expire --user podwall-admin');
    await kubectl('label pod devserver-1 -n dev seen=yes');
    const waited = await waiting;
    expect(waited, waited.text).toMatchObject({ code: 0 });
    await fault('clear');
  });

  it('a rotated token: the old kubeconfig is refused, the new works, agents go on', async () => {
    const old = join(runtime, 'old-kubeconfig');
    copyFileSync(kubeconfig, old);
    expect((await fault('rotate-token')).code).toBe(0);
    expect((await kubectl(`get ns --kubeconfig ${old}`)).text).toContain(
      'You must be logged in to the server',
    );
    expect((await kubectl('get ns')).code).toBe(0);
    expect((await fault('rotate-token --user podwall-agent')).code).toBe(0);
    await fault('reset');
    expect(await outcome()).toBe('OPEN');
    expect((await kubectl('apply -f -', denyIngress)).code).toBe(0);
    await expect.poll(outcome, { timeout: 30_000 }).toBe('DROPPED');
    expect(await probed()).toBe('DROPPED');
  });

  it('agents keep enforcing while the API is in trouble, and catch up after it', async () => {
    await fault('code 503 --user podwall-agent');
    await fault('reset --user podwall-agent');
    expect((await kubectl('delete netpol deny -n dev')).code).toBe(0);
    // Cut off, they keep what they knew.
    expect(await outcome()).toBe('DROPPED');
    await fault('clear');
    await expect.poll(outcome, { timeout: 30_000 }).toBe('OPEN');
    await fault('stall --user podwall-agent');
    await kubectl('apply -f -', denyIngress);
    expect(await outcome()).toBe('OPEN');
    await fault('resume');
    await expect.poll(outcome, { timeout: 30_000 }).toBe('DROPPED');
    expect(await probed()).toBe('DROPPED');
    await fault('short 200 --end reset --user podwall-agent');
    await fault('duplicate --user podwall-agent');
    await fault('restart 300');
    await kubectl('delete netpol deny -n dev');
    await expect.poll(outcome, { timeout: 30_000 }).toBe('OPEN');
    await fault('clear');
  });

  it('a pod deleted late is still known when its network is gone', async () => {
    await fault('late-delete 1500 --times 1');
    const deleting = kubectl('delete pod devserver-1 -n dev --grace-period=1 --timeout=30s');
    await expect
      .poll(() => kubectl('exec -n dev devserver-1 -- true').then(({ text }) => text))
      .toContain('the pod does not run');
    expect((await kubectl('get pod devserver-1 -n dev')).text).toContain('Terminating');
    expect((await deleting).code).toBe(0);
  });
});
