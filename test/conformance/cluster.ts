/** Small clusters for the conformance tests, and questions put to the engine in one line. */
import { buildSnapshot } from '../../src/engine/build.ts';
import { evaluate } from '../../src/engine/evaluate.ts';
import type { Settings, Snapshot } from '../../src/engine/snapshot.ts';
import type { Endpoint, Verdict } from '../../src/engine/verdict.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import { parseAddress } from '../../src/net/address.ts';
import type { Protocol } from '../../src/net/connection-set.ts';

export function namespace(name: string, labels: Record<string, string> = {}): KubeObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

/** `id` is `namespace/name`. */
export function pod(
  id: string,
  ip: string,
  labels: Record<string, string> = {},
  spec: object = {},
): KubeObject {
  const [space = '', name = ''] = id.split('/');
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: space, name, labels },
    spec: { nodeName: 'n1', containers: [{ name: 'c' }], ...spec },
    status: { phase: 'Running', podIP: ip, podIPs: [{ ip }] },
  };
}

export function node(name: string, ip: string): KubeObject {
  const status = { addresses: [{ type: 'InternalIP', address: ip }] };
  return { apiVersion: 'v1', kind: 'Node', metadata: { name, labels: { name } }, status };
}

export function networkPolicy(space: string, spec: object, name = 'policy'): KubeObject {
  const metadata = { namespace: space, name };
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec };
}

export function clusterPolicy(name: string, spec: object): KubeObject {
  const apiVersion = 'policy.networking.k8s.io/v1alpha2';
  return { apiVersion, kind: 'ClusterNetworkPolicy', metadata: { name }, spec };
}

export function snapshotOf(
  objects: readonly KubeObject[],
  settings: Partial<Settings> = {},
): Snapshot {
  return buildSnapshot(
    objects.map((object) => ({ object })),
    { settings },
  ).snapshot;
}

/** `namespace/pod`, a node's name or an address. */
export function endOf(snapshot: Snapshot, text: string): Endpoint {
  const address = parseAddress(text);
  if (address !== undefined) return { kind: 'address', address };
  const known = snapshot.nodes.get(text);
  if (known !== undefined) return { kind: 'node', node: known };
  const found = snapshot.podById.get(text);
  if (found === undefined) throw new Error(`nothing is called ${text}`);
  return { kind: 'pod', pod: found };
}

export function ask(
  objects: readonly KubeObject[],
  source: string,
  destination: string,
  port = 80,
  protocol: Protocol | 'other' = 'TCP',
): Verdict {
  const snapshot = snapshotOf(objects);
  const ends = [endOf(snapshot, source), endOf(snapshot, destination)] as const;
  return evaluate(snapshot, ...ends, protocol, protocol === 'other' ? undefined : port);
}
