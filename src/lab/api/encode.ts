/**
 * Objects as the client asked for them: JSON, Table or PartialObjectMetadata. Serialised text is
 * kept per stored object, so that large lists are a join of known strings.
 */
import type { ApiObject, JsonObject } from './object.ts';
import { apiVersionOf } from './registry.ts';
import type { ResourceType } from './resource.ts';
import { notAcceptable } from './status.ts';

export type Form = 'json' | 'table' | 'metadata';

export interface Encoding {
  readonly form: Form;
  /** `v1` or `v1beta1` of meta.k8s.io, for the two derived forms. */
  readonly version: string;
  /** For tables: which part of the object each row carries. */
  readonly include: 'Metadata' | 'Object' | 'None';
}

/**
 * Chooses a form from the Accept header. Error: 406 when only protobuf or the like will do.
 */
export function negotiate(accept: string | undefined, include: string | null): Encoding {
  const rows = include === 'Object' || include === 'None' ? include : 'Metadata';
  const plain: Encoding = { form: 'json', version: 'v1', include: rows };
  if (accept === undefined || accept === '') return plain;
  for (const part of accept.split(',')) {
    const [media = '', ...parameters] = part.split(';').map((text) => text.trim());
    const parameter = (name: string): string | undefined =>
      parameters.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);
    if (media === '*/*' || media === 'application/*') return plain;
    if (media !== 'application/json' && media !== 'application/json;stream=watch') continue;
    const as = parameter('as');
    if (as === undefined) return plain;
    if (parameter('g') !== 'meta.k8s.io') continue;
    const version = parameter('v') ?? 'v1';
    if (version !== 'v1' && version !== 'v1beta1') continue;
    if (as === 'Table') return { form: 'table', version, include: rows };
    if (as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList')
      return { form: 'metadata', version, include: rows };
  }
  throw notAcceptable(['application/json']);
}

const bodies = new WeakMap<ApiObject, string>();
const converted = new WeakMap<ApiObject, ApiObject>();

/** The stored object in the form of the version asked for. */
export function asVersion(type: ResourceType, object: ApiObject): ApiObject {
  if (!type.convert) return object;
  let out = converted.get(object);
  if (!out) converted.set(object, (out = type.convert.out(object)));
  return out;
}

/** JSON of an object without kind and apiVersion, as it stands in a list. */
function itemJson(object: ApiObject): string {
  let body = bodies.get(object);
  if (body === undefined) {
    const { apiVersion: _version, kind: _kind, ...rest } = object;
    body = JSON.stringify(rest);
    bodies.set(object, body);
  }
  return body;
}

/** JSON of a stored object; kept, so that saying it again costs nothing. */
export function objectJson(object: ApiObject): string {
  return `{"kind":${JSON.stringify(object.kind)},"apiVersion":${JSON.stringify(object.apiVersion)},${itemJson(object).slice(1)}`;
}

const partialJson = (object: ApiObject, version: string, header: boolean): string =>
  header
    ? `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/${version}","metadata":${JSON.stringify(object.metadata)}}`
    : `{"metadata":${JSON.stringify(object.metadata)}}`;

export interface ListMeta {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

export function encodeList(
  type: ResourceType,
  objects: readonly ApiObject[],
  metadata: ListMeta,
  encoding: Encoding,
  now: number,
): string {
  const meta = JSON.stringify(metadata);
  if (encoding.form === 'table') return tableJson(type, objects, encoding, now, metadata, true);
  const [kind, apiVersion, item] =
    encoding.form === 'metadata'
      ? [
          'PartialObjectMetadataList',
          `meta.k8s.io/${encoding.version}`,
          (object: ApiObject) => partialJson(object, encoding.version, true),
        ]
      : [`${type.kind}List`, apiVersionOf(type), itemJson];
  const items = objects.map((object) => item(asVersion(type, object))).join(',');
  return `{"kind":"${kind}","apiVersion":"${apiVersion}","metadata":${meta},"items":[${items}]}\n`;
}

export function encodeObject(
  type: ResourceType,
  stored: ApiObject,
  encoding: Encoding,
  now: number,
  withColumns = true,
): string {
  const object = asVersion(type, stored);
  if (encoding.form === 'json') return objectJson(object);
  if (encoding.form === 'metadata') return partialJson(object, encoding.version, true);
  const metadata = { resourceVersion: object.metadata.resourceVersion ?? '' };
  return tableJson(type, [stored], encoding, now, metadata, withColumns);
}

function tableJson(
  type: ResourceType,
  objects: readonly ApiObject[],
  encoding: Encoding,
  now: number,
  metadata: ListMeta,
  withColumns: boolean,
): string {
  const columns: JsonObject[] = type.columns.map((column) => ({
    name: column.name,
    type: column.type,
    format: column.name === 'Name' ? 'name' : '',
    description: '',
    priority: column.priority ?? 0,
  }));
  const rows = objects.map((stored) => {
    const object = asVersion(type, stored);
    const part =
      encoding.include === 'None'
        ? 'null'
        : encoding.include === 'Object'
          ? objectJson(object)
          : partialJson(object, encoding.version, true);
    return `{"cells":${JSON.stringify(type.row(object, now))},"object":${part}}`;
  });
  return `{"kind":"Table","apiVersion":"meta.k8s.io/${encoding.version}","metadata":${JSON.stringify(metadata)},"columnDefinitions":${JSON.stringify(withColumns ? columns : [])},"rows":[${rows.join(',')}]}`;
}
