/**
 * Decides one direction for one pod (S357): Admin tier, NetworkPolicy, Baseline tier, default. Where
 * a fact is missing both ways are followed, and the answer is unknown only if they differ. Must not
 * know how the ends were found.
 */
import type { Direction, PolicyRef, Tier } from '../policy/compiled.ts';
import type { AddressBook, End } from './ends.ts';
import type { PeerContext } from './peers.ts';
import { selectedAtAll } from './policy-index.ts';
import type { PolicyIndex, Selecting } from './policy-index.ts';
import type { Target } from './ports.ts';
import { effectOf, matchesRule } from './rules.ts';
import type { Snapshot } from './snapshot.ts';
import { and, or } from './truth.ts';
import type { Truth } from './truth.ts';
import type { Leg, RuleRef } from './verdict.ts';

/** Traffic over which the NetworkPolicy tier has no say, or may have none (S161, S166). */
export interface Exemption {
  readonly truth: Truth;
  readonly choice: 'policy' | 'allow' | 'unknown';
  readonly reason: 'own-node' | 'self';
  /** What is not settled, for `unknown`. */
  readonly fact: string;
}

export interface DirectionInput {
  readonly direction: Direction;
  readonly subject: End;
  readonly other: End;
  readonly target: Target;
  readonly throughService: boolean;
  readonly exemption?: Exemption;
  readonly snapshot: Snapshot;
  readonly book: AddressBook;
  readonly index: PolicyIndex;
}

/** What is possible so far, and why. */
interface State {
  canAllow: boolean;
  canDeny: boolean;
  readonly missing: string[];
  readonly passedBy: RuleRef[];
  /** How the last way of evaluation that is open ends. */
  ending: Pick<Leg, 'reason' | 'tier' | 'decidedBy' | 'alsoAdmittedBy'>;
}

export function decideDirection(input: DirectionInput): Leg {
  const { direction, subject, index } = input;
  const networkPolicies = index.selecting(subject, 'NetworkPolicy');
  const isolating = networkPolicies.filter(({ policy }) => policy.isolates[direction]);
  const state: State = {
    canAllow: false,
    canDeny: false,
    missing: [],
    passedBy: [],
    ending: { reason: 'not-isolated' },
  };

  if (walkTier('Admin', input, state)) {
    const baseline = decideByNetworkPolicy(networkPolicies, isolating, input, state);
    if (baseline && walkTier('Baseline', input, state)) {
      state.canAllow = true;
      // Reached although NetworkPolicy may decide: then the facts in `missing` say why.
      state.ending = { reason: 'not-isolated' };
    }
  }

  const isolatedBy: PolicyRef[] = [];
  for (const { policy, truth } of isolating) if (truth === 'yes') isolatedBy.push(policy.ref);
  const passed = state.passedBy.length === 0 ? {} : { passedBy: state.passedBy };
  if (state.canAllow && state.canDeny)
    return {
      direction,
      outcome: 'unknown',
      reason: 'unknown',
      isolatedBy,
      ...passed,
      missing: [...new Set(state.missing)],
    };
  return {
    direction,
    outcome: state.canAllow ? 'allowed' : 'denied',
    ...state.ending,
    isolatedBy,
    ...passed,
  };
}

/**
 * Admin or Baseline tier: the first rule that matches decides (S277–S280, S282, S284–S288). Returns
 * whether evaluation may go on behind the tier.
 */
function walkTier(tier: 'Admin' | 'Baseline', input: DirectionInput, state: State): boolean {
  const { direction, subject, other, target, index, snapshot } = input;
  const invalid = index.invalid(subject, tier);
  for (const ref of invalid) {
    state.canAllow = true;
    state.canDeny = true;
    state.missing.push(
      `${ref.kind} ${ref.name} is not valid, so what it would decide is not known`,
    );
  }
  const selecting = index.selecting(subject, tier);
  if (selecting.length === 0) return true;

  const pending: string[] = [];
  const context = contextOf(tier, input, pending);
  const byName = snapshot.settings.equalPriority === 'name';
  let passes = false;
  for (let start = 0; start < selecting.length;) {
    let end = start + 1;
    const priority = selecting[start]?.policy.priority;
    if (!byName)
      while (selecting[end]?.policy.priority === priority && end < selecting.length) end++;

    const stops: RuleRef[] = [];
    const effects = new Map<string, PolicyRef>();
    for (let i = start; i < end; i++) {
      const { policy, truth, missing } = selecting[i] as Selecting;
      for (const rule of policy.rules[direction]) {
        pending.length = 0;
        const match = matchesRule(rule, other, target, context);
        const applies = and(truth, match.truth);
        if (applies === 'no') continue;
        const { action } = effectOf(rule);
        const ref: RuleRef = {
          policy: policy.ref,
          rule,
          ...(match.peerPath === undefined ? {} : { peerPath: match.peerPath }),
          ...(match.portPath === undefined ? {} : { portPath: match.portPath }),
        };
        if (action === 'Accept') state.canAllow = true;
        else if (action === 'Deny') state.canDeny = true;
        else {
          passes = true;
          state.passedBy.push(ref);
        }
        effects.set(action, policy.ref);
        if (applies === 'yes') {
          stops.push(ref);
          state.ending = {
            reason: action === 'Accept' ? 'accepted' : 'denied-by-rule',
            tier,
            decidedBy: ref,
          };
          break;
        }
        state.missing.push(...missing, ...pending);
        // Whether the policy selects the pod is open, but if it does, this rule decides for it.
        if (match.truth === 'yes') break;
      }
    }
    const first = stops[0];
    if (first !== undefined) {
      if (effects.size > 1 && end - start > 1)
        state.missing.push(
          `which of ${[...effects.values()].map(({ name }) => name).join(' and ')} applies: they have the same tier and priority`,
        );
      if (!passes) {
        const action = effectOf(first.rule).action;
        state.ending = {
          reason: action === 'Accept' ? 'accepted' : 'denied-by-rule',
          tier,
          decidedBy: first,
        };
      }
      return passes;
    }
    start = end;
  }
  return true;
}

