/**
 * Connection sets as small numbers: each distinct set is kept once, and the algebra on numbers is
 * remembered. Must not know who may connect to whom.
 */
import {
  allConnections,
  intersectConnections,
  noConnections,
  subtractConnections,
  unionConnections,
} from '../net/connection-set.ts';
import type { ConnectionSet } from '../net/connection-set.ts';

/** The number of a set in one table. */
export type ConnectionId = number;

export const NONE: ConnectionId = 0;
export const ALL: ConnectionId = 1;

export interface ConnectionTable {
  /** How many distinct sets there are. */
  readonly size: number;
  idOf(set: ConnectionSet): ConnectionId;
  setOf(id: ConnectionId): ConnectionSet;
  union(a: ConnectionId, b: ConnectionId): ConnectionId;
  intersect(a: ConnectionId, b: ConnectionId): ConnectionId;
  subtract(a: ConnectionId, b: ConnectionId): ConnectionId;
}

/** More sets than this would not fit the keys of the memory of operations. */
const LIMIT = 2 ** 26;

export function createConnectionTable(): ConnectionTable {
  const sets: ConnectionSet[] = [];
  const ids = new Map<string, ConnectionId>();
  const unions = new Map<number, ConnectionId>();
  const intersections = new Map<number, ConnectionId>();
  const differences = new Map<number, ConnectionId>();

  const idOf = (set: ConnectionSet): ConnectionId => {
    const key = `${set.TCP.join()}|${set.UDP.join()}|${set.SCTP.join()}|${set.other ? 1 : 0}`;
    let id = ids.get(key);
    if (id === undefined) {
      id = sets.length;
      ids.set(key, id);
      sets.push(set);
    }
    return id;
  };
  const setOf = (id: ConnectionId): ConnectionSet => sets[id] ?? noConnections;
  idOf(noConnections);
  idOf(allConnections);

  const remember = (
    memory: Map<number, ConnectionId>,
    a: ConnectionId,
    b: ConnectionId,
    operation: (x: ConnectionSet, y: ConnectionSet) => ConnectionSet,
  ): ConnectionId => {
    const key = a * LIMIT + b;
    let id = memory.get(key);
    if (id === undefined) {
      id = idOf(operation(setOf(a), setOf(b)));
      memory.set(key, id);
    }
    return id;
  };

  return {
    get size() {
      return sets.length;
    },
    idOf,
    setOf,
    union(a, b) {
      if (a === b || b === NONE || a === ALL) return a;
      if (a === NONE || b === ALL) return b;
      return a < b
        ? remember(unions, a, b, unionConnections)
        : remember(unions, b, a, unionConnections);
    },
    intersect(a, b) {
      if (a === b || b === ALL || a === NONE) return a;
      if (a === ALL || b === NONE) return b;
      return a < b
        ? remember(intersections, a, b, intersectConnections)
        : remember(intersections, b, a, intersectConnections);
    },
    subtract(a, b) {
      if (a === NONE || b === NONE) return a;
      if (a === b || b === ALL) return NONE;
      return remember(differences, a, b, subtractConnections);
    },
  };
}
