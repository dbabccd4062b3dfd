/**
 * Validation shared by all kinds: object metadata and label selectors, with the API server's paths,
 * kinds, messages and order. Must not know any policy kind.
 */
import { forbidden, invalid, quoteGo, required, tooLong, type FieldError } from './field-error.ts';
import {
  isDns1123Label,
  isDns1123Subdomain,
  isLabelValue,
  isQualifiedName,
  utf8Length,
} from './names.ts';
import type { LabelSelector, LabelSelectorRequirement, ObjectMeta } from './types.ts';

export interface ObjectMetaOptions {
  readonly namespaced: boolean;
  /** Default `metadata`. */
  readonly path?: string;
  /** Validate as an update of `old`: immutability instead of name syntax (S39–S41). */
  readonly isUpdate?: boolean;
  readonly old?: ObjectMeta;
  /** Default: names are DNS-1123 subdomains (S33). */
  readonly nameFaults?: (name: string) => string[];
}

const annotationBytes = 256 * 1024;

/**
 * Validates metadata of a create (S32–S38), or of an update when `isUpdate` (S39–S41).
 * Expects JSON types that fit; returns every fault in the server's order.
 */
export function validateObjectMeta(
  meta: ObjectMeta | null | undefined,
  options: ObjectMetaOptions,
): FieldError[] {
  const errors: FieldError[] = [];
  const path = options.path ?? 'metadata';
  const metadata: ObjectMeta = meta ?? {};
  if (options.isUpdate === true) validateMetaUpdate(metadata, options.old ?? {}, path, errors);
  else validateMetaCreate(metadata, options, path, errors);
  return errors;
}

function validateMetaCreate(
  meta: ObjectMeta,
  options: ObjectMetaOptions,
  path: string,
  errors: FieldError[],
): void {
  const nameFaults = options.nameFaults ?? isDns1123Subdomain;
  const generateName = meta.generateName ?? '';
  const name = meta.name ?? '';
  if (generateName !== '') {
    for (const fault of nameFaults(maskTrailingDash(generateName))) {
      errors.push(invalid(`${path}.generateName`, generateName, fault));
    }
  }
  if (name !== '') {
    for (const fault of nameFaults(name)) errors.push(invalid(`${path}.name`, name, fault));
  } else if (generateName === '') {
    // With a generateName the server has made the name up before it validates.
    errors.push(required(`${path}.name`, 'name or generateName is required'));
  }
  const namespace = meta.namespace ?? '';
  if (options.namespaced) {
    if (namespace === '') errors.push(required(`${path}.namespace`));
    else {
      for (const fault of isDns1123Label(namespace)) {
        errors.push(invalid(`${path}.namespace`, namespace, fault));
      }
    }
  } else if (namespace !== '') {
    errors.push(forbidden(`${path}.namespace`, 'not allowed on this type'));
  }
  const generation = meta.generation ?? 0;
  if (generation < 0) {
    errors.push(invalid(`${path}.generation`, generation, 'must be greater than or equal to 0'));
  }
  validateLabels(meta.labels, `${path}.labels`, errors);
  validateAnnotations(meta.annotations, `${path}.annotations`, errors);
  validateOwnerReferences(meta, `${path}.ownerReferences`, errors);
  validateFinalizers(meta.finalizers ?? [], `${path}.finalizers`, errors);
}

function validateMetaUpdate(
  meta: ObjectMeta,
  old: ObjectMeta,
  path: string,
  errors: FieldError[],
): void {
  if ((old.deletionTimestamp ?? null) !== null) {
    const known = new Set(old.finalizers ?? []);
    const added = [...new Set(meta.finalizers ?? [])].filter((item) => !known.has(item)).sort();
    if (added.length > 0) {
      const shown = `[]string{${added.map(quoteGo).join(', ')}}`;
      errors.push(
        forbidden(
          `${path}.finalizers`,
          `no new finalizers can be added if the object is being deleted, found new finalizers ${shown}`,
        ),
      );
    }
  }
  if ((meta.resourceVersion ?? '') === '') {
    errors.push(invalid(`${path}.resourceVersion`, '', 'must be specified for an update'));
  }
  const generation = meta.generation ?? 0;
  if (generation < (old.generation ?? 0)) {
    errors.push(invalid(`${path}.generation`, generation, 'must not be decremented'));
  }
  for (const field of ['name', 'namespace', 'uid'] as const) {
    const value = meta[field] ?? '';
    if (value !== (old[field] ?? '')) {
      errors.push(invalid(`${path}.${field}`, value, 'field is immutable'));
    }
  }
  for (const field of ['creationTimestamp', 'deletionTimestamp'] as const) {
    const value = meta[field] ?? null;
    if (value !== (old[field] ?? null)) {
      errors.push(invalid(`${path}.${field}`, value, 'field is immutable'));
    }
  }
  validateLabels(meta.labels, `${path}.labels`, errors);
  validateAnnotations(meta.annotations, `${path}.annotations`, errors);
  validateOwnerReferences(meta, `${path}.ownerReferences`, errors);
}

