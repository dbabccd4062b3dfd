/**
 * Benchmark of the engine: all pairs, updates, `why`, parsing, and the command as a process. Prints
 * Markdown; ratios compare things measured in one run, and CPU time is what other work on the
 * machine disturbs least. Each size runs in a process of its own, so that memory is its own.
 *
 * Usage: tsx bench/engine.ts [--without-100k]
 */
import { fork, spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { buildSnapshot } from '../src/engine/build.ts';
import { createEvaluator } from '../src/engine/evaluate.ts';
import { generateCluster, realClusterSize } from '../src/engine/generate.ts';
import type { GenerateOptions } from '../src/engine/generate.ts';
import { computeReach } from '../src/engine/reach.ts';
import type { Reach } from '../src/engine/reach.ts';
import type { PodInfo, Snapshot } from '../src/engine/snapshot.ts';
import { prepareUpdates, updateReach } from '../src/engine/update-reach.ts';
import type { ReachChange } from '../src/engine/update-reach.ts';
import type { KubeObject } from '../src/k8s/types.ts';
import { parseManifests } from '../src/manifest/parse.ts';
import { hasConnection } from '../src/net/connection-set.ts';
import { checkPolicy } from '../src/policy/index.ts';
import { naiveEvaluate, type NaiveObject } from '../test/naive/evaluate.ts';

const sizes: Readonly<Record<string, GenerateOptions>> = {
  '1k': { pods: 1_000, namespaces: 100, policies: 200 },
  '10k': { pods: 10_000, namespaces: 1_000, policies: 2_000 },
  '100k': { pods: 100_000, namespaces: 1_000, policies: 10_000 },
  real: { ...realClusterSize, profile: 'real' },
};

// --- measuring ----------------------------------------------------------------------------------

interface Time {
  /** User and system time of this process, milliseconds. */
  readonly cpu: number;
  readonly wall: number;
}

function time(action: () => void): Time {
  const start = performance.now();
  const before = process.cpuUsage();
  action();
  const { user, system } = process.cpuUsage(before);
  return { cpu: (user + system) / 1000, wall: performance.now() - start };
}

/** The middle of several runs, by CPU time. */
function middle(runs: number, action: () => void): Time {
  const times = Array.from({ length: runs }, () => time(action));
  return times.toSorted((a, b) => a.cpu - b.cpu)[runs >> 1] as Time;
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

function milliseconds(value: number): string {
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return value >= 10 ? `${value.toFixed(0)} ms` : `${value.toPrecision(2)} ms`;
}

function factor(value: number): string {
  return `${value >= 100 ? value.toLocaleString('en', { maximumFractionDigits: 0 }) : value.toPrecision(2)}×`;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function print(...lines: string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): void {
  print(
    '',
    `| ${head.join(' | ')} |`,
    `| ${head.map((_, i) => (i === 0 ? '---' : '--:')).join(' | ')} |`,
    ...rows.map((row) => `| ${row.join(' | ')} |`),
    '',
  );
}

/** Numbers that are the same in every run (a linear congruence). */
function createDraw(): (limit: number) => number {
  let state = 7;
  return (limit) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 4294967296) * limit);
  };
}

function snapshotOf(objects: readonly KubeObject[]): Snapshot {
  return buildSnapshot(objects.map((object) => ({ object }))).snapshot;
}

// --- one size, in a process of its own ----------------------------------------------------------

interface SizeResult {
  readonly build: Time;
  readonly compute: Time;
  /** Every block with the rules that decide it. */
  readonly walk: Time;
  readonly count: Time;
  readonly classes: number;
  readonly blocks: number;
  readonly pairs: number;
  readonly open: number;
  /** Peak of the process, MiB, with the input objects in it. */
  readonly peak: number;
  /** Before the computation: runtime, input objects and snapshot. */
  readonly input: number;
  readonly updates?: readonly UpdateResult[];
}

interface UpdateResult {
  readonly name: string;
  readonly cpu: readonly number[];
}

