/**
 * The API server's door: HTTPS on loopback, tokens, host and origin checks, routing, replies and
 * errors. What a request means is decided in the modules it calls.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createCertificate, type Certificate } from './certificate.ts';
import { serveDocument } from './documents.ts';
import { createFaults, type FaultEffect, type Faults } from './faults.ts';
import { parseTarget, type ApiRequest, type Target, type User } from './request.ts';
import { serveResource, verbOf } from './serve-resource.ts';
import type { PodRuntime } from './runtime.ts';
import { ApiError, forbidden, pathNotFound, statusOf, unauthorized } from './status.ts';
import { serveUpgrade } from './upgrade.ts';
import type { Watch } from './list-watch.ts';
import type { Writer } from './write.ts';

export interface ServerOptions {
  readonly writer: Writer;
  readonly runtime: PodRuntime;
  /** Port on loopback; 0: any. */
  readonly port?: number;
  /** Do not listen: connections made to this address come through `accept`. */
  readonly address?: { readonly host: string; readonly port: number };
  /** Names and addresses by which clients may call the server, besides loopback. */
  readonly hosts?: readonly string[];
  readonly certificate?: Certificate;
  /** The first token; made at random when absent. Its user is `adminUser`. */
  readonly token?: string;
  readonly faults?: Faults;
  /** Milliseconds between bookmarks of a watch. */
  readonly bookmarkEvery?: number;
}

/** An open watch and the connection it uses. */
export interface OpenWatch {
  readonly watch: Watch;
  readonly user: string;
  readonly resource: string;
  reset(): void;
}

export interface ApiServer {
  readonly url: string;
  readonly token: string;
  readonly certificate: Certificate;
  readonly faults: Faults;
  readonly watches: ReadonlySet<OpenWatch>;
  readonly writer: Writer;
  addToken(user: User, token?: string): string;
  /** After this the token gets 401. */
  revokeToken(token: string): void;
  /**
   * A new token beside those the user has; `revoke` ends the old ones. Error: nobody has that name.
   */
  rotateToken(user: string): { readonly token: string; revoke(): void };
  /** Serves a connection that somebody else accepted. */
  accept(socket: Socket): void;
  /** Cuts every connection at once, refuses new ones for a while, then listens again. */
  restart(downMs: number): Promise<void>;
  close(): Promise<void>;
}

export interface ServerState {
  readonly writer: Writer;
  readonly runtime: PodRuntime;
  readonly faults: Faults;
  readonly watches: Set<OpenWatch>;
  readonly bookmarkEvery: number;
  /** Whose token it is; undefined when it is nobody's. */
  userOf(token: string): User | undefined;
}

/** Whose token the kubeconfig of the lab holds. */
export const adminUser = 'podwall-admin';

const loopback = new Set(['127.0.0.1', 'localhost', '[::1]', '::1']);

const hostOf = (text: string): string => {
  try {
    return new URL(`http://${text}`).hostname;
  } catch {
    return '';
  }
};

/** A page of a browser must not reach the lab through a name it rebinds, nor from another origin. */
function isLocal(request: IncomingMessage, hosts: readonly string[]): boolean {
  const host = hostOf(request.headers.host ?? '');
  if (!loopback.has(host) && !hosts.includes(host)) return false;
  const { origin } = request.headers;
  if (origin === undefined) return true;
  try {
    return loopback.has(new URL(origin).hostname);
  } catch {
    return false;
  }
}

function tokenOf(request: IncomingMessage): string | undefined {
  const header = /^bearer\s+(.+)$/i.exec(request.headers.authorization ?? '')?.[1];
  if (header !== undefined) return header.trim();
  // Browsers cannot set headers on a WebSocket; they pass the token as a subprotocol.
  for (const protocol of (request.headers['sec-websocket-protocol'] ?? '').split(',')) {
    const match = /^base64url\.bearer\.authorization\.k8s\.io\.(.+)$/.exec(protocol.trim());
    if (match?.[1] !== undefined) return Buffer.from(match[1], 'base64url').toString('utf8');
  }
  return undefined;
}

