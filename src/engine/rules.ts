/**
 * Whether a rule matches a connection: peers AND ports (S143, S144), with the fail-closed handling
 * of peers that cannot be understood (S266). Must not know of tiers.
 */
import type { Action, CompiledRule } from '../policy/compiled.ts';
import type { End } from './ends.ts';
import { matchesPeer } from './peers.ts';
import type { PeerContext } from './peers.ts';
import { matchesPort } from './ports.ts';
import type { Target } from './ports.ts';
import { and } from './truth.ts';
import type { Truth } from './truth.ts';

export interface RuleMatch {
  readonly truth: Truth;
  readonly peerPath?: string;
  readonly portPath?: string;
}

const noMatch: RuleMatch = { truth: 'no' };

/**
 * What a rule does when it matches. A Deny or Pass rule with a peer that cannot be understood denies
 * everything in its place (S266; S267 leaves the scope open); an Accept rule loses only that peer.
 */
export function effectOf(rule: CompiledRule): { action: Action; everything: boolean } {
  const failsClosed =
    rule.action !== 'Accept' &&
    rule.peers !== 'any' &&
    rule.peers.some((peer) => peer.kind === 'unusable');
  return failsClosed
    ? { action: 'Deny', everything: true }
    : { action: rule.action, everything: false };
}

export function matchesRule(
  rule: CompiledRule,
  other: End,
  target: Target,
  context: PeerContext,
): RuleMatch {
  if (effectOf(rule).everything) return { truth: 'yes' };

  let ports: Truth = rule.ports === 'any' ? 'yes' : 'no';
  let portPath: string | undefined;
  if (rule.ports !== 'any')
    for (const entry of rule.ports) {
      const answer = matchesPort(entry, target);
      if (answer === 'no' || (answer === 'maybe' && ports === 'maybe')) continue;
      ports = answer;
      portPath = entry.path;
      if (answer === 'yes') break;
    }
  // Ports first: facts missing about peers do not matter to a rule for another port.
  if (ports === 'no') return noMatch;

  let peers: Truth = rule.peers === 'any' ? 'yes' : 'no';
  let peerPath: string | undefined;
  if (rule.peers !== 'any')
    for (const peer of rule.peers) {
      const answer = matchesPeer(peer, other, context);
      if (answer === 'no' || (answer === 'maybe' && peers === 'maybe')) continue;
      peers = answer;
      peerPath = peer.path;
      if (answer === 'yes') break;
    }
  if (peers === 'no') return noMatch;
  if (ports === 'maybe') context.missing('the destination port is not given');
  return {
    truth: and(peers, ports),
    ...(peerPath === undefined ? {} : { peerPath }),
    ...(portPath === undefined ? {} : { portPath }),
  };
}
