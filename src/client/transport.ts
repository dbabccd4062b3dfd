/**
 * One connection to an API server: authenticated requests with time-outs, keep-alive, gzip and
 * Status errors. Knows HTTP, not resources; it retries only what cannot have reached the server
 * and a 401 after renewing credentials.
 */
import * as http from 'node:http';
import * as https from 'node:https';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import * as tls from 'node:tls';
import * as zlib from 'node:zlib';
import { systemClock, type Clock } from '../system/clock.ts';
import {
  createCredentials,
  type CredentialsOptions,
  type CurrentCredentials,
} from './credentials.ts';
import { ConnectionError, errorOfStatus, errorText } from './errors.ts';
import { loadConfig, type ClientConfig, type ConfigOptions } from './kubeconfig.ts';

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface RequestOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly query?: Query | undefined;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
  /** Until the answer is complete (`request`) or its headers are there (`open`). Default 60,000 ms. */
  readonly timeoutMs?: number;
}

export interface Connection {
  readonly config: ClientConfig;
  /** For messages: `context kind-dev at https://127.0.0.1:6443`. */
  readonly description: string;
  readonly clock: Clock;
  /** The decoded JSON answer. Throws KubeApiError, ConnectionError, KubeconfigError, or the signal's reason. */
  request<T>(path: string, options?: RequestOptions): Promise<T>;
  /** A streaming answer, decompressed; destroy it to hang up. Throws as `request`. */
  open(path: string, options?: RequestOptions): Promise<Readable>;
  /** Closes idle sockets; later requests still work. */
  close(): void;
}

export interface ConnectOptions extends CredentialsOptions {
  readonly userAgent?: string;
  /** Default for `RequestOptions.timeoutMs`. */
  readonly timeoutMs?: number;
}

/** A connection for the configuration; nothing is sent before the first request. */
export function connect(config: ClientConfig, options: ConnectOptions = {}): Connection {
  const credentials = createCredentials(config, options);
  const userAgent = options.userAgent ?? 'podwall';
  const defaultTimeout = options.timeoutMs ?? 60_000;
  const base = new URL(`${config.server}/`);
  let agent: http.Agent | undefined;
  let agentKey: string | undefined;

  function agentFor(current: CurrentCredentials): http.Agent {
    if (agent === undefined || agentKey !== current.tlsKey) {
      // Streams on the old agent live on; only its idle sockets go.
      if (agent !== undefined) retire(agent);
      agent = createAgent(config, base, current);
      agentKey = current.tlsKey;
    }
    return agent;
  }

  async function once(
    path: string,
    request: RequestOptions,
    signal: AbortSignal,
  ): Promise<http.IncomingMessage> {
    const current = await credentials.current();
    const url = new URL(base.pathname.replace(/\/$/, '') + path, base);
    for (const [key, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(key, String(value));
    }
    const body = request.body === undefined ? undefined : Buffer.from(JSON.stringify(request.body));
    const headers: http.OutgoingHttpHeaders = {
      ...current.headers,
      accept: request.accept ?? 'application/json',
      'accept-encoding': 'gzip',
      'user-agent': userAgent,
    };
    if (body !== undefined) {
      headers['content-type'] = request.contentType ?? 'application/json';
      headers['content-length'] = body.length;
    }
    const send = (): Promise<http.IncomingMessage> =>
      exchange(
        url,
        { method: request.method ?? 'GET', headers, agent: agentFor(current), signal },
        body,
      );
    try {
      return await send();
    } catch (error) {
      // The server closed an idle keep-alive socket just as we wrote to it: not an answer to us.
      if (error instanceof StaleSocket && !signal.aborted) return await send();
      // An authority or a client certificate may have been replaced: read the files again next time.
      if (isTlsFault(error)) credentials.invalidate();
      throw error;
    }
  }

  async function answered(
    path: string,
    request: RequestOptions,
    signal: AbortSignal,
  ): Promise<http.IncomingMessage> {
    for (let renewed = false; ; renewed = true) {
      const response = await once(path, request, signal);
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) return response;
      const body = await readError(response);
      if (status === 401 && !renewed) {
        credentials.invalidate();
        continue;
      }
      throw errorOfStatus(status, body, retryAfterSeconds(response));
    }
  }

  const where = config.context === undefined ? config.source : `context ${config.context}`;
  return {
    config,
    description: `${where} at ${config.server}`,
    clock: options.clock ?? systemClock,
    async request<T>(path: string, request: RequestOptions = {}) {
      const limit = deadline(request.timeoutMs ?? defaultTimeout, request.signal, config);
      try {
        const response = await answered(path, request, limit.signal);
        const text = (await readAll(decoded(response))).toString('utf8');
        try {
          return JSON.parse(text) as T;
        } catch (error) {
          throw new ConnectionError(
            `${config.server}: the answer to ${path} is not JSON: ${errorText(error)}`,
            'EBADJSON',
            error,
          );
        }
      } catch (error) {
        throw limit.explain(error);
      } finally {
        limit.clear();
      }
    },
    async open(path: string, request: RequestOptions = {}) {
      const limit = deadline(request.timeoutMs ?? defaultTimeout, request.signal, config);
      try {
        const stream = decoded(await answered(path, request, limit.signal));
        // The caller's signal stays connected while the stream lives: aborting it must end the stream.
        limit.clearTimer();
        stream.once('close', limit.clear);
        return stream;
      } catch (error) {
        limit.clear();
        throw limit.explain(error);
      }
    },
    close() {
      if (agent !== undefined) agent.destroy();
      agent = undefined;
    },
  };
}

