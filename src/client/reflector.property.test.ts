import * as fc from 'fast-check';
import { afterAll, expect, it } from 'vitest';
import { startFakeApi, type FakeApi } from '../../test/client/fake-api.ts';
import type { KubeObject } from '../k8s/types.ts';
import { startClusterWatch, type ChangeBatch } from './cluster-watch.ts';
import { createKeep } from './keep.ts';
import { policyResources } from './resource.ts';
import { storeKey } from './store.ts';
import { connect } from './transport.ts';

/**
 * Whatever happens to objects and connections: once the server behaves again, the stores equal its
 * state, and replaying the batches that were handed out gives the same state.
 */
type Step =
  | { do: 'put'; kind: 'Pod' | 'Namespace'; name: number; value: number }
  | { do: 'delete'; kind: 'Pod' | 'Namespace'; name: number }
  | { do: 'recreate'; name: number; value: number }
  | { do: 'close' | 'reset' | 'compact' | 'bookmark' | 'restart' | 'wait' }
  | { do: 'fault'; set: Partial<FakeApi['faults']> }
  | { do: 'fail'; status: number; times: number };

const name = fc.integer({ min: 0, max: 5 });
const kind = fc.constantFrom<'Pod' | 'Namespace'>('Pod', 'Namespace');
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ do: fc.constant('put' as const), kind, name, value: fc.nat(99) }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('delete' as const), kind, name }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('recreate' as const), name, value: fc.nat(99) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'close' as const,
        'reset' as const,
        'compact' as const,
        'bookmark' as const,
      ),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
  { weight: 6, arbitrary: fc.constant({ do: 'wait' as const }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('fault' as const),
      set: fc.oneof(
        fc.record({ splitBytes: fc.constantFrom(undefined, 1, 7) }),
        fc.record({ partialLists: fc.constantFrom(1, 2) }),
        fc.record({ gzip: fc.boolean() }),
        fc.record({ delayMs: fc.constantFrom(0, 5) }),
        fc.record({ forbidden: fc.constantFrom(new Set<string>(), new Set(['pods'])) }),
        fc.record({ stall: fc.boolean() }),
      ) as fc.Arbitrary<Partial<FakeApi['faults']>>,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('fail' as const),
      status: fc.constantFrom(429, 500, 503, 410, 401),
      times: fc.integer({ min: 1, max: 3 }),
    }),
  },
);

const script = fc.record({
  seed: fc.nat(0x7fffffff),
  faults: fc.record({
    noWatchList: fc.boolean(),
    dropEndBookmark: fc.boolean(),
    noBookmarks: fc.boolean(),
    duplicate: fc.constantFrom(0, 0.5),
    replay: fc.constantFrom(0, 0.5),
    cut: fc.constantFrom(0, 0.15),
    pageCap: fc.constantFrom(undefined, 1, 3),
  }) as fc.Arbitrary<Partial<FakeApi['faults']>>,
  steps: fc.array(step, { minLength: 5, maxLength: 60 }),
});

