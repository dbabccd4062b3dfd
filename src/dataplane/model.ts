/**
 * What one node's kernel shall hold, as plain data: address sets, chains of rules, port maps and the
 * dispatch of local pods. Must not know how it is written (render) or brought about (plan, backend).
 */
import type { Family } from '../net/address.ts';
import type { Protocol } from '../net/connection-set.ts';
import type { Direction } from '../policy/compiled.ts';

export interface DataplaneOptions {
  /** What happens to an address of this node's pod ranges that no known pod has. Default: deny. */
  readonly unknownPod: 'deny' | 'allow';
  /** How a denial looks to the sender. Silence is what upstream conformance expects (S283). */
  readonly deny: 'drop' | 'reject';
  /** Count denied flows per source, destination, protocol and port, for `drops()`. */
  readonly observe: boolean;
  /** Bits of the conntrack mark that hold the epoch: one run of 8 to 24 bits. */
  readonly markMask: number;
  /** Name of the nftables table (family inet). The twin used while the frame changes gets `_b` added. */
  readonly table: string;
  /**
   * Pods that an object which did not validate might select: without policy nothing may pass
   * (`deny`), or the object is as good as absent (`ignore`).
   */
  readonly invalidPolicies: 'deny' | 'ignore';
  /**
   * A TCP packet that is no SYN and belongs to no known connection of a pod. Taking it up would let
   * a revoked connection come back with its ends exchanged.
   */
  readonly midStream: 'drop' | 'allow';
  /** `audit`: nothing is dropped; what would be is counted (with `observe`) and let pass. */
  readonly mode: 'enforce' | 'audit';
  /** With `observe`: packets recorded a second and rule at most; 0 for all. No verdict depends on it. */
  readonly observeLimit: number;
}

export const defaultDataplaneOptions: DataplaneOptions = {
  unknownPod: 'deny',
  deny: 'drop',
  observe: false,
  markMask: 0xffff0000,
  table: 'podwall',
  invalidPolicies: 'deny',
  midStream: 'drop',
  mode: 'enforce',
  observeLimit: 0,
};

/** Which end of the connection (not of the packet) an address is compared with. */
export type End = 'source' | 'destination';

/**
 * A named set of addresses. `members`: single addresses in a hash set, changed in place while in use
 * unless its name says its content. `ranges`: an interval set, never changed.
 */
export interface AddressGroup {
  readonly name: string;
  readonly family: Family;
  readonly kind: 'members' | 'ranges';
  /** Canonical text: an address, or for ranges `from-to`. */
  readonly elements: ReadonlySet<string>;
  /** For readers of the rendered program. */
  readonly about: string;
}

export type Condition =
  | {
      readonly kind: 'group';
      readonly end: End;
      readonly family: Family;
      readonly group: string;
    }
  | {
      readonly kind: 'addresses';
      readonly end: End;
      readonly family: Family;
      readonly from: string;
      readonly to: string;
    }
  | { readonly kind: 'protocol'; readonly protocol: Protocol }
  /** Destination port of the connection; only after a protocol condition. */
  | { readonly kind: 'port'; readonly from: number; readonly to: number };

export type Rule =
  | { readonly kind: 'goto'; readonly when: readonly Condition[]; readonly target: string }
  /** Looks the destination port up; a port that is not in the map goes on to the next rule. */
  | { readonly kind: 'ports'; readonly protocol: Protocol; readonly map: string };

/** Rules tried in order. Named by content. Running off the end denies, in every chain. */
export interface Chain {
  readonly name: string;
  readonly rules: readonly Rule[];
  readonly about: string;
}

/** Exact destination ports to chains. Named by content. */
export interface PortMap {
  readonly name: string;
  readonly entries: ReadonlyMap<number, string>;
}

/** The frame's own chains that programs may end in. */
export const frameChains = {
  /** Egress is settled: go on to the destination's side. */
  ingress: 'c_in',
  /** Both sides are settled: let pass and remember. */
  accept: 'c_ok',
  denyEgress: 'd_eg',
  denyIngress: 'd_in',
  /** Denied by policies that are only audited: count, and go on as if allowed. */
  auditEgress: 'a_eg',
  auditIngress: 'a_in',
  /** No NetworkPolicy admits it, but a setting may exempt it from that tier; otherwise as above. */
  exemptEgress: 'x_eg',
  exemptIngress: 'x_in',
  exemptAuditEgress: 'xa_eg',
  exemptAuditIngress: 'xa_in',
} as const;

/** Address of a local pod → the chain that decides for it. */
export type Dispatch = ReadonlyMap<string, string>;

/** A local pod, for those who explain what happened to its packets. */
export interface LocalPod {
  readonly namespace: string;
  readonly name: string;
  /** Policies that may deny in the direction, as `NetworkPolicy namespace/name`. */
  readonly judgedBy: Readonly<Record<Direction, readonly string[]>>;
}

export interface NodeProgram {
  readonly node: string;
  readonly options: DataplaneOptions;
  /** Parts of the frame that follow from settings. */
  readonly frame: {
    /** S161, S307 `allow`: NetworkPolicy does not keep pods from addresses of their own node; the other tiers do. */
    readonly podToOwnNode: 'policy' | 'allow';
    /** S166, S304 `allow`: nor from themselves through a Service. */
    readonly selfThroughService: 'policy' | 'allow';
  };
  /** This node's pod ranges, canonical CIDRs; an address in them without a pod is unknown. */
  readonly podCidrs: { readonly 4: readonly string[]; readonly 6: readonly string[] };
  readonly groups: ReadonlyMap<string, AddressGroup>;
  readonly chains: ReadonlyMap<string, Chain>;
  readonly portMaps: ReadonlyMap<string, PortMap>;
  readonly dispatch: Readonly<Record<Direction, Readonly<Record<Family, Dispatch>>>>;
  /** Some policy is only audited. */
  readonly audits?: boolean;
  /** By address. */
  readonly pods?: ReadonlyMap<string, LocalPod>;
  /** Sentences about what could not be programmed as written. */
  readonly warnings: readonly string[];
}

/**
 * All that can differ between two programs that follow each other. To list too much costs time only;
 * what is not listed is taken for equal.
 */
export interface ProgramDelta {
  /** The program before. */
  readonly from: NodeProgram;
  /** By name; `all`: a set that is new, or gone, or no more known than that. */
  readonly groups: ReadonlyMap<string, ReadonlySet<string> | 'all'>;
  readonly chains: ReadonlySet<string>;
  readonly portMaps: ReadonlySet<string>;
  /** Addresses of local pods. */
  readonly addresses: Readonly<Record<Family, ReadonlySet<string>>>;
  /** Whether members of a group of the new program only ever gain by being in it. */
  grants(group: string): boolean;
}

/** A denied flow as the kernel counted it. */
export interface Drop {
  readonly family: Family;
  /** The side that denied: Egress of the source or Ingress of the destination. */
  readonly direction: Direction;
  readonly source: string;
  readonly destination: string;
  /** `TCP`, `UDP`, `SCTP`, or the kernel's name of another protocol in lower case. */
  readonly protocol: string;
  readonly port?: number;
  readonly packets: number;
  /** It was let pass: only audited policies, or a node in audit mode, would have denied it. */
  readonly audited?: true;
}
