import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { completeLabConfig } from './config.ts';
import {
  judgeSightings,
  planProbes,
  runProbes,
  type NodeDrop,
  type PlannedProbe,
  type ProbeRunner,
} from './probe.ts';
import { createStore, type LabStore } from './store.ts';
import type { ProbeRequest } from './types.ts';
import type { ProbeSighting, ProbeTask } from './wire.ts';

function store(): LabStore {
  const made = createStore(completeLabConfig());
  const pods = ['a/x', 'a/y', 'b/z'].map((id): KubeObject => {
    const [namespace = '', name = ''] = id.split('/');
    return { apiVersion: 'v1', kind: 'Pod', metadata: { namespace, name } };
  });
  made.apply(pods.map((object) => ({ object })));
  return made;
}

describe('planProbes', () => {
  const sizes: [ProbeRequest, number][] = [
    [{}, 7 * 3 * 2],
    [{ family: 4 }, 7 * 3],
    [{ family: 4, includeSelf: false }, 7 * 3 - 3],
    [{ from: ['a/*'], to: ['b/z', 'world-a'], family: 6 }, 4],
    [{ from: ['node-1'], to: ['a/x', 'a/x'], family: 4 }, 1],
  ];
  it.each(sizes)('%j asks for %i probes', (request, count) => {
    expect(planProbes(store(), request).probes).toHaveLength(count);
  });

  it('probes from the address the packet will have, controls from where no policy applies', () => {
    const [probe] = planProbes(store(), { from: ['world-a'], to: ['a/x'] }).probes;
    expect(probe).toMatchObject({
      sourceAddress: '172.17.0.10',
      destinationAddress: '10.244.1.2',
      source: { netns: 'out-world-a' },
      destination: { netns: 'pod-a_x', controlNetns: 'node-node-1' },
    });
  });

  it.each([
    ['a/none', 'there is no pod a/none'],
    ['c/*', 'there are no pods c/*'],
    ['nobody', '"nobody" is no outside host or node; pods are written NAMESPACE/NAME'],
    ['x', '"x" is no outside host or node; did you mean a/x?'],
    ['world-c', '"world-c" is no outside host or node; did you mean world-a?'],
    ['aa/*', 'there are no pods aa/*'],
  ])('%s leads nowhere', (name, message) => {
    expect(() => planProbes(store(), { to: [name] })).toThrow(message);
  });
});

type Answer = Omit<ProbeSighting, 'id' | 'latencyMs'>;

/** A world whose answers are written down: per source network and attempt. */
function world(
  answer: (netns: string, task: ProbeTask, round: number) => Answer,
  drops: readonly NodeDrop[] = [],
): ProbeRunner & { asked: number[] } {
  const rounds = new Map<string, number>();
  const asked: number[] = [];
  return {
    asked,
    parallel: 4,
    resetDrops: async () => {},
    drops: async () => drops,
    async attempt(netns, tasks) {
      const round = rounds.get(netns) ?? 0;
      rounds.set(netns, round + 1);
      asked.push(tasks[0]?.timeoutMs ?? 0);
      return tasks.map((task) => ({ id: task.id, latencyMs: 1, ...answer(netns, task, round) }));
    },
  };
}

const drop: NodeDrop = {
  node: 'node-2',
  family: 4,
  direction: 'Ingress',
  source: '10.244.1.2',
  destination: '10.244.2.2',
  protocol: 'TCP',
  port: 80,
  packets: 2,
};

