/**
 * Objects as the client asked for them: JSON, Table or PartialObjectMetadata. What was serialised is
 * kept per stored object, so that large lists are known bytes put together.
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

/** JSON of an item: as text while only events carry it, as bytes once a list did. Never both. */
const texts = new WeakMap<ApiObject, string>();
const encoded = new WeakMap<ApiObject, Buffer>();
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
  const bytes = encoded.get(object);
  if (bytes) return bytes.toString('utf8');
  let text = texts.get(object);
  if (text === undefined) {
    const { apiVersion: _version, kind: _kind, ...rest } = object;
    text = JSON.stringify(rest);
    texts.set(object, text);
  }
  return text;
}

/** The same as bytes. Whoever has time to spare may call it before somebody asks. */
export function itemBytes(object: ApiObject): Buffer {
  let bytes = encoded.get(object);
  if (!bytes) {
    bytes = Buffer.from(itemJson(object));
    texts.delete(object);
    encoded.set(object, bytes);
  }
  return bytes;
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
): Buffer {
  const meta = JSON.stringify(metadata);
  const head = (kind: string, apiVersion: string): string =>
    `{"kind":"${kind}","apiVersion":"${apiVersion}","metadata":${meta},"items":[`;
  if (encoding.form === 'table')
    return Buffer.from(tableJson(type, objects, encoding, now, metadata, true));
  if (encoding.form === 'metadata') {
    const items = objects
      .map((object) => partialJson(asVersion(type, object), encoding.version, true))
      .join(',');
    return Buffer.from(
      `${head('PartialObjectMetadataList', `meta.k8s.io/${encoding.version}`)}${items}]}\n`,
    );
  }
  const parts: Buffer[] = [Buffer.from(head(`${type.kind}List`, apiVersionOf(type)))];
  objects.forEach((object, index) => {
    if (index > 0) parts.push(comma);
    parts.push(itemBytes(asVersion(type, object)));
  });
  parts.push(listEnd);
  return Buffer.concat(parts);
}

const comma = Buffer.from(',');
const listEnd = Buffer.from(']}\n');

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