function measureSize(name: string): SizeResult {
  const objects = generateCluster(sizes[name] ?? { pods: 100, namespaces: 10, policies: 10 });
  for (const [i, { metadata }] of objects.entries())
    if (i % 3 === 0) metadata.labels = { ...metadata.labels, [unread]: 'yes' };
  let snapshot: Snapshot | undefined;
  const build = time(() => {
    snapshot = snapshotOf(objects);
  });
  const given = snapshot as unknown as Snapshot;
  const input = process.memoryUsage.rss();
  let reach: Reach | undefined;
  const compute = time(() => {
    reach = computeReach(given);
  });
  const made = reach as unknown as Reach;
  let blocks = 0;
  let pairs = 0;
  let rules = 0;
  const walk = time(() => {
    for (const block of made.blocks()) {
      const { egress, ingress } = block.explain();
      blocks++;
      pairs += block.size;
      rules += egress.rules.length + ingress.rules.length;
    }
  });
  if (rules === 0) throw new Error('no rule decides anything');
  let open = 0;
  const count = time(() => {
    ({ open } = made.count());
  });
  const peak = process.resourceUsage().maxRSS / 1024;
  const { classes } = made.statistics;
  return {
    build,
    compute,
    walk,
    count,
    classes,
    blocks,
    pairs,
    open,
    peak,
    input: input / 1024 / 1024,
    ...(name === '100k' ? { updates: measureUpdates(made) } : {}),
  };
}

/** A label that a third of the objects have and no policy reads. */
const unread = 'example.com/unread';

/** The first policy that reads {@link unread}, in some namespace. */
function firstReader(namespace: string): ReachChange {
  const [policy] = snapshotOf([
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { namespace, name: 'reader' },
      spec: { podSelector: { matchLabels: { [unread]: 'yes' } }, policyTypes: ['Ingress'] },
    },
  ]).policies;
  if (policy === undefined) throw new Error('the policy is not valid');
  return { kind: 'policy', key: policy.ref.key, policy };
}

function measureUpdates(made: Reach): UpdateResult[] {
  let reach = made;
  prepareUpdates(reach);
  const below = createDraw();
  const podAt = (): PodInfo => reach.snapshot.pods[below(reach.snapshot.pods.length)] as PodInfo;
  const namespaces = [...reach.snapshot.namespaces.keys()];
  const namespaceAt = (): string => namespaces[below(namespaces.length)] ?? '';
  const policies = [...reach.snapshot.policies];
  const kinds: Readonly<Record<string, () => ReachChange>> = {
    'rules of a policy (those of another)': () => {
      const policy = policies[below(policies.length)] as (typeof policies)[number];
      const { rules } = policies[below(policies.length)] as (typeof policies)[number];
      return { kind: 'policy', key: policy.ref.key, policy: { ...policy, rules } };
    },
    'a policy more, on a label that none there read before': () => firstReader(namespaceAt()),
    'labels of a pod (those of another)': () => ({
      kind: 'pod-labels',
      id: podAt().id,
      labels: podAt().labels,
    }),
    'a label of a pod that no policy reads': () => {
      const { id, labels } = podAt();
      return { kind: 'pod-labels', id, labels: { ...labels, build: String(below(1e9)) } };
    },
    'labels of a namespace (those of another)': () => {
      const name = namespaceAt();
      const other = reach.snapshot.namespaces.get(namespaceAt())?.labels ?? {};
      return {
        kind: 'namespace-labels',
        name,
        labels: { ...other, 'kubernetes.io/metadata.name': name },
      };
    },
  };
  return Object.entries(kinds).map(([name, change]) => {
    const cpu: number[] = [];
    for (let i = 0; i < 200; i++) {
      const next = change();
      cpu.push(
        time(() => {
          reach = updateReach(reach, next);
        }).cpu,
      );
    }
    return { name, cpu };
  });
}

function inProcess(name: string): Promise<SizeResult> {
  say(`all pairs, ${name} …`);
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), ['--size', name], {
      execArgv: ['--import', 'tsx'],
    });
    child.on('message', (message) => resolve(message as SizeResult));
    child.on('close', (code) => reject(new Error(`size ${name} ended with code ${code}`)));
  });
}

// --- tables -------------------------------------------------------------------------------------

