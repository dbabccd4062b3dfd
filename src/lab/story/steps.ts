/**
 * The steps of the seed story: which policies each applies and which ports it looks at. What must
 * come out is nowhere written here: the engine predicts it and packets observe it.
 */
import { namespaceManifest, podManifest } from './cluster.ts';

export interface StoryPort {
  readonly protocol: 'TCP' | 'UDP';
  readonly port: number;
  /** Nobody else listens there: probe outside hosts only. */
  readonly outsideOnly?: true;
}

export interface StoryStep {
  /** For `--step NAME`. */
  readonly name: string;
  readonly title: string;
  /** What to look at, one or two plain sentences. */
  readonly point: string;
  /** Policies of this step; the step before has been taken back. */
  readonly policies: string;
  /** Namespaces and pods that only this step needs. */
  readonly extra?: string;
  readonly ports: readonly StoryPort[];
  /** Outside hosts as destinations too: for steps about egress. */
  readonly outsideDestinations?: boolean;
}

const http: readonly StoryPort[] = [{ protocol: 'TCP', port: 80 }];

function policy(name: string, spec: string): string {
  return `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  namespace: prod
  name: ${name}
spec:
${spec
  .trim()
  .split('\n')
  .map((line) => `  ${line}`)
  .join('\n')}
`;
}

const defaultDenyIngress = policy(
  'default-deny-ingress',
  'podSelector: {}\npolicyTypes: [Ingress]',
);
const defaultDenyEgress = policy('default-deny-egress', 'podSelector: {}\npolicyTypes: [Egress]');
const defaultDenyAll = policy(
  'default-deny-all',
  'podSelector: {}\npolicyTypes: [Ingress, Egress]',
);
const allowAllIngress = policy(
  'allow-all-ingress',
  'podSelector: {}\npolicyTypes: [Ingress]\ningress:\n  - {}',
);
const allowAllEgress = policy(
  'allow-all-egress',
  'podSelector: {}\npolicyTypes: [Egress]\negress:\n  - {}',
);

