import { describe, expect, it } from 'vitest';
import { buildSnapshot } from '../engine/build.ts';
import type { KubeObject } from '../k8s/types.ts';
import { compileNode } from './compile.ts';
import type { DataplaneOptions, NodeProgram } from './model.ts';
import { programChainText, renderProgram } from './render.ts';

function pod(name: string, ip: string, labels: object, extra: object = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'prod', labels: { ...labels } },
    spec: {
      nodeName: 'n1',
      containers: [{ name: 'c', ports: [{ name: 'web', containerPort: 80 }] }],
      ...extra,
    },
    status: { phase: 'Running', podIPs: [{ ip }] },
  };
}

const node: KubeObject = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'n1' },
  spec: { podCIDR: '10.1.0.0/24' },
  status: { addresses: [{ type: 'InternalIP', address: '192.168.0.1' }] },
};

function policy(name: string, spec: object): KubeObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: 'prod' },
    spec,
  };
}

const db = pod('db', '10.1.0.2', { role: 'db' });
const web = pod('web', '10.1.0.3', { role: 'frontend' });

function compile(
  objects: readonly KubeObject[],
  options: Partial<DataplaneOptions> = {},
): NodeProgram {
  return compileNode(
    buildSnapshot([node, ...objects].map((object) => ({ object }))).snapshot,
    'n1',
    options,
  );
}

/** The chains of a program with short names in order of appearance, as golden text. */
function chains(program: NodeProgram): string {
  let text = [...program.chains.values()]
    .map((chain) => programChainText(chain, 'connection'))
    .join('\n');
  for (const direction of ['Egress', 'Ingress'] as const)
    for (const [address, target] of program.dispatch[direction][4])
      text += `\n${direction} ${address} -> ${target}`;
  const names = new Map<string, string>();
  return text.replace(/\b[eiksrfp]\d?_[0-9a-f]{24}\b/g, (name) => {
    const short = names.get(name) ?? `${name.slice(0, name.indexOf('_'))}#${names.size + 1}`;
    names.set(name, short);
    return short;
  });
}

describe('programs of the classic policies', () => {
  it('pods without policy are let on, and known', () => {
    expect(chains(compile([db]))).toMatchInlineSnapshot(`
      "
      Egress 10.1.0.2 -> c_in
      Ingress 10.1.0.2 -> c_ok"
    `);
  });

  it('S150: default deny ingress is one jump, without a chain of its own', () => {
    expect(chains(compile([db, policy('deny', { podSelector: {}, policyTypes: ['Ingress'] })])))
      .toMatchInlineSnapshot(`
      "
      Egress 10.1.0.2 -> c_in
      Ingress 10.1.0.2 -> d_in"
    `);
  });

  it('S154: an allow-all policy beside default deny is one jump too', () => {
    const program = compile([
      db,
      policy('deny', { podSelector: {}, policyTypes: ['Ingress'] }),
      policy('allow', { podSelector: {}, ingress: [{}] }),
    ]);
    expect(chains(program)).toMatchInlineSnapshot(`
      "
      Egress 10.1.0.2 -> c_in
      Ingress 10.1.0.2 -> c_ok"
    `);
  });

  it('S113: ipBlock with except, selectors and ports', () => {
    const program = compile([
      db,
      web,
      policy('test-network-policy', {
        podSelector: { matchLabels: { role: 'db' } },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          {
            from: [
              { ipBlock: { cidr: '172.17.0.0/16', except: ['172.17.1.0/24'] } },
              { podSelector: { matchLabels: { role: 'frontend' } } },
            ],
            ports: [{ protocol: 'TCP', port: 6379 }],
          },
        ],
        egress: [
          { to: [{ ipBlock: { cidr: '10.0.0.0/24' } }], ports: [{ protocol: 'TCP', port: 5978 }] },
        ],
      }),
    ]);
    expect(chains(program)).toMatchInlineSnapshot(`
      "  chain k#1 {
          ct original ip saddr @s4#2 goto c_ok
          ct original ip saddr 172.17.0.0-172.17.0.255 goto c_ok
          ct original ip saddr 172.17.2.0-172.17.255.255 goto c_ok
          goto d_in
        }
        chain i#3 {
          meta l4proto tcp ct reply proto-src 6379 goto k#1
          goto d_in
        }
        chain k#4 {
          ct reply ip saddr 10.0.0.0-10.0.0.255 goto c_in
          goto d_eg
        }
        chain e#5 {
          meta l4proto tcp ct reply proto-src 5978 goto k#4
          goto d_eg
        }
      Egress 10.1.0.2 -> e#5
      Egress 10.1.0.3 -> c_in
      Ingress 10.1.0.2 -> i#3
      Ingress 10.1.0.3 -> c_ok"
    `);
  });

  it('S134: an egress rule with a named port looks at the destinations that have the number', () => {
    const program = compile([
      db,
      web,
      policy('named', {
        podSelector: {},
        policyTypes: ['Egress'],
        egress: [{ ports: [{ port: 'web' }] }],
      }),
    ]);
    expect(chains(program)).toMatchInlineSnapshot(`
      "  chain k#1 {
          ct reply ip saddr @s4#2 goto c_in
          goto d_eg
        }
        chain e#3 {
          meta l4proto tcp ct reply proto-src 80 goto k#1
          goto d_eg
        }
      Egress 10.1.0.2 -> e#3
      Egress 10.1.0.3 -> e#3
      Ingress 10.1.0.2 -> c_ok
      Ingress 10.1.0.3 -> c_ok"
    `);
    expect([...program.groups.values()].map(({ elements }) => [...elements])).toEqual([
      ['10.1.0.2', '10.1.0.3'],
    ]);
  });

  it('many ports go into one map, more than four selectors into one set', () => {
    const program = compile([
      db,
      web,
      policy('many', {
        podSelector: { matchLabels: { role: 'db' } },
        ingress: [
          {
            from: ['a', 'b', 'c', 'd', 'frontend'].map((role) => ({
              podSelector: { matchLabels: { role } },
            })),
            ports: [1, 3, 5, 7, 9]
              .map((port) => ({ port }))
              .concat([{ port: 100, endPort: 200 } as never]),
          },
        ],
      }),
    ]);
    expect(chains(program)).toMatchInlineSnapshot(`
      "  chain k#1 {
          ct original ip saddr @s4#2 goto c_ok
          goto d_in
        }
        chain i#3 {
          meta l4proto tcp ct reply proto-src vmap @p#4
          meta l4proto tcp ct reply proto-src 100-200 goto k#1
          goto d_in
        }
      Egress 10.1.0.2 -> c_in
      Egress 10.1.0.3 -> c_in
      Ingress 10.1.0.2 -> i#3
      Ingress 10.1.0.3 -> c_ok"
    `);
    expect(program.groups.size).toBe(1);
    expect([...program.portMaps.values()].map(({ entries }) => [...entries.keys()])).toEqual([
      [1, 3, 5, 7, 9],
    ]);
  });
});

