/** Lessons about ways that are not simply pod to pod: nodes, refusals, fragments, ICMP, neighbours. */
import { expect, it } from 'vitest';
import { networkPolicy, pods } from '../../contract/dataplane.ts';
import type { Each } from './identity.ts';
import { blocksOf, denyAll } from './objects.ts';
import { countArrivals, sendRaw, udpPacket } from './raw.ts';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export function pathLessons(each: Each): void {
  it('lesson 31: the node reaches its own pods under deny-all, as root and as an ordinary user', () =>
    each(async (cluster) => {
      await cluster.enforcePolicies([denyAll]);
      await cluster.expectFlows({
        'node-1 db TCP/80': true,
        'node-1 db UDP/53': true,
        'node-1 stranger TCP/80': true,
        'node-2 prod2 TCP/80': true,
        'node-2 db TCP/80': false,
        'front db TCP/80': false,
      });
      // Some implementations let only packets of root processes pass.
      const connect = `use Socket qw(:all); my ($e, $r) = getaddrinfo($ARGV[0], 80, {socktype => SOCK_STREAM, flags => AI_NUMERICHOST}); socket(S, $r->{family}, SOCK_STREAM, 0); alarm 3; print connect(S, $r->{addr}) ? "open as $<" : $!;`;
      for (const family of cluster.families)
        expect(
          await cluster.bed.sh(
            `ip netns exec node-1 setpriv --reuid=65534 --regid=65534 --clear-groups perl -e '${connect}' ${cluster.address('db', family)}`,
          ),
          cluster.title,
        ).toBe('open as 65534');
    }));

  it('S161, S164: a pod reaches its node, and another node, only as its egress policies allow', () =>
    each(async (cluster) => {
      await cluster.enforcePolicies([denyAll]);
      const closed = {
        'db node-1 TCP/80': false,
        'db node-2 TCP/80': false,
        'db world TCP/80': false,
        'world db TCP/80': false,
      };
      await cluster.expectFlows(closed);
      await cluster.enforcePolicies([
        denyAll,
        networkPolicy('to-node', {
          podSelector: { matchLabels: { role: 'db' } },
          policyTypes: ['Egress'],
          egress: [{ to: blocksOf(cluster, 'node-1') }],
        }),
      ]);
      await cluster.expectFlows({ ...closed, 'db node-1 TCP/80': true });
    }));

  it('a refusal (--deny=reject) reaches the sender, over TCP and UDP', () =>
    each(async (cluster) => {
      await cluster.enforcePolicies([denyAll], { options: { deny: 'reject' } });
      for (const family of cluster.families) {
        const told = await countArrivals(cluster.bed, {
          dev1: {
            unreachable: `${family === 4 ? 'icmp' : 'icmpv6'} type destination-unreachable`,
          },
        });
        expect(
          await Promise.all(
            ['front db TCP/80', 'dev2 db TCP/80', 'db dev1 TCP/80', 'dev1 db UDP/53'].map((flow) =>
              cluster.attempt(flow, family, 1000),
            ),
          ),
          `${cluster.title} IPv${family}`,
          // A socket that is not connected is not told of ICMP.
        ).toEqual(['ECONNREFUSED', 'ECONNREFUSED', 'ECONNREFUSED', 'timeout']);
        expect(await told.read(), `${cluster.title} IPv${family}`).toEqual({ unreachable: 1 });
        await told.close();
      }
      await cluster.enforcePolicies([denyAll]);
      await cluster.expectFlows({ 'front db TCP/80': false });
    }));

  it('datagrams in fragments are judged as one', () =>
    each(async (cluster) => {
      await cluster.enforcePolicies([
        networkPolicy('dns', {
          podSelector: { matchLabels: { role: 'db' } },
          ingress: [{ ports: [{ protocol: 'UDP', port: 53 }] }],
        }),
      ]);
      for (const family of cluster.families) {
        // What lesson 29 says of fragments of bridged IPv6 pods.
        if (cluster.wiring === 'bridge' && family === 6) continue;
        const host = cluster.address('db', family);
        const send = (from: string, port: number): Promise<string> =>
          cluster.ask(from).ask({ do: 'udp', host, port, timeout: 600, size: 4000 });
        expect(
          await Promise.all([
            send('front', 53),
            send('dev2', 53),
            send('front', 1500),
            send('dev2', 1500),
          ]),
          `${cluster.title} IPv${family}`,
        ).toEqual(['open', 'open', 'timeout', 'timeout']);
      }
    }));

  it('lesson 33: what a node sends in a pod’s name (a proxy, IPVS) is judged as the pod’s', () =>
    each(async (cluster) => {
      const from = networkPolicy('deny', {
        podSelector: { matchLabels: { role: 'db' } },
        policyTypes: ['Egress'],
      });
      for (const [policies, passes] of [
        [[], true],
        [[from], false],
      ] as const) {
        await cluster.enforcePolicies(policies);
        await cluster.backends.get('node-1')?.resetDrops();
        for (const family of cluster.families) {
          const ends = {
            source: cluster.address('db', family),
            destination: cluster.address('dev2', family),
          };
          const arrived = await countArrivals(cluster.bed, { dev2: { seen: 'udp dport 53' } });
          await sendRaw(cluster.bed, { 'node-1': [udpPacket(ends, passes ? 4001 : 4002, 53)] });
          await pause(50);
          expect(await arrived.read(), `${cluster.title} IPv${family}`).toEqual({
            seen: passes ? 1 : 0,
          });
          await arrived.close();
        }
        expect(
          (await cluster.drops()).map(({ source, direction }) => `${source} ${direction}`).sort(),
          cluster.title,
        ).toEqual(
          passes
            ? []
            : cluster.families.map((family) => `${cluster.address('db', family)} Egress`).sort(),
        );
      }
    }));

  it('lesson 30: neighbour discovery and ARP work under deny-all, between node and pod and between pods', () =>
    each(async (cluster) => {
      const { bed } = cluster;
      await cluster.enforcePolicies([denyAll]);
      const forget = `for n in node-1 db front; do for i in $(ip -n $n -o link | sed 's/^[0-9]*: *//; s/[@:].*//'); do ip -n $n neigh flush dev $i nud all; done; done`;
      await bed.sh(forget);
      await cluster.expectFlows({ 'node-1 db TCP/80': true, 'front db TCP/80': false });
      await cluster.enforcePolicies([
        denyAll,
        networkPolicy('pair', {
          podSelector: {
            matchExpressions: [{ key: 'role', operator: 'In', values: ['db', 'frontend'] }],
          },
          policyTypes: ['Ingress', 'Egress'],
          ingress: [{ from: [{ podSelector: { matchLabels: { role: 'frontend' } } }] }],
          egress: [{ to: [{ podSelector: { matchLabels: { role: 'db' } } }] }],
        }),
      ]);
      await bed.sh(forget);
      await cluster.expectFlows({ 'front db TCP/80': true, 'db front TCP/80': false });
    }));

  it('lesson 29, S170: a smaller MTU on the way is discovered, directly and through a Service', () =>
    each(async (cluster) => {
      const { bed } = cluster;
      const index = pods.findIndex((pod) => pod.name === 'dev2');
      // The hop behind the other node is narrow: its ICMP message must pass node-1 as related traffic.
      const links = cluster.wiring === 'routed' ? [`v${index}`] : [`v${index}`, 'cni0'];
      const narrow = (mtu: number): string =>
        [
          ...links.map((link) => `ip -n node-2 link set ${link} mtu ${mtu}`),
          `ip -n dev2 link set eth0 mtu ${mtu}`,
        ].join('; ');
      await cluster.services([
        { host: 10, protocol: 'udp', port: 5353, pod: 'dev2', targetPort: 53 },
      ]);
      await cluster.enforcePolicies([
        networkPolicy('dns', {
          podSelector: { matchLabels: { role: 'db' } },
          policyTypes: ['Ingress', 'Egress'],
          egress: [{ ports: [{ protocol: 'UDP', port: 53 }] }],
        }),
      ]);
      await bed.sh(narrow(1300));
      for (const family of cluster.families)
        for (const [to, port] of [
          ['dev2', 53],
          ['vip-10', 5353],
        ] as const) {
          const host = cluster.address(to, family);
          const send = (): Promise<string> =>
            cluster.ask('db').ask({ do: 'udp', host, port, timeout: 300, size: 1400 });
          const first = await send();
          const second = await send();
          const route = /mtu (\d+)/.exec(await bed.sh(`ip -n db route get ${host}`))?.[1];
          // The kernel puts the fragments of a bridged IPv6 pod together for conntrack, and forwards
          // the whole without splitting it again: with any rule that uses conntrack, ours or not.
          const arrives = cluster.wiring === 'routed' || family === 4 ? 'open' : 'timeout';
          expect({ first, second, route }, `${cluster.title} ${to} IPv${family}`).toEqual({
            first: 'timeout',
            second: arrives,
            route: '1300',
          });
        }
      await bed.sh(`${narrow(1500)}; ip -n db route flush cache; ip -n db -6 route flush cache`);
      await cluster.services([]);
    }));
}
