/**
 * What policy needs to know of a pod or of a pod template: ports, addresses, node. Must not know of
 * owners or other objects.
 */
import { parseAddress } from '../net/address.ts';
import type { Address } from '../net/address.ts';
import type { Protocol } from '../net/connection-set.ts';
import type { KubeObject } from '../k8s/types.ts';
import { at, listOf, numberOf, recordOf, textOf, textsOf } from './json.ts';
import type { NamedPort } from './snapshot.ts';

export interface PodSpecFacts {
  readonly hostNetwork: boolean;
  readonly node?: string;
  readonly namedPorts: readonly NamedPort[];
  readonly declaredPorts: readonly { readonly port: number; readonly protocol: Protocol }[];
}

/**
 * Ports of containers, and of init containers that keep running beside them (`restartPolicy:
 * Always`); other init containers are gone when the pod serves (S136 leaves it open).
 */
export function podSpecFacts(spec: unknown): PodSpecFacts {
  const containers = [
    ...listOf(at(spec, 'containers')),
    ...listOf(at(spec, 'initContainers')).filter(
      (container) => at(container, 'restartPolicy') === 'Always',
    ),
  ];
  const namedPorts: NamedPort[] = [];
  const declaredPorts: { port: number; protocol: Protocol }[] = [];
  for (const container of containers)
    for (const entry of listOf(at(container, 'ports'))) {
      const port = numberOf(at(entry, 'containerPort'));
      const protocol = protocolOf(at(entry, 'protocol'));
      if (port === undefined || protocol === undefined) continue;
      declaredPorts.push({ port, protocol });
      const name = textOf(at(entry, 'name'));
      if (name !== undefined) namedPorts.push({ name, port, protocol });
    }
  const node = textOf(at(spec, 'nodeName'));
  return {
    hostNetwork: at(spec, 'hostNetwork') === true,
    ...(node === undefined ? {} : { node }),
    namedPorts,
    declaredPorts,
  };
}

/** TCP when absent; undefined for anything that policy has no name for. */
export function protocolOf(value: unknown): Protocol | undefined {
  if (value === undefined || value === null) return 'TCP';
  return value === 'TCP' || value === 'UDP' || value === 'SCTP' ? value : undefined;
}

/** Addresses from `status.podIPs`, or `podIP` when that is all there is. */
export function podAddresses(pod: KubeObject): Address[] {
  const status = recordOf(pod.status);
  const texts = listOf(status['podIPs']).map((entry) => textOf(at(entry, 'ip')));
  return addressesOf(texts.some((text) => text !== undefined) ? texts : [textOf(status['podIP'])]);
}

/** Addresses of the pod's node as the pod's status tells them. */
export function hostAddresses(pod: KubeObject): Address[] {
  const status = recordOf(pod.status);
  const texts = listOf(status['hostIPs']).map((entry) => textOf(at(entry, 'ip')));
  return addressesOf([...texts, textOf(status['hostIP'])]);
}

/** The texts that are addresses, without repeats. */
export function addressesOf(texts: readonly (string | undefined)[]): Address[] {
  const found = new Map<number | bigint, Address>();
  for (const text of texts) {
    const address = text === undefined ? undefined : parseAddress(text);
    if (address !== undefined && !found.has(address.value)) found.set(address.value, address);
  }
  return [...found.values()];
}

/** `status.addresses` of a Node: every type that is an IP address (S261). */
export function nodeAddresses(node: KubeObject, type?: string): Address[] {
  return addressesOf(
    listOf(at(node.status, 'addresses'))
      .filter((entry) => type === undefined || at(entry, 'type') === type)
      .map((entry) => textOf(at(entry, 'address'))),
  );
}

export function podCidrsOf(node: KubeObject): string[] {
  const list = textsOf(at(node.spec, 'podCIDRs'));
  const single = textOf(at(node.spec, 'podCIDR'));
  return list.length > 0 || single === undefined ? list : [single];
}
