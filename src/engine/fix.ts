/**
 * The smallest changes of NetworkPolicies that would open a closed direction: candidates as edits of
 * the objects the user wrote. Whether a candidate really opens it, and what else it opens, is judged
 * by evaluating the changed objects; must not know of files or output.
 */
import { formatAddress } from '../net/address.ts';
import type { KubeObject, NetworkPolicyPeer, NetworkPolicyPort } from '../k8s/types.ts';
import type { Direction, PolicyRef } from '../policy/compiled.ts';
import { NAME_LABEL } from './peers.ts';
import type { NearMiss } from './near-miss.ts';
import { editDistance } from './reference.ts';
import type { PodInfo } from './snapshot.ts';
import type { Connection, Endpoint, Leg } from './verdict.ts';

export interface Fix {
  readonly direction: Direction;
  readonly policy: PolicyRef;
  /** One sentence: what to change. */
  readonly description: string;
  /** Field path of the change; `spec` for a new policy. */
  readonly path: string;
  /** The policy after the change. */
  readonly object: KubeObject;
  readonly isNew: boolean;
  /** Smaller is a smaller edit: 0 a label value, 1 one port, 2 one peer, 3 a new policy. */
  readonly size: number;
}

/** Labels that name an application, most telling first; template hashes never. */
const telling = ['app.kubernetes.io/name', 'app', 'k8s-app', 'name', 'component', 'role'];

/**
 * Candidates for one closed leg, smallest edit first. `objects` gives the object a policy was
 * compiled from, as the user wrote it. Empty for a leg that is not closed for want of a rule.
 */
export function candidateFixes(
  connection: Connection,
  leg: Leg,
  misses: readonly NearMiss[],
  objects: (policy: PolicyRef) => KubeObject | undefined,
): Fix[] {
  const subject = leg.direction === 'Egress' ? connection.source : connection.destination;
  const other = leg.direction === 'Egress' ? connection.destination : connection.source;
  if (leg.reason !== 'none-admits' || subject.kind !== 'pod') return [];
  const port = portOf(connection);
  const peer = peerFor(subject.pod, other);
  const fixes: Fix[] = [];
  for (const miss of misses) {
    if (miss.direction !== leg.direction) continue;
    const object = objects(miss.policy);
    if (object === undefined) continue;
    const common = { direction: leg.direction, policy: miss.policy, isNew: false };
    const at = miss.rule.path;
    if (miss.lacks === 'subject') {
      const renamed = renameSubject(object, subject.pod);
      if (renamed !== undefined) fixes.push({ ...common, ...renamed, size: 0 });
    } else if (miss.lacks === 'ports' && port !== undefined) {
      fixes.push({
        ...common,
        path: `${at}.ports`,
        description: `add ${port.protocol} ${port.port} to ${at}.ports`,
        object: append(object, `${at}.ports`, port),
        size: 1,
      });
    } else if (miss.lacks === 'peers' && peer !== undefined) {
      const side = leg.direction === 'Ingress' ? 'from' : 'to';
      fixes.push({
        ...common,
        path: `${at}.${side}`,
        description: `add a peer for ${nameOf(other)} to ${at}.${side}`,
        object: append(object, `${at}.${side}`, peer),
        size: 2,
      });
    }
  }
  if (peer !== undefined) {
    fixes.push(newPolicy(connection, leg.direction, subject.pod, other, peer, port));
  }
  return fixes.toSorted((a, b) => a.size - b.size);
}

function nameOf(end: Endpoint): string {
  switch (end.kind) {
    case 'pod':
      return end.pod.id;
    case 'node':
      return `node ${end.node.name}`;
    case 'address':
      return formatAddress(end.address);
  }
}

function portOf({ protocol, port }: Connection): NetworkPolicyPort | undefined {
  return protocol === 'other' || port === undefined ? undefined : { protocol, port };
}

