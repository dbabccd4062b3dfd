/**
 * Synthetic clusters for the benchmarks of the agent. Must not measure anything.
 */
import type { KubeObject } from '../src/k8s/types.ts';

export function cluster(podCount: number, policyCount: number): KubeObject[] {
  const objects: KubeObject[] = [];
  const nodes = Math.ceil(podCount / 50);
  const namespaces = Math.ceil(podCount / 50);
  for (let i = 0; i < nodes; i += 1) {
    objects.push({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: `node-${i}` },
      spec: { podCIDR: `10.${i >> 8}.${i & 255}.0/24` },
    });
  }
  for (let i = 0; i < namespaces; i += 1)
    objects.push({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: `ns-${i}`, labels: { team: `t${i % 10}` } },
    });
  for (let i = 0; i < podCount; i += 1) {
    // Not simply i % nodes: then all pods of a node would have one app.
    const node = (i + Math.floor(i / nodes)) % nodes;
    objects.push({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: `pod-${i}`,
        namespace: `ns-${Math.floor(i / 50)}`,
        labels: { app: `app-${i % 10}`, tier: `t${i % 3}` },
      },
      spec: {
        nodeName: `node-${node}`,
        containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 8080 }] }],
      },
      status: {
        phase: 'Running',
        podIP: `10.${node >> 8}.${node & 255}.${10 + Math.floor(i / nodes)}`,
      },
    });
  }
  for (let i = 0; i < policyCount; i += 1) {
    objects.push({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `policy-${i}`, namespace: `ns-${i % namespaces}` },
      spec: {
        podSelector: { matchLabels: { app: `app-${Math.floor(i / namespaces) % 10}` } },
        ingress: [
          {
            from: [
              {
                podSelector: {
                  matchLabels: { app: `app-${(Math.floor(i / namespaces) + 1) % 10}` },
                },
              },
              { namespaceSelector: { matchLabels: { team: `t${i % 10}` } } },
            ],
            ports: [{ port: 8080 }, { port: 9090 }],
          },
        ],
      },
    });
  }
  return objects;
}
