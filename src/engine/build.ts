/**
 * Builds the snapshot the engine works on from the objects of a cluster or of manifests. Collects
 * faults as diagnostics and never throws for them. Must not know where the objects came from.
 */
import { formatAddress } from '../net/address.ts';
import type { Address } from '../net/address.ts';
import type { Diagnostic, Severity, SourceRange } from '../k8s/diagnostic.ts';
import type { KubeObject, Labels } from '../k8s/types.ts';
import { isDns1123Subdomain } from '../k8s/names.ts';
import { checkPolicy, policyKindOf } from '../policy/index.ts';
import type { CompiledPolicy, PolicyRef } from '../policy/compiled.ts';
import { policyRefOf } from '../policy/policy-ref.ts';
import { at, labelsOf, textOf } from './json.ts';
import { NAME_LABEL } from './peers.ts';
import {
  hostAddresses,
  nodeAddresses,
  podAddresses,
  podCidrsOf,
  podSpecFacts,
} from './pod-facts.ts';
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

/** One object and, when it came from a file, where its parts stand. */
export interface BuildInput {
  readonly object: KubeObject;
  readonly source?: SourceRange;
  locate?(path: string): SourceRange;
}

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

/** Groups and kinds that are read, and whether they live in a namespace. Policy kinds aside. */
const readKinds: Readonly<Record<string, { groups: readonly string[]; namespaced: boolean }>> = {
  Namespace: { groups: [''], namespaced: false },
  Node: { groups: [''], namespaced: false },
  Pod: { groups: [''], namespaced: true },
  ReplicationController: { groups: [''], namespaced: true },
  Service: { groups: [''], namespaced: true },
  Deployment: { groups: ['apps', 'extensions'], namespaced: true },
  ReplicaSet: { groups: ['apps', 'extensions'], namespaced: true },
  StatefulSet: { groups: ['apps'], namespaced: true },
  DaemonSet: { groups: ['apps', 'extensions'], namespaced: true },
  Job: { groups: ['batch'], namespaced: true },
  CronJob: { groups: ['batch'], namespaced: true },
  EndpointSlice: { groups: ['discovery.k8s.io'], namespaced: true },
  Ingress: { groups: ['networking.k8s.io', 'extensions'], namespaced: true },
  HTTPRoute: { groups: ['gateway.networking.k8s.io'], namespaced: true },
  GRPCRoute: { groups: ['gateway.networking.k8s.io'], namespaced: true },
};

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
    const policyKind = policyKindOf(apiVersion, kind);
    const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';
    const known = Object.hasOwn(readKinds, kind) ? readKinds[kind] : undefined;
    const isRead = policyKind !== undefined || known?.groups.includes(group) === true;
    if (!isRead) {
      const key = `${apiVersion}/${kind}`;
      unknownKinds.set(key, (unknownKinds.get(key) ?? 0) + 1);
      continue;
    }
    const namespaced = policyKind?.namespaced ?? known?.namespaced ?? false;
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
    if (policyKind === undefined) {
      diagnostics.push(...wrongTypes(input, namespace, plainName));
      diagnostics.push(...nameFaults(input, plainName));
    }
    const entry: Entry = {
      input,
      object: settled,
      namespace,
      name,
      policy: policyKind !== undefined,
    };
    const key = `${group}/${kind}/${namespace}/${name}`;
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

/** As the server has it for these kinds (S32, S33); policy kinds check their own metadata. */
function nameFaults(input: BuildInput, name: string | undefined): Diagnostic[] {
  const { kind, metadata } = input.object;
  const fault = (message: string): Diagnostic => ({
    ...diagnosticAt(input, 'invalid-object', 'error', message, 'metadata.name'),
    fieldPath: 'metadata.name',
    object: name === undefined ? kind : `${kind} ${name}`,
  });
  if (name === undefined || name === '') {
    const generated =
      at(metadata, 'name') !== undefined || at(metadata, 'generateName') !== undefined;
    return generated && name === undefined
      ? []
      : [fault('metadata.name: Required value: name or generateName is required')];
  }
  return isDns1123Subdomain(name).map((detail) =>
    fault(`metadata.name: Invalid value: ${JSON.stringify(name)}: ${detail}`),
  );
}

