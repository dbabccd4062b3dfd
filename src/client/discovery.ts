/**
 * Which of the resources podwall reads a server has. Must not list objects.
 */
import { KubeApiError } from './errors.ts';
import { groupVersionPath, type Resource } from './resource.ts';
import type { Connection, RequestOptions } from './transport.ts';

interface ApiResourceList {
  readonly resources?: readonly { readonly name?: string }[] | null;
}

/**
 * The plural names a group-version serves; `undefined` when the server does not know the
 * group-version. Throws KubeApiError (not for 404) and ConnectionError.
 */
export async function servedResources(
  connection: Connection,
  apiVersion: string,
  options: RequestOptions = {},
): Promise<ReadonlySet<string> | undefined> {
  try {
    const list = await connection.request<ApiResourceList>(groupVersionPath(apiVersion), options);
    return new Set(
      (list.resources ?? []).flatMap((item) => (item.name === undefined ? [] : [item.name])),
    );
  } catch (error) {
    if (error instanceof KubeApiError && error.status === 404) return undefined;
    throw error;
  }
}

/** True when the server serves the resource. Throws as `servedResources`. */
export async function isServed(
  connection: Connection,
  resource: Resource,
  options: RequestOptions = {},
): Promise<boolean> {
  const served = await servedResources(connection, resource.apiVersion, options);
  return served?.has(resource.plural) ?? false;
}
