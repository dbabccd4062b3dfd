/**
 * What changes when a policy or rule is taken away, alone or with everything taken away before; and
 * which others decide in its place. Works leg by leg; looks at pairs only where a leg would change.
 * Must not know which findings follow from that.
 */
import type { CompiledPolicy, CompiledRule, Direction } from '../policy/compiled.ts';
import type { PeerClass } from './classes.ts';
import { NONE } from './connection-table.ts';
import type { Place } from './coverage.ts';
import type { Effect, Leg, Occurrence, SetExemption } from './legs.ts';
import type { Reach } from './reach.ts';
import type { Settings } from './snapshot.ts';
import { createCells, participationsOf } from './unused-cells.ts';
import type { Candidate } from './unused-finding.ts';
import {
  createWhatIf,
  nearnessOf,
  nothingLess,
  type Lookup,
  type WhatIf,
  type Without,
} from './what-if.ts';

/** Pairs of classes looked at for one policy or rule before it is left unjudged. */
const PAIR_LIMIT = 200_000;

/**
 * `same-legs`: no leg changes. `same-pairs`: legs change, and no pair. `used`: some pair changes.
 * `too-many`: more pairs than are looked at.
 */
export type RemovalEffect = 'same-legs' | 'same-pairs' | 'used' | 'too-many';

/** Policies are named by their position in `Programs.policies`. */
export interface Removals {
  /** Takes the candidate away for good. */
  remove(candidate: Candidate): void;
  /** What it changes to take the candidate away, alone or after all that is gone. */
  effectOf(candidate: Candidate): RemovalEffect;
  /** Every pod it isolates is isolated by others as well, now and after all that is gone. */
  staysIsolated(position: number): boolean;
  /** One policy that stays for every leg in which this one isolates. */
  isolatorsBeside(position: number): Place[];
  /** Whether no rule of a policy matches anything. */
  isMute(position: number): boolean;
  /** Whether the input leaves open what the policy selects or what its rules match. */
  isUnsure(position: number): boolean;
  /** The rules that decide, beside the candidate, what its rules match. */
  covering(candidate: Candidate, earlierOnly: boolean): Place[];
  /** Whether rules before it take everything it matches. */
  isShadowed(position: number, rule: CompiledRule): boolean;
}

