/**
 * A minimal list/watch API server in this process, with the faults that real ones show. It keeps
 * objects as they are given: no validation, no defaults. For tests only.
 */
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { KubeObject } from '../../src/k8s/types.ts';
import type { ClientConfig } from '../../src/client/kubeconfig.ts';
import { allResources, groupVersionPath, type Resource } from '../../src/client/resource.ts';

interface HistoryEntry {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: KubeObject;
}

interface Collection {
  readonly resource: Resource;
  readonly objects: Map<string, KubeObject>;
  history: HistoryEntry[];
  /** Watches from an older version get 410. */
  oldest: number;
}

interface Watcher {
  readonly collection: Collection;
  readonly namespace: string | undefined;
  readonly response: http.ServerResponse;
  readonly bookmarks: boolean;
  /** Stalled once: no byte will ever come again, as on a half-open connection. */
  dead: boolean;
}

export interface RequestRecord {
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: http.IncomingHttpHeaders;
  status: number;
}

/** One rule answers `times` matching requests with an error instead. */
export interface FailRule {
  readonly match: (request: { path: string; query: URLSearchParams; watch: boolean }) => boolean;
  readonly status: number;
  readonly reason?: string;
  readonly message?: string;
  readonly causes?: readonly { reason: string; message: string }[];
  readonly retryAfter?: number;
  times: number;
}

/** Switches that may be changed while the server runs. Absent or false: well-behaved. */
export interface Faults {
  noWatchList?: boolean;
  dropEndBookmark?: boolean;
  noBookmarks?: boolean;
  /** Watches go silent for good, at once or at their next event; the connection stays open. */
  stall?: boolean;
  /** Probability that an event is sent twice. */
  duplicate?: number;
  /** Probability that some past events of the resource are sent again before an event. */
  replay?: number;
  /** Probability that a watch is cut off after an event: reset, or ended cleanly. */
  cut?: number;
  /** Write watch events in pieces of so many bytes. */
  splitBytes?: number;
  /** Objects a page at most, whatever the client asked. */
  pageCap?: number;
  /** Break off the body of a list in the middle, so many times. */
  partialLists?: number;
  delayMs?: number;
  gzip?: boolean;
  /** Plural names that answer 403. */
  forbidden?: Set<string>;
  /** Plural names that this server does not have. */
  absent?: Set<string>;
  fail: FailRule[];
}

export interface FakeApi {
  readonly url: string;
  readonly port: number;
  readonly faults: Faults;
  readonly requests: RequestRecord[];
  /** The bearer token that is accepted; `undefined` accepts everybody. */
  token: string | undefined;
  config(overrides?: Partial<ClientConfig>): ClientConfig;
  /** Creates or updates; fills uid and resourceVersion. A new `uid` in metadata replaces the object. */
  put(object: KubeObject): KubeObject;
  delete(kind: string, namespace: string | undefined, name: string): void;
  objects(kind: string): KubeObject[];
  /** Watches that are open now. */
  watchers(plural?: string): number;
  closeWatches(): void;
  resetWatches(): void;
  sendBookmarks(): void;
  /** Forgets the history: watches from before get 410. */
  compact(): void;
  /** The next `times` continue tokens answer 410. */
  expireContinue(times: number): void;
  /** Writes raw text into every open watch of a resource. */
  inject(plural: string, text: string): void;
  /** All connections drop and nothing listens until `up`. */
  down(): Promise<void>;
  up(): Promise<void>;
  close(): Promise<void>;
}

export interface FakeApiOptions {
  /** Serve https with the certificates in fixtures/. */
  readonly tls?: boolean;
  /** Ask for a client certificate and accept it in place of a token. */
  readonly clientCertificates?: boolean;
  readonly token?: string;
  readonly random?: () => number;
  readonly resources?: readonly Resource[];
}

export function fixture(name: string): string {
  return readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8');
}

const keyOf = (namespace: string | undefined, name: string | undefined): string =>
  `${namespace ?? ''}/${name ?? ''}`;