export const storySteps: readonly StoryStep[] = [
  {
    name: 'no-policy',
    title: 'No policy',
    point: 'Everyone reaches everyone, in the namespace and across.',
    policies: '',
    ports: http,
    outsideDestinations: true,
  },
  {
    name: 'default-deny-ingress',
    title: 'default-deny-ingress in prod',
    point: 'Nobody reaches a prod pod, not even another prod pod. prod → dev stays open.',
    policies: defaultDenyIngress,
    ports: http,
  },
  {
    name: 'default-deny-egress',
    title: 'default-deny-egress in prod',
    point: 'prod reaches nobody, in its namespace or across. dev → prod stays open.',
    policies: defaultDenyEgress,
    ports: http,
    outsideDestinations: true,
  },
  {
    name: 'allow-all-ingress',
    title: 'allow-all-ingress in prod, alone',
    point: 'It isolates and then admits everyone: the same as no policy at all.',
    policies: allowAllIngress,
    ports: http,
  },
  {
    name: 'allow-all-ingress-beside-deny',
    title: 'allow-all-ingress beside default-deny-ingress',
    point: 'Policies add up: what one admits, another cannot take away.',
    policies: `${defaultDenyIngress}---\n${allowAllIngress}`,
    ports: http,
  },
  {
    name: 'allow-all-egress',
    title: 'allow-all-egress in prod, alone',
    point: 'prod may go anywhere: the same as no policy at all.',
    policies: allowAllEgress,
    ports: http,
    outsideDestinations: true,
  },
  {
    name: 'allow-all-egress-beside-deny',
    title: 'allow-all-egress beside default-deny-egress',
    point: 'Again the union counts: prod may go anywhere.',
    policies: `${defaultDenyEgress}---\n${allowAllEgress}`,
    ports: http,
    outsideDestinations: true,
  },
  {
    name: 'default-deny-all',
    title: 'default-deny-all in prod',
    point: 'prod is closed both ways; only dev and the outside still talk to each other.',
    policies: defaultDenyAll,
    ports: http,
    outsideDestinations: true,
  },
  {
    name: 'test-network-policy',
    title: 'The full resource: test-network-policy',
    point:
      'prodserver-1 (role=db) admits on TCP 6379: 172.17.0.0/16 except 172.17.1.0/24, namespaces with project=myproject, pods of prod with role=frontend. It reaches 10.0.0.0/24 on TCP 5978 only.',
    policies: policy(
      'test-network-policy',
      `podSelector:
  matchLabels:
    role: db
policyTypes: [Ingress, Egress]
ingress:
  - from:
      - ipBlock:
          cidr: 172.17.0.0/16
          except: [172.17.1.0/24]
      - namespaceSelector:
          matchLabels:
            project: myproject
      - podSelector:
          matchLabels:
            role: frontend
    ports:
      - protocol: TCP
        port: 6379
egress:
  - to:
      - ipBlock:
          cidr: 10.0.0.0/24
    ports:
      - protocol: TCP
        port: 5978`,
    ),
    extra: [
      namespaceManifest('project', { project: 'myproject' }),
      podManifest({
        namespace: 'project',
        name: 'reporter',
        node: 'node-2',
        labels: { app: 'reporter' },
      }),
    ].join('---\n'),
    ports: [
      { protocol: 'TCP', port: 6379 },
      { protocol: 'TCP', port: 80 },
      { protocol: 'TCP', port: 5978, outsideOnly: true },
    ],
    outsideDestinations: true,
  },
  {
    name: 'and-or',
    title: 'AND against OR, side by side',
    point:
      'Two pods, two policies that differ by one dash. reads-and admits role=client pods IN namespaces with env=dev; reads-or admits every pod of those namespaces OR role=client pods of prod.',
    policies: `${policy(
      'one-peer-and',
      `podSelector:
  matchLabels: { app: reads-and }
policyTypes: [Ingress]
ingress:
  - from:
      - namespaceSelector:
          matchLabels: { env: dev }
        podSelector:
          matchLabels: { role: client }`,
    )}---\n${policy(
      'two-peers-or',
      `podSelector:
  matchLabels: { app: reads-or }
policyTypes: [Ingress]
ingress:
  - from:
      - namespaceSelector:
          matchLabels: { env: dev }
      - podSelector:
          matchLabels: { role: client }`,
    )}`,
    extra: [
      ...['reads-and', 'reads-or'].map((name, index) =>
        podManifest({
          namespace: 'prod',
          name,
          node: `node-${index + 1}`,
          labels: { app: name },
        }),
      ),
      podManifest({
        namespace: 'prod',
        name: 'prodclient',
        node: 'node-1',
        labels: { app: 'prodclient', role: 'client' },
      }),
    ].join('---\n'),
    ports: http,
  },
  {
    name: 'ip-block-except',
    title: 'ipBlock with except',
    point:
      'prod admits 172.17.0.0/16 except 172.17.1.0/24: one outside host gets in, its neighbour does not, pods do not.',
    policies: policy(
      'from-office',
      `podSelector: {}
policyTypes: [Ingress]
ingress:
  - from:
      - ipBlock:
          cidr: 172.17.0.0/16
          except: [172.17.1.0/24]`,
    ),
    ports: http,
  },
  {
    name: 'ports',
    title: 'Ports: a name, a range, a protocol',
    point:
      'prodserver-2 admits the port named http, TCP 8080 to 8081 (endPort) and UDP 53 from anywhere; TCP 6379 stays closed.',
    policies: policy(
      'some-ports',
      `podSelector:
  matchLabels: { app: prodserver-2 }
policyTypes: [Ingress]
ingress:
  - ports:
      - port: http
      - port: 8080
        endPort: 8081
      - protocol: UDP
        port: 53`,
    ),
    ports: [
      { protocol: 'TCP', port: 80 },
      { protocol: 'TCP', port: 8081 },
      { protocol: 'TCP', port: 6379 },
      { protocol: 'UDP', port: 53 },
    ],
  },
];