/** `connect(loadConfig(options))`. */
export function connectTo(options: ConfigOptions & ConnectOptions = {}): Connection {
  return connect(loadConfig(options), options);
}

class StaleSocket extends Error {}

function isTlsFault(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? '';
  return code in tlsHints || code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS');
}

function exchange(
  url: URL,
  options: http.RequestOptions,
  body: Buffer | undefined,
): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? https : http).request(url, options, resolve);
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (request.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE')) {
        reject(new StaleSocket(error.message, { cause: error }));
      } else {
        reject(error);
      }
    });
    request.on('socket', (socket: Socket) => socket.setKeepAlive(true, 15_000));
    request.end(body);
  });
}

/** A time-out and the caller's signal as one; `explain` turns raw errors into messages. */
function deadline(
  timeoutMs: number,
  outer: AbortSignal | undefined,
  config: ClientConfig,
): {
  signal: AbortSignal;
  clear(): void;
  clearTimer(): void;
  explain(error: unknown): unknown;
} {
  const controller = new AbortController();
  let timedOut = false;
  const abort = (): void => controller.abort(outer?.reason);
  if (outer?.aborted) abort();
  else outer?.addEventListener('abort', abort, { once: true });
  const timer = setTimeout(() => {
    timedOut = true;
    controller.abort();
  }, timeoutMs);
  return {
    signal: controller.signal,
    clear() {
      clearTimeout(timer);
      outer?.removeEventListener('abort', abort);
    },
    clearTimer: () => clearTimeout(timer),
    explain(error) {
      if (outer?.aborted) return outer.reason ?? error;
      if (timedOut) {
        return new ConnectionError(
          `${config.server} did not answer within ${timeoutMs / 1000} s`,
          'ETIMEDOUT',
          error,
        );
      }
      return explainConnection(error, config);
    },
  };
}

const tlsHints: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT:
    'the server certificate is self-signed and not in certificate-authority',
  SELF_SIGNED_CERT_IN_CHAIN:
    'the server certificate was signed by an authority that is not in certificate-authority',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the server certificate was signed by an unknown authority',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the server certificate was signed by an unknown authority',
  CERT_HAS_EXPIRED: 'the server certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'the server certificate is for another name (tls-server-name)',
};

const socketWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name could not be resolved',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'the network is unreachable',
  ETIMEDOUT: 'connection timed out',
  EPIPE: 'connection closed',
};

/** A ConnectionError in plain words for an error of Node's sockets and TLS; others pass unchanged. */
export function explainConnection(error: unknown, config: ClientConfig): unknown {
  if (error instanceof StaleSocket) return explainConnection(error.cause, config);
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  if (code === undefined || error instanceof ConnectionError) return error;
  // AggregateError (several addresses tried) has an empty message.
  const words = tlsHints[code] ?? socketWords[code] ?? (errorText(error) || code);
  return new ConnectionError(`could not talk to ${config.server}: ${words}`, code, error);
}

