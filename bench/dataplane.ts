/**
 * Benchmark of the nftables dataplane in private namespaces: no table, conntrack only, podwall, and
 * a linear ruleset of the same policies with a chain per pod, all in one run. Prints ratios; the
 * figures of one run compare with each other only.
 *
 * Usage: tsx bench/dataplane.ts [--shape S1,S2] [--rounds 5] [--seconds 0.4] [-o json]
 */
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import {
  compileNode,
  createBackend,
  interactiveRunner,
  renderProgram,
  spawnRunner,
} from '../src/dataplane/index.ts';
import type { NodeProgram } from '../src/dataplane/index.ts';
import { buildSnapshot } from '../src/engine/build.ts';
import type { Snapshot } from '../src/engine/snapshot.ts';
import type { KubeObject } from '../src/k8s/types.ts';
import { run } from '../src/system/exec.ts';

interface Shape {
  readonly name: string;
  readonly local: number;
  readonly addresses: number;
  readonly policies: number;
  readonly perPod: number;
}

/** Those of the study: local pods, addresses, policies, policies per pod. */
const shapes: readonly Shape[] = [
  { name: 'S1', local: 10, addresses: 100, policies: 10, perPod: 2 },
  { name: 'S2', local: 100, addresses: 1000, policies: 100, perPod: 5 },
  { name: 'R1', local: 110, addresses: 5000, policies: 150, perPod: 5 },
  { name: 'S3', local: 250, addresses: 5000, policies: 1000, perPod: 20 },
  { name: 'K10', local: 110, addresses: 5000, policies: 10000, perPod: 20 },
];

const GROUPS = 50;
const PORT = 7777;
const COPIES = 64;

function podAddress(index: number, local: number): string {
  // Local pods in 10.1.0.0/16, the others in 10.2.0.0/16.
  const at = index < local ? index + 10 : index - local + 10;
  return `10.${index < local ? 1 : 2}.${at >> 8}.${at & 255}`;
}

/** Every policy has rules in both directions; only the last rule of the last policy admits the test flow. */
function objectsOf(shape: Shape): KubeObject[] {
  const { local, addresses, policies, perPod } = shape;
  const objects: KubeObject[] = [
    { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' }, spec: { podCIDR: '10.1.0.0/16' } },
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'bench', labels: {} } },
  ];
  const last = local - 1;
  for (let i = 0; i < addresses; i++) {
    const labels: Record<string, string> = {
      group: i >= last - 1 && i <= last ? 'tested' : `g${i % GROUPS}`,
    };
    // Local pods have the policies last, so that the linear shape walks all of them.
    if (i < local)
      for (let j = 0; j < perPod; j++)
        labels[`policy-${(policies - 1 - ((i * perPod + j) % policies)) % policies}`] = '';
    if (i >= last - 1 && i <= last) labels[`policy-${policies - 1}`] = '';
    objects.push({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `pod-${i}`, namespace: 'bench', labels },
      spec: { nodeName: i < local ? 'n1' : 'n2' },
      status: { phase: 'Running', podIPs: [{ ip: podAddress(i, local) }] },
    });
  }
  for (let k = 0; k < policies; k++) {
    const peers = [k % GROUPS, (k + 7) % GROUPS].map((group) => ({
      podSelector: { matchLabels: { group: `g${group}` } },
    }));
    const ports = [1000 + (k % 97), 2000 + (k % 31), 3000 + (k % 11)].map((port) => ({ port }));
    const tested =
      k === policies - 1
        ? ['TCP', 'UDP'].map((protocol) => ({
            peers: [{ podSelector: { matchLabels: { group: 'tested' } } }],
            ports: [{ protocol, port: PORT }],
          }))
        : [];
    objects.push({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `z-${String(k).padStart(5, '0')}`, namespace: 'bench' },
      spec: {
        podSelector: { matchExpressions: [{ key: `policy-${k}`, operator: 'Exists' }] },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          { from: peers, ports },
          ...tested.map((rule) => ({ from: rule.peers, ports: rule.ports })),
        ],
        egress: [
          { to: peers, ports },
          ...tested.map((rule) => ({ to: rule.peers, ports: rule.ports })),
        ],
      },
    });
  }
  return objects;
}

