/** Disagreements between engine and naive evaluator that were found and mended. */
import { expect, it } from 'vitest';
import { evaluate } from '../../src/engine/evaluate.ts';
import { computeReach } from '../../src/engine/reach.ts';
import type { Endpoint, Verdict } from '../../src/engine/verdict.ts';
import { isAllConnections } from '../../src/net/connection-set.ts';
import { naiveEvaluate, type NaiveObject } from '../naive/evaluate.ts';
import { snapshotOf } from './run.ts';

function pod(name: string, ips: readonly string[]): NaiveObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'a', name },
    spec: { containers: [{ name: 'c' }], nodeName: 'n' },
    status: { phase: 'Running', podIPs: ips.map((ip) => ({ ip })) },
  };
}

function policy(name: string, spec: object): NaiveObject {
  const metadata = { namespace: 'a', name };
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec };
}

function verdict(objects: readonly NaiveObject[], source: string, destination: string): Verdict {
  const snapshot = snapshotOf(objects, {});
  const end = (id: string): Endpoint => {
    const found = snapshot.podById.get(id);
    if (found === undefined) throw new Error(`no pod ${id}`);
    return { kind: 'pod', pod: found };
  };
  return evaluate(snapshot, end(source), end(destination), 'TCP', 80);
}

it('closed by egress in one family and by ingress in the other is closed', () => {
  const ips = ['10.0.0.1', 'fd00::1'];
  const objects = [
    pod('x', ips),
    pod('y', ['10.0.0.2', 'fd00::2']),
    policy('out', {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr: '0.0.0.0/0' } }] }],
    }),
    policy('in', {
      podSelector: {},
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ ipBlock: { cidr: '::/0' } }] }],
    }),
  ];
  const answer = verdict(objects, 'a/x', 'a/y');
  expect(answer.outcome).toBe('denied');
  expect([answer.egress.outcome, answer.ingress.outcome]).toEqual(['unknown', 'unknown']);
  const connection = { source: { pod: 'a/x' }, destination: { pod: 'a/y' } };
  const expected = naiveEvaluate(objects, { ...connection, protocol: 'TCP', port: 80 });
  expect(expected).toEqual({ outcome: 'denied', egress: 'unknown', ingress: 'unknown' });
});

it('a rule that matches for sure hides the later rules of its policy, also where the subject is not known', () => {
  // Namespace `a` has no object, so its labels are not known; either way the egress is allowed.
  const rule = (action: string): object => ({ action, to: [{ networks: ['10.0.0.0/8'] }] });
  const objects = [
    pod('x', ['10.0.0.1']),
    pod('y', ['10.0.0.2']),
    {
      apiVersion: 'policy.networking.k8s.io/v1alpha2',
      kind: 'ClusterNetworkPolicy',
      metadata: { name: 'p' },
      spec: {
        tier: 'Admin',
        priority: 1,
        subject: { namespaces: { matchLabels: { team: 'red' } } },
        egress: [rule('Pass'), rule('Deny')],
      },
    },
  ];
  expect(verdict(objects, 'a/x', 'a/y').outcome).toBe('allowed');
  const connection = { source: { pod: 'a/x' }, destination: { pod: 'a/y' } };
  const expected = naiveEvaluate(objects, { ...connection, protocol: 'TCP', port: 80 });
  expect(expected.outcome).toBe('allowed');
  const reach = computeReach(snapshotOf(objects, {}));
  const pair = reach.lookup(reach.positionOf('a/x') ?? -1, reach.positionOf('a/y') ?? -1);
  expect(isAllConnections(pair.allowed)).toBe(true);
});
