/**
 * Where the API server is and how to prove who we are: kubeconfig files merged as kubectl merges
 * them, command line overrides, or a pod's service account. Must not open a connection or run a
 * credential plugin.
 */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { errorText, KubeconfigError } from './errors.ts';

/** A certificate or key: its PEM text, or the file that holds it (read again when credentials are renewed). */
export type Material = { readonly data: string } | { readonly file: string };

/** `users[].user.exec`: a program that prints an ExecCredential. */
export interface ExecConfig {
  readonly apiVersion: 'client.authentication.k8s.io/v1' | 'client.authentication.k8s.io/v1beta1';
  /** A name to look up in PATH, or an absolute path. */
  readonly command: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly installHint?: string;
  readonly provideClusterInfo: boolean;
  readonly interactiveMode: 'Never' | 'IfAvailable' | 'Always';
  /** `extensions[client.authentication.k8s.io/exec]` of the cluster, handed to the plugin. */
  readonly clusterConfig?: unknown;
}

export interface AuthConfig {
  readonly clientCertificate?: Material;
  readonly clientKey?: Material;
  readonly token?: string;
  /** Read again as it rotates; wins over `token` while it can be read. */
  readonly tokenFile?: string;
  readonly username?: string;
  readonly password?: string;
  readonly exec?: ExecConfig;
}

export interface Impersonation {
  readonly user: string;
  readonly groups: readonly string[];
  readonly uid?: string;
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/** Everything a connection needs, resolved; file paths are absolute. */
export interface ClientConfig {
  /** Without a slash at its end. */
  readonly server: string;
  /** What to name in messages: the kubeconfig file, or `in-cluster`. */
  readonly source: string;
  readonly context?: string;
  readonly cluster?: string;
  readonly user?: string;
  /** The context's namespace, or `default`. */
  readonly namespace: string;
  readonly ca?: Material;
  readonly insecureSkipTlsVerify: boolean;
  readonly tlsServerName?: string;
  /** `http://[user:password@]host:port`; requests go through it by CONNECT. */
  readonly proxyUrl?: string;
  readonly auth: AuthConfig;
  readonly impersonate?: Impersonation;
}

/** The common kubectl flags and the environment. */
export interface ConfigOptions {
  /** `--kubeconfig`: this file alone. */
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly cluster?: string | undefined;
  readonly user?: string | undefined;
  readonly server?: string | undefined;
  readonly token?: string | undefined;
  readonly namespace?: string | undefined;
  readonly insecureSkipTlsVerify?: boolean | undefined;
  readonly certificateAuthority?: string | undefined;
  readonly tlsServerName?: string | undefined;
  /** `--as` and `--as-group`. */
  readonly as?: string | undefined;
  readonly asGroups?: readonly string[] | undefined;
  /** Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** Relative paths on the command line start here. Default: `process.cwd()`. */
  readonly cwd?: string;
  /** Default: `/var/run/secrets/kubernetes.io/serviceaccount`. */
  readonly serviceAccountDirectory?: string;
}

const defaultServiceAccountDirectory = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * The configuration kubectl would use: `--kubeconfig`, else the files of KUBECONFIG, else
 * `~/.kube/config`, else the service account of the pod we run in.
 * Throws KubeconfigError.
 */
export function loadConfig(options: ConfigOptions = {}): ClientConfig {
  const env = options.env ?? process.env;
  const files = kubeconfigFiles(options, env);
  if (files.length > 0 || options.server !== undefined) return fromFiles(files, options);
  if (env['KUBERNETES_SERVICE_HOST'] !== undefined && env['KUBECONFIG'] === undefined) {
    return inClusterConfig(options);
  }
  const looked = candidateFiles(options, env);
  throw new KubeconfigError(
    looked.length === 0
      ? 'no cluster to talk to: KUBECONFIG and HOME are not set'
      : `no cluster to talk to: ${looked.join(', ')} ${looked.length === 1 ? 'does' : 'do'} not exist`,
    'name a kubeconfig file with --kubeconfig or KUBECONFIG, or give manifests with -f',
  );
}

/** The configuration of a pod: KUBERNETES_SERVICE_HOST and the mounted service account. Throws KubeconfigError. */
export function inClusterConfig(options: ConfigOptions = {}): ClientConfig {
  const env = options.env ?? process.env;
  const host = env['KUBERNETES_SERVICE_HOST'];
  const port = env['KUBERNETES_SERVICE_PORT'] ?? '443';
  if (host === undefined || host === '') {
    throw new KubeconfigError('not in a cluster: KUBERNETES_SERVICE_HOST is not set');
  }
  const directory = options.serviceAccountDirectory ?? defaultServiceAccountDirectory;
  const tokenFile = join(directory, 'token');
  const caFile = join(directory, 'ca.crt');
  if (!existsSync(tokenFile)) {
    throw new KubeconfigError(
      `in-cluster: ${tokenFile} does not exist`,
      'the pod needs automountServiceAccountToken: true',
    );
  }
  let namespace = 'default';
  try {
    namespace = readFileSync(join(directory, 'namespace'), 'utf8').trim() || 'default';
  } catch {
    // Old or hand-made mounts have no namespace file; `default` is what client-go takes then, too.
  }
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    source: 'in-cluster',
    namespace: options.namespace ?? namespace,
    ...(existsSync(caFile) ? { ca: { file: caFile } } : {}),
    insecureSkipTlsVerify: false,
    auth: { tokenFile },
  };
}

