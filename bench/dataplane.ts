/**
 * Benchmark of the nftables dataplane in private namespaces: no table, conntrack only, podwall, and
 * a linear ruleset of the same policies with a chain per pod, all in one run, in rounds whose order
 * changes. Prints ratios to conntrack only; the figures of one run compare with each other only.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { parseArgs } from 'node:util';
import { renderProgram } from '../src/dataplane/index.ts';
import { createBed, must, removeBed } from './dataplane/bed.ts';
import type { Bed } from './dataplane/bed.ts';
import { measureLoads, median } from './dataplane/load.ts';
import type { Load } from './dataplane/load.ts';
import { conntrackOnly, linearRuleset, objectsOf, podAddress, shapes } from './dataplane/shapes.ts';
import type { Shape } from './dataplane/shapes.ts';
import {
  bulk,
  connects,
  copiedSynCost,
  podSynCost,
  prepareSender,
  senderCost,
  startServers,
  streamCost,
} from './dataplane/traffic.ts';
import { measureUpdates, programOf } from './dataplane/updates.ts';
import type { UpdateTimes } from './dataplane/updates.ts';

const usage = `Usage: npm run bench -- dataplane [options]

  --quick            S1 and R1, three short rounds (about a minute): shows that it works, not figures
  --shape S1,S2,…    some of the shapes (default: all: ${shapes.map(({ name }) => name).join(' ')})
  --rounds N         rounds over all rulesets (default 9)
  --linear-up-to N   policies up to which the linear ruleset takes part (default 1000: a minute to load)
  -o json            one JSON document
`;

/** What a round measures of each ruleset, by name of the column. */
const measures = ['pod', 'copied', 'stream', 'rate', 'p50', 'p99', 'bulk'] as const;
type Measure = (typeof measures)[number];

interface Plan {
  readonly rounds: number;
  /** Of each burst of packets and each bulk transfer. */
  readonly seconds: number;
  readonly connections: number;
  readonly updates: number;
}

