import { describe, expect, it } from 'vitest';
import { cluster, clusterPolicy, namespace, networkPolicy, node, pod } from '../../test/cluster.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { Settings } from './snapshot.ts';

const ports = [
  { name: 'web', containerPort: 80 },
  { name: 'dns', containerPort: 53, protocol: 'UDP' },
];
const base: KubeObject[] = [
  namespace('x', { ns: 'x' }),
  namespace('y', { ns: 'y' }),
  pod('x/a', { labels: { pod: 'a' }, ips: ['10.1.0.1'], node: 'n1', ports }),
  pod('x/b', { labels: { pod: 'b' }, ips: ['10.1.0.2'], node: 'n2', ports }),
  pod('y/a', { labels: { pod: 'a' }, ips: ['10.1.1.1'], node: 'n1', ports }),
  pod('y/h', { ips: ['10.0.0.2'], node: 'n2', hostNetwork: true }),
  node('n1', ['10.0.0.1'], { zone: 'one' }),
  node('n2', ['10.0.0.2'], { zone: 'two' }),
];

const everywhere = { namespaces: {} };
const nsX = { namespaces: { matchLabels: { ns: 'x' } } };

type Rule = Record<string, unknown>;

/** Ingress rules on namespace x. */
function admin(priority: number, rules: Rule[], name = `p${priority}`): KubeObject {
  return clusterPolicy(name, { tier: 'Admin', priority, subject: nsX, ingress: rules });
}

function baseline(priority: number, rules: Rule[], name = `b${priority}`): KubeObject {
  return clusterPolicy(name, { tier: 'Baseline', priority, subject: nsX, ingress: rules });
}

function egress(rules: Rule[], tier = 'Admin'): KubeObject {
  return clusterPolicy('egress', { tier, priority: 1, subject: nsX, egress: rules });
}

const rule = (action: string, more: Rule = {}): Rule => ({ action, from: [everywhere], ...more });
const tcp = (number: number): Rule => ({ tcp: { destinationPort: { number } } });

function outcomes(
  objects: KubeObject[],
  settings: Partial<Settings>,
  ...asks: [string, string][]
): string[] {
  const { outcome } = cluster([...base, ...objects], settings);
  return asks.map(([from, to]) => outcome(from, to));
}

/** y/a to x/a:80. */
function one(objects: KubeObject[], settings: Partial<Settings> = {}): string {
  return cluster([...base, ...objects], settings).outcome('y/a', 'x/a:80');
}

const denyAll = networkPolicy('x/deny', { podSelector: {}, policyTypes: ['Ingress'] });
const allowAll = networkPolicy('x/allow', { podSelector: {}, ingress: [{}] });

