/** Updates that do several things at once: every state in between, and packets that meet two of them. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { buildSnapshot } from '../engine/build.ts';
import type { KubeObject } from '../k8s/types.ts';
import { formatAddress, parseAddress } from '../net/address.ts';
import type { Address } from '../net/address.ts';
import { compileNode } from './compile.ts';
import type { NodeProgram } from './model.ts';
import { applyOperations } from './operations.ts';
import { plan } from './plan.ts';
import { judgeLeg } from './simulate.ts';
import type { Packet } from './simulate.ts';
import { copyTable, emptyTable } from './state.ts';
import type { TableState } from './state.ts';

const words = ['a', 'b', 'c'] as const;
interface PodLabels {
  readonly subject: string;
  readonly peer: string;
}
type Pods = readonly (PodLabels | undefined)[];

const addressOf = (index: number): string => `10.1.0.${index + 2}`;

/** Pods labelled `subject: x` admit those that are labelled `peer: x`. */
function program(pods: Pods, unknownPod: 'deny' | 'allow'): NodeProgram {
  const objects: KubeObject[] = [
    { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' }, spec: { podCIDR: '10.1.0.0/24' } },
    ...pods.flatMap((labels, index) =>
      labels === undefined
        ? []
        : [
            {
              apiVersion: 'v1',
              kind: 'Pod',
              metadata: { name: `p${index}`, namespace: 'prod', labels: { ...labels } },
              spec: { nodeName: 'n1' },
              status: { phase: 'Running', podIPs: [{ ip: addressOf(index) }] },
            },
          ],
    ),
    ...words.map((word) => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: word, namespace: 'prod' },
      spec: {
        podSelector: { matchLabels: { subject: word } },
        ingress: [
          {
            from: [{ podSelector: { matchLabels: { peer: word } } }],
            ports: [80, 81, 82, 83, 84, 85].map((port) => ({ port })),
          },
        ],
      },
    })),
  ];
  const { snapshot } = buildSnapshot(objects.map((object) => ({ object })));
  return compileNode(snapshot, 'n1', { unknownPod });
}

const pod = fc.option(
  fc.record({ subject: fc.constantFrom(...words), peer: fc.constantFrom(...words) }),
  { nil: undefined, freq: 4 },
);
const cluster = fc.array(pod, { minLength: 4, maxLength: 4 });

it('whatever changes at once: who is denied before and after is denied in between, who is admitted is admitted', () => {
  let mixed = 0;
  fc.assert(
    fc.property(cluster, cluster, fc.constantFrom('deny', 'allow'), (before, after, unknownPod) => {
      const state = emptyTable('podwall');
      for (const { operations } of plan(program(before, unknownPod), [], 1))
        applyOperations(state, operations);
      const all = before.map((_, index) => parseAddress(addressOf(index)) as Address);
      const flows = all.flatMap((source) =>
        all
          .filter((destination) => destination !== source)
          .map((destination) => ({ source, destination, protocol: 'TCP' as const, port: 80 })),
      );
      // An address without a program is denied or let pass as unknown.
      const judge = (at: TableState): string[] =>
        flows.map(
          (flow) => judgeLeg(at, 'Ingress', flow) ?? (unknownPod === 'deny' ? 'denied' : 'allowed'),
        );
      const desired = program(after, unknownPod);
      const old = judge(state);
      const seen: { phase: string; verdicts: string[] }[] = [];
      for (const { phase, operations } of plan(desired, [state], 1)) {
        const inside = copyTable(state);
        applyOperations(state, operations);
        seen.push({ phase, verdicts: judge(state) });
        // A packet that has found its program before the commit, and its sets after it; but not to a
        // pod that goes in this very moment.
        if (phase !== 'collect')
          seen.push({
            phase: `inside at ${phase}`,
            verdicts: judge({ ...inside, groups: state.groups }).map((verdict, index) =>
              desired.dispatch.Ingress[4].has(formatAddress((flows[index] as Packet).destination))
                ? verdict
                : 'not asked',
            ),
          });
      }
      if (seen.length > 6) mixed++;
      const now = judge(state);
      for (const { phase, verdicts } of seen)
        for (const [index, verdict] of verdicts.entries())
          if (old[index] === now[index] && verdict !== 'not asked')
            expect(verdict, `${phase} ${JSON.stringify(flows[index])}`).toBe(old[index]);
      // Nothing of the way is left.
      expect(plan(desired, [state], 1)).toEqual([]);
      const fresh = emptyTable('podwall');
      for (const { operations } of plan(desired, [], 1)) applyOperations(fresh, operations);
      expect([...state.chains.keys()].sort()).toEqual([...fresh.chains.keys()].sort());
      expect([...state.groups.keys()].sort()).toEqual([...fresh.groups.keys()].sort());
    }),
    { numRuns: 400, endOnFailure: true },
  );
  expect(mixed).toBeGreaterThan(40);
});

it('once what may be revoked is, no connection that was let pass before is taken for granted', () => {
  fc.assert(
    fc.property(cluster, cluster, fc.constantFrom('deny', 'allow'), (before, after, unknownPod) => {
      const state = emptyTable('podwall');
      for (const { operations } of plan(program(before, unknownPod), [], 1))
        applyOperations(state, operations);
      const steps = plan(program(after, unknownPod), [state], 1);
      const epoch = steps.findIndex(({ operations }) =>
        operations.some(({ kind }) => kind === 'epoch'),
      );
      // After the epoch only what admits nobody new to an old connection may follow.
      const later = steps.slice(epoch + 1).flatMap(({ operations }) => operations);
      if (epoch >= 0) expect(later.some(({ kind }) => kind === 'delete-members')).toBe(false);
      if (epoch >= 0 && unknownPod === 'allow')
        expect(later.some((one) => one.kind === 'point' && one.from === undefined)).toBe(false);
    }),
    { numRuns: 200, endOnFailure: true },
  );
});
