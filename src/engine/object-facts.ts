/**
 * What follows from one object alone: its kind and place, faults of its metadata, and the facts of
 * pods, nodes and namespaces. Must not know of other objects.
 */
import type { Diagnostic, Severity, SourceRange } from '../k8s/diagnostic.ts';
import { isDns1123Subdomain } from '../k8s/names.ts';
import type { KubeObject, Labels } from '../k8s/types.ts';
import type { Address } from '../net/address.ts';
import { policyKindOf } from '../policy/index.ts';
import { at, labelsOf, textOf } from './json.ts';
import { NAME_LABEL } from './peers.ts';
import { nodeAddresses, podCidrsOf } from './pod-facts.ts';
import type { PodSpecFacts } from './pod-facts.ts';
import type { NodeInfo, PodInfo } from './snapshot.ts';

/** One object and, when it came from a file, where its parts stand. */
export interface BuildInput {
  readonly object: KubeObject;
  readonly source?: SourceRange;
  locate?(path: string): SourceRange;
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

/** How objects of a kind are told apart. */
export interface ObjectKind {
  /** API group; versions of one group are one kind. */
  readonly group: string;
  readonly namespaced: boolean;
  readonly policy: boolean;
}

/** Undefined: a kind that is not read. */
export function kindOf({
  apiVersion,
  kind,
}: Pick<KubeObject, 'apiVersion' | 'kind'>): ObjectKind | undefined {
  const policyKind = policyKindOf(apiVersion, kind);
  const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';
  if (policyKind !== undefined) return { group, namespaced: policyKind.namespaced, policy: true };
  const known = Object.hasOwn(readKinds, kind) ? readKinds[kind] : undefined;
  if (known?.groups.includes(group) !== true) return undefined;
  return { group, namespaced: known.namespaced, policy: false };
}

/** Equal for objects of which only one can exist. */
export function objectKey(
  { group }: ObjectKind,
  kind: string,
  namespace: string,
  name: string,
): string {
  return `${group}/${kind}/${namespace}/${name}`;
}

/** Faults of an object that is no policy; those check their own metadata. */
export function objectFaults(
  input: BuildInput,
  namespace: string,
  name: string | undefined,
): Diagnostic[] {
  return [...wrongTypes(input, namespace, name), ...nameFaults(input, name)];
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

export function diagnosticAt(
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

/** Labels of a namespace; the name label is always there (S25). */
export function namespaceLabels(object: KubeObject, name: string): Labels {
  return withNameLabel(labelsOf(at(object.metadata, 'labels')), name);
}

export function withNameLabel(labels: Labels, name: string): Labels {
  return labels[NAME_LABEL] === name ? labels : { ...labels, [NAME_LABEL]: name };
}

export function nodeInfoOf(object: KubeObject, name: string, source?: SourceRange): NodeInfo {
  return {
    name,
    labels: labelsOf(at(object.metadata, 'labels')),
    addresses: nodeAddresses(object),
    podCidrs: podCidrsOf(object),
    ...(source === undefined ? {} : { source }),
  };
}

export function podInfoOf(
  object: KubeObject,
  place: {
    readonly namespace: string;
    readonly name: string;
    readonly workload: PodInfo['workload'];
    readonly source?: SourceRange;
  },
  facts: PodSpecFacts,
  addresses: readonly Address[],
): PodInfo {
  const phase = textOf(at(object.status, 'phase'));
  const { namespace, name, workload, source } = place;
  return {
    id: `${namespace}/${name}`,
    namespace,
    name,
    labels: labelsOf(at(object.metadata, 'labels')),
    addresses,
    ...facts,
    ...(phase === undefined ? {} : { phase }),
    workload,
    template: false,
    ...(source === undefined ? {} : { source }),
  };
}

/** Phase Succeeded or Failed: what had an address has given it back (S195). */
export function isFinishedObject(pod: KubeObject): boolean {
  const phase = at(pod.status, 'phase');
  return phase === 'Succeeded' || phase === 'Failed';
}

/** What decides between live pods that claim one address. */
export interface Claimant {
  readonly object: KubeObject;
  readonly namespace: string;
  readonly name: string;
}

/** Of two live pods with one address, whether `a` has it; never a matter of the order of input. */
export function startedLater(a: Claimant, b: Claimant): boolean {
  const difference = startOf(a.object) - startOf(b.object);
  if (difference !== 0) return difference > 0;
  return `${a.namespace}/${a.name}` > `${b.namespace}/${b.name}`;
}

export function startOf(object: KubeObject): number {
  const text =
    textOf(at(object.status, 'startTime')) ?? textOf(at(object.metadata, 'creationTimestamp'));
  const time = text === undefined ? NaN : Date.parse(text);
  return Number.isNaN(time) ? 0 : time;
}
