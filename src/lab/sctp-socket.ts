/**
 * Raw SCTP sockets for Node, which has none: a relay in Perl (part of every Debian) opens them in a
 * network and passes packets to and fro as lines of text. Everything the packets mean is decided here.
 * Imported by short-lived scripts: must import only Node and its own kind.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { createInterface } from 'node:readline';
import { createSctpClient, type SctpServer } from './sctp-association.ts';

/** Arguments: local addresses. A line out or in: what, local address, other address, bytes in hex. */
const relay = String.raw`
use strict; use warnings;
use Socket qw(:DEFAULT inet_pton inet_ntop pack_sockaddr_in6 unpack_sockaddr_in6);
use constant { PROTOCOL => 132, DONTWAIT => 0x40, ERRQUEUE => 0x2000 };
$| = 1;
sub address { my ($text) = @_;
  return $text =~ /:/ ? pack_sockaddr_in6(0, inet_pton(AF_INET6, $text))
    : pack_sockaddr_in(0, inet_pton(AF_INET, $text)); }
sub text { my ($name) = @_;
  return length($name) > 16 ? inet_ntop(AF_INET6, (unpack_sockaddr_in6($name))[1])
    : inet_ntop(AF_INET, (unpack_sockaddr_in($name))[1]); }
my %sockets;
for my $local (@ARGV) {
  my $six = $local =~ /:/;
  socket(my $handle, $six ? AF_INET6 : AF_INET, SOCK_RAW, PROTOCOL) or die "raw SCTP socket: $!\n";
  bind($handle, address($local)) or die "raw SCTP socket on $local: $!\n";
  # What comes back as an ICMP message is told too.
  setsockopt($handle, $six ? 41 : 0, $six ? 25 : 11, pack('i', 1)) or die "raw SCTP socket: $!\n";
  setsockopt($handle, SOL_SOCKET, SO_RCVBUF, pack('i', 1 << 20));
  $sockets{$local} = $handle;
}
print "ready\n";
my $input = '';
while (1) {
  my $ready = '';
  vec($ready, fileno($_), 1) = 1 for (\*STDIN, values %sockets);
  next if select($ready, undef, undef, undef) < 0;
  if (vec($ready, fileno(STDIN), 1)) {
    last unless sysread(STDIN, $input, 65536, length $input);
    while ($input =~ s/^(\S+) (\S+) (\S+)\n//) {
      # The first attempt may report an ICMP message about an earlier packet.
      for my $try (1, 2) {
        last if send($sockets{$1}, pack('H*', $3), 0, address($2));
        print "failed $1 $2 " . ($! + 0) . " $3\n" if $try == 2;
      }
    }
  }
  for my $local (keys %sockets) {
    my $handle = $sockets{$local};
    next unless vec($ready, fileno($handle), 1);
    my $code = unpack('i', getsockopt($handle, SOL_SOCKET, SO_ERROR));
    while (defined(my $about = recv($handle, my $bytes, 65535, ERRQUEUE | DONTWAIT))) {
      print "error $local " . text($about) . " $code " . unpack('H*', $bytes) . "\n" if length $about;
    }
    while (defined(my $from = recv($handle, my $bytes, 65535, DONTWAIT))) {
      # IPv4 comes with its header.
      $bytes = substr($bytes, 4 * (ord($bytes) & 15)) unless $local =~ /:/;
      print "packet $local " . text($from) . ' 0 ' . unpack('H*', $bytes) . "\n";
    }
  }
}
`;

export interface SctpNews {
  readonly local: string;
  readonly other: string;
  readonly bytes: Buffer;
  /** Number of the system's error when this packet could not go, or came back. */
  readonly errno?: number;
}

export interface SctpSocket {
  send(local: string, other: string, packet: Buffer): void;
  /** Idempotent. */
  close(): void;
}

/**
 * Opens raw sockets on the local addresses (`0.0.0.0` and `::` for any). `enter`: a command that puts
 * what follows it into another network. Rejects with what is missing.
 */
