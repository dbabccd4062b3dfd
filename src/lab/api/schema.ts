/**
 * Types of the objects served: which fields exist, their JSON and protobuf shape, their merge keys.
 * One table drives strict field checks, the patch types, protobuf bodies and OpenAPI. Knows nothing
 * of values' meaning.
 *
 * Notation of a line of `schemaText`: `Type field=number:type|flag…`. Types: s string, i integer,
 * g number, b boolean, y bytes, t Time, m MicroTime, q Quantity, o IntOrString, d Duration, r any
 * object, f FieldsV1, `[T]` list, `<T>` map from string, else the name of a type. Flags: `i` inline
 * in JSON, `m:key` strategic merge key (empty: a set), `r` retainKeys, `k:a+b` keys of an associative
 * list and `s` set (both server-side apply), `a` atomic.
 */
import type { FieldSchema } from '../../policy/policy-kind.ts';
import { isObject } from './object.ts';
import { schemaText } from './schema-data.ts';

export type Scalar = 's' | 'i' | 'g' | 'b' | 'y' | 't' | 'm' | 'q' | 'o' | 'd' | 'r' | 'f';

export type Shape =
  | { readonly type: 'scalar'; readonly scalar: Scalar }
  | { readonly type: 'list'; readonly items: Shape }
  | { readonly type: 'map'; readonly values: Shape }
  | { readonly type: 'ref'; readonly name: string };

export interface Field {
  readonly name: string;
  /** Protobuf field number; 0 when the kind has no protobuf form. */
  readonly number: number;
  readonly shape: Shape;
  readonly inline: boolean;
  readonly atomic: boolean;
  readonly mergeKey?: string;
  readonly retainKeys: boolean;
  readonly listKeys?: readonly string[];
  readonly set: boolean;
}

export interface ObjectType {
  readonly name: string;
  /** JSON fields, with inline types spread out. */
  readonly fields: ReadonlyMap<string, Field>;
  /** Fields as they stand on the wire. */
  readonly wire: ReadonlyMap<number, Field>;
}

const lines = new Map<string, string>();
for (const line of schemaText.split('\n')) {
  const space = line.indexOf(' ');
  if (line !== '') lines.set(space < 0 ? line : line.slice(0, space), line.slice(space + 1));
}
const parsed = new Map<string, ObjectType>();

function parseShape(text: string): Shape {
  if (text.startsWith('[')) return { type: 'list', items: parseShape(text.slice(1, -1)) };
  if (text.startsWith('<')) return { type: 'map', values: parseShape(text.slice(1, -1)) };
  if (text.length === 1) return { type: 'scalar', scalar: text as Scalar };
  return { type: 'ref', name: text };
}

function parseField(text: string): Field {
  const equals = text.indexOf('=');
  const colon = text.indexOf(':');
  const [type = 's', ...flags] = text.slice(colon + 1).split('|');
  const flagged = (flag: string): string | undefined =>
    flags.find((item) => item.startsWith(`${flag}:`))?.slice(2);
  const mergeKey = flagged('m');
  const listKeys = flagged('k');
  return {
    name: text.slice(0, equals),
    number: Number(text.slice(equals + 1, colon)),
    shape: parseShape(type),
    inline: flags.includes('i'),
    atomic: flags.includes('a'),
    retainKeys: flags.includes('r'),
    set: flags.includes('s'),
    ...(mergeKey === undefined ? {} : { mergeKey }),
    ...(listKeys === undefined ? {} : { listKeys: listKeys.split('+') }),
  };
}

/** The type of that name, `core.v1.Pod`; undefined when unknown. */
export function typeNamed(name: string): ObjectType | undefined {
  const known = parsed.get(name);
  if (known) return known;
  const line = lines.get(name);
  if (line === undefined) return undefined;
  const wire = new Map<number, Field>();
  const fields = new Map<string, Field>();
  for (const part of line.split(' ')) {
    if (part === '') continue;
    const field = parseField(part);
    wire.set(field.number, field);
    if (field.inline && field.shape.type === 'ref')
      for (const inner of typeNamed(field.shape.name)?.fields.values() ?? [])
        fields.set(inner.name, inner);
    else fields.set(field.name, field);
  }
  const type: ObjectType = { name, fields, wire };
  parsed.set(name, type);
  return type;
}

/** Every type name known, in order. */
export function typeNames(): string[] {
  return [...lines.keys(), ...[...parsed.keys()].filter((name) => !lines.has(name))];
}

/** Makes a policy kind's own schema known under `name`; its lists are atomic. */
export function defineType(name: string, schema: FieldSchema): void {
  const fields = new Map<string, Field>();
  if (schema.type === 'object')
    for (const [field, inner] of Object.entries(schema.fields))
      fields.set(field, {
        name: field,
        number: 0,
        inline: false,
        atomic: false,
        retainKeys: false,
        set: false,
        shape:
          field === 'metadata'
            ? { type: 'ref', name: 'meta.v1.ObjectMeta' }
            : shapeOf(`${name}.${field}`, inner),
      });
  parsed.set(name, { name, fields, wire: new Map() });
}

