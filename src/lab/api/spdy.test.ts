import { constants, deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import {
  createSpdySession,
  dictionaryId,
  spdyDictionary,
  type SpdySession,
  type SpdyStream,
} from './spdy.ts';

function adler32(bytes: Buffer): number {
  let a = 1;
  let b = 0;
  for (const byte of bytes) {
    a = (a + byte) % 65_521;
    b = (b + a) % 65_521;
  }
  return ((b << 16) | a) >>> 0;
}

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};

const headerText = (headers: Record<string, string>): Buffer =>
  Buffer.concat([
    u32(Object.keys(headers).length),
    ...Object.entries(headers).flatMap(([name, value]) => [
      u32(name.length),
      Buffer.from(name),
      u32(value.length),
      Buffer.from(value),
    ]),
  ]);

const control = (type: number, flags: number, payload: Buffer): Buffer =>
  Buffer.concat([Buffer.from([0x80, 3, 0, type]), u32((flags << 24) | payload.length), payload]);
const data = (id: number, flags: number, payload: Buffer): Buffer =>
  Buffer.concat([u32(id), u32((flags << 24) | payload.length), payload]);

/** One continuous zlib stream, block by block. */
function compressor(): (headers: Record<string, string>) => Buffer {
  let first = true;
  return (headers) => {
    const part = headerText(headers);
    if (first) {
      first = false;
      return deflateSync(part, {
        dictionary: spdyDictionary,
        finishFlush: constants.Z_SYNC_FLUSH,
      });
    }
    // Later blocks go on in the same stream; a stored block is the simplest form of that.
    const stored = Buffer.alloc(5);
    stored.writeUInt16LE(part.length, 1);
    stored.writeUInt16LE(~part.length & 0xffff, 3);
    return Buffer.concat([stored, part, Buffer.from('000000ffff', 'hex')]);
  };
}

function harness(): { session: SpdySession; sent: Buffer[]; streams: SpdyStream[] } {
  const sent: Buffer[] = [];
  const streams: SpdyStream[] = [];
  const session = createSpdySession(
    {
      write(bytes, done) {
        sent.push(bytes);
        setImmediate(done);
      },
      pause: () => {},
      resume: () => {},
      end: () => {},
    },
    (stream) => streams.push(stream),
  );
  return { session, sent, streams };
}

const syn = (id: number, block: Buffer, flags = 0): Buffer =>
  control(1, flags, Buffer.concat([u32(id), u32(0), Buffer.from([0, 0]), block]));

describe('SPDY', () => {
  it('has the dictionary of the standard', () => {
    expect(spdyDictionary.length).toBe(1423);
    expect(adler32(spdyDictionary)).toBe(dictionaryId);
  });

  it('opens streams with headers and answers each', () => {
    const { session, sent, streams } = harness();
    const compress = compressor();
    session.feed(syn(1, compress({ streamType: 'error' })));
    session.feed(syn(3, compress({ streamtype: 'stdout', port: '80' })));
    expect(streams.map((stream) => [stream.id, Object.fromEntries(stream.headers)])).toEqual([
      [1, { streamtype: 'error' }],
      [3, { streamtype: 'stdout', port: '80' }],
    ]);
    expect(sent.map((bytes) => [bytes.readUInt16BE(2), bytes.readUInt32BE(8)])).toEqual([
      [2, 1],
      [2, 3],
    ]);
  });

  it('reads headers a real compressor packed against the dictionary', () => {
    const { session, streams } = harness();
    const block = deflateSync(headerText({ streamtype: 'stdin', host: 'gzip,deflate' }), {
      dictionary: spdyDictionary,
      finishFlush: constants.Z_SYNC_FLUSH,
      level: 9,
    });
    session.feed(syn(1, block));
    expect(streams[0]?.headers.get('host')).toBe('gzip,deflate');
  });

  it('carries data in any cut of the bytes, both ways, and half-closes', async () => {
    const { session, sent, streams } = harness();
    const bytes = Buffer.concat([
      syn(1, compressor()({ streamtype: 'stdin' })),
      data(1, 0, Buffer.from('hel')),
      data(1, 0, Buffer.from('lo')),
      data(1, 1, Buffer.alloc(0)),
    ]);
    for (const byte of bytes) session.feed(Buffer.of(byte));
    const [stream] = streams;
    let text = '';
    stream?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    await new Promise<void>((resolve) => stream?.on('end', resolve));
    expect(text).toBe('hello');
    await new Promise<void>((resolve) => stream?.end('x'.repeat(70_000), () => resolve()));
    await new Promise((resolve) => setTimeout(resolve, 10));
    const frames = sent.filter((frame) => ((frame[0] ?? 0) & 0x80) === 0);
    expect(frames.map((frame) => frame.length - 8)).toEqual([32_768, 32_768, 4464, 0]);
    expect(frames.at(-1)?.[4]).toBe(1);
  });

  it('echoes pings and ends streams that are reset or lost', async () => {
    const { session, sent, streams } = harness();
    const compress = compressor();
    session.feed(control(6, 0, u32(7)));
    expect(sent[0]).toEqual(control(6, 0, u32(7)));
    session.feed(syn(1, compress({ a: 'b' })));
    session.feed(syn(3, compress({ c: 'd' })));
    session.feed(control(3, 0, Buffer.concat([u32(1), u32(5)])));
    session.lost();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(streams.map((stream) => stream.destroyed)).toEqual([true, true]);
  });

  it('throws on a header block that cannot be inflated', () => {
    const { session } = harness();
    expect(() => session.feed(syn(1, Buffer.alloc(40, 0xee)))).toThrow();
  });
});
