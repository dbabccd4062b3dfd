/**
 * What every dataplane backend must do, as steps over one small cluster: objects in, verdicts out.
 * Run over the memory backend as a unit test and over nftables with real packets. Must not know
 * which.
 */
import { expect, it } from 'vitest';
import type { KubeObject } from '../../src/k8s/types.ts';

export interface ContractPod {
  readonly name: string;
  readonly namespace: string;
  readonly node: 1 | 2;
  readonly host: number;
  readonly labels: Readonly<Record<string, string>>;
  /** TCP number under the port name `web`. */
  readonly web: number;
}

export const pods: readonly ContractPod[] = [
  { name: 'db', namespace: 'prod', node: 1, host: 10, labels: { role: 'db' }, web: 80 },
  { name: 'front', namespace: 'prod', node: 1, host: 11, labels: { role: 'frontend' }, web: 80 },
  { name: 'dev1', namespace: 'dev', node: 1, host: 12, labels: { role: 'frontend' }, web: 80 },
  { name: 'prod2', namespace: 'prod', node: 2, host: 10, labels: { role: 'frontend' }, web: 6379 },
  { name: 'dev2', namespace: 'dev', node: 2, host: 11, labels: { role: 'other' }, web: 80 },
];

/** Listened to by every pod and by the outside host. */
export const tcpPorts: readonly number[] = [80, 6379, 5978];
export const udpPorts: readonly number[] = [53, 1500];

/** Addresses of the outside host. */
export const outside = { inside: '172.17.0.5', except: '172.17.1.5', v6: 'fd00:9::2' } as const;

export interface Probe {
  /** Pod name, `world` (its own address), or an address of the outside host. */
  readonly from: string;
  /** Pod name, or an address of the outside host. */
  readonly to: string;
  readonly protocol: 'TCP' | 'UDP';
  readonly port: number;
  readonly family: 4 | 6;
}

export interface Subject {
  /** Makes every node enforce these objects. */
  enforce(objects: readonly KubeObject[]): Promise<void>;
  probe(probe: Probe): Promise<'allowed' | 'denied'>;
}

export function clusterObjects(): KubeObject[] {
  return [
    ...['prod', 'dev'].map((name) => ({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: { project: name, 'kubernetes.io/metadata.name': name } },
    })),
    ...[1, 2].map((number) => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: `node-${number}` },
      spec: { podCIDRs: [`10.244.${number}.0/24`, `fd00:244:${number}::/64`] },
      status: {
        addresses: [
          { type: 'InternalIP', address: `192.168.0.${number}` },
          { type: 'InternalIP', address: `fd00:192::${number}` },
        ],
      },
    })),
    ...pods.map(podObject),
  ];
}

export function podObject(pod: ContractPod): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: pod.name, namespace: pod.namespace, labels: { ...pod.labels } },
    spec: {
      nodeName: `node-${pod.node}`,
      containers: [{ name: 'c', ports: [{ name: 'web', containerPort: pod.web }] }],
    },
    status: {
      phase: 'Running',
      podIPs: [
        { ip: `10.244.${pod.node}.${pod.host}` },
        { ip: `fd00:244:${pod.node}::${pod.host}` },
      ],
    },
  };
}

export function networkPolicy(name: string, spec: object, namespace = 'prod'): KubeObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace },
    spec,
  };
}

export function clusterPolicy(
  name: string,
  tier: string,
  priority: number,
  spec: object,
): KubeObject {
  return {
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata: { name },
    spec: { tier, priority, ...spec },
  };
}

interface Step {
  readonly name: string;
  readonly policies: readonly KubeObject[];
  /** `from to protocol/port` and whether it passes; both families when both ends are pods. */
  readonly expected: readonly (readonly [string, boolean])[];
}

const inProd = { podSelector: { matchLabels: { role: 'db' } } };
const project = (name: string): object => ({ matchLabels: { project: name } });

