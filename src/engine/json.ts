/**
 * Tolerant reading of plain JSON objects whose types nobody has checked. Must not know of any kind
 * of object.
 */
import type { Labels } from '../k8s/types.ts';

export type Json = Readonly<Record<string, unknown>>;

const empty: Json = Object.freeze({});

/** The value if it is an object, else an empty one. */
export function recordOf(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Json)
    : empty;
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

/** The value if it is a text that is not empty. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

export function textsOf(value: unknown): string[] {
  return listOf(value).filter((item): item is string => typeof item === 'string' && item !== '');
}

/** Follows names downwards; undefined where there is nothing. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let current = value;
  for (const name of path) {
    const record = recordOf(current);
    current = Object.hasOwn(record, name) ? record[name] : undefined;
  }
  return current;
}

/** Entries that are no text are left out; the object itself is kept when all are. */
export function labelsOf(value: unknown): Labels {
  const record = recordOf(value);
  if (Object.values(record).every((item) => typeof item === 'string')) return record as Labels;
  const labels = Object.create(null) as Record<string, string>;
  for (const [key, item] of Object.entries(record))
    if (typeof item === 'string') labels[key] = item;
  return labels;
}
