/**
 * The verbs on resources: reads a request, calls `write` and `list-watch`, gives the reply. Knows
 * no transport beyond a decoded body and a query.
 */
import {
  type ApiObject,
  clone,
  isObject,
  type JsonObject,
  numberAt,
  objectAt,
  stringAt,
  ensureObject,
  timestamp,
} from './object.ts';
import { asVersion } from './encode.ts';
import { type FieldFaults, checkFields, typeNamed } from './schema.ts';
import { applyConfiguration } from './patch/apply.ts';
import { jsonPatch } from './patch/json.ts';
import { mergePatch } from './patch/merge.ts';
import { strategicMergePatch } from './patch/strategic.ts';
import { apiVersionOf } from './registry.ts';
import { decodeAny, decodeObject, expectedOf, readJson, readYaml, type Target } from './request.ts';
import { keyOf } from './resource.ts';
import { parseSelectorObject } from './selectors.ts';
import {
  badRequest,
  conflict,
  invalid,
  methodNotAllowed,
  notFound,
  unsupportedMediaType,
} from './status.ts';
import type { Writer, WriteOptions } from './write.ts';

export interface Body {
  readonly bytes: Buffer;
  readonly media: string;
}

/** What goes back: an object, already final, or a plain document. */
export interface Reply {
  readonly code: number;
  readonly object?: ApiObject;
  readonly document?: JsonObject;
  readonly warnings: readonly string[];
}

export interface Context {
  readonly writer: Writer;
  readonly target: Target;
  readonly query: URLSearchParams;
  readonly userAgent: string;
}

const patchTypes = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
};

function writeOptions(context: Context): WriteOptions {
  const { query, target } = context;
  const dryRun = query.getAll('dryRun');
  if (dryRun.some((value) => value !== 'All'))
    throw invalid({ group: 'meta.k8s.io', kind: 'CreateOptions' }, '', [
      {
        reason: 'FieldValueNotSupported',
        message: `Unsupported value: ${JSON.stringify(dryRun[0])}: supported values: "All"`,
        field: 'dryRun',
      },
    ]);
  return {
    dryRun: dryRun.length > 0,
    manager: managerOf(context),
    ...(target.subresource === undefined ? {} : { subresource: target.subresource }),
  };
}

/** As the API server: the manager named, else the program's name from the user agent. */
function managerOf({ query, userAgent }: Context): string {
  const named = query.get('fieldManager');
  if (named !== null && named !== '') {
    if (named.length > 128)
      throw invalid({ group: 'meta.k8s.io', kind: 'PatchOptions' }, '', [
        {
          reason: 'FieldValueTooLong',
          message: 'Too long: may not be more than 128 bytes',
          field: 'fieldManager',
        },
      ]);
    return named;
  }
  return userAgent.split('/')[0]?.slice(0, 128) || 'unknown';
}

/** Field faults become 400, a warning or nothing, as `fieldValidation` says; wrong types 400 at once. */
function validateFields(
  context: Context,
  object: JsonObject,
  old: JsonObject | undefined,
): string[] {
  const { type } = context.target;
  const schema = typeNamed(type.schema);
  if (!schema) return [];
  const faults: FieldFaults = checkFields(object, schema);
  // Faults the stored object had before are not this user's.
  const before = old ? new Set(checkFields(old, schema).unknown) : new Set<string>();
  const prefix = `${type.kind} in version "${type.version}" cannot be handled as a ${type.kind}:`;
  // Of a custom resource the metadata is decoded; the rest is checked against its schema: 422.
  const decoded = isCustom(context) ? checkFields({ ...object, spec: null }, schema) : faults;
  const types = decoded.types[0];
  if (types !== undefined) throw badRequest(`${prefix} ${types}`);
  const unknown = faults.unknown.filter((path) => !before.has(path));
  const messages = unknown.map((path) => `unknown field "${path}"`);
  const mode = context.query.get('fieldValidation') ?? 'Warn';
  if (mode === 'Strict' && messages.length > 0)
    throw badRequest(`${prefix} strict decoding error: ${messages.join(', ')}`);
  for (const path of unknown) removeUnknown(object, path);
  return mode === 'Warn' ? messages : [];
}

