/**
 * Which policies have which peers in their rules, so that a change asks each distinct peer once and
 * not every policy. Must not know what a policy does with its peers.
 */
import type { Selector } from '../k8s/selector.ts';
import type { CompiledPeer, CompiledPolicy, Direction, Tier } from '../policy/compiled.ts';
import type { Classes, PeerClass } from './classes.ts';
import { endOf } from './ends.ts';
import type { AddressBook } from './ends.ts';
import { addressSetKey } from './mentions.ts';
import { matchesNamespace, matchesPeer } from './peers.ts';
import type { Snapshot } from './snapshot.ts';
import { selects } from './truth.ts';

export interface PeerUsers {
  /** Takes a policy in. One that is gone or different now does no harm: it is asked about in vain. */
  add(position: number, policy: CompiledPolicy): void;
  /**
   * Policies whose rules match one of the classes as a peer, or may, or read their port names; all
   * classes are of pods of one namespace. May name policies that are gone, or a few too many.
   */
  of(made: readonly PeerClass[], namespace: string): Set<number>;
}

interface PodUsers {
  readonly selector: Selector;
  readonly policies: Set<number>;
}

interface OtherUse {
  readonly position: number;
  readonly peer: CompiledPeer;
  readonly tier: Tier;
  readonly direction: Direction;
}

export function createPeerUsers(
  snapshot: Snapshot,
  book: AddressBook,
  classes: Classes,
): PeerUsers {
  /** By the name of the namespace, or by the selector of namespaces; then by the selector of pods. */
  const byName = new Map<string, Map<string, PodUsers>>();
  const bySelector = new Map<string, { selector: Selector; users: Map<string, PodUsers> }>();
  const byAddressSet = new Map<number, Set<number>>();
  const byPortName = new Map<string, Set<number>>();
  const others: OtherUse[] = [];

  const usersOf = ({
    namespaces,
  }: (CompiledPeer & { kind: 'pods' })['matcher']): Map<string, PodUsers> => {
    if ('name' in namespaces) return getOrMake(byName, namespaces.name, () => new Map());
    const { selector } = namespaces;
    return getOrMake(bySelector, selector.id, () => ({ selector, users: new Map() })).users;
  };

  return {
    add(position, policy) {
      for (const direction of ['Ingress', 'Egress'] as const)
        for (const { peers, ports } of policy.rules[direction]) {
          if (direction === 'Egress' && ports !== 'any')
            for (const port of ports)
              if (port.kind === 'named')
                getOrMake(byPortName, port.name, () => new Set()).add(position);
          if (peers === 'any') continue;
          for (const peer of peers)
            if (peer.kind === 'pods') {
              const selector = peer.matcher.pods;
              getOrMake(usersOf(peer.matcher), selector.id, () => ({
                selector,
                policies: new Set(),
              })).policies.add(position);
            } else if (peer.kind === 'addresses') {
              const index = classes.mentions.addressSetIndex.get(addressSetKey(peer.set)) ?? -1;
              getOrMake(byAddressSet, index, () => new Set()).add(position);
            } else others.push({ position, peer, tier: policy.tier, direction });
        }
    },
    of(made, namespace) {
      const found = new Set<number>();
      const take = (positions: Iterable<number> | undefined): void => {
        for (const position of positions ?? []) found.add(position);
      };
      const pods = made.flatMap(({ pod }) => pod ?? []);
      for (const { namedPorts } of pods)
        for (const { name } of namedPorts) take(byPortName.get(name));

      const takeUsers = (users: ReadonlyMap<string, PodUsers> | undefined): void => {
        for (const { selector, policies } of users?.values() ?? [])
          if (pods.some(({ labels }) => selects(selector, labels, true) !== 'no')) take(policies);
      };
      takeUsers(byName.get(namespace));
      const info = snapshot.namespaces.get(namespace);
      for (const { selector, users } of bySelector.values())
        if (matchesNamespace(selector, info, namespace) !== 'no') takeUsers(users);

      const views = made.flatMap(({ columns }) =>
        columns.flatMap((column) => classes.columns[column] ?? []),
      );
      // An address that is not known, or may be another by the time policy sees it, is in any set.
      if (
        snapshot.settings.ipBlockAddress === 'unknown' ||
        views.some(({ atoms }) => atoms.length === 0)
      )
        for (const positions of byAddressSet.values()) take(positions);
      else
        for (const atom of new Set(views.flatMap(({ atoms }) => atoms)))
          for (const index of classes.atoms.list[atom]?.sets ?? []) take(byAddressSet.get(index));

      const ends = made.flatMap(({ pod, columns }) =>
        columns.flatMap((column) => {
          const view = classes.columns[column];
          if (pod === undefined || view === undefined) return [];
          const { family, hostNetworkLikePods } = view;
          const variant = { ...(family === 0 ? {} : { family }), hostNetworkLikePods };
          return [endOf({ kind: 'pod', pod }, variant, snapshot.settings, book)];
        }),
      );
      for (const { position, peer, tier, direction } of others) {
        const context = { snapshot, book, direction, tier, throughService: false, missing: ignore };
        if (ends.some((end) => matchesPeer(peer, end, context) !== 'no')) found.add(position);
      }
      return found;
    },
  };
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}

function ignore(): void {
  // Only the answer counts here.
}