async function allPairs(names: readonly string[]): Promise<void> {
  const results = new Map<string, SizeResult>();
  for (const name of names) results.set(name, await inProcess(name));
  print('## All pairs', '');
  print(
    'Compute: both legs of every class. Walk: every block of pairs with the rules that decide it.',
    'Count: pairs of pods of which something is open. Peak memory holds the generated input too.',
  );
  table(
    [
      'size',
      'classes',
      'blocks',
      'compute CPU',
      'walk CPU',
      'together',
      'wall',
      'count CPU',
      'open pairs',
      'memory before',
      'peak',
    ],
    names.map((name) => {
      const one = results.get(name) as SizeResult;
      return [
        name,
        one.classes.toLocaleString('en'),
        one.blocks.toLocaleString('en'),
        milliseconds(one.compute.cpu),
        milliseconds(one.walk.cpu),
        milliseconds(one.compute.cpu + one.walk.cpu),
        milliseconds(one.compute.wall + one.walk.wall),
        milliseconds(one.count.cpu),
        one.open.toLocaleString('en'),
        `${one.input.toFixed(0)} MiB`,
        `${one.peak.toFixed(0)} MiB`,
      ];
    }),
  );
  const small = results.get('10k');
  const large = results.get('100k');
  if (small !== undefined && large !== undefined) {
    const total = ({ compute, walk }: SizeResult): number => compute.cpu + walk.cpu;
    print(
      `Growth from 10k to 100k pods: ${factor(total(large) / total(small))} (CPU, compute and walk).`,
    );
  }
  if (large?.updates === undefined) return;
  print('', '## One change at 100,000 pods', '');
  const full = large.compute.cpu;
  print(`CPU time of 200 changes each, against ${milliseconds(full)} for computing anew.`);
  table(
    ['change', 'median', 'p90', 'max', 'anew / median'],
    large.updates.map(({ name, cpu }) => [
      name,
      milliseconds(percentile(cpu, 0.5)),
      milliseconds(percentile(cpu, 0.9)),
      milliseconds(percentile(cpu, 1)),
      factor(full / percentile(cpu, 0.5)),
    ]),
  );
}

/** The naive evaluator answers one port of one pair; all pairs are what a sample costs, multiplied. */
function againstNaive(): void {
  say('naive evaluator …');
  const rows: string[][] = [];
  for (const options of [
    { pods: 100, namespaces: 10, policies: 20 },
    { pods: 1_000, namespaces: 100, policies: 200 },
  ]) {
    const objects = generateCluster(options);
    const snapshot = snapshotOf(objects);
    const ours = middle(5, () => {
      const reach = computeReach(snapshot);
      for (const block of reach.blocks()) block.explain();
    });
    const reach = computeReach(snapshot);
    const { pods } = snapshot;
    const below = createDraw();
    const asked: [number, number][] = [];
    const sample = options.pods > 100 ? 400 : 4_000;
    while (asked.length < sample) {
      const pair: [number, number] = [below(pods.length), below(pods.length)];
      if (pair[0] !== pair[1]) asked.push(pair);
    }
    const outcomes: string[] = [];
    const naive = time(() => {
      for (const [i, j] of asked)
        outcomes.push(
          naiveEvaluate(objects as readonly unknown[] as readonly NaiveObject[], {
            source: { pod: pods[i]?.id ?? '' },
            destination: { pod: pods[j]?.id ?? '' },
            protocol: 'TCP',
            port: 8080,
          }).outcome,
        );
    });
    const differing = asked.filter(([i, j], n) => {
      const allowed = hasConnection(reach.lookup(i, j).allowed, 'TCP', 8080);
      return allowed !== (outcomes[n] === 'allowed');
    });
    if (differing.length > 0) throw new Error(`${differing.length} answers differ from the naive`);
    const all = (naive.cpu / sample) * pods.length * (pods.length - 1);
    rows.push([
      `${options.pods} pods, ${options.policies} policies`,
      milliseconds(ours.cpu),
      `${milliseconds(all)} (${sample} pairs measured)`,
      factor(all / ours.cpu),
    ]);
  }
  print('## Against the naive evaluator', '');
  print(
    'All pairs on all ports with rules (ours) against all pairs on one port (naive, multiplied from',
    'a sample, whose answers were equal). CPU time.',
  );
  table(['cluster', 'podwall', 'naive', 'naive / podwall'], rows);
}

