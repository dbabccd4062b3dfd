/**
 * A complete list of one collection, page by page, keeping only what the caller wants of each
 * object. Knows nothing of watches or stores.
 */
import { KubeApiError } from './errors.ts';
import type { KubeObject } from '../k8s/types.ts';
import { collectionPath, type Resource } from './resource.ts';
import type { Connection, Query } from './transport.ts';

export interface ListOptions {
  readonly namespace?: string | undefined;
  /** Objects a page. Default 500. The server may send fewer, or everything at once. */
  readonly pageSize?: number;
  readonly query?: Query;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
  /** Called for each object as its page arrives; what it returns is kept, `undefined` is dropped. */
  readonly keep?: (object: KubeObject) => KubeObject | undefined;
  /** Called after each page with the number of objects so far. */
  readonly onPage?: (count: number) => void;
  /** Runs one page request; the place for retries. Default: run it once. */
  readonly attempt?: <T>(request: () => Promise<T>) => Promise<T>;
}

export interface ListResult {
  readonly items: KubeObject[];
  /** Where a watch may start; opaque. */
  readonly resourceVersion: string;
  readonly pages: number;
  /** True when pages came from two states of the server (an inconsistent continue token). */
  readonly inconsistent: boolean;
}

interface ListBody {
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string } | null;
  readonly items?: readonly KubeObject[] | null;
}

/** How often an expired continue token may start the list anew before the error is handed on. */
const restarts = 3;

/**
 * All objects of a collection. A continue token that expired starts the list again from its first
 * page; after three such starts the server's inconsistent token is taken, when it offers one, since
 * a list that never ends is worse. Throws KubeApiError, ConnectionError.
 */
export async function listAll(
  connection: Connection,
  resource: Resource,
  options: ListOptions = {},
): Promise<ListResult> {
  const path = collectionPath(resource, options.namespace);
  const attempt = options.attempt ?? ((request) => request());
  const request = (token: string | undefined): Promise<ListBody> =>
    attempt(() =>
      connection.request<ListBody>(path, {
        query: { ...options.query, limit: options.pageSize ?? 500, continue: token },
        signal: options.signal,
        ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
      }),
    );

  let items: KubeObject[] = [];
  let token: string | undefined;
  let pages = 0;
  let inconsistent = false;
  for (let started = 1; ;) {
    let body: ListBody;
    try {
      body = await request(token);
    } catch (error) {
      if (!(error instanceof KubeApiError) || !error.expired || token === undefined) throw error;
      if (started <= restarts) {
        started += 1;
        items = [];
        token = undefined;
        inconsistent = false;
        continue;
      }
      if (error.continueToken === undefined) throw error;
      token = error.continueToken;
      inconsistent = true;
      continue;
    }
    pages += 1;
    for (const object of body.items ?? []) {
      const kept = options.keep === undefined ? object : options.keep(object);
      if (kept !== undefined) items.push(kept);
    }
    options.onPage?.(items.length);
    token = body.metadata?.continue || undefined;
    if (token === undefined) {
      return { items, resourceVersion: body.metadata?.resourceVersion ?? '', pages, inconsistent };
    }
  }
}
