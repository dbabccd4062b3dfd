/**
 * Everything that answers in the lab, served by the daemon alone: sockets are bound inside their own
 * network by a short-lived process and handed over. Must not know of objects or policies.
 */
import { spawn } from 'node:child_process';
import type { Socket as UdpSocket } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import { LabError } from './errors.ts';
import { scriptArgs, scriptEnv } from './scripts.ts';
import { netnsPath } from './topology.ts';
import type { LabPort } from './types.ts';
import { identityHeader, type BindReply, type BindRequest } from './wire.ts';

export interface ListenRequest {
  /** Who answers: `namespace/name`, or the name of an outside host. */
  readonly endpoint: string;
  readonly netns: string;
  readonly ports: readonly LabPort[];
  /** The network is the endpoint's own, so its settings may be changed. */
  readonly ownNetwork: boolean;
  /** Answers DNS queries instead of saying its name. */
  readonly dns?: (query: Buffer) => Buffer | undefined;
}

/** A connection or datagram that reached a listener. */
export interface Visit {
  readonly number: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly protocol: string;
  readonly port: number;
  readonly from: string;
}

const visitsKept = 500;

export interface Listeners {
  /** Resolves when every port answers; the result names those that cannot, one sentence each. */
  open(request: ListenRequest): Promise<string[]>;
  /** Who came to an endpoint after entry number `after`; the last few hundred are kept. */
  visits(endpoint: string, after: number): readonly Visit[];
  /** All ports of an endpoint, or one. False when there was nothing to close. */
  close(endpoint: string, port?: LabPort): boolean;
  closeAll(): void;
}

export type Opened = Server | UdpSocket;

/** How long a binder may take before something is wrong, also on a loaded machine. */
const bindTimeoutMs = 60_000;

export function createListeners(): Listeners {
  const open = new Map<string, Map<string, Opened>>();
  const sockets = new Set<Socket>();
  const visits = new Map<string, Visit[]>();
  let visitNumber = 0;

  const note = (endpoint: string, { protocol, port }: LabPort, from: string): void => {
    const mine = visits.get(endpoint) ?? [];
    visits.set(endpoint, mine);
    // As IPv4 where it is: the sockets serve both families.
    const plain = from.startsWith('::ffff:') ? from.slice(7) : from;
    mine.push({ number: ++visitNumber, at: Date.now(), protocol, port, from: plain });
    if (mine.length > visitsKept * 2) mine.splice(0, visitsKept);
  };

  const serve = (request: ListenRequest, port: LabPort, handle: Opened): void => {
    const { endpoint, dns } = request;
    const mine = open.get(endpoint) ?? new Map<string, Opened>();
    open.set(endpoint, mine);
    mine.set(portKey(port), handle);
    // A reset by the other side is its business.
    handle.on('error', () => {});
    if (port.protocol === 'UDP') {
      const socket = handle as UdpSocket;
      const answer = `${endpoint}\n`;
      socket.on('message', (data, from) => {
        note(endpoint, port, from.address);
        const reply = dns === undefined ? answer : dns(data);
        if (reply !== undefined) socket.send(reply, from.port, from.address);
      });
      return;
    }
    const answers = httpAnswers(endpoint);
    (handle as Server).on('connection', (socket: Socket) => {
      sockets.add(socket);
      note(endpoint, port, socket.remoteAddress ?? 'unknown');
      socket.on('close', () => sockets.delete(socket));
      if (dns === undefined) answerHttp(socket, answers);
      else answerDnsStream(socket, dns);
    });
  };

  return {
    open(request) {
      if (request.ports.length === 0) return Promise.resolve([]);
      return bindPorts(request, (port, handle) => serve(request, port, handle));
    },
    visits: (endpoint, after) =>
      (visits.get(endpoint) ?? []).filter(({ number }) => number > after),
    close(endpoint, port) {
      if (port === undefined) visits.delete(endpoint);
      const mine = open.get(endpoint);
      if (mine === undefined) return false;
      const keys = port === undefined ? [...mine.keys()] : [portKey(port)];
      let closed = false;
      for (const key of keys) {
        const handle = mine.get(key);
        handle?.close();
        closed = mine.delete(key) || closed;
      }
      if (mine.size === 0) open.delete(endpoint);
      return closed;
    },
    closeAll() {
      for (const mine of open.values()) for (const handle of mine.values()) handle.close();
      open.clear();
      for (const socket of sockets) socket.destroy();
    },
  };
}

interface HttpAnswers {
  readonly head: string;
  readonly full: string;
}

function httpAnswers(endpoint: string): HttpAnswers {
  const body = `${endpoint.slice(endpoint.indexOf('/') + 1)}\n`;
  const head = [
    'HTTP/1.1 200 OK',
    'content-type: text/plain',
    `content-length: ${Buffer.byteLength(body)}`,
    `${identityHeader}: ${endpoint}`,
    'connection: close',
    '\r\n',
  ].join('\r\n');
  return { head, full: head + body };
}

/** Longest request that is waited for before it is answered anyway. */
const requestLimit = 65_536;

/**
 * Every request gets the name of who answers. `node:http` would do it at three times the cost, and a
 * matrix is tens of thousands of requests to one process.
 */
function answerHttp(socket: Socket, answers: HttpAnswers): void {
  let request = '';
  let answered = false;
  socket.setEncoding('latin1');
  // A probe resets its connection when it knows enough.
  socket.on('error', () => {});
  socket.on('data', (chunk: string) => {
    if (answered) return;
    request += chunk;
    if (request.length < requestLimit && !request.includes('\r\n\r\n')) return;
    answered = true;
    socket.end(request.startsWith('HEAD ') ? answers.head : answers.full);
  });
}

/** DNS over TCP: every message follows its length. */
function answerDnsStream(socket: Socket, dns: (query: Buffer) => Buffer | undefined): void {
  let pending: Buffer = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
      const end = 2 + pending.readUInt16BE(0);
      const reply = dns(pending.subarray(2, end));
      pending = pending.subarray(end);
      if (reply === undefined) {
        socket.destroy();
        return;
      }
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      socket.write(Buffer.concat([length, reply]));
    }
  });
}

function portKey(port: LabPort): string {
  return `${port.protocol}/${port.port}`;
}

/** Binds in another network and takes the sockets over. Names the ports that could not be bound. */
export function bindPorts(
  request: ListenRequest,
  onHandle: (port: LabPort, handle: Opened) => void,
): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      'nsenter',
      [`--net=${netnsPath(request.netns)}`, process.execPath, ...scriptArgs('binder')],
      { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env: scriptEnv(), timeout: bindTimeoutMs },
    );
    const failures: string[] = [];
    let stderr = '';
    let done = false;
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    child.on('message', (reply: BindReply, handle) => {
      if (reply.kind === 'done') {
        done = true;
        return;
      }
      const port = { protocol: reply.protocol, port: reply.port } as LabPort;
      if (reply.kind === 'failed') {
        failures.push(`${request.endpoint} does not listen on ${portKey(port)}: ${reply.error}`);
      } else if (handle !== undefined) {
        onHandle(port, handle as Opened);
      }
    });
    child.on('error', reject);
    child.on('close', () => {
      if (done) resolve(failures);
      else
        reject(new LabError(`${request.endpoint}: its listeners did not start: ${stderr.trim()}`));
    });
    const message: BindRequest = { ports: request.ports, settings: request.ownNetwork };
    child.send(message, (error) => {
      // A binder that died explains itself through `close`.
      if (error) child.kill();
    });
  });
}
