/** Lessons about translated addresses: Services, hairpins, node ports, pods behind their node's address. */
import { expect, it } from 'vitest';
import type { KubeObject } from '../../../src/k8s/types.ts';
import { clusterPolicy, networkPolicy } from '../../contract/dataplane.ts';
import type { Each } from './identity.ts';
import { blocksOf, denyAll } from './objects.ts';

export function serviceLessons(each: Each): void {
  it('lesson 32: hairpins: own address free, itself and another replica through a Service by policy', () =>
    each(async (cluster) => {
      await cluster.services([
        { host: 10, port: 8080, pod: 'db', targetPort: 80 },
        { host: 11, port: 8080, pod: 'front', targetPort: 80 },
      ]);
      await cluster.enforcePolicies([denyAll]);
      await cluster.expectFlows({
        'db db TCP/80': true,
        'db vip-10 TCP/8080': false,
        'front vip-10 TCP/8080': false,
      });
      await cluster.enforcePolicies([
        denyAll,
        networkPolicy('itself', {
          podSelector: { matchLabels: { role: 'db' } },
          ingress: [{ from: [{ podSelector: { matchLabels: { role: 'db' } } }] }],
          egress: [{ to: [{ podSelector: { matchLabels: { role: 'db' } } }] }],
          policyTypes: ['Ingress', 'Egress'],
        }),
      ]);
      await cluster.expectFlows({
        'db vip-10 TCP/8080': true,
        'db vip-11 TCP/8080': false,
        'front vip-10 TCP/8080': false,
      });
      await cluster.services([]);
    }));

  it('S161, S166, S304, S307: what settings exempt, they exempt from NetworkPolicy and from nothing else', () =>
    each(async (cluster) => {
      await cluster.services([{ host: 10, port: 8080, pod: 'db', targetPort: 80 }]);
      const settings = { podToOwnNode: 'allow', selfThroughService: 'allow' } as const;
      const flows = {
        'db node-2 TCP/80': false,
        'front db TCP/80': false,
        'db dev2 TCP/80': false,
      };
      await cluster.enforcePolicies([denyAll], { settings });
      await cluster.expectFlows({
        ...flows,
        'db node-1 TCP/80': true,
        'db vip-10 TCP/8080': true,
        'stranger node-1 TCP/80': false,
      });
      await cluster.enforcePolicies(
        [
          denyAll,
          clusterPolicy('admin', 'Admin', 1, {
            subject: {
              pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: 'db' } } },
            },
            egress: [
              {
                action: 'Deny',
                to: [
                  {
                    networks: cluster.families.map(
                      (family) => `${cluster.address('node-1', family)}/${family === 4 ? 32 : 128}`,
                    ),
                  },
                  { pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: 'db' } } } },
                ],
              },
            ],
          }),
        ],
        { settings },
      );
      await cluster.expectFlows({
        ...flows,
        'db node-1 TCP/80': false,
        'db vip-10 TCP/8080': false,
        'front node-1 TCP/80': true,
        'db db TCP/80': true,
      });
      await cluster.services([]);
    }));

  it('lesson 35: behind a Service it is the backend and its port that count, not what the client named', () =>
    each(async (cluster) => {
      await cluster.services([
        { host: 10, port: 8080, pod: 'prod2', targetPort: 6379 },
        { host: 10, port: 6379, pod: 'prod2', targetPort: 80 },
        { host: 11, port: 53, protocol: 'udp', pod: 'prod2', targetPort: 1500 },
      ]);
      await cluster.enforcePolicies([
        networkPolicy('to', {
          podSelector: { matchLabels: { role: 'db' } },
          policyTypes: ['Egress'],
          egress: [
            {
              to: [{ podSelector: { matchLabels: { role: 'frontend' } } }],
              ports: [{ port: 'web' }, { protocol: 'UDP', port: 1500 }],
            },
          ],
        }),
      ]);
      await cluster.expectFlows({
        'db vip-10 TCP/8080': true,
        'db vip-10 TCP/6379': false,
        'db vip-11 UDP/53': true,
        'db prod2 UDP/53': false,
      });
      await cluster.services([]);
    }));

  it('lesson 34: node ports: the client is judged where its packet arrives; behind another node it is that node', () =>
    each(async (cluster) => {
      await cluster.services([
        {
          host: 10,
          port: 80,
          pod: 'db',
          targetPort: 80,
          nodePort: { port: 30080, policy: 'Local' },
        },
        {
          host: 11,
          port: 80,
          pod: 'db',
          targetPort: 6379,
          nodePort: { port: 30081, policy: 'Cluster' },
        },
        {
          host: 12,
          port: 80,
          pod: 'prod2',
          targetPort: 80,
          nodePort: { port: 30082, policy: 'Cluster' },
        },
      ]);
      const closed = networkPolicy('in', { podSelector: {} });
      await cluster.enforcePolicies([closed]);
      await cluster.expectFlows({
        'world node-1 TCP/30080': false,
        'world node-1 TCP/30081': false,
        'world node-1 TCP/30082': false,
        'dev1 node-1 TCP/30080': false,
        'dev2 node-1 TCP/30081': false,
      });
      await cluster.enforcePolicies([
        closed,
        networkPolicy('from-world', {
          podSelector: {},
          ingress: [{ from: blocksOf(cluster, 'world') }],
        }),
      ]);
      await cluster.expectFlows({
        'world node-1 TCP/30080': true,
        // Hidden behind the node only after it was judged, for this node does both.
        'world node-1 TCP/30081': true,
        // The other node sees node-1, not the client (S183).
        'world node-1 TCP/30082': false,
        'dev1 node-1 TCP/30080': false,
      });
      await cluster.enforcePolicies([
        closed,
        networkPolicy('from-node', {
          podSelector: {},
          ingress: [{ from: blocksOf(cluster, 'node-1', 'dev1') }],
        }),
      ]);
      await cluster.expectFlows({
        'world node-1 TCP/30080': false,
        'world node-1 TCP/30081': false,
        'world node-1 TCP/30082': true,
        'dev1 node-1 TCP/30080': true,
        'dev1 node-1 TCP/30081': true,
        'dev1 node-1 TCP/30082': true,
      });
      await cluster.services([]);
    }));

  it('a node goes through Services to its own pods, and to pods of other nodes as anybody', () =>
    each(async (cluster) => {
      await cluster.services([
        { host: 10, port: 8080, pod: 'db', targetPort: 80 },
        { host: 11, port: 8080, pod: 'prod2', targetPort: 80 },
      ]);
      // As a default route would: before translation there must be some way to the Service's address.
      for (const family of cluster.families)
        await cluster.bed.sh(
          family === 4
            ? 'ip -n node-1 route replace 10.96.0.0/24 via 192.168.0.2'
            : 'ip -n node-1 route replace fd00:96::/64 via fd00:192::2',
        );
      await cluster.enforcePolicies([denyAll]);
      await cluster.expectFlows({
        'node-1 vip-10 TCP/8080': true,
        'node-1 vip-11 TCP/8080': false,
      });
      await cluster.services([]);
    }));

  it('a pod that leaves the cluster behind its node’s address is judged by its own', () =>
    each(async (cluster) => {
      const masquerade = (verb: 'add' | 'delete'): Promise<string> =>
        cluster.bed.sh(
          verb === 'delete'
            ? 'ip netns exec node-1 nft delete table inet leave'
            : `ip netns exec node-1 nft 'table inet leave { chain post { type nat hook postrouting priority srcnat; oifname "world0" masquerade; }; }'`,
        );
      await masquerade('add');
      const leaves = (role: string): KubeObject =>
        networkPolicy(
          'out',
          {
            podSelector: { matchLabels: { role } },
            policyTypes: ['Egress'],
            egress: [{ to: blocksOf(cluster, 'world'), ports: [{ port: 5978 }] }],
          },
          'prod',
        );
      await cluster.enforcePolicies([denyAll, leaves('db')]);
      await cluster.expectFlows({
        'db world TCP/5978': true,
        'db world TCP/80': false,
        'front world TCP/5978': false,
        'prod2 world TCP/5978': false,
        'dev1 world TCP/80': true,
      });
      for (const family of cluster.families)
        await cluster.ask('db').ask({
          do: 'hold',
          host: cluster.address('world', family),
          port: 5978,
          as: `out${family}`,
        });
      const heard = async (ms: number): Promise<number[]> =>
        (
          await Promise.all(
            cluster.families.map((family) =>
              cluster.ask('db').ask({ do: 'watch', ms, say: false, as: `out${family}` }),
            ),
          )
        ).map(Number);
      expect(Math.min(...(await heard(200))), cluster.title).toBeGreaterThan(0);
      await cluster.enforcePolicies([denyAll, leaves('frontend')]);
      await heard(50);
      expect(await heard(300), cluster.title).toEqual(cluster.families.map(() => 0));
      await masquerade('delete');
    }));
}
