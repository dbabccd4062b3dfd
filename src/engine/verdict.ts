/**
 * The answer to "can A reach B on this protocol and port, and why (not)?": shapes only. Must not
 * know how an answer is found or printed.
 */
import type { Address } from '../net/address.ts';
import type { Protocol } from '../net/connection-set.ts';
import type { CompiledRule, Direction, PolicyRef, Tier } from '../policy/compiled.ts';
import type { PodInfo, NodeInfo } from './snapshot.ts';

/** One end of a connection. */
export type Endpoint =
  | { readonly kind: 'pod'; readonly pod: PodInfo; readonly address?: Address }
  | { readonly kind: 'node'; readonly node: NodeInfo; readonly address?: Address }
  /** An address; if a pod or node of the snapshot owns it, evaluation treats it as that one. */
  | { readonly kind: 'address'; readonly address: Address };

export interface Connection {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** `other` stands for any protocol but TCP, UDP and SCTP; it has no port. */
  readonly protocol: Protocol | 'other';
  readonly port?: number;
  /** The address was reached through a Service that balanced back to the same pod (S166, S304). */
  readonly throughService?: boolean;
}

export type Outcome = 'allowed' | 'denied' | 'unknown';

/** A rule that decided or would have. */
export interface RuleRef {
  readonly policy: PolicyRef;
  readonly rule: CompiledRule;
  /** Field path of the peer that matched, absent when the rule has no peer list. */
  readonly peerPath?: string;
  /** Field path of the ports entry that matched. */
  readonly portPath?: string;
}

/** One direction's decision (S357). */
export interface Leg {
  readonly direction: Direction;
  readonly outcome: Outcome;
  readonly reason:
    /** The end is no pod that policy applies to: nothing to decide. */
    | 'not-applicable'
    /** No policy of any tier decides: the default is allow (S140). */
    | 'not-isolated'
    /** Accept rule of the Admin or Baseline tier, or an allowing NetworkPolicy rule: see `decidedBy`. */
    | 'accepted'
    /** Deny rule of the Admin or Baseline tier: see `decidedBy`. */
    | 'denied-by-rule'
    /** Isolated by `isolatedBy`; no rule of them admits (S142). Never "policy X denies". */
    | 'none-admits'
    /** Own pod IP or loopback (S165–S167, S303). */
    | 'self'
    /** From the pod's own node (S160). */
    | 'own-node'
    /** See `missing`. */
    | 'unknown';
  readonly tier?: Tier;
  readonly decidedBy?: RuleRef;
  /** Rules of NetworkPolicies that also admit, beside `decidedBy`. */
  readonly alsoAdmittedBy?: readonly RuleRef[];
  /** NetworkPolicies that isolate the pod in this direction. */
  readonly isolatedBy: readonly PolicyRef[];
  /** Pass rules that matched on the way. */
  readonly passedBy?: readonly RuleRef[];
  /** The missing facts, each one sentence, when the outcome is unknown. */
  readonly missing?: readonly string[];
}

export interface Verdict {
  readonly outcome: Outcome;
  readonly egress: Leg;
  readonly ingress: Leg;
}