function decoded(response: http.IncomingMessage): Readable {
  if (response.headers['content-encoding'] !== 'gzip') return response;
  // Sync flush: events of a compressed watch come out as they arrive.
  const gunzip = zlib.createGunzip({ flush: zlib.constants.Z_SYNC_FLUSH });
  response.on('error', (error) => gunzip.destroy(error));
  gunzip.on('close', () => response.destroy());
  return response.pipe(gunzip);
}

async function readAll(stream: Readable, limit = Infinity): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > limit) break;
  }
  return Buffer.concat(chunks, size);
}

/** The body of an answer that is not a success, decoded when it is JSON; never throws. */
async function readError(response: http.IncomingMessage): Promise<unknown> {
  try {
    const text = (await readAll(decoded(response), 1 << 20)).toString('utf8');
    try {
      return JSON.parse(text) as unknown;
    } catch {
      return text;
    }
  } catch {
    return '';
  }
}

function retryAfterSeconds(response: http.IncomingMessage): number | undefined {
  const value = response.headers['retry-after'];
  if (value === undefined) return undefined;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return Math.max(0, seconds);
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, (date - Date.now()) / 1000);
}

// --- sockets --------------------------------------------------------------------------------------

function retire(agent: http.Agent): void {
  agent.maxFreeSockets = 0;
  for (const sockets of Object.values(agent.freeSockets)) {
    for (const socket of sockets ?? []) socket.destroy();
  }
}

function createAgent(config: ClientConfig, base: URL, current: CurrentCredentials): http.Agent {
  const common = { keepAlive: true, maxFreeSockets: 8 };
  if (base.protocol === 'http:') {
    const agent = new http.Agent(common);
    if (config.proxyUrl !== undefined) tunnel(agent, config.proxyUrl, base, undefined);
    return agent;
  }
  const host = base.hostname.replace(/^\[|\]$/g, '');
  const options: tls.ConnectionOptions = {
    ...(current.ca === undefined ? {} : { ca: current.ca }),
    ...(current.certificate === undefined ? {} : { cert: current.certificate }),
    ...(current.key === undefined ? {} : { key: current.key }),
    ...(config.insecureSkipTlsVerify ? { rejectUnauthorized: false } : {}),
    ...(config.tlsServerName === undefined ? {} : { servername: config.tlsServerName }),
  };
  const agent = new https.Agent({ ...common, ...options });
  if (config.proxyUrl !== undefined) tunnel(agent, config.proxyUrl, base, { host, ...options });
  return agent;
}

/** Makes an agent reach `target` by CONNECT through an http proxy. */
function tunnel(
  agent: http.Agent,
  proxyUrl: string,
  target: URL,
  secure: tls.ConnectionOptions | undefined,
): void {
  const proxy = new URL(
    /^[a-z][a-z0-9+.-]*:\/\//i.test(proxyUrl) ? proxyUrl : `http://${proxyUrl}`,
  );
  const port = target.port || (target.protocol === 'https:' ? '443' : '80');
  const authority = `${target.hostname}:${port}`;
  const headers: http.OutgoingHttpHeaders = { host: authority };
  if (proxy.username !== '') {
    const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    headers['proxy-authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
  }
  type Create = (
    options: unknown,
    callback: (error: Error | null, socket?: Socket) => void,
  ) => undefined;
  const create: Create = (_options, callback) => {
    const request = http.request({
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: proxy.port || '80',
      method: 'CONNECT',
      path: authority,
      headers,
      agent: false,
    });
    request.once('error', (error) =>
      callback(new ConnectionError(`proxy ${proxy.host}: ${errorText(error)}`, 'EPROXY', error)),
    );
    request.once('connect', (response, socket) => {
      if (response.statusCode !== 200) {
        socket.destroy();
        callback(
          new ConnectionError(
            `proxy ${proxy.host} refused the connection: ${response.statusCode}`,
            'EPROXY',
          ),
        );
        return;
      }
      if (secure === undefined) {
        callback(null, socket);
        return;
      }
      // As https.Agent does: the name for SNI is the host unless told otherwise or an address.
      const servername =
        secure.servername ?? (/^[\d.]+$|:/.test(secure.host ?? '') ? '' : secure.host);
      const encrypted = tls.connect({ ...secure, socket, ...(servername ? { servername } : {}) });
      callback(null, encrypted);
    });
    request.end();
  };
  (agent as unknown as { createConnection: Create }).createConnection = create;
}
