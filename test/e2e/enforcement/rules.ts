/** Lessons about what policies say: labels that flip, named ports, CIDRs, long names, one bad object among good ones. */
import { expect, it } from 'vitest';
import type { KubeObject } from '../../../src/k8s/types.ts';
import { networkPolicy } from '../../contract/dataplane.ts';
import { inBlock, parseIp } from '../../naive/evaluate.ts';
import type { Flows, LessonCluster } from './cluster.ts';
import type { Each } from './identity.ts';
import { withLabels, withNamespaceLabels, withPod } from './objects.ts';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const toDb = { podSelector: { matchLabels: { role: 'db' } } };
const labelled = (role: string): object => ({ podSelector: { matchLabels: { role } } });

/** Bytes over connections that were opened before, one a family. */
async function hold(cluster: LessonCluster, from: string, to: string, as: string): Promise<void> {
  for (const family of cluster.families)
    expect(
      await cluster
        .ask(from)
        .ask({ do: 'hold', host: cluster.address(to, family), port: 5978, as: `${as}${family}` }),
      cluster.title,
    ).toBe('open');
}
async function heard(
  cluster: LessonCluster,
  from: string,
  as: string,
  ms: number,
): Promise<number[]> {
  return Promise.all(
    cluster.families.map(async (family) =>
      Number(await cluster.ask(from).ask({ do: 'watch', ms, say: true, as: `${as}${family}` })),
    ),
  );
}

