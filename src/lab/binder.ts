/**
 * Short-lived script inside one pod's network: binds the pod's sockets and hands them to the daemon,
 * which serves all pods from one process. Must not answer anything itself.
 */
import { createSocket, type Socket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';

import type { BindReply, BindRequest } from './wire.ts';

function send(reply: BindReply, handle?: Server | Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(reply, handle, {}, (error) => (error ? reject(error) : resolve()));
  });
}

/** Kernels without IPv6 refuse `::`; there 0.0.0.0 is everything. */
const withoutIpv6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL']);

function listen(port: number, host: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host, backlog: 1024 }, () => resolve(server));
  });
}

function bind(port: number, type: 'udp4' | 'udp6'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(type);
    socket.once('error', reject);
    socket.bind({ port, address: type === 'udp6' ? '::' : '0.0.0.0', exclusive: true }, () =>
      resolve(socket),
    );
  });
}

async function open(protocol: string, port: number): Promise<Server | Socket> {
  try {
    return protocol === 'UDP' ? await bind(port, 'udp6') : await listen(port, '::');
  } catch (error) {
    if (!withoutIpv6.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return protocol === 'UDP' ? bind(port, 'udp4') : listen(port, '0.0.0.0');
  }
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch {
    // Absent without IPv6, read-only in some containers; only error replies get slower.
  }
}

async function serve(request: BindRequest): Promise<never> {
  if (request.settings) {
    // A refused UDP probe must be answered every time, not once a second.
    write('/proc/sys/net/ipv4/icmp_ratelimit', '0');
    write('/proc/sys/net/ipv6/icmp/ratelimit', '0');
  }
  for (const { protocol, port } of request.ports) {
    try {
      await send({ kind: 'bound', protocol, port }, await open(protocol, port));
    } catch (error) {
      const { message } = error as Error;
      await send({ kind: 'failed', protocol, port, error: message });
    }
  }
  await send({ kind: 'done' });
  process.exit(0);
}

process.on('message', (request: BindRequest) => void serve(request));
