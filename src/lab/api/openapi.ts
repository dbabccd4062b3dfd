/**
 * OpenAPI v3 documents, one for each group-version, from the registry and the type tables: enough
 * for `kubectl explain` and for clients that look up merge keys or ask whether the server validates
 * fields.
 */
import { createHash } from 'node:crypto';
import { describeField, describeType } from './descriptions.ts';
import type { JsonObject } from './object.ts';
import { apiVersionOf, groupVersions } from './registry.ts';
import type { ResourceType } from './resource.ts';
import { type Field, type Shape, typeNamed } from './schema.ts';

const pathOf = (entry: { group: string; version: string }): string =>
  entry.group === '' ? `api/${entry.version}` : `apis/${entry.group}/${entry.version}`;

/** `io.k8s.api.core.v1.Pod` for `core.v1.Pod`. */
function modelName(type: string): string {
  return type.startsWith('meta.') ? `io.k8s.apimachinery.pkg.apis.${type}` : `io.k8s.api.${type}`;
}

const reference = (type: string): JsonObject => ({
  $ref: `#/components/schemas/${modelName(type)}`,
});

function shapeSchema(shape: Shape, used: Set<string>): JsonObject {
  switch (shape.type) {
    case 'ref':
      used.add(shape.name);
      return { allOf: [reference(shape.name)], default: {} };
    case 'list':
      return { type: 'array', items: shapeSchema(shape.items, used) };
    case 'map':
      return { type: 'object', additionalProperties: shapeSchema(shape.values, used) };
    case 'scalar':
      switch (shape.scalar) {
        case 's':
        case 'd':
          return { type: 'string' };
        case 'i':
          return { type: 'integer', format: 'int64' };
        case 'g':
          return { type: 'number', format: 'double' };
        case 'b':
          return { type: 'boolean' };
        case 'y':
          return { type: 'string', format: 'byte' };
        case 't':
        case 'm':
          return { type: 'string', format: 'date-time' };
        case 'q':
          return { oneOf: [{ type: 'string' }, { type: 'number' }] };
        case 'o':
          return {
            oneOf: [{ type: 'integer' }, { type: 'string' }],
            format: 'int-or-string',
          };
        case 'r':
        case 'f':
          return { type: 'object' };
      }
  }
}

function fieldSchema(type: string, field: Field, used: Set<string>): JsonObject {
  const schema = shapeSchema(field.shape, used);
  describe(schema, describeField(type, field.name));
  if (field.mergeKey !== undefined) {
    schema['x-kubernetes-patch-strategy'] = field.retainKeys ? 'merge,retainKeys' : 'merge';
    if (field.mergeKey !== '') schema['x-kubernetes-patch-merge-key'] = field.mergeKey;
  }
  if (field.listKeys) {
    schema['x-kubernetes-list-type'] = 'map';
    schema['x-kubernetes-list-map-keys'] = field.listKeys;
  } else if (field.set) schema['x-kubernetes-list-type'] = 'set';
  else if (field.shape.type === 'list') schema['x-kubernetes-list-type'] = 'atomic';
  if (field.atomic && field.shape.type !== 'list') schema['x-kubernetes-map-type'] = 'atomic';
  return schema;
}

function describe(schema: JsonObject, description: string | undefined): JsonObject {
  if (description !== undefined) schema['description'] = description;
  return schema;
}

function operation(type: ResourceType, action: string): JsonObject {
  const body = { content: { 'application/json': { schema: reference(type.schema) } } };
  return {
    tags: [apiVersionOf(type)],
    parameters: [
      { name: 'dryRun', in: 'query', schema: { type: 'string', uniqueItems: true } },
      { name: 'fieldManager', in: 'query', schema: { type: 'string', uniqueItems: true } },
      { name: 'fieldValidation', in: 'query', schema: { type: 'string', uniqueItems: true } },
    ],
    ...(action === 'get' ? {} : { requestBody: body }),
    responses: { '200': { description: 'OK', ...body } },
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': gvk(type),
  };
}

const gvk = (type: ResourceType): JsonObject => ({
  group: type.group,
  version: type.version,
  kind: type.kind,
});

const documents = new Map<string, string>();

/** The document of `api/v1` or `apis/G/V`; undefined when not served. */
export function openApiDocument(path: string): string | undefined {
  const known = documents.get(path);
  if (known !== undefined) return known;
  const entry = groupVersions().find((gv) => pathOf(gv) === path);
  if (!entry) return undefined;
  const paths: JsonObject = {};
  const kinds = new Map<string, ResourceType>();
  const used = new Set<string>(['meta.v1.DeleteOptions', 'meta.v1.Status']);
  for (const type of entry.types) {
    const base = `/${path}/${type.namespaced ? 'namespaces/{namespace}/' : ''}${type.plural}`;
    paths[base] = { post: operation(type, 'post'), get: operation(type, 'list') };
    if (type.verbs.includes('patch'))
      paths[`${base}/{name}`] = {
        get: operation(type, 'get'),
        put: operation(type, 'put'),
        patch: operation(type, 'patch'),
      };
    kinds.set(type.schema, type);
    used.add(type.schema);
  }
  const schemas: JsonObject = {};
  for (const name of used) {
    const type = typeNamed(name);
    if (!type) continue;
    const kind = kinds.get(name);
    const properties: JsonObject = {};
    if (kind) {
      for (const field of ['apiVersion', 'kind'])
        properties[field] = describe({ type: 'string' }, describeField(name, field));
    }
    // `used` grows while it is walked, so every type reached is described.
    for (const field of type.fields.values())
      properties[field.name] = fieldSchema(name, field, used);
    const schema: JsonObject = {
      type: 'object',
      properties,
      ...(kind ? { 'x-kubernetes-group-version-kind': [gvk(kind)] } : {}),
    };
    schemas[modelName(name)] = describe(schema, describeType(name));
  }
  const body = JSON.stringify({
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: 'v1.32.0' },
    paths,
    components: { schemas },
  });
  documents.set(path, body);
  return body;
}

const hash = (text: string): string =>
  createHash('sha512').update(text).digest('hex').slice(0, 40).toUpperCase();

/** `GET /openapi/v3`: the hashes change with the content, because clients cache by them. */
export function openApiIndex(): string {
  const paths = Object.fromEntries(
    groupVersions().map((entry) => {
      const path = pathOf(entry);
      return [
        path,
        { serverRelativeURL: `/openapi/v3/${path}?hash=${hash(openApiDocument(path) ?? '')}` },
      ];
    }),
  );
  return JSON.stringify({ paths });
}

/** An empty gnostic document: enough for clients older than 1.29, which insist on v2. */
export const openApiV2ContentType = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';