/** kube-router's shape in nftables: a list of pods, a chain per pod, a chain per policy, a set per rule. */
function linearRuleset(objects: readonly KubeObject[], local: number): string {
  const lines = ['table inet linear {'];
  const pods = objects.filter(({ kind }) => kind === 'Pod');
  const ip = (pod: KubeObject): string =>
    (pod.status as { podIPs: { ip: string }[] }).podIPs[0]?.ip ?? '';
  const byGroup = new Map<string, string[]>();
  for (const pod of pods) {
    const group = pod.metadata.labels?.['group'] ?? '';
    byGroup.set(group, [...(byGroup.get(group) ?? []), ip(pod)]);
  }
  interface Rule {
    from?: { podSelector: { matchLabels: { group: string } } }[];
    to?: { podSelector: { matchLabels: { group: string } } }[];
    ports: { protocol?: string; port: number }[];
  }
  const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy');
  for (const [index, policy] of policies.entries()) {
    const spec = policy.spec as { ingress: Rule[]; egress: Rule[] };
    for (const [direction, rules, side] of [
      ['in', spec.ingress, 'saddr'],
      ['out', spec.egress, 'daddr'],
    ] as const) {
      const chain: string[] = [];
      for (const [number, rule] of rules.entries()) {
        const members = (rule.from ?? rule.to ?? []).flatMap(
          (peer) => byGroup.get(peer.podSelector.matchLabels.group) ?? [],
        );
        const set = `s${index}${direction}${number}`;
        lines.push(`set ${set} { type ipv4_addr; elements = { ${members.join(', ')} }; }`);
        const protocol = (rule.ports[0]?.protocol ?? 'TCP').toLowerCase();
        chain.push(
          `ip ${side} @${set} ${protocol} dport { ${rule.ports.map(({ port }) => port).join(', ')} } meta mark set meta mark | 0x10000`,
        );
      }
      lines.push(`chain p${index}${direction} {\n${chain.join('\n')}\n}`);
    }
  }
  const locals = pods.slice(0, local);
  const dispatch: string[] = [];
  for (const [index, pod] of locals.entries()) {
    for (const direction of ['in', 'out'] as const) {
      const jumps = policies.flatMap((policy, at) => {
        const spec = policy.spec as { podSelector: { matchExpressions: { key: string }[] } };
        const key = spec.podSelector.matchExpressions[0]?.key ?? '';
        return pod.metadata.labels?.[key] === undefined ? [] : [`jump p${at}${direction}`];
      });
      lines.push(
        `chain w${index}${direction} {\n${jumps.join('\n')}\nmeta mark & 0x10000 != 0x10000 drop\nmeta mark set meta mark & 0xfffeffff\n}`,
      );
    }
    dispatch.push(`ip daddr ${ip(pod)} jump w${index}in`, `ip saddr ${ip(pod)} jump w${index}out`);
  }
  lines.push(
    `chain forward { type filter hook forward priority filter - 5; policy accept;\nct state established,related accept\nct state invalid drop\n${dispatch.join('\n')}\n}`,
    '}',
  );
  return `${lines.join('\n')}\n`;
}

const conntrackOnly = `table inet ctonly {
  chain forward { type filter hook forward priority filter - 5; policy accept;
    ct state vmap { established : accept, related : accept, invalid : drop }
  }
}
`;

// --- inside: the node, the tested pods ----------------------------------------------------------

/** The source pod's packets pass a namespace that makes many of each, so that sending costs little. */
const bed = (source: string, destination: string): string => `
set -e
mount -t tmpfs tmpfs /run; mkdir -p /run/netns
for n in node src mult dst; do ip netns add $n; ip -n $n link set lo up; done
ip link add eth0 netns src type veth peer name m1 netns mult
ip link add m2 netns mult type veth peer name vs netns node
ip link add eth0 netns dst type veth peer name vd netns node
ip -n src link set eth0 up; ip -n mult link set m1 up promisc on; ip -n mult link set m2 up promisc on
ip -n node link set vs up; ip -n node link set vd up; ip -n dst link set eth0 up
ip netns exec node sysctl -qw net.ipv4.ip_forward=1
for x in "src ${source} vs" "dst ${destination} vd"; do set -- $x
  ip -n $1 addr add $2/32 dev eth0; ip -n $1 route add 10.1.0.1 dev eth0; ip -n $1 route add default via 10.1.0.1
  ip -n node addr add 10.1.0.1/32 dev $3; ip -n node route add $2 dev $3
done
ip netns exec mult nft -f - <<'X'
table netdev mult {
  chain copies {
${Array.from({ length: COPIES - 1 }, () => '    dup to "m2"').join('\n')}
    fwd to "m2"
  }
  chain from_src { type filter hook ingress device m1 priority 0; udp dport ${PORT} goto copies
    fwd to "m2"
  }
  chain to_src { type filter hook ingress device m2 priority 0;
    fwd to "m1"
  }
}
X
ip netns exec node nft -f - <<'X'
table inet probe {
  counter arrived { }
  counter passed { }
  chain pre { type filter hook prerouting priority -150; ct state new udp dport ${PORT} counter name arrived
  }
  chain post { type filter hook postrouting priority 200; udp dport ${PORT} counter name passed drop
  }
}
X
`;

