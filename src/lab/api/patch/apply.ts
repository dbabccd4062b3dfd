/**
 * Server-side apply: merges a configuration into the live object, drops what its manager no longer
 * asks for, and finds conflicts with other managers.
 */
import {
  type ApiObject,
  clone,
  deepEqual,
  isObject,
  type JsonObject,
  type ManagedFieldsEntry,
  setField,
} from '../object.ts';
import { ApiError, badRequest, type StatusCause } from '../status.ts';
import {
  type Branch,
  branchOf,
  changedFields,
  elementOf,
  fieldsOf,
  type FieldTree,
  intersectTrees,
  isEmptyTree,
  keepExisting,
  leafPaths,
  root,
  subtractTrees,
  unionTrees,
} from './managed-fields.ts';

export interface ApplyRequest {
  readonly schema: string;
  /** Undefined when the object does not exist yet. */
  readonly live: ApiObject | undefined;
  readonly config: ApiObject;
  readonly manager: string;
  readonly force: boolean;
  readonly apiVersion: string;
  readonly time: string;
  readonly subresource?: string;
}

/**
 * The object after the apply, with its managedFields. Errors: 400, 409 with one cause for each
 * field that another manager owns.
 */
export function applyConfiguration(request: ApplyRequest): ApiObject {
  const { schema, live, manager } = request;
  if (request.config.metadata.managedFields !== undefined)
    throw badRequest('metadata.managedFields must be nil');
  const config = clone(request.config);
  const wanted = fieldsOf(config, schema);
  const entries = live?.metadata.managedFields ?? [];
  const isMine = (entry: ManagedFieldsEntry): boolean =>
    entry.manager === manager &&
    entry.operation === 'Apply' &&
    (entry.subresource ?? '') === (request.subresource ?? '');
  const mine = entries.find(isMine);
  const others = entries.filter((entry) => !isMine(entry));
  const treeOf = (entry: ManagedFieldsEntry): FieldTree => (entry.fieldsV1 ?? {}) as FieldTree;

  const branch = root(schema);
  let merged: JsonObject = live ? (merge(live, config, branch) as JsonObject) : config;
  if (mine) {
    const kept = others.reduce((tree, entry) => unionTrees(tree, treeOf(entry)), wanted);
    const dropped = subtractTrees(treeOf(mine), kept);
    if (!isEmptyTree(dropped)) merged = removeFields(merged, dropped, kept, branch) as JsonObject;
  }
  const changed = live ? changedFields(live, merged, schema) : {};
  const contested = intersectTrees(changed, wanted);
  const remaining: ManagedFieldsEntry[] = [];
  const causes: StatusCause[] = [];
  for (const entry of others) {
    const clash = intersectTrees(contested, treeOf(entry));
    if (isEmptyTree(clash)) remaining.push(entry);
    else if (request.force) {
      const rest = subtractTrees(treeOf(entry), clash);
      if (!isEmptyTree(rest)) remaining.push({ ...entry, fieldsV1: rest });
    } else
      for (const field of leafPaths(clash))
        causes.push({
          reason: 'FieldManagerConflict',
          message: `conflict with "${entry.manager}"${
            entry.subresource === undefined ? '' : ` with subresource "${entry.subresource}"`
          } using ${entry.apiVersion}`,
          field,
        });
  }
  if (causes.length > 0) throw applyConflict(causes);
  const object = merged as ApiObject;
  const final = remaining.flatMap((entry) => {
    const tree = keepExisting(treeOf(entry), object, schema);
    return isEmptyTree(tree) ? [] : [{ ...entry, fieldsV1: tree }];
  });
  if (!isEmptyTree(wanted))
    final.push({
      manager,
      operation: 'Apply',
      apiVersion: request.apiVersion,
      time: mine && deepEqual(treeOf(mine), wanted) ? (mine.time ?? request.time) : request.time,
      fieldsType: 'FieldsV1',
      fieldsV1: wanted,
      ...(request.subresource === undefined ? {} : { subresource: request.subresource }),
    });
  return { ...object, metadata: { ...object.metadata, managedFields: final } };
}

function applyConflict(causes: StatusCause[]): ApiError {
  const said = causes.map((cause) => `${cause.message}: ${cause.field ?? ''}`);
  const message =
    causes.length === 1
      ? `Apply failed with 1 conflict: ${said.join('')}`
      : `Apply failed with ${causes.length} conflicts: ${said.join('\n')}`;
  return new ApiError(409, 'Conflict', message, { causes });
}

function merge(live: unknown, config: unknown, branch: Branch): unknown {
  if (branch.atomic || live === undefined || live === null) return config;
  if (Array.isArray(config)) {
    if (branch.kind === undefined || !Array.isArray(live)) return config;
    return mergeList(live, config, branch);
  }
  if (!isObject(config) || !isObject(live)) return config;
  const result: JsonObject = { ...live };
  for (const [key, value] of Object.entries(config))
    if (value !== null) setField(result, key, merge(live[key], value, branchOf(branch.shape, key)));
  return result;
}

/** Items of the configuration in its order; items only the server has keep their places. */
function mergeList(
  live: readonly unknown[],
  config: readonly unknown[],
  branch: Branch,
): unknown[] {
  const item: Branch = {
    shape: branch.shape?.type === 'list' ? branch.shape.items : undefined,
    kind: undefined,
    atomic: false,
  };
  const name = (value: unknown): string => elementOf(value, branch.kind) ?? '';
  const asked = new Map(config.map((value) => [name(value), value]));
  const known = new Map(live.map((value) => [name(value), value]));
  const result: unknown[] = [];
  const queue = config.map(name);
  for (const value of live) {
    const element = name(value);
    if (!asked.has(element)) {
      result.push(value);
      continue;
    }
    // Everything the configuration puts before this item comes first.
    while (queue.includes(element)) {
      const next = queue.shift() ?? '';
      result.push(merge(known.get(next), asked.get(next), item));
    }
  }
  for (const next of queue) result.push(merge(known.get(next), asked.get(next), item));
  return result;
}

/** Takes out what `tree` names; what `kept` names stays, if only as an empty list or map. */
function removeFields(value: unknown, tree: FieldTree, kept: FieldTree, branch: Branch): unknown {
  if (Array.isArray(value)) {
    const item: Branch = {
      shape: branch.shape?.type === 'list' ? branch.shape.items : undefined,
      kind: undefined,
      atomic: false,
    };
    return value.flatMap((entry: unknown) => {
      const inner = tree[elementOf(entry, branch.kind) ?? ''];
      if (!inner) return [entry];
      if (isEmptyTree(inner) || Object.hasOwn(inner, '.')) return [];
      return [removeFields(entry, inner, kept[elementOf(entry, branch.kind) ?? ''] ?? {}, item)];
    });
  }
  if (!isObject(value)) return value;
  const result: JsonObject = { ...value };
  for (const [element, inner] of Object.entries(tree)) {
    if (!element.startsWith('f:')) continue;
    const key = element.slice(2);
    if (!Object.hasOwn(result, key)) continue;
    const below = branchOf(branch.shape, key);
    const before = result[key];
    const parts = !below.atomic && (isObject(before) || (Array.isArray(before) && below.kind));
    if (!parts) {
      delete result[key];
      continue;
    }
    // A map or list that this manager had set goes only when nobody's members are left in it.
    const rest = removeFields(before, inner, kept[element] ?? {}, below);
    const empty = Array.isArray(rest)
      ? rest.length === 0
      : isObject(rest) && isEmptyTree(rest as FieldTree);
    if (empty && !Object.hasOwn(kept, element)) delete result[key];
    else setField(result, key, rest);
  }
  return result;
}
