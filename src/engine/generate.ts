/**
 * Makes clusters for benchmarks and demonstrations: the same options and seed give the same objects
 * on every machine. docs/reference/gen.md describes the distributions. Must not know of the engine.
 */
import type { KubeObject, LabelSelector } from '../k8s/types.ts';

export type ClusterProfile = 'default' | 'real';

export interface GenerateOptions {
  readonly pods: number;
  readonly namespaces: number;
  readonly policies: number;
  /** Any integer. Default 1. */
  readonly seed?: number;
  /**
   * `default`: teams, tiers and a few cluster-wide services. `real`: one peer selector per policy that
   * selects about two pods, about six pods on a node, as measured on a large production cluster.
   */
  readonly profile?: ClusterProfile;
}

/** Sizes of the `real` profile when none are given. */
export const realClusterSize: Required<Pick<GenerateOptions, 'pods' | 'namespaces' | 'policies'>> =
  {
    pods: 5413,
    namespaces: 604,
    policies: 13678,
  };

/** Objects in dependency order: Namespaces, Nodes, Pods, policies. */
export function generateCluster(options: GenerateOptions): KubeObject[] {
  const random = createRandom(options.seed ?? 1);
  const namespaceCount = Math.max(1, options.namespaces);
  const real = options.profile === 'real';
  const namespaces = Array.from({ length: namespaceCount }, (_, i) => namespaceOf(i));
  const nodes = nodesFor(options.pods, real ? 6 : 30);
  const pods = podsFor(options.pods, namespaceCount, nodes.length, real, random);
  const policies = real
    ? realPolicies(options.policies, pods, namespaceCount, random)
    : defaultPolicies(options.policies, pods, namespaceCount, random);
  return [...namespaces, ...nodes, ...pods.map(({ object }) => object), ...policies];
}

interface Random {
  /** An integer from 0 to below `limit`. */
  below(limit: number): number;
  chance(percent: number): boolean;
  pick<T>(items: readonly T[]): T;
}

/** Mulberry32: small, quick, and the same everywhere. */
function createRandom(seed: number): Random {
  let state = seed | 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    below,
    chance: (percent) => next() * 100 < percent,
    pick: (items) => items[below(items.length)] as (typeof items)[number],
  };
}

const teams = 50;
const environments = ['prod', 'staging', 'dev'];
const applications = [
  'web',
  'api',
  'db',
  'cache',
  'queue',
  'worker',
  'auth',
  'search',
  'billing',
  'mail',
  'files',
  'report',
  'proxy',
  'gateway',
  'scheduler',
  'metrics',
];
const tierOf: Readonly<Record<string, string>> = {
  web: 'front',
  proxy: 'front',
  gateway: 'front',
  db: 'data',
  cache: 'data',
  queue: 'data',
  files: 'data',
};

function namespaceName(i: number): string {
  return i === 0 ? 'kube-system' : `ns-${i}`;
}

function namespaceOf(i: number): KubeObject {
  const name = namespaceName(i);
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name,
      labels: {
        'kubernetes.io/metadata.name': name,
        team: i === 0 ? 'platform' : `team-${i % teams}`,
        env: environments[i % environments.length] as string,
      },
    },
  };
}

function nodesFor(pods: number, podsPerNode: number): KubeObject[] {
  const count = Math.max(1, Math.ceil(pods / podsPerNode));
  return Array.from({ length: count }, (_, i) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: `node-${i}`,
      labels: { 'kubernetes.io/hostname': `node-${i}`, zone: `zone-${i % 3}` },
    },
    status: { addresses: [{ type: 'InternalIP', address: dotted(0xac100000 + i + 1) }] },
  }));
}

function dotted(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}

interface MadePod {
  readonly object: KubeObject;
  readonly namespace: number;
  readonly app: string;
}

/** Pods stand in workloads of 1 to 5 replicas with the same labels, two or three workloads to a namespace. */
function podsFor(
  count: number,
  namespaces: number,
  nodes: number,
  real: boolean,
  random: Random,
): MadePod[] {
  const pods: MadePod[] = [];
  for (let workload = 0; pods.length < count; workload++) {
    const namespace = workload % namespaces;
    const app = random.pick(applications);
    // In the real profile a workload has its own name, so that a selector finds few pods.
    const instance = real ? `${app}-${workload}` : app;
    const replicas = Math.min(
      real ? 1 + random.below(3) : 1 + random.below(5),
      count - pods.length,
    );
    const hash = (workload + 0x1000).toString(36);
    for (let replica = 0; replica < replicas; replica++) {
      const i = pods.length;
      pods.push({
        namespace,
        app: instance,
        object: {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: {
            name: `${instance}-${hash}-${replica}`,
            namespace: namespaceName(namespace),
            labels: {
              app: instance,
              tier: tierOf[app] ?? 'back',
              version: `v${workload % 3}`,
              'pod-template-hash': hash,
            },
            ownerReferences: [
              {
                apiVersion: 'apps/v1',
                kind: 'ReplicaSet',
                name: `${instance}-${hash}`,
                controller: true,
              },
            ],
          },
          spec: {
            nodeName: `node-${random.below(nodes)}`,
            containers: [
              {
                name: 'main',
                ports: [
                  { name: 'http', containerPort: 8080 },
                  { name: 'metrics', containerPort: 9090 },
                ],
              },
            ],
          },
          status: {
            phase: 'Running',
            podIP: dotted(0x0a000000 + i + 1),
            podIPs: [{ ip: dotted(0x0a000000 + i + 1) }],
          },
        },
      });
    }
  }
  return pods;
}

