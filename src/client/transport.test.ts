import * as http from 'node:http';
import { connect as connectSocket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import {
  fixture,
  startFakeApi,
  type FakeApi,
  type FakeApiOptions,
} from '../../test/client/fake-api.ts';
import { createBackoff, retryTransient } from './backoff.ts';
import { ConnectionError, errorOfStatus, KubeApiError } from './errors.ts';
import { connect } from './transport.ts';

const open: { close(): Promise<void> | void }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function server(options: FakeApiOptions = {}): Promise<FakeApi> {
  const api = await startFakeApi(options);
  open.push(api);
  return api;
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it succeeded');
}

describe('connect', () => {
  it('speaks https with a private authority and a token', async () => {
    const api = await server({ tls: true, token: 'secret' });
    const connection = connect(api.config());
    expect(await connection.request('/version')).toMatchObject({ gitVersion: 'v1.32.0-fake' });
    expect(api.requests[0]?.headers).toMatchObject({
      accept: 'application/json',
      authorization: 'Bearer secret',
      'user-agent': 'podwall',
    });
    connection.close();
  });

  it('refuses a certificate of an unknown authority, or for another name', async () => {
    const api = await server({ tls: true });
    const { ca: _ca, ...without } = api.config();
    expect(await failure(connect(without).request('/version'))).toMatchObject({
      name: 'ConnectionError',
      code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      message: `could not talk to ${api.url}: the server certificate was signed by an unknown authority`,
    });
    const other = connect(api.config({ tlsServerName: 'another' }));
    expect(await failure(other.request('/version'))).toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
    const named = connect(api.config({ tlsServerName: 'fake-api' }));
    expect(await named.request('/version')).toBeDefined();
    const insecure = connect({ ...without, insecureSkipTlsVerify: true });
    expect(await insecure.request('/version')).toBeDefined();
    for (const one of [named, insecure]) one.close();
  });

  it('presents a client certificate', async () => {
    const api = await server({ tls: true, clientCertificates: true, token: 'nobody knows' });
    const auth = {
      clientCertificate: { data: fixture('client.crt') },
      clientKey: { data: fixture('client.key') },
    };
    const connection = connect(api.config({ auth }));
    expect(await connection.request('/version')).toBeDefined();
    expect(await failure(connect(api.config({ auth: {} })).request('/version'))).toMatchObject({
      status: 401,
    });
    connection.close();
  });

  it('sends basic authentication and impersonation', async () => {
    const api = await server();
    const connection = connect(
      api.config({
        auth: { username: 'alice', password: 'ö' },
        impersonate: { user: 'bob', groups: ['g1', 'g2'], extra: { 'a/b': ['1'] } },
      }),
    );
    await connection.request('/version');
    expect(api.requests[0]?.headers).toMatchObject({
      authorization: `Basic ${Buffer.from('alice:ö').toString('base64')}`,
      'impersonate-user': 'bob',
      'impersonate-group': 'g1, g2',
      'impersonate-extra-a%2fb': '1',
    });
    connection.close();
  });

  it('renews credentials once after a 401, then gives up', async () => {
    const { mkdtempSync, writeFileSync, rmSync } = await import('node:fs');
    const directory = mkdtempSync('/tmp/podwall-token-');
    const tokenFile = `${directory}/token`;
    writeFileSync(tokenFile, 'old');
    const api = await server({ token: 'old' });
    const connection = connect(api.config({ auth: { tokenFile } }));
    await connection.request('/version');
    api.token = 'new';
    writeFileSync(tokenFile, 'new');
    expect(await connection.request('/version')).toBeDefined();
    expect(api.requests.map((request) => request.status)).toEqual([200, 401, 200]);
    api.token = 'newer';
    expect(await failure(connection.request('/version'))).toMatchObject({
      status: 401,
      reason: 'Unauthorized',
    });
    expect(api.requests).toHaveLength(5);
    rmSync(directory, { recursive: true });
    connection.close();
  });

  it('reads a replaced authority again after the server was refused', async () => {
    const { mkdtempSync, writeFileSync, rmSync } = await import('node:fs');
    const directory = mkdtempSync('/tmp/podwall-ca-');
    const file = `${directory}/ca.crt`;
    writeFileSync(file, fixture('client.crt'));
    const api = await server({ tls: true });
    const connection = connect(api.config({ ca: { file } }));
    expect(await failure(connection.request('/version'))).toMatchObject({
      name: 'ConnectionError',
    });
    writeFileSync(file, fixture('ca.crt'));
    expect(await connection.request('/version')).toBeDefined();
    rmSync(directory, { recursive: true });
    connection.close();
  });

  it('uses one socket for requests in a row, and survives the server closing it', async () => {
    const api = await server();
    const connection = connect(api.config());
    for (let i = 0; i < 3; i += 1) await connection.request('/version');
    await api.down();
    await api.up();
    expect(await connection.request('/version')).toBeDefined();
    connection.close();
  });

  it('decodes gzip', async () => {
    const api = await server();
    api.faults.gzip = true;
    api.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'übung' } });
    const connection = connect(api.config());
    expect(await connection.request('/api/v1/namespaces')).toMatchObject({
      items: [{ metadata: { name: 'übung' } }],
    });
    connection.close();
  });

  it('turns Status answers into KubeApiError', async () => {
    const api = await server();
    const connection = connect(api.config());
    api.faults.fail.push({
      match: () => true,
      status: 429,
      message: 'slow down',
      retryAfter: 7,
      times: 1,
    });
    expect(await failure(connection.request('/version'))).toMatchObject({
      name: 'KubeApiError',
      status: 429,
      reason: 'TooManyRequests',
      message: 'slow down',
      retryAfter: 7,
    });
    expect(await failure(connection.request('/nope'))).toMatchObject({
      status: 404,
      reason: 'NotFound',
      message: 'the server could not find the requested resource',
    });
    connection.close();
  });

  it('says what is wrong with the way there', async () => {
    const api = await server();
    await api.down();
    expect(await failure(connect(api.config()).request('/version'))).toMatchObject({
      code: 'ECONNREFUSED',
      message: `could not talk to ${api.url}: connection refused`,
    });
    await api.up();
    const slow = connect(api.config(), { timeoutMs: 50 });
    api.faults.delayMs = 500;
    expect(await failure(slow.request('/api/v1/pods'))).toMatchObject({
      code: 'ETIMEDOUT',
      message: `${api.url} did not answer within 0.05 s`,
    });
  });

  it('stops at the signal', async () => {
    const api = await server();
    api.faults.delayMs = 5_000;
    const controller = new AbortController();
    const asked = failure(
      connect(api.config()).request('/api/v1/pods', { signal: controller.signal }),
    );
    setTimeout(() => controller.abort(new Error('enough')), 20);
    expect(await asked).toMatchObject({ message: 'enough' });
  });

  it('goes through an http proxy by CONNECT', async () => {
    const api = await server({ tls: true });
    const seen: string[] = [];
    const proxy = http.createServer();
    proxy.on('connect', (request, socket) => {
      seen.push(`${request.url} ${request.headers['proxy-authorization']}`);
      const [host = '', port = ''] = (request.url ?? '').split(':');
      const upstream = connectSocket(Number(port), host, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        upstream.pipe(socket);
        socket.pipe(upstream);
      });
      upstream.on('error', () => socket.destroy());
      socket.on('error', () => upstream.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    open.push({ close: () => void proxy.close() });
    const { port } = proxy.address() as { port: number };
    const connection = connect(api.config({ proxyUrl: `http://me:pass@127.0.0.1:${port}` }));
    expect(await connection.request('/version')).toBeDefined();
    expect(seen).toEqual([
      `127.0.0.1:${api.port} Basic ${Buffer.from('me:pass').toString('base64')}`,
    ]);
    connection.close();
    proxy.removeAllListeners('connect');
    proxy.on('connect', (_request, socket) =>
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'),
    );
    const refused = connect(api.config({ proxyUrl: `127.0.0.1:${port}` }));
    expect(await failure(refused.request('/version'))).toMatchObject({
      code: 'EPROXY',
      message: expect.stringContaining('407') as string,
    });
  });
});

