/**
 * Builds the reference by which a policy object is named everywhere. Knows nothing of what the
 * policy says.
 */
import type { SourceRange } from '../k8s/diagnostic.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { PolicyRef } from './compiled.ts';

/** `key` is `Kind/namespace/name`, or `Kind/name` for a cluster-scoped kind. */
export function policyRefOf(
  object: KubeObject,
  namespaced: boolean,
  source?: SourceRange,
): PolicyRef {
  const name = object.metadata?.name ?? object.metadata?.generateName ?? '';
  const namespace = object.metadata?.namespace ?? '';
  return {
    key: namespaced ? `${object.kind}/${namespace}/${name}` : `${object.kind}/${name}`,
    kind: object.kind,
    ...(namespaced ? { namespace } : {}),
    name,
    ...(source === undefined ? {} : { source }),
  };
}
