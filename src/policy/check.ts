/**
 * One policy object from plain JSON to a compiled policy: schema check, defaults, validation,
 * compilation, and diagnostics that say where each fault stands and what it means. Must not know
 * how objects are read or printed, nor what other objects exist.
 */
import { formatFieldError, quoteGo, type FieldError } from '../k8s/field-error.ts';
import { checkSchema, type SchemaNode, type UnknownField } from '../k8s/schema.ts';
import type { Diagnostic, Severity, SourceRange } from '../k8s/diagnostic.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { CompiledPolicy } from './compiled.ts';
import { rulesNotChecked } from './crd-schema.ts';
import { hintFor } from './fault-hints.ts';
import type { PolicyKind, ValidationOptions } from './policy-kind.ts';

export interface CheckInput {
  readonly object: KubeObject;
  readonly source?: SourceRange;
  /** The range of a field path, or of its nearest ancestor that exists. */
  locate?(fieldPath: string): SourceRange;
}

export interface CheckOptions extends ValidationOptions {
  /**
   * What to do with unknown fields, as `kubectl --validate`: `strict` (default) refuses the object,
   * `warn` and `ignore` drop the fields, as the server does when it is not asked to be strict (S4).
   */
  readonly fieldValidation?: 'strict' | 'warn' | 'ignore';
  /**
   * The namespace of a namespaced object that names none, as the request's path gives it to the
   * server. Default `default`; the empty string leaves it missing (S35).
   */
  readonly defaultNamespace?: string;
}

export interface CheckResult {
  /** Present when the server would accept the object. */
  readonly policy?: CompiledPolicy;
  /** The object as it would be stored: unknown fields dropped, defaults filled in. */
  readonly defaulted?: KubeObject;
  /** Validation faults in the server's order; empty when decoding already fails. */
  readonly errors: FieldError[];
  readonly diagnostics: Diagnostic[];
}

/** `audit`: what the policy denies is counted and let pass by the agent. */
const modeAnnotation = 'podwall.dev/mode';

/** The path of a fault that belongs to no field. */
const noField = '<nil>';

/** Checks one object of the given kind. Never throws for a fault of the input. */
export function checkPolicyOf(
  kind: PolicyKind,
  input: CheckInput,
  options: CheckOptions = {},
): CheckResult {
  const diagnostics: Diagnostic[] = [];
  const strictness = options.fieldValidation ?? 'strict';
  const schema =
    options.channel === undefined
      ? kind.schema
      : (kind.schemaFor?.(options.channel) ?? kind.schema);
  const given = withNamespace(input.object, kind, options.defaultNamespace ?? 'default');
  const objectName = nameOf(given, kind);

  const report = (
    code: string,
    severity: Severity,
    fieldPath: string,
    message: string,
    hint?: string,
    where: string = fieldPath,
  ): void => {
    const range = fieldPath === noField ? input.source : rangeOf(input, where);
    diagnostics.push({
      code,
      severity,
      message,
      ...(hint === undefined ? {} : { hint }),
      ...(range === undefined ? {} : { range }),
      ...(fieldPath === noField ? {} : { fieldPath }),
      object: objectName,
    });
  };

  const faults = checkSchema(given, schema, '');
  if (strictness !== 'ignore') {
    for (const field of faults.unknown) {
      report(
        'unknown-field',
        strictness === 'strict' ? 'error' : 'warning',
        field.path,
        `strict decoding error: unknown field ${quoteGo(field.path)}`,
        unknownFieldHint(kind, given, field),
      );
    }
  }
  // Metadata is decoded into Go types for every kind, the rest of a custom resource is not.
  const undecodable = faults.typeErrors.filter(
    ({ path }) => kind.typesAreFieldErrors !== true || /^metadata(\.|$)/.test(path),
  );
  if (undecodable.length > 0) {
    for (const { path, expected, actual } of undecodable) {
      report(
        'wrong-type',
        'error',
        path,
        `${path}: must be ${expected}, not ${actual}`,
        expected === 'a string' && !actual.startsWith('a')
          ? 'Put it in quotes; the server cannot decode the object and answers BadRequest.'
          : 'The server cannot decode the object and answers BadRequest.',
      );
    }
    return { errors: [], diagnostics };
  }

  const pruned = faults.unknown.length === 0 ? given : prune(given, schema);
  const defaulted = kind.applyDefaults(pruned);
  const errors = kind.validate(defaulted, options);
  const refused = strictness === 'strict' && faults.unknown.length > 0;
  const shown = refused
    ? errors.filter((error) => error !== rulesNotChecked && !followsFrom(error, faults.unknown))
    : errors;
  const where = pointer(defaulted);
  for (const error of shown) {
    const severity = error === rulesNotChecked ? 'info' : 'error';
    report(
      'invalid-object',
      severity,
      error.path,
      formatFieldError(error),
      hintFor(error),
      where(error),
    );
  }
  if (errors.length > 0) return { defaulted, errors, diagnostics };

  for (const { code, path, text } of kind.warnings?.(defaulted) ?? []) {
    report(code, 'warning', path, `${path}: ${text}`);
  }
  if (refused) return { defaulted, errors, diagnostics };
  const compiled = kind.compile(defaulted, input.source);
  const mode = defaulted.metadata.annotations?.[modeAnnotation];
  const audit = mode === 'audit' && compiled.tier === 'NetworkPolicy';
  const policy: CompiledPolicy = audit ? { ...compiled, audit: true } : compiled;
  if (mode !== undefined && mode !== 'enforce' && !audit) {
    report(
      'mode-annotation',
      'warning',
      'metadata.annotations',
      mode === 'audit'
        ? `annotation ${modeAnnotation}: audit has an effect on NetworkPolicies only; this policy is enforced`
        : `annotation ${modeAnnotation} is neither enforce nor audit; this policy is enforced`,
    );
  }
  for (const { path, reason } of unusableParts(policy)) {
    report(
      'unusable-peer',
      'warning',
      path,
      `${path}: ${reason}`,
      'The server accepts it. The rule fails closed: Accept matches nothing, Deny and Pass deny everything.',
    );
  }
  return { policy, defaulted, errors, diagnostics };
}