describe('runProbes', () => {
  const plan = planProbes(store(), { from: ['a/x'], to: ['a/y'], family: 4 });
  const controlled =
    (seen: Answer): ((netns: string) => Answer) =>
    (netns) =>
      netns.startsWith('node-') ? { kind: 'answered', identity: 'a/y' } : seen;

  it('DROPPED: no answer, a control that answered, and a drop of exactly this flow', async () => {
    const runner = world(controlled({ kind: 'timeout' }), [drop]);
    const { results } = await runProbes(plan, runner);
    expect(results).toMatchObject([
      {
        outcome: 'DROPPED',
        evidence: {
          control: true,
          attempts: 1,
          drop: { node: 'node-2', direction: 'Ingress', packets: 2 },
        },
      },
    ]);
    expect(runner.asked).toEqual([350, 350]);
  });

  it.each([
    ['another port', { ...drop, port: 81 }],
    ['the way back', { ...drop, source: drop.destination, destination: drop.source }],
    ['another protocol', { ...drop, protocol: 'UDP' }],
    ['a counter that did not move', { ...drop, packets: 0 }],
  ])('a drop of %s proves nothing: asked three times, then ERROR', async (_name, other) => {
    const runner = world(controlled({ kind: 'timeout' }), [other]);
    const { results } = await runProbes(plan, runner);
    expect(results).toMatchObject([
      {
        outcome: 'ERROR',
        reason: 'no answer in 3 attempts, yet no node counted a drop of it',
        evidence: { control: true, attempts: 3 },
      },
    ]);
    expect(runner.asked).toEqual([350, 350, 2000, 5000]);
  });

  it('a late answer on a loaded machine is OPEN, not denied', async () => {
    const runner = world((netns, _task, round) =>
      netns.startsWith('pod-') && round === 0
        ? { kind: 'timeout' }
        : { kind: 'answered', identity: 'a/y' },
    );
    const { results } = await runProbes(plan, runner);
    expect(results).toMatchObject([{ outcome: 'OPEN', evidence: { attempts: 2, control: true } }]);
  });

  it('a control that was refused settles its probes without waiting again', async () => {
    const runner = world((netns) => ({ kind: netns.startsWith('node-') ? 'refused' : 'timeout' }));
    const { results } = await runProbes(plan, runner);
    expect(results).toMatchObject([{ outcome: 'NO-LISTENER', evidence: { control: false } }]);
    expect(runner.asked).toHaveLength(2);
  });

  it('resets the counters before they can be full', async () => {
    let resets = 0;
    const base = world(controlled({ kind: 'timeout' }), [drop]);
    const runner = { ...base, resetDrops: async () => void resets++ };
    const probes = Array.from({ length: 70_000 }, () => plan.probes[0] as PlannedProbe);
    const { results } = await runProbes({ ...plan, probes }, runner);
    expect([results.length, resets]).toEqual([70_000, 3]);
    expect(results.every((one) => one.outcome === 'DROPPED')).toBe(true);
  });

  it('sends one control for a listener, however many ask it', async () => {
    const tasks: string[] = [];
    const runner = world((netns) => {
      tasks.push(netns);
      return { kind: 'answered', identity: 'a/y' };
    });
    const many = planProbes(store(), { to: ['a/y'], family: 4 });
    const report = await runProbes(many, runner);
    expect(report.results).toHaveLength(7);
    expect(tasks.filter((netns) => netns.startsWith('node-'))).toHaveLength(1);
  });
});

describe('judgeSightings', () => {
  const seen = (kind: ProbeSighting['kind'], identity?: string): ProbeSighting => ({
    id: 0,
    kind,
    latencyMs: 1,
    ...(identity === undefined ? {} : { identity }),
  });
  const here = seen('answered', 'a/y');
  const evidence = { node: 'n', direction: 'Egress', packets: 1 } as const;
  const table: [
    string,
    ProbeSighting | undefined,
    typeof evidence | undefined,
    ProbeSighting | undefined,
    string,
  ][] = [
    ['the right answer', here, undefined, here, 'OPEN'],
    ['the right answer without a control', here, undefined, seen('timeout'), 'OPEN'],
    ['the answer of another', seen('answered', 'a/z'), undefined, here, 'ERROR'],
    ['an answer without a name', seen('answered'), undefined, here, 'ERROR'],
    ['refused while the control answers', seen('refused'), undefined, here, 'REFUSED'],
    ['refused like the control', seen('refused'), undefined, seen('refused'), 'NO-LISTENER'],
    ['dropped', seen('timeout'), evidence, here, 'DROPPED'],
    ['dropped, nothing listens', seen('timeout'), evidence, seen('refused'), 'NO-LISTENER'],
    ['dropped, control unanswered', seen('timeout'), evidence, seen('timeout'), 'ERROR'],
    [
      'dropped, control answered by another',
      seen('timeout'),
      evidence,
      seen('answered', 'x/x'),
      'ERROR',
    ],
    ['silence without evidence', seen('timeout'), undefined, here, 'ERROR'],
    ['a broken probe', seen('failed'), undefined, here, 'ERROR'],
    ['nothing at all', undefined, undefined, here, 'ERROR'],
  ];
  it.each(table)('%s', (_name, sighting, dropped, control, outcome) => {
    const judged = judgeSightings('a/y', sighting, dropped, control, 1);
    expect(judged.outcome).toBe(outcome);
    expect(judged.reason !== undefined).toBe(outcome === 'ERROR' || outcome === 'NO-LISTENER');
  });
});
