/**
 * Turns the authentication part of a configuration into headers and TLS material, re-reading
 * rotated files and re-running plugins when needed. Must not send requests.
 */
import { readFileSync } from 'node:fs';
import { systemClock, type Clock } from '../system/clock.ts';
import { errorText, KubeconfigError } from './errors.ts';
import { runCredentialPlugin, type ExecCredential } from './exec-credential.ts';
import type { ClientConfig, Material } from './kubeconfig.ts';

/** What a request needs at this moment. `tlsKey` changes when the TLS material does. */
export interface CurrentCredentials {
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly ca?: string;
  readonly certificate?: string;
  readonly key?: string;
  readonly tlsKey: string;
}

export interface Credentials {
  /** Cheap when nothing is due: files are read at most once a minute. Throws KubeconfigError. */
  current(): Promise<CurrentCredentials>;
  /** The server refused them: read files and run the plugin again at the next call. */
  invalidate(): void;
}

export interface CredentialsOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly clock?: Clock;
  /** How long a file that was read counts as fresh, in milliseconds. Default 60,000, as in client-go. */
  readonly fileTtlMs?: number;
  readonly stdinIsTty?: boolean;
}

export function createCredentials(
  config: ClientConfig,
  options: CredentialsOptions = {},
): Credentials {
  const clock = options.clock ?? systemClock;
  const fileTtlMs = options.fileTtlMs ?? 60_000;
  const fixedHeaders = impersonationHeaders(config);
  let cached: CurrentCredentials | undefined;
  let cachedUntil = -Infinity;
  let plugin: ExecCredential | undefined;
  let pending: Promise<CurrentCredentials> | undefined;

  async function load(): Promise<CurrentCredentials> {
    const { auth } = config;
    const ca = config.ca && readMaterial(config.ca, config, 'certificate authority');
    let certificate =
      auth.clientCertificate && readMaterial(auth.clientCertificate, config, 'client certificate');
    let key = auth.clientKey && readMaterial(auth.clientKey, config, 'client key');
    let token = auth.token;
    if (auth.tokenFile !== undefined) token = readToken(auth.tokenFile, token);
    if (token === undefined && auth.username === undefined && auth.exec !== undefined) {
      if (plugin === undefined || (plugin.expiresAt ?? Infinity) <= clock.now()) {
        plugin = await runCredentialPlugin(auth.exec, config, ca, options);
      }
      token = plugin.token;
      certificate = plugin.certificate ?? certificate;
      key = plugin.key ?? key;
    }
    const headers: Record<string, string | string[]> = { ...fixedHeaders };
    if (token !== undefined) headers['authorization'] = `Bearer ${token}`;
    else if (auth.username !== undefined) {
      const pair = Buffer.from(`${auth.username}:${auth.password ?? ''}`).toString('base64');
      headers['authorization'] = `Basic ${pair}`;
    }
    cachedUntil = Math.min(clock.now() + fileTtlMs, plugin?.expiresAt ?? Infinity);
    return {
      headers,
      ...(ca === undefined ? {} : { ca }),
      ...(certificate === undefined ? {} : { certificate }),
      ...(key === undefined ? {} : { key }),
      tlsKey: [ca ?? '', certificate ?? '', key ?? ''].join('\n'),
    };
  }

  return {
    async current() {
      if (cached !== undefined && clock.now() < cachedUntil) return cached;
      // Requests that start together share one plugin run.
      pending ??= load().finally(() => {
        pending = undefined;
      });
      cached = await pending;
      return cached;
    },
    invalidate() {
      cached = undefined;
      plugin = undefined;
    },
  };
}

function readMaterial(material: Material, config: ClientConfig, what: string): string {
  if ('data' in material) return material.data;
  try {
    return readFileSync(material.file, 'utf8');
  } catch (error) {
    throw new KubeconfigError(
      `${config.source}: ${what} ${material.file}: cannot be read: ${errorText(error)}`,
      undefined,
      error,
    );
  }
}

/** While the file is being replaced, the last known token is better than none. */
function readToken(file: string, fallback: string | undefined): string {
  try {
    const token = readFileSync(file, 'utf8').trim();
    if (token !== '') return token;
  } catch (error) {
    if (fallback === undefined) {
      throw new KubeconfigError(
        `token file ${file}: cannot be read: ${errorText(error)}`,
        undefined,
        error,
      );
    }
  }
  if (fallback === undefined) throw new KubeconfigError(`token file ${file}: is empty`);
  return fallback;
}

function impersonationHeaders(config: ClientConfig): Record<string, string | string[]> {
  const as = config.impersonate;
  if (as === undefined) return {};
  const headers: Record<string, string | string[]> = { 'impersonate-user': as.user };
  if (as.uid !== undefined) headers['impersonate-uid'] = as.uid;
  if (as.groups.length > 0) headers['impersonate-group'] = [...as.groups];
  for (const [key, values] of Object.entries(as.extra)) {
    headers[`impersonate-extra-${encodeURIComponent(key)}`] = [...values];
  }
  return headers;
}
