import { request } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { createFakeRuntime } from './fake-runtime.ts';
import type { JsonObject } from './object.ts';
import { startLabApi, type LabApi } from './start.ts';

let api: LabApi;
let walker = '';
beforeAll(async () => {
  api = await startLabApi({ runtime: createFakeRuntime(), seed: 5, recordEvents: false });
  walker = api.addToken({ name: 'walker', groups: ['system:authenticated', 'feet'] });
});
afterAll(() => api.stop());

function ask(
  path: string,
  body: JsonObject,
  token = walker,
): Promise<{ code: number; status: JsonObject }> {
  const { hostname, port } = new URL(api.url);
  return new Promise((resolve, reject) => {
    const out = request(
      {
        hostname,
        port,
        path,
        method: 'POST',
        agent: false,
        ca: api.certificate.cert,
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      },
      (reply) => {
        let text = '';
        reply.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
        reply.on('end', () => {
          const answer = JSON.parse(text) as JsonObject;
          resolve({ code: reply.statusCode ?? 0, status: answer['status'] as JsonObject });
        });
      },
    );
    out.on('error', reject);
    out.end(JSON.stringify(body));
  });
}
const authentication = (version: string, plural: string): string =>
  `/apis/authentication.k8s.io/${version}/${plural}`;
const authorization = '/apis/authorization.k8s.io/v1';

describe('who am I', () => {
  it.each(['v1', 'v1beta1', 'v1alpha1'])('%s, as kubectl auth whoami asks', async (version) => {
    const { code, status } = await ask(authentication(version, 'selfsubjectreviews'), {
      apiVersion: `authentication.k8s.io/${version}`,
      kind: 'SelfSubjectReview',
    });
    expect(code).toBe(201);
    expect(status).toEqual({
      userInfo: { username: 'walker', groups: ['system:authenticated', 'feet'] },
    });
  });

  it('a token is authenticated when it is known, and only then', async () => {
    const review = (token: string): Promise<{ status: JsonObject }> =>
      ask(authentication('v1', 'tokenreviews'), { spec: { token } });
    expect((await review(walker)).status).toMatchObject({
      authenticated: true,
      user: { username: 'walker' },
    });
    expect((await review('nobody has this')).status).toEqual({
      error: 'the lab knows no such token',
    });
    expect((await review('')).status['authenticated']).toBeUndefined();
  });
});

describe('may I', () => {
  const mayList = (resource: string): Promise<{ status: JsonObject }> =>
    ask(`${authorization}/selfsubjectaccessreviews`, {
      spec: { resourceAttributes: { verb: 'list', resource, namespace: 'default' } },
    });

  it('everything, until a fault forbids it; the question is the same as the request', async () => {
    expect((await mayList('pods')).status['allowed']).toBe(true);
    const id = api.faults.add({ code: 403, resource: 'pods', user: 'walker' });
    expect((await mayList('pods')).status).toMatchObject({ allowed: false });
    expect((await mayList('services')).status['allowed']).toBe(true);
    const other = await ask(`${authorization}/subjectaccessreviews`, {
      spec: { user: 'runner', resourceAttributes: { verb: 'list', resource: 'pods' } },
    });
    expect(other.status['allowed']).toBe(true);
    api.faults.remove(id);
    expect((await mayList('pods')).status['allowed']).toBe(true);
  });

  it('in a namespace, and all rules at once', async () => {
    const local = await ask(
      '/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews',
      { spec: { user: 'walker', resourceAttributes: { verb: 'get', resource: 'pods' } } },
    );
    expect(local).toMatchObject({ code: 201, status: { allowed: true } });
    const rules = await ask(`${authorization}/selfsubjectrulesreviews`, {
      spec: { namespace: 'default' },
    });
    expect(rules.status['resourceRules']).toEqual([
      { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
    ]);
  });
});

it('a page of a browser cannot exec through a name it rebinds or from another origin', async () => {
  const path = '/api/v1/namespaces/default/pods/none/exec?command=true&stdout=true';
  const open = (headers: Record<string, string>): Promise<string> =>
    new Promise((resolve) => {
      const socket = new WebSocket(
        `${api.url.replace('https', 'wss')}${path}`,
        'v5.channel.k8s.io',
        {
          ca: api.certificate.cert,
          // No fault found: Node would check the Host header given here.
          checkServerIdentity: () => false,
          headers: { Authorization: `Bearer ${walker}`, ...headers },
        },
      );
      socket.on('unexpected-response', (_request, reply) => {
        resolve(String(reply.statusCode));
        socket.terminate();
      });
      socket.on('error', (error) => resolve(error.message));
      socket.on('open', () => resolve('open'));
    });
  expect(await open({ Origin: 'https://evil.example' })).toBe('403');
  expect(await open({ Host: 'evil.example' })).toBe('403');
  // The control: allowed this far, and only then is the pod missed.
  expect(await open({ Origin: 'https://localhost:1234' })).toBe('404');
});
