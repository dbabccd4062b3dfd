import { describe, expect, it } from 'vitest';
import { checkSchema, nearestName, type SchemaNode } from './schema.ts';

const schema: SchemaNode = {
  type: 'object',
  fields: {
    port: { type: 'int-or-string' },
    protocol: { type: 'string' },
    endPort: { type: 'integer' },
    big: { type: 'integer', format: 'int64' },
    flag: { type: 'boolean' },
    labels: { type: 'map', values: { type: 'string' } },
    list: { type: 'list', items: { type: 'object', fields: { a: { type: 'string' } } } },
    rest: { type: 'any' },
  },
};

describe('schema check', () => {
  it('S4: unknown fields, with the path and the name that was meant', () => {
    expect(checkSchema({ prot: 'UDP', list: [{ a: '' }, { b: 1 }] }, schema, 'p')).toEqual({
      unknown: [{ path: 'p.prot', suggestion: 'protocol' }, { path: 'p.list[1].b' }],
      typeErrors: [],
    });
    // The field that is already there was not meant.
    expect(checkSchema({ port: 53, porto: 'UDP' }, schema, '').unknown).toEqual([
      { path: 'porto' },
    ]);
  });

  it('S31: wrong JSON types', () => {
    const given = {
      port: 80.5,
      protocol: ['TCP'],
      endPort: '90',
      big: 2 ** 40,
      flag: 'true',
      labels: { a: 1, 'b.c/d': null },
      list: {},
      rest: [{ any: 'thing' }],
    };
    expect(checkSchema(given, schema, '').typeErrors).toEqual([
      { path: 'port', expected: 'an integer of 32 bits or a string', actual: 'the number 80.5' },
      { path: 'protocol', expected: 'a string', actual: 'a list' },
      { path: 'endPort', expected: 'an integer of 32 bits', actual: 'the string "90"' },
      { path: 'flag', expected: 'true or false', actual: 'the string "true"' },
      { path: 'labels[a]', expected: 'a string', actual: 'the number 1' },
      { path: 'list', expected: 'a list', actual: 'an object' },
    ]);
    expect(checkSchema({ port: 2 ** 31 }, schema, '').typeErrors).toHaveLength(1);
    expect(checkSchema({ endPort: 80.0 }, schema, '').typeErrors).toEqual([]);
  });

  it('accepts null everywhere, as Go decodes it', () => {
    const nulls = Object.fromEntries(
      Object.keys((schema as { fields: object }).fields).map((k) => [k, null]),
    );
    expect(checkSchema(nulls, schema, '')).toEqual({ unknown: [], typeErrors: [] });
    expect(checkSchema(null, schema, '')).toEqual({ unknown: [], typeErrors: [] });
  });

  it('is not misled by names that objects inherit', () => {
    const given = JSON.parse('{"__proto__": 1, "constructor": 2, "toString": 3}') as unknown;
    expect(checkSchema(given, schema, '').unknown.map(({ path }) => path)).toEqual([
      '__proto__',
      'constructor',
      'toString',
    ]);
  });

  it('suggests the nearest name', () => {
    const fields = ['podSelector', 'namespaceSelector', 'ipBlock'];
    const rows: [string, string | undefined][] = [
      ['podselector', 'podSelector'],
      ['pod_selector', 'podSelector'],
      ['podSelecter', 'podSelector'],
      ['podSelctor', 'podSelector'],
      ['namespaceselectors', 'namespaceSelector'],
      ['namespace', 'namespaceSelector'],
      ['ipblock', 'ipBlock'],
      ['ipBlok', 'ipBlock'],
      ['cidr', undefined],
      ['x', undefined],
    ];
    for (const [given, meant] of rows) expect(nearestName(given, fields), given).toBe(meant);
    expect(nearestName('ingres', ['egress', 'ingress'])).toBe('ingress');
    expect(nearestName('form', ['from', 'ports'])).toBe('from');
  });
});
