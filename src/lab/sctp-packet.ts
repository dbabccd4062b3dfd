/**
 * SCTP packets (RFC 9260) as far as the lab speaks the protocol: common header, chunks, checksum. For
 * kernels that have no SCTP sockets. Must not know who sends them or why.
 */

export const chunkType = {
  data: 0,
  init: 1,
  initAck: 2,
  sack: 3,
  abort: 6,
  shutdown: 7,
  shutdownAck: 8,
  cookieEcho: 10,
  cookieAck: 11,
  shutdownComplete: 14,
} as const;

export interface SctpChunk {
  readonly type: number;
  readonly flags?: number;
  /** Without header and padding. */
  readonly body: Buffer;
}

export interface SctpPacket {
  readonly source: number;
  readonly destination: number;
  readonly tag: number;
  readonly chunks: readonly SctpChunk[];
}

const headerLength = 12;

const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

/** CRC32c of a packet whose checksum field counts as zero. */
function checksum(packet: Buffer): number {
  let crc = 0xffffffff;
  for (let index = 0; index < packet.length; index++) {
    const byte = index >= 8 && index < headerLength ? 0 : (packet[index] ?? 0);
    crc = (crcTable[(crc ^ byte) & 255] ?? 0) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

function padded(length: number): number {
  return (length + 3) & ~3;
}

export function encodeSctp({ source, destination, tag, chunks }: SctpPacket): Buffer {
  const parts = chunks.map(({ type, flags = 0, body }) => {
    const chunk = Buffer.alloc(padded(body.length + 4));
    chunk.writeUInt8(type, 0);
    chunk.writeUInt8(flags, 1);
    chunk.writeUInt16BE(body.length + 4, 2);
    body.copy(chunk, 4);
    return chunk;
  });
  const header = Buffer.alloc(headerLength);
  header.writeUInt16BE(source, 0);
  header.writeUInt16BE(destination, 2);
  header.writeUInt32BE(tag, 4);
  const packet = Buffer.concat([header, ...parts]);
  packet.writeUInt32LE(checksum(packet), 8);
  return packet;
}

/** Undefined for what is cut off or has a wrong checksum. */
export function decodeSctp(packet: Buffer): SctpPacket | undefined {
  if (packet.length < headerLength || packet.readUInt32LE(8) !== checksum(packet)) return undefined;
  const chunks: SctpChunk[] = [];
  for (let at = headerLength; at + 4 <= packet.length;) {
    const length = packet.readUInt16BE(at + 2);
    if (length < 4 || at + length > packet.length) return undefined;
    chunks.push({
      type: packet.readUInt8(at),
      flags: packet.readUInt8(at + 1),
      body: packet.subarray(at + 4, at + length),
    });
    at += padded(length);
  }
  return {
    source: packet.readUInt16BE(0),
    destination: packet.readUInt16BE(2),
    tag: packet.readUInt32BE(4),
    chunks,
  };
}

export interface SctpInit {
  readonly tag: number;
  readonly tsn: number;
  /** Only in INIT ACK. */
  readonly cookie?: Buffer;
}

const window = 65_536;
const stateCookie = 7;

/** Body of INIT and INIT ACK: one stream each way. */
export function encodeInit({ tag, tsn, cookie }: SctpInit): Buffer {
  const fixed = Buffer.alloc(16);
  fixed.writeUInt32BE(tag, 0);
  fixed.writeUInt32BE(window, 4);
  fixed.writeUInt16BE(1, 8);
  fixed.writeUInt16BE(1, 10);
  fixed.writeUInt32BE(tsn, 12);
  if (cookie === undefined) return fixed;
  const parameter = Buffer.alloc(4);
  parameter.writeUInt16BE(stateCookie, 0);
  parameter.writeUInt16BE(cookie.length + 4, 2);
  return Buffer.concat([fixed, parameter, cookie]);
}

export function decodeInit(body: Buffer): SctpInit | undefined {
  if (body.length < 16) return undefined;
  const found = { tag: body.readUInt32BE(0), tsn: body.readUInt32BE(12) };
  for (let at = 16; at + 4 <= body.length;) {
    const length = body.readUInt16BE(at + 2);
    if (length < 4 || at + length > body.length) return undefined;
    if (body.readUInt16BE(at) === stateCookie) {
      return { ...found, cookie: body.subarray(at + 4, at + length) };
    }
    at += padded(length);
  }
  return found;
}

/** A whole, unfragmented message on stream 0. */
export function dataChunk(tsn: number, text: string): SctpChunk {
  const head = Buffer.alloc(12);
  head.writeUInt32BE(tsn, 0);
  return {
    type: chunkType.data,
    flags: 3,
    body: Buffer.concat([head, Buffer.from(text === '' ? '\n' : text)]),
  };
}

export function readData(chunk: SctpChunk): { readonly tsn: number; readonly text: string } {
  return { tsn: chunk.body.readUInt32BE(0), text: chunk.body.subarray(12).toString('utf8') };
}

export function sackChunk(tsn: number): SctpChunk {
  const body = Buffer.alloc(12);
  body.writeUInt32BE(tsn, 0);
  body.writeUInt32BE(window, 4);
  return { type: chunkType.sack, body };
}
