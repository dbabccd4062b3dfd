/**
 * A small routed cluster in private namespaces for dataplane tests: two nodes, pods, an outside
 * host. Must not know of policies; everything ends with the test process, whatever ends it.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';
import { run } from '../../../src/system/exec.ts';

export interface BedPod {
  readonly name: string;
  readonly node: 1 | 2;
  /** Last part of the address: 10.244.<node>.<host> and fd00:244:<node>::<host>. */
  readonly host: number;
  /**
   * The kernel makes so many of each UDP packet to ports 7000 to 7099, each from a random source port:
   * user space alone cannot send as many as a node can judge.
   */
  readonly copies?: number;
}

export interface PodProcess {
  /** One question, one answer, in order. */
  ask(question: Question): Promise<string>;
  close(): void;
}

export type Question =
  | {
      readonly do: 'listen';
      readonly protocol: 'tcp' | 'udp';
      readonly port: number;
      readonly talk?: boolean;
      /** How often a talking server speaks; default 20. */
      readonly talkMs?: number;
    }
  | {
      readonly do: 'connect';
      readonly host: string;
      readonly port: number;
      readonly timeout: number;
      readonly from?: string;
    }
  | {
      readonly do: 'udp';
      readonly host: string;
      readonly port: number;
      readonly timeout: number;
      readonly size?: number;
      readonly from?: string;
    }
  /** Opens a connection and keeps it; several can be kept under different names. */
  | { readonly do: 'hold'; readonly host: string; readonly port: number; readonly as?: string }
  /** Says something over the held connection each millisecond for so long; answers what `last` does. */
  | { readonly do: 'chat'; readonly ms: number }
  /** When the last byte came, over the held connection or to a listener; milliseconds since the epoch. */
  | { readonly do: 'last' }
  /** Bytes that came over the held connection within `ms`; `say` sends a line each 20 ms meanwhile. */
  | { readonly do: 'watch'; readonly ms: number; readonly say: boolean; readonly as?: string }
  | {
      readonly do: 'flood';
      readonly host: string;
      /** Taken in turn; `targets` beside `host`, for a pod that floods several. */
      readonly ports: readonly number[];
      readonly targets?: readonly { readonly host: string; readonly port: number }[];
      readonly batch: number;
      readonly pauseMs: number;
      readonly maxMs: number;
    }
  | { readonly do: 'stop-flood' }
  /** Local port of the held connection. */
  | { readonly do: 'held-port'; readonly as?: string }
  /**
   * Connects again and again, for `ms` at most: until `stop-loops`, or `once` it has opened. Answers
   * {@link Loop} as JSON.
   */
  | {
      readonly do: 'loop';
      readonly host: string;
      readonly port: number;
      readonly ms: number;
      readonly once?: boolean;
    }
  | { readonly do: 'stop-loops' }
  /** Two datagrams at once from one new socket, `rounds` times. Answers how many came back. */
  | { readonly do: 'pairs'; readonly host: string; readonly port: number; readonly rounds: number }
  /** A datagram each 20 ms from one local port for `ms`. Answers how many came back. */
  | {
      readonly do: 'udp-stream';
      readonly host: string;
      readonly port: number;
      readonly fromPort: number;
      readonly ms: number;
    };

export interface Loop {
  readonly tries: number;
  readonly opened: number;
  /** `Date.now()` when the first connection that opened was begun. */
  readonly firstOpenAt?: number;
}

export interface Bed {
  /** Network namespace file of a node, pod or `world`. */
  netns(name: string): string;
  /** Runs a shell script inside; throws when it fails. */
  sh(script: string): Promise<string>;
  process(name: string): PodProcess;
  close(): Promise<void>;
}

export const address = (pod: BedPod): string => `10.244.${pod.node}.${pod.host}`;
export const address6 = (pod: BedPod): string => `fd00:244:${pod.node}::${pod.host}`;

