/**
 * Figures of the lab's API alone, with the fake runtime: pod creations, a list of 5,000 pods and
 * execs. The server runs in a process of its own; the load comes from this one. Run with
 * `npx tsx bench/lab-api.ts`.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { Agent, request } from 'node:https';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { createFakeRuntime } from '../src/lab/api/fake-runtime.ts';
import { startLabApi } from '../src/lab/api/start.ts';

interface Started {
  readonly url: string;
  readonly token: string;
  readonly cert: string;
}

const podCount = 5000;
const connections = 16;
const pods = '/api/v1/namespaces/default/pods';

async function serve(): Promise<void> {
  const api = await startLabApi({ runtime: createFakeRuntime() });
  process.send?.({ url: api.url, token: api.token, cert: api.certificate.cert } satisfies Started);
  process.on('message', () => {
    process.send?.({ rss: process.memoryUsage().rss });
  });
}

function client(server: Started): {
  call(method: string, path: string, body?: unknown, accept?: string): Promise<string>;
} {
  const agent = new Agent({ keepAlive: true, maxSockets: connections, ca: server.cert });
  const { hostname, port } = new URL(server.url);
  return {
    call: (method, path, body, accept = 'application/json') =>
      new Promise((resolve, reject) => {
        const out = request(
          {
            hostname,
            port,
            path,
            method,
            agent,
            headers: {
              Authorization: `Bearer ${server.token}`,
              Accept: accept,
              ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
            },
          },
          (reply) => {
            const chunks: Buffer[] = [];
            reply.on('data', (chunk: Buffer) => chunks.push(chunk));
            reply.on('end', () => {
              const text = Buffer.concat(chunks).toString();
              if ((reply.statusCode ?? 500) < 300) resolve(text);
              else reject(new Error(text));
            });
          },
        );
        out.on('error', reject);
        out.end(body === undefined ? undefined : JSON.stringify(body));
      }),
  };
}

/** Runs `work` `count` times, `width` at a time; milliseconds. */
async function timed(
  count: number,
  width: number,
  work: (n: number) => Promise<unknown>,
): Promise<number> {
  let next = 0;
  const from = performance.now();
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < count) {
        next += 1;
        await work(next);
      }
    }),
  );
  return performance.now() - from;
}

function exec(server: Started): Promise<void> {
  const socket = new WebSocket(
    `${server.url.replace('https', 'wss')}${pods}/p1/exec?command=true&stdout=true&stderr=true`,
    'v5.channel.k8s.io',
    { ca: server.cert, headers: { Authorization: `Bearer ${server.token}` } },
  );
  return new Promise((resolve, reject) => {
    let done = false;
    socket.on('message', (raw: Buffer) => {
      if (raw[0] === 3) done = raw.includes('Success');
    });
    socket.on('close', () => (done ? resolve() : reject(new Error('exec failed'))));
    socket.on('error', reject);
  });
}

async function measure(): Promise<void> {
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), ['serve']);
  const server = await new Promise<Started>((resolve) => child.once('message', resolve));
  const { call } = client(server);
  try {
    await timed(200, connections, (n) => call('POST', pods, podBody(`warm${n}`)));
    const created = await timed(podCount, connections, (n) => call('POST', pods, podBody(`p${n}`)));
    console.log(
      `create pods: ${Math.round((podCount / created) * 1000)}/s (${connections} connections)`,
    );
    for (;;) {
      const left = await call('GET', `${pods}?fieldSelector=status.phase%3DPending&limit=1`);
      if (!left.includes('"items":[{')) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    for (const [name, accept] of [
      ['list', 'application/json'],
      ['table', 'application/json;as=Table;v=v1;g=meta.k8s.io'],
    ] as const)
      for (let round = 1; round <= 3; round += 1) {
        const from = performance.now();
        const text = await call('GET', '/api/v1/pods', undefined, accept);
        const ms = performance.now() - from;
        console.log(
          `${name} of ${podCount + 200} pods, round ${round}: ${ms.toFixed(0)} ms, ${(text.length / 1e6).toFixed(1)} MB`,
        );
      }
    const spent = await timed(300, 8, () => exec(server));
    console.log(`exec over WebSocket: ${Math.round((300 / spent) * 1000)}/s (8 at a time)`);
    const memory = await new Promise<{ rss: number }>((resolve) => {
      child.once('message', resolve);
      child.send('rss');
    });
    console.log(`memory of the server: ${(memory.rss / 1e6).toFixed(0)} MB`);
  } finally {
    child.kill();
  }
}

const podBody = (name: string): unknown => ({
  metadata: { name, labels: { app: `a${name.length}`, name } },
  spec: { containers: [{ name: 'c', image: 'nginx', ports: [{ containerPort: 80 }] }] },
});

await (process.argv[2] === 'serve' ? serve() : measure());