function candidateFiles(options: ConfigOptions, env: NodeJS.ProcessEnv): string[] {
  const cwd = options.cwd ?? process.cwd();
  if (options.kubeconfig !== undefined) return [resolve(cwd, options.kubeconfig)];
  const list = env['KUBECONFIG'];
  if (list !== undefined && list !== '') {
    return list
      .split(delimiter)
      .filter((path) => path !== '')
      .map((path) => resolve(cwd, path));
  }
  const home = env['HOME'] ?? homedir();
  return home === '' ? [] : [join(home, '.kube', 'config')];
}

function kubeconfigFiles(options: ConfigOptions, env: NodeJS.ProcessEnv): string[] {
  const candidates = candidateFiles(options, env);
  if (options.kubeconfig !== undefined) {
    const [file] = candidates;
    if (file === undefined || !existsSync(file)) {
      throw new KubeconfigError(`--kubeconfig: ${options.kubeconfig} does not exist`);
    }
  }
  return candidates.filter((file) => existsSync(file));
}

// --- reading and merging ------------------------------------------------------------------------

/** A mapping of a kubeconfig file, with enough memory of its place for messages. */
interface Part {
  readonly file: string;
  readonly path: string;
  readonly value: Readonly<Record<string, unknown>>;
}

interface Merged {
  readonly clusters: Map<string, Part>;
  readonly users: Map<string, Part>;
  readonly contexts: Map<string, Part>;
  currentContext: string | undefined;
}

function fault(part: { file: string; path: string }, field: string, what: string): KubeconfigError {
  const path = [part.path, field].filter((text) => text !== '').join('.');
  return new KubeconfigError(`${part.file}: ${path}: ${what}`);
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Every scalar is read as text (a token of digits stays as it is written); so an empty value is ''. */
function readFile(file: string): Part {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new KubeconfigError(`${file}: cannot be read: ${errorText(error)}`, undefined, error);
  }
  const document = parseDocument(text, { schema: 'failsafe', uniqueKeys: true, merge: true });
  const [syntax] = document.errors;
  if (syntax !== undefined) {
    const message = syntax.message.split('\n')[0] ?? 'syntax error';
    throw new KubeconfigError(`${file}: not valid YAML: ${message.replace(/:$/, '')}`);
  }
  const value: unknown = document.toJS({ maxAliasCount: 100 });
  if (value === null || value === undefined || value === '') return { file, path: '', value: {} };
  if (!isMapping(value)) throw new KubeconfigError(`${file}: must be a mapping`);
  const part = { file, path: '', value };
  const kind = value['kind'];
  if (kind !== undefined && kind !== '' && kind !== 'Config') {
    throw fault(part, 'kind', `is ${JSON.stringify(kind)}, must be "Config"`);
  }
  return part;
}

function text(part: Part, field: string): string | undefined {
  const value = part.value[field];
  if (value === undefined || value === null || value === '' || value === 'null') return undefined;
  if (typeof value !== 'string') throw fault(part, field, 'must be a string');
  return value;
}

function flag(part: Part, field: string): boolean {
  const value = text(part, field);
  if (value === undefined) return false;
  if (/^(true|yes|on)$/i.test(value)) return true;
  if (/^(false|no|off)$/i.test(value)) return false;
  throw fault(part, field, `is ${JSON.stringify(value)}, must be true or false`);
}

