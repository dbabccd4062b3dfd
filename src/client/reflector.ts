/**
 * Keeps one store equal to one resource of the server, for as long as it is let: list, watch,
 * resume, list again. Nothing that goes wrong empties the store. Must not know what the objects mean.
 */
import type { KubeObject } from '../k8s/types.ts';
import { askedWait, createBackoff, type BackoffOptions } from './backoff.ts';
import { isServed } from './discovery.ts';
import { ConnectionError, errorText, KubeApiError } from './errors.ts';
import type { Keep } from './keep.ts';
import { listAll } from './list.ts';
import { resourceName, type Resource } from './resource.ts';
import { createStore, isEarlierVersion, storeKey, type Change, type Store } from './store.ts';
import type { Connection } from './transport.ts';
import { watch, type WatchEvent } from './watch.ts';

/**
 * `starting`: not read yet · `synced`: the store follows the server · `failing`: the last try
 * failed, the store holds what was known · `forbidden`: the server refuses this resource (403) ·
 * `absent`: the server does not have this resource.
 */
export type ReflectorState = 'starting' | 'synced' | 'failing' | 'forbidden' | 'absent';

export interface ReflectorStatus {
  readonly resource: Resource;
  readonly state: ReflectorState;
  /** True once the resource has been read completely. */
  readonly everSynced: boolean;
  readonly objects: number;
  readonly resourceVersion: string | undefined;
  readonly lastError: string | undefined;
  /** When the server last sent a byte for this resource, in milliseconds since the epoch. */
  readonly lastContact: number | undefined;
}

/** Hooks for counters; all optional. `resource` is `pods` or `networkpolicies.networking.k8s.io`. */
export interface ClientMetrics {
  listed?(resource: string, how: 'list' | 'watch-list', seconds: number, objects: number): void;
  watchOpened?(resource: string): void;
  watchClosed?(resource: string, how: 'end' | 'error', seconds: number): void;
  event?(resource: string, type: WatchEvent['type']): void;
  /** An event or list that changed the store. */
  changed?(resource: string, changes: number): void;
  error?(resource: string, reason: string): void;
}

export interface ReflectorOptions {
  readonly keep: Keep;
  readonly namespace?: string | undefined;
  /** What events and lists changed, in order. Must not throw. */
  readonly onChanges?: (changes: readonly Change[]) => void;
  /** The state became another one. */
  readonly onStatus?: (status: ReflectorStatus) => void;
  readonly metrics?: ClientMetrics;
  /** Ask for WatchList first; falls back to LIST by itself. Default true. */
  readonly watchList?: boolean;
  readonly pageSize?: number;
  readonly backoff?: BackoffOptions;
  readonly idleTimeoutMs?: number;
  readonly timeoutSeconds?: number;
  /** The first state of a WatchList must be complete within so long after the last byte. Default 10,000 ms. */
  readonly initialIdleMs?: number;
  /** … and in all. Default 120,000 ms. */
  readonly initialTotalMs?: number;
  /** How often to look whether an absent resource has come. Default 60,000 ms. */
  readonly absentRetryMs?: number;
  readonly signal?: AbortSignal;
}

export interface Reflector {
  readonly store: Store;
  status(): ReflectorStatus;
  /** Resolves when the resource was read once, or cannot be read (forbidden, absent), or the reflector was stopped. */
  readonly settled: Promise<void>;
  /** Stops and resolves when nothing runs any more. The store stays. */
  stop(): Promise<void>;
}

/** A WatchList that did not come to its end: LIST must serve. */
class NoWatchList extends Error {}

/** How long to leave WatchList alone after it failed. */
const watchListPauseMs = 10 * 60_000;

