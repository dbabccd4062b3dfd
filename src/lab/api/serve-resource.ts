/**
 * HTTP for resources: which verb a request is, and how lists, watches, objects and logs go out.
 */
import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { encodeObject, negotiate } from './encode.ts';
import type { FaultEffect } from './faults.ts';
import { listBody, listObjects, selectionOf, startWatch } from './list-watch.ts';
import { at, type JsonObject, stringAt } from './object.ts';
import { isReview } from './registry.ts';
import {
  type ApiRequest,
  decodeObject,
  expectedOf,
  mediaType,
  readBody,
  type Target,
} from './request.ts';
import {
  bindPod,
  containerOf,
  containerStatusOf,
  deleteObject,
  deleteOptions,
  evictPod,
} from './delete-requests.ts';
import {
  type Body,
  type Context,
  createObject,
  getObject,
  patchObject,
  replaceObject,
  type Reply,
  scaleOf,
} from './resource-requests.ts';
import { answerReview } from './reviews.ts';
import type { LogOptions } from './runtime.ts';
import { badRequest, methodNotAllowed } from './status.ts';
import type { OpenWatch, ServerState } from './server.ts';

/** The verb as access rules and faults name it. */
export function verbOf(request: ApiRequest, target: Target): string {
  const one = target.name !== undefined;
  switch (request.method) {
    case 'GET':
    case 'HEAD':
      if (one) return 'get';
      return isWatch(request) ? 'watch' : 'list';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return one ? 'delete' : 'deletecollection';
    default:
      throw methodNotAllowed();
  }
}

export const isWatch = (request: ApiRequest): boolean =>
  ['true', '1'].includes(request.query.get('watch') ?? '');

export function contextOf(state: ServerState, request: ApiRequest, target: Target): Context {
  return {
    writer: state.writer,
    target,
    query: request.query,
    userAgent: request.raw.headers['user-agent'] ?? '',
  };
}

/** Serves one request on a resource. Errors become Status replies at the caller. */
export async function serveResource(
  state: ServerState,
  request: ApiRequest,
  target: Target,
  effect: FaultEffect,
  response: ServerResponse,
): Promise<void> {
  const verb = verbOf(request, target);
  const { type, subresource } = target;
  const allowed =
    subresource === undefined
      ? type.verbs
      : (type.subresources.find((sub) => sub.name === subresource)?.verbs ?? []);
  if (!allowed.includes(verb)) throw methodNotAllowed();
  const context = contextOf(state, request, target);
  if (verb === 'watch') {
    serveWatch(state, request, target, effect, response);
    return;
  }
  if (verb === 'list') {
    const encoding = negotiate(request.accept, request.query.get('includeObject'));
    const body = listBody(
      state.writer.store,
      selectionOf(type, target.namespace, request.query),
      request.query,
      encoding,
      state.writer.now(),
      effect.pageSize === undefined ? {} : { pageCap: effect.pageSize },
    );
    await sendText(response, 200, body, [], effect);
    return;
  }
  if (verb === 'get') {
    if (subresource === 'log') {
      await serveLog(state, request, target, response);
      return;
    }
    if (['exec', 'attach', 'portforward'].includes(subresource ?? ''))
      throw badRequest('Upgrade request required');
    const object = getObject(context);
    const encoding = negotiate(request.accept, request.query.get('includeObject'));
    const text =
      subresource === 'scale'
        ? JSON.stringify(scaleOf(object))
        : encodeObject(
            type,
            state.writer.store.get(type.bucket, storeKey(target)) ?? object,
            encoding,
            state.writer.now(),
          );
    await sendText(response, 200, `${text}\n`, [], effect);
    return;
  }
  const body: Body = { bytes: await readBody(request.raw), media: mediaType(request.raw) };
  const reply = writeReply(state, request, context, verb, body);
  const text = reply.document
    ? `${JSON.stringify(reply.document)}\n`
    : `${objectText(context, request, reply)}\n`;
  await sendText(response, reply.code, text, reply.warnings, effect);
}

const storeKey = (target: Target): string =>
  target.type.namespaced ? `${target.namespace ?? ''}/${target.name ?? ''}` : (target.name ?? '');

