/**
 * Requests that leave HTTP: exec, attach and port-forward over WebSocket or SPDY, watch and logs over
 * WebSocket.
 */
import type { Duplex } from 'node:stream';
import type { IncomingMessage } from 'node:http';
import { WebSocketServer, type WebSocket } from 'ws';
import { pumpExec, spdyStreams, wantedStreams, webSocketStreams } from './exec.ts';
import type { FaultEffect } from './faults.ts';
import { negotiate } from './encode.ts';
import { selectionOf, startWatch } from './list-watch.ts';
import { type ApiObject, at, isObject, stringAt } from './object.ts';
import { createPortForward } from './port-forward.ts';
import type { ApiRequest, Target } from './request.ts';
import { containerOf, containerStatusOf } from './delete-requests.ts';
import { getObject } from './resource-requests.ts';
import type { ExecSession, PodRef } from './runtime.ts';
import { armWatchFault, contextOf, isWatch, openLog, trackWatch } from './serve-resource.ts';
import type { ServerState } from './server.ts';
import { createSpdySession, type SpdySession, type SpdyStream } from './spdy.ts';
import { ApiError, badRequest, methodNotAllowed } from './status.ts';

const execProtocols = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
const portForwardProtocol = 'SPDY/3.1+portforward.k8s.io';

const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: 32 * 1024 * 1024,
  // Never echo the subprotocol that carries a token.
  handleProtocols: (offered) =>
    [...execProtocols, 'base64.binary.k8s.io', 'binary.k8s.io'].find((p) => offered.has(p)) ??
    false,
});
/** The answer to port-forward: its subprotocol is no valid token, so `ws` must not see it. */
const portForwardSockets = new WebSocketServer({ noServer: true, maxPayload: 32 * 1024 * 1024 });
portForwardSockets.on('headers', (headers) => {
  headers.push(`Sec-WebSocket-Protocol: ${portForwardProtocol}`);
});

const offered = (request: IncomingMessage): string[] =>
  (request.headers['sec-websocket-protocol'] ?? '').split(',').map((part) => part.trim());