function list(part: Part, field: string): readonly unknown[] {
  const value = part.value[field];
  if (value === undefined || value === null || value === '' || value === 'null') return [];
  if (!Array.isArray(value)) throw fault(part, field, 'must be a list');
  return value;
}

function texts(part: Part, field: string): string[] {
  return list(part, field).map((item, index) => {
    if (typeof item !== 'string') throw fault(part, `${field}[${index}]`, 'must be a string');
    return item;
  });
}

function mapping(part: Part, field: string): Part | undefined {
  const value = part.value[field];
  if (value === undefined || value === null || value === '' || value === 'null') return undefined;
  const path = part.path === '' ? field : `${part.path}.${field}`;
  if (!isMapping(value)) throw fault(part, field, 'must be a mapping');
  return { file: part.file, path, value };
}

/** `clusters: [{name, cluster}]` and its kin; the first entry of a name wins, in this and earlier files. */
function collect(part: Part, field: string, inner: string, into: Map<string, Part>): void {
  list(part, field).forEach((item, index) => {
    const path = `${field}[${index}]`;
    if (!isMapping(item)) throw fault(part, path, 'must be a mapping');
    const entry: Part = { file: part.file, path, value: item };
    const name = text(entry, 'name');
    if (name === undefined) throw fault(entry, 'name', 'is required');
    if (into.has(name)) return;
    into.set(
      name,
      mapping(entry, inner) ?? { file: part.file, path: `${path}.${inner}`, value: {} },
    );
  });
}

function merge(files: readonly string[]): Merged {
  const merged: Merged = {
    clusters: new Map(),
    users: new Map(),
    contexts: new Map(),
    currentContext: undefined,
  };
  for (const file of files) {
    const part = readFile(file);
    collect(part, 'clusters', 'cluster', merged.clusters);
    collect(part, 'users', 'user', merged.users);
    collect(part, 'contexts', 'context', merged.contexts);
    merged.currentContext ??= text(part, 'current-context');
  }
  return merged;
}

function known(names: Iterable<string>): string {
  const all = [...names];
  if (all.length === 0) return 'there is none';
  return `there ${all.length === 1 ? 'is' : 'are'}: ${all.slice(0, 10).join(', ')}${all.length > 10 ? ', …' : ''}`;
}

function fromFiles(files: readonly string[], options: ConfigOptions): ClientConfig {
  const merged = merge(files);
  const where = files.length === 0 ? 'command line' : files.join(delimiter);
  const nothing: Part = { file: where, path: '', value: {} };

  const contextName = options.context ?? merged.currentContext;
  const context = contextName === undefined ? undefined : merged.contexts.get(contextName);
  if (contextName !== undefined && context === undefined) {
    const field = options.context === undefined ? 'current-context' : '--context';
    throw new KubeconfigError(
      `${where}: ${field}: no context "${contextName}"`,
      known(merged.contexts.keys()),
    );
  }
  if (context === undefined && options.cluster === undefined && options.server === undefined) {
    throw new KubeconfigError(
      `${where}: current-context: is not set`,
      `choose one with --context; ${known(merged.contexts.keys())}`,
    );
  }

  const clusterName = options.cluster ?? (context && text(context, 'cluster'));
  const cluster = clusterName === undefined ? undefined : merged.clusters.get(clusterName);
  if (clusterName !== undefined && cluster === undefined) {
    const place =
      options.cluster === undefined && context
        ? `${context.file}: ${context.path}.cluster`
        : '--cluster';
    throw new KubeconfigError(
      `${place}: no cluster "${clusterName}"`,
      known(merged.clusters.keys()),
    );
  }
  if (cluster === undefined && options.server === undefined) {
    throw fault(context ?? nothing, 'cluster', 'is required');
  }

  const userName = options.user ?? (context && text(context, 'user'));
  const user = userName === undefined ? undefined : merged.users.get(userName);
  if (userName !== undefined && user === undefined) {
    const place =
      options.user === undefined && context ? `${context.file}: ${context.path}.user` : '--user';
    throw new KubeconfigError(`${place}: no user "${userName}"`, known(merged.users.keys()));
  }

  const clusterPart = cluster ?? nothing;
  return {
    ...readCluster(clusterPart, options),
    source: where,
    ...(contextName === undefined ? {} : { context: contextName }),
    ...(clusterName === undefined ? {} : { cluster: clusterName }),
    ...(userName === undefined ? {} : { user: userName }),
    namespace: options.namespace ?? (context && text(context, 'namespace')) ?? 'default',
    ...readUser(user ?? nothing, clusterPart, options),
  };
}

