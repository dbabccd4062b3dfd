/**
 * Reachability as a document: peers, and for each ordered pair what is open. The versioned shape
 * that every format renders and that other tools read. Must not know how it was computed.
 */
import type { PortSet } from '../net/port-set.ts';
import { isAllConnections, protocols, type ConnectionSet } from '../net/connection-set.ts';

export interface ReachabilityPeer {
  /** Unique; `src` and `dst` refer to it. */
  readonly id: string;
  readonly kind: 'pod' | 'workload' | 'ipBlock' | 'node';
  readonly namespace?: string;
  readonly name?: string;
  readonly addresses?: readonly string[];
  /** Pods behind a workload. */
  readonly pods?: number;
}

/** `port` to `endPort`, both included; a missing `endPort` is one port. */
export interface AllowedPorts {
  readonly protocol: string;
  readonly port: number;
  readonly endPort?: number;
}

export interface ReachabilityConnection {
  readonly src: string;
  readonly dst: string;
  /** `all`: every port of every protocol. */
  readonly allow: 'all' | readonly AllowedPorts[];
}

/** Pairs that are not listed are closed; self pairs and world → world are left out. */
export interface Reachability {
  readonly apiVersion: 'podwall/v1';
  readonly kind: 'Reachability';
  readonly completeness: object;
  /** Only these ports were asked for; absent: all. Nothing beyond them is said. */
  readonly within?: readonly AllowedPorts[];
  readonly peers: readonly ReachabilityPeer[];
  readonly connections: readonly ReachabilityConnection[];
  /** Pairs and ports that the input does not decide; they are not in `connections`. */
  readonly unknown: readonly ReachabilityConnection[];
}

/** A connection set in the document's form. `other` protocols alone have no entry: see `all`. */
export function allowOf(set: ConnectionSet): 'all' | AllowedPorts[] {
  if (isAllConnections(set)) return 'all';
  return protocols.flatMap((protocol) => entries(protocol, set[protocol]));
}

function entries(protocol: string, ports: PortSet): AllowedPorts[] {
  const list: AllowedPorts[] = [];
  for (let index = 0; index < ports.length; index += 2) {
    const port = ports[index] ?? 0;
    const endPort = ports[index + 1] ?? port;
    list.push({ protocol, port, ...(endPort === port ? {} : { endPort }) });
  }
  return list;
}

/** `all`, or `TCP 80,443 UDP 53`: for cells and labels. */
export function formatAllow(allow: ReachabilityConnection['allow']): string {
  if (allow === 'all') return 'all';
  const byProtocol = new Map<string, string[]>();
  for (const { protocol, port, endPort } of allow) {
    const text =
      endPort === undefined
        ? String(port)
        : port === 1 && endPort === 65535
          ? 'any'
          : `${port}-${endPort}`;
    byProtocol.set(protocol, [...(byProtocol.get(protocol) ?? []), text]);
  }
  return [...byProtocol].map(([protocol, ports]) => `${protocol} ${ports.join(',')}`).join(' ');
}
