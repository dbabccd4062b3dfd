/**
 * Builds the snapshot the engine works on from the objects of a cluster or of manifests. Collects
 * faults as diagnostics and never throws for them. Must not know where the objects came from.
 */
import { formatAddress } from '../net/address.ts';
import type { Address } from '../net/address.ts';
import type { Diagnostic, SourceRange } from '../k8s/diagnostic.ts';
import type { KubeObject, Labels } from '../k8s/types.ts';
import { checkPolicy } from '../policy/index.ts';
import type { CompiledPolicy, PolicyRef } from '../policy/compiled.ts';
import { policyRefOf } from '../policy/policy-ref.ts';
import { at, labelsOf, textOf } from './json.ts';
import {
  diagnosticAt,
  isFinishedObject,
  kindOf,
  namespaceLabels,
  nodeInfoOf,
  objectFaults,
  objectKey,
  podInfoOf,
  startedLater,
  startOf,
  withNameLabel,
} from './object-facts.ts';
import type { BuildInput } from './object-facts.ts';
import { hostAddresses, nodeAddresses, podAddresses, podSpecFacts } from './pod-facts.ts';
import type { PodSpecFacts } from './pod-facts.ts';
import { endpointsOf, routeOf, serviceOf } from './routes.ts';
import { defaultSettings } from './snapshot.ts';
import type {
  NamespaceInfo,
  NodeInfo,
  PodInfo,
  RouteInfo,
  ServiceEndpoint,
  ServiceInfo,
  Settings,
  Snapshot,
} from './snapshot.ts';
import { isWorkloadKind, makesNoPods, replicasOf, templateOf, workloadOf } from './workloads.ts';

export type { BuildInput } from './object-facts.ts';

export interface BuildOptions {
  readonly settings?: Partial<Settings>;
  /** Strict IP and CIDR parsing (S68). */
  readonly strictCidr?: boolean;
  /** What builds before this one found out; see {@link createBuildCache}. */
  readonly cache?: BuildCache;
}

/** What follows from one object alone, remembered by the object's identity. */
export interface BuildCache {
  readonly policies: WeakMap<KubeObject, ReturnType<typeof checkPolicy>>;
  /** Pods whose facts follow from themselves alone. */
  readonly pods: WeakMap<KubeObject, PodInfo>;
  /** Ports by the list of containers, which stores share between equal pods. */
  readonly ports: WeakMap<object, Pick<PodSpecFacts, 'namedPorts' | 'declaredPorts'>>;
}

/**
 * For those who build again and again from mostly the same objects (the agent). Objects must never
 * be changed in place, and every build with one cache must have the same `strictCidr`.
 */
export function createBuildCache(): BuildCache {
  return { policies: new WeakMap(), pods: new WeakMap(), ports: new WeakMap() };
}

/** Facts of a pod, with the port lists shared by pods of equal containers. */
function factsOf(spec: unknown, cache: BuildCache | undefined): PodSpecFacts {
  const facts = podSpecFacts(spec);
  const containers = at(spec, 'containers');
  if (cache === undefined || typeof containers !== 'object' || containers === null) return facts;
  if (at(spec, 'initContainers') !== undefined) return facts;
  const { namedPorts, declaredPorts } = cache.ports.get(containers) ?? facts;
  cache.ports.set(containers, { namedPorts, declaredPorts });
  return { ...facts, namedPorts, declaredPorts };
}

export interface BuildResult {
  readonly snapshot: Snapshot;
  readonly diagnostics: Diagnostic[];
}

/** An object of a kind that is read, with its namespace and name settled. */
interface Entry {
  readonly input: BuildInput;
  readonly object: KubeObject;
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string;
  readonly name: string;
  readonly policy: boolean;
}

