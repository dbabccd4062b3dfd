/**
 * Who owns which field: sets of field paths in the form of `FieldsV1`, and how a write changes the
 * owners. Knows the shapes of types, no kind's meaning.
 */
import {
  type ApiObject,
  deepEqual,
  isObject,
  type JsonObject,
  type ManagedFieldsEntry,
  setField,
} from '../object.ts';
import { type Field, type Shape, typeNamed } from '../schema.ts';

/** A tree of path elements: `f:name`, `k:{…}`, `v:…`, and `.` for the element itself. */
export type FieldTree = { [element: string]: FieldTree };

/** How the members of a list are told apart; undefined for an atomic list. */
export type ListKind = { readonly keys: readonly string[] } | 'set' | undefined;

function listKind(field: Field | undefined): ListKind {
  if (!field) return undefined;
  if (field.listKeys) return { keys: field.listKeys };
  return field.set ? 'set' : undefined;
}

/** Defaults that take part in the key of an associative list. */
const keyDefaults: Record<string, unknown> = { protocol: 'TCP' };

export function elementOf(item: unknown, kind: ListKind): string | undefined {
  if (kind === 'set') return `v:${JSON.stringify(item)}`;
  if (!kind || !isObject(item)) return undefined;
  const key: JsonObject = {};
  for (const name of [...kind.keys].sort()) {
    const value = item[name] ?? keyDefaults[name];
    if (value !== undefined) key[name] = value;
  }
  return `k:${JSON.stringify(key)}`;
}

function fieldsOfType(shape: Shape | undefined): ReadonlyMap<string, Field> | undefined {
  return shape?.type === 'ref' ? typeNamed(shape.name)?.fields : undefined;
}

/** Members of an object with the shape and list kind of each; undefined where it is a leaf. */
export interface Branch {
  readonly shape: Shape | undefined;
  readonly kind: ListKind;
  readonly atomic: boolean;
}

export function branchOf(shape: Shape | undefined, key: string): Branch {
  if (shape?.type === 'map') return { shape: shape.values, kind: undefined, atomic: false };
  const field = fieldsOfType(shape)?.get(key);
  return { shape: field?.shape, kind: listKind(field), atomic: field?.atomic ?? false };
}

export const root = (schema: string): Branch => ({
  shape: { type: 'ref', name: schema },
  kind: undefined,
  atomic: false,
});

const itemBranch = (branch: Branch): Branch => ({
  shape: branch.shape?.type === 'list' ? branch.shape.items : undefined,
  kind: undefined,
  atomic: false,
});

const ignoredMeta = new Set([
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'creationTimestamp',
  'generation',
  'managedFields',
  'selfLink',
  'generateName',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
]);

/** Is this value a single thing for the purpose of owning it? */
function isLeaf(value: unknown, branch: Branch): boolean {
  if (branch.atomic) return true;
  if (Array.isArray(value)) return branch.kind === undefined;
  return !isObject(value);
}

/** Every field set in an object, without what only the server writes. */
export function fieldsOf(value: unknown, schema: string): FieldTree {
  const tree = collect(value, root(schema));
  delete tree['f:apiVersion'];
  delete tree['f:kind'];
  return withoutServerFields(tree);
}

function withoutServerFields(tree: FieldTree): FieldTree {
  const meta = tree['f:metadata'];
  if (meta) {
    for (const name of ignoredMeta) delete meta[`f:${name}`];
    delete meta['.'];
    if (Object.keys(meta).length === 0) delete tree['f:metadata'];
  }
  return tree;
}

function collect(value: unknown, branch: Branch): FieldTree {
  const tree: FieldTree = {};
  if (isLeaf(value, branch)) return tree;
  if (Array.isArray(value)) {
    // A leaf says "itself" already; `.` is needed only beside what is below.
    if (value.length > 0) tree['.'] = {};
    for (const item of value) {
      const element = elementOf(item, branch.kind);
      if (element === undefined) continue;
      const inner = collect(item, itemBranch(branch));
      if (!isEmptyTree(inner)) inner['.'] = {};
      tree[element] = inner;
    }
    return tree;
  }
  for (const [key, item] of Object.entries(value as JsonObject)) {
    if (item === undefined) continue;
    setField(tree, `f:${key}`, collect(item, branchOf(branch.shape, key)));
  }
  // A map or struct is owned as such when it is below the top (`.` marks the element itself).
  return tree;
}

