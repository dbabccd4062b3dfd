/**
 * The lab's configuration: defaults, checks, and the address plan that follows from it. Must not
 * touch the machine.
 */
import { formatAddress, parseAddress } from '../net/address.ts';
import type { LabConfig, LabPort, OutsideHost, Stack } from './types.ts';
import { LabError } from './errors.ts';

const listens: readonly LabPort[] = [
  { protocol: 'TCP', port: 80 },
  { protocol: 'TCP', port: 443 },
  { protocol: 'TCP', port: 5978 },
  { protocol: 'TCP', port: 6379 },
  { protocol: 'UDP', port: 53 },
];

/** Where an outside host listens unless its entry says otherwise. */
export const defaultOutsidePorts: readonly LabPort[] = listens;

/** The world of the NetworkPolicy documentation: inside and outside of its ipBlock, its egress net, and the rest. */
export const defaultOutside: readonly OutsideHost[] = [
  { name: 'world-a', addresses: ['172.17.0.10', 'fd00:172:17::10'] },
  { name: 'world-b', addresses: ['172.17.1.10', 'fd00:172:17:1::10'] },
  { name: 'db-net', addresses: ['10.0.0.10', 'fd00:10::10'] },
  { name: 'internet', addresses: ['203.0.113.10', '2001:db8::10'] },
];

export const defaultLabConfig: LabConfig = {
  nodes: ['node-1', 'node-2'],
  stack: 'dual',
  wiring: 'routed',
  masquerade: false,
  outside: defaultOutside,
};

/** Addresses and CIDRs of one node. Index 4 or 6 is the family; absent when the stack lacks it. */
export interface NodePlan {
  readonly name: string;
  /** 1-based. */
  readonly index: number;
  readonly addresses: readonly string[];
  readonly podCidrs: readonly string[];
}

/** Pods one node can hold: a /24 without network, gateway and broadcast address. */
export const podsPerNode = 253;

const maxNodes = 200;

export function hasFamily(stack: Stack, family: 4 | 6): boolean {
  return stack === 'dual' || (family === 4 ? stack === 'ipv4' : stack === 'ipv6');
}

/** Fills in defaults and checks names and addresses. Throws `LabError` with the fault. */
export function completeLabConfig(config: Partial<LabConfig> = {}): LabConfig {
  const stack = config.stack ?? defaultLabConfig.stack;
  const wiring = config.wiring ?? defaultLabConfig.wiring;
  const masquerade = config.masquerade ?? defaultLabConfig.masquerade;
  const nodes = [...(config.nodes ?? defaultLabConfig.nodes)];
  const outside = (config.outside ?? defaultOutside).map((host) => completeHost(host, stack));
  if (nodes.length === 0 || nodes.length > maxNodes) {
    throw new LabError(`a lab has 1 to ${maxNodes} nodes, not ${nodes.length}`);
  }
  const names = new Set<string>();
  for (const name of [...nodes, ...outside.map((host) => host.name)]) {
    if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) {
      throw new LabError(`"${name}" is no name for a node or outside host: use a DNS label`);
    }
    if (names.has(name)) throw new LabError(`two nodes or outside hosts are called "${name}"`);
    names.add(name);
  }
  return { nodes, stack, wiring, masquerade, outside };
}

function completeHost(host: OutsideHost, stack: Stack): OutsideHost {
  const addresses: string[] = [];
  for (const text of host.addresses) {
    const address = parseAddress(text);
    if (address === undefined) {
      throw new LabError(`outside host ${host.name}: "${text}" is no IP address`);
    }
    if (hasFamily(stack, address.family)) addresses.push(formatAddress(address));
  }
  return { name: host.name, addresses, ports: host.ports ?? defaultOutsidePorts };
}

/** The nodes' own addresses (192.168.200.0/24, fd00:200::/64) and pod CIDRs (10.244.N.0/24, fd00:244:N::/64). */
export function planNodes(config: LabConfig): NodePlan[] {
  return config.nodes.map((name, position) => {
    const index = position + 1;
    const addresses: string[] = [];
    const podCidrs: string[] = [];
    if (hasFamily(config.stack, 4)) {
      addresses.push(`192.168.200.${10 + index}`);
      podCidrs.push(`10.244.${index}.0/24`);
    }
    if (hasFamily(config.stack, 6)) {
      addresses.push(`fd00:200::${(0x10 + index).toString(16)}`);
      podCidrs.push(`fd00:244:${index.toString(16)}::/64`);
    }
    return { name, index, addresses, podCidrs };
  });
}

/** Pods of all nodes, and the nodes with the wire between them: what is not the world. */
export const clusterRanges = {
  ipv4: ['10.244.0.0/16', '192.168.200.0/24'],
  ipv6: ['fd00:244::/32', 'fd00:200::/64'],
} as const;

/** Addresses of pod number `slot` (2..254) of a node, one per family of the stack. */
export function podAddresses(config: LabConfig, node: NodePlan, slot: number): string[] {
  const addresses: string[] = [];
  if (hasFamily(config.stack, 4)) addresses.push(`10.244.${node.index}.${slot}`);
  if (hasFamily(config.stack, 6)) {
    addresses.push(`fd00:244:${node.index.toString(16)}::${slot.toString(16)}`);
  }
  return addresses;
}

/** The node's own addresses in its pod CIDRs, used when pods hang on a bridge. */
export function podGateways(node: NodePlan): string[] {
  return node.podCidrs.map((cidr) => cidr.replace(/0?\/\d+$/, '1'));
}

export function familyOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4;
}
