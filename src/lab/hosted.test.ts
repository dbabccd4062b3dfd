import { describe, expect, it } from 'vitest';
import type { Pod } from '../k8s/types.ts';
import { completeLabConfig } from './config.ts';
import type { Enforcer } from './enforce.ts';
import { createBatch, createHosted, type PodAnswer } from './hosted.ts';
import type { Listeners } from './listeners.ts';
import { createMirror, type Mirror } from './mirror.ts';

const config = completeLabConfig({ nodes: ['n'], stack: 'ipv4', outside: [] });

const pod = (name: string, uid = `uid-${name}`): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'a', name, uid, resourceVersion: '1' },
  spec: { nodeName: 'n' },
});

interface World {
  readonly mirror: Mirror;
  /** Names of pods whose networks exist. */
  readonly made: Set<string>;
  readonly troubles: unknown[];
  readonly enforced: number[];
  readonly wire: (one: Pod) => Promise<PodAnswer>;
  readonly open: (uid: string) => Promise<unknown>;
  readonly stop: (uid: string) => Promise<unknown>;
}

/** A machine that makes networks of the names in the scripts, and refuses those in `broken`. */
function world(broken: ReadonlySet<string> = new Set()): World {
  const mirror = createMirror(config);
  const made = new Set<string>();
  const troubles: unknown[] = [];
  const enforced: number[] = [];
  const shell = async (script: string): Promise<void> => {
    const removed = /^for n in (.*?);/m.exec(script)?.[1]?.split(' ') ?? [];
    for (const name of removed) {
      if (broken.has(`keep ${name}`)) throw new Error(`cannot remove ${name}`);
      made.delete(name);
    }
    for (const [, name = ''] of script.matchAll(/^netns add (.*)$/gm)) {
      if (made.has(name)) throw new Error(`${name}: File exists`);
      made.add(name);
      if (broken.has(name)) throw new Error(`cannot make ${name}`);
    }
  };
  const enforcer = {
    enforce: async (objects: readonly unknown[]) => {
      enforced.push(objects.length);
      return [];
    },
  } as unknown as Enforcer;
  const listeners = {
    open: async ({ endpoint }: { endpoint: string }) => {
      if (broken.has(`closed ${endpoint}`)) throw new Error('its listeners did not start');
      return [];
    },
    close: () => true,
    visits: () => [],
  } as unknown as Listeners;
  let last: Promise<unknown> = Promise.resolve();
  const calls = createHosted({
    mirror,
    enforcer,
    listeners,
    queue: (act) => {
      const next = last.then(act, act);
      last = next.catch(() => {});
      return next;
    },
    shell,
    onTrouble: (error) => troubles.push(error),
    dns: () => undefined,
  });
  const call = (name: string, params: unknown): Promise<unknown> =>
    (calls[name] as (params: unknown, onProgress: () => void) => Promise<unknown>)(
      params,
      () => {},
    );
  return {
    mirror,
    made,
    troubles,
    enforced,
    wire: (object) => call('podWire', { object }) as Promise<PodAnswer>,
    open: (uid) => call('podOpen', { uid, ports: [] }),
    stop: (uid) => call('podStop', { uid }),
  };
}

