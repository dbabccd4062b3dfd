/**
 * JSON Merge Patch (RFC 7386).
 */
import { clone, isObject, type JsonObject, setField } from '../object.ts';

/** Returns the patched value; `null` in the patch removes a member. Changes neither argument. */
export function mergePatch(original: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return clone(patch);
  const result: JsonObject = isObject(original) ? { ...original } : {};
  for (const [key, value] of Object.entries(patch))
    if (value === null) delete result[key];
    else setField(result, key, mergePatch(result[key], value));
  return result;
}
