/**
 * A cluster of IPv6 alone and one of both families, used with kubectl: addresses, services, names,
 * exec, and policy as packets.
 */
import { spawn, spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KubeObject } from '../../src/k8s/types.ts';
import { LabUnavailable, startLab } from '../../src/lab/index.ts';
import type { Lab, Stack, Wiring } from '../../src/lab/types.ts';

async function whyNot(): Promise<string | undefined> {
  if (spawnSync('kubectl', ['version', '--client']).error !== undefined) {
    return 'there is no kubectl on this machine';
  }
  try {
    const config = { stack: 'ipv6', wiring: 'bridge', outside: [] } as const;
    await (await startLab(config, { lifetime: 'parent', api: true })).down();
    return undefined;
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

const unavailable = await whyNot();
if (unavailable !== undefined) console.log(`SKIPPED: IPv6 clusters: ${unavailable}`);

function pod(namespace: string, name: string, node: string): KubeObject {
  const metadata = { namespace, name, labels: { app: name } };
  const spec = { nodeName: node, containers: [{ name: 'main', ports: [{ containerPort: 80 }] }] };
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec };
}

const service: KubeObject = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { namespace: 'prod', name: 'web' },
  spec: {
    type: 'NodePort',
    ipFamilyPolicy: 'PreferDualStack',
    selector: { app: 'web' },
    ports: [{ port: 8000, targetPort: 80, nodePort: 30080 }],
  },
};

/** Clients of dev may come in, and all may ask for names. */
const policies: readonly KubeObject[] = [
  {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: 'prod', name: 'clients' },
    spec: {
      podSelector: {},
      ingress: [
        {
          from: [
            {
              namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'dev' } },
              podSelector: { matchLabels: { app: 'client' } },
            },
          ],
        },
      ],
    },
  },
];

const cases: readonly (readonly [Stack, Wiring, boolean])[] = [
  ['ipv6', 'bridge', true],
  ['dual', 'routed', false],
];

describe.skipIf(unavailable !== undefined).each(cases)('%s, %s, agents: %s', (...given) => {
  const [stack, wiring, agents] = given;
  let lab: Lab;
  let kubeconfig = '';

  function kubectl(...args: string[]): Promise<{ code: number; text: string }> {
    const child = spawn('kubectl', args, { env: { ...process.env, KUBECONFIG: kubeconfig } });
    return new Promise((resolve, reject) => {
      let text = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
      }
      child.on('error', reject);
      child.on('close', (code) => resolve({ code: code ?? -1, text: text.trim() }));
    });
  }

  const inside = (where: string, ...argv: string[]): Promise<{ code: number; text: string }> => {
    const [namespace = '', name = ''] = where.split('/');
    return kubectl('exec', '-n', namespace, name, '--', ...argv);
  };

  beforeAll(async () => {
    lab = await startLab({ stack, wiring }, { lifetime: 'parent', api: true, agents });
    kubeconfig = (await lab.status()).api?.kubeconfig ?? '';
    await lab.apply([
      pod('dev', 'client', 'node-1'),
      pod('dev', 'other', 'node-1'),
      pod('prod', 'web', 'node-1'),
      pod('prod', 'far', 'node-2'),
      service,
    ]);
  });

  afterAll(async () => lab?.down());

  it('has the addresses of its families, on nodes, pods and services', async () => {
    const families = async (path: string, ...what: string[]): Promise<string> => {
      const { text } = await kubectl('get', ...what, '-o', `jsonpath=${path}`);
      const found = text.match(/[0-9a-f.:]+/g) ?? [];
      return found.map((one) => (one.includes(':') ? 6 : 4)).join(' ');
    };
    const expected = stack === 'dual' ? '4 6' : '6';
    expect(await families('{.status.podIPs[*].ip}', 'pod', '-n', 'prod', 'web')).toBe(expected);
    expect(await families('{.spec.clusterIPs[*]}', 'svc', '-n', 'prod', 'web')).toBe(expected);
    expect(await families('{.spec.podCIDRs[*]}', 'node', 'node-1').then((one) => one[0])).toBe(
      expected[0],
    );
  });

  it('has names for every family, reached through services', async () => {
    const { text } = await inside('dev/client', 'getent', 'ahosts', 'web.prod');
    expect(text).toContain('fd00:10:96::');
    expect(text.includes('10.96.')).toBe(stack === 'dual');
    for (const family of stack === 'dual' ? ['-4', '-6'] : ['-6']) {
      const curl = ['curl', '-s', '-m3', family];
      const answer = await inside('dev/client', ...curl, 'http://web.prod:8000/');
      expect(answer, family).toEqual({ code: 0, text: 'web' });
      const named = await inside('prod/far', ...curl, 'http://node-2:30080/');
      expect(named, family).toEqual({ code: 0, text: 'web' });
    }
    const connected = await inside('dev/other', '/agnhost', 'connect', 'web.prod:8000');
    expect(connected.code).toBe(0);
  });

  it('policy judges every family, on one node and across nodes', async () => {
    await lab.apply(policies);
    const { results } = await lab.probe({
      from: ['dev/client', 'dev/other', 'world-a'],
      to: ['prod/*'],
    });
    const seen = results.map(
      ({ source, family, destination, outcome }) =>
        `${source} ${destination} IPv${family} ${outcome}`,
    );
    const wanted = (stack === 'dual' ? [4, 6] : [6]).flatMap((family) =>
      ['prod/web', 'prod/far'].flatMap((to) => [
        `dev/client ${to} IPv${family} OPEN`,
        `dev/other ${to} IPv${family} DROPPED`,
        `world-a ${to} IPv${family} DROPPED`,
      ]),
    );
    expect(seen.toSorted()).toEqual(wanted.toSorted());
    const connect = ['/agnhost', 'connect', 'web.prod:8000', '--timeout=1s'];
    expect((await inside('dev/client', ...connect)).code).toBe(0);
    expect((await inside('dev/other', ...connect)).text).toContain('TIMEOUT');
  });
});
