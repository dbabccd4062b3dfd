/** The naive evaluator on cases small enough to check by eye: it is an oracle and has none itself. */
import { describe, expect, it } from 'vitest';
import {
  inBlock,
  naiveEvaluate,
  parseIp,
  type NaiveConnection,
  type NaiveObject,
} from './evaluate.ts';

function namespace(name: string, labels: Record<string, string> = {}): NaiveObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

function pod(
  id: string,
  ip: string,
  labels: Record<string, string> = {},
  spec: object = {},
): NaiveObject {
  const [ns = '', name = ''] = id.split('/');
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: ns, name, labels },
    spec: { nodeName: 'n1', containers: [], ...spec },
    status: { phase: 'Running', podIPs: [{ ip }] },
  };
}

function node(name: string, ip: string): NaiveObject {
  const status = { addresses: [{ type: 'InternalIP', address: ip }] };
  return { apiVersion: 'v1', kind: 'Node', metadata: { name }, status };
}

function policy(ns: string, spec: object): NaiveObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: ns, name: 'p' },
    spec,
  };
}

function cnp(name: string, spec: object): NaiveObject {
  const apiVersion = 'policy.networking.k8s.io/v1alpha2';
  return { apiVersion, kind: 'ClusterNetworkPolicy', metadata: { name }, spec };
}

const base = [
  namespace('a', { team: 'red' }),
  namespace('b', { team: 'blue' }),
  node('n1', '192.168.1.1'),
  node('n2', '192.168.1.2'),
  pod('a/x', '10.0.0.1', { app: 'x' }),
  pod(
    'a/y',
    '10.0.0.2',
    { app: 'y' },
    { containers: [{ ports: [{ name: 'web', containerPort: 80 }] }] },
  ),
  pod('b/x', '10.0.1.1', { app: 'x' }),
];

function tcp(source: string, destination: string, port = 80): NaiveConnection {
  return { source: { pod: source }, destination: { pod: destination }, protocol: 'TCP', port };
}

function outcome(objects: NaiveObject[], connection: NaiveConnection): string {
  return naiveEvaluate([...base, ...objects], connection).outcome;
}

describe('naive evaluator', () => {
  it('reads IPv6 in its several spellings', () => {
    expect(parseIp('2001:DB8::1').bits).toBe(0x20010db8000000000000000000000001n);
    expect(parseIp('::').bits).toBe(0n);
    expect(parseIp('1:2:3:4:5:6:7:8').bits).toBe(0x00010002000300040005000600070008n);
    expect(parseIp('64:ff9b::1.2.3.4').bits).toBe(0x0064ff9b000000000000000001020304n);
  });

  it('takes a block with host bits as its network', () => {
    expect(inBlock(parseIp('10.1.2.3'), '10.1.2.77/24')).toBe(true);
    expect(inBlock(parseIp('10.1.3.3'), '10.1.2.77/24')).toBe(false);
    expect(inBlock(parseIp('10.1.3.3'), '0.0.0.0/0')).toBe(true);
    expect(inBlock(parseIp('10.1.3.3'), '::/0')).toBe(false);
  });

  it('allows everything without policies', () => {
    expect(outcome([], tcp('a/x', 'a/y'))).toBe('allowed');
  });

  it('isolates the namespace of a policy without spec, for ingress only', () => {
    const objects = [policy('a', {})];
    expect(outcome(objects, tcp('b/x', 'a/y'))).toBe('denied');
    expect(outcome(objects, tcp('a/y', 'b/x'))).toBe('allowed');
    expect(outcome(objects, tcp('a/y', 'a/y'))).toBe('allowed');
  });

  it('tells one peer with two selectors from two peers', () => {
    const namespaceSelector = { matchLabels: { team: 'blue' } };
    const podSelector = { matchLabels: { app: 'y' } };
    const and = [policy('a', { ingress: [{ from: [{ namespaceSelector, podSelector }] }] })];
    const or = [policy('a', { ingress: [{ from: [{ namespaceSelector }, { podSelector }] }] })];
    expect(outcome(and, tcp('b/x', 'a/x'))).toBe('denied');
    expect(outcome(or, tcp('b/x', 'a/x'))).toBe('allowed');
    expect(outcome(or, tcp('a/y', 'a/x'))).toBe('allowed');
  });

  it('resolves a named port on the destination', () => {
    const objects = [policy('a', { ingress: [{ ports: [{ port: 'web' }] }] })];
    expect(outcome(objects, tcp('b/x', 'a/y', 80))).toBe('allowed');
    expect(outcome(objects, tcp('b/x', 'a/y', 81))).toBe('denied');
    expect(outcome(objects, tcp('b/x', 'a/x', 80))).toBe('denied');
  });

  it('never blocks the own node, but other nodes', () => {
    const objects = [policy('a', {})];
    const from = (name: string): NaiveConnection => ({
      ...tcp('b/x', 'a/x'),
      source: { node: name },
    });
    expect(outcome(objects, from('n1'))).toBe('allowed');
    expect(outcome(objects, from('n2'))).toBe('denied');
  });

  it('walks tiers in order, and Pass leaves the tier', () => {
    const subject = { namespaces: {} };
    const from = [{ namespaces: {} }];
    const pass = cnp('pass', {
      tier: 'Admin',
      priority: 1,
      subject,
      ingress: [{ action: 'Pass', from }],
    });
    const deny = cnp('deny', {
      tier: 'Admin',
      priority: 2,
      subject,
      ingress: [{ action: 'Deny', from }],
    });
    const base2 = cnp('base', {
      tier: 'Baseline',
      priority: 0,
      subject,
      ingress: [{ action: 'Deny', from }],
    });
    expect(outcome([deny], tcp('a/x', 'a/y'))).toBe('denied');
    expect(outcome([deny, pass], tcp('a/x', 'a/y'))).toBe('allowed');
    expect(outcome([deny, pass, base2], tcp('a/x', 'a/y'))).toBe('denied');
    const open = policy('a', { ingress: [{}] });
    expect(outcome([deny, pass, base2, open], tcp('a/x', 'a/y'))).toBe('allowed');
  });

  it('is unknown when the labels of a namespace without object decide', () => {
    const rule = (key: string): NaiveObject =>
      policy('a', {
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { [key]: 'c' } } }] }],
      });
    const stranger = pod('c/x', '10.0.2.1');
    expect(outcome([stranger, rule('team')], tcp('c/x', 'a/x'))).toBe('unknown');
    expect(outcome([stranger, rule('kubernetes.io/metadata.name')], tcp('c/x', 'a/x'))).toBe(
      'allowed',
    );
  });
});
