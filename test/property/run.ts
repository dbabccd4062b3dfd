/**
 * How the properties over random clusters run: number of points, seed, reports. `PODWALL_CASES`
 * replaces the number of points of each property, `PODWALL_SEED` replays a run, `PODWALL_BRIEF`
 * reports a disagreement as found, `PODWALL_SOAK` runs ten times as many points.
 */
import fc from 'fast-check';
import { expect } from 'vitest';
import { buildSnapshot } from '../../src/engine/build.ts';
import type { Settings, Snapshot } from '../../src/engine/snapshot.ts';
import type { Outcome } from '../../src/engine/verdict.ts';
import { clusterArbitrary, type ClusterOptions, type RandomCluster } from '../arbitrary/cluster.ts';
import { drawn, pick, seededDraw, type Draw } from '../arbitrary/draw.ts';
import type { NaiveConnection, NaiveObject } from '../naive/evaluate.ts';
import { minimise } from './minimise.ts';

const { PODWALL_BRIEF, PODWALL_CASES, PODWALL_SEED, PODWALL_SOAK } = process.env;
const seed = PODWALL_SEED === undefined ? Date.now() % 0x7fffffff : Number(PODWALL_SEED);
const pointsPerCluster = 100;

/** Weighted: most of what policies say is about TCP. */
export const allProtocols = ['TCP', 'TCP', 'TCP', 'UDP', 'UDP', 'SCTP', 'other'] as const;

export const anySettings: fc.Arbitrary<Partial<Settings>> = drawn((draw) => ({
  hostNetworkPods: pick(draw, ['node', 'unknown']),
  podToOwnNode: pick(draw, ['policy', 'allow', 'unknown']),
  selfThroughService: pick(draw, ['policy', 'allow', 'unknown']),
  ipBlockAddress: pick(draw, ['backend', 'unknown']),
  otherProtocols: pick(draw, ['portless-rules', 'allow', 'deny', 'unknown']),
  terminatedPods: pick(draw, ['ignore', 'include']),
  equalPriority: pick(draw, ['name', 'unknown']),
  baselineSkip: pick(draw, ['per-direction', 'per-pod', 'unknown']),
}));

export interface Count {
  points: number;
  allowed: number;
  denied: number;
  unknown: number;
}

/** Two answers to one question over the same objects. */
export interface Answers {
  /** What is compared. */
  readonly found: string;
  readonly expected: string;
  readonly outcome: Outcome;
}

export interface Property {
  readonly name: string;
  readonly points: number;
  readonly options?: Partial<ClusterOptions>;
  readonly settings?: fc.Arbitrary<Partial<Settings>>;
  draw(draw: Draw, cluster: RandomCluster): NaiveConnection;
  /** Prepares the objects once and then answers many questions. Throws when a question has no sense. */
  prepare(
    objects: readonly NaiveObject[],
    settings: Partial<Settings>,
  ): (connection: NaiveConnection) => Answers;
}

/** The engine's view of the objects; every generated object must be valid. */
export function snapshotOf(objects: readonly NaiveObject[], settings: Partial<Settings>): Snapshot {
  const input = objects.map((object) => ({ object: structuredClone(object) as never }));
  const { snapshot, diagnostics } = buildSnapshot(input, { settings });
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  if (errors.length > 0) {
    const words = errors.map((error) => `${error.object ?? ''}: ${error.message}`);
    throw new Error(`a valid object was refused: ${words.join('; ')}`);
  }
  return snapshot;
}

function report(
  property: Property,
  objects: readonly NaiveObject[],
  connection: NaiveConnection,
  settings: Partial<Settings>,
): string {
  const answers = (candidate: readonly NaiveObject[]): Answers =>
    property.prepare(candidate, settings)(connection);
  const differs = (candidate: readonly NaiveObject[]): boolean => {
    const { found, expected } = answers(candidate);
    return found !== expected;
  };
  const small = PODWALL_BRIEF === undefined ? minimise(objects, differs) : objects;
  const { found, expected } = answers(small);
  return [
    `disagreement`,
    `found:    ${found}`,
    `expected: ${expected}`,
    `connection: ${JSON.stringify(connection)}`,
    `settings: ${JSON.stringify(settings)}`,
    ...small.map((object) => JSON.stringify(object)),
  ].join('\n');
}

/**
 * Runs a property and expects enough points with mixed outcomes. A disagreement is thrown as the
 * smallest objects and connection that still show it.
 */
export function hold(property: Property): Count {
  const { name, points, options = {}, settings: settingsOf = fc.constant({}) } = property;
  const count = { points: 0, allowed: 0, denied: 0, unknown: 0 };
  const wanted = PODWALL_CASES === undefined ? points : Number(PODWALL_CASES);
  const numRuns = Math.ceil((PODWALL_SOAK === undefined ? wanted : wanted * 10) / pointsPerCluster);
  const run = fc.check(
    fc.property(clusterArbitrary(options), settingsOf, fc.nat(), (cluster, settings, start) => {
      const answer = property.prepare(cluster.objects, settings);
      const draw = seededDraw(start);
      for (let point = 0; point < pointsPerCluster; point += 1) {
        const connection = property.draw(draw, cluster);
        const { found, expected, outcome } = answer(connection);
        if (found !== expected) {
          throw new Error(report(property, cluster.objects, connection, settings));
        }
        count.points += 1;
        count[outcome] += 1;
      }
    }),
    // The report is minimal already; shrinking choices would only take longer.
    { numRuns, seed, endOnFailure: true },
  );
  if (run.failed) {
    const { errorInstance: error, counterexamplePath: path } = run;
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${name}: PODWALL_SEED=${seed} shows it (path ${path}): ${why}`);
  }
  const share = (part: number): string => `${((100 * part) / count.points).toFixed(1)} %`;
  console.log(
    `${name}: ${count.points} points on ${numRuns} clusters agree, seed ${seed}: ` +
      `${share(count.allowed)} allowed, ${share(count.denied)} denied, ${share(count.unknown)} unknown`,
  );
  // A run with fewer points by PODWALL_CASES proves neither number nor mixture.
  expect(count.points).toBeGreaterThanOrEqual(wanted);
  if (PODWALL_CASES === undefined) {
    expect(count.denied / count.points).toBeGreaterThan(0.15);
    expect(count.allowed / count.points).toBeGreaterThan(0.15);
    expect(count.unknown / count.points).toBeGreaterThan(0.005);
  }
  return count;
}
