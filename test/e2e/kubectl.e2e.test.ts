/**
 * Every kubectl at hand against the lab's API with the fake runtime: a matrix of commands and what
 * they must print. Clients that are not on the machine are named, not silently left out.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFakeRuntime } from '../../src/lab/api/fake-runtime.ts';
import { writeKubeconfig } from '../../src/lab/api/kubeconfig.ts';
import { type LabApi, startLabApi } from '../../src/lab/api/start.ts';

/** Versioned binaries beside `kubectl`, else `kubectl` itself; `PODWALL_KUBECTL` adds others. */
function findKubectls(): string[] {
  const named = (process.env['PODWALL_KUBECTL'] ?? '').split(delimiter).filter(Boolean);
  const plain = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'kubectl'))
    .find((file) => existsSync(file));
  if (plain === undefined) return named;
  const real = realpathSync(plain);
  const versioned = readdirSync(dirname(real))
    .filter((file) => /^kubectl\.1\.\d+$/.test(file))
    .sort()
    .map((file) => join(dirname(real), file));
  return [...(versioned.length > 0 ? versioned : [real]), ...named];
}

const kubectls = findKubectls();
const folder = mkdtempSync(join(tmpdir(), 'podwall-kubectl-'));
const kubeconfig = join(folder, 'kubeconfig');
let api: LabApi;
let web: Server;

interface Outcome {
  readonly code: number;
  readonly text: string;
}

function run(
  program: string,
  args: readonly string[],
  input = '',
  env: Record<string, string> = {},
  endAfter?: RegExp,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      env: { ...process.env, KUBECONFIG: kubeconfig, HOME: folder, ...env },
      stdio: 'pipe',
    });
    let text = '';
    const collect = (chunk: Buffer): void => {
      text += chunk.toString('utf8');
      if (endAfter?.test(text)) child.kill('SIGKILL');
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? -1, text });
    });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

const policy = (namespace: string, port: number, ingress = 'ingress'): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np1, namespace: ${namespace}}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ${ingress}:
  - from: [{podSelector: {matchLabels: {role: client}}}]
    ports: [{port: ${port}, protocol: TCP}]
`;

const deployment = (namespace: string): string => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ${namespace}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1", ports: [{containerPort: 80, name: http}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ${namespace}}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
`;

const configMap = (namespace: string, value: string): string =>
  `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm1","namespace":"${namespace}"},"data":{"a":"${value}"}}`;

interface Step {
  readonly name: string;
  readonly args: readonly string[];
  readonly prints: RegExp;
  readonly input?: string;
  readonly env?: Record<string, string>;
  /** Exit code; default 0. */
  readonly code?: number;
  readonly endAfter?: RegExp;
  /** The first minor version that has the command, and can use it on a server that says 1.32. */
  readonly from?: number;
}

