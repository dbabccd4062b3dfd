import { describe, expect, it } from 'vitest';
import { createMemoryBackend, NftError } from '../dataplane/index.ts';
import type { Backend, NodeProgram } from '../dataplane/index.ts';
import type { ObjectRef } from '../engine/cluster-facts.ts';
import type { KubeObject } from '../k8s/types.ts';
import { clusterObjects, networkPolicy } from '../../test/contract/dataplane.ts';
import { createLoop, type LoopOptions, type Round } from './loop.ts';

const open = networkPolicy('open', { podSelector: {}, ingress: [{}] });
const bad = networkPolicy(
  'bad',
  { podSelector: {}, ingress: [{ ports: [{ port: 6666 }] }] },
  'dev',
);

interface Bench {
  readonly loop: ReturnType<typeof createLoop>;
  readonly rounds: Round[];
  readonly failures: unknown[];
  readonly calls: string[];
  objects: KubeObject[] | undefined;
  /** Programs that hold this text are refused. */
  refuse: string | undefined;
  hold: Promise<void> | undefined;
  /** Takes the kernel's rules away. */
  wreck(): Promise<void>;
}

function bench(options: Partial<LoopOptions> = {}): Bench {
  const memory = createMemoryBackend();
  const holds = (program: NodeProgram): boolean =>
    self.refuse !== undefined &&
    JSON.stringify(
      [...program.chains.values(), ...program.portMaps.values()].map((one) =>
        'rules' in one ? one.rules : [...one.entries],
      ),
    ).includes(self.refuse);
  const backend: Backend = {
    ...memory,
    forget: () => void self.calls.push('forget'),
    apply: async (program, delta) => {
      self.calls.push('apply');
      await self.hold;
      if (holds(program)) throw new NftError('nft: no', { stderr: 'no', script: '' });
      return memory.apply(program, delta);
    },
  };
  const self: Bench = {
    rounds: [],
    failures: [],
    calls: [],
    objects: clusterObjects(),
    refuse: undefined,
    hold: undefined,
    wreck: () => memory.cleanup(),
    loop: createLoop({
      node: 'node-1',
      objects: () => self.objects,
      backend,
      retry: { initialMs: 5, maximumMs: 10 },
      check: (program) => Promise.resolve(holds(program) ? 'no' : undefined),
      onRound: (round) => self.rounds.push(round),
      onFailure: (error) => self.failures.push(error),
      ...options,
    }),
  };
  return self;
}

function refOf({ apiVersion, kind, metadata }: KubeObject): ObjectRef {
  return { apiVersion, kind, namespace: metadata.namespace, name: metadata.name ?? '' };
}

/** As the agent's stores do. */
function findIn(
  objects: () => readonly KubeObject[] | undefined,
): NonNullable<LoopOptions['find']> {
  return ({ kind, namespace, name }) =>
    objects()?.find(
      (one) =>
        one.kind === kind && one.metadata.namespace === namespace && one.metadata.name === name,
    );
}

