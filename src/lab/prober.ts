/**
 * Script inside the network of one source: runs all of that source's probes at once, bounded, and
 * reports each as one JSON line. It states what it saw; what that means is judged elsewhere.
 */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

import {
  identityHeader,
  udpQuestion,
  type ProbeBatch,
  type ProbeSighting,
  type ProbeTask,
} from './wire.ts';

type Seen = Pick<ProbeSighting, 'kind' | 'identity' | 'error'>;

const answerLimit = 16_384;

function tcp(task: ProbeTask): Promise<Seen> {
  return new Promise((resolve) => {
    let connected = false;
    let answer = '';
    const socket = connect({
      host: task.address,
      port: task.port,
      autoSelectFamily: false,
      ...(task.localAddress === undefined ? {} : { localAddress: task.localAddress }),
    });
    const finish = (seen: Seen): void => {
      clearTimeout(timer);
      // A reset leaves nothing behind in either end's tables.
      if (connected) socket.resetAndDestroy();
      else socket.destroy();
      resolve(seen);
    };
    const timer = setTimeout(
      () =>
        finish(
          connected
            ? { kind: 'failed', error: 'connected, but no answer came' }
            : { kind: 'timeout' },
        ),
      task.timeoutMs,
    );
    socket.on('connect', () => {
      connected = true;
      // An answer is owed now; give it the time a loaded machine needs.
      timer.refresh();
      socket.write(`GET / HTTP/1.1\r\nHost: podwall\r\nConnection: close\r\n\r\n`);
    });
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      answer += chunk;
      if (answer.length > answerLimit || answer.includes('\r\n\r\n')) finish(identified(answer));
    });
    socket.on('end', () => finish(identified(answer)));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      finish(
        error.code === 'ECONNREFUSED'
          ? { kind: 'refused' }
          : { kind: 'failed', error: error.message },
      ),
    );
  });
}

function identified(answer: string): Seen {
  const match = new RegExp(`^${identityHeader}: *(\\S+)`, 'im').exec(answer);
  return match?.[1] === undefined ? { kind: 'answered' } : { kind: 'answered', identity: match[1] };
}

/** Asks three times within the timeout: a lost datagram is no denial. */
function udp(task: ProbeTask): Promise<Seen> {
  return new Promise((resolve) => {
    const socket = createSocket(task.address.includes(':') ? 'udp6' : 'udp4');
    const timers: NodeJS.Timeout[] = [];
    let over = false;
    const finish = (seen: Seen): void => {
      if (over) return;
      over = true;
      for (const timer of timers) clearTimeout(timer);
      socket.close();
      resolve(seen);
    };
    const fail = (error: NodeJS.ErrnoException): void =>
      finish(
        error.code === 'ECONNREFUSED'
          ? { kind: 'refused' }
          : { kind: 'failed', error: error.message },
      );
    const ask = (): void => {
      if (over) return;
      socket.send(udpQuestion, (error) => {
        if (error) fail(error);
      });
    };
    socket.on('error', fail);
    socket.on('message', (data) =>
      finish({ kind: 'answered', identity: data.toString('latin1').trim() }),
    );
    // connect() reports its fault through the callback or the `error` event, by version of Node.
    const started = (error?: Error): void => {
      if (error) return fail(error);
      ask();
    };
    socket.bind(task.localAddress === undefined ? {} : { address: task.localAddress }, () =>
      socket.connect(task.port, task.address, started as () => void),
    );
    timers.push(
      setTimeout(ask, task.timeoutMs * 0.35),
      setTimeout(ask, task.timeoutMs * 0.7),
      setTimeout(() => finish({ kind: 'timeout' }), task.timeoutMs),
    );
  });
}

function ask(task: ProbeTask): Promise<Seen> {
  if (task.protocol === 'UDP') return udp(task);
  if (task.protocol === 'TCP') return tcp(task);
  return Promise.resolve({ kind: 'failed', error: `the lab has no ${task.protocol} sockets` });
}

async function runTask(task: ProbeTask): Promise<void> {
  const started = performance.now();
  const seen = await ask(task);
  const sighting: ProbeSighting = { id: task.id, ...seen, latencyMs: performance.now() - started };
  process.stdout.write(`${JSON.stringify(sighting)}\n`);
}

async function runBatch(batch: ProbeBatch): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (;;) {
      const task = batch.tasks[next++];
      if (task === undefined) return;
      await runTask(task);
    }
  };
  await Promise.all(
    Array.from({ length: Math.min(batch.concurrency, batch.tasks.length) }, worker),
  );
}

async function readInput(): Promise<string> {
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) text += chunk as string;
  return text;
}

await runBatch(JSON.parse(await readInput()) as ProbeBatch);
