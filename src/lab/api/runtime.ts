/**
 * What the API server needs of whatever runs the pods. The lab implements it with network
 * namespaces; tests use `fake-runtime.ts`. Must not know how either works.
 */
import type { Duplex, Readable, Writable } from 'node:stream';
import type { ApiObject } from './object.ts';

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

export interface ContainerExit {
  readonly uid: string;
  readonly container: string;
  readonly exitCode: number;
}

export interface PodRuntime {
  /**
   * Starts a pod that has `spec.nodeName`. Resolves when it is ready. Rejects when it cannot run;
   * the error's message is shown to the user. `onAddress` is called before, when the pod has its
   * addresses but nothing runs in it yet: who enforces policy has to hear of it then.
   */
  start(pod: ApiObject, onAddress?: (addressed: StartedPod) => void): Promise<StartedPod>;
  /** Ends a pod within the grace and frees its addresses. Unknown uid: does nothing. */
  stop(uid: string, graceSeconds: number): Promise<void>;
  exec(ref: PodRef, options: ExecOptions): Promise<ExecSession>;
  /** The main process of a container; absent when the runtime cannot attach. */
  attach?(ref: PodRef, options: Omit<ExecOptions, 'command'>): Promise<ExecSession>;
  logs(ref: PodRef, options: LogOptions): Promise<Readable>;
  /** A connection to a TCP port inside the pod. */
  dial(ref: PodRef, port: number): Promise<Duplex>;
  /** Called when a container's main process ends by itself. */
  onExit?(listener: (exit: ContainerExit) => void): void;
}
