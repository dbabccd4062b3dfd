import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { fixture } from '../../test/client/fake-api.ts';
import { createCredentials } from './credentials.ts';
import { KubeconfigError } from './errors.ts';
import {
  inClusterConfig,
  loadConfig,
  type ClientConfig,
  type ConfigOptions,
} from './kubeconfig.ts';

const directory = mkdtempSync(join(tmpdir(), 'podwall-kubeconfig-'));
afterAll(() => rmSync(directory, { recursive: true }));
let serial = 0;

function file(text: string, name?: string): string {
  const path = join(directory, name ?? `config-${(serial += 1)}`);
  writeFileSync(path, text);
  return path;
}

function load(text: string, options: ConfigOptions = {}): ClientConfig {
  return loadConfig({ kubeconfig: file(text), env: {}, ...options });
}

function faultOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof KubeconfigError)
      return error.message.replaceAll(/\/[^ :]*\/config-\d+/g, 'FILE');
    throw error;
  }
  throw new Error('no fault');
}

const basic = `
apiVersion: v1
kind: Config
current-context: one
clusters:
- name: c1
  cluster: {server: "https://one.example:6443/"}
- name: c2
  cluster: {server: https://two.example, tls-server-name: inner, insecure-skip-tls-verify: true}
users:
- name: u1
  user: {token: "0123"}
- name: u2
  user: {username: alice, password: 0042}
contexts:
- name: one
  context: {cluster: c1, user: u1, namespace: shop}
- name: two
  context: {cluster: c2, user: u2}
`;

const user = (fields: string): string => `
current-context: x
clusters: [{name: c, cluster: {server: "https://h"}}]
users: [{name: u, user: ${fields}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
`;

