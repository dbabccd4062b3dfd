/**
 * Audit on random clusters: of a node it denies nothing and tells what would be; of single policies it
 * only ever softens denials, and what it lets pass is exactly what it says.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { compileNode } from '../../src/dataplane/compile.ts';
import type { DataplaneOptions, NodeProgram } from '../../src/dataplane/model.ts';
import { simulate } from '../../src/dataplane/simulate.ts';
import { buildSnapshot } from '../../src/engine/build.ts';
import { formatAddress, parseAddress, sameAddress } from '../../src/net/address.ts';
import { askedPorts, clusterArbitrary } from '../arbitrary/cluster.ts';
import { pick, seededDraw } from '../arbitrary/draw.ts';

const { PODWALL_CASES, PODWALL_SEED } = process.env;
const seed = PODWALL_SEED === undefined ? Date.now() % 0x7fffffff : Number(PODWALL_SEED);
const clusters = Number(PODWALL_CASES ?? 200);

type Json = Record<string, unknown> & { kind: string; metadata: Record<string, unknown> };

it(`audit softens denials, and says each (seed ${seed})`, () => {
  let denials = 0;
  let softened = 0;
  let audited = 0;
  fc.assert(
    fc.property(
      clusterArbitrary({ gaps: false }),
      fc.integer({ min: 0, max: 0x7fffffff }),
      (cluster, random) => {
        const draw = seededDraw(random);
        const objects = cluster.objects.map((object) => structuredClone(object) as unknown as Json);
        const marked = objects.map((object) =>
          object.kind === 'NetworkPolicy' && pick(draw, [true, false])
            ? {
                ...object,
                metadata: { ...object.metadata, annotations: { 'podwall.dev/mode': 'audit' } },
              }
            : object,
        );
        const compile = (
          list: readonly Json[],
          node: string,
          options: Partial<DataplaneOptions> = {},
        ): NodeProgram =>
          compileNode(
            buildSnapshot(list.map((object) => ({ object: object as never }))).snapshot,
            node,
            options,
          );
        const { snapshot } = buildSnapshot(objects.map((object) => ({ object: object as never })));
        const addresses = [...cluster.addresses, ...cluster.outside]
          .flatMap((text) => parseAddress(text) ?? [])
          .concat(snapshot.pods.flatMap((pod) => (pod.hostNetwork ? [] : pod.addresses)));
        for (const node of snapshot.nodes.keys()) {
          const enforcing = compile(objects, node);
          const auditing = compile(objects, node, { mode: 'audit' });
          const mixed = compile(marked, node);
          for (let i = 0; i < 20; i += 1) {
            const source = pick(draw, addresses);
            const destination = pick(draw, addresses);
            if (source.family !== destination.family || sameAddress(source, destination)) continue;
            const protocol = pick(draw, ['TCP', 'UDP', 'SCTP', 'other'] as const);
            const packet = {
              source,
              destination,
              protocol,
              ...(protocol === 'other' ? {} : { port: pick(draw, askedPorts) }),
            };
            const told = `${node}: ${formatAddress(source)} → ${formatAddress(destination)} ${protocol}`;
            const strict = simulate(enforcing, packet);
            expect(simulate(auditing, packet), told).toEqual(
              strict.outcome === 'denied'
                ? { outcome: 'allowed', audited: strict.direction }
                : { outcome: 'allowed' },
            );
            const soft = simulate(mixed, packet);
            const against = soft.outcome === 'denied' || soft.audited !== undefined;
            expect(against, told).toBe(strict.outcome === 'denied');
            if (strict.outcome === 'denied') denials += 1;
            if (soft.outcome === 'allowed' && soft.audited !== undefined) softened += 1;
            if (mixed.audits) audited += 1;
          }
        }
      },
    ),
    { seed, numRuns: clusters },
  );
  console.log(
    `${denials} denials, ${softened} of them softened by annotations; ${audited} packets met audited policies`,
  );
  if (clusters >= 100) expect(Math.min(denials, softened)).toBeGreaterThan(10);
});
