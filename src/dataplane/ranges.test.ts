import { expect, it } from 'vitest';
import { cluster, namespace, networkPolicy, node, pod } from '../../test/cluster.ts';
import { compileNode } from './compile.ts';
import type { NodeProgram } from './model.ts';
import { applyOperations } from './operations.ts';
import { plan } from './plan.ts';
import { renderProgram } from './render.ts';
import { emptyTable } from './state.ts';

const program = (blocks: number): NodeProgram =>
  compileNode(
    cluster([
      namespace('a'),
      node('n', ['192.168.0.1']),
      pod('a/p', { ips: ['10.0.0.1'], node: 'n' }),
      networkPolicy('a/np', {
        podSelector: {},
        ingress: [
          {
            from: Array.from({ length: blocks }, (_, i) => ({
              ipBlock: { cidr: `10.1.${i * 2}.0/24` },
            })),
          },
        ],
      }),
    ]).snapshot,
    'n',
  );

it('lesson 48: sets of ranges are made anew and never changed, and no set joins ranges with anything', () => {
  const state = emptyTable('podwall');
  for (const { operations } of plan(program(20), [], 1)) applyOperations(state, operations);
  const operations = plan(program(21), [state], 1).flatMap((one) => one.operations);
  expect(operations.map(({ kind }) => kind)).toEqual([
    'add-group',
    'add-chain',
    'point',
    'epoch',
    'delete-chain',
    'delete-group',
  ]);
  const ranges = renderProgram(program(21)).match(/^.*flags interval.*$/gm) ?? [];
  expect(ranges).toHaveLength(1);
  expect(ranges.filter((line) => / \. /.test(line))).toEqual([]);
});
