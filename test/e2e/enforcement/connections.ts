/** Lessons about connections and conntrack: revocation, replies, what is invalid, marks, other protocols. */
import { expect, it } from 'vitest';
import type { KubeObject } from '../../../src/k8s/types.ts';
import { networkPolicy } from '../../contract/dataplane.ts';
import type { Family, LessonCluster } from './cluster.ts';
import type { Each } from './identity.ts';
import { withoutPod } from './objects.ts';
import { countArrivals, echoRequest, sctpInit, sendRaw, tcpFlags, tcpSegment } from './raw.ts';
import type { Ends } from './raw.ts';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const toDb = { podSelector: { matchLabels: { role: 'db' } } };
const allow = networkPolicy('allow', {
  ...toDb,
  ingress: [{ from: [{ podSelector: { matchLabels: { role: 'frontend' } } }] }],
});
const nobody = networkPolicy('allow', toDb);

const hold = (
  cluster: LessonCluster,
  from: string,
  host: string,
  port: number,
  as: string,
): Promise<string> => cluster.ask(from).ask({ do: 'hold', host, port, as });
const watch = async (
  cluster: LessonCluster,
  from: string,
  as: string,
  ms: number,
  say: boolean,
): Promise<number> => Number(await cluster.ask(from).ask({ do: 'watch', ms, say, as }));

/** Empties a namespace's conntrack table, as `conntrack -F` would: that tool need not be there. */
const forgetAll = `perl -MSocket -e 'socket(S, 16, SOCK_RAW, 12) or die $!; send(S, pack("LSSLLCCn", 20, 0x102, 5, 1, 0, 0, 0, 0), 0, pack("SSLL", 16, 0, 0, 0)) or die $!; recv(S, my $a, 4096, 0); my $e = unpack("l", substr($a, 16, 4)); die "conntrack: $e" if $e;'`;

