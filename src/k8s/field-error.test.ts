import { describe, expect, it } from 'vitest';
import {
  duplicate,
  fieldErrorReason,
  forbidden,
  formatFieldError,
  formatFieldErrorBody,
  invalid,
  notSupported,
  quoteGo,
  required,
  tooLong,
  tooMany,
  typeInvalid,
} from './field-error.ts';

describe('field errors', () => {
  it('S28: printed forms', () => {
    expect(formatFieldError(required('a.b'))).toBe('a.b: Required value');
    expect(formatFieldError(required('a', 'must specify a peer'))).toBe(
      'a: Required value: must specify a peer',
    );
    expect(formatFieldError(invalid('spec.ingress[0].ports[0].port', 123456789, 'no'))).toBe(
      'spec.ingress[0].ports[0].port: Invalid value: 123456789: no',
    );
    expect(formatFieldError(invalid('a', 'x "y"', 'no'))).toBe('a: Invalid value: "x \\"y\\"": no');
    expect(formatFieldError(notSupported('a', 'ICMP', ['TCP', 'UDP', 'SCTP']))).toBe(
      'a: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"',
    );
    expect(formatFieldError(forbidden('a', 'no'))).toBe('a: Forbidden: no');
    expect(formatFieldError(tooLong('a', 'long', 100))).toBe(
      'a: Too long: may not be more than 100 bytes',
    );
    expect(formatFieldError(tooMany('a', 26, 25))).toBe(
      'a: Too many: 26: must have at most 25 items',
    );
    expect(formatFieldError(tooMany('a', 2, 1))).toBe('a: Too many: 2: must have at most 1 item');
    expect(formatFieldError(duplicate('a[1]', '::/0'))).toBe('a[1]: Duplicate value: "::/0"');
    expect(formatFieldError(typeInvalid('a', 'string', 'no'))).toBe(
      'a: Invalid value: "string": no',
    );
    expect(formatFieldErrorBody(invalid('a', null, 'no'))).toBe('Invalid value: null: no');
  });

  it('S28: other values print as JSON, as Go writes it', () => {
    expect(formatFieldError(invalid('a', ['Ingress', '<b>'], 'no'))).toBe(
      'a: Invalid value: ["Ingress","\\u003cb\\u003e"]: no',
    );
    expect(formatFieldError(invalid('a', { b: 1, a: true }, 'no'))).toBe(
      'a: Invalid value: {"a":true,"b":1}: no',
    );
    expect(formatFieldError(invalid('a', false, 'no'))).toBe('a: Invalid value: false: no');
  });

  it('S29: machine reasons', () => {
    expect(
      (['Required', 'Invalid', 'NotSupported', 'Forbidden'] as const).map(fieldErrorReason),
    ).toEqual([
      'FieldValueRequired',
      'FieldValueInvalid',
      'FieldValueNotSupported',
      'FieldValueForbidden',
    ]);
    expect(
      (['TooLong', 'TooMany', 'Duplicate', 'TypeInvalid'] as const).map(fieldErrorReason),
    ).toEqual([
      'FieldValueTooLong',
      'FieldValueTooMany',
      'FieldValueDuplicate',
      'FieldValueTypeInvalid',
    ]);
  });

  it('quotes as Go does', () => {
    expect(quoteGo('tab\t nl\n bell\u0007 nul\u0000 del\u007f')).toBe(
      '"tab\\t nl\\n bell\\a nul\\x00 del\\x7f"',
    );
    expect(quoteGo('ä € 😀')).toBe('"ä € 😀"');
    expect(quoteGo('\u00a0\u200b\u{e0001}')).toBe('"\\u00a0\\u200b\\U000e0001"');
    expect(quoteGo('\\')).toBe('"\\\\"');
  });
});
