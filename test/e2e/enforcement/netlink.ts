/** Netlink messages byte by byte: objects in nftables that the installed nft could not make. */
import type { Bed } from '../dataplane/bed.ts';

const nftables = 10;
const newTable = 0;
const deleteTable = 2;
const newSet = 9;

function attribute(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(4 + data.length, 0);
  head.writeUInt16LE(type, 2);
  return Buffer.concat([head, data, Buffer.alloc((4 - (data.length % 4)) % 4)]);
}

function number(value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeUInt32BE(value, 0);
  return data;
}

/** What nft itself keeps beside a set, in its own encoding. */
function remark(type: number, data: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, data.length]), data]);
}

let sequence = 1;
function message(
  type: number,
  flags: number,
  family: number,
  resource: number,
  body: Buffer,
): Buffer {
  const head = Buffer.alloc(20);
  head.writeUInt32LE(20 + body.length, 0);
  head.writeUInt16LE(type, 4);
  head.writeUInt16LE(flags, 6);
  head.writeUInt32LE(sequence++, 8);
  head[16] = family;
  head.writeUInt16BE(resource, 18);
  return Buffer.concat([head, body]);
}

function batch(...messages: readonly Buffer[]): Buffer {
  return Buffer.concat([
    message(0x10, 1, 0, nftables, Buffer.alloc(0)),
    ...messages,
    message(0x11, 1, 0, nftables, Buffer.alloc(0)),
  ]);
}

/** Takes the table `inet <name>` away, which an nft that crashes on it cannot. */
export function withoutTable(name: string): Buffer {
  const table = attribute(1, Buffer.from(`${name}\0`));
  return batch(message((nftables << 8) | deleteTable, 1, 1, 0, table));
}

/** A table `inet <name>` with a set whose key is of a kind that no nft of today knows. */
export function unknownSet(name: string): Buffer {
  const table = attribute(1, Buffer.from(`${name}\0`));
  const kind = Buffer.alloc(4);
  kind.writeUInt32LE(200, 0);
  const order = Buffer.alloc(4);
  order.writeUInt32LE(2, 0);
  const typeOf = Buffer.concat([remark(0, kind), remark(1, remark(0, Buffer.from('xx')))]);
  const set = Buffer.concat([
    table,
    attribute(2, Buffer.from('odd\0')),
    attribute(3, number(0)),
    attribute(4, number(7)),
    attribute(5, number(4)),
    attribute(10, number(1)),
    attribute(13, Buffer.concat([remark(0, order), remark(3, typeOf)])),
  ]);
  return batch(
    message((nftables << 8) | newTable, 0x401, 1, 0, table),
    message((nftables << 8) | newSet, 0x401, 1, 0, set),
  );
}

/** Sends messages to netfilter in a namespace. */
export async function sendRawMessages(bed: Bed, name: string, messages: Buffer): Promise<void> {
  const script = `socket(S, 16, 3, 12) or die $!; send(S, pack("H*", $ARGV[0]), 0, pack("SSLL", 16, 0, 0, 0)) or die $!;`;
  await bed.sh(`ip netns exec ${name} perl -e '${script}' ${messages.toString('hex')}`);
}
