/** Items about evaluation that no single module owns: whole objects in, verdicts out. */
import { describe, expect, it } from 'vitest';
import { createEvaluator } from '../../src/engine/evaluate.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import type { Protocol } from '../../src/net/connection-set.ts';
import { checkPolicy } from '../../src/policy/index.ts';
import {
  ask,
  clusterPolicy,
  endOf,
  namespace,
  networkPolicy,
  node,
  pod,
  snapshotOf,
} from './cluster.ts';

const cluster = [
  namespace('a', { team: 'red' }),
  namespace('b', { team: 'blue' }),
  node('n1', '192.168.1.1'),
  node('n2', '192.168.1.2'),
  pod('a/x', '10.0.0.1', { app: 'x' }),
  pod('a/y', '10.0.0.2', { app: 'y' }),
  pod('b/z', '10.0.1.1', { app: 'z' }),
];

const denyIngress = { podSelector: {}, policyTypes: ['Ingress'] };

function outcome(
  objects: readonly KubeObject[],
  ...question: [string, string, number?, (Protocol | 'other')?]
): string {
  return ask([...cluster, ...objects], ...question).outcome;
}

function unknownFields(object: KubeObject): string[] {
  return checkPolicy({ object })
    .diagnostics.filter(({ code }) => code === 'unknown-field')
    .map(({ fieldPath }) => fieldPath ?? '');
}

describe('NetworkPolicy', () => {
  it('S119: a peer cannot name a node, a service, a service account or a DNS name', () => {
    for (const field of ['nodeSelector', 'service', 'serviceAccountSelector', 'domainNames']) {
      const spec = { podSelector: {}, ingress: [{ from: [{ podSelector: {}, [field]: {} }] }] };
      expect(unknownFields(networkPolicy('a', spec))).toEqual([`spec.ingress[0].from[0].${field}`]);
    }
  });

  it('S129: a port is compared with the destination port, also for egress', () => {
    const egress = [{ ports: [{ port: 8080 }] }];
    const policy = networkPolicy('a', { podSelector: {}, policyTypes: ['Egress'], egress });
    expect(outcome([policy], 'a/x', 'b/z', 8080)).toBe('allowed');
    expect(outcome([policy], 'a/x', 'b/z', 80)).toBe('denied');
    // The pod answers and is asked on whatever port: only the destination's number counts.
    expect(outcome([policy], 'b/z', 'a/x', 80)).toBe('allowed');
  });

  it('S146: a rule has no action, and every rule only admits', () => {
    const spec = { podSelector: {}, ingress: [{ action: 'Deny', from: [{ podSelector: {} }] }] };
    expect(unknownFields(networkPolicy('a', spec))).toEqual(['spec.ingress[0].action']);
    const plain = { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] };
    const { policy } = checkPolicy({ object: networkPolicy('a', plain) });
    expect(policy?.rules.Ingress.map(({ action }) => action)).toEqual(['Accept']);
  });

  it('S155: the new spec of an updated policy decides', () => {
    const before = networkPolicy('a', { ...denyIngress, ingress: [{ ports: [{ port: 80 }] }] });
    const after = networkPolicy('a', { ...denyIngress, ingress: [{ ports: [{ port: 81 }] }] });
    expect(outcome([before], 'b/z', 'a/x', 80)).toBe('allowed');
    expect(outcome([after], 'b/z', 'a/x', 80)).toBe('denied');
    expect(outcome([after], 'b/z', 'a/x', 81)).toBe('allowed');
  });

  it('S156: without policies the first state is back, and one of several gone leaves the others', () => {
    const first = networkPolicy('a', denyIngress, 'first');
    const second = networkPolicy('a', { ...denyIngress, ingress: [{}] }, 'second');
    expect(outcome([first, second], 'b/z', 'a/x')).toBe('allowed');
    expect(outcome([first], 'b/z', 'a/x')).toBe('denied');
    expect(outcome([], 'b/z', 'a/x')).toBe('allowed');
  });

  it('S177 S179 S385: through a Service, peers are matched against the backend pod', () => {
    const to = [{ podSelector: { matchLabels: { app: 'y' } } }];
    const policy = networkPolicy('a', {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [{ to }],
    });
    const snapshot = snapshotOf([...cluster, policy]);
    const evaluator = createEvaluator(snapshot);
    const through = (backend: string): string =>
      evaluator.evaluate({
        source: endOf(snapshot, 'a/x'),
        destination: endOf(snapshot, backend),
        protocol: 'TCP',
        port: 80,
        throughService: true,
      }).outcome;
    expect(through('a/y')).toBe('allowed');
    expect(through('b/z')).toBe('denied');
  });

  it('S182: a policy cannot name a Service', () => {
    const spec = { podSelector: {}, egress: [{ to: [{ serviceSelector: {}, podSelector: {} }] }] };
    expect(unknownFields(networkPolicy('a', spec))).toEqual([
      'spec.egress[0].to[0].serviceSelector',
    ]);
  });

  it('S183: traffic that bears a node’s address is the own node’s on that node only', () => {
    const policy = networkPolicy('a', denyIngress);
    expect(ask([...cluster, policy], '192.168.1.1', 'a/x').ingress.reason).toBe('own-node');
    expect(outcome([policy], '192.168.1.2', 'a/x')).toBe('denied');
  });

  it('S199 S201: default deny closes TCP, UDP and SCTP', () => {
    const policy = networkPolicy('a', denyIngress);
    for (const protocol of ['TCP', 'UDP', 'SCTP'] as const) {
      expect(outcome([policy], 'b/z', 'a/x', 80, protocol)).toBe('denied');
    }
  });
});

