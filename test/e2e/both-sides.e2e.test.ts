/**
 * A flood while one label exchanges the side that denies, and over every kind of update on bridged
 * pods: nothing denied before and after gets through, nothing allowed before and after is lost.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compileNode, createBackend, interactiveRunner } from '../../src/dataplane/index.ts';
import type { InteractiveRunner, NodeProgram } from '../../src/dataplane/index.ts';
import { buildSnapshot } from '../../src/engine/build.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import { seededDraw } from '../arbitrary/draw.ts';
import { changed, randomObjects } from '../arbitrary/one-change.ts';
import { clusterObjects, networkPolicy, pods } from '../contract/dataplane.ts';
import { address, address6, canMakeBed, makeBed } from './dataplane/bed.ts';
import type { Bed, PodProcess } from './dataplane/bed.ts';
import { formatCount, startFlood } from './dataplane/flood.ts';
import type { FloodCount, Stream } from './dataplane/flood.ts';
import { floodPods, streams, updates } from './dataplane/updates.ts';
import { withLabels } from './enforcement/objects.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`floods of both sides skipped: ${impossible}`);
const soak = process.env['PODWALL_SOAK'] === '1';
const seed = Number(process.env['PODWALL_SEED'] ?? Date.now() % 0x7fffffff);
const flips = soak ? 2000 : 60;

const to = (name: string): string[] =>
  pods.filter((pod) => pod.name === name).flatMap((pod) => [address(pod), address6(pod)]);
const udp = (port: number): object[] => [{ protocol: 'UDP', port }];
const roles = (...values: string[]): object => ({
  podSelector: { matchExpressions: [{ key: 'role', operator: 'In', values }] },
});

/** `left` and `right` exchange who denies; on 7001 both allow. */
const exchange: readonly KubeObject[] = [
  networkPolicy('left', {
    podSelector: { matchLabels: { role: 'left' } },
    policyTypes: ['Egress', 'Ingress'],
    egress: [{ ports: udp(7001) }, { ports: udp(7999) }],
    ingress: [{ ports: udp(7003) }, { ports: udp(7002) }],
  }),
  networkPolicy('right', {
    podSelector: { matchLabels: { role: 'right' } },
    policyTypes: ['Egress', 'Ingress'],
    egress: [{ ports: udp(7000) }, { ports: udp(7001) }],
    ingress: [{ ports: udp(7003) }],
  }),
  networkPolicy('db', {
    podSelector: { matchLabels: { role: 'db' } },
    policyTypes: ['Egress', 'Ingress'],
    ingress: [
      { from: [roles('left')], ports: udp(7000) },
      { from: [roles('left', 'right')], ports: udp(7001) },
    ],
    egress: [
      { to: [roles('right')], ports: udp(7002) },
      { to: [roles('left', 'right')], ports: udp(7003) },
    ],
  }),
];
const exchanged: readonly Stream[] = [
  // Egress denies `left`, ingress denies `right`.
  { from: 'front', to: to('db'), port: 7000, allowed: false },
  { from: 'front', to: to('db'), port: 7001, allowed: true },
  // The other way round: db may send to `right` only, and only `left` takes it.
  { from: 'dev1', to: to('front'), port: 7002, allowed: false },
  { from: 'dev1', to: to('front'), port: 7003, allowed: true },
];

describe.skipIf(impossible !== undefined).each(['routed', 'bridge'] as const)(
  '%s pods',
  (wiring) => {
    let bed: Bed;
    let runner: InteractiveRunner;
    const processes = new Map<string, PodProcess>();
    const ask = (name: string): PodProcess => processes.get(name) as PodProcess;

    beforeAll(async () => {
      bed = await makeBed(floodPods(32), { wiring });
      for (const name of ['front', 'dev1', 'dev2', 'guest']) processes.set(name, bed.process(name));
      runner = interactiveRunner({ netns: bed.netns('node-1') });
    });
    afterAll(async () => {
      await runner?.close();
      await bed?.close();
    });

    const program = (objects: readonly KubeObject[]): NodeProgram =>
      compileNode(buildSnapshot(objects.map((object) => ({ object }))).snapshot, 'node-1');
    /** Floods over all of `programs`, one after the other. */
    const flood = async (
      wanted: readonly Stream[],
      programs: Iterable<NodeProgram>,
    ): Promise<{ result: FloodCount; commits: number }> => {
      const backend = createBackend({ nft: runner.run });
      const [first, ...rest] = programs;
      await backend.apply(first as NodeProgram);
      const running = await startFlood(bed, ask, wanted);
      let commits = 0;
      for (const next of rest) commits += (await backend.apply(next)).transactions.length;
      const result = await running.stop();
      await backend.cleanup();
      console.info(`${wiring}: ${rest.length} updates, ${commits} commits; ${formatCount(result)}`);
      return { result, commits };
    };

    it('one label exchanges the side that denies, of senders and of receivers', async () => {
      const states = ['left', 'right'].map((role) =>
        program([
          ...withLabels(withLabels(clusterObjects(), 'front', { role }), 'dev1', {
            role: 'db',
          }).map((object) =>
            object.kind === 'Pod' && object.metadata.name === 'dev1'
              ? { ...object, metadata: { ...object.metadata, namespace: 'prod' } }
              : object,
          ),
          ...exchange,
        ]),
      ) as [NodeProgram, NodeProgram];
      const { result, commits } = await flood(
        exchanged,
        Array.from({ length: flips }, (_, index) => states[index % 2] as NodeProgram),
      );
      expect(result).toMatchObject({ leaked: 0, lost: 0 });
      expect(commits).toBeGreaterThan(flips * 3);
      expect(Math.min(result.denied, result.allowed)).toBeGreaterThan(commits * 5);
    });

    if (wiring === 'routed')
      it(`the kernel takes every step of random updates, with tiers and audit (seed ${seed})`, async () => {
        const draw = seededDraw(seed);
        const backend = createBackend({ nft: runner.run, collectAfterMs: 0 });
        let commits = 0;
        for (let round = 0; round < (soak ? 100 : 20); round++) {
          let objects = randomObjects(draw, 'deep');
          for (let change = 0; change < 12; change++) {
            const { snapshot } = buildSnapshot(
              objects.map((object) => ({ object })),
              {
                settings: { podToOwnNode: 'allow', selfThroughService: 'allow' },
              },
            );
            const { transactions } = await backend.apply(compileNode(snapshot, 'n'));
            commits += transactions.length;
            objects = changed(draw, objects, 'deep');
          }
        }
        await backend.cleanup();
        console.info(`random updates: ${commits} commits`);
        expect(commits).toBeGreaterThan(100);
      });

    // On routed pods flood.e2e.test.ts does the same at length.
    if (wiring === 'bridge')
      it('lesson 9: every kind of update on bridged pods', async () => {
        const stream = updates();
        const programs = Array.from({ length: soak ? 400 : 33 }, () => {
          const { objects, options } = stream.next().value;
          return compileNode(
            buildSnapshot(objects.map((object) => ({ object }))).snapshot,
            'node-1',
            options,
          );
        });
        const { result } = await flood(streams, programs);
        expect(result).toMatchObject({ leaked: 0, lost: 0 });
        expect(Math.min(result.denied, result.allowed)).toBeGreaterThan(1000);
      });
  },
);
