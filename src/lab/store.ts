/**
 * The objects of a lab and what follows from them: which pods exist, on which node, with which
 * addresses and listeners. Must not touch the machine; both the real and the simulated lab use it.
 */
import { randomUUID } from 'node:crypto';
import { formatFieldError, forbidden, invalid, type FieldError } from '../k8s/field-error.ts';
import { isDns1123Label, isValidPortNumber } from '../k8s/names.ts';
import { nearestName } from '../k8s/schema.ts';
import type { Container, KubeObject, Pod } from '../k8s/types.ts';
import { validateObjectMeta } from '../k8s/validation.ts';
import { checkPolicy, policyKindOf, policyKinds } from '../policy/index.ts';
import { planNodes, podAddresses, podsPerNode, type NodePlan } from './config.ts';
import { LabNotFound, LabRefusal } from './errors.ts';
import type {
  Change,
  LabConfig,
  LabObject,
  LabListener,
  LabPort,
  ObjectRef,
  OutsideHost,
  Refusal,
} from './types.ts';
import { podsOfWorkload, workloadKinds } from './workloads.ts';

/** A pod that runs, or is about to. */
export interface StoredPod {
  /** `namespace/name`. */
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly node: NodePlan;
  /** Number of its address in the node's CIDR; 0 for hostNetwork pods, which have the node's addresses. */
  readonly slot: number;
  readonly addresses: readonly string[];
  readonly ports: readonly LabListener[];
  readonly hostNetwork: boolean;
  readonly uid: string;
}

/** What a batch of changes did. */
export interface StoreChange {
  readonly changes: readonly Change[];
  readonly notices: readonly string[];
  /** Gone first: a replaced pod is in both lists. */
  readonly removed: readonly StoredPod[];
  readonly added: readonly StoredPod[];
}

/** Where a name of a probe or exec leads. */
export type LabEndpoint =
  | { readonly kind: 'pod'; readonly pod: StoredPod }
  | { readonly kind: 'outside'; readonly host: OutsideHost }
  | { readonly kind: 'node'; readonly node: NodePlan };

/** What probes, exec and status read, whoever keeps the objects. */
export interface LabView {
  readonly config: LabConfig;
  readonly nodes: readonly NodePlan[];
  objects(): KubeObject[];
  pods(): StoredPod[];
  endpoint(name: string): LabEndpoint | undefined;
  readyPods(): number;
  countPolicies(): number;
}

export interface LabStore extends LabView {
  apply(objects: readonly LabObject[]): StoreChange;
  delete(refs: readonly ObjectRef[]): StoreChange;
  /** Says that policies are in force and listeners answer. */
  markReady(pods: readonly StoredPod[]): void;
}

interface Entry {
  object: KubeObject;
  /** As it came, to see whether an update changes anything. */
  readonly given: string;
  pod?: StoredPod;
  /** Key of the workload that made it. */
  owner?: string;
}

const clusterScoped = new Set(['Namespace', 'Node']);
const coreKinds: Readonly<Record<string, string>> = {
  Namespace: 'v1',
  Node: 'v1',
  Pod: 'v1',
  Service: 'v1',
  ...workloadKinds,
};

/** Order of creation: what others stand in first. */
const rank = (kind: string): number => (kind === 'Namespace' ? 0 : kind === 'Node' ? 1 : 2);

const nameLabel = 'kubernetes.io/metadata.name';

