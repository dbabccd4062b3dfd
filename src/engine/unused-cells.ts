/**
 * Where policies have a say: the legs of each, and in each leg one column for every list of rules that
 * matches there. Must not judge anything.
 */
import type { PeerClass } from './classes.ts';
import type { Direction } from '../policy/compiled.ts';
import type { Leg, Occurrence } from './legs.ts';
import type { Reach } from './reach.ts';

/** A leg in which a policy has a say. */
export interface Participation {
  readonly leg: Leg;
  readonly direction: Direction;
  readonly classes: number[];
}

/** Legs in which each policy has a say, and the classes that share each leg. */
export function participationsOf(reach: Reach): Map<number, Participation[]> {
  const { classes, programs } = reach.parts;
  const byLeg = new Map<Leg, Participation>();
  const perPod = reach.snapshot.settings.baselineSkip !== 'per-direction';
  for (const { id, nodeTraffic } of classes.list)
    for (const direction of ['Ingress', 'Egress'] as const) {
      const leg = programs.legOf(id, direction, nodeTraffic);
      if (leg === undefined) continue;
      const known = byLeg.get(leg);
      if (known === undefined) byLeg.set(leg, { leg, direction, classes: [id] });
      else known.classes.push(id);
    }
  const found = new Map<number, Set<Participation>>();
  const add = (position: number, one: Participation): void => {
    const list = found.get(position);
    if (list === undefined) found.set(position, new Set([one]));
    else list.add(one);
  };
  const legsOfClass = new Map<number, Participation[]>();
  for (const one of byLeg.values())
    for (const id of one.classes) legsOfClass.set(id, [...(legsOfClass.get(id) ?? []), one]);
  for (const one of byLeg.values()) {
    const { admin, isolating, baseline } = one.leg.program;
    for (const { policy } of [...admin, ...isolating, ...baseline]) {
      add(policy, one);
      // S293: a policy may matter to the other direction only by selecting the pod.
      if (perPod)
        for (const id of one.classes) for (const leg of legsOfClass.get(id) ?? []) add(policy, leg);
    }
  }
  return new Map([...found].map(([position, set]) => [position, [...set]]));
}

export interface Cells {
  /** One column for each list of matching rules that a leg meets. */
  of(leg: Leg): readonly number[];
  /** Classes with a column that the leg treats like this one. */
  classesLike(leg: Leg, sample: number): Iterable<PeerClass>;
}

/** What a leg does with its columns. */
interface LegCells {
  readonly samples: readonly number[];
  /** The rules that match where a column is not listed, when those columns are all alike. */
  readonly elsewhere?: readonly Occurrence[];
}

export function createCells(reach: Reach): Cells {
  const { classes } = reach.parts;
  const known = new Map<Leg, LegCells>();

  const cellsOf = (leg: Leg): LegCells => {
    const byMatching = new Map<readonly Occurrence[], number>();
    const add = (column: number): void => {
      const matching = leg.occurrencesAt(column);
      if (!byMatching.has(matching)) byMatching.set(matching, column);
    };
    for (const column of leg.listed) add(column);
    if (leg.broad.length > 0) {
      for (const column of classes.columns.keys()) add(column);
      return { samples: [...byMatching.values()] };
    }
    const listed = new Set(leg.listed);
    for (const column of classes.columns.keys()) {
      if (listed.has(column)) continue;
      add(column);
      return { samples: [...byMatching.values()], elsewhere: leg.occurrencesAt(column) };
    }
    return { samples: [...byMatching.values()] };
  };
  const remembered = (leg: Leg): LegCells => {
    let cells = known.get(leg);
    if (cells === undefined) {
      cells = cellsOf(leg);
      known.set(leg, cells);
    }
    return cells;
  };

  return {
    of: (leg) => remembered(leg).samples,
    *classesLike(leg, sample) {
      const matching = leg.occurrencesAt(sample);
      const { elsewhere } = remembered(leg);
      const given = new Set<number>();
      const isNew = (column: number): boolean => {
        const id = classes.columns[column]?.class ?? -1;
        return !given.has(id) && leg.occurrencesAt(column) === matching;
      };
      const take = (column: number): PeerClass => {
        const id = classes.columns[column]?.class ?? -1;
        given.add(id);
        return classes.list[id] as PeerClass;
      };
      // The sample first: mostly it is enough.
      yield take(sample);
      // What no unlisted column matches is among the few that are listed.
      const few = elsewhere !== undefined && elsewhere !== matching;
      for (const column of few ? leg.listed : classes.columns.keys())
        if (isNew(column)) yield take(column);
    },
  };
}
