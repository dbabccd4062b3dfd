import fc from 'fast-check';
import { expect, it } from 'vitest';
import { randomCluster } from '../../test/arbitrary/cluster.ts';
import type { KubeObject } from '../k8s/types.ts';
import { hasConnection } from '../net/connection-set.ts';
import { intersect } from '../net/address-set.ts';
import { buildSnapshot } from './build.ts';
import { createEvaluator } from './evaluate.ts';
import { exposures } from './expose.ts';
import { computeReach, type ReachPeer } from './reach.ts';
import type { Endpoint } from './verdict.ts';
import { representatives, worldOf } from './world.ts';

it("each side says of existing peers what the evaluator's leg says, and the pair what it says", () => {
  let points = 0;
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const { objects } = randomCluster(seed, { maxPods: 6, hostNetwork: false });
      const { snapshot } = buildSnapshot(
        objects.map((object) => ({ object: object as unknown as KubeObject })),
      );
      const world = worldOf(snapshot);
      const endpoint = (peer: ReachPeer): Endpoint | undefined => {
        if (peer.kind === 'pod') return { kind: 'pod', pod: peer.pod };
        // Nodes have exemptions that groups do not tell.
        if (peer.kind === 'node') return undefined;
        const [address] = representatives(intersect(peer.addresses, world));
        return address === undefined ? undefined : { kind: 'address', address };
      };
      const evaluator = createEvaluator(snapshot);
      for (const { group, ingress, egress } of exposures(computeReach(snapshot)))
        for (const side of [ingress, egress])
          for (const { group: other, allowed, open } of side.peers) {
            const [own, peer] = [endpoint(group.first), endpoint(other.first)];
            if (own === undefined || peer === undefined) continue;
            for (const [protocol, port] of [
              ['TCP', 80],
              ['TCP', 81],
              ['UDP', 53],
              ['SCTP', 8080],
            ] as const) {
              const verdict = evaluator.evaluate({
                source: side.direction === 'Ingress' ? peer : own,
                destination: side.direction === 'Ingress' ? own : peer,
                protocol,
                port,
              });
              const leg = side.direction === 'Ingress' ? verdict.ingress : verdict.egress;
              expect(hasConnection(allowed, protocol, port)).toBe(leg.outcome === 'allowed');
              expect(hasConnection(open, protocol, port)).toBe(verdict.outcome === 'allowed');
              points += 1;
            }
          }
    }),
    { numRuns: Number(process.env['PODWALL_RUNS'] ?? 40) },
  );
  expect(points).toBeGreaterThan(1000);
});