function policyOf(namespace: number, name: string, spec: Record<string, unknown>): KubeObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: namespaceName(namespace), name },
    spec,
  };
}

const byApp = (app: string): LabelSelector => ({ matchLabels: { app } });

/**
 * One policy to each namespace in turn: first, for most, a default deny or own-namespace-only; then a
 * mix of app to app, other team, monitoring, DNS egress, and blocks of the world.
 */
function defaultPolicies(
  count: number,
  pods: readonly MadePod[],
  namespaces: number,
  random: Random,
): KubeObject[] {
  const apps = appsByNamespace(pods, namespaces);
  return Array.from({ length: count }, (_, i) => {
    const namespace = i % namespaces;
    const round = Math.floor(i / namespaces);
    const app = random.pick(apps[namespace]?.length ? apps[namespace] : applications);
    const name = `policy-${round}`;
    const first = round === 0 ? random.below(100) : 100;
    if (first < 35)
      return policyOf(namespace, name, {
        podSelector: {},
        policyTypes: ['Ingress'],
        ingress: [{ from: [{ podSelector: {} }] }],
      });
    if (first < 70) return policyOf(namespace, name, { podSelector: {}, policyTypes: ['Ingress'] });
    const ports = [{ protocol: 'TCP', port: random.pick([80, 443, 5432, 6379, 8080, 'http']) }];
    const kind = random.below(100);
    if (kind < 30)
      return policyOf(namespace, name, {
        podSelector: byApp(app),
        ingress: [{ from: [{ podSelector: byApp(random.pick(applications)) }], ports }],
      });
    if (kind < 50)
      return policyOf(namespace, name, {
        podSelector: byApp(app),
        ingress: [
          {
            from: [
              {
                namespaceSelector: { matchLabels: { team: `team-${random.below(teams)}` } },
                podSelector: byApp(random.pick(applications)),
              },
            ],
            ports,
          },
        ],
      });
    if (kind < 65)
      return policyOf(namespace, name, {
        podSelector: {},
        ingress: [
          {
            from: [
              {
                namespaceSelector: {
                  matchLabels: {
                    'kubernetes.io/metadata.name': namespaceName(random.below(namespaces)),
                  },
                },
              },
            ],
            ports: [{ protocol: 'TCP', port: 'metrics' }],
          },
        ],
      });
    if (kind < 85)
      return policyOf(namespace, name, {
        podSelector: byApp(app),
        policyTypes: ['Egress'],
        egress: [
          {
            to: [
              {
                namespaceSelector: {
                  matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' },
                },
              },
            ],
            ports: [
              { protocol: 'UDP', port: 53 },
              { protocol: 'TCP', port: 53 },
            ],
          },
          { to: [{ podSelector: byApp(random.pick(applications)) }] },
        ],
      });
    if (kind < 95)
      return policyOf(namespace, name, {
        podSelector: { matchLabels: { tier: 'front' } },
        ingress: [{ from: [{ ipBlock: { cidr: `203.0.${random.below(113)}.0/24` } }], ports }],
      });
    return policyOf(namespace, name, {
      podSelector: { matchExpressions: [{ key: 'tier', operator: 'NotIn', values: ['data'] }] },
      policyTypes: ['Egress'],
      egress: [
        { to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8', '172.16.0.0/12'] } }] },
      ],
    });
  });
}

function appsByNamespace(pods: readonly MadePod[], namespaces: number): string[][] {
  const apps: string[][] = Array.from({ length: namespaces }, () => []);
  for (const { namespace, app } of pods) {
    const list = apps[namespace] as string[];
    if (list[list.length - 1] !== app) list.push(app);
  }
  return apps;
}

/** Each policy selects one workload and has one peer selector, which finds one workload: two pods in the middle. */
function realPolicies(
  count: number,
  pods: readonly MadePod[],
  namespaces: number,
  random: Random,
): KubeObject[] {
  const apps = appsByNamespace(pods, namespaces);
  return Array.from({ length: count }, (_, i) => {
    const namespace = i % namespaces;
    const own = apps[namespace]?.length ? apps[namespace] : ['none'];
    const subject = random.pick(own);
    const ports = [{ protocol: 'TCP', port: 1024 + random.below(8) }];
    const name = `policy-${Math.floor(i / namespaces)}`;
    const peer = random.chance(80)
      ? { podSelector: byApp(random.pick(own)) }
      : elsewhere(apps, namespaces, random);
    return random.chance(80)
      ? policyOf(namespace, name, {
          podSelector: byApp(subject),
          ingress: [{ from: [peer], ports }],
        })
      : policyOf(namespace, name, {
          podSelector: byApp(subject),
          policyTypes: ['Egress'],
          egress: [{ to: [peer], ports }],
        });
  });
}

function elsewhere(
  apps: readonly (readonly string[])[],
  namespaces: number,
  random: Random,
): Record<string, LabelSelector> {
  const other = random.below(namespaces);
  const list = apps[other] ?? [];
  return {
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespaceName(other) } },
    podSelector: byApp(list.length === 0 ? 'none' : random.pick(list)),
  };
}
