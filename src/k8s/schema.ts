/**
 * Checks plain JSON against a schema tree: fields the schema does not know, and values whose JSON
 * type would not decode. Must not know any kind, nor what a fault means for a policy.
 */

/** The schema tree; `FieldSchema` of the policy kinds is this type. */
export type SchemaNode =
  | { readonly type: 'object'; readonly fields: Readonly<Record<string, SchemaNode>> }
  | { readonly type: 'map'; readonly values: SchemaNode }
  | { readonly type: 'list'; readonly items: SchemaNode }
  /** Integers are 32 bits wide unless `format` says otherwise. */
  | { readonly type: 'integer'; readonly format?: 'int64' }
  | { readonly type: 'string' | 'boolean' | 'int-or-string' | 'any' };

export interface UnknownField {
  readonly path: string;
  /** The known field that was probably meant. */
  readonly suggestion?: string;
}

export interface TypeFault {
  readonly path: string;
  /** What the field takes, as a noun with article: `a list`, `an integer`. */
  readonly expected: string;
  /** What was given, likewise, with short values shown: `the number 80.5`. */
  readonly actual: string;
}

export interface SchemaFaults {
  readonly unknown: UnknownField[];
  readonly typeErrors: TypeFault[];
}

const MAX_SUGGESTIONS = 100;

/**
 * Finds unknown fields and wrong JSON types (S4, S31), each with its path, in document order. Null
 * fits every type, as it does when the server decodes built-in kinds.
 */
export function checkSchema(value: unknown, schema: SchemaNode, path: string): SchemaFaults {
  const faults: SchemaFaults = { unknown: [], typeErrors: [] };
  check(value, schema, path, faults);
  return faults;
}

function check(value: unknown, schema: SchemaNode, path: string, faults: SchemaFaults): void {
  if (value === null || value === undefined || schema.type === 'any') return;
  switch (schema.type) {
    case 'object': {
      if (!isObject(value)) break;
      for (const [name, part] of Object.entries(value)) {
        const partPath = path === '' ? name : `${path}.${name}`;
        if (Object.hasOwn(schema.fields, name)) {
          check(part, schema.fields[name] as SchemaNode, partPath, faults);
        } else {
          // After so many nobody is helped by a guess, and guessing takes time.
          if (faults.unknown.length >= MAX_SUGGESTIONS) {
            faults.unknown.push({ path: partPath });
            continue;
          }
          // A field that is already there was not misspelt.
          const free = Object.keys(schema.fields).filter((field) => !Object.hasOwn(value, field));
          const suggestion = nearestName(name, free);
          faults.unknown.push(
            suggestion === undefined ? { path: partPath } : { path: partPath, suggestion },
          );
        }
      }
      return;
    }
    case 'map':
      if (!isObject(value)) break;
      for (const [name, part] of Object.entries(value)) {
        check(part, schema.values, `${path}[${name}]`, faults);
      }
      return;
    case 'list':
      if (!Array.isArray(value)) break;
      for (let i = 0; i < value.length; i++) check(value[i], schema.items, `${path}[${i}]`, faults);
      return;
    case 'string':
      if (typeof value === 'string') return;
      break;
    case 'boolean':
      if (typeof value === 'boolean') return;
      break;
    case 'integer':
      if (isInteger(value, schema.format === 'int64')) return;
      break;
    case 'int-or-string':
      if (typeof value === 'string' || isInteger(value, false)) return;
      break;
  }
  faults.typeErrors.push({ path, expected: nounOf(schema), actual: describe(value) });
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isInteger(value: unknown, wide: boolean): boolean {
  if (typeof value !== 'number' || !Number.isInteger(value)) return false;
  return wide || (value >= -0x80000000 && value <= 0x7fffffff);
}

function nounOf(schema: SchemaNode): string {
  switch (schema.type) {
    case 'object':
      return 'an object';
    case 'map':
      return 'a map';
    case 'list':
      return 'a list';
    case 'string':
      return 'a string';
    case 'boolean':
      return 'true or false';
    case 'integer':
      return schema.format === 'int64' ? 'an integer' : 'an integer of 32 bits';
    case 'int-or-string':
      return 'an integer of 32 bits or a string';
    case 'any':
      return 'any value';
  }
}

function describe(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'string') {
    return value.length > 40 ? 'a string' : `the string ${JSON.stringify(value)}`;
  }
  if (typeof value === 'number') return `the number ${value}`;
  if (typeof value === 'boolean') return String(value);
  return 'an object';
}

/**
 * The candidate that a misspelt name was probably meant to be: equal but for case, a word missing
 * or added at the end, or at most two slips (one in short names) of letters added, dropped, changed
 * or swapped.
 */
export function nearestName(name: string, candidates: readonly string[]): string | undefined {
  // No field is nearly that long, and the comparison takes time by the product of the lengths.
  if (name.length > 64) return undefined;
  const folded = fold(name);
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const other = fold(candidate);
    if (other === folded) return candidate;
    let distance = editDistance(folded, other);
    const shorter = Math.min(folded.length, other.length);
    const allowed = shorter <= 1 ? 0 : shorter <= 4 ? 1 : shorter <= 8 ? 2 : 3;
    if (distance > allowed) {
      const prefix = shorter >= 3 && (other.startsWith(folded) || folded.startsWith(other));
      if (!prefix) continue;
      // `prot` is protocol cut short rather than port with two letters swapped.
      distance = (shorter >= 4 ? 0.5 : allowed + 1) + Math.abs(folded.length - other.length) / 100;
    }
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Case and word separators are what people slip on most. */
function fold(name: string): string {
  return name.toLowerCase().replace(/[-_]/g, '');
}

/** Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last: number[] = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(
        (last[j] as number) + 1,
        (row[j - 1] as number) + 1,
        (last[j - 1] as number) + (same ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (beforeLast[j - 2] as number) + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] as number;
}