export async function startFakeApi(options: FakeApiOptions = {}): Promise<FakeApi> {
  const random = options.random ?? Math.random;
  const collections = new Map<string, Collection>();
  for (const resource of options.resources ?? allResources) {
    collections.set(`${groupVersionPath(resource.apiVersion)}/${resource.plural}`, {
      resource,
      objects: new Map(),
      history: [],
      oldest: 0,
    });
  }
  const watchers = new Set<Watcher>();
  const sockets = new Set<Socket>();
  const snapshots = new Map<string, { objects: KubeObject[]; version: number }>();
  const faults: Faults = { fail: [] };
  const requests: RequestRecord[] = [];
  let version = 100;
  let serial = 0;
  let expire = 0;

  function byKind(kind: string): Collection {
    for (const collection of collections.values())
      if (collection.resource.kind === kind) return collection;
    throw new Error(`the fake API has no kind ${kind}`);
  }

  // --- answers ----------------------------------------------------------------------------------

  function reply(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    record: RequestRecord,
    status: number,
    body: unknown,
    headers: http.OutgoingHttpHeaders = {},
  ): void {
    record.status = status;
    let bytes = Buffer.from(JSON.stringify(body));
    const out: http.OutgoingHttpHeaders = { 'content-type': 'application/json', ...headers };
    if (faults.gzip && String(request.headers['accept-encoding']).includes('gzip')) {
      bytes = gzipSync(bytes);
      out['content-encoding'] = 'gzip';
    }
    response.writeHead(status, out);
    if (status === 200 && (faults.partialLists ?? 0) > 0 && record.query['limit'] !== undefined) {
      faults.partialLists = (faults.partialLists ?? 0) - 1;
      response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy());
      return;
    }
    response.end(bytes);
  }

  function statusBody(code: number, reason: string, message: string, details?: object): object {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason,
      ...(details === undefined ? {} : { details }),
      code,
    };
  }

  function handle(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://fake');
    const record: RequestRecord = {
      method: request.method ?? '',
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      headers: request.headers,
      status: 0,
    };
    requests.push(record);
    const watch = ['true', '1'].includes(url.searchParams.get('watch') ?? '');
    const fail = (
      status: number,
      reason: string,
      message: string,
      details?: object,
      headers?: http.OutgoingHttpHeaders,
    ): void =>
      reply(
        request,
        response,
        record,
        status,
        statusBody(status, reason, message, details),
        headers,
      );

    const certified =
      options.clientCertificates && (request.socket as { authorized?: boolean }).authorized;
    if (
      api.token !== undefined &&
      !certified &&
      request.headers.authorization !== `Bearer ${api.token}`
    ) {
      return fail(401, 'Unauthorized', 'Unauthorized');
    }
    const rule = faults.fail.find(
      (item) =>
        item.times > 0 && item.match({ path: url.pathname, query: url.searchParams, watch }),
    );
    if (rule !== undefined) {
      rule.times -= 1;
      const details = rule.causes === undefined ? undefined : { causes: rule.causes };
      const headers =
        rule.retryAfter === undefined ? {} : { 'retry-after': String(rule.retryAfter) };
      return fail(
        rule.status,
        rule.reason ?? '',
        rule.message ?? `injected ${rule.status}`,
        details,
        headers,
      );
    }
    if (url.pathname === '/version') {
      return reply(request, response, record, 200, {
        major: '1',
        minor: '32',
        gitVersion: 'v1.32.0-fake',
      });
    }
    const inGroup = [...collections.values()].filter(
      ({ resource }) =>
        groupVersionPath(resource.apiVersion) === url.pathname &&
        !faults.absent?.has(resource.plural),
    );
    if (inGroup.length > 0) {
      return reply(request, response, record, 200, {
        kind: 'APIResourceList',
        groupVersion: inGroup[0]?.resource.apiVersion,
        resources: inGroup.map(({ resource }) => ({
          name: resource.plural,
          namespaced: resource.namespaced,
          kind: resource.kind,
          verbs: ['get', 'list', 'watch'],
        })),
      });
    }
    const path =
      /^(\/api\/[^/]+|\/apis\/[^/]+\/[^/]+)(?:\/namespaces\/([^/]+)(?=\/))?\/([^/]+)(?:\/([^/]+))?$/.exec(
        url.pathname,
      );
    const collection = path ? collections.get(`${path[1]}/${path[3]}`) : undefined;
    if (
      path === null ||
      collection === undefined ||
      faults.absent?.has(collection.resource.plural)
    ) {
      return fail(404, 'NotFound', 'the server could not find the requested resource');
    }
    const namespace = path[2];
    const { plural } = collection.resource;
    if (faults.forbidden?.has(plural)) {
      return fail(
        403,
        'Forbidden',
        `${plural} is forbidden: User "tester" cannot list resource "${plural}"`,
      );
    }
    if (path[4] !== undefined) {
      const object = collection.objects.get(keyOf(namespace, path[4]));
      if (object === undefined) return fail(404, 'NotFound', `${plural} "${path[4]}" not found`);
      return reply(request, response, record, 200, object);
    }
    if (watch) return startWatch(collection, namespace, url.searchParams, response, record, fail);
    const answer = (): void =>
      list(collection, namespace, url.searchParams, request, response, record, fail);
    if (faults.delayMs) setTimeout(answer, faults.delayMs);
    else answer();
  }

  function list(
    collection: Collection,
    namespace: string | undefined,
    query: URLSearchParams,
    request: http.IncomingMessage,
    response: http.ServerResponse,
    record: RequestRecord,
    fail: (status: number, reason: string, message: string) => void,
  ): void {
    const limit = Math.min(
      Number(query.get('limit') ?? '0') || Infinity,
      faults.pageCap ?? Infinity,
    );
    const token = query.get('continue');
    let snapshot: { objects: KubeObject[]; version: number } | undefined;
    let start = 0;
    if (token) {
      const [id = '', offset = '0'] = token.split(':');
      snapshot = snapshots.get(id);
      start = Number(offset);
      if (snapshot === undefined || expire > 0) {
        if (expire > 0) expire -= 1;
        return reply(request, response, record, 410, {
          ...statusBody(
            410,
            'Expired',
            'The provided continue parameter is too old to display a consistent list result.',
          ),
          metadata: { continue: token },
        });
      }
    } else {
      const objects = [...collection.objects.values()].filter(
        (object) => namespace === undefined || object.metadata.namespace === namespace,
      );
      snapshot = { objects, version };
    }
    if (snapshot === undefined) return fail(500, 'InternalError', 'no snapshot');
    const end = Math.min(start + limit, snapshot.objects.length);
    let next: string | undefined;
    if (end < snapshot.objects.length) {
      const id = token?.split(':')[0] ?? `s${(serial += 1)}`;
      snapshots.set(id, snapshot);
      next = `${id}:${end}`;
    }
    reply(request, response, record, 200, {
      kind: `${collection.resource.kind}List`,
      apiVersion: collection.resource.apiVersion,
      metadata: {
        resourceVersion: String(snapshot.version),
        ...(next === undefined ? {} : { continue: next }),
      },
      // As the real server does: items without apiVersion and kind.
      items: snapshot.objects
        .slice(start, end)
        .map(({ apiVersion: _a, kind: _k, ...rest }) => rest),
    });
  }

  // --- watches ------------------------------------------------------------------------------------

  function startWatch(
    collection: Collection,
    namespace: string | undefined,
    query: URLSearchParams,
    response: http.ServerResponse,
    record: RequestRecord,
    fail: (status: number, reason: string, message: string) => void,
  ): void {
    const initial = query.get('sendInitialEvents') === 'true';
    if (initial && faults.noWatchList) {
      return fail(
        422,
        'Invalid',
        'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled',
      );
    }
    if (initial && query.get('resourceVersionMatch') !== 'NotOlderThan') {
      return fail(422, 'Invalid', 'resourceVersionMatch must be NotOlderThan');
    }
    record.status = 200;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const from = query.get('resourceVersion');
    const watcher: Watcher = {
      collection,
      namespace,
      response,
      bookmarks: query.get('allowWatchBookmarks') === 'true',
      dead: false,
    };
    const send = (type: string, object: unknown): void => write(watcher, type, object);
    const synthetic = initial || from === null || from === '' || from === '0';
    if (!synthetic && Number(from) < collection.oldest) {
      send(
        'ERROR',
        statusBody(410, 'Expired', `too old resource version: ${from} (${collection.oldest})`),
      );
      response.end();
      return;
    }
    if (faults.stall) {
      watcher.dead = true;
      watchers.add(watcher);
      response.on('close', () => watchers.delete(watcher));
      return;
    }
    const inside = (object: KubeObject): boolean =>
      namespace === undefined || object.metadata.namespace === namespace;
    if (synthetic) {
      for (const object of collection.objects.values()) if (inside(object)) send('ADDED', object);
      if (initial && !faults.dropEndBookmark) {
        send('BOOKMARK', {
          kind: collection.resource.kind,
          apiVersion: collection.resource.apiVersion,
          metadata: {
            resourceVersion: String(version),
            annotations: { 'k8s.io/initial-events-end': 'true' },
          },
        });
      }
    } else {
      for (const entry of collection.history) {
        if (entry.version > Number(from) && inside(entry.object)) send(entry.type, entry.object);
      }
    }
    watchers.add(watcher);
    response.on('close', () => watchers.delete(watcher));
    const seconds = Number(query.get('timeoutSeconds') ?? '0');
    if (seconds > 0) {
      const timer = setTimeout(() => {
        bookmark(watcher);
        response.end();
      }, seconds * 1000);
      timer.unref();
      response.on('close', () => clearTimeout(timer));
    }
  }

  function write(watcher: Watcher, type: string, object: unknown): void {
    if (watcher.dead || watcher.response.destroyed || watcher.response.writableEnded) return;
    const bytes = Buffer.from(`${JSON.stringify({ type, object })}\n`);
    const size = faults.splitBytes;
    if (size === undefined) {
      watcher.response.write(bytes);
      return;
    }
    for (let start = 0; start < bytes.length; start += size)
      watcher.response.write(bytes.subarray(start, start + size));
  }

  function bookmark(watcher: Watcher): void {
    if (faults.stall) watcher.dead = true;
    if (!watcher.bookmarks || faults.noBookmarks) return;
    write(watcher, 'BOOKMARK', {
      kind: watcher.collection.resource.kind,
      apiVersion: watcher.collection.resource.apiVersion,
      metadata: { resourceVersion: String(version) },
    });
  }

  function publish(collection: Collection, entry: HistoryEntry): void {
    collection.history.push(entry);
    // Watchers that are cut leave the set meanwhile, which a Set allows.
    for (const watcher of watchers) {
      if (faults.stall) watcher.dead = true;
      if (watcher.collection !== collection) continue;
      if (watcher.namespace !== undefined && entry.object.metadata.namespace !== watcher.namespace)
        continue;
      if (random() < (faults.replay ?? 0)) {
        const past = collection.history.slice(-6, -1);
        for (const item of past) {
          if (
            watcher.namespace === undefined ||
            item.object.metadata.namespace === watcher.namespace
          )
            write(watcher, item.type, item.object);
        }
      }
      write(watcher, entry.type, entry.object);
      if (random() < (faults.duplicate ?? 0)) write(watcher, entry.type, entry.object);
      if (random() < (faults.cut ?? 0)) {
        watchers.delete(watcher);
        if (random() < 0.5) watcher.response.end();
        else watcher.response.destroy();
      }
    }
  }

  // --- server -------------------------------------------------------------------------------------

  const makeServer = (): http.Server => {
    const made = options.tls
      ? https.createServer(
          {
            key: fixture('server.key'),
            cert: fixture('server.crt'),
            ...(options.clientCertificates
              ? { ca: fixture('ca.crt'), requestCert: true, rejectUnauthorized: false }
              : {}),
          },
          handle,
        )
      : http.createServer(handle);
    made.keepAliveTimeout = 60_000;
    made.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => undefined);
    });
    return made;
  };
  let server = makeServer();
  const listen = (port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => resolve());
    });
  await listen(0);
  const port = (server.address() as AddressInfo).port;

  const stop = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    watchers.clear();
    await closed;
  };

  const api: FakeApi = {
    url: `${options.tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    port,
    faults,
    requests,
    token: options.token,
    config: (overrides = {}) => ({
      server: api.url,
      source: 'fake',
      namespace: 'default',
      insecureSkipTlsVerify: false,
      ...(options.tls ? { ca: { data: fixture('ca.crt') } } : {}),
      auth: options.token === undefined ? {} : { token: options.token },
      ...overrides,
    }),
    put(object) {
      const collection = byKind(object.kind);
      const key = keyOf(object.metadata.namespace, object.metadata.name);
      const stored = collection.objects.get(key);
      version += 1;
      const uid = object.metadata.uid ?? stored?.metadata.uid ?? `uid-${(serial += 1)}`;
      const saved: KubeObject = {
        ...object,
        metadata: { ...object.metadata, uid, resourceVersion: String(version) },
      };
      collection.objects.set(key, saved);
      publish(collection, {
        version,
        type: stored === undefined ? 'ADDED' : 'MODIFIED',
        object: saved,
      });
      return saved;
    },
    delete(kind, namespace, name) {
      const collection = byKind(kind);
      const key = keyOf(namespace, name);
      const stored = collection.objects.get(key);
      if (stored === undefined) return;
      version += 1;
      collection.objects.delete(key);
      const object: KubeObject = {
        ...stored,
        metadata: { ...stored.metadata, resourceVersion: String(version) },
      };
      publish(collection, { version, type: 'DELETED', object });
    },
    objects: (kind) => [...byKind(kind).objects.values()],
    watchers: (plural) =>
      [...watchers].filter(
        (watcher) => plural === undefined || watcher.collection.resource.plural === plural,
      ).length,
    closeWatches() {
      for (const watcher of watchers) watcher.response.end();
      watchers.clear();
    },
    resetWatches() {
      for (const watcher of watchers) watcher.response.socket?.resetAndDestroy();
      watchers.clear();
    },
    sendBookmarks() {
      for (const watcher of watchers) bookmark(watcher);
    },
    compact() {
      version += 1;
      for (const collection of collections.values()) {
        collection.history = [];
        collection.oldest = version;
      }
    },
    expireContinue(times) {
      expire = times;
    },
    inject(plural, text) {
      for (const watcher of watchers)
        if (watcher.collection.resource.plural === plural) watcher.response.write(text);
    },
    down: stop,
    async up() {
      server = makeServer();
      await listen(port);
    },
    close: stop,
  };
  return api;
}
