/** The doctor in a cluster, against a fake API only: a real kubelet, image or log was never met. */
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { connect } from '../client/transport.ts';
import { createClusterSite } from './doctor-cluster.ts';
import { examine } from './doctor.ts';
import type { DoctorReport } from './doctor.ts';

interface Fake {
  readonly url: string;
  readonly requests: string[];
  readonly bodies: Record<string, unknown>[];
  namespaces: number;
  close(): Promise<void>;
}

interface Behaviour {
  readonly enforces: boolean;
  readonly reachable?: boolean;
  readonly podPhase?: string;
  /** Log streams end after so many lines. */
  readonly linesPerStream?: number;
}

async function startFake(behaviour: Behaviour): Promise<Fake> {
  const policies: string[] = [];
  const requests: string[] = [];
  const bodies: Record<string, unknown>[] = [];
  const fake = { namespaces: 0 };
  const server = http.createServer((request, response) => {
    const { method = '', url = '' } = request;
    const { pathname } = new URL(url, 'http://fake');
    requests.push(`${method} ${pathname}`);
    let text = '';
    request.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
    request.on('end', () => {
      const answer = (body: object, status = 200): void => {
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(JSON.stringify(body));
      };
      if (method === 'POST') {
        const body = JSON.parse(text) as { kind: string; metadata: { name: string } };
        bodies.push(body);
        if (body.kind === 'Namespace') fake.namespaces += 1;
        if (body.kind === 'NetworkPolicy') policies.push(body.metadata.name);
        return answer(body, 201);
      }
      if (method === 'DELETE') {
        fake.namespaces -= 1;
        return answer({ kind: 'Status', status: 'Success' });
      }
      if (!pathname.endsWith('/log'))
        return answer({
          status: {
            phase: behaviour.podPhase ?? 'Running',
            podIP: '10.244.1.7',
            containerStatuses: [{ ready: true, state: { running: {} } }],
          },
        });
      response.writeHead(200, { 'content-type': 'text/plain' });
      let lines = 0;
      const timer = setInterval(() => {
        const denied = policies.length === 1 && behaviour.enforces;
        response.write(denied || behaviour.reachable === false ? 'closed\n' : 'open\n');
        lines += 1;
        if (lines === behaviour.linesPerStream) response.end();
      }, 5);
      response.on('close', () => clearInterval(timer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    bodies,
    get namespaces() {
      return fake.namespaces;
    },
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

describe('doctor in a (fake) cluster', () => {
  let fake: Fake;
  afterEach(async () => {
    await fake.close();
  });
  const check = async (
    behaviour: Behaviour,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<DoctorReport> => {
    fake = await startFake(behaviour);
    const connection = connect({
      server: fake.url,
      source: 'test',
      insecureSkipTlsVerify: false,
      namespace: 'default',
      auth: {},
    });
    const site = createClusterSite({
      connection,
      namespace: 'podwall-doctor-1',
      port: 8080,
      image: 'busybox:1.36',
      node: 'worker-1',
      pollMs: 5,
      startMs: 100,
    });
    const where = { namespace: 'podwall-doctor-1', port: 8080 };
    return examine(site, where, { signal, patienceMs: 200 }).finally(() => connection.close());
  };

  it('enforced: namespace, two pods, two policies, and all of it deleted', async () => {
    expect(await check({ enforces: true })).toMatchObject({ verdict: 'ENFORCED' });
    const inside = '/api/v1/namespaces/podwall-doctor-1';
    expect(fake.requests.filter((line) => !line.startsWith('GET'))).toEqual([
      'POST /api/v1/namespaces',
      `POST ${inside}/pods`,
      `POST ${inside}/pods`,
      'POST /apis/networking.k8s.io/v1/namespaces/podwall-doctor-1/networkpolicies',
      'POST /apis/networking.k8s.io/v1/namespaces/podwall-doctor-1/networkpolicies',
      `DELETE ${inside}`,
    ]);
    expect(fake.namespaces).toBe(0);
    expect(fake.bodies[1]).toMatchObject({ spec: { nodeName: 'worker-1' } });
    expect(fake.bodies[2]).not.toHaveProperty('spec.nodeName');
    expect(fake.bodies[2]).toMatchObject({
      spec: { containers: [{ env: [{ name: 'HOST', value: '10.244.1.7' }, { name: 'PORT' }] }] },
    });
  });

  it('log streams that end are opened again', async () => {
    expect(await check({ enforces: true, linesPerStream: 4 })).toMatchObject({
      verdict: 'ENFORCED',
    });
  });

  it('not enforced', async () => {
    expect(await check({ enforces: false })).toMatchObject({ verdict: 'NOT ENFORCED' });
    expect(fake.namespaces).toBe(0);
  });

  it('a listener that never answers is no proof', async () => {
    expect(await check({ enforces: true, reachable: false })).toMatchObject({
      verdict: 'INCONCLUSIVE',
      reason: expect.stringContaining('control failed') as string,
    });
    expect(fake.namespaces).toBe(0);
  });

  it('a pod that does not start is said, and the namespace goes', async () => {
    await expect(check({ enforces: true, podPhase: 'Pending' })).rejects.toThrow(
      'pod podwall-doctor-1/listener does not run: Pending',
    );
    expect(fake.namespaces).toBe(0);
  });

  it('Ctrl-C takes everything away', async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(new Error('stopped')), 80);
    await expect(check({ enforces: true, reachable: false }, abort.signal)).rejects.toThrow(
      'stopped',
    );
    expect(fake.requests.at(-1)).toBe('DELETE /api/v1/namespaces/podwall-doctor-1');
    expect(fake.namespaces).toBe(0);
  });
});