/** S139–S146, S292–S294. Returns whether Baseline may be consulted. */
function decideByNetworkPolicy(
  selecting: readonly Selecting[],
  isolating: readonly Selecting[],
  input: DirectionInput,
  state: State,
): boolean {
  const { subject, index, snapshot, direction } = input;
  const invalid = index.invalid(subject, 'NetworkPolicy');
  for (const ref of invalid)
    state.missing.push(
      `NetworkPolicy ${ref.namespace ?? ''}/${ref.name} is not valid, so what it isolates and admits is not known`,
    );
  let isolated: Truth = invalid.length === 0 ? 'no' : 'maybe';
  for (const { truth } of isolating) isolated = or(isolated, truth);

  if (isolated !== 'no') {
    admitByNetworkPolicy(isolating, invalid.length > 0, input, state);
    if (isolated === 'yes') return false;
  }
  const { baselineSkip } = snapshot.settings;
  const elsewhere = or(selectedAtAll(selecting), invalid.length > 0 ? 'maybe' : 'no');
  if (baselineSkip === 'per-direction' || elsewhere === 'no') return true;
  if (baselineSkip === 'per-pod' && elsewhere === 'yes') {
    state.canAllow = true;
    state.ending = { reason: 'not-isolated' };
    return false;
  }
  // The pod is selected, or may be, but for the other direction only.
  state.canAllow = true;
  state.missing.push(
    baselineSkip === 'unknown'
      ? `whether a NetworkPolicy that does not isolate ${subject.name} for ${direction.toLowerCase()} switches the Baseline tier off`
      : `whether a NetworkPolicy selects ${subject.name}`,
  );
  return true;
}

/** The pod is isolated: allowed if one rule of one policy admits (S142, S145), else denied. */
function admitByNetworkPolicy(
  isolating: readonly Selecting[],
  maybeMore: boolean,
  input: DirectionInput,
  state: State,
): void {
  const { direction, other, target, exemption, snapshot } = input;
  const tier = 'NetworkPolicy';
  if (exemption !== undefined && exemption.truth !== 'no' && exemption.choice !== 'policy') {
    state.canAllow = true;
    state.ending = { reason: exemption.reason, tier };
    if (exemption.choice === 'allow' && exemption.truth === 'yes') return;
    state.missing.push(exemption.fact);
  }

  if (target.protocol === 'other') {
    const { otherProtocols } = snapshot.settings;
    if (otherProtocols === 'allow' || otherProtocols === 'unknown') state.canAllow = true;
    if (otherProtocols === 'deny' || otherProtocols === 'unknown') state.canDeny = true;
    if (otherProtocols === 'unknown')
      state.missing.push('whether NetworkPolicy covers protocols other than TCP, UDP and SCTP');
    if (otherProtocols !== 'portless-rules') {
      state.ending = { reason: otherProtocols === 'allow' ? 'accepted' : 'none-admits', tier };
      return;
    }
  }

  const pending: string[] = [];
  const context = contextOf(tier, input, pending);
  const admitting: RuleRef[] = [];
  const unsure: string[] = [];
  let possible = maybeMore;
  for (const { policy, truth, missing } of isolating)
    for (const rule of policy.rules[direction]) {
      pending.length = 0;
      const match = matchesRule(rule, other, target, context);
      const applies = and(truth, match.truth);
      if (applies === 'yes')
        admitting.push({
          policy: policy.ref,
          rule,
          ...(match.peerPath === undefined ? {} : { peerPath: match.peerPath }),
          ...(match.portPath === undefined ? {} : { portPath: match.portPath }),
        });
      else if (applies === 'maybe') {
        possible = true;
        unsure.push(...missing, ...pending);
      }
    }

  const [decidedBy, ...alsoAdmittedBy] = admitting;
  if (decidedBy !== undefined) {
    state.canAllow = true;
    state.ending = {
      reason: 'accepted',
      tier,
      decidedBy,
      ...(alsoAdmittedBy.length === 0 ? {} : { alsoAdmittedBy }),
    };
    return;
  }
  state.canDeny = true;
  if (possible) {
    state.canAllow = true;
    state.missing.push(...unsure);
  }
  // Beside an exemption that may hold, the outcome is unknown and this reason is not shown.
  state.ending = { reason: 'none-admits', tier };
}

function contextOf(tier: Tier, input: DirectionInput, pending: string[]): PeerContext {
  return {
    snapshot: input.snapshot,
    book: input.book,
    direction: input.direction,
    tier,
    throughService: input.throughService,
    missing: (sentence) => pending.push(sentence),
  };
}
