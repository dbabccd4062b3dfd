/**
 * Runs inside a pod of the bed: listens, connects, floods, as told by lines of JSON on standard
 * input; one line of answer each. Ends when standard input does.
 */
import { createSocket } from 'node:dgram';
import type { Socket as UdpSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Loop, Question } from './bed.ts';

const held = new Map<string, { readonly socket: Socket; heard: number }>();
let flooding = false;
/** When the last byte came over any connection. */
let heardAt = 0;
let looping = false;

const now = (): number => performance.timeOrigin + performance.now();

function listenTcp(port: number, talk: boolean, talkMs = 20): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      // The server speaks first and goes on: lesson of conntrack entries made again the other way round.
      const timer = talk ? setInterval(() => socket.write('tick\n'), talkMs) : undefined;
      socket.on('data', (data) => {
        heardAt = now();
        socket.write(data);
      });
      socket.on('close', () => clearInterval(timer));
    });
    server.on('error', (error) => resolve(`error ${error.message}`));
    server.listen(port, '::', () => resolve('listening'));
  });
}

function listenUdp(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket({ type: 'udp6', ipv6Only: false });
    socket.on('message', (message, peer) =>
      socket.send(message, peer.port, peer.address, () => {}),
    );
    socket.on('error', (error) => resolve(`error ${error.message}`));
    socket.bind(port, '::', () => resolve('listening'));
  });
}

function tryConnect(host: string, port: number, timeout: number, from?: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, ...(from === undefined ? {} : { localAddress: from }) });
    const finish = (answer: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => finish('timeout'), timeout);
    socket.on('connect', () => finish('open'));
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? 'error'));
  });
}

function askUdp(question: Question & { do: 'udp' }): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket(question.host.includes(':') ? 'udp6' : 'udp4');
    const finish = (answer: string): void => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => finish('timeout'), question.timeout);
    socket.on('message', () => finish('open'));
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? 'error'));
    const send = (): void =>
      socket.send(Buffer.alloc(question.size ?? 8), question.port, question.host);
    if (question.from === undefined) send();
    else socket.bind(0, question.from, send);
  });
}

function hold(name: string, host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    held.get(name)?.socket.destroy();
    const socket = connect({ host, port }, () => resolve('open'));
    const kept = { socket, heard: 0 };
    held.set(name, kept);
    socket.on('data', (data) => {
      kept.heard += data.length;
      heardAt = now();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
  });
}

async function chat(name: string, ms: number): Promise<string> {
  const timer = setInterval(() => held.get(name)?.socket.write('.'), 1);
  await new Promise((resolve) => setTimeout(resolve, ms));
  clearInterval(timer);
  return String(heardAt);
}

async function watch(name: string, ms: number, say: boolean): Promise<string> {
  const kept = held.get(name);
  if (kept === undefined) return 'nothing held';
  kept.heard = 0;
  const timer = say ? setInterval(() => kept.socket.write('said\n'), 20) : undefined;
  await new Promise((resolve) => setTimeout(resolve, ms));
  clearInterval(timer);
  return String(kept.heard);
}

/** Sends until told to stop, or for `maxMs`: it never outlives its purpose. Answers at once. */
async function flood(question: Question & { do: 'flood' }): Promise<void> {
  flooding = true;
  const end = Date.now() + question.maxMs;
  const message = Buffer.from('flood');
  const targets = [
    ...question.ports.map((port) => ({ host: question.host, port })),
    ...(question.targets ?? []),
  ];
  const open = (type: 'udp4' | 'udp6'): UdpSocket[] =>
    Array.from({ length: 32 }, () => createSocket(type).on('error', () => {}));
  const four = open('udp4');
  const six = open('udp6');
  const sockets = [...four, ...six];
  let turn = 0;
  while (flooding && Date.now() < end) {
    for (let i = 0; i < question.batch; i++) {
      const at = turn++ % four.length;
      const { host, port } = targets[turn % targets.length] as (typeof targets)[number];
      const socket = (host.includes(':') ? six : four)[at] as UdpSocket;
      socket.send(message, port, host, () => {});
    }
    await new Promise((resolve) =>
      question.pauseMs > 0 ? setTimeout(resolve, question.pauseMs) : setImmediate(resolve),
    );
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  for (const socket of sockets) socket.close();
}

async function loop(question: Question & { do: 'loop' }): Promise<string> {
  const end = Date.now() + question.ms;
  let tries = 0;
  let opened = 0;
  let firstOpenAt: number | undefined;
  looping = true;
  while (looping && Date.now() < end && !(question.once === true && opened > 0)) {
    const begun = Date.now();
    tries++;
    if ((await tryConnect(question.host, question.port, 30)) !== 'open') continue;
    opened++;
    firstOpenAt ??= begun;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const result: Loop = { tries, opened, ...(firstOpenAt === undefined ? {} : { firstOpenAt }) };
  return JSON.stringify(result);
}

async function pairs(question: Question & { do: 'pairs' }): Promise<string> {
  let answers = 0;
  const round = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = createSocket(question.host.includes(':') ? 'udp6' : 'udp4');
      let came = 0;
      const finish = (): void => {
        clearTimeout(timer);
        answers += came;
        socket.close();
        resolve();
      };
      const timer = setTimeout(finish, 1500);
      socket.on('error', finish);
      socket.on('message', () => {
        if (++came === 2) finish();
      });
      // Connected first, so that both leave back to back.
      socket.connect(question.port, question.host, () => {
        socket.send('A');
        socket.send('AAAA');
      });
    });
  for (let i = 0; i < question.rounds; i++) await round();
  return String(answers);
}

function udpStream(question: Question & { do: 'udp-stream' }): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket(question.host.includes(':') ? 'udp6' : 'udp4');
    let came = 0;
    socket.on('message', () => came++);
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    socket.bind(question.fromPort, () => {
      const timer = setInterval(
        () => socket.send('stream', question.port, question.host, () => {}),
        20,
      );
      setTimeout(() => {
        clearInterval(timer);
        socket.close();
        resolve(String(came));
      }, question.ms);
    });
  });
}

function answer(question: Question): Promise<string> {
  switch (question.do) {
    case 'listen':
      return question.protocol === 'tcp'
        ? listenTcp(question.port, question.talk === true, question.talkMs)
        : listenUdp(question.port);
    case 'connect':
      return tryConnect(question.host, question.port, question.timeout, question.from);
    case 'udp':
      return askUdp(question);
    case 'hold':
      return hold(question.as ?? '', question.host, question.port);
    case 'chat':
      return chat('', question.ms);
    case 'last':
      return Promise.resolve(String(heardAt));
    case 'watch':
      return watch(question.as ?? '', question.ms, question.say);
    case 'held-port':
      return Promise.resolve(String(held.get(question.as ?? '')?.socket.localPort ?? 0));
    case 'loop':
      return loop(question);
    case 'stop-loops':
      looping = false;
      return Promise.resolve('stopped');
    case 'pairs':
      return pairs(question);
    case 'udp-stream':
      return udpStream(question);
    case 'flood':
      void flood(question);
      return Promise.resolve('flooding');
    case 'stop-flood':
      flooding = false;
      return new Promise((resolve) => setTimeout(() => resolve('stopped'), 200));
  }
}

const lines = createInterface({ input: process.stdin });
let queue: Promise<void> = Promise.resolve();
lines.on('line', (line) => {
  const question = JSON.parse(line) as Question;
  // A flood must not wait behind a slow answer; answers keep the order of the questions.
  const result = answer(question);
  queue = queue.then(async () => {
    process.stdout.write(`${await result}\n`);
  });
});
lines.on('close', () => process.exit(0));