/** Builds a snapshot. Every object counts once: of duplicates the last one stands, as with `kubectl apply`. */
export function buildSnapshot(
  objects: readonly BuildInput[],
  options: BuildOptions = {},
): BuildResult {
  const diagnostics: Diagnostic[] = [];
  const unknownKinds = new Map<string, number>();
  const entries = collect(objects, unknownKinds, diagnostics);
  const settings: Settings = { ...defaultSettings, ...options.settings };

  const policies: CompiledPolicy[] = [];
  const invalidPolicies: PolicyRef[] = [];
  for (const entry of entries) {
    if (!entry.policy) continue;
    const { object, input } = entry;
    const checked =
      options.cache?.policies.get(object) ??
      checkPolicy(
        { ...input, object },
        options.strictCidr === undefined ? {} : { strictCidr: options.strictCidr },
      );
    options.cache?.policies.set(object, checked);
    diagnostics.push(...checked.diagnostics);
    if (checked.policy !== undefined) policies.push(checked.policy);
    else invalidPolicies.push(policyRefOf(object, entry.namespace !== '', input.source));
  }

  const { pods, nodes } = readPods(entries, diagnostics, options.cache);
  const { services, routes } = readServices(entries);
  const namespaces = readNamespaces(entries, pods, policies, invalidPolicies);
  return {
    snapshot: {
      namespaces,
      nodes,
      pods,
      podById: new Map(pods.map((pod) => [pod.id, pod])),
      services,
      ...(routes.length === 0 ? {} : { routes }),
      policies,
      settings,
      completeness: {
        objects: objects.length,
        unknownKinds,
        impliedNamespaces: [...namespaces.values()]
          .filter(({ implied }) => implied)
          .map(({ name }) => name)
          .toSorted(),
        invalidPolicies,
        podsWithoutAddress: pods.filter(({ addresses }) => addresses.length === 0).length,
      },
    },
    diagnostics,
  };
}

// --- objects ------------------------------------------------------------------------------------

function collect(
  objects: readonly BuildInput[],
  unknownKinds: Map<string, number>,
  diagnostics: Diagnostic[],
): Entry[] {
  const found = new Map<string, Entry>();
  let nameless = 0;
  for (const input of objects) {
    const { object } = input;
    const { apiVersion, kind } = object;
    const known = kindOf(object);
    if (known === undefined) {
      const key = `${apiVersion}/${kind}`;
      unknownKinds.set(key, (unknownKinds.get(key) ?? 0) + 1);
      continue;
    }
    const { namespaced } = known;
    const given = textOf(at(object.metadata, 'namespace'));
    const namespace = namespaced ? (given ?? 'default') : '';
    const plainName = textOf(at(object.metadata, 'name'));
    const name = plainName ?? `${textOf(at(object.metadata, 'generateName')) ?? ''}<${++nameless}>`;
    const settled: KubeObject =
      namespaced && given === undefined
        ? { ...object, metadata: { ...object.metadata, namespace } }
        : object;
    if (namespaced && given === undefined)
      diagnostics.push(
        diagnosticAt(
          input,
          'namespace-omitted',
          'info',
          `${kind} ${name} names no namespace: taken as namespace "default"`,
          'metadata',
        ),
      );
    if (!known.policy) diagnostics.push(...objectFaults(input, namespace, plainName));
    const entry: Entry = {
      input,
      object: settled,
      namespace,
      name,
      policy: known.policy,
    };
    const key = objectKey(known, kind, namespace, name);
    const earlier = found.get(key);
    if (earlier !== undefined) {
      diagnostics.push(duplicate(earlier, entry));
      // The later one takes the later place as well.
      found.delete(key);
    }
    found.set(key, entry);
  }
  return [...found.values()];
}

function duplicate(earlier: Entry, later: Entry): Diagnostic {
  const same = JSON.stringify(earlier.object) === JSON.stringify(later.object);
  const { kind } = later.object;
  const label = later.namespace === '' ? later.name : `${later.namespace}/${later.name}`;
  return {
    ...diagnosticAt(
      later.input,
      'duplicate-object',
      'warning',
      `${kind} ${label} is given twice: here and at ${placeOf(earlier.input.source)}${
        same ? '' : ', with different content'
      }; the later one counts`,
      'metadata.name',
    ),
    object: `${kind} ${label}`,
  };
}

function placeOf(source: SourceRange | undefined): string {
  return source === undefined
    ? 'an unknown place'
    : `${source.file}:${source.start.line}:${source.start.column}`;
}

// --- namespaces ---------------------------------------------------------------------------------

