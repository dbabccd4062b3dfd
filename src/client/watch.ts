/**
 * One watch request as a sequence of events: JSON lines out of a byte stream, with its own idle
 * time-out. Must not know of lists, stores or what to do when it ends.
 */
import type { KubeObject } from '../k8s/types.ts';
import { ConnectionError, errorOfStatus, errorText } from './errors.ts';
import { collectionPath, type Resource } from './resource.ts';
import { explainConnection, type Connection } from './transport.ts';

export type WatchEvent =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: KubeObject }
  | {
      readonly type: 'BOOKMARK';
      readonly resourceVersion: string;
      /** The first state of a WatchList is complete. */
      readonly initialEventsEnd: boolean;
    };

export interface WatchOptions {
  readonly namespace?: string | undefined;
  /** Start after this state; absent only with `sendInitialEvents`. */
  readonly resourceVersion?: string | undefined;
  /** WatchList: the present state as ADDED events, closed by a bookmark. */
  readonly sendInitialEvents?: boolean;
  /** How long the server shall keep the watch open. Default: a random time of 300 to 600 s. */
  readonly timeoutSeconds?: number;
  /** No byte for so long: the connection is dead. Default 90,000 ms, above the bookmark interval of a minute. */
  readonly idleTimeoutMs?: number;
  /** Time to the first byte of the answer. Default 30,000 ms. */
  readonly openTimeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Called once when the server has accepted the watch. */
  readonly onOpen?: () => void;
  /** Called for each chunk of bytes. */
  readonly onContact?: () => void;
}

/** An event line longer than this is no Kubernetes object (etcd allows 1.5 MiB by default). */
const longestLine = 64 << 20;

/**
 * Events until the server ends the watch. Throws KubeApiError for a refusal and for an ERROR event
 * (410 when the resource version is too old), ConnectionError when the stream breaks, is silent for
 * too long, or is not JSON.
 */
export async function* watch(
  connection: Connection,
  resource: Resource,
  options: WatchOptions = {},
): AsyncGenerator<WatchEvent, void, undefined> {
  const { clock, config } = connection;
  const stream = await connection.open(collectionPath(resource, options.namespace), {
    query: {
      watch: true,
      allowWatchBookmarks: true,
      timeoutSeconds: options.timeoutSeconds ?? Math.round(300 * (1 + clock.random())),
      resourceVersion: options.resourceVersion,
      ...(options.sendInitialEvents
        ? { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' }
        : {}),
    },
    signal: options.signal,
    timeoutMs: options.openTimeoutMs ?? 30_000,
  });
  options.onOpen?.();
  const idleMs = options.idleTimeoutMs ?? 90_000;
  let idle = false;
  const timer = setTimeout(() => {
    idle = true;
    stream.destroy();
  }, idleMs);
  const lines = createLineSplitter();
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      timer.refresh();
      options.onContact?.();
      for (const line of lines.push(chunk)) yield parseEvent(line, resource, config.server);
      // Working on the events must not count as the server's silence.
      timer.refresh();
    }
    if (idle)
      throw new ConnectionError(
        `watch of ${resource.plural}: nothing came for ${idleMs / 1000} s`,
        'EIDLE',
      );
    const rest = lines.rest();
    if (rest.length > 0) yield parseEvent(rest, resource, config.server);
  } catch (error) {
    if (idle && !(error instanceof ConnectionError)) {
      throw new ConnectionError(
        `watch of ${resource.plural}: nothing came for ${idleMs / 1000} s`,
        'EIDLE',
        error,
      );
    }
    throw explainConnection(error, config);
  } finally {
    clearTimeout(timer);
    stream.destroy();
  }
}

/**
 * Splits bytes at newlines before decoding them: a character of several bytes may be cut anywhere,
 * but no byte of it is ever a newline.
 */
export function createLineSplitter(limit: number = longestLine): {
  push(chunk: Buffer): Buffer[];
  rest(): Buffer;
} {
  let pieces: Buffer[] = [];
  let size = 0;
  const blank = /^\s*$/;
  const take = (): Buffer => {
    const line = pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces, size);
    pieces = [];
    size = 0;
    return line;
  };
  return {
    push(chunk) {
      const lines: Buffer[] = [];
      let start = 0;
      for (let end = chunk.indexOf(10, start); end >= 0; end = chunk.indexOf(10, start)) {
        pieces.push(chunk.subarray(start, end));
        size += end - start;
        const line = take();
        if (line.length > 2 || !blank.test(line.toString('latin1'))) lines.push(line);
        start = end + 1;
      }
      if (start < chunk.length) {
        pieces.push(chunk.subarray(start));
        size += chunk.length - start;
        if (size > limit)
          throw new ConnectionError(`a watch event is longer than ${limit} bytes`, 'ETOOLONG');
      }
      return lines;
    },
    rest() {
      const line = take();
      return blank.test(line.toString('latin1', 0, 16)) && line.length <= 16
        ? Buffer.alloc(0)
        : line;
    },
  };
}

function parseEvent(line: Buffer, resource: Resource, server: string): WatchEvent {
  let event: { type?: unknown; object?: unknown };
  try {
    event = JSON.parse(line.toString('utf8')) as typeof event;
  } catch (error) {
    throw new ConnectionError(
      `${server}: a watch event of ${resource.plural} is not JSON: ${errorText(error)}`,
      'EBADJSON',
      error,
    );
  }
  const object = event?.object;
  if (typeof object === 'object' && object !== null) {
    switch (event.type) {
      case 'ADDED':
      case 'MODIFIED':
      case 'DELETED':
        return { type: event.type, object: object as KubeObject };
      case 'BOOKMARK': {
        const meta = (object as KubeObject).metadata ?? {};
        return {
          type: 'BOOKMARK',
          resourceVersion: meta.resourceVersion ?? '',
          initialEventsEnd: meta.annotations?.['k8s.io/initial-events-end'] === 'true',
        };
      }
      case 'ERROR':
        throw errorOfStatus(500, object);
    }
  }
  throw new ConnectionError(
    `${server}: a watch event of ${resource.plural} has the unknown type ${JSON.stringify(event?.type)}`,
    'EBADEVENT',
  );
}