function relativeTo(part: Part, path: string): string {
  return isAbsolute(path) ? path : resolve(dirname(part.file), path);
}

/** `<name>-data` (base64) wins over `<name>` (a file), as in kubectl. */
function material(part: Part, field: string): Material | undefined {
  const data = text(part, `${field}-data`);
  if (data !== undefined) {
    const bytes = Buffer.from(data, 'base64');
    if (bytes.length === 0 || !/^[A-Za-z0-9+/=\s]*$/.test(data)) {
      throw fault(part, `${field}-data`, 'is not base64');
    }
    const pem = bytes.toString('utf8');
    if (!pem.includes('-----BEGIN ')) throw fault(part, `${field}-data`, 'holds no PEM block');
    return { data: pem };
  }
  const path = text(part, field);
  if (path === undefined) return undefined;
  const file = relativeTo(part, path);
  if (!existsSync(file)) throw fault(part, field, `${file} does not exist`);
  return { file };
}

function checkUrl(part: Part, field: string, value: string): URL {
  let url: URL;
  try {
    url = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(value) ? value : `http://${value}`);
  } catch {
    throw fault(part, field, `${JSON.stringify(value)} is not a URL`);
  }
  return url;
}

function readCluster(
  part: Part,
  options: ConfigOptions,
): Omit<ClientConfig, 'source' | 'auth' | 'namespace'> {
  const server = options.server ?? text(part, 'server');
  if (server === undefined) throw fault(part, 'server', 'is required');
  const place: Part =
    options.server === undefined ? part : { file: 'command line', path: '', value: {} };
  const field = options.server === undefined ? 'server' : '--server';
  const url = checkUrl(place, field, server);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw fault(place, field, `${JSON.stringify(server)} must begin with https:// or http://`);
  }
  const insecure = options.insecureSkipTlsVerify ?? flag(part, 'insecure-skip-tls-verify');
  const authority = options.certificateAuthority;
  const ca =
    authority === undefined
      ? material(part, 'certificate-authority')
      : { file: resolve(options.cwd ?? process.cwd(), authority) };
  if (
    'file' in (ca ?? {}) &&
    authority !== undefined &&
    !existsSync((ca as { file: string }).file)
  ) {
    throw new KubeconfigError(`--certificate-authority: ${authority} does not exist`);
  }
  if (insecure && ca !== undefined && options.insecureSkipTlsVerify === undefined) {
    throw fault(
      part,
      'insecure-skip-tls-verify',
      'cannot be true when a certificate authority is given',
    );
  }
  const serverName = options.tlsServerName ?? text(part, 'tls-server-name');
  const proxy = text(part, 'proxy-url');
  if (proxy !== undefined && checkUrl(part, 'proxy-url', proxy).protocol !== 'http:') {
    throw fault(part, 'proxy-url', `${JSON.stringify(proxy)}: only http:// proxies are supported`);
  }
  return {
    server: url.href.replace(/\/+$/, ''),
    ...(ca === undefined || insecure ? {} : { ca }),
    insecureSkipTlsVerify: insecure,
    ...(serverName === undefined ? {} : { tlsServerName: serverName }),
    ...(proxy === undefined ? {} : { proxyUrl: proxy }),
  };
}

