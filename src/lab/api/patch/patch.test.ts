import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../object.ts';
import { ApiError } from '../status.ts';
import { jsonPatch } from './json.ts';
import { mergePatch } from './merge.ts';
import { strategicMergePatch } from './strategic.ts';

const codeOf = (action: () => unknown): number | undefined => {
  try {
    action();
  } catch (error) {
    return error instanceof ApiError ? error.code : -1;
  }
  return undefined;
};

describe('JSON patch', () => {
  const cases: [string, unknown, unknown, unknown][] = [
    ['add a member', { a: 1 }, [{ op: 'add', path: '/b', value: 2 }], { a: 1, b: 2 }],
    ['add to a list', { a: [1, 3] }, [{ op: 'add', path: '/a/1', value: 2 }], { a: [1, 2, 3] }],
    ['append', { a: [1] }, [{ op: 'add', path: '/a/-', value: 2 }], { a: [1, 2] }],
    ['remove', { a: 1, b: 2 }, [{ op: 'remove', path: '/a' }], { b: 2 }],
    ['replace', { a: 1 }, [{ op: 'replace', path: '/a', value: { b: 1 } }], { a: { b: 1 } }],
    ['move', { a: 1 }, [{ op: 'move', from: '/a', path: '/b' }], { b: 1 }],
    ['copy', { a: [1] }, [{ op: 'copy', from: '/a', path: '/b' }], { a: [1], b: [1] }],
    ['escapes', { 'a/b~': 1 }, [{ op: 'replace', path: '/a~1b~0', value: 2 }], { 'a/b~': 2 }],
    [
      'test that holds',
      { a: { b: [1] } },
      [{ op: 'test', path: '/a', value: { b: [1] } }],
      { a: { b: [1] } },
    ],
    ['whole document', { a: 1 }, [{ op: 'replace', path: '', value: { z: 1 } }], { z: 1 }],
    ['absent tests as null', {}, [{ op: 'test', path: '/x', value: null }], {}],
  ];
  it.each(cases)('%s', (_name, before, patch, after) => {
    const copy: unknown = structuredClone(before);
    expect(jsonPatch(before, patch)).toEqual(after);
    expect(before).toEqual(copy);
  });

  const faults: [string, unknown, unknown, number][] = [
    ['a test that fails', { a: 1 }, [{ op: 'test', path: '/a', value: 2 }], 422],
    ['removing what is not there', {}, [{ op: 'remove', path: '/a' }], 422],
    ['replacing what is not there', {}, [{ op: 'replace', path: '/a/b', value: 1 }], 422],
    ['an index out of range', { a: [] }, [{ op: 'add', path: '/a/1', value: 1 }], 422],
    ['an index with a leading zero', { a: [1, 2] }, [{ op: 'remove', path: '/a/01' }], 422],
    ['an unknown operation', {}, [{ op: 'jump', path: '/a' }], 422],
    ['not a list', {}, { op: 'add' }, 400],
  ];
  it.each(faults)('refuses %s', (_name, before, patch, code) => {
    expect(codeOf(() => jsonPatch(before, patch))).toBe(code);
  });

  it('keeps a member called __proto__ a member', () => {
    const patched = jsonPatch({}, [{ op: 'add', path: '/__proto__', value: { x: 1 } }]);
    expect(Object.hasOwn(patched as object, '__proto__')).toBe(true);
    expect(({} as JsonObject)['x']).toBeUndefined();
  });
});

describe('merge patch', () => {
  // The table of RFC 7386, appendix A.
  const cases: [unknown, unknown, unknown][] = [
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'b' }, ['c'], ['c']],
    [{ a: 'foo' }, null, null],
    [{ a: 'foo' }, 'bar', 'bar'],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  it.each(cases)('%j with %j is %j', (before, patch, after) => {
    expect(mergePatch(before, patch)).toEqual(after);
  });
});

