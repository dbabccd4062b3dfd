/**
 * Policies, rules and peers that could go without changing any answer, each with the reason: alone,
 * and all of them together. Works leg by leg on what reach computed; pairs are only looked at where
 * a leg would change. Must not know of files or output.
 */
import type { CompiledPolicy, CompiledRule, Direction, PolicyRef } from '../policy/compiled.ts';
import { EMPTY } from './column-sets.ts';
import { canMatch, canNeverMatch, peerWithin, type Place } from './coverage.ts';
import { computeReach, type Reach } from './reach.ts';
import type { Snapshot } from './snapshot.ts';
import { doubtOf, hostDoubt } from './unused-doubt.ts';
import type { Candidate, UnusedFinding, UnusedResult } from './unused-finding.ts';
import { createRemovals } from './unused-removal.ts';
import { createSymbols } from './unused-symbols.ts';

/** O(policies × legs they take part in); pairs only where a leg would change. */
export function findUnused(snapshot: Snapshot): UnusedResult {
  return judge(computeReach(snapshot));
}

export function judge(reach: Reach): UnusedResult {
  const { snapshot, parts } = reach;
  const { programs, peerSets } = parts;
  const findings: UnusedFinding[] = [];
  const notJudged: { policy: PolicyRef; reason: string }[] = [];
  const removals = createRemovals(reach);
  const symbols = createSymbols(snapshot);

  const take = (candidate: Candidate, finding: UnusedFinding): void => {
    removals.remove(candidate);
    symbols.remove(candidate.policy, candidate.rule);
    findings.push(finding);
  };

  /** Why a peer of a policy that finds nothing here may find something elsewhere. */
  const peersDoubt = (policy: CompiledPolicy): string | undefined => {
    for (const direction of ['Ingress', 'Egress'] as const)
      for (const { peers } of policy.rules[direction])
        for (const peer of peers === 'any' ? [] : peers) {
          if (peer.kind !== 'pods') continue;
          const { yes, maybe } = peerSets.peers([peer], policy.tier, direction);
          if (yes !== EMPTY || maybe !== EMPTY) continue;
          const doubt = doubtOf(snapshot, peer.matcher);
          if (doubt !== undefined) return `${peer.path}: ${doubt}`;
        }
    return undefined;
  };

  const judgePolicy = (
    position: number,
    policy: CompiledPolicy,
    symbolicOnly: boolean,
  ): boolean => {
    const { ref } = policy;
    const candidate: Candidate = { position, policy };
    const isSelecting = peerSets.subjects(policy.subject, policy.tier).length > 0;
    // Where labels are not known the engine does not see a contradiction: then it is unsure below.
    if (!canMatch(policy.subject) && !isSelecting) {
      take(candidate, {
        kind: 'selects-no-pod',
        policy: ref,
        holds: 'always',
        coveredBy: [],
        reason: 'its pod selector contradicts itself: no pod can match it',
      });
      return true;
    }
    if (!isSelecting) {
      const doubt = doubtOf(snapshot, policy.subject) ?? hostDoubt(snapshot, policy.subject);
      if (doubt === undefined) {
        take(candidate, {
          kind: 'selects-no-pod',
          policy: ref,
          holds: 'input',
          coveredBy: [],
          reason: 'no pod of the input matches its selector',
        });
        return true;
      }
      const cover = symbols.policyCover(policy);
      if (cover === undefined) notJudged.push({ policy: ref, reason: doubt });
      else take(candidate, redundant(candidate, cover, 'always'));
      return cover !== undefined;
    }
    const always = symbols.policyCover(policy);
    // What holds whatever pods there are holds here; the engine has to agree.
    if (
      always !== undefined &&
      removals.effectOf(candidate) === 'same-legs' &&
      removals.staysIsolated(position)
    ) {
      take(candidate, redundant(candidate, always, 'always'));
      return true;
    }
    if (symbolicOnly) return false;
    if (removals.isUnsure(position)) {
      notJudged.push({
        policy: ref,
        reason:
          'labels of namespaces, addresses of pods or domain names that it depends on are not known',
      });
      return true;
    }
    if (!removals.staysIsolated(position)) return false;
    const answer = removals.effectOf(candidate);
    if (answer === 'too-many') {
      notJudged.push({ policy: ref, reason: 'too many pairs to look at' });
      return true;
    }
    if (answer === 'used') return false;
    if (!symbols.staysIsolated(policy)) {
      notJudged.push({
        policy: ref,
        reason:
          'nothing in the input needs it, but it isolates pods to come that nothing else does',
      });
      return true;
    }
    const doubt = peersDoubt(policy);
    if (doubt !== undefined) {
      notJudged.push({ policy: ref, reason: doubt });
      return true;
    }
    take(
      candidate,
      answer === 'same-pairs'
        ? { ...noPair(candidate), policy: ref }
        : redundant(
            candidate,
            [...removals.covering(candidate, false), ...removals.isolatorsBeside(position)],
            'input',
            removals.isMute(position),
          ),
    );
    return true;
  };

  const judgeRule = (candidate: Candidate & { rule: CompiledRule; direction: Direction }): void => {
    const { position, policy, rule, direction } = candidate;
    const common = { policy: policy.ref, direction, path: rule.path };
    const isSelecting = peerSets.subjects(policy.subject, policy.tier).length > 0;
    if (canNeverMatch(rule) && (!isSelecting || removals.effectOf(candidate) === 'same-legs')) {
      take(candidate, {
        ...common,
        kind: 'rule-matches-nothing',
        holds: 'always',
        coveredBy: [],
        reason: 'its selectors contradict themselves or it lists no port: nothing can match it',
      });
      return;
    }
    const always = symbols.ruleCover(policy, rule, direction);
    const tiered = policy.tier !== 'NetworkPolicy';
    if (always !== undefined && (!isSelecting || removals.effectOf(candidate) === 'same-legs')) {
      take(candidate, {
        ...common,
        kind: tiered ? 'shadowed' : 'rule-redundant',
        holds: 'always',
        coveredBy: always.map(placeOf),
        reason: tiered
          ? 'earlier rules decide everything it can match'
          : 'everything it can admit is admitted by other rules',
      });
      return;
    }
    if (!isSelecting) return;
    const answer = removals.effectOf(candidate);
    if (answer === 'used' || answer === 'too-many') {
      if (answer === 'too-many')
        notJudged.push({ policy: policy.ref, reason: `${rule.path}: too many pairs to look at` });
      judgePeers(policy, rule, direction);
      return;
    }
    if (answer === 'same-pairs') {
      take(candidate, { ...noPair(candidate), ...common });
      return;
    }
    const { yes, maybe } = peerSets.peers(rule.peers, policy.tier, direction);
    if (rule.peers !== 'any' && yes === EMPTY && maybe === EMPTY) {
      const doubt = rule.peers
        .flatMap((peer) => (peer.kind === 'pods' ? [doubtOf(snapshot, peer.matcher)] : []))
        .find((one) => one !== undefined);
      if (doubt !== undefined || rule.peers.some(({ kind }) => kind === 'unusable')) {
        notJudged.push({
          policy: policy.ref,
          reason: `${rule.path}: ${doubt ?? 'a peer of it cannot be understood'}`,
        });
        return;
      }
      take(candidate, {
        ...common,
        kind: 'rule-matches-nothing',
        holds: 'input',
        coveredBy: [],
        reason: 'no pod, node or address of the input matches its peers',
      });
      return;
    }
    const shadowed = tiered && removals.isShadowed(position, rule);
    const covers = removals.covering(candidate, shadowed);
    take(candidate, {
      ...common,
      kind: shadowed ? 'shadowed' : covers.length === 0 ? 'rule-matches-nothing' : 'rule-redundant',
      holds: 'input',
      coveredBy: covers.map(placeOf),
      reason: shadowed
        ? 'earlier rules decide everything it matches here'
        : covers.length === 0
          ? 'nothing of the input matches its peers and its ports'
          : tiered
            ? 'without it every connection is decided alike'
            : 'everything it admits here is admitted by other rules',
    });
  };

  const judgePeers = (policy: CompiledPolicy, rule: CompiledRule, direction: Direction): void => {
    if (rule.peers === 'any' || rule.peers.length < 2) return;
    if (rule.peers.some(({ kind }) => kind === 'unusable')) return;
    let remaining = [...rule.peers];
    // From the last: of two alike the later is the superfluous one.
    for (const peer of rule.peers.toReversed()) {
      const own = peerSets.peers([peer], policy.tier, direction);
      const others = remaining.filter((one) => one !== peer);
      const [a, b] = [remaining, others].map((list) =>
        peerSets.peers(list, policy.tier, direction),
      );
      if (others.length === 0 || a?.yes !== b?.yes || a?.maybe !== b?.maybe) continue;
      const nothing = own.yes === EMPTY && own.maybe === EMPTY;
      const wider = others.find((one) => peerWithin(peer, one));
      const impossible = peer.kind === 'pods' && !canMatch(peer.matcher);
      if (nothing && !impossible && wider === undefined) {
        const doubt = peer.kind === 'pods' ? doubtOf(snapshot, peer.matcher) : undefined;
        if (doubt !== undefined) {
          notJudged.push({ policy: policy.ref, reason: `${peer.path}: ${doubt}` });
          continue;
        }
      }
      remaining = others;
      findings.push({
        kind: wider === undefined && nothing ? 'peer-matches-nothing' : 'peer-redundant',
        policy: policy.ref,
        direction,
        path: peer.path,
        holds: wider !== undefined || impossible ? 'always' : 'input',
        coveredBy: wider === undefined ? [] : [{ policy: policy.ref, path: wider.path }],
        reason:
          wider !== undefined
            ? 'another peer of the rule matches all that it can match'
            : impossible
              ? 'its selectors contradict themselves: nothing can match it'
              : nothing
                ? 'no pod, node or address of the input matches it'
                : 'the other peers of the rule match all that it matches here',
      });
    }
  };

  const order = [...programs.policies.entries()].toReversed();
  const kept: [number, CompiledPolicy][] = [];
  // First what holds always, so that of two policies the narrower one goes.
  const left = order.flatMap(([position, policy]): [number, CompiledPolicy][] =>
    policy === undefined || judgePolicy(position, policy, true) ? [] : [[position, policy]],
  );
  for (const [position, policy] of left) {
    const isSelecting = peerSets.subjects(policy.subject, policy.tier).length > 0;
    if (!isSelecting || !judgePolicy(position, policy, false)) kept.push([position, policy]);
  }
  const unsure = new Set(
    [...programs.policies.entries()].flatMap(([position]) =>
      removals.isUnsure(position) ? [position] : [],
    ),
  );
  for (const [position, policy] of kept) {
    if (unsure.has(position)) continue;
    for (const direction of ['Egress', 'Ingress'] as const)
      for (const rule of policy.rules[direction].toReversed())
        judgeRule({ position, policy, rule, direction });
  }
  return { findings: findings.toReversed(), notJudged, policies: snapshot.policies.length };
}

function placeOf({ policy, rule }: Place): { policy: PolicyRef; path?: string } {
  return { policy: policy.ref, ...(rule === undefined ? {} : { path: rule.path }) };
}

function noPair(candidate: Candidate): UnusedFinding {
  return {
    kind: 'no-pair-changes',
    policy: candidate.policy.ref,
    holds: 'input',
    coveredBy: [],
    reason: `without ${candidate.rule === undefined ? 'it' : 'this rule'} every pair is decided alike: the other end closes what ${candidate.rule === undefined ? 'it' : 'the rule'} decides, or the traffic is exempt`,
  };
}

function redundant(
  { policy }: Candidate,
  covers: readonly Place[],
  holds: 'always' | 'input',
  mute = false,
): UnusedFinding {
  const isolates = policy.isolates.Ingress || policy.isolates.Egress;
  return {
    kind: 'policy-redundant',
    policy: policy.ref,
    holds,
    coveredBy: covers.map(placeOf),
    reason: !isolates
      ? 'without it every connection is decided alike'
      : mute
        ? 'other policies isolate the same pods, and its rules match nothing'
        : 'other policies isolate the same pods and admit everything that it admits',
  };
}
