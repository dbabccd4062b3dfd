/**
 * The connections of a lesson by name: who could talk to whom on what. Must not know policies,
 * addresses or packets.
 */
import type { LabPort } from '../types.ts';

/** One end of the lesson's connections: a pod, or a host beside the cluster. */
export interface Party {
  /** `namespace/pod`, or the bare name of an outside host. */
  readonly name: string;
  readonly outside: boolean;
  readonly listens: readonly LabPort[];
  /** Starts only after the learner's policy is in force. */
  readonly later: boolean;
}

/** One connection that can be tried: something listens there. */
export interface Flow {
  readonly source: string;
  readonly destination: string;
  readonly port: LabPort;
}

/** Identity of a flow, and its text in messages: `dev/a → prod/b TCP 80`. */
export function flowKey({ source, destination, port }: Flow): string {
  return `${source} → ${destination} ${port.protocol} ${port.port}`;
}

function samePort(a: LabPort, b: LabPort): boolean {
  return a.protocol === b.protocol && a.port === b.port;
}

/** Can be tried at all: not to itself, not between outside hosts, and somebody listens. */
function isTriable(source: Party, destination: Party, port: LabPort): boolean {
  if (source.name === destination.name) return false;
  if (source.outside && destination.outside) return false;
  return destination.listens.some((one) => samePort(one, port));
}

/** Every connection of these parties on these ports. */
export function allFlows(parties: readonly Party[], ports: readonly LabPort[]): Flow[] {
  return ports.flatMap((port) =>
    parties.flatMap((source) =>
      parties
        .filter((destination) => isTriable(source, destination, port))
        .map((destination) => ({ source: source.name, destination: destination.name, port })),
    ),
  );
}

/**
 * Names as tasks write them: `ns/pod`, `ns/*`, `*` for every pod, `world` for every outside host, or
 * the name of one; several separated by commas. A sentence when a name leads nowhere.
 */
function namedParties(text: string, parties: readonly Party[]): Party[] | string {
  const found: Party[] = [];
  for (const name of text.split(',').map((one) => one.trim())) {
    const some = parties.filter((one) => {
      if (name === '*') return !one.outside;
      if (name === 'world') return one.outside;
      if (name.endsWith('/*')) return !one.outside && one.name.startsWith(name.slice(0, -1));
      return one.name === name;
    });
    if (some.length === 0) return `the lesson has no ${name}`;
    found.push(...some);
  }
  return found;
}

/** The triable connections that two lists of names and ports stand for. */
export function expandFlows(
  from: string,
  to: string,
  ports: readonly LabPort[],
  parties: readonly Party[],
): Flow[] | string {
  const sources = namedParties(from, parties);
  const destinations = namedParties(to, parties);
  if (typeof sources === 'string') return sources;
  if (typeof destinations === 'string') return destinations;
  return ports.flatMap((port) =>
    sources.flatMap((source) =>
      destinations
        .filter((destination) => isTriable(source, destination, port))
        .map((destination) => ({ source: source.name, destination: destination.name, port })),
    ),
  );
}