/** Fields of `after` that differ from `before` (set or changed). */
export function changedFields(before: unknown, after: unknown, schema: string): FieldTree {
  const tree = difference(before, after, root(schema)) ?? {};
  delete tree['f:apiVersion'];
  delete tree['f:kind'];
  return withoutServerFields(tree);
}

function difference(before: unknown, after: unknown, branch: Branch): FieldTree | undefined {
  if (deepEqual(before, after)) return undefined;
  if (isLeaf(after, branch)) return {};
  if (before === undefined || before === null || isLeaf(before, branch))
    return collect(after, branch);
  const tree: FieldTree = {};
  if (Array.isArray(after)) {
    const olds = new Map(
      (Array.isArray(before) ? before : []).map((item) => [elementOf(item, branch.kind), item]),
    );
    for (const item of after) {
      const element = elementOf(item, branch.kind);
      if (element === undefined) continue;
      const known = olds.has(element);
      const inner = difference(olds.get(element), item, itemBranch(branch));
      if (inner) tree[element] = known || !isObject(item) ? inner : { '.': {}, ...inner };
    }
    return Object.keys(tree).length === 0 ? undefined : tree;
  }
  for (const [key, item] of Object.entries(after as JsonObject)) {
    if (item === undefined) continue;
    const inner = difference((before as JsonObject)[key], item, branchOf(branch.shape, key));
    if (inner) setField(tree, `f:${key}`, inner);
  }
  return Object.keys(tree).length === 0 ? undefined : tree;
}

const isLeafTree = (tree: FieldTree): boolean => Object.keys(tree).length === 0;

export function isEmptyTree(tree: FieldTree): boolean {
  return Object.keys(tree).length === 0;
}

/**
 * A node may stand for the element itself (a leaf, or with `.`), for things below it, or for both:
 * an empty map that is owned is a leaf, and the same map with members of another owner is not.
 */
interface Node {
  readonly itself: boolean;
  readonly below: FieldTree;
}

function nodeOf(tree: FieldTree): Node {
  if (isLeafTree(tree)) return { itself: true, below: {} };
  const { '.': itself, ...below } = tree;
  return { itself: itself !== undefined, below };
}

/** Undefined when nothing is left. */
function treeOfNode({ itself, below }: Node): FieldTree | undefined {
  if (isEmptyTree(below)) return itself ? {} : undefined;
  return itself ? { '.': {}, ...below } : below;
}

function combine(
  a: FieldTree,
  b: FieldTree,
  both: (x: FieldTree, y: FieldTree) => FieldTree | undefined,
  keepLeft: boolean,
  keepRight: boolean,
): FieldTree {
  const result: FieldTree = {};
  for (const [key, inner] of Object.entries(a)) {
    const other = Object.hasOwn(b, key) ? b[key] : undefined;
    const next = other ? both(inner, other) : keepLeft ? inner : undefined;
    if (next) setField(result, key, next);
  }
  if (keepRight)
    for (const [key, inner] of Object.entries(b))
      if (!Object.hasOwn(a, key)) setField(result, key, inner);
  return result;
}

export function unionTrees(a: FieldTree, b: FieldTree): FieldTree {
  const both = (x: FieldTree, y: FieldTree): FieldTree | undefined => {
    const [left, right] = [nodeOf(x), nodeOf(y)];
    return treeOfNode({
      itself: left.itself || right.itself,
      below: unionTrees(left.below, right.below),
    });
  };
  return combine(a, b, both, true, true);
}

/** `a` without what `b` has. */
export function subtractTrees(a: FieldTree, b: FieldTree): FieldTree {
  const both = (x: FieldTree, y: FieldTree): FieldTree | undefined => {
    const [left, right] = [nodeOf(x), nodeOf(y)];
    return treeOfNode({
      itself: left.itself && !right.itself,
      below: subtractTrees(left.below, right.below),
    });
  };
  return combine(a, b, both, true, false);
}

/** What is in both. */
export function intersectTrees(a: FieldTree, b: FieldTree): FieldTree {
  const both = (x: FieldTree, y: FieldTree): FieldTree | undefined => {
    const [left, right] = [nodeOf(x), nodeOf(y)];
    return treeOfNode({
      itself: left.itself && right.itself,
      below: intersectTrees(left.below, right.below),
    });
  };
  return combine(a, b, both, false, false);
}

