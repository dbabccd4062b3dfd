/**
 * The cluster of the seed story: two namespaces, two pods each, spread over two nodes so that
 * same-node and cross-node traffic both occur. Manifests only; must not know how they are run.
 */

/** Every seed pod listens here; steps choose which of these ports they look at. */
const ports = `
    - name: app
      ports:
        - { name: http, containerPort: 80 }
        - { name: redis, containerPort: 6379 }
        - { name: alt, containerPort: 8080 }
        - { name: alt-next, containerPort: 8081 }
        - { name: dns, containerPort: 53, protocol: UDP }`;

export interface StoryPod {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
}

export function podManifest(pod: StoryPod): string {
  const labels = Object.entries(pod.labels).map(([key, value]) => `    ${key}: "${value}"`);
  return `apiVersion: v1
kind: Pod
metadata:
  namespace: ${pod.namespace}
  name: ${pod.name}
  labels:
${labels.join('\n')}
spec:
  nodeName: ${pod.node}
  containers:${ports}
`;
}

export function namespaceManifest(name: string, labels: Readonly<Record<string, string>>): string {
  const lines = Object.entries(labels).map(([key, value]) => `    ${key}: "${value}"`);
  return `apiVersion: v1
kind: Namespace
metadata:
  name: ${name}
  labels:
${lines.join('\n')}
`;
}

const seedPods: readonly StoryPod[] = [
  {
    namespace: 'dev',
    name: 'devserver-1',
    node: 'node-1',
    labels: { app: 'devserver-1', role: 'client' },
  },
  { namespace: 'dev', name: 'devserver-2', node: 'node-2', labels: { app: 'devserver-2' } },
  {
    namespace: 'prod',
    name: 'prodserver-1',
    node: 'node-1',
    labels: { app: 'prodserver-1', role: 'db' },
  },
  {
    namespace: 'prod',
    name: 'prodserver-2',
    node: 'node-2',
    labels: { app: 'prodserver-2', role: 'frontend' },
  },
];

/** Namespaces `dev` and `prod`, pods `devserver-1/2` and `prodserver-1/2`, on the first two of `nodes`. */
export function seedClusterOn(nodes: readonly string[]): string {
  const [first = 'node-1', second = first] = nodes;
  return [
    namespaceManifest('dev', { env: 'dev' }),
    namespaceManifest('prod', { env: 'prod' }),
    ...seedPods.map((pod) => podManifest({ ...pod, node: pod.node === 'node-1' ? first : second })),
  ].join('---\n');
}

export const seedCluster: string = seedClusterOn(['node-1', 'node-2']);
