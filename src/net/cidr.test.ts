import { describe, expect, it } from 'vitest';
import { formatAddress } from './address.ts';
import { cidrContains, cidrOf, cidrWarnings, formatCidr, parseCidr } from './cidr.ts';
import type { Cidr } from './cidr.ts';

function lenient(text: string): Cidr {
  const result = parseCidr(text);
  if (!result.ok) throw new Error(`${text}: ${result.fault}`);
  return result.cidr;
}

function strictFault(text: string): string | undefined {
  const result = parseCidr(text, { strict: true });
  return result.ok ? undefined : result.fault;
}

describe('parseCidr', () => {
  it('gives first and last address and prefix', () => {
    const cidr = lenient('10.1.2.0/23');
    expect(formatAddress(cidr.first)).toBe('10.1.2.0');
    expect(formatAddress(cidr.last)).toBe('10.1.3.255');
    expect(cidr.prefix).toBe(23);
    expect(formatAddress(lenient('2001:db8::/33').last)).toBe(
      '2001:db8:7fff:ffff:ffff:ffff:ffff:ffff',
    );
  });

  it('S66: whole families and single addresses', () => {
    for (const text of ['0.0.0.0/0', '::/0', '10.0.0.1/32', '2001:db8::1/128']) {
      expect(formatCidr(lenient(text))).toBe(text);
      expect(strictFault(text)).toBeUndefined();
    }
    expect(lenient('0.0.0.0/0').last.value).toBe(0xffffffff);
    expect(lenient('::/0').last.value).toBe(2n ** 128n - 1n);
  });

  it('S67, S68, S73: what lenient parsing accepts and masks, and why strict parsing refuses it', () => {
    const cases: [string, string, string][] = [
      ['1.1.01.0/24', '1.1.1.0/24', 'must not have leading 0s in IP or prefix length'],
      ['192.168.0.0/016', '192.168.0.0/16', 'must not have leading 0s in IP or prefix length'],
      ['::ffff:1.1.1.0/120', '1.1.1.0/24', 'must not have an IPv4-mapped IPv6 address'],
      ['::ffff:1.1.1.0/24', '::/24', 'must not have an IPv4-mapped IPv6 address'],
      ['1.2.3.4/24', '1.2.3.0/24', 'must not have bits set beyond the prefix length'],
      ['2001:db8::1/64', '2001:db8::/64', 'must not have bits set beyond the prefix length'],
    ];
    for (const [text, canonical, fault] of cases) {
      expect(formatCidr(lenient(text))).toBe(canonical);
      expect(strictFault(text)).toBe(fault);
      expect(parseCidr(text)).toMatchObject({ ok: true, strictFault: fault });
    }
  });

  it('S69: what no mode accepts', () => {
    const texts = [
      '',
      ' ',
      'aaaaaaa',
      '1.2.3.4',
      '192.168.0.1/healthz',
      '192.168.0.1/0/99',
      '192.168.0.1/-16',
      '192.168.0.1/+16',
      'fe80::%eth0/64',
      'fe80::1%1/128',
      '1.2.3.4%eth0/24',
      '10.0.0.0/33',
      '::/129',
      '10.0.0.0/',
      '/24',
      ' 10.0.0.0/8',
      '10.0.0.0/8 ',
      '10.0.0.0/8\n',
      '10.0.0/8',
      '10.0.0.0/1e1',
      '10.0.0.0/99999999999999999999',
    ];
    for (const text of texts) {
      const fault = 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)';
      expect(parseCidr(text)).toEqual({ ok: false, fault });
      expect(parseCidr(text, { strict: true })).toEqual({ ok: false, fault });
    }
  });

  it('S70: IPv6 that is only written unusually is accepted in both modes', () => {
    for (const text of ['2001:DB8::/64', '2001:db8:0:0::/64'])
      expect(parseCidr(text, { strict: true })).toMatchObject({ ok: true });
    expect(formatCidr(lenient('2001:DB8:0:0::/64'))).toBe('2001:db8::/64');
  });

  it('keeps the prefix length of an IPv4-mapped network as written (S63)', () => {
    expect(lenient('::ffff:10.0.0.0/104')).toMatchObject({
      family: 4,
      prefix: 8,
      mappedPrefix: 104,
    });
  });
});

describe('cidrWarnings', () => {
  it('S72: warns of ambiguous and non-standard values in the words of the API server', () => {
    expect(cidrWarnings('192.12.2.0/24')).toEqual([]);
    expect(cidrWarnings('192.12.2.0/024')).toEqual([
      'non-standard CIDR value "192.12.2.0/024" will be considered invalid in a future Kubernetes release: use "192.12.2.0/24"',
    ]);
    expect(cidrWarnings('::ffff:192.12.2.0/120')).toEqual([
      'non-standard CIDR value "::ffff:192.12.2.0/120" will be considered invalid in a future Kubernetes release: use "192.12.2.0/24"',
    ]);
    expect(cidrWarnings('192.12.2.8/24')).toEqual([
      'CIDR value "192.12.2.8/24" is ambiguous in this context (should be "192.12.2.0/24" or "192.12.2.8/32"?)',
    ]);
    expect(cidrWarnings('2001:DB8::/64')).toEqual([
      'IPv6 CIDR value "2001:DB8::/64" should be in RFC 5952 canonical format ("2001:db8::/64")',
    ]);
    expect(cidrWarnings('nonsense')).toEqual([]);
  });
});

describe('cidrContains', () => {
  it('compares networks of one family only', () => {
    expect(cidrContains(lenient('10.0.0.0/8'), lenient('10.1.0.0/16'))).toBe(true);
    expect(cidrContains(lenient('10.0.0.0/8'), lenient('10.0.0.0/8'))).toBe(true);
    expect(cidrContains(lenient('10.1.0.0/16'), lenient('10.0.0.0/8'))).toBe(false);
    expect(cidrContains(lenient('::/0'), lenient('10.0.0.0/8'))).toBe(false);
    expect(cidrContains(lenient('10.0.0.0/8'), lenient('::ffff:10.1.0.0/112'))).toBe(true);
  });

  it('cidrOf gives the network around an address', () => {
    expect(formatCidr(cidrOf({ family: 4, value: 0x0a010203 }, 16))).toBe('10.1.0.0/16');
  });
});