/** Whether private namespaces can be made here; otherwise why not. */
export async function canMakeBed(): Promise<string | undefined> {
  for (const [tool, name] of [
    ['ip', 'iproute2'],
    ['nft', 'nftables'],
    ['unshare', 'util-linux'],
  ] as const) {
    const found = await run('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin command -v ${tool}`]);
    if (found.code !== 0) return `${tool} is not installed (Debian package ${name})`;
  }
  const tried = await run('unshare', ['--net', '--mount', '--pid', '--fork', 'true']);
  return tried.code === 0 ? undefined : `no private namespaces here: ${tried.stderr.trim()}`;
}

/** The pod's link with a namespace in the middle that forwards frames and copies floods. */
const multiplied = (node: string, veth: string, pod: string, copies: number): string => {
  // Of a number of 32 bits the upper 16 become the port.
  const port = 'udp sport set numgen random mod 4294967295';
  return `
ip netns add x-${pod}
link ${node} ${veth} x-${pod} out
link x-${pod} in ${pod} eth0
ip -n x-${pod} link set in promisc on; ip -n x-${pod} link set out promisc on
ip netns exec x-${pod} nft -f - <<'X'
table netdev copy {
  chain copies {
${`    ${port} dup to "out"\n`.repeat(copies - 1)}    ${port} fwd to "out"
  }
  chain up {
    type filter hook ingress device "in" priority 0
    udp dport 7000-7099 goto copies
    fwd to "out"
  }
  chain down {
    type filter hook ingress device "out" priority 0
    fwd to "in"
  }
}
X`;
};

/** How pods hang on their node: each by a link and a route of its own, or as ports of one bridge. */
export type BedWiring = 'routed' | 'bridge';
export type BedStack = 'ipv4' | 'ipv6' | 'dual';

export interface BedOptions {
  /** Default `routed`. */
  readonly wiring?: BedWiring;
  /** Default `dual`. */
  readonly stack?: BedStack;
}

/** Commands that give `pod` its link. Also for pods that come later. */
const wirePod = (pod: BedPod, veth: string, wiring: BedWiring): string => {
  const node = `node-${pod.node}`;
  const routed = wiring === 'routed';
  const toNode = routed
    ? `
v4 ip -n ${node} addr add 10.244.${pod.node}.1/32 dev ${veth}
v6 ip -n ${node} addr add fe80::1/64 dev ${veth} nodad
v4 ip -n ${node} route add ${address(pod)} dev ${veth}
v6 ip -n ${node} route add ${address6(pod)} dev ${veth}`
    : `
ip -n ${node} link set ${veth} master cni0
ip -n ${node} link set ${veth} type bridge_slave hairpin on`;
  const inPod = routed
    ? `
v4 ip -n ${pod.name} addr add ${address(pod)}/32 dev eth0
v6 ip -n ${pod.name} addr add ${address6(pod)}/128 dev eth0 nodad
v4 ip -n ${pod.name} route add 10.244.${pod.node}.1 dev eth0
v4 ip -n ${pod.name} route add default via 10.244.${pod.node}.1
v6 ip -n ${pod.name} route add default via fe80::1 dev eth0`
    : `
v4 ip -n ${pod.name} addr add ${address(pod)}/24 dev eth0
v6 ip -n ${pod.name} addr add ${address6(pod)}/64 dev eth0 nodad
v4 ip -n ${pod.name} route add default via 10.244.${pod.node}.1
v6 ip -n ${pod.name} route add default via fd00:244:${pod.node}::1`;
  const link =
    pod.copies === undefined
      ? `link ${node} ${veth} ${pod.name} eth0`
      : multiplied(node, veth, pod.name, pod.copies);
  return `
${link}${toNode}${inPod}`;
};

/** Functions for the shell: `v4 command` and `v6 command` run where the stack has the family. */
const shellWords = (stack: BedStack): string => `
link() { # namespace, interface there, namespace, interface there
  ip link add "$2" netns "$1" type veth peer name "$4" netns "$3"
  ip -n "$1" link set "$2" up
  ip -n "$3" link set "$4" up
}
v4() { ${stack === 'ipv6' ? ':' : '"$@"'}; }
v6() { ${stack === 'ipv4' ? ':' : '"$@"'}; }
space() {
  ip netns add "$1"
  ip -n "$1" link set lo up
  ip netns exec "$1" sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0 ${
    stack === 'ipv4' ? 'net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1' : ''
  }
}
`;

const topology = (pods: readonly BedPod[], wiring: BedWiring, stack: BedStack): string => `
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
${shellWords(stack)}
for n in node-1 node-2 world ${pods.map(({ name }) => name).join(' ')}; do space $n; done
for n in node-1 node-2; do
  ip netns exec $n sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
done
link node-1 up0 node-2 up0
v4 ip -n node-1 addr add 192.168.0.1/24 dev up0; v6 ip -n node-1 addr add fd00:192::1/64 dev up0
v4 ip -n node-2 addr add 192.168.0.2/24 dev up0; v6 ip -n node-2 addr add fd00:192::2/64 dev up0
v4 ip -n node-1 route add 10.244.2.0/24 via 192.168.0.2; v6 ip -n node-1 route add fd00:244:2::/64 via fd00:192::2
v4 ip -n node-2 route add 10.244.1.0/24 via 192.168.0.1; v6 ip -n node-2 route add fd00:244:1::/64 via fd00:192::1
link node-1 world0 world eth0
v4 ip -n node-1 addr add 172.16.9.1/24 dev world0; v6 ip -n node-1 addr add fd00:9::1/64 dev world0
v4 ip -n world addr add 172.16.9.2/24 dev eth0; v6 ip -n world addr add fd00:9::2/64 dev eth0
for a in 172.17.0.5 172.17.1.5; do v4 ip -n world addr add $a/32 dev lo; v4 ip -n node-1 route add $a via 172.16.9.2; done
v4 ip -n world route add default via 172.16.9.1; v6 ip -n world route add default via fd00:9::1
v4 ip -n node-2 route add 172.16.0.0/12 via 192.168.0.1; v6 ip -n node-2 route add fd00:9::/64 via fd00:192::1
${
  wiring === 'routed'
    ? ''
    : [1, 2]
        .map(
          (node) => `
ip -n node-${node} link add cni0 type bridge
ip -n node-${node} link set cni0 up
ip netns exec node-${node} sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
v4 ip -n node-${node} addr add 10.244.${node}.1/24 dev cni0
v6 ip -n node-${node} addr add fd00:244:${node}::1/64 dev cni0 nodad`,
        )
        .join('\n')
}
${pods.map((pod, index) => wirePod(pod, `v${index}`, wiring)).join('\n')}
`;

/**
 * The pod process as plain JavaScript, made once: to start it through tsx would cost each pod 0.3 s.
 * Lives in the temporary directory for as long as this process.
 */
let podScript: string | undefined;
function podProcessScript(): string {
  if (podScript !== undefined) return podScript;
  const directory = mkdtempSync(join(tmpdir(), 'podwall-bed-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  const source = readFileSync(new URL('pod-process.ts', import.meta.url), 'utf8');
  // The compiler that tsx brings; found from there, because nothing promises that it lies beside us.
  const compiler = createRequire(fileURLToPath(import.meta.resolve('tsx')))('esbuild') as {
    transformSync(source: string, options: object): { code: string };
  };
  podScript = join(directory, 'pod-process.mjs');
  writeFileSync(podScript, compiler.transformSync(source, { loader: 'ts', format: 'esm' }).code);
  return podScript;
}

export async function makeBed(
  pods: readonly BedPod[],
  { wiring = 'routed', stack = 'dual' }: BedOptions = {},
): Promise<Bed> {
  // `cat` ends when this process does, and with it, as first of its PID namespace, everything inside.
  const holder = spawn(
    'unshare',
    [
      '--net',
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      'sh',
      '-c',
      'echo up; exec cat',
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  await new Promise<void>((resolve, reject) => {
    holder.once('error', reject);
    holder.once('exit', () => reject(new Error('the namespace holder ended')));
    holder.stdout.once('data', () => resolve());
  });
  const inside = Number(
    readFileSync(`/proc/${holder.pid}/task/${holder.pid}/children`, 'utf8').trim(),
  );
  const enter = ['--target', String(inside), '--mount', '--pid', '--net'];
  const sh = async (script: string): Promise<string> => {
    const result = await run('nsenter', [...enter, 'sh', '-s'], {
      input: script,
      timeoutMs: 60_000,
    });
    if (result.code !== 0)
      throw new Error(`script failed: ${result.stderr}\n${script.slice(0, 2000)}`);
    return result.stdout;
  };
  await sh(topology(pods, wiring, stack));
  const children: ChildProcess[] = [];
  const netns = (name: string): string => `/proc/${inside}/root/run/netns/${name}`;
  return {
    netns,
    sh,
    process: (name) => {
      const child = spawn(
        'nsenter',
        [
          '--target',
          String(inside),
          '--mount',
          '--pid',
          `--net=${netns(name)}`,
          process.execPath,
          podProcessScript(),
        ],
        { stdio: ['pipe', 'pipe', 'inherit'] },
      );
      children.push(child);
      const waiting: ((answer: string) => void)[] = [];
      createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.(line));
      child.once('exit', () => {
        for (const resolve of waiting.splice(0)) resolve('process ended');
      });
      return {
        ask: (question) =>
          new Promise((resolve) => {
            waiting.push(resolve);
            child.stdin.write(`${JSON.stringify(question)}\n`);
          }),
        close: () => child.stdin.end(),
      };
    },
    close: async () => {
      for (const child of children) child.stdin?.destroy();
      const ended = new Promise((resolve) => holder.once('exit', resolve));
      holder.stdin.end();
      await ended;
    },
  };
}