describe('sharing and naming', () => {
  const allow = policy('allow', {
    podSelector: {},
    ingress: [{ from: [{ podSelector: { matchLabels: { role: 'frontend' } } }] }],
  });

  it('pods with the same policies share one program', () => {
    const program = compile([db, web, allow]);
    expect(new Set(program.dispatch.Ingress[4].values()).size).toBe(1);
  });

  it('a pod more changes sets and dispatch, and no chain', () => {
    const before = compile([db, web, allow]);
    const after = compile([db, web, pod('web2', '10.1.0.4', { role: 'frontend' }), allow]);
    expect([...after.chains.keys()]).toEqual([...before.chains.keys()]);
    expect([...after.groups.keys()]).toEqual([...before.groups.keys()]);
    expect([...after.groups.values()][0]?.elements).toEqual(new Set(['10.1.0.3', '10.1.0.4']));
  });

  it('the order of the input does not matter', () => {
    const other = policy('other', { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] });
    const names = (program: NodeProgram): string[] => [...program.chains.keys()].sort();
    expect(names(compile([db, web, allow, other]))).toEqual(
      names(compile([other, allow, web, db])),
    );
  });

  it('the sets of a Pass rule are named by content: they are never changed while in use', () => {
    const pass = {
      apiVersion: 'policy.networking.k8s.io/v1alpha2',
      kind: 'ClusterNetworkPolicy',
      metadata: { name: 'pass' },
      spec: {
        tier: 'Admin',
        priority: 1,
        subject: { namespaces: {} },
        ingress: [
          {
            action: 'Pass',
            from: [{ pods: { podSelector: { matchLabels: { role: 'frontend' } } } }],
          },
          { action: 'Deny', from: [{ namespaces: {} }] },
        ],
      },
    };
    const before = compile([db, web, pass]);
    const after = compile([db, web, pod('web2', '10.1.0.4', { role: 'frontend' }), pass]);
    expect([...before.groups.keys()].every((name) => name.startsWith('f4_'))).toBe(true);
    expect([...after.groups.keys()]).not.toEqual([...before.groups.keys()]);
  });
});

