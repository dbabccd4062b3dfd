/**
 * The engine held to the naive evaluator, pointwise, on random clusters. A disagreement is printed
 * as the smallest objects and connection that still show it.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildSnapshot } from '../../src/engine/build.ts';
import { createEvaluator } from '../../src/engine/evaluate.ts';
import type { Settings, Snapshot } from '../../src/engine/snapshot.ts';
import type { Connection, Endpoint, Verdict } from '../../src/engine/verdict.ts';
import { parseAddress, type Address } from '../../src/net/address.ts';
import { clusterArbitrary, drawConnection, type ClusterOptions } from '../arbitrary/cluster.ts';
import { drawn, pick, seededDraw } from '../arbitrary/draw.ts';
import {
  naiveEvaluate,
  type NaiveConnection,
  type NaiveEnd,
  type NaiveObject,
  type NaiveSettings,
  type NaiveVerdict,
} from '../naive/evaluate.ts';
import { minimise } from './minimise.ts';

/**
 * `PODWALL_CASES` replaces the number of points of each property, `PODWALL_SEED` replays a run,
 * `PODWALL_BRIEF` reports a disagreement as found.
 */
const { PODWALL_BRIEF, PODWALL_CASES, PODWALL_SEED, PODWALL_SOAK } = process.env;
const seed = PODWALL_SEED === undefined ? Date.now() % 0x7fffffff : Number(PODWALL_SEED);
const pointsPerCluster = 100;

function clustersFor(points: number): number {
  const wanted = PODWALL_CASES === undefined ? points : Number(PODWALL_CASES);
  return Math.ceil((PODWALL_SOAK === undefined ? wanted : wanted * 10) / pointsPerCluster);
}

function addressOf(text: string): Address {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`the engine cannot read ${text}`);
  return address;
}

function endpoint(snapshot: Snapshot, end: NaiveEnd): Endpoint {
  const address = end.address === undefined ? {} : { address: addressOf(end.address) };
  if ('pod' in end) {
    const pod = snapshot.podById.get(end.pod);
    if (pod === undefined) throw new Error(`the engine does not know pod ${end.pod}`);
    return { kind: 'pod', pod, ...address };
  }
  if ('node' in end) {
    const node = snapshot.nodes.get(end.node);
    if (node === undefined) throw new Error(`the engine does not know node ${end.node}`);
    return { kind: 'node', node, ...address };
  }
  return { kind: 'address', address: addressOf(end.address) };
}

function toConnection(snapshot: Snapshot, connection: NaiveConnection): Connection {
  return {
    ...connection,
    source: endpoint(snapshot, connection.source),
    destination: endpoint(snapshot, connection.destination),
  };
}

interface Engine {
  evaluate(connection: NaiveConnection): Verdict;
}

function engineFor(objects: readonly NaiveObject[], settings: Partial<Settings>): Engine {
  const input = objects.map((object) => ({ object: structuredClone(object) as never }));
  const { snapshot, diagnostics } = buildSnapshot(input, { settings });
  const errors = diagnostics.filter((diagnostic) => diagnostic.severity === 'error');
  if (errors.length > 0) {
    throw new Error(
      `a valid object was refused: ${errors.map((e) => `${e.object}: ${e.message}`).join('; ')}`,
    );
  }
  const evaluator = createEvaluator(snapshot);
  return { evaluate: (connection) => evaluator.evaluate(toConnection(snapshot, connection)) };
}

function summary(verdict: Verdict | NaiveVerdict): string {
  const { egress, ingress, outcome } = verdict;
  const leg = (one: Verdict['egress'] | string): string =>
    typeof one === 'string' ? one : one.outcome;
  return `${outcome} (egress ${leg(egress)}, ingress ${leg(ingress)})`;
}

