/**
 * Packets byte by byte, for what sockets cannot send: SCTP in a kernel without it, segments outside
 * the window, echo requests, another's address as source. Must not know what is expected of them.
 */
import { isIPv6 } from 'node:net';
import type { Bed } from '../dataplane/bed.ts';

export interface Ends {
  readonly source: string;
  readonly destination: string;
}

function bytesOf(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const words = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16));
  const before = words(head);
  const after = tail === undefined ? [] : words(tail);
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  const buffer = Buffer.alloc(16);
  for (const [index, word] of all.entries()) buffer.writeUInt16BE(word, index * 2);
  return buffer;
}

/** The Internet checksum. */
function checksum(...parts: readonly Buffer[]): number {
  const all = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i < all.length; i += 2) sum += ((all[i] ?? 0) << 8) | (all[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function pseudoHeader({ source, destination }: Ends, protocol: number, length: number): Buffer {
  const rest = Buffer.alloc(isIPv6(source) ? 8 : 4);
  if (isIPv6(source)) {
    rest.writeUInt32BE(length, 0);
    rest[7] = protocol;
  } else {
    rest[1] = protocol;
    rest.writeUInt16BE(length, 2);
  }
  return Buffer.concat([bytesOf(source), bytesOf(destination), rest]);
}

function packet(ends: Ends, protocol: number, payload: Buffer): Buffer {
  if (isIPv6(ends.source)) {
    const header = Buffer.alloc(8);
    header[0] = 0x60;
    header.writeUInt16BE(payload.length, 4);
    header[6] = protocol;
    header[7] = 64;
    return Buffer.concat([header, bytesOf(ends.source), bytesOf(ends.destination), payload]);
  }
  const header = Buffer.alloc(12);
  header[0] = 0x45;
  header.writeUInt16BE(20 + payload.length, 2);
  header[8] = 64;
  header[9] = protocol;
  const whole = Buffer.concat([header, bytesOf(ends.source), bytesOf(ends.destination)]);
  whole.writeUInt16BE(checksum(whole), 10);
  return Buffer.concat([whole, payload]);
}

export function udpPacket(ends: Ends, from: number, to: number): Buffer {
  const payload = Buffer.alloc(16);
  payload.writeUInt16BE(from, 0);
  payload.writeUInt16BE(to, 2);
  payload.writeUInt16BE(payload.length, 4);
  payload.writeUInt16BE(checksum(pseudoHeader(ends, 17, payload.length), payload) || 0xffff, 6);
  return packet(ends, 17, payload);
}

export const tcpFlags = { rst: 4, ack: 16 } as const;

export function tcpSegment(
  ends: Ends,
  from: number,
  to: number,
  flags: number,
  sequence: number,
): Buffer {
  const payload = Buffer.alloc(20);
  payload.writeUInt16BE(from, 0);
  payload.writeUInt16BE(to, 2);
  payload.writeUInt32BE(sequence, 4);
  payload.writeUInt32BE(sequence, 8);
  payload[12] = 0x50;
  payload[13] = flags;
  payload.writeUInt16BE(1000, 14);
  payload.writeUInt16BE(checksum(pseudoHeader(ends, 6, payload.length), payload), 16);
  return packet(ends, 6, payload);
}

/** An echo request. */
export function echoRequest(ends: Ends, id: number): Buffer {
  const payload = Buffer.alloc(16);
  payload[0] = isIPv6(ends.source) ? 128 : 8;
  payload.writeUInt16BE(id, 4);
  const pseudo = isIPv6(ends.source) ? pseudoHeader(ends, 58, payload.length) : Buffer.alloc(0);
  payload.writeUInt16BE(checksum(pseudo, payload), 2);
  return packet(ends, isIPv6(ends.source) ? 58 : 1, payload);
}

/** CRC-32C, bit by bit: packets here are a few dozen bytes. */
function crc32c(data: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

/** The first packet of an SCTP association. */
export function sctpInit(ends: Ends, from: number, to: number): Buffer {
  const payload = Buffer.alloc(32);
  payload.writeUInt16BE(from, 0);
  payload.writeUInt16BE(to, 2);
  payload[12] = 1;
  payload.writeUInt16BE(20, 14);
  payload.writeUInt32BE(0x1234567, 16);
  payload.writeUInt32BE(65536, 20);
  payload.writeUInt16BE(1, 24);
  payload.writeUInt16BE(1, 26);
  payload.writeUInt32BE(1, 28);
  payload.writeUInt32LE(crc32c(payload), 8);
  return packet(ends, 132, payload);
}

/**
 * Sends whole IP packets, each list from its namespace. Perl, because Node has no raw sockets and
 * Debian always has it.
 */
export async function sendRaw(
  bed: Bed,
  packets: Readonly<Record<string, readonly Buffer[]>>,
): Promise<void> {
  const script = `use Socket qw(:all);
foreach my $hex (@ARGV) {
  my $packet = pack("H*", $hex);
  my $six = (ord($packet) >> 4) == 6;
  socket(my $s, $six ? AF_INET6 : AF_INET, SOCK_RAW, 255) or die "socket: $!";
  my $address = $six ? substr($packet, 24, 16) : substr($packet, 16, 4);
  my $to = $six ? pack_sockaddr_in6(0, $address) : pack_sockaddr_in(0, $address);
  send($s, $packet, 0, $to) or $!{EPERM} or die "send: $!";
}`;
  await bed.sh(
    Object.entries(packets)
      .map(
        ([from, list]) =>
          `ip netns exec ${from} perl -MErrno -e '${script}' ${list.map((one) => one.toString('hex')).join(' ')}`,
      )
      .join('\n'),
  );
}

export interface Counters {
  /** Packets seen so far, by name. */
  read(): Promise<Record<string, number>>;
  close(): Promise<void>;
}

/**
 * Counts packets at the doors of namespaces.
 *
 * @param wanted namespace → name of the counter (of letters) → match
 */
export async function countArrivals(
  bed: Bed,
  wanted: Readonly<Record<string, Readonly<Record<string, string>>>>,
): Promise<Counters> {
  const places = Object.keys(wanted);
  await bed.sh(
    Object.entries(wanted)
      .map(
        ([place, matches]) => `ip netns exec ${place} nft -f - <<'X'
add table inet lesson
delete table inet lesson
table inet lesson {
${Object.keys(matches)
  .map((name) => `  counter ${name} { }\n`)
  .join('')}
  chain c { type filter hook prerouting priority -400;
${Object.entries(matches)
  .map(([name, match]) => `    ${match} counter name ${name}\n`)
  .join('')}
  }
}
X`,
      )
      .join('\n'),
  );
  return {
    read: async () => {
      const listing = await bed.sh(
        places
          .map((place) => `ip netns exec ${place} nft list counters table inet lesson`)
          .join('\n'),
      );
      return Object.fromEntries(
        [...listing.matchAll(/counter (\w+) \{\s+packets (\d+)/g)].map(([, name, packets]) => [
          name,
          Number(packets),
        ]),
      );
    },
    close: async () => {
      await bed.sh(
        places.map((place) => `ip netns exec ${place} nft delete table inet lesson`).join('\n'),
      );
    },
  };
}
