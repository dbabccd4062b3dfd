/**
 * Runs a command in a container for a client, whatever carries the streams: pumps them, reports the
 * exit in the exact words clients parse.
 */
import { PassThrough, Writable, type Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { WebSocket } from 'ws';
import type { JsonObject } from './object.ts';
import type { ExecSession } from './runtime.ts';
import type { SpdyStream } from './spdy.ts';

/** The client's ends of the streams. Those not asked for are absent. */
export interface ClientStreams {
  readonly stdin?: Readable;
  readonly stdout?: Writable;
  readonly stderr?: Writable;
  /** Sends the final status, then closes everything. */
  finish(status: JsonObject): void;
  onResize(listener: (columns: number, rows: number) => void): void;
  /** The client has gone. */
  readonly gone: Promise<void>;
}

function exitStatus(code: number): JsonObject {
  if (code === 0) return { metadata: {}, status: 'Success' };
  return {
    metadata: {},
    status: 'Failure',
    message: `command terminated with non-zero exit code: command terminated with exit code ${code}`,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
  };
}

function failureStatus(message: string): JsonObject {
  return { metadata: {}, status: 'Failure', message, reason: 'InternalError', code: 500 };
}

/** Resolves when the session is over and the client has been told. */
export async function pumpExec(
  start: () => Promise<ExecSession>,
  client: ClientStreams,
): Promise<void> {
  let session: ExecSession;
  try {
    session = await start();
  } catch (error) {
    client.finish(failureStatus(error instanceof Error ? error.message : String(error)));
    return;
  }
  client.onResize((columns, rows) => session.resize?.(columns, rows));
  session.stdin.on('error', () => {});
  if (client.stdin) client.stdin.pipe(session.stdin);
  else session.stdin.end();
  const outputs = [
    [session.stdout, client.stdout],
    [session.stderr, client.stderr],
  ] as const;
  const drained = outputs.map(async ([from, to]) => {
    if (to) from.pipe(to, { end: false });
    else from.resume();
    await finished(from, { writable: false }).catch(() => {});
  });
  void client.gone.then(() => session.kill());
  try {
    const code = await session.exit;
    // A child that left the terminal open must not hold the client for ever.
    await Promise.race([
      Promise.all(drained),
      new Promise((resolve) => setTimeout(resolve, 2000).unref()),
    ]);
    client.finish(exitStatus(code));
  } catch (error) {
    client.finish(failureStatus(error instanceof Error ? error.message : String(error)));
  }
}

interface Wanted {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** `stdin`, `stdout`, `stderr`, `tty` of the query of an exec or attach. */
export function wantedStreams(query: URLSearchParams): Wanted {
  const yes = (name: string): boolean => ['true', '1'].includes(query.get(name) ?? '');
  const tty = yes('tty');
  return { stdin: yes('stdin'), stdout: yes('stdout'), stderr: yes('stderr') && !tty, tty };
}

const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

/** Long enough for a client on a busy machine to make its streams. */
const greetingAfterMs = 200;

/** Channels over WebSocket: the first byte of a message names the stream. */
export function webSocketStreams(socket: WebSocket, wanted: Wanted): ClientStreams {
  const stdin = new PassThrough();
  let onResize: (columns: number, rows: number) => void = () => {};
  const message = (number: number, bytes: Buffer): Buffer =>
    Buffer.concat([Buffer.of(number), bytes]);
  const output = (number: number): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        if (socket.readyState === socket.OPEN) socket.send(message(number, chunk), () => done());
        else done();
      },
    });
  socket.on('message', (raw: Buffer) => {
    const bytes = Buffer.isBuffer(raw) ? raw : Buffer.from(raw);
    const body = bytes.subarray(1);
    switch (bytes[0]) {
      case channel.stdin:
        if (body.length > 0 && !stdin.write(body)) {
          socket.pause();
          stdin.once('drain', () => {
            socket.resume();
          });
        }
        return;
      case channel.resize:
        readResize(body, (columns, rows) => {
          onResize(columns, rows);
        });
        return;
      case channel.close:
        // v5: the client has no more to say on that stream.
        if (body[0] === channel.stdin) stdin.end();
        return;
      default:
        return;
    }
  });
  // Some clients wait for a first message on each output channel. Others, client-go among them, begin
  // to read before they have made their streams, and throw away what comes that early.
  const greeting = setTimeout(() => {
    if (socket.readyState !== socket.OPEN) return;
    for (const [number, asked] of [
      [channel.stdout, wanted.stdout],
      [channel.stderr, wanted.stderr],
    ] as const)
      if (asked) socket.send(Buffer.of(number));
  }, greetingAfterMs);
  const gone = new Promise<void>((resolve) => {
    socket.on('close', () => {
      clearTimeout(greeting);
      stdin.end();
      resolve();
    });
    socket.on('error', () => {
      resolve();
    });
  });
  return {
    ...(wanted.stdin ? { stdin } : {}),
    ...(wanted.stdout ? { stdout: output(channel.stdout) } : {}),
    ...(wanted.stderr ? { stderr: output(channel.stderr) } : {}),
    finish(status) {
      if (socket.readyState !== socket.OPEN) return;
      socket.send(message(channel.error, Buffer.from(JSON.stringify(status))), () => {
        socket.close(1000);
      });
    },
    onResize(listener) {
      onResize = listener;
    },
    gone,
  };
}

