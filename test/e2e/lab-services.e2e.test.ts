/**
 * Services as packets: refused without endpoints, only ready endpoints, the API from inside pods, and
 * the world behind the node's address.
 */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KubeObject } from '../../src/k8s/types.ts';
import { LabUnavailable, startLab } from '../../src/lab/index.ts';
import type { Lab } from '../../src/lab/types.ts';

async function whyNot(): Promise<string | undefined> {
  try {
    await (await startLab({ outside: [] }, { lifetime: 'parent', api: true })).down();
    return undefined;
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

const unavailable = await whyNot();
if (unavailable !== undefined) console.log(`SKIPPED: services of the lab: ${unavailable}`);

function pod(namespace: string, name: string, node: string): KubeObject {
  const metadata = { namespace, name, labels: { app: name } };
  const spec = { nodeName: node, containers: [{ name: 'main', ports: [{ containerPort: 80 }] }] };
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec };
}

const ports = [{ name: 'http', port: 80, nodePort: 30080 }];

function service(name: string, spec: object): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'x', name },
    spec: { ipFamilyPolicy: 'PreferDualStack', ports: [{ port: 80 }], ...spec },
  };
}

/** Endpoints that no controller touches. */
function slice(addressType: 'IPv4' | 'IPv6', ready: string, late: string): KubeObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace: 'x',
      name: `by-hand-${addressType.toLowerCase()}`,
      labels: { 'kubernetes.io/service-name': 'by-hand' },
    },
    addressType,
    endpoints: [
      { addresses: [ready], conditions: { ready: true } },
      { addresses: [late], conditions: { ready: false } },
    ],
    ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
  } as KubeObject;
}

const egressDenied: KubeObject = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'x', name: 'egress' },
  spec: { podSelector: { matchLabels: { app: 'far' } }, policyTypes: ['Egress'] },
};

const urlOf = (address: string, port = 80): string =>
  `http://${address.includes(':') ? `[${address}]` : address}:${port}/`;