export function createRemovals(reach: Reach): Removals {
  const { snapshot, parts } = reach;
  const { programs } = parts;
  const removed = { policies: new Set<number>(), rules: new Set<CompiledRule>() };
  const perPod = snapshot.settings.baselineSkip !== 'per-direction';
  const exemptions = exemptionsOf(snapshot.settings);
  const participations = participationsOf(reach);
  const cells = createCells(reach);
  /** What is there once everything taken away is gone; made anew after each removal. */
  let reduced: WhatIf = createWhatIf(reach, removed);
  const whole = createWhatIf(reach, nothingLess);

  const alone = (candidate: Candidate): Without => ({
    policies: new Set(candidate.rule === undefined ? [candidate.position] : []),
    rules: new Set(candidate.rule === undefined ? [] : [candidate.rule]),
  });

  const effectOf = (candidate: Candidate): RemovalEffect => {
    const just = alone(candidate);
    const both: Without = {
      policies: either(removed.policies, just.policies),
      rules: either(removed.rules, just.rules),
    };
    const versions: [WhatIf, WhatIf][] = [[whole, createWhatIf(reach, just)]];
    if (removed.policies.size + removed.rules.size > 0)
      versions.push([reduced, createWhatIf(reach, both)]);
    const changed: { leg: Leg; direction: Direction; classes: number[]; sample: number }[] = [];
    for (const { leg, direction, classes } of participations.get(candidate.position) ?? []) {
      if (candidate.direction !== undefined && candidate.direction !== direction) continue;
      // Classes that share a leg differ only by what other legs say of them (S293).
      const differing = perPod ? classes : classes.slice(0, 1);
      for (const sample of cells.of(leg))
        for (const id of differing)
          if (
            versions.some(
              ([before, after]) =>
                differs(before.legEffect(leg, id, sample), after.legEffect(leg, id, sample)) ||
                exemptions[direction].some((exemption) =>
                  differs(
                    before.exemptEffect(leg, id, sample, exemption),
                    after.exemptEffect(leg, id, sample, exemption),
                  ),
                ),
            )
          ) {
            changed.push({ leg, direction, classes, sample });
            break;
          }
    }
    if (changed.length === 0) return 'same-legs';
    let looked = 0;
    for (const { leg, direction, classes, sample } of changed)
      for (const other of cells.classesLike(leg, sample))
        for (const id of classes) {
          const subject = parts.classes.list[id] as PeerClass;
          const [source, destination] =
            direction === 'Egress' ? [subject, other] : [other, subject];
          for (const node of nearnessOf(reach, source, destination)) {
            looked += 1;
            for (const [before, after] of versions) {
              const a = before.pairEffect(source, destination, node);
              const b = after.pairEffect(source, destination, node);
              if (differs(a, b)) return 'used';
            }
          }
          if (looked > PAIR_LIMIT) return 'too-many';
        }
    return 'same-pairs';
  };

  const staysIsolated = (position: number): boolean =>
    (participations.get(position) ?? []).every(({ leg }) => {
      const { isolating } = leg.program;
      return (
        !isolating.some((step) => step.policy === position) ||
        isolating.some(
          (step) =>
            step.policy !== position && step.truth === 'yes' && !removed.policies.has(step.policy),
        )
      );
    });

  const isolatorsBeside = (position: number): Place[] => {
    const found = new Set<CompiledPolicy>();
    for (const { leg } of participations.get(position) ?? []) {
      const { isolating } = leg.program;
      if (!isolating.some((step) => step.policy === position)) continue;
      const others = isolating.flatMap((step) => {
        const policy = programs.policies[step.policy];
        const stays = step.policy !== position && !removed.policies.has(step.policy);
        return stays && policy !== undefined ? [policy] : [];
      });
      if (others[0] !== undefined && !others.some((one) => found.has(one))) found.add(others[0]);
    }
    return [...found].map((policy) => ({ policy }));
  };

  const isMute = (position: number): boolean =>
    (participations.get(position) ?? []).every(({ leg }) =>
      cells
        .of(leg)
        .every((sample) => !leg.occurrencesAt(sample).some((one) => one.policy === position)),
    );

  const isUnsure = (position: number): boolean =>
    (participations.get(position) ?? []).some(({ leg }) =>
      [...leg.program.admin, ...leg.program.isolating, ...leg.program.baseline].some(
        (step) =>
          step.policy === position &&
          (step.truth === 'maybe' || step.occurrences.some(({ maybe }) => maybe)),
      ),
    );

  const covering = ({ position, rule, direction }: Candidate, earlierOnly: boolean): Place[] => {
    const found = new Map<CompiledRule, Place>();
    for (const { leg, direction: own } of participations.get(position) ?? []) {
      if (direction !== undefined && own !== direction) continue;
      for (const sample of cells.of(leg)) {
        const matching = leg.occurrencesAt(sample);
        const mine = matching.filter((one) => isOf(one, position, rule));
        const last = mine.at(-1);
        for (const one of matching) {
          if (earlierOnly && last !== undefined && one === last) break;
          if (mine.includes(one) || removed.policies.has(one.policy)) continue;
          if (removed.rules.has(one.rule) || found.size >= 8) continue;
          const policy = programs.policies[one.policy];
          if (policy === undefined) continue;
          const meets = mine.some(
            (my) => parts.table.intersect(my.connections, one.connections) !== NONE,
          );
          if (meets) found.set(one.rule, { policy, rule: one.rule });
        }
      }
    }
    return [...found.values()];
  };

  const isShadowed = (position: number, rule: CompiledRule): boolean =>
    (participations.get(position) ?? []).every(({ leg }) =>
      cells.of(leg).every((sample) => {
        let left: number | undefined;
        const taken: number[] = [];
        for (const one of leg.occurrencesAt(sample)) {
          if (one.rule === rule && one.policy === position) {
            left = one.connections;
            for (const id of taken) left = parts.table.subtract(left, id);
            if (left !== NONE) return false;
          } else if (!one.maybe && !removed.rules.has(one.rule)) taken.push(one.connections);
        }
        return true;
      }),
    );

  return {
    remove(candidate) {
      if (candidate.rule === undefined) removed.policies.add(candidate.position);
      else removed.rules.add(candidate.rule);
      reduced = createWhatIf(reach, removed);
    },
    effectOf,
    staysIsolated,
    isolatorsBeside,
    isMute,
    isUnsure,
    covering,
    isShadowed,
  };
}

function differs(a: Effect, b: Effect): boolean {
  return a.allowed !== b.allowed || a.unknown !== b.unknown;
}

/** Exemptions under which a leg must come out alike as well (S161, S166). */
function exemptionsOf({
  podToOwnNode,
  selfThroughService,
}: Settings): Readonly<Record<Direction, readonly SetExemption[]>> {
  const choices = (list: readonly Settings['podToOwnNode'][]): SetExemption[] =>
    list.flatMap((choice): SetExemption[] =>
      choice === 'policy'
        ? []
        : [
            { choice, truth: 'yes' },
            { choice, truth: 'maybe' },
          ],
    );
  return {
    Ingress: choices([selfThroughService]),
    Egress: choices([selfThroughService, podToOwnNode]),
  };
}

/** Both sets without copying them. */
function either<T>(a: Lookup<T>, b: Lookup<T>): Lookup<T> {
  return { size: a.size + b.size, has: (item) => a.has(item) || b.has(item) };
}

function isOf(one: Occurrence, position: number, rule: CompiledRule | undefined): boolean {
  return one.policy === position && (rule === undefined || one.rule === rule);
}
