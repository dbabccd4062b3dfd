import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { ApiObject, JsonObject } from '../object.ts';
import { applyConfiguration } from './apply.ts';
import {
  fieldsOf,
  intersectTrees,
  subtractTrees,
  unionTrees,
  type FieldTree,
} from './managed-fields.ts';
import { mergePatch } from './merge.ts';

const schema = 'core.v1.Pod';
const container = fc.record(
  {
    name: fc.constantFrom('a', 'b', 'c'),
    image: fc.constantFrom('1', '2'),
    env: fc.uniqueArray(
      fc.record({ name: fc.constantFrom('X', 'Y'), value: fc.constantFrom('1', '2') }),
      { selector: (variable) => variable.name, maxLength: 2 },
    ),
  },
  { requiredKeys: ['name', 'image'] },
);
const config = fc
  .record(
    {
      labels: fc.dictionary(fc.constantFrom('k', 'l', '__proto__'), fc.constantFrom('1', '2')),
      containers: fc.uniqueArray(container, { selector: (c) => c.name, maxLength: 3 }),
      tolerations: fc.array(fc.record({ key: fc.constantFrom('t', 'u') }), { maxLength: 2 }),
    },
    { requiredKeys: ['containers'] },
  )
  .map(({ labels, ...spec }): ApiObject => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', ...(labels ? { labels } : {}) },
    spec,
  }));

const apply = (live: ApiObject | undefined, given: ApiObject, manager: string): ApiObject =>
  applyConfiguration({
    schema,
    live,
    config: given,
    manager,
    force: true,
    apiVersion: 'v1',
    time: '2026-01-01T00:00:00Z',
  });
const body = (object: ApiObject): JsonObject => ({
  ...object,
  metadata: { ...object.metadata, managedFields: undefined },
});
const treeOf = (object: ApiObject, manager: string): FieldTree =>
  (object.metadata.managedFields?.find((entry) => entry.manager === manager)?.fieldsV1 ??
    {}) as FieldTree;

it('property: applying twice is applying once', () => {
  fc.assert(
    fc.property(config, config, (first, second) => {
      const live = apply(apply(undefined, first, 'x'), second, 'y');
      expect(apply(live, second, 'y')).toEqual(live);
    }),
  );
});

it('property: what a manager sets is there and is its own; what it drops is gone when it was alone', () => {
  fc.assert(
    fc.property(config, config, (first, second) => {
      const before = apply(undefined, first, 'x');
      const after = apply(before, second, 'x');
      expect(treeOf(after, 'x')).toEqual(fieldsOf(second, schema));
      // One manager alone: the object holds no leaf that it does not own.
      const strayed = subtractTrees(fieldsOf(body(after), schema), fieldsOf(second, schema));
      expect(strayed).toEqual({});
    }),
  );
});

it('property: another manager keeps what only it sets', () => {
  fc.assert(
    fc.property(config, config, config, (mine, theirs, next) => {
      // An empty map is owned as itself, and is not told apart from a full one below.
      fc.pre(Object.keys(theirs.metadata.labels ?? { k: '' }).length > 0);
      const live = apply(apply(undefined, mine, 'x'), theirs, 'y');
      const after = apply(live, next, 'x');
      const untouched = subtractTrees(fieldsOf(theirs, schema), fieldsOf(next, schema));
      const left = fieldsOf(body(after), schema);
      expect(subtractTrees(untouched, left)).toEqual({});
    }),
  );
});

it('property: trees are sets of leaves', () => {
  fc.assert(
    fc.property(config, config, (one, two) => {
      const [a, b] = [fieldsOf(one, schema), fieldsOf(two, schema)];
      expect(subtractTrees(a, a)).toEqual({});
      expect(intersectTrees(a, a)).toEqual(a);
      expect(subtractTrees(subtractTrees(unionTrees(a, b), b), a)).toEqual({});
      expect(subtractTrees(intersectTrees(a, b), a)).toEqual({});
    }),
  );
});

it('property: a merge patch applied twice is applied once', () => {
  const json = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      fc.constant(null),
      fc.nat(3),
      fc.array(fc.nat(3), { maxLength: 2 }),
      tie('object'),
    ),
    object: fc.dictionary(fc.constantFrom('a', 'b', 'c'), tie('value')),
  })).object;
  fc.assert(
    fc.property(json, json, (document, patch) => {
      const once = mergePatch(document, patch);
      expect(mergePatch(once, patch)).toEqual(once);
    }),
  );
});
