/**
 * Validates plain JSON as the API server validates a custom resource: structural schema, set lists,
 * then CEL rules written as functions, with the server's kinds and messages (S222, S223). Must not
 * know any policy kind.
 *
 * Order: the server walks properties in random map order; here it is the order of the schema.
 */
import {
  duplicate,
  invalid,
  notSupported,
  required,
  tooLong,
  tooMany,
  typeInvalid,
  type FieldError,
} from '../k8s/field-error.ts';
import type { SchemaNode } from '../k8s/schema.ts';

/** A CEL rule: `holds` is the rule, `message` what the server says when it does not hold. */
export interface CrdRule {
  readonly message: string;
  holds(value: unknown): boolean;
}

interface CrdObject {
  readonly type: 'object';
  readonly properties?: Readonly<Record<string, CrdNode>>;
  /** For maps: the schema of every value. */
  readonly values?: CrdNode;
  readonly required?: readonly string[];
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly rules?: readonly CrdRule[];
}

interface CrdArray {
  readonly type: 'array';
  readonly items: CrdNode;
  readonly minItems?: number;
  readonly maxItems?: number;
  /** `x-kubernetes-list-type: set`. */
  readonly set?: boolean;
}

interface CrdString {
  readonly type: 'string';
  readonly enum?: readonly string[];
  readonly maxLength?: number;
  readonly pattern?: RegExp;
  readonly default?: string;
  readonly rules?: readonly CrdRule[];
}

/** Always of format int32 here. */
interface CrdInteger {
  readonly type: 'integer';
  readonly minimum: number;
  readonly maximum: number;
}

/** A part that this validator leaves alone; `known` says which fields it may have. */
interface CrdOpaque {
  readonly type: 'opaque';
  readonly known: SchemaNode;
}

export type CrdNode = CrdObject | CrdArray | CrdString | CrdInteger | CrdOpaque;

/** What the server adds when faults keep it from running the CEL rules. It belongs to no field. */
export const rulesNotChecked: FieldError = invalid(
  '<nil>',
  null,
  'some validation rules were not checked because the object was invalid; correct the existing errors to complete validation',
);

const blockingKinds: ReadonlySet<FieldError['kind']> = new Set([
  'NotSupported',
  'Required',
  'TooLong',
  'TooMany',
  'TypeInvalid',
]);

/**
 * All faults of a custom resource. `before` are those already found in its metadata, which come
 * first and also keep the rules from running. Unknown fields count as dropped (S220, S221).
 */
export function validateCustomResource(
  value: unknown,
  schema: CrdNode,
  before: readonly FieldError[] = [],
): FieldError[] {
  const errors = [...before];
  checkNode(value, schema, '', errors);
  checkSets(value, schema, '', errors);
  if (errors.some((error) => blockingKinds.has(error.kind))) errors.push(rulesNotChecked);
  else checkRules(value, schema, '', errors);
  return errors;
}

/** The value as the server keeps it: schema defaults filled in, nulls replaced where there is one. */
export function withCrdDefaults<T>(value: T, schema: CrdNode): T {
  if (schema.type === 'array' && Array.isArray(value)) {
    return value.map((item: unknown) => withCrdDefaults(item, schema.items)) as T;
  }
  if (schema.type !== 'object' || !isRecord(value)) return value;
  const copy: Record<string, unknown> = { ...value };
  for (const [name, node] of Object.entries(schema.properties ?? {})) {
    const part = copy[name];
    if (part !== undefined && part !== null) copy[name] = withCrdDefaults(part, node);
    else if (node.type === 'string' && node.default !== undefined) copy[name] = node.default;
  }
  return copy as T;
}

