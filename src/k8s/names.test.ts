import { describe, expect, it } from 'vitest';
import {
  isDns1123Label,
  isDns1123Subdomain,
  isLabelValue,
  isQualifiedName,
  isValidPortName,
  isValidPortNumber,
  utf8Length,
} from './names.ts';

const subdomain =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

describe('names', () => {
  it('S33: DNS-1123 subdomains, the form of policy names', () => {
    for (const name of ['a', 'a.b', '1', 'a-b.c-d', 'a'.repeat(253)]) {
      expect(isDns1123Subdomain(name)).toEqual([]);
    }
    for (const name of ['', 'A', '-a', 'a-', 'a..b', '.a', 'a_b', 'a b', 'a\n']) {
      expect(isDns1123Subdomain(name)).toEqual([subdomain]);
    }
    expect(isDns1123Subdomain('a'.repeat(254))).toEqual(['must be no more than 253 characters']);
    expect(isDns1123Subdomain('A'.repeat(254))).toEqual([
      'must be no more than 253 characters',
      subdomain,
    ]);
  });

  it('S35: DNS-1123 labels, the form of namespace names', () => {
    expect(isDns1123Label('a-1')).toEqual([]);
    expect(isDns1123Label('a.b')).toEqual(['must not contain dots']);
    expect(isDns1123Label('a'.repeat(64))).toEqual(['must be no more than 63 characters']);
    expect(isDns1123Label('A')).toEqual([
      "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    ]);
  });

  it('S80: label keys', () => {
    for (const key of ['a', 'A.b_c-D', 'example.com/a', `${'p'.repeat(253)}/${'k'.repeat(63)}`]) {
      expect(isQualifiedName(key)).toEqual([]);
    }
    const form =
      "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    expect(isQualifiedName('')).toEqual(['name part must be non-empty', `name part ${form}`]);
    expect(isQualifiedName('/a')).toEqual(['prefix part must be non-empty']);
    expect(isQualifiedName('A.b/c')).toEqual([`prefix part ${subdomain}`]);
    expect(isQualifiedName('k'.repeat(64))).toEqual(['name part must be no more than 63 bytes']);
    expect(isQualifiedName('a/b/c')).toEqual([
      `a valid label key ${form} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ]);
  });

  it('S81: label values', () => {
    for (const value of ['', 'a', 'A_b.c-1', 'v'.repeat(63)])
      expect(isLabelValue(value)).toEqual([]);
    expect(isLabelValue('v'.repeat(64))).toEqual(['must be no more than 63 bytes']);
    for (const value of ['-', 'a-', '_a', 'a b', 'a/b', 'ä']) {
      expect(isLabelValue(value)).toHaveLength(1);
    }
  });

  it('S44: port names, one message per broken rule', () => {
    for (const name of ['a', 'http', '80a', 'a-b-c', 'abcdefghijklmno']) {
      expect(isValidPortName(name)).toEqual([]);
    }
    expect(isValidPortName('-1--A234567890123-')).toEqual([
      'must be no more than 15 characters',
      'must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)',
      'must contain at least one letter (a-z)',
      'must not contain consecutive hyphens',
      'must not begin or end with a hyphen',
    ]);
  });

  it('S43: port numbers', () => {
    for (const port of [1, 80, 65535]) expect(isValidPortNumber(port)).toEqual([]);
    for (const port of [0, -1, 65536, 123456789]) {
      expect(isValidPortNumber(port)).toEqual(['must be between 1 and 65535, inclusive']);
    }
  });

  it('counts bytes as UTF-8', () => {
    for (const text of ['', 'abc', 'ä', '€', '😀', 'a😀ä']) {
      expect(utf8Length(text)).toBe(Buffer.byteLength(text));
    }
  });
});
