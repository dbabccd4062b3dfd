/**
 * What the API server needs of whatever runs the pods. The lab implements it with network
 * namespaces; tests use `fake-runtime.ts`. Must not know how either works.
 */
import type { Duplex, Readable, Writable } from 'node:stream';
import type { ApiObject, JsonObject } from './object.ts';

export interface PodRef {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly container: string;
}

/** A started pod: its addresses are final, its network works, policy is in force. */
export interface StartedPod {
  readonly podIPs: readonly string[];
  readonly hostIP: string;
}

export interface ExecOptions {
  readonly command: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
}

/** A process inside a container. With a tty, `stderr` carries nothing. */
export interface ExecSession {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves once, with the exit code (128 + signal number when killed), after all output. */
  readonly exit: Promise<number>;
  resize?(columns: number, rows: number): void;
  kill(): void;
}

export interface LogOptions {
  readonly follow: boolean;
  readonly tailLines?: number;
  readonly limitBytes?: number;
  readonly sinceSeconds?: number;
  readonly timestamps: boolean;
  readonly previous: boolean;
}

/** How one run of a container ended. Times in milliseconds since the epoch. */
export interface ContainerEnd {
  readonly kind: 'terminated';
  readonly exitCode: number;
  /** Default: `Completed` or `Error`, by the exit code. */
  readonly reason?: string;
  readonly message?: string;
  readonly startedAt: number;
  readonly finishedAt: number;
}

export type ContainerState =
  | { readonly kind: 'waiting'; readonly reason: string; readonly message?: string }
  | { readonly kind: 'running'; readonly startedAt: number }
  | ContainerEnd;

/** What a container does from now on. */
export interface ContainerChange {
  readonly uid: string;
  readonly container: string;
  readonly state: ContainerState;
  readonly restartCount: number;
  /** The run before this one. */
  readonly last?: ContainerEnd;
}

export interface PodRuntime {
  /**
   * Starts a pod that has `spec.nodeName`. Resolves when it has its network with policy in force, and
   * what each container does was told to `onChange`; of a container never told of it is taken that
   * it runs, of an init container that it is done. Rejects when it cannot run; the error's message is
   * shown to the user. `onAddress` is called before, when the pod has its addresses but nothing runs in
   * it yet: who enforces policy has to hear of it then.
   */
  start(pod: ApiObject, onAddress?: (addressed: StartedPod) => void): Promise<StartedPod>;
  /** Ends a pod within the grace and frees its addresses. Unknown uid: does nothing. */
  stop(uid: string, graceSeconds: number): Promise<void>;
  exec(ref: PodRef, options: ExecOptions): Promise<ExecSession>;
  /** The main process of a container; absent when the runtime cannot attach. */
  attach?(ref: PodRef, options: Omit<ExecOptions, 'command'>): Promise<ExecSession>;
  /** Runs one more container in a pod that runs; absent: it is only taken as running. */
  startEphemeral?(uid: string, container: JsonObject): void;
  /** Rejects with `ApiError` when there is no such log. */
  logs(ref: PodRef, options: LogOptions): Promise<Readable>;
  /** A connection to a TCP port inside the pod. */
  dial(ref: PodRef, port: number): Promise<Duplex>;
  /** Called when what a container does changes. */
  onChange?(listener: (change: ContainerChange) => void): void;
}
