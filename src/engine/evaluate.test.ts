import { describe, expect, it } from 'vitest';
import { cluster, namespace, networkPolicy, node, pod } from '../../test/cluster.ts';
import type { KubeObject } from '../k8s/types.ts';
import { evaluate } from './evaluate.ts';
import type { Endpoint } from './verdict.ts';

// The upstream model: namespaces x, y, z with pods a, b, c each.
const names = ['x', 'y', 'z'];
const letters = ['a', 'b', 'c'];
const model: KubeObject[] = names.flatMap((ns, i) => [
  namespace(ns, { ns }),
  ...letters.map((letter, j) =>
    pod(`${ns}/${letter}`, {
      labels: { pod: letter },
      ips: [`10.1.${i}.${j + 1}`],
      ports: [
        { name: 'serve-80-tcp', containerPort: 80 },
        { name: 'serve-80-udp', containerPort: 80, protocol: 'UDP' },
        { name: 'serve-81-tcp', containerPort: 81 },
      ],
    }),
  ),
]);

/** Ids of the pods that reach `x/a:80/TCP` (or another target), itself left out. */
function reaching(policies: KubeObject[], target = 'x/a:80'): string {
  const { outcome } = cluster([...model, ...policies]);
  return names
    .flatMap((ns) => letters.map((letter) => `${ns}/${letter}`))
    .filter((id) => !target.startsWith(`${id}:`) && outcome(id, target) === 'allowed')
    .join(' ');
}

const a = { matchLabels: { pod: 'a' } };
const everyone = 'x/b x/c y/a y/b y/c z/a z/b z/c';
const nobody = '';

function ingress(from: unknown[], ports?: unknown[]): KubeObject {
  return networkPolicy('x/p', {
    podSelector: a,
    policyTypes: ['Ingress'],
    ingress: [{ from, ...(ports === undefined ? {} : { ports }) }],
  });
}

describe('selectors (1.8)', () => {
  const by = (podSelector: unknown): string => reaching([ingress([{ podSelector }])]);
  const expression = (operator: string, values?: string[], key = 'pod'): unknown => ({
    matchExpressions: [{ key, operator, ...(values === undefined ? {} : { values }) }],
  });

  it('S89: an empty selector matches every object', () => {
    expect(by({})).toBe('x/b x/c');
  });
  it('S91: all requirements are ANDed', () => {
    expect(by({ matchLabels: { pod: 'b', other: '1' } })).toBe(nobody);
    expect(
      by({ matchLabels: { pod: 'b' }, matchExpressions: [{ key: 'pod', operator: 'Exists' }] }),
    ).toBe('x/b');
  });
  it('S92: an empty value matches only a label that is present and empty', () => {
    expect(by({ matchLabels: { pod: '' } })).toBe(nobody);
    const { outcome } = cluster([
      ...model,
      pod('x/e', { labels: { mark: '' }, ips: ['10.1.9.1'] }),
      ingress([{ podSelector: { matchLabels: { mark: '' } } }]),
    ]);
    expect([outcome('x/e', 'x/a:80'), outcome('x/b', 'x/a:80')]).toEqual(['allowed', 'denied']);
  });
  it('S93: In needs the key and a listed value', () => {
    expect(by(expression('In', ['b', 'zzz']))).toBe('x/b');
    expect(by(expression('In', ['b'], 'none'))).toBe(nobody);
  });
  it('S94: NotIn matches without the key', () => {
    expect(by(expression('NotIn', ['b']))).toBe('x/c');
    expect(by(expression('NotIn', ['b'], 'none'))).toBe('x/b x/c');
  });
  it('S95: Exists matches any value', () => {
    expect(by(expression('Exists'))).toBe('x/b x/c');
    expect(by(expression('Exists', undefined, 'none'))).toBe(nobody);
  });
  it('S96: DoesNotExist matches without the key only', () => {
    expect(by(expression('DoesNotExist'))).toBe(nobody);
    expect(by(expression('DoesNotExist', undefined, 'none'))).toBe('x/b x/c');
  });
  it('S97: keys and values are compared exactly', () => {
    expect(by({ matchLabels: { pod: 'B' } })).toBe(nobody);
    expect(by({ matchLabels: { Pod: 'b' } })).toBe(nobody);
  });
  it('S98: a namespaceSelector reads the current labels of the namespace', () => {
    const policy = ingress([{ namespaceSelector: { matchLabels: { team: 'red' } } }]);
    expect(reaching([policy])).toBe(nobody);
    const { outcome } = cluster([
      ...model.filter((o) => o.metadata.name !== 'y'),
      namespace('y', { team: 'red' }),
      policy,
    ]);
    expect(outcome('y/b', 'x/a:80')).toBe('allowed');
  });
  it('S99: a podSelector reads the current labels of the pod, as subject and as peer', () => {
    const policy = ingress([{ podSelector: { matchLabels: { pod: 'b' } } }]);
    const { outcome } = cluster([
      namespace('x'),
      pod('x/a', { labels: { pod: 'other' }, ips: ['10.0.0.1'] }),
      pod('x/b', { labels: { pod: 'b' }, ips: ['10.0.0.2'] }),
      pod('x/c', { labels: {}, ips: ['10.0.0.3'] }),
      policy,
    ]);
    expect(outcome('x/c', 'x/a:80')).toBe('allowed');
  });
  it('S100: a policy selects pods of its own namespace only', () => {
    expect(reaching([networkPolicy('x/p', { podSelector: {} })], 'y/a:80')).toBe(
      'x/a x/b x/c y/b y/c z/a z/b z/c',
    );
  });
});