describe('rounds of what changed', () => {
  function following(options: Partial<LoopOptions> = {}): Bench & { reads: number } {
    const self: Bench = bench({
      objects: () => {
        counted.reads += 1;
        return self.objects;
      },
      find: findIn(() => self.objects),
      ...options,
    });
    const counted = Object.assign(self, { reads: 0 });
    return counted;
  }

  it('reads only the objects that are named, and looks only at what they touch', async () => {
    const self = following();
    self.loop.trigger('sync');
    await self.loop.idle();
    const ends = (): (readonly [string, string])[] => [
      ...(self.rounds.at(-1)?.program.dispatch.Ingress[4] ?? []),
    ];
    const before = ends();
    const deny = networkPolicy('deny', { podSelector: {} });
    self.objects?.push(deny);
    self.loop.trigger('changes', 5, [refOf(deny)]);
    await self.loop.idle();
    expect(ends().filter(([, target]) => target === 'd_in')).not.toEqual([]);
    self.objects?.pop();
    self.loop.trigger('changes', 6, [refOf(deny)]);
    await self.loop.idle();
    // The maps of all programs are the same ones.
    expect(new Map(ends())).toEqual(new Map(before));
    expect(self.reads).toBe(1);
    expect(self.rounds.map((round) => [round.built?.anew, round.report.partial])).toEqual([
      ['asked', false],
      [undefined, true],
      [undefined, true],
    ]);
    expect(self.rounds.map((round) => round.built?.policies)).toEqual([0, 1, 0]);
    expect(self.rounds[1]?.report.transactions.length).toBeGreaterThan(0);
  });

  it('names of objects that did not change cost nothing and change nothing', async () => {
    const self = following();
    self.loop.trigger('sync');
    await self.loop.idle();
    self.loop.trigger('changes', 5, (self.objects ?? []).map(refOf));
    await self.loop.idle();
    expect(self.rounds[1]?.report.transactions).toEqual([]);
  });

  it('what is kept and does not stand a change is made anew, in the same round', async () => {
    let broken = false;
    const self = following({
      find: (ref) => {
        if (broken) throw new Error('kept badly');
        return findIn(() => self.objects)(ref);
      },
    });
    self.loop.trigger('sync');
    await self.loop.idle();
    self.objects?.push(open);
    broken = true;
    self.loop.trigger('changes', 5, [refOf(open)]);
    await self.loop.idle();
    expect(self.failures).toEqual([expect.objectContaining({ message: 'kept badly' })]);
    expect(self.rounds[1]?.built).toMatchObject({ anew: 'fault', policies: 1 });
    broken = false;
    self.loop.trigger('changes', 6, [refOf(open)]);
    await self.loop.idle();
    expect(self.rounds[2]?.built?.anew).toBeUndefined();
  });

  it('after a failed round everything is read anew', async () => {
    const self = following({ check: () => Promise.resolve(undefined) });
    self.loop.trigger('sync');
    await self.loop.idle();
    self.objects?.push(bad);
    self.refuse = '6666';
    self.loop.trigger('changes', 5, [refOf(bad)]);
    while (self.failures.length < 1) await new Promise((resolve) => setTimeout(resolve, 2));
    self.refuse = undefined;
    await self.loop.idle();
    expect(self.rounds.at(-1)?.built).toMatchObject({ anew: 'retry', policies: 1 });
    expect(self.reads).toBeGreaterThan(1);
  });

  it('a refused policy stays aside while others change, and closes only the pods it selects', async () => {
    const self = following();
    const picky = networkPolicy('picky', {
      podSelector: { matchLabels: { role: 'db' } },
      ingress: [{ ports: [{ port: 6666 }] }],
    });
    self.objects?.push(picky);
    self.refuse = '6666';
    self.loop.trigger('sync');
    await self.loop.idle();
    const closed = (): string[] =>
      [...(self.rounds.at(-1)?.program.dispatch.Ingress[4] ?? [])].flatMap(([address, target]) =>
        target === 'd_in' ? [address] : [],
      );
    const names = (): (string | undefined)[] =>
      closed().map((address) => self.rounds.at(-1)?.program.pods?.get(address)?.name);
    expect(names()).toEqual(['db']);
    self.objects?.push(open);
    self.loop.trigger('changes', 5, [refOf(open)]);
    await self.loop.idle();
    expect(self.rounds.at(-1)?.built?.quarantined.map(({ name }) => name)).toEqual(['picky']);
    expect(names()).toEqual(['db']);
    // Mended.
    self.objects?.splice(self.objects.indexOf(picky), 1, {
      ...picky,
      spec: { podSelector: { matchLabels: { role: 'db' } }, ingress: [{ ports: [{ port: 80 }] }] },
    } as KubeObject);
    self.loop.trigger('changes', 6, [refOf(picky)]);
    await self.loop.idle();
    expect(self.rounds.at(-1)?.built?.quarantined).toEqual([]);
    expect(closed()).toEqual([]);
    expect(self.failures).toEqual([]);
  });

  it('S195: finished pods that keep addresses follow the order of input, so nothing is kept', async () => {
    const self = following({ settings: { terminatedPods: 'include' } });
    self.loop.trigger('sync');
    await self.loop.idle();
    self.objects?.push(open);
    self.loop.trigger('changes', 5, [refOf(open)]);
    await self.loop.idle();
    expect(self.rounds.map((round) => [round.report.partial, round.built?.policies])).toEqual([
      [false, 0],
      [false, 1],
    ]);
  });
});