const sender = `
const [host, port, seconds] = process.argv.slice(1);
const socket = require('node:dgram').createSocket('udp4');
socket.connect(Number(port), host, () => {
  const message = Buffer.alloc(8), end = process.hrtime.bigint() + BigInt(Math.round(Number(seconds) * 1e9));
  const start = process.hrtime.bigint();
  const loop = () => {
    for (let i = 0; i < 32; i++) socket.send(message);
    if (process.hrtime.bigint() < end) setImmediate(loop);
    else { console.log(String(process.hrtime.bigint() - start)); process.exit(0); }
  };
  loop();
});`;

const listener = `require('node:net').createServer((s) => { s.on('error', () => {}); s.end(); }).listen(${PORT}, '0.0.0.0', () => console.log('up'));`;
const connector = `
const [host, seconds] = process.argv.slice(1);
const net = require('node:net'); const times = []; const end = performance.now() + seconds * 1000;
const start = performance.now();
const one = () => { const t = performance.now(); const s = net.connect(${PORT}, host, () => times.push(performance.now() - t));
  s.on('error', () => {}); s.resume(); s.on('close', () => performance.now() < end ? one() : done()); };
let open = 4; const done = () => { if (--open === 0) { times.sort((a, b) => a - b);
  console.log(JSON.stringify({ rate: times.length / (performance.now() - start) * 1000, p50: times[times.length >> 1], p99: times[Math.floor(times.length * .99)] })); process.exit(0); } };
for (let i = 0; i < 4; i++) one();`;

async function must(program: string, args: readonly string[], input?: string): Promise<string> {
  const result = await run(program, args, {
    ...(input === undefined ? {} : { input }),
    timeoutMs: 600_000,
  });
  if (result.code !== 0)
    throw new Error(`${program} ${args.join(' ').slice(0, 80)}: ${result.stderr.slice(0, 500)}`);
  return result.stdout;
}

const inNode = (args: readonly string[]): [string, string[]] => [
  'ip',
  ['netns', 'exec', 'node', ...args],
];

async function counters(): Promise<{ arrived: number; passed: number }> {
  const text = await must(...inNode(['nft', 'list', 'counters', 'table', 'inet', 'probe']));
  const of = (name: string): number =>
    Number(new RegExp(`counter ${name} \\{\\s+packets (\\d+)`).exec(text)?.[1] ?? NaN);
  return { arrived: of('arrived'), passed: of('passed') };
}

/** Nanoseconds per first packet of a connection through forward, sending and copying included. */
async function packetCost(destination: string, seconds: number): Promise<number> {
  const before = await counters();
  // First in, first out: nothing else of the machine runs in between. Bounded by `seconds`.
  const elapsed = Number(
    await must('ip', [
      'netns',
      'exec',
      'src',
      'chrt',
      '-f',
      '1',
      process.execPath,
      '-e',
      sender,
      destination,
      String(PORT),
      String(seconds),
    ]),
  );
  const after = await counters();
  const arrived = after.arrived - before.arrived;
  const passed = after.passed - before.passed;
  if (arrived === 0 || passed !== arrived)
    throw new Error(`${arrived} packets arrived and ${passed} passed: the ruleset is wrong`);
  return elapsed / arrived;
}

interface ConnectResult {
  rate: number;
  p50: number;
  p99: number;
}

async function connectRate(destination: string, seconds: number): Promise<ConnectResult> {
  const port = `table inet probe\nflush chain inet probe post\n`;
  await must(...inNode(['nft', '-f', '-']), port);
  const text = await must('ip', [
    'netns',
    'exec',
    'src',
    process.execPath,
    '-e',
    connector,
    destination,
    String(seconds),
  ]);
  await must(
    ...inNode([
      'nft',
      'add',
      'rule',
      'inet',
      'probe',
      'post',
      'udp',
      'dport',
      String(PORT),
      'counter',
      'name',
      'passed',
      'drop',
    ]),
  );
  return JSON.parse(text) as ConnectResult;
}

function median(list: readonly number[]): number {
  const sorted = [...list].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? NaN;
}

