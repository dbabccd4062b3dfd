/**
 * The facts of a cluster that decide what a node enforces, kept between changes: told which objects
 * changed, it says which facts did, at a cost of the change. The same facts as in the snapshot
 * (build.ts), but for what only the analyzer asks. Must not know what facts are used for.
 */
import type { Address } from '../net/address.ts';
import type { Diagnostic } from '../k8s/diagnostic.ts';
import type { KubeObject, Labels } from '../k8s/types.ts';
import { checkPolicy } from '../policy/index.ts';
import type { CompiledPolicy, PolicyRef } from '../policy/compiled.ts';
import { policyRefOf } from '../policy/policy-ref.ts';
import { at, textOf } from './json.ts';
import {
  isFinishedObject,
  kindOf,
  namespaceLabels,
  nodeInfoOf,
  objectFaults,
  objectKey,
  podInfoOf,
  startedLater,
} from './object-facts.ts';
import { hostAddresses, podAddresses, podSpecFacts } from './pod-facts.ts';
import type { PodSpecFacts } from './pod-facts.ts';
import type { NodeInfo, PodInfo } from './snapshot.ts';

/** Names one object. */
export interface ObjectRef {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace?: string | undefined;
  readonly name: string;
}

/** Facts that differ from the last time; `undefined`: there is none any more. */
export interface FactChanges {
  /**
   * Pods that have addresses of their own, by `namespace/name`; `addresses` are those. A finished pod
   * has none, nor one with its node's (S184), nor one whose address a newer pod has (S195).
   */
  readonly pods: ReadonlyMap<string, PodInfo | undefined>;
  /** Labels of namespaces that have an object. */
  readonly namespaces: ReadonlyMap<string, Labels | undefined>;
  readonly nodes: ReadonlyMap<string, NodeInfo | undefined>;
  /** By key. */
  readonly policies: ReadonlyMap<string, CompiledPolicy | undefined>;
  /** All policies that do not validate; absent: the same as before. */
  readonly invalid?: readonly PolicyRef[];
}

export interface ClusterFacts {
  /**
   * Takes objects as they are now; undefined: gone. Saying again what is known already changes
   * nothing. Each object may be named once, and must have a name.
   */
  apply(changes: Iterable<readonly [ObjectRef, KubeObject | undefined]>): FactChanges;
  /** Objects of kinds that matter here. */
  readonly objects: number;
  /** Policies that validate, by key. */
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
  readonly invalid: readonly PolicyRef[];
  /** What is wrong with objects, errors only. */
  readonly errors: readonly Diagnostic[];
}

interface PodRecord {
  readonly object: KubeObject;
  /** Addresses that it claims as its own; `pod.addresses` are those that it has. */
  readonly claims: readonly Address[];
  pod: PodInfo;
}

/**
 * No facts at first. Settings that change facts (`terminatedPods: include`) are not covered.
 *
 * @param options `strictCidr` as in `buildSnapshot`
 */
