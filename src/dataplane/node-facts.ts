/**
 * What a node's program takes from the cluster beside rules: which pods are local, in which order
 * policies stand, which pods are closed and who may deny. Must not know where the facts are kept.
 */
import type { Address, Family } from '../net/address.ts';
import { addressSetFrom, containsAddress } from '../net/address-set.ts';
import type { AddressSet } from '../net/address-set.ts';
import { formatCidr, parseCidr } from '../net/cidr.ts';
import { matches, selectorEverything } from '../k8s/selector.ts';
import type { Labels } from '../k8s/types.ts';
import { NAME_LABEL } from '../engine/peers.ts';
import type { NodeInfo, PodInfo, Settings } from '../engine/snapshot.ts';
import type { CompiledPolicy, Direction, PodMatcher, PolicyRef } from '../policy/compiled.ts';
import type { DataplaneOptions, LocalPod, NodeProgram } from './model.ts';

export const families: readonly Family[] = [4, 6];

export const directions: readonly Direction[] = ['Ingress', 'Egress'];

export function isFinished(pod: PodInfo): boolean {
  return pod.phase === 'Succeeded' || pod.phase === 'Failed';
}

/** The labels of a namespace; of one without object only the name is known (S25). */
export function namespaceLabelsOf(labels: Labels | undefined, name: string): Labels {
  return labels ?? { [NAME_LABEL]: name };
}

export function matchesPod(matcher: PodMatcher, pod: PodInfo, namespaceLabels: Labels): boolean {
  const { namespaces, pods } = matcher;
  if ('name' in namespaces) {
    if (namespaces.name !== pod.namespace) return false;
  } else if (!matches(namespaces.selector, namespaceLabels)) return false;
  return matches(pods, pod.labels);
}

export interface PodRanges {
  readonly texts: NodeProgram['podCidrs'];
  readonly set: AddressSet;
  readonly warnings: readonly string[];
}

/** The pod ranges of a node, and sentences about what is missing or wrong in them. */
export function podRangesOf(
  nodeName: string,
  node: NodeInfo | undefined,
  options: DataplaneOptions,
): PodRanges {
  const warnings: string[] = [];
  const texts: { 4: string[]; 6: string[] } = { 4: [], 6: [] };
  const cidrs = [];
  for (const text of node?.podCidrs ?? []) {
    const parsed = parseCidr(text);
    if (!parsed.ok) {
      warnings.push(`node ${nodeName}: pod range ${text} is not a CIDR (${parsed.fault})`);
      continue;
    }
    const canonical = formatCidr(parsed.cidr);
    const list = texts[parsed.cidr.family];
    if (!list.includes(canonical)) list.push(canonical);
    cidrs.push(parsed.cidr);
  }
  if (options.unknownPod === 'deny' && cidrs.length === 0)
    warnings.push(
      `node ${nodeName} has no pod range (spec.podCIDRs): pods that are not announced yet cannot be told from other addresses and are not denied`,
    );
  return {
    texts: { 4: texts[4].sort(), 6: texts[6].sort() },
    set: addressSetFrom(cidrs),
    warnings,
  };
}

/** A pod without a node counts as local when its address lies in the node's pod ranges. */
export function isLocal(
  pod: PodInfo,
  addresses: readonly Address[],
  nodeName: string,
  podRange: AddressSet,
): boolean {
  if (pod.node !== undefined) return pod.node === nodeName;
  return addresses.some((address) => containsAddress(podRange, address));
}

/** Parts of the frame that follow from settings. */
export function frameSettings(settings: Settings): NodeProgram['frame'] {
  return {
    podToOwnNode: settings.podToOwnNode === 'allow' ? 'allow' : 'policy',
    selfThroughService: settings.selfThroughService === 'allow' ? 'allow' : 'policy',
  };
}

/** Order inside a tier is what decides between policies that both match (S277, S289, S290). */
export function comparePolicies(a: CompiledPolicy, b: CompiledPolicy): number {
  return (
    a.priority - b.priority ||
    compareText(a.ref.name, b.ref.name) ||
    compareText(a.ref.key, b.ref.key)
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A policy that cannot be enforced, and the pods that are therefore closed. */
export interface Closer {
  readonly ref: PolicyRef;
  readonly closes: PodMatcher;
}

/**
 * Closes what faulty policies could select: of an invalid one that cannot be told, so it is its
 * namespace, or everything; of one that was set aside it is known.
 */
export function closersOf(
  invalid: readonly PolicyRef[],
  setAside: readonly CompiledPolicy[],
  options: DataplaneOptions,
): Closer[] {
  if (options.invalidPolicies === 'ignore') return [];
  const closers = invalid.map((ref): Closer => {
    const namespaces =
      ref.namespace === undefined ? { selector: selectorEverything } : { name: ref.namespace };
    return { ref, closes: { namespaces, pods: selectorEverything } };
  });
  for (const { ref, subject } of setAside) closers.push({ ref, closes: subject });
  return closers.sort((a, b) => compareText(a.ref.key, b.ref.key));
}

/** Names of the policies that may deny a pod's traffic; `closers` are those that close this pod. */
export function judgedBy(
  policies: readonly CompiledPolicy[],
  closers: readonly Closer[],
): LocalPod['judgedBy'] {
  if (closers.length > 0) {
    const names = closers.map(({ ref }) => `${policyName(ref)} (not valid)`);
    return { Ingress: names, Egress: names };
  }
  const judging = (direction: Direction): string[] =>
    policies
      .filter((policy) =>
        policy.tier === 'NetworkPolicy'
          ? policy.isolates[direction]
          : policy.rules[direction].some((rule) => rule.action === 'Deny'),
      )
      .map((policy) => policyName(policy.ref));
  return { Ingress: judging('Ingress'), Egress: judging('Egress') };
}

/** `Kind namespace/name`, as reports name a policy. */
export function policyName({ kind, namespace, name }: PolicyRef): string {
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}