describe.skipIf(unavailable !== undefined)('services', () => {
  let lab: Lab;

  /** curl's exit code (7: refused, 28: no answer) or what was answered. */
  const curl = async (from: string, url: string, ...flags: string[]): Promise<string | number> => {
    const argv = ['curl', '-s', '-m3', ...flags, url];
    const { code, stdout } = await lab.exec(from, argv);
    return code === 0 ? stdout.trim() : code;
  };

  const clusterIPs = async (name: string): Promise<readonly string[]> => {
    const [found] = await lab.get('Service', { namespace: 'x', name });
    return ((found?.spec ?? {}) as { clusterIPs?: string[] }).clusterIPs ?? [];
  };

  const podIPs = async (name: string): Promise<readonly string[]> => {
    const [found] = await lab.get('Pod', { namespace: 'x', name });
    const { podIPs: ips = [] } = (found?.status ?? {}) as { podIPs?: { ip: string }[] };
    return ips.map(({ ip }) => ip);
  };

  beforeAll(async () => {
    lab = await startLab({}, { lifetime: 'parent', api: true });
    await lab.apply([
      pod('x', 'near', 'node-1'),
      pod('x', 'far', 'node-2'),
      pod('x', 'ready', 'node-1'),
      pod('x', 'late', 'node-1'),
      service('empty', { selector: { app: 'nobody' } }),
      service('by-hand', { type: 'NodePort', ports }),
    ]);
  });

  afterAll(async () => lab?.down());

  it('without endpoints are refused, and answer when endpoints come', async () => {
    const addresses = await clusterIPs('empty');
    expect(addresses).toHaveLength(2);
    for (const address of addresses) {
      expect(
        await Promise.all(['x/near', 'x/far', 'node-1'].map((from) => curl(from, urlOf(address)))),
      ).toEqual([7, 7, 7]);
    }
    await lab.apply([pod('x', 'nobody', 'node-2')]);
    for (const address of addresses) {
      await expect.poll(() => curl('x/near', urlOf(address)), { timeout: 10_000 }).toBe('nobody');
    }
    await lab.delete([{ kind: 'Pod', namespace: 'x', name: 'nobody' }]);
    for (const address of addresses) {
      await expect.poll(() => curl('x/near', urlOf(address)), { timeout: 10_000 }).toBe(7);
    }
  });

  it('lead to ready endpoints only, by cluster address and by node port', async () => {
    const [ready4 = '', ready6 = ''] = await podIPs('ready');
    const [late4 = '', late6 = ''] = await podIPs('late');
    await lab.apply([slice('IPv4', ready4, late4), slice('IPv6', ready6, late6)]);
    const urls = (await clusterIPs('by-hand')).map((address) => urlOf(address));
    const { nodes } = await lab.status();
    for (const { addresses } of nodes) {
      urls.push(...addresses.map((address) => urlOf(address, 30080)));
    }
    expect(urls).toHaveLength(6);
    for (const url of urls) {
      await expect.poll(() => curl('x/near', url), { timeout: 10_000 }).toBe('ready');
      const answers = await Promise.all(Array.from({ length: 6 }, () => curl('x/far', url)));
      expect(new Set(answers), url).toEqual(new Set(['ready']));
    }
    expect(await curl('world-a', urlOf(nodes[1]?.addresses[0] ?? '', 30080))).toBe('ready');
  });

  it('the API answers pods at kubernetes.default, and policy decides about it', async () => {
    const { api } = await lab.status();
    const config = parse(readFileSync(api?.kubeconfig ?? '', 'utf8')) as {
      clusters: { cluster: { 'certificate-authority-data': string } }[];
      users: { user: { token: string } }[];
    };
    const ca = config.clusters[0]?.cluster['certificate-authority-data'] ?? '';
    const header = `Authorization: Bearer ${config.users[0]?.user.token ?? ''}`;
    const script = `base64 -d > /run/ca.$$ && curl -s -m3 --cacert /run/ca.$$ \\
      --resolve kubernetes.default:443:10.96.0.1 -H "$0" https://kubernetes.default/version`;
    const ask = async (from: string): Promise<string | number> => {
      const { code, stdout } = await lab.exec(from, ['sh', '-c', script, header], { stdin: ca });
      return code === 0 ? (JSON.parse(stdout) as { gitVersion: string }).gitVersion : code;
    };
    expect(await ask('x/near')).toMatch(/^v1\.\d+/);
    expect(await ask('x/far')).toMatch(/^v1\.\d+/);
    await lab.apply([egressDenied]);
    expect(await ask('x/near')).toMatch(/^v1\.\d+/);
    expect(await ask('x/far')).toBe(28);
    await lab.delete([{ kind: 'NetworkPolicy', namespace: 'x', name: 'egress' }]);
  });
});

/** Says who came, once. */
const whoCame = `require('node:net').createServer((s) => {
  console.log(s.remoteAddress.replace('::ffff:', '')); s.end(); process.exit();
}).listen(9000, '::', () => console.error('listening'));`;

describe.skipIf(unavailable !== undefined)('the way to the world', () => {
  it.each([
    [false, ['10.244.1.2', 'fd00:244:1::2']],
    [true, ['192.168.200.11', 'fd00:200::11']],
  ])('masquerade %s: outside hosts see %j', async (masquerade, expected) => {
    const lab = await startLab({ masquerade }, { lifetime: 'parent', api: true });
    try {
      await lab.apply([pod('x', 'near', 'node-1'), pod('x', 'far', 'node-2')]);
      const [host] = (await lab.status()).outside;
      const seen: string[] = [];
      for (const address of host?.addresses ?? []) {
        const listening = lab.exec(host?.name ?? '', [process.execPath, '-e', whoCame]);
        const url = urlOf(address, 9000);
        await expect
          .poll(async () => (await lab.exec('x/near', ['curl', '-s', '-m1', url])).code, {
            timeout: 10_000,
          })
          .not.toBe(7);
        seen.push((await listening).stdout.trim());
      }
      expect(seen).toEqual(expected);
      // Between pods nobody's address changes: policies name them.
      const report = await lab.probe({ from: ['x/near'], to: ['x/far', host?.name ?? ''] });
      expect(new Set(report.results.map(({ outcome }) => outcome))).toEqual(new Set(['OPEN']));
    } finally {
      await lab.down();
    }
  });
});