function objectText(context: Context, request: ApiRequest, reply: Reply): string {
  const { object } = reply;
  if (!object) return '{}';
  if (object.kind !== context.target.type.kind) return JSON.stringify(object);
  const encoding = negotiate(request.accept, request.query.get('includeObject'));
  const { type } = context.target;
  // What a write returns is already in the version asked for, unless it came from the store.
  const plain = type.convert && object.apiVersion === 'v1' ? type.convert.out(object) : object;
  if (encoding.form === 'json') return JSON.stringify(plain);
  return encodeObject(type, object, encoding, context.writer.now());
}

function writeReply(
  state: ServerState,
  request: ApiRequest,
  context: Context,
  verb: string,
  body: Body,
): Reply {
  const { target } = context;
  switch (verb) {
    case 'create':
      if (target.subresource === 'eviction') return evictPod(context, body);
      if (target.subresource === 'binding') return bindPod(context, body);
      if (target.subresource !== undefined) throw badRequest('Upgrade request required');
      if (isReview(target.type)) return review(state, request, context, body);
      return createObject(context, body);
    case 'update':
      return replaceObject(context, body);
    case 'patch':
      return patchObject(context, body);
    case 'delete':
      return deleteObject(context, body);
    default:
      return deleteCollection(state, context, body);
  }
}

function review(state: ServerState, request: ApiRequest, context: Context, body: Body): Reply {
  const { type } = context.target;
  const given = decodeObject(body.bytes, body.media, expectedOf(type));
  const object = answerReview(type, given, request.user, {
    allows: (question) => !state.faults.forbids(question),
    userOf: (token) => state.userOf(token),
  });
  return { code: 201, document: object, warnings: [] };
}

function deleteCollection(state: ServerState, context: Context, body: Body): Reply {
  const { target, query, writer } = context;
  const selection = selectionOf(target.type, target.namespace, query);
  const options = deleteOptions(new URLSearchParams(), body);
  const { objects, metadata } = listObjects(state.writer.store, selection, query);
  const items: JsonObject[] = objects.map(
    (object) =>
      writer.remove(target.type, object.metadata.namespace, object.metadata.name, {
        ...options,
        dryRun: options.dryRun || query.has('dryRun'),
      }).object,
  );
  return {
    code: 200,
    warnings: [],
    document: {
      kind: `${target.type.kind}List`,
      apiVersion: target.type.group === '' ? 'v1' : `${target.type.group}/${target.type.version}`,
      metadata,
      items,
    },
  };
}

