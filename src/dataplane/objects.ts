/**
 * The kernel objects of one program while it is made, and the names of the address sets it asks
 * for. Must not know which addresses are in those sets, but where a name is made of them.
 */
import type { Family } from '../net/address.ts';
import type { AddressSet } from '../net/address-set.ts';
import type { Protocol } from '../net/connection-set.ts';
import type { Selector } from '../k8s/selector.ts';
import type { CompiledPort, CompiledRule, PodMatcher } from '../policy/compiled.ts';
import type { Chain, PortMap, Rule } from './model.ts';
import { nameOf } from './naming.ts';

/** Known addresses that change with the cluster, named by what selects them. */
export interface GroupPeer {
  readonly kind: 'group';
  readonly key: string;
  readonly about: string;
}

/** Addresses that a peer stands for. */
export type Peer =
  { readonly kind: 'any' } | GroupPeer | { readonly kind: 'addresses'; readonly set: AddressSet };

export type NamedPortOfPolicy = CompiledPort & { readonly kind: 'named' };

/** Destinations that have one number under a port's name. */
export interface NamedPortGroup {
  readonly number: number;
  readonly protocol: Protocol;
  readonly group: GroupPeer;
}

/** What a program asks of the cluster while it is made. */
export interface PeerBook {
  /** Families that some pod uses: rules for another one could never be reached. */
  readonly families: readonly Family[];
  podGroup(matcher: PodMatcher): GroupPeer;
  nodeGroup(selector: Selector): GroupPeer;
  /** Destinations among `peers` by the number that they have under a port's name (S133, S134). */
  namedPortGroups(peers: CompiledRule['peers'], port: NamedPortOfPolicy): readonly NamedPortGroup[];
  /** The addresses of a group at this moment: whoever asks must be made again when they change. */
  frozen(key: string, family: Family): Iterable<string>;
}

/** A set to be. `live`: it always holds the addresses of these groups; `fixed`: these elements. */
export interface GroupDraft {
  readonly name: string;
  readonly family: Family;
  readonly kind: 'members' | 'ranges';
  readonly content:
    | { readonly kind: 'live'; readonly keys: readonly string[] }
    | { readonly kind: 'fixed'; readonly elements: ReadonlySet<string> };
  readonly about: string;
}

export interface Objects {
  readonly book: PeerBook;
  readonly groups: ReadonlyMap<string, GroupDraft>;
  readonly chains: ReadonlyMap<string, Chain>;
  readonly portMaps: ReadonlyMap<string, PortMap>;
  /** Name of the set of all addresses of these groups, given as key and words. */
  group(members: readonly (readonly [string, string])[], family: Family, frozen: boolean): string;
  ranges(list: readonly { from: string; to: string }[], family: Family): string;
  portMap(entries: ReadonlyMap<number, string>): string;
  /** Where to go for these rules: a new chain, or directly the target of a lone jump. */
  target(prefix: string, rules: readonly Rule[], about: string): string;
}

export function createObjects(book: PeerBook): Objects {
  const groups = new Map<string, GroupDraft>();
  const chains = new Map<string, Chain>();
  const portMaps = new Map<string, PortMap>();
  return {
    book,
    groups,
    chains,
    portMaps,
    group: (list, family, frozen) => {
      const keys = list.map(([key]) => key);
      const elements = new Set<string>();
      if (frozen)
        for (const key of keys) for (const text of book.frozen(key, family)) elements.add(text);
      const name = frozen
        ? nameOf(`f${family}`, [...elements].sort().join(','))
        : nameOf(`s${family}`, ...keys);
      if (!groups.has(name))
        groups.set(name, {
          name,
          family,
          kind: 'members',
          content: frozen ? { kind: 'fixed', elements } : { kind: 'live', keys },
          about: list.map(([, about]) => about).join(' or '),
        });
      return name;
    },
    ranges: (list, family) => {
      const elements = list.map(({ from, to }) => (from === to ? from : `${from}-${to}`));
      const name = nameOf(`r${family}`, elements.join(','));
      if (!groups.has(name))
        groups.set(name, {
          name,
          family,
          kind: 'ranges',
          content: { kind: 'fixed', elements: new Set(elements) },
          about: 'ipBlock',
        });
      return name;
    },
    portMap: (entries) => {
      const name = nameOf('p', JSON.stringify([...entries]));
      if (!portMaps.has(name)) portMaps.set(name, { name, entries });
      return name;
    },
    target: (prefix, rules, about) => {
      const [first] = rules;
      if (first?.kind === 'goto' && first.when.length === 0) return first.target;
      const name = nameOf(prefix, JSON.stringify(rules));
      if (!chains.has(name)) chains.set(name, { name, rules, about });
      return name;
    },
  };
}

/**
 * Of two descriptions of one object the one that stands: it must not depend on who came first.
 */
export function smallerText(a: string, b: string): string {
  return b < a ? b : a;
}

// --- names of groups --------------------------------------------------------------------------

export function podPeer(matcher: PodMatcher): GroupPeer {
  return {
    kind: 'group',
    key: `pods ${matcherId(matcher)}`,
    about: aboutMatcher(matcher),
  };
}

export function nodePeer(selector: Selector): GroupPeer {
  return { kind: 'group', key: `nodes ${selector.id}`, about: `nodes ${selector.text}` };
}

/** Equal for peers that stand for the same destinations; nodes and names have no named ports. */
export function destinationsId(peers: CompiledRule['peers']): string {
  if (peers === 'any') return 'any';
  const ids: string[] = [];
  for (const peer of peers)
    if (peer.kind === 'pods') ids.push(`pods ${matcherId(peer.matcher)}`);
    else if (peer.kind === 'addresses')
      ids.push(`addresses ${peer.set.v4.join(',')} ${peer.set.v6.join(',')}`);
  return ids.sort().join('\u0003');
}

/** Of destinations with this id, those that have `number` under the port's name. */
export function namedPortPeer(
  port: NamedPortOfPolicy,
  number: number,
  protocol: Protocol,
  destinations: string,
): GroupPeer {
  return {
    kind: 'group',
    key: `named ${port.name} ${number} ${protocol} ${destinations}`,
    about: `port ${port.name} = ${protocol} ${number}`,
  };
}

export function isNamed(
  named: { readonly name: string; readonly protocol: Protocol },
  port: NamedPortOfPolicy,
): boolean {
  return (
    named.name === port.name && (port.protocol === undefined || port.protocol === named.protocol)
  );
}

function matcherId(matcher: PodMatcher): string {
  const { namespaces, pods } = matcher;
  return 'name' in namespaces
    ? `in ${namespaces.name} ${pods.id}`
    : `where ${namespaces.selector.id} \u0004 ${pods.id}`;
}

function aboutMatcher(matcher: PodMatcher): string {
  const { namespaces, pods } = matcher;
  const where = 'name' in namespaces ? namespaces.name : `{${namespaces.selector.text}}`;
  return `pods {${pods.text}} in ${where}`;
}