describe('what counts as a pod', () => {
  it('S195: a finished pod is neither dispatched nor a peer, and its address may be another’s', () => {
    const done = {
      ...pod('job', '10.1.0.3', { role: 'frontend' }),
      status: { phase: 'Succeeded', podIPs: [{ ip: '10.1.0.3' }] },
    };
    const reused = pod('new', '10.1.0.3', { role: 'other' });
    const allow = policy('allow', {
      podSelector: { matchLabels: { role: 'db' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { role: 'frontend' } } }] }],
    });
    for (const order of [
      [done, reused],
      [reused, done],
    ]) {
      const program = compile([db, ...order, allow]);
      expect([...program.dispatch.Ingress[4].keys()].sort()).toEqual(['10.1.0.2', '10.1.0.3']);
      expect([...program.groups.values()].map(({ elements }) => [...elements])).toEqual([[]]);
    }
    expect([...compile([db, done, allow]).dispatch.Ingress[4].keys()]).toEqual(['10.1.0.2']);
  });

  it('S185: a hostNetwork pod is node traffic', () => {
    const host = pod('host', '192.168.0.1', { role: 'frontend' }, { hostNetwork: true });
    const program = compile([
      db,
      host,
      policy('all', { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] }),
    ]);
    expect([...program.dispatch.Ingress[4].keys()]).toEqual(['10.1.0.2']);
    expect([...program.groups.values()].map(({ elements }) => [...elements])).toEqual([
      ['10.1.0.2'],
    ]);
  });

  it('S198: a pod without an address is left out', () => {
    const pending = { ...pod('pending', '', { role: 'db' }), status: { phase: 'Pending' } };
    expect(compile([db, pending]).dispatch.Ingress[4].size).toBe(1);
  });

  it('says when unknown pods cannot be denied, because the node has no pod range', () => {
    expect(compile([db]).warnings).toEqual([]);
    const { snapshot } = buildSnapshot([{ object: db }]);
    expect(compileNode(snapshot, 'n1').warnings).toEqual([
      'node n1 has no pod range (spec.podCIDRs): pods that are not announced yet cannot be told from other addresses and are not denied',
    ]);
    expect(compileNode(snapshot, 'n1', { unknownPod: 'allow' }).warnings).toEqual([]);
  });

  it('a policy that does not validate closes the pods that it might select', () => {
    const broken = policy('broken', { podSelector: {}, ingress: [{ ports: [{ port: 99999 }] }] });
    expect(compile([db, broken]).dispatch.Ingress[4].get('10.1.0.2')).toBe('d_in');
    expect(compile([db, broken]).dispatch.Egress[4].get('10.1.0.2')).toBe('d_eg');
    expect(
      compile([db, broken], { invalidPolicies: 'ignore' }).dispatch.Ingress[4].get('10.1.0.2'),
    ).toBe('c_ok');
  });
});

describe('rendering', () => {
  it('names the policies in comments, one line each whatever their names hold', () => {
    const text = renderProgram(
      compile([
        db,
        web,
        policy('allow-web', {
          podSelector: {},
          ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 80 }] }],
        }),
      ]),
    );
    expect(text).toContain('# Ingress of pods selected by NetworkPolicy prod/allow-web');
    expect(text).toContain('# pods {<none>} in prod');
  });

  it('each chain has a form that reads connections and one that reads packets, alike but for that', () => {
    const program = compile([
      db,
      web,
      policy('many', {
        podSelector: {},
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          { from: [{ podSelector: {} }], ports: [80, 82, 84, 86, 88].map((port) => ({ port })) },
          { from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.9.0.0/16'] } }] },
        ],
        egress: [
          { to: [{ podSelector: {} }], ports: [{ protocol: 'UDP', port: 53, endPort: 60 }] },
          { ports: [{ protocol: 'SCTP', port: 5 }] },
        ],
      }),
    ]);
    expect(program.chains.size).toBeGreaterThan(3);
    expect(program.portMaps.size).toBeGreaterThan(0);
    for (const chain of program.chains.values()) {
      const connection = programChainText(chain, 'connection');
      expect(programChainText(chain, 'packet')).toBe(
        connection
          .replaceAll('ct original ip saddr', 'ip saddr')
          .replaceAll('ct reply ip saddr', 'ip daddr')
          .replaceAll('ct reply proto-src', 'th dport')
          .replace(/\b([eikp]_[0-9a-f]{24}|c_in)\b/g, '$1_n'),
      );
      expect(connection).not.toMatch(/_n\b|th dport| ip daddr/);
    }
  });

  it('refuses a mark mask that is not one run of bits', () => {
    expect(() => renderProgram(compile([db], { markMask: 0xf0f0 }))).toThrow(
      new RangeError('mark mask 0xf0f0 is not one run of 8 to 24 bits'),
    );
    expect(() => renderProgram(compile([db], { markMask: 0xff }))).not.toThrow();
  });
});
