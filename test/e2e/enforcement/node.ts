/** Lessons about one node's kernel: what piles up, very many rules, a full conntrack table, other versions, refusals. */
import { expect, it } from 'vitest';
import { checkNode } from '../../../src/agent/self-checks.ts';
import { createBackend, NftError, spawnRunner } from '../../../src/dataplane/index.ts';
import type { KubeObject } from '../../../src/k8s/types.ts';
import { networkPolicy } from '../../contract/dataplane.ts';
import type { LessonCluster } from './cluster.ts';
import { sendRawMessages, unknownSet, withoutTable } from './netlink.ts';
import { podWithAddressOf } from './objects.ts';

export type One = (lesson: (cluster: LessonCluster) => Promise<void>) => Promise<void>;

const toDb = { podSelector: { matchLabels: { role: 'db' } } };
const fromFront = { podSelector: { matchLabels: { role: 'frontend' } } };
const allow = networkPolicy('allow', { ...toDb, ingress: [{ from: [fromFront] }] });
const nobody = networkPolicy('allow', toDb);

const countsOf = async (cluster: LessonCluster): Promise<Record<string, number>> => {
  const listing = await cluster.bed.sh('ip netns exec node-1 nft list table inet podwall');
  return Object.fromEntries(
    ['set', 'map', 'chain', 'elements'].map((kind) => [
      kind,
      [...listing.matchAll(new RegExp(`^\\s*${kind}\\b`, 'gm'))].length,
    ]),
  );
};

