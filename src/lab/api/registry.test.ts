import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { resourceTypes } from './registry.ts';
import { typeNamed, typeNames } from './schema.ts';

describe('registry', () => {
  it('every kind has a type, and every type it reaches is known', () => {
    for (const type of resourceTypes) expect(typeNamed(type.schema), type.schema).toBeDefined();
    for (const name of typeNames())
      for (const field of typeNamed(name)?.fields.values() ?? []) {
        let { shape } = field;
        while (shape.type === 'list' || shape.type === 'map')
          shape = shape.type === 'list' ? shape.items : shape.values;
        if (shape.type === 'ref')
          expect(typeNamed(shape.name), `${name}.${field.name}`).toBeDefined();
      }
  });

  it('every row has a cell for each column', () => {
    for (const type of resourceTypes) {
      const object = { apiVersion: '', kind: type.kind, metadata: { name: 'x' } };
      expect(type.row(object, 0), type.kind).toHaveLength(type.columns.length);
    }
  });

  it('the published page lists every kind served', () => {
    const page = readFileSync(
      new URL('../../../docs/reference/lab-api.md', import.meta.url),
      'utf8',
    );
    for (const type of resourceTypes)
      expect(page.replaceAll(/ +/g, ' ')).toContain(`| ${type.plural} | ${type.kind} |`);
  });
});