describe('peers (1.9)', () => {
  const nsY = { matchLabels: { ns: 'y' } };

  it('S101: peers are ORed', () => {
    expect(
      reaching([
        ingress([{ podSelector: { matchLabels: { pod: 'b' } } }, { namespaceSelector: nsY }]),
      ]),
    ).toBe('x/b y/a y/b y/c');
  });
  it('S102: no peers means everyone, outside the cluster too', () => {
    const policies = [networkPolicy('x/p', { podSelector: a, ingress: [{}] })];
    expect(reaching(policies)).toBe(everyone);
    expect(cluster([...model, ...policies]).outcome('192.0.2.1', 'x/a:80')).toBe('allowed');
    expect(reaching([ingress([])])).toBe(everyone);
  });
  it('S103: podSelector alone means the policy’s namespace', () => {
    expect(reaching([ingress([{ podSelector: { matchLabels: { pod: 'b' } } }])])).toBe('x/b');
  });
  it('S104: namespaceSelector alone means all pods there', () => {
    expect(reaching([ingress([{ namespaceSelector: nsY }])])).toBe('y/a y/b y/c');
  });
  it('S105: both are ANDed', () => {
    expect(
      reaching([ingress([{ namespaceSelector: nsY, podSelector: { matchLabels: { pod: 'b' } } }])]),
    ).toBe('y/b');
  });
  it('S106: two entries are ORed', () => {
    expect(
      reaching([
        ingress([{ namespaceSelector: nsY }, { podSelector: { matchLabels: { pod: 'b' } } }]),
      ]),
    ).toBe('x/b y/a y/b y/c');
  });
  it('S107: namespaceSelector {} means all pods of all namespaces', () => {
    expect(reaching([ingress([{ namespaceSelector: {} }])])).toBe(everyone);
  });
  it('S108: podSelector {} means all pods of the policy’s namespace', () => {
    expect(reaching([ingress([{ podSelector: {} }])])).toBe('x/b x/c');
  });
  it('S109: both empty means all pods', () => {
    expect(reaching([ingress([{ namespaceSelector: {}, podSelector: {} }])])).toBe(everyone);
  });
  it('S110, S384: selectors never match what is no pod', () => {
    const { outcome } = cluster([
      ...model,
      node('n', ['10.0.0.1']),
      ingress([{ namespaceSelector: {} }]),
    ]);
    expect(outcome('192.0.2.1', 'x/a:80')).toBe('denied');
    expect(
      cluster([...model, node('n', ['10.0.0.1']), ingress([{ namespaceSelector: {} }])]).snapshot
        .nodes.size,
    ).toBe(1);
  });
  it('S111: NotIn in a namespaceSelector matches namespaces without the key', () => {
    const notRed = { matchExpressions: [{ key: 'team', operator: 'NotIn', values: ['red'] }] };
    expect(reaching([ingress([{ namespaceSelector: notRed }])])).toBe(everyone);
  });
  it('S112: a subject is a possible peer of its own policy', () => {
    const policy = networkPolicy('x/p', {
      podSelector: {},
      ingress: [{ from: [{ podSelector: a }] }],
    });
    const { outcome } = cluster([...model, policy]);
    expect(outcome('x/a', 'x/b:80')).toBe('allowed');
    expect(outcome('x/c', 'x/b:80')).toBe('denied');
  });
  it('S113: an ipBlock is cidr without its excepts', () => {
    const { outcome } = cluster([
      ...model,
      ingress([{ ipBlock: { cidr: '172.17.0.0/16', except: ['172.17.1.0/24'] } }]),
    ]);
    const at = (ip: string): string => outcome(ip, 'x/a:80');
    expect(['172.17.0.0', '172.17.0.255', '172.17.2.0', '172.17.255.255'].map(at)).toEqual(
      Array(4).fill('allowed'),
    );
    expect(['172.17.1.0', '172.17.1.255', '172.16.255.255', '172.18.0.0'].map(at)).toEqual(
      Array(4).fill('denied'),
    );
  });
  it('S114, S381: an except is no deny', () => {
    const { outcome } = cluster([
      ...model,
      ingress([
        { ipBlock: { cidr: '10.1.0.0/16', except: ['10.1.1.0/24'] } },
        { ipBlock: { cidr: '10.1.1.2/32' } },
      ]),
    ]);
    expect(outcome('y/b', 'x/a:80')).toBe('allowed');
    expect(outcome('y/a', 'x/a:80')).toBe('denied');
  });
  it('S116: an egress ipBlock matches pod addresses', () => {
    const egress = (except: string[]): KubeObject =>
      networkPolicy('x/e', {
        podSelector: a,
        policyTypes: ['Egress'],
        egress: [{ to: [{ ipBlock: { cidr: '10.1.1.0/24', except } }] }],
      });
    expect(cluster([...model, egress([])]).outcome('x/a', 'y/b:80')).toBe('allowed');
    expect(cluster([...model, egress(['10.1.1.2/32'])]).outcome('x/a', 'y/b:80')).toBe('denied');
  });
  it('S118, S207, S208: an ipBlock limits its own family only', () => {
    const v6 = [pod('x/d', { labels: { pod: 'a' }, ips: ['10.1.0.9', 'fd00::9'] })];
    const v4only = cluster([...model, ...v6, ingress([{ ipBlock: { cidr: '0.0.0.0/0' } }])]);
    expect(v4only.outcome('192.0.2.1', 'x/d:80')).toBe('allowed');
    expect(v4only.outcome('2001:db8::1', 'x/d:80')).toBe('denied');
    const both = cluster([
      ...model,
      ...v6,
      ingress([{ ipBlock: { cidr: '0.0.0.0/0' } }, { ipBlock: { cidr: '::/0' } }]),
    ]);
    expect(both.outcome('2001:db8::1', 'x/d:80')).toBe('allowed');
  });
});

