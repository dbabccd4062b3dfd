import { expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { formatConnections, isNoConnections } from '../net/connection-set.ts';
import { randomCluster } from '../../test/arbitrary/cluster.ts';
import { buildSnapshot } from './build.ts';
import { generateCluster } from './generate.ts';
import { groupPeers, lookupGroups, openGroups } from './groups.ts';
import { computeReach } from './reach.ts';

const rounds = Number(process.env['PODWALL_CASES'] ?? 200);
const start = Number(process.env['PODWALL_SEED'] ?? Date.now() % 1_000_000);

function compare(objects: readonly KubeObject[], seed: number): number {
  const reach = computeReach(buildSnapshot(objects.map((object) => ({ object }))).snapshot);
  let seen = 0;
  for (const eachPod of [false, true]) {
    const groups = groupPeers(reach, { eachPod });
    const isPods = (index: number): boolean =>
      groups[index]?.kind === 'pod' || groups[index]?.kind === 'workload';
    const open: string[] = [];
    for (const { source, destination, allowed, unknown } of openGroups(reach, groups)) {
      if (!isPods(source) && !isPods(destination)) continue;
      open.push(
        `${source} ${destination} ${formatConnections(allowed)} ${formatConnections(unknown)}`,
      );
    }
    const asked: string[] = [];
    for (const [source, from] of groups.entries()) {
      for (const [destination, to] of groups.entries()) {
        if (source === destination || (!isPods(source) && !isPods(destination))) continue;
        const { allowed, unknown } = lookupGroups(reach, from, to);
        if (isNoConnections(allowed) && isNoConnections(unknown)) continue;
        asked.push(
          `${source} ${destination} ${formatConnections(allowed)} ${formatConnections(unknown)}`,
        );
      }
    }
    expect({ seed, open: open.toSorted() }).toEqual({ seed, open: asked.toSorted() });
    seen += asked.length;
  }
  return seen;
}

it(`open groups are what asking for each pair finds (seeds from ${start})`, () => {
  let seen = 0;
  for (let seed = start; seed < start + rounds; seed += 1) {
    seen += compare(randomCluster(seed).objects, seed);
  }
  expect(seen).toBeGreaterThan(rounds * 10);
});

it('also with workloads of several pods', () => {
  for (const profile of ['default', 'real'] as const) {
    const objects = generateCluster({ pods: 120, namespaces: 12, policies: 60, seed: 7, profile });
    expect(compare(objects, 7)).toBeGreaterThan(100);
  }
});