function steps(ns: string): Step[] {
  const n = ['-n', ns];
  const editor = join(folder, 'editor.sh');
  writeFileSync(editor, '#!/bin/sh\nsed -i "s/port: 8[0-9]/port: 82/" "$1"\n', { mode: 0o755 });
  const rollout = (name: string): Step => ({
    name,
    args: ['rollout', 'status', ...n, 'deploy/web', '--timeout=30s'],
    prints: /successfully rolled out/,
  });
  const file = ['-f', '-'];
  return [
    { name: 'version', args: ['version'], prints: /Server Version.*1\.32/s },
    { name: 'create namespace', args: ['create', 'ns', ns], prints: /created/ },
    {
      name: 'run',
      args: ['run', 'p', ...n, '--image=nginx', '--labels=app=web,role=client', '--port=80'],
      prints: /pod\/p created/,
    },
    {
      name: 'wait for a condition',
      args: ['wait', ...n, '--for=condition=Ready', 'pod/p', '--timeout=20s'],
      prints: /condition met/,
    },
    {
      name: 'wait for a field',
      args: ['wait', ...n, '--for=jsonpath={.status.phase}=Running', 'pod/p', '--timeout=20s'],
      prints: /condition met/,
    },
    {
      name: 'get -A -o wide',
      args: ['get', 'pods', '-A', '-o', 'wide'],
      prints: /10\.244\..*node-/,
    },
    { name: 'get --show-labels', args: ['get', 'pods', ...n, '--show-labels'], prints: /app=web/ },
    {
      name: 'get --sort-by',
      args: ['get', 'pods', ...n, '--sort-by=.metadata.name'],
      prints: /1\/1 +Running/,
    },
    { name: 'get -o yaml', args: ['get', 'pod', 'p', ...n, '-o', 'yaml'], prints: /kind: Pod/ },
    { name: 'apply new', args: ['apply', ...file], input: policy(ns, 80), prints: /np1 created/ },
    {
      name: 'apply again',
      args: ['apply', ...file],
      input: policy(ns, 80),
      prints: /np1 (unchanged|configured)/,
    },
    {
      name: 'apply changed',
      args: ['apply', ...file],
      input: policy(ns, 81),
      prints: /np1 configured/,
    },
    {
      name: 'diff',
      args: ['diff', ...file],
      input: policy(ns, 80),
      prints: /\+.*port: 80/,
      code: 1,
    },
    {
      name: 'strict validation',
      args: ['apply', ...file],
      input: policy(ns, 80, 'ingres'),
      prints: /unknown field "spec\.ingres"/,
      code: 1,
    },
    {
      name: 'invalid policy',
      args: ['apply', ...file],
      input: policy(ns, 80_000),
      prints:
        /spec\.ingress\[0\]\.ports\[0\]\.port: Invalid value: 80000: must be between 1 and 65535/,
      code: 1,
    },
    {
      name: 'dry run on the server',
      args: ['apply', '--dry-run=server', ...file],
      input: policy(ns, 80),
      prints: /server dry run/,
    },
    {
      name: 'server-side apply after client-side apply',
      args: ['apply', '--server-side', ...file],
      input: policy(ns, 81),
      prints: /serverside-applied/,
    },
    {
      name: 'server-side apply',
      args: ['apply', '--server-side', ...file],
      input: configMap(ns, '1'),
      prints: /serverside-applied/,
    },
    {
      name: 'server-side apply conflict',
      args: ['apply', '--server-side', '--field-manager=other', ...file],
      input: configMap(ns, '2'),
      prints: /conflict with "kubectl".*\.data\.a/,
      code: 1,
    },
    {
      name: 'server-side apply by force',
      args: ['apply', '--server-side', '--force-conflicts', '--field-manager=other', ...file],
      input: configMap(ns, '2'),
      prints: /serverside-applied/,
    },
    {
      name: 'describe a policy',
      args: ['describe', 'netpol', 'np1', ...n],
      prints: /To Port: 81\/TCP.*PodSelector: role=client/s,
    },
    {
      name: 'describe a pod',
      args: ['describe', 'pod', 'p', ...n],
      prints: /Successfully assigned/,
    },
    { name: 'describe a node', args: ['describe', 'node', 'node-1'], prints: /KubeletReady/ },
    { name: 'label', args: ['label', 'pod', 'p', ...n, 'x=y'], prints: /labeled/ },
    {
      name: 'label again',
      args: ['label', 'pod', 'p', ...n, 'x=z', '--overwrite'],
      prints: /labeled/,
    },
    { name: 'annotate', args: ['annotate', 'pod', 'p', ...n, 'note=hi'], prints: /annotate/ },
    {
      name: 'edit',
      args: ['edit', 'netpol', 'np1', ...n],
      env: { KUBE_EDITOR: editor },
      prints: /edited/,
    },
    {
      name: 'patch, merge',
      args: [
        'patch',
        'netpol',
        'np1',
        ...n,
        '--type=merge',
        '-p',
        '{"metadata":{"labels":{"a":"b"}}}',
      ],
      prints: /patched/,
    },
    {
      name: 'patch, JSON',
      args: [
        'patch',
        'netpol',
        'np1',
        ...n,
        '--type=json',
        '-p',
        '[{"op":"add","path":"/metadata/labels/c","value":"d"}]',
      ],
      prints: /patched/,
    },
    {
      name: 'patch, strategic',
      args: ['patch', 'netpol', 'np1', ...n, '-p', '{"spec":{"policyTypes":["Ingress","Egress"]}}'],
      prints: /patched/,
    },
    {
      name: 'patch of the status',
      args: [
        'patch',
        'pod',
        'p',
        ...n,
        '--subresource=status',
        '--type=merge',
        '-p',
        '{"status":{"message":"hello"}}',
      ],
      prints: /patched/,
    },
    {
      name: 'replace with an old version',
      args: ['replace', ...file],
      input: policy(ns, 83).replace('{name: np1,', '{name: np1, resourceVersion: "1",'),
      prints: /the object has been modified/,
      code: 1,
    },
    { name: 'replace', args: ['replace', ...file], input: policy(ns, 83), prints: /replaced/ },
    {
      name: 'apply a deployment',
      args: ['apply', ...file],
      input: deployment(ns),
      prints: /created/,
    },
    rollout('rollout status'),
    { name: 'scale', args: ['scale', ...n, 'deploy/web', '--replicas=3'], prints: /scaled/ },
    rollout('rollout status after scale'),
    {
      name: 'set image',
      args: ['set', 'image', ...n, 'deploy/web', 'c=nginx:2'],
      prints: /updated/,
    },
    rollout('rollout status after a change'),
    {
      name: 'rollout history',
      args: ['rollout', 'history', ...n, 'deploy/web'],
      prints: /REVISION/,
    },
    { name: 'rollout undo', args: ['rollout', 'undo', ...n, 'deploy/web'], prints: /rolled back/ },
    rollout('rollout status after undo'),
    {
      name: 'describe a service',
      args: ['describe', ...n, 'svc', 'web'],
      prints: /Endpoints: +10\.244/,
    },
    { name: 'exec', args: ['exec', ...n, 'p', '--', 'echo', 'hi'], prints: /^hi$/m },
    {
      name: 'exec with input',
      args: ['exec', '-i', ...n, 'p', '--', 'cat'],
      input: 'abc\n',
      prints: /^abc$/m,
    },
    {
      name: 'exec that fails',
      args: ['exec', ...n, 'p', '--', 'sh', '-c', 'echo oops >&2; exit 3'],
      prints: /oops.*exit code 3/s,
      code: 3,
    },
    {
      name: 'exec over SPDY',
      args: ['exec', '-i', ...n, 'p', '--', 'cat'],
      input: 'abc\n',
      env: { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: 'false' },
      prints: /^abc$/m,
    },
    {
      name: 'exec of 5 MB',
      args: ['exec', ...n, 'p', '--', 'sh', '-c', "head -c 5000000 /dev/zero | tr '\\0' x"],
      prints: /^x{5000000}$/,
    },
    { name: 'logs', args: ['logs', ...n, 'p'], prints: /hello from p/ },
    {
      name: 'logs -f',
      args: ['logs', '-f', ...n, 'p'],
      prints: /hello from p/,
      endAfter: /hello/,
      code: -1,
    },
    { name: 'attach', args: ['attach', '-i', ...n, 'p'], input: 'attached\n', prints: /attached/ },
    { name: 'explain', args: ['explain', 'netpol.spec'], prints: /podSelector/ },
    { name: 'api-resources', args: ['api-resources'], prints: /networkpolicies +netpol/ },
    { name: 'auth can-i', args: ['auth', 'can-i', 'create', 'pods'], prints: /yes/ },
    { name: 'auth can-i --list', args: ['auth', 'can-i', '--list'], prints: /\*\.\*/ },
    { name: 'auth whoami', args: ['auth', 'whoami'], prints: /podwall-admin/, from: 28 },
    { name: 'events', args: ['events', ...n], prints: /Scheduled/ },
    {
      name: 'get -w',
      args: ['get', 'pods', ...n, '-w'],
      prints: /Running/,
      endAfter: /Running/,
      code: -1,
    },
    {
      name: 'create a config map',
      args: ['create', 'configmap', 'c2', ...n, '--from-literal=a=b'],
      prints: /created/,
    },
    {
      name: 'create a secret',
      args: ['create', 'secret', 'generic', 's1', ...n, '--from-literal=a=b'],
      prints: /created/,
    },
    {
      name: 'create a deployment',
      args: ['create', 'deployment', 'd1', '--image=nginx', ...n],
      prints: /created/,
    },
    {
      name: 'create a job',
      args: ['create', 'job', 'j1', '--image=busybox', ...n, '--', 'true'],
      prints: /created/,
    },
    { name: 'get all', args: ['get', 'all', ...n], prints: /deployment\.apps\/web/ },
    { name: 'not found', args: ['get', 'pod', 'nope', ...n], prints: /NotFound/, code: 1 },
    {
      name: 'delete a pod',
      args: ['delete', 'pod', 'p', ...n, '--timeout=20s'],
      prints: /deleted/,
    },
    {
      name: 'delete in the foreground',
      args: ['delete', 'deploy', 'web', ...n, '--cascade=foreground', '--timeout=20s'],
      prints: /deleted/,
    },
    { name: 'delete a namespace', args: ['delete', 'ns', ns, '--timeout=30s'], prints: /deleted/ },
    { name: 'the namespace is gone', args: ['get', 'ns', ns], prints: /NotFound/, code: 1 },
  ];
}

