/**
 * What the lab offers: the `Lab` interface that the real and the simulated lab share, and the shapes
 * of its configuration, status and probe reports. Must not know how either lab is made.
 */
import type { Protocol } from '../net/connection-set.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { SourceRange } from '../k8s/diagnostic.ts';
import type { Answer } from './answers.ts';

export type Stack = 'ipv4' | 'ipv6' | 'dual';

/**
 * How pods hang on their node. `routed`: each on a link and a route of its own, as with ptp or Calico.
 * `bridge`: ports of one bridge per node, as with flannel or the bridge plugin; packets between two
 * of them are filtered because br_netfilter shows them to the node's IP rules.
 */
export type Wiring = 'routed' | 'bridge';

export interface LabPort {
  readonly protocol: Protocol;
  readonly port: number;
}

/** A port that answers; with the endpoint's name unless it says otherwise. */
export interface LabListener extends LabPort {
  readonly answer?: Answer;
  /** Which container of the pod would listen. */
  readonly container?: string;
}

/** A host beside the cluster: the first address of each family is the one it speaks from. */
export interface OutsideHost {
  /** DNS label, different from every node's name. */
  readonly name: string;
  readonly addresses: readonly string[];
  /** Where it listens; `defaultOutsidePorts` when absent. */
  readonly ports?: readonly LabPort[];
}

export interface LabConfig {
  readonly nodes: readonly string[];
  readonly stack: Stack;
  readonly wiring: Wiring;
  /** What pods send to outside hosts comes from their node's address. */
  readonly masquerade: boolean;
  readonly outside: readonly OutsideHost[];
}

/**
 * `parent`: the lab ends when the process that started it ends, however that happens.
 * `detached`: it lives until `down`.
 */
export type LabLifetime = 'parent' | 'detached';

/** An object with the place it was read from, for messages. */
export interface LabObject {
  readonly object: KubeObject;
  readonly source?: SourceRange;
}

export interface ObjectRef {
  readonly kind: string;
  /** Absent: the kind as the lab knows it. */
  readonly apiVersion?: string;
  readonly namespace?: string;
  readonly name: string;
}

export type ChangeAction = 'created' | 'configured' | 'unchanged' | 'deleted';

export interface Change {
  readonly ref: ObjectRef;
  readonly action: ChangeAction;
}

/** An object the lab refuses, in the API server's words. Nothing of the batch is applied then. */
export interface Refusal {
  readonly ref: ObjectRef;
  /** `Invalid`, `NotFound`, `Forbidden`, `BadRequest` as in a Status. */
  readonly reason: string;
  readonly messages: readonly string[];
  readonly source?: SourceRange;
}

export interface ApplyResult {
  readonly changes: readonly Change[];
  /** What was ignored or assumed, each said once. */
  readonly notices: readonly string[];
  /** Milliseconds until the change was in force on every node. */
  readonly tookMs: number;
}

/**
 * OPEN: the expected listener answered. REFUSED: something answered "no" although the listener was
 * there. DROPPED: no answer, the listener answered the control, and the drop counter of exactly this
 * flow moved. NO-LISTENER: the control was refused, so the probe says nothing about policy.
 * ERROR: anything else, with a reason.
 */
export type ProbeOutcome = 'OPEN' | 'REFUSED' | 'DROPPED' | 'NO-LISTENER' | 'ERROR';

export interface DropEvidence {
  readonly node: string;
  readonly direction: 'Ingress' | 'Egress';
  readonly packets: number;
}

export interface ProbeEvidence {
  /** The listener answered a probe that no policy applies to, in the same run. */
  readonly control: boolean;
  readonly drop?: DropEvidence;
  readonly attempts: number;
}