function report(
  objects: readonly NaiveObject[],
  connection: NaiveConnection,
  settings: Partial<NaiveSettings>,
): string {
  const differs = (candidate: readonly NaiveObject[]): boolean =>
    summary(engineFor(candidate, settings).evaluate(connection)) !==
    summary(naiveEvaluate(candidate, connection, settings));
  const small = PODWALL_BRIEF === undefined ? minimise(objects, differs) : objects;
  return [
    `engine: ${summary(engineFor(small, settings).evaluate(connection))}`,
    `naive:  ${summary(naiveEvaluate(small, connection, settings))}`,
    `connection: ${JSON.stringify(connection)}`,
    `settings: ${JSON.stringify(settings)}`,
    ...small.map((object) => JSON.stringify(object)),
  ].join('\n');
}

interface Count {
  points: number;
  allowed: number;
  denied: number;
  unknown: number;
}

function hold(
  name: string,
  points: number,
  options: Partial<ClusterOptions>,
  protocols: readonly NaiveConnection['protocol'][],
  settingsOf: fc.Arbitrary<Partial<Settings>> = fc.constant({}),
): Count {
  const count = { points: 0, allowed: 0, denied: 0, unknown: 0 };
  const numRuns = clustersFor(points);
  const run = fc.check(
    fc.property(clusterArbitrary(options), settingsOf, fc.nat(), (cluster, settings, start) => {
      const engine = engineFor(cluster.objects, settings);
      const draw = seededDraw(start);
      for (let point = 0; point < pointsPerCluster; point += 1) {
        const connection = drawConnection(draw, cluster, protocols);
        const expected = naiveEvaluate(cluster.objects, connection, settings);
        const answer = engine.evaluate(connection);
        if (summary(answer) !== summary(expected)) {
          throw new Error(`disagreement\n${report(cluster.objects, connection, settings)}`);
        }
        count.points += 1;
        count[expected.outcome] += 1;
      }
    }),
    // The report is minimal already; shrinking choices would only take longer.
    { numRuns, seed, endOnFailure: true },
  );
  if (run.failed) {
    const { errorInstance: error, counterexamplePath: path } = run;
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`${name}: PODWALL_SEED=${seed} shows it (path ${path}): ${why}`);
  }
  const share = (part: number): string => `${((100 * part) / count.points).toFixed(1)} %`;
  console.log(
    `${name}: ${count.points} points on ${numRuns} clusters agree, seed ${seed}: ` +
      `${share(count.allowed)} allowed, ${share(count.denied)} denied, ${share(count.unknown)} unknown`,
  );
  return count;
}

const v1: Partial<ClusterOptions> = { kinds: ['NetworkPolicy'] };
const all = ['TCP', 'TCP', 'TCP', 'UDP', 'UDP', 'SCTP', 'other'] as const;

const anySettings = drawn<Partial<Settings>>((draw) => ({
  hostNetworkPods: pick(draw, ['node', 'unknown']),
  podToOwnNode: pick(draw, ['policy', 'allow', 'unknown']),
  selfThroughService: pick(draw, ['policy', 'allow', 'unknown']),
  otherProtocols: pick(draw, ['portless-rules', 'allow', 'deny', 'unknown']),
  terminatedPods: pick(draw, ['ignore', 'include']),
  equalPriority: pick(draw, ['name', 'unknown']),
  baselineSkip: pick(draw, ['per-direction', 'per-pod', 'unknown']),
}));

/** Enough cases, and of every outcome; a run with fewer points by `PODWALL_CASES` proves neither. */
function expectMixed(count: Count, points: number): void {
  if (PODWALL_CASES !== undefined) {
    expect(count.points).toBeGreaterThan(0);
    return;
  }
  expect(count.points).toBeGreaterThanOrEqual(points);
  expect(count.denied / count.points).toBeGreaterThan(0.15);
  expect(count.allowed / count.points).toBeGreaterThan(0.15);
  expect(count.unknown / count.points).toBeGreaterThan(0.005);
}

describe('engine and naive evaluator', () => {
  it('agree on NetworkPolicy v1 over random clusters', () => {
    expectMixed(hold('NetworkPolicy v1', 100_000, v1, all), 100_000);
  });

  it('agree on all policy kinds, IPv4 and IPv6', () => {
    expectMixed(hold('all kinds', 200_000, {}, all), 200_000);
  });

  it('agree under every setting', () => {
    expectMixed(hold('all kinds, random settings', 50_000, {}, all, anySettings), 50_000);
  });
});
