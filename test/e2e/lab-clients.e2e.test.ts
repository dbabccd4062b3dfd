/**
 * Stock clients against a lab with real pods: kubectl in every version at hand, and helm. Clients
 * that are not on the machine are named. `PODWALL_ALL_KUBECTLS=1` runs the whole matrix with each.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCliLab, whyNoLab } from './cli-lab.ts';
import {
  findKubectls,
  forwardedTexts,
  minorOf,
  type Outcome,
  reportMissing,
  resizedInPod,
  run,
  sizeInPod,
  steps,
} from './kubectl-steps.ts';

const kubectls = findKubectls();

const lab = createCliLab('podwall-clients-');
const { runtime, env } = lab;
const unavailable =
  kubectls.length === 0 ? 'there is no kubectl on this machine' : await whyNoLab();
if (unavailable !== undefined) console.log(`SKIPPED: clients on the lab: ${unavailable}`);
reportMissing(kubectls);
const helm = process.env['PODWALL_HELM'] ?? 'helm';
const hasHelm = spawnSync(helm, ['version'], { stdio: 'ignore' }).error === undefined;
if (!hasHelm) console.log('not run: helm (not on this machine; PODWALL_HELM names one)');
console.log('not run: client-go programs, cyclonus, Headlamp (no test here drives them)');

const hasTar = spawnSync('tar', ['--version'], { stdio: 'ignore' }).error === undefined;
if (!hasTar) console.log('not run: kubectl cp (no tar on this machine)');

const everyVersion = process.env['PODWALL_ALL_KUBECTLS'] === '1';
const newest = kubectls.at(-1);

const kubectl = (...args: string[]): Promise<Outcome> => run(newest ?? '', args, { env });

beforeAll(async () => {
  if (unavailable === undefined) await lab.up();
});

afterAll(() => lab.end());

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

  it('exec -it follows the size of the client', async () => {
    expect(await resizedInPod(program, `-n ${ns} p`, env)).toMatch(/it is\s+22 77/);
  });

  it.skipIf(!hasTar)('cp brings files in and out', async () => {
    const [from, to] = [join(runtime, `${ns}-in`), join(runtime, `${ns}-out`)];
    const text = 'x'.repeat(300_000);
    writeFileSync(from, text);
    const into = await run(program, ['cp', from, `${ns}/p:/tmp/${ns}-copy`], { env });
    expect(into, into.text).toMatchObject({ code: 0 });
    const out = await run(program, ['cp', `${ns}/p:/tmp/${ns}-copy`, to], { env });
    expect(out, out.text).toMatchObject({ code: 0 });
    expect(readFileSync(to, 'utf8') === text).toBe(true);
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

const truth = `
apiVersion: v1
kind: Pod
metadata: {name: crash, namespace: truth}
spec: {containers: [{name: c, image: busybox, command: [sh, -c, "echo run; exit 3"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: once, namespace: truth}
spec: {restartPolicy: Never, containers: [{name: c, image: busybox, command: [sh, -c, "exit 4"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: steps, namespace: truth}
spec:
  initContainers:
  - {name: a, image: busybox, command: [sh, -c, "date +%s%N; sleep 0.2"]}
  - {name: b, image: busybox, command: [sh, -c, "date +%s%N; sleep 0.2"]}
  containers: [{name: c, image: busybox, command: [sh, -c, "date +%s%N; exec sleep 600"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: polite, namespace: truth}
spec:
  containers:
  - {name: c, image: busybox, command: [sh, -c, "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.1; done"]}
---
apiVersion: v1
kind: Pod
metadata: {name: deaf, namespace: truth}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: busybox, command: [sh, -c, "trap '' TERM; while :; do sleep 0.1; done"]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: count, namespace: truth}
spec:
  completions: 3
  parallelism: 2
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: busybox, command: [sh, -c, "echo done"]}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: truth}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: postgres, ports: [{containerPort: 5432}]}]}
`;

describe.skipIf(unavailable !== undefined)('kubectl get -w', () => {
  it('shows a pod come, become ready and go', async () => {
    await kubectl('create', 'ns', 'watched');
    const lines = run(newest ?? '', ['get', 'pods', '-n', 'watched', '-w'], {
      env,
      endAfter: /Terminating/,
    });
    await kubectl('run', 'p', '-n', 'watched', '--image=nginx');
    await kubectl('wait', '-n', 'watched', '--for=condition=Ready', 'pod/p', '--timeout=30s');
    await kubectl('delete', 'pod', 'p', '-n', 'watched');
    expect((await lines).text).toMatch(
      /p +0\/1 +Pending [^]*p +0\/1 +ContainerCreating [^]*p +1\/1 +Running [^]*p +1\/1 +Terminating /,
    );
  });
});

describe.skipIf(unavailable !== undefined)('podwall beside kubectl', () => {
  it.each([
    ['get', 'pod', 'nope'],
    ['delete', 'pod', 'nope'],
    ['exec', 'prod/nope', '--', 'true'],
    ['probe', '--from', 'prod/nope', '--to', 'dev/devserver-1'],
  ])('lab %s: the same exit code, and its name', async (...args) => {
    const outcome = await lab.podwall('lab', ...args);
    expect(outcome).toMatchObject({ code: 2, text: expect.stringContaining('nope') as string });
  });

  it('what is kept without effect, and a kind of another group, are said once', async () => {
    const file = join(runtime, 'app.yaml');
    const container = '{name: c, image: shop/cart, livenessProbe: {tcpSocket: {port: 80}}}';
    writeFileSync(
      file,
      `{apiVersion: v1, kind: Pod, metadata: {name: cart}, spec: {containers: [${container}]}}
---
{apiVersion: crd.example.org/v1, kind: NetworkPolicy, metadata: {name: foreign}}
`,
    );
    const first = await lab.podwall('lab', 'apply', '-f', file);
    expect(first).toMatchObject({ code: 0 });
    expect(first.text).toContain('without effect in a lab: 1 image, 1 probe\n');
    expect(first.text).toContain('no use for them: 1 NetworkPolicy of crd.example.org/v1\n');
    expect((await lab.podwall('lab', 'apply', '-f', file)).text).not.toContain('without effect');
    await lab.podwall('lab', 'delete', 'pod', 'cart');
  });

  it('apply names pods that cannot run, and waits for none of them', async () => {
    const file = join(runtime, 'broken.yaml');
    const init = '{name: i, image: busybox, command: [sh, -c, "exit 1"]}';
    writeFileSync(
      file,
      `{apiVersion: v1, kind: Pod, metadata: {name: broken}, spec: {initContainers: [${init}], containers: [{name: c, image: nginx}]}}\n`,
    );
    const applied = await lab.podwall('lab', 'apply', '-f', file);
    expect(applied.text).toContain('does not run: pod default/broken (CrashLoopBackOff)');
    await lab.podwall('lab', 'delete', 'pod', 'broken');
  });

  it('doctor says how to examine a lab', async () => {
    const outcome = await lab.podwall('doctor', '--kubeconfig', lab.kubeconfig);
    expect(outcome).toMatchObject({
      code: 2,
      text: expect.stringContaining('doctor --lab') as string,
    });
  });
});

describe.skipIf(unavailable !== undefined)('what a pod says of itself', () => {
  const space = ['-n', 'truth'];
  const pod = (name: string): Promise<string> =>
    kubectl('get', 'pod', name, ...space, '--no-headers').then(({ text }) => text);
  const field = (name: string, path: string): Promise<string> =>
    kubectl('get', ...space, name, '-o', `jsonpath={${path}}`).then(({ text }) => text);
  const first = '.status.containerStatuses[0]';

  beforeAll(async () => {
    await kubectl('create', 'ns', 'truth');
    const made = await run(newest ?? '', ['apply', '-f', '-'], { env, input: truth });
    expect(made, made.text).toMatchObject({ code: 0 });
  });

  it('a command that fails is started again, ever later, and is not ready', async () => {
    await expect
      .poll(() => pod('crash'), { timeout: 20_000 })
      .toMatch(/crash +0\/1 +CrashLoopBackOff +[2-9] \(/);
    expect(await field('pod/crash', `${first}.lastState.terminated.exitCode`)).toBe('3');
    expect((await kubectl('logs', ...space, 'crash', '--previous')).text).toBe('run\n');
    expect((await kubectl('describe', ...space, 'pod', 'crash')).text).toMatch(
      /BackOff .*Back-off restarting failed container c in pod crash_truth/,
    );
    // Now and then it runs, for a moment.
    const inside = (): Promise<string> =>
      kubectl('exec', ...space, 'crash', '--', 'true').then(({ text }) => text);
    await expect.poll(inside, { timeout: 20_000 }).toContain('container not found ("c")');
  });

  it('restartPolicy Never: its exit code, and the end', async () => {
    await expect.poll(() => pod('once')).toMatch(/once +0\/1 +Error +0/);
    expect(await field('pod/once', '.status.phase')).toBe('Failed');
    expect(await field('pod/once', `${first}.state.terminated.exitCode`)).toBe('4');
    expect((await kubectl('logs', ...space, 'once', '--previous')).text).toContain('not found');
  });

  it('init containers run one after the other, then the pod', async () => {
    await kubectl('wait', ...space, '--for=condition=Ready', 'pod/steps', '--timeout=30s');
    const times: number[] = [];
    for (const container of ['a', 'b', 'c'])
      times.push(Number((await kubectl('logs', ...space, 'steps', '-c', container)).text));
    expect(times.every((time) => time > 0)).toBe(true);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  it('a program sees the host name of its pod', async () => {
    expect((await kubectl('exec', ...space, 'steps', '-c', 'c', '--', 'hostname')).text).toBe(
      'steps\n',
    );
  });

  it('an ephemeral container is in the network of the pod', async () => {
    const ip = await field('pod/steps', '.status.podIP');
    const seen = ['-c', 'ip -br address show eth0; exit 5'];
    const made = ['debug', ...space, 'steps', '--image=busybox', '-c', 'look', '--', 'sh', ...seen];
    expect(await kubectl(...made)).toMatchObject({ code: 0 });
    const status = '.status.ephemeralContainerStatuses[0].state.terminated.exitCode';
    await expect.poll(() => field('pod/steps', status)).toBe('5');
    expect((await kubectl('logs', ...space, 'steps', '-c', 'look')).text).toContain(ip);
  });

  it('delete asks, and kills who does not listen when the grace is over', async () => {
    const ready = ['--for=condition=Ready', '--timeout=30s'];
    await kubectl('wait', ...space, ...ready, 'pod/polite', 'pod/deaf');
    await expect
      .poll(() => kubectl('logs', ...space, 'polite').then(({ text }) => text))
      .toBe('up\n');
    const follower = kubectl('logs', '-f', ...space, 'polite');
    // The follower has to be there before the end.
    await kubectl('get', 'ns');
    await kubectl('delete', 'pod', ...space, 'polite', '--timeout=25s');
    expect((await follower).text).toMatch(/^up\n[^]*asked\n$/);
    expect(await kubectl('delete', 'pod', ...space, 'deaf', '--timeout=25s')).toMatchObject({
      code: 0,
    });
  });

  it('nothing of a pod outlives it, whatever left its process group, hostNetwork or not', async () => {
    const script = 'setsid sleep 76543 & exec sleep 600';
    const strays = (): string =>
      spawnSync('pgrep', ['-fx', 'sleep 76543'], { encoding: 'utf8' }).stdout.trim();
    for (const [name, hostNetwork] of Object.entries({ own: false, shared: true })) {
      const container = { name: 'c', image: 'busybox', command: ['sh', '-c', script] };
      const metadata = { name, namespace: 'truth' };
      const spec = { hostNetwork, containers: [container] };
      const input = JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata, spec });
      await run(newest ?? '', ['apply', '-f', '-'], { env, input });
      await expect.poll(strays, { timeout: 20_000 }).not.toBe('');
      await kubectl('delete', 'pod', ...space, name, '--timeout=25s');
      await expect.poll(strays, { timeout: 10_000 }).toBe('');
    }
  });

  it('a job completes, a stateful set counts', async () => {
    await kubectl('wait', ...space, '--for=condition=Complete', 'job/count', '--timeout=30s');
    expect(await field('job/count', '.status.succeeded')).toBe('3');
    await kubectl('rollout', 'status', ...space, 'sts/db', '--timeout=30s');
    const pods = await kubectl('get', 'pods', ...space, '-l', 'app=db', '-o', 'name');
    expect(pods.text).toBe('pod/db-0\npod/db-1\n');
  });
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
    const left = (): Promise<string[]> =>
      kubectl('get', 'deploy,svc,netpol,pods', ...space, '-o', 'name').then(({ text }) =>
        text.trim().split('\n').sort(),
      );
    // Some versions of helm do not wait for the pods of a deployment.
    await expect.poll(left, { timeout: 10_000 }).toEqual(['pod/friend', 'pod/stranger']);
  });
});
