import { describe, expect, it } from 'vitest';
import type { FieldError } from './field-error.ts';
import type { LabelSelector, ObjectMeta } from './types.ts';
import { validateLabelSelector, validateObjectMeta } from './validation.ts';

/** `path Kind detail`, which is what the server's answer is compared by. */
function lines(errors: readonly FieldError[]): string[] {
  return errors.map(({ path, kind, detail }) => `${path} ${kind} ${detail}`.trim());
}

function create(meta: ObjectMeta): string[] {
  return lines(validateObjectMeta(meta, { namespaced: true }));
}

function paths(meta: ObjectMeta): string[] {
  return validateObjectMeta(meta, { namespaced: true }).map(({ path, kind }) => `${path} ${kind}`);
}

const good: ObjectMeta = { name: 'web', namespace: 'shop' };

describe('object metadata', () => {
  it('S32: neither name nor generateName', () => {
    expect(create({ namespace: 'shop' })).toEqual([
      'metadata.name Required name or generateName is required',
    ]);
    expect(create({ namespace: 'shop', generateName: 'web-' })).toEqual([]);
    expect(create(good)).toEqual([]);
  });

  it('S33: the name is a DNS-1123 subdomain', () => {
    expect(paths({ ...good, name: 'Web' })).toEqual(['metadata.name Invalid']);
    expect(create({ ...good, name: 'a'.repeat(254) })).toEqual([
      'metadata.name Invalid must be no more than 253 characters',
    ]);
  });

  it('S34: generateName ignores a trailing dash', () => {
    expect(paths({ ...good, generateName: 'web-' })).toEqual([]);
    expect(paths({ ...good, generateName: 'web.' })).toEqual(['metadata.generateName Invalid']);
    // The server masks two characters, so a dash before the last one does no harm either.
    expect(paths({ ...good, generateName: 'web--' })).toEqual([]);
    expect(paths({ ...good, generateName: '-' })).toEqual(['metadata.generateName Invalid']);
  });

  it('S35: a missing or malformed namespace', () => {
    expect(create({ name: 'web' })).toEqual(['metadata.namespace Required']);
    expect(create({ name: 'web', namespace: 'a.b' })).toEqual([
      'metadata.namespace Invalid must not contain dots',
    ]);
    expect(
      lines(validateObjectMeta({ name: 'web', namespace: 'a' }, { namespaced: false })),
    ).toEqual(['metadata.namespace Forbidden not allowed on this type']);
  });

  it('S36: a negative generation', () => {
    expect(create({ ...good, generation: -1 })).toEqual([
      'metadata.generation Invalid must be greater than or equal to 0',
    ]);
  });

  it('S37: label keys and values', () => {
    expect(paths({ ...good, labels: { 'a b': 'x y', ok: 'ok' } })).toEqual([
      'metadata.labels Invalid',
      'metadata.labels Invalid',
    ]);
    const [key, value] = validateObjectMeta(
      { ...good, labels: { 'a b': 'x y' } },
      { namespaced: true },
    );
    expect([key?.value, value?.value]).toEqual(['a b', 'x y']);
  });

  it('S38: annotation keys in any case, 256 KiB in all', () => {
    expect(paths({ ...good, annotations: { 'Example.COM/Key': 'any ✓ text' } })).toEqual([]);
    expect(paths({ ...good, annotations: { 'a b': '' } })).toEqual([
      'metadata.annotations Invalid',
    ]);
    expect(create({ ...good, annotations: { a: 'x'.repeat(256 * 1024 - 1) } })).toEqual([]);
    expect(create({ ...good, annotations: { a: 'x'.repeat(256 * 1024) } })).toEqual([
      'metadata.annotations TooLong may not be more than 262144 bytes',
    ]);
  });

  const stored: ObjectMeta = { ...good, uid: 'u', resourceVersion: '7', generation: 2 };
  const update = (meta: ObjectMeta, old: ObjectMeta = stored): string[] =>
    lines(validateObjectMeta(meta, { namespaced: true, isUpdate: true, old }));

  it('S39: an update without resourceVersion', () => {
    expect(update(stored)).toEqual([]);
    expect(update({ ...stored, resourceVersion: '' })).toEqual([
      'metadata.resourceVersion Invalid must be specified for an update',
    ]);
  });

  it('S40: immutable fields', () => {
    expect(
      update({
        name: 'Other',
        namespace: 'b',
        uid: 'v',
        resourceVersion: '7',
        generation: 1,
        creationTimestamp: '2026-01-01T00:00:00Z',
        deletionTimestamp: '2026-01-02T00:00:00Z',
      }),
    ).toEqual([
      'metadata.generation Invalid must not be decremented',
      'metadata.name Invalid field is immutable',
      'metadata.namespace Invalid field is immutable',
      'metadata.uid Invalid field is immutable',
      'metadata.creationTimestamp Invalid field is immutable',
      'metadata.deletionTimestamp Invalid field is immutable',
    ]);
  });

  it('S41: no new finalizers while the object is being deleted', () => {
    const deleted = { ...stored, deletionTimestamp: '2026-01-02T00:00:00Z', finalizers: ['a/b'] };
    expect(update({ ...deleted, finalizers: [] }, deleted)).toEqual([]);
    expect(update({ ...deleted, finalizers: ['a/b', 'c/e', 'c/d'] }, deleted)).toEqual([
      'metadata.finalizers Forbidden no new finalizers can be added if the object is being deleted, found new finalizers []string{"c/d", "c/e"}',
    ]);
  });

  it('checks owner references and finalizers', () => {
    expect(
      create({
        ...good,
        ownerReferences: [
          { apiVersion: 'apps/', kind: '', name: '', controller: true },
          { apiVersion: 'v1', kind: 'Pod', name: 'x', uid: 'u', controller: true },
        ],
        finalizers: ['orphan', 'foregroundDeletion'],
      }).map((line) => line.split(' ').slice(0, 2).join(' ')),
    ).toEqual([
      'metadata.ownerReferences.apiVersion Invalid',
      'metadata.ownerReferences.kind Invalid',
      'metadata.ownerReferences.name Invalid',
      'metadata.ownerReferences.uid Invalid',
      'metadata.ownerReferences Invalid',
      'metadata.finalizers Invalid',
    ]);
  });
});

