/**
 * How a command talks to a running lab: one JSON object per line over a Unix socket that only its
 * owner can open. Must not know what the calls do.
 */
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { LabError, LabNotFound, LabRefusal, LabUnavailable } from './errors.ts';
import type { Refusal } from './types.ts';

interface Call {
  readonly method: string;
  readonly params: unknown;
}

/** An error as it travels; the class is found again by name. */
export interface WireError {
  readonly name: string;
  readonly message: string;
  readonly refusals?: readonly Refusal[];
  readonly remedy?: string;
}

type Reply =
  { readonly progress: string } | { readonly result: unknown } | { readonly error: WireError };

export type Handler = (params: unknown, onProgress: (text: string) => void) => Promise<unknown>;

export function toWire(error: unknown): WireError {
  if (error instanceof LabRefusal) {
    return { name: error.name, message: error.message, refusals: error.refusals };
  }
  if (error instanceof LabUnavailable) {
    return { name: error.name, message: error.reason, remedy: error.remedy };
  }
  if (error instanceof Error) return { name: error.name, message: error.message };
  return { name: 'Error', message: String(error) };
}

export function fromWire(error: WireError): Error {
  if (error.refusals !== undefined) return new LabRefusal(error.refusals);
  if (error.remedy !== undefined) return new LabUnavailable(error.message, error.remedy);
  return error.name === 'LabNotFound'
    ? new LabNotFound(error.message)
    : new LabError(error.message);
}

/** Serves calls at `path`; rejects with a `LabError` when another lab holds it. */
export function serveControl(
  path: string,
  handlers: Readonly<Record<string, Handler>>,
): Promise<Server> {
  const server = createServer((socket) => {
    // A command that was interrupted takes no answer.
    socket.on('error', () => {});
    const lines = createInterface({ input: socket, crlfDelay: Infinity });
    lines.on('line', (line) => void answer(line, socket, handlers));
    lines.on('error', () => {});
  });
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'EADDRINUSE' ? new LabError('a lab is already running') : error),
    );
    server.listen(path, () => resolve(server));
  });
}

async function answer(
  line: string,
  socket: Socket,
  handlers: Readonly<Record<string, Handler>>,
): Promise<void> {
  const reply = (message: Reply): void => {
    if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
  };
  try {
    const call = JSON.parse(line) as Call;
    const handler = Object.hasOwn(handlers, call.method) ? handlers[call.method] : undefined;
    if (handler === undefined) throw new LabError(`this lab knows no call "${call.method}"`);
    const result = await handler(call.params, (progress) => reply({ progress }));
    reply({ result: result ?? null });
  } catch (error) {
    reply({ error: toWire(error) });
  }
}

/** One call over a connection of its own. Rejects with the lab's error, or ENOENT/ECONNREFUSED. */
export function callControl(
  path: string,
  method: string,
  params: unknown,
  options: { onProgress?: ((text: string) => void) | undefined; signal?: AbortSignal } = {},
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted === true) return reject(options.signal.reason as Error);
    const socket = createConnection(path);
    const lines = createInterface({ input: socket, crlfDelay: Infinity });
    const abort = (): void => {
      socket.destroy();
      reject(options.signal?.reason as Error);
    };
    const finish = (act: () => void): void => {
      options.signal?.removeEventListener('abort', abort);
      socket.destroy();
      act();
    };
    options.signal?.addEventListener('abort', abort, { once: true });
    lines.on('error', () => {});
    lines.on('line', (line) => {
      const reply = JSON.parse(line) as Reply;
      if ('progress' in reply) options.onProgress?.(reply.progress);
      else if ('error' in reply) finish(() => reject(fromWire(reply.error)));
      else finish(() => resolve(reply.result));
    });
    socket.on('error', (error) => finish(() => reject(error)));
    socket.on('close', () =>
      finish(() => reject(new LabError('the lab ended while it was asked'))),
    );
    socket.on('connect', () => socket.write(`${JSON.stringify({ method, params })}\n`));
  });
}