function why(): void {
  say('why on a loaded snapshot …');
  const snapshot = snapshotOf(generateCluster(sizes['10k'] as GenerateOptions));
  const evaluator = createEvaluator(snapshot);
  const below = createDraw();
  const ask = (): void => {
    const source = snapshot.pods[below(snapshot.pods.length)] as PodInfo;
    const destination = snapshot.pods[below(snapshot.pods.length)] as PodInfo;
    evaluator.evaluate({
      source: { kind: 'pod', pod: source },
      destination: { kind: 'pod', pod: destination },
      protocol: 'TCP',
      port: 8080,
    });
  };
  const first = Array.from({ length: 1000 }, () => time(ask).cpu);
  for (let i = 0; i < 20_000; i++) ask();
  const many = time(() => {
    for (let i = 0; i < 20_000; i++) ask();
  });
  print('## `why` on a loaded snapshot (10,000 pods, 2,000 policies)');
  table(
    ['', 'time'],
    [
      ['mean of 20,000 warm questions, CPU', `${((many.cpu / 20_000) * 1000).toFixed(1)} µs`],
      ['first 1,000 questions, median CPU', `${(percentile(first, 0.5) * 1000).toFixed(0)} µs`],
      ['first 1,000 questions, p99 CPU', `${(percentile(first, 0.99) * 1000).toFixed(0)} µs`],
      ['the very first question, CPU', milliseconds(first[0] ?? 0)],
    ],
  );
}

function parsing(): void {
  say('parsing and validating 3,000 policy files …');
  const policies = generateCluster({ pods: 3_000, namespaces: 300, policies: 3_000 }).filter(
    ({ kind }) => kind.endsWith('NetworkPolicy'),
  );
  const texts = policies.slice(0, 3_000).map((policy) => stringify(policy));
  const jsons = policies.slice(0, 3_000).map((policy) => JSON.stringify(policy));
  const ours = (): void => {
    for (const [i, text] of texts.entries())
      for (const parsed of parseManifests({ file: `policy-${i}.yaml`, text }).objects) {
        const { errors } = checkPolicy(parsed, {});
        if (errors.length > 0) throw new Error('a generated policy is not valid');
      }
  };
  const cold = time(ours);
  const warm = middle(3, ours);
  const json = middle(5, () => {
    for (const text of jsons) JSON.parse(text);
  });
  const bytes = texts.reduce((sum, text) => sum + text.length, 0);
  print(`## Parse and validate ${texts.length.toLocaleString('en')} policy files`);
  table(
    ['', 'CPU', 'against JSON.parse'],
    [
      ['YAML, first time in the process', milliseconds(cold.cpu), factor(cold.cpu / json.cpu)],
      ['YAML, again', milliseconds(warm.cpu), factor(warm.cpu / json.cpu)],
      ['`JSON.parse` of the same objects, no validation', milliseconds(json.cpu), '1×'],
    ],
  );
  print(
    `${(bytes / 1024 / 1024).toFixed(1)} MiB of YAML in memory; reading files is not in it.`,
    '',
  );
}

// --- processes ----------------------------------------------------------------------------------

/** Prints the CPU time of a Node process as it ends. */
const tellCpu =
  'data:text/javascript,process.on("exit",()=>{const u=process.cpuUsage();process.stderr.write("@cpu "+(u.user+u.system))})';

interface Run extends Time {
  readonly code: number | null;
}

function once(command: string, args: readonly string[]): Promise<Run> {
  const start = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
    child.on('error', reject);
    child.on('close', (code) => {
      const cpu = Number(/@cpu (\d+)/.exec(errors)?.[1] ?? Number.NaN) / 1000;
      resolve({ wall: performance.now() - start, cpu, code });
    });
  });
}

async function runs(count: number, command: string, args: readonly string[]): Promise<Run> {
  const all: Run[] = [];
  for (let i = 0; i < count; i++) all.push(await once(command, args));
  const sorted = all.toSorted((a, b) => a.wall - b.wall);
  return {
    wall: sorted[count >> 1]?.wall ?? 0,
    cpu: percentile(
      all.map(({ cpu }) => cpu),
      0.5,
    ),
    code: all[0]?.code ?? null,
  };
}

