/**
 * Everything outside the cluster, cut into the few address ranges that policies tell apart. Must not
 * know of ports, rules or verdicts.
 */
import {
  addressSetOf,
  allAddresses,
  intersect,
  isEmptyAddressSet,
  subtract,
  toRanges,
  type AddressSet,
} from '../net/address-set.ts';
import type { Address } from '../net/address.ts';
import type { CompiledPolicy } from '../policy/compiled.ts';
import type { Snapshot } from './snapshot.ts';

/** The addresses that no pod and no node of the snapshot has. */
export function worldOf(snapshot: Snapshot): AddressSet {
  const owned = [
    ...snapshot.pods.flatMap((pod) => pod.addresses),
    ...[...snapshot.nodes.values()].flatMap((node) => node.addresses),
    ...snapshot.services.flatMap((service) => service.clusterIps),
  ];
  return subtract(allAddresses, addressSetOf(...owned));
}

/**
 * Cuts a set so that every policy of the list treats all addresses of one part alike. Parts are
 * disjoint, together the whole. O(parts × address sets).
 */
export function cutByPolicies(set: AddressSet, policies: readonly CompiledPolicy[]): AddressSet[] {
  let parts = [set];
  for (const peer of addressPeers(policies)) {
    parts = parts.flatMap((part) =>
      [intersect(part, peer), subtract(part, peer)].filter((piece) => !isEmptyAddressSet(piece)),
    );
  }
  return parts;
}

function addressPeers(policies: readonly CompiledPolicy[]): AddressSet[] {
  const sets: AddressSet[] = [];
  for (const policy of policies) {
    for (const rule of [...policy.rules.Ingress, ...policy.rules.Egress]) {
      if (rule.peers === 'any') continue;
      for (const peer of rule.peers) if (peer.kind === 'addresses') sets.push(peer.set);
    }
  }
  return sets;
}

/** Any one address of each family that the set has. */
export function representatives(set: AddressSet): Address[] {
  const found: Address[] = [];
  for (const { from } of toRanges(set)) {
    if (!found.some((address) => address.family === from.family)) found.push(from);
  }
  return found;
}