/** Kernel memory that cannot be reclaimed, in MB: rough, the whole machine's. */
async function kernelMemory(): Promise<number> {
  const text = await must('cat', ['/proc/meminfo']);
  const of = (name: string): number => Number(new RegExp(`${name}: +(\\d+)`).exec(text)?.[1] ?? 0);
  return (of('SUnreclaim') + of('Percpu') + of('VmallocUsed')) / 1024;
}

async function timed<T>(action: () => Promise<T>): Promise<[number, T]> {
  const start = performance.now();
  const result = await action();
  return [performance.now() - start, result];
}

interface ShapeReport {
  readonly shape: Shape;
  readonly compileMs: number;
  readonly sets: number;
  readonly chains: number;
  readonly rows: Readonly<
    Record<string, { ns: number; connections: ConnectResult; loadMs?: number; kernelMb?: number }>
  >;
  readonly updates: Readonly<Record<string, { compileMs: number; kernelMs: number }>>;
}

async function benchShape(
  shape: Shape,
  rounds: number,
  seconds: number,
  linearToo: boolean,
): Promise<ShapeReport> {
  const objects = objectsOf(shape);
  const snapshotOf = (list: readonly KubeObject[]): Snapshot =>
    buildSnapshot(list.map((object) => ({ object }))).snapshot;
  const snapshot = snapshotOf(objects);
  const [compileMs, program] = await timed(async () => compileNode(snapshot, 'n1'));
  const source = podAddress(shape.local - 2, shape.local);
  const destination = podAddress(shape.local - 1, shape.local);
  await must('sh', ['-s'], bed(source, destination));
  const server = spawn('ip', ['netns', 'exec', 'dst', process.execPath, '-e', listener], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => server.stdout.once('data', resolve));

  const variants: Record<string, string> = {
    none: '',
    ctonly: conntrackOnly,
    podwall: renderProgram(program),
    ...(linearToo ? { linear: linearRuleset(objects, shape.local) } : {}),
  };
  const tables: Record<string, string> = { ctonly: 'ctonly', podwall: 'podwall', linear: 'linear' };
  const costs: Record<string, number[]> = {};
  const rates: Record<string, ConnectResult[]> = {};
  const loads: Record<string, number> = {};
  const memory: Record<string, number> = {};
  for (let round = 0; round < rounds; round++)
    for (const [name, script] of Object.entries(variants)) {
      // The linear shape takes up to a minute to load at 1,000 policies: once is enough there.
      if (script !== '') {
        const before = await kernelMemory();
        const [ms] = await timed(() => must(...inNode(['nft', '-f', '-']), script));
        loads[name] = Math.min(loads[name] ?? Infinity, ms);
        if (round === 0) memory[name] = (await kernelMemory()) - before;
      }
      for (let i = 0; i < 4; i++)
        (costs[name] ??= []).push(await packetCost(destination, seconds / 4));
      (rates[name] ??= []).push(await connectRate(destination, seconds * 2));
      if (script !== '')
        await must(...inNode(['nft', 'delete', 'table', 'inet', tables[name] as string]));
    }

  const updates = await benchUpdates(objects, program, shape);
  server.kill();
  for (const name of ['node', 'src', 'mult', 'dst']) await must('ip', ['netns', 'del', name]);
  return {
    shape,
    compileMs,
    sets: program.groups.size + program.portMaps.size,
    chains: program.chains.size,
    rows: Object.fromEntries(
      Object.keys(variants).map((name) => [
        name,
        {
          // Whatever else the machine does only ever adds: the least disturbed round counts.
          ns: Math.min(...(costs[name] ?? [])),
          connections: {
            rate: median((rates[name] ?? []).map(({ rate }) => rate)),
            p50: median((rates[name] ?? []).map(({ p50 }) => p50)),
            p99: median((rates[name] ?? []).map(({ p99 }) => p99)),
          },
          ...(loads[name] === undefined
            ? {}
            : { loadMs: loads[name], kernelMb: memory[name] as number }),
        },
      ]),
    ),
    updates,
  };
}