describe('ports (1.10)', () => {
  const open = (ports: unknown[], ...targets: string[]): string[] => {
    const { outcome } = cluster([...model, ingress([], ports)]);
    return targets.filter((target) => outcome('y/b', `x/a:${target}`) === 'allowed');
  };

  it('S120, S123: entries are ORed and restrict', () => {
    expect(open([{ port: 80 }, { port: 81 }], '80', '81', '82')).toEqual(['80', '81']);
  });
  it('S121: no ports means all ports', () => {
    expect(open([], '80', '9999/UDP', '1/SCTP')).toHaveLength(3);
  });
  it('S124: a protocol alone means all its ports', () => {
    expect(open([{ protocol: 'UDP' }], '80', '1/UDP', '65535/UDP')).toEqual(['1/UDP', '65535/UDP']);
  });
  it('S52: an empty entry is all of TCP', () => {
    expect(open([{}], '80', '65535', '80/UDP')).toEqual(['80', '65535']);
  });
  it('S125, S130, S378: a numeric port is that port of that protocol', () => {
    expect(open([{ port: 80 }], '80', '79', '80/UDP', '80/SCTP')).toEqual(['80']);
  });
  it('S126, S387: endPort is inclusive', () => {
    expect(open([{ port: 80, endPort: 82 }], '79', '80', '82', '83')).toEqual(['80', '82']);
    expect(open([{ port: 80, endPort: 80 }], '79', '80', '81')).toEqual(['80']);
  });
  it('S128: egress compares the destination’s port', () => {
    const { outcome } = cluster([
      ...model,
      networkPolicy('x/e', {
        podSelector: a,
        policyTypes: ['Egress'],
        egress: [{ ports: [{ port: 81 }] }],
      }),
    ]);
    expect([outcome('x/a', 'y/a:81'), outcome('x/a', 'y/a:80')]).toEqual(['allowed', 'denied']);
  });
  it('S131, S382: an SCTP-only policy isolates for all protocols', () => {
    expect(open([{ protocol: 'SCTP', port: 80 }], '80', '80/UDP', '80/SCTP')).toEqual(['80/SCTP']);
  });
  it('S132, S135: a named port is the destination’s container port of that name and protocol', () => {
    expect(open([{ port: 'serve-81-tcp' }], '80', '81', '81/UDP')).toEqual(['81']);
    expect(open([{ port: 'serve-80-udp' }], '80', '80/UDP')).toEqual([]);
    expect(open([{ port: 'serve-80-udp', protocol: 'UDP' }], '80', '80/UDP')).toEqual(['80/UDP']);
  });
  it('S133, S134: an egress named port is resolved per destination pod', () => {
    const { outcome } = cluster([
      ...model,
      pod('z/w', { ips: ['10.1.2.9'], ports: [{ name: 'serve-80-tcp', containerPort: 8080 }] }),
      networkPolicy('x/e', {
        podSelector: a,
        policyTypes: ['Egress'],
        egress: [{ ports: [{ port: 'serve-80-tcp' }] }],
      }),
    ]);
    expect(outcome('x/a', 'y/a:80')).toBe('allowed');
    expect(outcome('x/a', 'z/w:8080')).toBe('allowed');
    expect(outcome('x/a', 'z/w:80')).toBe('denied');
    expect(outcome('x/a', '192.0.2.1:80')).toBe('denied');
  });
  it('S136: of several container ports with one name each counts', () => {
    const { outcome } = cluster([
      namespace('x'),
      pod('x/a', {
        labels: { pod: 'a' },
        ips: ['10.1.0.1'],
        ports: [
          { name: 'web', containerPort: 80 },
          { name: 'web', containerPort: 81 },
        ],
      }),
      ingress([], [{ port: 'web' }]),
    ]);
    expect(['80', '81', '82'].map((port) => outcome('192.0.2.1', `x/a:${port}`))).toEqual([
      'allowed',
      'allowed',
      'denied',
    ]);
  });
  it('S137: a name that does not resolve matches nothing and still isolates', () => {
    expect(open([{ port: 'nosuch' }], '80', '80/UDP')).toEqual([]);
  });
  it('S138: ports need not be declared', () => {
    expect(open([{ port: 12345 }], '12345')).toEqual(['12345']);
  });
});