function readUser(
  part: Part,
  cluster: Part,
  options: ConfigOptions,
): { auth: AuthConfig; impersonate?: Impersonation } {
  const impersonate = readImpersonation(part, options);
  const certificate = material(part, 'client-certificate');
  const key = material(part, 'client-key');
  if (certificate !== undefined && key === undefined) {
    throw fault(part, 'client-key', 'is required beside client-certificate');
  }
  if (key !== undefined && certificate === undefined) {
    throw fault(part, 'client-certificate', 'is required beside client-key');
  }
  const certificates = certificate && key ? { clientCertificate: certificate, clientKey: key } : {};
  const rest = impersonate === undefined ? {} : { impersonate };
  if (options.token !== undefined)
    return { auth: { ...certificates, token: options.token }, ...rest };

  const token = text(part, 'token');
  const tokenFile = text(part, 'tokenFile');
  const username = text(part, 'username');
  const password = text(part, 'password');
  if (username !== undefined && (token !== undefined || tokenFile !== undefined)) {
    throw fault(part, 'username', 'cannot stand beside token or tokenFile');
  }
  const exec = readExec(part, cluster);
  const provider = mapping(part, 'auth-provider');
  if (
    provider !== undefined &&
    token === undefined &&
    tokenFile === undefined &&
    exec === undefined
  ) {
    const name = text(provider, 'name') ?? '';
    throw new KubeconfigError(
      `${part.file}: ${provider.path}: auth-provider "${name}" is not supported (kubectl removed these in 1.26)`,
      'use an exec credential plugin, for example kubelogin or gke-gcloud-auth-plugin',
    );
  }
  return {
    auth: {
      ...certificates,
      ...(token === undefined ? {} : { token }),
      ...(tokenFile === undefined ? {} : { tokenFile: relativeTo(part, tokenFile) }),
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(exec === undefined ? {} : { exec }),
    },
    ...rest,
  };
}

function readImpersonation(part: Part, options: ConfigOptions): Impersonation | undefined {
  const user = options.as ?? text(part, 'as');
  const groups = options.asGroups ?? texts(part, 'as-groups');
  if (user === undefined) {
    if (groups.length > 0) throw fault(part, 'as-groups', 'needs `as`');
    return undefined;
  }
  const uid = text(part, 'as-uid');
  const extraPart = mapping(part, 'as-user-extra');
  const extra: Record<string, string[]> = {};
  if (extraPart !== undefined) {
    for (const key of Object.keys(extraPart.value)) extra[key] = texts(extraPart, key);
  }
  return { user, groups, ...(uid === undefined ? {} : { uid }), extra };
}

function readExec(user: Part, cluster: Part): ExecConfig | undefined {
  const part = mapping(user, 'exec');
  if (part === undefined) return undefined;
  const apiVersion = text(part, 'apiVersion');
  if (
    apiVersion !== 'client.authentication.k8s.io/v1' &&
    apiVersion !== 'client.authentication.k8s.io/v1beta1'
  ) {
    throw fault(
      part,
      'apiVersion',
      `${apiVersion === undefined ? 'is required' : `${JSON.stringify(apiVersion)} is not supported`}; it must be client.authentication.k8s.io/v1 or client.authentication.k8s.io/v1beta1`,
    );
  }
  const command = text(part, 'command');
  if (command === undefined) throw fault(part, 'command', 'is required');
  const mode = text(part, 'interactiveMode');
  if (mode === undefined && apiVersion === 'client.authentication.k8s.io/v1') {
    throw fault(part, 'interactiveMode', 'is required in client.authentication.k8s.io/v1');
  }
  if (mode !== undefined && mode !== 'Never' && mode !== 'IfAvailable' && mode !== 'Always') {
    throw fault(
      part,
      'interactiveMode',
      `${JSON.stringify(mode)} must be Never, IfAvailable or Always`,
    );
  }
  const env = list(part, 'env').map((item, index) => {
    if (!isMapping(item)) throw fault(part, `env[${index}]`, 'must be a mapping');
    const entry: Part = { file: part.file, path: `${part.path}.env[${index}]`, value: item };
    const name = text(entry, 'name');
    if (name === undefined) throw fault(entry, 'name', 'is required');
    return { name, value: text(entry, 'value') ?? '' };
  });
  const installHint = text(part, 'installHint');
  // A path (not a bare name) is relative to the file that names it.
  const isPath = command.includes('/') || command.includes('\\');
  let clusterConfig: unknown;
  for (const item of list(cluster, 'extensions')) {
    if (isMapping(item) && item['name'] === 'client.authentication.k8s.io/exec') {
      clusterConfig = item['extension'];
    }
  }
  return {
    apiVersion,
    command: isPath ? relativeTo(part, command) : command,
    args: texts(part, 'args'),
    env,
    ...(installHint === undefined ? {} : { installHint }),
    provideClusterInfo: flag(part, 'provideClusterInfo'),
    interactiveMode: mode ?? 'IfAvailable',
    ...(clusterConfig === undefined ? {} : { clusterConfig }),
  };
}
