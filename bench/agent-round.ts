/**
 * What a change costs the agent without the kernel: the program from everything against the program
 * from what changed, in one run, same objects.
 *
 *   node --import tsx bench/agent-round.ts
 */
import { compileNode, createNodeCompiler } from '../src/dataplane/index.ts';
import { buildSnapshot, createBuildCache } from '../src/engine/build.ts';
import { createClusterFacts, type ObjectRef } from '../src/engine/cluster-facts.ts';
import type { KubeObject } from '../src/k8s/types.ts';
import { cluster } from './agent-cluster.ts';

const node = 'node-1';

/** CPU time, since other work on the machine must not count. */
function cpu(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? NaN;
}

function refOf({ apiVersion, kind, metadata }: KubeObject): ObjectRef {
  return { apiVersion, kind, namespace: metadata.namespace, name: metadata.name ?? '' };
}

function withApp(pod: KubeObject, app: string): KubeObject {
  return {
    ...pod,
    metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, app } },
  };
}

/** As far as these clusters go: a policy of the pod's namespace that names its app. */
function selects({ metadata, spec }: KubeObject, pod: KubeObject): boolean {
  const { matchLabels } = (spec as { podSelector: { matchLabels: Record<string, string> } })
    .podSelector;
  return (
    metadata.namespace === pod.metadata.namespace &&
    matchLabels['app'] === pod.metadata.labels?.['app']
  );
}

function withPort(policy: KubeObject, port: number): KubeObject {
  const spec = policy.spec as { ingress: object[] };
  const ingress = spec.ingress.map((rule) => ({ ...rule, ports: [{ port }] }));
  return { ...policy, spec: { ...spec, ingress } };
}

console.log(
  'CPU ms from objects to a program: everything (median of 5, with memory of earlier builds), the first\n' +
    'one of those that are kept, and one change then (median and p99 of 200), with the ratio of medians',
);
console.log(
  `${'pods'.padEnd(8)}${'policies'.padEnd(10)}${'change'.padEnd(28)}${'everything'.padStart(10)}${'first'.padStart(8)}${'change'.padStart(8)}${'p99'.padStart(7)}${'ratio'.padStart(8)}`,
);
for (const [pods, policies] of [
  [500, 100],
  [5_000, 1_000],
  [5_000, 10_000],
  [20_000, 4_000],
] as const) {
  const objects = cluster(pods, policies);
  const cache = createBuildCache();
  const whole: number[] = [];
  for (let run = 0; run < 6; run += 1) {
    const start = cpu();
    const { snapshot } = buildSnapshot(
      objects.map((object) => ({ object })),
      { cache },
    );
    compileNode(snapshot, node);
    // The first one fills the memory.
    if (run > 0) whole.push(cpu() - start);
  }
  const facts = createClusterFacts();
  const compiler = createNodeCompiler({ node });
  const begin = cpu();
  compiler.update(facts.apply(objects.map((object) => [refOf(object), object] as const)));
  const first = cpu() - begin;

  const isHere = (pod: KubeObject): boolean =>
    (pod.spec as { nodeName?: string }).nodeName === node;
  const all = objects.filter(({ kind }) => kind === 'Pod');
  const here = all.filter(isHere);
  const elsewhere = all.filter((pod) => !isHere(pod));
  const some = objects.filter(({ kind }) => kind === 'NetworkPolicy');
  const namespaces = objects.filter(({ kind }) => kind === 'Namespace');
  const at = (list: readonly KubeObject[], i: number): KubeObject =>
    list[(i * 7) % list.length] as KubeObject;
  /** Another one each time that the same object's turn comes. */
  const varying = (list: readonly KubeObject[], i: number): number =>
    (i + Math.floor(i / list.length)) % 10;
  const forHere = some.filter((policy) => here.some((pod) => selects(policy, pod)));
  const changes: Record<string, (i: number) => KubeObject> = {
    'rules of a policy for here': (i) => withPort(at(forHere, i), 8000 + i),
    'rules of another policy': (i) => withPort(at(some, i), 9000 + i),
    'labels of a pod here': (i) => withApp(at(here, i), `app-${varying(here, i)}`),
    'labels of a pod elsewhere': (i) => withApp(at(elsewhere, i), `app-${varying(elsewhere, i)}`),
    'labels of a namespace': (i) => {
      const namespace = at(namespaces, i);
      const team = `t${varying(namespaces, i)}`;
      return { ...namespace, metadata: { ...namespace.metadata, labels: { team } } };
    },
  };
  for (const [what, change] of Object.entries(changes)) {
    const spent: number[] = [];
    for (let i = 0; i < 200; i += 1) {
      const object = change(i);
      const start = cpu();
      compiler.update(facts.apply([[refOf(object), object]]));
      spent.push(cpu() - start);
    }
    const median = quantile(spent, 0.5);
    const everything = quantile(whole, 0.5);
    console.log(
      `${String(pods).padEnd(8)}${String(policies).padEnd(10)}${what.padEnd(28)}${everything.toFixed(0).padStart(10)}${first.toFixed(0).padStart(8)}${median.toFixed(2).padStart(8)}${quantile(spent, 0.99).toFixed(1).padStart(7)}${`${(everything / median).toFixed(0)}×`.padStart(8)}`,
    );
  }
}
