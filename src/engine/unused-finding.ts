/**
 * What can be found superfluous, and how it is told apart: shapes only. Must not know how it is found.
 */
import type { CompiledPolicy, CompiledRule, Direction, PolicyRef } from '../policy/compiled.ts';

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

/** One thing that may be superfluous. */
export interface Candidate {
  readonly position: number;
  readonly policy: CompiledPolicy;
  readonly rule?: CompiledRule;
  readonly direction?: Direction;
}
