/** The nftables backend in a real kernel: verdicts, revocation and special paths (what happens while it changes: flood.e2e.test.ts). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  compileNode,
  createBackend,
  interactiveRunner,
  renderProgram,
  spawnRunner,
} from '../../src/dataplane/index.ts';
import type { ApplyReport, Backend, DataplaneOptions } from '../../src/dataplane/index.ts';
import { buildSnapshot } from '../../src/engine/build.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import {
  clusterObjects,
  networkPolicy,
  outside,
  podObject,
  pods,
  runContract,
  tcpPorts,
  udpPorts,
} from '../contract/dataplane.ts';
import type { ContractPod } from '../contract/dataplane.ts';
import { canMakeBed, makeBed } from './dataplane/bed.ts';
import type { Bed, PodProcess } from './dataplane/bed.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`dataplane e2e tests skipped: ${impossible}`);

const observing: Partial<DataplaneOptions> = { observe: true };
const nodes = ['node-1', 'node-2'] as const;
type NodeName = (typeof nodes)[number];

describe.skipIf(impossible !== undefined)('nftables backend', () => {
  let bed: Bed;
  const processes = new Map<string, PodProcess>();
  const backends = new Map<NodeName, Backend>();
  /** Lives on node-1 but the API has not announced it. */
  const stranger = { name: 'stranger', node: 1, host: 99 } as const;
  const ask = (name: string): PodProcess => processes.get(name) as PodProcess;
  const pod = (name: string): ContractPod =>
    pods.find((known) => known.name === name) as ContractPod;
  const v4 = (name: string): string => `10.244.${pod(name).node}.${pod(name).host}`;
  const v6 = (name: string): string => `fd00:244:${pod(name).node}::${pod(name).host}`;

  const enforce = async (
    objects: readonly KubeObject[],
    options: Partial<DataplaneOptions> = observing,
  ): Promise<ApplyReport[]> => {
    const { snapshot } = buildSnapshot(objects.map((object) => ({ object })));
    return Promise.all(
      [...backends].map(([name, backend]) => backend.apply(compileNode(snapshot, name, options))),
    );
  };
  const policies = (...list: KubeObject[]): KubeObject[] => [...clusterObjects(), ...list];
  const tcp = (from: string, host: string, port: number, timeout = 700): Promise<string> =>
    ask(from).ask({ do: 'connect', host, port, timeout });

  beforeAll(async () => {
    bed = await makeBed([...pods, stranger]);
    for (const name of [...pods.map((one) => one.name), 'stranger', 'world', ...nodes])
      processes.set(name, bed.process(name));
    await Promise.all(
      [...processes].flatMap(([name, process]) => [
        ...tcpPorts.map((port) =>
          process.ask({ do: 'listen', protocol: 'tcp', port, talk: port === 5978 }),
        ),
        ...(name.startsWith('node') ? [] : udpPorts).map((port) =>
          process.ask({ do: 'listen', protocol: 'udp', port }),
        ),
      ]),
    );
    for (const name of nodes)
      backends.set(
        name,
        createBackend({
          nft: spawnRunner({ netns: bed.netns(name) }),
          options: observing,
          collectAfterMs: 0,
        }),
      );
  });
  afterAll(async () => {
    await bed?.close();
  });

  describe('keeps the contract', () => {
    runContract(() => ({
      enforce: async (objects) => {
        await enforce(objects);
      },
      probe: async ({ from, to, protocol, port, family }) => {
        const known = pods.some(({ name }) => name === from);
        const target = pods.some(({ name }) => name === to) ? (family === 4 ? v4(to) : v6(to)) : to;
        if (!known) {
          // An address of the outside host: bind to it.
          return probeFrom(bed, from, target, port);
        }
        const answer =
          protocol === 'TCP'
            ? await tcp(from, target, port)
            : await ask(from).ask({ do: 'udp', host: target, port, timeout: 700 });
        if (answer !== 'open' && answer !== 'timeout')
          throw new Error(`${from} ${to} ${port}: ${answer}`);
        return answer === 'open' ? 'allowed' : 'denied';
      },
    }));
  });

  it('a second apply of the same program commits nothing, also for a backend that has to read', async () => {
    const objects = policies(
      networkPolicy('one', {
        podSelector: {},
        ingress: [
          {
            from: [
              { podSelector: {} },
              {
                ipBlock: {
                  cidr: '10.0.0.0/8',
                  except: [
                    '10.0.0.0/16',
                    '10.3.0.0/16',
                    '10.5.0.0/16',
                    '10.7.0.0/16',
                    '10.9.0.0/16',
                    '10.11.0.0/16',
                    '10.13.0.1/32',
                  ],
                },
              },
            ],
            ports: [1, 2, 3, 4, 5, 6].map((port) => ({ port })),
          },
        ],
      }),
    );
    await enforce(objects);
    expect((await enforce(objects)).flatMap((report) => report.transactions)).toEqual([]);
    for (const backend of backends.values()) backend.forget();
    expect((await enforce(objects)).flatMap((report) => report.transactions)).toEqual([]);
  });

  it('the rendered program loads into an empty kernel', async () => {
    const objects = policies(
      networkPolicy('one', { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] }),
    );
    const { snapshot } = buildSnapshot(objects.map((object) => ({ object })));
    const result = await spawnRunner({ netns: bed.netns('world') })(
      renderProgram(compileNode(snapshot, 'node-1')),
    );
    expect(result).toEqual({ code: 0, stdout: '', stderr: '' });
    await bed.sh('ip netns exec world nft delete table inet podwall');
  });

  it('counts denied flows at the side that denied, and forgets them on reset', async () => {
    await enforce(
      policies(
        networkPolicy('in', {
          podSelector: { matchLabels: { role: 'db' } },
          policyTypes: ['Ingress'],
        }),
        networkPolicy('out', { podSelector: {}, policyTypes: ['Egress'] }, 'dev'),
      ),
    );
    for (const backend of backends.values()) await backend.resetDrops();
    await tcp('front', v4('db'), 80);
    await ask('dev2').ask({ do: 'udp', host: v6('db'), port: 53, timeout: 200 });
    const drops = await Promise.all([...backends.values()].map((backend) => backend.drops()));
    const plain = drops.map((list) =>
      list.map(({ packets, ...rest }) => ({ ...rest, some: packets > 0 })),
    );
    expect(plain[0]).toEqual([
      {
        family: 4,
        direction: 'Ingress',
        source: v4('front'),
        destination: v4('db'),
        protocol: 'TCP',
        port: 80,
        some: true,
      },
    ]);
    expect(plain[1]).toEqual([
      {
        family: 6,
        direction: 'Egress',
        source: v6('dev2'),
        destination: v6('db'),
        protocol: 'UDP',
        port: 53,
        some: true,
      },
    ]);
    for (const backend of backends.values()) await backend.resetDrops();
    expect(await backends.get('node-1')?.drops()).toEqual([]);
  });

  describe('paths beside pod to pod', () => {
    const locked = (): KubeObject[] =>
      policies(networkPolicy('deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }));

    it('S160: the node reaches its own pods whatever the policies say, IPv4 and IPv6, also a pod not announced', async () => {
      await enforce(locked());
      expect(await tcp('node-1', v4('db'), 80)).toBe('open');
      expect(await tcp('node-1', v6('db'), 80)).toBe('open');
      expect(await tcp('node-1', '10.244.1.99', 80)).toBe('open');
    });

    it('S164: another node has no exemption', async () => {
      await enforce(locked());
      expect(await tcp('node-2', v4('db'), 80)).toBe('timeout');
      expect(await tcp('node-2', v6('db'), 80)).toBe('timeout');
    });

    it('S161: a pod reaches its node only as its egress policies allow', async () => {
      await enforce(locked());
      expect(await tcp('db', '192.168.0.1', 80)).toBe('timeout');
      expect(await tcp('db', '10.244.1.1', 80)).toBe('timeout');
      await enforce(
        policies(
          networkPolicy('to-node', {
            podSelector: {},
            policyTypes: ['Egress'],
            egress: [
              {
                to: [
                  { ipBlock: { cidr: '192.168.0.1/32' } },
                  { ipBlock: { cidr: '10.244.1.1/32' } },
                ],
              },
            ],
          }),
        ),
      );
      expect(await tcp('db', '192.168.0.1', 80)).toBe('open');
      expect(await tcp('db', '10.244.1.1', 80)).toBe('open');
      expect(await tcp('db', '192.168.0.2', 80)).toBe('timeout');
    });

    it('an address of the pod range without a pod is denied in both directions', async () => {
      await enforce(policies());
      expect(await tcp('stranger', v4('dev2'), 80)).toBe('timeout');
      expect(await tcp('dev2', '10.244.1.99', 80)).toBe('timeout');
      expect(await tcp('front', 'fd00:244:1::99', 80)).toBe('timeout');
      expect(await tcp('stranger', '192.168.0.1', 80)).toBe('timeout');
      expect(await tcp('front', '10.244.1.1', 80)).toBe('open');
    });

    it('--unknown-pod=allow lets it pass, and going back closes it again', async () => {
      const open = { ...observing, unknownPod: 'allow' } as const;
      await enforce(policies(), open);
      expect(await tcp('stranger', v4('dev2'), 80)).toBe('open');
      await enforce(policies());
      expect(await tcp('stranger', v4('dev2'), 80)).toBe('timeout');
      expect((await backends.get('node-1')?.read())?.map(({ table }) => table)).toHaveLength(1);
    });

    it('what the node sends in a pod’s name is judged as the pod’s', async () => {
      await enforce(policies(networkPolicy('deny', { podSelector: {}, policyTypes: ['Egress'] })));
      await bed.sh('ip netns exec node-1 sysctl -qw net.ipv6.ip_nonlocal_bind=1');
      const denied = await counterOf(bed, 'node-1', 'd_eg', async () => {
        expect(
          await ask('node-1').ask({
            do: 'udp',
            host: v6('dev2'),
            port: 53,
            timeout: 200,
            from: v6('db'),
          }),
        ).toBe('timeout');
      });
      await bed.sh('ip netns exec node-1 sysctl -qw net.ipv6.ip_nonlocal_bind=0');
      expect(denied).toBe(1);
    });

    it('S178: through a Service address the backend and its port are judged', async () => {
      for (const name of nodes)
        await bed.sh(`ip netns exec ${name} nft -f - <<'X'
table ip svc {
  chain pre { type nat hook prerouting priority dstnat;
    ip daddr 10.96.0.10 tcp dport 8080 dnat to ${v4('prod2')}:6379
    ip daddr 10.96.0.10 tcp dport 8081 dnat to ${v4('prod2')}:80
    ip daddr 10.96.0.11 tcp dport 8080 dnat to ${v4('front')}:6379
    ip daddr 10.96.0.12 tcp dport 80 dnat to ${v4('db')}:80
  }
  chain post { type nat hook postrouting priority srcnat;
    ct original ip daddr 10.96.0.12 ip saddr ${v4('db')} masquerade
  }
}
X`);
      await enforce(
        policies(
          networkPolicy('svc', {
            podSelector: { matchLabels: { role: 'db' } },
            policyTypes: ['Egress'],
            egress: [
              {
                to: [
                  { ipBlock: { cidr: `${v4('prod2')}/32` } },
                  { podSelector: { matchLabels: { role: 'frontend' } } },
                ],
                ports: [{ port: 6379 }],
              },
            ],
          }),
          networkPolicy('back', {
            podSelector: { matchLabels: { role: 'frontend' } },
            ingress: [
              { from: [{ podSelector: { matchLabels: { role: 'db' } } }], ports: [{ port: 6379 }] },
            ],
          }),
        ),
      );
      expect(await tcp('db', '10.96.0.10', 8080)).toBe('open');
      expect(await tcp('db', '10.96.0.11', 8080)).toBe('open');
      expect(await tcp('db', '10.96.0.10', 8081)).toBe('timeout');
      expect(await tcp('dev1', '10.96.0.11', 8080)).toBe('timeout');
    });

    it('S166: a pod that a Service leads back to itself is judged by policy', async () => {
      await enforce(policies());
      expect(await tcp('db', '10.96.0.12', 80)).toBe('open');
      await enforce(locked());
      expect(await tcp('db', '10.96.0.12', 80)).toBe('timeout');
      await bed.sh(`for n in node-1 node-2; do ip netns exec $n nft delete table ip svc; done`);
    });

    it('IPv6 neighbour discovery works under deny-all', async () => {
      await enforce(locked());
      await bed.sh('ip -n db neigh flush dev eth0; ip -n node-1 neigh flush dev v0');
      expect(await tcp('node-1', v6('db'), 80)).toBe('open');
    });

    it('S170: related ICMP passes: a path with a smaller MTU is discovered', async () => {
      await enforce(
        policies(
          networkPolicy('udp', {
            podSelector: { matchLabels: { role: 'db' } },
            policyTypes: ['Ingress', 'Egress'],
            egress: [{ ports: [{ protocol: 'UDP', port: 53 }, { port: 6379 }] }],
          }),
        ),
      );
      const known = async (): Promise<string> => bed.sh(`ip -n db route get ${v4('dev2')}`);
      await bed.sh('ip -n node-1 link set up0 mtu 1300; ip -n node-2 link set up0 mtu 1300');
      await ask('db').ask({ do: 'udp', host: v4('dev2'), port: 53, timeout: 300, size: 1400 });
      expect(await known()).toContain('mtu 1300');
      await bed.sh(
        'ip -n node-1 link set up0 mtu 1500; ip -n node-2 link set up0 mtu 1500; ip -n db route flush cache',
      );
    });

    it('--deny=reject tells the sender', async () => {
      await enforce(locked(), { ...observing, deny: 'reject' });
      expect(await tcp('front', v4('db'), 80)).toBe('ECONNREFUSED');
      await enforce(locked());
      expect(await tcp('front', v4('db'), 80)).toBe('timeout');
    });
  });

  describe('revocation of established connections', () => {
    const allow = networkPolicy('allow', {
      podSelector: { matchLabels: { role: 'db' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { role: 'frontend' } } }] }],
    });
    const nobody = networkPolicy('allow', { podSelector: { matchLabels: { role: 'db' } } });

    for (const [title, from, host] of [
      ['on one node, IPv4', 'front', v4],
      ['over two nodes, IPv6', 'prod2', v6],
    ] as const)
      for (const speaker of ['client', 'server'] as const)
        it(`${title}, the ${speaker} speaks: stops in both directions, and comes back when allowed again`, async () => {
          const port = speaker === 'server' ? 5978 : 80;
          await enforce(policies(allow));
          expect(await ask(from).ask({ do: 'hold', host: host('db'), port })).toBe('open');
          const say = speaker === 'client';
          expect(Number(await ask(from).ask({ do: 'watch', ms: 200, say }))).toBeGreaterThan(10);
          await enforce(policies(nobody));
          await ask(from).ask({ do: 'watch', ms: 30, say });
          expect(await ask(from).ask({ do: 'watch', ms: 400, say })).toBe('0');
          await enforce(policies(allow));
          // Retransmission waits up to some 800 ms by now.
          expect(Number(await ask(from).ask({ do: 'watch', ms: 2500, say }))).toBeGreaterThan(0);
        });

    it('how long until the last byte, in both directions, while both sides speak each millisecond', async () => {
      await ask('db').ask({ do: 'listen', protocol: 'tcp', port: 5979, talk: true, talkMs: 1 });
      const runners = nodes.map((name) => interactiveRunner({ netns: bed.netns(name) }));
      const fast = runners.map((runner, index) => ({
        name: nodes[index] as NodeName,
        backend: createBackend({ nft: runner.run, options: observing }),
      }));
      const times = { client: [] as number[], server: [] as number[] };
      const set = async (policy: KubeObject): Promise<void> => {
        const objects = policies(policy).map((object) => ({ object }));
        const { snapshot } = buildSnapshot(objects);
        await Promise.all(
          fast.map(({ name, backend }) => backend.apply(compileNode(snapshot, name, observing))),
        );
      };
      for (let i = 0; i < 10; i++) {
        await set(allow);
        expect(await ask('front').ask({ do: 'hold', host: v4('db'), port: 5979 })).toBe('open');
        const chat = ask('front').ask({ do: 'chat', ms: 900 });
        await new Promise((resolve) => setTimeout(resolve, 200));
        const start = performance.timeOrigin + performance.now();
        await set(nobody);
        const last = {
          client: Number(await chat),
          server: Number(await ask('db').ask({ do: 'last' })),
        };
        // It was open until then, and closed long before the talk ended.
        expect(last.client).toBeGreaterThan(start - 150);
        expect(last.server).toBeGreaterThan(start - 150);
        times.client.push(last.client - start);
        times.server.push(last.server - start);
      }
      for (const runner of runners) await runner.close();
      for (const backend of backends.values()) backend.forget();
      const row = (list: number[]): string => {
        const sorted = list.toSorted((a, b) => a - b);
        return `median ${sorted[list.length >> 1]?.toFixed(1)} ms, longest ${sorted.at(-1)?.toFixed(1)} ms`;
      };
      console.info(
        `last byte after the change was asked for: at the client ${row(times.client)}; at the server ${row(times.server)}`,
      );
      // Not a time but a fact: bytes ended before the talk did, some 700 ms after the change.
      for (const one of [...times.client, ...times.server]) expect(one).toBeLessThan(600);
    });

    it('a connection that conntrack has forgotten does not come back the other way round', async () => {
      await enforce(policies(allow));
      expect(await ask('front').ask({ do: 'hold', host: v4('db'), port: 5978 })).toBe('open');
      await enforce(policies(nobody));
      await bed.sh('ip netns exec node-1 conntrack -F 2>/dev/null');
      await ask('front').ask({ do: 'watch', ms: 30, say: false });
      expect(await ask('front').ask({ do: 'watch', ms: 1200, say: true })).toBe('0');
    });

    it('a pod whose label no longer matches loses its connection; others keep theirs without a gap', async () => {
      await enforce(policies(allow));
      expect(await ask('front').ask({ do: 'hold', host: v4('db'), port: 5978 })).toBe('open');
      expect(await ask('prod2').ask({ do: 'hold', host: v4('db'), port: 5978 })).toBe('open');
      const flipped = policies(allow).map((object) =>
        object.kind === 'Pod' && object.metadata.name === 'front'
          ? podObject({ ...pod('front'), labels: { role: 'x' } })
          : object,
      );
      await enforce(flipped);
      await ask('front').ask({ do: 'watch', ms: 30, say: false });
      const [gone, kept] = await Promise.all([
        ask('front').ask({ do: 'watch', ms: 400, say: false }),
        ask('prod2').ask({ do: 'watch', ms: 400, say: false }),
      ]);
      expect(gone).toBe('0');
      expect(Number(kept)).toBeGreaterThan(50);
    });
  });

  it('repairs itself when somebody else has changed the table', async () => {
    const objects = policies(networkPolicy('deny', { podSelector: {}, policyTypes: ['Ingress'] }));
    await enforce(objects);
    await bed.sh('ip netns exec node-1 nft delete table inet podwall');
    await enforce(policies());
    expect(await tcp('dev1', v4('db'), 80)).toBe('open');
    await enforce(objects);
    expect(await tcp('dev1', v4('db'), 80)).toBe('timeout');
  });

  describe('puts right what somebody else changed, without a moment of no enforcement', () => {
    const objects = (): KubeObject[] =>
      policies(
        networkPolicy('one', {
          podSelector: { matchLabels: { role: 'db' } },
          ingress: [
            {
              from: [{ podSelector: { matchLabels: { role: 'frontend' } } }],
              ports: [80, 82, 84, 86, 88].map((port) => ({ port })),
            },
          ],
        }),
      );
    /** A name in the listing that matches, to tamper with. */
    const nameOf = async (pattern: RegExp): Promise<string> => {
      const tables = (await backends.get('node-1')?.read())?.[0]?.table ?? '';
      const listing = await bed.sh(`ip netns exec node-1 nft list table inet ${tables}`);
      return `${tables} ${pattern.exec(listing)?.[1]}`;
    };
    type Tamper = readonly [string, RegExp, (name: string) => string];
    const tampers: readonly Tamper[] = [
      ...[
        ['', ''],
        ['_n', ', in the form that reads packets'],
      ].flatMap(([form, which]): Tamper[] => [
        [
          `a program chain flushed${which}`,
          RegExp(`chain (i_[0-9a-f]{24}${form}) `),
          (name) => `flush chain inet ${name}`,
        ],
        [
          `a rule added to a program${which}`,
          RegExp(`chain (k_[0-9a-f]{24}${form}) `),
          (name) => `insert rule inet ${name} accept`,
        ],
        [
          `a port of a map deleted${which}`,
          RegExp(`map (p_[0-9a-f]{24}${form}) `),
          (name) => `delete element inet ${name} { 80 }`,
        ],
        [
          `a pod taken out of dispatch${which}`,
          RegExp(`map (in4${form}) `),
          (name) => `delete element inet ${name} { 10.244.1.10 }`,
        ],
      ]),
      ['a rule added to the frame', /chain (c_eval)/, (name) => `insert rule inet ${name} accept`],
      ['a base chain flushed', /chain (h_forward)/, (name) => `flush chain inet ${name}`],
      [
        'a base chain deleted',
        /chain (h_input)/,
        (name) => `flush chain inet ${name}; delete chain inet ${name}`,
      ],
      ['a stranger in a set', /set (s4_\w+)/, (name) => `add element inet ${name} { 10.244.2.11 }`],
    ];
    for (const [title, pattern, tamper] of tampers)
      it(title, async () => {
        await enforce(objects());
        await bed.sh(`ip netns exec node-1 nft '${tamper(await nameOf(pattern))}'`);
        for (const backend of backends.values()) backend.forget();
        const [report] = await enforce(objects());
        expect(report?.transactions.length).toBeGreaterThan(0);
        const [allowed, port, foe] = await Promise.all([
          tcp('front', v4('db'), 80),
          tcp('front', v4('db'), 6379, 300),
          tcp('dev2', v4('db'), 80, 300),
        ]);
        expect({ allowed, port, foe }).toEqual({
          allowed: 'open',
          port: 'timeout',
          foe: 'timeout',
        });
        for (const backend of backends.values()) backend.forget();
        expect((await enforce(objects()))[0]?.transactions).toEqual([]);
      });
  });

  it('cleanup leaves nothing behind', async () => {
    await enforce(policies(networkPolicy('deny', { podSelector: {} })));
    for (const backend of backends.values()) await backend.cleanup();
    expect(await bed.sh('for n in node-1 node-2; do ip netns exec $n nft list tables; done')).toBe(
      '',
    );
    expect(await tcp('stranger', v4('db'), 80)).toBe('open');
  });
});

