/**
 * Brings the store's policies into force on the lab's nodes, through the product's own dataplane, and
 * reads back what the kernel dropped. Must not know how a program is made or loaded.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { compileNode } from '../dataplane/compile.ts';
import { createBackend, spawnRunner } from '../dataplane/index.ts';
import type { NodeProgram } from '../dataplane/model.ts';
import { buildSnapshot } from '../engine/build.ts';
import type { KubeObject } from '../k8s/types.ts';
import { LabError } from './errors.ts';
import type { NodeDrop } from './probe.ts';
import { netnsPath, nodeNetns } from './topology.ts';

export interface Enforcer {
  /** Returns when every node enforces what `objects` say. */
  enforce(objects: readonly KubeObject[]): Promise<readonly string[]>;
  resetDrops(): Promise<void>;
  drops(): Promise<NodeDrop[]>;
  /** Equal programs have equal revisions; empty before the first program. */
  revision(node: string): string;
}

/** One program per node from the lab's objects; with counters, because probes need evidence. */
export function compileNodes(
  objects: readonly KubeObject[],
  nodes: readonly string[],
): NodeProgram[] {
  const { snapshot } = buildSnapshot(objects.map((object) => ({ object })));
  return nodes.map((node) => compileNode(snapshot, node, { observe: true }));
}

/** Twelve characters that change when the program does. */
export function revisionOf(program: NodeProgram): string {
  const content = JSON.stringify(program, (_key, value: unknown) => {
    if (value instanceof Map) return [...(value as Map<string, unknown>)];
    return value instanceof Set ? [...(value as Set<unknown>)] : value;
  });
  return createHash('sha256').update(content).digest('hex').slice(0, 12);
}

/** How long nodes may take to follow a change. */
const patienceMs = 30_000;
const lookEveryMs = 40;

/**
 * Writes nothing: agents do. `enforce` returns when the kernel of every node is what the newest
 * objects ask, as seen by reading it, and fails when that takes too long.
 */
export function createAgentEnforcer(
  nodes: readonly string[],
  newest: () => readonly KubeObject[],
): Enforcer {
  const own = createEnforcer(nodes);
  const revisions = new Map<string, string>();
  const isInForce = async (program: NodeProgram): Promise<boolean> => {
    const real = spawnRunner({ netns: netnsPath(nodeNetns(program.node)) });
    const backend = createBackend({
      nft: (script) =>
        script.startsWith('list ')
          ? real(script)
          : Promise.resolve({ code: 0, stdout: '', stderr: '' }),
      options: { observe: true },
      collectAfterMs: 0,
    });
    const { transactions } = await backend.apply(program);
    // What is only waiting to be thrown away is out of force already.
    return transactions.every(({ phase }) => phase === 'collect');
  };
  return {
    ...own,
    async enforce() {
      const deadline = Date.now() + patienceMs;
      for (;;) {
        const programs = compileNodes(newest(), nodes);
        const done = await Promise.all(programs.map(isInForce));
        programs.forEach((program, index) => {
          if (done[index] === true) revisions.set(program.node, revisionOf(program));
        });
        if (done.every((one) => one)) {
          return [...new Set(programs.flatMap((program) => program.warnings))];
        }
        if (Date.now() > deadline) {
          const late = nodes.filter((_, index) => done[index] !== true);
          throw new LabError(`the agent of ${late.join(', ')} does not follow`);
        }
        await sleep(lookEveryMs);
      }
    },
    revision: (node) => revisions.get(node) ?? '',
  };
}

export function createEnforcer(nodes: readonly string[]): Enforcer {
  const revisions = new Map<string, string>();
  const backends = nodes.map((name) => ({
    name,
    backend: createBackend({
      nft: spawnRunner({ netns: netnsPath(nodeNetns(name)) }),
      options: { observe: true },
    }),
  }));
  return {
    async enforce(objects) {
      const programs = compileNodes(objects, nodes);
      await Promise.all(
        programs.map(async (program, index) => {
          await backends[index]?.backend.apply(program);
          revisions.set(program.node, revisionOf(program));
        }),
      );
      return [...new Set(programs.flatMap((program) => program.warnings))];
    },
    async resetDrops() {
      await Promise.all(backends.map(({ backend }) => backend.resetDrops()));
    },
    async drops() {
      const lists = await Promise.all(
        backends.map(async ({ name, backend }) =>
          (await backend.drops()).map((drop) => ({ ...drop, node: name })),
        ),
      );
      return lists.flat();
    },
    revision: (node) => revisions.get(node) ?? '',
  };
}
