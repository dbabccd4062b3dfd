/**
 * How policies are stored and served, as the specification has it, seen by a client of the lab's API
 * server over HTTPS. Must not look into the server.
 */
import type { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KubeApiError } from '../../src/client/errors.ts';
import { connect } from '../../src/client/transport.ts';
import type { Connection } from '../../src/client/transport.ts';
import { createFakeRuntime } from '../../src/lab/api/fake-runtime.ts';
import { startLabApi } from '../../src/lab/api/start.ts';
import type { LabApi } from '../../src/lab/api/start.ts';

interface Stored {
  readonly metadata: {
    readonly name: string;
    readonly resourceVersion: string;
    readonly generation?: number;
    readonly labels?: Record<string, string>;
  };
  readonly spec: Record<string, unknown>;
}
interface StoredList {
  readonly metadata: { readonly resourceVersion: string };
  readonly items: readonly Stored[];
}
interface Table {
  readonly columnDefinitions: readonly { readonly name: string }[];
  readonly rows: readonly { readonly cells: readonly unknown[] }[];
}

const group = '/apis/networking.k8s.io/v1';
const policies = `${group}/namespaces/default/networkpolicies`;
const tables = 'application/json;as=Table;v=v1;g=meta.k8s.io';

let api: LabApi;
let connection: Connection;

beforeAll(async () => {
  api = await startLabApi({ runtime: createFakeRuntime(), seed: 5, recordEvents: false });
  connection = connect({
    server: api.url,
    source: 'lab',
    namespace: 'default',
    insecureSkipTlsVerify: false,
    ca: { data: api.certificate.cert },
    auth: { token: api.token },
  });
});
afterAll(async () => {
  connection?.close();
  await api?.stop();
});

const ruleFrom = (app: string): object => ({
  from: [{ podSelector: { matchLabels: { app } } }],
});
const policy = (metadata: object, spec: object = {}): object => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata,
  spec: { podSelector: {}, ingress: [ruleFrom('web')], ...spec },
});
const create = (metadata: object, spec: object = {}): Promise<Stored> =>
  connection.request<Stored>(policies, { method: 'POST', body: policy(metadata, spec) });
const read = (name: string): Promise<Stored> => connection.request<Stored>(`${policies}/${name}`);
const change = (name: string, type: string, body: unknown): Promise<Stored> =>
  connection.request<Stored>(`${policies}/${name}`, {
    method: 'PATCH',
    contentType: `application/${type}`,
    body,
  });

async function statusOf(action: Promise<unknown>): Promise<number> {
  try {
    await action;
  } catch (error) {
    if (error instanceof KubeApiError) return error.status;
    throw error;
  }
  return 200;
}

