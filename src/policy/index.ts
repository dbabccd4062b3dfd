/**
 * The policy kinds podwall knows, and the check that takes one object from plain JSON to a compiled
 * policy. Must not know of files, pods or the engine.
 */
import { checkPolicyOf, type CheckInput, type CheckOptions, type CheckResult } from './check.ts';
import { adminNetworkPolicy } from './kinds/admin-network-policy.ts';
import { baselineAdminNetworkPolicy } from './kinds/baseline-admin-network-policy.ts';
import { clusterNetworkPolicy } from './kinds/cluster-network-policy.ts';
import { networkPolicy } from './kinds/network-policy.ts';
import type { PolicyKind } from './policy-kind.ts';

export type { CheckInput, CheckOptions, CheckResult } from './check.ts';

/** Every kind, in the order in which help and reports list them. */
export const policyKinds: readonly PolicyKind[] = [
  networkPolicy,
  clusterNetworkPolicy,
  adminNetworkPolicy,
  baselineAdminNetworkPolicy,
];

/** The kind for an object's `apiVersion` and `kind`, exact as the server compares them. */
export function policyKindOf(apiVersion: string, kind: string): PolicyKind | undefined {
  return policyKinds.find((known) => known.kind === kind && known.apiVersion === apiVersion);
}

/**
 * Checks one object of a known kind. An object of another kind gives one diagnostic
 * (`unknown-kind`) and nothing else.
 */
export function checkPolicy(input: CheckInput, options: CheckOptions = {}): CheckResult {
  const { apiVersion, kind } = input.object;
  const known = policyKindOf(apiVersion, kind);
  if (known !== undefined) return checkPolicyOf(known, input, options);
  return {
    errors: [],
    diagnostics: [
      {
        code: 'unknown-kind',
        severity: 'error',
        message: `no matches for kind ${JSON.stringify(kind)} in version ${JSON.stringify(apiVersion)}`,
        ...(input.source === undefined ? {} : { range: input.source }),
      },
    ],
  };
}
