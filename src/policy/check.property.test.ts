import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SchemaNode } from '../k8s/schema.ts';
import type { KubeObject } from '../k8s/types.ts';
import { checkPolicy, policyKinds } from './index.ts';

const fieldNames = [
  'podSelector',
  'namespaceSelector',
  'namespaces',
  'pods',
  'nodes',
  'networks',
  'domainNames',
  'ipBlock',
  'cidr',
  'except',
  'matchLabels',
  'matchExpressions',
  'key',
  'operator',
  'values',
  'ingress',
  'egress',
  'from',
  'to',
  'ports',
  'port',
  'endPort',
  'protocol',
  'protocols',
  'tcp',
  'destinationPort',
  'number',
  'range',
  'start',
  'end',
  'portNumber',
  'portRange',
  'namedPort',
  'action',
  'name',
  'tier',
  'priority',
  'subject',
  'policyTypes',
  'app',
  '__proto__',
];

const scalar = fc.oneof(
  fc.constantFrom(
    '',
    'TCP',
    'web',
    'Ingress',
    'Egress',
    'In',
    'Exists',
    'Accept',
    'Allow',
    'Deny',
    'Admin',
  ),
  fc.constantFrom('10.0.0.0/8', '10.1.2.3/8', '::/0', '::ffff:10.0.0.0/104', 'x', 'a b', 'a.b'),
  fc.constantFrom<unknown>(0, 1, 80, 65536, -1, 80.5, 1e12, true, false, null),
  fc.string(),
);

/** JSON of the words policies are made of, in no sensible arrangement. */
const { json } = fc.letrec<{ json: unknown }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 5, depthSize: 'medium' },
    scalar,
    fc.array(tie('json'), { maxLength: 3 }),
    fc
      .array(fc.tuple(fc.constantFrom(...fieldNames), tie('json')), { maxLength: 4 })
      .map(
        (entries) =>
          JSON.parse(
            `{${entries
              .map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`)
              .join(',')}}`,
          ) as unknown,
      ),
  ),
}));

/** JSON that a schema knows the fields of: mostly decodable, so that the deeper rules are reached. */
function shaped(node: SchemaNode): fc.Arbitrary<unknown> {
  switch (node.type) {
    case 'object': {
      const parts = Object.entries(node.fields).map(([name, field]) =>
        fc
          .option(shaped(field), { nil: undefined, freq: 1 })
          .map((value) => [name, value] as const),
      );
      return fc
        .tuple(...parts)
        .map((entries) => Object.fromEntries(entries.filter(([, value]) => value !== undefined)));
    }
    case 'map':
      return fc.dictionary(fc.constantFrom('app', 'a b', 'example.com/x'), shaped(node.values), {
        maxKeys: 2,
      });
    case 'list':
      return fc.array(shaped(node.items), { maxLength: 2 });
    case 'string':
      return scalar.filter((value) => typeof value === 'string' || value === null);
    case 'integer':
      return fc.constantFrom(0, 1, 80, 81, 1000, 65535, 65536, -1);
    case 'int-or-string':
      return fc.constantFrom(80, 0, 'web', '80', null);
    case 'boolean':
      return fc.boolean();
    case 'any':
      return json;
  }
}

function freeze(value: unknown): unknown {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(freeze);
    Object.freeze(value);
  }
  return value;
}

const objects = fc.constantFrom(...policyKinds).chain((kind) => {
  const { spec } = (kind.schema as { fields: Record<string, SchemaNode> }).fields;
  return fc
    .tuple(
      fc.oneof(fc.constant({ name: 'a' }), json),
      fc.oneof({ weight: 3, arbitrary: shaped(spec as SchemaNode) }, json),
    )
    .map(([metadata, given]) =>
      freeze({ apiVersion: kind.apiVersion, kind: kind.kind, metadata, spec: given }),
    );
}) as fc.Arbitrary<KubeObject>;

describe('checkPolicy on anything', () => {
  it('never throws and never changes its input', () => {
    fc.assert(
      fc.property(objects, fc.constantFrom('strict', 'ignore'), (object, fieldValidation) => {
        for (const channel of ['standard', 'experimental'] as const) {
          const result = checkPolicy({ object }, { fieldValidation, channel });
          const refused = result.diagnostics.some(({ severity }) => severity === 'error');
          // Either the object is refused and says why, or it compiles.
          expect(result.policy === undefined).toBe(refused);
          expect(result.errors.length > 0 && result.policy !== undefined).toBe(false);
        }
      }),
      { numRuns: 1500 },
    );
  });

  it('gives the same answer for the object as stored', () => {
    fc.assert(
      fc.property(objects, (object) => {
        const once = checkPolicy({ object }, { fieldValidation: 'ignore' });
        fc.pre(once.defaulted !== undefined);
        const twice = checkPolicy({ object: once.defaulted }, { fieldValidation: 'strict' });
        expect(twice.defaulted).toEqual(once.defaulted);
        expect(twice.errors).toEqual(once.errors);
        expect(twice.policy).toEqual(once.policy);
      }),
      { numRuns: 800 },
    );
  });
});
