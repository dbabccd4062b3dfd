/**
 * Which policies and rules hold others whatever pods there are, among those that are not found
 * superfluous yet. Must not know of pods that exist.
 */
import type { CompiledPolicy, CompiledRule, Direction } from '../policy/compiled.ts';
import { canNeverMatch, coverOf, isolatorOf, matcherWithin, type Place } from './coverage.ts';
import type { Snapshot } from './snapshot.ts';

export interface Symbols {
  policyCover(policy: CompiledPolicy): Place[] | undefined;
  ruleCover(policy: CompiledPolicy, rule: CompiledRule, direction: Direction): Place[] | undefined;
  /** Whether its subjects, also those to come, stay isolated without it. */
  staysIsolated(policy: CompiledPolicy): boolean;
  remove(policy: CompiledPolicy, rule: CompiledRule | undefined): void;
}

/** Covers that hold whatever pods there are, among what is not found superfluous yet. */
export function createSymbols(snapshot: Snapshot): Symbols {
  const gone = new Set<CompiledPolicy | CompiledRule>();
  const groups = new Map<string, CompiledPolicy[]>();
  const groupOf = ({ tier, subject }: CompiledPolicy): string =>
    tier === 'NetworkPolicy' && 'name' in subject.namespaces
      ? `=${subject.namespaces.name}`
      : `~${tier}`;
  for (const policy of snapshot.policies) {
    const key = groupOf(policy);
    const list = groups.get(key);
    if (list === undefined) groups.set(key, [policy]);
    else list.push(policy);
  }

  const wider = new Map<CompiledPolicy, readonly CompiledPolicy[]>();
  /** Policies with all subjects of this one, itself among them. */
  const near = (policy: CompiledPolicy): CompiledPolicy[] => {
    let all = wider.get(policy);
    if (all === undefined) {
      all = (groups.get(groupOf(policy)) ?? []).filter((other) =>
        matcherWithin(policy.subject, other.subject),
      );
      wider.set(policy, all);
    }
    return all.filter((other) => !gone.has(other));
  };

  const placesOf = (policies: readonly CompiledPolicy[], direction: Direction): Place[] =>
    policies.flatMap((policy) =>
      policy.rules[direction].flatMap((rule) => (gone.has(rule) ? [] : [{ policy, rule }])),
    );

  return {
    policyCover(policy) {
      if (policy.tier !== 'NetworkPolicy') return undefined;
      const others = near(policy).filter((other) => other !== policy);
      if (others.length === 0) return undefined;
      const found = new Map<CompiledRule | CompiledPolicy, Place>();
      for (const direction of ['Ingress', 'Egress'] as const) {
        if (!policy.isolates[direction]) continue;
        const isolator = isolatorOf(policy, direction, others);
        if (isolator === undefined) return undefined;
        const places = placesOf(others, direction);
        for (const rule of policy.rules[direction]) {
          if (canNeverMatch(rule)) continue;
          const cover = coverOf(rule, policy.subject, places);
          if (cover === undefined) return undefined;
          for (const place of cover) found.set(place.rule ?? place.policy, place);
        }
        if (policy.rules[direction].length === 0) found.set(isolator, { policy: isolator });
      }
      return [...found.values()];
    },
    ruleCover(policy, rule, direction) {
      if (policy.tier === 'NetworkPolicy')
        return coverOf(rule, policy.subject, placesOf(near(policy), direction));
      const own = policy.rules[direction];
      const before = [
        ...placesOf(
          near(policy).filter((other) => other.priority < policy.priority),
          direction,
        ),
        ...own
          .slice(0, own.indexOf(rule))
          .flatMap((one) => (gone.has(one) ? [] : [{ policy, rule: one }])),
      ];
      return coverOf(rule, policy.subject, before);
    },
    staysIsolated(policy) {
      if (policy.tier !== 'NetworkPolicy') return true;
      const others = near(policy);
      return (['Ingress', 'Egress'] as const).every(
        (direction) =>
          !policy.isolates[direction] || isolatorOf(policy, direction, others) !== undefined,
      );
    },
    remove(policy, rule) {
      gone.add(rule ?? policy);
    },
  };
}