/** Median times of updates: making the whole program anew, and the kernel's part (the difference). */
async function benchUpdates(
  objects: readonly KubeObject[],
  program: NodeProgram,
  shape: Shape,
): Promise<Record<string, { compileMs: number; kernelMs: number }>> {
  const results: Record<string, { compileMs: number; kernelMs: number }> = {};
  const added = (index: number): KubeObject => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `new-${index}`, namespace: 'bench', labels: { group: 'g1' } },
    spec: { nodeName: 'n2' },
    status: { phase: 'Running', podIPs: [{ ip: `10.3.0.${index + 1}` }] },
  });
  const policy = (index: number): KubeObject => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: `new-${index}`, namespace: 'bench' },
    spec: {
      podSelector: {
        matchExpressions: [{ key: `policy-${shape.policies - 2}`, operator: 'Exists' }],
      },
      ingress: [
        {
          from: [{ podSelector: { matchLabels: { group: 'g3' } } }],
          ports: [{ port: 4000 + index }],
        },
      ],
    },
  });
  for (const kind of ['spawned', 'interactive'] as const) {
    const runner =
      kind === 'interactive' ? interactiveRunner({ netns: '/run/netns/node' }) : undefined;
    const backend = createBackend({
      nft: runner?.run ?? spawnRunner({ netns: '/run/netns/node' }),
      collectAfterMs: 0,
    });
    await backend.apply(program);
    for (const [event, extra] of [
      ['pod', added],
      ['policy', policy],
    ] as const) {
      const compile: number[] = [];
      const add: number[] = [];
      const remove: number[] = [];
      const repeats = shape.policies > 1000 ? 3 : 9;
      for (let i = 0; i < repeats; i++) {
        const next = buildSnapshot([...objects, extra(i)].map((object) => ({ object }))).snapshot;
        const [ms, desired] = await timed(async () => compileNode(next, 'n1'));
        compile.push(ms);
        add.push((await timed(() => backend.apply(desired)))[0]);
        remove.push((await timed(() => backend.apply(program)))[0]);
      }
      results[`${event} add, ${kind}`] = { compileMs: median(compile), kernelMs: median(add) };
      results[`${event} delete, ${kind}`] = {
        compileMs: median(compile),
        kernelMs: median(remove),
      };
    }
    await backend.cleanup();
    await runner?.close();
  }
  return results;
}

function print(report: ShapeReport): void {
  const { shape, rows } = report;
  console.log(
    `\n${shape.name}: ${shape.local} local pods, ${shape.addresses} addresses, ${shape.policies} policies, ${shape.perPod} per pod; ` +
      `program ${report.chains} chains, ${report.sets} sets, compiled in ${report.compileMs.toFixed(0)} ms`,
  );
  const base = rows['ctonly'];
  for (const [name, row] of Object.entries(rows))
    console.log(
      `  ${name.padEnd(8)} ${row.ns.toFixed(0).padStart(6)} ns/packet (x${(row.ns / (base?.ns ?? NaN)).toFixed(2)})` +
        `  ${row.connections.rate.toFixed(0).padStart(6)} conn/s (x${(row.connections.rate / (base?.connections.rate ?? NaN)).toFixed(2)})` +
        `  connect p50 ${row.connections.p50.toFixed(2)} p99 ${row.connections.p99.toFixed(2)} ms` +
        (row.loadMs === undefined
          ? ''
          : `  load ${row.loadMs.toFixed(0)} ms, ${row.kernelMb?.toFixed(1)} MB`),
    );
  for (const [event, { compileMs, kernelMs }] of Object.entries(report.updates))
    console.log(
      `  ${event.padEnd(24)} compile ${compileMs.toFixed(1)} ms, kernel ${kernelMs.toFixed(1)} ms`,
    );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      shape: { type: 'string', default: 'S1,S2,R1' },
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '0.4' },
      output: { type: 'string', short: 'o', default: 'text' },
      /** Shapes above this many policies go without the linear ruleset: it takes minutes to load. */
      'linear-up-to': { type: 'string', default: '150' },
    },
  });
  if (process.env['PODWALL_BENCH_INSIDE'] === undefined) {
    const child = spawn(
      'unshare',
      [
        '--net',
        '--mount',
        '--pid',
        '--fork',
        '--kill-child',
        '--mount-proc',
        process.execPath,
        ...process.execArgv,
        ...process.argv.slice(1),
      ],
      { stdio: 'inherit', env: { ...process.env, PODWALL_BENCH_INSIDE: '1' } },
    );
    process.exitCode = await new Promise<number>((resolve) =>
      child.once('exit', (code) => resolve(code ?? 1)),
    );
    return;
  }
  await must('sh', ['-c', 'mount -t tmpfs tmpfs /run']);
  const wanted = values.shape.split(',');
  const reports: ShapeReport[] = [];
  for (const shape of shapes.filter(({ name }) => wanted.includes(name))) {
    const report = await benchShape(
      shape,
      Number(values.rounds),
      Number(values.seconds),
      shape.policies <= Number(values['linear-up-to']),
    );
    reports.push(report);
    if (values.output !== 'json') print(report);
  }
  if (values.output === 'json') console.log(JSON.stringify(reports, undefined, 2));
}

await main();