/** Starts the server. Error: the port is taken, or no certificate can be made. */
export async function startApiServer(options: ServerOptions): Promise<ApiServer> {
  const certificate = options.certificate ?? (await createCertificate());
  const token = options.token ?? randomBytes(24).toString('base64url');
  const users = new Map<string, User>([
    [token, { name: adminUser, groups: ['system:masters', 'system:authenticated'] }],
  ]);
  const state: ServerState = {
    writer: options.writer,
    runtime: options.runtime,
    faults: options.faults ?? createFaults(),
    watches: new Set(),
    bookmarkEvery: options.bookmarkEvery ?? 60_000,
    userOf(given) {
      const bytes = Buffer.from(given);
      for (const [known, user] of users) {
        const other = Buffer.from(known);
        if (other.length === bytes.length && timingSafeEqual(other, bytes)) return user;
      }
      return undefined;
    },
  };
  const sockets = new Set<Socket>();

  const authenticate = (request: IncomingMessage): User => {
    const given = tokenOf(request);
    const user = given === undefined ? undefined : state.userOf(given);
    if (user === undefined) throw unauthorized();
    return user;
  };

  const understand = (request: IncomingMessage): ApiRequest => {
    if (!isLocal(request, options.hosts ?? []))
      throw new ApiError(403, 'Forbidden', 'the lab answers only to loopback hosts and origins');
    const url = new URL(request.url ?? '/', 'https://localhost');
    const open = ['/healthz', '/livez', '/readyz', '/version'].includes(url.pathname);
    const user = open ? { name: 'system:anonymous', groups: [] } : authenticate(request);
    return {
      raw: request,
      method: request.method ?? 'GET',
      path: url.pathname.length > 1 ? url.pathname.replace(/\/+$/, '') : '/',
      query: url.searchParams,
      user,
      accept: request.headers.accept,
    };
  };

  const strike = async (
    request: ApiRequest,
    target: Target | undefined,
    destroy: () => void,
  ): Promise<FaultEffect> => {
    if (!target) return {};
    const verb = verbOf(request, target);
    const effect = state.faults.effectOn({
      resource: target.type.plural,
      verb,
      user: request.user.name,
    });
    if (effect.delayMs !== undefined)
      await new Promise((resolve) => setTimeout(resolve, effect.delayMs));
    if (effect.reset) destroy();
    if (effect.code !== undefined) throw faultError(effect, target, request, verb);
    return effect;
  };

  const onRequest = async (raw: IncomingMessage, response: ServerResponse): Promise<void> => {
    try {
      const request = understand(raw);
      const target = parseTarget(request.path);
      const effect = await strike(request, target, () => raw.socket.destroy());
      if (raw.socket.destroyed) return;
      if (target) await serveResource(state, request, target, effect, response);
      else serveDocument(request, response);
    } catch (error) {
      sendError(response, error);
    }
  };

  const onUpgrade = async (raw: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    socket.on('error', () => socket.destroy());
    try {
      const request = understand(raw);
      const target = parseTarget(request.path);
      if (!target) throw pathNotFound();
      const effect = await strike(request, target, () => socket.destroy());
      if (socket.destroyed) return;
      await serveUpgrade(state, request, target, effect, socket, head);
    } catch (error) {
      const { code, body } = errorBody(error);
      socket.end(
        `HTTP/1.1 ${code} Error\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      );
    }
  };

  const server = createHttpsServer({
    cert: certificate.cert,
    key: certificate.key,
    // Upgrades need HTTP/1.1; Go falls back to it when nothing else is offered.
    ALPNProtocols: ['http/1.1'],
    keepAliveTimeout: 90_000,
    requestTimeout: 0,
    headersTimeout: 60_000,
  });
  server.on('request', (raw, response) => void onRequest(raw, response));
  server.on('upgrade', (raw, socket, head) => void onUpgrade(raw, socket, head));
  server.on('connection', (connection) => {
    // Below TLS it is always a socket.
    const socket = connection as Socket;
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  const listen = (port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => {
        server.off('error', reject);
        resolve();
      });
    });
  const stop = async (): Promise<void> => {
    for (const open of state.watches) open.watch.stop();
    state.watches.clear();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  let refusing = false;
  /** An order to restart that comes during a restart is part of it. */
  let restarting: Promise<void> | undefined;
  if (options.address === undefined) await listen(options.port ?? 0);
  const { host, port } = options.address ?? {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
  };

  return {
    url: `https://${host}:${port}`,
    token,
    certificate,
    faults: state.faults,
    watches: state.watches,
    writer: options.writer,
    addToken(user, given) {
      const made = given ?? randomBytes(24).toString('base64url');
      users.set(made, user);
      return made;
    },
    revokeToken(gone) {
      users.delete(gone);
    },
    rotateToken(name) {
      const old = [...users].filter(([, user]) => user.name === name);
      const user = old[0]?.[1];
      if (user === undefined) {
        const known = [...new Set([...users.values()].map((one) => one.name))];
        throw new Error(`no user ${name}; known: ${known.join(', ')}`);
      }
      const made = randomBytes(24).toString('base64url');
      users.set(made, user);
      return {
        token: made,
        revoke() {
          for (const [gone] of old) users.delete(gone);
        },
      };
    },
    accept(socket) {
      if (refusing) socket.destroy();
      else server.emit('connection', socket);
    },
    restart(downMs) {
      restarting ??= (async (): Promise<void> => {
        refusing = true;
        await stop();
        await new Promise((resolve) => setTimeout(resolve, downMs));
        refusing = false;
        if (options.address === undefined) await listen(port);
        restarting = undefined;
      })();
      return restarting;
    },
    close: stop,
  };
}

function faultError(
  effect: FaultEffect,
  target: Target,
  request: ApiRequest,
  verb: string,
): ApiError {
  const retry =
    effect.retryAfterSeconds === undefined
      ? undefined
      : { retryAfterSeconds: effect.retryAfterSeconds };
  switch (effect.code) {
    case 401:
      return unauthorized();
    case 403:
      return forbidden(
        target.type,
        target.name ?? '',
        `User "${request.user.name}" cannot ${verb} resource "${target.type.plural}" in API group "${target.type.group}"`,
      );
    case 410:
      return new ApiError(410, 'Expired', 'too old resource version');
    case 429:
      return new ApiError(
        429,
        'TooManyRequests',
        'Too many requests, please try again later.',
        retry ?? { retryAfterSeconds: 1 },
      );
    case 503:
      return new ApiError(503, 'ServiceUnavailable', 'apiserver not ready', retry);
    case 504:
      return new ApiError(
        504,
        'Timeout',
        'request did not complete within the allotted time',
        retry,
      );
    default:
      return new ApiError(
        effect.code ?? 500,
        'InternalError',
        'Internal error occurred: fault',
        retry,
      );
  }
}

function errorBody(error: unknown): { code: number; body: string; retryAfter?: number } {
  const known =
    error instanceof ApiError
      ? error
      : error instanceof URIError
        ? new ApiError(400, 'BadRequest', 'the path is not valid')
        : new ApiError(
            500,
            'InternalError',
            `Internal error occurred: ${error instanceof Error ? error.message : String(error)}`,
          );
  const retryAfter = known.details?.retryAfterSeconds;
  return {
    code: known.code,
    body: `${JSON.stringify(statusOf(known))}\n`,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  };
}

function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const { code, body, retryAfter } = errorBody(error);
  response.writeHead(code, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-cache, private',
    ...(retryAfter === undefined ? {} : { 'Retry-After': String(retryAfter) }),
  });
  response.end(body);
}