const steps: readonly Step[] = [
  {
    name: 'no policy: everything passes',
    policies: [],
    expected: [
      ['dev1 db TCP/80', true],
      ['dev2 db UDP/53', true],
      ['db prod2 TCP/6379', true],
      ['172.17.0.5 db TCP/80', true],
      ['db 172.17.0.5 TCP/80', true],
    ],
  },
  {
    name: 'S150: default deny ingress closes one direction',
    policies: [networkPolicy('deny', { podSelector: {}, policyTypes: ['Ingress'] })],
    expected: [
      ['dev1 db TCP/80', false],
      ['dev2 db UDP/53', false],
      ['front db TCP/80', false],
      ['db dev2 TCP/80', true],
      ['172.17.0.5 db TCP/80', false],
      ['db 172.17.0.5 TCP/80', true],
    ],
  },
  {
    name: 'S151: default deny egress closes the other',
    policies: [networkPolicy('deny', { podSelector: {}, policyTypes: ['Egress'] })],
    expected: [
      ['dev1 db TCP/80', true],
      ['db dev1 TCP/80', false],
      ['db dev2 UDP/53', false],
      ['db 172.17.0.5 TCP/80', false],
      ['172.17.0.5 db TCP/80', true],
    ],
  },
  {
    name: 'S145, S154: policies add up',
    policies: [
      networkPolicy('deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }),
      networkPolicy('allow', {
        ...inProd,
        ingress: [{}],
        egress: [{}],
        policyTypes: ['Ingress', 'Egress'],
      }),
    ],
    expected: [
      ['dev1 db TCP/80', true],
      ['db dev2 UDP/53', true],
      ['dev1 front TCP/80', false],
      ['front db TCP/80', false],
    ],
  },
  {
    name: 'the full resource: ipBlock, except, selectors, ports, both directions (S113, S101, S126)',
    policies: [
      networkPolicy('test-network-policy', {
        ...inProd,
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          {
            from: [
              { ipBlock: { cidr: '172.17.0.0/16', except: ['172.17.1.0/24'] } },
              { namespaceSelector: project('dev') },
              { podSelector: { matchLabels: { role: 'frontend' } } },
            ],
            ports: [
              { protocol: 'TCP', port: 6379 },
              { protocol: 'UDP', port: 1000, endPort: 2000 },
            ],
          },
        ],
        egress: [{ to: [{ ipBlock: { cidr: '172.17.0.0/24' } }], ports: [{ port: 5978 }] }],
      }),
    ],
    expected: [
      ['172.17.0.5 db TCP/6379', true],
      ['172.17.1.5 db TCP/6379', false],
      ['172.17.0.5 db TCP/80', false],
      ['dev2 db TCP/6379', true],
      ['dev2 db UDP/1500', true],
      ['dev2 db UDP/53', false],
      ['front db TCP/6379', true],
      ['prod2 db TCP/6379', true],
      ['prod2 db TCP/80', false],
      ['db 172.17.0.5 TCP/5978', true],
      ['db 172.17.0.5 TCP/80', false],
      ['db 172.17.1.5 TCP/5978', false],
      ['db front TCP/5978', false],
    ],
  },
  {
    name: 'S105: namespaceSelector and podSelector in one peer',
    policies: [
      networkPolicy('and', {
        ...inProd,
        ingress: [
          {
            from: [
              {
                namespaceSelector: project('dev'),
                podSelector: { matchLabels: { role: 'frontend' } },
              },
            ],
          },
        ],
      }),
    ],
    expected: [
      ['dev1 db TCP/80', true],
      ['dev2 db TCP/80', false],
      ['front db TCP/80', false],
    ],
  },
  {
    name: 'S106: the same as two peers',
    policies: [
      networkPolicy('or', {
        ...inProd,
        ingress: [
          {
            from: [
              { namespaceSelector: project('dev') },
              { podSelector: { matchLabels: { role: 'frontend' } } },
            ],
          },
        ],
      }),
    ],
    expected: [
      ['dev1 db TCP/80', true],
      ['dev2 db TCP/80', true],
      ['front db TCP/80', true],
    ],
  },
  {
    name: 'S132–S134: named ports are the destination pod’s',
    policies: [
      networkPolicy('named', {
        podSelector: {},
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ ports: [{ port: 'web' }] }],
        egress: [{ ports: [{ port: 'web' }] }],
      }),
    ],
    expected: [
      ['dev1 db TCP/80', true],
      ['dev1 db TCP/6379', false],
      ['dev1 prod2 TCP/6379', true],
      ['dev1 prod2 TCP/80', false],
      ['db prod2 TCP/6379', true],
      ['db prod2 TCP/80', false],
      ['db dev2 TCP/80', true],
      ['db 172.17.0.5 TCP/80', false],
    ],
  },
  {
    name: 'many exact ports, ranges and selectors: maps and union sets',
    policies: [
      networkPolicy('many', {
        ...inProd,
        ingress: [
          {
            from: ['a', 'b', 'c', 'd', 'frontend'].map((role) => ({
              podSelector: { matchLabels: { role } },
            })),
            ports: [80, 81, 82, 83, 84, 85].map((port) => ({ port })),
          },
          {
            from: [{ namespaceSelector: project('dev') }],
            ports: [
              { port: 5900, endPort: 5999 },
              { protocol: 'UDP', port: 53 },
            ],
          },
        ],
      }),
    ],
    expected: [
      ['front db TCP/80', true],
      ['front db TCP/5978', false],
      ['dev1 db TCP/5978', true],
      ['dev1 db TCP/80', false],
      ['dev1 db UDP/53', true],
      ['prod2 db UDP/53', false],
    ],
  },
  {
    name: 'many ranges of addresses: interval sets',
    policies: [
      networkPolicy('ranges', {
        ...inProd,
        ingress: [
          {
            from: [
              {
                ipBlock: {
                  cidr: '0.0.0.0/0',
                  except: [1, 2, 3, 4, 5, 6, 7].map((n) => `172.17.${n}.0/24`),
                },
              },
              { ipBlock: { cidr: '::/0', except: ['fd00:244:1::/64'] } },
            ],
          },
        ],
      }),
    ],
    expected: [
      ['172.17.0.5 db TCP/80', true],
      ['172.17.1.5 db TCP/80', false],
      ['dev2 db TCP/80', true],
    ],
  },
  {
    name: 'S276–S287: Admin tier before NetworkPolicy, Baseline behind it',
    policies: [
      clusterPolicy('admin', 'Admin', 10, {
        subject: { namespaces: {} },
        ingress: [
          {
            action: 'Accept',
            from: [{ pods: { podSelector: { matchLabels: { role: 'other' } } } }],
            protocols: [{ tcp: { destinationPort: { number: 80 } } }],
          },
          {
            action: 'Pass',
            from: [{ namespaces: { matchLabels: { project: 'prod' } } }],
          },
          {
            action: 'Deny',
            from: [{ namespaces: {} }],
            protocols: [{ tcp: { destinationPort: { range: { start: 1, end: 6000 } } } }],
          },
        ],
      }),
      networkPolicy('deny', { ...inProd, ingress: [{ ports: [{ port: 6379 }] }] }),
      clusterPolicy('baseline', 'Baseline', 10, {
        subject: { namespaces: {} },
        ingress: [
          {
            action: 'Deny',
            from: [{ namespaces: {} }],
            protocols: [{ tcp: { destinationPort: { number: 6379 } } }],
          },
        ],
      }),
    ],
    expected: [
      ['dev2 db TCP/80', true],
      ['dev1 db TCP/80', false],
      ['dev1 db TCP/6379', true],
      ['front db TCP/80', false],
      ['front db TCP/6379', true],
      ['db front TCP/80', true],
      ['db front TCP/6379', false],
      ['dev2 front TCP/5978', false],
      ['dev2 front UDP/53', true],
    ],
  },
  {
    name: 'S258: egress Deny to networks also meets pods',
    policies: [
      clusterPolicy('networks', 'Admin', 10, {
        subject: { namespaces: { matchLabels: { project: 'prod' } } },
        egress: [
          {
            action: 'Accept',
            to: [{ pods: { podSelector: { matchLabels: { role: 'other' } } } }],
          },
          {
            action: 'Deny',
            to: [{ networks: ['10.244.2.0/24', 'fd00:244:2::/64', '172.17.1.0/24'] }],
          },
        ],
      }),
    ],
    expected: [
      ['db dev2 TCP/80', true],
      ['db prod2 TCP/80', false],
      ['db 172.17.1.5 TCP/80', false],
      ['db 172.17.0.5 TCP/80', true],
      ['dev1 prod2 TCP/80', true],
    ],
  },
];

/** Registers one test per step; the steps follow each other on one subject, so each is an update too. */
export function runContract(subject: () => Subject): void {
  for (const step of steps)
    it(step.name, async () => {
      await subject().enforce([...clusterObjects(), ...step.policies]);
      const found: Record<string, boolean> = {};
      const wanted: Record<string, boolean> = {};
      await Promise.all(
        step.expected.flatMap(([text, passes]) =>
          probesOf(text).map(async (probe) => {
            const key = `${text} IPv${probe.family}`;
            wanted[key] = passes;
            found[key] = (await subject().probe(probe)) === 'allowed';
          }),
        ),
      );
      expect(found).toEqual(wanted);
    });
}

function probesOf(text: string): Probe[] {
  const [from, to, service] = text.split(' ') as [string, string, string];
  const [protocol, port] = service.split('/') as ['TCP' | 'UDP', string];
  const isPod = (name: string): boolean => pods.some((pod) => pod.name === name);
  const families = isPod(from) && isPod(to) ? ([4, 6] as const) : ([4] as const);
  return families.map((family) => ({ from, to, protocol, port: Number(port), family }));
}
