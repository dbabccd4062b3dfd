/**
 * Random event streams through the kept program into a real kernel, each step beside a fresh agent's
 * program in another kernel: the tables must be the same, byte for byte after normalisation.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  compileNode,
  createBackend,
  createNodeCompiler,
  interactiveRunner,
  spawnRunner,
} from '../../src/dataplane/index.ts';
import type { DataplaneOptions, InteractiveRunner } from '../../src/dataplane/index.ts';
import { buildSnapshot } from '../../src/engine/build.ts';
import { createClusterFacts } from '../../src/engine/cluster-facts.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import { chance, pick, seededDraw } from '../arbitrary/draw.ts';
import { nextStep, versions } from '../arbitrary/events.ts';
import { canMakeBed, makeBed } from './dataplane/bed.ts';
import type { Bed } from './dataplane/bed.ts';
import { normalise } from './dataplane/ruleset.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`incremental e2e tests skipped: ${impossible}`);

const { PODWALL_SEED, PODWALL_SOAK, CI } = process.env;
const seed = Number(PODWALL_SEED ?? (CI === undefined ? Date.now() % 0x7fffffff : 20_261_123));
const streams = PODWALL_SOAK === undefined ? 3 : 60;
const steps = 6;

describe.skipIf(impossible !== undefined)('the kept program in a kernel', () => {
  let bed: Bed;
  let runner: InteractiveRunner;
  const listing = async (node: string): Promise<string> =>
    normalise(await bed.sh(`ip netns exec ${node} nft list ruleset`));

  beforeAll(async () => {
    bed = await makeBed([]);
    runner = interactiveRunner({ netns: bed.netns('node-1') });
  });
  afterAll(async () => {
    await runner?.close();
    await bed?.close();
  });

  it(
    `${streams} streams of ${steps} steps (seed ${seed})`,
    async () => {
      let partial = 0;
      let transactions = 0;
      for (let stream = 0; stream < streams; stream++) {
        const draw = seededDraw(seed + stream);
        const options: Partial<DataplaneOptions> = {
          unknownPod: pick(draw, ['deny', 'allow']),
          observe: chance(draw, 30),
        };
        const kept = createBackend({ nft: runner.run, options });
        const facts = createClusterFacts();
        const compiler = createNodeCompiler({ node: 'node-0', dataplane: options });
        const pool = versions(draw);
        const present = new Map<string, KubeObject>();
        for (let step = 0; step < steps; step++) {
          const changes = nextStep(draw, pool, present, step === 0 ? 40 : draw.integer(3, 8));
          const { program, delta } = compiler.update(facts.apply(changes.values()));
          const report = await kept.apply(program, delta);
          if (report.partial) partial++;
          transactions += report.transactions.length;
          expect(report.reread).toBe(false);

          // As an agent that starts now would write it, in a kernel without a past.
          const fresh = createBackend({
            nft: spawnRunner({ netns: bed.netns('node-2') }),
            options,
          });
          await fresh.cleanup();
          const { snapshot } = buildSnapshot([...present.values()].map((object) => ({ object })));
          await fresh.apply(compileNode(snapshot, 'node-0', options));
          expect(await listing('node-1')).toBe(await listing('node-2'));
        }
      }
      console.info(
        `${streams * steps} steps, ${partial} of what changed only, ${transactions} transactions: the tables of a fresh agent`,
      );
      expect(partial).toBe(streams * (steps - 1));
      expect(transactions).toBeGreaterThan(streams * 3);
      expect(runner.counts.interactive).toBeGreaterThan(transactions - 1);
    },
    streams * 60_000,
  );
});
