/**
 * Whether a peer or a subject of a policy matches one end of a connection. Must not know of ports,
 * rules or tiers.
 */
import { containsAddress } from '../net/address-set.ts';
import type { AddressSet } from '../net/address-set.ts';
import type { Family } from '../net/address.ts';
import type { Selector } from '../k8s/selector.ts';
import type { CompiledPeer, Direction, PodMatcher, Tier } from '../policy/compiled.ts';
import type { AddressBook, End } from './ends.ts';
import type { NamespaceInfo, NodeInfo, Snapshot } from './snapshot.ts';
import { agreed, and, selects, truthOf } from './truth.ts';
import type { Truth } from './truth.ts';

/** What matching reads beside the end itself. */
export interface PeerContext {
  readonly snapshot: Snapshot;
  readonly book: AddressBook;
  readonly direction: Direction;
  readonly tier: Tier;
  readonly throughService: boolean;
  /** Collects the facts that a `maybe` lacks, one sentence each. */
  missing(sentence: string): void;
}

/** S98–S100, S103–S109, S253–S256: pods by the labels of their namespace and their own. */
export function matchesPod(
  matcher: PodMatcher,
  end: End,
  tier: Tier,
  snapshot: Snapshot,
  missing: (sentence: string) => void,
): Truth {
  const { pod } = end;
  if (pod === undefined) return 'no';
  if (end.onlyNetworkPolicy && tier !== 'NetworkPolicy') return 'no';
  const own = selects(matcher.pods, pod.labels, true);
  if (own === 'no') return 'no';
  if ('name' in matcher.namespaces) return truthOf(pod.namespace === matcher.namespaces.name);
  const namespace = matchesNamespace(
    matcher.namespaces.selector,
    snapshot.namespaces.get(pod.namespace),
    pod.namespace,
  );
  if (namespace === 'maybe')
    missing(
      `the labels of namespace ${pod.namespace} are not known: its Namespace object is not given`,
    );
  return and(namespace, own);
}

/** S98; the labels of an implied namespace are not known but for its name (S25). */
export function matchesNamespace(
  selector: Selector,
  namespace: NamespaceInfo | undefined,
  name: string,
): Truth {
  if (namespace === undefined) return selects(selector, { [NAME_LABEL]: name }, false);
  return selects(selector, namespace.labels, !namespace.implied);
}

/** The label that the control plane puts on every namespace (S25). */
export const NAME_LABEL = 'kubernetes.io/metadata.name';

/** Whether one peer matches the other end (S101–S118, S257–S263). */
export function matchesPeer(peer: CompiledPeer, end: End, context: PeerContext): Truth {
  switch (peer.kind) {
    case 'pods':
      if (end.service !== undefined) return behindService(end, context);
      return matchesPod(peer.matcher, end, context.tier, context.snapshot, context.missing);
    case 'addresses':
      if (end.service !== undefined) return behindService(end, context);
      return matchesAddresses(peer.set, end, context);
    case 'nodes':
      return matchesNodes(peer.selector, end, context);
    case 'domainNames':
      context.missing(
        `which addresses ${peer.names.join(', ')} stands for is known to DNS, not to this input`,
      );
      return 'maybe';
    case 'unusable':
      // Fail-closed handling needs the rule's action: see rules.ts (S266).
      return 'no';
  }
}

function behindService(end: End, context: PeerContext): Truth {
  const { namespace, name } = end.service ?? { namespace: '', name: '' };
  context.missing(
    `${end.name} is the cluster address of Service ${namespace}/${name}: policy sees the backend behind it`,
  );
  return 'maybe';
}

/** S113, S118, S258; S175 and S176 when the setting leaves NAT open. */
function matchesAddresses(set: AddressSet, end: End, context: PeerContext): Truth {
  const { snapshot, direction, tier } = context;
  const rewritten =
    snapshot.settings.ipBlockAddress === 'unknown' &&
    tier === 'NetworkPolicy' &&
    (direction === 'Ingress' ? end.pod === undefined : context.throughService);
  if (rewritten) {
    const any = inAny(set, end.family);
    if (any === 'maybe')
      context.missing(`whether the address of ${end.name} is rewritten on the way is not known`);
    return any;
  }
  if (end.addresses.length === 0) {
    const any = inAny(set, end.family);
    if (any === 'maybe') context.missing(`the address of ${end.name} is not known`);
    return any;
  }
  if (end.addresses.length === 1)
    return truthOf(containsAddress(set, end.addresses[0] as (typeof end.addresses)[number]));
  const answer = agreed(end.addresses.map((address) => truthOf(containsAddress(set, address))));
  if (answer === 'maybe') context.missing(`which of its addresses ${end.name} uses is not known`);
  return answer;
}

/** What a set says of an address of which at most the family is known. */
export function inAny(set: AddressSet, family: Family | undefined): Truth {
  if (family === 4) return fills(set.v4, 0, 0xffffffff);
  if (family === 6) return fills(set.v6, 0n, LAST_V6);
  return agreed([fills(set.v4, 0, 0xffffffff), fills(set.v6, 0n, LAST_V6)]);
}

const LAST_V6 = (1n << 128n) - 1n;

function fills<T extends number | bigint>(intervals: readonly T[], first: T, last: T): Truth {
  if (intervals.length === 0) return 'no';
  return intervals.length === 2 && intervals[0] === first && intervals[1] === last
    ? 'yes'
    : 'maybe';
}

/** S261, S262: by the address of the end, or by its node when only that is known. */
function matchesNodes(selector: Selector, end: End, context: PeerContext): Truth {
  if (end.pod !== undefined && !end.onlyNetworkPolicy) return 'no';
  const { snapshot, book } = context;
  if (end.addresses.length > 0) {
    const answer = agreed(
      end.addresses.map((address) => {
        const node = book.nodes.get(address.value);
        if (node !== undefined) return matchesNode(selector, node);
        return knowsNodes(snapshot) ? 'no' : 'maybe';
      }),
    );
    if (answer === 'maybe')
      context.missing(`which node has the address of ${end.name} is not known`);
    return answer;
  }
  const name = end.nodeName ?? end.pod?.node;
  const node = name === undefined ? undefined : snapshot.nodes.get(name);
  const answer = node === undefined ? 'maybe' : matchesNode(selector, node);
  if (answer === 'maybe') context.missing(`the node of ${end.name} is not known`);
  return answer;
}

export function matchesNode(selector: Selector, node: NodeInfo): Truth {
  return selects(selector, node.labels, node.implied !== true);
}

/** With at least one Node object, the list of nodes counts as complete. */
export function knowsNodes(snapshot: Snapshot): boolean {
  for (const node of snapshot.nodes.values()) if (node.implied !== true) return true;
  return false;
}
