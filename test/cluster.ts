/** Small clusters for tests, written the way manifests are. */
import { parseAddress } from '../src/net/address.ts';
import type { Protocol } from '../src/net/connection-set.ts';
import { buildSnapshot } from '../src/engine/build.ts';
import type { BuildOptions } from '../src/engine/build.ts';
import { createEvaluator } from '../src/engine/evaluate.ts';
import type { Snapshot } from '../src/engine/snapshot.ts';
import type { Connection, Endpoint, Verdict } from '../src/engine/verdict.ts';
import type { KubeObject } from '../src/k8s/types.ts';

export function namespace(name: string, labels: Record<string, string> = {}): KubeObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

export function node(
  name: string,
  addresses: string[],
  labels: Record<string, string> = {},
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels },
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  };
}

export interface PodParts {
  labels?: Record<string, string>;
  ips?: string[];
  node?: string;
  hostNetwork?: boolean;
  phase?: string;
  ports?: { name?: string; containerPort: number; protocol?: string }[];
  spec?: Record<string, unknown>;
}

/** `id` is `namespace/name`. */
export function pod(id: string, parts: PodParts = {}): KubeObject {
  const [ns = '', name = ''] = id.split('/');
  const ips = parts.ips ?? [];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: ns, name, labels: parts.labels ?? {} },
    spec: {
      containers: [{ name: 'main', ports: parts.ports ?? [] }],
      ...(parts.node === undefined ? {} : { nodeName: parts.node }),
      ...(parts.hostNetwork === undefined ? {} : { hostNetwork: parts.hostNetwork }),
      ...parts.spec,
    },
    status: {
      phase: parts.phase ?? 'Running',
      ...(ips.length === 0 ? {} : { podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) }),
    },
  };
}

/** `id` is `namespace/name`. */
export function networkPolicy(id: string, spec: Record<string, unknown>): KubeObject {
  const [ns = '', name = ''] = id.split('/');
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: ns, name },
    spec,
  };
}

/** ClusterNetworkPolicy; `spec` needs tier, priority and subject. */
export function clusterPolicy(name: string, spec: Record<string, unknown>): KubeObject {
  return {
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata: { name },
    spec,
  };
}

export interface Cluster {
  readonly snapshot: Snapshot;
  /** `ask('a/x', 'b/y:80/UDP')`: ends are pod ids, `node:NAME` or addresses; protocol defaults to TCP. */
  ask(from: string, to: string, options?: { throughService?: boolean }): Verdict;
  /** `ask(…).outcome`. */
  outcome(from: string, to: string): string;
}

export function cluster(
  objects: KubeObject[],
  settings: BuildOptions['settings'] = {},
  options: { allowFaults?: boolean } = {},
): Cluster {
  const { snapshot, diagnostics } = buildSnapshot(
    objects.map((object) => ({ object })),
    { settings },
  );
  const faults = diagnostics.filter(({ severity }) => severity === 'error');
  if (faults.length > 0 && options.allowFaults !== true)
    throw new Error(faults.map(({ message }) => message).join('; '));
  const evaluator = createEvaluator(snapshot);
  const end = (text: string): Endpoint => {
    const found = snapshot.podById.get(text);
    if (found !== undefined) return { kind: 'pod', pod: found };
    const named = text.startsWith('node:') ? snapshot.nodes.get(text.slice(5)) : undefined;
    if (named !== undefined) return { kind: 'node', node: named };
    const address = parseAddress(text);
    if (address === undefined) throw new Error(`no such end: ${text}`);
    return { kind: 'address', address };
  };
  const ask: Cluster['ask'] = (from, to, opts = {}) => {
    const match = /^(.*?)(?::(\d+)(?:\/(\w+))?|:(other))$/.exec(to);
    if (match === null) throw new Error(`no port in ${to}`);
    const [, target = '', port, protocol, other] = match;
    const connection: Connection = {
      source: end(from),
      destination: end(target),
      protocol: other === undefined ? ((protocol ?? 'TCP') as Protocol) : 'other',
      ...(port === undefined ? {} : { port: Number(port) }),
      ...(opts.throughService === undefined ? {} : { throughService: opts.throughService }),
    };
    return evaluator.evaluate(connection);
  };
  return { snapshot, ask, outcome: (from, to) => ask(from, to).outcome };
}
