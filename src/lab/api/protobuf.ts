/**
 * Reads request bodies in Kubernetes' protobuf envelope, which client-go sends by default since
 * 0.32. Replies stay JSON. Field tables come from `schema.ts`.
 */
import { isObject, type JsonObject, microTimestamp, setField, timestamp } from './object.ts';
import { type Field, type ObjectType, type Shape, typeNamed } from './schema.ts';
import { badRequest } from './status.ts';

export const protobufType = 'application/vnd.kubernetes.protobuf';
const magic = Buffer.from('k8s\0', 'latin1');

/** One field on the wire: its number and either a number or bytes. */
interface WireField {
  readonly number: number;
  readonly value: bigint | Buffer;
}

/** Splits a message into its fields. Error: 400 when it is cut short. */
function readFields(bytes: Buffer): WireField[] {
  const fields: WireField[] = [];
  let position = 0;
  const varint = (): bigint => {
    let result = 0n;
    let shift = 0n;
    for (;;) {
      const byte = bytes[position];
      if (byte === undefined || shift > 63n) throw badRequest('unexpected EOF in protobuf body');
      position += 1;
      result |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, result);
      shift += 7n;
    }
  };
  const take = (length: number): Buffer => {
    if (position + length > bytes.length) throw badRequest('unexpected EOF in protobuf body');
    const part = bytes.subarray(position, position + length);
    position += length;
    return part;
  };
  while (position < bytes.length) {
    const tag = Number(varint());
    const number = tag >>> 3;
    switch (tag & 7) {
      case 0:
        fields.push({ number, value: varint() });
        break;
      case 1:
        fields.push({ number, value: take(8) });
        break;
      case 2:
        fields.push({ number, value: take(Number(varint())) });
        break;
      case 5:
        fields.push({ number, value: take(4) });
        break;
      default:
        throw badRequest(`protobuf: wrong wireType = ${tag & 7}`);
    }
  }
  return fields;
}

const text = (value: bigint | Buffer | undefined): string =>
  Buffer.isBuffer(value) ? value.toString('utf8') : '';
const signed = (value: bigint | Buffer | undefined): number =>
  typeof value === 'bigint' ? Number(BigInt.asIntN(64, value)) : 0;
const bytesOf = (value: bigint | Buffer): Buffer =>
  Buffer.isBuffer(value) ? value : Buffer.alloc(0);

/**
 * Go writes a plain field even when it is zero, and a pointer only when it is set; the wire does not
 * tell them apart. Zero is dropped where the field is plain, kept where it is a pointer and zero
 * means something else than absent.
 */
const plainIntegers = new Set([
  'hostPort',
  'minReadySeconds',
  'generation',
  'observedGeneration',
  'initialDelaySeconds',
  'timeoutSeconds',
  'periodSeconds',
  'successThreshold',
  'failureThreshold',
  'nodePort',
  'count',
]);
const pointerBooleans = new Set([
  'automountServiceAccountToken',
  'enableServiceLinks',
  'allowPrivilegeEscalation',
  'runAsNonRoot',
  'readOnlyRootFilesystem',
  'allocateLoadBalancerNodePorts',
  'hostUsers',
  'suspend',
  'ready',
  'serving',
  'terminating',
  'orphanDependents',
]);

function readTime(bytes: Buffer, micro: boolean): string | undefined {
  let seconds = 0;
  let nanos = 0;
  for (const field of readFields(bytes))
    if (field.number === 1) seconds = signed(field.value);
    else if (field.number === 2) nanos = signed(field.value);
  // Go's zero time is far before the epoch; an empty message is a time that was not set.
  if (bytes.length === 0 || seconds < -62_000_000_000) return undefined;
  const milliseconds = seconds * 1000 + Math.floor(nanos / 1e6);
  return micro ? microTimestamp(milliseconds) : timestamp(milliseconds);
}