describe('what commonly goes wrong', () => {
  it('S379: {} allows all as a rule, is refused as a peer and selects all as a selector', () => {
    expect(outcome([networkPolicy('a', { ...denyIngress, ingress: [{}] })], '8.8.8.8', 'a/x')).toBe(
      'allowed',
    );
    const empty = networkPolicy('a', { ...denyIngress, ingress: [{ from: [{}] }] });
    expect(checkPolicy({ object: empty }).errors.map(({ path, kind }) => [path, kind])).toEqual([
      ['spec.ingress[0].from[0]', 'Required'],
    ]);
    const from = (peer: object): KubeObject =>
      networkPolicy('a', { ...denyIngress, ingress: [{ from: [peer] }] });
    expect(outcome([from({ podSelector: {} })], 'a/y', 'a/x')).toBe('allowed');
    expect(outcome([from({ podSelector: {} })], 'b/z', 'a/x')).toBe('denied');
    expect(outcome([from({ namespaceSelector: {} })], 'b/z', 'a/x')).toBe('allowed');
  });

  it('S380: NotIn and DoesNotExist match objects without the key', () => {
    for (const requirement of [
      { key: 'tier', operator: 'NotIn', values: ['web'] },
      { key: 'tier', operator: 'DoesNotExist' },
    ]) {
      const podSelector = { matchExpressions: [requirement] };
      const policy = networkPolicy('a', { ...denyIngress, ingress: [{ from: [{ podSelector }] }] });
      expect(outcome([policy], 'a/y', 'a/x')).toBe('allowed');
    }
  });

  it('S383: a change of labels alone changes what reaches a pod', () => {
    const policy = networkPolicy('a', { podSelector: { matchLabels: { app: 'x' } } });
    expect(outcome([policy], 'b/z', 'a/x')).toBe('denied');
    const relabelled = cluster.map((object) =>
      object.metadata.name === 'x' ? pod('a/x', '10.0.0.1', { app: 'other' }) : object,
    );
    expect(ask([...relabelled, policy], 'b/z', 'a/x').outcome).toBe('allowed');
  });

  it('S386: port "80" is refused', () => {
    const policy = networkPolicy('a', { ...denyIngress, ingress: [{ ports: [{ port: '80' }] }] });
    const { errors } = checkPolicy({ object: policy });
    expect(errors.map(({ path, kind }) => [path, kind])).toEqual([
      ['spec.ingress[0].ports[0].port', 'Invalid'],
    ]);
  });

  it('S391: strictness about CIDRs follows the server for NetworkPolicy and isCIDR for the CRDs', () => {
    const block = (cidr: string): KubeObject =>
      networkPolicy('a', { ...denyIngress, ingress: [{ from: [{ ipBlock: { cidr } }] }] });
    const network = (cidr: string): KubeObject =>
      clusterPolicy('p', {
        tier: 'Admin',
        priority: 1,
        subject: { namespaces: {} },
        egress: [{ action: 'Deny', to: [{ networks: [cidr] }] }],
      });
    const faults = (object: KubeObject, strictCidr: boolean): number =>
      checkPolicy({ object }, { strictCidr }).errors.length;
    for (const cidr of ['10.1.2.3/24', '10.01.0.0/16', '::ffff:1.1.1.0/120']) {
      expect([cidr, faults(block(cidr), false), faults(block(cidr), true)]).toEqual([cidr, 0, 1]);
    }
    expect(faults(network('10.1.2.3/24'), true)).toBe(0);
    expect(faults(network('10.01.0.0/16'), false)).toBe(1);
    expect(faults(network('::ffff:1.1.1.0/120'), false)).toBe(1);
  });
});

