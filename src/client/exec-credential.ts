/**
 * Runs an exec credential plugin (client.authentication.k8s.io) and reads what it prints.
 * Must not cache; credentials.ts does.
 */
import { spawn } from 'node:child_process';
import { errorText, KubeconfigError } from './errors.ts';
import type { ClientConfig, ExecConfig } from './kubeconfig.ts';

export interface ExecCredential {
  readonly token?: string;
  readonly certificate?: string;
  readonly key?: string;
  /** Milliseconds since the epoch; absent: valid until the server refuses it. */
  readonly expiresAt?: number;
}

/** Throws KubeconfigError with the plugin's own words and its install hint. */
export async function runCredentialPlugin(
  exec: ExecConfig,
  config: ClientConfig,
  caData: string | undefined,
  options: { env?: NodeJS.ProcessEnv; timeoutMs?: number; stdinIsTty?: boolean } = {},
): Promise<ExecCredential> {
  const what = `credential plugin ${exec.command}`;
  const stdinIsTty = options.stdinIsTty ?? process.stdin.isTTY ?? false;
  if (exec.interactiveMode === 'Always' && !stdinIsTty) {
    throw new KubeconfigError(`${what} needs a terminal (interactiveMode: Always)`);
  }
  const interactive = exec.interactiveMode !== 'Never' && stdinIsTty;
  const info = {
    kind: 'ExecCredential',
    apiVersion: exec.apiVersion,
    spec: {
      interactive,
      ...(exec.provideClusterInfo ? { cluster: clusterInfo(exec, config, caData) } : {}),
    },
  };
  const env: NodeJS.ProcessEnv = { ...(options.env ?? process.env) };
  for (const { name, value } of exec.env) env[name] = value;
  env['KUBERNETES_EXEC_INFO'] = JSON.stringify(info);
  const output = await runProcess(exec, what, env, interactive, options.timeoutMs ?? 60_000);
  return readCredential(output, exec, what);
}

function clusterInfo(exec: ExecConfig, config: ClientConfig, caData: string | undefined): object {
  return {
    server: config.server,
    ...(config.tlsServerName === undefined ? {} : { 'tls-server-name': config.tlsServerName }),
    ...(config.insecureSkipTlsVerify ? { 'insecure-skip-tls-verify': true } : {}),
    ...(caData === undefined
      ? {}
      : { 'certificate-authority-data': Buffer.from(caData).toString('base64') }),
    ...(config.proxyUrl === undefined ? {} : { 'proxy-url': config.proxyUrl }),
    ...(exec.clusterConfig === undefined ? {} : { config: exec.clusterConfig }),
  };
}

function runProcess(
  exec: ExecConfig,
  what: string,
  env: NodeJS.ProcessEnv,
  interactive: boolean,
  timeoutMs: number,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(exec.command, [...exec.args], {
      env,
      stdio: [interactive ? 'inherit' : 'ignore', 'pipe', 'pipe'],
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => err.push(chunk));
    child.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      const missing = error.code === 'ENOENT';
      reject(
        new KubeconfigError(
          missing ? `${what} was not found` : `${what} could not be run: ${error.message}`,
          exec.installHint?.trim(),
          error,
        ),
      );
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) return resolve(Buffer.concat(out).toString('utf8'));
      const words = Buffer.concat(err).toString('utf8').trim().slice(-500);
      const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
      reject(
        new KubeconfigError(
          `${what} failed (${how})${words === '' ? '' : `: ${words}`}`,
          exec.installHint?.trim(),
        ),
      );
    });
  });
}

function readCredential(output: string, exec: ExecConfig, what: string): ExecCredential {
  let value: {
    apiVersion?: unknown;
    kind?: unknown;
    status?: {
      token?: unknown;
      clientCertificateData?: unknown;
      clientKeyData?: unknown;
      expirationTimestamp?: unknown;
    };
  };
  try {
    value = JSON.parse(output) as typeof value;
  } catch (error) {
    throw new KubeconfigError(`${what} printed no JSON: ${errorText(error)}`, undefined, error);
  }
  if (typeof value !== 'object' || value === null || value.kind !== 'ExecCredential') {
    throw new KubeconfigError(`${what} printed no ExecCredential`);
  }
  if (value.apiVersion !== exec.apiVersion) {
    throw new KubeconfigError(
      `${what} printed apiVersion ${JSON.stringify(value.apiVersion)}, the kubeconfig asks for "${exec.apiVersion}"`,
    );
  }
  const status = value.status;
  if (typeof status !== 'object' || status === null) {
    throw new KubeconfigError(`${what} printed an ExecCredential without status`);
  }
  const token = typeof status.token === 'string' && status.token !== '' ? status.token : undefined;
  const certificate =
    typeof status.clientCertificateData === 'string'
      ? status.clientCertificateData || undefined
      : undefined;
  const key =
    typeof status.clientKeyData === 'string' ? status.clientKeyData || undefined : undefined;
  if (token === undefined && certificate === undefined) {
    throw new KubeconfigError(`${what} printed neither a token nor a client certificate`);
  }
  if ((certificate === undefined) !== (key === undefined)) {
    throw new KubeconfigError(
      `${what} must print clientCertificateData and clientKeyData together`,
    );
  }
  const expires =
    typeof status.expirationTimestamp === 'string' ? Date.parse(status.expirationTimestamp) : NaN;
  return {
    ...(token === undefined ? {} : { token }),
    ...(certificate === undefined || key === undefined ? {} : { certificate, key }),
    ...(Number.isNaN(expires) ? {} : { expiresAt: expires }),
  };
}
