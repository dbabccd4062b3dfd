/**
 * Validation faults in the words of the API server, for the kinds checked here. Policy kinds bring
 * their own from `policy/`.
 */
import { deepEqual, isObject } from '../object.ts';
import type { StatusCause } from '../status.ts';

const shown = (value: unknown): string =>
  typeof value === 'string' ? JSON.stringify(value) : JSON.stringify(value ?? null);

export const required = (field: string, detail = ''): StatusCause => ({
  reason: 'FieldValueRequired',
  message: `Required value${detail === '' ? '' : `: ${detail}`}`,
  field,
});

export const invalidValue = (field: string, value: unknown, detail: string): StatusCause => ({
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${shown(value)}: ${detail}`,
  field,
});

export const notSupported = (
  field: string,
  value: unknown,
  supported: readonly string[],
): StatusCause => ({
  reason: 'FieldValueNotSupported',
  message: `Unsupported value: ${shown(value)}: supported values: ${supported.map((s) => JSON.stringify(s)).join(', ')}`,
  field,
});

export const forbiddenField = (field: string, detail: string): StatusCause => ({
  reason: 'FieldValueForbidden',
  message: `Forbidden: ${detail}`,
  field,
});

export const duplicate = (field: string, value: unknown): StatusCause => ({
  reason: 'FieldValueDuplicate',
  message: `Duplicate value: ${shown(value)}`,
  field,
});

export function immutable(field: string, value: unknown, old: unknown): StatusCause[] {
  return deepEqual(value, old) ? [] : [invalidValue(field, value, 'field is immutable')];
}

const label = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const subdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const namePart = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;

export function labelFault(value: string): string | undefined {
  if (value.length > 63) return 'must be no more than 63 characters';
  return label.test(value)
    ? undefined
    : "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
}

export function subdomainFault(value: string): string | undefined {
  if (value.length > 253) return 'must be no more than 253 characters';
  return subdomain.test(value)
    ? undefined
    : "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
}

function qualifiedNameFault(key: string): string | undefined {
  const slash = key.split('/');
  if (slash.length > 2)
    return "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
  const name = slash[slash.length - 1] ?? '';
  if (slash.length === 2) {
    const prefix = slash[0] ?? '';
    if (prefix === '') return 'prefix part must be non-empty';
    const fault = subdomainFault(prefix);
    if (fault) return `prefix part ${fault}`;
  }
  if (name === '') return 'name part must be non-empty';
  if (name.length > 63) return 'name part must be no more than 63 characters';
  return namePart.test(name)
    ? undefined
    : "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
}

function labelValueFault(value: string): string | undefined {
  if (value === '') return undefined;
  if (value.length > 63) return 'must be no more than 63 characters';
  return namePart.test(value)
    ? undefined
    : "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
}

/** Faults of a map of labels. */
export function labelsFaults(labels: unknown, field: string): StatusCause[] {
  const faults: StatusCause[] = [];
  if (!isObject(labels)) return faults;
  for (const [key, value] of Object.entries(labels)) {
    const keyFault = qualifiedNameFault(key);
    if (keyFault) faults.push(invalidValue(field, key, keyFault));
    const valueFault = labelValueFault(String(value));
    if (valueFault) faults.push(invalidValue(field, value, valueFault));
  }
  return faults;
}

/** Faults of `metadata` that every kind shares. */
export function metadataFaults(
  metadata: { name: string; labels?: unknown; annotations?: unknown; finalizers?: unknown },
  nameRule: (name: string) => string | undefined,
): StatusCause[] {
  const faults: StatusCause[] = [];
  if (metadata.name === '')
    faults.push(required('metadata.name', 'name or generateName is required'));
  else {
    const fault = nameRule(metadata.name);
    if (fault) faults.push(invalidValue('metadata.name', metadata.name, fault));
  }
  faults.push(...labelsFaults(metadata.labels, 'metadata.labels'));
  if (isObject(metadata.annotations))
    for (const key of Object.keys(metadata.annotations)) {
      const fault = qualifiedNameFault(key.toLowerCase());
      if (fault) faults.push(invalidValue('metadata.annotations', key, fault));
    }
  return faults;
}
