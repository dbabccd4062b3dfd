/**
 * The part of SPDY/3.1 that Kubernetes streaming uses, server side: streams with headers and data
 * over any byte transport. Knows nothing of what the streams carry.
 *
 * Header blocks share one zlib stream with a fixed dictionary. Each block is inflated alone, with
 * the output so far as dictionary: a long-lived asynchronous inflater was seen to lose flushes.
 */
import { Duplex } from 'node:stream';
import { constants, inflateRawSync } from 'node:zlib';

const words =
  'options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status|200 OK|version HTTP/1.1 url public set-cookie keep-alive origin';
const tail =
  '100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.';

/** The dictionary of SPDY/3 header compression, 1,423 bytes. */
export const spdyDictionary: Buffer = Buffer.concat([
  ...words
    .split('|')
    .flatMap((part, index) => (index === 1 ? [part] : part.split(' ')))
    .flatMap((word) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(word.length);
      return [length, Buffer.from(word, 'latin1')];
    }),
  Buffer.from(tail, 'latin1'),
]);

/** Adler-32 of the dictionary, which zlib's header names. */
export const dictionaryId = 0xe3c6a7c2;

const frame = { synStream: 1, synReply: 2, rstStream: 3, settings: 4, ping: 6, goAway: 7 } as const;
const finFlag = 1;
/** Larger payloads are split, so that one stream does not hold the others up for long. */
const maxData = 32 * 1024;

export interface SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: ReadonlyMap<string, string>;
}

export interface SpdyTransport {
  /** Calls back when the bytes have left or the transport is gone. */
  write(bytes: Buffer, done: (error?: Error | null) => void): void;
  pause(): void;
  resume(): void;
  end(): void;
}

export interface SpdySession {
  feed(bytes: Buffer): void;
  /** The transport is gone: every stream ends. */
  lost(): void;
  close(): void;
}

export function createSpdySession(
  transport: SpdyTransport,
  onStream: (stream: SpdyStream) => void,
): SpdySession {
  const streams = new Map<number, SpdyStream>();
  let buffered: Buffer = Buffer.alloc(0);
  let window: Buffer = spdyDictionary;
  let firstIn = true;
  let firstOut = true;
  let lastStream = 0;
  let closed = false;

  const send = (bytes: Buffer, done: (error?: Error | null) => void = () => {}): void => {
    if (closed) done(new Error('session closed'));
    else transport.write(bytes, done);
  };

  const control = (type: number, flags: number, payload: Buffer): Buffer => {
    const head = Buffer.alloc(8);
    head.writeUInt16BE(0x8003, 0);
    head.writeUInt16BE(type, 2);
    head.writeUInt32BE(((flags << 24) | payload.length) >>> 0, 4);
    return Buffer.concat([head, payload]);
  };

  const data = (id: number, flags: number, payload: Buffer): Buffer => {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(id, 0);
    head.writeUInt32BE(((flags << 24) | payload.length) >>> 0, 4);
    return Buffer.concat([head, payload]);
  };

  /** No headers at all, in stored blocks; Go's reader delivers nothing before the empty one. */
  const emptyHeaders = (): Buffer => {
    const block = Buffer.from('000400fbff00000000000000ffff', 'hex');
    if (!firstOut) return block;
    firstOut = false;
    return Buffer.concat([Buffer.from('78bbe3c6a7c2', 'hex'), block]);
  };

  const readHeaders = (block: Buffer): Map<string, string> => {
    const body = firstIn ? block.subarray(6) : block;
    firstIn = false;
    const text = inflateRawSync(body, {
      dictionary: window,
      finishFlush: constants.Z_SYNC_FLUSH,
    });
    window = Buffer.concat([window, text]).subarray(-32_768);
    const headers = new Map<string, string>();
    let position = 4;
    const next = (): string => {
      const length = text.readUInt32BE(position);
      const part = text.toString('utf8', position + 4, position + 4 + length);
      position += 4 + length;
      return part;
    };
    for (let count = text.readUInt32BE(0); count > 0; count -= 1) {
      const name = next().toLowerCase();
      headers.set(name, next());
    }
    return headers;
  };

  const open = (id: number, headers: ReadonlyMap<string, string>): void => {
    let ended = false;
    const stream = new Duplex({
      read: () => {
        transport.resume();
      },
      write: (chunk: Buffer, _encoding, done) => {
        const last = Math.max(0, Math.ceil(chunk.length / maxData) - 1);
        for (let index = 0; index <= last; index += 1)
          send(
            data(id, 0, chunk.subarray(index * maxData, (index + 1) * maxData)),
            index === last ? done : undefined,
          );
      },
      final: (done) => {
        send(data(id, finFlag, Buffer.alloc(0)), () => done());
      },
      destroy: (error, done) => {
        streams.delete(id);
        if (error && !ended) {
          const payload = Buffer.alloc(8);
          payload.writeUInt32BE(id, 0);
          payload.writeUInt32BE(5, 4);
          send(control(frame.rstStream, 0, payload));
        }
        ended = true;
        done(null);
      },
      allowHalfOpen: true,
    });
    const made: SpdyStream = Object.assign(stream, { id, headers });
    stream.on('error', () => {});
    streams.set(id, made);
    onStream(made);
  };

  const onControl = (type: number, flags: number, payload: Buffer): void => {
    switch (type) {
      case frame.synStream: {
        const id = payload.readUInt32BE(0) & 0x7fffffff;
        lastStream = Math.max(lastStream, id);
        const headers = readHeaders(payload.subarray(10));
        const streamId = Buffer.alloc(4);
        streamId.writeUInt32BE(id);
        // The client waits for the reply before it uses the stream.
        send(control(frame.synReply, 0, Buffer.concat([streamId, emptyHeaders()])));
        open(id, headers);
        if (flags & finFlag) streams.get(id)?.push(null);
        return;
      }
      case frame.rstStream: {
        const stream = streams.get(payload.readUInt32BE(0) & 0x7fffffff);
        stream?.push(null);
        stream?.destroy();
        return;
      }
      case frame.ping:
        send(control(frame.ping, 0, payload));
        return;
      case frame.goAway:
        return;
      default:
        // SETTINGS, WINDOW_UPDATE, HEADERS: no flow control is used by the peers.
        return;
    }
  };

  const onData = (id: number, flags: number, payload: Buffer): void => {
    const stream = streams.get(id);
    if (!stream || stream.destroyed) return;
    if (payload.length > 0 && !stream.push(payload)) transport.pause();
    if (flags & finFlag) stream.push(null);
  };

  const lost = (): void => {
    if (closed) return;
    closed = true;
    for (const stream of streams.values()) {
      stream.push(null);
      stream.destroy();
    }
  };

  return {
    feed(bytes) {
      buffered = buffered.length === 0 ? bytes : Buffer.concat([buffered, bytes]);
      while (buffered.length >= 8) {
        const length = buffered.readUInt32BE(4) & 0xffffff;
        if (buffered.length < 8 + length) return;
        const first = buffered.readUInt32BE(0);
        const flags = buffered.readUInt8(4);
        // Copied, because the stream may keep it while the buffer goes on.
        const payload = Buffer.from(buffered.subarray(8, 8 + length));
        buffered = buffered.subarray(8 + length);
        if (first & 0x80000000) onControl(first & 0xffff, flags, payload);
        else onData(first & 0x7fffffff, flags, payload);
      }
    },
    lost,
    close() {
      if (closed) return;
      const payload = Buffer.alloc(8);
      payload.writeUInt32BE(lastStream, 0);
      send(control(frame.goAway, 0, payload));
      transport.end();
    },
  };
}