/** mulberry32: the server's own dice, so that a run can be repeated from its seed. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const resources = policyResources.filter(
  (item) => item.kind === 'Pod' || item.kind === 'Namespace',
);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function make(which: 'Pod' | 'Namespace', number: number, value: number): KubeObject {
  return {
    apiVersion: 'v1',
    kind: which,
    metadata: {
      name: `o${number}`,
      ...(which === 'Pod' ? { namespace: `n${number % 2}` } : {}),
      labels: { v: `${value} ü😀` },
    },
  };
}

function picture(objects: Iterable<KubeObject>): Record<string, string> {
  const entries = [...objects].map((object) => {
    const { namespace, name: own, uid, resourceVersion, labels } = object.metadata;
    return [
      `${object.kind} ${storeKey(namespace, own ?? '')}`,
      `${uid} ${resourceVersion} ${labels?.['v']}`,
    ];
  });
  return Object.fromEntries(entries.sort(([a = ''], [b = '']) => (a < b ? -1 : 1))) as Record<
    string,
    string
  >;
}

const counted = { runs: 0, steps: 0 };

async function runScript({
  seed,
  faults,
  steps,
}: {
  seed: number;
  faults: Partial<FakeApi['faults']>;
  steps: Step[];
}): Promise<void> {
  const api = await startFakeApi({ random: dice(seed), resources });
  Object.assign(api.faults, faults);
  const connection = connect(api.config(), { timeoutMs: 300 });
  const replica = new Map<string, KubeObject>();
  const onChange = (batch: ChangeBatch): void => {
    for (const { type, object, previous, resource } of batch.changes) {
      const key = `${resource.kind} ${storeKey(object.metadata.namespace, object.metadata.name ?? '')}`;
      const known = replica.get(key);
      if (type === 'added') expect(known).toBeUndefined();
      else expect(known).toBe(type === 'deleted' ? object : previous);
      if (type === 'deleted') replica.delete(key);
      else replica.set(key, object);
    }
  };
  const cluster = startClusterWatch(connection, {
    resources,
    onSync: () => {
      for (const object of cluster.objects()) {
        const { namespace, name: own } = object.metadata;
        replica.set(`${object.kind} ${storeKey(namespace, own ?? '')}`, object);
      }
    },
    onChange,
    coalesceMs: 3,
    backoff: { initialMs: 1, maximumMs: 8 },
    idleTimeoutMs: 60,
    initialIdleMs: 20,
    initialTotalMs: 40,
    absentRetryMs: 10,
    pageSize: 4,
  });
  try {
    for (const one of steps) {
      counted.steps += 1;
      switch (one.do) {
        case 'put':
          api.put(make(one.kind, one.name, one.value));
          break;
        case 'delete':
          api.delete(one.kind, one.kind === 'Pod' ? `n${one.name % 2}` : undefined, `o${one.name}`);
          break;
        case 'recreate':
          api.delete('Pod', `n${one.name % 2}`, `o${one.name}`);
          api.put(make('Pod', one.name, one.value));
          break;
        case 'close':
          api.closeWatches();
          break;
        case 'reset':
          api.resetWatches();
          break;
        case 'compact':
          api.compact();
          break;
        case 'bookmark':
          api.sendBookmarks();
          break;
        case 'restart':
          await api.down();
          await pause(3);
          await api.up();
          break;
        case 'wait':
          await pause(4);
          break;
        case 'fault':
          Object.assign(api.faults, one.set);
          break;
        case 'fail':
          api.faults.fail.push({ match: () => true, status: one.status, times: one.times });
          break;
      }
    }
    // The server behaves again; watches that were stalled must be noticed by the client itself.
    for (const key of Object.keys(api.faults))
      if (key !== 'fail') delete api.faults[key as keyof FakeApi['faults']];
    api.faults.fail = [];
    Object.assign(api.faults, {
      noWatchList: faults.noWatchList,
      dropEndBookmark: faults.dropEndBookmark,
    });
    api.put(make('Pod', 1, 1));
    api.put(make('Namespace', 1, 1));
    const expected = (): Record<string, string> =>
      picture([...api.objects('Pod'), ...api.objects('Namespace')]);
    const end = Date.now() + 4_000;
    while (Date.now() < end) {
      if (
        JSON.stringify(picture(cluster.objects())) === JSON.stringify(expected()) &&
        JSON.stringify(picture(replica.values())) === JSON.stringify(expected())
      )
        break;
      await pause(3);
    }
    expect(picture(cluster.objects())).toEqual(expected());
    expect(picture(replica.values())).toEqual(expected());
    counted.runs += 1;
  } finally {
    await cluster.stop();
    connection.close();
    await api.close();
  }
}

afterAll(() =>
  process.stdout.write(`reflector property: ${counted.runs} histories, ${counted.steps} steps\n`),
);

it('random histories with faults: the stores and the changes converge to the server', async () => {
  await fc.assert(fc.asyncProperty(script, runScript), {
    numRuns: 400,
    interruptAfterTimeLimit: 15_000,
    markInterruptAsFailure: false,
    verbose: 1,
  });
  expect(counted.runs).toBeGreaterThan(20);
});

it('`keep` gives the same picture as the objects themselves', () => {
  const object = make('Pod', 3, 4);
  expect(picture([createKeep('v1', 'Pod')(object) as KubeObject])).toEqual(picture([object]));
});
