/**
 * A live cluster read once, for the analyzer: every kind listed, and a note for each that could not
 * be. Must not judge objects.
 */
import type { KubeObject } from '../k8s/types.ts';
import { createBackoff, retryTransient } from './backoff.ts';
import { servedResources } from './discovery.ts';
import { KubeApiError } from './errors.ts';
import { createInternPool, createKeep } from './keep.ts';
import { listAll } from './list.ts';
import { allResources, collectionPath, resourceName, type Resource } from './resource.ts';
import type { Connection } from './transport.ts';

export interface ReadOptions {
  /** Only objects of these namespaces (and cluster-wide ones). Default `all`. */
  readonly namespaces?: readonly string[] | 'all';
  /** Only these kinds, for example `Pod`. Default: all that podwall reads. */
  readonly kinds?: readonly string[];
  readonly pageSize?: number;
  readonly signal?: AbortSignal;
  /** Tries of each request that meets an overloaded or restarting server. Default 4. */
  readonly attempts?: number;
  /** Objects read so far of one resource. */
  readonly onProgress?: (progress: { readonly resource: string; readonly objects: number }) => void;
}

/** A resource that exists but could not be read: answers are incomplete in this respect. */
export interface MissingResource {
  /** `networkpolicies.networking.k8s.io`, with ` in namespace x` when only one namespace is meant. */
  readonly resource: string;
  /** The server's words. */
  readonly reason: string;
}

export interface ClusterRead {
  readonly objects: KubeObject[];
  readonly missing: MissingResource[];
}

/** How many resources are listed at once: enough to hide latency, too few to hurt a server. */
const parallel = 4;

/**
 * Lists everything once, paged. Kinds the server does not have are simply not there; a resource
 * that is refused (403) is noted in `missing`. Throws KubeApiError, ConnectionError and
 * KubeconfigError for anything else.
 */
export async function readCluster(
  connection: Connection,
  options: ReadOptions = {},
): Promise<ClusterRead> {
  const { signal } = options;
  const wanted = allResources.filter(
    (item) => options.kinds === undefined || options.kinds.includes(item.kind),
  );
  const missing: MissingResource[] = [];
  const { clock } = connection;
  const attempt = <T>(request: () => Promise<T>): Promise<T> =>
    retryTransient(request, {
      attempts: options.attempts ?? 4,
      backoff: createBackoff({ clock }),
      clock,
      signal,
    });

  const served = new Map<string, ReadonlySet<string> | 'unknown' | undefined>();
  await inParallel([...new Set(wanted.map((item) => item.apiVersion))], async (apiVersion) => {
    try {
      served.set(
        apiVersion,
        await attempt(() => servedResources(connection, apiVersion, { signal })),
      );
    } catch (error) {
      // Discovery may be closed to us while lists are not.
      if (!(error instanceof KubeApiError) || error.status !== 403) throw error;
      served.set(apiVersion, 'unknown');
    }
  });
  const present = wanted.filter((item) => {
    const names = served.get(item.apiVersion);
    return names === 'unknown' || names?.has(item.plural);
  });

  const pool = createInternPool();
  const lists = new Map<string, KubeObject[]>();
  const tasks = present.flatMap((item): { item: Resource; namespace: string | undefined }[] => {
    const namespaces = options.namespaces ?? 'all';
    if (!item.namespaced || namespaces === 'all') return [{ item, namespace: undefined }];
    return namespaces.map((namespace) => ({ item, namespace }));
  });
  await inParallel(tasks, async ({ item, namespace }) => {
    const name = resourceName(item);
    const key = `${name} ${namespace ?? ''}`;
    const keep = createKeep(item.apiVersion, item.kind, pool);
    try {
      const { items } = await listAll(connection, item, {
        namespace,
        signal,
        attempt,
        keep,
        ...(options.pageSize === undefined ? {} : { pageSize: options.pageSize }),
        onPage: (objects) => options.onProgress?.({ resource: name, objects }),
      });
      lists.set(key, items);
    } catch (error) {
      if (!(error instanceof KubeApiError)) throw error;
      if (error.status === 404) return;
      if (error.status !== 403) throw error;
      lists.set(key, await readSingly(connection, item, options, keep));
      const found = lists.get(key)?.length ?? 0;
      if (found === 0 || found < (options.namespaces?.length ?? 0)) {
        missing.push({
          resource: namespace === undefined ? name : `${name} in namespace ${namespace}`,
          reason: error.message,
        });
      }
    }
  });
  // In the order of the tasks, whatever answered first: equal clusters give equal results.
  const objects = tasks.flatMap(
    ({ item, namespace }) => lists.get(`${resourceName(item)} ${namespace ?? ''}`) ?? [],
  );
  return { objects, missing };
}

/** Namespaces by name, for those who may not list them. */
async function readSingly(
  connection: Connection,
  item: Resource,
  options: ReadOptions,
  keep: (object: KubeObject) => KubeObject | undefined,
): Promise<KubeObject[]> {
  if (item.kind !== 'Namespace' || options.namespaces === undefined || options.namespaces === 'all')
    return [];
  const found: KubeObject[] = [];
  for (const name of options.namespaces) {
    try {
      const path = `${collectionPath(item)}/${encodeURIComponent(name)}`;
      const object = keep(await connection.request<KubeObject>(path, { signal: options.signal }));
      if (object !== undefined) found.push(object);
    } catch (error) {
      if (!(error instanceof KubeApiError)) throw error;
    }
  }
  return found;
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const workers = Array.from({ length: Math.min(parallel, queue.length) }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  });
  await Promise.all(workers);
}