/** Every namespace that is given or used. The name label is always there (S25). */
function readNamespaces(
  entries: readonly Entry[],
  pods: readonly PodInfo[],
  policies: readonly CompiledPolicy[],
  invalid: readonly PolicyRef[],
): Map<string, NamespaceInfo> {
  const namespaces = new Map<string, NamespaceInfo>();
  for (const { object, name, input } of entries) {
    if (object.kind !== 'Namespace') continue;
    namespaces.set(name, {
      name,
      labels: namespaceLabels(object, name),
      implied: false,
      ...(input.source === undefined ? {} : { source: input.source }),
    });
  }
  const imply = (name: string | undefined): void => {
    if (name === undefined || name === '' || namespaces.has(name)) return;
    namespaces.set(name, { name, labels: withNameLabel({}, name), implied: true });
  };
  for (const { namespace } of pods) imply(namespace);
  for (const { ref } of policies) imply(ref.namespace);
  for (const ref of invalid) imply(ref.namespace);
  return namespaces;
}

// --- pods and nodes -----------------------------------------------------------------------------

interface MutableNode {
  name: string;
  labels: Labels;
  addresses: Address[];
  internal: Address[];
  podCidrs: readonly string[];
  implied: boolean;
  source?: SourceRange;
}

function readPods(
  entries: readonly Entry[],
  diagnostics: Diagnostic[],
  cache: BuildCache | undefined,
): { pods: PodInfo[]; nodes: Map<string, NodeInfo> } {
  const workloads = new Map<string, Entry>();
  for (const entry of entries)
    if (!entry.policy && isWorkloadKind(entry.object.kind))
      workloads.set(`${entry.namespace}/${entry.object.kind}/${entry.name}`, entry);
  const refOf = ({ object, namespace, name }: Entry): PodInfo['workload'] =>
    workloadOf(
      object,
      namespace,
      name,
      (kind, owner) => workloads.get(`${namespace}/${kind}/${owner}`)?.object,
    );

  const nodes = readNodes(entries);
  const pods: PodInfo[] = [];
  const alive = new Set<string>();
  for (const entry of winners(entries, diagnostics, cache)) {
    const { object, namespace, name, lost } = entry;
    const known = workloads.size === 0 && lost === undefined ? cache?.pods.get(object) : undefined;
    if (known !== undefined) {
      pods.push(known);
      continue;
    }
    const facts = factsOf(object.spec, cache);
    const workload = refOf(entry);
    if (!isFinishedObject(object)) alive.add(`${namespace}/${workload.kind}/${workload.name}`);
    let addresses: readonly Address[] = podAddresses(object);
    if (lost !== undefined) addresses = addresses.filter(({ value }) => !lost.has(value));
    // A hostNetwork pod has its node's addresses, known or not from its own status.
    if (facts.hostNetwork && addresses.length === 0 && facts.node !== undefined)
      addresses = nodes.get(facts.node)?.internal ?? [];
    const { source } = entry.input;
    const place = { namespace, name, workload, ...(source === undefined ? {} : { source }) };
    const pod = podInfoOf(object, place, facts, addresses);
    pods.push(pod);
    if (workloads.size === 0 && lost === undefined && !facts.hostNetwork)
      cache?.pods.set(object, pod);
  }

  for (const entry of workloads.values()) {
    const { object, namespace, input } = entry;
    const workload = refOf(entry);
    const id = `${namespace}/${workload.kind}/${workload.name}`;
    // An owner that is given itself speaks for what it owns.
    const isOutermost = workload.kind === object.kind && workload.name === entry.name;
    if (!isOutermost && workloads.has(id)) continue;
    if (alive.has(id) || makesNoPods(object)) continue;
    alive.add(id);
    const template = templateOf(object);
    const replicas = replicasOf(object);
    pods.push({
      id,
      namespace,
      name: workload.name,
      labels: labelsOf(at(template, 'metadata', 'labels')),
      addresses: [],
      ...podSpecFacts(at(template, 'spec')),
      workload,
      template: true,
      ...(replicas === undefined ? {} : { replicas }),
      ...(input.source === undefined ? {} : { source: input.source }),
    });
  }

  const known = new Map<string, NodeInfo>();
  for (const { internal: _internal, implied, ...node } of nodes.values())
    known.set(node.name, implied ? { ...node, implied } : node);
  return { pods, nodes: known };
}

