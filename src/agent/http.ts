/**
 * The agent's two doors: /metrics, /healthz, /readyz for the cluster, and a local socket for
 * `podwall agent status`. Must not change anything.
 */
import { rm } from 'node:fs/promises';
import * as http from 'node:http';

export interface Doors {
  metrics(): Promise<string>;
  ready(): boolean;
  status(): unknown;
  /** Lines of the deny log; absent: it is switched off. */
  readonly log?: {
    recent(): readonly string[];
    subscribe(reader: (line: string) => void): () => void;
  };
}

/** A reader that takes nothing for so many bytes is cut off. */
const maxUnread = 1 << 20;

/** Where to listen: `host:port`, `:port`, or a path for a Unix socket. */
export async function openDoor(where: string, doors: Doors): Promise<http.Server> {
  const server = http.createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://agent');
    const text = (status: number, body: string, type = 'text/plain; charset=utf-8'): void => {
      response.writeHead(status, { 'content-type': type }).end(body);
    };
    if (request.method !== 'GET' && request.method !== 'HEAD') return text(405, 'only GET\n');
    if (pathname === '/healthz') return text(200, 'ok\n');
    if (pathname === '/readyz')
      return doors.ready() ? text(200, 'ok\n') : text(503, 'not converged yet\n');
    if (pathname === '/status')
      return text(200, `${JSON.stringify(doors.status())}\n`, 'application/json');
    if (pathname === '/log' && doors.log !== undefined) {
      const write = (line: string): void => {
        if (response.writableLength > maxUnread) response.destroy();
        else response.write(`${line}\n`);
      };
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      for (const line of doors.log.recent()) write(line);
      if (searchParams.get('follow') !== 'true') return void response.end();
      response.flushHeaders();
      response.once('close', doors.log.subscribe(write));
      return;
    }
    if (pathname === '/metrics') {
      doors.metrics().then(
        (body) => text(200, body, 'text/plain; version=0.0.4; charset=utf-8'),
        (error: unknown) => text(500, `${String(error)}\n`),
      );
      return;
    }
    text(404, 'there are /metrics, /healthz, /readyz, /status and /log\n');
  });
  const socket = where.includes('/');
  // A socket file of an agent that was killed would refuse us.
  if (socket) await rm(where, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    if (socket) {
      server.listen(where, resolve);
    } else {
      const match = /^(.*):(\d+)$/.exec(where);
      if (match === null) return reject(new RangeError(`${where} is neither host:port nor a path`));
      const host = (match[1] ?? '').replace(/^\[|\]$/g, '');
      server.listen(Number(match[2]), host === '' ? undefined : host, resolve);
    }
  });
  return server;
}

/** GETs text from an agent's Unix socket as it comes, until the agent or the signal ends it. */
export function streamSocket(
  socketPath: string,
  path: string,
  signal: AbortSignal,
  onText: (text: string) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath, path, signal }, (response) => {
      response.setEncoding('utf8');
      if (response.statusCode !== 200) {
        response.resume();
        reject(new Error(`the agent answers ${response.statusCode}`));
        return;
      }
      response.on('data', onText);
      response.on('close', () => resolve());
      response.on('error', () => resolve());
    });
    request.on('error', (error) => {
      if (signal.aborted) resolve();
      else reject(error);
    });
  });
}

/** GETs JSON from an agent's Unix socket. */
export function askSocket(socketPath: string, path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath, path, timeout: 5_000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')));
        } catch (error) {
          reject(error);
        }
      });
    });
    request.on('timeout', () => request.destroy(new Error('the agent does not answer')));
    request.on('error', reject);
  });
}
