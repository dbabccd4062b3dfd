/**
 * S78: rules of a direction that policyTypes leaves out. Compilation drops them, so this reads the
 * objects as they were written. Must not know of pods.
 */
import type { KubeObject } from '../k8s/types.ts';
import type { Direction, PolicyRef } from '../policy/compiled.ts';
import { at, listOf } from './json.ts';
import type { UnusedFinding } from './unused-finding.ts';

/** `refOf` names the policy of an object; undefined: it is none that was compiled. */
export function idleDirections(
  objects: readonly KubeObject[],
  refOf: (object: KubeObject) => PolicyRef | undefined,
): UnusedFinding[] {
  return objects.flatMap((object) => {
    if (object.kind !== 'NetworkPolicy') return [];
    const policy = refOf(object);
    const types = listOf(at(object.spec, 'policyTypes'));
    // Absent or empty: defaults follow what there is.
    if (policy === undefined || types.length === 0) return [];
    return (['Ingress', 'Egress'] as const).flatMap((direction): UnusedFinding[] => {
      const field = direction.toLowerCase();
      if (types.includes(direction) || listOf(at(object.spec, field)).length === 0) return [];
      return [idle(policy, direction, field)];
    });
  });
}

function idle(policy: PolicyRef, direction: Direction, field: string): UnusedFinding {
  return {
    kind: 'direction-without-effect',
    policy,
    direction,
    path: `spec.${field}`,
    holds: 'always',
    coveredBy: [],
    reason: `policyTypes does not name ${direction}: these rules neither isolate nor admit`,
  };
}
