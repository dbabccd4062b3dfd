/**
 * Lists and watches: selection, pages, versions, bookmarks, initial events. Knows no transport: a
 * watch writes text to a sink.
 */
import type { ApiObject } from './object.ts';
import { asVersion, encodeList, encodeObject, type Encoding, type ListMeta } from './encode.ts';
import { apiVersionOf } from './registry.ts';
import { keyOf, type ResourceType } from './resource.ts';
import {
  type FieldRequirement,
  type LabelRequirement,
  matchesFields,
  matchesLabels,
  parseFieldSelector,
  parseLabelSelector,
} from './selectors.ts';
import { ApiError, badRequest, expired, invalid, statusOf } from './status.ts';
import type { Store, StoreEvent } from './store.ts';

export interface Selection {
  readonly type: ResourceType;
  readonly namespace: string | undefined;
  readonly labels: readonly LabelRequirement[];
  readonly fields: readonly FieldRequirement[];
}

/** Reads the selectors of a query. Error: 400. */
export function selectionOf(
  type: ResourceType,
  namespace: string | undefined,
  query: URLSearchParams,
): Selection {
  const selection = {
    type,
    namespace,
    labels: parseLabelSelector(query.get('labelSelector') ?? ''),
    fields: parseFieldSelector(query.get('fieldSelector') ?? ''),
  };
  // A field the kind does not offer is refused even when nothing is stored.
  const blank = { apiVersion: apiVersionOf(type), kind: type.kind, metadata: { name: '' } };
  if (selection.fields.length > 0) isSelected(selection, blank);
  return selection;
}

function isSelected(selection: Selection, object: ApiObject): boolean {
  const { metadata } = object;
  if (selection.namespace !== undefined && metadata.namespace !== selection.namespace) return false;
  if (selection.fields.length > 0) {
    const values = {
      'metadata.name': metadata.name,
      'metadata.namespace': metadata.namespace ?? '',
      ...selection.type.selectable(object),
    };
    if (!matchesFields(selection.fields, values)) return false;
  }
  return selection.labels.length === 0 || matchesLabels(selection.labels, metadata.labels);
}

interface Continue {
  readonly version: number;
  readonly start: string;
}

const encodeToken = (token: Continue): string =>
  Buffer.from(JSON.stringify(token)).toString('base64url');

function decodeToken(text: string): Continue {
  try {
    const token = JSON.parse(Buffer.from(text, 'base64url').toString()) as Continue;
    if (typeof token.version === 'number' && typeof token.start === 'string') return token;
  } catch {
    // Falls through to the error below.
  }
  throw badRequest('continue key is not valid: invalid continue token');
}

const number = (text: string | null): number | undefined => {
  if (text === null || text === '') return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw badRequest(`Invalid value: ${JSON.stringify(text)}: must be a non-negative integer`);
  return value;
};

export interface ListOptions {
  /** Pages never hold more, whatever the client asks; a fault. */
  readonly pageCap?: number;
}

export interface ListResult {
  readonly objects: readonly ApiObject[];
  readonly metadata: ListMeta;
}

function tooLarge(wanted: number, current: number): ApiError {
  return new ApiError(
    504,
    'Timeout',
    `Timeout: Too large resource version: ${wanted}, current: ${current}`,
    {
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
      retryAfterSeconds: 1,
    },
  );
}

/** Errors: 400 bad query, 410 continue token or exact version too old, 504 version of the future. */
export function listObjects(
  store: Store,
  selection: Selection,
  query: URLSearchParams,
  options: ListOptions = {},
): ListResult {
  const { type, namespace } = selection;
  const token = query.get('continue') ? decodeToken(query.get('continue') ?? '') : undefined;
  const wanted = number(query.get('resourceVersion'));
  const match = query.get('resourceVersionMatch');
  if (token && wanted !== undefined && wanted !== 0)
    throw badRequest('specifying resource version is not allowed when using continue');
  if (match && wanted === undefined)
    throw badRequest('resourceVersionMatch is forbidden unless resourceVersion is provided');
  if (wanted !== undefined && wanted > store.version()) throw tooLarge(wanted, store.version());
  const asked = number(query.get('limit')) ?? 0;
  const cap = options.pageCap ?? 0;
  const limit = cap > 0 ? Math.min(cap, asked === 0 ? cap : asked) : asked;
  const exact =
    token?.version ??
    (wanted !== undefined && wanted > 0 && (match === 'Exact' || (limit > 0 && match === null))
      ? wanted
      : undefined);
  const prefix = namespace === undefined ? '' : `${namespace}/`;
  const snapshot =
    exact === undefined
      ? quickList(store, selection, prefix)
      : store.listAt(type.bucket, exact, prefix);
  if (!snapshot)
    throw token
      ? expired(
          'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.',
        )
      : expired(
          `The resourceVersion for the provided list is too old: ${exact ?? 0} (${store.oldest()})`,
        );
  let objects = snapshot.objects;
  if (selection.labels.length > 0 || selection.fields.length > 0)
    objects = objects.filter((object) => isSelected(selection, object));
  const keyFor = (object: ApiObject): string =>
    keyOf(type, object.metadata.namespace, object.metadata.name);
  if (token) objects = objects.filter((object) => keyFor(object) > token.start);
  const resourceVersion = String(snapshot.version);
  if (limit === 0 || objects.length <= limit) return { objects, metadata: { resourceVersion } };
  const page = objects.slice(0, limit);
  const last = page[page.length - 1];
  const selective = selection.labels.length > 0 || selection.fields.length > 0;
  return {
    objects: page,
    metadata: {
      resourceVersion,
      continue: encodeToken({ version: snapshot.version, start: last ? keyFor(last) : '' }),
      ...(selective ? {} : { remainingItemCount: objects.length - limit }),
    },
  };
}

