/**
 * Field errors as the API server makes them: path, kind, value, detail, and their printed form.
 * Must not know which rules produce them.
 */

export type FieldErrorKind =
  | 'Required'
  | 'Invalid'
  | 'NotSupported'
  | 'Forbidden'
  | 'TooLong'
  | 'TooMany'
  | 'Duplicate'
  | 'TypeInvalid';

export interface FieldError {
  /** `spec.ingress[0].from[1].ipBlock.cidr`; `<nil>` for an error that belongs to no field. */
  readonly path: string;
  readonly kind: FieldErrorKind;
  /** The offending value; absent for kinds that do not print one. */
  readonly value?: unknown;
  readonly detail: string;
  /** NotSupported only: the accepted values, in the order the server lists them. */
  readonly supported?: string[];
}

const titles: Readonly<Record<FieldErrorKind, string>> = {
  Required: 'Required value',
  Invalid: 'Invalid value',
  NotSupported: 'Unsupported value',
  Forbidden: 'Forbidden',
  TooLong: 'Too long',
  TooMany: 'Too many',
  Duplicate: 'Duplicate value',
  TypeInvalid: 'Invalid value',
};

/** The machine reason of `details.causes[].reason` (S29). */
export function fieldErrorReason(kind: FieldErrorKind): string {
  return `FieldValue${kind}`;
}

export function required(path: string, detail: string = ''): FieldError {
  return { path, kind: 'Required', detail };
}

export function invalid(path: string, value: unknown, detail: string): FieldError {
  return { path, kind: 'Invalid', value, detail };
}

export function notSupported(
  path: string,
  value: unknown,
  supported: readonly string[],
): FieldError {
  const quoted = supported.map(quoteGo).join(', ');
  return {
    path,
    kind: 'NotSupported',
    value,
    detail: supported.length === 0 ? '' : `supported values: ${quoted}`,
    supported: [...supported],
  };
}

export function forbidden(path: string, detail: string): FieldError {
  return { path, kind: 'Forbidden', detail };
}

/** `max` is in bytes, as the server words it, whatever it counted. */
export function tooLong(path: string, _value: unknown, max: number): FieldError {
  return {
    path,
    kind: 'TooLong',
    detail: `may not be more than ${max} ${max === 1 ? 'byte' : 'bytes'}`,
  };
}

export function tooMany(path: string, actual: number, max: number): FieldError {
  return {
    path,
    kind: 'TooMany',
    value: actual,
    detail: `must have at most ${max} ${max === 1 ? 'item' : 'items'}`,
  };
}

export function duplicate(path: string, value: unknown): FieldError {
  return { path, kind: 'Duplicate', value, detail: '' };
}

export function typeInvalid(path: string, value: unknown, detail: string): FieldError {
  return { path, kind: 'TypeInvalid', value, detail };
}

/** The error without its path: what `details.causes[].message` holds (S28). */
export function formatFieldErrorBody(error: FieldError): string {
  let text = titles[error.kind];
  if (error.kind !== 'Required' && error.kind !== 'Forbidden' && error.kind !== 'TooLong') {
    text += `: ${formatValue(error.value)}`;
  }
  return error.detail === '' ? text : `${text}: ${error.detail}`;
}

/** One error in the server's printed form, `<path>: Invalid value: <value>: <detail>` (S28). */
export function formatFieldError(error: FieldError): string {
  return `${error.path}: ${formatFieldErrorBody(error)}`;
}

function formatValue(value: unknown): string {
  if (typeof value === 'string') return quoteGo(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return marshal(value);
}

/** JSON as Go writes it: map keys sorted, and `<`, `>`, `&` escaped. */
function marshal(value: unknown): string {
  const text = JSON.stringify(value ?? null, (_key, part: unknown) => {
    if (part === null || typeof part !== 'object' || Array.isArray(part)) return part;
    const source = part as Readonly<Record<string, unknown>>;
    const sorted: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    for (const key of Object.keys(source).sort()) sorted[key] = source[key];
    return sorted;
  });
  return text.replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const shortEscapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\u0007': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
};

const plainText = /^[ !#-[\]-~]*$/;
const printable = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

/** A string quoted as Go's `%q` does it. */
export function quoteGo(text: string): string {
  if (plainText.test(text)) return `"${text}"`;
  let out = '"';
  for (const character of text) {
    const short = shortEscapes[character];
    if (short !== undefined) out += short;
    else if (printable.test(character)) out += character;
    else out += escapeRune(character.codePointAt(0) ?? 0);
  }
  return `${out}"`;
}

function escapeRune(rune: number): string {
  const hex = (width: number): string => rune.toString(16).padStart(width, '0');
  if (rune < 0x80) return `\\x${hex(2)}`;
  // A lone surrogate cannot exist in Go's UTF-8; it arrives there as the replacement character.
  if (rune >= 0xd800 && rune <= 0xdfff) return '\ufffd';
  return rune < 0x10000 ? `\\u${hex(4)}` : `\\U${hex(8)}`;
}
