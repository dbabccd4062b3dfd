/**
 * Answers one question: may this connection come up, and why (S354–S359)? Both legs are always
 * computed. Must not know of manifests or output.
 */
import type { Address } from '../net/address.ts';
import type { Protocol } from '../net/connection-set.ts';
import type { CompiledPolicy, Direction } from '../policy/compiled.ts';
import { decideDirection } from './direction.ts';
import type { Exemption } from './direction.ts';
import { createAddressBook, endOf, ownerOf, variantsOf } from './ends.ts';
import type { End, Variant } from './ends.ts';
import { createPolicyIndex } from './policy-index.ts';
import type { Target } from './ports.ts';
import type { PodInfo, Snapshot } from './snapshot.ts';
import type { Truth } from './truth.ts';
import type { Connection, Endpoint, Leg, Outcome, Verdict } from './verdict.ts';

export interface Evaluator {
  evaluate(connection: Connection): Verdict;
  /**
   * The policies that select the pod and concern the direction, in order of evaluation: those that
   * isolate it (S139) and those of the other tiers with rules for it (S288).
   */
  policiesOf(pod: PodInfo, direction: Direction): CompiledPolicy[];
}

/** Indexes a snapshot; one evaluator answers any number of questions about it. */
export function createEvaluator(snapshot: Snapshot): Evaluator {
  const { settings } = snapshot;
  const book = createAddressBook(snapshot);
  const index = createPolicyIndex(snapshot);

  const decide = (connection: Connection, ends: Ends, direction: Direction): Leg => {
    const { source, destination } = ends;
    const subject = direction === 'Egress' ? source : destination;
    const other = direction === 'Egress' ? destination : source;
    if (subject.pod === undefined) return legOf(direction, 'not-applicable');
    const self = ends.samePod;
    const throughService = connection.throughService === true;
    // S165–S167, S303, S354: its own pod IP and loopback are outside policy.
    if (self === 'yes' && !throughService) return legOf(direction, 'self');

    const ownNode = onNodeOf(subject.pod, other);
    // S160, S188, S356: whatever the policies say.
    if (direction === 'Ingress' && ownNode === 'yes') return legOf(direction, 'own-node');

    const target: Target = {
      protocol: connection.protocol,
      ...(connection.port === undefined ? {} : { port: connection.port }),
      ...(destination.pod === undefined ? {} : { pod: destination.pod }),
    };
    const exemption = exemptionOf(direction, self, ownNode, subject, other);
    const leg = decideDirection({
      direction,
      subject,
      other,
      target,
      throughService,
      ...(exemption === undefined ? {} : { exemption }),
      snapshot,
      book,
      index,
    });
    if (direction === 'Ingress' && ownNode === 'maybe' && leg.outcome !== 'allowed')
      return unknownLeg(leg, [
        ...(leg.missing ?? []),
        `whether ${other.name} is on the node of ${subject.name} is not known`,
      ]);
    return leg;
  };

  const exemptionOf = (
    direction: Direction,
    self: Truth,
    ownNode: Truth,
    subject: End,
    other: End,
  ): Exemption | undefined => {
    if (self === 'yes')
      return {
        truth: 'yes',
        choice: settings.selfThroughService,
        reason: 'self',
        fact: `whether NetworkPolicy applies to ${subject.name} when a Service leads it back to itself`,
      };
    if (direction === 'Egress' && ownNode !== 'no')
      return {
        truth: ownNode,
        choice: settings.podToOwnNode,
        reason: 'own-node',
        fact: `whether NetworkPolicy applies to ${subject.name} towards ${other.name}, which is or may be its own node`,
      };
    return undefined;
  };

  return {
    evaluate(connection) {
      const from = ownerOf(connection.source, book);
      const to = ownerOf(connection.destination, book);
      const samePod = isSamePod(from, to);
      let egress: Leg | undefined;
      let ingress: Leg | undefined;
      let outcome: Outcome | undefined;
      for (const variant of variantsOf(from, to, settings)) {
        const ends: Ends = {
          source: endOf(from, variant, settings, book),
          destination: endOf(to, variant, settings, book),
          samePod,
        };
        const out = decide(connection, ends, 'Egress');
        const into = decide(connection, ends, 'Ingress');
        egress = merge(egress, out, variant);
        ingress = merge(ingress, into, variant);
        // By variant, not from the merged legs: closed by egress in IPv4 and by ingress in IPv6 is
        // closed, although neither leg is known.
        const whole = both(out.outcome, into.outcome);
        outcome = outcome === undefined || outcome === whole ? whole : 'unknown';
      }
      // variantsOf is never empty.
      return { outcome: outcome as Outcome, egress: egress as Leg, ingress: ingress as Leg };
    },

    policiesOf(pod, direction) {
      const variant: Variant = { hostNetworkLikePods: false };
      const end = endOf({ kind: 'pod', pod }, variant, settings, book);
      return (['Admin', 'NetworkPolicy', 'Baseline'] as const).flatMap((tier) =>
        index
          .selecting(end, tier)
          .map(({ policy }) => policy)
          .filter((policy) =>
            tier === 'NetworkPolicy'
              ? policy.isolates[direction]
              : policy.rules[direction].length > 0,
          ),
      );
    },
  };
}