function readResize(bytes: Buffer, done: (columns: number, rows: number) => void): void {
  try {
    const size = JSON.parse(bytes.toString('utf8')) as { Width?: number; Height?: number };
    if (size.Width && size.Height) done(size.Width, size.Height);
  } catch {
    // A size that cannot be read is no reason to end a session.
  }
}

/**
 * Streams over SPDY: the session starts when those the query implies have arrived; later ones are
 * attached.
 */
export function spdyStreams(
  wanted: Wanted,
  gone: Promise<void>,
  close: () => void,
): { readonly accept: (stream: SpdyStream) => void; ready: Promise<ClientStreams> } {
  const found = new Map<string, SpdyStream>();
  let onResize: (columns: number, rows: number) => void = () => {};
  const needed = [
    'error',
    ...(wanted.stdin ? ['stdin'] : []),
    ...(wanted.stdout ? ['stdout'] : []),
    ...(wanted.stderr ? ['stderr'] : []),
  ];
  let resolve: (streams: ClientStreams) => void = () => {};
  const ready = new Promise<ClientStreams>((done) => {
    resolve = done;
  });
  const clientStreams = (): ClientStreams => {
    const stdin = found.get('stdin');
    const stdout = found.get('stdout');
    const stderr = found.get('stderr');
    return {
      ...(stdin ? { stdin } : {}),
      ...(stdout ? { stdout } : {}),
      ...(stderr ? { stderr } : {}),
      finish(status) {
        const error = found.get('error');
        const success = status['status'] === 'Success';
        // The channel protocol says nothing on success before version 4; version 4 says so.
        error?.end(JSON.stringify(success ? { metadata: {}, status: 'Success' } : status));
        for (const [name, stream] of found) if (name !== 'error') stream.end();
        setTimeout(close, 200).unref();
      },
      onResize(listener) {
        onResize = listener;
      },
      gone,
    };
  };
  return {
    ready,
    accept(stream) {
      const type = stream.headers.get('streamtype') ?? '';
      found.set(type, stream);
      if (type === 'resize') {
        let text = '';
        stream.on('data', (chunk: Buffer) => {
          text += chunk.toString('utf8');
          for (let end = text.indexOf('}'); end >= 0; end = text.indexOf('}')) {
            readResize(Buffer.from(text.slice(0, end + 1)), (columns, rows) => {
              onResize(columns, rows);
            });
            text = text.slice(end + 1);
          }
        });
      } else if (type !== 'stdin') stream.resume();
      if (needed.every((name) => found.has(name))) resolve(clientStreams());
    },
  };
}