/** A store with the lab's nodes and the namespaces every cluster has. */
export function createStore(config: LabConfig): LabStore {
  const nodes = planNodes(config);
  let entries = new Map<string, Entry>();
  let version = 0;
  /** Next address to try per node, so that a freed one is not used again at once. */
  const nextSlot = new Map(nodes.map((node) => [node.name, 2]));
  const ready = new Set<string>();

  const stamp = (object: KubeObject, old?: KubeObject): KubeObject => ({
    ...object,
    metadata: {
      ...object.metadata,
      uid: old?.metadata.uid ?? randomUUID(),
      resourceVersion: String(++version),
      creationTimestamp: old?.metadata.creationTimestamp ?? timestamp(),
    },
  });
  const setNamespace = (target: Map<string, Entry>, object: KubeObject): void => {
    const name = object.metadata.name ?? '';
    const old = target.get(keyOf('Namespace', undefined, name));
    const labels = { ...object.metadata.labels, [nameLabel]: name };
    const stored = stamp({ ...object, metadata: { ...object.metadata, labels } }, old?.object);
    target.set(keyOf('Namespace', undefined, name), {
      object: { ...stored, status: { phase: 'Active' } },
      given: JSON.stringify(object),
    });
  };

  for (const name of ['default', 'kube-system']) {
    setNamespace(entries, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  }
  for (const node of nodes) {
    const labels = { 'kubernetes.io/hostname': node.name, 'kubernetes.io/os': 'linux' };
    const object = stamp({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: node.name, labels },
      spec: { podCIDR: node.podCidrs[0], podCIDRs: [...node.podCidrs] },
      status: {
        addresses: node.addresses.map((address) => ({ type: 'InternalIP', address })),
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    });
    entries.set(keyOf('Node', undefined, node.name), { object, given: '' });
  }

  /** One transaction: works on a copy, which becomes the store when nothing was refused. */
  const change = (act: (draft: Draft) => void): StoreChange => {
    const draft = createDraft(new Map(entries), { nodes, config, nextSlot, stamp, setNamespace });
    act(draft);
    if (draft.refusals.length > 0) throw new LabRefusal(draft.refusals);
    draft.runControllers();
    if (draft.refusals.length > 0) throw new LabRefusal(draft.refusals);
    entries = draft.entries;
    for (const pod of draft.removed) ready.delete(pod.uid);
    const { changes, removed, added } = draft;
    return { changes, removed, added, notices: [...draft.notices, ...draft.ignoredNotice()] };
  };

  return {
    config,
    nodes,
    apply: (objects) =>
      change((draft) => {
        const sorted = objects.toSorted((a, b) => rank(a.object.kind) - rank(b.object.kind));
        for (const object of sorted) draft.put(object);
      }),
    delete: (refs) =>
      change((draft) => {
        const known = refs.map((ref) => draft.find(ref));
        for (const key of known) if (key !== undefined) draft.remove(key);
      }),
    objects: () => [...entries.values()].map((entry) => withStatus(entry, ready)),
    pods: () => podsOf(entries),
    endpoint: (name) =>
      endpointNamed(name, {
        config,
        nodes,
        pod(id) {
          const [namespace, pod = ''] = id.split('/', 2);
          return entries.get(keyOf('Pod', namespace, pod))?.pod;
        },
      }),
    markReady(pods) {
      for (const pod of pods) ready.add(pod.uid);
    },
    readyPods: () => podsOf(entries).filter((pod) => ready.has(pod.uid)).length,
    countPolicies: () =>
      [...entries.values()].filter(
        ({ object }) => policyKindOf(object.apiVersion, object.kind) !== undefined,
      ).length,
  };
}

/** Where a name leads: `NAMESPACE/POD`, or the bare name of an outside host or node. */
export function endpointNamed(
  name: string,
  known: {
    readonly config: LabConfig;
    readonly nodes: readonly NodePlan[];
    pod(id: string): StoredPod | undefined;
  },
): LabEndpoint | undefined {
  if (name.includes('/')) {
    const pod = known.pod(name);
    return pod === undefined ? undefined : { kind: 'pod', pod };
  }
  const host = known.config.outside.find((one) => one.name === name);
  if (host !== undefined) return { kind: 'outside', host };
  const node = known.nodes.find((one) => one.name === name);
  return node === undefined ? undefined : { kind: 'node', node };
}

interface DraftContext {
  readonly nodes: readonly NodePlan[];
  readonly config: LabConfig;
  readonly nextSlot: Map<string, number>;
  stamp(object: KubeObject, old?: KubeObject): KubeObject;
  setNamespace(target: Map<string, Entry>, object: KubeObject): void;
}

interface Draft {
  readonly entries: Map<string, Entry>;
  readonly changes: Change[];
  readonly notices: string[];
  readonly refusals: Refusal[];
  readonly removed: StoredPod[];
  readonly added: StoredPod[];
  put(given: LabObject): void;
  find(ref: ObjectRef): string | undefined;
  remove(key: string): void;
  runControllers(): void;
  ignoredNotice(): string[];
}

function createDraft(entries: Map<string, Entry>, context: DraftContext): Draft {
  const changes: Change[] = [];
  const notices: string[] = [];
  const refusals: Refusal[] = [];
  const removed: StoredPod[] = [];
  const added: StoredPod[] = [];
  const ignored = new Map<string, number>();
  const { nodes } = context;
  const podCount = new Map(nodes.map((node) => [node.name, 0]));
  const taken = new Map(nodes.map((node) => [node.name, new Set<number>()]));
  for (const pod of podsOf(entries)) hold(pod);

  function hold(pod: StoredPod): void {
    podCount.set(pod.node.name, (podCount.get(pod.node.name) ?? 0) + 1);
    taken.get(pod.node.name)?.add(pod.slot);
  }

  function refuse(given: LabObject, reason: string, messages: readonly string[]): void {
    const { object, source } = given;
    const ref = refOf(object);
    refusals.push({ ref, reason, messages, ...(source === undefined ? {} : { source }) });
  }

  function put(given: LabObject): void {
    const { object } = given;
    const { kind, apiVersion } = object;
    if (policyKindOf(apiVersion, kind) !== undefined) return putPolicy(given);
    const wanted = coreKinds[kind];
    if (wanted === undefined || wanted !== apiVersion) {
      const ours = wanted ?? policyKinds.find((known) => known.kind === kind)?.apiVersion;
      if (ours === undefined) {
        ignored.set(kind, (ignored.get(kind) ?? 0) + 1);
        return;
      }
      return refuse(given, 'NotFound', [
        `no matches for kind "${kind}" in version "${apiVersion}" (the lab knows ${ours})`,
      ]);
    }
    const clean = withNamespace(object, !clusterScoped.has(kind));
    const old = entries.get(keyOfObject(clean));
    const errors = validateObjectMeta(clean.metadata, {
      namespaced: !clusterScoped.has(kind),
      ...(kind === 'Namespace' ? { nameFaults: isDns1123Label } : {}),
    });
    if (kind === 'Pod') errors.push(...podFaults(clean as Pod, nodes, old?.object as Pod));
    if (workloadKinds[kind] !== undefined) errors.push(...workloadFaults(clean, nodes));
    if (errors.length > 0) return refuse(given, 'Invalid', errors.map(formatFieldError));
    if (kind === 'Node') return putNode(given, clean, old);
    if (kind === 'Namespace') {
      const action = actionFor(old, clean);
      if (action !== 'unchanged') context.setNamespace(entries, clean);
      changes.push({ ref: refOf(clean), action });
      return;
    }
    ensureNamespace(clean.metadata.namespace ?? '');
    const action = actionFor(old, clean);
    changes.push({ ref: refOf(clean), action });
    if (action === 'unchanged') return;
    if (kind === 'Pod') return putPod(clean as Pod, old, given);
    entries.set(keyOfObject(clean), {
      object: context.stamp(clean, old?.object),
      given: JSON.stringify(clean),
    });
  }

  function putPolicy(given: LabObject): void {
    const namespaced =
      policyKindOf(given.object.apiVersion, given.object.kind)?.namespaced === true;
    const object = withNamespace(given.object, namespaced);
    const key = keyOfObject(object);
    const old = entries.get(key);
    const result = checkPolicy({
      object,
      ...(given.source === undefined ? {} : { source: given.source }),
    });
    const faults = result.diagnostics.filter((one) => one.severity === 'error');
    if (result.errors.length > 0) {
      return refuse({ ...given, object }, 'Invalid', result.errors.map(formatFieldError));
    }
    if (result.policy === undefined || faults.length > 0) {
      return refuse(
        { ...given, object },
        'BadRequest',
        faults.map((one) => one.message),
      );
    }
    if (namespaced) ensureNamespace(object.metadata.namespace ?? '');
    const action = actionFor(old, object);
    changes.push({ ref: refOf(object), action });
    if (action === 'unchanged') return;
    const stored = context.stamp(result.defaulted ?? object, old?.object);
    entries.set(key, { object: stored, given: JSON.stringify(object) });
  }

  function putNode(given: LabObject, clean: KubeObject, old: Entry | undefined): void {
    if (old === undefined) {
      const names = nodes.map((node) => node.name).join(', ');
      return refuse(given, 'Forbidden', [
        `the nodes of a lab are fixed when it starts (${names}); "${clean.metadata.name}" is none of them`,
      ]);
    }
    const labels = {
      ...clean.metadata.labels,
      'kubernetes.io/hostname': clean.metadata.name ?? '',
    };
    const action = actionFor(old, clean);
    changes.push({ ref: refOf(clean), action });
    if (action === 'unchanged') return;
    // Addresses and CIDRs are the lab's own; only metadata is the user's.
    const metadata = { ...old.object.metadata, ...clean.metadata, labels };
    entries.set(keyOfObject(clean), {
      object: context.stamp({ ...old.object, metadata }, old.object),
      given: JSON.stringify(clean),
    });
  }

  function putPod(pod: Pod, old: Entry | undefined, given: LabObject, owner?: string): void {
    const key = keyOfObject(pod);
    if (old?.pod !== undefined) {
      // Only labels and annotations can differ: podFaults refused the rest.
      const spec = old.object.spec;
      entries.set(key, {
        ...old,
        object: context.stamp({ ...pod, spec }, old.object),
        given: JSON.stringify(pod),
      });
      return;
    }
    const placed = place(pod);
    if (typeof placed === 'string') return refuse(given, 'Forbidden', [placed]);
    const object = context.stamp({ ...pod, spec: { ...pod.spec, nodeName: placed.node.name } });
    const { namespace = '', name = '' } = pod.metadata;
    const stored: StoredPod = {
      id: `${namespace}/${name}`,
      namespace,
      name,
      node: placed.node,
      slot: placed.slot,
      addresses: placed.addresses,
      ports: listenPorts(pod),
      hostNetwork: pod.spec?.hostNetwork === true,
      uid: object.metadata.uid ?? '',
    };
    hold(stored);
    added.push(stored);
    entries.set(key, {
      object,
      given: JSON.stringify(pod),
      pod: stored,
      ...(owner === undefined ? {} : { owner }),
    });
  }

  function place(
    pod: Pod,
  ): { node: NodePlan; slot: number; addresses: readonly string[] } | string {
    const wanted = pod.spec?.nodeName;
    const candidates = nodes.filter((node) => wanted === undefined || node.name === wanted);
    const byLoad = candidates.toSorted(
      (a, b) => (podCount.get(a.name) ?? 0) - (podCount.get(b.name) ?? 0),
    );
    for (const node of byLoad) {
      if (pod.spec?.hostNetwork === true) return { node, slot: 0, addresses: node.addresses };
      const used = taken.get(node.name) ?? new Set<number>();
      const start = context.nextSlot.get(node.name) ?? 2;
      for (let step = 0; step < podsPerNode; step++) {
        const slot = 2 + ((start - 2 + step) % podsPerNode);
        if (used.has(slot)) continue;
        context.nextSlot.set(node.name, slot + 1);
        return { node, slot, addresses: podAddresses(context.config, node, slot) };
      }
    }
    return `no address is left: a node holds ${podsPerNode} pods`;
  }

  function ensureNamespace(name: string): void {
    const key = keyOf('Namespace', undefined, name);
    if (entries.has(key)) return;
    const object = { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
    context.setNamespace(entries, object);
    changes.push({ ref: refOf(object), action: 'created' });
    notices.push(`namespace ${name} did not exist and was created without labels of its own`);
  }

  function find(ref: ObjectRef): string | undefined {
    const namespace = clusterScoped.has(ref.kind) ? undefined : ref.namespace;
    const keys = [keyOf(ref.kind, namespace, ref.name), keyOf(ref.kind, undefined, ref.name)];
    if (namespace === undefined) keys.push(keyOf(ref.kind, 'default', ref.name));
    const key = keys.find((one) => entries.has(one));
    if (key === undefined) {
      const messages = [`${pluralOf(ref.kind)} "${ref.name}" not found`];
      refusals.push({ ref, reason: 'NotFound', messages });
    } else if (ref.kind === 'Node') {
      refusals.push({ ref, reason: 'Forbidden', messages: ['a node lives as long as its lab'] });
    }
    return key;
  }

  function remove(key: string): void {
    const entry = entries.get(key);
    // Two references of one batch may name the same object, or one its namespace.
    if (entry === undefined) return;
    entries.delete(key);
    changes.push({ ref: refOf(entry.object), action: 'deleted' });
    if (entry.pod !== undefined) {
      removed.push(entry.pod);
      taken.get(entry.pod.node.name)?.delete(entry.pod.slot);
      podCount.set(entry.pod.node.name, (podCount.get(entry.pod.node.name) ?? 1) - 1);
    }
    const { kind, metadata } = entry.object;
    for (const [other, { object, owner }] of entries) {
      const inside = kind === 'Namespace' && object.metadata.namespace === metadata.name;
      if (inside || owner === key) remove(other);
    }
  }

  /** Makes and removes pods until every workload has the ones it asks for. */
  function runControllers(): void {
    for (const [key, { object }] of entries) {
      if (workloadKinds[object.kind] === undefined) continue;
      const names = nodes.map((node) => node.name);
      const wanted = new Map(podsOfWorkload(object, names).map((pod) => [keyOfObject(pod), pod]));
      for (const [other, entry] of entries) {
        const stale = entry.owner === key && !wanted.has(other);
        if (stale || (entry.owner === key && changedSpec(entry, wanted.get(other)))) remove(other);
      }
      for (const [podKey, pod] of wanted) {
        const present = entries.get(podKey);
        if (present === undefined) {
          putPod(pod, undefined, { object: pod }, key);
          changes.push({ ref: refOf(pod), action: 'created' });
        } else if (present.owner !== key) {
          refuse({ object: pod }, 'AlreadyExists', [
            `pods "${pod.metadata.name}" already exists and is not of this ${object.kind}`,
          ]);
        }
      }
    }
  }

  return {
    entries,
    changes,
    notices,
    refusals,
    removed,
    added,
    put,
    find,
    remove,
    runControllers,
    ignoredNotice() {
      if (ignored.size === 0) return [];
      const list = [...ignored].map(([kind, count]) => `${count} ${kind}`).join(', ');
      return [`ignored, because the lab has no use for them: ${list}`];
    },
  };
}

function changedSpec(entry: Entry, wanted: Pod | undefined): boolean {
  if (wanted === undefined) return false;
  const before = JSON.parse(entry.given) as Pod;
  const part = (pod: Pod): string => JSON.stringify([pod.spec, pod.metadata.labels]);
  return part(before) !== part(wanted);
}

function actionFor(old: Entry | undefined, object: KubeObject): Change['action'] {
  if (old === undefined) return 'created';
  return old.given === JSON.stringify(object) ? 'unchanged' : 'configured';
}

/** Containers that run beside each other: sidecars are init containers that never end. */
function runningContainers(pod: Pod): Container[] {
  const sidecars = (pod.spec?.initContainers ?? []).filter(
    (container) => container.restartPolicy === 'Always',
  );
  return [...sidecars, ...(pod.spec?.containers ?? [])];
}

function declaredPorts(pod: Pod): LabPort[] {
  return runningContainers(pod).flatMap((container) =>
    (container.ports ?? []).map((port) => ({
      protocol: (port.protocol ?? 'TCP') as LabPort['protocol'],
      port: port.containerPort,
    })),
  );
}

/** The declared ports, or TCP 80 for a pod that declares none. */
export function listenPorts(pod: Pod): LabPort[] {
  const declared = declaredPorts(pod);
  if (declared.length === 0) return [{ protocol: 'TCP', port: 80 }];
  const seen = new Set<string>();
  return declared.filter(({ protocol, port }) => {
    const key = `${protocol}/${port}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

function podFaults(pod: Pod, nodes: readonly NodePlan[], old: Pod | undefined): FieldError[] {
  const errors = podSpecFaults(pod, 'spec', nodes);
  if (old === undefined) return errors;
  const { nodeName, ...before } = old.spec ?? {};
  const { nodeName: wanted = nodeName, ...now } = pod.spec ?? {};
  if (wanted !== nodeName || JSON.stringify(before) !== JSON.stringify(now)) {
    errors.push(
      forbidden('spec', 'pod updates may not change the spec in this lab; delete the pod first'),
    );
  }
  return errors;
}

function podSpecFaults(pod: Pod, path: string, nodes: readonly NodePlan[]): FieldError[] {
  const errors: FieldError[] = [];
  const node = pod.spec?.nodeName;
  if (node !== undefined && !nodes.some((one) => one.name === node)) {
    errors.push(invalid(`${path}.nodeName`, node, `this lab has no such node`));
  }
  for (const list of ['initContainers', 'containers'] as const) {
    (pod.spec?.[list] ?? []).forEach((container, index) => {
      (container.ports ?? []).forEach(({ containerPort, protocol = 'TCP' }, at) => {
        const where = `${path}.${list}[${index}].ports[${at}]`;
        for (const fault of isValidPortNumber(containerPort)) {
          errors.push(invalid(`${where}.containerPort`, containerPort, fault));
        }
        if (!['TCP', 'UDP', 'SCTP'].includes(protocol)) {
          errors.push(invalid(`${where}.protocol`, protocol, 'must be TCP, UDP or SCTP'));
        }
      });
    });
  }
  return errors;
}

/** More pods than all nodes hold are refused before any of them is made. */
const mostReplicas = 10_000;

function workloadFaults(workload: KubeObject, nodes: readonly NodePlan[]): FieldError[] {
  const spec = (workload.spec ?? {}) as { replicas?: unknown; template?: Pod };
  const { replicas, template } = spec;
  const errors: FieldError[] = [];
  if (replicas !== undefined && replicas !== null) {
    const fits = Number.isInteger(replicas) && Number(replicas) >= 0;
    if (!fits) errors.push(invalid('spec.replicas', replicas, 'must be a whole number from 0'));
    else if (Number(replicas) > mostReplicas) {
      errors.push(invalid('spec.replicas', replicas, `this lab makes at most ${mostReplicas}`));
    }
  }
  if (template !== undefined) errors.push(...podSpecFaults(template, 'spec.template.spec', nodes));
  return errors;
}

function withStatus(entry: Entry, ready: ReadonlySet<string>): KubeObject {
  const { object, pod } = entry;
  if (pod === undefined) return object;
  const isReady = ready.has(pod.uid);
  const [first] = pod.addresses;
  return {
    ...object,
    status: {
      phase: isReady ? 'Running' : 'Pending',
      conditions: [{ type: 'Ready', status: isReady ? 'True' : 'False' }],
      hostIP: pod.node.addresses[0],
      ...(first === undefined ? {} : { podIP: first }),
      podIPs: pod.addresses.map((ip) => ({ ip })),
      startTime: object.metadata.creationTimestamp,
    },
  };
}

function podsOf(entries: ReadonlyMap<string, Entry>): StoredPod[] {
  const pods: StoredPod[] = [];
  for (const { pod } of entries.values()) if (pod !== undefined) pods.push(pod);
  return pods;
}

function timestamp(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, 'Z');
}

function keyOf(kind: string, namespace: string | undefined, name: string): string {
  return `${kind}/${namespace ?? ''}/${name}`;
}

function keyOfObject(object: KubeObject): string {
  return keyOf(object.kind, object.metadata.namespace, object.metadata.name ?? '');
}

/** Status and the server's own metadata are not the user's to set; a missing namespace is `default`. */
function withNamespace(object: KubeObject, namespaced: boolean): KubeObject {
  const { status: _status, ...rest } = object;
  const metadata = { ...object.metadata };
  delete metadata.uid;
  delete metadata.resourceVersion;
  delete metadata.creationTimestamp;
  if (namespaced) metadata.namespace = metadata.namespace ?? 'default';
  else delete metadata.namespace;
  return { ...rest, metadata };
}

export function refOf(object: KubeObject): ObjectRef {
  const { namespace, name = '' } = object.metadata;
  const { apiVersion, kind } = object;
  return { apiVersion, kind, name, ...(namespace === undefined ? {} : { namespace }) };
}

/** Names a user may call a kind by, lower case: `pods`, `po`, `netpol`, … to its Kind. */
export function kindNamed(word: string): string | undefined {
  const lower = word.toLowerCase();
  for (const known of policyKinds) {
    const names = [known.kind.toLowerCase(), known.plural, ...known.shortNames];
    if (names.includes(lower)) return known.kind;
  }
  for (const kind of Object.keys(coreKinds)) {
    if ([kind.toLowerCase(), pluralOf(kind), ...(shortNames[kind] ?? [])].includes(lower))
      return kind;
  }
  return undefined;
}

const shortNames: Readonly<Record<string, readonly string[]>> = {
  Namespace: ['ns'],
  Node: ['no'],
  Pod: ['po'],
  Service: ['svc'],
  Deployment: ['deploy'],
  ReplicaSet: ['rs'],
  StatefulSet: ['sts'],
  DaemonSet: ['ds'],
  ReplicationController: ['rc'],
};

/** The resource name of a kind, as kubectl prints it. */
export function pluralOf(kind: string): string {
  const known = policyKinds.find((one) => one.kind === kind);
  return known?.plural ?? `${kind.toLowerCase()}s`;
}

/** Kinds whose objects are in no namespace. */
export function clusterKinds(): string[] {
  const policies = policyKinds.filter((known) => !known.namespaced).map((known) => known.kind);
  return [...clusterScoped, ...policies];
}

/** The object with `namespace` when its kind has one and it names none. */
export function namespacedIn(object: KubeObject, namespace: string): KubeObject {
  const { metadata } = object;
  if (metadata.namespace !== undefined || clusterKinds().includes(object.kind)) return object;
  return { ...object, metadata: { ...metadata, namespace } };
}

/** The one sentence for a name that leads nowhere, with the one that was probably meant. */
export function noSuchEndpoint(name: string, view: LabView): LabNotFound {
  const pods = view.pods();
  const all = name.endsWith('/*');
  const known = all
    ? pods.map((pod) => `${pod.namespace}/*`)
    : [
        ...pods.map((pod) => pod.id),
        ...[...view.config.outside, ...view.nodes].map((one) => one.name),
      ];
  const meant = known.find((one) => one.endsWith(`/${name}`)) ?? nearestName(name, known);
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
  if (all) return new LabNotFound(`there are no pods ${name}${hint}`);
  return new LabNotFound(
    name.includes('/')
      ? `there is no pod ${name}${hint || '; `podwall lab get pods -A` lists them'}`
      : `"${name}" is no outside host or node${hint || '; pods are written NAMESPACE/NAME'}`,
  );
}
