/**
 * Every fault of the lab's API as a plain HTTP client sees it, and that podwall's own client ends with
 * what the server has all the same. Orders go over the admin socket, as `podwall lab fault` sends them.
 */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startClusterWatch, type ClusterWatch } from '../../src/client/cluster-watch.ts';
import { readCluster } from '../../src/client/snapshot-source.ts';
import { connect, type Connection } from '../../src/client/transport.ts';
import { startAdminSocket } from '../../src/lab/api/admin.ts';
import { createFakeRuntime } from '../../src/lab/api/fake-runtime.ts';
import { startLabApi, type LabApi } from '../../src/lab/api/start.ts';
import { orderFault, type AdminOrder } from '../../src/lab/fault-orders.ts';
import { faultSocketPath } from '../../src/lab/state-dir.ts';

let api: LabApi;
let folder: string;
let connection: Connection;
let cluster: ClusterWatch;
let admin: { stop(): Promise<void> };
let kubeconfigToken = '';
let errors: string[] = [];
const agent = new Agent({ keepAlive: false, rejectUnauthorized: false });

interface Event {
  readonly type: string;
  readonly object: {
    readonly kind?: string;
    readonly code?: number;
    readonly metadata: { readonly name: string; readonly resourceVersion: string };
  };
}

interface Answer {
  readonly code: number;
  readonly text: string;
  /** `end`: in order; anything else is the code of the error. */
  readonly ended: string;
  readonly retryAfter: string | undefined;
  readonly ms: number;
  readonly chunks: number;
}

const order = (one: AdminOrder): Promise<Record<string, unknown>> => orderFault(folder, one);

function call(
  path: string,
  options: {
    method?: string;
    token?: string;
    onData?: (text: string) => void;
    body?: unknown;
  } = {},
): Promise<Answer> {
  const { hostname, port } = new URL(api.url);
  const started = performance.now();
  return new Promise((resolve) => {
    let text = '';
    let chunks = 0;
    let code = 0;
    let retryAfter: string | undefined;
    let done = false;
    const finish = (ended: string): void => {
      if (done) return;
      done = true;
      resolve({ code, text, ended, retryAfter, ms: performance.now() - started, chunks });
    };
    const out = request(
      {
        hostname,
        port,
        path,
        agent,
        method: options.method ?? 'GET',
        headers: {
          Authorization: `Bearer ${options.token ?? api.token}`,
          ...(options.body === undefined ? {} : { 'Content-Type': 'application/json' }),
        },
      },
      (reply) => {
        code = reply.statusCode ?? 0;
        retryAfter = reply.headers['retry-after'];
        reply.on('data', (chunk: Buffer) => {
          chunks += 1;
          text += chunk.toString('utf8');
          options.onData?.(text);
        });
        reply.on('end', () => finish('end'));
        reply.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
      },
    );
    out.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    out.end(options.body === undefined ? undefined : JSON.stringify(options.body));
  });
}

const pods = '/api/v1/namespaces/default/pods';
const make = (name: string): Promise<Answer> =>
  call(pods, {
    method: 'POST',
    body: {
      metadata: { name },
      spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'c', image: 'i' }] },
    },
  });
const remove = (name: string, grace?: number): Promise<Answer> =>
  call(`${pods}/${name}${grace === undefined ? '' : `?gracePeriodSeconds=${grace}`}`, {
    method: 'DELETE',
  });

interface Followed {
  readonly events: () => Event[];
  readonly end: Promise<Answer>;
}

/** A watch of the pods from now on; resolves when it is open. */
async function follow(query = ''): Promise<Followed> {
  const version = String(api.store.version());
  let text = '';
  const open = api.watches.size;
  const end = call(`${pods}?watch=true&resourceVersion=${version}${query}`, {
    onData: (all) => (text = all),
  });
  await until(() => api.watches.size > open);
  const events = (): Event[] =>
    text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Event);
  return { events, end };
}

