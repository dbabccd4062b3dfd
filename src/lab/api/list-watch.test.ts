import { beforeEach, describe, expect, it } from 'vitest';
import { listObjects, selectionOf, startWatch, type Watch } from './list-watch.ts';
import { stringAt, type ApiObject, type JsonObject } from './object.ts';
import { kindOf } from './registry.ts';
import { ApiError } from './status.ts';
import { createStore, type Store } from './store.ts';

const mapType = kindOf('v1', 'ConfigMap');
const map = (name: string, labels: Record<string, string> = {}): ApiObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'dev', labels },
});

let store: Store;
const put = (name: string, labels?: Record<string, string>): ApiObject =>
  store.put(mapType.bucket, `dev/${name}`, map(name, labels));

beforeEach(() => {
  store = createStore();
});

const query = (text: string): URLSearchParams => new URLSearchParams(text);
const names = (objects: readonly ApiObject[]): string[] => objects.map((o) => o.metadata.name);
const list = (text: string): ReturnType<typeof listObjects> =>
  listObjects(store, selectionOf(mapType, 'dev', query(text)), query(text));

interface Seen {
  readonly events: { type: string; object: JsonObject & { metadata?: JsonObject } }[];
  readonly watch: Watch;
  ended: boolean;
}

function watch(text: string, more: Partial<Parameters<typeof startWatch>[0]> = {}): Seen {
  const events: Seen['events'] = [];
  const seen = { events, ended: false } as unknown as { -readonly [K in keyof Seen]: Seen[K] };
  seen.watch = startWatch({
    store,
    selection: selectionOf(mapType, 'dev', query(text)),
    query: query(text),
    encoding: { form: 'json', version: 'v1', include: 'Metadata' },
    now: () => 0,
    sink: {
      send: (line) => {
        for (const part of line.trim().split('\n'))
          events.push(JSON.parse(part) as Seen['events'][0]);
      },
      end: () => {
        seen.ended = true;
      },
    },
    ...more,
  });
  return seen;
}

const brief = (seen: Seen): string[] =>
  seen.events.map(
    ({ type, object }) =>
      `${type} ${stringAt(object, 'metadata', 'name') || '-'}@${stringAt(object, 'metadata', 'resourceVersion') || '-'}`,
  );

describe('lists', () => {
  it('pages are one consistent state, whatever is written between them', () => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) put(name);
    const first = list('limit=2');
    expect(names(first.objects)).toEqual(['a', 'b']);
    expect(first.metadata.remainingItemCount).toBe(3);
    put('bb');
    store.remove(mapType.bucket, 'dev/d');
    const second = list(`limit=2&continue=${first.metadata.continue ?? ''}`);
    expect(names(second.objects)).toEqual(['c', 'd']);
    const third = list(`limit=2&continue=${second.metadata.continue ?? ''}`);
    expect(names(third.objects)).toEqual(['e']);
    expect(third.metadata).toEqual({ resourceVersion: first.metadata.resourceVersion });
  });

  it('410 for a continue token whose state is forgotten', () => {
    for (const name of ['a', 'b', 'c']) put(name);
    const first = list('limit=1');
    put('d');
    store.compact();
    expect(() => list(`limit=1&continue=${first.metadata.continue ?? ''}`)).toThrow(
      'The provided continue parameter is too old',
    );
  });

  it('versions: 0 and none are now, Exact is then, the future is 504', () => {
    put('a');
    const { version } = store.list(mapType.bucket);
    put('b');
    expect(names(list('resourceVersion=0').objects)).toEqual(['a', 'b']);
    expect(names(list(`resourceVersion=${version}&resourceVersionMatch=Exact`).objects)).toEqual([
      'a',
    ]);
    expect(
      names(list(`resourceVersion=${version}&resourceVersionMatch=NotOlderThan`).objects),
    ).toEqual(['a', 'b']);
    let error: unknown;
    try {
      list('resourceVersion=999');
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(ApiError);
    expect((error as ApiError).code).toBe(504);
    expect((error as ApiError).details?.causes?.[0]?.reason).toBe('ResourceVersionTooLarge');
  });

  it('selects by labels and fields; unknown fields are 400', () => {
    put('a', { x: '1' });
    put('b', { x: '2' });
    expect(names(list('labelSelector=x%3D2').objects)).toEqual(['b']);
    expect(names(list('fieldSelector=metadata.name%3Da').objects)).toEqual(['a']);
    expect(names(list('fieldSelector=metadata.name!%3Da').objects)).toEqual(['b']);
    expect(() => list('fieldSelector=spec.x%3Da')).toThrow('field label not supported: spec.x');
  });

  it.each(['limit=-1', 'resourceVersion=abc', 'continue=%25', 'resourceVersionMatch=Exact'])(
    '400 for %s',
    (text) => {
      put('a');
      expect(() => list(text)).toThrow(ApiError);
    },
  );
});

