/**
 * The place of a measurement: a node with two pods of its own, each a network namespace, and a third
 * that multiplies packets. Every ruleset that is compared gets a place of its own, so that nothing is
 * loaded or unloaded between rounds. Must not know the rulesets.
 */
import { run } from '../../src/system/exec.ts';
import { PORT, STREAM_PORT } from './shapes.ts';

/** Packets that leave the multiplier for each that enters. */
export const COPIES = 64;
/** Datagrams to this port are sent as the others and dropped before they leave the pod. */
export const SENDER_ONLY_PORT = 7776;

/** Names of the namespaces of a place. */
export interface Bed {
  readonly node: string;
  readonly source: string;
  readonly destination: string;
  /** Has the source pod's address; what it sends reaches the node {@link COPIES} times. */
  readonly generator: string;
  readonly all: readonly string[];
}

/** @throws Error with the first lines of its standard error when the program fails. */
export async function must(
  program: string,
  args: readonly string[],
  input?: string,
  timeoutMs = 900_000,
): Promise<string> {
  const result = await run(program, args, {
    ...(input === undefined ? {} : { input }),
    timeoutMs,
  });
  if (result.code !== 0)
    throw new Error(`${program} ${args.join(' ').slice(0, 80)}: ${result.stderr.slice(0, 500)}`);
  return result.stdout;
}

/** Runs a program in a network namespace. */
export function inside(
  namespace: string,
  args: readonly string[],
  input?: string,
  timeoutMs?: number,
): Promise<string> {
  return must('ip', ['netns', 'exec', namespace, ...args], input, timeoutMs);
}

/**
 * Datagrams become TCP SYNs on their way out: the UDP header's two ports stay, its length and
 * checksum become the sequence number, and the payload brings the rest of the TCP header.
 */
export const synPayload: Buffer = Buffer.from('000000005002ffff00000000', 'hex');

/** Of the datagrams that are measured, header included; those that open the stream are shorter. */
const STREAM_LENGTH = 8 + synPayload.length;

export async function createBed(name: string, source: string, destination: string): Promise<Bed> {
  const [node, src, dst, gen, mult] = ['node', 'src', 'dst', 'gen', 'mult'].map(
    (part) => `${part}-${name}`,
  ) as [string, string, string, string, string];
  await must(
    'sh',
    ['-s'],
    `
set -e
for n in ${node} ${src} ${dst} ${gen} ${mult}; do ip netns add $n; ip -n $n link set lo up; done
ip link add eth0 netns ${src} type veth peer name vs netns ${node}
ip link add eth0 netns ${dst} type veth peer name vd netns ${node}
ip link add eth0 netns ${gen} type veth peer name m1 netns ${mult}
ip link add m2 netns ${mult} type veth peer name vg netns ${node}
ip netns exec ${node} sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.vg.rp_filter=0
for x in "${src} eth0" "${dst} eth0" "${gen} eth0" "${mult} m1" "${mult} m2" "${node} vs" "${node} vd" "${node} vg"; do
  set -- $x; ip -n $1 link set $2 up promisc on
done
for x in "${src} ${source} vs" "${dst} ${destination} vd" "${gen} ${source} vg"; do set -- $x
  ip -n $1 addr add $2/32 dev eth0; ip -n $1 route add 10.1.0.1 dev eth0; ip -n $1 route add default via 10.1.0.1
  ip -n ${node} addr add 10.1.0.1/32 dev $3
done
ip -n ${node} route add ${source} dev vs; ip -n ${node} route add ${destination} dev vd
ip -n ${gen} neigh replace 10.1.0.1 lladdr $(ip netns exec ${node} cat /sys/class/net/vg/address) dev eth0 nud permanent
ip netns exec ${src} sysctl -qw net.ipv4.tcp_tw_reuse=1 net.ipv4.ip_local_port_range="1024 65000"
ip netns exec ${mult} nft -f - <<'X'
table netdev mult {
  chain copies {
${Array.from({ length: COPIES - 1 }, () => '    dup to "m2"').join('\n')}
    fwd to "m2"
  }
  chain from_pod { type filter hook ingress device m1 priority 0;
    udp dport ${PORT} ip protocol set 6 goto copies
    udp dport ${STREAM_PORT} goto copies
    fwd to "m2"
  }
}
X
ip netns exec ${src} nft -f - <<'X'
table ip syn {
  chain post { type filter hook postrouting priority 0;
    udp dport ${PORT} ip protocol set 6
    udp dport ${SENDER_ONLY_PORT} ip protocol set 6
  }
}
table netdev out {
  chain out { type filter hook egress device eth0 priority 0;
    tcp dport ${SENDER_ONLY_PORT} drop
  }
}
X
# Behind all rules: what passed is counted and, but for real connections, ends here.
ip netns exec ${node} nft -f - <<'X'
table inet probe {
  counter passed { }
  chain post { type filter hook postrouting priority 200;
  }
}
X
`,
  );
  return {
    node,
    source: src,
    destination: dst,
    generator: gen,
    all: [node, src, dst, gen, mult],
  };
}

export async function removeBed(bed: Bed): Promise<void> {
  for (const namespace of bed.all) await must('ip', ['netns', 'del', namespace]);
}

/** What the probe behind all rules does with packets that passed. */
export async function probe(bed: Bed, rule: 'syn' | 'stream' | 'nothing'): Promise<void> {
  const text = {
    syn: `add rule inet probe post tcp dport ${PORT} counter name passed drop\n`,
    stream: `add rule inet probe post udp dport ${STREAM_PORT} udp length ${STREAM_LENGTH} counter name passed drop\n`,
    nothing: '',
  }[rule];
  await inside(
    bed.node,
    ['nft', '-f', '-'],
    `flush chain inet probe post\nreset counter inet probe passed\n${text}`,
  );
}

export async function passed(bed: Bed): Promise<number> {
  const text = await inside(bed.node, ['nft', 'list', 'counter', 'inet', 'probe', 'passed']);
  return Number(/packets (\d+)/.exec(text)?.[1] ?? NaN);
}