if (kubectls.length === 0) console.log('not run: kubectl (none on this machine)');
const minors = kubectls.map((file) => /kubectl\.1\.(\d+)$/.exec(file)?.[1]);
const absent = [27, 28, 29, 30, 31, 32, 33, 34, 35].filter((m) => !minors.includes(String(m)));
if (kubectls.length > 0 && absent.length > 0)
  console.log(
    `not run: ${absent.map((minor) => `kubectl 1.${minor}`).join(', ')} (not on this machine)`,
  );
const helm = process.env['PODWALL_HELM'] ?? 'helm';
const hasHelm = spawnSync(helm, ['version'], { stdio: 'ignore' }).error === undefined;
if (!hasHelm) console.log('not run: helm (not on this machine)');
console.log('not run: client-go programs, cyclonus, Headlamp (no test here drives them)');

beforeAll(async () => {
  api = await startLabApi({ runtime: createFakeRuntime(), seed: 7 });
  await writeKubeconfig(kubeconfig, {
    server: api.url,
    authority: api.certificate.cert,
    token: api.token,
  });
  web = createServer((_request, response) => response.end('HELLO-PF'));
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
});

afterAll(async () => {
  await api.stop();
  web.close();
  rmSync(folder, { recursive: true, force: true });
});

describe.each(kubectls)('%s', (kubectl) => {
  const minor = Number(/kubectl\.1\.(\d+)$/.exec(kubectl)?.[1] ?? 99);
  const ns = `k${kubectls.indexOf(kubectl)}`;

  for (const step of steps(ns)) {
    it(step.name, async ({ skip }) => {
      if (step.from !== undefined && minor < step.from)
        skip(`kubectl 1.${minor} does not know the version of the API this asks for`);
      const outcome = await run(kubectl, step.args, step.input, step.env, step.endAfter);
      expect(outcome.text).toMatch(step.prints);
      expect(outcome.code).toBe(step.code ?? 0);
    });
  }
});

