import { describe, expect, it } from 'vitest';
import { cluster, namespace, networkPolicy, node, pod } from '../../test/cluster.ts';
import type { KubeObject } from '../k8s/types.ts';
import { compileNode } from './compile.ts';
import type { NodeProgram } from './model.ts';
import { applyOperations } from './operations.ts';
import type { Transaction } from './operations.ts';
import { plan } from './plan.ts';
import { emptyTable } from './state.ts';
import type { TableState } from './state.ts';

const program = (...objects: KubeObject[]): NodeProgram =>
  compileNode(
    cluster([
      namespace('a'),
      node('n', ['192.168.0.1']),
      pod('a/db', { labels: { role: 'db' }, ips: ['10.0.0.1'], node: 'n' }),
      ...objects,
    ]).snapshot,
    'n',
  );
const client = (role: string): KubeObject =>
  pod('a/client', { labels: { role }, ips: ['10.0.0.2'], node: 'n' });
const peer = (role: string): object => ({ podSelector: { matchLabels: { role } } });

/** The client's egress; what is allowed beside makes the programs more than one jump. */
const egress = (role: string, ...to: string[]): KubeObject =>
  networkPolicy(`a/${role}`, {
    podSelector: { matchLabels: { role } },
    policyTypes: ['Egress'],
    egress: [{ to: to.map(peer) }],
  });
const ingress = (...from: string[]): KubeObject =>
  networkPolicy('a/db', {
    podSelector: { matchLabels: { role: 'db' } },
    ingress: [{ from: from.map(peer) }],
  });

function held(of: NodeProgram): TableState {
  const state = emptyTable('podwall');
  for (const { operations } of plan(of, [], 1)) applyOperations(state, operations);
  return state;
}
const phases = (transactions: readonly Transaction[]): string[] =>
  transactions.map(({ phase }) => phase);
const targets = (transaction: Transaction | undefined): (string | undefined)[] =>
  (transaction?.operations ?? []).flatMap((operation) =>
    operation.kind === 'point' ? [operation.to] : [],
  );

describe('an update that changes both sides of a connection', () => {
  const policies = [egress('x', 'other'), egress('y', 'db'), ingress('x')];
  const before = program(client('x'), ...policies);
  const after = program(client('y'), ...policies);

  it('narrows the pod first, and lets it out after the peers have changed', () => {
    const state = held(before);
    const transactions = plan(after, [state], 1);
    expect(phases(transactions)).toEqual(['prepare', 'switch', 'revoke', 'switch', 'collect']);
    const [meanwhile] = targets(transactions[1]);
    expect([...before.chains.keys(), ...after.chains.keys()]).not.toContain(meanwhile);
    expect(targets(transactions[3])).toEqual([after.dispatch.Egress[4].get('10.0.0.2')]);
    for (const { operations } of transactions) applyOperations(state, operations);
    expect([...state.chains.keys()].sort()).toEqual([...after.chains.keys()].sort());
    expect(plan(after, [state], 1)).toEqual([]);
  });

  it('an agent killed in the middle leaves nothing that the next one does not clear away', () => {
    const transactions = plan(after, [held(before)], 1);
    for (const end of transactions.keys()) {
      const state = held(before);
      for (const { operations } of transactions.slice(0, end + 1))
        applyOperations(state, operations);
      for (const { operations } of plan(before, [state], 1)) applyOperations(state, operations);
      expect([...state.chains.keys()].sort()).toEqual([...before.chains.keys()].sort());
      expect(state.dispatch).toEqual(held(before).dispatch);
    }
  });

  it('to and from "nothing" and "everything" need no chain of their own', () => {
    const closed = networkPolicy('a/y', {
      podSelector: { matchLabels: { role: 'y' } },
      policyTypes: ['Egress'],
    });
    const open = program(client('x'), ingress('x'));
    const shut = program(client('y'), closed, ingress('x'));
    expect(phases(plan(shut, [held(open)], 1))).toEqual(['switch', 'revoke']);
    expect(phases(plan(open, [held(shut)], 1))).toEqual(['switch', 'switch']);
  });
});

it('an update of one side goes without a detour', () => {
  const before = program(client('x'), egress('x', 'other'));
  const after = program(client('x'), egress('x', 'db'));
  expect(phases(plan(after, [held(before)], 1))).toEqual(['prepare', 'switch', 'collect']);
});
