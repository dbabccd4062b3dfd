import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, it } from 'vitest';
import { formatAddress, parseAddress, parseAddressSloppy } from './address.ts';
import type { Address } from './address.ts';
import {
  addressSetFrom,
  addressSetOf,
  allAddresses,
  complement,
  containsAddress,
  containsAddressSet,
  emptyAddressSet,
  equalAddressSets,
  intersect,
  subtract,
  toCidrs,
  toRanges,
  union,
  unionAll,
} from './address-set.ts';
import type { AddressSet } from './address-set.ts';
import { cidrContains, formatCidr, parseCidr } from './cidr.ts';
import {
  allConnections,
  complementConnections,
  connectionsOf,
  containsConnections,
  equalConnections,
  hasConnection,
  intersectConnections,
  isAllConnections,
  isNoConnections,
  noConnections,
  protocols,
  subtractConnections,
  unionConnections,
} from './connection-set.ts';
import type { ConnectionSet } from './connection-set.ts';
import { complementPorts, hasPort, portRange, unionPorts } from './port-set.ts';

/** A tiny universe: eight addresses at each place where arithmetic could go wrong. */
const MAX_V6 = (1n << 128n) - 1n;
const universe: Address[] = [];
for (let i = 0; i < 8; i++) {
  universe.push({ family: 4, value: i });
  universe.push({ family: 4, value: 0x7ffffffc + i });
  universe.push({ family: 4, value: 0xfffffff8 + i });
  universe.push({ family: 6, value: BigInt(i) });
  universe.push({ family: 6, value: (1n << 64n) - 4n + BigInt(i) });
  universe.push({ family: 6, value: MAX_V6 - 7n + BigInt(i) });
}

const subset = fc.subarray(universe, { minLength: 0 }).map((addresses) => ({
  set: addressSetFrom(addresses.toReversed()),
  members: new Set(addresses),
}));

function agrees(set: AddressSet, member: (address: Address) => boolean): void {
  canonical(set);
  for (const address of universe) expect(containsAddress(set, address)).toBe(member(address));
}

function canonical(set: AddressSet): void {
  const check = <T extends number | bigint>(list: readonly T[], next: (value: T) => T): void => {
    expect(list.length % 2).toBe(0);
    for (let i = 0; i < list.length; i += 2) {
      expect((list[i] as T) <= (list[i + 1] as T)).toBe(true);
      if (i > 0) expect((list[i] as T) > next(list[i - 1] as T)).toBe(true);
    }
  };
  check(set.v4, (value) => value + 1);
  check(set.v6, (value) => value + 1n);
}