function writeFiles(directory: string, objects: readonly KubeObject[], files: number): void {
  const each = Math.ceil(objects.length / files);
  for (let i = 0; i < files; i++)
    writeFileSync(
      join(directory, `objects-${String(i).padStart(3, '0')}.yaml`),
      objects
        .slice(i * each, (i + 1) * each)
        .map((object) => stringify(object))
        .join('---\n'),
    );
}

function onPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((place) => {
    try {
      accessSync(join(place, program), constants.X_OK);
      return place !== '';
    } catch {
      return false;
    }
  });
}

/** Other analyzers: the arguments to read a directory. */
const others: Readonly<Record<string, (directory: string) => string[]>> = {
  'netpol-analyzer': (directory) => ['list', '--dirpath', directory, '--quiet'],
  k8snetpolicy: (directory) => ['list', '--dirpath', directory, '--quiet'],
  'policy-assistant': (directory) => ['analyze', '--policy-path', directory, '--mode', 'explain'],
};

async function processes(): Promise<void> {
  say('processes …');
  const directory = mkdtempSync(join(tmpdir(), 'podwall-bench-'));
  try {
    const few = join(directory, 'few');
    const many = join(directory, 'many');
    mkdirSync(few);
    mkdirSync(many);
    const objects = generateCluster({ pods: 10, namespaces: 3, policies: 8, seed: 3 });
    writeFiles(few, objects, 20);
    writeFiles(many, generateCluster({ pods: 200, namespaces: 20, policies: 40 }), 40);
    const [from, to] = objects
      .filter(({ kind }) => kind === 'Pod')
      .map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
    const podwall = fileURLToPath(new URL('../bin/podwall.js', import.meta.url));
    const count = 15;
    const bare = await runs(count, process.execPath, ['--import', tellCpu, '-e', '0']);
    const nodeArgs = ['--import', tellCpu, podwall];
    const asked = await runs(count, process.execPath, [
      ...nodeArgs,
      'why',
      from ?? '',
      `${to}:8080`,
      '-f',
      few,
    ]);
    const version = await runs(count, process.execPath, [...nodeArgs, '--version']);
    print('## As a process', '');
    print(`Median of ${count} runs; \`why\` reads 20 files with ${objects.length} objects.`);
    const row = (name: string, run: Run): string[] => [
      name,
      milliseconds(run.wall),
      milliseconds(run.cpu),
      factor(run.wall / bare.wall),
      String(run.code),
    ];
    table(
      ['command', 'wall', 'CPU', 'against bare Node', 'exit code'],
      [row('`node -e 0`', bare), row('`podwall --version`', version), row('`podwall why`', asked)],
    );
    const reach = await runs(3, process.execPath, [...nodeArgs, 'reach', '-f', many, '-o', 'json']);
    const rows: string[][] = [['`podwall reach -o json`', milliseconds(reach.wall), '1×']];
    for (const [program, args] of Object.entries(others)) {
      if (!onPath(program)) {
        rows.push([program, 'not on PATH: not run', '']);
        continue;
      }
      const run = await runs(3, program, args(many));
      rows.push([
        program,
        `${milliseconds(run.wall)}, exit code ${run.code}`,
        factor(run.wall / reach.wall),
      ]);
    }
    print('## Other analyzers on the same directory (200 pods, 40 policies)');
    table(['command', 'wall', 'against podwall'], rows);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function load(): string {
  return loadavg()
    .map((value) => value.toFixed(1))
    .join(', ');
}

async function main(): Promise<void> {
  const [flag, name] = process.argv.slice(2);
  if (flag === '--size' && name !== undefined) {
    process.send?.(measureSize(name), () => process.disconnect());
    return;
  }
  print(
    `${new Date().toISOString().slice(0, 10)}, Node ${process.versions.node}, ${process.platform} ${process.arch}, ${availableParallelism()} cores, load average at the start ${load()}.`,
    '',
  );
  await allPairs(flag === '--without-100k' ? ['1k', '10k', 'real'] : ['1k', '10k', '100k', 'real']);
  againstNaive();
  why();
  parsing();
  await processes();
  print(`Load average at the end ${load()}.`);
}

await main();