function readScalar(value: bigint | Buffer, shape: Shape & { type: 'scalar' }): unknown {
  switch (shape.scalar) {
    case 's':
      return text(value);
    case 'i':
      return signed(value);
    case 'b':
      return value !== 0n;
    case 'g':
      return Buffer.isBuffer(value) && value.length === 8 ? value.readDoubleLE(0) : 0;
    case 'y':
      return bytesOf(value).toString('base64');
    case 't':
      return readTime(bytesOf(value), false);
    case 'm':
      return readTime(bytesOf(value), true);
    case 'q':
      return text(readFields(bytesOf(value)).find((field) => field.number === 1)?.value);
    case 'o': {
      const fields = readFields(bytesOf(value));
      const part = (number: number): bigint | Buffer | undefined =>
        fields.find((field) => field.number === number)?.value;
      return signed(part(1)) === 1 ? text(part(3)) : signed(part(2));
    }
    case 'd':
      return `${signed(readFields(bytesOf(value)).find((f) => f.number === 1)?.value) / 1e9}s`;
    case 'r':
    case 'f': {
      const raw = readFields(bytesOf(value)).find((field) => field.number === 1)?.value;
      try {
        return JSON.parse(text(raw) || '{}') as unknown;
      } catch {
        throw badRequest('unable to decode an embedded object');
      }
    }
  }
}

function readShape(value: bigint | Buffer, shape: Shape): unknown {
  switch (shape.type) {
    case 'scalar':
      return readScalar(value, shape);
    case 'ref': {
      const type = typeNamed(shape.name);
      return type ? readMessage(bytesOf(value), type) : {};
    }
    case 'list':
      // Only the wrappers of repeated strings (extra values) nest a list in a list.
      return readFields(bytesOf(value)).map((field) => readShape(field.value, shape.items));
    case 'map':
      return {};
  }
}

function isDropped(field: Field, value: unknown): boolean {
  if (value === undefined || value === '') return true;
  if (value === 0) return plainIntegers.has(field.name);
  return value === false && !pointerBooleans.has(field.name);
}

/** Decodes a message of a known type into the JSON form of the object. */
function readMessage(bytes: Buffer, type: ObjectType): JsonObject {
  const object: JsonObject = {};
  for (const { number, value } of readFields(bytes)) {
    const field = type.wire.get(number);
    if (!field) continue;
    const { shape, name } = field;
    if (shape.type === 'list') {
      const list = (object[name] ??= []) as unknown[];
      list.push(readShape(value, shape.items));
    } else if (shape.type === 'map') {
      const map = (object[name] ??= {}) as JsonObject;
      const entry = readFields(bytesOf(value));
      const key = text(entry.find((part) => part.number === 1)?.value);
      const item = entry.find((part) => part.number === 2)?.value ?? Buffer.alloc(0);
      setField(map, key, readShape(item, shape.values));
    } else {
      const read = readShape(value, shape);
      if (field.inline && isObject(read)) Object.assign(object, read);
      else if (!isDropped(field, read)) object[name] = read;
    }
  }
  return object;
}

/** The name of a type in the table for what a body says it is. */
function schemaNameOf(apiVersion: string, kind: string): string | undefined {
  const slash = apiVersion.indexOf('/');
  const group = slash < 0 ? 'core' : (apiVersion.slice(0, slash).split('.')[0] ?? '');
  const version = slash < 0 ? apiVersion : apiVersion.slice(slash + 1);
  return [`${group}.${version}.${kind}`, `meta.v1.${kind}`].find(
    (name) => typeNamed(name) !== undefined,
  );
}

/**
 * Decodes a whole body. `expected` names the kind when the envelope does not (options of a delete).
 * Error: 400.
 */
export function readProtobuf(
  body: Buffer,
  expected?: { readonly apiVersion: string; readonly kind: string },
): JsonObject {
  if (!body.subarray(0, 4).equals(magic))
    throw badRequest('provided data does not appear to be a protobuf message');
  let apiVersion = expected?.apiVersion ?? '';
  let kind = expected?.kind ?? '';
  let raw = Buffer.alloc(0);
  for (const field of readFields(body.subarray(4)))
    if (field.number === 1)
      for (const part of readFields(bytesOf(field.value))) {
        const said = text(part.value);
        if (part.number === 1 && said !== '') apiVersion = said;
        if (part.number === 2 && said !== '') kind = said;
      }
    else if (field.number === 2) raw = Buffer.from(bytesOf(field.value));
  const type = typeNamed(schemaNameOf(apiVersion, kind) ?? '');
  if (!type) throw badRequest(`no kind "${kind}" is registered for version "${apiVersion}"`);
  return { apiVersion, kind, ...readMessage(raw, type) };
}
