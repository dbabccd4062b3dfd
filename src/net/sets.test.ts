import { describe, expect, it } from 'vitest';
import {
  addressSetFrom,
  addressSetOf,
  allAddresses,
  complement,
  containsAddress,
  emptyAddressSet,
  formatAddressSet,
  intersect,
  subtract,
  toCidrs,
  union,
} from './address-set.ts';
import type { AddressSet } from './address-set.ts';
import { parseCidr } from './cidr.ts';
import {
  allConnections,
  connectionsOf,
  formatConnections,
  hasConnection,
  noConnections,
  subtractConnections,
  unionConnections,
} from './connection-set.ts';
import {
  allPorts,
  formatPorts,
  intersectPorts,
  noPorts,
  portRange,
  subtractPorts,
  unionPorts,
} from './port-set.ts';

function set(...texts: string[]): AddressSet {
  return addressSetFrom(
    texts.map((text) => {
      const result = parseCidr(text);
      if (!result.ok) throw new Error(result.fault);
      return result.cidr;
    }),
  );
}

describe('address sets', () => {
  it('join adjacent networks', () => {
    expect(toCidrs(set('10.0.0.0/25', '10.0.0.128/25'))).toEqual(['10.0.0.0/24']);
    expect(toCidrs(set('0.0.0.0/1', '128.0.0.0/1', '::/1', '8000::/1'))).toEqual([
      '0.0.0.0/0',
      '::/0',
    ]);
  });

  it('subtract exceptions as an ipBlock does', () => {
    expect(toCidrs(subtract(set('10.0.0.0/30'), set('10.0.0.1/32')))).toEqual([
      '10.0.0.0/32',
      '10.0.0.2/31',
    ]);
    expect(toCidrs(subtract(set('2001:db8::/126'), set('2001:db8::/127')))).toEqual([
      '2001:db8::2/127',
    ]);
  });

  it('keep families apart', () => {
    expect(containsAddress(set('::/0'), { family: 4, value: 1 })).toBe(false);
    expect(complement(set('0.0.0.0/0'))).toEqual(set('::/0'));
    expect(intersect(set('0.0.0.0/0'), set('::/0'))).toEqual(emptyAddressSet);
    expect(union(set('0.0.0.0/0'), set('::/0'))).toEqual(allAddresses);
  });

  it('print short', () => {
    expect(formatAddressSet(emptyAddressSet)).toBe('none');
    expect(formatAddressSet(allAddresses)).toBe('any');
    expect(formatAddressSet(set('10.0.0.1/32', '10.1.0.0/16', '::1/128'))).toBe(
      '10.0.0.1,10.1.0.0/16,::1',
    );
    expect(formatAddressSet(set('10.0.0.1/32', '10.0.0.2/31'))).toBe('10.0.0.1-10.0.0.3');
  });

  it('hold a hundred thousand addresses', () => {
    const addresses = Array.from(
      { length: 100_000 },
      (_, i) => ({ family: 4, value: i * 2 }) as const,
    );
    const odd = addressSetOf(...addresses);
    expect(odd.v4.length).toBe(200_000);
    expect(containsAddress(odd, { family: 4, value: 100_000 })).toBe(true);
    expect(containsAddress(odd, { family: 4, value: 100_001 })).toBe(false);
  });
});

describe('port sets', () => {
  it('join, cut and print', () => {
    expect(formatPorts(unionPorts(portRange(80, 80), portRange(81, 90)))).toBe('80-90');
    expect(formatPorts(unionPorts(portRange(443, 443), portRange(80, 80)))).toBe('80,443');
    expect(formatPorts(subtractPorts(allPorts, portRange(80, 80)))).toBe('1-79,81-65535');
    expect(intersectPorts(portRange(1, 10), portRange(11, 20))).toBe(noPorts);
    expect(portRange(5, 4)).toBe(noPorts);
    expect(formatPorts(noPorts)).toBe('none');
  });
});

describe('connection sets', () => {
  it('print', () => {
    const web = unionConnections(connectionsOf('TCP', 80), connectionsOf('TCP', 443));
    expect(formatConnections(unionConnections(web, connectionsOf('UDP', 53)))).toBe(
      'TCP 80,443 UDP 53',
    );
    expect(formatConnections(allConnections)).toBe('all');
    expect(formatConnections(noConnections)).toBe('none');
    expect(formatConnections(subtractConnections(allConnections, connectionsOf('TCP', 80)))).toBe(
      'TCP 1-79,81-65535 UDP 1-65535 SCTP 1-65535 other',
    );
  });

  it('answer for one connection, or for a whole protocol', () => {
    const set80 = connectionsOf('TCP', 80);
    expect(hasConnection(set80, 'TCP', 80)).toBe(true);
    expect(hasConnection(set80, 'UDP', 80)).toBe(false);
    expect(hasConnection(set80, 'TCP')).toBe(false);
    expect(hasConnection(allConnections, 'TCP')).toBe(true);
    expect(hasConnection(allConnections, 'other')).toBe(true);
    expect(hasConnection(set80, 'other')).toBe(false);
  });
});
