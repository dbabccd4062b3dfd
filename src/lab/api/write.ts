/**
 * Creating, changing and deleting objects: everything the API server promises about a write,
 * whatever the kind and whoever asks (a request or a controller). Knows no HTTP.
 */
import { randomUUID } from 'node:crypto';
import {
  type ApiObject,
  type JsonObject,
  clone,
  deepEqual,
  isObject,
  objectAt,
  stringAt,
  timestamp,
  at,
  listAt,
} from './object.ts';
import { managedFieldsAfterUpdate } from './patch/managed-fields.ts';
import { apiVersionOf, resourceTypes } from './registry.ts';
import { type AddressAllocator, type HookContext, keyOf, type ResourceType } from './resource.ts';
import { metadataFaults, subdomainFault } from './kinds/faults.ts';
import {
  alreadyExists,
  badRequest,
  conflict,
  forbidden,
  invalid,
  notFound,
  type StatusCause,
} from './status.ts';
import type { Store } from './store.ts';

export interface WriteOptions {
  readonly dryRun?: boolean;
  /** Who is written into managedFields; absent: ownership is not recorded (controllers). */
  readonly manager?: string;
  readonly subresource?: string;
}

export interface DeleteOptions {
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: string;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
}

export interface DeleteResult {
  readonly object: ApiObject;
  /** False: marked only (grace, finalizers); true: gone. */
  readonly gone: boolean;
}

export interface Writer {
  readonly store: Store;
  readonly now: () => number;
  create(
    type: ResourceType,
    namespace: string | undefined,
    object: ApiObject,
    options?: WriteOptions,
  ): ApiObject;
  /**
   * Changes the stored object to what `change` returns. Errors: 404, 409, 422. A change that
   * changes nothing is not written.
   */
  update(
    type: ResourceType,
    namespace: string | undefined,
    name: string,
    change: (old: ApiObject) => ApiObject,
    options?: WriteOptions,
  ): ApiObject;
  remove(
    type: ResourceType,
    namespace: string | undefined,
    name: string,
    options?: DeleteOptions & { dryRun?: boolean },
  ): DeleteResult;
  /** Takes the object out of the store, whatever its finalizers and grace. */
  erase(type: ResourceType, namespace: string | undefined, name: string): void;
}

const letters = 'bcdfghjklmnpqrstvwxz2456789';