/** TCP connect from one of the outside host's addresses. */
async function probeFrom(
  bed: Bed,
  from: string,
  host: string,
  port: number,
): Promise<'allowed' | 'denied'> {
  const code = `import net from 'node:net';
const s = net.connect({ host: '${host}', port: ${port}, localAddress: '${from === 'world' ? outside.inside : from}' });
const t = setTimeout(() => { console.log('denied'); process.exit(0); }, 700);
s.on('connect', () => { console.log('allowed'); process.exit(0); });
s.on('error', (e) => { console.log(e.code); process.exit(0); });`;
  const answer = (
    await bed.sh(`ip netns exec world ${process.execPath} --input-type=module -e "${code}"`)
  ).trim();
  if (answer !== 'allowed' && answer !== 'denied') throw new Error(`${from} to ${host}: ${answer}`);
  return answer;
}

/** How many packets a frame chain's counter gains during `action`. */
async function counterOf(
  bed: Bed,
  node: string,
  chain: string,
  action: () => Promise<void>,
): Promise<number> {
  const read = async (): Promise<number> => {
    const listing = await bed.sh(`ip netns exec ${node} nft list chain inet podwall ${chain}`);
    return Number(/counter packets (\d+)/.exec(listing)?.[1] ?? 0);
  };
  const before = await read();
  await action();
  return (await read()) - before;
}
