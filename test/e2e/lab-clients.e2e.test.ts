/**
 * Stock clients against a lab with real pods: kubectl in every version at hand, and helm. Clients
 * that are not on the machine are named. `PODWALL_ALL_KUBECTLS=1` runs the whole matrix with each.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Io } from '../../src/cli/command.ts';
import { runCli } from '../../src/cli/main.ts';
import { connectLab, LabUnavailable, startLab } from '../../src/lab/index.ts';
import {
  findKubectls,
  forwardedTexts,
  minorOf,
  type Outcome,
  reportMissing,
  run,
  sizeInPod,
  steps,
} from './kubectl-steps.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const kubectls = findKubectls();

async function whyNot(): Promise<string | undefined> {
  if (kubectls.length === 0) return 'there is no kubectl on this machine';
  try {
    await (await startLab({ outside: [] }, { lifetime: 'parent' })).down();
    return undefined;
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

const unavailable = await whyNot();
if (unavailable !== undefined) console.log(`SKIPPED: clients on the lab: ${unavailable}`);
reportMissing(kubectls);
const helm = process.env['PODWALL_HELM'] ?? 'helm';
const hasHelm = spawnSync(helm, ['version'], { stdio: 'ignore' }).error === undefined;
if (!hasHelm) console.log('not run: helm (not on this machine; PODWALL_HELM names one)');
console.log('not run: client-go programs, cyclonus, Headlamp (no test here drives them)');

const everyVersion = process.env['PODWALL_ALL_KUBECTLS'] === '1';
const newest = kubectls.at(-1);

const runtime = mkdtempSync(join(tmpdir(), 'podwall-clients-'));
const kubeconfig = join(runtime, 'podwall', 'kubeconfig');
const env = { KUBECONFIG: kubeconfig, HOME: runtime };
const previous = process.env['XDG_RUNTIME_DIR'];

async function podwall(...argv: string[]): Promise<Outcome> {
  let text = '';
  const io: Io = {
    out: (part) => void (text += part),
    err: (part) => void (text += part),
    stdin: process.stdin,
    isTty: false,
    color: false,
    columns: 100,
    env: process.env,
    cwd: root,
    signal: new AbortController().signal,
  };
  return { code: await runCli(argv, io), text };
}

const kubectl = (...args: string[]): Promise<Outcome> => run(newest ?? '', args, { env });

beforeAll(async () => {
  if (unavailable !== undefined) return;
  process.env['XDG_RUNTIME_DIR'] = runtime;
  const up = await podwall('lab', 'up');
  expect(up, up.text).toMatchObject({ code: 0 });
});

afterAll(async () => {
  await (await connectLab())?.down();
  if (previous === undefined) delete process.env['XDG_RUNTIME_DIR'];
  else process.env['XDG_RUNTIME_DIR'] = previous;
  rmSync(runtime, { recursive: true, force: true });
});

describe.skipIf(unavailable !== undefined).each(kubectls)('%s on real pods', (program) => {
  const minor = minorOf(program);
  const ns = `k${kubectls.indexOf(program)}`;
  const all = program === newest || everyVersion;
  const chosen = steps(ns, runtime).filter((step) => all || step.inPods === true);
  const last = chosen.findIndex((step) => step.name === 'delete a pod');

  const check = (step: (typeof chosen)[number]): void => {
    it(step.name, async ({ skip }) => {
      if (step.from !== undefined && minor !== undefined && minor < step.from)
        skip(`kubectl 1.${minor} does not know the version of the API this asks for`);
      const outcome = await run(program, step.args, { ...step, env: { ...env, ...step.env } });
      expect(outcome.text).toMatch(step.prints);
      expect(outcome.code).toBe(step.code ?? 0);
    });
  };

  for (const step of chosen.slice(0, last)) check(step);

  it('exec -it has a terminal of the size of the client', async () => {
    expect(await sizeInPod(program, `-n ${ns} p`, env)).toMatch(/40 100/);
  });

  it('port-forward carries several connections', async () => {
    expect(await forwardedTexts(program, ['-n', ns, 'pod/p', ':80'], 3, env)).toEqual([
      'p\n',
      'p\n',
      'p\n',
    ]);
  });

  for (const step of chosen.slice(last)) check(step);
});

const chartFiles: Readonly<Record<string, string>> = {
  'Chart.yaml': 'apiVersion: v2\nname: shop\nversion: 0.1.0\n',
  'values.yaml': 'replicas: 1\nclosed: true\n',
  'templates/web.yaml': `apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}"}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata: {labels: {app: "{{ .Release.Name }}"}}
    spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: "{{ .Release.Name }}"}
spec: {selector: {app: "{{ .Release.Name }}"}, ports: [{port: 80}]}
`,
  'templates/policy.yaml': `{{- if .Values.closed }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: "{{ .Release.Name }}"}
spec:
  podSelector: {matchLabels: {app: "{{ .Release.Name }}"}}
  ingress: [{from: [{podSelector: {matchLabels: {role: client}}}], ports: [{port: 80}]}]
{{- end }}
`,
};

describe.skipIf(unavailable !== undefined || !hasHelm)('helm on real pods', () => {
  const chart = join(runtime, 'chart');
  const space = ['-n', 'charts'];
  const done = [...space, '--wait', '--timeout', '60s'];
  const charts = async (...args: string[]): Promise<Outcome> => {
    const outcome = await run(helm, args, { env });
    expect(outcome, outcome.text).toMatchObject({ code: 0 });
    return outcome;
  };
  /** Exit code of one connection to the service: 0 when it is let through. */
  const reach = async (from: string): Promise<number> => {
    const connect = ['/agnhost', 'connect', 'r1:80', '--timeout=2s', '--protocol=tcp'];
    return (await kubectl('exec', ...space, from, '--', ...connect)).code;
  };

  beforeAll(async () => {
    for (const [name, text] of Object.entries(chartFiles)) {
      mkdirSync(join(chart, 'templates'), { recursive: true });
      writeFileSync(join(chart, name), text);
    }
    await kubectl('create', 'ns', 'charts');
    await kubectl('run', 'friend', ...space, '--image=nginx', '--labels=role=client');
    await kubectl('run', 'stranger', ...space, '--image=nginx');
    const ready = ['pod/friend', 'pod/stranger', '--for=condition=Ready', '--timeout=30s'];
    expect(await kubectl('wait', ...space, ...ready)).toMatchObject({ code: 0 });
  });

  it('install: the policy of the chart decides about packets', async () => {
    expect((await charts('install', 'r1', chart, ...done)).text).toMatch(/STATUS: deployed/);
    expect(await reach('friend')).toBe(0);
    expect(await reach('stranger')).toBe(1);
    expect((await charts('list', ...space)).text).toMatch(/r1\s.*deployed/);
  });

  it('upgrade without the policy: open to all', async () => {
    const values = ['--set', 'closed=false', '--set', 'replicas=2'];
    expect((await charts('upgrade', 'r1', chart, ...values, ...done)).text).toMatch(/REVISION: 2/);
    expect(await reach('stranger')).toBe(0);
    const pods = await kubectl('get', 'pods', ...space, '-l', 'app=r1', '--no-headers');
    expect(pods.text.match(/1\/1 +Running/g)).toHaveLength(2);
  });

  it('rollback: closed again', async () => {
    expect((await charts('rollback', 'r1', '1', ...done)).text).toMatch(/success/);
    expect(await reach('friend')).toBe(0);
    expect(await reach('stranger')).toBe(1);
  });

  it('uninstall: nothing of the release is left', async () => {
    expect((await charts('uninstall', 'r1', ...done)).text).toMatch(/uninstalled/);
    const left = await kubectl('get', 'deploy,svc,netpol,pods', ...space, '-o', 'name');
    expect(left.text.trim().split('\n').sort()).toEqual(['pod/friend', 'pod/stranger']);
  });
});