export function createWriter(parts: {
  readonly store: Store;
  readonly addresses: AddressAllocator;
  readonly now: () => number;
  /** 0 ≤ x < 1; a seeded one makes names repeatable. */
  readonly random: () => number;
}): Writer {
  const { store } = parts;
  const hooks = (dryRun: boolean): HookContext => ({
    store,
    now: parts.now,
    dryRun,
    addresses: parts.addresses,
  });

  const suffix = (): string =>
    Array.from({ length: 5 }, () => letters[Math.floor(parts.random() * letters.length)]).join('');

  const check = (type: ResourceType, object: ApiObject, old: ApiObject | undefined): void => {
    const faults: StatusCause[] = [
      ...metadataFaults(object.metadata, subdomainFault),
      ...type.validate(object, old),
    ];
    // A kind's own check may repeat the common ones.
    const seen = new Set<string>();
    const distinct = faults.filter((fault) => {
      const key = `${fault.field ?? ''} ${fault.message}`;
      return !seen.has(key) && seen.add(key);
    });
    if (distinct.length > 0) throw invalid(type, object.metadata.name, distinct);
  };

  const requireNamespace = (type: ResourceType, namespace: string, name: string): void => {
    const found = store.get('/namespaces', namespace);
    if (!found) throw notFound({ group: '', plural: 'namespaces' }, namespace);
    if (found.metadata.deletionTimestamp === undefined) return;
    throw forbidden(
      type,
      name,
      `unable to create new content in namespace ${namespace} because it is being terminated`,
      [
        {
          reason: 'NamespaceTerminating',
          message: `namespace ${namespace} is being terminated`,
          field: 'metadata.namespace',
        },
      ],
    );
  };

  const create: Writer['create'] = (type, namespace, given, options = {}) => {
    const dryRun = options.dryRun === true;
    const object = clone(given);
    object.apiVersion = apiVersionOf(type);
    object.kind = type.kind;
    const meta = isObject(object.metadata) ? object.metadata : (object.metadata = { name: '' });
    if (typeof meta.name !== 'string') meta.name = '';
    if (meta.resourceVersion !== undefined && meta.resourceVersion !== '')
      throw badRequest('resourceVersion should not be set on objects to be created');
    if (type.namespaced) {
      if (meta.namespace !== undefined && meta.namespace !== '' && meta.namespace !== namespace)
        throw badRequest(
          'the namespace of the provided object does not match the namespace sent on the request',
        );
      meta.namespace = namespace ?? '';
    } else delete meta.namespace;
    for (const field of ['selfLink', 'deletionTimestamp', 'deletionGracePeriodSeconds'])
      delete meta[field];
    if (meta.name === '' && typeof meta.generateName === 'string' && meta.generateName !== '')
      do meta.name = `${meta.generateName.slice(0, 58)}${suffix()}`;
      while (store.get(type.bucket, keyOf(type, namespace, meta.name)));
    if (type.namespaced) requireNamespace(type, namespace ?? '', meta.name);
    const key = keyOf(type, namespace, meta.name);
    if (store.get(type.bucket, key)) throw alreadyExists(type, meta.name);
    meta.uid = randomUUID();
    meta.creationTimestamp = timestamp(parts.now());
    if (type.hasGeneration) meta.generation = 1;
    else delete meta.generation;
    dropEmpty(meta);
    if (type.hasStatus) delete object['status'];
    type.applyDefaults(object);
    type.prepare(object, undefined, hooks(dryRun));
    check(type, object, undefined);
    recordManager(type, object, undefined, options);
    return dryRun ? object : store.put(type.bucket, key, stored(type, object));
  };

  const recordManager = (
    type: ResourceType,
    object: ApiObject,
    old: ApiObject | undefined,
    options: WriteOptions,
  ): void => {
    if (options.manager === undefined) return;
    const entries = managedFieldsAfterUpdate({
      schema: type.schema,
      old,
      object,
      manager: options.manager,
      apiVersion: apiVersionOf(type),
      time: timestamp(parts.now()),
      ...(options.subresource === undefined ? {} : { subresource: options.subresource }),
    });
    if (entries.length > 0) object.metadata.managedFields = entries;
    else delete object.metadata.managedFields;
  };

  const stored = (type: ResourceType, object: ApiObject): ApiObject =>
    type.convert ? type.convert.in(object) : object;

  const load = (type: ResourceType, namespace: string | undefined, name: string): ApiObject => {
    const found = store.get(type.bucket, keyOf(type, namespace, name));
    if (!found) throw notFound(type, name);
    return type.convert ? type.convert.out(found) : found;
  };

  const update: Writer['update'] = (type, namespace, name, change, options = {}) => {
    const old = load(type, namespace, name);
    const given = change(old);
    if (given === old) return old;
    const object: ApiObject = { ...given, metadata: { ...given.metadata } };
    const meta = object.metadata;
    object.apiVersion = apiVersionOf(type);
    object.kind = type.kind;
    if (meta.name !== name)
      throw badRequest(
        `the name of the object (${meta.name}) does not match the name on the URL (${name})`,
      );
    if (meta.uid !== undefined && meta.uid !== '' && meta.uid !== old.metadata.uid)
      throw conflict(
        type,
        name,
        `Precondition failed: UID in precondition: ${meta.uid}, UID in object meta: ${old.metadata.uid ?? ''}`,
      );
    const version = meta.resourceVersion;
    if (version !== undefined && version !== '' && version !== old.metadata.resourceVersion)
      throw conflict(type, name);
    keepServerFields(object, old);
    if (type.hasStatus)
      if (options.subresource === 'status') {
        for (const field of Object.keys(object))
          if (!['status', 'metadata'].includes(field)) delete object[field];
        Object.assign(object, {
          ...Object.fromEntries(Object.entries(old).filter(([field]) => field !== 'status')),
          ...(object['status'] === undefined ? {} : { status: object['status'] }),
          metadata: {
            ...old.metadata,
            ...(meta.managedFields === undefined ? {} : { managedFields: meta.managedFields }),
          },
        });
      } else if (old['status'] === undefined) delete object['status'];
      else object['status'] = old['status'];
    const next = options.subresource === 'status' ? object : clone(object);
    dropEmpty(next.metadata);
    if (options.subresource !== 'status') {
      type.applyDefaults(next);
      type.prepare(next, old, hooks(options.dryRun === true));
      check(type, next, old);
    }
    if (type.hasGeneration)
      next.metadata.generation =
        (old.metadata.generation ?? 1) + (deepEqual(next['spec'], old['spec']) ? 0 : 1);
    recordManager(type, next, old, options);
    if (sameButTimes(next, old)) return old;
    if (options.dryRun) return next;
    const key = keyOf(type, namespace, name);
    if (mayGo(type, next)) return store.remove(type.bucket, key, stored(type, next)) ?? next;
    return store.put(type.bucket, key, stored(type, next));
  };

  /** Deleted already, and nothing holds it any more. */
  const mayGo = (type: ResourceType, object: ApiObject): boolean =>
    object.metadata.deletionTimestamp !== undefined &&
    (object.metadata.finalizers ?? []).length === 0 &&
    (object.metadata.deletionGracePeriodSeconds ?? 0) === 0 &&
    !(type.kind === 'Namespace' && listOf(at(object, 'spec', 'finalizers')).length > 0);

  const remove: Writer['remove'] = (type, namespace, name, options = {}) => {
    const old = load(type, namespace, name);
    const { uid, resourceVersion } = options.preconditions ?? {};
    if (uid !== undefined && uid !== old.metadata.uid)
      throw conflict(
        type,
        name,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid ?? ''}`,
      );
    if (resourceVersion !== undefined && resourceVersion !== old.metadata.resourceVersion)
      throw conflict(
        type,
        name,
        `Precondition failed: ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${old.metadata.resourceVersion ?? ''}`,
      );
    const key = keyOf(type, namespace, name);
    const wanted = type.grace?.(old, options.gracePeriodSeconds) ?? 0;
    const already = old.metadata.deletionTimestamp !== undefined;
    const grace = already
      ? Math.min(wanted, old.metadata.deletionGracePeriodSeconds ?? wanted)
      : wanted;
    const next: ApiObject = { ...old, metadata: { ...old.metadata } };
    if (options.propagationPolicy === 'Foreground' && hasDependents(store, old))
      next.metadata.finalizers = [
        ...new Set([...(old.metadata.finalizers ?? []), 'foregroundDeletion']),
      ];
    if (options.propagationPolicy === 'Orphan' && options.dryRun !== true) orphan(old);
    if (!already || grace !== old.metadata.deletionGracePeriodSeconds) {
      next.metadata.deletionTimestamp =
        already && grace > 0
          ? (old.metadata.deletionTimestamp ?? timestamp(parts.now()))
          : timestamp(parts.now() + grace * 1000);
      next.metadata.deletionGracePeriodSeconds = grace;
    }
    if (type.kind === 'Namespace')
      next['status'] = { ...objectAt(old, 'status'), phase: 'Terminating' };
    if (mayGo(type, next)) {
      const object = { ...old, metadata: { ...next.metadata } };
      if (options.dryRun !== true)
        return {
          object: store.remove(type.bucket, key, stored(type, object)) ?? object,
          gone: true,
        };
      return { object: old, gone: true };
    }
    if (options.dryRun === true || sameButTimes(next, old)) return { object: next, gone: false };
    return { object: store.put(type.bucket, key, stored(type, next)), gone: false };
  };

  /** Cuts the tie of everything the object owns. */
  const orphan = (owner: ApiObject): void => {
    for (const type of resourceTypes)
      for (const object of dependentsOf(store, type, owner))
        store.put(type.bucket, keyOf(type, object.metadata.namespace, object.metadata.name), {
          ...object,
          metadata: {
            ...object.metadata,
            ownerReferences: (object.metadata.ownerReferences ?? []).filter(
              (reference) => reference.uid !== owner.metadata.uid,
            ),
          },
        });
  };

  return {
    store,
    now: parts.now,
    create,
    update,
    remove,
    erase(type, namespace, name) {
      store.remove(type.bucket, keyOf(type, namespace, name));
    },
  };
}

/** Objects of a kind that name `owner` as an owner. */
function dependentsOf(store: Store, type: ResourceType, owner: ApiObject): ApiObject[] {
  const uid = owner.metadata.uid;
  const prefix = owner.metadata.namespace === undefined ? '' : `${owner.metadata.namespace}/`;
  if (type.convert || type.verbs.length === 1) return [];
  return store
    .list(type.bucket, type.namespaced ? prefix : '')
    .objects.filter((object) => object.metadata.ownerReferences?.some((ref) => ref.uid === uid));
}

function hasDependents(store: Store, owner: ApiObject): boolean {
  return resourceTypes.some((type) => dependentsOf(store, type, owner).length > 0);
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/** What a client may send but only the server may change. */
function keepServerFields(object: ApiObject, old: ApiObject): void {
  const meta = object.metadata;
  for (const field of [
    'uid',
    'resourceVersion',
    'namespace',
    'creationTimestamp',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'generation',
  ]) {
    if (old.metadata[field] === undefined) delete meta[field];
    else meta[field] = old.metadata[field];
  }
  delete meta['selfLink'];
  if (meta.managedFields === undefined && old.metadata.managedFields !== undefined)
    meta.managedFields = old.metadata.managedFields;
}

/** Absent and empty are the same in metadata; the server writes neither null nor `{}`. */
function dropEmpty(meta: JsonObject): void {
  for (const field of ['labels', 'annotations'])
    if (meta[field] === null || Object.keys(objectAt(meta, field)).length === 0) delete meta[field];
  for (const field of ['finalizers', 'ownerReferences'])
    if (listOf(meta[field]).length === 0) delete meta[field];
  if (stringAt(meta, 'generateName') === '') delete meta['generateName'];
}

function sameButTimes(a: ApiObject, b: ApiObject): boolean {
  const strip = (object: ApiObject): JsonObject => ({
    ...object,
    metadata: {
      ...object.metadata,
      resourceVersion: '',
      managedFields: listAt(object, 'metadata', 'managedFields').map((entry) => ({
        ...entry,
        time: '',
      })),
    },
  });
  return deepEqual(strip(a), strip(b));
}
