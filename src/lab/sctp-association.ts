/**
 * Both ends of an SCTP association that carries one question and one answer: set up by the four-way
 * handshake, so that conntrack, address translation and policy see what they would see of real SCTP.
 * Pure: packets in, packets out. Must not know how packets travel.
 */
import {
  chunkType,
  dataChunk,
  decodeInit,
  decodeSctp,
  encodeInit,
  encodeSctp,
  readData,
  sackChunk,
  type SctpChunk,
} from './sctp-packet.ts';

export interface SctpServer {
  /** Packets to send back to `from`. */
  receive(packet: Buffer, from: string): Buffer[];
}

export interface SctpVisit {
  readonly port: number;
  readonly from: string;
}

interface Peer {
  readonly tag: number;
  tsn: number;
}

/** Associations remembered; the oldest is forgotten first. */
const peersKept = 1024;
const empty = Buffer.alloc(0);

/**
 * Answers every message on `ports`. A message must come with or after the cookie; INIT to any other
 * port is aborted, which a client reads as a refusal. `serverTag`: this end's verification tag.
 */
export function createSctpServer(options: {
  readonly ports: ReadonlySet<number>;
  readonly serverTag: number;
  readonly answer: (port: number, question: string, from: string) => string;
  readonly onVisit?: (visit: SctpVisit) => void;
}): SctpServer {
  const { ports, serverTag, answer, onVisit } = options;
  const peers = new Map<string, Peer>();
  return {
    receive(bytes, from) {
      const packet = decodeSctp(bytes);
      if (packet === undefined) return [];
      const { source, destination: port } = packet;
      const key = `${from} ${source} ${port}`;
      const reply = (tag: number, ...chunks: SctpChunk[]): Buffer[] => [
        encodeSctp({ source: port, destination: source, tag, chunks }),
      ];
      const [first] = packet.chunks;
      if (first?.type === chunkType.init && packet.tag === 0) {
        const init = decodeInit(first.body);
        if (init === undefined) return [];
        if (!ports.has(port)) return reply(init.tag, { type: chunkType.abort, body: empty });
        const cookie = Buffer.alloc(8);
        cookie.writeUInt32BE(init.tag, 0);
        cookie.writeUInt32BE(init.tsn, 4);
        const body = encodeInit({ tag: serverTag, tsn: 1, cookie });
        return reply(init.tag, { type: chunkType.initAck, body });
      }
      if (packet.tag !== serverTag) return [];
      const back: SctpChunk[] = [];
      for (const chunk of packet.chunks) {
        if (chunk.type === chunkType.cookieEcho && chunk.body.length === 8) {
          if (!peers.has(key)) onVisit?.({ port, from });
          for (const oldest of peers.keys()) {
            if (peers.size < peersKept) break;
            peers.delete(oldest);
          }
          peers.set(key, { tag: chunk.body.readUInt32BE(0), tsn: 1 });
          back.push({ type: chunkType.cookieAck, body: empty });
          continue;
        }
        const peer = peers.get(key);
        if (peer === undefined) return [];
        if (chunk.type === chunkType.data && chunk.body.length > 12) {
          const { tsn, text } = readData(chunk);
          back.push(sackChunk(tsn), dataChunk(peer.tsn, answer(port, text, from)));
        } else if (chunk.type === chunkType.shutdown) {
          back.push({ type: chunkType.shutdownAck, body: empty });
        } else if (
          chunk.type === chunkType.abort ||
          chunk.type === chunkType.shutdownComplete ||
          chunk.type === chunkType.shutdownAck
        ) {
          peers.delete(key);
          return [];
        }
      }
      const peer = peers.get(key);
      return peer === undefined || back.length === 0 ? [] : reply(peer.tag, ...back);
    },
  };
}

export type SctpOutcome =
  { readonly kind: 'answered'; readonly text: string } | { readonly kind: 'refused' };

export interface SctpClient {
  /** What to send now, and again while nothing comes back. */
  pending(): Buffer;
  /** Takes a packet of the other side; its answers are in `send`, and `outcome` when it is over. */
  receive(packet: Buffer): { readonly send: readonly Buffer[]; readonly outcome?: SctpOutcome };
}

/** One question from port `source` to port `destination`. `tag`: any number but 0. */
export function createSctpClient(options: {
  readonly source: number;
  readonly destination: number;
  readonly tag: number;
  readonly question: string;
}): SctpClient {
  const { source, destination, tag: own, question } = options;
  const packetOf = (tag: number, ...chunks: SctpChunk[]): Buffer =>
    encodeSctp({ source, destination, tag, chunks });
  const tsn = 1;
  let peerTag = 0;
  let pending = packetOf(0, { type: chunkType.init, body: encodeInit({ tag: own, tsn }) });
  let established = false;
  return {
    pending: () => pending,
    receive(bytes) {
      const packet = decodeSctp(bytes);
      if (packet === undefined || packet.source !== destination || packet.destination !== source) {
        return { send: [] };
      }
      // An abort may carry the tag of either side.
      const [first] = packet.chunks;
      if (first?.type === chunkType.abort) return { send: [], outcome: { kind: 'refused' } };
      if (packet.tag !== own) return { send: [] };
      if (first?.type === chunkType.initAck && !established) {
        const init = decodeInit(first.body);
        if (init?.cookie === undefined) return { send: [] };
        peerTag = init.tag;
        established = true;
        const echo = { type: chunkType.cookieEcho, body: init.cookie };
        pending = packetOf(peerTag, echo, dataChunk(tsn, question));
        return { send: [pending] };
      }
      const data = packet.chunks.find((chunk) => chunk.type === chunkType.data);
      if (!established || data === undefined || data.body.length <= 12) return { send: [] };
      const { tsn: theirs, text } = readData(data);
      // Nothing stays behind in either end's tables.
      const end = packetOf(peerTag, { type: chunkType.abort, body: empty });
      return {
        send: [packetOf(peerTag, sackChunk(theirs)), end],
        outcome: { kind: 'answered', text },
      };
    },
  };
}