describe('NetworkPolicies in the API', () => {
  it('S2: create, get, list, update, patch, delete, deletecollection; list across namespaces', async () => {
    await create({ name: 'verbs' });
    const stored = await read('verbs');
    await connection.request(`${policies}/verbs`, { method: 'PUT', body: stored });
    await change('verbs', 'merge-patch+json', { metadata: { labels: { a: 'b' } } });
    const everywhere = await connection.request<StoredList>(`${group}/networkpolicies`);
    expect(everywhere.items.map((one) => one.metadata.name)).toContain('verbs');
    await connection.request(`${policies}/verbs`, { method: 'DELETE' });
    expect(await statusOf(read('verbs'))).toBe(404);
    await create({ name: 'one' });
    await create({ name: 'two' });
    await connection.request(policies, { method: 'DELETE' });
    expect((await connection.request<StoredList>(policies)).items).toEqual([]);
  });

  it('S16: a strategic merge patch that contains a list replaces it whole', async () => {
    await create({ name: 'atomic' }, { ingress: [ruleFrom('web'), ruleFrom('db')] });
    const patched = await change('atomic', 'strategic-merge-patch+json', {
      spec: { ingress: [ruleFrom('new')] },
    });
    expect(patched.spec['ingress']).toEqual([ruleFrom('new')]);
  });

  it('S16: so does a server-side apply', async () => {
    const apply = (spec: object): Promise<Stored> =>
      connection.request<Stored>(`${policies}/applied`, {
        method: 'PATCH',
        query: { fieldManager: 'test', force: true },
        contentType: 'application/apply-patch+yaml',
        body: policy({ name: 'applied' }, spec),
      });
    await apply({ ingress: [ruleFrom('web'), ruleFrom('db')] });
    const second = await apply({ ingress: [ruleFrom('new')] });
    expect(second.spec['ingress']).toEqual([ruleFrom('new')]);
  });

  it('S17: the generation is 1 and grows with the spec only', async () => {
    const made = await create({ name: 'generation' });
    expect(made.metadata.generation).toBe(1);
    const labelled = await change('generation', 'merge-patch+json', {
      metadata: { labels: { a: 'b' } },
    });
    expect(labelled.metadata.generation).toBe(1);
    const edited = await change('generation', 'merge-patch+json', {
      spec: { ingress: [ruleFrom('other')] },
    });
    expect(edited.metadata.generation).toBe(2);
  });

  it('S18: generateName gives distinct names; list and deletecollection honour label selectors', async () => {
    const labels = { batch: 's18' };
    const first = await create({ generateName: 'made-', labels });
    const second = await create({ generateName: 'made-', labels });
    expect(first.metadata.name).toMatch(/^made-.+/);
    expect(second.metadata.name).not.toBe(first.metadata.name);
    await create({ name: 's18-other' });
    const query = { labelSelector: 'batch=s18' };
    const listed = await connection.request<StoredList>(policies, { query });
    expect(listed.items).toHaveLength(2);
    await connection.request(policies, { method: 'DELETE', query });
    expect((await connection.request<StoredList>(policies, { query })).items).toEqual([]);
    expect((await read('s18-other')).metadata.name).toBe('s18-other');
  });

  it('S18: a watch from the version of a list tells of later patches', async () => {
    await create({ name: 'watched' });
    const { metadata } = await connection.request<StoredList>(policies);
    const stream: Readable = await connection.open(policies, {
      query: { watch: true, resourceVersion: metadata.resourceVersion },
    });
    try {
      await change('watched', 'merge-patch+json', { metadata: { labels: { seen: 'yes' } } });
      let text = '';
      for await (const chunk of stream) {
        text += String(chunk);
        if (text.includes('\n')) break;
      }
      const [line = ''] = text.split('\n');
      expect(JSON.parse(line)).toMatchObject({
        type: 'MODIFIED',
        object: { metadata: { name: 'watched', labels: { seen: 'yes' } } },
      });
    } finally {
      stream.destroy();
    }
  });

  it('S19: PUT to a name that does not exist is 404 and makes nothing', async () => {
    const put = connection.request(`${policies}/nobody`, {
      method: 'PUT',
      body: policy({ name: 'nobody' }),
    });
    expect(await statusOf(put)).toBe(404);
    expect(await statusOf(read('nobody'))).toBe(404);
  });

  it('S20: an update without a version is not conditional; with an old one it is refused', async () => {
    const old = await create({ name: 'conditional' });
    await change('conditional', 'merge-patch+json', { metadata: { labels: { a: 'b' } } });
    const put = (metadata: object): Promise<unknown> =>
      connection.request(`${policies}/conditional`, {
        method: 'PUT',
        body: policy({ name: 'conditional', ...metadata }, { ingress: [ruleFrom('last')] }),
      });
    const { resourceVersion } = old.metadata;
    expect(await statusOf(put({ resourceVersion }))).toBe(409);
    await put({});
    expect((await read('conditional')).spec['ingress']).toEqual([ruleFrom('last')]);
  });

  it('S210: the table has name, pod selector and age', async () => {
    await create({ name: 'shown' }, { podSelector: { matchLabels: { app: 'web' } } });
    const table = await connection.request<Table>(`${policies}/shown`, { accept: tables });
    expect(table.columnDefinitions.map(({ name }) => name)).toEqual([
      'Name',
      'Pod-Selector',
      'Age',
    ]);
    expect(table.rows[0]?.cells.slice(0, 2)).toEqual(['shown', 'app=web']);
  });
});

it('S214: the table of ClusterNetworkPolicies has name, tier, priority and age', async () => {
  const path = '/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies';
  await connection.request(path, {
    method: 'POST',
    body: {
      apiVersion: 'policy.networking.k8s.io/v1alpha2',
      kind: 'ClusterNetworkPolicy',
      metadata: { name: 'wall' },
      spec: {
        tier: 'Admin',
        priority: 7,
        subject: { namespaces: {} },
        ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
      },
    },
  });
  const table = await connection.request<Table>(path, { accept: tables });
  expect(table.columnDefinitions.map(({ name }) => name)).toEqual([
    'Name',
    'Tier',
    'Priority',
    'Age',
  ]);
  expect(table.rows[0]?.cells.slice(0, 3)).toEqual(['wall', 'Admin', 7]);
});