describe('errorOfStatus', () => {
  it('reads what a proxy sent in place of a Status', () => {
    expect(errorOfStatus(502, '<html>\n bad   gateway</html>')).toMatchObject({
      status: 502,
      message: 'the server answered 502: <html> bad gateway</html>',
    });
    expect(errorOfStatus(410, { kind: 'Status', code: 410, reason: 'Gone' }).expired).toBe(true);
    expect(errorOfStatus(500, { kind: 'Status', code: 410 }).expired).toBe(true);
  });
});

describe('back-off', () => {
  it('grows from 0.8 s to 30 s with jitter and starts anew after two calm minutes', () => {
    let now = 0;
    const clock = { now: () => now, random: () => 0.5, sleep: () => Promise.resolve() };
    const backoff = createBackoff({ clock });
    const waits = Array.from({ length: 8 }, () => backoff.next());
    expect(waits).toEqual([1200, 2400, 4800, 9600, 19_200, 38_400, 45_000, 45_000]);
    expect(backoff.next(60_000)).toBe(60_000);
    now += 120_001;
    expect(backoff.next()).toBe(1200);
  });

  it('retries what is transient, as long as the server asks, and nothing else', async () => {
    const slept: number[] = [];
    const clock = {
      now: () => 0,
      random: () => 0,
      sleep: (ms: number) => (slept.push(ms), Promise.resolve()),
    };
    const answers: unknown[] = [
      new KubeApiError({ status: 429, message: 'x', retryAfter: 3 }),
      new ConnectionError('y', 'ECONNRESET'),
      'done',
    ];
    const attempt = (): Promise<string> => {
      const next = answers.shift();
      return next instanceof Error ? Promise.reject(next) : Promise.resolve(next as string);
    };
    expect(
      await retryTransient(attempt, { attempts: 4, backoff: createBackoff({ clock }), clock }),
    ).toBe('done');
    expect(slept).toEqual([3000, 1600]);
    const refused = (): Promise<never> =>
      Promise.reject(new KubeApiError({ status: 403, message: 'no' }));
    expect(
      await failure(
        retryTransient(refused, { attempts: 4, backoff: createBackoff({ clock }), clock }),
      ),
    ).toMatchObject({ status: 403 });
    expect(slept).toHaveLength(2);
  });
});
