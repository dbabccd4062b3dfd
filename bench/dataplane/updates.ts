/**
 * How long the kernel's part of an update takes, by kind of update. Must not know how programs are
 * made: they are made anew before the clock starts.
 */
import {
  compileNode,
  createBackend,
  interactiveRunner,
  spawnRunner,
} from '../../src/dataplane/index.ts';
import type { Backend, NodeProgram } from '../../src/dataplane/index.ts';
import { buildSnapshot } from '../../src/engine/build.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import { must } from './bed.ts';
import { median } from './load.ts';
import type { Shape } from './shapes.ts';

export function programOf(objects: readonly KubeObject[]): NodeProgram {
  return compileNode(buildSnapshot(objects.map((object) => ({ object }))).snapshot, 'n1');
}

/** Objects after an update of each kind; every one has a counterpart that takes it back. */
const kinds: Readonly<
  Record<string, (objects: readonly KubeObject[], index: number, shape: Shape) => KubeObject[]>
> = {
  'pod elsewhere': (objects, index) => [
    ...objects,
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `new-${index}`, namespace: 'bench', labels: { group: 'g1' } },
      spec: { nodeName: 'n2' },
      status: { phase: 'Running', podIPs: [{ ip: `10.3.0.${index + 1}` }] },
    },
  ],
  'local pod': (objects, index, shape) => [
    ...objects,
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: `new-${index}`,
        namespace: 'bench',
        labels: { group: 'g1', [`policy-${shape.policies - 1}`]: '' },
      },
      spec: { nodeName: 'n1' },
      status: { phase: 'Running', podIPs: [{ ip: `10.1.9.${index + 1}` }] },
    },
  ],
  'label of a peer': (objects, index, shape) =>
    objects.map((object) =>
      object.metadata.name === `pod-${shape.local + index}`
        ? { ...object, metadata: { ...object.metadata, labels: { group: 'g1' } } }
        : object,
    ),
  policy: (objects, index, shape) => [
    ...objects,
    {
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
    },
  ],
};

export interface UpdateTimes {
  /** Milliseconds, medians, from the finished program to the last commit. */
  readonly add: number;
  readonly undo: number;
}

/** By kind of update, and by whether nft is started for each transaction (`spawned`) or stays. */
export async function measureUpdates(
  objects: readonly KubeObject[],
  shape: Shape,
  repeats: number,
): Promise<Record<string, UpdateTimes>> {
  await must('ip', ['netns', 'add', 'updates']);
  const netns = '/run/netns/updates';
  const program = programOf(objects);
  const results: Record<string, UpdateTimes> = {};
  const timed = async (backend: Backend, desired: NodeProgram): Promise<number> => {
    const start = performance.now();
    await backend.apply(desired);
    return performance.now() - start;
  };
  for (const how of ['interactive', 'spawned'] as const) {
    const runner = how === 'interactive' ? interactiveRunner({ netns }) : undefined;
    const backend = createBackend({
      nft: runner?.run ?? spawnRunner({ netns }),
      collectAfterMs: 0,
    });
    await backend.apply(program);
    for (const [kind, changed] of Object.entries(kinds)) {
      const add: number[] = [];
      const undo: number[] = [];
      for (let index = 0; index < repeats; index++) {
        const desired = programOf(changed(objects, index, shape));
        add.push(await timed(backend, desired));
        undo.push(await timed(backend, program));
      }
      results[`${kind}, ${how}`] = { add: median(add), undo: median(undo) };
    }
    await backend.cleanup();
    await runner?.close();
  }
  await must('ip', ['netns', 'del', 'updates']);
  return results;
}
