/**
 * From a probe request to a judged report: which probes and controls to send, when to ask again, and
 * what the sightings prove. Must not know how a probe is sent or how drops are counted.
 */
import { formatAddress, parseAddress } from '../net/address.ts';
import type { Drop } from '../dataplane/model.ts';
import { familyOf } from './config.ts';
import { dnsPodId } from './dns.ts';
import { mapLimited } from './parallel.ts';
import { noSuchEndpoint, type LabEndpoint, type LabView } from './store.ts';
import { fabricNetns, nodeNetns, outsideNetns, podNetns } from './topology.ts';
import type {
  DropEvidence,
  LabPort,
  ProbeOutcome,
  ProbeReport,
  ProbeRequest,
  ProbeResult,
} from './types.ts';
import type { ProbeSighting, ProbeTask } from './wire.ts';

/** One end of probes with everything the run needs. */
export interface ProbeEnd {
  /** As in `ProbeResult.source`. */
  readonly name: string;
  readonly netns: string;
  readonly addresses: readonly string[];
  /** Network whose probes of this end no policy touches: the pod's own node, or the wire. */
  readonly controlNetns: string;
}

export interface PlannedProbe {
  readonly source: ProbeEnd;
  readonly destination: ProbeEnd;
  readonly family: 4 | 6;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly port: LabPort;
}

export interface ProbePlan {
  readonly probes: readonly PlannedProbe[];
  readonly sources: readonly string[];
  readonly destinations: readonly string[];
  readonly ports: readonly LabPort[];
}

export interface NodeDrop extends Drop {
  readonly node: string;
}

/** What a run needs from the world. */
export interface ProbeRunner {
  /** Sends all tasks from one network at once. Every task gets a sighting. */
  attempt(netns: string, tasks: readonly ProbeTask[]): Promise<ProbeSighting[]>;
  resetDrops(): Promise<void>;
  drops(): Promise<readonly NodeDrop[]>;
  /** Networks probed from at a time. */
  readonly parallel: number;
}

const defaultPorts: readonly LabPort[] = [{ protocol: 'TCP', port: 80 }];
const defaultTimeoutMs = 350;

/** Later attempts wait long enough for a machine that is short of CPU. */
const laterTimeoutsMs = [2_000, 5_000];

export function endOf(endpoint: LabEndpoint): ProbeEnd {
  switch (endpoint.kind) {
    case 'pod': {
      const { pod } = endpoint;
      const node = nodeNetns(pod.node.name);
      return {
        name: pod.id,
        netns: pod.hostNetwork ? node : podNetns(pod.namespace, pod.name),
        addresses: pod.addresses,
        controlNetns: node,
      };
    }
    case 'outside': {
      const { name, addresses } = endpoint.host;
      return { name, netns: outsideNetns(name), addresses, controlNetns: fabricNetns };
    }
    case 'node': {
      const { name, addresses } = endpoint.node;
      return { name, netns: nodeNetns(name), addresses, controlNetns: fabricNetns };
    }
  }
}

function resolveEnds(store: LabView, names: readonly string[]): ProbeEnd[] {
  const ends = new Map<string, ProbeEnd>();
  for (const name of names) {
    if (name.endsWith('/*')) {
      const pods = store.pods().filter((pod) => `${pod.namespace}/*` === name);
      if (pods.length === 0) throw noSuchEndpoint(name, store);
      for (const pod of pods) ends.set(pod.id, endOf({ kind: 'pod', pod }));
      continue;
    }
    const endpoint = store.endpoint(name);
    if (endpoint === undefined) throw noSuchEndpoint(name, store);
    ends.set(name, endOf(endpoint));
  }
  return [...ends.values()];
}

/** Every probe a request asks for. Throws `LabError` for a name that leads nowhere. */
export function planProbes(store: LabView, request: ProbeRequest): ProbePlan {
  // The lab's own server is no part of the story unless it is asked for.
  const pods = store.pods().flatMap((pod) => (pod.id === dnsPodId ? [] : [pod.id]));
  const outside = store.config.outside.map((host) => host.name);
  const sources = resolveEnds(store, request.from ?? [...pods, ...outside]);
  const destinations = resolveEnds(store, request.to ?? pods);
  const ports = request.ports ?? defaultPorts;
  const probes: PlannedProbe[] = [];
  for (const source of sources) {
    for (const destination of destinations) {
      if (request.includeSelf === false && source.name === destination.name) continue;
      for (const family of [4, 6] as const) {
        if (request.family !== undefined && request.family !== family) continue;
        const sourceAddress = source.addresses.find((one) => familyOf(one) === family);
        const destinationAddress = destination.addresses.find((one) => familyOf(one) === family);
        if (sourceAddress === undefined || destinationAddress === undefined) continue;
        for (const port of ports) {
          probes.push({ source, destination, family, sourceAddress, destinationAddress, port });
        }
      }
    }
  }
  return {
    probes,
    sources: sources.map((end) => end.name),
    destinations: destinations.map((end) => end.name),
    ports,
  };
}