describe('createLoop', () => {
  it('applies the present objects; a second round of the same changes nothing', async () => {
    const { loop, rounds } = bench();
    loop.trigger('sync');
    expect(loop.busy).toBe(true);
    await loop.idle();
    loop.trigger('changes', 5);
    await loop.idle();
    expect(loop.busy).toBe(false);
    expect(rounds.map((round) => [round.reasons, round.report.transactions.length > 0])).toEqual([
      [['sync'], true],
      [['changes'], false],
    ]);
    expect(rounds[1]?.since).toBe(5);
  });

  it('one writer: what comes while a round runs makes exactly one more', async () => {
    const self = bench();
    let release = (): void => undefined;
    self.hold = new Promise((resolve) => {
      release = resolve;
    });
    self.loop.trigger('sync');
    await new Promise((resolve) => setTimeout(resolve, 5));
    for (let i = 0; i < 10; i += 1) self.loop.trigger('changes', 100 + i);
    release();
    await self.loop.idle();
    expect(self.calls).toEqual(['apply', 'apply']);
    expect(self.rounds[1]).toMatchObject({ reasons: ['changes'], since: 100 });
  });

  it('an audit reads the kernel anew', async () => {
    const { loop, calls } = bench();
    loop.trigger('audit');
    await loop.idle();
    expect(calls).toEqual(['forget', 'apply']);
  });

  it('an audit compares with the last program, so that a change under way is not taken for drift', async () => {
    const self = bench();
    self.loop.trigger('sync');
    await self.loop.idle();
    self.objects?.push(bad);
    self.loop.trigger('audit');
    await self.loop.idle();
    expect(self.rounds.at(-1)).toMatchObject({
      reasons: ['audit'],
      repaired: false,
      report: { transactions: [] },
    });
    self.loop.trigger('changes');
    await self.loop.idle();
    expect(self.rounds.at(-1)?.report.transactions.length).toBeGreaterThan(0);
    await self.wreck();
    self.loop.trigger('drift');
    await self.loop.idle();
    expect(self.rounds.at(-1)?.repaired).toBe(true);
  });

  it('does nothing while too little is known', async () => {
    const self = bench();
    self.objects = undefined;
    self.loop.trigger('sync');
    await self.loop.idle();
    expect(self.calls).toEqual([]);
  });

  it('a failed round is tried again until it succeeds, with all that was asked', async () => {
    const self = bench({ check: () => Promise.resolve(undefined) });
    self.objects?.push(open, bad);
    self.refuse = '6666';
    self.loop.trigger('changes', 42);
    while (self.failures.length < 3) await new Promise((resolve) => setTimeout(resolve, 2));
    self.refuse = undefined;
    await self.loop.idle();
    expect(self.rounds).toHaveLength(1);
    expect(self.rounds[0]).toMatchObject({ since: 42, built: { quarantined: [] } });
    expect(self.rounds[0]?.reasons).toEqual(expect.arrayContaining(['changes', 'retry']));
  });

  it('a policy that nft refuses is set aside: its namespace is closed, the rest goes on', async () => {
    const self = bench();
    self.objects?.push(
      open,
      bad,
      networkPolicy('fine', { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] }),
    );
    self.refuse = '6666';
    self.loop.trigger('changes');
    await self.loop.idle();
    const [round] = self.rounds;
    expect(self.failures).toEqual([]);
    expect(round?.built?.quarantined.map((ref) => ref.name)).toEqual(['bad']);
    const dispatch = round?.program.dispatch.Ingress[4];
    expect(dispatch?.get('10.244.1.12')).toBe('d_in');
    expect(dispatch?.get('10.244.1.10')).not.toBe('d_in');
    // An audit keeps it aside; a change of objects gives it another chance.
    self.loop.trigger('audit');
    await self.loop.idle();
    expect(self.rounds.at(-1)?.built).toBeUndefined();
    self.refuse = undefined;
    self.loop.trigger('changes');
    await self.loop.idle();
    expect(self.rounds.at(-1)?.built?.quarantined).toEqual([]);
  });

  it('lesson 44: an nft that refuses everything, even no policy at all, blames no policy', async () => {
    let fails = true;
    let checks = 0;
    const self = bench({
      check: () => {
        checks += 1;
        return Promise.resolve(fails ? '' : undefined);
      },
    });
    self.objects?.push(open, bad);
    self.refuse = '6666';
    self.loop.trigger('sync');
    while (self.failures.length < 2) await new Promise((resolve) => setTimeout(resolve, 2));
    expect(self.rounds).toEqual([]);
    expect(checks).toBeLessThanOrEqual(self.failures.length + 1);
    fails = false;
    self.refuse = undefined;
    await self.loop.idle();
    expect(self.rounds.at(-1)?.built?.quarantined).toEqual([]);
    expect(self.rounds.at(-1)?.program.dispatch.Ingress[4].get('10.244.1.10')).toBe('c_ok');
  });

  it('stops between tries', async () => {
    const self = bench({ retry: { initialMs: 60_000 }, check: () => Promise.resolve(undefined) });
    self.objects?.push(bad);
    self.refuse = '6666';
    self.loop.trigger('sync');
    while (self.failures.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    await self.loop.stop();
    self.loop.trigger('changes');
    expect(self.loop.busy).toBe(false);
  });
});
