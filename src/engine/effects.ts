/**
 * Joins what single legs and single ways of meeting allow into what a pair is allowed. Must not know
 * who the pair is.
 */
import { ALL, NONE } from './connection-table.ts';
import type { ConnectionId, ConnectionTable } from './connection-table.ts';

/** Disjoint: what is allowed, and what is not known. The rest is denied. */
export interface Effect {
  readonly allowed: ConnectionId;
  readonly unknown: ConnectionId;
}

/** No policy has a say. */
export const everything: Effect = { allowed: ALL, unknown: NONE };

export function isDenied({ allowed, unknown }: Effect): boolean {
  return allowed === NONE && unknown === NONE;
}

/** S148: both ends must allow. */
export function bothEffects(table: ConnectionTable, egress: Effect, ingress: Effect): Effect {
  const allowed = table.intersect(egress.allowed, ingress.allowed);
  if (egress.unknown === NONE && ingress.unknown === NONE) return { allowed, unknown: NONE };
  const possible = table.intersect(
    table.union(egress.allowed, egress.unknown),
    table.union(ingress.allowed, ingress.unknown),
  );
  return { allowed, unknown: table.subtract(possible, allowed) };
}

/** Either way of meeting may be the one taken: sure is what both allow. */
export function mergeEffects(table: ConnectionTable, a: Effect, b: Effect): Effect {
  const allowed = table.intersect(a.allowed, b.allowed);
  const possible = table.union(
    table.union(a.allowed, a.unknown),
    table.union(b.allowed, b.unknown),
  );
  return { allowed, unknown: table.subtract(possible, allowed) };
}