/** A listener asked from where no policy applies, once per run. */
interface Target {
  readonly netns: string;
  readonly expected: string;
  readonly address: string;
  readonly port: LabPort;
  readonly localAddress?: string;
}

/** How far one question has come. */
interface Question extends Target {
  attempts: number;
  seen?: ProbeSighting;
  drop?: DropEvidence;
}

function targetKey(probe: PlannedProbe): string {
  return `${probe.destinationAddress} ${probe.port.protocol} ${probe.port.port}`;
}

function flowKey(source: string, destination: string, protocol: string, port: number): string {
  return `${source} ${destination} ${protocol} ${port}`;
}

interface RunOptions {
  readonly timeoutMs?: number;
  readonly onProgress?: (text: string) => void;
}

/** Probes between two resets of the counters: a node's set of dropped flows holds 65,536. */
const probesPerRound = 30_000;

/** Sends probes and controls, asks again where nothing is proved yet, and judges. */
export async function runProbes(
  plan: ProbePlan,
  runner: ProbeRunner,
  options: RunOptions = {},
): Promise<ProbeReport> {
  const started = performance.now();
  const results: ProbeResult[] = [];
  for (let from = 0; from < plan.probes.length; from += probesPerRound) {
    const part = plan.probes.slice(from, from + probesPerRound);
    results.push(...(await runPart(part, runner, options)));
  }
  const wallMs = performance.now() - started;
  return {
    results,
    sources: plan.sources,
    destinations: plan.destinations,
    ports: plan.ports,
    wallMs,
    perSecond: wallMs > 0 ? (results.length * 1000) / wallMs : 0,
    simulated: false,
  };
}

async function runPart(
  probes: readonly PlannedProbe[],
  runner: ProbeRunner,
  options: RunOptions,
): Promise<ProbeResult[]> {
  const sources = new Set(probes.map((probe) => probe.source.name)).size;
  const controls = new Map<string, Question>();
  const questions = probes.map((probe): Question => {
    const { destination, destinationAddress: address, port } = probe;
    const expected = destination.name;
    const key = targetKey(probe);
    if (!controls.has(key)) {
      controls.set(key, { netns: destination.controlNetns, expected, address, port, attempts: 0 });
    }
    const localAddress = probe.sourceAddress;
    return { netns: probe.source.netns, expected, address, port, localAddress, attempts: 0 };
  });
  await runner.resetDrops();
  const timeouts = [options.timeoutMs ?? defaultTimeoutMs, ...laterTimeoutsMs];
  for (const [round, timeoutMs] of timeouts.entries()) {
    // A control that was refused settles its probes: asking them again cannot prove anything.
    const open = questions.filter((question, index) => {
      if (settled(question)) return false;
      const control = controls.get(targetKey(probes[index] as PlannedProbe));
      return round === 0 || control?.seen?.kind !== 'refused';
    });
    const asked = [...[...controls.values()].filter((control) => !settled(control)), ...open];
    if (asked.length === 0) break;
    options.onProgress?.(
      round === 0
        ? `${questions.length} probes and ${controls.size} controls from ${sources} sources`
        : `asking ${asked.length} again, waiting up to ${timeoutMs / 1000} s`,
    );
    await ask(asked, timeoutMs, runner);
    if (open.some((question) => question.seen?.kind === 'timeout')) {
      const drops = indexDrops(await runner.drops());
      for (const question of open) {
        const { localAddress = '', address, port } = question;
        const drop = drops.get(flowKey(localAddress, address, port.protocol, port.port));
        if (drop !== undefined) question.drop = drop;
      }
    }
  }
  return probes.map((probe, index) => {
    const question = questions[index] as Question;
    return judge(probe, question, controls.get(targetKey(probe)) as Question);
  });
}

/** Nothing more can be learnt by asking again. */
function settled(question: Question): boolean {
  const kind = question.seen?.kind;
  if (kind === undefined || kind === 'failed') return false;
  return kind !== 'timeout' || question.drop !== undefined;
}