describe('ClusterNetworkPolicy and its forerunners', () => {
  it('S345: a Baseline policy may have any name', () => {
    const spec = { tier: 'Baseline', priority: 1, subject: { namespaces: {} } };
    expect(checkPolicy({ object: clusterPolicy('anything', spec) }).errors).toEqual([]);
  });

  it('S243: the range 1–65535 is all ports of its protocol', () => {
    const protocols = [{ udp: { destinationPort: { range: { start: 1, end: 65535 } } } }];
    const deny = { action: 'Deny', from: [{ namespaces: {} }], protocols };
    const spec = { tier: 'Admin', priority: 1, subject: { namespaces: {} }, ingress: [deny] };
    for (const port of [1, 80, 65535]) {
      expect(outcome([clusterPolicy('p', spec)], 'b/z', 'a/x', port, 'UDP')).toBe('denied');
      expect(outcome([clusterPolicy('p', spec)], 'b/z', 'a/x', port, 'TCP')).toBe('allowed');
    }
  });

  it('S263: networks, nodes and domainNames are unknown in ingress peers', () => {
    for (const peer of [
      { networks: ['10.0.0.0/8'] },
      { nodes: {} },
      { domainNames: ['a.example'] },
    ]) {
      const rule = (peers: string): object => ({ action: 'Accept', [peers]: [peer] });
      const base = { tier: 'Admin', priority: 1, subject: { namespaces: {} } };
      const [field = ''] = Object.keys(peer);
      const ingress = clusterPolicy('p', { ...base, ingress: [rule('from')] });
      expect(unknownFields(ingress)).toEqual([`spec.ingress[0].from[0].${field}`]);
      const egress = clusterPolicy('p', { ...base, egress: [rule('to')] });
      expect(checkPolicy({ object: egress }).errors).toEqual([]);
    }
  });

  it('S338: AdminNetworkPolicy warns of domain names in a rule that does not allow', () => {
    const warnings = (action: string): string[] =>
      checkPolicy({
        object: {
          apiVersion: 'policy.networking.k8s.io/v1alpha1',
          kind: 'AdminNetworkPolicy',
          metadata: { name: 'p' },
          spec: {
            priority: 1,
            subject: { namespaces: {} },
            egress: [{ action, to: [{ domainNames: ['a.example'] }] }],
          },
        },
      }).diagnostics.map(({ code }) => code);
    expect(warnings('Allow')).toEqual([]);
    expect(warnings('Deny')).toEqual(['domain-names-not-accept']);
  });

  it('S348: sameLabels and notSameLabels are unknown fields', () => {
    for (const field of ['sameLabels', 'notSameLabels']) {
      const from = [{ namespaces: { [field]: ['team'] } }];
      const spec = {
        priority: 1,
        subject: { namespaces: {} },
        ingress: [{ action: 'Deny', from }],
      };
      const object = {
        apiVersion: 'policy.networking.k8s.io/v1alpha1',
        kind: 'AdminNetworkPolicy',
        metadata: { name: 'p' },
        spec,
      };
      expect(unknownFields(object)).toEqual([`spec.ingress[0].from[0].namespaces.${field}`]);
    }
  });
});