/** `fieldSelector=metadata.name=x` in one namespace is a look-up, and kubectl asks it often. */
function quickList(
  store: Store,
  selection: Selection,
  prefix: string,
): { version: number; objects: readonly ApiObject[] } {
  const name = selection.fields.find((f) => f.field === 'metadata.name' && f.equal)?.value;
  if (name === undefined || (selection.type.namespaced && prefix === ''))
    return store.list(selection.type.bucket, prefix);
  const object = store.get(selection.type.bucket, keyOf(selection.type, selection.namespace, name));
  return { version: store.version(), objects: object ? [object] : [] };
}

export function listBody(
  store: Store,
  selection: Selection,
  query: URLSearchParams,
  encoding: Encoding,
  now: number,
  options?: ListOptions,
): Buffer {
  const { objects, metadata } = listObjects(store, selection, query, options);
  return encodeList(selection.type, objects, metadata, encoding, now);
}

/** Where a watch writes: one call for each event. */
export interface WatchSink {
  send(text: string): void;
  end(): void;
}

/** Events kept for a watch that is stalled; a real one would lose its connection sooner. */
const heldAtMost = 10_000;

export interface WatchOptions {
  readonly store: Store;
  readonly selection: Selection;
  readonly query: URLSearchParams;
  readonly encoding: Encoding;
  readonly sink: WatchSink;
  readonly now: () => number;
  /** Milliseconds between bookmarks; default one minute. */
  readonly bookmarkEvery?: number;
  /** False: as a server without the feature. */
  readonly watchList?: boolean;
  /** Longest time a watch lives when the client names none, in seconds. */
  readonly defaultTimeout?: number;
  /** A fault: the end of the initial events is never announced. */
  readonly dropEndBookmark?: boolean;
  readonly bookmarks?: boolean;
}

export interface Watch {
  readonly selection: Selection;
  /** Ends it in order: a last bookmark, then the end of the stream. */
  close(): void;
  /** Stops without another word to the sink. */
  stop(): void;
  /** Ends it with the ERROR event of a history that is gone. */
  expire(): void;
  /** Holds events back (a fault) or lets them go. */
  stall(stalled: boolean): void;
  stalled(): boolean;
  /** Sends the last event again (a fault). */
  repeat(): void;
  /** Sends the last events of history again, with the versions they had (a fault). */
  replay(count: number): void;
}