async function ask(
  questions: readonly Question[],
  timeoutMs: number,
  runner: ProbeRunner,
): Promise<void> {
  const byNetns = new Map<string, number[]>();
  questions.forEach((question, id) => {
    const ids = byNetns.get(question.netns) ?? [];
    byNetns.set(question.netns, ids);
    ids.push(id);
  });
  await mapLimited([...byNetns], runner.parallel, async ([netns, ids]) => {
    const tasks = ids.map((id): ProbeTask => {
      const { address, port, localAddress } = questions[id] as Question;
      return {
        id,
        address,
        protocol: port.protocol,
        port: port.port,
        timeoutMs,
        ...(localAddress === undefined ? {} : { localAddress }),
      };
    });
    for (const sighting of await runner.attempt(netns, tasks)) {
      const question = questions[sighting.id];
      if (question === undefined) continue;
      question.seen = sighting;
      question.attempts += 1;
    }
  });
}

function canonical(address: string): string {
  const parsed = parseAddress(address);
  return parsed === undefined ? address : formatAddress(parsed);
}

function indexDrops(drops: readonly NodeDrop[]): Map<string, DropEvidence> {
  const index = new Map<string, DropEvidence>();
  for (const { node, direction, packets, source, destination, protocol, port } of drops) {
    if (packets === 0 || port === undefined) continue;
    const key = flowKey(canonical(source), canonical(destination), protocol, port);
    index.set(key, { node, direction, packets });
  }
  return index;
}

interface Judgement {
  readonly outcome: ProbeOutcome;
  readonly reason?: string;
}

/** What a probe and its control prove together. */
export function judgeSightings(
  expected: string,
  seen: ProbeSighting | undefined,
  drop: DropEvidence | undefined,
  control: ProbeSighting | undefined,
  attempts: number,
): Judgement {
  if (seen === undefined) return { outcome: 'ERROR', reason: 'the prober gave no answer' };
  if (seen.kind === 'answered') return judgeAnswer(expected, seen.identity);
  const listens = control?.kind === 'answered' && isNamed(expected, control.identity);
  if (control?.kind === 'refused') {
    return { outcome: 'NO-LISTENER', reason: 'nothing listens there: the control was refused too' };
  }
  if (!listens) return { outcome: 'ERROR', reason: `the control failed: ${describe(control)}` };
  if (seen.kind === 'refused') return { outcome: 'REFUSED' };
  if (drop !== undefined) return { outcome: 'DROPPED' };
  if (seen.kind === 'failed') return { outcome: 'ERROR', reason: seen.error ?? 'the probe failed' };
  const times = attempts === 1 ? 'one attempt' : `${attempts} attempts`;
  return { outcome: 'ERROR', reason: `no answer in ${times}, yet no node counted a drop of it` };
}

function judgeAnswer(expected: string, identity: string | undefined): Judgement {
  if (isNamed(expected, identity)) return { outcome: 'OPEN' };
  const who = identity === undefined ? 'something that gave no name' : identity;
  return { outcome: 'ERROR', reason: `answered by ${who}, not by ${expected}` };
}

/** `agnhost serve-hostname --tcp` knows only the second half of its name. */
function isNamed(expected: string, identity: string | undefined): boolean {
  return identity === expected || identity === expected.slice(expected.indexOf('/') + 1);
}

function describe(sighting: ProbeSighting | undefined): string {
  if (sighting === undefined) return 'it was not sent';
  if (sighting.kind === 'answered') return `answered by ${sighting.identity ?? 'nobody known'}`;
  if (sighting.kind === 'timeout') return 'no answer';
  return sighting.error ?? sighting.kind;
}

function judge(probe: PlannedProbe, question: Question, control: Question): ProbeResult {
  const { seen, drop, attempts } = question;
  const { outcome, reason } = judgeSightings(
    probe.destination.name,
    seen,
    drop,
    control.seen,
    attempts,
  );
  return {
    source: probe.source.name,
    destination: probe.destination.name,
    family: probe.family,
    sourceAddress: probe.sourceAddress,
    destinationAddress: probe.destinationAddress,
    protocol: probe.port.protocol,
    port: probe.port.port,
    outcome,
    latencyMs: Math.round((seen?.latencyMs ?? 0) * 100) / 100,
    evidence: {
      control:
        control.seen?.kind === 'answered' && isNamed(probe.destination.name, control.seen.identity),
      attempts,
      ...(drop === undefined ? {} : { drop }),
    },
    ...(reason === undefined ? {} : { reason }),
  };
}
