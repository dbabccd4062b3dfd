/**
 * Random requests to the API of a lab with real pods: everything a user's programs do, with connections
 * given up half-way and trouble on order. Must not judge what comes of it.
 */
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import WebSocket from 'ws';
import { seededRandom } from '../../../src/lab/api/faults.ts';
import type { AdminOrder, Lab, LabStatus } from '../../../src/lab/index.ts';
import { orderFault } from '../../../src/lab/index.ts';

export interface Answer {
  readonly code: number;
  readonly body: { readonly items?: readonly Item[]; readonly metadata?: Item['metadata'] };
}

export interface Item {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly generation?: number;
    readonly ownerReferences?: readonly { readonly uid: string }[];
  };
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly status?: Readonly<Record<string, unknown>>;
}

export interface Traffic {
  /** One random act. Never rejects: what goes wrong is counted. */
  act(): Promise<void>;
  /** A request without faults meant for it. */
  call(method: string, path: string, body?: unknown, type?: string): Promise<Answer>;
  order(order: AdminOrder): Promise<unknown>;
  /** Acts done, by name. */
  readonly counts: Map<string, number>;
  /** Status codes seen; 0: the connection was cut. */
  readonly codes: Map<number, number>;
  close(): void;
}

export const spaces: readonly string[] = ['soak-1', 'soak-2', 'soak-3'];

const merge = 'application/merge-patch+json';

