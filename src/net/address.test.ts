import { describe, expect, it } from 'vitest';
import {
  compareAddresses,
  formatAddress,
  parseAddress,
  parseAddressSloppy,
  sameAddress,
  unmapAddress,
} from './address.ts';

function canonical(text: string): string | undefined {
  const address = parseAddress(text);
  return address === undefined ? undefined : formatAddress(address);
}

describe('parseAddress', () => {
  it('reads IPv4 as an unsigned number', () => {
    expect(parseAddress('0.0.0.0')).toEqual({ family: 4, value: 0 });
    expect(parseAddress('255.255.255.255')).toEqual({ family: 4, value: 0xffffffff });
    expect(parseAddress('192.168.0.1')).toEqual({ family: 4, value: 0xc0a80001 });
  });

  it('reads IPv6 as a bigint and writes RFC 5952', () => {
    expect(parseAddress('::1')).toEqual({ family: 6, value: 1n });
    expect(canonical('2001:DB8:0:0:0:0:0:1')).toBe('2001:db8::1');
    expect(canonical('2001:db8:0:1:1:1:1:1')).toBe('2001:db8:0:1:1:1:1:1');
    expect(canonical('2001:0:0:1:0:0:0:1')).toBe('2001:0:0:1::1');
    expect(canonical('2001:db8:0:0:1:0:0:1')).toBe('2001:db8::1:0:0:1');
    expect(canonical('::')).toBe('::');
    expect(canonical('1::')).toBe('1::');
    expect(canonical('::ffff:c0a8:1')).toBe('::ffff:192.168.0.1');
    expect(canonical('64:ff9b::1.2.3.4')).toBe('64:ff9b::102:304');
    expect(canonical('1:2:3:4:5:6:7::')).toBe('1:2:3:4:5:6:7:0');
  });

  it.each([
    '',
    ' ',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.4 ',
    '01.2.3.4',
    '1.2.3.00',
    '256.1.1.1',
    '1..2.3',
    '.1.2.3',
    '1.2.3.',
    '0x1.2.3.4',
    '+1.2.3.4',
    '-1.2.3.4',
    '١.2.3.4',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '::1:2:3:4:5:6:7:8',
    '1:',
    ':1',
    '12345::',
    '00001::',
    'g::',
    '::1.2.3',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '1:2:3:4:5:6:7:1.2.3.4',
    '::01.2.3.4',
    'fe80::1%eth0',
    '1.2.3.4%eth0',
    '[::1]',
    '::1/64',
  ])('refuses %j', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });
});

describe('parseAddressSloppy', () => {
  it('reads leading zeros as decimal (S67)', () => {
    expect(parseAddressSloppy('010.001.000.09')).toEqual(parseAddress('10.1.0.9'));
    expect(parseAddressSloppy('::ffff:010.1.1.1')).toEqual(parseAddress('::ffff:10.1.1.1'));
    expect(parseAddressSloppy('00001::')).toEqual(parseAddress('1::'));
  });

  it('refuses what is out of range all the same', () => {
    expect(parseAddressSloppy('0256.1.1.1')).toBeUndefined();
    expect(parseAddressSloppy('10000::')).toBeUndefined();
    expect(parseAddressSloppy('fe80::1%eth0')).toBeUndefined();
  });
});

describe('addresses', () => {
  it('are ordered, IPv4 first', () => {
    const texts = ['::1', '10.0.0.2', '255.0.0.0', '::', '10.0.0.10'];
    const sorted = texts
      .map((text) => parseAddress(text))
      .filter((address) => address !== undefined)
      .sort(compareAddresses);
    expect(sorted.map(formatAddress)).toEqual(['10.0.0.2', '10.0.0.10', '255.0.0.0', '::', '::1']);
  });

  it('of different families are never the same', () => {
    expect(sameAddress({ family: 4, value: 1 }, { family: 6, value: 1n })).toBe(false);
    expect(sameAddress({ family: 6, value: 1n }, { family: 6, value: 1n })).toBe(true);
  });

  it('can be taken out of their IPv4-mapped form', () => {
    expect(unmapAddress({ family: 6, value: 0xffff_0a00_0001n })).toEqual(parseAddress('10.0.0.1'));
    expect(unmapAddress({ family: 6, value: 1n })).toEqual({ family: 6, value: 1n });
  });
});
