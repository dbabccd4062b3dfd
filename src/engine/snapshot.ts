/**
 * The cluster as the engine sees it: facts taken from objects, compiled policies, and the settings
 * that decide what the specification leaves open. Must not know where the objects came from.
 */
import type { Address } from '../net/address.ts';
import type { Protocol } from '../net/connection-set.ts';
import type { Labels } from '../k8s/types.ts';
import type { SourceRange } from '../k8s/diagnostic.ts';
import type { CompiledPolicy, PolicyRef } from '../policy/compiled.ts';

export interface NamespaceInfo {
  readonly name: string;
  readonly labels: Labels;
  /** True when no Namespace object was given: only `kubernetes.io/metadata.name` is known (S25). */
  readonly implied: boolean;
  readonly source?: SourceRange;
}

export interface NodeInfo {
  readonly name: string;
  readonly labels: Labels;
  readonly addresses: readonly Address[];
  readonly podCidrs: readonly string[];
  /** True when no Node object was given: known only from pods that name it; labels are not known. */
  readonly implied?: boolean;
  readonly source?: SourceRange;
}

export interface NamedPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: Protocol;
}

export interface WorkloadRef {
  /** `Deployment`, `StatefulSet`, `Pod` for a bare pod, … : the outermost owner that is known. */
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** A pod that exists, or (`template: true`) the pods a workload's template will make. */
export interface PodInfo {
  /** `namespace/name` for pods; `namespace/Kind/name` for templates. Unique. */
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  /** Empty: not known yet. Evaluations that need it answer unknown. */
  readonly addresses: readonly Address[];
  readonly node?: string;
  readonly hostNetwork: boolean;
  readonly phase?: string;
  readonly namedPorts: readonly NamedPort[];
  /** Every declared container port, named or not: what it says it listens on, never a restriction (S138). */
  readonly declaredPorts: readonly { readonly port: number; readonly protocol: Protocol }[];
  readonly workload: WorkloadRef;
  readonly template: boolean;
  readonly replicas?: number;
  readonly source?: SourceRange;
}

export interface ServiceEndpoint {
  readonly address: Address;
  /** Pod id, when the slice names one. */
  readonly pod?: string;
}

/** An Ingress, HTTPRoute or GRPCRoute: what leads traffic from outside to Services. */
export interface RouteInfo {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly hosts: readonly string[];
  readonly backends: readonly {
    readonly namespace: string;
    readonly service: string;
    readonly port?: number | string;
  }[];
  readonly source?: SourceRange;
}

export interface ServiceInfo {
  readonly namespace: string;
  readonly name: string;
  readonly type: string;
  readonly clusterIps: readonly Address[];
  readonly selector?: Labels;
  readonly ports: readonly {
    readonly name?: string;
    readonly port: number;
    readonly targetPort: number | string;
    readonly nodePort?: number;
    readonly protocol: Protocol;
  }[];
  /** From EndpointSlices, when given; absent: not known. */
  readonly endpoints?: readonly ServiceEndpoint[];
  readonly source?: SourceRange;
}

/** What the specification leaves open; each value is listed with its S-number in docs/reference/settings.md. */
export interface Settings {
  /** S184–S187. `node`: hostNetwork pods are node traffic, never subject or selector peer. */
  readonly hostNetworkPods: 'node' | 'unknown';
  /** S161: egress of a pod to its own node. */
  readonly podToOwnNode: 'policy' | 'allow' | 'unknown';
  /** S166, S361: a pod that reaches itself through a Service. */
  readonly selfThroughService: 'policy' | 'allow' | 'unknown';
  /** S175–S178: ipBlock is compared with the address after (`backend`) or before NAT. */
  readonly ipBlockAddress: 'backend' | 'unknown';
  /** S122, S200: protocols other than TCP, UDP and SCTP. `portless-rules`: admitted by rules without ports. */
  readonly otherProtocols: 'portless-rules' | 'allow' | 'deny' | 'unknown';
  /** S195, S368: pods in phase Succeeded or Failed as subjects and peers. */
  readonly terminatedPods: 'ignore' | 'include';
  /** S289, S370: policies of one tier and priority that both match. */
  readonly equalPriority: 'name' | 'unknown';
  /** S293, S371: does a NetworkPolicy of one direction switch Baseline off for the other? */
  readonly baselineSkip: 'per-direction' | 'per-pod' | 'unknown';
}

export const defaultSettings: Settings = {
  hostNetworkPods: 'node',
  podToOwnNode: 'policy',
  selfThroughService: 'policy',
  ipBlockAddress: 'backend',
  otherProtocols: 'portless-rules',
  terminatedPods: 'ignore',
  equalPriority: 'name',
  baselineSkip: 'per-direction',
};

/** How complete the input is; every answer carries it. */
export interface Completeness {
  readonly objects: number;
  /** Objects of kinds podwall does not read, by `apiVersion/Kind`. */
  readonly unknownKinds: ReadonlyMap<string, number>;
  /** Namespaces used but not given as objects: their labels are unknown but for the name. */
  readonly impliedNamespaces: readonly string[];
  /** Policies that did not validate. The pods they could select have unknown verdicts. */
  readonly invalidPolicies: readonly PolicyRef[];
  /** Pods without an address. */
  readonly podsWithoutAddress: number;
}

export interface Snapshot {
  readonly namespaces: ReadonlyMap<string, NamespaceInfo>;
  readonly nodes: ReadonlyMap<string, NodeInfo>;
  readonly pods: readonly PodInfo[];
  readonly podById: ReadonlyMap<string, PodInfo>;
  readonly services: readonly ServiceInfo[];
  readonly routes?: readonly RouteInfo[];
  readonly policies: readonly CompiledPolicy[];
  readonly settings: Settings;
  readonly completeness: Completeness;
}