describe('loadConfig', () => {
  it('follows current-context, with its namespace', () => {
    expect(load(basic)).toMatchObject({
      server: 'https://one.example:6443',
      context: 'one',
      cluster: 'c1',
      user: 'u1',
      namespace: 'shop',
      insecureSkipTlsVerify: false,
      auth: { token: '0123' },
    });
  });

  it('keeps digits of passwords and tokens as they are written', () => {
    expect(load(basic, { context: 'two' })).toMatchObject({
      namespace: 'default',
      tlsServerName: 'inner',
      insecureSkipTlsVerify: true,
      auth: { username: 'alice', password: '0042' },
    });
  });

  it('applies --cluster, --user, --server, --token and --namespace over the context', () => {
    expect(load(basic, { cluster: 'c2', user: 'u2', namespace: 'n' })).toMatchObject({
      server: 'https://two.example',
      auth: { username: 'alice' },
      namespace: 'n',
    });
    expect(load(basic, { server: 'http://127.0.0.1:1', token: 't' })).toMatchObject({
      server: 'http://127.0.0.1:1',
      auth: { token: 't' },
    });
  });

  it('merges KUBECONFIG lists: the first file to set a name or current-context wins, whole', () => {
    const first = file(`
clusters: [{name: c, cluster: {server: "https://first"}}]
contexts: [{name: a, context: {cluster: c, user: u}}]
`);
    const second = file(`
current-context: a
clusters: [{name: c, cluster: {server: "https://second", tls-server-name: lost}}]
users: [{name: u, user: {token: t}}]
`);
    const config = loadConfig({ env: { KUBECONFIG: `${first}::/does/not/exist:${second}` } });
    expect(config).toMatchObject({ server: 'https://first', context: 'a', auth: { token: 't' } });
    expect(config.tlsServerName).toBeUndefined();
    expect(config.source).toBe(`${first}:${second}`);
  });

  it('takes file paths relative to the kubeconfig that names them', () => {
    mkdirSync(join(directory, 'sub'));
    writeFileSync(join(directory, 'sub', 'ca.crt'), fixture('ca.crt'));
    writeFileSync(join(directory, 'sub', 'token'), 'from-file\n');
    const path = file(
      `
current-context: x
clusters: [{name: c, cluster: {server: "https://h", certificate-authority: ca.crt}}]
users: [{name: u, user: {tokenFile: token, exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: ./plugin}}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
`,
      'sub/config',
    );
    expect(loadConfig({ kubeconfig: path, env: {} })).toMatchObject({
      ca: { file: join(directory, 'sub', 'ca.crt') },
      auth: {
        tokenFile: join(directory, 'sub', 'token'),
        exec: { command: join(directory, 'sub', 'plugin') },
      },
    });
  });

  it('reads -data fields before files', () => {
    const data = Buffer.from(fixture('client.crt')).toString('base64');
    const key = Buffer.from(fixture('client.key')).toString('base64');
    const config = load(user(`{client-certificate-data: ${data}, client-key-data: ${key}}`));
    expect(config.auth).toEqual({
      clientCertificate: { data: fixture('client.crt') },
      clientKey: { data: fixture('client.key') },
    });
  });

  it.each([
    [
      'no file',
      () => loadConfig({ kubeconfig: 'nowhere', env: {}, cwd: '/' }),
      '--kubeconfig: nowhere does not exist',
    ],
    [
      'nothing at all',
      () => loadConfig({ env: { HOME: '/nonexistent' } }),
      'no cluster to talk to: /nonexistent/.kube/config does not exist',
    ],
    ['syntax', () => load('clusters: [}'), /^FILE: not valid YAML: /],
    ['a list', () => load('[]'), 'FILE: must be a mapping'],
    ['another kind', () => load('kind: Pod'), 'FILE: kind: is "Pod", must be "Config"'],
    ['no current-context', () => load('clusters: []'), 'FILE: current-context: is not set'],
    [
      'an unknown current-context',
      () => load('current-context: q'),
      'FILE: current-context: no context "q"',
    ],
    [
      'an unknown --context',
      () => load(basic, { context: 'q' }),
      'FILE: --context: no context "q"',
    ],
    [
      'an unknown cluster',
      () => load('current-context: a\ncontexts: [{name: a, context: {cluster: z}}]'),
      'FILE: contexts[0].context.cluster: no cluster "z"',
    ],
    [
      'a context without cluster',
      () => load('current-context: a\ncontexts: [{name: a, context: {}}]'),
      'FILE: contexts[0].context.cluster: is required',
    ],
    [
      'an unknown user',
      () =>
        load(
          'current-context: a\nclusters: [{name: z, cluster: {server: h}}]\ncontexts: [{name: a, context: {cluster: z, user: y}}]',
        ),
      'FILE: contexts[0].context.user: no user "y"',
    ],
    [
      'no server',
      () =>
        load(
          'current-context: a\nclusters: [{name: z}]\ncontexts: [{name: a, context: {cluster: z}}]',
        ),
      'FILE: clusters[0].cluster.server: is required',
    ],
    [
      'a wrong scheme',
      () => load(basic, { server: 'ftp://x' }),
      'command line: --server: "ftp://x" must begin with https:// or http://',
    ],
    ['a nameless entry', () => load('users: [{user: {}}]'), 'FILE: users[0].name: is required'],
    ['a mapping in place of a list', () => load('users: {a: 1}'), 'FILE: users: must be a list'],
    [
      'a list in place of text',
      () => load(user('{token: [a]}')),
      'FILE: users[0].user.token: must be a string',
    ],
    [
      'bad base64',
      () => load(user('{client-certificate-data: "%%"}')),
      'FILE: users[0].user.client-certificate-data: is not base64',
    ],
    [
      'no PEM',
      () => load(user('{client-certificate-data: aGVsbG8=}')),
      'FILE: users[0].user.client-certificate-data: holds no PEM block',
    ],
    [
      'a missing file',
      () => load(user('{client-certificate: /nonexistent/crt}')),
      'FILE: users[0].user.client-certificate: /nonexistent/crt does not exist',
    ],
    [
      'a certificate without key',
      () => load(user(`{client-certificate: ${import.meta.filename}}`)),
      'FILE: users[0].user.client-key: is required beside client-certificate',
    ],
    [
      'auth-provider',
      () => load(user('{auth-provider: {name: gcp}}')),
      'FILE: users[0].user.auth-provider: auth-provider "gcp" is not supported (kubectl removed these in 1.26)',
    ],
    [
      'an exec v1alpha1',
      () => load(user('{exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: x}}')),
      'FILE: users[0].user.exec.apiVersion: "client.authentication.k8s.io/v1alpha1" is not supported; it must be client.authentication.k8s.io/v1 or client.authentication.k8s.io/v1beta1',
    ],
    [
      'exec v1 without interactiveMode',
      () => load(user('{exec: {apiVersion: client.authentication.k8s.io/v1, command: x}}')),
      'FILE: users[0].user.exec.interactiveMode: is required in client.authentication.k8s.io/v1',
    ],
    [
      'a CA beside insecure',
      () =>
        load(
          `current-context: a\nclusters: [{name: z, cluster: {server: h, insecure-skip-tls-verify: true, certificate-authority: ${import.meta.filename}}}]\ncontexts: [{name: a, context: {cluster: z}}]`,
        ),
      'FILE: clusters[0].cluster.insecure-skip-tls-verify: cannot be true when a certificate authority is given',
    ],
    [
      'a socks proxy',
      () =>
        load(
          'current-context: a\nclusters: [{name: z, cluster: {server: h, proxy-url: "socks5://p:1"}}]\ncontexts: [{name: a, context: {cluster: z}}]',
        ),
      'FILE: clusters[0].cluster.proxy-url: "socks5://p:1": only http:// proxies are supported',
    ],
  ])('names file and field: %s', (_what, run, message) => {
    const text = faultOf(run);
    if (typeof message === 'string') expect(text).toBe(message);
    else expect(text).toMatch(message);
  });
});

