import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSctpClient, createSctpServer, type SctpOutcome } from './sctp-association.ts';
import { chunkType, decodeSctp, encodeSctp } from './sctp-packet.ts';

const client = () =>
  createSctpClient({ source: 40_000, destination: 80, tag: 0x1234_5678, question: 'hostname\n' });

function server(visits: string[] = []) {
  return createSctpServer({
    ports: new Set([80]),
    serverTag: 0x9abc_def0,
    answer: (port, question) => `${port} ${question.trim()}`,
    onVisit: ({ port, from }) => visits.push(`${port} ${from}`),
  });
}

/** Lets both talk until the client knows; `lost` drops the packets of these numbers. */
function converse(
  one: ReturnType<typeof client>,
  other: ReturnType<typeof server>,
  lost: readonly number[] = [],
): { readonly outcome: SctpOutcome | undefined; readonly types: number[][] } {
  const types: number[][] = [];
  let count = 0;
  for (let attempt = 0; attempt < 5; attempt++) {
    const toServer = [one.pending()];
    for (const packet of toServer) {
      types.push(decodeSctp(packet)?.chunks.map(({ type }) => type) ?? []);
      if (lost.includes(count++)) continue;
      for (const reply of other.receive(packet, '10.0.0.1')) {
        types.push(decodeSctp(reply)?.chunks.map(({ type }) => type) ?? []);
        if (lost.includes(count++)) continue;
        const { send, outcome } = one.receive(reply);
        if (outcome !== undefined) {
          for (const last of send) other.receive(last, '10.0.0.1');
          return { outcome, types };
        }
        toServer.push(...send);
      }
    }
  }
  return { outcome: undefined, types };
}

describe('SCTP packets', () => {
  it('have a checksum: a changed bit is noticed', () => {
    const init = encodeSctp({
      source: 1,
      destination: 2,
      tag: 0,
      chunks: [{ type: 1, body: Buffer.from('12345') }],
    });
    expect(init.length).toBe(12 + 12);
    expect(decodeSctp(init)?.chunks[0]?.body.toString()).toBe('12345');
    init.writeUInt8(init.readUInt8(16) ^ 1, 16);
    expect(decodeSctp(init)).toBeUndefined();
  });

  it('are read back as written, and nothing makes the reader fail', () => {
    fc.assert(
      fc.property(
        fc.nat(0xffff),
        fc.nat(0xffff_ffff),
        fc.array(fc.record({ type: fc.nat(255), body: fc.uint8Array({ maxLength: 40 }) })),
        (port, tag, given) => {
          const chunks = given.map(({ type, body }) => ({
            type,
            flags: 0,
            body: Buffer.from(body),
          }));
          const packet = { source: port, destination: 9, tag, chunks };
          expect(decodeSctp(encodeSctp(packet))).toEqual(packet);
        },
      ),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const buffer = Buffer.from(bytes);
        decodeSctp(buffer);
        server().receive(buffer, '10.0.0.1');
        client().receive(buffer);
      }),
    );
  });
});

describe('an SCTP association', () => {
  it('is set up by four packets and carries a question and its answer', () => {
    const visits: string[] = [];
    const { outcome, types } = converse(client(), server(visits));
    expect(outcome).toEqual({ kind: 'answered', text: '80 hostname' });
    expect(types).toEqual([
      [chunkType.init],
      [chunkType.initAck],
      [chunkType.cookieEcho, chunkType.data],
      [chunkType.cookieAck, chunkType.sack, chunkType.data],
    ]);
    expect(visits).toEqual(['80 10.0.0.1']);
  });

  it('survives the loss of any one packet', () => {
    for (let lost = 0; lost < 4; lost++) {
      expect(converse(client(), server(), [lost]).outcome, `packet ${lost}`).toMatchObject({
        kind: 'answered',
      });
    }
  });

  it('is refused on a port where nothing listens', () => {
    const one = createSctpClient({ source: 40_000, destination: 81, tag: 5, question: 'x' });
    expect(converse(one, server()).outcome).toEqual({ kind: 'refused' });
  });

  it('ignores packets of other associations', () => {
    const one = client();
    const [ack] = server().receive(one.pending(), '10.0.0.1');
    const other = createSctpClient({ source: 40_001, destination: 80, tag: 7, question: 'x' });
    expect(other.receive(ack ?? Buffer.alloc(0))).toEqual({ send: [] });
  });
});
