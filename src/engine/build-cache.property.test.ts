/** What a build remembers must never show: with and without memory the snapshot is the same. */
import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { buildSnapshot, createBuildCache } from './build.ts';

const slot = fc.integer({ min: 0, max: 4 });
const object: fc.Arbitrary<KubeObject> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .record({
        slot,
        app: slot,
        ip: slot,
        phase: fc.constantFrom('Running', 'Pending', 'Succeeded'),
        host: fc.boolean(),
        owned: fc.boolean(),
        node: fc.integer({ min: 0, max: 1 }),
        start: slot,
      })
      .map(({ slot: n, app, ip, phase, host, owned, node, start }) => ({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: {
          name: `pod-${n}`,
          namespace: `ns-${n % 2}`,
          labels: { app: `app-${app}` },
          ...(owned
            ? {
                ownerReferences: [
                  { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'rs-0', controller: true },
                ],
              }
            : {}),
        },
        spec: {
          hostNetwork: host,
          nodeName: `node-${node}`,
          containers: [{ name: 'c', ports: [{ name: 'web', containerPort: 80 + app }] }],
        },
        status: {
          phase,
          startTime: `2026-01-0${start + 1}T00:00:00Z`,
          ...(ip === 0 ? {} : { podIP: `10.0.0.${ip}` }),
        },
      })),
  },
  {
    weight: 2,
    arbitrary: fc.record({ slot, port: fc.constantFrom(0, 80, 443) }).map(({ slot: n, port }) => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `policy-${n}`, namespace: `ns-${n % 2}` },
      spec: { podSelector: { matchLabels: { app: `app-${n}` } }, ingress: [{ ports: [{ port }] }] },
    })),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({ node: fc.integer({ min: 0, max: 1 }), ip: slot })
      .map(({ node, ip }) => ({
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name: `node-${node}` },
        spec: { podCIDR: `10.0.${node}.0/24` },
        status: { addresses: [{ type: 'InternalIP', address: `192.168.0.${ip + 1}` }] },
      })),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('ReplicaSet', 'Deployment').map((kind) => ({
      apiVersion: 'apps/v1',
      kind,
      metadata: {
        name: kind === 'ReplicaSet' ? 'rs-0' : 'd-0',
        namespace: 'ns-0',
        ...(kind === 'ReplicaSet'
          ? {
              ownerReferences: [
                { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd-0', controller: true },
              ],
            }
          : {}),
      },
      spec: {
        replicas: 2,
        template: { metadata: { labels: { app: 'app-1' } }, spec: { containers: [] } },
      },
    })),
  },
);

it('a build with memory equals a build without, through a history of changes', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(object, fc.boolean()), { minLength: 1, maxLength: 30 }),
      (history) => {
        const cache = createBuildCache();
        const present = new Map<string, KubeObject>();
        for (const [next, removed] of history) {
          const key = `${next.kind} ${next.metadata.namespace}/${next.metadata.name}`;
          if (removed) present.delete(key);
          else present.set(key, next);
          const objects = [...present.values()].map((one) => ({ object: one }));
          expect(buildSnapshot(objects, { cache })).toEqual(buildSnapshot(objects));
        }
      },
    ),
    { numRuns: 200, verbose: 1 },
  );
});
