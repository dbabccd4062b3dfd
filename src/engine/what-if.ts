/**
 * The legs and pairs of a computed reach as they would be without some policies or rules, found from
 * what was computed and not anew. Must not know why anybody asks.
 */
import type { CompiledRule } from '../policy/compiled.ts';
import type { PeerClass } from './classes.ts';
import { decideSets } from './legs.ts';
import type { Effect } from './effects.ts';
import type { Leg, Occurrence, Program, SetExemption, Step } from './legs.ts';
import { createPairEffects, type LegEffects, type PairEffects } from './pair-effects.ts';
import type { Reach } from './reach.ts';
import { or } from './truth.ts';
import type { Truth } from './truth.ts';

/** What is imagined away. Policies by position in `Programs.policies`. */
export interface Without {
  readonly policies: Lookup<number>;
  readonly rules: Lookup<CompiledRule>;
}

/** The part of a set that is needed. */
export interface Lookup<T> {
  readonly size: number;
  has(item: T): boolean;
}

/** Effects as they would be. */
export interface WhatIf extends LegEffects, Pick<PairEffects, 'pairEffect' | 'ownEffect'> {}

export const nothingLess: Without = { policies: new Set(), rules: new Set() };

/** Answers are remembered as long as the result is kept. */
export function createWhatIf(reach: Reach, without: Without = nothingLess): WhatIf {
  const { parts, snapshot } = reach;
  const { classes, table, programs } = parts;
  const { settings } = snapshot;
  const less = without.policies.size > 0 || without.rules.size > 0;
  const perPod = settings.baselineSkip !== 'per-direction';
  const effects = new Map<readonly Occurrence[], Effect>();
  const programsLess = new Map<Program, Program>();

  const stays = (step: Step): boolean => !without.policies.has(step.policy);

  /** S293: whether some NetworkPolicy that stays selects the class at all. */
  const selectedOf = (classId: number, likePods: boolean): Truth => {
    let selected: Truth = 'no';
    for (const direction of ['Ingress', 'Egress'] as const)
      for (const step of programs.legOf(classId, direction, likePods)?.program.isolating ?? [])
        if (stays(step)) selected = or(selected, step.truth);
    return selected;
  };

  const programOf = (leg: Leg, classId: number): Program => {
    const { program } = leg;
    if (without.policies.size === 0) return program;
    const known = perPod ? undefined : programsLess.get(program);
    if (known !== undefined) return known;
    const peerClass = classes.list[classId] as PeerClass;
    const made: Program = {
      ...program,
      admin: program.admin.filter(stays),
      isolating: program.isolating.filter(stays),
      baseline: program.baseline.filter(stays),
      selected: perPod ? selectedOf(classId, peerClass.nodeTraffic) : program.selected,
    };
    if (!perPod) programsLess.set(program, made);
    return made;
  };

  const remaining = (matching: readonly Occurrence[]): Set<Occurrence> =>
    new Set(
      matching.filter(
        (occurrence) =>
          !without.policies.has(occurrence.policy) && !without.rules.has(occurrence.rule),
      ),
    );

  const legEffect = (leg: Leg, classId: number, column: number): Effect => {
    if (!less) return leg.effectAt(column);
    const matching = leg.occurrencesAt(column);
    const known = perPod ? undefined : effects.get(matching);
    if (known !== undefined) return known;
    const effect = decideSets(programOf(leg, classId), remaining(matching), settings, table);
    if (!perPod) effects.set(matching, effect);
    return effect;
  };

  const exemptEffect = (
    leg: Leg,
    classId: number,
    column: number,
    exemption: SetExemption,
  ): Effect =>
    decideSets(
      programOf(leg, classId),
      remaining(leg.occurrencesAt(column)),
      settings,
      table,
      exemption,
    );

  const { pairEffect, ownEffect } = createPairEffects(parts, settings, { legEffect, exemptEffect });
  return { legEffect, exemptEffect, pairEffect, ownEffect };
}

/**
 * Every way members of two classes stand to each other's nodes. A pod and itself count as a pair:
 * through a Service they are one (S166).
 */
export function nearnessOf(reach: Reach, source: PeerClass, destination: PeerClass): Truth[] {
  const { snapshot, parts } = reach;
  if (!source.nodeTraffic && !destination.nodeTraffic) return ['no'];
  const nodesOf = ({ kind, members }: PeerClass): Set<string | undefined> =>
    kind === 'world'
      ? new Set([undefined])
      : new Set(
          members.map((member) =>
            kind === 'node' ? parts.classes.nodes[member]?.name : snapshot.pods[member]?.node,
          ),
        );
  const from = nodesOf(source);
  const to = nodesOf(destination);
  const found = new Set<Truth>();
  if (from.has(undefined) || to.has(undefined)) found.add('maybe');
  for (const node of from) if (node !== undefined && to.has(node)) found.add('yes');
  const named = new Set([...from, ...to].filter((node) => node !== undefined));
  if (named.size > 1 && [...from].some((node) => node !== undefined)) found.add('no');
  return [...found];
}
