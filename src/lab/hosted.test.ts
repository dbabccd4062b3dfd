/** Rounds of the daemon with the machine replaced: what is done, and in which order. */
import { describe, expect, it } from 'vitest';
import type { KubeObject, Pod } from '../k8s/types.ts';
import { completeLabConfig } from './config.ts';
import type { Enforcer } from './enforce.ts';
import { createBatch, createHosted, type PodAnswer } from './hosted.ts';
import type { Listeners } from './listeners.ts';
import { createMirror } from './mirror.ts';

interface World {
  readonly call: (method: string, params: unknown) => Promise<unknown>;
  /** What happened to the machine, in order. */
  readonly done: string[];
  readonly seen: { fail: boolean };
}

function world(): World {
  const done: string[] = [];
  const seen = { fail: false };
  const mirror = createMirror(completeLabConfig({ nodes: ['node-1'] }));
  const listeners: Listeners = {
    async open({ endpoint, ports }) {
      if (ports.length > 0) done.push(`open ${endpoint} ${ports.map(({ port }) => port).join()}`);
      return ports.filter(({ port }) => port === 1).map(({ port }) => `port ${port} is taken`);
    },
    visits: () => [],
    close(endpoint) {
      done.push(`close ${endpoint}`);
      return true;
    },
    closeAll() {},
  };
  const enforcer = {
    async enforce(objects: readonly KubeObject[]) {
      const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy').length;
      done.push(`enforce ${mirror.pods().length} pods ${policies} policies`);
      return [];
    },
  } as unknown as Enforcer;
  const handlers = createHosted({
    mirror,
    enforcer,
    listeners,
    queue: (act) => act(),
    async shell(script) {
      if (script === '') return;
      if (seen.fail) throw new Error('no more devices');
      done.push(/netns del/.test(script) ? 'unwire' : 'wire');
    },
    onTrouble() {},
    dns: () => undefined,
  });
  const call = async (method: string, params: unknown): Promise<unknown> =>
    handlers[method]?.(params, () => {});
  return { call, done, seen };
}

const podOf = (name: string, uid = name): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'ns', uid, resourceVersion: '1' },
  spec: { nodeName: 'node-1' },
});
const port = (number: number): unknown => ({ protocol: 'TCP', port: number });

describe('the daemon under an API', () => {
  it('wires, enforces, and only then answers', async () => {
    const { call, done } = world();
    const answer = (await call('podWire', { object: podOf('a') })) as PodAnswer;
    expect(answer.podIPs[0]).toMatch(/^10\.244\./);
    expect(done).toEqual(['wire']);
    expect(await call('podOpen', { uid: 'a', ports: [port(80), port(1)] })).toEqual([
      'port 1 is taken',
    ]);
    expect(done.slice(1)).toEqual(['enforce 1 pods 0 policies', 'open ns/a 80,1']);
  });

  it('a pod that answers on nothing yet has its policy all the same', async () => {
    const { call, done } = world();
    await call('podWire', { object: podOf('a') });
    await call('podOpen', { uid: 'a', ports: [] });
    expect(done).toEqual(['wire', 'enforce 1 pods 0 policies']);
    await call('podOpen', { uid: 'a', ports: [port(80)] });
    expect(done.at(-1)).toBe('open ns/a 80');
  });

  it('what comes in together is done in one round, pods and policies alike', async () => {
    const { call, done } = world();
    await Promise.all(['a', 'b', 'c'].map((name) => call('podWire', { object: podOf(name) })));
    expect(done).toEqual(['wire']);
    const policy = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'deny', namespace: 'ns', uid: 'np', resourceVersion: '2' },
      spec: { podSelector: {} },
    };
    await Promise.all([
      call('podOpen', { uid: 'a', ports: [] }),
      call('sync', { put: [policy], gone: [] }),
    ]);
    expect(done).toEqual(['wire', 'enforce 3 pods 1 policies']);
  });

  it('a pod made again under its name replaces the old one', async () => {
    const { call, done } = world();
    await call('podWire', { object: podOf('a', 'old') });
    await call('podWire', { object: podOf('a', 'new') });
    expect(done).toEqual(['wire', 'close ns/a', 'unwire', 'wire']);
    await expect(call('podOpen', { uid: 'old', ports: [] })).rejects.toThrow(
      'the pod was stopped before it started',
    );
  });

  it('a stop closes, unwires and enforces; a second one does nothing', async () => {
    const { call, done } = world();
    await call('podWire', { object: podOf('a') });
    await call('podStop', { uid: 'a' });
    expect(done).toEqual(['wire', 'close ns/a', 'unwire', 'enforce 0 pods 0 policies']);
    await call('podStop', { uid: 'a' });
    expect(done).toHaveLength(4);
  });

  it('a network that cannot be built gives its address back', async () => {
    const { call, seen } = world();
    const first = (await call('podWire', { object: podOf('a') })) as PodAnswer;
    seen.fail = true;
    await expect(call('podWire', { object: podOf('b') })).rejects.toThrow('no more devices');
    seen.fail = false;
    await expect(call('podOpen', { uid: 'b', ports: [] })).rejects.toThrow('was stopped');
    const second = (await call('podWire', { object: podOf('b') })) as PodAnswer;
    expect(second.podIPs).not.toEqual(first.podIPs);
  });
});

describe('gathering', () => {
  it('what is added during a round waits for the next; an Error rejects its item alone', async () => {
    const rounds: string[][] = [];
    const add = createBatch<string>(async (items) => {
      rounds.push([...items]);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return items.map((item) => (item === 'bad' ? new Error('bad one') : item.toUpperCase()));
    });
    const first = [add('a'), add('bad'), add('c')];
    const settled = Promise.allSettled(first);
    await new Promise((resolve) => setTimeout(resolve, 2));
    expect(await add('late')).toBe('LATE');
    expect((await settled).map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
    ]);
    expect(rounds).toEqual([['a', 'bad', 'c'], ['late']]);
  });
});
