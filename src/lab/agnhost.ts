/**
 * `agnhost connect`, `dial` (what netexec does for `/dial`) and `pause` for pods, with the flags, words
 * and exit codes of the image that the tests of Kubernetes use. Runs inside the pod's network; must
 * import only Node and the lab's SCTP.
 */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { get } from 'node:http';
import { connect, isIP, type Socket } from 'node:net';
import { openSctpAsker, type SctpSeen } from './sctp-socket.ts';

function fail(reason: string): never {
  process.stderr.write(`${reason}\n`);
  process.exit(1);
}

interface Line {
  readonly flags: ReadonlyMap<string, string>;
  readonly words: readonly string[];
}

/** `--name=value` and `--name value`; every flag here has a value. */
function readLine(args: readonly string[], known: readonly string[]): Line {
  const flags = new Map<string, string>();
  const words: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? '';
    const match = /^--([^=]+)(?:=(.*))?$/s.exec(arg);
    if (match?.[1] === undefined) {
      words.push(arg);
      continue;
    }
    if (!known.includes(match[1])) return fail(`Error: unknown flag: --${match[1]}`);
    const value = match[2] ?? args[++index];
    if (value === undefined) return fail(`Error: flag needs an argument: --${match[1]}`);
    flags.set(match[1], value);
  }
  return { flags, words };
}

/** Go's durations: `1s`, `500ms`, `1m30s`. */
function milliseconds(text: string): number {
  const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (text !== '0' && (text === '' || parts.map(([part]) => part).join('') !== text)) {
    return fail(
      `Error: invalid argument "${text}" for "--timeout" flag: time: invalid duration "${text}"`,
    );
  }
  return parts.reduce(
    (sum, [, number, unit]) => sum + Number(number) * units[unit as keyof typeof units],
    0,
  );
}

interface Target {
  readonly addresses: readonly string[];
  readonly port: number;
}

async function resolveTarget(text: string): Promise<Target> {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):([^:]*)$/.exec(text);
  if (match === null) {
    const why = text.includes(':') ? 'too many colons in address' : 'missing port in address';
    return fail(`UNKNOWN: address ${text}: ${why}`);
  }
  const host = match[1] ?? match[2] ?? '';
  const port = Number(match[3]);
  if (match[3] === '' || !Number.isInteger(port) || port < 0 || port > 65_535) {
    return fail(`DNS: lookup tcp/${match[3]}: unknown port`);
  }
  if (host === '') return { addresses: ['127.0.0.1'], port };
  if (isIP(host) !== 0) return { addresses: [host], port };
  try {
    const found = await lookup(host, { all: true });
    return { addresses: found.map(({ address }) => address), port };
  } catch {
    return fail(`DNS: lookup ${host}: no such host`);
  }
}

/** A second family gets its chance when the first does not answer at once, as in Go. */
const fallbackMs = 300;

/** The first connection of any address; the first error when there is none. */
function dialTcp({ addresses, port }: Target): Promise<Socket> {
  return new Promise((resolve, reject) => {
    let left = addresses.length;
    let first: Error | undefined;
    const sockets: Socket[] = [];
    const attempt = (index: number): void => {
      const host = addresses[index];
      if (host === undefined || sockets[index] !== undefined) return;
      const socket = connect({ host, port });
      sockets[index] = socket;
      socket.on('connect', () => {
        for (const other of sockets) if (other !== socket) other?.destroy();
        resolve(socket);
      });
      socket.on('error', (error) => {
        first ??= error;
        if (--left === 0) reject(first);
        else attempt(index + 1);
      });
      setTimeout(() => attempt(index + 1), fallbackMs).unref();
    };
    attempt(0);
  });
}

const isRefusal = (error: Error): boolean =>
  (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';

/** The answer to one datagram. Rejects with what the system says. */
function askUdp(address: string, port: number, data: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIP(address) === 6 ? 'udp6' : 'udp4');
    const over = (error?: Error | null): void => {
      if (!error) return;
      socket.close();
      reject(error);
    };
    socket.on('error', over);
    socket.on('message', (message) => {
      socket.close();
      resolve(message.toString('utf8'));
    });
    socket.connect(port, address, () => socket.send(data, over));
  });
}

