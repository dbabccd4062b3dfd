/**
 * What one round of the agent costs without the kernel: snapshot and program from all objects.
 *
 *   node --import tsx bench/agent-round.ts
 */
import { compileNode } from '../src/dataplane/index.ts';
import { buildSnapshot, createBuildCache } from '../src/engine/build.ts';
import { cluster } from './agent-cluster.ts';

/** CPU time, since other work on the machine must not count. */
function cpu(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

console.log(
  'pods     policies  snapshot p50   program p50   (CPU ms, 7 runs, all but the first with what the agent remembers)',
);
for (const [pods, policies] of [
  [500, 100],
  [5_000, 1_000],
  [20_000, 4_000],
] as const) {
  const objects = cluster(pods, policies).map((object) => ({ object }));
  const cache = createBuildCache();
  const building: number[] = [];
  const compiling: number[] = [];
  for (let run = 0; run < 7; run += 1) {
    const a = cpu();
    const { snapshot } = buildSnapshot(objects, { cache });
    const b = cpu();
    compileNode(snapshot, 'node-1');
    building.push(b - a);
    compiling.push(cpu() - b);
  }
  const median = (values: number[]): string => (values.sort((x, y) => x - y)[3] ?? 0).toFixed(1);
  console.log(
    `${String(pods).padEnd(8)} ${String(policies).padEnd(9)} ${median(building).padEnd(14)} ${median(compiling)}`,
  );
}
