/**
 * All pairs of classes in blocks: classes that share a leg stand in one group, and a pair of groups
 * falls into as many blocks as its two legs tell apart, whatever the number of classes in it. Must
 * not know of single peers.
 */
import { meetings } from './classes.ts';
import type { Classes, PeerClass } from './classes.ts';
import type { ColumnSets, SetId } from './column-sets.ts';
import type { ConnectionTable } from './connection-table.ts';
import { bothEffects, everything, isDenied, mergeEffects } from './effects.ts';
import type { Effect } from './effects.ts';
import type { Leg } from './legs.ts';
import type { Programs } from './programs.ts';
import type { Direction } from '../policy/compiled.ts';

/** Every pair of its classes is decided by the same rules, so fares alike. Own-node exemptions stay out. */
export interface ClassBlock {
  readonly effect: Effect;
  readonly sources: ClassSet;
  readonly destinations: ClassSet;
}

export interface ClassSet {
  /** Members of all classes. */
  readonly peers: number;
  /** One of the classes. */
  readonly first: PeerClass;
  /** Made when asked for. */
  classes(): readonly PeerClass[];
}

/** What decides one direction for a group: a leg per option of S184. */
interface Face {
  readonly legs: readonly (Leg | undefined)[];
  /** Whether it denies every class that is neither listed nor in a large set. */
  readonly closed: boolean;
  /** The large sets that tell apart classes that are not listed. */
  readonly broad: readonly SetId[];
  readonly broadKey: string;
  /** Classes listed one by one, by their group on the other side. */
  readonly listed: ReadonlyMap<Group, readonly PeerClass[]>;
}

/** Classes with one face and the same columns. */
interface Group {
  readonly face: Face;
  readonly classes: PeerClass[];
  /** By the large sets of a face that looks at the group. */
  readonly patterns: Map<string, Map<string, PeerClass[]>>;
  peers: number;
}

/** The classes of a group that a face treats by the same rules. */
interface Part {
  /** Per column of a class, then per leg of the face. */
  readonly cells: readonly number[];
  readonly set: ClassSet;
}

/** Every block with a pod in it of which something is allowed or unknown. */
export function* classBlocks(
  classes: Classes,
  programs: Programs,
  sets: ColumnSets,
  table: ConnectionTable,
): IterableIterator<ClassBlock> {
  const options = classes.columns.some(({ hostNetworkLikePods }) => hostNetworkLikePods)
    ? [false, true]
    : [false];

  // The two sides refer to each other: groups first, then whom their faces list.
  const groupsBy = (direction: Direction): { groups: Group[]; ofClass: (Group | undefined)[] } => {
    const known = new Map<string, Group>();
    const legIds = new Map<Leg | undefined, number>();
    const ofClass: (Group | undefined)[] = [];
    for (const peerClass of classes.list) {
      if (peerClass.members.length === 0) continue;
      const legs = options.map((likePods) => programs.legOf(peerClass.id, direction, likePods));
      let key = shapeOf(classes, peerClass);
      for (const leg of legs) {
        let id = legIds.get(leg);
        if (id === undefined) legIds.set(leg, (id = legIds.size));
        key += `,${id}`;
      }
      let group = known.get(key);
      if (group === undefined) {
        group = { face: faceOf(legs), classes: [], patterns: new Map(), peers: 0 };
        known.set(key, group);
      }
      group.classes.push(peerClass);
      group.peers += peerClass.members.length;
      ofClass[peerClass.id] = group;
    }
    return { groups: [...known.values()], ofClass };
  };
  const from = groupsBy('Egress');
  const to = groupsBy('Ingress');
  for (const { face } of from.groups) enlist(classes, face, to.ofClass);
  for (const { face } of to.groups) enlist(classes, face, from.ofClass);

  const patternOf = (peerClass: PeerClass, broad: readonly SetId[]): string => {
    let pattern = '';
    for (const column of peerClass.columns)
      for (const id of broad) pattern += sets.has(id, column) ? '1' : '0';
    return pattern;
  };

  const patternsOf = (group: Group, face: Face): Map<string, PeerClass[]> => {
    let found = group.patterns.get(face.broadKey);
    if (found !== undefined) return found;
    found = new Map<string, PeerClass[]>();
    if (face.broad.length === 0) found.set('', group.classes);
    else for (const one of group.classes) append(found, patternOf(one, face.broad), one);
    group.patterns.set(face.broadKey, found);
    return found;
  };

  const cellsOf = ({ legs }: Face, { columns }: PeerClass): number[] =>
    columns.flatMap((column) => legs.map((leg) => leg?.cellAt(column) ?? -1));

  /** How a face tells the classes of a group apart. */
  const partsOf = (face: Face, group: Group): Part[] => {
    const { legs } = face;
    if (legs.every((leg) => leg === undefined)) {
      const [first] = group.classes;
      return first === undefined ? [] : [{ cells: cellsOf(face, first), set: wholeOf(group) }];
    }
    const listed = face.listed.get(group) ?? [];
    const parts = new Map<string, { cells: number[]; pieces: Piece[]; peers: number }>();
    const add = (cells: number[], piece: Piece, peers: number): void => {
      const key = cells.join();
      const part = parts.get(key);
      if (part === undefined) parts.set(key, { cells, pieces: [piece], peers });
      else {
        part.pieces.push(piece);
        part.peers += peers;
      }
    };
    if (!face.closed || face.broad.length > 0) {
      const apart = new Set(listed);
      for (const [pattern, all] of patternsOf(group, face)) {
        if (face.closed && !pattern.includes('1')) continue;
        let without = 0;
        let peers = 0;
        for (const one of listed)
          if (face.broad.length === 0 || patternOf(one, face.broad) === pattern) {
            without++;
            peers -= one.members.length;
          }
        if (without === all.length) continue;
        const first = without === 0 ? all[0] : all.find((one) => !apart.has(one));
        if (first === undefined) continue;
        if (all === group.classes) peers += group.peers;
        else for (const one of all) peers += one.members.length;
        add(
          cellsOf(face, first),
          { first, list: all, without: without === 0 ? undefined : apart },
          peers,
        );
      }
    }
    for (const one of listed)
      add(cellsOf(face, one), { first: one, list: [one], without: undefined }, one.members.length);
    return [...parts.values()].map(({ cells, pieces, peers }) => ({
      cells,
      set: setOf(pieces, peers),
    }));
  };

  /** Both legs over all ways in which the two meet. */
  const effectOf = (
    source: Group,
    destination: Group,
    sources: Part,
    destinations: Part,
  ): Effect => {
    const here = sources.set.first;
    const there = destinations.set.first;
    let merged: Effect | undefined;
    for (const meeting of meetings(classes, here, there)) {
      const option = meeting.likePods ? 1 : 0;
      const at = ({ columns }: PeerClass, column: number): number =>
        columns.indexOf(column) * options.length + option;
      const effect = bothEffects(
        table,
        cellEffect(source.face.legs[option], destinations.cells[at(there, meeting.destination)]),
        cellEffect(destination.face.legs[option], sources.cells[at(here, meeting.source)]),
      );
      merged = merged === undefined ? effect : mergeEffects(table, merged, effect);
    }
    return merged ?? everything;
  };

  /** Groups of the sources or of the destinations with a class in a large set. */
  const inSet = { from: new Map<SetId, Set<Group>>(), to: new Map<SetId, Set<Group>>() };
  const groupsIn = (id: SetId, side: 'from' | 'to'): ReadonlySet<Group> => {
    let found = inSet[side].get(id);
    if (found !== undefined) return found;
    found = new Set<Group>();
    const { ofClass } = side === 'from' ? from : to;
    for (const column of sets.columnsOf(id)) {
      const group = ofClass[classes.columns[column]?.class ?? -1];
      if (group !== undefined) found.add(group);
    }
    inSet[side].set(id, found);
    return found;
  };
  const mayReach = ({ face }: Group, destination: Group): boolean =>
    !face.closed ||
    face.listed.has(destination) ||
    face.broad.some((id) => groupsIn(id, 'to').has(destination));

  for (const destination of to.groups) {
    const { face } = destination;
    const candidates = face.closed
      ? new Set([...face.listed.keys(), ...face.broad.flatMap((id) => [...groupsIn(id, 'from')])])
      : from.groups;
    for (const source of candidates) {
      if (!mayReach(source, destination)) continue;
      if (!hasPods(source) && !hasPods(destination)) continue;
      const destinations = partsOf(source.face, destination);
      for (const part of partsOf(destination.face, source))
        for (const other of destinations) {
          const effect = effectOf(source, destination, part, other);
          if (!isDenied(effect)) yield { effect, sources: part.set, destinations: other.set };
        }
    }
  }
}