/** Where objects that are no policies hold the texts that selectors and names are compared with. */
const textPaths: readonly (readonly string[])[] = [
  ['metadata', 'name'],
  ['metadata', 'namespace'],
];
const textMapPaths: readonly (readonly string[])[] = [
  ['metadata', 'labels'],
  ['spec', 'template', 'metadata', 'labels'],
  ['spec', 'jobTemplate', 'spec', 'template', 'metadata', 'labels'],
];

/**
 * Names and labels that are no strings (`name: y`, `version: 1.10`): the server refuses the object, so
 * an answer without them would be about another cluster. Policies are checked against their schema.
 */
function wrongTypes(input: BuildInput, namespace: string, name: string | undefined): Diagnostic[] {
  const { object } = input;
  const found: Diagnostic[] = [];
  const check = (path: string, value: unknown): void => {
    if (value === undefined || value === null || typeof value === 'string') return;
    const shown = typeof value === 'object' ? 'a mapping or list' : JSON.stringify(value);
    const message = `${path}: must be a string, not ${shown}`;
    found.push({
      ...diagnosticAt(input, 'wrong-type', 'error', message, path),
      object: `${object.kind} ${namespace === '' ? '' : `${namespace}/`}${name ?? '(no name)'}`,
      hint: 'Put it in quotes; the server cannot decode the object and answers BadRequest.',
    });
  };
  for (const path of textPaths) check(path.join('.'), at(object, ...path));
  for (const path of textMapPaths) {
    const map = at(object, ...path);
    if (typeof map !== 'object' || map === null || Array.isArray(map)) continue;
    for (const [key, value] of Object.entries(map)) check(`${path.join('.')}[${key}]`, value);
  }
  return found;
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

function diagnosticAt(
  input: BuildInput,
  code: string,
  severity: Severity,
  message: string,
  path: string,
): Diagnostic {
  const range = input.locate?.(path) ?? input.source;
  return {
    code,
    severity,
    message,
    fieldPath: path,
    ...(range === undefined ? {} : { range }),
  };
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
      labels: withNameLabel(labelsOf(at(object.metadata, 'labels')), name),
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

function withNameLabel(labels: Labels, name: string): Labels {
  return labels[NAME_LABEL] === name ? labels : { ...labels, [NAME_LABEL]: name };
}

// --- pods and nodes -----------------------------------------------------------------------------

interface MutableNode {
  name: string;
  labels: Labels;
  addresses: Address[];
  internal: Address[];
  podCidrs: string[];
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
    const phase = textOf(at(object.status, 'phase'));
    const workload = refOf(entry);
    if (phase !== 'Succeeded' && phase !== 'Failed')
      alive.add(`${namespace}/${workload.kind}/${workload.name}`);
    let addresses: readonly Address[] = podAddresses(object);
    if (lost !== undefined) addresses = addresses.filter(({ value }) => !lost.has(value));
    // A hostNetwork pod has its node's addresses, known or not from its own status.
    if (facts.hostNetwork && addresses.length === 0 && facts.node !== undefined)
      addresses = nodes.get(facts.node)?.internal ?? [];
    const pod: PodInfo = {
      id: `${namespace}/${name}`,
      namespace,
      name,
      labels: labelsOf(at(object.metadata, 'labels')),
      addresses,
      ...facts,
      ...(phase === undefined ? {} : { phase }),
      workload,
      template: false,
      ...(entry.input.source === undefined ? {} : { source: entry.input.source }),
    };
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
      name,
      labels: labelsOf(at(object.metadata, 'labels')),
      addresses: nodeAddresses(object),
      internal: nodeAddresses(object, 'InternalIP'),
      podCidrs: podCidrsOf(object),
      implied: false,
      ...(input.source === undefined ? {} : { source: input.source }),
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
    const phase = at(entry.object.status, 'phase');
    // hostNetwork pods share their node's address; finished pods have given theirs back.
    if (at(entry.object.spec, 'hostNetwork') === true) continue;
    if (phase === 'Succeeded' || phase === 'Failed') continue;
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

/** Of two live pods with one address, whether `a` has it; never a matter of the order of input. */
function startedLater(a: Entry, b: Entry): boolean {
  const difference = startOf(a.object) - startOf(b.object);
  if (difference !== 0) return difference > 0;
  return `${a.namespace}/${a.name}` > `${b.namespace}/${b.name}`;
}

function startOf(object: KubeObject): number {
  const text =
    textOf(at(object.status, 'startTime')) ?? textOf(at(object.metadata, 'creationTimestamp'));
  const time = text === undefined ? NaN : Date.parse(text);
  return Number.isNaN(time) ? 0 : time;
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
