/**
 * Pods as the network policy tests of Kubernetes make them, unchanged: `agnhost` servers, `agnhost
 * connect` by exec, TCP, UDP and SCTP, judged by its exit code and by what it says.
 */
import { spawn, spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KubeObject } from '../../src/k8s/types.ts';
import { LabUnavailable, startLab } from '../../src/lab/index.ts';
import type { Lab } from '../../src/lab/types.ts';

async function whyNot(): Promise<string | undefined> {
  if (spawnSync('kubectl', ['version', '--client']).error !== undefined) {
    return 'there is no kubectl on this machine';
  }
  if (spawnSync('perl', ['-v']).error !== undefined) return 'there is no perl on this machine';
  try {
    await (await startLab({ outside: [] }, { lifetime: 'parent', api: true })).down();
    return undefined;
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

const unavailable = await whyNot();
if (unavailable !== undefined) console.log(`SKIPPED: agnhost on the lab: ${unavailable}`);

interface Container {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: readonly { name: string; value: string }[];
}

/** One container for each port and protocol. */
function agnhost(port: number, protocol: string): Container {
  const name = `cont-${port}-${protocol}`;
  if (protocol === 'sctp') {
    const env = [{ name: `SERVE_SCTP_PORT_${port}`, value: 'foo' }];
    return { name, command: ['/agnhost', 'porter'], env };
  }
  const flags = [`--${protocol}`, '--http=false', '--port', String(port)];
  return { name, command: ['/agnhost', 'serve-hostname', ...flags] };
}

const containers = [80, 81].flatMap((port) =>
  ['tcp', 'udp', 'sctp'].map((protocol) => agnhost(port, protocol)),
);

function pod(namespace: string, name: string, node: string, more: Container[] = []): KubeObject {
  const metadata = { namespace, name, labels: { pod: name } };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata,
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 0,
      containers: [...containers, ...more].map((one) => ({ ...one, image: 'agnhost' })),
    },
  };
}

function service(namespace: string, name: string): KubeObject {
  const ports = [80, 81].flatMap((port) =>
    ['TCP', 'UDP', 'SCTP'].map((protocol) => ({
      name: `service-port-${protocol.toLowerCase()}-${port}`,
      protocol,
      port,
    })),
  );
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name: `s-${namespace}-${name}` },
    spec: { selector: { pod: name }, ports },
  };
}

const netexec = { name: 'netexec', command: ['/agnhost', 'netexec', '--sctp-port=8082'] };

const cluster = [
  pod('x', 'a', 'node-1', [netexec]),
  pod('x', 'b', 'node-1'),
  pod('y', 'a', 'node-2'),
  service('x', 'a'),
  service('y', 'a'),
];

/** Only SCTP, only port 80. */
const sctpOnly: KubeObject = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'x', name: 'sctp' },
  spec: {
    podSelector: { matchLabels: { pod: 'a' } },
    ingress: [{ ports: [{ port: 80, protocol: 'SCTP' }] }],
  },
};

