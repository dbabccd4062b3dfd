/**
 * What may pass between two ends: ports per protocol, and whether other IP protocols may. Must not
 * know of addresses or policies.
 */
import {
  allPorts,
  complementPorts,
  equalPorts,
  formatPorts,
  hasPort,
  intersectPorts,
  noPorts,
  portRange,
  subtractPorts,
  unionPorts,
} from './port-set.ts';
import type { PortSet } from './port-set.ts';

/** The protocols a NetworkPolicy can name. */
export type Protocol = 'TCP' | 'UDP' | 'SCTP';

export const protocols: readonly Protocol[] = Object.freeze(['TCP', 'UDP', 'SCTP'] as const);

export interface ConnectionSet {
  readonly TCP: PortSet;
  readonly UDP: PortSet;
  readonly SCTP: PortSet;
  /** Every other IP protocol (ICMP, GRE, …), all of them or none. */
  readonly other: boolean;
}

export const allConnections: ConnectionSet = Object.freeze({
  TCP: allPorts,
  UDP: allPorts,
  SCTP: allPorts,
  other: true,
});

export const noConnections: ConnectionSet = Object.freeze({
  TCP: noPorts,
  UDP: noPorts,
  SCTP: noPorts,
  other: false,
});

/** Ports `from` to `to` (default: only `from`) of one protocol. */
export function connectionsOf(protocol: Protocol, from: number, to: number = from): ConnectionSet {
  return { ...noConnections, [protocol]: portRange(from, to) };
}

export function unionConnections(a: ConnectionSet, b: ConnectionSet): ConnectionSet {
  if (a === b || a === allConnections || b === noConnections) return a;
  if (b === allConnections || a === noConnections) return b;
  return interned(
    unionPorts(a.TCP, b.TCP),
    unionPorts(a.UDP, b.UDP),
    unionPorts(a.SCTP, b.SCTP),
    a.other || b.other,
  );
}

export function intersectConnections(a: ConnectionSet, b: ConnectionSet): ConnectionSet {
  if (a === b || a === noConnections || b === allConnections) return a;
  if (b === noConnections || a === allConnections) return b;
  return interned(
    intersectPorts(a.TCP, b.TCP),
    intersectPorts(a.UDP, b.UDP),
    intersectPorts(a.SCTP, b.SCTP),
    a.other && b.other,
  );
}

export function subtractConnections(a: ConnectionSet, b: ConnectionSet): ConnectionSet {
  if (a === noConnections || b === noConnections) return a;
  if (a === b || b === allConnections) return noConnections;
  return interned(
    subtractPorts(a.TCP, b.TCP),
    subtractPorts(a.UDP, b.UDP),
    subtractPorts(a.SCTP, b.SCTP),
    a.other && !b.other,
  );
}

export function complementConnections(a: ConnectionSet): ConnectionSet {
  return interned(
    complementPorts(a.TCP),
    complementPorts(a.UDP),
    complementPorts(a.SCTP),
    !a.other,
  );
}

export function isAllConnections(a: ConnectionSet): boolean {
  return a === allConnections || equalConnections(a, allConnections);
}

export function isNoConnections(a: ConnectionSet): boolean {
  return (
    a === noConnections ||
    (!a.other && a.TCP.length === 0 && a.UDP.length === 0 && a.SCTP.length === 0)
  );
}

export function equalConnections(a: ConnectionSet, b: ConnectionSet): boolean {
  return (
    a === b ||
    (a.other === b.other &&
      equalPorts(a.TCP, b.TCP) &&
      equalPorts(a.UDP, b.UDP) &&
      equalPorts(a.SCTP, b.SCTP))
  );
}

/** Whether everything in `b` is also in `a`. */
export function containsConnections(a: ConnectionSet, b: ConnectionSet): boolean {
  return isNoConnections(subtractConnections(b, a));
}

/** Whether one connection is in the set. Without a port: whether every port of the protocol is. */
export function hasConnection(
  set: ConnectionSet,
  protocol: Protocol | 'other',
  port?: number,
): boolean {
  if (protocol === 'other') return set.other;
  return port === undefined ? equalPorts(set[protocol], allPorts) : hasPort(set[protocol], port);
}

/** `all`, `none`, or words such as `TCP 80,443 UDP 53 other`. */
export function formatConnections(set: ConnectionSet): string {
  if (isAllConnections(set)) return 'all';
  const parts: string[] = [];
  for (const protocol of protocols)
    if (set[protocol].length > 0) parts.push(`${protocol} ${formatPorts(set[protocol])}`);
  if (set.other) parts.push('other');
  return parts.length === 0 ? 'none' : parts.join(' ');
}

/** The two constants keep their identity, so that the quick tests above meet them often. */
function interned(TCP: PortSet, UDP: PortSet, SCTP: PortSet, other: boolean): ConnectionSet {
  if (other) {
    if (TCP === allPorts && UDP === allPorts && SCTP === allPorts) return allConnections;
  } else if (TCP === noPorts && UDP === noPorts && SCTP === noPorts) {
    return noConnections;
  }
  return { TCP, UDP, SCTP, other };
}