/** Ends are named `namespace/pod`, or by the bare name of an outside host or node. */
export interface ProbeResult {
  readonly source: string;
  readonly destination: string;
  readonly family: 4 | 6;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly outcome: ProbeOutcome;
  /** Of the last attempt; for OPEN the time until the answer was complete. */
  readonly latencyMs: number;
  readonly evidence: ProbeEvidence;
  /** Present for ERROR and NO-LISTENER. */
  readonly reason?: string;
  /** Computed from the compiled programs; no packet was sent. */
  readonly simulated?: true;
}

export interface ProbeRequest {
  /** `namespace/pod`, `namespace/*`, an outside host or a node. Absent: every pod and outside host. */
  readonly from?: readonly string[];
  /** `namespace/pod`, `namespace/*` or an outside host. Absent: every pod. */
  readonly to?: readonly string[];
  /** Absent: TCP 80. */
  readonly ports?: readonly LabPort[];
  /** Absent: every family both ends have. */
  readonly family?: 4 | 6;
  /** Probe a pod from itself too. Default true. */
  readonly includeSelf?: boolean;
  /** Milliseconds before the first attempt counts as unanswered. Default 350. */
  readonly timeoutMs?: number;
}

export interface ProbeReport {
  readonly results: readonly ProbeResult[];
  readonly sources: readonly string[];
  readonly destinations: readonly string[];
  readonly ports: readonly LabPort[];
  readonly wallMs: number;
  /** Probes of the report (controls and retries not counted) per second of wall time. */
  readonly perSecond: number;
  readonly simulated: boolean;
}

export interface NodeStatus {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly podCidrs: readonly string[];
  readonly pods: number;
  /** Identity of the program in force: equal programs have equal revisions. */
  readonly revision: string;
}

/** The Kubernetes API of a lab. */
export interface ApiStatus {
  /** On the host's loopback. */
  readonly server: string;
  /** File for KUBECONFIG, readable by its owner only. */
  readonly kubeconfig: string;
  /** As the lab numbers it. */
  readonly pid: number;
}

export interface LabStatus {
  readonly simulated: boolean;
  readonly startedAt: string;
  readonly uptimeMs: number;
  readonly config: LabConfig;
  readonly nodes: readonly NodeStatus[];
  readonly outside: readonly OutsideHost[];
  readonly pods: number;
  readonly readyPods: number;
  readonly policies: number;
  readonly privileges: 'root' | 'user namespace' | 'none';
  /** Host pid of the lab's first process; absent when simulated. */
  readonly pid?: number;
  readonly stateDir?: string;
  /** Where objects are kept for the next lab; absent: they go with this one. */
  readonly stateFile?: string;
  /** Absent: the lab was started without one. */
  readonly api?: ApiStatus;
}

export interface ExecOptions {
  /** `inherit`: the caller's terminal. `capture`: stdout and stderr are returned. Default `capture`. */
  readonly stdio?: 'inherit' | 'capture';
  readonly stdin?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
}

export interface ExecResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Lab {
  readonly simulated: boolean;
  /** Creates or replaces objects, all or none. Throws `LabRefusal`. Returns when the change is in force. */
  apply(objects: readonly (KubeObject | LabObject)[]): Promise<ApplyResult>;
  /** Throws `LabRefusal` with reason `NotFound` when one is missing; then nothing is deleted. */
  delete(refs: readonly ObjectRef[]): Promise<ApplyResult>;
  /** Every stored object, pods with their status. */
  objects(): Promise<KubeObject[]>;
  get(kind: string, options?: { namespace?: string; name?: string }): Promise<KubeObject[]>;
  /** Runs a program of the host in the network of a pod, outside host or node. */
  exec(endpoint: string, argv: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  probe(request?: ProbeRequest, onProgress?: (text: string) => void): Promise<ProbeReport>;
  /** Stops one listener, to see what a probe says then. It stays closed until the pod is replaced. */
  closeListener(endpoint: string, port: LabPort): Promise<void>;
  status(): Promise<LabStatus>;
  /**
   * Ends the lab and everything in it. Idempotent. Throws `LabError` when the lab has ended, but its
   * state could not be saved.
   */
  down(): Promise<void>;
}
