/**
 * Strategic merge patch: lists with a merge key are merged by it, and the patch may carry `$patch`,
 * `$retainKeys`, `$deleteFromPrimitiveList` and `$setElementOrder` directives.
 */
import { clone, deepEqual, isObject, type JsonObject, setField } from '../object.ts';
import { type Field, type Shape, typeNamed } from '../schema.ts';
import { badRequest } from '../status.ts';

const orderPrefix = '$setElementOrder/';
const deletePrefix = '$deleteFromPrimitiveList/';

/** Applies a strategic merge patch to an object of the named type. Error: 400. */
export function strategicMergePatch(
  original: JsonObject,
  patch: JsonObject,
  schema: string,
): JsonObject {
  return mergeObject(original, patch, { type: 'ref', name: schema });
}

const fieldOf = (shape: Shape | undefined, key: string): Field | undefined =>
  shape?.type === 'ref' ? typeNamed(shape.name)?.fields.get(key) : undefined;

function mergeObject(
  original: JsonObject,
  patch: JsonObject,
  shape: Shape | undefined,
): JsonObject {
  const directive = patch['$patch'];
  if (directive === 'replace') return without(patch, ['$patch']);
  if (directive === 'delete') return {};
  if (directive !== undefined && directive !== 'merge')
    throw badRequest(`unrecognized type: ${JSON.stringify(directive)}`);
  const result: JsonObject = { ...original };
  const retain = patch['$retainKeys'];
  if (Array.isArray(retain))
    for (const key of Object.keys(result)) if (!retain.includes(key)) delete result[key];
  for (const [key, value] of Object.entries(patch)) {
    if (key === '$patch' || key === '$retainKeys') continue;
    if (key.startsWith(orderPrefix)) continue;
    if (key.startsWith(deletePrefix)) {
      const name = key.slice(deletePrefix.length);
      const gone = Array.isArray(value) ? value : [];
      const list = result[name];
      if (Array.isArray(list))
        result[name] = list.filter((item) => !gone.some((other) => deepEqual(item, other)));
      continue;
    }
    if (value === null) {
      delete result[key];
      continue;
    }
    const field = fieldOf(shape, key);
    const inner = shape?.type === 'map' ? shape.values : field?.shape;
    const before = result[key];
    if (isObject(value))
      setField(result, key, mergeObject(isObject(before) ? before : {}, value, inner));
    else if (Array.isArray(value) && field?.mergeKey !== undefined)
      setField(
        result,
        key,
        mergeList(
          Array.isArray(before) ? before : [],
          value,
          field.mergeKey,
          inner?.type === 'list' ? inner.items : undefined,
        ),
      );
    else setField(result, key, clone(value));
  }
  for (const [key, value] of Object.entries(patch)) {
    if (!key.startsWith(orderPrefix) || !Array.isArray(value)) continue;
    const name = key.slice(orderPrefix.length);
    const list = result[name];
    const mergeKey = fieldOf(shape, name)?.mergeKey;
    if (Array.isArray(list) && mergeKey !== undefined)
      result[name] = inOrder(
        list,
        value,
        mergeKey,
        Array.isArray(original[name]) ? (original[name] as unknown[]) : [],
      );
  }
  return result;
}

const identity = (item: unknown, mergeKey: string): unknown =>
  mergeKey === '' || !isObject(item) ? item : item[mergeKey];

function mergeList(
  original: readonly unknown[],
  patch: readonly unknown[],
  mergeKey: string,
  shape: Shape | undefined,
): unknown[] {
  if (
    patch.some(
      (item) => isObject(item) && item['$patch'] === 'replace' && Object.keys(item).length === 1,
    )
  )
    return patch.filter((item) => !(isObject(item) && item['$patch'] === 'replace')).map(clone);
  let result = [...original];
  for (const item of patch) {
    if (mergeKey === '' || !isObject(item)) {
      if (!result.some((other) => deepEqual(other, item))) result.push(clone(item));
      continue;
    }
    const key = item[mergeKey];
    if (key === undefined)
      throw badRequest(
        `map: map[${Object.keys(item).join(' ')}] does not contain declared merge key: ${mergeKey}`,
      );
    const index = result.findIndex((other) => deepEqual(identity(other, mergeKey), key));
    if (item['$patch'] === 'delete') {
      result = result.filter((other) => !deepEqual(identity(other, mergeKey), key));
      continue;
    }
    const before = result[index];
    const merged = mergeObject(isObject(before) ? before : {}, item, shape);
    if (index < 0) result.push(merged);
    else result[index] = merged;
  }
  return result;
}

/**
 * Puts merged items in the order the patch asks for; items only the server knows keep their place
 * relative to what stood before them.
 */
function inOrder(
  list: readonly unknown[],
  order: readonly unknown[],
  mergeKey: string,
  original: readonly unknown[],
): unknown[] {
  const rank = (item: unknown): number =>
    order.findIndex((other) => deepEqual(identity(other, mergeKey), identity(item, mergeKey)));
  const ordered = list.filter((item) => rank(item) >= 0).sort((a, b) => rank(a) - rank(b));
  const place = (item: unknown): number =>
    original.findIndex((other) => deepEqual(identity(other, mergeKey), identity(item, mergeKey)));
  for (const item of list.filter((candidate) => rank(candidate) < 0)) {
    const index = ordered.findIndex((other) => place(other) > place(item));
    if (index < 0) ordered.push(item);
    else ordered.splice(index, 0, item);
  }
  return ordered;
}

function without(object: JsonObject, keys: readonly string[]): JsonObject {
  return Object.fromEntries(
    Object.entries(object)
      .filter(([key]) => !keys.includes(key))
      .map(([key, value]) => [key, clone(value)]),
  );
}