export function createClusterFacts(options: { readonly strictCidr?: boolean } = {}): ClusterFacts {
  const pods = new Map<string, PodRecord>();
  /** Address → the live pods that claim it, nearly always one. */
  const claims = new Map<Address['value'], readonly PodRecord[] | PodRecord>();
  const namespaces = new Map<string, Labels>();
  /** Nodes that have an object. */
  const given = new Map<string, NodeInfo>();
  /** Nodes as they were last told of, given or implied by pods. */
  const nodes = new Map<string, NodeInfo>();
  /** Nodes without object that pods name → what their pods tell of addresses. */
  const implied = new Map<string, Map<string, readonly Address[]>>();
  /** Policies by object key. */
  const judged = new Map<string, { readonly object: KubeObject; readonly ref: PolicyRef }>();
  const policies = new Map<string, CompiledPolicy>();
  const invalid = new Map<string, PolicyRef>();
  const errors = new Map<string, readonly Diagnostic[]>();
  /** Port lists by the containers they were read from, which stores share between equal pods. */
  const ports = new WeakMap<object, Pick<PodSpecFacts, 'namedPorts' | 'declaredPorts'>>();

  interface Found {
    readonly pods: Map<string, PodInfo | undefined>;
    readonly namespaces: Map<string, Labels | undefined>;
    readonly nodes: Map<string, NodeInfo | undefined>;
    readonly policies: Map<string, CompiledPolicy | undefined>;
    invalid: boolean;
  }

  // --- pods ---------------------------------------------------------------------------------------

  function specFacts(spec: unknown): PodSpecFacts {
    const facts = podSpecFacts(spec);
    const containers = at(spec, 'containers');
    if (typeof containers !== 'object' || containers === null) return facts;
    if (at(spec, 'initContainers') !== undefined) return facts;
    const { namedPorts, declaredPorts } = ports.get(containers) ?? facts;
    ports.set(containers, { namedPorts, declaredPorts });
    return { ...facts, namedPorts, declaredPorts };
  }

  function recordOf(object: KubeObject, namespace: string, name: string): PodRecord {
    const facts = specFacts(object.spec);
    const own = facts.hostNetwork || isFinishedObject(object) ? [] : podAddresses(object);
    // Who owns the pod matters to the analyzer only.
    const workload = { kind: 'Pod', namespace, name };
    return {
      object,
      claims: own,
      pod: podInfoOf(object, { namespace, name, workload }, facts, own),
    };
  }

  function claimants(value: Address['value']): readonly PodRecord[] {
    const held = claims.get(value);
    if (held === undefined) return [];
    return 'pod' in held ? [held] : held;
  }

  function setClaimants(value: Address['value'], list: readonly PodRecord[]): void {
    const [first] = list;
    if (first === undefined) claims.delete(value);
    else claims.set(value, list.length === 1 ? first : list);
  }

  function hasAddress(record: PodRecord, value: Address['value']): boolean {
    const claimant = ({ object, pod }: PodRecord): Parameters<typeof startedLater>[0] => ({
      object,
      namespace: pod.namespace,
      name: pod.name,
    });
    return claimants(value).every(
      (other) => other === record || startedLater(claimant(record), claimant(other)),
    );
  }

  /** Changes records, then settles who has which address. */
  function applyPods(changed: ReadonlyMap<string, PodRecord | undefined>, found: Found): void {
    const before = new Map<string, PodInfo | undefined>();
    const contested = new Set<Address['value']>();
    for (const [id, record] of changed) {
      const old = pods.get(id);
      before.set(id, old?.pod);
      pods.delete(id);
      for (const { value } of old?.claims ?? []) {
        const rest = claimants(value).filter((other) => other !== old);
        if (rest.length > 0) contested.add(value);
        setClaimants(value, rest);
      }
      if (record === undefined) continue;
      pods.set(id, record);
      for (const { value } of record.claims) {
        const list = [...claimants(value), record];
        if (list.length > 1) contested.add(value);
        setClaimants(value, list);
      }
    }
    for (const value of contested)
      for (const record of claimants(value)) {
        const addresses = record.claims.filter((address) => hasAddress(record, address.value));
        if (sameAddresses(addresses, record.pod.addresses)) continue;
        if (!before.has(record.pod.id)) before.set(record.pod.id, record.pod);
        record.pod = { ...record.pod, addresses };
      }
    for (const [id, old] of before) {
      const record = pods.get(id);
      const was = old?.addresses.length === 0 ? undefined : old;
      const is = record?.pod.addresses.length === 0 ? undefined : record?.pod;
      if (was !== undefined && is !== undefined && record !== undefined && samePod(was, is))
        record.pod = was;
      else if (was !== is) found.pods.set(id, is);
    }
  }

  // --- nodes --------------------------------------------------------------------------------------

  /** What a pod tells of its node's addresses. */
  function told({ object, pod }: PodRecord): readonly Address[] {
    return [...hostAddresses(object), ...(pod.hostNetwork ? podAddresses(object) : [])];
  }

  function currentNode(name: string): NodeInfo | undefined {
    const node = given.get(name);
    const tellers = implied.get(name);
    if (node !== undefined || tellers === undefined) return node;
    const addresses = new Map<Address['value'], Address>();
    for (const list of tellers.values())
      for (const address of list) addresses.set(address.value, address);
    return { name, labels: {}, addresses: [...addresses.values()], podCidrs: [], implied: true };
  }

  function tell(id: string, record: PodRecord): string | undefined {
    const name = record.pod.node;
    if (name === undefined || given.has(name)) return undefined;
    const tellers = implied.get(name);
    if (tellers === undefined) implied.set(name, new Map([[id, told(record)]]));
    else tellers.set(id, told(record));
    return name;
  }

  /** Before {@link applyPods}: the records of the pods that change are still the old ones. */
  function applyNodes(
    changed: ReadonlyMap<string, KubeObject | undefined>,
    podChanges: ReadonlyMap<string, PodRecord | undefined>,
    found: Found,
  ): void {
    const touched = new Set(changed.keys());
    const dropped = new Set<string>();
    for (const [name, object] of changed) {
      if (object !== undefined) {
        given.set(name, nodeInfoOf(object, name));
        implied.delete(name);
      } else if (given.delete(name)) dropped.add(name);
    }
    for (const [id, record] of podChanges) {
      const last = pods.get(id)?.pod.node;
      const tellers = last === undefined ? undefined : implied.get(last);
      if (last !== undefined && tellers?.delete(id)) {
        touched.add(last);
        if (tellers.size === 0) implied.delete(last);
      }
      const now = record === undefined ? undefined : tell(id, record);
      if (now !== undefined) touched.add(now);
    }
    if (dropped.size > 0)
      for (const [id, record] of pods)
        if (!podChanges.has(id) && dropped.has(record.pod.node ?? '')) tell(id, record);
    for (const name of touched) {
      const is = currentNode(name);
      const was = nodes.get(name);
      if (was === is || (was !== undefined && is !== undefined && sameNode(was, is))) continue;
      if (is === undefined) nodes.delete(name);
      else nodes.set(name, is);
      found.nodes.set(name, is);
    }
  }

  // --- namespaces and policies --------------------------------------------------------------------

  function applyNamespace(name: string, object: KubeObject | undefined, found: Found): void {
    const was = namespaces.get(name);
    const is = object === undefined ? undefined : namespaceLabels(object, name);
    if (was === is || (was !== undefined && is !== undefined && sameLabels(was, is))) return;
    if (is === undefined) namespaces.delete(name);
    else namespaces.set(name, is);
    found.namespaces.set(name, is);
  }

  function applyPolicy(
    key: string,
    object: KubeObject | undefined,
    namespaced: boolean,
    found: Found,
  ): readonly Diagnostic[] {
    const held = judged.get(key);
    if (held !== undefined && object !== undefined && samePolicy(held.object, object))
      return errors.get(key) ?? [];
    if (held !== undefined) {
      judged.delete(key);
      if (policies.delete(held.ref.key)) found.policies.set(held.ref.key, undefined);
      if (invalid.delete(held.ref.key)) found.invalid = true;
    }
    if (object === undefined) return [];
    const { policy, diagnostics } = checkPolicy({ object }, options);
    const ref = policy?.ref ?? policyRefOf(object, namespaced);
    judged.set(key, { object, ref });
    if (policy === undefined) {
      invalid.set(ref.key, ref);
      found.invalid = true;
    } else {
      policies.set(ref.key, policy);
      found.policies.set(ref.key, policy);
    }
    return diagnostics;
  }

  // --- all ----------------------------------------------------------------------------------------

  function apply(changes: Iterable<readonly [ObjectRef, KubeObject | undefined]>): FactChanges {
    const found: Found = {
      pods: new Map(),
      namespaces: new Map(),
      nodes: new Map(),
      policies: new Map(),
      invalid: false,
    };
    const podChanges = new Map<string, PodRecord | undefined>();
    const nodeChanges = new Map<string, KubeObject | undefined>();
    for (const [ref, given] of changes) {
      const kind = kindOf(ref);
      if (kind === undefined) continue;
      const { name } = ref;
      const namespace = kind.namespaced ? (ref.namespace ?? 'default') : '';
      const key = objectKey(kind, ref.kind, namespace, name);
      const object =
        given !== undefined &&
        kind.namespaced &&
        textOf(at(given.metadata, 'namespace')) === undefined
          ? { ...given, metadata: { ...given.metadata, namespace } }
          : given;
      let faults: readonly Diagnostic[] = [];
      if (kind.policy) faults = applyPolicy(key, object, kind.namespaced, found);
      else {
        if (object !== undefined)
          faults = objectFaults({ object }, namespace, textOf(at(object.metadata, 'name')));
        if (ref.kind === 'Pod')
          podChanges.set(
            `${namespace}/${name}`,
            object === undefined ? undefined : recordOf(object, namespace, name),
          );
        else if (ref.kind === 'Node') nodeChanges.set(name, object);
        else if (ref.kind === 'Namespace') applyNamespace(name, object, found);
        else continue;
      }
      const wrong = faults.filter(({ severity }) => severity === 'error');
      if (wrong.length > 0) errors.set(key, wrong);
      else errors.delete(key);
    }
    applyNodes(nodeChanges, podChanges, found);
    applyPods(podChanges, found);
    const { pods: podFacts, namespaces: labels, nodes: nodeFacts, policies: compiled } = found;
    return {
      pods: podFacts,
      namespaces: labels,
      nodes: nodeFacts,
      policies: compiled,
      ...(found.invalid ? { invalid: [...invalid.values()] } : {}),
    };
  }

  return {
    apply,
    get objects() {
      return pods.size + given.size + namespaces.size + judged.size;
    },
    policies,
    get invalid() {
      return [...invalid.values()];
    },
    get errors() {
      return [...errors.values()].flat();
    },
  };
}

