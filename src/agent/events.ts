/**
 * Tells the owners of policies that cannot be enforced, by Events in their namespaces. All nodes see
 * the same fault: the Event's name follows from it, so that one of them writes it. Must not judge
 * policies.
 */
import { createHash } from 'node:crypto';
import { KubeApiError } from '../client/errors.ts';
import type { Connection } from '../client/transport.ts';
import { systemClock, type Clock } from '../system/clock.ts';

export interface PolicyFault {
  readonly apiVersion: string;
  readonly kind: string;
  /** Absent: cluster-wide; its Events are in `default`. */
  readonly namespace?: string;
  readonly name: string;
  readonly uid?: string;
  readonly reason: 'InvalidPolicy' | 'PolicyRefused';
  readonly message: string;
}

export type EventOutcome = 'written' | 'already there' | 'forbidden' | 'failed' | 'left out';

export interface EventReporterOptions {
  readonly connection: Pick<Connection, 'request'>;
  readonly node: string;
  readonly onOutcome?: (outcome: EventOutcome, error?: unknown) => void;
  readonly clock?: Clock;
  /** Events in a row at most, and how long one more takes to be allowed. Default 10 and 10 s. */
  readonly burst?: number;
  readonly refillMs?: number;
}

export interface EventReporter {
  /** The faults of now; each is told once until it goes away. */
  report(faults: readonly PolicyFault[]): Promise<void>;
}

/** The API server cuts nothing: it refuses longer messages. */
const maxMessage = 1024;

export function createEventReporter(options: EventReporterOptions): EventReporter {
  const clock = options.clock ?? systemClock;
  const burst = options.burst ?? 10;
  const refillMs = options.refillMs ?? 10_000;
  let tokens = burst;
  let filled = clock.now();
  let told = new Set<string>();

  const mayWrite = (): boolean => {
    const now = clock.now();
    const gained = Math.floor((now - filled) / refillMs);
    if (gained > 0) {
      tokens = Math.min(burst, tokens + gained);
      filled += gained * refillMs;
    }
    if (tokens === 0) return false;
    tokens -= 1;
    return true;
  };

  return {
    async report(faults) {
      const still = new Set<string>();
      for (const fault of faults) {
        const id = JSON.stringify(fault);
        if (still.has(id)) continue;
        if (told.has(id)) {
          still.add(id);
          continue;
        }
        if (!mayWrite()) {
          // Not told: tried again with the next report.
          options.onOutcome?.('left out');
          continue;
        }
        // Before the answer: a report that comes meanwhile must not tell it again.
        still.add(id);
        told.add(id);
        const outcome = await write(fault);
        if (outcome === 'failed') still.delete(id);
      }
      told = still;
    },
  };

  async function write(fault: PolicyFault): Promise<EventOutcome> {
    const namespace = fault.namespace ?? 'default';
    let outcome: EventOutcome = 'written';
    let problem: unknown;
    try {
      await options.connection.request(
        `/api/v1/namespaces/${encodeURIComponent(namespace)}/events`,
        {
          method: 'POST',
          body: eventOf(fault, namespace, options.node, new Date(clock.now()).toISOString()),
          timeoutMs: 10_000,
        },
      );
    } catch (error) {
      problem = error;
      const status = error instanceof KubeApiError ? error.status : 0;
      outcome = status === 409 ? 'already there' : status === 403 ? 'forbidden' : 'failed';
    }
    options.onOutcome?.(outcome, problem);
    return outcome;
  }
}

function eventOf(fault: PolicyFault, namespace: string, node: string, time: string): object {
  const { apiVersion, kind, name, uid, reason } = fault;
  const hash = createHash('sha256')
    .update(JSON.stringify([apiVersion, kind, namespace, name, uid, reason, fault.message]))
    .digest('hex')
    .slice(0, 16);
  const message =
    fault.message.length > maxMessage
      ? `${fault.message.slice(0, maxMessage - 1)}…`
      : fault.message;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: `${name.slice(0, 230)}.${hash}`, namespace },
    involvedObject: {
      apiVersion,
      kind,
      name,
      ...(fault.namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
    },
    type: 'Warning',
    reason,
    message,
    source: { component: 'podwall-agent', host: node },
    reportingComponent: 'podwall-agent',
    reportingInstance: node,
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  };
}