describe('isolation and union (1.11)', () => {
  const deny = (policyTypes: string[]): KubeObject =>
    networkPolicy('x/deny', { podSelector: {}, policyTypes });

  it('S139: directions are independent', () => {
    const { ask } = cluster([...model, deny(['Ingress'])]);
    expect(ask('x/a', 'y/a:80')).toMatchObject({
      outcome: 'allowed',
      egress: { reason: 'not-isolated' },
    });
    expect(ask('y/a', 'x/a:80')).toMatchObject({
      outcome: 'denied',
      ingress: { reason: 'none-admits', isolatedBy: [{ name: 'deny' }] },
    });
  });
  it('S140: without a policy everything passes', () => {
    expect(reaching([])).toBe(everyone);
    expect(cluster(model).ask('y/a', 'x/a:80').ingress).toEqual({
      direction: 'Ingress',
      outcome: 'allowed',
      reason: 'not-isolated',
      isolatedBy: [],
    });
  });
  it('S141, S376: a policy without rules isolates, and an empty list is no rule', () => {
    expect(reaching([deny(['Ingress'])])).toBe(nobody);
    expect(reaching([networkPolicy('x/p', { podSelector: {}, ingress: [] })])).toBe(nobody);
  });
  it('S142, S145: the union of all rules is allowed, whatever the order', () => {
    const one = ingress([{ podSelector: { matchLabels: { pod: 'b' } } }]);
    const two = {
      ...ingress([{ namespaceSelector: { matchLabels: { ns: 'y' } } }]),
      metadata: { namespace: 'x', name: 'q' },
    };
    expect(reaching([one, two])).toBe('x/b y/a y/b y/c');
    expect(reaching([two, one])).toBe('x/b y/a y/b y/c');
  });
  it('S143, S144: peers AND ports of one rule; rules are not combined', () => {
    const { outcome } = cluster([
      ...model,
      networkPolicy('x/p', {
        podSelector: a,
        ingress: [
          { from: [{ podSelector: { matchLabels: { pod: 'b' } } }], ports: [{ port: 80 }] },
          { from: [{ podSelector: { matchLabels: { pod: 'c' } } }], ports: [{ port: 81 }] },
        ],
      }),
    ]);
    expect([outcome('x/b', 'x/a:80'), outcome('x/b', 'x/a:81')]).toEqual(['allowed', 'denied']);
    expect([outcome('x/c', 'x/a:80'), outcome('x/c', 'x/a:81')]).toEqual(['denied', 'allowed']);
  });
  it('S148: both ends must allow', () => {
    const egressOnly = networkPolicy('y/e', { podSelector: {}, policyTypes: ['Egress'] });
    const { ask } = cluster([...model, egressOnly]);
    expect(ask('y/a', 'x/a:80')).toMatchObject({
      outcome: 'denied',
      egress: { outcome: 'denied' },
      ingress: { outcome: 'allowed' },
    });
  });
  it('S149, S154: an empty rule admits everything and cancels a default deny', () => {
    const all = networkPolicy('x/all', { podSelector: {}, ingress: [{}] });
    expect(reaching([deny(['Ingress']), all])).toBe(everyone);
  });
  it('S150–S152: default deny by direction', () => {
    const of = (types: string[]): string[] => {
      const { outcome } = cluster([...model, deny(types)]);
      return [outcome('y/a', 'x/a:80'), outcome('x/a', 'y/a:80')];
    };
    expect(of(['Ingress'])).toEqual(['denied', 'allowed']);
    expect(of(['Egress'])).toEqual(['allowed', 'denied']);
    expect(of(['Ingress', 'Egress'])).toEqual(['denied', 'denied']);
  });
  it('S153: default-deny egress stops DNS too', () => {
    expect(cluster([...model, deny(['Egress'])]).outcome('x/a', 'y/a:53/UDP')).toBe('denied');
  });
  it('S5, S390: an object without spec is default-deny ingress', () => {
    const { outcome } = cluster([
      ...model,
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { namespace: 'x', name: 'n' },
      },
    ]);
    expect([outcome('y/a', 'x/a:80'), outcome('x/a', 'y/a:80')]).toEqual(['denied', 'allowed']);
  });
  it('S78, S377: rules of a direction that is not listed have no effect', () => {
    const { outcome } = cluster([
      ...model,
      networkPolicy('x/p', {
        podSelector: a,
        policyTypes: ['Ingress'],
        egress: [{ ports: [{ port: 1 }] }],
      }),
    ]);
    expect(outcome('x/a', 'y/a:80')).toBe('allowed');
    expect(outcome('y/a', 'x/a:80')).toBe('denied');
  });
  it('says which rule admits, by which peer and port, and what else admits', () => {
    const { ask } = cluster([
      ...model,
      ingress(
        [{ podSelector: { matchLabels: { pod: 'c' } } }, { podSelector: {} }],
        [{ port: 80 }],
      ),
      networkPolicy('x/q', { podSelector: a, ingress: [{}] }),
    ]);
    expect(ask('x/b', 'x/a:80').ingress).toMatchObject({
      reason: 'accepted',
      tier: 'NetworkPolicy',
      decidedBy: {
        policy: { name: 'p' },
        peerPath: 'spec.ingress[0].from[1]',
        portPath: 'spec.ingress[0].ports[0]',
      },
      alsoAdmittedBy: [{ policy: { name: 'q' } }],
      isolatedBy: [{ name: 'p' }, { name: 'q' }],
    });
  });
});

