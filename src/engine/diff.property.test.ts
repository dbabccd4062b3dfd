import { expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { hasConnection, type Protocol } from '../net/connection-set.ts';
import { randomCluster } from '../../test/arbitrary/cluster.ts';
import { buildSnapshot } from './build.ts';
import { diffReach, type ReachDiff } from './diff.ts';
import { createEvaluator } from './evaluate.ts';
import { computeReach } from './reach.ts';
import type { Snapshot } from './snapshot.ts';

const rounds = Number(process.env['PODWALL_CASES'] ?? 150);
const start = Number(process.env['PODWALL_SEED'] ?? Date.now() % 1_000_000);

function snapshotOf(objects: readonly KubeObject[]): Snapshot {
  return buildSnapshot(objects.map((object) => ({ object }))).snapshot;
}

function compare(before: readonly KubeObject[], after: readonly KubeObject[]): ReachDiff {
  return diffReach(computeReach(snapshotOf(before)), computeReach(snapshotOf(after)));
}

const asked: readonly (readonly [Protocol, number])[] = [
  ['TCP', 80],
  ['TCP', 81],
  ['TCP', 8080],
  ['UDP', 53],
  ['SCTP', 80],
];

it(`names exactly the pairs and ports whose verdict changes (seeds from ${start})`, () => {
  let points = 0;
  let changed = 0;
  for (let round = 0; round < rounds; round += 1) {
    const seed = start + round;
    const { objects } = randomCluster(seed);
    const all = objects as unknown as KubeObject[];
    const policies = all.filter((object) => object.kind.endsWith('Policy'));
    const gone = policies[seed % Math.max(1, policies.length)];
    const less = all.filter((object) => object !== gone);
    const [a, b] = seed % 2 === 0 ? [all, less] : [less, all];
    const [old, now] = [snapshotOf(a), snapshotOf(b)];
    const [before, after] = [createEvaluator(old), createEvaluator(now)];
    const diff = compare(a, b);
    const byPair = new Map(
      diff.changes.map((change) => [`${change.source} ${change.destination}`, change]),
    );
    for (const from of old.pods) {
      for (const to of old.pods) {
        if (from === to) continue;
        const [source, destination] = [now.podById.get(from.id), now.podById.get(to.id)];
        if (source === undefined || destination === undefined) throw new Error('pods differ');
        const change = byPair.get(`${from.id} ${to.id}`);
        for (const [protocol, port] of asked) {
          points += 1;
          const was = before.evaluate({
            source: { kind: 'pod', pod: from },
            destination: { kind: 'pod', pod: to },
            protocol,
            port,
          }).outcome;
          const is = after.evaluate({
            source: { kind: 'pod', pod: source },
            destination: { kind: 'pod', pod: destination },
            protocol,
            port,
          }).outcome;
          const said = (set: 'opened' | 'closed' | 'undecided'): boolean =>
            change !== undefined && hasConnection(change[set], protocol, port);
          if (was !== is) changed += 1;
          expect({
            seed,
            pair: `${from.id} ${to.id} ${protocol} ${port}`,
            opened: said('opened'),
            closed: said('closed'),
            undecided: said('undecided'),
          }).toEqual({
            seed,
            pair: `${from.id} ${to.id} ${protocol} ${port}`,
            opened: was === 'denied' && is === 'allowed',
            closed: was === 'allowed' && is === 'denied',
            undecided: (was === 'unknown') !== (is === 'unknown'),
          });
        }
      }
    }
    // One edit was made, so it is the cause of whatever changed.
    for (const change of diff.changes) {
      expect(
        change.causes.map((cause) => (cause.kind === 'policy' ? cause.policy.name : cause.kind)),
      ).toEqual(gone === undefined ? [] : [gone.metadata.name]);
    }
  }
  expect(points).toBeGreaterThan(rounds * 20);
  expect(changed).toBeGreaterThan(rounds / 10);
});

const workloads = ['a', 'b', 'c'].map((name): KubeObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace: 'shop' },
  spec: { template: { metadata: { labels: { app: name } }, spec: { containers: [] } } },
}));
const namespace: KubeObject = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } };
const policy = (spec: object): KubeObject => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'p', namespace: 'shop' },
  spec,
});
const closing = policy({ podSelector: { matchLabels: { app: 'a' } } });
const admitting = policy({
  podSelector: { matchLabels: { app: 'a' } },
  ingress: [
    { from: [{ podSelector: { matchLabels: { app: 'b' } } }], ports: [{ port: 80 }] },
    { from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] },
  ],
});

it('tells opened, closed, widened and narrowed apart, with the edit', () => {
  const base = [namespace, ...workloads];
  const kinds = (a: readonly KubeObject[], b: readonly KubeObject[]): string[] =>
    compare(a, b).changes.map(
      ({ source, destination, kind, causes }) =>
        `${kind} ${source} → ${destination} ${causes.map((cause) => (cause.kind === 'policy' ? cause.edit : cause.kind)).join()}`,
    );
  expect(kinds(base, base)).toEqual([]);
  expect(kinds(base, [...base, closing])).toEqual([
    'closed shop/Deployment/b → shop/Deployment/a added',
    'closed shop/Deployment/c → shop/Deployment/a added',
    'closed world → shop/Deployment/a added',
  ]);
  expect(kinds([...base, closing], [...base, admitting])).toEqual([
    'opened shop/Deployment/b → shop/Deployment/a changed',
    // c has no address yet: whether the ipBlock admits it is not known.
    'undecided shop/Deployment/c → shop/Deployment/a changed',
    'opened world 10.0.0.0/8 → shop/Deployment/a changed',
  ]);
  const onePort = policy({
    podSelector: { matchLabels: { app: 'a' } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app: 'b' } } }], ports: [{ port: 80 }] }],
  });
  expect(kinds(base, [...base, onePort])).toContain(
    'narrowed shop/Deployment/b → shop/Deployment/a added',
  );
  expect(kinds([...base, onePort], base)).toContain(
    'widened shop/Deployment/b → shop/Deployment/a removed',
  );
});

it('says that labels or peers changed when no policy did', () => {
  const relabelled = workloads.map((one) =>
    one.metadata.name === 'c'
      ? { ...one, spec: { template: { metadata: { labels: { app: 'b' } }, spec: {} } } }
      : one,
  );
  const labels = compare(
    [namespace, ...workloads, admitting],
    [namespace, ...relabelled, admitting],
  );
  expect(labels.changes.map((change) => change.causes)).toEqual([
    [{ kind: 'labels', object: 'pod shop/Deployment/c' }],
  ]);
  const fewer = compare([namespace, ...workloads], [namespace, ...workloads.slice(0, 2)]);
  expect(fewer.peersRemoved).toEqual(['shop/Deployment/c']);
  expect(new Set(fewer.changes.map((change) => change.kind))).toEqual(new Set(['closed']));
});