describe('pods the daemon is told of', () => {
  it('get a network, are opened when policy is in force, and go', async () => {
    const { made, enforced, mirror, wire, open, stop } = world();
    const [x, y] = await Promise.all([wire(pod('x')), wire(pod('y'))]);
    expect([x?.podIPs, y?.podIPs]).toEqual([['10.244.1.2'], ['10.244.1.3']]);
    expect([...made]).toEqual(['pod-a_x', 'pod-a_y']);
    expect(enforced).toEqual([]);
    await open('uid-x');
    expect(enforced).toEqual([2]);
    await stop('uid-x');
    expect([...made]).toEqual(['pod-a_y']);
    await expect(open('uid-x')).rejects.toThrow('was stopped before it started');
    expect(mirror.pods()).toHaveLength(1);
  });

  it('one that was replaced before its turn leaves nothing to take away', async () => {
    const { made, mirror, wire } = world();
    // The first of a batch runs alone; the next two wait together.
    const first = wire(pod('z'));
    await new Promise((resolve) => setImmediate(resolve));
    const old = wire(pod('x', 'uid-1')).catch((error: unknown) => error);
    const fresh = wire(pod('x', 'uid-2'));
    await first;
    expect(String(await old)).toContain('replaced before it started');
    expect((await fresh).podIPs).toHaveLength(1);
    expect([...made]).toEqual(['pod-a_z', 'pod-a_x']);
    expect(mirror.running('a/x')?.uid).toBe('uid-2');
    expect((await wire(pod('y'))).podIPs).toHaveLength(1);
  });

  it('one that ran is taken away before its successor is made', async () => {
    const { made, wire } = world();
    await wire(pod('x', 'uid-1'));
    expect((await wire(pod('x', 'uid-2'))).podIPs).toEqual(['10.244.1.3']);
    expect([...made]).toEqual(['pod-a_x']);
  });

  it('one that cannot be made fails alone, leaves nothing, and its address is free', async () => {
    const broken = new Set(['pod-a_bad']);
    const { made, mirror, wire } = world(broken);
    const answers = await Promise.allSettled(['one', 'bad', 'two'].map((name) => wire(pod(name))));
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect([...made]).toEqual(['pod-a_one', 'pod-a_two']);
    expect(mirror.pods().map(({ name }) => name)).toEqual(['one', 'two']);
    broken.clear();
    expect((await wire(pod('bad'))).podIPs).toHaveLength(1);
  });

  it('one that cannot be taken away does not keep others from starting, and is tried again', async () => {
    const broken = new Set(['keep pod-a_x']);
    const { made, troubles, wire, stop } = world(broken);
    await wire(pod('x'));
    await stop('uid-x');
    expect(troubles.map(String)).toEqual(['Error: cannot remove pod-a_x']);
    expect((await wire(pod('y'))).podIPs).toHaveLength(1);
    expect([...made]).toEqual(['pod-a_x', 'pod-a_y']);
    broken.clear();
    await wire(pod('z'));
    expect([...made]).toEqual(['pod-a_y', 'pod-a_z']);
  });

  it('one that cannot be opened fails alone, also when it is stopped in the same round', async () => {
    const { made, wire, open, stop } = world(new Set(['closed a/y']));
    await Promise.all([wire(pod('x')), wire(pod('y')), wire(pod('z'))]);
    const first = stop('uid-none');
    await new Promise((resolve) => setImmediate(resolve));
    const all = await Promise.allSettled([
      open('uid-x'),
      open('uid-y'),
      open('uid-z'),
      stop('uid-z'),
    ]);
    await first;
    expect(all.map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'rejected',
      'fulfilled',
    ]);
    expect([...made]).toEqual(['pod-a_x', 'pod-a_y']);
  });
});

describe('createBatch', () => {
  it('gathers what comes while it works; an error is of its item alone', async () => {
    const seen: number[][] = [];
    const add = createBatch<number>(async (items) => {
      seen.push([...items]);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return items.map((item) => (item === 3 ? new Error('three') : item * 2));
    });
    const first = add(1);
    await new Promise((resolve) => setImmediate(resolve));
    const rest = await Promise.allSettled([add(2), add(3), add(4)]);
    expect(await first).toBe(2);
    expect(
      rest.map((one) => (one.status === 'fulfilled' ? one.value : String(one.reason))),
    ).toEqual([4, 'Error: three', 8]);
    expect(seen).toEqual([[1], [2, 3, 4]]);
  });

  it('a run that fails fails all of its items, and none of the next', async () => {
    let runs = 0;
    const add = createBatch<number>(async (items) => {
      runs += 1;
      if (runs === 1) throw new Error('down');
      return [...items];
    });
    await expect(Promise.all([add(1), add(2)])).rejects.toThrow('down');
    expect(await add(3)).toBe(3);
  });
});

describe('what the daemon is told of objects', () => {
  it('is known at once, also while a round waits for agents; in force when its round is over', async () => {
    const mirror = createMirror(config);
    const waits: (() => void)[] = [];
    const enforcer = {
      enforce: () => new Promise((resolve) => waits.push(() => resolve([]))),
    } as unknown as Enforcer;
    const calls = createHosted({
      mirror,
      enforcer,
      listeners: { close: () => true } as unknown as Listeners,
      queue: (act) => act(),
      shell: async () => {},
      onTrouble: () => {},
      dns: () => undefined,
    });
    const call = (name: string, params: unknown): Promise<unknown> =>
      (calls[name] as (params: unknown, onProgress: () => void) => Promise<unknown>)(
        params,
        () => {},
      );
    await call('podWire', { object: pod('x') });
    let stopped = false;
    const stop = call('podStop', { uid: 'uid-x' }).then(() => (stopped = true));
    await expect.poll(() => waits.length).toBe(1);
    // The agents follow the API, where the pod is gone: the daemon must learn it now, not later.
    const gone = [{ kind: 'Pod', namespace: 'a', name: 'x' }];
    expect(await call('sync', { put: [], gone })).toBe(true);
    expect(mirror.objects()).toEqual([]);
    let enforced = false;
    const enforce = call('enforce', true).then(() => (enforced = true));
    expect([stopped, enforced]).toEqual([false, false]);
    waits[0]?.();
    await stop;
    await expect.poll(() => waits.length).toBe(2);
    expect(enforced).toBe(false);
    waits[1]?.();
    await enforce;
  });
});