/** Nodes that are given, and nodes that only pods name. */
function readNodes(entries: readonly Entry[]): Map<string, MutableNode> {
  const nodes = new Map<string, MutableNode>();
  for (const { object, name, input } of entries) {
    if (object.kind !== 'Node') continue;
    nodes.set(name, {
      ...nodeInfoOf(object, name, input.source),
      addresses: nodeAddresses(object),
      internal: nodeAddresses(object, 'InternalIP'),
      implied: false,
    });
  }
  for (const { object } of entries) {
    if (object.kind !== 'Pod') continue;
    const name = textOf(at(object.spec, 'nodeName'));
    if (name === undefined) continue;
    let node = nodes.get(name);
    if (node === undefined) {
      node = { name, labels: {}, addresses: [], internal: [], podCidrs: [], implied: true };
      nodes.set(name, node);
    }
    if (!node.implied) continue;
    const hostNetwork = at(object.spec, 'hostNetwork') === true;
    for (const address of [...hostAddresses(object), ...(hostNetwork ? podAddresses(object) : [])])
      if (!node.addresses.some(({ value }) => value === address.value)) {
        node.addresses.push(address);
        node.internal.push(address);
      }
  }
  return nodes;
}

interface PodEntry extends Entry {
  /** Addresses that another pod has now; absent for nearly all. */
  lost?: Set<number | bigint>;
}

/**
 * Pods, and which of them has an address that several claim: a live pod before a finished one, then
 * the one started last (S195), then the last by name. Two live pods with one address are a fault of the input.
 */
function winners(
  entries: readonly Entry[],
  diagnostics: Diagnostic[],
  cache: BuildCache | undefined,
): PodEntry[] {
  const pods: PodEntry[] = [];
  const owners = new Map<number | bigint, PodEntry>();
  for (const entry of entries) {
    if (entry.object.kind !== 'Pod') continue;
    const pod: PodEntry = { ...entry };
    pods.push(pod);
    // hostNetwork pods share their node's address; finished pods have given theirs back.
    if (at(entry.object.spec, 'hostNetwork') === true || isFinishedObject(entry.object)) continue;
    for (const address of cache?.pods.get(entry.object)?.addresses ?? podAddresses(entry.object)) {
      const other = owners.get(address.value);
      if (other === undefined) {
        owners.set(address.value, pod);
        continue;
      }
      const newer = startedLater(pod, other) ? pod : other;
      const older = newer === pod ? other : pod;
      const how =
        startOf(pod.object) === startOf(other.object)
          ? 'the last by name of those that started at one time'
          : 'which started last';
      (older.lost ??= new Set()).add(address.value);
      owners.set(address.value, newer);
      diagnostics.push({
        ...diagnosticAt(
          pod.input,
          'duplicate-pod-address',
          'warning',
          `pods ${other.namespace}/${other.name} (${placeOf(other.input.source)}) and ${pod.namespace}/${pod.name} both have address ${formatAddress(address)}: it counts as the address of ${newer.namespace}/${newer.name}, ${how}`,
          'status.podIP',
        ),
        object: `Pod ${pod.namespace}/${pod.name}`,
      });
    }
  }
  return pods;
}

// --- services -----------------------------------------------------------------------------------

function readServices(entries: readonly Entry[]): {
  services: ServiceInfo[];
  routes: RouteInfo[];
} {
  const endpoints = new Map<string, ServiceEndpoint[]>();
  const routes: RouteInfo[] = [];
  for (const { object, namespace, name, input } of entries) {
    if (object.kind === 'EndpointSlice') {
      const slice = endpointsOf(object, namespace);
      if (slice === undefined) continue;
      const key = `${namespace}/${slice.service}`;
      const list = endpoints.get(key);
      if (list === undefined) endpoints.set(key, slice.endpoints);
      else list.push(...slice.endpoints);
    } else if (['Ingress', 'HTTPRoute', 'GRPCRoute'].includes(object.kind))
      routes.push(routeOf(object, namespace, name, input.source));
  }
  const services: ServiceInfo[] = [];
  for (const { object, namespace, name, input } of entries)
    if (object.kind === 'Service')
      services.push(
        serviceOf(object, namespace, name, endpoints.get(`${namespace}/${name}`), input.source),
      );
  return { services, routes };
}
