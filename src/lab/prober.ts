/**
 * Script inside the network of one source: runs all of that source's probes at once, bounded, and
 * reports each as one JSON line at the end. It states what it saw; what that means is judged elsewhere.
 */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

import { openSctpAsker, type SctpAsker } from './sctp-socket.ts';
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
  if (match?.[1] !== undefined) return { kind: 'answered', identity: match[1] };
  // A server without HTTP writes its name and nothing else.
  const bare = /^[-a-z0-9.]{1,253}$/.exec(answer.trim());
  return bare === null ? { kind: 'answered' } : { kind: 'answered', identity: bare[0] };
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
    const question = (): void => {
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
      question();
    };
    socket.bind(task.localAddress === undefined ? {} : { address: task.localAddress }, () =>
      socket.connect(task.port, task.address, started),
    );
    timers.push(
      setTimeout(question, task.timeoutMs * 0.35),
      setTimeout(question, task.timeoutMs * 0.7),
      setTimeout(() => finish({ kind: 'timeout' }), task.timeoutMs),
    );
  });
}

function ask(task: ProbeTask): Promise<Seen> {
  if (task.protocol === 'UDP') return udp(task);
  if (task.protocol === 'TCP') return tcp(task);
  return sctp(task);
}

/** Opened for the first of them: all SCTP probes of a run share their sockets. */
let asker: Promise<SctpAsker> | undefined;

async function sctp(task: ProbeTask): Promise<Seen> {
  try {
    asker ??= openSctpAsker(batch.tasks.filter(({ protocol }) => protocol === 'SCTP'));
    const seen = await (await asker).ask({ ...task, question: udpQuestion });
    return seen.kind === 'answered' ? { kind: 'answered', identity: seen.text.trim() } : seen;
  } catch (error) {
    return { kind: 'failed', error: (error as Error).message };
  }
}

/**
 * How many unanswered probes may be out: more while answers come fast or not at all (a drop costs
 * nobody anything), fewer when they come late, because then the asking itself is the load.
 */
function createPace(limit: number): {
  readonly room: () => number;
  learn(seen: ProbeSighting): void;
} {
  let width = Math.min(32, limit);
  return {
    room: () => width,
    learn({ kind, latencyMs }) {
      if (kind === 'timeout') width += 2;
      else if (latencyMs < 50) width += 0.5;
      else if (latencyMs > 150) width *= 0.8;
      width = Math.max(8, Math.min(limit, width));
    },
  };
}

/** After so long a probe counts as probably dropped and makes room for the next. */
const patienceMs = 100;

function runBatch(batch: ProbeBatch): Promise<ProbeSighting[]> {
  const sightings: ProbeSighting[] = [];
  const pace = createPace(batch.concurrency);
  let next = 0;
  let out = 0;
  return new Promise((resolve) => {
    const launch = (): void => {
      if (sightings.length === batch.tasks.length) return resolve(sightings);
      while (out < pace.room()) {
        const task = batch.tasks[next++];
        if (task === undefined) return;
        out++;
        let waiting = true;
        const release = (): void => {
          if (waiting) out--;
          waiting = false;
        };
        const timer = setTimeout(() => {
          release();
          launch();
        }, patienceMs);
        const started = performance.now();
        void ask(task).then((seen) => {
          clearTimeout(timer);
          release();
          const sighting = { id: task.id, ...seen, latencyMs: performance.now() - started };
          sightings.push(sighting);
          pace.learn(sighting);
          launch();
        });
      }
    };
    launch();
  });
}

async function readInput(): Promise<string> {
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) text += chunk as string;
  return text;
}

const batch = JSON.parse(await readInput()) as ProbeBatch;
const seen = await runBatch(batch);
if (asker !== undefined) (await asker.catch(() => undefined))?.close();
process.stdout.write(seen.map((sighting) => `${JSON.stringify(sighting)}\n`).join(''));
