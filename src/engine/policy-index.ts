/**
 * Policies in the order of evaluation, and which of them select a pod: found once per pod. Must not
 * know of connections.
 */
import { policyKinds } from '../policy/index.ts';
import type { CompiledPolicy, PolicyRef, Tier } from '../policy/compiled.ts';
import type { End } from './ends.ts';
import { matchesPod } from './peers.ts';
import type { Snapshot } from './snapshot.ts';
import { and } from './truth.ts';
import type { Truth } from './truth.ts';

/** A policy that selects a pod, or may. */
export interface Selecting {
  readonly policy: CompiledPolicy;
  readonly truth: Truth;
  readonly missing: readonly string[];
}

export interface PolicyIndex {
  /** In order of evaluation; the NetworkPolicy tier by key, where order has no meaning (S145). */
  selecting(end: End, tier: Tier): readonly Selecting[];
  /** Policies that did not validate and might select the pod. */
  invalid(end: End, tier: Tier): readonly PolicyRef[];
}

/** Priority, then name, then kind (S277; for equal priorities S289, S290). */
export function comparePolicies(a: CompiledPolicy, b: CompiledPolicy): number {
  return (
    a.priority - b.priority ||
    compareText(a.ref.name, b.ref.name) ||
    compareText(a.ref.kind, b.ref.kind) ||
    compareText(a.ref.key, b.ref.key)
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The tiers an invalid policy may have meant: the tier of a ClusterNetworkPolicy is in its spec. */
export function tiersOfInvalid(ref: PolicyRef): readonly Tier[] {
  if (ref.kind === 'ClusterNetworkPolicy') return ['Admin', 'Baseline'];
  const tier = policyKinds.find(({ kind }) => kind === ref.kind)?.tier;
  return tier === undefined ? ['Admin', 'NetworkPolicy', 'Baseline'] : [tier];
}

export function createPolicyIndex(snapshot: Snapshot): PolicyIndex {
  const byNamespace = new Map<string, CompiledPolicy[]>();
  const everywhere: Record<Tier, CompiledPolicy[]> = { Admin: [], NetworkPolicy: [], Baseline: [] };
  for (const policy of snapshot.policies) {
    const { namespaces } = policy.subject;
    if (policy.tier === 'NetworkPolicy' && 'name' in namespaces) {
      const list = byNamespace.get(namespaces.name);
      if (list === undefined) byNamespace.set(namespaces.name, [policy]);
      else list.push(policy);
    } else everywhere[policy.tier].push(policy);
  }
  for (const list of [...byNamespace.values(), ...Object.values(everywhere)])
    list.sort(comparePolicies);
  const invalid = snapshot.completeness.invalidPolicies.map((ref) => ({
    ref,
    tiers: tiersOfInvalid(ref),
  }));

  const cache = new Map<string, Readonly<Record<Tier, readonly Selecting[]>>>();

  const find = (end: End, tier: Tier): readonly Selecting[] => {
    const candidates =
      tier === 'NetworkPolicy'
        ? [...(byNamespace.get(end.pod?.namespace ?? '') ?? []), ...everywhere.NetworkPolicy]
        : everywhere[tier];
    const found: Selecting[] = [];
    for (const policy of candidates) {
      const missing: string[] = [];
      const truth = matchesPod(policy.subject, end, tier, snapshot, (fact) => missing.push(fact));
      if (truth !== 'no') found.push({ policy, truth, missing });
    }
    return found;
  };

  return {
    selecting(end, tier) {
      if (end.pod === undefined) return [];
      // Under the first option of S184 a hostNetwork pod is only ever this kind of end.
      const { id } = end.pod;
      let lists = cache.get(id);
      if (lists === undefined) {
        lists = {
          Admin: find(end, 'Admin'),
          NetworkPolicy: find(end, 'NetworkPolicy'),
          Baseline: find(end, 'Baseline'),
        };
        cache.set(id, lists);
      }
      return lists[tier];
    },
    invalid(end, tier) {
      if (invalid.length === 0 || end.pod === undefined) return [];
      if (end.onlyNetworkPolicy && tier !== 'NetworkPolicy') return [];
      const { namespace } = end.pod;
      return invalid
        .filter(
          ({ ref, tiers }) => tiers.includes(tier) && (ref.namespace ?? namespace) === namespace,
        )
        .map(({ ref }) => ref);
    },
  };
}

/** Whether any NetworkPolicy selects the pod in any direction (S292, S293). */
export function selectedAtAll(selecting: readonly Selecting[]): Truth {
  let result: Truth = 'no';
  for (const { truth } of selecting) {
    if (truth === 'yes') return 'yes';
    result = and(truth, 'maybe');
  }
  return result;
}