/** What {@link meetings} looks at: classes of one shape meet others in the same way. */
function shapeOf({ columns: all }: Classes, { kind, families, columns }: PeerClass): string {
  let shape = `${kind}${families.join('')}`;
  if (columns.length > 1)
    for (const column of columns)
      shape += `|${all[column]?.family ?? 0}${all[column]?.hostNetworkLikePods === true ? 'h' : ''}`;
  return shape;
}

function hasPods({ classes: [first] }: Group): boolean {
  return first?.kind === 'pod';
}

function faceOf(legs: readonly (Leg | undefined)[]): Face {
  const broad = [...new Set(legs.flatMap((leg) => leg?.broad ?? []))];
  return {
    legs,
    closed: legs.every((leg) => leg?.closed === true),
    broad,
    broadKey: broad.join(),
    listed: new Map(),
  };
}

function enlist(classes: Classes, face: Face, others: readonly (Group | undefined)[]): void {
  const listed = face.listed as Map<Group, PeerClass[]>;
  const seen = new Set<number>();
  for (const leg of face.legs)
    for (const column of leg?.listed ?? []) {
      const id = classes.columns[column]?.class ?? -1;
      const group = others[id];
      const peerClass = classes.list[id];
      if (group === undefined || peerClass === undefined || seen.has(id)) continue;
      seen.add(id);
      append(listed, group, peerClass);
    }
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function cellEffect(leg: Leg | undefined, cell: number | undefined): Effect {
  return leg === undefined || cell === undefined ? everything : leg.effectOf(cell);
}

interface Piece {
  readonly first: PeerClass;
  readonly list: readonly PeerClass[];
  readonly without: ReadonlySet<PeerClass> | undefined;
}

function setOf(pieces: readonly Piece[], peers: number): ClassSet {
  return {
    peers,
    first: (pieces[0] as Piece).first,
    classes: () =>
      pieces.flatMap(({ list, without }) =>
        without === undefined ? list : list.filter((one) => !without.has(one)),
      ),
  };
}

function wholeOf({ classes, peers }: Group): ClassSet {
  return { peers, first: classes[0] as PeerClass, classes: () => classes };
}