export function openSctpSocket(
  locals: readonly string[],
  onNews: (news: SctpNews) => void,
  options: { readonly enter?: readonly string[]; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<SctpSocket> {
  const { enter = [], env } = options;
  const [program = '', ...args] = [...enter, 'perl', '-e', relay, '--', ...locals];
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(env === undefined ? {} : { env }),
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    child.stdin.on('error', () => {});
    child.on('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? new Error(withoutPerl) : error),
    );
    child.on('close', () =>
      reject(new Error(/perl.*No such file/.test(stderr) ? withoutPerl : stderr.trim())),
    );
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [what = '', local = '', other = '', code = '0', hex = ''] = line.split(' ');
      if (what === 'ready') {
        resolve({
          send: (from, to, packet) =>
            child.stdin.write(`${from} ${to} ${packet.toString('hex')}\n`),
          // It ends when it has sent what is in the pipe.
          close: () => child.stdin.end(),
        });
        return;
      }
      const bytes = Buffer.from(hex, 'hex');
      onNews({ local, other, bytes, ...(what === 'packet' ? {} : { errno: Number(code) }) });
    });
  });
}

const withoutPerl = 'SCTP is emulated here and needs perl (package perl-base)';

/** Answers SCTP in a network until it is closed. */
export async function serveSctp(
  locals: readonly string[],
  server: SctpServer,
  options: { readonly enter: readonly string[]; readonly env?: NodeJS.ProcessEnv },
): Promise<SctpSocket> {
  const socket: SctpSocket = await openSctpSocket(
    locals,
    ({ local, other, bytes, errno }) => {
      if (errno !== undefined) return;
      for (const packet of server.receive(bytes, other)) socket.send(local, other, packet);
    },
    options,
  );
  return socket;
}

export interface SctpQuestion {
  readonly address: string;
  readonly port: number;
  /** Absent: as routes choose. */
  readonly localAddress?: string;
  readonly timeoutMs: number;
  readonly question: string;
}

export type SctpSeen =
  | { readonly kind: 'answered'; readonly text: string }
  | { readonly kind: 'refused' | 'timeout' }
  | { readonly kind: 'failed'; readonly error: string };

/** ECONNREFUSED, ENOPROTOOPT and EPROTO: nobody there speaks SCTP, or not on this port. */
const refusals = [111, 92, 71];

/** A kernel with SCTP of its own may abort what it does not know before the emulation answers. */
const abortGraceMs = 100;

const anyAddress = (address: string): string => (address.includes(':') ? '::' : '0.0.0.0');

export interface SctpAsker {
  ask(question: SctpQuestion): Promise<SctpSeen>;
  close(): void;
}

/** Asks from this process's network. `questions` says from which local addresses. */
export async function openSctpAsker(
  questions: readonly Pick<SctpQuestion, 'address' | 'localAddress'>[],
): Promise<SctpAsker> {
  const locals = new Set(questions.map((one) => one.localAddress ?? anyAddress(one.address)));
  const waiting = new Map<number, (news: SctpNews) => void>();
  const socket = await openSctpSocket([...locals], (news) => {
    if (news.bytes.length < 4) return;
    // What failed is ours, what came is theirs.
    const port = news.bytes.readUInt16BE(news.errno === undefined ? 2 : 0);
    waiting.get(port)?.(news);
  });
  let next = randomInt(32_768, 60_000);
  const ask = ({ address, port, localAddress, timeoutMs, question }: SctpQuestion) =>
    new Promise<SctpSeen>((resolve) => {
      const local = localAddress ?? anyAddress(address);
      while (waiting.has(next)) next = next >= 60_999 ? 32_768 : next + 1;
      const source = next++;
      const client = createSctpClient({
        source,
        destination: port,
        tag: randomInt(1, 0xffff_ffff),
        question,
      });
      const transmit = (): void => socket.send(local, address, client.pending());
      const timers = [0.35, 0.7].map((part) => setTimeout(transmit, timeoutMs * part));
      const finish = (seen: SctpSeen): void => {
        for (const timer of timers) clearTimeout(timer);
        waiting.delete(source);
        resolve(seen);
      };
      timers.push(setTimeout(() => finish({ kind: 'timeout' }), timeoutMs));
      waiting.set(source, ({ bytes, errno }) => {
        if (errno !== undefined) {
          if (refusals.includes(errno)) finish({ kind: 'refused' });
          // Our own rules dropped it: no answer will come.
          else if (errno !== 1) finish({ kind: 'failed', error: `system error ${errno}` });
          return;
        }
        const { send, outcome } = client.receive(bytes);
        for (const packet of send) socket.send(local, address, packet);
        if (outcome?.kind === 'answered') finish(outcome);
        else if (outcome !== undefined) {
          timers.push(setTimeout(() => finish({ kind: 'refused' }), abortGraceMs));
        }
      });
      transmit();
    });
  return { ask, close: () => socket.close() };
}