/** Undefined: nothing that a NetworkPolicy can name. */
function peerFor(subject: PodInfo, other: Endpoint): NetworkPolicyPeer | undefined {
  if (other.kind === 'pod' && !other.pod.hostNetwork) {
    const podSelector = { matchLabels: tellingLabels(other.pod) };
    if (other.pod.namespace === subject.namespace) return { podSelector };
    return {
      namespaceSelector: { matchLabels: { [NAME_LABEL]: other.pod.namespace } },
      podSelector,
    };
  }
  const address =
    other.address ??
    (other.kind === 'pod'
      ? other.pod.addresses[0]
      : other.kind === 'node'
        ? other.node.addresses[0]
        : undefined);
  if (address === undefined) return undefined;
  const prefix = address.family === 4 ? 32 : 128;
  return { ipBlock: { cidr: `${formatAddress(address)}/${prefix}` } };
}

/** The label that names the application, else every label that is not a hash. */
function tellingLabels(pod: PodInfo): Record<string, string> {
  const key = telling.find((name) => pod.labels[name] !== undefined);
  if (key !== undefined) return { [key]: pod.labels[key] ?? '' };
  const generated = /hash|statefulset\.kubernetes\.io|controller-uid|job-name/;
  return Object.fromEntries(Object.entries(pod.labels).filter(([name]) => !generated.test(name)));
}

/** A selector that misses the pod by one value which is close to the pod's own: a slip of the pen. */
function renameSubject(
  object: KubeObject,
  pod: PodInfo,
): Pick<Fix, 'path' | 'description' | 'object'> | undefined {
  const spec = object.spec as { podSelector?: { matchLabels?: Record<string, string> | null } };
  const wrong = Object.entries(spec.podSelector?.matchLabels ?? {}).filter(
    ([key, value]) => pod.labels[key] !== value,
  );
  const [only] = wrong;
  if (wrong.length !== 1 || only === undefined) return undefined;
  const [key, value] = only;
  const right = pod.labels[key];
  if (right === undefined || editDistance(value, right) > 2) return undefined;
  const changed = JSON.parse(JSON.stringify(object)) as KubeObject;
  const labels = (changed.spec as { podSelector: { matchLabels: Record<string, string> } })
    .podSelector.matchLabels;
  labels[key] = right;
  return {
    path: `spec.podSelector.matchLabels.${key}`,
    description: `change spec.podSelector from ${key}=${value} to ${key}=${right}`,
    object: changed,
  };
}

/** Appends to the list at a path of the form `spec.ingress[0].ports`. */
function append(object: KubeObject, path: string, value: unknown): KubeObject {
  const changed = JSON.parse(JSON.stringify(object)) as KubeObject;
  const steps = path.replaceAll(/\[(\d+)\]/g, '.$1').split('.');
  const last = steps.pop() ?? '';
  let place = changed as unknown as Record<string, unknown>;
  for (const step of steps) {
    // A null rule decodes to an empty one.
    place[step] ??= {};
    place = place[step] as Record<string, unknown>;
  }
  place[last] = [...((place[last] as unknown[] | null | undefined) ?? []), value];
  return changed;
}

function newPolicy(
  connection: Connection,
  direction: Direction,
  subject: PodInfo,
  other: Endpoint,
  peer: NetworkPolicyPeer,
  port: NetworkPolicyPort | undefined,
): Fix {
  const side = direction === 'Ingress' ? 'from' : 'to';
  const otherName = other.kind === 'pod' ? other.pod.workload.name : 'outside';
  const name = `${subject.workload.name}-${side}-${otherName}`.slice(0, 63).replace(/[-.]+$/, '');
  const rule = { [side]: [peer], ...(port === undefined ? {} : { ports: [port] }) };
  const object: KubeObject = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: subject.namespace },
    spec: {
      podSelector: { matchLabels: tellingLabels(subject) },
      policyTypes: [direction],
      [direction.toLowerCase()]: [rule],
    },
  };
  const on =
    port === undefined ? `any ${connection.protocol} port` : `${port.protocol} ${port.port}`;
  return {
    direction,
    policy: {
      key: `NetworkPolicy ${subject.namespace}/${name}`,
      kind: 'NetworkPolicy',
      namespace: subject.namespace,
      name,
    },
    path: 'spec',
    description: `add a policy that admits ${nameOf(other)} on ${on}`,
    object,
    isNew: true,
    size: 3,
  };
}