/** The leaves of `tree` that no longer exist in `value` are dropped. */
export function keepExisting(tree: FieldTree, value: unknown, schema: string): FieldTree {
  return existing(tree, value, root(schema));
}

function existing(tree: FieldTree, value: unknown, branch: Branch): FieldTree {
  const result: FieldTree = {};
  for (const [key, inner] of Object.entries(tree)) {
    if (key === '.') {
      result[key] = inner;
      continue;
    }
    const found = childOf(value, key, branch);
    if (!found) continue;
    if (isLeafTree(inner)) result[key] = inner;
    else {
      const rest = existing(inner, found.value, found.branch);
      if (!isEmptyTree(rest)) result[key] = rest;
    }
  }
  return result;
}

/** The value a path element stands for; undefined when it is absent. */
export function childOf(
  value: unknown,
  element: string,
  branch: Branch,
): { value: unknown; branch: Branch } | undefined {
  if (element.startsWith('f:')) {
    const key = element.slice(2);
    if (!isObject(value) || !Object.hasOwn(value, key)) return undefined;
    return { value: value[key], branch: branchOf(branch.shape, key) };
  }
  if (!Array.isArray(value)) return undefined;
  const item = value.find((candidate) => elementOf(candidate, branch.kind) === element);
  return item === undefined ? undefined : { value: item, branch: itemBranch(branch) };
}

/** Paths of the leaves in the form of conflict messages, `.spec.replicas`. */
export function leafPaths(tree: FieldTree, prefix = ''): string[] {
  return Object.entries(tree).flatMap(([key, inner]) => {
    if (key === '.') return prefix === '' ? [] : [prefix];
    const step = key.startsWith('f:')
      ? `.${key.slice(2)}`
      : key.startsWith('k:')
        ? `[${Object.entries(JSON.parse(key.slice(2)) as JsonObject)
            .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
            .join(',')}]`
        : `[=${key.slice(2)}]`;
    const path = prefix + step;
    return isLeafTree(inner) ? [path] : leafPaths(inner, path);
  });
}

export interface UpdateRecord {
  readonly schema: string;
  readonly old: ApiObject | undefined;
  readonly object: ApiObject;
  readonly manager: string;
  readonly apiVersion: string;
  readonly time: string;
  readonly subresource?: string;
}

/** Entries after a plain write: the writer owns what it changed, the others lose it. */
export function managedFieldsAfterUpdate(record: UpdateRecord): ManagedFieldsEntry[] {
  const { object, old, schema } = record;
  const given = object.metadata.managedFields;
  const before = old?.metadata.managedFields;
  let base = Array.isArray(given) ? given : (before ?? []);
  // A single empty entry is the documented way to ask for a reset.
  if (base.some((entry) => entry.manager === undefined && entry.fieldsV1 === undefined)) return [];
  if (given !== undefined && before !== undefined && given !== before && !deepEqual(given, before))
    base = given;
  const changed = changedFields(old, object, schema);
  const removed = old ? subtractTrees(fieldsOf(old, schema), fieldsOf(object, schema)) : {};
  const lost = unionTrees(changed, removed);
  const mine = (entry: ManagedFieldsEntry): boolean =>
    entry.manager === record.manager &&
    entry.operation === 'Update' &&
    (entry.subresource ?? '') === (record.subresource ?? '') &&
    entry.apiVersion === record.apiVersion;
  const entries: ManagedFieldsEntry[] = [];
  let found = false;
  for (const entry of base) {
    const tree = (entry.fieldsV1 ?? {}) as FieldTree;
    if (mine(entry)) {
      found = true;
      const next = unionTrees(keepExisting(tree, object, schema), changed);
      if (!isEmptyTree(next))
        entries.push({
          ...entry,
          fieldsV1: next,
          ...(deepEqual(next, tree) ? {} : { time: record.time }),
        });
    } else {
      const next = isEmptyTree(lost)
        ? tree
        : keepExisting(subtractTrees(tree, lost), object, schema);
      if (!isEmptyTree(next)) entries.push({ ...entry, fieldsV1: next });
    }
  }
  if (!found && !isEmptyTree(changed))
    entries.push({
      manager: record.manager,
      operation: 'Update',
      apiVersion: record.apiVersion,
      time: record.time,
      fieldsType: 'FieldsV1',
      fieldsV1: changed,
      ...(record.subresource === undefined ? {} : { subresource: record.subresource }),
    });
  return entries;
}