interface Ends {
  readonly source: End;
  readonly destination: End;
  readonly samePod: Truth;
}

/**
 * Two ends with one template id are different pods of it, unless it makes only one (S165 is about
 * one pod).
 */
function isSamePod(a: Endpoint, b: Endpoint): Truth {
  if (a.kind !== 'pod' || b.kind !== 'pod' || a.pod.id !== b.pod.id) return 'no';
  return a.pod.template && a.pod.replicas !== 1 ? 'no' : 'yes';
}

/** Whether an end is the node the pod runs on: S160, S162, S188. */
function onNodeOf(pod: PodInfo, other: End): Truth {
  if (!other.nodeTraffic) return 'no';
  if (pod.node === undefined || other.nodeName === undefined) return 'maybe';
  return pod.node === other.nodeName ? 'yes' : 'no';
}

function legOf(direction: Direction, reason: 'not-applicable' | 'self' | 'own-node'): Leg {
  return { direction, outcome: 'allowed', reason, isolatedBy: [] };
}

function unknownLeg(leg: Leg, missing: readonly string[]): Leg {
  const { direction, isolatedBy, passedBy } = leg;
  return {
    direction,
    outcome: 'unknown',
    reason: 'unknown',
    isolatedBy,
    ...(passedBy === undefined ? {} : { passedBy }),
    missing: [...new Set(missing)],
  };
}

/** A leg must come out alike under every variant, or it is unknown. */
function merge(before: Leg | undefined, leg: Leg, variant: Variant): Leg {
  if (before === undefined || (before.outcome === leg.outcome && leg.outcome !== 'unknown'))
    return before ?? leg;
  const missing = [...(before.missing ?? []), ...(leg.missing ?? [])];
  if (before.outcome !== leg.outcome) {
    if (variant.hostNetworkLikePods)
      missing.push('whether policy sees hostNetwork pods as pods or as their node');
    else if (variant.family !== undefined)
      missing.push(`whether the connection uses IPv4 or IPv6: they are treated differently`);
  }
  return unknownLeg(before.isolatedBy.length > 0 ? before : leg, missing);
}

function both(egress: Outcome, ingress: Outcome): Outcome {
  if (egress === 'denied' || ingress === 'denied') return 'denied';
  return egress === 'allowed' && ingress === 'allowed' ? 'allowed' : 'unknown';
}

/** One question asked of a snapshot. For more than a few, keep an evaluator. */
export function evaluate(
  snapshot: Snapshot,
  source: Endpoint,
  destination: Endpoint,
  protocol: Protocol | 'other',
  port?: number,
): Verdict {
  return createEvaluator(snapshot).evaluate({
    source,
    destination,
    protocol,
    ...(port === undefined ? {} : { port }),
  });
}

/** An endpoint for an address; evaluation finds its owner. */
export function addressEndpoint(address: Address): Endpoint {
  return { kind: 'address', address };
}