describe('what is never blocked, or left open (1.12)', () => {
  const denyAll = networkPolicy('x/deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
  const nodes = [node('n1', ['10.0.0.1']), node('n2', ['10.0.0.2'])];
  const here = pod('x/p', { ips: ['10.1.9.9'], node: 'n1' });

  it('S160, S164: ingress from the own node passes, from another node not', () => {
    const { ask } = cluster([namespace('x'), ...nodes, here, denyAll]);
    expect(ask('node:n1', 'x/p:80')).toMatchObject({
      outcome: 'allowed',
      egress: { reason: 'not-applicable' },
      ingress: { reason: 'own-node' },
    });
    expect(ask('10.0.0.1', 'x/p:80').outcome).toBe('allowed');
    expect(ask('node:n2', 'x/p:80').outcome).toBe('denied');
  });
  it('S160: without the pod’s node the answer is unknown', () => {
    const { ask } = cluster([namespace('x'), ...nodes, pod('x/q', { ips: ['10.1.9.8'] }), denyAll]);
    expect(ask('node:n1', 'x/q:80')).toMatchObject({ outcome: 'unknown' });
    expect(ask('node:n1', 'x/q:80').ingress.missing).toEqual([
      'whether node n1 is on the node of pod x/q is not known',
    ]);
  });
  it('S161, S360: egress to the own node follows the setting', () => {
    const of = (podToOwnNode: 'policy' | 'allow' | 'unknown'): string[] => {
      const { outcome } = cluster([namespace('x'), ...nodes, here, denyAll], { podToOwnNode });
      return [outcome('x/p', 'node:n1:80'), outcome('x/p', 'node:n2:80')];
    };
    expect(of('policy')).toEqual(['denied', 'denied']);
    expect(of('allow')).toEqual(['allowed', 'denied']);
    expect(of('unknown')).toEqual(['unknown', 'denied']);
  });
  it('S165, S167: a pod reaches itself', () => {
    const { ask } = cluster([namespace('x'), here, denyAll]);
    expect(ask('x/p', 'x/p:80')).toMatchObject({
      outcome: 'allowed',
      egress: { reason: 'self' },
      ingress: { reason: 'self' },
    });
    expect(ask('x/p', '10.1.9.9:80').outcome).toBe('allowed');
  });
  it('S166, S361: itself through a Service follows the setting', () => {
    const of = (selfThroughService: 'policy' | 'allow' | 'unknown'): string =>
      cluster([namespace('x'), here, denyAll], { selfThroughService }).ask('x/p', 'x/p:80', {
        throughService: true,
      }).outcome;
    expect([of('policy'), of('allow'), of('unknown')]).toEqual(['denied', 'allowed', 'unknown']);
  });
  it('S165: replicas of one template are different pods', () => {
    const deployment = (replicas: number): KubeObject => ({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { namespace: 'x', name: 'd' },
      spec: { replicas, template: { metadata: { labels: {} }, spec: {} } },
    });
    const of = (replicas: number): string =>
      cluster([namespace('x'), deployment(replicas), denyAll]).outcome(
        'x/Deployment/d',
        'x/Deployment/d:80',
      );
    expect([of(1), of(2)]).toEqual(['allowed', 'denied']);
  });
});

describe('addresses (1.14)', () => {
  it('S175, S362: with NAT left open, ingress ipBlocks do not decide about what is no pod', () => {
    const { ask } = cluster([...model, ingress([{ ipBlock: { cidr: '192.0.2.0/24' } }])], {
      ipBlockAddress: 'unknown',
    });
    expect(ask('192.0.2.1', 'x/a:80').outcome).toBe('unknown');
    expect(ask('198.51.100.1', 'x/a:80').outcome).toBe('unknown');
    expect(ask('y/a', 'x/a:80').outcome).toBe('denied');
  });
  it('S178, S385: a Service’s cluster address is not what policy sees', () => {
    const { ask } = cluster([
      ...model,
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { namespace: 'y', name: 's' },
        spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
      },
      networkPolicy('x/e', {
        podSelector: a,
        policyTypes: ['Egress'],
        egress: [{ to: [{ ipBlock: { cidr: '10.96.0.0/12' } }] }],
      }),
    ]);
    expect(ask('x/a', '10.96.0.1:80').egress).toMatchObject({
      outcome: 'unknown',
      missing: [
        '10.96.0.1 is the cluster address of Service y/s: policy sees the backend behind it',
      ],
    });
    expect(ask('x/b', '10.96.0.1:80').outcome).toBe('allowed');
  });
  it('says unknown where a pod’s address is not known and an ipBlock decides', () => {
    const { ask } = cluster([
      namespace('x'),
      pod('x/a', { labels: { pod: 'a' }, ips: ['10.1.0.1'] }),
      pod('x/late'),
      ingress([{ ipBlock: { cidr: '10.1.0.0/16' } }]),
    ]);
    expect(ask('x/late', 'x/a:80').ingress).toMatchObject({
      outcome: 'unknown',
      missing: ['the address of pod x/late is not known'],
    });
    const all = cluster([
      namespace('x'),
      pod('x/a', { labels: { pod: 'a' }, ips: ['10.1.0.1'] }),
      pod('x/late'),
      ingress([{ ipBlock: { cidr: '0.0.0.0/0' } }]),
    ]);
    // The family is the other end's.
    expect(all.outcome('x/late', 'x/a:80')).toBe('allowed');
  });
});

