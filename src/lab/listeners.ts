/**
 * Everything that answers in the lab, served by the daemon alone: sockets are bound inside their own
 * network by a short-lived process and handed over. Must not know of objects or policies.
 */
import { spawn } from 'node:child_process';
import type { Socket as UdpSocket } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import { randomInt } from 'node:crypto';
import { messageAnswer, type Answer } from './answers.ts';
import { LabError } from './errors.ts';
import { answerRaw, httpAnswers, answerHttp, serveNetexec } from './http-answers.ts';
import { scriptArgs, scriptEnv } from './scripts.ts';
import { createSctpServer } from './sctp-association.ts';
import { serveSctp } from './sctp-socket.ts';
import { netnsPath } from './topology.ts';
import type { LabListener, LabPort } from './types.ts';
import type { BindReply, BindRequest } from './wire.ts';

export interface ListenRequest {
  /** Who answers: `namespace/name`, or the name of an outside host. */
  readonly endpoint: string;
  readonly netns: string;
  /** Where SCTP answers from. */
  readonly addresses: readonly string[];
  readonly ports: readonly LabListener[];
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

interface Closable {
  close(): unknown;
}

/** How long a binder may take before something is wrong, also on a loaded machine. */
const bindTimeoutMs = 60_000;

export function createListeners(): Listeners {
  const open = new Map<string, Map<string, Closable>>();
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

  const hold = (endpoint: string, port: LabPort, handle: Closable): void => {
    const mine = open.get(endpoint) ?? new Map<string, Closable>();
    open.set(endpoint, mine);
    mine.set(portKey(port), handle);
  };

  const serve = (request: ListenRequest, port: LabPort, handle: Opened): void => {
    const { endpoint, dns, netns } = request;
    const answer = answerOf(request, port);
    hold(endpoint, port, handle);
    // A reset by the other side is its business.
    handle.on('error', () => {});
    if (port.protocol === 'UDP') {
      const socket = handle as UdpSocket;
      socket.on('message', (data, from) => {
        note(endpoint, port, from.address);
        const peer = `${from.address}:${from.port}`;
        const reply =
          dns === undefined
            ? messageAnswer(endpoint, answer, data.toString('utf8'), peer)
            : dns(data);
        if (reply !== undefined) socket.send(reply, from.port, from.address);
      });
      return;
    }
    const netexec =
      answer?.kind === 'netexec' ? serveNetexec(endpoint, netnsPath(netns), answer) : undefined;
    const answers = httpAnswers(endpoint, answer);
    (handle as Server).on('connection', (socket: Socket) => {
      sockets.add(socket);
      note(endpoint, port, socket.remoteAddress ?? 'unknown');
      socket.on('close', () => sockets.delete(socket));
      if (dns !== undefined) answerDnsStream(socket, dns);
      else if (netexec !== undefined) netexec(socket);
      else if (answer?.kind === 'hostname' && answer.raw === true) answerRaw(socket, answer.name);
      else answerHttp(socket, answers);
    });
  };

  /** All SCTP ports of an endpoint are one process. Names those that cannot be opened. */
  const openSctp = async (request: ListenRequest): Promise<string[]> => {
    const { endpoint, addresses } = request;
    const mine = request.ports.filter(({ protocol }) => protocol === 'SCTP');
    if (mine.length === 0) return [];
    const ports = new Set(mine.map(({ port }) => port));
    const server = createSctpServer({
      ports,
      serverTag: randomInt(1, 0xffff_ffff),
      answer: (port, question, from) =>
        messageAnswer(endpoint, answerOf(request, { protocol: 'SCTP', port }), question, from) ??
        '',
      onVisit: ({ port, from }) => note(endpoint, { protocol: 'SCTP', port }, from),
    });
    try {
      const enter = ['nsenter', `--net=${netnsPath(request.netns)}`];
      const socket = await serveSctp(addresses, server, { enter, env: scriptEnv() });
      for (const port of mine) {
        const close = (): void => {
          ports.delete(port.port);
          if (ports.size === 0) socket.close();
        };
        hold(endpoint, port, { close });
      }
      return [];
    } catch (error) {
      const why = (error as Error).message;
      return mine.map((port) => `${endpoint} does not listen on ${portKey(port)}: ${why}`);
    }
  };

  return {
    async open(request) {
      const ports = request.ports.filter(({ protocol }) => protocol !== 'SCTP');
      const faults = await Promise.all([
        ports.length === 0
          ? []
          : bindPorts({ ...request, ports }, (port, handle) => serve(request, port, handle)),
        openSctp(request),
      ]);
      return faults.flat();
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

function answerOf(request: ListenRequest, { protocol, port }: LabPort): Answer | undefined {
  return request.ports.find((one) => one.protocol === protocol && one.port === port)?.answer;
}

function portKey(port: LabPort): string {
  return `${port.protocol}/${port.port}`;
}

/** Binds in another network and takes the sockets over. Names the ports that could not be bound. */
export function bindPorts(
  request: Pick<ListenRequest, 'endpoint' | 'netns' | 'ports' | 'ownNetwork'>,
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
