/**
 * The same objects give the same packets, whether pods are routed or ports of a bridge, and whether
 * the lab enforces or an agent on every node does; and both are what the compiled programs say.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KubeObject } from '../../src/k8s/types.ts';
import { createSimulatedLab, LabUnavailable, startLab } from '../../src/lab/index.ts';
import type { Lab, LabConfig, ProbeReport, Wiring } from '../../src/lab/types.ts';

async function whyNot(): Promise<string | undefined> {
  try {
    const config = { wiring: 'bridge', outside: [] } as const;
    await (await startLab(config, { lifetime: 'parent', api: true })).down();
    return undefined;
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

const unavailable = await whyNot();
if (unavailable !== undefined) console.log(`SKIPPED: pods on bridges: ${unavailable}`);

const ports = [
  { containerPort: 80 },
  { containerPort: 6379 },
  { containerPort: 53, protocol: 'UDP' },
];

function pod(namespace: string, name: string, node: string, labels: object = {}): KubeObject {
  const metadata = { namespace, name, labels: { app: name, ...labels } };
  const spec = { nodeName: node, containers: [{ name: 'main', ports }] };
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec };
}

function policy(namespace: string, name: string, spec: object): KubeObject {
  const metadata = { namespace, name };
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec };
}

const cluster: readonly KubeObject[] = [
  pod('dev', 'client', 'node-1', { role: 'client' }),
  pod('dev', 'other', 'node-1'),
  pod('prod', 'near', 'node-1'),
  pod('prod', 'far', 'node-2'),
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'prod', name: 'near' },
    spec: {
      ipFamilyPolicy: 'PreferDualStack',
      selector: { app: 'near' },
      ports: [{ port: 8000, targetPort: 80 }],
    },
  },
];

/** Ingress by label, egress by port, the world by address: each judged on one node and across nodes. */
const policies: readonly KubeObject[] = [
  policy('prod', 'clients', {
    podSelector: {},
    ingress: [
      {
        from: [{ namespaceSelector: {}, podSelector: { matchLabels: { role: 'client' } } }],
        ports: [{ port: 80 }],
      },
      {
        from: [
          { ipBlock: { cidr: '172.17.0.0/16', except: ['172.17.1.0/24'] } },
          { ipBlock: { cidr: 'fd00:172:17::/48', except: ['fd00:172:17:1::/64'] } },
          { podSelector: { matchLabels: { app: 'near' } } },
        ],
      },
    ],
  }),
  policy('dev', 'egress', {
    podSelector: { matchLabels: { app: 'other' } },
    policyTypes: ['Egress'],
    egress: [{ ports: [{ port: 53, protocol: 'UDP' }] }, { to: [{ podSelector: {} }] }],
  }),
];

const probed = {
  ports: [
    { protocol: 'TCP', port: 80 },
    { protocol: 'TCP', port: 6379 },
    { protocol: 'UDP', port: 53 },
  ],
} as const;

/** What was seen, without addresses and times. */
function seen({ results }: ProbeReport): string[] {
  return results
    .map(({ source, destination, family, protocol, port, outcome, reason = '' }) =>
      `${source} ${destination} IPv${family} ${protocol}/${port} ${outcome} ${reason}`.trim(),
    )
    .toSorted();
}

const shape: Partial<LabConfig> = { stack: 'dual' };

async function expectations(): Promise<{ open: string[]; policed: string[] }> {
  const lab = createSimulatedLab(shape);
  await lab.apply(cluster.filter(({ kind }) => kind === 'Pod'));
  const open = seen(await lab.probe(probed));
  await lab.apply(policies);
  return { open, policed: seen(await lab.probe(probed)) };
}

const soak = process.env['PODWALL_SOAK'] !== undefined;
if (!soak) console.log('wirings: routed pods with agents only under `npm run test:soak`');

const cases: readonly (readonly [Wiring, boolean])[] = [
  ['routed', false],
  ['bridge', false],
  ['bridge', true],
  ...(soak ? [['routed', true] as const] : []),
];

