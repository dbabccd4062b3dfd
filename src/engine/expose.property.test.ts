import fc from 'fast-check';
import { expect, it } from 'vitest';
import { randomCluster } from '../../test/arbitrary/cluster.ts';
import type { KubeObject } from '../k8s/types.ts';
import { hasConnection } from '../net/connection-set.ts';
import { intersect } from '../net/address-set.ts';
import { buildSnapshot } from './build.ts';
import { createEvaluator } from './evaluate.ts';
import { exposures } from './expose.ts';
import { typicalPair } from './groups.ts';
import { computeReach, type ReachPeer } from './reach.ts';
import type { Endpoint } from './verdict.ts';
import { representatives, worldOf } from './world.ts';

it("each side says of existing peers what the evaluator's leg says, and the pair what it says", () => {
  let points = 0;
  let nodes = 0;
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const { objects } = randomCluster(seed, { maxPods: 6, hostNetwork: false });
      const { snapshot } = buildSnapshot(
        objects.map((object) => ({ object: object as unknown as KubeObject })),
      );
      const world = worldOf(snapshot);
      const endpoint = (peer: ReachPeer): Endpoint | undefined => {
        if (peer.kind === 'pod') return { kind: 'pod', pod: peer.pod };
        if (peer.kind === 'node') return { kind: 'node', node: peer.node };
        const [address] = representatives(intersect(peer.addresses, world));
        return address === undefined ? undefined : { kind: 'address', address };
      };
      const evaluator = createEvaluator(snapshot);
      const reach = computeReach(snapshot);
      for (const { group, ingress, egress } of exposures(reach))
        for (const side of [ingress, egress])
          for (const { group: other, allowed, open } of side.peers) {
            const inward = side.direction === 'Ingress';
            const pair = inward
              ? typicalPair(reach, other, group)
              : typicalPair(reach, group, other);
            const [from, to] = pair.map((position) => reach.peers[position]);
            const source = from && endpoint(from);
            const destination = to && endpoint(to);
            if (source === undefined || destination === undefined) continue;
            if (other.kind === 'node') nodes += 1;
            for (const [protocol, port] of [
              ['TCP', 80],
              ['TCP', 81],
              ['UDP', 53],
              ['SCTP', 8080],
            ] as const) {
              const verdict = evaluator.evaluate({
                source,
                destination,
                protocol,
                port,
              });
              const leg = inward ? verdict.ingress : verdict.egress;
              expect(hasConnection(allowed, protocol, port)).toBe(leg.outcome === 'allowed');
              expect(hasConnection(open, protocol, port)).toBe(verdict.outcome === 'allowed');
              points += 1;
            }
          }
    }),
    { numRuns: Number(process.env['PODWALL_RUNS'] ?? 40) },
  );
  expect(points).toBeGreaterThan(1000);
  expect(nodes).toBeGreaterThan(100);
});