async function until(done: () => boolean | Promise<boolean>, limitMs = 10_000): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error(`never: ${done.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const names = (events: readonly Event[]): string[] =>
  events.map(({ type, object }) => `${type} ${object.metadata?.name ?? ''}`);

/** What podwall's client holds is what the server has. */
async function agrees(): Promise<void> {
  const picture = (objects: Iterable<{ metadata: { name?: string; resourceVersion?: string } }>) =>
    [...objects]
      .map(({ metadata }) => `${metadata.name} ${metadata.resourceVersion}`)
      .toSorted()
      .join('\n');
  await until(async () => {
    const { objects } = await readCluster(connection, { kinds: ['Pod'] });
    const seen = [...cluster.objects()].filter(({ kind }) => kind === 'Pod');
    return picture(objects) === picture(seen);
  });
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'podwall-faults-'));
  api = await startLabApi({
    runtime: createFakeRuntime(),
    seed: 11,
    bookmarkEvery: 60_000,
    recordEvents: false,
  });
  kubeconfigToken = api.token;
  admin = await startAdminSocket(api, faultSocketPath(folder), {
    async onToken(_user, token) {
      kubeconfigToken = token;
    },
  });
  connection = connect({
    server: api.url,
    source: 'lab',
    namespace: 'default',
    insecureSkipTlsVerify: false,
    ca: { data: api.certificate.cert },
    auth: { token: api.addToken({ name: 'agent', groups: ['system:authenticated'] }) },
  });
  cluster = startClusterWatch(connection, {
    backoff: { initialMs: 5, maximumMs: 50 },
    idleTimeoutMs: 1_000,
    initialIdleMs: 500,
    metrics: { error: (resource, reason) => errors.push(`${resource} ${reason}`) },
  });
  await cluster.synced;
  await make('first');
});
afterAll(async () => {
  await cluster?.stop();
  connection?.close();
  await admin?.stop();
  await api?.stop();
  agent.destroy();
  await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  await order({ order: 'clearFaults' });
  errors = [];
});

it('only the owner can open the socket', async () => {
  expect((await stat(faultSocketPath(folder))).mode & 0o777).toBe(0o600);
});

describe('open watches', () => {
  it('close: the stream ends in order', async () => {
    const { end } = await follow();
    expect(await order({ order: 'closeWatches', resource: 'pods' })).toEqual({ watches: 2 });
    expect(await end).toMatchObject({ code: 200, ended: 'end' });
    await agrees();
  });

  it('reset: the connection is cut', async () => {
    const { end } = await follow();
    await order({ order: 'resetWatches', resource: 'pods', user: 'podwall-admin' });
    expect(await end).toMatchObject({ code: 200, ended: 'ECONNRESET' });
  });

  it('expire: an ERROR event with 410, then the end; the client lists again', async () => {
    const { events, end } = await follow();
    await order({ order: 'expireWatches', resource: 'pods' });
    expect((await end).ended).toBe('end');
    expect(events()).toMatchObject([{ type: 'ERROR', object: { code: 410, reason: 'Expired' } }]);
    await until(() => errors.some((line) => line.startsWith('pods ')));
    await agrees();
  });

  it('stall: nothing comes until resume, then everything in order', async () => {
    const { events } = await follow();
    await order({ order: 'stallWatches', resource: 'pods' });
    await make('stalled');
    await remove('stalled', 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(events()).toEqual([]);
    expect(await order({ order: 'listFaults' })).toMatchObject({ stalled: 2 });
    await order({ order: 'resumeWatches', resource: 'pods' });
    await until(() => names(events()).includes('DELETED stalled'));
    expect(names(events())[0]).toBe('ADDED stalled');
    await agrees();
    for (const { user, reset } of api.watches) if (user === 'podwall-admin') reset();
  });

  it('clear lets stalled watches flow again', async () => {
    const { events } = await follow();
    await order({ order: 'stallWatches' });
    await make('cleared');
    expect(events()).toEqual([]);
    expect(await order({ order: 'clearFaults' })).toMatchObject({ removed: 0 });
    await until(() => names(events()).includes('ADDED cleared'));
    await agrees();
    for (const { user, reset } of api.watches) if (user === 'podwall-admin') reset();
  });

  it('repeat and replay: the same events with the same versions come again', async () => {
    const { events } = await follow();
    await make('again');
    await until(() => events().length >= 3);
    await agrees();
    const before = events().length;
    await order({ order: 'repeatEvents', resource: 'pods' });
    await until(() => events().length === before + 1);
    expect(events().at(-1)).toEqual(events().at(-2));
    await order({ order: 'replayEvents', resource: 'pods', count: 2 });
    await until(() => events().length === before + 3);
    expect(events().slice(-2)).toEqual(events().slice(before - 2, before));
    await remove('again', 0);
    await until(() => names(events()).at(-1) === 'DELETED again');
    await agrees();
    for (const { user, reset } of api.watches) if (user === 'podwall-admin') reset();
  });
});

describe('requests from now on', () => {
  it.each([
    [401, 'Unauthorized'],
    [403, 'Forbidden'],
    [410, 'Expired'],
    [429, 'TooManyRequests'],
    [500, 'InternalError'],
    [503, 'ServiceUnavailable'],
    [504, 'Timeout'],
  ])('code %i', async (code, reason) => {
    await order({ order: 'addFault', rule: { code, resource: 'pods', retryAfterSeconds: 3 } });
    const answer = await call(pods);
    expect(answer.code).toBe(code);
    expect(JSON.parse(answer.text)).toMatchObject({ kind: 'Status', reason, code });
    if (code === 429) expect(answer.retryAfter).toBe('3');
    // Only the resource that was named.
    expect((await call('/api/v1/namespaces')).code).toBe(200);
    await order({ order: 'clearFaults' });
    expect((await call(pods)).code).toBe(200);
    await agrees();
  });

  it('times and user bound a rule', async () => {
    await order({ order: 'addFault', rule: { code: 500, times: 2, user: 'podwall-admin' } });
    const codes = [await call(pods), await call(pods), await call(pods)].map(({ code }) => code);
    expect(codes).toEqual([500, 500, 200]);
    const { faults } = (await order({ order: 'listFaults' })) as { faults: unknown };
    expect(faults).toMatchObject([{ code: 500, times: 2, left: 0 }]);
  });

  it('cut: no answer at all', async () => {
    await order({ order: 'addFault', rule: { reset: true, verb: 'list', resource: 'pods' } });
    expect(await call(pods)).toMatchObject({ code: 0, ended: 'ECONNRESET' });
  });

  it('slow: a list comes late', async () => {
    await order({ order: 'addFault', rule: { delayMs: 300, verb: 'list', resource: 'pods' } });
    const answer = await call(pods);
    expect(answer.code).toBe(200);
    expect(answer.ms).toBeGreaterThanOrEqual(295);
  });

  it('partial: a list breaks off; the client does not take the half for the whole', async () => {
    for (let index = 0; index < 5; index += 1) await make(`part-${index}`);
    await agrees();
    await order({ order: 'addFault', rule: { cutBytes: 700, verb: 'list', resource: 'pods' } });
    await order({ order: 'addFault', rule: { noWatchList: true, resource: 'pods' } });
    const answer = await call(pods);
    expect(answer.text).toHaveLength(700);
    expect(answer.ended).not.toBe('end');
    await order({ order: 'expireWatches', resource: 'pods' });
    await until(() => errors.filter((line) => line.startsWith('pods ')).length > 1);
    expect(cluster.stores.get('pods')?.size).toBe(api.store.list('/pods').objects.length);
    await order({ order: 'clearFaults' });
    await agrees();
  });

  it('pages: lists come in parts with a continue token', async () => {
    await order({ order: 'addFault', rule: { pageSize: 2, verb: 'list', resource: 'pods' } });
    const first = JSON.parse((await call(pods)).text) as {
      items: unknown[];
      metadata: { continue?: string };
    };
    expect(first.items).toHaveLength(2);
    expect(first.metadata.continue).not.toBeUndefined();
    await order({ order: 'expireWatches', resource: 'pods' });
    await agrees();
  });

  it('split: an answer comes in many pieces and is whole', async () => {
    await order({ order: 'addFault', rule: { splitBytes: 50, verb: 'list', resource: 'pods' } });
    const answer = await call(pods);
    expect(answer.chunks).toBeGreaterThan(5);
    expect(JSON.parse(answer.text)).toMatchObject({ kind: 'PodList' });
  });

  it.each(['close', 'reset', 'expire', 'stall'] as const)(
    'short watches end by %s',
    async (end) => {
      await order({
        order: 'addFault',
        rule: { watchForMs: 40, watchEnd: end, resource: 'pods', times: 5 },
      });
      await order({ order: 'resetWatches', resource: 'pods' });
      const seen = await follow();
      if (end === 'stall') await until(() => [...api.watches].some(({ watch }) => watch.stalled()));
      else expect((await seen.end).ended).toBe(end === 'reset' ? 'ECONNRESET' : 'end');
      await make(`short-${end}`);
      await agrees();
      for (const { user, reset } of api.watches) if (user === 'podwall-admin') reset();
    },
  );

  it('duplicate, no bookmarks, no WatchList, no end of the initial events', async () => {
    await order({
      order: 'addFault',
      rule: { duplicate: true, noBookmarks: true, noWatchList: true, resource: 'pods' },
    });
    const { events } = await follow();
    await make('twice');
    await until(() => events().length >= 4);
    expect(events()[0]).toEqual(events()[1]);
    const initial = '&sendInitialEvents=true&resourceVersionMatch=NotOlderThan';
    expect((await call(`${pods}?watch=true${initial}`)).code).toBe(422);
    await order({ order: 'clearFaults' });
    await order({ order: 'addFault', rule: { dropEndBookmark: true, resource: 'pods' } });
    const whole = `${initial}&allowWatchBookmarks=true`;
    const endless = await follow(whole);
    await until(() => endless.events().length > 0);
    expect(names(endless.events())).not.toContain('BOOKMARK ');
    await order({ order: 'clearFaults' });
    const control = await follow(whole);
    await until(() => names(control.events()).includes('BOOKMARK '));
    await order({ order: 'resetWatches', resource: 'pods' });
    await agrees();
    for (const { user, reset } of api.watches) if (user === 'podwall-admin') reset();
  });

  it('late deletes: the pod is still known when its address is free', async () => {
    await make('late');
    await until(async () => (await call(`${pods}/late`)).text.includes('"phase":"Running"'));
    await order({ order: 'addFault', rule: { lateDeleteMs: 400, times: 1 } });
    const started = performance.now();
    await remove('late');
    expect((await call(`${pods}/late`)).text).toContain('deletionTimestamp');
    await until(async () => (await call(`${pods}/late`)).code === 404);
    expect(performance.now() - started).toBeGreaterThan(350);
    await agrees();
  });
});

describe('the server', () => {
  it('compact: who resumes from an older version gets 410', async () => {
    const version = api.store.version();
    await make('forgotten');
    await order({ order: 'compact' });
    const answer = await call(`${pods}?watch=true&resourceVersion=${version}`);
    expect(answer.text).toContain('"code":410');
    await agrees();
  });

  it('skip: versions jump, nothing else changes', async () => {
    const before = api.store.version();
    expect(await order({ order: 'skipVersions', count: 5000 })).toEqual({ version: before + 5000 });
    await make('jumped');
    await agrees();
  });

  it('restart: every connection is cut, then it answers again', async () => {
    const { end } = await follow();
    const restarted = order({ order: 'restart', downMs: 150 });
    expect((await end).ended).toBe('ECONNRESET');
    expect((await call(pods)).code).toBe(0);
    await restarted;
    expect((await call(pods)).code).toBe(200);
    await agrees();
  });

  it('token rotation: 401 for the old, the new is handed out before that', async () => {
    const old = kubeconfigToken;
    const answer = await order({ order: 'rotateToken' });
    expect(answer).toMatchObject({ user: 'podwall-admin', token: kubeconfigToken });
    expect(kubeconfigToken).not.toBe(old);
    expect((await call(pods, { token: old })).code).toBe(401);
    expect((await call(pods, { token: kubeconfigToken })).code).toBe(200);
    // The other tests use the first one.
    api.addToken({ name: 'podwall-admin', groups: ['system:masters'] }, api.token);
    await expect(order({ order: 'rotateToken', user: 'nobody' })).rejects.toThrow(
      'no user nobody; known: agent, podwall-admin',
    );
  });

  it('reuse: two pods with one address, and each its own again after clear', async () => {
    await make('owner');
    await make('heir');
    const ipOf = async (name: string): Promise<unknown> =>
      (JSON.parse((await call(`${pods}/${name}`)).text) as { status: { podIP?: string } }).status
        .podIP;
    await until(
      async () => (await ipOf('owner')) !== undefined && (await ipOf('heir')) !== undefined,
    );
    const own = await ipOf('heir');
    const { podIP } = await order({
      order: 'reuseAddress',
      from: 'default/owner',
      to: 'default/heir',
    });
    expect(podIP).toBe(await ipOf('owner'));
    expect(await ipOf('heir')).toBe(podIP);
    await agrees();
    expect(await order({ order: 'clearFaults' })).toMatchObject({ addresses: 1 });
    expect(await ipOf('heir')).toBe(own);
    await agrees();
  });
});

it('refuses orders that would never strike, and says why', async () => {
  const refused = async (given: unknown, why: string | RegExp): Promise<void> =>
    expect(order(given as AdminOrder)).rejects.toThrow(why);
  await refused({ order: 'fly' }, /unknown order "fly"; known: addFault, /);
  await refused({ order: 'addFault' }, 'addFault needs rule');
  await refused({ order: 'addFault', rule: {} }, 'has no effect');
  await refused({ order: 'addFault', rule: { code: 500, resorce: 'pods' } }, 'no field "resorce"');
  await refused({ order: 'addFault', rule: { code: 500, resource: 'po' } }, 'the plural, pods');
  await refused({ order: 'addFault', rule: { code: 500, verb: 'fetch' } }, 'must be one of get');
  await refused({ order: 'addFault', rule: { code: 200 } }, 'must be one of 401');
  await refused({ order: 'addFault', rule: { delayMs: -1 } }, 'whole number');
  await refused({ order: 'addFault', rule: { code: 500, probability: 2 } }, 'at most 1');
  await refused({ order: 'addFault', rule: { watchEnd: 'reset' } }, 'watchEnd needs watchForMs');
  await refused({ order: 'addFault', rule: { lateDeleteMs: 5, code: 500 } }, 'stands alone');
  await refused({ order: 'skipVersions' }, 'skipVersions needs count');
  await refused({ order: 'removeFault', id: 'none' }, 'there is no fault none');
  await refused({ order: 'reuseAddress', from: 'default/a', to: 'default/b' }, 'no pod default/a');
  await refused([], 'an order is a JSON object');
});
