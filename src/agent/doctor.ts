/**
 * Proves, or disproves, that policies are enforced: two throw-away endpoints, first without a policy
 * (control), then denied, then allowed. Must not know where the endpoints are or what enforces.
 */
import type { KubeObject } from '../k8s/types.ts';

/** What one fresh connection met. Silence and refusal are the same here: `closed`. */
export type Attempt = 'open' | 'closed';

/** A place with a client and a listener, made for one examination and taken away after it. */
export interface DoctorSite {
  /** Makes the endpoints; resolves when they should be able to talk. */
  prepare(signal: AbortSignal): Promise<void>;
  /** Resolves when the policy is accepted, which need not mean that it is in force. */
  add(policy: KubeObject, signal: AbortSignal): Promise<void>;
  /** One connection that begins after this call. */
  attempt(signal: AbortSignal): Promise<Attempt>;
  /** Takes everything away. Called once, whatever happened, also after an abort. */
  cleanup(): Promise<void>;
}

export interface DoctorOptions {
  readonly signal: AbortSignal;
  /** Attempts that must agree in each step. Default 3. */
  readonly tries?: number;
  /** How long each step may take to begin to hold, in milliseconds. Default 30,000. */
  readonly patienceMs?: number;
  readonly onStep?: (text: string) => void;
}

export interface DoctorReport {
  readonly verdict: 'ENFORCED' | 'NOT ENFORCED' | 'INCONCLUSIVE';
  /** One sentence. */
  readonly reason: string;
  /** From handing in the deny policy to the first connection (its start) that it stopped. */
  readonly denyAfterMs?: number;
  /** From handing in the allow policy to the first connection (its end) that passed. */
  readonly allowAfterMs?: number;
  readonly tries: number;
  readonly attempts: number;
}

/** Labels that the endpoints of every site wear. */
export const listenerLabels: Readonly<Record<string, string>> = {
  'app.kubernetes.io/name': 'podwall-doctor',
  'podwall.dev/doctor': 'listener',
};
export const clientLabels: Readonly<Record<string, string>> = {
  'app.kubernetes.io/name': 'podwall-doctor',
  'podwall.dev/doctor': 'client',
};

function policy(namespace: string, name: string, spec: object): KubeObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace },
    spec: { podSelector: { matchLabels: listenerLabels }, policyTypes: ['Ingress'], ...spec },
  };
}

/** Nobody may reach the listener. */
export function denyPolicy(namespace: string): KubeObject {
  return policy(namespace, 'podwall-doctor-deny', {});
}

/** The client may. */
export function allowPolicy(namespace: string, port: number): KubeObject {
  return policy(namespace, 'podwall-doctor-allow', {
    ingress: [
      {
        from: [{ podSelector: { matchLabels: clientLabels } }],
        ports: [{ protocol: 'TCP', port }],
      },
    ],
  });
}

interface Held {
  readonly held: boolean;
  /** Start and end of the first attempt of the series that held, from the beginning of the step. */
  readonly startMs: number;
  readonly endMs: number;
}

/**
 * Runs the examination and cleans up. Rejects with the signal's reason when aborted, and with the
 * site's error when a step could not be carried out; everything is taken away first.
 */
export async function examine(
  site: DoctorSite,
  where: { readonly namespace: string; readonly port: number },
  options: DoctorOptions,
): Promise<DoctorReport> {
  const { signal, onStep } = options;
  const tries = options.tries ?? 3;
  const patience = options.patienceMs ?? 30_000;
  let attempts = 0;

  /** Until `tries` attempts in a row come out as wanted. */
  const holds = async (wanted: Attempt, began: number): Promise<Held> => {
    let row = 0;
    let startMs = 0;
    let endMs = 0;
    for (;;) {
      signal.throwIfAborted();
      const start = performance.now();
      const answer = await site.attempt(signal);
      attempts += 1;
      if (answer === wanted) {
        if (row === 0) [startMs, endMs] = [start - began, performance.now() - began];
        row += 1;
        if (row === tries) return { held: true, startMs, endMs };
      } else {
        row = 0;
        // A connection may be refused in no time: no need to keep a CPU busy with it.
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      // A series that has begun is brought to its end.
      if (row === 0 && performance.now() - began > patience)
        return { held: false, startMs: 0, endMs: 0 };
    }
  };

  try {
    await site.prepare(signal);
    onStep?.('control: without a policy the connection must pass');
    const control = await holds('open', performance.now());
    if (!control.held)
      return {
        verdict: 'INCONCLUSIVE',
        reason:
          'control failed: the client cannot reach the listener without any policy of ours, so a denial would prove nothing',
        tries,
        attempts,
      };

    onStep?.('deny: a policy that admits nobody');
    const handedIn = performance.now();
    await site.add(denyPolicy(where.namespace), signal);
    const deny = await holds('closed', handedIn);
    if (!deny.held)
      return {
        verdict: 'NOT ENFORCED',
        reason: `${patience / 1000} s after a policy that admits nobody, connections still pass`,
        tries,
        attempts,
      };

    onStep?.('allow: a policy that admits the client');
    const relieved = performance.now();
    await site.add(allowPolicy(where.namespace, where.port), signal);
    const allow = await holds('open', relieved);
    const denyAfterMs = deny.startMs;
    if (!allow.held)
      return {
        verdict: 'INCONCLUSIVE',
        reason: `connections stopped after the deny policy, but did not pass again within ${patience / 1000} s of one that allows them: the listener may have ended, or allowing does not work`,
        denyAfterMs,
        tries,
        attempts,
      };
    const converged = Math.max(denyAfterMs, allow.endMs);
    return {
      verdict: 'ENFORCED',
      reason: `deny held ${tries}/${tries}, allow held ${tries}/${tries}, converged in ${Math.round(converged)} ms`,
      denyAfterMs,
      allowAfterMs: allow.endMs,
      tries,
      attempts,
    };
  } finally {
    onStep?.('cleaning up');
    try {
      await site.cleanup();
    } catch (error) {
      // What was found out, or went wrong before, matters more.
      onStep?.(
        `something is left behind: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
}