describe('inClusterConfig', () => {
  const mount = join(directory, 'serviceaccount');
  mkdirSync(mount);
  const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' };

  it('needs the environment and the token', () => {
    expect(faultOf(() => inClusterConfig({ env: {} }))).toContain(
      'KUBERNETES_SERVICE_HOST is not set',
    );
    expect(faultOf(() => inClusterConfig({ env, serviceAccountDirectory: mount }))).toContain(
      'token does not exist',
    );
  });

  it('reads token, CA and namespace of the mount, and loadConfig falls back to it', () => {
    writeFileSync(join(mount, 'token'), 'first');
    writeFileSync(join(mount, 'ca.crt'), fixture('ca.crt'));
    writeFileSync(join(mount, 'namespace'), 'kube-system\n');
    const config = loadConfig({
      env: { ...env, HOME: '/nonexistent' },
      serviceAccountDirectory: mount,
    });
    expect(config).toEqual({
      server: 'https://[fd00::1]:6443',
      source: 'in-cluster',
      namespace: 'kube-system',
      ca: { file: join(mount, 'ca.crt') },
      insecureSkipTlsVerify: false,
      auth: { tokenFile: join(mount, 'token') },
    });
  });

  it('reads the token again after a minute, or at once when the server refused it', async () => {
    let now = 1_000;
    const clock = { now: () => now, random: () => 0, sleep: () => Promise.resolve() };
    const credentials = createCredentials(
      inClusterConfig({ env, serviceAccountDirectory: mount }),
      { clock },
    );
    expect((await credentials.current()).headers).toEqual({ authorization: 'Bearer first' });
    writeFileSync(join(mount, 'token'), 'second\n');
    expect((await credentials.current()).headers).toEqual({ authorization: 'Bearer first' });
    now += 60_001;
    expect((await credentials.current()).headers).toEqual({ authorization: 'Bearer second' });
    writeFileSync(join(mount, 'token'), 'third');
    credentials.invalidate();
    expect((await credentials.current()).headers).toEqual({ authorization: 'Bearer third' });
  });
});