export function ruleLessons(each: Each): void {
  it('lesson 18: a label that flips is enforced both ways, of the peer and of the subject', () =>
    each(async (cluster) => {
      const policy = networkPolicy('front', {
        ...toDb,
        ingress: [{ from: [labelled('frontend')] }],
      });
      const with_ = (name: string, role: string): KubeObject[] => [
        ...withLabels(cluster.objects(), name, { role }),
        policy,
      ];
      await cluster.enforce(with_('front', 'x'));
      await cluster.expectFlows({ 'front db TCP/80': false, 'prod2 db TCP/80': true });
      await cluster.enforce(with_('front', 'frontend'));
      await cluster.expectFlows({ 'front db TCP/80': true, 'dev1 db TCP/80': false });
      await cluster.enforce(with_('db', 'x'));
      await cluster.expectFlows({ 'dev1 db TCP/80': true });
      await cluster.enforce(with_('db', 'db'));
      await cluster.expectFlows({ 'dev1 db TCP/80': false });
    }));

  it('lesson 19: a namespace label that flips ends open connections, and flipped back lets them go on', () =>
    each(async (cluster) => {
      const policy = networkPolicy('dev', {
        ...toDb,
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { project: 'dev' } } }] }],
      });
      await cluster.enforcePolicies([policy]);
      await hold(cluster, 'dev2', 'db', 'ns');
      expect(Math.min(...(await heard(cluster, 'dev2', 'ns', 150))), cluster.title).toBeGreaterThan(
        0,
      );
      await cluster.enforce([
        ...withNamespaceLabels(cluster.objects(), 'dev', { project: 'other' }),
        policy,
      ]);
      await pause(30);
      expect(await heard(cluster, 'dev2', 'ns', 300), cluster.title).toEqual(
        cluster.families.map(() => 0),
      );
      await cluster.expectFlows({ 'dev2 db TCP/80': false });
      await cluster.enforcePolicies([policy]);
      // The longer the silence was, the later TCP tries again.
      const back = cluster.families.map(() => 0);
      for (let tries = 0; tries < 30 && back.includes(0); tries++)
        for (const [index, bytes] of (await heard(cluster, 'dev2', 'ns', 500)).entries())
          back[index] = (back[index] ?? 0) + bytes;
      expect(Math.min(...back), cluster.title).toBeGreaterThan(0);
    }));

  it('lesson 20: named ports: another number a pod, changed by a roll-out, one name in two containers, a rule of a protocol alone', () =>
    each(async (cluster) => {
      const policy = networkPolicy('web', {
        podSelector: {},
        ingress: [{ ports: [{ port: 'web' }] }],
      });
      await cluster.enforcePolicies([policy]);
      await cluster.expectFlows({
        'dev1 db TCP/80': true,
        'dev1 db TCP/6379': false,
        'dev1 prod2 TCP/6379': true,
        'dev1 prod2 TCP/80': false,
      });
      const rolled = withPod(cluster.objects(), 'db', (pod) => {
        pod.spec['containers'] = [{ name: 'c', ports: [{ name: 'web', containerPort: 6379 }] }];
      });
      await cluster.enforce([...rolled, policy]);
      await cluster.expectFlows({ 'dev1 db TCP/80': false, 'dev1 db TCP/6379': true });
      const twice = withPod(cluster.objects(), 'db', (pod) => {
        pod.spec['containers'] = [80, 6379].map((containerPort) => ({
          name: `c${containerPort}`,
          ports: [{ name: 'web', containerPort }],
        }));
      });
      await cluster.enforce([...twice, policy]);
      await cluster.expectFlows({ 'dev1 db TCP/5978': false, 'dev1 front TCP/6379': false });
      await cluster.enforcePolicies([
        networkPolicy('udp', { ...toDb, ingress: [{ ports: [{ protocol: 'UDP' }] }] }),
      ]);
      await cluster.expectFlows({ 'dev1 db UDP/53': true, 'dev1 db TCP/80': false });
    }));

  it('lesson 21: a policy deleted and made again under its name in one batch is the new one', () =>
    each(async (cluster) => {
      const policy = (port: number): KubeObject =>
        networkPolicy('same', { ...toDb, ingress: [{ ports: [{ port }] }] });
      await cluster.enforcePolicies([policy(80)]);
      await cluster.expectFlows({ 'dev1 db TCP/80': true, 'dev1 db TCP/6379': false });
      await cluster.enforcePolicies([policy(6379)]);
      await cluster.expectFlows({ 'dev1 db TCP/80': false, 'dev1 db TCP/6379': true });
    }));

  it('lesson 24: names and labels of the greatest length, odd ports, and one object that is not valid', () =>
    each(async (cluster) => {
      const long = (length: number): string => 'n'.repeat(length);
      const key = `${`${long(61)}.`.repeat(4)}${long(5)}/${long(63)}`;
      const namespace: KubeObject = {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: {
          name: long(63),
          labels: { 'kubernetes.io/metadata.name': long(63), [key]: long(63) },
        },
      };
      const inLong = withPod(cluster.objects(), 'dev1', (pod) => {
        Object.assign(pod.metadata, {
          namespace: long(63),
          name: `${long(63)}.${long(63)}.${long(63)}.${long(61)}`,
          labels: { [key]: long(63) },
        });
        pod.spec['containers'] = [
          {
            name: 'c',
            ports: [
              { name: 'a-b-c-d-e-f-g-h', containerPort: 65535 },
              { name: 'fwd', containerPort: 80 },
            ],
          },
        ];
      });
      const longName = `${long(63)}.${long(63)}.${long(63)}.${long(61)}`;
      const good = [
        namespace,
        networkPolicy(
          longName,
          {
            podSelector: { matchLabels: { [key]: long(63) } },
            ingress: [
              {
                ports: [{ port: 'fwd' }, { port: 'a-b-c-d-e-f-g-h' }, { port: 1 }, { port: 65535 }],
              },
            ],
          },
          long(63),
        ),
        networkPolicy(longName, {
          ...toDb,
          ingress: [
            {
              from: [{ namespaceSelector: { matchLabels: { [key]: long(63) } } }],
              ports: [{ port: 1, endPort: 65535 }],
            },
          ],
        }),
      ];
      await cluster.enforce([...inLong, ...good]);
      await cluster.expectFlows({
        'dev2 dev1 TCP/80': true,
        'dev2 dev1 TCP/6379': false,
        'dev1 db TCP/6379': true,
        'front db TCP/6379': false,
      });
      // One that is not valid closes what it could select, and nothing else.
      await cluster.enforce([
        ...inLong,
        ...good,
        networkPolicy('bad', { podSelector: {}, ingress: [{ ports: [{ port: 70000 }] }] }, 'dev'),
      ]);
      await cluster.expectFlows({
        'dev2 dev1 TCP/80': false,
        'front dev2 TCP/80': false,
        'dev1 db TCP/6379': true,
        'front prod2 TCP/80': true,
      });
    }));

  it('lesson 26: what one rule excepts another rule may allow, in both directions', () =>
    each(async (cluster) => {
      const all = (name: string): object[] =>
        cluster.families.map((family) => ({
          ipBlock: {
            cidr: family === 4 ? '10.244.0.0/16' : 'fd00:244::/32',
            except: [`${cluster.address(name, family)}/${family === 4 ? 32 : 128}`],
          },
        }));
      const only = (name: string): object[] =>
        cluster.families.map((family) => ({
          ipBlock: { cidr: `${cluster.address(name, family)}/${family === 4 ? 32 : 128}` },
        }));
      await cluster.enforcePolicies([
        networkPolicy('both', {
          ...toDb,
          policyTypes: ['Ingress', 'Egress'],
          ingress: [{ from: all('front') }, { from: only('front'), ports: [{ port: 6379 }] }],
          egress: [{ to: all('dev2') }, { to: only('dev2'), ports: [{ port: 6379 }] }],
        }),
      ]);
      await cluster.expectFlows({
        'front db TCP/6379': true,
        'front db TCP/80': false,
        'prod2 db TCP/80': true,
        'world db TCP/80': false,
        'db dev2 TCP/6379': true,
        'db dev2 TCP/80': false,
        'db prod2 TCP/80': true,
        'db world TCP/80': false,
      });
    }));

  it('lessons 27 and 28: nested, equal and overlapping CIDRs, also not canonical, taken away in any order', () =>
    each(async (cluster) => {
      const sources = ['front', 'dev1', 'prod2', 'dev2', 'world'];
      const lists = cluster.families.map((family) =>
        family === 4
          ? [
              '10.244.1.11/32',
              '10.244.1.11/31',
              '10.244.1.77/24',
              '10.0.0.0/8',
              '10.244.2.10/32',
              '0.0.0.0/0',
              '10.244.0.0/15',
              '172.16.0.0/12',
              '10.244.2.8/29',
            ]
          : [
              'fd00:244:1::11/128',
              'fd00:244:1::11/127',
              'fd00:244:1::77/64',
              'fd00::/8',
              'fd00:244:2::10/128',
              '::/0',
              'fd00:244::/31',
              'fd00:9::/32',
              'fd00:244:2::10/124',
            ],
      );
      const policy = (cidrs: readonly string[]): KubeObject =>
        networkPolicy('cidrs', {
          ...toDb,
          ingress: [{ from: cidrs.map((cidr) => ({ ipBlock: { cidr } })) }],
        });
      const left = lists.map((list) => [...list]);
      // One goes from each list, at another place each time, until one is left: with none the rule admits everyone.
      for (const [step, at] of [4, 3, 3, 1, 2, 0, 1, 0].entries()) {
        for (const list of left) list.splice(at, 1);
        await cluster.enforcePolicies([policy(left.flat())]);
        if (step % 3 !== 1) continue;
        const flows: Record<string, boolean> = {};
        for (const family of cluster.families)
          for (const source of sources) {
            const address = parseIp(cluster.address(source, family));
            const passes = left.flat().some((cidr) => inBlock(address, cidr));
            flows[`${source} ${cluster.address('db', family)} TCP/80`] = passes;
          }
        await cluster.expectFlows(flows satisfies Flows);
      }
    }));
}
