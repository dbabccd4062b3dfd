/**
 * Policies, rules and peers that could go without changing any answer, each with the reason: alone,
 * and all of them together. Works leg by leg on what reach computed; pairs are only looked at where
 * a leg would change. Must not know of files or output.
 */
import { formatSelector, matches } from '../k8s/selector.ts';
import type {
  CompiledPolicy,
  CompiledRule,
  Direction,
  PodMatcher,
  PolicyRef,
} from '../policy/compiled.ts';
import type { PeerClass } from './classes.ts';
import { EMPTY } from './column-sets.ts';
import { NONE } from './connection-table.ts';
import {
  canMatch,
  canNeverMatch,
  coverOf,
  isolatorOf,
  matcherWithin,
  peerWithin,
  type Place,
} from './coverage.ts';
import type { Effect, Leg, Occurrence, SetExemption } from './legs.ts';
import { madeByOperator } from './operators.ts';
import { computeReach, type Reach } from './reach.ts';
import type { Settings, Snapshot } from './snapshot.ts';
import {
  createWhatIf,
  nearnessOf,
  nothingLess,
  type Lookup,
  type WhatIf,
  type Without,
} from './what-if.ts';

export type UnusedKind =
  /** The subject selects no pod of the input, or none there could be. */
  | 'selects-no-pod'
  /** Its pods stay isolated, and everything its rules decide is decided alike by others. */
  | 'policy-redundant'
  /** S78: rules of a direction that policyTypes does not name. */
  | 'direction-without-effect'
  /** No peer, or no port, of the rule is there. */
  | 'rule-matches-nothing'
  | 'rule-redundant'
  /** Admin and Baseline tiers: earlier rules decide everything it matches. */
  | 'shadowed'
  /** Changes what its pods admit, but no pair: the other end closes it, or it is exempt. */
  | 'no-pair-changes'
  | 'peer-matches-nothing'
  | 'peer-redundant';

export interface UnusedFinding {
  readonly kind: UnusedKind;
  readonly policy: PolicyRef;
  readonly direction?: Direction;
  /** Field path of the rule or peer; absent: the whole policy. */
  readonly path?: string;
  /** `always`: whatever pods there are. `input`: with the pods, nodes and labels that were given. */
  readonly holds: 'always' | 'input';
  /** What makes it superfluous. */
  readonly coveredBy: readonly { readonly policy: PolicyRef; readonly path?: string }[];
  readonly reason: string;
}

export interface UnusedResult {
  readonly findings: readonly UnusedFinding[];
  /** Policies of which the input does not tell whether they are used. */
  readonly notJudged: readonly { readonly policy: PolicyRef; readonly reason: string }[];
  readonly policies: number;
}

/** Pairs of classes looked at for one policy or rule before it is left unjudged. */
const PAIR_LIMIT = 200_000;

interface Participation {
  readonly leg: Leg;
  readonly direction: Direction;
  readonly classes: number[];
}

/** One thing that may be superfluous. */
interface Candidate {
  readonly position: number;
  readonly policy: CompiledPolicy;
  readonly rule?: CompiledRule;
  readonly direction?: Direction;
}

type Answer = 'same-legs' | 'same-pairs' | 'used' | 'too-many';

/** O(policies × legs they take part in); pairs only where a leg would change. */
export function findUnused(snapshot: Snapshot): UnusedResult {
  return judge(computeReach(snapshot));
}