export function createTraffic(lab: Lab, status: LabStatus, seed: number): Traffic {
  const { api, stateDir = '' } = status;
  if (api === undefined) throw new Error('this lab has no API');
  const random = seededRandom(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const chance = (p: number): boolean => random() < p;
  const { hostname, port } = new URL(api.server);
  const agent = new Agent({ keepAlive: true, maxSockets: 12, rejectUnauthorized: false });
  const counts = new Map<string, number>();
  const codes = new Map<number, number>();
  const token = (): string => {
    const config = JSON.parse(readFileSync(api.kubeconfig, 'utf8')) as {
      users: { user: { token: string } }[];
    };
    return config.users[0]?.user.token ?? '';
  };
  let known = token();

  const call: Traffic['call'] = async (method, path, body, type = 'application/json') => {
    const first = await once(method, path, body, type);
    if (first.code !== 401) return first;
    known = token();
    return once(method, path, body, type);
  };
  const once: Traffic['call'] = (method, path, body, type) =>
    new Promise((resolve) => {
      let code = 0;
      let text = '';
      const finish = (): void => {
        codes.set(code, (codes.get(code) ?? 0) + 1);
        let parsed: Answer['body'] = {};
        try {
          parsed = JSON.parse(text) as Answer['body'];
        } catch {
          // Cut, or not JSON.
        }
        resolve({ code, body: parsed });
      };
      const out = request(
        {
          hostname,
          port,
          method,
          path,
          agent,
          timeout: 30_000,
          headers: {
            Authorization: `Bearer ${known}`,
            ...(body === undefined ? {} : { 'Content-Type': type }),
          },
        },
        (reply) => {
          code = reply.statusCode ?? 0;
          reply.setEncoding('utf8');
          reply.on('data', (chunk: string) => (text += chunk));
          reply.on('error', () => {});
          reply.on('close', finish);
        },
      );
      out.on('timeout', () => out.destroy());
      out.on('error', () => {
        if (code === 0) finish();
      });
      out.end(body === undefined ? undefined : JSON.stringify(body));
    });
  const order = (one: AdminOrder): Promise<unknown> => orderFault(stateDir, one);

  /** Reads for a while, then leaves without a word. */
  const leave = (path: string, ms: number): Promise<void> =>
    new Promise((resolve) => {
      const out = request(
        { hostname, port, path, agent: false, rejectUnauthorized: false, headers: auth() },
        (reply) => {
          reply.on('error', () => {});
          reply.resume();
        },
      );
      const end = (): void => {
        out.destroy();
        resolve();
      };
      out.on('error', end);
      setTimeout(end, ms);
    });
  const auth = (): Record<string, string> => ({ Authorization: `Bearer ${known}` });
  const socket = (path: string, protocol: string, ms: number, input?: string): Promise<void> =>
    new Promise((resolve) => {
      const open = new WebSocket(`wss://${hostname}:${port}${path}`, protocol, {
        rejectUnauthorized: false,
        headers: auth(),
      });
      const timer = setTimeout(() => open.terminate(), ms);
      open.on('open', () => {
        if (input !== undefined) open.send(Buffer.concat([Buffer.from([0]), Buffer.from(input)]));
      });
      open.on('error', () => {});
      open.on('close', () => {
        clearTimeout(timer);
        resolve();
      });
    });

  const container = (): Record<string, unknown> => {
    const common = { name: 'c', image: pick(['nginx', 'busybox', 'redis']) };
    switch (Math.floor(random() * 6)) {
      case 0:
        return { ...common, command: ['sleep', '1000'] };
      case 1:
        return { ...common, command: ['sh', '-c', 'sleep 1000 & sleep 1000 & wait'] };
      case 2:
        return { ...common, command: ['sh', '-c', `sleep 0.1; exit ${pick([0, 1])}`] };
      case 3:
        return { ...common, ports: [{ containerPort: 53, protocol: 'UDP' }] };
      case 4:
        return { ...common, ports: [{ containerPort: 80 }, { containerPort: 8080 }] };
      default:
        return common;
    }
  };
  const podSpec = (): Record<string, unknown> => ({
    terminationGracePeriodSeconds: pick([0, 1]),
    containers: [container()],
  });
  const names = ['a', 'b', 'c', 'd'];
  const space = (): string => pick(spaces);
  const pods = (ns: string): string => `/api/v1/namespaces/${ns}/pods`;
  const anyPod = async (): Promise<string | undefined> => {
    const { body } = await call('GET', `/api/v1/pods?fieldSelector=status.phase%3DRunning`);
    const items = (body.items ?? []).filter(({ metadata }) =>
      spaces.includes(metadata.namespace ?? ''),
    );
    if (items.length === 0) return undefined;
    const { metadata } = pick(items);
    return `${pods(metadata.namespace ?? '')}/${metadata.name}`;
  };
  const workload = (kind: string, name: string): unknown => ({
    metadata: { name },
    spec: {
      ...(kind === 'daemonsets' ? {} : { replicas: Math.floor(random() * 3) }),
      ...(kind === 'statefulsets' ? { serviceName: name } : {}),
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: podSpec() },
    },
  });
  const policy = (): unknown => ({
    metadata: { name: pick(names) },
    spec: {
      podSelector: chance(0.5) ? {} : { matchLabels: { app: pick(names) } },
      policyTypes: pick([['Ingress'], ['Egress'], ['Ingress', 'Egress']]),
      ingress: chance(0.5) ? [] : [{ from: [{ podSelector: { matchLabels: { role: 'x' } } }] }],
      egress: chance(0.5) ? [] : [{ to: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }],
    },
  });

  const rule = (): AdminOrder => {
    const match = { times: Math.ceil(random() * 20), probability: 0.3 };
    return {
      order: 'addFault',
      rule: pick([
        { ...match, code: pick([429, 500, 503, 504]) },
        { ...match, code: 403, resource: pick(['pods', 'services', 'networkpolicies']) },
        { ...match, reset: true },
        { ...match, delayMs: 200 },
        { ...match, verb: 'list', pageSize: 3 },
        { ...match, verb: 'list', splitBytes: 500 },
        { ...match, verb: 'list', cutBytes: 600 },
        { ...match, verb: 'watch', watchForMs: 300, watchEnd: pick(['close', 'reset'] as const) },
        { ...match, verb: 'watch', watchForMs: 300, watchEnd: pick(['expire', 'stall'] as const) },
        { ...match, verb: 'watch', duplicate: true },
        { ...match, noBookmarks: true, noWatchList: true },
        { ...match, dropEndBookmark: true },
        { probability: 0.5, times: 3, lateDeleteMs: 500 },
      ]),
    };
  };

  /** How often each is done, relative to the others. */
  const acts: readonly (readonly [name: string, weight: number, () => Promise<unknown>])[] = [
    ['namespace', 3, () => call('POST', '/api/v1/namespaces', { metadata: { name: space() } })],
    ['delete namespace', 0.3, () => call('DELETE', `/api/v1/namespaces/${space()}`)],
    [
      'pod',
      8,
      () =>
        call('POST', pods(space()), {
          metadata: { name: pick(names), labels: { app: pick(names) } },
          spec: {
            ...podSpec(),
            restartPolicy: pick(['Always', 'Never', 'OnFailure']),
            ...(chance(0.1) ? { hostNetwork: true } : {}),
          },
        }),
    ],
    [
      'delete pod',
      5,
      () =>
        call(
          'DELETE',
          `${pods(space())}/${pick(names)}${chance(0.3) ? '?gracePeriodSeconds=0' : ''}`,
        ),
    ],
    [
      'workload',
      3,
      () => {
        const kind = pick(['deployments', 'statefulsets', 'daemonsets']);
        return call(
          'POST',
          `/apis/apps/v1/namespaces/${space()}/${kind}`,
          workload(kind, `${pick(names)}-${kind.slice(0, 2)}`),
        );
      },
    ],
    [
      'scale',
      2,
      () =>
        call(
          'PATCH',
          `/apis/apps/v1/namespaces/${space()}/deployments/${pick(names)}-de/scale`,
          { spec: { replicas: Math.floor(random() * 4) } },
          merge,
        ),
    ],
    [
      'roll out',
      1,
      () =>
        call(
          'PATCH',
          `/apis/apps/v1/namespaces/${space()}/deployments/${pick(names)}-de`,
          { spec: { template: { metadata: { annotations: { n: String(random()) } } } } },
          merge,
        ),
    ],
    [
      'delete workload',
      3,
      () => {
        const kind = pick(['deployments', 'statefulsets', 'daemonsets']);
        const policyOf = pick(['Background', 'Foreground']);
        return call(
          'DELETE',
          `/apis/apps/v1/namespaces/${space()}/${kind}/${pick(names)}-${kind.slice(0, 2)}?propagationPolicy=${policyOf}`,
        );
      },
    ],
    [
      'job',
      1,
      () =>
        call('POST', `/apis/batch/v1/namespaces/${space()}/jobs`, {
          metadata: { name: pick(names) },
          spec: {
            completions: 2,
            template: {
              spec: {
                restartPolicy: 'Never',
                terminationGracePeriodSeconds: 0,
                containers: [{ name: 'c', image: 'i', command: ['true'] }],
              },
            },
          },
        }),
    ],
    [
      'delete job',
      1,
      () =>
        call(
          'DELETE',
          `/apis/batch/v1/namespaces/${space()}/jobs/${pick(names)}?propagationPolicy=Background`,
        ),
    ],
    [
      'policy',
      3,
      () =>
        call('POST', `/apis/networking.k8s.io/v1/namespaces/${space()}/networkpolicies`, policy()),
    ],
    [
      'delete policy',
      3,
      () =>
        call(
          'DELETE',
          `/apis/networking.k8s.io/v1/namespaces/${space()}/networkpolicies/${pick(names)}`,
        ),
    ],
    [
      'service',
      2,
      () =>
        call('POST', `/api/v1/namespaces/${space()}/services`, {
          metadata: { name: pick(names) },
          spec: {
            type: pick(['ClusterIP', 'NodePort']),
            selector: { app: pick(names) },
            ports: [{ port: 80, targetPort: 80 }],
          },
        }),
    ],
    [
      'delete service',
      2,
      () => call('DELETE', `/api/v1/namespaces/${space()}/services/${pick(names)}`),
    ],
    [
      'label',
      4,
      async () => {
        const pod = await anyPod();
        if (pod === undefined) return;
        await call('PATCH', pod, { metadata: { labels: { role: pick(['x', 'y']) } } }, merge);
      },
    ],
    [
      'exec',
      5,
      async () => {
        const pod = await anyPod();
        if (pod === undefined) return;
        const command = pick([
          'command=true',
          'command=sh&command=-c&command=exit%203',
          'command=sleep&command=1000',
          'command=sh&command=-c&command=sleep%201000%20%26%20wait',
          'command=no-such-program',
        ]);
        const tty = chance(0.2) ? '&tty=true' : '&stderr=true';
        // Those that never end are left.
        await socket(`${pod}/exec?${command}&stdout=true${tty}`, 'v5.channel.k8s.io', 1500);
      },
    ],
    [
      'exec with input',
      2,
      async () => {
        const pod = await anyPod();
        if (pod === undefined) return;
        await socket(
          `${pod}/exec?command=cat&stdin=true&stdout=true&stderr=true`,
          'v5.channel.k8s.io',
          200,
          'left without an end',
        );
      },
    ],
    [
      'logs',
      3,
      async () => {
        const pod = await anyPod();
        if (pod === undefined) return;
        if (chance(0.5)) await call('GET', `${pod}/log?tailLines=10`);
        else await leave(`${pod}/log?follow=true`, 100);
      },
    ],
    ['list', 4, () => call('GET', `/api/v1/pods?limit=${1 + Math.floor(random() * 5)}`)],
    ['watch', 2, () => leave('/api/v1/pods?watch=true', 50 + random() * 300)],
    [
      'delete all pods of a namespace',
      0.3,
      () => call('DELETE', `/api/v1/namespaces/${space()}/pods`),
    ],
    ['probe', 0.2, () => lab.probe({ from: ['world-a'], to: ['soak-1/*'], family: 4 })],
    ['fault', 1, () => order(rule())],
    ['clear faults', 0.3, () => order({ order: 'clearFaults' })],
    [
      'open watches',
      0.5,
      () =>
        order({
          order: pick(['closeWatches', 'resetWatches', 'expireWatches', 'stallWatches'] as const),
        }),
    ],
    ['replay', 0.3, () => order({ order: 'replayEvents', count: 20 })],
    ['compact', 0.1, () => order({ order: 'compact' })],
    ['restart', 0.1, () => order({ order: 'restart', downMs: 100 })],
    ['rotate token', 0.1, () => order({ order: 'rotateToken' })],
  ];
  const total = acts.reduce((sum, [, weight]) => sum + weight, 0);

  return {
    async act() {
      let at = random() * total;
      for (const [name, weight, run] of acts) {
        at -= weight;
        if (at > 0) continue;
        counts.set(name, (counts.get(name) ?? 0) + 1);
        // A refused probe or order is an answer too.
        await run().catch(() => {});
        return;
      }
    },
    call,
    order,
    counts,
    codes,
    close: () => agent.destroy(),
  };
}