describe('label selectors', () => {
  const check = (
    selector: LabelSelector | null | undefined,
    allowInvalidValues = false,
  ): string[] => lines(validateLabelSelector(selector, 's', { allowInvalidValues }));
  const expression = (key: string, operator: string, values?: string[]): LabelSelector =>
    ({
      matchExpressions: [{ key, operator, ...(values === undefined ? {} : { values }) }],
    }) as never;

  it('S79: keys and values of matchLabels', () => {
    const errors = validateLabelSelector({ matchLabels: { 'a b': 'x y' } }, 's');
    expect(errors.map(({ path, kind, value }) => [path, kind, value])).toEqual([
      ['s.matchLabels', 'Invalid', 'a b'],
      ['s.matchLabels', 'Invalid', 'x y'],
    ]);
    expect(check({})).toEqual([]);
    expect(check(null)).toEqual([]);
    expect(check(undefined)).toEqual([]);
  });

  it('S82: In and NotIn need values', () => {
    for (const operator of ['In', 'NotIn']) {
      for (const values of [undefined, []]) {
        expect(check(expression('a', operator, values))).toEqual([
          "s.matchExpressions[0].values Required must be specified when `operator` is 'In' or 'NotIn'",
        ]);
      }
    }
  });

  it('S83: Exists and DoesNotExist take none', () => {
    for (const operator of ['Exists', 'DoesNotExist']) {
      expect(check(expression('a', operator, []))).toEqual([]);
      expect(check(expression('a', operator, ['b']))).toEqual([
        "s.matchExpressions[0].values Forbidden may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
      ]);
    }
  });

  it('S84: other operators', () => {
    for (const operator of ['Gt', 'Lt', 'in', 'exists', '', '=']) {
      expect(check(expression('a', operator, ['1']))).toEqual([
        's.matchExpressions[0].operator Invalid not a valid selector operator',
      ]);
    }
  });

  it('S85: keys of expressions', () => {
    const errors = validateLabelSelector(expression('a b', 'Exists'), 's');
    expect(errors.map(({ path, kind, value }) => [path, kind, value])).toEqual([
      ['s.matchExpressions[0].key', 'Invalid', 'a b'],
    ]);
  });

  it('S86: values of expressions', () => {
    const errors = validateLabelSelector(expression('a', 'In', ['ok', 'x y', '']), 's');
    expect(errors.map(({ path, kind, value }) => [path, kind, value])).toEqual([
      ['s.matchExpressions[0].values[1]', 'Invalid', 'x y'],
    ]);
  });

  it('S87: the check of expression values can be off; that of matchLabels cannot', () => {
    expect(check(expression('a', 'In', ['x y']), true)).toEqual([]);
    expect(check({ matchLabels: { a: 'x y' } }, true)).toHaveLength(1);
    expect(check(expression('a b', 'In', ['x y']), true)).toHaveLength(1);
  });

  it('S88: repeated and contradictory requirements', () => {
    expect(
      check({
        matchLabels: { a: '1' },
        matchExpressions: [
          { key: 'a', operator: 'In', values: ['2', '2'] },
          { key: 'a', operator: 'In', values: ['3'] },
          { key: 'a', operator: 'DoesNotExist' },
        ],
      }),
    ).toEqual([]);
  });

  it('reads an expression that is null as an empty one, as Go decodes it', () => {
    expect(check({ matchExpressions: [null] } as never).map((line) => line.split(' ')[0])).toEqual([
      's.matchExpressions[0].operator',
      's.matchExpressions[0].key',
      's.matchExpressions[0].key',
    ]);
  });
});
