import { mkdtemp, rm, stat } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { request } from 'node:https';
import { connect as tlsConnect } from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { startAdminSocket, type AdminOrder } from './admin.ts';
import { createFakeRuntime } from './fake-runtime.ts';
import { createFaults } from './faults.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import type { JsonObject } from './object.ts';
import { resourceTypes } from './registry.ts';
import { startLabApi, type LabApi, type StateOptions } from './start.ts';
import { loadState } from './state-file.ts';

let api: LabApi;
let folder: string;
const kept = (file: string): StateOptions => ({
  file,
  shape: {},
  onTrouble: (error) => {
    throw error;
  },
});
const runtime = createFakeRuntime();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'podwall-api-'));
  api = await startLabApi({ runtime, seed: 3, state: kept(join(folder, 'state.json')) });
});
afterAll(async () => {
  await api.stop();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(() => {
  api.faults.clear();
});

interface Answer {
  readonly code: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: JsonObject;
  readonly text: string;
}

interface Question {
  readonly method?: string;
  readonly body?: unknown;
  readonly type?: string;
  readonly headers?: Record<string, string>;
  readonly token?: string | null;
}

function call(path: string, question: Question = {}): Promise<Answer> {
  const { hostname, port } = new URL(api.url);
  const token = question.token === undefined ? api.token : question.token;
  return new Promise((resolve, reject) => {
    const out = request(
      {
        hostname,
        port,
        path,
        method: question.method ?? 'GET',
        ca: api.certificate.cert,
        agent: false,
        // Node would check the Host header given here against the certificate.
        checkServerIdentity: () => undefined,
        headers: {
          ...(token === null ? {} : { Authorization: `Bearer ${token}` }),
          ...(question.body === undefined
            ? {}
            : { 'Content-Type': question.type ?? 'application/json' }),
          ...question.headers,
        },
      },
      (reply) => {
        const chunks: Buffer[] = [];
        reply.on('data', (chunk: Buffer) => chunks.push(chunk));
        reply.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          let body: JsonObject = {};
          try {
            body = JSON.parse(text) as JsonObject;
          } catch {
            // Plain text.
          }
          resolve({ code: reply.statusCode ?? 0, headers: reply.headers, body, text });
        });
      },
    );
    out.on('error', reject);
    out.end(
      typeof question.body === 'string' || question.body === undefined
        ? question.body
        : JSON.stringify(question.body),
    );
  });
}

const pods = '/api/v1/namespaces/default/pods';
const pod = (name: string): JsonObject => ({
  metadata: { name },
  spec: { containers: [{ name: 'c', image: 'nginx' }] },
});