async function sendText(
  response: ServerResponse,
  code: number,
  text: string | Buffer,
  warnings: readonly string[],
  effect: FaultEffect,
): Promise<void> {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  response.writeHead(code, {
    'Content-Type': 'application/json',
    'Content-Length': bytes.length,
    'Cache-Control': 'no-cache, private',
    ...(warnings.length > 0
      ? {
          Warning: warnings.map(
            (warning) => `299 - "${warning.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`,
          ),
        }
      : {}),
  });
  const step = effect.splitBytes ?? 0;
  if (effect.cutBytes !== undefined && effect.cutBytes < bytes.length) {
    // What was written goes out before the end; a reset could overtake it.
    response.write(bytes.subarray(0, effect.cutBytes), () => response.socket?.destroySoon());
    return;
  }
  if (step <= 0) {
    response.end(bytes);
    return;
  }
  for (let from = 0; from < bytes.length && !response.destroyed; from += step) {
    response.write(bytes.subarray(from, from + step));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  response.end();
}

function serveWatch(
  state: ServerState,
  request: ApiRequest,
  target: Target,
  effect: FaultEffect,
  response: ServerResponse,
): void {
  const encoding = negotiate(request.accept, request.query.get('includeObject'));
  let open: OpenWatch | undefined;
  let started = false;
  const begin = (): void => {
    if (started) return;
    started = true;
    response.writeHead(200, {
      'Content-Type': 'application/json',
      'Transfer-Encoding': 'chunked',
      'Cache-Control': 'no-cache, private',
    });
    response.flushHeaders();
  };
  let pending = '';
  /** Many events of one turn leave in one write. */
  const flush = (): void => {
    const text = pending;
    pending = '';
    if (text !== '' && !response.destroyed && !response.writableEnded) response.write(text);
    // A client that does not read is cut off before it costs the memory of the lab.
    if (response.writableLength > 64 * 1024 * 1024) response.destroy();
  };
  const watch = startWatch({
    store: state.writer.store,
    selection: selectionOf(target.type, target.namespace, request.query),
    query: request.query,
    encoding,
    now: () => state.writer.now(),
    bookmarkEvery: state.bookmarkEvery,
    watchList: effect.noWatchList !== true,
    dropEndBookmark: effect.dropEndBookmark === true,
    bookmarks: effect.noBookmarks !== true,
    sink: {
      send(text) {
        if (pending === '') queueMicrotask(flush);
        pending += effect.duplicate ? text + text : text;
      },
      end() {
        begin();
        flush();
        response.end();
      },
    },
  });
  begin();
  open = trackWatch(state, request, target, watch, () => response.socket?.destroy());
  armWatchFault(effect, open);
  response.on('close', () => {
    watch.stop();
    if (open) state.watches.delete(open);
  });
}

/** Makes an open watch known to the faults. */
export function trackWatch(
  state: ServerState,
  request: ApiRequest,
  target: Target,
  watch: OpenWatch['watch'],
  reset: () => void,
): OpenWatch {
  const open: OpenWatch = {
    watch,
    user: request.user.name,
    resource: target.type.plural,
    reset,
  };
  state.watches.add(open);
  return open;
}

export function armWatchFault(effect: FaultEffect, open: OpenWatch): void {
  if (effect.watchForMs === undefined) return;
  setTimeout(() => {
    if (effect.watchEnd === 'reset') open.reset();
    else if (effect.watchEnd === 'expire') open.watch.expire();
    else if (effect.watchEnd === 'stall') open.watch.stall(true);
    else open.watch.close();
  }, effect.watchForMs).unref();
}

/** Options of a log request. Error: 400. */
function logOptions(query: URLSearchParams): LogOptions {
  const natural = (name: string): number | undefined => {
    const text = query.get(name);
    if (text === null || text === '') return undefined;
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < 0) throw badRequest(`invalid ${name}: ${text}`);
    return value;
  };
  const tailLines = natural('tailLines');
  const limitBytes = natural('limitBytes');
  const since = query.get('sinceTime');
  const sinceSeconds =
    natural('sinceSeconds') ??
    (since === null ? undefined : Math.max(0, (Date.now() - Date.parse(since)) / 1000));
  const yes = (name: string): boolean => ['true', '1'].includes(query.get(name) ?? '');
  return {
    follow: yes('follow'),
    timestamps: yes('timestamps'),
    previous: yes('previous'),
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(limitBytes === undefined ? {} : { limitBytes }),
    ...(sinceSeconds === undefined ? {} : { sinceSeconds }),
  };
}

/** The log of a container. Errors: 400 while the container has not started. */
export async function openLog(
  state: ServerState,
  request: ApiRequest,
  target: Target,
): Promise<Readable> {
  const pod = getObject(contextOf(state, request, target));
  const container = containerOf(pod, request.query.get('container'));
  const status = containerStatusOf(pod, container);
  const waiting = at(status, 'state', 'waiting');
  const begun = waiting === undefined || at(status, 'lastState', 'terminated') !== undefined;
  if (status === undefined || !begun)
    throw badRequest(
      `container "${container}" in pod "${pod.metadata.name}" is waiting to start: ${stringAt(waiting, 'reason') || 'ContainerCreating'}`,
    );
  return state.runtime.logs(
    {
      namespace: pod.metadata.namespace ?? '',
      name: pod.metadata.name,
      uid: pod.metadata.uid ?? '',
      container,
    },
    logOptions(request.query),
  );
}

async function serveLog(
  state: ServerState,
  request: ApiRequest,
  target: Target,
  response: ServerResponse,
): Promise<void> {
  const log = await openLog(state, request, target);
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Transfer-Encoding': 'chunked' });
  response.flushHeaders();
  response.on('close', () => log.destroy());
  log.on('error', () => response.end());
  log.pipe(response);
}