describe.skipIf(unavailable !== undefined)('agnhost in pods', () => {
  let lab: Lab;
  let kubeconfig = '';

  function kubectl(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    const child = spawn('kubectl', args, { env: { ...process.env, KUBECONFIG: kubeconfig } });
    return new Promise((resolve, reject) => {
      let out = '';
      let err = '';
      child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString('utf8')));
      child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString('utf8')));
      child.on('error', reject);
      child.on('close', (code) => resolve({ code: code ?? -1, out, err }));
    });
  }

  const ipOf = async (namespace: string, name: string): Promise<string> => {
    const [found] = await lab.get('Pod', { namespace, name });
    return ((found?.status ?? {}) as { podIP?: string }).podIP ?? '';
  };

  /** The first line it says, or `open`. */
  async function connect(from: string, target: string, ...flags: string[]): Promise<string> {
    const [namespace = '', name = ''] = from.split('/');
    const command = ['/agnhost', 'connect', target, ...flags];
    const inside = ['exec', '-n', namespace, name, '-c', 'cont-80-tcp', '--'];
    const { code, err } = await kubectl(...inside, ...command);
    if (code === 0) return 'open';
    expect(code).toBe(1);
    return err.split('\n')[0] ?? '';
  }

  const get = async (path: string): Promise<string> => {
    const url = `http://${await ipOf('x', 'a')}:8080${path}`;
    const { stdout, code } = await lab.exec('y/a', ['curl', '-s', '-m5', url]);
    expect(code, url).toBe(0);
    return stdout;
  };

  beforeAll(async () => {
    lab = await startLab({}, { lifetime: 'parent', api: true });
    kubeconfig = (await lab.status()).api?.kubeconfig ?? '';
    await lab.apply(cluster);
  });

  afterAll(async () => lab?.down());

  it('connects to pods, services and names, with every protocol', async () => {
    const targets = [`${await ipOf('x', 'a')}:80`, 's-x-a.x.svc.cluster.local:81'];
    const [found] = await lab.get('Service', { namespace: 'x', name: 's-x-a' });
    targets.push(`${((found?.spec ?? {}) as { clusterIP?: string }).clusterIP}:80`);
    for (const target of targets) {
      for (const protocol of ['tcp', 'udp', 'sctp']) {
        const flags = ['--timeout=5s', `--protocol=${protocol}`];
        const seen = await Promise.all(
          ['x/a', 'x/b', 'y/a'].map((from) => connect(from, target, ...flags)),
        );
        expect(seen, `${protocol} ${target}`).toEqual(['open', 'open', 'open']);
      }
    }
  });

  it('says what the image says when it cannot', async () => {
    const ip = await ipOf('x', 'a');
    const limit = '--timeout=5s';
    expect(
      await Promise.all([
        connect('x/b', `${ip}:9`, limit),
        connect('x/b', `${ip}:9`, limit, '--protocol=udp'),
        connect('x/b', `${ip}:9`, limit, '--protocol', 'sctp'),
        connect('x/b', 'no-such-service:80', limit),
        connect('x/b', 'no-port', limit),
        connect('x/b', `${ip}:80`, '--protocol=icmp'),
        connect('x/b', `${ip}:80`, '--timeout=soon'),
        connect('x/b', '10.244.1.250:80', '--timeout=300ms'),
      ]),
    ).toEqual([
      'REFUSED',
      'REFUSED: connection refused',
      'OTHER: connection refused',
      'DNS: lookup no-such-service: no such host',
      'UNKNOWN: address no-port: missing port in address',
      'Unsupported protocol',
      'Error: invalid argument "soon" for "--timeout" flag: time: invalid duration "soon"',
      'TIMEOUT',
    ]);
  });

  it('plays netexec: names, echoes, the address of the client, dials, commands', async () => {
    const far = await ipOf('y', 'a');
    expect(await get('/hostname')).toBe('a');
    expect(await get('/echo?msg=hello')).toBe('hello');
    expect(await get('/clientip')).toMatch(new RegExp(`^${far.replaceAll('.', '\\.')}:\\d+$`));
    const dial = `/dial?host=${far}&request=hostname`;
    expect(await get(`${dial}&port=80&protocol=udp&tries=2`)).toBe('{"responses":["a","a"]}');
    expect(await get(`${dial}&port=80&protocol=sctp`)).toBe('{"responses":["foo"]}');
    expect(await get(`${dial}&port=9&protocol=http`)).toContain('ECONNREFUSED');
    expect(JSON.parse(await get('/shell?cmd=echo%20inside;exit%203'))).toEqual({
      output: 'inside\n',
      error: 'exit status 3',
    });
    const flags = ['--protocol=sctp', '--timeout=5s'];
    expect(await connect('y/a', `${await ipOf('x', 'a')}:8082`, ...flags)).toBe('open');
  });

  it('S130: a policy on an SCTP port lets SCTP in there and nothing else, seen as packets', async () => {
    const ports = [80, 81].flatMap((port) =>
      (['TCP', 'SCTP'] as const).map((protocol) => ({ protocol, port })),
    );
    const ask = { from: ['x/b', 'y/a'], to: ['x/a'], ports };
    const seen = async (): Promise<Set<string>> =>
      new Set(
        (await lab.probe(ask)).results.map(
          ({ protocol, port, outcome, reason = '' }) => `${protocol} ${port} ${outcome}${reason}`,
        ),
      );
    expect(await seen()).toEqual(
      new Set(['TCP 80 OPEN', 'TCP 81 OPEN', 'SCTP 80 OPEN', 'SCTP 81 OPEN']),
    );
    await lab.apply([sctpOnly]);
    expect(await seen()).toEqual(
      new Set(['TCP 80 DROPPED', 'TCP 81 DROPPED', 'SCTP 80 OPEN', 'SCTP 81 DROPPED']),
    );
    const service = 's-x-a.x:80';
    expect(await connect('y/a', service, '--protocol=sctp', '--timeout=5s')).toBe('open');
    expect(await connect('y/a', service, '--timeout=500ms')).toBe('TIMEOUT');
  });

  it('knows SCTP connections as such, and forgets those that are over', async () => {
    await connect('y/a', `${await ipOf('x', 'a')}:80`, '--protocol=sctp', '--timeout=5s');
    const { stdout } = await lab.exec('node-1', ['cat', '/proc/net/nf_conntrack']);
    const entries = stdout.split('\n').filter((line) => / sctp +132 /.test(line));
    if (stdout !== '') {
      expect(entries.length).toBeGreaterThan(0);
      expect(entries.filter((line) => line.includes('ESTABLISHED'))).toEqual([]);
    }
  });

  it('logs who came', async () => {
    const { out } = await kubectl('logs', '-n', 'x', 'a', '-c', 'cont-80-tcp');
    expect(out).toContain('TCP 80 from 10.244.2.');
    await expect
      .poll(async () => (await kubectl('logs', '-n', 'x', 'a', '-c', 'cont-80-sctp')).out)
      .toContain('SCTP 80 from 10.244.2.');
  });
});
