/**
 * How listeners speak HTTP: cheaply for the tens of thousands of requests of a matrix, fully for
 * `agnhost netexec`, which also dials and runs commands in its pod. Must not know who listens where.
 */
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import {
  netexecAnswer,
  type Answer,
  type HttpReply,
  type NetexecActions,
  type NetexecPlace,
} from './answers.ts';
import { startInPod } from './pod-process.ts';
import { scriptArgs, searchPath } from './scripts.ts';
import { identityHeader } from './wire.ts';

export interface HttpAnswers {
  /** To a request with this method. */
  reply(method: string): string;
}

export function httpAnswers(endpoint: string, answer: Answer | undefined): HttpAnswers {
  const type = answer?.kind === 'text' && answer.json === true ? 'application/json' : 'text/plain';
  const textFor = (method: string): string => {
    if (answer?.kind === 'text') {
      return answer.json === true
        ? JSON.stringify({ Method: method, Body: answer.text })
        : answer.text;
    }
    if (answer !== undefined) return answer.name;
    return `${endpoint.slice(endpoint.indexOf('/') + 1)}\n`;
  };
  const made = new Map<string, string>();
  return {
    reply(method) {
      const known = made.get(method);
      if (known !== undefined) return known;
      const body = textFor(method);
      const head = [
        'HTTP/1.1 200 OK',
        `content-type: ${type}`,
        `content-length: ${Buffer.byteLength(body)}`,
        `${identityHeader}: ${endpoint}`,
        'connection: close',
        '\r\n',
      ].join('\r\n');
      const whole = method === 'HEAD' ? head : head + body;
      if (made.size < 16) made.set(method, whole);
      return whole;
    },
  };
}

/** Longest request that is waited for before it is answered anyway. */
const requestLimit = 65_536;

/**
 * Every request gets the same answer. `node:http` would do it at three times the cost, and a matrix
 * is tens of thousands of requests to one process.
 */
export function answerHttp(socket: Socket, answers: HttpAnswers): void {
  let request = '';
  let answered = false;
  socket.setEncoding('latin1');
  // A probe resets its connection when it knows enough.
  socket.on('error', () => {});
  socket.on('data', (chunk: string) => {
    if (answered) return;
    request += chunk;
    if (request.length < requestLimit && !request.includes('\r\n\r\n')) return;
    answered = true;
    socket.end(answers.reply(/^[A-Z]{1,16}(?= )/.exec(request)?.[0] ?? 'GET'));
  });
}

/** The name as soon as somebody connects. */
export function answerRaw(socket: Socket, name: string): void {
  socket.on('error', () => {});
  socket.resume();
  socket.end(name);
}

/** Longest output of a command that is kept. */
const outputLimit = 1 << 20;

/** Runs a program in the pod; everything it writes, and its exit code. */
async function runInside(
  netns: string,
  place: NetexecPlace,
  argv: readonly string[],
  root: string | undefined,
): Promise<{ readonly output: string; readonly code: number }> {
  const { env, resolver, hostname } = place;
  const child = startInPod({ netns, root, env, resolver, hostname }, argv);
  child.stdin.on('error', () => {});
  child.stdin.end();
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      if (output.length < outputLimit) output += chunk;
    });
  }
  const code = await child.exit;
  return { output, code };
}

function actionsIn(netns: string, place: NetexecPlace | undefined): NetexecActions {
  const missing = { status: 501, body: 'this lab runs no commands of containers\n' };
  return {
    async dial({ protocol, host, port, request, tries }) {
      if (place === undefined) return missing;
      const target = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
      const words = ['dial', protocol, target, String(tries), request];
      // Our own script may lie where containers see a directory of their own.
      const argv = [process.execPath, ...scriptArgs('agnhost'), ...words];
      const env = { ...place.env, PATH: searchPath() };
      const { output, code } = await runInside(netns, { ...place, env }, argv, undefined);
      return code === 0
        ? { status: 200, body: output }
        : { status: 400, body: `host and/or port param are invalid. ${output}` };
    },
    async shell(command) {
      if (place?.root === undefined) return missing;
      const { output, code } = await runInside(netns, place, ['sh', '-c', command], place.root);
      const said = {
        ...(output === '' ? {} : { output }),
        ...(code === 0 ? {} : { error: `exit status ${code}` }),
      };
      return { status: 200, body: JSON.stringify(said) };
    },
  };
}

/** Takes the connections of a `netexec`. `netns`: path of the pod's network. */
export function serveNetexec(
  endpoint: string,
  netns: string,
  answer: Extract<Answer, { kind: 'netexec' }>,
): (socket: Socket) => void {
  const actions = actionsIn(netns, answer.place);
  const server = createServer((request, response) => {
    request.resume();
    const { remoteAddress = '', remotePort = 0 } = request.socket;
    // As IPv4 where it is: the sockets serve both families.
    const plain = remoteAddress.startsWith('::ffff:') ? remoteAddress.slice(7) : remoteAddress;
    const from = plain.includes(':') ? `[${plain}]:${remotePort}` : `${plain}:${remotePort}`;
    const send = ({ status, body, headers = {} }: HttpReply): void => {
      response.writeHead(status, {
        'content-type': 'text/plain; charset=utf-8',
        [identityHeader]: endpoint,
        ...headers,
      });
      response.end(body);
    };
    netexecAnswer(answer.name, answer.override ?? request.url ?? '/', from, actions).then(
      send,
      (error: unknown) => send({ status: 500, body: `${(error as Error).message}\n` }),
    );
  });
  return (socket) => void server.emit('connection', socket);
}
