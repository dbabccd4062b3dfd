/**
 * What a pair of classes comes to from single legs: over all their meetings, with the exemptions of
 * traffic to and from the own node. Must not know where the effect of a leg comes from.
 */
import type { Direction } from '../policy/compiled.ts';
import { meetings, type Classes, type Meeting, type PeerClass } from './classes.ts';
import { ALL, type ConnectionTable } from './connection-table.ts';
import { bothEffects, everything, mergeEffects, type Effect } from './effects.ts';
import type { Leg, SetExemption } from './legs.ts';
import type { Programs } from './programs.ts';
import type { Settings } from './snapshot.ts';
import type { Truth } from './truth.ts';

/** Single legs, as computed or as they would be. */
export interface LegEffects {
  legEffect(leg: Leg, classId: number, column: number): Effect;
  /** Where NetworkPolicy has no say, or may have none (S161, S166). */
  exemptEffect(leg: Leg, classId: number, column: number, exemption: SetExemption): Effect;
}

/** `node`: whether one end is the node of the other. */
export interface PairEffects {
  /** One leg in one meeting of two classes. */
  inMeeting(
    source: PeerClass,
    destination: PeerClass,
    meeting: Meeting,
    direction: Direction,
    node: Truth,
  ): Effect;
  /** One leg, merged over all meetings. */
  ownEffect(source: PeerClass, destination: PeerClass, direction: Direction, node: Truth): Effect;
  /** Both legs over all meetings. */
  pairEffect(source: PeerClass, destination: PeerClass, node: Truth): Effect;
}

export function createPairEffects(
  parts: {
    readonly classes: Classes;
    readonly table: ConnectionTable;
    readonly programs: Programs;
  },
  settings: Settings,
  { legEffect, exemptEffect }: LegEffects,
): PairEffects {
  const { classes, table, programs } = parts;

  const withOwnNode = (
    leg: Leg,
    classId: number,
    column: number,
    direction: Direction,
    near: Truth,
  ): Effect => {
    if (near === 'no') return legEffect(leg, classId, column);
    if (direction === 'Ingress') {
      // S160.
      if (near === 'yes') return everything;
      const { allowed } = legEffect(leg, classId, column);
      return { allowed, unknown: table.subtract(ALL, allowed) };
    }
    const choice = settings.podToOwnNode;
    if (choice === 'policy') return legEffect(leg, classId, column);
    return exemptEffect(leg, classId, column, { choice, truth: near });
  };

  const inMeeting: PairEffects['inMeeting'] = (source, destination, meeting, direction, node) => {
    const subject = direction === 'Egress' ? source : destination;
    const other = direction === 'Egress' ? destination : source;
    const leg = programs.legOf(subject.id, direction, meeting.likePods);
    if (leg === undefined) return everything;
    const column = direction === 'Egress' ? meeting.destination : meeting.source;
    // Under the first option of S184 a hostNetwork pod is not its node.
    const near = other.nodeTraffic && !(meeting.likePods && other.kind === 'pod') ? node : 'no';
    return withOwnNode(leg, subject.id, column, direction, near);
  };

  const over = (
    source: PeerClass,
    destination: PeerClass,
    effectIn: (meeting: Meeting) => Effect,
  ): Effect => {
    let merged: Effect | undefined;
    for (const meeting of meetings(classes, source, destination)) {
      const effect = effectIn(meeting);
      merged = merged === undefined ? effect : mergeEffects(table, merged, effect);
    }
    return merged ?? everything;
  };

  return {
    inMeeting,
    ownEffect: (source, destination, direction, node) =>
      over(source, destination, (meeting) =>
        inMeeting(source, destination, meeting, direction, node),
      ),
    pairEffect: (source, destination, node) =>
      over(source, destination, (meeting) =>
        bothEffects(
          table,
          inMeeting(source, destination, meeting, 'Egress', node),
          inMeeting(source, destination, meeting, 'Ingress', node),
        ),
      ),
  };
}