export function connectionLessons(each: Each): void {
  it('lesson 3: a connection from before the policies that allow it goes on without a stall', () =>
    each(async (cluster) => {
      // As on every node with kube-proxy: some rule uses conntrack before podwall does.
      await cluster.services([{ host: 10, port: 1, pod: 'db', targetPort: 80 }]);
      for (const backend of cluster.backends.values()) await backend.cleanup();
      for (const family of cluster.families)
        for (const from of ['front', 'prod2'])
          expect(
            await hold(cluster, from, cluster.address('db', family), 5978, `early${family}`),
          ).toBe('open');
      const during = cluster.families.flatMap((family) =>
        ['front', 'prod2'].map((from) => watch(cluster, from, `early${family}`, 1200, false)),
      );
      await pause(200);
      await cluster.enforcePolicies([allow]);
      // Some 60 ticks of five bytes; 10 of them before the policies came.
      for (const bytes of await Promise.all(during))
        expect(bytes, cluster.title).toBeGreaterThan(100);
      await cluster.services([]);
    }));

  it('lessons 39 and 40: a revoked connection stops in both directions whoever speaks, also when conntrack forgets it, and comes back when allowed', () =>
    each(async (cluster) => {
      await cluster.enforcePolicies([allow]);
      const kept = cluster.families.flatMap((family) =>
        (['front', 'prod2'] as const).flatMap((from) =>
          [80, 5978].map((port) => ({ family, from, port, as: `revoke${family}${port}` })),
        ),
      );
      for (const { family, from, port, as } of kept)
        expect(await hold(cluster, from, cluster.address('db', family), port, as)).toBe('open');
      const heard = (ms: number): Promise<number[]> =>
        Promise.all(kept.map(({ from, port, as }) => watch(cluster, from, as, ms, port === 80)));
      expect(Math.min(...(await heard(200))), cluster.title).toBeGreaterThan(0);
      await cluster.enforcePolicies([nobody]);
      await heard(50);
      expect(await heard(300), cluster.title).toEqual(kept.map(() => 0));
      await cluster.enforcePolicies([allow]);
      // The longer the silence was, the later TCP tries again.
      const back = kept.map(() => 0);
      for (let tries = 0; tries < 30 && back.includes(0); tries++)
        for (const [index, bytes] of (await heard(500)).entries())
          back[index] = (back[index] ?? 0) + bytes;
      expect(Math.min(...back), cluster.title).toBeGreaterThan(0);
      // Both ends go on sending: an entry that conntrack makes anew could have its ends exchanged.
      await cluster.enforcePolicies([nobody]);
      await Promise.all(
        ['node-1', 'node-2'].map((node) => cluster.bed.sh(`ip netns exec ${node} ${forgetAll}`)),
      );
      await heard(50);
      expect(await heard(700), cluster.title).toEqual(kept.map(() => 0));
    }));

  it('lesson 45: a datagram flow through a Service that is gone is still judged by where it leads', () =>
    each(async (cluster) => {
      const stream = (family: Family, ms: number): Promise<string> =>
        cluster.ask('front').ask({
          do: 'udp-stream',
          host: cluster.address('vip-10', family),
          port: 5353,
          fromPort: 40_000 + family,
          ms,
        });
      const came = async (ms = 250): Promise<number[]> =>
        (await Promise.all(cluster.families.map((family) => stream(family, ms)))).map(Number);
      await cluster.services([
        { host: 10, protocol: 'udp', port: 5353, pod: 'db', targetPort: 53 },
      ]);
      await cluster.enforcePolicies([allow]);
      expect(Math.min(...(await came())), cluster.title).toBeGreaterThan(0);
      // The Service goes, its conntrack entry stays.
      await cluster.services([]);
      expect(Math.min(...(await came())), cluster.title).toBeGreaterThan(0);
      await cluster.enforcePolicies([nobody]);
      expect(await came(), cluster.title).toEqual(cluster.families.map(() => 0));
      await cluster.enforcePolicies([allow]);
      expect(Math.min(...(await came())), cluster.title).toBeGreaterThan(0);
      await cluster.enforce([...withoutPod(cluster.objects(), 'db'), allow]);
      expect(await came(), cluster.title).toEqual(cluster.families.map(() => 0));
    }));

  it('lesson 36: the two questions of a name look-up leave one socket at once: both are answered', () =>
    each(async (cluster) => {
      await cluster.services([
        { host: 10, protocol: 'udp', port: 53, pod: 'dev2', targetPort: 53 },
        { host: 11, protocol: 'udp', port: 53, pod: 'front', targetPort: 53 },
      ]);
      await cluster.enforcePolicies([
        networkPolicy('dns', {
          ...toDb,
          policyTypes: ['Ingress', 'Egress'],
          egress: [{ ports: [{ protocol: 'UDP', port: 53 }] }],
        }),
      ]);
      const rounds = 40;
      for (const family of cluster.families)
        for (const to of ['vip-10', 'vip-11'])
          expect(
            await cluster
              .ask('db')
              .ask({ do: 'pairs', host: cluster.address(to, family), port: 53, rounds }),
            `${cluster.title} ${to} IPv${family}`,
          ).toBe(String(2 * rounds));
      await cluster.expectFlows({ 'db dev2 TCP/80': false });
      await cluster.services([]);
    }));

  it('lesson 37: SCTP and echo requests are subject to policy', () =>
    each(async (cluster) => {
      const policies: KubeObject[] = [
        networkPolicy('sctp', {
          ...toDb,
          ingress: [
            {
              from: [{ podSelector: { matchLabels: { role: 'frontend' } } }],
              ports: [{ protocol: 'SCTP', port: 7777 }],
            },
          ],
        }),
        networkPolicy(
          'all',
          {
            podSelector: { matchLabels: { role: 'other' } },
            ingress: [{ from: [{ namespaceSelector: { matchLabels: { project: 'prod' } } }] }],
          },
          'dev',
        ),
      ];
      await cluster.enforcePolicies(policies);
      for (const family of cluster.families) {
        const ip = family === 4 ? 'ip' : 'ip6';
        const from = (name: string): string => `${ip} saddr ${cluster.address(name, family)}`;
        const ends = (source: string, destination: string): Ends => ({
          source: cluster.address(source, family),
          destination: cluster.address(destination, family),
        });
        const echo = family === 4 ? 'icmp type echo-request' : 'icmpv6 type echo-request';
        const arrivals = await countArrivals(cluster.bed, {
          db: {
            allowed: `${from('front')} sctp dport 7777`,
            far: `${from('prod2')} sctp dport 7777`,
            port: `${from('front')} sctp dport 7778`,
            other: `${from('dev2')} sctp dport 7777`,
            ping: `${from('front')} ${echo}`,
            pingNode: `${ip} daddr ${cluster.address('db', family)} ${echo}`,
          },
          dev2: {
            pingAllowed: `${from('db')} ${echo}`,
            pingDenied: `${from('dev1')} ${echo}`,
          },
        });
        await Promise.all([...cluster.backends.values()].map((backend) => backend.resetDrops()));
        await sendRaw(cluster.bed, {
          front: [
            sctpInit(ends('front', 'db'), 30_001, 7777),
            sctpInit(ends('front', 'db'), 30_002, 7778),
            echoRequest(ends('front', 'db'), 1),
          ],
          prod2: [sctpInit(ends('prod2', 'db'), 30_003, 7777)],
          dev2: [sctpInit(ends('dev2', 'db'), 30_004, 7777)],
          db: [echoRequest(ends('db', 'dev2'), 2)],
          dev1: [echoRequest(ends('dev1', 'dev2'), 3)],
          'node-1': [echoRequest(ends('node-1', 'db'), 4)],
        });
        await pause(100);
        expect(await arrivals.read(), `${cluster.title} IPv${family}`).toEqual({
          allowed: 1,
          far: 1,
          port: 0,
          other: 0,
          ping: 0,
          pingNode: 1,
          pingAllowed: 1,
          pingDenied: 0,
        });
        await arrivals.close();
        // Connections of other lessons may still be repeating themselves.
        const seen = (await cluster.drops())
          .filter(({ protocol }) => protocol !== 'TCP' && protocol !== 'UDP')
          .map(
            ({ source: one, protocol, port }) => `${one} ${protocol.toLowerCase()} ${port ?? ''}`,
          );
        const icmp = family === 4 ? 'icmp' : 'ipv6-icmp';
        expect(seen.sort(), cluster.title).toEqual(
          [
            `${cluster.address('front', family)} sctp 7778`,
            `${cluster.address('dev2', family)} sctp 7777`,
            `${cluster.address('front', family)} ${icmp} `,
            `${cluster.address('dev1', family)} ${icmp} `,
          ].sort(),
        );
      }
    }));

  it('lesson 38: segments outside the window reach nobody, and no backend’s address leaks past its Service', () =>
    each(async (cluster) => {
      await cluster.services([{ host: 10, port: 80, pod: 'dev2', targetPort: 80 }]);
      await cluster.enforcePolicies([allow]);
      for (const family of cluster.families) {
        const as = `window${family}`;
        expect(await hold(cluster, 'front', cluster.address('vip-10', family), 80, as)).toBe(
          'open',
        );
        expect(await watch(cluster, 'front', as, 150, true), cluster.title).toBeGreaterThan(0);
        const port = Number(await cluster.ask('front').ask({ do: 'held-port', as }));
        const ends = {
          source: cluster.address('dev2', family),
          destination: cluster.address('front', family),
        };
        const ip = family === 4 ? 'ip' : 'ip6';
        const arrivals = await countArrivals(cluster.bed, {
          front: { untranslated: `${ip} saddr ${ends.source} meta l4proto tcp` },
          'node-2': { sent: `${ip} saddr ${ends.source} tcp dport ${port}` },
        });
        await sendRaw(cluster.bed, {
          dev2: [0x10, 0x7fffffff, 0xdeadbeef].flatMap((sequence) => [
            tcpSegment(ends, 80, port, tcpFlags.ack, sequence),
            tcpSegment(ends, 80, port, tcpFlags.rst | tcpFlags.ack, sequence),
          ]),
        });
        await pause(60);
        const { untranslated, sent } = await arrivals.read();
        await arrivals.close();
        expect(untranslated, `${cluster.title} IPv${family}`).toBe(0);
        expect(sent, `${cluster.title} IPv${family}`).toBeGreaterThanOrEqual(6);
        expect(await watch(cluster, 'front', as, 200, true), cluster.title).toBeGreaterThan(0);
      }
      await cluster.services([]);
    }));

  it('lesson 46: marks that another table sets, on the first packet or on every one, change no verdict', () =>
    each(async (cluster) => {
      for (const when of ['ct state new', '']) {
        for (const node of ['node-1', 'node-2'])
          await cluster.bed.sh(`ip netns exec ${node} nft -f - <<'X'
add table inet foreign
delete table inet foreign
table inet foreign {
  chain pre { type filter hook prerouting priority -150; ${when} ct mark set 0xffffffff meta mark set 0xffffbfff; }
  chain post { type filter hook postrouting priority 0; tcp dport 6379 ct mark & 0x0000ffff != 0x0000ffff counter comment "lost"; }
}
X`);
        await cluster.enforcePolicies([allow]);
        await cluster.expectFlows({
          'front db TCP/80': true,
          'prod2 db UDP/53': true,
          'dev1 db TCP/80': false,
          'dev2 db UDP/53': false,
          'node-1 db TCP/80': true,
        });
        const family = cluster.families[0] ?? 4;
        expect(await hold(cluster, 'prod2', cluster.address('db', family), 6379, 'marked')).toBe(
          'open',
        );
        expect(await watch(cluster, 'prod2', 'marked', 150, true), cluster.title).toBeGreaterThan(
          0,
        );
        await cluster.enforcePolicies([nobody]);
        await watch(cluster, 'prod2', 'marked', 30, true);
        expect(await watch(cluster, 'prod2', 'marked', 300, true), cluster.title).toBe(0);
        for (const node of ['node-1', 'node-2']) {
          const listing = await cluster.bed.sh(`ip netns exec ${node} nft list table inet foreign`);
          // Bits that are not ours stay as they were found.
          expect(/counter packets (\d+)/.exec(listing)?.[1], cluster.title).toBe('0');
          await cluster.bed.sh(`ip netns exec ${node} nft delete table inet foreign`);
        }
      }
    }));
}