describe('watches', () => {
  it('begin with the state when no version is given', () => {
    put('a');
    const seen = watch('');
    put('b');
    expect(brief(seen)).toEqual(['ADDED a@2', 'ADDED b@3']);
  });

  it('go on after a version', () => {
    put('a');
    put('b');
    const seen = watch('resourceVersion=2');
    store.remove(mapType.bucket, 'dev/a');
    expect(brief(seen)).toEqual(['ADDED b@3', 'DELETED a@4']);
  });

  it('an object that enters the selection is added, one that leaves is deleted', () => {
    put('a', { x: '1' });
    const seen = watch('resourceVersion=2&labelSelector=x%3D1');
    put('a', { x: '2' });
    put('a', { x: '3' });
    put('a', { x: '1' });
    put('a', { x: '1', y: '1' });
    expect(brief(seen)).toEqual(['DELETED a@3', 'ADDED a@5', 'MODIFIED a@6']);
    expect(seen.events[0]?.object.metadata?.['labels']).toEqual({ x: '1' });
  });

  it('too old a version is one ERROR event with 410, then the end', async () => {
    put('a');
    put('a');
    store.compact();
    const seen = watch('resourceVersion=2');
    await Promise.resolve();
    expect(seen.events).toHaveLength(1);
    expect(seen.events[0]).toMatchObject({
      type: 'ERROR',
      object: {
        kind: 'Status',
        code: 410,
        reason: 'Expired',
        message: 'too old resource version: 2 (3)',
      },
    });
    expect(seen.ended).toBe(true);
  });

  it('WatchList: state, then a bookmark that says so', () => {
    put('a');
    const seen = watch(
      'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true',
    );
    expect(brief(seen)).toEqual(['ADDED a@2', 'BOOKMARK -@2']);
    expect(seen.events[1]?.object.metadata?.['annotations']).toEqual({
      'k8s.io/initial-events-end': 'true',
    });
  });

  it('WatchList: 422 without NotOlderThan, or on a server without it', () => {
    expect(() => watch('sendInitialEvents=true')).toThrow(/resourceVersionMatch/);
    expect(() =>
      watch('sendInitialEvents=true&resourceVersionMatch=NotOlderThan', { watchList: false }),
    ).toThrow(/WatchList/);
  });

  it('bookmarks come in time and before the end, if asked for', async () => {
    put('a');
    const seen = watch('resourceVersion=2&allowWatchBookmarks=true', { bookmarkEvery: 10 });
    await expect.poll(() => seen.events.length, { interval: 5 }).toBeGreaterThanOrEqual(2);
    seen.watch.close();
    expect(brief(seen).at(-1)).toBe('BOOKMARK -@2');
    expect(seen.ended).toBe(true);
    const quiet = watch('resourceVersion=2');
    quiet.watch.close();
    expect(quiet.events).toEqual([]);
  });

  it('a stalled watch holds its events back, in order', () => {
    const seen = watch('');
    seen.watch.stall(true);
    put('a');
    put('b');
    expect(seen.events).toEqual([]);
    seen.watch.stall(false);
    seen.watch.repeat();
    expect(brief(seen)).toEqual(['ADDED a@2', 'ADDED b@3', 'ADDED b@3']);
  });

  it('tables: columns in the first event only', () => {
    const seen = watch('', { encoding: { form: 'table', version: 'v1', include: 'Metadata' } });
    put('a');
    put('b');
    expect(
      seen.events.map(({ object }) => (object['columnDefinitions'] as unknown[]).length),
    ).toEqual([3, 0]);
  });
});

describe('stalled and replayed watches', () => {
  it('a watch that ends while it is stalled says no version it has not delivered', () => {
    const seen = watch('resourceVersion=1&allowWatchBookmarks=true');
    put('a');
    seen.watch.stall(true);
    put('b');
    seen.watch.close();
    expect(brief(seen)).toEqual(['ADDED a@2']);
    expect(seen.ended).toBe(true);
    const control = watch('resourceVersion=3&allowWatchBookmarks=true');
    control.watch.close();
    expect(brief(control)).toEqual(['BOOKMARK -@3']);
  });

  it('a stalled watch that expires says so at once', () => {
    const seen = watch('resourceVersion=1');
    seen.watch.stall(true);
    put('a');
    seen.watch.expire();
    expect(seen.events).toMatchObject([{ type: 'ERROR', object: { code: 410 } }]);
  });

  it('more than it keeps: after the stall it expires instead of leaving a gap', () => {
    const seen = watch('resourceVersion=1');
    seen.watch.stall(true);
    expect(seen.watch.stalled()).toBe(true);
    for (let index = 0; index <= 10_000; index += 1) put('a');
    seen.watch.stall(false);
    expect(seen.watch.stalled()).toBe(false);
    expect(seen.events.length).toBe(10_001);
    expect(seen.events.at(-1)).toMatchObject({ type: 'ERROR', object: { code: 410 } });
    expect(seen.ended).toBe(true);
  });

  it('replay sends the last events of history, and only what was sent before', () => {
    const seen = watch('resourceVersion=1');
    put('a');
    put('b');
    put('c');
    seen.watch.replay(2);
    put('d');
    expect(brief(seen)).toEqual([
      'ADDED a@2',
      'ADDED b@3',
      'ADDED c@4',
      'ADDED b@3',
      'ADDED c@4',
      'ADDED d@5',
    ]);
  });
});
