/**
 * Ready means ready: a pod's first instruction already finds its policies in force and its network
 * complete. Pods that try to connect from their first moment on, with and without agents, on both
 * wirings.
 */
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KubeObject } from '../../src/k8s/types.ts';
import { LabUnavailable, startLab } from '../../src/lab/index.ts';
import type { Lab, Wiring } from '../../src/lab/types.ts';

async function whyNot(): Promise<string | undefined> {
  if (spawnSync('kubectl', ['version', '--client']).error !== undefined) {
    return 'there is no kubectl on this machine';
  }
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
if (unavailable !== undefined) console.log(`SKIPPED: first moments of pods: ${unavailable}`);

const metadata = (name: string): KubeObject['metadata'] => ({
  namespace: 'x',
  name,
  labels: { app: name },
});

function listener(name: string, node: string): KubeObject {
  const spec = { nodeName: node, containers: [{ name: 'main', ports: [{ containerPort: 80 }] }] };
  return { apiVersion: 'v1', kind: 'Pod', metadata: metadata(name), spec };
}

/** Tries `allowed` once and all of `forbidden` every 5 ms, for 1.5 s. */
const eager = `
const net = require('node:net');
const [allowed, ...forbidden] = process.argv.slice(1);
let tries = 0;
net.connect({ host: allowed, port: 80 })
  .on('connect', () => console.log('first ok'))
  .on('error', (error) => console.log('first failed ' + error.code));
const timer = setInterval(() => {
  for (const host of forbidden) {
    tries++;
    net.connect({ host, port: 80 })
      .on('connect', function () { console.log('through to ' + host); this.destroy(); })
      .on('error', (error) => console.log('error ' + error.code));
  }
}, 5);
setTimeout(() => { clearInterval(timer); console.log('tried ' + (tries > 20)); }, 1500);
setInterval(() => {}, 1e6);`;

function runner(name: string, node: string, targets: readonly string[]): KubeObject {
  const command = [process.execPath, '-e', eager, '--', ...targets];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'x', name, labels: { role: 'eager' } },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: 'node', command }],
    },
  };
}

const policy = (name: string, spec: object): KubeObject => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'x', name },
  spec,
});

const policies = [
  // Decided where the eager pod is.
  policy('egress', {
    podSelector: { matchLabels: { role: 'eager' } },
    policyTypes: ['Egress'],
    egress: [
      {
        to: [
          {
            podSelector: {
              matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['other'] }],
            },
          },
        ],
      },
    ],
  }),
  // Decided where the listener is.
  policy('vault', {
    podSelector: { matchLabels: { app: 'vault' } },
    ingress: [{ from: [{ podSelector: { matchLabels: { role: 'keeper' } } }] }],
  }),
];

const cases: readonly (readonly [Wiring, boolean])[] = [
  ['routed', false],
  ['bridge', true],
];

describe.skipIf(unavailable !== undefined).each(cases)('%s pods, agents: %s', (wiring, agents) => {
  let lab: Lab;
  let kubeconfig = '';
  const nodes = ['node-1', 'node-2'];

  const ipOf = async (name: string): Promise<string> => {
    const [found] = await lab.get('Pod', { namespace: 'x', name });
    return ((found?.status ?? {}) as { podIP?: string }).podIP ?? '';
  };
  const logOf = (name: string): string[] =>
    spawnSync('kubectl', ['logs', '-n', 'x', name], {
      encoding: 'utf8',
      env: { ...process.env, KUBECONFIG: kubeconfig },
    }).stdout.split('\n');

  /** Starts three eager pods on each node at once; what each said when its time was over. */
  async function run(label: string): Promise<string[][]> {
    const targets = [await ipOf('open'), await ipOf('other'), await ipOf('vault')];
    const names = nodes.flatMap((_, node) => [0, 1, 2].map((one) => `${label}-${node}-${one}`));
    await lab.apply(names.map((name) => runner(name, nodes[Number(name.at(-3))] ?? '', targets)));
    const logs: string[][] = [];
    for (const name of names) {
      await expect.poll(() => logOf(name).join(), { timeout: 20_000 }).toContain('tried true');
      logs.push(logOf(name).filter((line) => line !== '' && line !== 'tried true'));
    }
    await lab.delete(names.map((name) => ({ kind: 'Pod', namespace: 'x', name })));
    return logs;
  }

  beforeAll(async () => {
    lab = await startLab({ wiring, stack: 'ipv4' }, { lifetime: 'parent', api: true, agents });
    kubeconfig = (await lab.status()).api?.kubeconfig ?? '';
    await lab.apply([
      listener('open', 'node-1'),
      listener('other', 'node-1'),
      listener('vault', 'node-2'),
      ...policies,
    ]);
  });

  afterAll(async () => lab?.down());

  it('the first connection to an allowed pod works, none to a forbidden one', async () => {
    for (let round = 0; round < 2; round++) {
      for (const log of await run(`r${round}`)) expect(log).toEqual(['first ok']);
    }
  });

  it('without the policies the same pods get through', async () => {
    await lab.delete(
      policies.map(({ kind, metadata: { name = '' } }) => ({ kind, namespace: 'x', name })),
    );
    const through = [`through to ${await ipOf('other')}`, `through to ${await ipOf('vault')}`];
    for (const log of await run('free')) {
      expect(new Set(log)).toEqual(new Set(['first ok', ...through]));
    }
  });

  it('the first exec finds its routes', async () => {
    const url = `http://${await ipOf('open')}/`;
    for (let one = 0; one < 4; one++) {
      const name = `late-${one}`;
      await lab.apply([listener(name, nodes[one % 2] ?? '')]);
      const { code, stdout } = await lab.exec(`x/${name}`, ['curl', '-s', '-m2', url]);
      expect({ name, code, stdout: stdout.trim() }).toEqual({ name, code: 0, stdout: 'open' });
    }
  });
});