function withNamespace(object: KubeObject, kind: PolicyKind, namespace: string): KubeObject {
  const metadata: unknown = object.metadata ?? {};
  if (!kind.namespaced || namespace === '' || !isRecord(metadata)) return object;
  const given = metadata['namespace'];
  if (given !== undefined && given !== null && given !== '') return object;
  return { ...object, metadata: { ...metadata, namespace } };
}

function nameOf(object: KubeObject, kind: PolicyKind): string {
  const metadata: unknown = object.metadata;
  const text = (field: string): string => {
    const value = isRecord(metadata) ? metadata[field] : undefined;
    return typeof value === 'string' ? value : '';
  };
  const name = text('name') || text('generateName') || '(no name)';
  return kind.namespaced ? `${kind.kind} ${text('namespace')}/${name}` : `${kind.kind} ${name}`;
}

function rangeOf(input: CheckInput, fieldPath: string): SourceRange | undefined {
  return input.locate === undefined ? input.source : input.locate(fieldPath);
}

/**
 * Where to point. The server names a map of labels or annotations, not the entry at fault; the
 * entry is the one whose key or value it prints. Returns a function that remembers the maps it has
 * read, since one map may have thousands of faults.
 */
function pointer(object: KubeObject): (error: FieldError) => string {
  const read = new Map<string, Map<unknown, string>>();
  return ({ path, value }) => {
    if (!/(^|\.)(labels|annotations|matchLabels)$/.test(path)) return path;
    let keys = read.get(path);
    if (keys === undefined) {
      keys = keysByContent(valueAt(object, path));
      read.set(path, keys);
    }
    const key = keys.get(value);
    return key === undefined ? path : `${path}[${key}]`;
  };
}

/** The key of each entry by its key and by its value; keys win, and the first of equal values. */
function keysByContent(map: unknown): Map<unknown, string> {
  const keys = new Map<unknown, string>();
  if (!isRecord(map)) return keys;
  for (const [key, text] of Object.entries(map)) if (!keys.has(text)) keys.set(text, key);
  for (const key of Object.keys(map)) keys.set(key, key);
  return keys;
}

function valueAt(object: KubeObject, path: string): unknown {
  let part: unknown = object;
  for (const step of path.split(/[.[\]]+/)) {
    if (step === '') continue;
    if (typeof part !== 'object' || part === null) return undefined;
    part = (part as Readonly<Record<string, unknown>>)[step];
  }
  return part;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function unknownFieldHint(kind: PolicyKind, object: KubeObject, field: UnknownField): string {
  const meaning = kind.meaningWithout?.(object, field.path);
  const dropped = `A server that is not asked to be strict drops it${
    meaning === undefined ? '' : `, and then ${meaning}`
  }.`;
  return field.suggestion === undefined
    ? dropped
    : `Did you mean ${JSON.stringify(field.suggestion)}? ${dropped}`;
}

/**
 * Faults that only exist because an unknown field was dropped: the object it stood in is now empty,
 * or lacks the field that it was meant to be.
 */
function followsFrom(error: FieldError, unknown: readonly UnknownField[]): boolean {
  return unknown.some(({ path }) => {
    const parent = parentOf(path);
    return error.path === parent || (error.kind === 'Required' && parentOf(error.path) === parent);
  });
}

/** `spec.ingress[0].ports[1]` for `spec.ingress[0].ports[1].prot`; the top of the object is ''. */
export function parentOf(path: string): string {
  const dot = path.lastIndexOf('.');
  return dot < 0 ? '' : path.slice(0, dot);
}

/** A copy without the fields the schema does not know; values of a wrong type stay as they are. */
function prune<T>(value: T, schema: SchemaNode): T {
  if (schema.type === 'object' && isRecord(value)) {
    const kept: Record<string, unknown> = {};
    for (const [name, part] of Object.entries(value)) {
      if (!Object.hasOwn(schema.fields, name)) continue;
      kept[name] = prune(part, schema.fields[name] as SchemaNode);
    }
    return kept as T;
  }
  if (schema.type === 'list' && Array.isArray(value)) {
    return value.map((item: unknown) => prune(item, schema.items)) as T;
  }
  return value;
}

function unusableParts(policy: CompiledPolicy): { path: string; reason: string }[] {
  const found: { path: string; reason: string }[] = [];
  for (const rule of [...policy.rules.Ingress, ...policy.rules.Egress]) {
    if (rule.peers === 'any') continue;
    for (const peer of rule.peers) {
      if (peer.kind === 'unusable') found.push({ path: peer.path, reason: peer.reason });
    }
  }
  return found;
}
