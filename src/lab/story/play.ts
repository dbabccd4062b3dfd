/**
 * Plays the story on a lab: applies each step, asks the engine what must come out, lets the packets
 * say what does, and compares cell by cell. Must not know how a step is shown.
 */
import { buildSnapshot } from '../../engine/build.ts';
import { createEvaluator } from '../../engine/evaluate.ts';
import type { Snapshot } from '../../engine/snapshot.ts';
import type { Endpoint, Outcome } from '../../engine/verdict.ts';
import { parseManifests } from '../../manifest/parse.ts';
import { parseAddress } from '../../net/address.ts';
import type { KubeObject } from '../../k8s/types.ts';
import { dnsPodId } from '../dns.ts';
import type { Lab, LabObject, ObjectRef, ProbeOutcome, ProbeResult } from '../types.ts';
import { seedCluster } from './cluster.ts';
import type { StoryPort, StoryStep } from './steps.ts';

/** One source, one destination, one port: what was said and what was seen. */
export interface StoryCell {
  readonly source: string;
  readonly destination: string;
  readonly predicted: Outcome;
  readonly observed: ProbeOutcome;
  readonly agrees: boolean;
  /** Observed against the step before, when that step looked at the same cell and port. */
  readonly change?: 'opened' | 'closed';
  readonly reason?: string;
}

export interface StoryTable {
  readonly port: StoryPort;
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  /** `cells[row][column]`; undefined where nothing is probed: a pod to itself, outside to outside. */
  readonly cells: readonly (readonly (StoryCell | undefined)[])[];
}

export interface StoryResult {
  readonly step: StoryStep;
  readonly simulated: boolean;
  readonly tables: readonly StoryTable[];
  readonly probes: number;
  readonly agreements: number;
  readonly applyMs: number;
  readonly probeMs: number;
}

export interface PlayOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (text: string) => void;
}

/** Parses a step's own text; a fault in it is a fault of podwall. */
export function storyObjects(text: string, file: string): LabObject[] {
  const { objects, diagnostics } = parseManifests({ file, text });
  const fault = diagnostics.find((one) => one.severity === 'error');
  if (fault !== undefined) throw new Error(`story manifest ${file}: ${fault.message}`);
  return objects.map(({ object, source }) => ({ object, source }));
}

/** Plays the steps in order. The lab must be empty of pods; it is left with the last step in force. */
export async function* playStory(
  lab: Lab,
  steps: readonly StoryStep[],
  options: PlayOptions = {},
): AsyncGenerator<StoryResult> {
  await lab.apply(storyObjects(seedCluster, 'seed-cluster.yaml'));
  let applied: ObjectRef[] = [];
  let before = new Map<string, ProbeOutcome>();
  for (const step of steps) {
    options.signal?.throwIfAborted();
    options.onProgress?.(`${step.name}: applying`);
    const start = Date.now();
    if (applied.length > 0) await lab.delete(applied);
    const objects = [step.extra ?? '', step.policies]
      .filter((text) => text !== '')
      .flatMap((text) => storyObjects(text, `${step.name}.yaml`));
    // Pods of a step go before their namespaces when the step is taken back.
    applied = objects.map(({ object }) => refOf(object)).toReversed();
    if (objects.length > 0) await lab.apply(objects);
    const applyMs = Date.now() - start;

    options.signal?.throwIfAborted();
    const { snapshot } = buildSnapshot((await lab.objects()).map((object) => ({ object })));
    const outside = (await lab.status()).outside.map((host) => host.name);
    // The cluster's own DNS plays no part in the story.
    const pods = snapshot.pods.map((pod) => pod.id).filter((id) => id !== dnsPodId);
    const everyone = [...pods, ...outside];
    const results: ProbeResult[] = [];
    const probeStart = Date.now();
    for (const outsideOnly of [false, true]) {
      const ports = step.ports.filter((port) => (port.outsideOnly ?? false) === outsideOnly);
      if (ports.length === 0) continue;
      const to = outsideOnly ? outside : step.outsideDestinations ? everyone : pods;
      const request = { from: everyone, to, ports, family: 4, includeSelf: false } as const;
      const report = await lab.probe(request, options.onProgress);
      // What outside hosts do to each other is nobody's policy.
      const touches = ({ source, destination }: ProbeResult): boolean =>
        !outside.includes(source) || !outside.includes(destination);
      results.push(...report.results.filter(touches));
    }
    const probeMs = Date.now() - probeStart;
    options.signal?.throwIfAborted();
    const predict = predictor(snapshot, results);
    const now = new Map<string, ProbeOutcome>();
    const tables = step.ports.map((port) =>
      tabulate(port, everyone, results, predict, before, now),
    );
    before = now;
    const cells = tables
      .flatMap((table) => table.cells.flat())
      .filter((cell) => cell !== undefined);
    yield {
      step,
      simulated: lab.simulated,
      tables,
      probes: cells.length,
      agreements: cells.filter((cell) => cell.agrees).length,
      applyMs,
      probeMs,
    };
  }
}