function openWebSocket(
  server: WebSocketServer,
  raw: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<WebSocket> {
  return new Promise((resolve) => {
    server.handleUpgrade(raw, socket, head, (opened) => {
      opened.on('error', () => opened.terminate());
      resolve(opened);
    });
  });
}

/** Serves an upgrade. Errors thrown before the switch become HTTP replies at the caller. */
export async function serveUpgrade(
  state: ServerState,
  request: ApiRequest,
  target: Target,
  effect: FaultEffect,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const { raw } = request;
  const kind = (raw.headers.upgrade ?? '').toLowerCase();
  const isWebSocket = kind === 'websocket';
  if (!isWebSocket && kind !== 'spdy/3.1')
    throw badRequest('unable to upgrade: the server knows WebSocket and SPDY/3.1');
  switch (target.subresource) {
    case 'exec':
    case 'attach': {
      const start = prepareExec(state, request, target);
      const wanted = wantedStreams(request.query);
      if (isWebSocket) {
        if (!offered(raw).some((protocol) => execProtocols.includes(protocol)))
          throw badRequest(
            `unable to upgrade: no supported subprotocol among ${offered(raw).join(', ')}`,
          );
        const opened = await openWebSocket(sockets, raw, socket, head);
        await pumpExec(start, webSocketStreams(opened, wanted));
        return;
      }
      const { ready } = serveSpdy(raw, socket, head, ['v4.channel.k8s.io'], wanted);
      await pumpExec(start, await ready);
      return;
    }
    case 'portforward': {
      const pod = livePod(state, request, target);
      const ref = refOf(pod, stringAt(pod, 'spec', 'containers', 0, 'name'));
      const forward = createPortForward((port) => state.runtime.dial(ref, port));
      if (!isWebSocket) {
        switchToSpdy(raw, socket, ['portforward.k8s.io']);
        attachSpdy(socket, head, forward.accept);
        return;
      }
      if (!offered(raw).includes(portForwardProtocol))
        throw badRequest(`unable to upgrade: port-forward needs ${portForwardProtocol}`);
      delete raw.headers['sec-websocket-protocol'];
      const opened = await openWebSocket(portForwardSockets, raw, socket, head);
      tunnelSpdy(opened, forward.accept);
      return;
    }
    case 'log': {
      const log = await openLog(state, request, target);
      const opened = await openWebSocket(sockets, raw, socket, head);
      const text = opened.protocol.startsWith('base64.');
      log.on('data', (chunk: Buffer) => {
        opened.send(text ? chunk.toString('base64') : chunk);
      });
      log.on('end', () => {
        opened.close(1000);
      });
      opened.on('close', () => log.destroy());
      return;
    }
    case undefined:
      if (isWebSocket && target.name === undefined && isWatch(request)) {
        await serveWebSocketWatch(state, request, target, effect, socket, head);
        return;
      }
      throw methodNotAllowed();
    default:
      throw methodNotAllowed();
  }
}

const refOf = (pod: ApiObject, container: string): PodRef => ({
  namespace: pod.metadata.namespace ?? '',
  name: pod.metadata.name,
  uid: pod.metadata.uid ?? '',
  container,
});

/** The pod of an exec, attach or port-forward. Errors: it is over, or has no node yet. */
function livePod(state: ServerState, request: ApiRequest, target: Target): ApiObject {
  const pod = getObject(contextOf(state, request, target));
  const phase = stringAt(pod, 'status', 'phase');
  if (phase === 'Succeeded' || phase === 'Failed')
    throw new ApiError(
      500,
      'InternalError',
      `cannot exec into a container in a completed pod; current phase is ${phase}`,
    );
  if (stringAt(pod, 'status', 'podIP') === '')
    throw badRequest(`pod ${pod.metadata.name} does not have a host assigned or is not running`);
  return pod;
}

/** Nothing can be started in a container that waits or has ended. */
function requireRunning(pod: ApiObject, container: string): void {
  const status = containerStatusOf(pod, container);
  if (isObject(at(status, 'state', 'running'))) return;
  throw new ApiError(
    500,
    'InternalError',
    `unable to upgrade connection: container not found ("${container}")`,
  );
}

function prepareExec(
  state: ServerState,
  request: ApiRequest,
  target: Target,
): () => Promise<ExecSession> {
  const { query } = request;
  const pod = livePod(state, request, target);
  const ref = refOf(pod, containerOf(pod, query.get('container')));
  requireRunning(pod, ref.container);
  const { tty, stdin } = wantedStreams(query);
  if (target.subresource === 'attach') {
    const { runtime } = state;
    if (!runtime.attach)
      throw new ApiError(501, 'NotImplemented', 'the lab cannot attach to a container');
    const attach = runtime.attach.bind(runtime);
    return () => attach(ref, { tty, stdin });
  }
  const command = query.getAll('command');
  if (command.length === 0)
    throw badRequest('you must specify at least one command for the container');
  return () => state.runtime.exec(ref, { command, tty, stdin });
}

/** Writes the 101 with the first protocol both sides know; none in common is a 403 as upstream. */
function switchToSpdy(raw: IncomingMessage, socket: Duplex, known: readonly string[]): void {
  const header = raw.headers['x-stream-protocol-version'];
  const wanted = (Array.isArray(header) ? header : [header ?? ''])
    .join(',')
    .split(',')
    .map((part) => part.trim());
  const chosen = known.find((protocol) => wanted.includes(protocol));
  if (chosen === undefined)
    throw new ApiError(
      403,
      'Forbidden',
      `unable to upgrade: unable to negotiate protocol: client supports ${wanted.join(', ')}, server accepts ${known.join(', ')}`,
    );
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${chosen}\r\n\r\n`,
  );
}

function serveSpdy(
  raw: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  known: readonly string[],
  wanted: Parameters<typeof spdyStreams>[0],
): ReturnType<typeof spdyStreams> {
  switchToSpdy(raw, socket, known);
  const gone = new Promise<void>((resolve) => {
    socket.on('close', () => {
      resolve();
    });
  });
  const streams = spdyStreams(wanted, gone, () => {
    session.close();
  });
  const session = attachSpdy(socket, head, streams.accept);
  return streams;
}

function attachSpdy(
  socket: Duplex,
  head: Buffer,
  accept: (stream: SpdyStream) => void,
): SpdySession {
  const session = createSpdySession(
    {
      write: (bytes, done) => {
        if (socket.writable) socket.write(bytes, done);
        else done();
      },
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      end: () => socket.end(),
    },
    accept,
  );
  guard(session, () => socket.destroy(), head);
  socket.on('data', (bytes: Buffer) => {
    guard(session, () => socket.destroy(), bytes);
  });
  socket.on('close', () => {
    session.lost();
  });
  return session;
}

/** Frames that cannot be read end the connection, not the server. */
function guard(session: SpdySession, destroy: () => void, bytes: Buffer): void {
  try {
    session.feed(bytes);
  } catch {
    destroy();
  }
}

/** Port-forward of newer clients: SPDY frames inside binary WebSocket messages. */
function tunnelSpdy(opened: WebSocket, accept: (stream: SpdyStream) => void): void {
  const session = createSpdySession(
    {
      write: (bytes, done) => {
        if (opened.readyState === opened.OPEN) opened.send(bytes, done);
        else done();
      },
      pause: () => {
        opened.pause();
      },
      resume: () => {
        if (opened.isPaused) opened.resume();
      },
      end: () => {
        opened.close(1000);
      },
    },
    accept,
  );
  opened.on('message', (bytes: Buffer) => {
    guard(session, () => opened.terminate(), bytes);
  });
  opened.on('close', () => {
    session.lost();
  });
}

async function serveWebSocketWatch(
  state: ServerState,
  request: ApiRequest,
  target: Target,
  effect: FaultEffect,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const encoding = negotiate(request.accept, request.query.get('includeObject'));
  const selection = selectionOf(target.type, target.namespace, request.query);
  const opened = await openWebSocket(sockets, request.raw, socket, head);
  const base64 = opened.protocol.startsWith('base64.');
  const watch = startWatch({
    store: state.writer.store,
    selection,
    query: request.query,
    encoding,
    now: () => state.writer.now(),
    bookmarkEvery: state.bookmarkEvery,
    sink: {
      send(text) {
        if (opened.readyState === opened.OPEN)
          opened.send(base64 ? Buffer.from(text).toString('base64') : text.trimEnd());
      },
      end() {
        opened.close(1000);
      },
    },
  });
  const open = trackWatch(state, request, target, watch, () => opened.terminate());
  armWatchFault(effect, open);
  opened.on('close', () => {
    watch.stop();
    state.watches.delete(open);
  });
}