describe('subject and peers (2.3)', () => {
  it('S253: namespaces {} selects all pods', () => {
    const all = clusterPolicy('all', {
      tier: 'Admin',
      priority: 1,
      subject: everywhere,
      ingress: [rule('Deny')],
    });
    expect(outcomes([all], {}, ['y/a', 'x/a:80'], ['x/a', 'y/a:80'])).toEqual(['denied', 'denied']);
    expect(outcomes([admin(1, [rule('Deny')])], {}, ['x/a', 'y/a:80'])).toEqual(['allowed']);
  });
  it('S254: pods is podSelector AND namespaceSelector, each absent or empty meaning all', () => {
    const subject = (pods: Rule): string[] =>
      outcomes(
        [
          clusterPolicy('s', {
            tier: 'Admin',
            priority: 1,
            subject: { pods },
            ingress: [rule('Deny')],
          }),
        ],
        {},
        ['y/a', 'x/a:80'],
        ['y/a', 'x/b:80'],
        ['x/b', 'y/a:80'],
      );
    const podA = { matchLabels: { pod: 'a' } };
    expect(subject({ podSelector: podA })).toEqual(['denied', 'allowed', 'denied']);
    expect(subject({ podSelector: podA, namespaceSelector: { matchLabels: { ns: 'x' } } })).toEqual(
      ['denied', 'allowed', 'allowed'],
    );
    expect(subject({ podSelector: {}, namespaceSelector: {} })).toEqual(Array(3).fill('denied'));
  });
  it('S255, S256: hostNetwork pods are neither subjects nor selector peers', () => {
    const all = clusterPolicy('all', {
      tier: 'Admin',
      priority: 1,
      subject: everywhere,
      ingress: [rule('Deny')],
      egress: [{ action: 'Deny', to: [everywhere] }],
    });
    expect(outcomes([all], {}, ['y/h', 'x/a:80'], ['x/a', 'y/h:80'])).toEqual([
      'allowed',
      'allowed',
    ]);
    expect(outcomes([all], { hostNetworkPods: 'unknown' }, ['y/h', 'x/a:80'])).toEqual(['allowed']);
  });
  it('S257: peers are ORed', () => {
    const two = admin(1, [
      {
        action: 'Deny',
        from: [
          { pods: { podSelector: { matchLabels: { pod: 'none' } } } },
          { namespaces: { matchLabels: { ns: 'y' } } },
        ],
      },
    ]);
    expect(outcomes([two], {}, ['y/a', 'x/a:80'], ['x/b', 'x/a:80'])).toEqual([
      'denied',
      'allowed',
    ]);
  });
  it('S258, S259: networks matches pods too, unless an earlier rule handles them', () => {
    const deny = { action: 'Deny', to: [{ networks: ['0.0.0.0/0'] }] };
    const asks: [string, string][] = [
      ['x/a', 'y/a:80'],
      ['x/a', '192.0.2.1:80'],
    ];
    expect(outcomes([egress([deny])], {}, ...asks)).toEqual(['denied', 'denied']);
    const accept = { action: 'Accept', to: [everywhere] };
    expect(outcomes([egress([accept, deny])], {}, ...asks)).toEqual(['allowed', 'denied']);
  });
  it('S260: networks matches all protocols of its family', () => {
    const deny = (cidr: string): KubeObject =>
      egress([{ action: 'Deny', to: [{ networks: [cidr] }] }]);
    expect(outcomes([deny('0.0.0.0/0')], {}, ['x/a', 'y/a:other'], ['x/a', 'y/a:1/SCTP'])).toEqual([
      'denied',
      'denied',
    ]);
    expect(outcomes([deny('::/0')], {}, ['x/a', 'y/a:other'])).toEqual(['allowed']);
  });
  it('S261, S262: nodes matches node addresses, hostNetwork pods there too', () => {
    const deny = egress([{ action: 'Deny', to: [{ nodes: { matchLabels: { zone: 'two' } } }] }]);
    expect(
      outcomes(
        [deny],
        {},
        ['x/a', 'node:n2:80'],
        ['x/a', '10.0.0.2:80'],
        ['x/a', 'y/h:80'],
        ['x/a', 'node:n1:80'],
        ['x/a', 'y/a:80'],
        ['x/a', '192.0.2.1:80'],
      ),
    ).toEqual(['denied', 'denied', 'denied', 'allowed', 'allowed', 'allowed']);
  });
  it('says unknown for nodes peers when no Node is given', () => {
    const { ask } = cluster([
      namespace('x', { ns: 'x' }),
      pod('x/a', { ips: ['10.1.0.1'] }),
      pod('x/b', { ips: ['10.1.0.2'] }),
      egress([{ action: 'Deny', to: [{ nodes: {} }] }]),
    ]);
    expect(ask('x/a', '192.0.2.1:80').egress).toMatchObject({
      outcome: 'unknown',
      missing: ['which node has the address of 192.0.2.1 is not known'],
    });
    expect(ask('x/a', 'x/b:80').outcome).toBe('allowed');
  });
  it('S264, S308: an ingress Deny matches neither outside nor nodes nor hostNetwork pods', () => {
    const deny = admin(1, [rule('Deny')]);
    expect(
      outcomes(
        [deny],
        {},
        ['192.0.2.1', 'x/a:80'],
        ['node:n1', 'x/a:80'],
        ['node:n2', 'x/a:80'],
        ['y/h', 'x/a:80'],
      ),
    ).toEqual(Array(4).fill('allowed'));
  });
  it('S266, S268: a peer that cannot be understood fails closed', () => {
    const broken = { namespaces: { matchExpressions: [{ key: 'a', operator: 'Foo' }] } };
    const of = (action: string): string =>
      cluster(
        [...base, admin(1, [{ action, from: [broken] }]), denyAll],
        {},
        { allowFaults: true },
      ).outcome('y/a', 'x/a:80');
    expect([of('Accept'), of('Deny'), of('Pass')]).toEqual(['denied', 'denied', 'denied']);
    const alone = (action: string): string[] => {
      const { outcome } = cluster([
        ...base,
        admin(1, [{ action, from: [broken], protocols: [tcp(1)] }]),
      ]);
      return [outcome('y/a', 'x/a:80'), outcome('192.0.2.1', 'x/a:80')];
    };
    expect(alone('Accept')).toEqual(['allowed', 'allowed']);
    expect(alone('Deny')).toEqual(['denied', 'denied']);
    expect(alone('Pass')).toEqual(['denied', 'denied']);
  });
  it('S309–S311: which addresses a domain name has is not known', () => {
    const { ask } = cluster([
      ...base,
      egress([
        { action: 'Accept', to: [{ domainNames: ['*.example.io'] }] },
        { action: 'Deny', to: [{ networks: ['0.0.0.0/0'] }] },
      ]),
    ]);
    expect(ask('x/a', '192.0.2.1:80').egress).toMatchObject({
      outcome: 'unknown',
      missing: ['which addresses *.example.io stands for is known to DNS, not to this input'],
    });
    // Whatever the name stands for, the answer is the same.
    const open = cluster([...base, egress([{ action: 'Accept', to: [{ domainNames: ['a.b'] }] }])]);
    expect(open.outcome('x/a', '192.0.2.1:80')).toBe('allowed');
  });
});