export function nodeLessons(one: One): void {
  it('lesson 10: after two rounds of pods and policies coming and going nothing is left of them', () =>
    one(async (cluster) => {
      await cluster.enforcePolicies([allow]);
      const before = await countsOf(cluster);
      for (let round = 0; round < 2; round++) {
        const policies: KubeObject[] = [allow];
        for (let i = 0; i < 8; i++) {
          policies.push(
            networkPolicy(`churn-${i}`, {
              podSelector: { matchLabels: i % 2 === 0 ? { role: 'db' } : {} },
              policyTypes: ['Ingress', 'Egress'],
              ingress: [
                {
                  from: [
                    { podSelector: { matchLabels: { churn: `${round}-${i}` } } },
                    ...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => ({
                      ipBlock: { cidr: `10.${round}.${n * 2}.${i}/32` },
                    })),
                  ],
                  ports: [1, 3, 5, 7, 9].map((port) => ({ port: port + i })),
                },
              ],
              egress: [{}],
            }),
          );
          const late =
            i % 2 === 0
              ? [podWithAddressOf(cluster, 'stranger', 'late', { churn: `${round}-${i}` })]
              : [];
          await cluster.enforcePolicies([...policies, ...late]);
        }
        await cluster.enforcePolicies([allow]);
      }
      expect(await countsOf(cluster)).toEqual(before);
    }));

  it('lesson 25: 15,000 rules: the last one counts like the first', () =>
    one(async (cluster) => {
      const policies = Array.from({ length: 15 }, (_, policy) =>
        networkPolicy(`many-${policy}`, {
          ...toDb,
          ingress: Array.from({ length: 1000 }, (__, rule) => ({
            from: [{ podSelector: { matchLabels: { group: `g${rule % 40}` } } }],
            ports: [{ port: 10_000 + policy * 1000 + rule }],
          })),
        }),
      );
      (policies.at(-1) as { spec: { ingress: object[] } }).spec.ingress[999] = {
        from: [fromFront],
        ports: [{ port: 6379 }],
      };
      await cluster.enforcePolicies(policies);
      await cluster.expectFlows({
        'front db TCP/6379': true,
        'prod2 db TCP/6379': true,
        'dev1 db TCP/6379': false,
        'front db TCP/80': false,
      });
      await cluster.enforcePolicies([allow]);
    }));

  it('lesson 43: a conntrack table that is nearly full changes no verdict, and is said', async ({
    skip,
  }) => {
    const limit = 300_000;
    await one(async (cluster) => {
      const read = async (name: string): Promise<number> =>
        Number(await cluster.bed.sh(`ip netns exec node-1 cat /proc/sys/net/netfilter/${name}`));
      const max = await read('nf_conntrack_max');
      if (max > limit) {
        console.info(`lesson 43 not run: this kernel keeps ${max} connections, more than ${limit}`);
        skip();
      }
      await cluster.enforcePolicies([allow]);
      const family = cluster.families[0] ?? 4;
      const held = {
        do: 'hold',
        host: cluster.address('db', family),
        port: 5978,
        as: 'full',
      } as const;
      expect(await cluster.ask('front').ask(held)).toBe('open');
      // Datagrams to the node itself: accepted, never answered, remembered for half a minute.
      const wanted = Math.floor(max * 0.97) - (await read('nf_conntrack_count'));
      await cluster.bed
        .sh(`ip netns exec world perl -e 'use Socket; socket(S, AF_INET, SOCK_RAW, 255);
my $head = pack("CCnnnCCna4a4", 0x45, 0, 28, 0, 0, 64, 17, 0, inet_aton("172.16.9.2"), inet_aton("172.16.9.1"));
my $to = pack_sockaddr_in(0, inet_aton("172.16.9.1"));
for (my $i = 0; $i < ${wanted}; $i++) { send(S, $head . pack("nnnn", 1024 + $i % 60000, 20000 + int($i / 60000), 8, 0), 0, $to); }'`);
      expect(await read('nf_conntrack_count')).toBeGreaterThan(max * 0.93);
      const findings = await checkNode({
        netns: cluster.bed.netns('node-1'),
        table: 'podwall',
        markMask: 0xffff0000,
        podCidrs: ['10.244.1.0/24'],
      });
      expect(findings.map(({ check }) => check)).toContain('conntrack-fill');
      await cluster.expectFlows({
        'front db TCP/80': true,
        'prod2 db UDP/53': true,
        'dev1 db TCP/80': false,
        'dev2 db UDP/53': false,
      });
      const heard = await cluster
        .ask('front')
        .ask({ do: 'watch', ms: 200, say: false, as: 'full' });
      expect(Number(heard)).toBeGreaterThan(0);
    });
  });

  it('lesson 44: a table of a newer nft: rules stay, the failure says why, and updates go on when it is gone', () =>
    one(async (cluster) => {
      await cluster.enforcePolicies([allow]);
      await sendRawMessages(cluster.bed, 'node-1', unknownSet('newer'));
      const outcome = await cluster.enforcePolicies([nobody]).then(
        () => 'this nft can read it',
        (error: unknown) => error,
      );
      if (outcome instanceof NftError) {
        const [finding] = await checkNode({
          netns: cluster.bed.netns('node-1'),
          table: 'podwall',
          markMask: 0xffff0000,
          podCidrs: ['10.244.1.0/24'],
        });
        expect(finding?.message).toContain('nft crashes (SIG');
        expect(outcome.message).toContain('ended by a signal');
        expect(outcome.message).toContain('newer nft');
        await cluster.expectFlows({ 'front db TCP/80': true });
        const after = await cluster.attempt('dev1 db TCP/80', cluster.families[0] ?? 4);
        expect(after).toBe('timeout');
      } else {
        expect(outcome).toBe('this nft can read it');
        await cluster.expectFlows({ 'front db TCP/80': false });
      }
      await sendRawMessages(cluster.bed, 'node-1', withoutTable('newer'));
      await cluster.enforcePolicies([nobody]);
      await cluster.expectFlows({ 'front db TCP/80': false });
    }));

  it('lesson 48: a refused transaction changes nothing, and the next one goes on', () =>
    one(async (cluster) => {
      await cluster.enforcePolicies([allow]);
      let refuse = 1;
      const plain = spawnRunner({ netns: cluster.bed.netns('node-1') });
      const backend = createBackend({
        nft: (script) =>
          plain(
            script.startsWith('list') || refuse-- <= 0
              ? script
              : `${script}add rule inet none none accept\n`,
          ),
        options: { observe: true },
        collectAfterMs: 0,
      });
      const desired = cluster.program([...cluster.objects(), nobody], 'node-1');
      await expect(backend.apply(desired)).rejects.toThrow('No such file or directory');
      await cluster.expectFlows({ 'front db TCP/80': true, 'dev1 db TCP/80': false });
      await backend.apply(desired);
      await cluster.expectFlows({ 'front db TCP/80': false });
      cluster.backends.get('node-1')?.forget();
    }));
}