function refOf(object: KubeObject): ObjectRef {
  const { namespace, name = '' } = object.metadata;
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    name,
    ...(namespace === undefined ? {} : { namespace }),
  };
}

type Predict = (result: ProbeResult) => Outcome;

function predictor(snapshot: Snapshot, results: readonly ProbeResult[]): Predict {
  const evaluator = createEvaluator(snapshot);
  const endpoints = new Map<string, Endpoint>();
  for (const result of results) {
    for (const [name, text] of [
      [result.source, result.sourceAddress],
      [result.destination, result.destinationAddress],
    ] as const) {
      const address = parseAddress(text);
      if (address === undefined) throw new Error(`the lab reports a bad address: ${text}`);
      const pod = snapshot.podById.get(name);
      endpoints.set(name, pod ? { kind: 'pod', pod, address } : { kind: 'address', address });
    }
  }
  return (result) => {
    const source = endpoints.get(result.source);
    const destination = endpoints.get(result.destination);
    if (source === undefined || destination === undefined) return 'unknown';
    const { protocol, port } = result;
    return evaluator.evaluate({ source, destination, protocol, port }).outcome;
  };
}

/** Only an answer of the right listener proves "allowed", and only a drop that was seen "denied". */
export function agrees(predicted: Outcome, observed: ProbeOutcome): boolean {
  return (
    (predicted === 'allowed' && observed === 'OPEN') ||
    (predicted === 'denied' && observed === 'DROPPED')
  );
}

function tabulate(
  port: StoryPort,
  order: readonly string[],
  results: readonly ProbeResult[],
  predict: Predict,
  before: ReadonlyMap<string, ProbeOutcome>,
  now: Map<string, ProbeOutcome>,
): StoryTable {
  const mine = results.filter(
    (result) => result.protocol === port.protocol && result.port === port.port,
  );
  const rows = order.filter((name) => mine.some((result) => result.source === name));
  const columns = order.filter((name) => mine.some((result) => result.destination === name));
  const byPair = new Map(mine.map((result) => [`${result.source} ${result.destination}`, result]));
  const cells = rows.map((source) =>
    columns.map((destination): StoryCell | undefined => {
      const result = byPair.get(`${source} ${destination}`);
      if (result === undefined) return undefined;
      const id = `${port.protocol} ${port.port} ${source} ${destination}`;
      now.set(id, result.outcome);
      const change = changeOf(before.get(id), result.outcome);
      const predicted = predict(result);
      return {
        source,
        destination,
        predicted,
        observed: result.outcome,
        agrees: agrees(predicted, result.outcome),
        ...(change === undefined ? {} : { change }),
        ...(result.reason === undefined ? {} : { reason: result.reason }),
      };
    }),
  );
  return { port, rows, columns, cells };
}

function changeOf(
  before: ProbeOutcome | undefined,
  now: ProbeOutcome,
): 'opened' | 'closed' | undefined {
  if (before === undefined || before === now) return undefined;
  if (now === 'OPEN') return 'opened';
  return before === 'OPEN' ? 'closed' : undefined;
}
