/**
 * The compiled form of every policy kind: rules in tiers, selectors parsed, addresses as interval
 * sets. It is the one model that the analyzer and the enforcer both read; it must not know of
 * manifests, pods that exist, or nftables.
 */
import type { AddressSet } from '../net/address-set.ts';
import type { Protocol } from '../net/connection-set.ts';
import type { Selector } from '../k8s/selector.ts';
import type { SourceRange } from '../k8s/diagnostic.ts';

/** Evaluation order of tiers (S276). */
export type Tier = 'Admin' | 'NetworkPolicy' | 'Baseline';

export type Direction = 'Ingress' | 'Egress';

export type Action = 'Accept' | 'Deny' | 'Pass';

/** Names one policy object; `key` is unique over kinds and namespaces. */
export interface PolicyRef {
  readonly key: string;
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
  readonly source?: SourceRange;
}

/** Pods by the labels of their namespace and of themselves (AND). Never a hostNetwork pod unless a setting says so. */
export interface PodMatcher {
  /** A namespace name pins one namespace; a selector is matched against namespace labels (S98). */
  readonly namespaces: { readonly name: string } | { readonly selector: Selector };
  readonly pods: Selector;
}

export type CompiledPeer =
  | { readonly kind: 'pods'; readonly path: string; readonly matcher: PodMatcher }
  /** `set` is cidr minus excepts, already subtracted (S113); `text` keeps the words of the manifest. */
  | {
      readonly kind: 'addresses';
      readonly path: string;
      readonly set: AddressSet;
      readonly text: string;
    }
  /** Addresses of nodes whose labels match (S261). */
  | { readonly kind: 'nodes'; readonly path: string; readonly selector: Selector }
  | { readonly kind: 'domainNames'; readonly path: string; readonly names: readonly string[] }
  /** A peer that cannot be understood: matches nothing for Accept, everything for Deny and Pass→Deny (S266). */
  | { readonly kind: 'unusable'; readonly path: string; readonly reason: string };

export type CompiledPort =
  | {
      readonly kind: 'range';
      readonly path: string;
      readonly protocol: Protocol;
      readonly from: number;
      readonly to: number;
    }
  /** Resolved per destination pod (S132–S137). `protocol` absent: whatever protocol the container port has (S272). */
  | {
      readonly kind: 'named';
      readonly path: string;
      readonly protocol?: Protocol;
      readonly name: string;
    };

export interface CompiledRule {
  readonly action: Action;
  /** Field path of the rule, `spec.ingress[0]`. */
  readonly path: string;
  readonly name?: string;
  /** `'any'`: every source or destination, inside or outside (S102). An empty list matches nothing. */
  readonly peers: 'any' | readonly CompiledPeer[];
  /** `'any'`: every port of every protocol (S121, S122, S269). An empty list matches nothing. */
  readonly ports: 'any' | readonly CompiledPort[];
}

export interface CompiledPolicy {
  readonly ref: PolicyRef;
  readonly tier: Tier;
  /** Lower first inside Admin and Baseline (S277); 0 in the NetworkPolicy tier, where order has no meaning. */
  readonly priority: number;
  readonly subject: PodMatcher;
  /** NetworkPolicy tier only: directions in which the subject becomes isolated (S139–S141). */
  readonly isolates: { readonly Ingress: boolean; readonly Egress: boolean };
  /** Empty for a direction that is not in policyTypes (S78). */
  readonly rules: {
    readonly Ingress: readonly CompiledRule[];
    readonly Egress: readonly CompiledRule[];
  };
  /**
   * Annotation `podwall.dev/mode: audit` on a NetworkPolicy: what it denies by isolating shall be
   * counted, not dropped. Only the dataplane heeds it; evaluation says what the policy will do.
   */
  readonly audit?: true;
}
