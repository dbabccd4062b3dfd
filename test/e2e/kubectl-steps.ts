/**
 * The kubectl programs of this machine and the commands they are tried with, whatever runs the pods.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, realpathSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

/** Versioned binaries beside `kubectl`, else `kubectl` itself; `PODWALL_KUBECTL` adds others. */
export function findKubectls(): string[] {
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

/** The minor version of a binary whose name says it; undefined for a plain `kubectl`. */
export function minorOf(kubectl: string): number | undefined {
  const minor = /kubectl\.1\.(\d+)$/.exec(kubectl)?.[1];
  return minor === undefined ? undefined : Number(minor);
}

/** Says by name which versions there is no program for. */
export function reportMissing(kubectls: readonly string[]): void {
  if (kubectls.length === 0) console.log('not run: kubectl (none on this machine)');
  const minors = kubectls.map(minorOf);
  const absent = [27, 28, 29, 30, 31, 32, 33, 34, 35].filter((minor) => !minors.includes(minor));
  if (kubectls.length > 0 && absent.length > 0)
    console.log(
      `not run: ${absent.map((minor) => `kubectl 1.${minor}`).join(', ')} (not on this machine)`,
    );
}

export interface Outcome {
  readonly code: number;
  readonly text: string;
}

export interface RunOptions {
  readonly input?: string | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Killed when it has printed this; the code is -1 then. */
  readonly endAfter?: RegExp | undefined;
}

/** Runs a program with what it prints on both streams; after 30 s it is killed. */
export function run(
  program: string,
  args: readonly string[],
  { input = '', env = {}, endAfter }: RunOptions = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: 'pipe' });
    let text = '';
    const collect = (chunk: Buffer): void => {
      text += chunk.toString('utf8');
      if (endAfter?.test(text)) child.kill('SIGKILL');
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
    child.on('error', reject);
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

export interface Step {
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
  /** What only real pods can show: these steps run with every version there, too. */
  readonly inPods?: true;
}

/** The matrix: in order, in a namespace of its own. `folder`: for files of the steps. */
export function steps(ns: string, folder: string): Step[] {
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
    { name: 'create namespace', args: ['create', 'ns', ns], prints: /created/, inPods: true },
    {
      name: 'run',
      args: ['run', 'p', ...n, '--image=nginx', '--labels=app=web,role=client', '--port=80'],
      prints: /pod\/p created/,
      inPods: true,
    },
    {
      name: 'wait for a condition',
      args: ['wait', ...n, '--for=condition=Ready', 'pod/p', '--timeout=20s'],
      prints: /condition met/,
      inPods: true,
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
      name: 'rollout restart',
      args: ['rollout', 'restart', ...n, 'deploy/web'],
      prints: /deployment\.apps\/web restarted/,
    },
    rollout('rollout status after restart'),
    {
      name: 'describe a service',
      args: ['describe', ...n, 'svc', 'web'],
      prints: /Endpoints: +10\.244/,
    },
    { name: 'exec', args: ['exec', ...n, 'p', '--', 'echo', 'hi'], prints: /^hi$/m, inPods: true },
    {
      name: 'exec with input',
      args: ['exec', '-i', ...n, 'p', '--', 'cat'],
      input: 'abc\n',
      prints: /^abc$/m,
      inPods: true,
    },
    {
      name: 'exec that fails',
      args: ['exec', ...n, 'p', '--', 'sh', '-c', 'echo oops >&2; exit 3'],
      prints: /oops.*exit code 3/s,
      code: 3,
      inPods: true,
    },
    {
      name: 'exec over SPDY',
      args: ['exec', '-i', ...n, 'p', '--', 'cat'],
      input: 'abc\n',
      env: { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: 'false' },
      prints: /^abc$/m,
      inPods: true,
    },
    {
      name: 'exec of 5 MB',
      args: ['exec', ...n, 'p', '--', 'sh', '-c', "head -c 5000000 /dev/zero | tr '\\0' x"],
      prints: /^x{5000000}$/,
      inPods: true,
    },
    {
      name: 'run a command',
      args: [
        'run',
        't',
        ...n,
        '--image=busybox',
        '--stdin',
        '--attach=false',
        '--',
        'sh',
        '-c',
        'echo hello from t; exec cat',
      ],
      prints: /pod\/t created/,
      inPods: true,
    },
    {
      name: 'wait for the command',
      args: ['wait', ...n, '--for=condition=Ready', 'pod/t', '--timeout=20s'],
      prints: /condition met/,
      inPods: true,
    },
    { name: 'logs', args: ['logs', ...n, 't'], prints: /hello from t/, inPods: true },
    {
      name: 'logs -f',
      args: ['logs', '-f', ...n, 't'],
      prints: /hello from t/,
      endAfter: /hello/,
      code: -1,
      inPods: true,
    },
    {
      name: 'attach',
      args: ['attach', '-i', ...n, 't'],
      input: 'attached\n',
      prints: /attached/,
      inPods: true,
    },
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
      inPods: true,
    },
    {
      name: 'delete in the foreground',
      args: ['delete', 'deploy', 'web', ...n, '--cascade=foreground', '--timeout=20s'],
      prints: /deleted/,
    },
    {
      name: 'delete a namespace',
      args: ['delete', 'ns', ns, '--timeout=30s'],
      prints: /deleted/,
      inPods: true,
    },
    {
      name: 'the namespace is gone',
      args: ['get', 'ns', ns],
      prints: /NotFound/,
      code: 1,
      inPods: true,
    },
  ];
}

/** What `stty size` says in a pod's terminal when the client's own has 40 rows of 100 columns. */
export async function sizeInPod(
  kubectl: string,
  target: string,
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const inner = `stty cols 100 rows 40; ${kubectl} exec -it ${target} -- sh -c 'sleep 0.7; stty size'`;
  return (await run('script', ['-qec', inner, '/dev/null'], { env })).text;
}

/** What a pod's terminal says when the client's changes to 22 rows of 77 columns meanwhile. */
export async function resizedInPod(
  kubectl: string,
  target: string,
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const watch = 'until [ "$(stty size)" = "22 77" ]; do sleep 0.05; done; echo it is; stty size';
  const later = '(sleep 1; stty cols 77 rows 22 </dev/tty) &';
  const inner = `stty cols 100 rows 40; ${later} ${kubectl} exec -it ${target} -- sh -c '${watch}'`;
  return (await run('script', ['-qec', inner, '/dev/null'], { env })).text;
}

/** Asks `count` times over one `port-forward`, each on a connection of its own. */
export async function forwardedTexts(
  kubectl: string,
  args: readonly string[],
  count: number,
  env: Readonly<Record<string, string>>,
): Promise<string[]> {
  const child = spawn(kubectl, ['port-forward', ...args], { env: { ...process.env, ...env } });
  try {
    const port = await new Promise<string>((resolve, reject) => {
      let text = '';
      child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
      child.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        const match = /127\.0\.0\.1:(\d+)/.exec(text);
        if (match?.[1] !== undefined) resolve(match[1]);
      });
      child.on('close', () => reject(new Error(`port-forward ended: ${text}`)));
    });
    const texts: string[] = [];
    while (texts.length < count) {
      const reply = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
      texts.push(await reply.text());
    }
    return texts;
  } finally {
    child.kill();
  }
}