/** Errors: 400, 422 for a bad combination of options, 504; a version too old is an ERROR event. */
export function startWatch(options: WatchOptions): Watch {
  const { store, selection, query, encoding, sink } = options;
  const { type } = selection;
  const from = number(query.get('resourceVersion'));
  const initial = query.get('sendInitialEvents');
  const bookmarks =
    options.bookmarks !== false && ['true', '1'].includes(query.get('allowWatchBookmarks') ?? '');
  checkInitial(options);
  if (from !== undefined && from > store.version()) throw tooLarge(from, store.version());
  let sent = from ?? 0;
  let columns = true;
  let last = '';
  let held: string[] | undefined;
  /** More came during a stall than is kept. */
  let lost = false;
  let done = false;
  const timers: NodeJS.Timeout[] = [];

  const send = (eventType: string, json: string): void => {
    if (done) return;
    const text = `{"type":"${eventType}","object":${json}}\n`;
    last = text;
    if (!held) sink.send(text);
    else if (held.length < heldAtMost) held.push(text);
    else lost = true;
  };
  const sendObject = (eventType: string, object: ApiObject): void => {
    send(eventType, encodeObject(type, object, encoding, options.now(), columns));
    columns = false;
  };
  const bookmark = (annotations?: Record<string, string>): void => {
    const resourceVersion = String(Math.max(sent, store.version()));
    const metadata = { resourceVersion, ...(annotations ? { annotations } : {}) };
    const object =
      encoding.form === 'json'
        ? { kind: type.kind, apiVersion: apiVersionOf(type), metadata }
        : encoding.form === 'metadata'
          ? {
              kind: 'PartialObjectMetadata',
              apiVersion: `meta.k8s.io/${encoding.version}`,
              metadata,
            }
          : {
              kind: 'Table',
              apiVersion: `meta.k8s.io/${encoding.version}`,
              metadata: { resourceVersion },
              columnDefinitions: [],
              rows: [{ cells: [], object: { metadata } }],
            };
    send('BOOKMARK', JSON.stringify(object));
  };
  const deliver = (event: StoreEvent): void => {
    sent = event.version;
    const now = isSelected(selection, asVersion(type, event.object));
    const before =
      event.previous !== undefined && isSelected(selection, asVersion(type, event.previous));
    if (event.type === 'DELETED') {
      if (before) sendObject('DELETED', event.object);
    } else if (now && before) sendObject('MODIFIED', event.object);
    else if (now) sendObject('ADDED', event.object);
    else if (before && event.previous) {
      // Left the selection: the last state that was in it, with the version of the change.
      const { previous } = event;
      sendObject('DELETED', {
        ...previous,
        metadata: { ...previous.metadata, resourceVersion: String(event.version) },
      });
    }
  };
  const finish = (): void => {
    done = true;
    held = undefined;
    unlisten();
    for (const timer of timers) clearTimeout(timer);
  };
  const close = (): void => {
    if (done) return;
    // The version of a bookmark would jump over the events that a stall holds back.
    if (bookmarks && !held) bookmark();
    finish();
    sink.end();
  };
  const expire = (message: string): void => {
    if (done) return;
    // What a stall held back is in the list that follows.
    held = undefined;
    send('ERROR', JSON.stringify(statusOf(expired(message))));
    finish();
    sink.end();
  };
  let unlisten = (): void => {};

  const synthetic = initial === 'true' || (initial === null && (from === undefined || from === 0));
  if (synthetic) {
    const prefix = selection.namespace === undefined ? '' : `${selection.namespace}/`;
    const snapshot = quickList(store, selection, prefix);
    sent = snapshot.version;
    for (const object of snapshot.objects)
      if (isSelected(selection, asVersion(type, object))) sendObject('ADDED', object);
    if (initial === 'true' && options.dropEndBookmark !== true)
      bookmark({ 'k8s.io/initial-events-end': 'true' });
  } else {
    const missed = store.eventsAfter(type.bucket, from ?? store.version());
    if (!missed) {
      queueMicrotask(() => {
        expire(`too old resource version: ${from ?? 0} (${store.oldest()})`);
      });
    } else for (const event of missed) deliver(event);
  }
  unlisten = store.listen(type.bucket, deliver);
  const seconds =
    number(query.get('timeoutSeconds')) ?? options.defaultTimeout ?? 1800 + Math.random() * 1800;
  timers.push(setTimeout(close, Math.min(seconds, 86_400) * 1000).unref());
  if (bookmarks)
    timers.push(
      setInterval(() => {
        bookmark();
      }, options.bookmarkEvery ?? 60_000).unref(),
    );
  return {
    selection,
    close,
    stop: finish,
    expire: () => {
      expire(`too old resource version: ${sent} (${store.version()})`);
    },
    stall(stalled) {
      if (stalled) held ??= [];
      else {
        const waiting = held ?? [];
        held = undefined;
        for (const text of waiting) sink.send(text);
        if (lost) expire('events were lost while the watch was stalled');
      }
    },
    stalled: () => held !== undefined,
    replay(count) {
      if (done) return;
      const past = store.eventsAfter(type.bucket, store.oldest()) ?? [];
      const before = sent;
      for (const event of past.filter(({ version }) => version <= before).slice(-count))
        deliver(event);
      sent = before;
    },
    repeat() {
      if (last !== '' && !done) sink.send(last);
    },
  };
}

function checkInitial(options: WatchOptions): void {
  const initial = options.query.get('sendInitialEvents');
  if (initial === null) return;
  const refuse = (field: string, message: string): ApiError =>
    invalid({ group: 'meta.k8s.io', kind: 'ListOptions' }, '', [
      { reason: 'FieldValueForbidden', message: `Forbidden: ${message}`, field },
    ]);
  if (options.watchList === false)
    throw refuse(
      'sendInitialEvents',
      'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled',
    );
  if (options.query.get('resourceVersionMatch') !== 'NotOlderThan')
    throw refuse(
      'resourceVersionMatch',
      'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
    );
}