interface ShapeReport {
  readonly shape: Shape;
  readonly sets: number;
  readonly chains: number;
  /** By ruleset; `again` is conntrack only a second time: what differs there is noise. */
  readonly samples: Readonly<Record<string, Readonly<Record<Measure, readonly number[]>>>>;
  /** Nanoseconds of a SYN before it leaves the pod, one a round. */
  readonly sending: readonly number[];
  readonly loads: Readonly<Record<string, Load>>;
  readonly updates: Readonly<Record<string, UpdateTimes>>;
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

async function benchShape(shape: Shape, plan: Plan, linearToo: boolean): Promise<ShapeReport> {
  const objects = objectsOf(shape);
  const program = programOf(objects);
  const source = podAddress(shape.local - 2, shape.local);
  const host = podAddress(shape.local - 1, shape.local);
  const rulesets: Record<string, string> = {
    none: '',
    ctonly: conntrackOnly,
    podwall: renderProgram(program),
    ...(linearToo ? { linear: linearRuleset(objects, shape.local) } : {}),
    again: conntrackOnly,
  };
  note(`${shape.name}: loading`);
  const { podwall, linear } = rulesets;
  const loads = await measureLoads(
    { podwall: podwall as string, ...(linear === undefined ? {} : { linear }) },
    plan.rounds,
  );

  const beds = new Map<string, Bed>();
  const servers: ChildProcess[] = [];
  for (const [name, script] of Object.entries(rulesets)) {
    const bed = await createBed(name, source, host);
    beds.set(name, bed);
    await must('ip', ['netns', 'exec', bed.node, 'nft', '-f', '-'], script);
    servers.push(await startServers(bed));
  }
  const samples: Record<string, Record<Measure, number[]>> = {};
  const names = [...beds.keys()];
  const sending: number[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    note(`${shape.name}: round ${round + 1} of ${plan.rounds}`);
    const firstBed = [...beds.values()][round % names.length] as Bed;
    sending.push(await senderCost(firstBed, host, plan.seconds));
    for (let at = 0; at < names.length; at++) {
      const name = names[(at + round) % names.length] as string;
      const bed = beds.get(name) as Bed;
      const { rate, p50, p99 } = await connects(bed, host, plan.connections);
      const row: Record<Measure, number> = {
        pod: await podSynCost(bed, host, plan.seconds),
        copied: await copiedSynCost(bed, host, plan.seconds),
        stream: await streamCost(bed, host, plan.seconds),
        rate,
        p50,
        p99,
        bulk: await bulk(bed, host, plan.seconds),
      };
      for (const measure of measures)
        ((samples[name] ??= {} as Record<Measure, number[]>)[measure] ??= []).push(row[measure]);
    }
  }
  for (const server of servers) server.kill();
  for (const bed of beds.values()) await removeBed(bed);
  note(`${shape.name}: updates`);
  return {
    shape,
    sets: program.groups.size + program.portMaps.size,
    chains: program.chains.size,
    samples,
    sending,
    loads,
    updates: await measureUpdates(objects, shape, plan.updates),
  };
}

/** Whatever else the machine does only ever adds to a cost, and takes from a rate. */
function best(measure: Measure, list: readonly number[]): number {
  return measure === 'rate' || measure === 'bulk' ? Math.max(...list) : Math.min(...list);
}

const titles: Readonly<Record<Measure, string>> = {
  pod: 'new connection, SYN sent by a pod, ns',
  copied: 'new connection, SYN copied in the kernel, ns',
  stream: 'packet of an established flow, copied, ns',
  rate: 'TCP connections a second',
  p50: 'connect p50, µs',
  p99: 'connect p99, µs',
  bulk: 'one TCP connection, Gbit/s',
};

/** One line for each ruleset: median and best of `of`, each with its ratio to conntrack only. */
function printMeasure(
  title: string,
  { samples }: ShapeReport,
  of: (row: Readonly<Record<Measure, readonly number[]>>) => readonly [number, number],
  digits: number,
): void {
  console.log(`  ${title}`);
  const base = of(samples['ctonly'] as Readonly<Record<Measure, readonly number[]>>);
  for (const [name, row] of Object.entries(samples)) {
    const [middle, least] = of(row);
    const figures = `${middle.toFixed(digits).padStart(8)} (${least.toFixed(digits)})`;
    const ratios = `x${(middle / base[0]).toFixed(3)} (x${(least / base[1]).toFixed(3)})`;
    console.log(`    ${name.padEnd(8)} ${figures.padEnd(22)} ${ratios}`);
  }
}

function print(report: ShapeReport): void {
  const { shape, sets, chains, sending, loads, updates } = report;
  console.log(
    `\n${shape.name}: ${shape.local} local pods, ${shape.addresses} addresses, ${shape.policies} policies, ${shape.perPod} per pod; ` +
      `program of ${chains} chains (in two forms), ${sets} sets and maps`,
  );
  console.log(
    'Median over the rounds (best round), and ratio of medians (of bests) to conntrack only:',
  );
  for (const measure of measures) {
    const of = (row: Readonly<Record<Measure, readonly number[]>>): readonly [number, number] => [
      median(row[measure]),
      best(measure, row[measure]),
    ];
    printMeasure(titles[measure], report, of, measure === 'bulk' ? 2 : 0);
    if (measure === 'pod')
      printMeasure(
        `the same without the sender (${median(sending).toFixed(0)}, best ${Math.min(...sending).toFixed(0)} ns)`,
        report,
        (row) => [median(row.pod) - median(sending), best('pod', row.pod) - Math.min(...sending)],
        0,
      );
  }
  console.log('  loading, one nft -f');
  for (const [name, { milliseconds, kernelMemory }] of Object.entries(loads))
    console.log(
      `    ${name.padEnd(8)} ${milliseconds.toFixed(0).padStart(8)} ms, ${kernelMemory.toFixed(1)} MB of kernel memory`,
    );
  const { podwall, linear } = loads;
  if (podwall !== undefined && linear !== undefined)
    console.log(
      `    podwall / linear: x${(podwall.milliseconds / linear.milliseconds).toFixed(2)} time, x${(podwall.kernelMemory / linear.kernelMemory).toFixed(2)} memory`,
    );
  console.log("  updates, the kernel's part, median ms: made, taken back");
  for (const [kind, { add, undo }] of Object.entries(updates))
    console.log(
      `    ${kind.padEnd(28)} ${add.toFixed(1).padStart(6)} ${undo.toFixed(1).padStart(6)}`,
    );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      shape: { type: 'string' },
      rounds: { type: 'string' },
      'linear-up-to': { type: 'string' },
      output: { type: 'string', short: 'o', default: 'text' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  if (process.env['PODWALL_BENCH_INSIDE'] === undefined) {
    const namespaces = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
    const child = spawn(
      'unshare',
      [...namespaces, process.execPath, ...process.execArgv, ...process.argv.slice(1)],
      { stdio: 'inherit', env: { ...process.env, PODWALL_BENCH_INSIDE: '1' } },
    );
    process.exitCode = await new Promise<number>((resolve) =>
      child.once('exit', (code) => resolve(code ?? 1)),
    );
    return;
  }
  const { quick } = values;
  const asked = values.shape ?? (quick ? 'S1,R1' : shapes.map(({ name }) => name).join(','));
  const wanted = asked.split(',').map((name) => {
    const shape = shapes.find((known) => known.name === name);
    if (shape === undefined) throw new Error(`no shape ${name}; see --help`);
    return shape;
  });
  const plan: Plan = {
    rounds: Number(values.rounds ?? (quick ? 3 : 9)),
    seconds: quick ? 0.1 : 0.25,
    connections: quick ? 500 : 3000,
    updates: quick ? 3 : 9,
  };
  await must('sh', ['-c', 'mount -t tmpfs tmpfs /run; mkdir -p /run/netns']);
  await prepareSender();
  const reports: ShapeReport[] = [];
  for (const shape of wanted) {
    const linear = shape.policies <= Number(values['linear-up-to'] ?? 1000);
    const report = await benchShape(shape, plan, linear);
    reports.push(report);
    if (values.output !== 'json') print(report);
  }
  if (values.output === 'json') console.log(JSON.stringify(reports, undefined, 2));
}

try {
  await main();
} catch (error) {
  note(error instanceof Error ? error.message : String(error));
  // Servers may still run; they end with this process.
  process.exit(1);
}
