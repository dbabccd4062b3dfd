/**
 * Where a policy, or a field of it, stands in the input. Must not know who asks.
 */
import type { PolicyRef } from '../policy/compiled.ts';
import type { InputObject } from './input.ts';

/** `file:line` of a field; empty for objects of a live cluster. */
export function placeIn(
  objects: readonly InputObject[],
): (policy: PolicyRef, path?: string) => string {
  const byName = new Map<string, InputObject>();
  // The later of two with one name counts, as in the snapshot.
  for (const item of objects) {
    const { kind, metadata } = item.object;
    byName.set(`${kind} ${metadata.namespace ?? ''} ${metadata.name}`, item);
  }
  return (policy, path) => {
    const item =
      byName.get(`${policy.kind} ${policy.namespace ?? ''} ${policy.name}`) ??
      byName.get(`${policy.kind}  ${policy.name}`);
    const range = (path === undefined ? undefined : item?.locate?.(path)) ?? policy.source;
    return range === undefined ? '' : `${range.file}:${range.start.line}`;
  };
}