export function judge(reach: Reach): UnusedResult {
  const { snapshot, parts } = reach;
  const { programs, peerSets } = parts;
  const findings: UnusedFinding[] = [];
  const notJudged: { policy: PolicyRef; reason: string }[] = [];
  const removed = {
    policies: new Set<number>(),
    rules: new Set<CompiledRule>(),
  };
  const perPod = snapshot.settings.baselineSkip !== 'per-direction';
  const exemptions = exemptionsOf(snapshot.settings);
  const participations = participationsOf(reach);
  const cells = createCells(reach);
  const symbols = createSymbols(snapshot);
  /** What is there once everything found so far is gone; made anew after each finding. */
  let reduced: WhatIf = createWhatIf(reach, removed);
  const whole = createWhatIf(reach, nothingLess);

  const take = (candidate: Candidate, finding: UnusedFinding): void => {
    if (candidate.rule === undefined) removed.policies.add(candidate.position);
    else removed.rules.add(candidate.rule);
    symbols.remove(candidate.policy, candidate.rule);
    reduced = createWhatIf(reach, { policies: removed.policies, rules: removed.rules });
    findings.push(finding);
  };

  const alone = (candidate: Candidate): Without => ({
    policies: new Set(candidate.rule === undefined ? [candidate.position] : []),
    rules: new Set(candidate.rule === undefined ? [] : [candidate.rule]),
  });

  /** Whether the candidate changes an answer, alone or when all found before is gone. */
  const test = (candidate: Candidate): Answer => {
    const just = alone(candidate);
    const both: Without = {
      policies: either(removed.policies, just.policies),
      rules: either(removed.rules, just.rules),
    };
    const versions: [WhatIf, WhatIf][] = [[whole, createWhatIf(reach, just)]];
    if (removed.policies.size + removed.rules.size > 0)
      versions.push([reduced, createWhatIf(reach, both)]);
    const changed: { leg: Leg; direction: Direction; classes: number[]; sample: number }[] = [];
    for (const { leg, direction, classes } of participations.get(candidate.position) ?? []) {
      if (candidate.direction !== undefined && candidate.direction !== direction) continue;
      // Classes that share a leg differ only by what other legs say of them (S293).
      const differing = perPod ? classes : classes.slice(0, 1);
      for (const sample of cells.of(leg))
        for (const id of differing)
          if (
            versions.some(
              ([before, after]) =>
                differs(before.legEffect(leg, id, sample), after.legEffect(leg, id, sample)) ||
                exemptions[direction].some((exemption) =>
                  differs(
                    before.exemptEffect(leg, id, sample, exemption),
                    after.exemptEffect(leg, id, sample, exemption),
                  ),
                ),
            )
          ) {
            changed.push({ leg, direction, classes, sample });
            break;
          }
    }
    if (changed.length === 0) return 'same-legs';
    let looked = 0;
    for (const { leg, direction, classes, sample } of changed)
      for (const other of cells.classesLike(leg, sample))
        for (const id of classes) {
          const subject = parts.classes.list[id] as PeerClass;
          const [source, destination] =
            direction === 'Egress' ? [subject, other] : [other, subject];
          for (const node of nearnessOf(reach, source, destination)) {
            looked += 1;
            for (const [before, after] of versions) {
              const a = before.pairEffect(source, destination, node);
              const b = after.pairEffect(source, destination, node);
              if (differs(a, b)) return 'used';
            }
          }
          if (looked > PAIR_LIMIT) return 'too-many';
        }
    return 'same-pairs';
  };

  /** Every pod it isolates is isolated by others as well, now and when all found before is gone. */
  const staysIsolated = (position: number): boolean =>
    (participations.get(position) ?? []).every(({ leg }) => {
      const { isolating } = leg.program;
      return (
        !isolating.some((step) => step.policy === position) ||
        isolating.some(
          (step) =>
            step.policy !== position && step.truth === 'yes' && !removed.policies.has(step.policy),
        )
      );
    });

  /** One policy that stays for every leg in which the candidate isolates. */
  const isolatorsBeside = (position: number): Place[] => {
    const found = new Set<CompiledPolicy>();
    for (const { leg } of participations.get(position) ?? []) {
      const { isolating } = leg.program;
      if (!isolating.some((step) => step.policy === position)) continue;
      const others = isolating.flatMap((step) => {
        const policy = programs.policies[step.policy];
        const stays = step.policy !== position && !removed.policies.has(step.policy);
        return stays && policy !== undefined ? [policy] : [];
      });
      if (others[0] !== undefined && !others.some((one) => found.has(one))) found.add(others[0]);
    }
    return [...found].map((policy) => ({ policy }));
  };

  /** Whether no rule of a policy matches anything. */
  const isMute = ({ position }: Candidate): boolean =>
    (participations.get(position) ?? []).every(({ leg }) =>
      cells
        .of(leg)
        .every((sample) => !leg.occurrencesAt(sample).some((one) => one.policy === position)),
    );

  const isUnsure = (position: number): boolean =>
    (participations.get(position) ?? []).some(({ leg }) =>
      [...leg.program.admin, ...leg.program.isolating, ...leg.program.baseline].some(
        (step) =>
          step.policy === position &&
          (step.truth === 'maybe' || step.occurrences.some(({ maybe }) => maybe)),
      ),
    );

  /** The rules that decide, beside the candidate, what its rules match. */
  const covering = ({ position, rule, direction }: Candidate, earlierOnly: boolean): Place[] => {
    const found = new Map<CompiledRule, Place>();
    for (const { leg, direction: own } of participations.get(position) ?? []) {
      if (direction !== undefined && own !== direction) continue;
      for (const sample of cells.of(leg)) {
        const matching = leg.occurrencesAt(sample);
        const mine = matching.filter((one) => isOf(one, position, rule));
        const last = mine.at(-1);
        for (const one of matching) {
          if (earlierOnly && last !== undefined && one === last) break;
          if (mine.includes(one) || removed.policies.has(one.policy)) continue;
          if (removed.rules.has(one.rule) || found.size >= 8) continue;
          const policy = programs.policies[one.policy];
          if (policy === undefined) continue;
          const meets = mine.some(
            (my) => parts.table.intersect(my.connections, one.connections) !== NONE,
          );
          if (meets) found.set(one.rule, { policy, rule: one.rule });
        }
      }
    }
    return [...found.values()];
  };

  /** Whether rules before it take everything it matches. */
  const isShadowed = (position: number, rule: CompiledRule): boolean =>
    (participations.get(position) ?? []).every(({ leg }) =>
      cells.of(leg).every((sample) => {
        let left: number | undefined;
        const taken: number[] = [];
        for (const one of leg.occurrencesAt(sample)) {
          if (one.rule === rule && one.policy === position) {
            left = one.connections;
            for (const id of taken) left = parts.table.subtract(left, id);
            if (left !== NONE) return false;
          } else if (!one.maybe && !removed.rules.has(one.rule)) taken.push(one.connections);
        }
        return true;
      }),
    );

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
    if (always !== undefined && test(candidate) === 'same-legs' && staysIsolated(position)) {
      take(candidate, redundant(candidate, always, 'always'));
      return true;
    }
    if (symbolicOnly) return false;
    if (isUnsure(position)) {
      notJudged.push({
        policy: ref,
        reason:
          'labels of namespaces, addresses of pods or domain names that it depends on are not known',
      });
      return true;
    }
    if (!staysIsolated(position)) return false;
    const answer = test(candidate);
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
            [...covering(candidate, false), ...isolatorsBeside(position)],
            'input',
            isMute(candidate),
          ),
    );
    return true;
  };

  const judgeRule = (candidate: Candidate & { rule: CompiledRule; direction: Direction }): void => {
    const { position, policy, rule, direction } = candidate;
    const common = { policy: policy.ref, direction, path: rule.path };
    const isSelecting = peerSets.subjects(policy.subject, policy.tier).length > 0;
    if (canNeverMatch(rule) && (!isSelecting || test(candidate) === 'same-legs')) {
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
    if (always !== undefined && (!isSelecting || test(candidate) === 'same-legs')) {
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
    const answer = test(candidate);
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
    const shadowed = tiered && isShadowed(position, rule);
    const covers = covering(candidate, shadowed);
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
      isUnsure(position) ? [position] : [],
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

function differs(a: Effect, b: Effect): boolean {
  return a.allowed !== b.allowed || a.unknown !== b.unknown;
}

/** Exemptions under which a leg must come out alike as well (S161, S166). */
function exemptionsOf({
  podToOwnNode,
  selfThroughService,
}: Settings): Readonly<Record<Direction, readonly SetExemption[]>> {
  const choices = (list: readonly Settings['podToOwnNode'][]): SetExemption[] =>
    list.flatMap((choice): SetExemption[] =>
      choice === 'policy'
        ? []
        : [
            { choice, truth: 'yes' },
            { choice, truth: 'maybe' },
          ],
    );
  return {
    Ingress: choices([selfThroughService]),
    Egress: choices([selfThroughService, podToOwnNode]),
  };
}

/** Both sets without copying them. */
function either<T>(a: Lookup<T>, b: Lookup<T>): Lookup<T> {
  return { size: a.size + b.size, has: (item) => a.has(item) || b.has(item) };
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

function isOf(one: Occurrence, position: number, rule: CompiledRule | undefined): boolean {
  return one.policy === position && (rule === undefined || one.rule === rule);
}

/** Legs in which each policy has a say, and the classes that share each leg. */
function participationsOf(reach: Reach): Map<number, Participation[]> {
  const { classes, programs } = reach.parts;
  const byLeg = new Map<Leg, Participation>();
  const perPod = reach.snapshot.settings.baselineSkip !== 'per-direction';
  for (const { id, nodeTraffic } of classes.list)
    for (const direction of ['Ingress', 'Egress'] as const) {
      const leg = programs.legOf(id, direction, nodeTraffic);
      if (leg === undefined) continue;
      const known = byLeg.get(leg);
      if (known === undefined) byLeg.set(leg, { leg, direction, classes: [id] });
      else known.classes.push(id);
    }
  const found = new Map<number, Set<Participation>>();
  const add = (position: number, one: Participation): void => {
    const list = found.get(position);
    if (list === undefined) found.set(position, new Set([one]));
    else list.add(one);
  };
  const legsOfClass = new Map<number, Participation[]>();
  for (const one of byLeg.values())
    for (const id of one.classes) legsOfClass.set(id, [...(legsOfClass.get(id) ?? []), one]);
  for (const one of byLeg.values()) {
    const { admin, isolating, baseline } = one.leg.program;
    for (const { policy } of [...admin, ...isolating, ...baseline]) {
      add(policy, one);
      // S293: a policy may matter to the other direction only by selecting the pod.
      if (perPod)
        for (const id of one.classes) for (const leg of legsOfClass.get(id) ?? []) add(policy, leg);
    }
  }
  return new Map([...found].map(([position, set]) => [position, [...set]]));
}

interface Cells {
  /** One column for each list of matching rules that a leg meets. */
  of(leg: Leg): readonly number[];
  /** Classes with a column that the leg treats like this one. */
  classesLike(leg: Leg, sample: number): Iterable<PeerClass>;
}

function createCells(reach: Reach): Cells {
  const { classes } = reach.parts;
  const known = new Map<Leg, readonly number[]>();
  return {
    of(leg) {
      let samples = known.get(leg);
      if (samples === undefined) {
        const byMatching = new Map<readonly Occurrence[], number>();
        const add = (column: number): void => {
          const matching = leg.occurrencesAt(column);
          if (!byMatching.has(matching)) byMatching.set(matching, column);
        };
        for (const column of leg.listed) add(column);
        if (leg.broad.length > 0) for (const column of classes.columns.keys()) add(column);
        else {
          // All columns that are not listed are alike.
          const listed = new Set(leg.listed);
          for (const column of classes.columns.keys()) {
            if (listed.has(column)) continue;
            add(column);
            break;
          }
        }
        samples = [...byMatching.values()];
        known.set(leg, samples);
      }
      return samples;
    },
    *classesLike(leg, sample) {
      const matching = leg.occurrencesAt(sample);
      const given = new Set<number>();
      // The sample first: mostly it is enough.
      for (let column = -1; column < classes.columns.length; column += 1) {
        const at = column < 0 ? sample : column;
        const id = classes.columns[at]?.class ?? -1;
        if (given.has(id) || leg.occurrencesAt(at) !== matching) continue;
        given.add(id);
        yield classes.list[id] as PeerClass;
      }
    },
  };
}

/** Why a selector that finds nothing may still be in use. */
function doubtOf(snapshot: Snapshot, matcher: PodMatcher): string | undefined {
  if (snapshot.pods.length === 0) return 'there are no pods in the input';
  const operator = madeByOperator(matcher.pods);
  // Pods that run were listed by a cluster: then those of operators are among them.
  const live = snapshot.pods.some((pod) => !pod.template);
  if (operator !== undefined && !live) return `its pods are made by ${operator}, not by the input`;
  if ('name' in matcher.namespaces) {
    const { name } = matcher.namespaces;
    if (!snapshot.pods.some((pod) => pod.namespace === name) && !live)
      return `the input has no pods of namespace ${name}`;
  } else if (!live) {
    const { selector } = matcher.namespaces;
    const given = [...snapshot.namespaces.values()];
    if (!given.some(({ labels }) => matches(selector, labels)))
      return `the input has no namespace with ${formatSelector(selector)}`;
  }
  return undefined;
}

/** S184: whether policy reaches pods of the host's network differs between network plugins. */
function hostDoubt(snapshot: Snapshot, matcher: PodMatcher): string | undefined {
  const hosted = snapshot.pods.some(
    (pod) =>
      pod.hostNetwork &&
      matches(matcher.pods, pod.labels) &&
      ('name' in matcher.namespaces
        ? matcher.namespaces.name === pod.namespace
        : matches(matcher.namespaces.selector, snapshot.namespaces.get(pod.namespace)?.labels)),
  );
  return hosted
    ? "it selects only pods that use their node's network: whether policy applies to them differs between network plugins"
    : undefined;
}

interface Symbols {
  policyCover(policy: CompiledPolicy): Place[] | undefined;
  ruleCover(policy: CompiledPolicy, rule: CompiledRule, direction: Direction): Place[] | undefined;
  /** Whether its subjects, also those to come, stay isolated without it. */
  staysIsolated(policy: CompiledPolicy): boolean;
  remove(policy: CompiledPolicy, rule: CompiledRule | undefined): void;
}

/** Covers that hold whatever pods there are, among what is not found superfluous yet. */
function createSymbols(snapshot: Snapshot): Symbols {
  const gone = new Set<CompiledPolicy | CompiledRule>();
  const groups = new Map<string, CompiledPolicy[]>();
  const groupOf = ({ tier, subject }: CompiledPolicy): string =>
    tier === 'NetworkPolicy' && 'name' in subject.namespaces
      ? `=${subject.namespaces.name}`
      : `~${tier}`;
  for (const policy of snapshot.policies) {
    const key = groupOf(policy);
    const list = groups.get(key);
    if (list === undefined) groups.set(key, [policy]);
    else list.push(policy);
  }

  const near = (policy: CompiledPolicy): CompiledPolicy[] =>
    (groups.get(groupOf(policy)) ?? []).filter(
      (other) => !gone.has(other) && matcherWithin(policy.subject, other.subject),
    );

  const placesOf = (policies: readonly CompiledPolicy[], direction: Direction): Place[] =>
    policies.flatMap((policy) =>
      policy.rules[direction].flatMap((rule) => (gone.has(rule) ? [] : [{ policy, rule }])),
    );

  return {
    policyCover(policy) {
      if (policy.tier !== 'NetworkPolicy') return undefined;
      const others = near(policy).filter((other) => other !== policy);
      if (others.length === 0) return undefined;
      const found = new Map<CompiledRule | CompiledPolicy, Place>();
      for (const direction of ['Ingress', 'Egress'] as const) {
        if (!policy.isolates[direction]) continue;
        const isolator = isolatorOf(policy, direction, others);
        if (isolator === undefined) return undefined;
        const places = placesOf(others, direction);
        for (const rule of policy.rules[direction]) {
          if (canNeverMatch(rule)) continue;
          const cover = coverOf(rule, policy.subject, places);
          if (cover === undefined) return undefined;
          for (const place of cover) found.set(place.rule ?? place.policy, place);
        }
        if (policy.rules[direction].length === 0) found.set(isolator, { policy: isolator });
      }
      return [...found.values()];
    },
    ruleCover(policy, rule, direction) {
      if (policy.tier === 'NetworkPolicy')
        return coverOf(rule, policy.subject, placesOf(near(policy), direction));
      const own = policy.rules[direction];
      const before = [
        ...placesOf(
          near(policy).filter((other) => other.priority < policy.priority),
          direction,
        ),
        ...own
          .slice(0, own.indexOf(rule))
          .flatMap((one) => (gone.has(one) ? [] : [{ policy, rule: one }])),
      ];
      return coverOf(rule, policy.subject, before);
    },
    staysIsolated(policy) {
      if (policy.tier !== 'NetworkPolicy') return true;
      const others = near(policy);
      return (['Ingress', 'Egress'] as const).every(
        (direction) =>
          !policy.isolates[direction] || isolatorOf(policy, direction, others) !== undefined,
      );
    },
    remove(policy, rule) {
      gone.add(rule ?? policy);
    },
  };
}