describe('exec credential plugins', () => {
  const counter = join(directory, 'runs');
  const plugin = (name: string, script: string): string => {
    const path = join(directory, name);
    writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return path;
  };
  const exec = (command: string, more = ''): ClientConfig =>
    load(
      user(
        `{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: IfAvailable, command: ${command}, installHint: "get it from the shop"${more}}}`,
      ),
    );
  const run = async (config: ClientConfig): Promise<string> => {
    try {
      return JSON.stringify(
        (await createCredentials(config, { stdinIsTty: false }).current()).headers,
      );
    } catch (error) {
      const { message, hint } = error as KubeconfigError;
      return `${message.replaceAll(`${directory}/`, '')} | ${hint}`;
    }
  };

  it('caches until expirationTimestamp and passes KUBERNETES_EXEC_INFO, args and env', async () => {
    const command = plugin(
      'good',
      `echo run >> ${counter}; printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s-%s-%s","expirationTimestamp":"1970-01-01T00:00:30Z"}}' "$1" "$EXTRA" "$(echo "$KUBERNETES_EXEC_INFO" | grep -c '"server":"https://h"')"`,
    );
    const config = exec(
      command,
      ', provideClusterInfo: true, args: [a], env: [{name: EXTRA, value: b}]',
    );
    let now = 0;
    const clock = { now: () => now, random: () => 0, sleep: () => Promise.resolve() };
    const credentials = createCredentials(config, { clock, stdinIsTty: false });
    const all = await Promise.all([credentials.current(), credentials.current()]);
    expect(all.map((one) => one.headers['authorization'])).toEqual([
      'Bearer a-b-1',
      'Bearer a-b-1',
    ]);
    now = 29_000;
    await credentials.current();
    const { readFileSync } = await import('node:fs');
    expect(readFileSync(counter, 'utf8')).toBe('run\n');
    now = 30_000;
    await credentials.current();
    expect(readFileSync(counter, 'utf8')).toBe('run\nrun\n');
  });

  it('gives a client certificate', async () => {
    const pem = JSON.stringify(fixture('client.crt')).replaceAll('\\n', '\\\\n');
    const command = plugin(
      'cert',
      `printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"clientCertificateData":${pem},"clientKeyData":"k"}}'`,
    );
    const current = await createCredentials(exec(command), { stdinIsTty: false }).current();
    expect(current).toMatchObject({ certificate: fixture('client.crt'), key: 'k', headers: {} });
  });

  it.each([
    [
      'no such program',
      'podwall-no-such-plugin',
      'credential plugin podwall-no-such-plugin was not found | get it from the shop',
    ],
    [
      'exit code',
      plugin('fails', 'echo no session >&2; exit 3'),
      'credential plugin fails failed (exit code 3): no session | get it from the shop',
    ],
    ['no JSON', plugin('text', 'echo hello'), /^credential plugin text printed no JSON: /],
    [
      'another kind',
      plugin('kind', 'echo "{}"'),
      'credential plugin kind printed no ExecCredential | undefined',
    ],
    [
      'another version',
      plugin(
        'version',
        `echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1"}'`,
      ),
      'credential plugin version printed apiVersion "client.authentication.k8s.io/v1beta1", the kubeconfig asks for "client.authentication.k8s.io/v1" | undefined',
    ],
    [
      'no credential',
      plugin(
        'empty',
        `echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{}}'`,
      ),
      'credential plugin empty printed neither a token nor a client certificate | undefined',
    ],
  ])('explains: %s', async (_what, command, message) => {
    const text = await run(exec(command));
    if (typeof message === 'string') expect(text).toBe(message);
    else expect(text).toMatch(message);
  });

  it('refuses a plugin that needs a terminal when there is none', async () => {
    const config = load(
      user(
        '{exec: {apiVersion: client.authentication.k8s.io/v1beta1, interactiveMode: Always, command: x}}',
      ),
    );
    expect(await run(config)).toBe(
      'credential plugin x needs a terminal (interactiveMode: Always) | undefined',
    );
  });
});