describe.skipIf(unavailable !== undefined).each(cases)('%s pods, agents: %s', (wiring, agents) => {
  let lab: Lab;

  const curl = async (from: string, url: string): Promise<string> => {
    const { code, stdout } = await lab.exec(from, ['curl', '-s', '-m2', url]);
    return code === 0 ? stdout.trim() : `code ${code}`;
  };

  async function serviceUrls(): Promise<string[]> {
    const [service] = await lab.get('Service', { namespace: 'prod', name: 'near' });
    const { clusterIPs = [] } = (service?.spec ?? {}) as { clusterIPs?: string[] };
    expect(clusterIPs).toHaveLength(2);
    return clusterIPs.map((ip) => `http://${ip.includes(':') ? `[${ip}]` : ip}:8000/`);
  }

  beforeAll(async () => {
    lab = await startLab({ ...shape, wiring }, { lifetime: 'parent', api: true, agents });
    await lab.apply(cluster);
  });

  afterAll(async () => lab?.down());

  it('sends every packet where the programs say, with and without policies', async () => {
    const { open, policed } = await expectations();
    expect(seen(await lab.probe(probed))).toEqual(open);
    await lab.apply(policies);
    const now = await lab.probe(probed);
    expect(seen(now)).toEqual(policed);
    // On one node, in both families: the case that a bridge could hide from the filter.
    for (const family of [4, 6]) {
      const near = now.results.filter(
        (one) =>
          one.family === family &&
          one.source.startsWith('dev/') &&
          one.destination === 'prod/near' &&
          one.port === 80,
      );
      expect(near.map(({ source, outcome }) => `${source} ${outcome}`)).toEqual([
        'dev/client OPEN',
        'dev/other DROPPED',
      ]);
      expect(near[1]?.evidence).toMatchObject({ control: true, drop: { node: 'node-1' } });
    }
  });

  it('translates services between pods of one node, to another node, and to oneself', async () => {
    const from = ['dev/client', 'prod/far', 'dev/other', 'prod/near'];
    for (const url of await serviceUrls()) {
      const answers = await Promise.all(from.map((source) => curl(source, url)));
      expect(answers).toEqual(['near', 'code 28', 'code 28', 'near']);
    }
    await lab.delete([{ kind: 'NetworkPolicy', namespace: 'prod', name: 'clients' }]);
    for (const url of await serviceUrls()) expect(await curl('prod/far', url)).toBe('near');
  });

  it('takes pods away and gives their places to others', async () => {
    await lab.delete([
      { kind: 'Pod', namespace: 'dev', name: 'other' },
      { kind: 'Pod', namespace: 'prod', name: 'near' },
    ]);
    await lab.apply([pod('prod', 'near', 'node-1'), pod('dev', 'third', 'node-1')]);
    const report = await lab.probe({ from: ['dev/third', 'dev/client'], to: ['prod/near'] });
    expect(report.results.map(({ outcome }) => outcome)).toEqual(['OPEN', 'OPEN', 'OPEN', 'OPEN']);
  });
});

describe.skipIf(unavailable !== undefined)('br_netfilter', () => {
  it('is what filters pods of one bridge: without it the same probe is OPEN', async () => {
    const lab = await startLab(
      { ...shape, wiring: 'bridge', outside: [] },
      { lifetime: 'parent', api: true },
    );
    try {
      await lab.apply([...cluster, ...policies]);
      const ask = { from: ['dev/other'], to: ['prod/near'], family: 4 } as const;
      const outcomes = async (): Promise<string[]> =>
        (await lab.probe(ask)).results.map(({ outcome }) => outcome);
      expect(await outcomes()).toEqual(['DROPPED']);
      const off = 'echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables';
      expect(await lab.exec('node-1', ['sh', '-c', off])).toMatchObject({ code: 0 });
      expect(await outcomes()).toEqual(['OPEN']);
    } finally {
      await lab.down();
    }
  });
});
