/**
 * Port-forward: each connection of the client is a pair of streams with one request id, `error` and
 * `data`; the data stream is joined to a connection into the pod.
 */
import type { Duplex } from 'node:stream';
import type { SpdyStream } from './spdy.ts';

interface Pair {
  error?: SpdyStream;
  data?: SpdyStream;
}

/** `dial` opens a connection to a port of the pod; its error's message goes to the client. */
export function createPortForward(dial: (port: number) => Promise<Duplex>): {
  readonly accept: (stream: SpdyStream) => void;
} {
  const pairs = new Map<string, Pair>();

  const join = async (port: number, pair: Required<Pair>): Promise<void> => {
    const { data, error } = pair;
    let target: Duplex;
    try {
      target = await dial(port);
    } catch (fault) {
      error.end(
        `error forwarding port ${port} to pod: ${fault instanceof Error ? fault.message : String(fault)}`,
      );
      data.end();
      data.resume();
      return;
    }
    target.on('error', (fault: Error) => {
      if (!error.writableEnded) error.end(`error forwarding port ${port} to pod: ${fault.message}`);
      data.end();
    });
    target.on('close', () => {
      if (!error.writableEnded) error.end();
      if (!data.writableEnded) data.end();
    });
    data.on('close', () => target.destroy());
    data.pipe(target);
    target.pipe(data);
  };

  return {
    accept(stream) {
      const { headers } = stream;
      const port = Number(headers.get('port'));
      const id = headers.get('requestid') ?? String(port);
      const pair = pairs.get(id) ?? {};
      pairs.set(id, pair);
      if (headers.get('streamtype') === 'error') {
        pair.error = stream;
        stream.resume();
      } else pair.data = stream;
      if (!pair.error || !pair.data) return;
      pairs.delete(id);
      void join(port, { error: pair.error, data: pair.data });
    },
  };
}