describe('protocols and ports (2.4)', () => {
  const deny = (protocols?: Rule[]): KubeObject =>
    admin(1, [rule('Deny', protocols === undefined ? {} : { protocols })]);

  it('S269: a rule without protocols matches everything', () => {
    expect(
      outcomes([deny()], {}, ['y/a', 'x/a:80'], ['y/a', 'x/a:9/SCTP'], ['y/a', 'x/a:other']),
    ).toEqual(Array(3).fill('denied'));
  });
  it('S270, S271: entries are ORed; number and range are destination ports', () => {
    const range = { udp: { destinationPort: { range: { start: 10, end: 12 } } } };
    const asks = ['80', '81', '10/UDP', '12/UDP', '13/UDP', '10'].map((port): [string, string] => [
      'y/a',
      `x/a:${port}`,
    ]);
    expect(outcomes([deny([tcp(80), range])], {}, ...asks)).toEqual([
      'denied',
      'allowed',
      'denied',
      'denied',
      'allowed',
      'allowed',
    ]);
  });
  it('S272, S273: a named port carries its protocol', () => {
    const named = (name: string): KubeObject => deny([{ destinationNamedPort: name }]);
    expect(
      outcomes([named('web')], {}, ['y/a', 'x/a:80'], ['y/a', 'x/a:8080'], ['y/a', 'x/a:80/UDP']),
    ).toEqual(['denied', 'allowed', 'allowed']);
    expect(outcomes([named('dns')], {}, ['y/a', 'x/a:53/UDP'], ['y/a', 'x/a:5353/UDP'])).toEqual([
      'denied',
      'allowed',
    ]);
  });
  it('S248: a named port towards networks matches pods only', () => {
    const rules = [
      { action: 'Deny', to: [everywhere], protocols: [{ destinationNamedPort: 'web' }] },
    ];
    expect(outcomes([egress(rules)], {}, ['x/a', 'y/a:80'], ['x/a', '192.0.2.1:80'])).toEqual([
      'denied',
      'allowed',
    ]);
  });
});

