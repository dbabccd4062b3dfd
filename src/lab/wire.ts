/**
 * What the daemon and its short-lived scripts say to each other. Shapes and words only, so that the
 * scripts start fast: must import nothing.
 */

/** Header of the lab's HTTP listeners that names the endpoint. */
export const identityHeader = 'x-podwall-endpoint';

/** A datagram that asks a lab listener for its name. */
export const udpQuestion = 'podwall?\n';

export interface BindRequest {
  readonly ports: readonly { readonly protocol: string; readonly port: number }[];
  /** Write per-network settings that a pod wants; not in a node's network. */
  readonly settings: boolean;
}

/** One message per port, in order, then `done`; a socket travels with each `bound`. */
export type BindReply =
  | { readonly kind: 'bound'; readonly protocol: string; readonly port: number }
  | {
      readonly kind: 'failed';
      readonly protocol: string;
      readonly port: number;
      readonly error: string;
    }
  | { readonly kind: 'done' };

export interface ProbeTask {
  /** Chosen by the asker, echoed. */
  readonly id: number;
  /** Absent: as the routes of the source choose. */
  readonly localAddress?: string;
  readonly address: string;
  readonly protocol: string;
  readonly port: number;
  readonly timeoutMs: number;
}

export interface ProbeBatch {
  readonly concurrency: number;
  readonly tasks: readonly ProbeTask[];
}

/** What one attempt saw, without a judgement. */
export interface ProbeSighting {
  readonly id: number;
  readonly kind: 'answered' | 'refused' | 'timeout' | 'failed';
  /** Who answered, by its own words; absent when the answer did not say. */
  readonly identity?: string;
  readonly error?: string;
  readonly latencyMs: number;
}