/** The same schema as far as unknown fields go. */
export function fieldSchemaOf(node: CrdNode): SchemaNode {
  switch (node.type) {
    case 'object': {
      if (node.values !== undefined) return { type: 'map', values: fieldSchemaOf(node.values) };
      const fields: Record<string, SchemaNode> = {};
      for (const [name, part] of Object.entries(node.properties ?? {})) {
        fields[name] = fieldSchemaOf(part);
      }
      return { type: 'object', fields };
    }
    case 'array':
      return { type: 'list', items: fieldSchemaOf(node.items) };
    case 'string':
    case 'integer':
      return { type: node.type };
    case 'opaque':
      return node.known;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

// --- structural schema --------------------------------------------------------------------------

function checkNode(value: unknown, node: CrdNode, path: string, errors: FieldError[]): void {
  if (node.type === 'opaque') return;
  checkType(value, node, path, errors);
  if (node.type === 'string') {
    if (typeof value === 'string') checkString(value, node, path, errors);
    if (node.enum !== undefined && !node.enum.includes(value as string)) {
      errors.push(notSupported(path, value, node.enum));
    }
  } else if (node.type === 'integer') {
    if (typeof value === 'number') checkNumber(value, node, path, errors);
  } else if (node.type === 'array') {
    if (Array.isArray(value)) checkArray(value, node, path, errors);
  } else if (isRecord(value)) {
    checkObject(value, node, path, errors);
  }
}

/** The server's own odd wording for numbers comes from `format: int32`, which it looks at first. */
function checkType(
  value: unknown,
  node: Exclude<CrdNode, CrdOpaque>,
  path: string,
  errors: FieldError[],
): void {
  const actual = jsonType(value);
  if (actual === node.type) return;
  let expected: string = node.type;
  let shown = actual;
  if (node.type === 'integer' && actual !== 'string' && actual !== 'array' && actual !== 'null') {
    expected = 'int32';
    shown = actual === 'number' ? 'float64' : '';
  }
  errors.push(
    typeInvalid(
      path,
      shown,
      `${path} in body must be of type ${expected}: ${JSON.stringify(shown)}`,
    ),
  );
}

function jsonType(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

function checkString(value: string, node: CrdString, path: string, errors: FieldError[]): void {
  // The schema counts characters, though the message speaks of bytes.
  if (node.maxLength !== undefined && value.length > node.maxLength) {
    if (characters(value) > node.maxLength) errors.push(tooLong(path, value, node.maxLength));
  }
  if (node.pattern !== undefined && !node.pattern.test(value)) {
    errors.push(invalid(path, value, `${path} in body should match '${node.pattern.source}'`));
  }
}

function characters(text: string): number {
  let count = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    // The second half of a surrogate pair is no character of its own.
    if (unit < 0xdc00 || unit > 0xdfff) count++;
  }
  return count;
}

function checkNumber(value: number, node: CrdInteger, path: string, errors: FieldError[]): void {
  if (value > node.maximum) {
    errors.push(
      invalid(path, value, `${path} in body should be less than or equal to ${node.maximum}`),
    );
  }
  if (value < node.minimum) {
    errors.push(
      invalid(path, value, `${path} in body should be greater than or equal to ${node.minimum}`),
    );
  }
}

function checkArray(
  value: readonly unknown[],
  node: CrdArray,
  path: string,
  errors: FieldError[],
): void {
  value.forEach((item, i) => checkNode(item, node.items, `${path}[${i}]`, errors));
  if (node.minItems !== undefined && value.length < node.minItems) {
    errors.push(
      invalid(path, value.length, `${path} in body should have at least ${node.minItems} items`),
    );
  }
  if (node.maxItems !== undefined && value.length > node.maxItems) {
    errors.push(tooMany(path, value.length, node.maxItems));
  }
}

function checkObject(
  value: Readonly<Record<string, unknown>>,
  node: CrdObject,
  path: string,
  errors: FieldError[],
): void {
  if (node.values !== undefined) {
    for (const [name, part] of Object.entries(value)) {
      checkNode(part, node.values, join(path, name), errors);
    }
    return;
  }
  const properties = node.properties ?? {};
  const names = Object.keys(properties).filter((name) => has(value, name));
  if (node.minProperties !== undefined && names.length < node.minProperties) {
    errors.push(
      invalid(
        path,
        names.length,
        `${path} in body should have at least ${node.minProperties} properties`,
      ),
    );
    return;
  }
  if (node.maxProperties !== undefined && names.length > node.maxProperties) {
    errors.push(tooMany(path, names.length, node.maxProperties));
    return;
  }
  for (const name of names) {
    checkNode(value[name], properties[name] as CrdNode, join(path, name), errors);
  }
  for (const name of node.required ?? []) {
    if (!has(value, name)) errors.push(required(join(path, name)));
  }
}

/** Null is a value to the schema; undefined cannot come out of JSON. */
function has(value: Readonly<Record<string, unknown>>, name: string): boolean {
  return Object.hasOwn(value, name) && value[name] !== undefined;
}

// --- set lists and rules ------------------------------------------------------------------------

function forEachPart(
  value: unknown,
  node: CrdNode,
  path: string,
  visit: (value: unknown, node: CrdNode, path: string) => void,
): void {
  if (node.type === 'array' && Array.isArray(value)) {
    value.forEach((item: unknown, i) => visit(item, node.items, `${path}[${i}]`));
  } else if (node.type === 'object' && isRecord(value)) {
    for (const [name, part] of Object.entries(node.properties ?? {})) {
      if (has(value, name)) visit(value[name], part, join(path, name));
    }
  }
}

/** Each repeated element once, where it first repeats. */
function checkSets(value: unknown, node: CrdNode, path: string, errors: FieldError[]): void {
  if (node.type === 'array' && node.set === true && Array.isArray(value)) {
    const times = new Map<unknown, number>();
    value.forEach((item: unknown, i) => {
      const seen = times.get(item) ?? 0;
      times.set(item, seen + 1);
      if (seen === 1) errors.push(duplicate(`${path}[${i}]`, item));
    });
  }
  forEachPart(value, node, path, (part, partNode, partPath) =>
    checkSets(part, partNode, partPath, errors),
  );
}

function checkRules(value: unknown, node: CrdNode, path: string, errors: FieldError[]): void {
  if (value === null || value === undefined) return;
  if (node.type === 'object' || node.type === 'string') {
    for (const rule of node.rules ?? []) {
      if (rule.holds(value)) continue;
      // The server prints the type of an object instead of the object.
      const shown = node.type === 'object' ? 'object' : value;
      errors.push(invalid(path === '' ? '<nil>' : path, shown, rule.message));
    }
  }
  forEachPart(value, node, path, (part, partNode, partPath) =>
    checkRules(part, partNode, partPath, errors),
  );
}
