/**
 * One request as the router understood it, and how a path and a body are read. Knows no kind.
 */
import type { IncomingMessage } from 'node:http';
import { parse as parseYaml } from 'yaml';
import { isObject, type JsonObject } from './object.ts';
import { protobufType, readProtobuf } from './protobuf.ts';
import { apiVersionOf, findResource } from './registry.ts';
import type { ResourceType } from './resource.ts';
import { ApiError, badRequest, pathNotFound, unsupportedMediaType } from './status.ts';

export interface User {
  readonly name: string;
  readonly groups: readonly string[];
}

/** The part of a path below a group-version. */
export interface Target {
  readonly type: ResourceType;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

export interface ApiRequest {
  readonly raw: IncomingMessage;
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly user: User;
  readonly accept: string | undefined;
}

/**
 * Reads `/api/v1/…` and `/apis/G/V/…`. Undefined: not a path of that form. Error: 404 when the kind
 * is not served.
 */
export function parseTarget(path: string): Target | undefined {
  const steps = path.split('/').slice(1).map(decodeURIComponent);
  const core = steps[0] === 'api';
  const rest = core ? steps.slice(2) : steps.slice(3);
  if ((!core && steps[0] !== 'apis') || rest.length === 0 || rest[0] === '') return undefined;
  const group = core ? '' : (steps[1] ?? '');
  const version = (core ? steps[1] : steps[2]) ?? '';
  const target = (
    plural: string,
    namespace: string | undefined,
    name: string | undefined,
    sub: readonly string[],
  ): Target => {
    const type = findResource(group, version, plural);
    const subresource = sub[0];
    if (!type || sub.length > 1) throw pathNotFound();
    if (subresource !== undefined && !type.subresources.some((s) => s.name === subresource))
      throw pathNotFound();
    if (type.namespaced !== (namespace !== undefined) && name !== undefined) throw pathNotFound();
    if (!type.namespaced && namespace !== undefined) throw pathNotFound();
    return { type, namespace, name, subresource };
  };
  if (rest[0] === 'namespaces' && rest.length >= 3) {
    // `namespaces/x/status` is the namespace itself, `namespaces/x/pods` what is in it.
    const [, namespace = '', plural = '', name, ...sub] = rest;
    const own = findResource(group, version, 'namespaces')?.subresources;
    if (rest.length === 3 && own?.some((s) => s.name === plural))
      return target('namespaces', undefined, namespace, [plural]);
    return target(plural, namespace, name, sub);
  }
  const [plural = '', name, ...sub] = rest;
  return target(plural, undefined, name, sub);
}

/** Reads a whole body. Error: 413 above `limit` bytes. */
export async function readBody(
  request: IncomingMessage,
  limit: number = 3 * 1024 * 1024,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit)
      throw new ApiError(
        413,
        'RequestEntityTooLarge',
        `Request entity too large: limit is ${limit}`,
      );
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export const mediaType = (request: IncomingMessage): string =>
  (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';

const objectTypes = ['application/json', 'application/yaml', protobufType];

/**
 * Decodes the body of a create or an update. Errors: 400, 415. A body that does not say what it is
 * takes kind and version from the path.
 */
export function decodeObject(
  body: Buffer,
  media: string,
  expected: { readonly apiVersion: string; readonly kind: string },
): JsonObject {
  const object = decodeAny(body, media, expected);
  if (object['apiVersion'] === undefined || object['apiVersion'] === '')
    object['apiVersion'] = expected.apiVersion;
  if (object['kind'] === undefined || object['kind'] === '') object['kind'] = expected.kind;
  if (object['apiVersion'] !== expected.apiVersion || object['kind'] !== expected.kind)
    throw badRequest(
      `the API version in the data (${String(object['apiVersion'])}, Kind=${String(object['kind'])}) does not match the expected API version (${expected.apiVersion}, Kind=${expected.kind})`,
    );
  return object;
}

export function decodeAny(
  body: Buffer,
  media: string,
  expected?: { readonly apiVersion: string; readonly kind: string },
): JsonObject {
  if (media === protobufType) return readProtobuf(body, expected);
  if (media !== '' && !objectTypes.includes(media)) throw unsupportedMediaType(media, objectTypes);
  const value = media === 'application/yaml' ? readYaml(body) : readJson(body);
  if (!isObject(value))
    throw badRequest(
      `couldn't get version/kind; json parse error: json: cannot unmarshal ${Array.isArray(value) ? 'array' : typeof value} into Go value of type struct`,
    );
  return value;
}

export function readJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8')) as unknown;
  } catch (error) {
    throw badRequest(`couldn't get version/kind; json parse error: ${(error as Error).message}`);
  }
}

/** YAML 1.1 without aliases that grow; JSON is YAML too. */
export function readYaml(body: Buffer): unknown {
  try {
    return parseYaml(body.toString('utf8'), { version: '1.1', maxAliasCount: 100 }) as unknown;
  } catch (error) {
    throw badRequest(`error decoding YAML: ${(error as Error).message}`);
  }
}

export const expectedOf = (type: ResourceType): { apiVersion: string; kind: string } => ({
  apiVersion: apiVersionOf(type),
  kind: type.kind,
});
