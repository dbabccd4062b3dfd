import { describe, expect, it } from 'vitest';
import { KubeApiError } from '../client/errors.ts';
import type { Clock } from '../system/clock.ts';
import { createEventReporter, type EventOutcome, type PolicyFault } from './events.ts';

const fault = (
  name: string,
  message = 'spec.ingress[0].ports[0].port: Invalid value: 0',
): PolicyFault => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  namespace: 'prod',
  name,
  uid: 'u-1',
  reason: 'InvalidPolicy',
  message,
});

interface Posted {
  readonly path: string;
  readonly body: { metadata: { name: string; namespace: string }; message: string };
}

function make(answer: () => void = () => {}): {
  reporter: ReturnType<typeof createEventReporter>;
  posted: Posted[];
  outcomes: EventOutcome[];
  pass(ms: number): void;
} {
  const posted: Posted[] = [];
  const outcomes: EventOutcome[] = [];
  let now = 1_000_000;
  const clock: Clock = { now: () => now, sleep: async () => {} } as unknown as Clock;
  const reporter = createEventReporter({
    connection: {
      request: async <T>(path: string, options?: { body?: unknown }) => {
        posted.push({ path, body: options?.body as Posted['body'] });
        answer();
        return {} as T;
      },
    },
    node: 'node-1',
    clock,
    burst: 3,
    refillMs: 1000,
    onOutcome: (outcome) => outcomes.push(outcome),
  });
  return {
    reporter,
    posted,
    outcomes,
    pass: (ms) => {
      now += ms;
    },
  };
}

describe('events on faulty policies', () => {
  it('tells each fault once, again when it comes back, and anew when it changes', async () => {
    const { reporter, posted } = make();
    await reporter.report([fault('a')]);
    await reporter.report([fault('a')]);
    expect(posted).toHaveLength(1);
    expect(posted[0]).toMatchObject({
      path: '/api/v1/namespaces/prod/events',
      body: {
        kind: 'Event',
        type: 'Warning',
        reason: 'InvalidPolicy',
        involvedObject: { kind: 'NetworkPolicy', namespace: 'prod', name: 'a', uid: 'u-1' },
      },
    });
    await reporter.report([]);
    await reporter.report([fault('a')]);
    await reporter.report([fault('a', 'something else')]);
    expect(posted.map(({ body }) => body.message)).toHaveLength(3);
  });

  it('all nodes give a fault the same name, so that one writes it', async () => {
    const [one, two] = [make(), make()];
    await one.reporter.report([fault('a')]);
    await two.reporter.report([fault('a')]);
    expect(one.posted[0]?.body.metadata.name).toBe(two.posted[0]?.body.metadata.name);
    const late = make(() => {
      throw new KubeApiError({ status: 409, message: 'exists' });
    });
    await late.reporter.report([fault('a')]);
    await late.reporter.report([fault('a')]);
    expect(late.outcomes).toEqual(['already there']);
  });

  it('is limited, and tells the rest later', async () => {
    const { reporter, posted, outcomes, pass } = make();
    const all = ['a', 'b', 'c', 'd', 'e'].map((name) => fault(name));
    await reporter.report(all);
    expect(posted).toHaveLength(3);
    expect(outcomes.filter((one) => one === 'left out')).toHaveLength(2);
    pass(1000);
    await reporter.report(all);
    expect(posted.map(({ body }) => body.metadata.name.split('.')[0])).toEqual([
      'a',
      'b',
      'c',
      'd',
    ]);
  });

  it('does not ask again where it is forbidden, but after a failure', async () => {
    const forbidden = make(() => {
      throw new KubeApiError({ status: 403, message: 'no' });
    });
    await forbidden.reporter.report([fault('a')]);
    await forbidden.reporter.report([fault('a')]);
    expect(forbidden.outcomes).toEqual(['forbidden']);
    const failing = make(() => {
      throw new Error('broken');
    });
    await failing.reporter.report([fault('a')]);
    await failing.reporter.report([fault('a')]);
    expect(failing.outcomes).toEqual(['failed', 'failed']);
  });

  it('cluster-wide policies have their Events in default; long messages are cut', async () => {
    const { reporter, posted } = make();
    const { namespace: _, ...wide } = fault('x'.repeat(253), 'm'.repeat(5000));
    await reporter.report([wide]);
    expect(posted[0]?.path).toBe('/api/v1/namespaces/default/events');
    expect(posted[0]?.body.message).toHaveLength(1024);
    expect(posted[0]?.body.metadata.name.length).toBeLessThanOrEqual(253);
  });
});
