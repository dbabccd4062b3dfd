/** Lessons about who has an address: new pods, reused addresses, finished and waiting pods, the host's own. */
import { expect, it } from 'vitest';
import type { KubeObject } from '../../../src/k8s/types.ts';
import { networkPolicy } from '../../contract/dataplane.ts';
import type { Loop } from '../dataplane/bed.ts';
import type { LessonCluster } from './cluster.ts';
import { podWithAddressOf, withLabels, withPod, withoutPod } from './objects.ts';

export type Each = (lesson: (cluster: LessonCluster) => Promise<void>) => Promise<void>;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const onlyFrontend = networkPolicy('only-frontend', {
  podSelector: { matchLabels: { role: 'db' } },
  ingress: [{ from: [{ podSelector: { matchLabels: { role: 'frontend' } } }] }],
});

export function identityLessons(each: Each): void {
  it('lessons 1 and 2: a pod that connects from its first moment never reaches what is forbidden, and soon what is allowed', () =>
    each(async (cluster) => {
      const family = cluster.families.at(-1) ?? 4;
      await cluster.enforcePolicies([onlyFrontend]);
      const stranger = cluster.ask('stranger');
      const loop = (to: string, once: boolean): Promise<string> =>
        stranger.ask({
          do: 'loop',
          host: cluster.address(to, family),
          port: 80,
          ms: 30_000,
          once,
        });
      const [allowed, forbidden] = [loop('dev2', true), loop('db', false)];
      await pause(200);
      const announcedAt = Date.now();
      await cluster.enforce([
        ...cluster.objects(),
        onlyFrontend,
        podWithAddressOf(cluster, 'stranger', 'late', { role: 'other' }),
      ]);
      const reached = JSON.parse(await allowed) as Loop;
      expect(reached.opened, cluster.title).toBe(1);
      // Tries before the announcement were denied; one under way at that moment repeats itself.
      expect(reached.tries, cluster.title).toBeGreaterThan(1);
      expect(reached.firstOpenAt ?? 0, cluster.title).toBeGreaterThan(announcedAt - 100);
      await pause(200);
      void stranger.ask({ do: 'stop-loops' });
      const { tries, opened } = JSON.parse(await forbidden) as Loop;
      expect({ some: tries > 5, opened }, cluster.title).toEqual({ some: true, opened: 0 });
    }));

  it('lesson 11: an address belongs to the pod that lives, not to a finished one, in both orders', () =>
    each(async (cluster) => {
      for (const order of ['finished first', 'finished last'] as const) {
        const finished = podWithAddressOf(
          cluster,
          'dev1',
          'a-job',
          { role: 'other' },
          {
            phase: 'Succeeded',
          },
        );
        const objects = cluster.objects();
        await cluster.enforce([
          onlyInProd,
          ...(order === 'finished first' ? [finished, ...objects] : [...objects, finished]),
        ]);
        // dev1 is no pod of prod; the finished pod, which had its address, is.
        await cluster.expectFlows({ 'dev1 db TCP/80': false, 'front db TCP/80': true });
      }
      // The other way round: the address of a finished pod of dev goes to one of prod.
      const objects = withPod(cluster.objects(), 'dev1', (pod) => {
        pod.status['phase'] = 'Failed';
      });
      const fresh = podWithAddressOf(cluster, 'dev1', 'fresh', { role: 'other' });
      await cluster.enforce([onlyInProd, fresh, ...objects]);
      await cluster.expectFlows({ 'dev1 db TCP/80': true });
    }));

  it('lesson 12: two pods with one address for a while: the other one keeps it when one goes', () =>
    each(async (cluster) => {
      const twin = podWithAddressOf(cluster, 'front', 'twin', { role: 'frontend' });
      await cluster.enforcePolicies([onlyFrontend]);
      await cluster.enforce([...cluster.objects(), twin, onlyFrontend]);
      await cluster.expectFlows({ 'front db TCP/80': true, 'dev1 db TCP/80': false });
      // While both live the one that started last has it: not in the order in which they are listed.
      const newer = podWithAddressOf(
        cluster,
        'dev1',
        'a-newer',
        { role: 'frontend' },
        { startTime: '2026-01-02T00:00:00Z' },
      );
      for (const objects of [
        [newer, ...cluster.objects()],
        [...cluster.objects(), newer],
      ]) {
        await cluster.enforce([...objects, onlyFrontend]);
        await cluster.expectFlows({ 'dev1 db TCP/80': true });
      }
      await cluster.enforce([...withoutPod(cluster.objects(), 'front'), twin, onlyFrontend]);
      await cluster.expectFlows({ 'front db TCP/80': true, 'dev1 db TCP/80': false });
      await cluster.enforce([...cluster.objects(), twin, onlyFrontend]);
      await cluster.enforcePolicies([onlyFrontend]);
      await cluster.expectFlows({ 'front db TCP/80': true, 'dev1 db TCP/80': false });
    }));

  it('lesson 13: a pod that keeps its name and gets another address is known by the new one', () =>
    each(async (cluster) => {
      const moved = withPod(cluster.objects(), 'front', (pod) => {
        pod.status['podIPs'] = cluster.families.map((family) => ({
          ip: cluster.address('stranger', family),
        }));
      });
      await cluster.enforcePolicies([onlyFrontend]);
      await cluster.enforce([...moved, onlyFrontend]);
      await cluster.expectFlows({
        'stranger db TCP/80': true,
        'front db TCP/80': false,
        'stranger dev2 TCP/80': true,
      });
    }));

  it('lesson 14: pods without an address do not keep a policy from others', () =>
    each(async (cluster) => {
      const waiting = (name: string, role: string): KubeObject => ({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'prod', labels: { role } },
        spec: { nodeName: 'node-1', containers: [{ name: 'c' }] },
        status: { phase: 'Pending' },
      });
      const extra = [waiting('waits-db', 'db'), waiting('waits-front', 'frontend'), onlyFrontend];
      await cluster.enforce([...withLabels(cluster.objects(), 'front', { role: 'x' }), ...extra]);
      await cluster.expectFlows({ 'front db TCP/80': false, 'prod2 db TCP/80': true });
      await cluster.enforce([...cluster.objects(), ...extra]);
      await cluster.expectFlows({ 'front db TCP/80': true, 'dev1 db TCP/80': false });
    }));

  it('lesson 16: a host-network pod in a namespace that denies all leaves its node untouched and is no peer', () =>
    each(async (cluster) => {
      const host = (node: 1 | 2): KubeObject => ({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: `host-${node}`, namespace: 'prod', labels: { role: 'frontend' } },
        spec: { nodeName: `node-${node}`, hostNetwork: true, containers: [{ name: 'c' }] },
        status: {
          phase: 'Running',
          podIPs: cluster.families.map((family) => ({
            ip: cluster.address(`node-${node}`, family),
          })),
        },
      });
      await cluster.enforcePolicies([
        networkPolicy('deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }),
        onlyFrontend,
        host(1),
        host(2),
      ]);
      await cluster.expectFlows({
        'world node-1 TCP/80': true,
        'node-2 node-1 TCP/80': true,
        'node-1 node-2 TCP/80': true,
        'node-1 world TCP/80': true,
        'node-1 db TCP/80': true,
        'node-2 db TCP/80': false,
        'dev1 node-1 TCP/80': true,
      });
    }));

  it('lesson 17: a connection does not survive that its address goes to another pod', () =>
    each(async (cluster) => {
      await cluster.enforcePolicies([onlyFrontend]);
      const client = cluster.ask('front');
      for (const family of cluster.families)
        expect(
          await client.ask({
            do: 'hold',
            host: cluster.address('db', family),
            port: 5978,
            as: `reuse${family}`,
          }),
          cluster.title,
        ).toBe('open');
      const heard = (ms: number): Promise<number[]> =>
        Promise.all(
          cluster.families.map(async (family) =>
            Number(await client.ask({ do: 'watch', ms, say: true, as: `reuse${family}` })),
          ),
        );
      expect(Math.min(...(await heard(200))), cluster.title).toBeGreaterThan(0);
      await cluster.enforce([
        ...withoutPod(cluster.objects(), 'db'),
        podWithAddressOf(cluster, 'db', 'heir', { role: 'heir' }),
        networkPolicy('deny-heir', { podSelector: { matchLabels: { role: 'heir' } } }),
      ]);
      await heard(30);
      expect(await heard(400), cluster.title).toEqual(cluster.families.map(() => 0));
      await cluster.expectFlows({ 'front db TCP/80': false });
    }));
}

const onlyInProd = networkPolicy('only-prod', {
  podSelector: { matchLabels: { role: 'db' } },
  ingress: [{ from: [{ podSelector: {} }] }],
});