describe('address sets against brute force', () => {
  it('union, intersect, subtract and complement hold what they should, canonically', () => {
    fc.assert(
      fc.property(subset, subset, (a, b) => {
        agrees(a.set, (x) => a.members.has(x));
        agrees(union(a.set, b.set), (x) => a.members.has(x) || b.members.has(x));
        agrees(intersect(a.set, b.set), (x) => a.members.has(x) && b.members.has(x));
        agrees(subtract(a.set, b.set), (x) => a.members.has(x) && !b.members.has(x));
        agrees(complement(a.set), (x) => !a.members.has(x));
      }),
      { numRuns: 300 },
    );
  });

  it('obeys the laws of set algebra', () => {
    fc.assert(
      fc.property(subset, subset, subset, ({ set: a }, { set: b }, { set: c }) => {
        const same = (x: AddressSet, y: AddressSet): void => {
          expect(equalAddressSets(x, y)).toBe(true);
        };
        same(complement(union(a, b)), intersect(complement(a), complement(b)));
        same(complement(intersect(a, b)), union(complement(a), complement(b)));
        same(complement(complement(a)), a);
        same(union(a, b), union(b, a));
        same(union(union(a, b), c), union(a, union(b, c)));
        same(unionAll([a, b, c]), union(a, union(b, c)));
        same(intersect(a, union(b, c)), union(intersect(a, b), intersect(a, c)));
        same(subtract(a, b), intersect(a, complement(b)));
        same(union(a, complement(a)), allAddresses);
        same(intersect(a, complement(a)), emptyAddressSet);
        expect(containsAddressSet(union(a, b), a)).toBe(true);
        expect(containsAddressSet(a, b)).toBe(equalAddressSets(union(a, b), a));
      }),
      { numRuns: 200 },
    );
  });

  it('is the same whatever the order and the pieces it was made of', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(universe), fc.shuffledSubarray(universe), (a, b) => {
        const one = addressSetOf(...a, ...b);
        const other = addressSetOf(...b, ...a, ...a);
        expect(one).toEqual(other);
        expect(union(addressSetOf(...a), addressSetOf(...b))).toEqual(one);
      }),
    );
  });

  it('toCidrs and toRanges give the set back, with no network too many', () => {
    fc.assert(
      fc.property(
        subset,
        fc.array(fc.tuple(v4Number(), fc.integer({ min: 0, max: 32 })), { maxLength: 6 }),
        ({ set }, networks) => {
          const more = addressSetFrom(
            networks.map(([value, prefix]) => {
              const result = parseCidr(`${formatAddress({ family: 4, value })}/${prefix}`);
              if (!result.ok) throw new Error(result.fault);
              return result.cidr;
            }),
          );
          const whole = union(set, more);
          const texts = toCidrs(whole);
          const cidrs = texts.map((text) => {
            const result = parseCidr(text, { strict: true });
            if (!result.ok) throw new Error(`${text}: ${result.fault}`);
            return result.cidr;
          });
          expect(addressSetOf(...cidrs)).toEqual(whole);
          expect(cidrs.map(formatCidr)).toEqual(texts);
          // No two neighbours could have been one network.
          for (let i = 1; i < cidrs.length; i++) {
            const [left, right] = [cidrs[i - 1], cidrs[i]];
            if (left === undefined || right === undefined || left.prefix !== right.prefix) continue;
            if (left.prefix === 0 || left.family !== right.family) continue;
            const parent = parseCidr(`${formatAddress(left.first)}/${left.prefix - 1}`);
            expect(
              parent.ok && parent.strictFault === undefined && cidrContains(parent.cidr, right),
            ).toBe(false);
          }
          const ranges = toRanges(whole).map(({ from, to }) => ({
            family: from.family,
            first: from,
            last: to,
            prefix: 0,
          }));
          expect(addressSetFrom(ranges)).toEqual(whole);
        },
      ),
      { numRuns: 200 },
    );
  });
});

function v4Number(): fc.Arbitrary<number> {
  return fc.integer({ min: 0, max: 0xffffffff });
}

function v6Value(): fc.Arbitrary<bigint> {
  return fc
    .array(fc.oneof(fc.constantFrom(0, 0, 1, 0xffff), fc.integer({ min: 0, max: 0xffff })), {
      minLength: 8,
      maxLength: 8,
    })
    .map((groups) => groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n));
}