/** Unknown fields are not kept. */
function removeUnknown(object: JsonObject, path: string): void {
  const steps = path.match(/[^.[\]]+/g) ?? [];
  let current: unknown = object;
  for (const step of steps.slice(0, -1))
    current = Array.isArray(current)
      ? current[Number(step)]
      : isObject(current)
        ? current[step]
        : undefined;
  if (isObject(current)) delete current[steps[steps.length - 1] ?? ''];
}

export function getObject(context: Context): ApiObject {
  const { target, writer } = context;
  const name = target.name ?? '';
  const found = writer.store.get(target.type.bucket, keyOf(target.type, target.namespace, name));
  if (!found) throw notFound(target.type, name);
  return asVersion(target.type, found);
}

export function createObject(context: Context, body: Body): Reply {
  const { target, writer } = context;
  const object = decodeObject(body.bytes, body.media, expectedOf(target.type)) as ApiObject;
  if (!isObject(object.metadata)) object.metadata = { name: '' };
  const warnings = validateFields(context, object, undefined);
  if (target.type.namespaced && target.namespace === undefined) throw methodNotAllowed();
  const created = writer.create(target.type, target.namespace, object, writeOptions(context));
  return { code: 201, object: created, warnings };
}

export function replaceObject(context: Context, body: Body): Reply {
  const { target } = context;
  if (target.subresource === 'scale') {
    const scale = decodeAny(body.bytes, body.media, {
      apiVersion: 'autoscaling/v1',
      kind: 'Scale',
    });
    return writeScale(context, () => scale);
  }
  const object = decodeObject(body.bytes, body.media, expectedOf(target.type)) as ApiObject;
  if (!isObject(object.metadata)) object.metadata = { name: '' };
  const warnings = validateFields(context, object, undefined);
  return write(context, () => object, warnings);
}

function write(
  context: Context,
  change: (old: ApiObject) => ApiObject,
  warnings: readonly string[],
  options: WriteOptions = writeOptions(context),
): Reply {
  const { target, writer } = context;
  const object = writer.update(target.type, target.namespace, target.name ?? '', change, options);
  return { code: 200, object, warnings };
}

/** PATCH of any type. Errors: 400, 404, 409, 415, 422. */
export function patchObject(context: Context, body: Body): Reply {
  const { target } = context;
  const { media, bytes } = body;
  if (!Object.values(patchTypes).includes(media))
    throw unsupportedMediaType(media, Object.values(patchTypes));
  if (media === patchTypes.apply) return applyObject(context, readYaml(bytes));
  const patch = readJson(bytes);
  if (media === patchTypes.strategic && isCustom(context))
    throw unsupportedMediaType(media, [patchTypes.json, patchTypes.merge, patchTypes.apply]);
  if (media !== patchTypes.json && !isObject(patch))
    throw badRequest('the patch must be a JSON object');
  const change = (old: JsonObject, schema: string): JsonObject => {
    const patched =
      media === patchTypes.json
        ? jsonPatch(old, patch)
        : media === patchTypes.merge
          ? mergePatch(old, patch)
          : strategicMergePatch(old, patch as JsonObject, schema);
    if (!isObject(patched)) throw badRequest('the patch does not leave an object');
    return patched;
  };
  if (target.subresource === 'scale')
    return writeScale(context, (scale) => change(scale, 'autoscaling.v1.Scale'));
  let warnings: string[] = [];
  const reply = write(
    context,
    (old) => {
      const next = clone(change(old, target.type.schema)) as ApiObject;
      if (!isObject(next.metadata)) next.metadata = { name: '' };
      warnings = validateFields(context, next, old);
      return next;
    },
    [],
  );
  return { ...reply, warnings };
}

/** Kinds that come from custom resource definitions on a real server: no strategic patch there. */
const isCustom = ({ target }: Context): boolean => target.type.group === 'policy.networking.k8s.io';