// --- comparing facts --------------------------------------------------------------------------------

function sameAddresses(a: readonly Address[], b: readonly Address[]): boolean {
  return a.length === b.length && a.every(({ value }, index) => value === b[index]?.value);
}

function sameLabels(a: Labels, b: Labels): boolean {
  if (a === b) return true;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

/** In all that decides what a node enforces. */
function samePod(a: PodInfo, b: PodInfo): boolean {
  return (
    a.node === b.node &&
    sameAddresses(a.addresses, b.addresses) &&
    sameLabels(a.labels, b.labels) &&
    (a.namedPorts === b.namedPorts || JSON.stringify(a.namedPorts) === JSON.stringify(b.namedPorts))
  );
}

function sameNode(a: NodeInfo, b: NodeInfo): boolean {
  return (
    a.implied === b.implied &&
    sameLabels(a.labels, b.labels) &&
    sameAddresses(a.addresses, b.addresses) &&
    a.podCidrs.join() === b.podCidrs.join()
  );
}

/** Whether two states of one object say the same; the server counts versions for less than that. */
function samePolicy(a: KubeObject, b: KubeObject): boolean {
  const said = ({ metadata, ...rest }: KubeObject): string => {
    const { resourceVersion: _version, generation: _generation, ...own } = metadata;
    return JSON.stringify([own, rest]);
  };
  return a === b || said(a) === said(b);
}
