/** The symbolic all-pairs result held to the naive evaluator, point by point. */
import { describe, it } from 'vitest';
import { computeReach, type Reach } from '../../src/engine/reach.ts';
import { containsAddress } from '../../src/net/address-set.ts';
import { parseAddress } from '../../src/net/address.ts';
import { hasConnection } from '../../src/net/connection-set.ts';
import { askedPorts, canConnect, type RandomCluster } from '../arbitrary/cluster.ts';
import { pick, type Draw } from '../arbitrary/draw.ts';
import { naiveEvaluate, type NaiveConnection, type NaiveEnd } from '../naive/evaluate.ts';
import { allProtocols, anySettings, hold, snapshotOf, type Property } from './run.ts';

/** Position among the peers of the symbolic result. */
function position(reach: Reach, end: NaiveEnd): number {
  const found = reach.peers.findIndex((peer) => {
    if ('pod' in end) return peer.kind === 'pod' && peer.pod.id === end.pod;
    if ('node' in end) return peer.kind === 'node' && peer.node.name === end.node;
    const address = parseAddress(end.address);
    return (
      peer.kind === 'world' && address !== undefined && containsAddress(peer.addresses, address)
    );
  });
  if (found < 0) throw new Error(`no peer for ${JSON.stringify(end)}`);
  return found;
}

function drawEnd(draw: Draw, cluster: RandomCluster): NaiveEnd {
  const form = draw.integer(1, 10);
  if (form === 1) return { node: pick(draw, cluster.nodes) };
  if (form === 2) return { address: pick(draw, cluster.outside) };
  return { pod: pick(draw, cluster.pods) };
}

/** Peers have no address chosen; at least one end is a pod, the ends differ and share a family. */
function drawPair(draw: Draw, cluster: RandomCluster): NaiveConnection {
  const protocol = pick(draw, allProtocols);
  const port = protocol === 'other' ? {} : { port: pick(draw, askedPorts) };
  for (;;) {
    const source = drawEnd(draw, cluster);
    const destination = drawEnd(draw, cluster);
    const same = JSON.stringify(source) === JSON.stringify(destination);
    const hasPod = 'pod' in source || 'pod' in destination;
    if (!same && hasPod && canConnect(cluster, source, destination)) {
      return { source, destination, protocol, ...port };
    }
  }
}

const reachAndNaive: Pick<Property, 'draw' | 'prepare'> = {
  draw: drawPair,
  prepare(objects, settings) {
    const reach = computeReach(snapshotOf(objects, settings));
    return (connection) => {
      const { protocol, port } = connection;
      const ends = [connection.source, connection.destination] as const;
      const pair = reach.lookup(position(reach, ends[0]), position(reach, ends[1]));
      const allowed = hasConnection(pair.allowed, protocol, port);
      const unknown = hasConnection(pair.unknown, protocol, port);
      const { outcome } = naiveEvaluate(objects, connection, settings);
      const found = allowed ? 'allowed' : unknown ? 'unknown' : 'denied';
      return { found: allowed && unknown ? 'both' : found, expected: outcome, outcome };
    };
  },
};

describe('all pairs and naive evaluator', { timeout: 600_000 }, () => {
  it('agree on all policy kinds, IPv4 and IPv6', () => {
    hold({ name: 'all pairs, all kinds', points: 200_000, ...reachAndNaive });
  });

  it('agree under every setting', () => {
    const settings = anySettings;
    hold({ name: 'all pairs, random settings', points: 20_000, settings, ...reachAndNaive });
  });
});