async function running(name: string): Promise<void> {
  for (let tries = 0; tries < 100; tries += 1) {
    const { body } = await call(`${pods}/${name}`);
    if ((body['status'] as JsonObject | undefined)?.['phase'] === 'Running') return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${name} does not run`);
}

describe('the door', () => {
  it('401 without a token, with a wrong one, and after it is revoked', async () => {
    const second = api.addToken({ name: 'agent', groups: [] });
    expect((await call(pods, { token: second })).code).toBe(200);
    api.revokeToken(second);
    for (const token of [null, 'wrong', second]) {
      const { code, body } = await call(pods, { token });
      expect(code).toBe(401);
      expect(body).toMatchObject({ kind: 'Status', reason: 'Unauthorized', code: 401 });
    }
  });

  it('403 for a host or an origin that is not loopback', async () => {
    expect((await call(pods, { headers: { Host: 'evil.example' } })).code).toBe(403);
    expect((await call(pods, { headers: { Origin: 'https://evil.example' } })).code).toBe(403);
    expect((await call(pods, { headers: { Host: 'localhost:1' } })).code).toBe(200);
  });

  it('offers HTTP/1.1 only', async () => {
    const { port } = new URL(api.url);
    const protocol = await new Promise((resolve) => {
      const socket = tlsConnect(
        {
          port: Number(port),
          host: '127.0.0.1',
          ca: api.certificate.cert,
          ALPNProtocols: ['h2', 'http/1.1'],
        },
        () => {
          resolve(socket.alpnProtocol);
          socket.destroy();
        },
      );
    });
    expect(protocol).toBe('http/1.1');
  });

  it('answers /version and health without a token', async () => {
    expect((await call('/version', { token: null })).body).toMatchObject({
      major: '1',
      minor: '32',
    });
    expect((await call('/readyz', { token: null })).text).toBe('ok');
  });

  it.each([
    ['/nothing', 404],
    ['/api/v2', 404],
    ['/api/v1/nothing', 404],
    ['/apis/none.io/v1/things', 404],
    ['/api/v1/namespaces/default/pods/x/nothing', 404],
    ['/api/v1/pods/x', 404],
    ['/api/v1/namespaces/default/nodes', 404],
    ['/api/v1/namespaces/default/pods/none', 404],
    ['/api/v1/namespaces/%E0%A4/pods', 400],
  ])('%s is %d, as a Status', async (path, code) => {
    const answer = await call(path);
    expect(answer.code).toBe(code);
    expect(answer.body).toMatchObject({ kind: 'Status', status: 'Failure', code });
  });

  it('405 for a verb that is not served, 415 and 406 for forms it does not know', async () => {
    expect((await call('/api/v1/endpoints', { method: 'POST', body: {} })).code).toBe(405);
    expect((await call('/api/v1/namespaces', { method: 'DELETE' })).code).toBe(405);
    expect((await call(pods, { method: 'POST', body: 'x', type: 'text/plain' })).code).toBe(415);
    expect(
      (await call(`${pods}/x`, { method: 'PATCH', body: {}, type: 'application/json' })).code,
    ).toBe(415);
    expect(
      (await call(pods, { headers: { Accept: 'application/vnd.kubernetes.protobuf' } })).code,
    ).toBe(406);
  });

  it('400 for bodies that cannot be read or are something else', async () => {
    expect((await call(pods, { method: 'POST', body: '{' })).code).toBe(400);
    expect((await call(pods, { method: 'POST', body: '[]' })).code).toBe(400);
    expect(
      (await call(pods, { method: 'POST', body: { kind: 'Service', apiVersion: 'v1' } })).code,
    ).toBe(400);
    const typed = await call(pods, {
      method: 'POST',
      body: { metadata: { name: 'x' }, spec: { containers: 'no' } },
    });
    expect(typed.code).toBe(400);
    expect(typed.body['message']).toContain(
      'cannot unmarshal string into Go struct field spec.containers',
    );
  });
});

describe('discovery', () => {
  it('aggregated, with an ETag that is honoured', async () => {
    const accept =
      'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json';
    const first = await call('/apis', { headers: { Accept: accept } });
    expect(first.headers['content-type']).toBe(
      'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList',
    );
    const etag = String(first.headers['etag']);
    const again = await call('/apis', { headers: { Accept: accept, 'If-None-Match': etag } });
    expect(again.code).toBe(304);
  });

  it('legacy: every kind served is listed', async () => {
    const groups = (await call('/apis')).body['groups'] as {
      name: string;
      versions: { groupVersion: string }[];
    }[];
    const paths = [
      '/api/v1',
      ...groups.flatMap((g) => g.versions.map((v) => `/apis/${v.groupVersion}`)),
    ];
    const found = new Set<string>();
    for (const path of paths) {
      const { body } = await call(path);
      for (const { name } of body['resources'] as { name: string }[])
        found.add(`${String(body['groupVersion'])} ${name}`);
    }
    for (const type of resourceTypes) {
      const version = type.group === '' ? type.version : `${type.group}/${type.version}`;
      expect(found).toContain(`${version} ${type.plural}`);
    }
  });

  it('OpenAPI: every document of the index is there, references lead somewhere', async () => {
    const index = (await call('/openapi/v3')).body['paths'] as Record<
      string,
      { serverRelativeURL: string }
    >;
    for (const { serverRelativeURL } of Object.values(index)) {
      const { code, body, text } = await call(serverRelativeURL);
      expect(code).toBe(200);
      const schemas = (body['components'] as { schemas: JsonObject }).schemas;
      for (const [, name = ''] of text.matchAll(/"#\/components\/schemas\/([^"]+)"/g))
        expect(Object.hasOwn(schemas, name), name).toBe(true);
    }
  });
});

describe('reads and writes', () => {
  it('creates, patches in three ways, deletes', async () => {
    const created = await call(pods, { method: 'POST', body: pod('rw') });
    expect(created.code).toBe(201);
    await running('rw');
    const patch = (type: string, body: unknown): Promise<Answer> =>
      call(`${pods}/rw`, { method: 'PATCH', type: `application/${type}`, body });
    await patch('merge-patch+json', { metadata: { labels: { a: '1' } } });
    await patch('strategic-merge-patch+json', { metadata: { labels: { b: '2' } } });
    const last = await patch('json-patch+json', [
      { op: 'add', path: '/metadata/labels/c', value: '3' },
    ]);
    expect((last.body['metadata'] as JsonObject)['labels']).toEqual({ a: '1', b: '2', c: '3' });
    const deleted = await call(`${pods}/rw?gracePeriodSeconds=0`, { method: 'DELETE' });
    expect(deleted.code).toBe(200);
    expect((await call(`${pods}/rw`)).code).toBe(404);
  });

  it('field validation: Strict refuses, Warn warns and drops, Ignore drops', async () => {
    const body = { metadata: { name: 'fv' }, data: { a: '1' }, dat: 1 };
    const maps = '/api/v1/namespaces/default/configmaps';
    const strict = await call(`${maps}?fieldValidation=Strict`, { method: 'POST', body });
    expect(strict.code).toBe(400);
    expect(strict.body['message']).toBe(
      'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dat"',
    );
    const warn = await call(`${maps}?fieldValidation=Warn&dryRun=All`, { method: 'POST', body });
    expect(warn.headers['warning']).toBe('299 - "unknown field \\"dat\\""');
    expect(warn.body['dat']).toBeUndefined();
    const ignore = await call(`${maps}?fieldValidation=Ignore&dryRun=All`, {
      method: 'POST',
      body,
    });
    expect(ignore.headers['warning']).toBeUndefined();
  });

  it('YAML bodies, tables and partial metadata', async () => {
    const body = 'metadata: {name: yaml}\ndata: {a: "1"}\n';
    const maps = '/api/v1/namespaces/default/configmaps';
    expect((await call(maps, { method: 'POST', type: 'application/yaml', body })).code).toBe(201);
    const table = await call(maps, {
      headers: { Accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    });
    expect(table.body).toMatchObject({
      kind: 'Table',
      columnDefinitions: [{ name: 'Name' }, { name: 'Data' }, { name: 'Age' }],
    });
    const partial = await call(`${maps}/yaml`, {
      headers: { Accept: 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io' },
    });
    expect(partial.body).toMatchObject({
      kind: 'PartialObjectMetadata',
      metadata: { name: 'yaml' },
    });
    expect(partial.body['data']).toBeUndefined();
  });

  it('events are one store in two versions', async () => {
    await call(pods, { method: 'POST', body: pod('ev') });
    await running('ev');
    const v1 = await call(
      '/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dev,reason%3DScheduled',
    );
    const next = await call(
      '/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name%3Dev,reason%3DScheduled',
    );
    expect((v1.body['items'] as JsonObject[])[0]?.['message']).toContain('Successfully assigned');
    expect((next.body['items'] as JsonObject[])[0]?.['note']).toContain('Successfully assigned');
    expect(next.body['kind']).toBe('EventList');
  });

  it('a namespace goes with all it holds', async () => {
    await call('/api/v1/namespaces', { method: 'POST', body: { metadata: { name: 'gone' } } });
    await call('/api/v1/namespaces/gone/pods', { method: 'POST', body: pod('p') });
    await call('/api/v1/namespaces/gone', { method: 'DELETE' });
    for (let tries = 0; tries < 100; tries += 1) {
      if ((await call('/api/v1/namespaces/gone')).code === 404) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect((await call('/api/v1/namespaces/gone')).code).toBe(404);
    const left = await call('/api/v1/pods?fieldSelector=metadata.namespace%3Dgone');
    expect(left.body['items']).toEqual([]);
  });
});

describe('streams', () => {
  const socketTo = (
    path: string,
    protocols: string[],
    headers: Record<string, string> = {},
  ): WebSocket =>
    new WebSocket(`${api.url.replace('https', 'wss')}${path}`, protocols, {
      ca: api.certificate.cert,
      headers: { Authorization: `Bearer ${api.token}`, ...headers },
    });

  function execOver(
    protocols: string[],
    command: string[],
  ): Promise<{ protocol: string; channels: Record<number, string>; frames: Buffer[] }> {
    const query = command.map((word) => `command=${encodeURIComponent(word)}`).join('&');
    const socket = socketTo(`${pods}/st/exec?${query}&stdout=true&stderr=true`, protocols);
    const channels: Record<number, string> = {};
    const frames: Buffer[] = [];
    return new Promise((resolve, reject) => {
      socket.on('message', (raw: Buffer) => {
        frames.push(raw);
        const channel = raw[0] ?? -1;
        channels[channel] = (channels[channel] ?? '') + raw.subarray(1).toString();
      });
      socket.on('close', () => {
        resolve({ protocol: socket.protocol, channels, frames });
      });
      socket.on('error', reject);
    });
  }

  beforeAll(async () => {
    await call(pods, { method: 'POST', body: pod('st') });
    await running('st');
  });

  it('exec over v5 and v4, with the exact words of an exit', async () => {
    const { channels } = await execOver(
      ['v5.channel.k8s.io'],
      ['sh', '-c', 'echo out; echo err >&2; exit 7'],
    );
    expect(channels[1]).toBe('out\n');
    expect(channels[2]).toBe('err\n');
    expect(JSON.parse(channels[3] ?? '')).toEqual({
      metadata: {},
      status: 'Failure',
      message: 'command terminated with non-zero exit code: command terminated with exit code 7',
      reason: 'NonZeroExitCode',
      details: { causes: [{ reason: 'ExitCode', message: '7' }] },
    });
    const old = await execOver(['v4.channel.k8s.io', 'x'], ['true']);
    expect(old.protocol).toBe('v4.channel.k8s.io');
    expect(JSON.parse(old.channels[3] ?? '')).toEqual({ metadata: {}, status: 'Success' });
  });

  it('greets late, because client-go drops what comes before its streams are made', async () => {
    const started = Date.now();
    const { frames } = await execOver(['v5.channel.k8s.io'], ['sh', '-c', 'echo out']);
    // A machine so slow that the greeting comes first has not sent it early.
    if (Date.now() - started < 200) expect(frames[0]?.toString()).toBe('\u0001out\n');
    expect(frames.filter((frame) => frame[0] === 1).map((frame) => frame.toString())).toContain(
      '\u0001out\n',
    );
    const slow = await execOver(['v5.channel.k8s.io'], ['sleep', '0.4']);
    expect(slow.frames.slice(0, 2).map((frame) => [...frame])).toEqual([[1], [2]]);
  });

  it('a program that is not there is an InternalError, not a hang', async () => {
    const { channels } = await execOver(['v5.channel.k8s.io'], ['/no/such/program']);
    expect(JSON.parse(channels[3] ?? '')).toMatchObject({
      status: 'Failure',
      reason: 'InternalError',
    });
  });

  it.each([
    ['an unknown subprotocol', ['v9.channel.k8s.io'], 400],
    ['a token that is wrong', ['v5.channel.k8s.io'], 401],
  ])('refuses %s before the switch', async (what, protocols, code) => {
    const socket = socketTo(
      `${pods}/st/exec?command=true&stdout=true`,
      protocols,
      what.includes('token') ? { Authorization: 'Bearer no' } : {},
    );
    const status = await new Promise((resolve) => {
      socket.on('unexpected-response', (_request, reply) => {
        resolve(reply.statusCode);
        socket.terminate();
      });
      socket.on('error', () => {});
    });
    expect(status).toBe(code);
  });

  it('the token of a browser comes as a subprotocol and is not echoed; watch over WebSocket', async () => {
    const secret = `base64url.bearer.authorization.k8s.io.${Buffer.from(api.token).toString('base64url')}`;
    const socket = new WebSocket(
      `${api.url.replace('https', 'wss')}${pods}?watch=true&fieldSelector=metadata.name%3Dst`,
      [secret, 'base64.binary.k8s.io'],
      { ca: api.certificate.cert },
    );
    const event = await new Promise<JsonObject>((resolve) => {
      socket.on('message', (raw: Buffer) => {
        resolve(JSON.parse(Buffer.from(raw.toString(), 'base64').toString()) as JsonObject);
      });
    });
    expect(event).toMatchObject({ type: 'ADDED', object: { metadata: { name: 'st' } } });
    expect(socket.protocol).toBe('base64.binary.k8s.io');
    socket.close();
  });
});

describe('faults and the admin socket', () => {
  it('spoils the requests it names and no others', async () => {
    api.faults.add({ resource: 'pods', verb: 'list', code: 429, retryAfterSeconds: 3, times: 1 });
    const struck = await call('/api/v1/pods');
    expect(struck.code).toBe(429);
    expect(struck.headers['retry-after']).toBe('3');
    expect((await call('/api/v1/pods')).code).toBe(200);
    api.faults.add({ resource: 'secrets', code: 403 });
    expect((await call('/api/v1/secrets')).body).toMatchObject({ reason: 'Forbidden' });
    const review = await call('/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
      method: 'POST',
      body: { spec: { resourceAttributes: { verb: 'list', resource: 'secrets' } } },
    });
    expect(review.body['status']).toMatchObject({ allowed: false });
  });

  it('a seed gives the same faults again', () => {
    const struck = (): string => {
      const faults = createFaults(42);
      faults.add({ verb: 'list', probability: 0.3, code: 500 });
      return Array.from({ length: 60 }, () =>
        faults.effectOn({ resource: 'pods', verb: 'list', user: 'u' }).code === 500 ? 'x' : '.',
      ).join('');
    };
    expect(struck()).toBe(struck());
    expect(struck()).toMatch(/x.*\..*x/);
  });

  it('takes orders, for its owner only', async () => {
    const path = join(folder, 'admin.sock');
    const admin = await startAdminSocket(api, path);
    const order = (what: AdminOrder | JsonObject): Promise<{ code: number; body: JsonObject }> =>
      new Promise((resolve, reject) => {
        const out = httpRequest({ socketPath: path, method: 'POST', path: '/' }, (reply) => {
          let text = '';
          reply.on('data', (chunk: Buffer) => {
            text += chunk.toString();
          });
          reply.on('end', () => {
            resolve({ code: reply.statusCode ?? 0, body: JSON.parse(text) as JsonObject });
          });
        });
        out.on('error', reject);
        out.end(JSON.stringify(what));
      });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const { body } = await order({ order: 'addFault', rule: { resource: 'pods', code: 500 } });
    expect((await call('/api/v1/pods')).code).toBe(500);
    expect(await order({ order: 'removeFault', id: String(body['id']) })).toMatchObject({
      body: { removed: 1 },
    });
    expect((await order({ order: 'dance' })).code).toBe(400);
    await call(pods, { method: 'POST', body: pod('r1') });
    await call(pods, { method: 'POST', body: pod('r2') });
    await running('r1');
    await running('r2');
    const reused = await order({ order: 'reuseAddress', from: 'default/r1', to: 'default/r2' });
    expect(((await call(`${pods}/r2`)).body['status'] as JsonObject)['podIP']).toBe(
      reused.body['podIP'],
    );
    const before = api.store.version();
    expect((await order({ order: 'skipVersions', count: 100 })).body['version']).toBe(before + 100);
    await order({ order: 'restart', downMs: 50 });
    expect((await call('/readyz')).code).toBe(200);
    await admin.stop();
  });
});

describe('files', () => {
  it('the kubeconfig is for its owner only', async () => {
    const file = join(folder, 'kubeconfig');
    await writeKubeconfig(file, { server: api.url, token: api.token });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it('state outlives a restart, and pods run again', async () => {
    const file = join(folder, 'second.json');
    const first = await startLabApi({ runtime: createFakeRuntime(), state: kept(file) });
    const type = resourceTypes.find((t) => t.kind === 'Pod');
    if (!type) throw new Error('no pods');
    const made = first.writer.create(type, 'default', {
      apiVersion: 'v1',
      kind: 'Pod',
      ...pod('keep'),
    } as never);
    await first.stop();
    expect((await loadState(file))?.objects.some((o) => o.key === 'default/keep')).toBe(true);
    const again = createFakeRuntime();
    const second = await startLabApi({ runtime: again, state: kept(file) });
    const uid = made.metadata.uid ?? '';
    for (let tries = 0; tries < 100 && !again.running.has(uid); tries += 1)
      await new Promise((resolve) => setTimeout(resolve, 20));
    expect(again.running.has(uid)).toBe(true);
    expect(second.store.get(type.bucket, 'default/keep')?.metadata.uid).toBe(uid);
    await second.stop();
  });
});
