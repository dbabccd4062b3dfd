import fc from 'fast-check';
import { expect, it } from 'vitest';
import { randomCluster } from '../../test/arbitrary/cluster.ts';
import type { KubeObject } from '../k8s/types.ts';
import { formatConnections } from '../net/connection-set.ts';
import { buildSnapshot } from './build.ts';
import { generateCluster } from './generate.ts';
import { computeReach } from './reach.ts';
import type { Reach } from './reach.ts';
import type { Snapshot } from './snapshot.ts';
import { updateReach } from './update-reach.ts';
import type { ReachChange } from './update-reach.ts';

function snapshotOf(objects: readonly unknown[]): Snapshot {
  return buildSnapshot(objects.map((object) => ({ object: object as KubeObject }))).snapshot;
}

/** Pods and nodes only: which atoms the world has may differ in history, not in answers. */
function answers(reach: Reach): Map<string, string> {
  const { pods, nodes } = reach.statistics;
  const found = new Map<string, string>();
  for (let i = 0; i < pods + nodes; i++)
    for (let j = 0; j < pods + nodes; j++) {
      const { allowed, unknown } = reach.lookup(i, j);
      found.set(`${i}>${j}`, `${formatConnections(allowed)} | ${formatConnections(unknown)}`);
    }
  return found;
}

/** A change between two random clusters that share nothing but shape. */
function changeOf(snapshot: Snapshot, other: Snapshot, draw: number): ReachChange | undefined {
  const policy = other.policies[draw % Math.max(1, other.policies.length)];
  const pod = snapshot.pods[draw % Math.max(1, snapshot.pods.length)];
  const namespaces = [...snapshot.namespaces.values()];
  const namespace = namespaces[draw % Math.max(1, namespaces.length)];
  const mine = snapshot.policies[draw % Math.max(1, snapshot.policies.length)];
  switch (draw % 5) {
    case 0:
    case 1:
      return policy === undefined ? undefined : { kind: 'policy', key: policy.ref.key, policy };
    case 2:
      return mine === undefined ? undefined : { kind: 'policy', key: mine.ref.key };
    case 3:
      return pod === undefined
        ? undefined
        : {
            kind: 'pod-labels',
            id: pod.id,
            labels: other.pods[(draw >> 3) % Math.max(1, other.pods.length)]?.labels ?? {},
          };
    default:
      return namespace === undefined
        ? undefined
        : {
            kind: 'namespace-labels',
            name: namespace.name,
            labels: {
              ...[...other.namespaces.values()][(draw >> 3) % Math.max(1, other.namespaces.size)]
                ?.labels,
              'kubernetes.io/metadata.name': namespace.name,
            },
          };
  }
}

function changed(snapshot: Snapshot, change: ReachChange): Snapshot {
  switch (change.kind) {
    case 'policy': {
      const policies = snapshot.policies.filter(({ ref }) => ref.key !== change.key);
      return {
        ...snapshot,
        policies: change.policy === undefined ? policies : [...policies, change.policy],
      };
    }
    case 'pod-labels': {
      const pods = snapshot.pods.map((pod) =>
        pod.id === change.id ? { ...pod, labels: change.labels } : pod,
      );
      return { ...snapshot, pods, podById: new Map(pods.map((pod) => [pod.id, pod])) };
    }
    case 'namespace-labels': {
      const namespaces = new Map(snapshot.namespaces);
      const before = namespaces.get(change.name);
      if (before !== undefined)
        namespaces.set(change.name, { ...before, labels: change.labels, implied: false });
      return { ...snapshot, namespaces };
    }
  }
}

/** Applies changes one by one and holds the answers to those of a new computation. */
function hold(given: Snapshot, other: Snapshot, draws: readonly number[]): number {
  let snapshot = given;
  let reach = computeReach(snapshot);
  let updates = 0;
  for (const draw of draws) {
    const change = changeOf(snapshot, other, draw);
    if (change === undefined) continue;
    snapshot = changed(snapshot, change);
    reach = updateReach(reach, change);
    expect(answers(reach), JSON.stringify(change, plain)).toEqual(answers(computeReach(snapshot)));
    updates++;
  }
  return updates;
}

function plain(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

function randomSnapshot(seed: number): Snapshot {
  return snapshotOf(randomCluster(seed).objects);
}

const seeds = fc.integer({ min: 0, max: 0x7fffffff });

it('an updated reach equals one computed anew, change after change', () => {
  let updates = 0;
  fc.assert(
    fc.property(seeds, seeds, fc.array(fc.nat(), { minLength: 1, maxLength: 8 }), (a, b, draws) => {
      updates += hold(randomSnapshot(a), randomSnapshot(b), draws);
    }),
    { numRuns: Number(process.env['PODWALL_RUNS'] ?? 60) },
  );
  expect(updates).toBeGreaterThan(60);
});

it('the same for generated clusters, which split and share classes more', () => {
  fc.assert(
    fc.property(seeds, seeds, fc.array(fc.nat(), { minLength: 1, maxLength: 6 }), (a, b, draws) => {
      const make = (seed: number): Snapshot =>
        snapshotOf(generateCluster({ pods: 24, namespaces: 4, policies: 9, seed }));
      hold(make(a), make(b), draws);
    }),
    { numRuns: Number(process.env['PODWALL_RUNS'] ?? 40) },
  );
});