describe('evaluation (2.5)', () => {
  it('S276, S291: Admin before NetworkPolicy before Baseline', () => {
    expect(one([admin(1, [rule('Accept')]), denyAll])).toBe('allowed');
    expect(one([admin(1, [rule('Deny')]), allowAll])).toBe('denied');
    expect(one([denyAll, baseline(1, [rule('Accept')])])).toBe('denied');
    expect(one([baseline(1, [rule('Deny')])])).toBe('denied');
  });
  it('S277, S296: the lower priority number first', () => {
    expect(one([admin(50, [rule('Deny')]), admin(60, [rule('Pass')])])).toBe('denied');
    expect(one([admin(50, [rule('Deny')]), admin(40, [rule('Pass')])])).toBe('allowed');
  });
  it('S278, S279, S297: rules in order, the first match decides', () => {
    expect(one([admin(1, [rule('Accept'), rule('Deny')])])).toBe('allowed');
    expect(one([admin(1, [rule('Deny'), rule('Accept')])])).toBe('denied');
  });
  it('S280: Accept ends evaluation for the direction', () => {
    expect(one([admin(1, [rule('Accept')]), admin(2, [rule('Deny')]), denyAll])).toBe('allowed');
  });
  it('S281, S389: an egress Accept does not skip the destination’s ingress', () => {
    const accept = clusterPolicy('out', {
      tier: 'Admin',
      priority: 1,
      subject: everywhere,
      egress: [{ action: 'Accept', to: [everywhere] }],
    });
    expect(one([accept, denyAll])).toBe('denied');
  });
  it('S282: Deny ends evaluation', () => {
    const { ask } = cluster([
      ...base,
      admin(1, [rule('Deny', { name: 'no' })]),
      admin(2, [rule('Accept')]),
      allowAll,
    ]);
    expect(ask('y/a', 'x/a:80').ingress).toMatchObject({
      reason: 'denied-by-rule',
      tier: 'Admin',
      decidedBy: { policy: { name: 'p1' }, rule: { name: 'no', path: 'spec.ingress[0]' } },
      isolatedBy: [{ name: 'allow' }],
    });
  });
  it('S284, S285: Pass skips the rest of the tier in all its policies', () => {
    const objects = [admin(1, [rule('Pass'), rule('Deny')]), admin(2, [rule('Deny')])];
    expect(one(objects)).toBe('allowed');
    expect(one([...objects, denyAll])).toBe('denied');
    expect(one([...objects, baseline(1, [rule('Deny')])])).toBe('denied');
    const { ask } = cluster([...base, ...objects]);
    expect(ask('y/a', 'x/a:80').ingress.passedBy).toMatchObject([{ policy: { name: 'p1' } }]);
  });
  it('S286: Pass in Baseline leads to allow', () => {
    expect(one([baseline(1, [rule('Pass'), rule('Deny')])])).toBe('allowed');
  });
  it('S287, S288: no match goes on; no rules have no effect; nothing is isolated', () => {
    expect(one([admin(1, [rule('Deny', { protocols: [tcp(81)] })]), allowAll])).toBe('allowed');
    expect(one([admin(1, [])])).toBe('allowed');
    const { ask } = cluster([...base, admin(1, [rule('Deny', { protocols: [tcp(81)] })])]);
    expect(ask('y/a', 'x/a:80').ingress).toMatchObject({ reason: 'not-isolated', isolatedBy: [] });
  });
  it('S289, S290, S370: equal priorities follow the setting', () => {
    const two = [admin(1, [rule('Accept')], 'aaa'), admin(1, [rule('Deny')], 'bbb')];
    expect(one(two)).toBe('allowed');
    expect(one(two.toReversed())).toBe('allowed');
    const { ask } = cluster([...base, ...two], { equalPriority: 'unknown' });
    expect(ask('y/a', 'x/a:80').ingress).toMatchObject({
      outcome: 'unknown',
      missing: ['which of aaa and bbb applies: they have the same tier and priority'],
    });
    const agree = [admin(1, [rule('Deny')], 'aaa'), admin(1, [rule('Deny')], 'bbb')];
    expect(one(agree, { equalPriority: 'unknown' })).toBe('denied');
    const apart = [
      admin(1, [rule('Accept', { protocols: [tcp(80)] })], 'aaa'),
      admin(1, [rule('Deny', { protocols: [tcp(81)] })], 'bbb'),
    ];
    expect(one(apart, { equalPriority: 'unknown' })).toBe('allowed');
  });
  it('S292, S294: Baseline is for pods that no NetworkPolicy isolates in the direction', () => {
    expect(one([allowAll, baseline(1, [rule('Deny')])])).toBe('allowed');
    const other = networkPolicy('x/e', { podSelector: {}, policyTypes: ['Egress'], egress: [{}] });
    expect(one([other, baseline(1, [rule('Deny')])])).toBe('denied');
  });
  it('S293, S371: a NetworkPolicy of the other direction follows the setting', () => {
    const objects = [
      networkPolicy('x/e', { podSelector: {}, policyTypes: ['Egress'], egress: [{}] }),
      baseline(1, [rule('Deny')]),
    ];
    expect(one(objects, { baselineSkip: 'per-pod' })).toBe('allowed');
    expect(one(objects, { baselineSkip: 'unknown' })).toBe('unknown');
    expect(one(objects.slice(1), { baselineSkip: 'unknown' })).toBe('denied');
  });
  it('S295: Pass, then NetworkPolicy over Baseline; without it Baseline', () => {
    const objects = [admin(1, [rule('Pass')]), baseline(1, [rule('Deny')])];
    expect(one([...objects, allowAll])).toBe('allowed');
    expect(one(objects)).toBe('denied');
  });
  it('S298: a change of namespace labels changes subject and peers', () => {
    const objects = base.filter((o) => o.metadata.name !== 'x' || o.kind !== 'Namespace');
    const { outcome } = cluster([
      ...objects,
      namespace('x', { ns: 'z' }),
      admin(1, [rule('Deny')]),
    ]);
    expect(outcome('y/a', 'x/a:80')).toBe('allowed');
  });
  it('S299: Accept on one port and Deny for the rest', () => {
    const rules = [rule('Accept', { protocols: [tcp(80)] }), rule('Deny')];
    expect(outcomes([admin(1, rules)], {}, ['y/a', 'x/a:80'], ['y/a', 'x/a:81'])).toEqual([
      'allowed',
      'denied',
    ]);
  });
});