/**
 * A generateName may end in a dash because characters are appended. The server replaces the last
 * two characters, not one; kept, because it decides which prefixes are accepted.
 */
function maskTrailingDash(name: string): string {
  return name.length > 1 && name.endsWith('-') ? `${name.slice(0, -2)}a` : name;
}

function validateLabels(
  labels: Readonly<Record<string, string | null>> | null | undefined,
  path: string,
  errors: FieldError[],
): void {
  if (labels === null || labels === undefined) return;
  for (const [key, given] of Object.entries(labels)) {
    // Go decodes a null value of a string map to the empty string.
    const value = given ?? '';
    for (const fault of isQualifiedName(key)) errors.push(invalid(path, key, fault));
    for (const fault of isLabelValue(value)) errors.push(invalid(path, value, fault));
  }
}

function validateAnnotations(
  annotations: Readonly<Record<string, string>> | null | undefined,
  path: string,
  errors: FieldError[],
): void {
  if (annotations === null || annotations === undefined) return;
  let bytes = 0;
  for (const [key, value] of Object.entries(annotations)) {
    bytes += utf8Length(key) + utf8Length(value);
    for (const fault of isQualifiedName(key.toLowerCase())) errors.push(invalid(path, key, fault));
  }
  if (bytes > annotationBytes) errors.push(tooLong(path, '', annotationBytes));
}

function validateOwnerReferences(meta: ObjectMeta, path: string, errors: FieldError[]): void {
  let controller = '';
  for (const owner of meta.ownerReferences ?? []) {
    const apiVersion = owner.apiVersion ?? '';
    const slash = apiVersion.indexOf('/');
    const version = slash < 0 ? apiVersion : apiVersion.slice(slash + 1);
    if (version === '') {
      errors.push(invalid(`${path}.apiVersion`, apiVersion, 'version must not be empty'));
    }
    for (const field of ['kind', 'name', 'uid'] as const) {
      const value = owner[field] ?? '';
      if (value === '') errors.push(invalid(`${path}.${field}`, value, 'must not be empty'));
    }
    if (owner.controller !== true) continue;
    const current = `${owner.kind}/${owner.name}`;
    if (controller === '') controller = current;
    else {
      errors.push(
        invalid(
          path,
          meta.ownerReferences,
          `Only one reference can have Controller set to true. Found "true" in references for ${controller} and ${current}`,
        ),
      );
    }
  }
}

function validateFinalizers(
  finalizers: readonly string[],
  path: string,
  errors: FieldError[],
): void {
  for (const finalizer of finalizers) {
    for (const fault of isQualifiedName(finalizer)) errors.push(invalid(path, finalizer, fault));
  }
  if (finalizers.includes('orphan') && finalizers.includes('foregroundDeletion')) {
    errors.push(
      invalid(path, finalizers, 'finalizer orphan and foregroundDeletion cannot be both set'),
    );
  }
}

export interface LabelSelectorOptions {
  /** Skips the check of expression values (S87). */
  readonly allowInvalidValues?: boolean;
}

/** Validates a selector; absent and null are valid (S79–S88). */
export function validateLabelSelector(
  selector: LabelSelector | null | undefined,
  path: string,
  options: LabelSelectorOptions = {},
): FieldError[] {
  const errors: FieldError[] = [];
  if (selector === null || selector === undefined) return errors;
  validateLabels(selector.matchLabels, `${path}.matchLabels`, errors);
  const expressions = selector.matchExpressions ?? [];
  for (let i = 0; i < expressions.length; i++) {
    // Go decodes a null list item into an empty requirement.
    const expression = (expressions[i] ?? {}) as Partial<LabelSelectorRequirement>;
    validateRequirement(expression, `${path}.matchExpressions[${i}]`, options, errors);
  }
  return errors;
}

function validateRequirement(
  requirement: Partial<LabelSelectorRequirement>,
  path: string,
  options: LabelSelectorOptions,
  errors: FieldError[],
): void {
  const values = requirement.values ?? [];
  const operator: string = requirement.operator ?? '';
  if (operator === 'In' || operator === 'NotIn') {
    if (values.length === 0) {
      errors.push(
        required(`${path}.values`, "must be specified when `operator` is 'In' or 'NotIn'"),
      );
    }
  } else if (operator === 'Exists' || operator === 'DoesNotExist') {
    if (values.length > 0) {
      errors.push(
        forbidden(
          `${path}.values`,
          "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
      );
    }
  } else {
    errors.push(invalid(`${path}.operator`, operator, 'not a valid selector operator'));
  }
  const key = requirement.key ?? '';
  for (const fault of isQualifiedName(key)) errors.push(invalid(`${path}.key`, key, fault));
  if (options.allowInvalidValues === true) return;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? '';
    for (const fault of isLabelValue(value)) {
      errors.push(invalid(`${path}.values[${i}]`, value, fault));
    }
  }
}
