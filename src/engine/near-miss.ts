/**
 * For a direction that nothing admits: which rules came close, and what they lacked. Reads verdicts
 * and compiled policies; must not know of output or of the text of manifests.
 */
import type {
  CompiledPolicy,
  CompiledRule,
  Direction,
  PodMatcher,
  PolicyRef,
} from '../policy/compiled.ts';
import { matches } from '../k8s/selector.ts';
import { createAddressBook, endOf, ownerOf, type AddressBook, type End } from './ends.ts';
import { matchesPod, type PeerContext } from './peers.ts';
import type { Target } from './ports.ts';
import { editDistance } from './reference.ts';
import { matchesRule } from './rules.ts';
import type { Snapshot } from './snapshot.ts';
import type { Connection, Leg } from './verdict.ts';

export interface NearMiss {
  readonly direction: Direction;
  readonly policy: PolicyRef;
  readonly rule: CompiledRule;
  /** What the policy selects. */
  readonly subject: PodMatcher;
  /**
   * `ports`: the peer is admitted, on other ports. `peers`: the port is admitted, for other peers.
   * `subject`: the rule would admit, but its policy selects other pods. `both`: the only rule of an
   * isolating policy matches neither; kept only when nothing came closer.
   */
  readonly lacks: 'ports' | 'peers' | 'subject' | 'both';
}

const order = { ports: 0, subject: 1, peers: 2, both: 3 } as const;

/** Values that differ by more are different names, not a slip of the pen. */
const slip = 2;

/**
 * Near misses of the legs that are closed because no rule admits, closest first. O(policies of the
 * subject's namespace × their rules).
 */
export function nearMisses(
  snapshot: Snapshot,
  connection: Connection,
  legs: readonly Leg[],
): NearMiss[] {
  const book = createAddressBook(snapshot);
  const found = legs
    .filter((leg) => leg.reason === 'none-admits')
    .flatMap((leg) => missesOf(snapshot, book, connection, leg));
  const sorted = found.toSorted((a, b) => order[a.lacks] - order[b.lacks]);
  const close = sorted.filter((miss) => miss.lacks !== 'both');
  return close.length > 0 ? close : sorted;
}

function missesOf(
  snapshot: Snapshot,
  book: AddressBook,
  connection: Connection,
  leg: Leg,
): NearMiss[] {
  const { direction } = leg;
  const variant = { hostNetworkLikePods: false };
  const source = endOf(ownerOf(connection.source, book), variant, snapshot.settings, book);
  const destination = endOf(
    ownerOf(connection.destination, book),
    variant,
    snapshot.settings,
    book,
  );
  const subject = direction === 'Egress' ? source : destination;
  const other = direction === 'Egress' ? destination : source;
  const target: Target = {
    protocol: connection.protocol,
    ...(connection.port === undefined ? {} : { port: connection.port }),
    ...(destination.pod === undefined ? {} : { pod: destination.pod }),
  };
  const isolating = new Set(leg.isolatedBy.map((ref) => ref.key));
  return snapshot.policies.flatMap((policy): NearMiss[] => {
    if (policy.tier !== 'NetworkPolicy' || !policy.isolates[direction]) return [];
    if (policy.ref.namespace !== subject.pod?.namespace) return [];
    const context = contextOf(snapshot, book, policy, direction, connection);
    const selected = isolating.has(policy.ref.key) || selectsSubject(policy, subject, snapshot);
    return policy.rules[direction].flatMap((rule): NearMiss[] => {
      const lacks = lack(rule, other, target, context, selected);
      if (lacks === 'subject' && !almostSelects(policy, subject)) return [];
      return lacks === undefined
        ? []
        : [{ direction, policy: policy.ref, rule, subject: policy.subject, lacks }];
    });
  });
}

function contextOf(
  snapshot: Snapshot,
  book: AddressBook,
  policy: CompiledPolicy,
  direction: Direction,
  connection: Connection,
): PeerContext {
  return {
    snapshot,
    book,
    direction,
    tier: policy.tier,
    throughService: connection.throughService === true,
    missing: () => {},
  };
}

function selectsSubject(policy: CompiledPolicy, subject: End, snapshot: Snapshot): boolean {
  return matchesPod(policy.subject, subject, policy.tier, snapshot, () => {}) === 'yes';
}

/** All requirements hold but one, and that one by a value close to the pod's own. */
function almostSelects(policy: CompiledPolicy, { pod }: End): boolean {
  if (pod === undefined) return false;
  const failing = policy.subject.pods.requirements.filter(
    (requirement) => !matches({ ...policy.subject.pods, requirements: [requirement] }, pod.labels),
  );
  const [only] = failing;
  const own = only === undefined ? undefined : pod.labels[only.key];
  return (
    failing.length === 1 &&
    own !== undefined &&
    only?.operator === 'In' &&
    only.values.some((value) => editDistance(value, own) <= slip)
  );
}

function lack(
  rule: CompiledRule,
  other: End,
  target: Target,
  context: PeerContext,
  selected: boolean,
): NearMiss['lacks'] | undefined {
  const peers = matchesRule({ ...rule, ports: 'any' }, other, target, context).truth === 'yes';
  const ports = matchesRule({ ...rule, peers: 'any' }, other, target, context).truth === 'yes';
  if (!selected) return peers && ports ? 'subject' : undefined;
  if (peers) return 'ports';
  return ports ? 'peers' : 'both';
}
