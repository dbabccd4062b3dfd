/**
 * `agnhost connect` for exec in pods, as the network policy tests of Kubernetes call it: the exit code
 * says whether a connection came about, the first word on standard error why not. Runs inside the
 * pod's network; must import only Node.
 */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { connect, isIP } from 'node:net';

function fail(reason: string): never {
  process.stderr.write(`${reason}\n`);
  process.exit(1);
}

function flag(args: readonly string[], name: string, preset: string): string {
  for (const [index, arg] of args.entries()) {
    if (arg.startsWith(`--${name}=`)) return arg.slice(name.length + 3);
    if (arg === `--${name}`) return args[index + 1] ?? preset;
  }
  return preset;
}

/** Go's duration in the forms that are used: `1s`, `500ms`, `1m`. */
function milliseconds(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text);
  if (match === null) return fail(`OTHER: bad duration ${text}`);
  return Number(match[1]) * ({ ms: 1, s: 1_000, m: 60_000 }[match[2] ?? 's'] ?? 1_000);
}

function refused(error: NodeJS.ErrnoException): never {
  return fail(error.code === 'ECONNREFUSED' ? 'REFUSED' : `OTHER: ${error.message}`);
}

async function connectTo(args: readonly string[]): Promise<void> {
  const target = args.find((arg) => !arg.startsWith('-')) ?? '';
  const match = /^\[?([^\]]*?)\]?:(\d+)$/.exec(target);
  if (match === null) return fail(`OTHER: ${target} is not HOST:PORT`);
  const [, host = '', port = ''] = match;
  const timeoutMs = milliseconds(flag(args, 'timeout', '0s')) || 60_000;
  const protocol = flag(args, 'protocol', 'tcp');
  setTimeout(() => fail('TIMEOUT'), timeoutMs);
  let address = host;
  if (isIP(host) === 0) {
    try {
      ({ address } = await lookup(host));
    } catch (error) {
      return fail(`DNS: ${(error as Error).message}`);
    }
  }
  if (protocol === 'tcp') {
    connect({ host: address, port: Number(port) }, () => process.exit(0)).on('error', refused);
  } else if (protocol === 'udp') {
    const socket = createSocket(isIP(address) === 6 ? 'udp6' : 'udp4');
    socket.on('error', refused);
    socket.on('message', () => process.exit(0));
    socket.connect(Number(port), address, () => socket.send('hostname\n'));
  } else {
    fail(`UNKNOWN: the lab has no ${protocol} sockets`);
  }
}

const [command, ...rest] = process.argv.slice(2);
if (command === 'connect') await connectTo(rest);
else if (command === 'pause') setInterval(() => {}, 1_000_000);
else
  fail(
    `OTHER: the lab knows only \`agnhost connect\` and \`pause\` here, not ${command ?? 'nothing'}`,
  );
