import { describe, expect, it } from 'vitest';
import { describeField, describeType } from './descriptions.ts';
import { openApiDocument, openApiIndex } from './openapi.ts';
import { isReview, kindOf, resourceTypes } from './registry.ts';
import { typeNamed, type Shape } from './schema.ts';

function inner(shape: Shape): Shape {
  if (shape.type === 'list') return inner(shape.items);
  return shape.type === 'map' ? inner(shape.values) : shape;
}

/** Types and fields that a kind leads to and that nobody describes. */
function undescribed(root: string): string[] {
  const missing: string[] = [];
  const seen = new Set<string>();
  const walk = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    if (describeType(name) === undefined) missing.push(name);
    for (const field of typeNamed(name)?.fields.values() ?? []) {
      if (describeField(name, field.name) === undefined) missing.push(`${name} ${field.name}`);
      const shape = inner(field.shape);
      if (shape.type === 'ref') walk(shape.name);
    }
  };
  walk(root);
  return missing;
}

const policies = resourceTypes.filter(
  ({ group, kind }) => group === 'policy.networking.k8s.io' || kind === 'NetworkPolicy',
);

describe('descriptions', () => {
  it.each(policies.map(({ kind, schema }) => [kind, schema]))(
    '%s is described to the last field',
    (_kind, schema) => expect(undescribed(schema)).toEqual([]),
  );

  it('every kind that is kept has a text', () => {
    const kept = resourceTypes.filter((type) => !isReview(type) && type.kind !== 'Endpoints');
    expect(
      kept.filter(({ schema }) => describeType(schema) === undefined).map(({ schema }) => schema),
    ).toEqual([]);
  });

  it('texts are about fields that exist', () => {
    for (const type of ['core.v1.PodSpec', 'core.v1.ServiceSpec', 'apps.v1.DeploymentSpec']) {
      const fields = [...(typeNamed(type)?.fields.keys() ?? [])];
      const described = fields.filter((field) => describeField(type, field) !== undefined);
      expect(described.length).toBeGreaterThan(5);
    }
    expect(describeField('core.v1.PodSpec', 'nonsense')).toBeUndefined();
  });
});

describe('the document of a group', () => {
  const document = (path: string): Record<string, unknown> =>
    JSON.parse(openApiDocument(path) ?? '{}') as Record<string, unknown>;

  it('carries the texts where kubectl explain looks', () => {
    const { components } = document('apis/networking.k8s.io/v1') as {
      components: {
        schemas: Record<
          string,
          { description: string; properties: Record<string, { description: string }> }
        >;
      };
    };
    const policy = components.schemas['io.k8s.api.networking.v1.NetworkPolicy'];
    expect(policy?.description).toContain('Policies add up and never deny');
    expect(policy?.properties['spec']?.description).toBe('What is wanted.');
    const peer = components.schemas['io.k8s.api.networking.v1.NetworkPolicyPeer'];
    expect(peer?.properties['namespaceSelector']?.description).toContain('all namespaces');
  });

  it('has a place in the index, whose hash changes with it', () => {
    const { paths } = JSON.parse(openApiIndex()) as {
      paths: Record<string, { serverRelativeURL: string }>;
    };
    for (const { group, version } of resourceTypes) {
      const path = group === '' ? `api/${version}` : `apis/${group}/${version}`;
      expect(paths[path]?.serverRelativeURL).toMatch(/^\/openapi\/v3\/.*\?hash=[0-9A-F]{40}$/);
      expect(openApiDocument(path)).toBeDefined();
    }
    expect(new Set(Object.values(paths).map((one) => one.serverRelativeURL)).size).toBe(
      Object.keys(paths).length,
    );
  });

  it('names no path for a kind that is not written', () => {
    expect(kindOf('batch/v1', 'CronJob').verbs).not.toContain('create');
    expect(JSON.stringify(document('apis/batch/v1')['paths'])).not.toContain(
      'cronjobs/{name}":{"get"',
    );
  });
});