describe.each(kubectls)('%s, with a helper', (kubectl) => {
  const ns = `h${kubectls.indexOf(kubectl)}`;

  beforeAll(async () => {
    await run(kubectl, ['create', 'ns', ns]);
    await run(kubectl, ['run', 'p', '-n', ns, '--image=nginx']);
    await run(kubectl, ['wait', '-n', ns, '--for=condition=Ready', 'pod/p', '--timeout=20s']);
  });

  it('exec -it has a terminal of the size of the client', async () => {
    const inner = `stty cols 100 rows 40; ${kubectl} exec -it -n ${ns} p -- sh -c 'sleep 0.7; stty size'`;
    const outcome = await run('script', ['-qec', inner, '/dev/null']);
    expect(outcome.text).toMatch(/40 100/);
  });

  it('port-forward carries several connections', async () => {
    const target = (web.address() as AddressInfo).port;
    const child = spawn(kubectl, ['port-forward', '-n', ns, 'pod/p', `:${target}`], {
      env: { ...process.env, KUBECONFIG: kubeconfig, HOME: folder },
    });
    try {
      const port = await new Promise<string>((resolve, reject) => {
        child.stdout.on('data', (chunk: Buffer) => {
          const match = /127\.0\.0\.1:(\d+)/.exec(chunk.toString());
          if (match?.[1] !== undefined) resolve(match[1]);
        });
        child.on('close', () => reject(new Error('port-forward ended')));
      });
      for (let count = 0; count < 3; count += 1) {
        const reply = await fetch(`http://127.0.0.1:${port}/`);
        expect(await reply.text()).toBe('HELLO-PF');
      }
    } finally {
      child.kill();
    }
  });
});

describe.runIf(hasHelm)('helm', () => {
  const chart = join(folder, 'chart');
  const policyTemplate = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: "{{ .Release.Name }}-np"}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/instance: "{{ .Release.Name }}"}}
  ingress: [{from: [{namespaceSelector: {}}], ports: [{port: 80}]}]
`;
  const inSpace = ['-n', 'charts', '--wait', '--timeout', '30s'];
  const helmSteps: [string, string[], RegExp][] = [
    ['install', ['install', 'r1', chart, '--create-namespace', ...inSpace], /STATUS: deployed/],
    ['list', ['list', '-n', 'charts'], /r1\s.*deployed/],
    ['upgrade', ['upgrade', 'r1', chart, '--set', 'replicaCount=2', ...inSpace], /REVISION: 2/],
    ['rollback', ['rollback', 'r1', '1', ...inSpace], /success/],
    ['uninstall', ['uninstall', 'r1', ...inSpace], /uninstalled/],
  ];

  beforeAll(async () => {
    await run(helm, ['create', chart]);
    writeFileSync(join(chart, 'templates', 'np.yaml'), policyTemplate);
  });

  it.each(helmSteps)('%s', async (_name, args, prints) => {
    const outcome = await run(helm, args);
    expect(outcome.text).toMatch(prints);
    expect(outcome.code).toBe(0);
  });
});