describe('hairpin and own node (2.6)', () => {
  const deny = clusterPolicy('all', {
    tier: 'Admin',
    priority: 1,
    subject: everywhere,
    ingress: [rule('Deny')],
    egress: [{ action: 'Deny', to: [everywhere] }],
  });
  it('S303: a pod’s own pod IP is not subject', () => {
    expect(outcomes([deny], {}, ['x/a', 'x/a:80'])).toEqual(['allowed']);
  });
  it('S304: through a Service it is, whatever the setting for NetworkPolicy', () => {
    const { ask } = cluster([...base, deny], { selfThroughService: 'allow' });
    expect(ask('x/a', 'x/a:80', { throughService: true }).outcome).toBe('denied');
  });
  it('S307, S358: nodes and networks apply to the own node on egress', () => {
    const nodes = egress([{ action: 'Deny', to: [{ nodes: {} }] }]);
    expect(outcomes([nodes], { podToOwnNode: 'allow' }, ['x/a', 'node:n1:80'])).toEqual(['denied']);
  });
});

describe('AdminNetworkPolicy and BaselineAdminNetworkPolicy (3)', () => {
  const anp = (priority: number, ingress: Rule[]): KubeObject => ({
    apiVersion: 'policy.networking.k8s.io/v1alpha1',
    kind: 'AdminNetworkPolicy',
    metadata: { name: `anp${priority}` },
    spec: { priority, subject: nsX, ingress },
  });
  const banp = (ingress: Rule[]): KubeObject => ({
    apiVersion: 'policy.networking.k8s.io/v1alpha1',
    kind: 'BaselineAdminNetworkPolicy',
    metadata: { name: 'default' },
    spec: { subject: nsX, ingress },
  });
  it('S333, S334: Allow and Deny win over NetworkPolicy and Baseline', () => {
    expect(one([anp(1, [rule('Allow')]), denyAll, banp([rule('Deny')])])).toBe('allowed');
    expect(one([anp(1, [rule('Deny')]), allowAll])).toBe('denied');
    expect(one([anp(5, [rule('Deny')]), anp(3, [rule('Allow')])])).toBe('allowed');
  });
  it('S335, S336: Pass and no match go on to NetworkPolicy, then Baseline', () => {
    expect(one([anp(1, [rule('Pass')]), anp(2, [rule('Deny')]), denyAll])).toBe('denied');
    expect(one([anp(1, [rule('Pass')]), anp(2, [rule('Deny')])])).toBe('allowed');
    expect(one([anp(1, [rule('Pass')]), banp([rule('Deny')])])).toBe('denied');
    expect(one([anp(1, []), banp([rule('Deny')])])).toBe('denied');
  });
  it('S337: ports are the destination’s', () => {
    const policy = anp(1, [
      rule('Deny', {
        ports: [{ portNumber: { protocol: 'TCP', port: 80 } }, { namedPort: 'dns' }],
      }),
    ]);
    expect(
      outcomes([policy], {}, ['y/a', 'x/a:80'], ['y/a', 'x/a:53/UDP'], ['y/a', 'x/a:53']),
    ).toEqual(['denied', 'denied', 'allowed']);
  });
  it('S343: Baseline for what no AdminNetworkPolicy and no NetworkPolicy decides', () => {
    expect(one([banp([rule('Allow'), rule('Deny')])])).toBe('allowed');
    expect(one([banp([rule('Deny')]), allowAll])).toBe('allowed');
  });
  it('S347: a range that ends before it starts matches nothing', () => {
    const policy = anp(1, [
      rule('Deny', { ports: [{ portRange: { protocol: 'TCP', start: 90, end: 80 } }] }),
    ]);
    expect(one([policy])).toBe('allowed');
  });
  it('an invalid cluster policy makes what it could decide unknown', () => {
    const bad = clusterPolicy('bad', { tier: 'Admin', priority: 1, subject: {} });
    const { ask } = cluster([...base, bad], {}, { allowFaults: true });
    expect(ask('y/a', 'x/a:80').outcome).toBe('unknown');
    expect(ask('node:n1', 'x/a:80').outcome).toBe('allowed');
    expect(ask('y/h', 'node:n1:80').outcome).toBe('allowed');
  });
});

describe('the procedure (4)', () => {
  it('S354–S357: both legs are always computed', () => {
    const denyBoth = networkPolicy('x/d', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
    const { ask } = cluster([...base, denyBoth]);
    expect(ask('x/a', 'x/b:80')).toMatchObject({
      outcome: 'denied',
      egress: { reason: 'none-admits', isolatedBy: [{ name: 'd' }] },
      ingress: { reason: 'none-admits', isolatedBy: [{ name: 'd' }] },
    });
  });
});