async function askSctp(
  address: string,
  port: number,
  data: string,
  timeoutMs: number,
): Promise<SctpSeen> {
  const question = { address, port, timeoutMs, question: data };
  const asker = await openSctpAsker([question]);
  const seen = await asker.ask(question);
  asker.close();
  return seen;
}

/** Without a limit upstream gives up at once. */
const sctpPatienceMs = 60_000;

async function connectTo(args: readonly string[]): Promise<void> {
  const { flags, words } = readLine(args, ['timeout', 'protocol', 'udp-data', 'sctp-data']);
  if (words.length !== 1) fail(`Error: accepts 1 arg(s), received ${words.length}`);
  const timeoutMs = milliseconds(flags.get('timeout') ?? '0s');
  const protocol = flags.get('protocol') ?? 'tcp';
  if (!['', 'tcp', 'udp', 'sctp'].includes(protocol)) fail('Unsupported protocol');
  const target = await resolveTarget(words[0] ?? '');
  const [address = ''] = target.addresses;
  if (protocol === 'sctp') {
    const data = `${flags.get('sctp-data') ?? 'hostname'}\n`;
    const seen = await askSctp(address, target.port, data, timeoutMs || sctpPatienceMs).catch(
      (error: Error) => fail(`OTHER: ${error.message}`),
    );
    if (seen.kind === 'timeout') fail('TIMEOUT');
    if (seen.kind === 'refused') fail('OTHER: connection refused');
    if (seen.kind === 'failed') fail(`OTHER: ${seen.error}`);
    process.exit(0);
  }
  const timedOut = protocol === 'udp' ? 'TIMEOUT: read udp: i/o timeout' : 'TIMEOUT';
  if (timeoutMs > 0) setTimeout(() => fail(timedOut), timeoutMs);
  try {
    if (protocol === 'udp') {
      await askUdp(address, target.port, `${flags.get('udp-data') ?? 'hostname'}\n`);
    } else await dialTcp(target);
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    if (code === 'ETIMEDOUT') fail(timedOut);
    if (protocol !== 'udp') fail(isRefusal(error as Error) ? 'REFUSED' : `OTHER: ${message}`);
    fail(isRefusal(error as Error) ? 'REFUSED: connection refused' : `UNKNOWN: ${message}`);
  }
  process.exit(0);
}

const dialTimeoutMs = 5_000;

/** The body, whatever the status. */
function askHttp(address: string, port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get({ host: address, port, path: `/${path}`, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
      response.on('end', () => resolve(body));
      response.on('error', reject);
    });
    request.setTimeout(dialTimeoutMs, () => request.destroy(new Error('request timed out')));
    request.on('error', reject);
  });
}

async function dialOnce(
  protocol: string,
  address: string,
  port: number,
  request: string,
): Promise<string> {
  if (protocol === 'http') return askHttp(address, port, request);
  if (protocol === 'udp') {
    const limit = new Promise<never>((_, reject) => {
      setTimeout(() => reject(new Error('i/o timeout')), dialTimeoutMs).unref();
    });
    return Promise.race([askUdp(address, port, request), limit]);
  }
  const seen = await askSctp(address, port, request, dialTimeoutMs);
  if (seen.kind === 'answered') return seen.text;
  throw new Error(seen.kind === 'failed' ? seen.error : seen.kind);
}

/** PROTOCOL HOST:PORT TRIES REQUEST; prints what netexec answers. */
async function dial([protocol = '', text = '', tries = '1', request = '']: readonly string[]) {
  const { addresses, port } = await resolveTarget(text);
  const responses: string[] = [];
  const errors: string[] = [];
  for (let attempt = 0; attempt < Number(tries); attempt++) {
    try {
      responses.push(await dialOnce(protocol, addresses[0] ?? '', port, request));
    } catch (error) {
      errors.push((error as Error).message);
    }
  }
  const output = {
    ...(responses.length > 0 ? { responses } : {}),
    ...(errors.length > 0 ? { errors } : {}),
  };
  process.stdout.write(JSON.stringify(output), () => process.exit(0));
}

const [command, ...rest] = process.argv.slice(2);
if (command === 'connect') await connectTo(rest);
else if (command === 'dial') await dial(rest);
else if (command === 'pause') setInterval(() => {}, 1_000_000);
else {
  fail(
    `OTHER: here the lab knows \`agnhost connect\` and \`pause\`, not ${command ?? 'nothing'}; ` +
      'serve-hostname, netexec and porter are commands of containers',
  );
}
