/**
 * Whether an entry of a rule's ports matches a connection. Must not know of peers or tiers.
 */
import type { Protocol } from '../net/connection-set.ts';
import type { CompiledPort } from '../policy/compiled.ts';
import type { NamedPort, PodInfo } from './snapshot.ts';
import { truthOf } from './truth.ts';
import type { Truth } from './truth.ts';

/** The destination side of a connection: what ports are compared with (S128, S129). */
export interface Target {
  readonly protocol: Protocol | 'other';
  /** Absent for `other`; absent otherwise: not known. */
  readonly port?: number;
  /** Named ports are the destination pod's own (S132, S134); towards anything else they match nothing (S137). */
  readonly pod?: PodInfo;
}

/** S124–S126, S130, S132–S138, S271–S273. */
export function matchesPort(entry: CompiledPort, target: Target): Truth {
  const { protocol, port } = target;
  if (protocol === 'other') return 'no';
  if (entry.kind === 'range') {
    if (entry.protocol !== protocol) return 'no';
    if (entry.from <= 1 && entry.to >= 65535) return 'yes';
    if (port === undefined) return 'maybe';
    return truthOf(port >= entry.from && port <= entry.to);
  }
  let found: Truth = 'no';
  for (const named of target.pod?.namedPorts ?? []) {
    if (!isNamed(named, entry) || named.protocol !== protocol) continue;
    if (named.port === port) return 'yes';
    if (port === undefined) found = 'maybe';
  }
  return found;
}

/**
 * Whether a container port is meant by a named entry (S135, S272). Of several ports with one name,
 * each counts (S136: the specification leaves it open).
 */
export function isNamed(
  port: NamedPort,
  entry: CompiledPort & { readonly kind: 'named' },
): boolean {
  return (
    port.name === entry.name && (entry.protocol === undefined || entry.protocol === port.protocol)
  );
}