describe('hostNetwork pods (1.15)', () => {
  const host = pod('x/h', {
    labels: { pod: 'h' },
    ips: ['10.0.0.1'],
    node: 'n1',
    hostNetwork: true,
  });
  const base = [
    namespace('x'),
    namespace('y'),
    node('n1', ['10.0.0.1']),
    node('n2', ['10.0.0.2']),
    host,
  ];
  const near = pod('x/a', { labels: { pod: 'a' }, ips: ['10.1.0.1'], node: 'n1' });
  const far = pod('x/f', { labels: { pod: 'a' }, ips: ['10.1.0.2'], node: 'n2' });
  const deny = networkPolicy('x/deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });

  it('S184, S185: by default a hostNetwork pod is neither subject nor selector peer', () => {
    const { ask } = cluster([...base, far, deny, ingress([{ podSelector: {} }])]);
    expect(ask('x/h', '192.0.2.1:80')).toMatchObject({ egress: { reason: 'not-applicable' } });
    expect(ask('192.0.2.1', 'x/h:80').outcome).toBe('allowed');
    expect(ask('x/h', 'x/f:80').outcome).toBe('denied');
  });
  it('S184, S364: with the setting unknown, what differs between the options is unknown', () => {
    const { ask } = cluster([...base, far, deny], { hostNetworkPods: 'unknown' });
    expect(ask('192.0.2.1', 'x/h:80')).toMatchObject({
      outcome: 'unknown',
      ingress: { missing: ['whether policy sees hostNetwork pods as pods or as their node'] },
    });
  });
  it('S186: an ipBlock with the node’s address matches it', () => {
    const { outcome } = cluster([...base, far, ingress([{ ipBlock: { cidr: '10.0.0.1/32' } }])]);
    expect(outcome('x/h', 'x/f:80')).toBe('allowed');
  });
  it('S188: towards a pod on the same node it is the own node', () => {
    const { ask } = cluster([...base, near, deny]);
    expect(ask('x/h', 'x/a:80').ingress.reason).toBe('own-node');
  });
});

describe('lifecycle, protocols, families (1.16–1.18)', () => {
  it('S195, S368: finished pods follow the setting', () => {
    const objects = [
      ...model,
      pod('x/done', { labels: { pod: 'b' }, ips: ['10.1.9.9'], phase: 'Succeeded' }),
      ingress([{ podSelector: { matchLabels: { pod: 'b' } } }]),
    ];
    expect(cluster(objects).outcome('x/done', 'x/a:80')).toBe('denied');
    expect(cluster(objects, { terminatedPods: 'include' }).outcome('x/done', 'x/a:80')).toBe(
      'allowed',
    );
  });
  it('S196: a terminating pod keeps its policies', () => {
    const leaving = pod('x/t', { labels: { pod: 'a' }, ips: ['10.1.9.8'] });
    leaving.metadata.deletionTimestamp = '2026-01-01T00:00:00Z';
    const { outcome } = cluster([
      ...model,
      leaving,
      ingress([{ podSelector: { matchLabels: { pod: 'b' } } }]),
    ]);
    expect([outcome('y/a', 'x/t:80'), outcome('x/b', 'x/t:80')]).toEqual(['denied', 'allowed']);
  });
  it('S122, S200, S365: other protocols follow the setting', () => {
    const of = (otherProtocols: 'portless-rules' | 'allow' | 'deny' | 'unknown'): string[] => {
      const { outcome } = cluster([...model, ingress([{ podSelector: {} }])], { otherProtocols });
      return [
        outcome('x/b', 'x/a:other'),
        outcome('y/b', 'x/a:other'),
        outcome('y/b', 'x/b:other'),
      ];
    };
    expect(of('portless-rules')).toEqual(['allowed', 'denied', 'allowed']);
    expect(of('allow')).toEqual(['allowed', 'allowed', 'allowed']);
    expect(of('deny')).toEqual(['denied', 'denied', 'allowed']);
    expect(of('unknown')).toEqual(['unknown', 'unknown', 'allowed']);
    const ported = cluster([...model, ingress([], [{ port: 80 }])]);
    expect(ported.outcome('x/b', 'x/a:other')).toBe('denied');
  });
  it('S206: selectors cover all addresses of a pod', () => {
    const { outcome } = cluster([
      namespace('x'),
      pod('x/a', { labels: { pod: 'a' }, ips: ['10.1.0.1', 'fd00::1'] }),
      pod('x/b', { labels: { pod: 'b' }, ips: ['10.1.0.2', 'fd00::2'] }),
      ingress([{ podSelector: { matchLabels: { pod: 'b' } } }]),
    ]);
    expect(['10.1.0.2', 'fd00::2'].map((ip) => outcome(ip, 'x/a:80'))).toEqual([
      'allowed',
      'allowed',
    ]);
    expect(outcome('2001:db8::1', 'x/a:80')).toBe('denied');
  });
  it('S205, S366: between dual-stack pods an ipBlock of one family leaves the answer unknown', () => {
    const objects = (peers: unknown[]): KubeObject[] => [
      namespace('x'),
      pod('x/a', { labels: { pod: 'a' }, ips: ['10.1.0.1', 'fd00::1'] }),
      pod('x/b', { ips: ['10.1.0.2', 'fd00::2'] }),
      ingress(peers),
    ];
    const v4 = { ipBlock: { cidr: '0.0.0.0/0' } };
    expect(cluster(objects([v4])).ask('x/b', 'x/a:80').ingress).toMatchObject({
      outcome: 'unknown',
      missing: ['whether the connection uses IPv4 or IPv6: they are treated differently'],
    });
    expect(cluster(objects([v4])).outcome('10.1.0.2', 'x/a:80')).toBe('allowed');
    expect(cluster(objects([v4, { ipBlock: { cidr: '::/0' } }])).outcome('x/b', 'x/a:80')).toBe(
      'allowed',
    );
  });
});

describe('facts that are missing', () => {
  it('labels of a namespace that is not given', () => {
    const { ask } = cluster([
      namespace('x'),
      pod('x/a', { labels: { pod: 'a' }, ips: ['10.1.0.1'] }),
      pod('m/b', { ips: ['10.1.0.2'] }),
      ingress([{ namespaceSelector: { matchLabels: { team: 'red' } } }]),
    ]);
    expect(ask('m/b', 'x/a:80').ingress).toMatchObject({
      outcome: 'unknown',
      missing: ['the labels of namespace m are not known: its Namespace object is not given'],
    });
  });
  it('S25: but its name is known', () => {
    const { outcome } = cluster([
      namespace('x'),
      pod('x/a', { labels: { pod: 'a' }, ips: ['10.1.0.1'] }),
      pod('m/b', { ips: ['10.1.0.2'] }),
      pod('n/b', { ips: ['10.1.0.3'] }),
      ingress([{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'm' } } }]),
    ]);
    expect([outcome('m/b', 'x/a:80'), outcome('n/b', 'x/a:80')]).toEqual(['allowed', 'denied']);
  });
  it('what an invalid policy says: unknown in its namespace, unless another rule admits', () => {
    const bad = networkPolicy('x/bad', { ingress: [{ from: [{}] }] });
    const { ask } = cluster([...model, bad], {}, { allowFaults: true });
    expect(ask('y/a', 'x/a:80').ingress).toMatchObject({
      outcome: 'unknown',
      missing: ['NetworkPolicy x/bad is not valid, so what it isolates and admits is not known'],
    });
    expect(ask('x/a', 'y/a:80').outcome).toBe('unknown');
    expect(ask('y/a', 'z/a:80').outcome).toBe('allowed');
    const admitted = cluster(
      [...model, bad, networkPolicy('x/all', { podSelector: {}, ingress: [{}] })],
      {},
      { allowFaults: true },
    );
    expect(admitted.ask('y/a', 'x/a:80').ingress.outcome).toBe('allowed');
  });
  it('a port that is not given matters only to rules that name ports', () => {
    const ask = (ports: unknown[]): string => {
      const { snapshot } = cluster([...model, ingress([], ports)]);
      const end = (id: string): Endpoint => ({ kind: 'pod', pod: snapshot.podById.get(id)! });
      return evaluate(snapshot, end('y/a'), end('x/a'), 'TCP').outcome;
    };
    expect([ask([]), ask([{}]), ask([{ port: 80 }]), ask([{ port: 'serve-80-tcp' }])]).toEqual([
      'allowed',
      'allowed',
      'unknown',
      'unknown',
    ]);
  });
});
