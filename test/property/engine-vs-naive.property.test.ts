/** The evaluator held to the naive one, leg by leg, on random clusters and connections. */
import { describe, it } from 'vitest';
import { createEvaluator } from '../../src/engine/evaluate.ts';
import type { Snapshot } from '../../src/engine/snapshot.ts';
import type { Endpoint } from '../../src/engine/verdict.ts';
import { parseAddress, type Address } from '../../src/net/address.ts';
import { drawConnection } from '../arbitrary/cluster.ts';
import { naiveEvaluate, type NaiveEnd } from '../naive/evaluate.ts';
import { allProtocols, anySettings, hold, snapshotOf, type Property } from './run.ts';

function addressOf(text: string): Address {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`the engine cannot read ${text}`);
  return address;
}

function endpoint(snapshot: Snapshot, end: NaiveEnd): Endpoint {
  const address = end.address === undefined ? {} : { address: addressOf(end.address) };
  if ('pod' in end) {
    const pod = snapshot.podById.get(end.pod);
    if (pod === undefined) throw new Error(`the engine does not know pod ${end.pod}`);
    return { kind: 'pod', pod, ...address };
  }
  if ('node' in end) {
    const node = snapshot.nodes.get(end.node);
    if (node === undefined) throw new Error(`the engine does not know node ${end.node}`);
    return { kind: 'node', node, ...address };
  }
  return { kind: 'address', address: addressOf(end.address) };
}

const engineAndNaive: Pick<Property, 'draw' | 'prepare'> = {
  draw: (draw, cluster) => drawConnection(draw, cluster, allProtocols),
  prepare(objects, settings) {
    const snapshot = snapshotOf(objects, settings);
    const evaluator = createEvaluator(snapshot);
    return (connection) => {
      const { outcome, egress, ingress } = evaluator.evaluate({
        ...connection,
        source: endpoint(snapshot, connection.source),
        destination: endpoint(snapshot, connection.destination),
      });
      const naive = naiveEvaluate(objects, connection, settings);
      return {
        found: `${outcome}: egress ${egress.outcome}, ingress ${ingress.outcome}`,
        expected: `${naive.outcome}: egress ${naive.egress}, ingress ${naive.ingress}`,
        outcome: naive.outcome,
      };
    };
  },
};

describe('engine and naive evaluator', { timeout: 600_000 }, () => {
  it('agree on NetworkPolicy v1', () => {
    const options = { kinds: ['NetworkPolicy'] } as const;
    hold({ name: 'NetworkPolicy v1', points: 100_000, options, ...engineAndNaive });
  });

  it('agree on all policy kinds, IPv4 and IPv6', () => {
    hold({ name: 'all kinds', points: 200_000, ...engineAndNaive });
  });

  it('agree under every setting', () => {
    const settings = anySettings;
    hold({ name: 'all kinds, random settings', points: 50_000, settings, ...engineAndNaive });
  });
});
