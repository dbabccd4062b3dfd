import { describe, expect, it } from 'vitest';
import type { ApiObject, JsonObject } from '../object.ts';
import { ApiError } from '../status.ts';
import { applyConfiguration } from './apply.ts';
import { fieldsOf, leafPaths, managedFieldsAfterUpdate, subtractTrees } from './managed-fields.ts';

const schema = 'apps.v1.Deployment';
const make = (spec: JsonObject, metadata: JsonObject = {}): ApiObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd', ...metadata },
  spec,
});
const template = (containers: JsonObject[]): JsonObject => ({ template: { spec: { containers } } });

function apply(
  live: ApiObject | undefined,
  config: ApiObject,
  manager = 'me',
  force = false,
): ApiObject {
  return applyConfiguration({
    schema,
    live,
    config,
    manager,
    force,
    apiVersion: 'apps/v1',
    time: '2026-01-01T00:00:00Z',
  });
}

function updated(old: ApiObject | undefined, object: ApiObject, manager: string): ApiObject {
  const managedFields = managedFieldsAfterUpdate({
    schema,
    old,
    object,
    manager,
    apiVersion: 'apps/v1',
    time: '2026-01-01T00:00:00Z',
  });
  return { ...object, metadata: { ...object.metadata, managedFields } };
}

const owners = (object: ApiObject): Record<string, string[]> =>
  Object.fromEntries(
    (object.metadata.managedFields ?? []).map((entry) => [
      `${entry.manager}/${entry.operation}`,
      leafPaths(entry.fieldsV1 as never),
    ]),
  );

describe('server-side apply', () => {
  it('owns exactly what it sets', () => {
    const object = apply(undefined, make({ replicas: 2 }, { labels: { a: 'b' } }));
    expect(owners(object)).toEqual({ 'me/Apply': ['.metadata.labels.a', '.spec.replicas'] });
  });

  it('removes what it no longer sets and nobody else owns', () => {
    const first = apply(undefined, make({ replicas: 2, paused: true }));
    const second = apply(first, make({ replicas: 2 }));
    expect(second['spec']).toEqual({ replicas: 2 });
  });

  it('keeps a field that another manager owns too', () => {
    const mine = apply(undefined, make({ replicas: 2, paused: true }));
    const both = apply(mine, make({ paused: true }), 'other');
    const after = apply(both, make({ replicas: 2 }));
    expect(after['spec']).toEqual({ replicas: 2, paused: true });
    expect(owners(after)).toEqual({
      'other/Apply': ['.spec.paused'],
      'me/Apply': ['.spec.replicas'],
    });
  });

  it('refuses to take a field, with a cause for each', () => {
    const live = updated(
      undefined,
      make({ replicas: 2, paused: true }),
      'kubectl-client-side-apply',
    );
    let error: unknown;
    try {
      apply(live, make({ replicas: 3, paused: false }));
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(ApiError);
    const { code, reason, message, details } = error as ApiError;
    expect({ code, reason }).toEqual({ code: 409, reason: 'Conflict' });
    expect(message).toMatch(/^Apply failed with 2 conflicts: /);
    expect(details?.causes).toEqual([
      {
        reason: 'FieldManagerConflict',
        message: 'conflict with "kubectl-client-side-apply" using apps/v1',
        field: '.spec.replicas',
      },
      {
        reason: 'FieldManagerConflict',
        message: 'conflict with "kubectl-client-side-apply" using apps/v1',
        field: '.spec.paused',
      },
    ]);
  });

  it('shares a field when the value is the same', () => {
    const live = updated(undefined, make({ replicas: 2 }), 'other');
    expect(owners(apply(live, make({ replicas: 2 })))).toEqual({
      'other/Update': ['.spec.replicas'],
      'me/Apply': ['.spec.replicas'],
    });
  });

  it('takes the field by force', () => {
    const live = updated(undefined, make({ replicas: 2, paused: true }), 'other');
    const after = apply(live, make({ replicas: 3 }), 'me', true);
    expect(after['spec']).toEqual({ replicas: 3, paused: true });
    expect(owners(after)).toEqual({
      'other/Update': ['.spec.paused'],
      'me/Apply': ['.spec.replicas'],
    });
  });

  it('merges associative lists by key and removes items dropped', () => {
    const first = apply(
      undefined,
      make(
        template([
          { name: 'a', image: '1' },
          { name: 'b', image: '1' },
        ]),
      ),
    );
    const other = apply(first, make(template([{ name: 'c', image: '1' }])), 'other');
    const after = apply(other, make(template([{ name: 'b', image: '2' }])));
    expect(after['spec']).toEqual(
      template([
        { name: 'b', image: '2' },
        { name: 'c', image: '1' },
      ]),
    );
  });

  it('tells ports apart by number and protocol', () => {
    const ports = (list: JsonObject[]): JsonObject => template([{ name: 'a', ports: list }]);
    const first = apply(undefined, make(ports([{ containerPort: 53, protocol: 'UDP' }])));
    const after = apply(first, make(ports([{ containerPort: 53 }])), 'other');
    expect(after['spec']).toEqual(
      ports([{ containerPort: 53, protocol: 'UDP' }, { containerPort: 53 }]),
    );
  });

  it('replaces atomic values whole', () => {
    const first = apply(undefined, make({ selector: { matchLabels: { a: '1' } } }));
    const after = apply(first, make({ selector: { matchLabels: { b: '1' } } }));
    expect(after['spec']).toEqual({ selector: { matchLabels: { b: '1' } } });
    expect(owners(after)).toEqual({ 'me/Apply': ['.spec.selector'] });
  });

  it('refuses managedFields in the configuration', () => {
    expect(() => apply(undefined, make({}, { managedFields: [] }))).toThrow(ApiError);
  });
});

describe('managed fields of plain writes', () => {
  it('the writer takes what it changes; others lose it', () => {
    const first = updated(undefined, make({ replicas: 1, paused: true }), 'a');
    const second = updated(first, { ...first, spec: { replicas: 2, paused: true } }, 'b');
    expect(owners(second)).toEqual({
      'a/Update': ['.spec.paused'],
      'b/Update': ['.spec.replicas'],
    });
  });

  it('a removed field has no owner', () => {
    const first = updated(undefined, make({ replicas: 1, paused: true }), 'a');
    const second = updated(first, { ...first, spec: { replicas: 1 } }, 'b');
    expect(owners(second)).toEqual({ 'a/Update': ['.spec.replicas'] });
  });

  it('one empty entry resets ownership', () => {
    const first = updated(undefined, make({ replicas: 1 }), 'a');
    const reset = { ...first, metadata: { ...first.metadata, managedFields: [{}] as never } };
    expect(owners(updated(first, reset, 'b'))).toEqual({});
  });

  it('an object minus its own fields owns nothing', () => {
    const tree = fieldsOf(make({ replicas: 1, ...template([{ name: 'a', image: 'x' }]) }), schema);
    expect(subtractTrees(tree, tree)).toEqual({});
  });
});