describe('addresses against ipaddr.js', () => {
  it('reads and writes IPv4 alike', () => {
    fc.assert(
      fc.property(v4Number(), (value) => {
        const text = formatAddress({ family: 4, value });
        expect(ipaddr.IPv4.parse(text).toString()).toBe(text);
        expect(parseAddress(text)).toEqual({ family: 4, value });
      }),
    );
  });

  it('reads and writes IPv6 alike', () => {
    fc.assert(
      fc.property(v6Value(), (value) => {
        const text = formatAddress({ family: 6, value });
        expect(parseAddress(text)).toEqual({ family: 6, value });
        const oracle = ipaddr.IPv6.parse(text);
        expect(oracle.toByteArray()).toEqual(bytesOf(value));
        expect(parseAddress(oracle.toNormalizedString())).toEqual({ family: 6, value });
        if (value >> 32n !== 0xffffn) expect(text).toBe(oracle.toRFC5952String());
      }),
    );
  });

  it('accepts nothing that ipaddr.js refuses, and never throws', () => {
    const characters = fc.string({
      unit: fc.constantFrom(...'0123456789abcdefF:.:.%/g '),
      maxLength: 24,
    });
    fc.assert(
      fc.property(characters, (text) => {
        const address = parseAddress(text);
        if (address !== undefined) {
          expect(ipaddr.isValid(text)).toBe(true);
          expect(parseAddress(formatAddress(address))).toEqual(address);
          expect(parseAddressSloppy(text)).toEqual(address);
        } else if (ipaddr.IPv4.isValidFourPartDecimal(text)) {
          expect(text).toMatch(/(^|\.)0[0-9]/);
        }
        parseCidr(text);
      }),
      { numRuns: 2000 },
    );
  });

  it('matches the same networks', () => {
    fc.assert(
      fc.property(
        v4Number(),
        v4Number(),
        fc.integer({ min: 0, max: 32 }),
        (base, probe, prefix) => {
          const text = `${formatAddress({ family: 4, value: base })}/${prefix}`;
          const result = parseCidr(text);
          if (!result.ok) throw new Error(result.fault);
          const oracle = ipaddr.IPv4.parseCIDR(text);
          for (const value of [probe, base, (base ^ (probe & 0xff)) >>> 0]) {
            const address = { family: 4, value } as const;
            expect(containsAddress(addressSetOf(result.cidr), address)).toBe(
              ipaddr.IPv4.parse(formatAddress(address)).match(oracle),
            );
          }
        },
      ),
    );
  });
});

function bytesOf(value: bigint): number[] {
  const bytes: number[] = [];
  for (let shift = 120n; shift >= 0n; shift -= 8n) bytes.push(Number((value >> shift) & 0xffn));
  return bytes;
}

describe('connection sets against brute force', () => {
  const ports = [1, 2, 3, 4, 80, 81, 65533, 65534, 65535];
  const piece = fc
    .tuple(fc.constantFrom(...protocols), fc.constantFrom(...ports), fc.constantFrom(...ports))
    .map(([protocol, from, to]) => connectionsOf(protocol, Math.min(from, to), Math.max(from, to)));
  const set = fc
    .tuple(fc.array(piece, { maxLength: 5 }), fc.boolean())
    .map(([pieces, other]) =>
      pieces.reduce(unionConnections, other ? { ...noConnections, other } : noConnections),
    );

  it('does set algebra', () => {
    fc.assert(
      fc.property(set, set, (a, b) => {
        const cases: [ConnectionSet, (x: boolean, y: boolean) => boolean][] = [
          [unionConnections(a, b), (x, y) => x || y],
          [intersectConnections(a, b), (x, y) => x && y],
          [subtractConnections(a, b), (x, y) => x && !y],
          [complementConnections(a), (x) => !x],
        ];
        for (const [result, expected] of cases) {
          for (const protocol of protocols)
            for (const port of ports)
              expect(hasConnection(result, protocol, port)).toBe(
                expected(hasConnection(a, protocol, port), hasConnection(b, protocol, port)),
              );
          expect(result.other).toBe(expected(a.other, b.other));
        }
        expect(containsConnections(a, b)).toBe(equalConnections(unionConnections(a, b), a));
        expect(equalConnections(complementConnections(complementConnections(a)), a)).toBe(true);
        expect(isAllConnections(unionConnections(a, complementConnections(a)))).toBe(true);
        expect(isNoConnections(intersectConnections(a, complementConnections(a)))).toBe(true);
        expect(unionConnections(a, complementConnections(a))).toBe(allConnections);
      }),
      { numRuns: 300 },
    );
  });

  it('port sets never leave 1–65535', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -5, max: 70000 }),
        fc.integer({ min: -5, max: 70000 }),
        (lo, hi) => {
          const range = portRange(lo, hi);
          expect(hasPort(range, 0)).toBe(false);
          expect(hasPort(range, 65536)).toBe(false);
          expect(unionPorts(range, complementPorts(range))).toEqual([1, 65535]);
        },
      ),
    );
  });
});