function shapeOf(name: string, schema: FieldSchema): Shape {
  switch (schema.type) {
    case 'object':
      defineType(name, schema);
      return { type: 'ref', name };
    case 'list':
      return { type: 'list', items: shapeOf(name, schema.items) };
    case 'map':
      return { type: 'map', values: shapeOf(name, schema.values) };
    case 'string':
      return { type: 'scalar', scalar: 's' };
    case 'integer':
      return { type: 'scalar', scalar: 'i' };
    case 'boolean':
      return { type: 'scalar', scalar: 'b' };
    case 'int-or-string':
      return { type: 'scalar', scalar: 'o' };
    case 'any':
      return { type: 'scalar', scalar: 'r' };
  }
}

export interface FieldFaults {
  /** Paths of fields that no type has, `spec.ingres`. */
  readonly unknown: string[];
  /** Values of a wrong JSON type, in the words of Go's decoder. */
  readonly types: string[];
}

const goTypes: Partial<Record<Scalar, string>> = { s: 'string', b: 'bool', i: 'int32' };

/** Finds unknown fields and values of a wrong JSON type in an object of a known type. */
export function checkFields(value: unknown, type: ObjectType): FieldFaults {
  const faults: FieldFaults = { unknown: [], types: [] };
  walk(value, { type: 'ref', name: type.name }, '', faults, true);
  return faults;
}

function walk(value: unknown, shape: Shape, path: string, faults: FieldFaults, root = false): void {
  if (value === null || value === undefined) return;
  switch (shape.type) {
    case 'scalar': {
      const fault = scalarFault(value, shape.scalar);
      if (fault)
        faults.types.push(
          `json: cannot unmarshal ${jsonKind(value)} into Go struct field ${path} of type ${fault}`,
        );
      return;
    }
    case 'list':
      if (!Array.isArray(value)) {
        faults.types.push(
          `json: cannot unmarshal ${jsonKind(value)} into Go struct field ${path} of type []${goName(shape.items)}`,
        );
        return;
      }
      value.forEach((item, index) => {
        walk(item, shape.items, `${path}[${index}]`, faults);
      });
      return;
    case 'map':
      if (!isObject(value)) {
        faults.types.push(
          `json: cannot unmarshal ${jsonKind(value)} into Go struct field ${path} of type map[string]${goName(shape.values)}`,
        );
        return;
      }
      for (const key of Object.keys(value))
        walk(value[key], shape.values, `${path}.${key}`, faults);
      return;
    case 'ref': {
      const type = typeNamed(shape.name);
      if (!type) return;
      if (!isObject(value)) {
        faults.types.push(
          `json: cannot unmarshal ${jsonKind(value)} into Go struct field ${path} of type ${goName(shape)}`,
        );
        return;
      }
      for (const key of Object.keys(value)) {
        if (root && (key === 'apiVersion' || key === 'kind')) continue;
        const inner = path === '' ? key : `${path}.${key}`;
        const field = type.fields.get(key);
        if (field) walk(value[key], field.shape, inner, faults);
        else faults.unknown.push(inner);
      }
    }
  }
}

function scalarFault(value: unknown, scalar: Scalar): string | undefined {
  switch (scalar) {
    case 's':
    case 'y':
    case 't':
    case 'm':
    case 'd':
      return typeof value === 'string' ? undefined : (goTypes[scalar] ?? 'string');
    case 'i':
      return typeof value === 'number' && Number.isInteger(value) ? undefined : goTypes.i;
    case 'g':
      return typeof value === 'number' ? undefined : 'float64';
    case 'b':
      return typeof value === 'boolean' ? undefined : goTypes.b;
    case 'o':
      if (typeof value === 'string') return undefined;
      if (typeof value !== 'number') return 'intstr.IntOrString';
      // Go decodes the number into 32 bits.
      return Number.isInteger(value) && Math.abs(value) < 2 ** 31 ? undefined : goTypes.i;
    case 'q':
      return typeof value === 'number' || typeof value === 'string'
        ? undefined
        : 'resource.Quantity';
    case 'r':
    case 'f':
      return undefined;
  }
}

function goName(shape: Shape): string {
  if (shape.type === 'list') return `[]${goName(shape.items)}`;
  if (shape.type === 'map') return `map[string]${goName(shape.values)}`;
  if (shape.type === 'scalar') return goTypes[shape.scalar] ?? 'string';
  const parts = shape.name.split('.');
  return `v1.${parts[parts.length - 1] ?? ''}`;
}

function jsonKind(value: unknown): string {
  if (Array.isArray(value)) return 'array';
  return typeof value === 'boolean' ? 'bool' : typeof value;
}