export function startReflector(
  connection: Connection,
  resource: Resource,
  options: ReflectorOptions,
): Reflector {
  const { keep, metrics = {} } = options;
  const { clock } = connection;
  const name = resourceName(resource);
  const store = createStore();
  const backoff = createBackoff({ clock, ...options.backoff });
  const controller = new AbortController();
  const stopped = controller.signal;
  const forward = (): void => controller.abort();
  if (options.signal?.aborted) forward();
  else options.signal?.addEventListener('abort', forward, { once: true });

  let state: ReflectorState = 'starting';
  let everSynced = false;
  let version: string | undefined;
  let lastError: string | undefined;
  let lastContact: number | undefined;
  let watchListAfter = options.watchList === false ? Infinity : -Infinity;
  let tooLarge = 0;
  let expiredInRow = 0;
  let settle: () => void = () => undefined;
  const settled = new Promise<void>((resolve) => {
    settle = resolve;
  });

  const status = (): ReflectorStatus => ({
    resource,
    state,
    everSynced,
    objects: store.size,
    resourceVersion: version,
    lastError,
    lastContact,
  });

  function enter(next: ReflectorState, error?: string): void {
    const news = next !== state || (error !== undefined && error !== lastError);
    state = next;
    lastError = error ?? (next === 'synced' ? undefined : lastError);
    if (news) options.onStatus?.(status());
    if (next === 'synced' || next === 'forbidden' || next === 'absent') settle();
  }

  function publish(changes: readonly Change[]): void {
    if (changes.length === 0) return;
    metrics.changed?.(name, changes.length);
    options.onChanges?.(changes);
  }

  /** Cuts the object down; takes the stored one when it is the same state, to hold it only once. */
  function kept(object: KubeObject): KubeObject | undefined {
    const small = keep(object);
    if (small === undefined) {
      metrics.error?.(name, 'nameless-object');
      return undefined;
    }
    return store.same(small) ?? small;
  }

  function complete(objects: readonly KubeObject[], resourceVersion: string): void {
    version = resourceVersion === '' ? undefined : resourceVersion;
    everSynced = true;
    expiredInRow = 0;
    tooLarge = 0;
    publish(store.replace(objects));
    enter('synced');
  }

  async function list(): Promise<void> {
    const started = clock.now();
    const result = await listAll(connection, resource, {
      namespace: options.namespace,
      signal: stopped,
      keep: kept,
      ...(options.pageSize === undefined ? {} : { pageSize: options.pageSize }),
      onPage: () => {
        lastContact = clock.now();
      },
    });
    metrics.listed?.(name, 'list', (clock.now() - started) / 1000, result.items.length);
    complete(result.items, result.resourceVersion);
    if (version === undefined) {
      throw new ConnectionError(
        `${connection.config.server}: the list of ${name} has no resourceVersion`,
        'EBADLIST',
      );
    }
  }

  function apply(event: WatchEvent): void {
    metrics.event?.(name, event.type);
    if (event.type === 'BOOKMARK') {
      if (event.resourceVersion !== '' && !isEarlierVersion(event.resourceVersion, version))
        version = event.resourceVersion;
      return;
    }
    // A clean event proves that the server serves us again.
    backoff.reset();
    const eventVersion = event.object.metadata?.resourceVersion;
    // A watch only moves forward: what is older than its place was judged before. A deletion is
    // taken at any time, because a uid never comes back (and old servers sent the object's version).
    if (event.type !== 'DELETED' && isEarlierVersion(eventVersion, version)) return;
    const object = kept(event.object);
    if (object !== undefined) {
      const change = event.type === 'DELETED' ? store.remove(object) : store.upsert(object);
      if (change !== undefined) publish([change]);
    }
    if (eventVersion !== undefined && !isEarlierVersion(eventVersion, version))
      version = eventVersion;
  }

  /** Follows the server until the watch ends; with `initial`, reads the whole state first. */
  async function follow(initial: boolean): Promise<void> {
    const started = clock.now();
    const hangUp = new AbortController();
    const relay = (): void => hangUp.abort();
    stopped.addEventListener('abort', relay, { once: true });
    let first: Map<string, KubeObject> | undefined = initial ? new Map() : undefined;
    const idleLimit = initial ? setTimeout(relay, options.initialIdleMs ?? 10_000) : undefined;
    const totalLimit = initial ? setTimeout(relay, options.initialTotalMs ?? 120_000) : undefined;
    const clearLimits = (): void => {
      clearTimeout(idleLimit);
      clearTimeout(totalLimit);
    };
    const seconds = options.timeoutSeconds ?? Math.round(300 * (1 + clock.random()));
    let opened = false;
    let events = 0;
    let how: 'end' | 'error' = 'error';
    try {
      const stream = watch(connection, resource, {
        namespace: options.namespace,
        resourceVersion: initial ? undefined : version,
        sendInitialEvents: initial,
        timeoutSeconds: seconds,
        ...(options.idleTimeoutMs === undefined ? {} : { idleTimeoutMs: options.idleTimeoutMs }),
        signal: hangUp.signal,
        onOpen: () => {
          opened = true;
          metrics.watchOpened?.(name);
          lastContact = clock.now();
          if (!initial) enter('synced');
        },
        onContact: () => {
          lastContact = clock.now();
          if (first !== undefined) idleLimit?.refresh();
        },
      });
      for await (const event of stream) {
        events += 1;
        if (first === undefined) {
          apply(event);
        } else if (event.type === 'BOOKMARK') {
          if (!event.initialEventsEnd) continue;
          clearLimits();
          const objects = [...first.values()];
          first = undefined;
          metrics.listed?.(name, 'watch-list', (clock.now() - started) / 1000, objects.length);
          complete(objects, event.resourceVersion);
        } else {
          const object = kept(event.object);
          if (object === undefined) continue;
          const key = storeKey(object.metadata.namespace, object.metadata.name ?? '');
          if (event.type === 'DELETED') first.delete(key);
          else first.set(key, object);
        }
        if (stopped.aborted) return;
      }
      if (first !== undefined)
        throw new NoWatchList('the watch ended before its first state was complete');
      how = 'end';
      tooLarge = 0;
    } catch (error) {
      if (stopped.aborted) return;
      if (first !== undefined && hangUp.signal.aborted)
        throw new NoWatchList('the first state did not become complete in time');
      throw error;
    } finally {
      clearLimits();
      stopped.removeEventListener('abort', relay);
      if (opened) metrics.watchClosed?.(name, how, (clock.now() - started) / 1000);
    }
    // Ended as asked: go on at once. Ended early: many clients may have lost theirs at this moment.
    const lived = clock.now() - started;
    if (lived < (seconds - 5) * 1000) {
      await clock.sleep(
        lived < 1000 && events === 0 ? backoff.next() : clock.random() * 500,
        stopped,
      );
    }
  }

  async function sync(): Promise<void> {
    if (clock.now() >= watchListAfter) {
      try {
        await follow(true);
        return;
      } catch (error) {
        const refused =
          error instanceof KubeApiError && (error.status === 400 || error.status === 422);
        if (!refused && !(error instanceof NoWatchList)) throw error;
        metrics.error?.(name, 'no-watch-list');
        watchListAfter = clock.now() + watchListPauseMs;
      }
    }
    await list();
  }

  async function recover(error: unknown): Promise<void> {
    const message = errorText(error);
    if (!(error instanceof KubeApiError)) {
      metrics.error?.(name, error instanceof ConnectionError ? error.code : 'error');
      enter('failing', message);
      await clock.sleep(backoff.next(), stopped);
      return;
    }
    metrics.error?.(name, error.reason);
    if (error.expired) {
      // Not a fault: the history is gone, the state is not. Only a server that says so again and again is.
      version = undefined;
      expiredInRow += 1;
      if (expiredInRow > 1) {
        enter('failing', message);
        await clock.sleep(backoff.next(askedWait(error)), stopped);
      }
      return;
    }
    if (error.details?.causes?.some((cause) => cause.reason === 'ResourceVersionTooLarge')) {
      // A replica that lags catches up; a server that was restored from a backup never does.
      tooLarge += 1;
      if (tooLarge >= 3) version = undefined;
    }
    if (error.status === 403) {
      enter('forbidden', message);
    } else if (error.status === 404 && (await confirmAbsent())) {
      version = undefined;
      publish(store.replace([]));
      enter('absent', message);
      const wait = (options.absentRetryMs ?? 60_000) * (1 + clock.random() / 4);
      await clock.sleep(wait, stopped);
      return;
    } else {
      enter('failing', message);
    }
    await clock.sleep(backoff.next(askedWait(error)), stopped);
  }

  /** A 404 may come from a proxy or a starting server; only discovery makes it true. */
  async function confirmAbsent(): Promise<boolean> {
    try {
      return !(await isServed(connection, resource, { signal: stopped }));
    } catch {
      return false;
    }
  }

  async function run(): Promise<void> {
    while (!stopped.aborted) {
      try {
        if (version === undefined) await sync();
        else await follow(false);
      } catch (error) {
        if (stopped.aborted) break;
        await recover(error);
      }
    }
    options.signal?.removeEventListener('abort', forward);
    settle();
  }

  const running = run();
  return {
    store,
    status,
    settled,
    async stop() {
      controller.abort();
      await running;
    },
  };
}
