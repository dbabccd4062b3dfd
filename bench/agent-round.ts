/**
 * What one round of the agent costs without the kernel: snapshot and program from all objects.
 *
 *   node --import tsx bench/agent-round.ts
 */
import { compileNode } from '../src/dataplane/index.ts';
import { buildSnapshot, createBuildCache } from '../src/engine/build.ts';
import type { KubeObject } from '../src/k8s/types.ts';

function cluster(podCount: number, policyCount: number): KubeObject[] {
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
    const node = i % nodes;
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
    } as KubeObject);
  }
  for (let i = 0; i < policyCount; i += 1) {
    objects.push({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `policy-${i}`, namespace: `ns-${i % namespaces}` },
      spec: {
        podSelector: { matchLabels: { app: `app-${i % 10}` } },
        ingress: [
          {
            from: [
              { podSelector: { matchLabels: { app: `app-${(i + 1) % 10}` } } },
              { namespaceSelector: { matchLabels: { team: `t${i % 10}` } } },
            ],
            ports: [{ port: 8080 }, { port: 9090 }],
          },
        ],
      },
    } as KubeObject);
  }
  return objects;
}

/** CPU time, since other work on the machine must not count. */
function cpu(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

console.log(
  'pods     policies  snapshot p50   program p50   (CPU ms, 7 runs, all but the first with what the agent remembers)',
);
for (const [pods, policies] of [
  [500, 100],
  [5_000, 1_000],
  [20_000, 4_000],
] as const) {
  const objects = cluster(pods, policies).map((object) => ({ object }));
  const cache = createBuildCache();
  const building: number[] = [];
  const compiling: number[] = [];
  for (let run = 0; run < 7; run += 1) {
    const a = cpu();
    const { snapshot } = buildSnapshot(objects, { cache });
    const b = cpu();
    compileNode(snapshot, 'node-1');
    building.push(b - a);
    compiling.push(cpu() - b);
  }
  const median = (values: number[]): string => (values.sort((x, y) => x - y)[3] ?? 0).toFixed(1);
  console.log(
    `${String(pods).padEnd(8)} ${String(policies).padEnd(9)} ${median(building).padEnd(14)} ${median(compiling)}`,
  );
}