describe('strategic merge patch', () => {
  const pod = (containers: unknown, more: JsonObject = {}): JsonObject => ({
    spec: { containers, ...more },
  });
  const cases: [string, string, JsonObject, JsonObject, JsonObject][] = [
    [
      'merges containers by name',
      'core.v1.Pod',
      pod([
        { name: 'a', image: '1' },
        { name: 'b', image: '1' },
      ]),
      pod([{ name: 'b', image: '2' }]),
      pod([
        { name: 'a', image: '1' },
        { name: 'b', image: '2' },
      ]),
    ],
    [
      'adds a container that is new',
      'core.v1.Pod',
      pod([{ name: 'a', image: '1' }]),
      pod([{ name: 'c', image: '3' }]),
      pod([
        { name: 'a', image: '1' },
        { name: 'c', image: '3' },
      ]),
    ],
    [
      'deletes by key',
      'core.v1.Pod',
      pod([{ name: 'a' }, { name: 'b' }]),
      pod([{ name: 'a', $patch: 'delete' }]),
      pod([{ name: 'b' }]),
    ],
    [
      'replaces a list when asked',
      'core.v1.Pod',
      pod([{ name: 'a' }, { name: 'b' }]),
      pod([{ $patch: 'replace' }, { name: 'z' }]),
      pod([{ name: 'z' }]),
    ],
    [
      'merges inside an item',
      'core.v1.Pod',
      pod([{ name: 'a', env: [{ name: 'X', value: '1' }] }]),
      pod([{ name: 'a', env: [{ name: 'Y', value: '2' }] }]),
      pod([
        {
          name: 'a',
          env: [
            { name: 'X', value: '1' },
            { name: 'Y', value: '2' },
          ],
        },
      ]),
    ],
    [
      'orders as $setElementOrder says',
      'core.v1.Pod',
      pod([{ name: 'a' }, { name: 'b' }]),
      {
        spec: {
          '$setElementOrder/containers': [{ name: 'c' }, { name: 'a' }, { name: 'b' }],
          containers: [{ name: 'c' }],
        },
      },
      pod([{ name: 'c' }, { name: 'a' }, { name: 'b' }]),
    ],
    [
      'replaces lists that have no merge key',
      'networking.v1.NetworkPolicy',
      { spec: { ingress: [{ from: [1] }, { from: [2] }] } },
      { spec: { ingress: [{ from: [3] }] } },
      { spec: { ingress: [{ from: [3] }] } },
    ],
    [
      'null removes',
      'networking.v1.NetworkPolicy',
      { metadata: { labels: { a: '1', b: '2' } } },
      { metadata: { labels: { a: null } } },
      { metadata: { labels: { b: '2' } } },
    ],
    [
      '$retainKeys drops the other members of a union',
      'apps.v1.Deployment',
      { spec: { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1 } } } },
      { spec: { strategy: { $retainKeys: ['type'], type: 'Recreate' } } },
      { spec: { strategy: { type: 'Recreate' } } },
    ],
    [
      '$patch replace of an object',
      'core.v1.ConfigMap',
      { data: { a: '1', b: '2' } },
      { data: { $patch: 'replace', c: '3' } },
      { data: { c: '3' } },
    ],
    [
      'primitive sets: add and delete',
      'core.v1.Pod',
      { metadata: { finalizers: ['a', 'b'] } },
      { metadata: { '$deleteFromPrimitiveList/finalizers': ['a'], finalizers: ['c'] } },
      { metadata: { finalizers: ['b', 'c'] } },
    ],
  ];
  it.each(cases)('%s', (_name, schema, before, patch, after) => {
    const copy = structuredClone(before);
    expect(strategicMergePatch(before, patch, schema)).toEqual(after);
    expect(before).toEqual(copy);
  });

  it('refuses an item without its merge key', () => {
    expect(codeOf(() => strategicMergePatch(pod([]), pod([{ image: 'x' }]), 'core.v1.Pod'))).toBe(
      400,
    );
  });
});