function applyObject(context: Context, value: unknown): Reply {
  const { target, writer, query } = context;
  const { type } = target;
  if (!isObject(value)) throw badRequest('the patch must be an object');
  if (query.get('fieldManager') === null || query.get('fieldManager') === '')
    throw invalid({ group: 'meta.k8s.io', kind: 'PatchOptions' }, '', [
      {
        reason: 'FieldValueRequired',
        message: 'Required value: is required for apply patch',
        field: 'fieldManager',
      },
    ]);
  const config = value as ApiObject;
  const metadata = ensureObject(config, 'metadata');
  if (config.apiVersion !== apiVersionOf(type) || config.kind !== type.kind)
    throw badRequest(
      `incorrect object given to construct typed patch object: ${config.apiVersion}, Kind=${config.kind}`,
    );
  metadata['name'] ??= target.name;
  if (metadata['name'] !== target.name)
    throw badRequest(
      `the name of the object (${String(metadata['name'])}) does not match the name on the URL (${target.name ?? ''})`,
    );
  const warnings = validateFields(context, config, undefined);
  const stored = writer.store.get(type.bucket, keyOf(type, target.namespace, target.name ?? ''));
  const options = writeOptions(context);
  const merged = (live: ApiObject | undefined): ApiObject =>
    applyConfiguration({
      schema: type.schema,
      live,
      config,
      manager: options.manager ?? 'unknown',
      force: query.get('force') === 'true',
      apiVersion: apiVersionOf(type),
      time: timestamp(writer.now()),
      ...(target.subresource === undefined ? {} : { subresource: target.subresource }),
    });
  const quiet: WriteOptions = {
    dryRun: options.dryRun === true,
    ...(options.subresource === undefined ? {} : { subresource: options.subresource }),
  };
  if (stored) return write(context, merged, warnings, quiet);
  if (target.subresource !== undefined) throw notFound(type, target.name ?? '');
  if (stringAt(config, 'metadata', 'uid') !== '')
    throw conflict(type, target.name ?? '', 'uid mismatch: the provided object specified uid');
  return {
    code: 201,
    object: writer.create(type, target.namespace, merged(undefined), quiet),
    warnings,
  };
}

/** The Scale of a workload. */
export function scaleOf(object: ApiObject): ApiObject {
  const selector = parseSelectorObject(objectAt(object, 'spec', 'selector'));
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: {
      name: object.metadata.name,
      ...(object.metadata.namespace === undefined ? {} : { namespace: object.metadata.namespace }),
      ...(object.metadata.uid === undefined ? {} : { uid: object.metadata.uid }),
      ...(object.metadata.resourceVersion === undefined
        ? {}
        : { resourceVersion: object.metadata.resourceVersion }),
      creationTimestamp: object.metadata.creationTimestamp ?? null,
    },
    spec: { replicas: numberAt(object, 'spec', 'replicas') ?? 0 },
    status: {
      replicas: numberAt(object, 'status', 'replicas') ?? 0,
      selector: selector
        .map((r) =>
          r.operator === 'In' && r.values.length === 1
            ? `${r.key}=${r.values.join('')}`
            : `${r.key} ${r.operator.toLowerCase()} (${r.values.join(',')})`,
        )
        .join(','),
    },
  };
}

function writeScale(context: Context, change: (scale: ApiObject) => JsonObject): Reply {
  const reply = write(
    context,
    (old) => {
      const scale = change(scaleOf(old));
      const replicas = numberAt(scale, 'spec', 'replicas') ?? 0;
      if (replicas < 0 || !Number.isInteger(replicas))
        throw invalid({ group: 'autoscaling', kind: 'Scale' }, old.metadata.name, [
          {
            reason: 'FieldValueInvalid',
            message: `Invalid value: ${replicas}: must be greater than or equal to 0`,
            field: 'spec.replicas',
          },
        ]);
      const next = clone(old);
      ensureObject(next, 'spec')['replicas'] = replicas;
      const version = stringAt(scale, 'metadata', 'resourceVersion');
      if (version !== '') next.metadata.resourceVersion = version;
      return next;
    },
    [],
  );
  return { ...reply, object: scaleOf(reply.object as ApiObject) };
}
