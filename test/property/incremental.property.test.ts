/**
 * The program that is kept between changes against the program made from everything, after every
 * step of random event streams; and plans of what a delta names against plans of whole states.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { compileNode } from '../../src/dataplane/compile.ts';
import { createNodeCompiler } from '../../src/dataplane/incremental.ts';
import type { DataplaneOptions, NodeProgram, ProgramDelta } from '../../src/dataplane/model.ts';
import { applyOperations } from '../../src/dataplane/operations.ts';
import type { Operation } from '../../src/dataplane/operations.ts';
import { plan } from '../../src/dataplane/plan.ts';
import { copyTable, emptyTable } from '../../src/dataplane/state.ts';
import type { TableState } from '../../src/dataplane/state.ts';
import { buildSnapshot } from '../../src/engine/build.ts';
import { createClusterFacts } from '../../src/engine/cluster-facts.ts';
import type { Settings } from '../../src/engine/snapshot.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import { chance, pick, seededDraw } from '../arbitrary/draw.ts';
import { nextStep, refOf, versions } from '../arbitrary/events.ts';

const { PODWALL_CASES, PODWALL_SEED, CI } = process.env;
const seed = Number(PODWALL_SEED ?? (CI === undefined ? Date.now() % 0x7fffffff : 20_261_123));
const streams = Number(PODWALL_CASES ?? 150);
const stepsPerStream = 14;

/** Content, apart from the order in which operations stand inside a phase. */
function unordered(
  transactions: readonly { phase: string; operations: readonly Operation[] }[],
): string[] {
  return transactions
    .flatMap(({ phase, operations }) =>
      operations.map((operation) => `${phase} ${JSON.stringify(operation, sortedSets)}`),
    )
    .sort();
}

function sortedSets(key: string, value: unknown): unknown {
  // Compared as a whole elsewhere.
  if (key === 'program') return undefined;
  if (value instanceof Set) return [...(value as Set<string>)].sort();
  if (value instanceof Map) return [...(value as Map<string, unknown>)];
  if (Array.isArray(value) && value.every((item) => typeof item === 'string'))
    return value.toSorted();
  return value;
}

function carryOut(desired: NodeProgram, states: TableState[], delta?: ProgramDelta): string[] {
  const transactions = plan(desired, states, 7, delta);
  for (const { table, operations } of transactions) {
    let state = states.find((one) => one.table === table);
    if (state === undefined) states.push((state = emptyTable(table)));
    applyOperations(state, operations);
    if (operations.some(({ kind }) => kind === 'delete-table'))
      states.splice(states.indexOf(state), 1);
  }
  return unordered(transactions);
}

interface Counts {
  steps: number;
  partial: number;
  operations: number;
}

function runStream(start: number, counts: Counts): void {
  const draw = seededDraw(start);
  const pool = versions(draw);
  const settings: Partial<Settings> = {
    otherProtocols: pick(draw, ['portless-rules', 'allow', 'deny', 'unknown']),
    baselineSkip: pick(draw, ['per-direction', 'per-pod', 'unknown']),
    podToOwnNode: pick(draw, ['policy', 'allow', 'unknown']),
    selfThroughService: pick(draw, ['policy', 'allow', 'unknown']),
  };
  const options: Partial<DataplaneOptions> = {
    unknownPod: pick(draw, ['deny', 'allow']),
    invalidPolicies: pick(draw, ['deny', 'deny', 'ignore']),
  };
  const node = pick(draw, ['node-0', 'node-1', 'node-without-object']);
  const facts = createClusterFacts();
  const compiler = createNodeCompiler({ node, dataplane: options, settings });
  const present = new Map<string, KubeObject>();
  const states: TableState[] = [];
  let setAside: string[] = [];

  for (let step = 0; step < stepsPerStream; step++) {
    // First many at once, as after the first list; then a few; sometimes many again.
    const events = chance(draw, 15) || step === 0 ? 30 : draw.integer(0, 3);
    const changes = nextStep(draw, pool, present, events);
    // Told again without being different: never a harm.
    if (chance(draw, 20))
      for (const [key, object] of present)
        changes.set(key, [refOf(object), structuredClone(object)]);
    if (chance(draw, 10))
      setAside = chance(draw, 50) ? [] : [...facts.policies.keys()].slice(0, draw.integer(0, 2));

    const { program, delta } = compiler.update(facts.apply(changes.values()), new Set(setAside));

    const objects = [...present.values()].map((object) => ({ object }));
    const { snapshot, diagnostics } = buildSnapshot(objects, { settings });
    const aside = snapshot.policies.filter(({ ref }) => setAside.includes(ref.key));
    const expected = compileNode(snapshot, node, options, aside);
    expect(program).toEqual(expected);
    expect(facts.objects).toBe(objects.length);
    expect(new Set(facts.invalid.map(({ key }) => key))).toEqual(
      new Set(snapshot.completeness.invalidPolicies.map(({ key }) => key)),
    );
    expect(new Set(facts.errors.map(({ message }) => message))).toEqual(
      new Set(diagnostics.filter((one) => one.severity === 'error').map(({ message }) => message)),
    );

    const other = states.map(copyTable);
    const partly = carryOut(program, states, delta);
    const wholly = carryOut(expected, other);
    expect(partly).toEqual(wholly);
    expect(states).toEqual(other);
    expect(plan(expected, states, 1)).toEqual([]);
    counts.steps++;
    counts.operations += partly.length;
    if (delta !== undefined) counts.partial++;
  }
}

it(`the kept program is that of everything, and plans of a delta are whole (seed ${seed})`, () => {
  const counts: Counts = { steps: 0, partial: 0, operations: 0 };
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0x7fffffff }), (start) => runStream(start, counts)),
    { seed, numRuns: streams, endOnFailure: true },
  );
  console.info(
    `${counts.steps} steps, ${counts.partial} with a delta, ${counts.operations} operations`,
  );
  expect(counts.operations).toBeGreaterThan(counts.steps);
  expect(counts.partial).toBe(streams * (stepsPerStream - 1));
});
