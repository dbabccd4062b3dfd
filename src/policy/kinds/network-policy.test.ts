import { describe, expect, it } from 'vitest';
import { formatFieldError } from '../../k8s/field-error.ts';
import { matches } from '../../k8s/selector.ts';
import type { KubeObject, NetworkPolicySpec, ObjectMeta } from '../../k8s/types.ts';
import { formatAddressSet } from '../../net/address-set.ts';
import type { CompiledPolicy, CompiledRule } from '../compiled.ts';
import type { ValidationOptions } from '../policy-kind.ts';
import { networkPolicy } from './network-policy.ts';

type Loose = Record<string, unknown>;

function policy(
  spec?: Loose | null,
  metadata: ObjectMeta = { name: 'web', namespace: 'shop' },
): KubeObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata,
    ...(spec === undefined ? {} : { spec }),
  };
}

function defaulted(spec?: Loose | null): NetworkPolicySpec {
  return networkPolicy.applyDefaults(policy(spec)).spec as NetworkPolicySpec;
}

/** `path Kind detail` of every error, after defaulting. */
function errors(spec?: Loose | null, options?: ValidationOptions): string[] {
  const object = networkPolicy.applyDefaults(policy(spec));
  return networkPolicy
    .validate(object, options)
    .map(({ path, kind, detail }) => `${path} ${kind} ${detail}`.trim());
}

function portErrors(port: Loose | null): string[] {
  return errors({ ingress: [{ ports: [port] }] }).map((line) =>
    line.replace('spec.ingress[0].ports[0]', 'P'),
  );
}

function peerErrors(peer: Loose | null, options?: ValidationOptions): string[] {
  return errors({ egress: [{ to: [peer] }] }, options).map((line) =>
    line.replace('spec.egress[0].to[0]', 'T'),
  );
}

function blockErrors(cidr: unknown, except?: unknown[], options?: ValidationOptions): string[] {
  return peerErrors(
    { ipBlock: { cidr, ...(except === undefined ? {} : { except }) } },
    options,
  ).map((line) => line.replace('T.ipBlock.', ''));
}

function compiled(spec?: Loose | null): CompiledPolicy {
  const object = networkPolicy.applyDefaults(policy(spec));
  expect(networkPolicy.validate(object)).toEqual([]);
  return networkPolicy.compile(object);
}

/** The addresses of a rule's first peer. */
function addressesOf(rule: CompiledRule): string {
  const peer = rule.peers === 'any' ? undefined : rule.peers[0];
  return peer?.kind === 'addresses' ? formatAddressSet(peer.set) : 'no ipBlock';
}

function firstRule(spec: Loose): CompiledRule {
  const { Ingress, Egress } = compiled(spec).rules;
  return (Ingress[0] ?? Egress[0]) as CompiledRule;
}

const range = 'must be between 1 and 65535, inclusive';
const cidrForm = 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)';
const subset = 'must be a strict subset of `cidr`';

describe('NetworkPolicy: objects and defaults', () => {
  it('S1: names of the kind', () => {
    expect(networkPolicy).toMatchObject({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      plural: 'networkpolicies',
      shortNames: ['netpol'],
      namespaced: true,
      tier: 'NetworkPolicy',
    });
  });

  it('S3: status is an unknown field', () => {
    expect(networkPolicy.schema).not.toHaveProperty('fields.status');
    expect(networkPolicy.schema).toHaveProperty('fields.spec');
  });

  it('S5: an object without spec is valid and isolates its namespace for ingress', () => {
    for (const spec of [undefined, null, {}]) {
      expect(errors(spec)).toEqual([]);
      const result = compiled(spec);
      expect(result.isolates).toEqual({ Ingress: true, Egress: false });
      expect(result.rules).toEqual({ Ingress: [], Egress: [] });
      expect(matches(result.subject.pods, { any: 'pod' })).toBe(true);
      expect(result.subject.namespaces).toEqual({ name: 'shop' });
    }
  });

  it('S6: podSelector omitted, null and empty mean every pod', () => {
    const ids = [{}, { podSelector: null }, { podSelector: {} }].map(
      (spec) => compiled(spec).subject.pods.id,
    );
    expect(new Set(ids).size).toBe(1);
    expect(matches(compiled({}).subject.pods, {})).toBe(true);
  });

  it('S7: an absent protocol is TCP', () => {
    const spec = defaulted({
      ingress: [{ ports: [{ port: 80 }, { protocol: null }, {}, null, { protocol: 'UDP' }] }],
      egress: [{ ports: [{ port: 'dns' }] }],
    });
    expect(spec.ingress?.[0]?.ports?.map((port) => port.protocol)).toEqual([
      'TCP',
      'TCP',
      'TCP',
      'TCP',
      'UDP',
    ]);
    expect(spec.egress?.[0]?.ports).toEqual([{ port: 'dns', protocol: 'TCP' }]);
  });

  it('S8: missing or empty policyTypes', () => {
    expect(defaulted({}).policyTypes).toEqual(['Ingress']);
    expect(defaulted({ policyTypes: [] }).policyTypes).toEqual(['Ingress']);
    expect(defaulted({ policyTypes: null }).policyTypes).toEqual(['Ingress']);
    expect(defaulted({ ingress: [{}] }).policyTypes).toEqual(['Ingress']);
    expect(defaulted({ policyTypes: [], egress: [{}] }).policyTypes).toEqual(['Ingress', 'Egress']);
  });

  it('S9: an empty egress list without policyTypes does not isolate egress', () => {
    expect(compiled({ egress: [] }).isolates).toEqual({ Ingress: true, Egress: false });
  });

  it('S10: egress rules alone isolate both directions', () => {
    const result = compiled({ egress: [{}] });
    expect(result.isolates).toEqual({ Ingress: true, Egress: true });
    expect(result.rules.Ingress).toEqual([]);
    expect(result.rules.Egress).toHaveLength(1);
  });

  it('S11: one egress rule counts, an egress section does not', () => {
    expect(defaulted({ egress: [] }).policyTypes).toEqual(['Ingress']);
    expect(defaulted({ egress: null }).policyTypes).toEqual(['Ingress']);
    expect(defaulted({ egress: [null] }).policyTypes).toEqual(['Ingress', 'Egress']);
  });

  it('S12: a given list is not extended or reordered', () => {
    for (const policyTypes of [['Ingress'], ['Egress'], ['Egress', 'Ingress']]) {
      expect(defaulted({ policyTypes, egress: [{}], ingress: [{}] }).policyTypes).toEqual(
        policyTypes,
      );
    }
  });

  it('S13: egress rules added to a stored object do not isolate egress', () => {
    const stored = defaulted({});
    expect(compiled({ ...stored, egress: [{}] }).isolates.Egress).toBe(false);
  });

  it('S14: defaulting fills in nothing else and leaves its argument alone', () => {
    const given = policy({ ingress: [{ ports: [{}], from: [{ ipBlock: { cidr: '::/0' } }] }] });
    const before = structuredClone(given);
    const after = networkPolicy.applyDefaults(given);
    expect(given).toEqual(before);
    expect(after.spec).toEqual({
      ingress: [{ ports: [{ protocol: 'TCP' }], from: [{ ipBlock: { cidr: '::/0' } }] }],
      policyTypes: ['Ingress'],
    });
    expect(networkPolicy.applyDefaults(after)).toEqual(after);
  });

  it('S21: an update checks metadata as an update and the whole spec', () => {
    const old = networkPolicy.applyDefaults(
      policy({}, { name: 'web', namespace: 'shop', resourceVersion: '1' }),
    );
    const changed = networkPolicy.applyDefaults(
      policy(
        { ingress: [{ ports: [{ port: 0 }] }] },
        { name: 'other', namespace: 'shop', resourceVersion: '1' },
      ),
    );
    expect(networkPolicy.validate(changed, { old }).map(formatFieldError)).toEqual([
      'metadata.name: Invalid value: "other": field is immutable',
      `spec.ingress[0].ports[0].port: Invalid value: 0: ${range}`,
    ]);
  });

  it('S23, S386: a string port is a name even if it is all digits', () => {
    expect(portErrors({ port: '80' })).toEqual([
      'P.port Invalid must contain at least one letter (a-z)',
    ]);
    const { ports } = firstRule({ ingress: [{ ports: [{ port: 'web' }] }] });
    expect(ports).toEqual([
      { kind: 'named', path: 'spec.ingress[0].ports[0]', protocol: 'TCP', name: 'web' },
    ]);
  });
});

describe('NetworkPolicy: the form of the answer', () => {
  const bad = {
    podSelector: { matchLabels: { 'a b': '' } },
    ingress: [
      { from: [{}], ports: [{ port: 0 }, { protocol: 'x' }] },
      {
        from: [
          {
            ipBlock: { cidr: 'x' },
            podSelector: { matchExpressions: [{ key: 'a', operator: 'X' }] },
          },
        ],
      },
    ],
    egress: [{ to: [{}], ports: [{ port: 0 }] }],
    policyTypes: ['x', 'Ingress'],
  };

  it('S26, S30: every fault, metadata first, then in the order of the spec', () => {
    const object = networkPolicy.applyDefaults(policy(bad, { name: 'A', namespace: '' }));
    expect(networkPolicy.validate(object).map(({ path, kind }) => `${path} ${kind}`)).toEqual([
      'metadata.name Invalid',
      'metadata.namespace Required',
      'spec.podSelector.matchLabels Invalid',
      'spec.ingress[0].ports[0].port Invalid',
      'spec.ingress[0].ports[1].protocol NotSupported',
      'spec.ingress[0].from[0] Required',
      'spec.ingress[1].from[0].podSelector.matchExpressions[0].operator Invalid',
      'spec.ingress[1].from[0].ipBlock.cidr Invalid',
      'spec.ingress[1].from[0] Forbidden',
      'spec.egress[0].ports[0].port Invalid',
      'spec.egress[0].to[0] Required',
      'spec.policyTypes[0] NotSupported',
    ]);
  });

  it('S27: no Duplicate, and TooLong for annotations only', () => {
    const kinds = networkPolicy
      .validate(networkPolicy.applyDefaults(policy(bad)))
      .map((e) => e.kind);
    expect(new Set(kinds)).toEqual(new Set(['Invalid', 'NotSupported', 'Required', 'Forbidden']));
    const long = policy({}, { name: 'a', namespace: 'a', annotations: { a: 'x'.repeat(300_000) } });
    expect(networkPolicy.validate(networkPolicy.applyDefaults(long)).map((e) => e.kind)).toEqual([
      'TooLong',
    ]);
  });

  it('S28: printed forms', () => {
    const object = networkPolicy.applyDefaults(policy(bad));
    expect(networkPolicy.validate(object).map(formatFieldError)).toEqual(
      expect.arrayContaining([
        `spec.ingress[0].ports[0].port: Invalid value: 0: ${range}`,
        'spec.ingress[0].ports[1].protocol: Unsupported value: "x": supported values: "TCP", "UDP", "SCTP"',
        'spec.ingress[0].from[0]: Required value: must specify a peer',
        'spec.ingress[1].from[0]: Forbidden: may not specify both ipBlock and another peer',
      ]),
    );
  });
});

describe('NetworkPolicy: ports', () => {
  it('S42: protocols', () => {
    for (const protocol of ['TCP', 'UDP', 'SCTP']) expect(portErrors({ protocol })).toEqual([]);
    for (const protocol of ['ICMP', 'tcp', '', 'Udp', 'ANY']) {
      expect(portErrors({ protocol })).toEqual([
        'P.protocol NotSupported supported values: "TCP", "UDP", "SCTP"',
      ]);
    }
  });

  it('S43: numeric ports', () => {
    for (const port of [1, 65535]) expect(portErrors({ port })).toEqual([]);
    for (const port of [0, -1, 65536, 123456789]) {
      expect(portErrors({ port })).toEqual([`P.port Invalid ${range}`]);
    }
  });

  it('S44: named ports, one error per broken rule', () => {
    expect(portErrors({ port: 'metrics-exporter' })).toEqual([
      'P.port Invalid must be no more than 15 characters',
    ]);
    expect(portErrors({ port: '-A--' })).toEqual([
      'P.port Invalid must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)',
      'P.port Invalid must contain at least one letter (a-z)',
      'P.port Invalid must not contain consecutive hyphens',
      'P.port Invalid must not begin or end with a hyphen',
    ]);
  });

  it('S45: "80", "HTTP" and the empty string', () => {
    const letter = 'P.port Invalid must contain at least one letter (a-z)';
    const characters =
      'P.port Invalid must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)';
    expect(portErrors({ port: '80' })).toEqual([letter]);
    expect(portErrors({ port: 'HTTP' })).toEqual([characters, letter]);
    expect(portErrors({ port: '' })).toEqual([characters, letter]);
  });

  const below = 'P.endPort Invalid must be greater than or equal to `port`';

  it('S46: endPort below port', () => {
    expect(portErrors({ port: 9000, endPort: 8000 })).toEqual([below]);
    const object = networkPolicy.applyDefaults(
      policy({ ingress: [{ ports: [{ port: 9000, endPort: 8000 }] }] }),
    );
    expect(networkPolicy.validate(object)[0]?.value).toBe(8000);
  });

  it('S47, S387: endPort equal to port', () => {
    expect(portErrors({ port: 80, endPort: 80 })).toEqual([]);
  });

  it('S48: endPort out of range, besides being below', () => {
    expect(portErrors({ port: 80, endPort: 65536 })).toEqual([`P.endPort Invalid ${range}`]);
    expect(portErrors({ port: 80, endPort: 0 })).toEqual([below, `P.endPort Invalid ${range}`]);
    expect(portErrors({ port: 0, endPort: -1 })).toEqual([
      `P.port Invalid ${range}`,
      below,
      `P.endPort Invalid ${range}`,
    ]);
  });

  it('S49: endPort with a named port, before the faults of the name', () => {
    expect(portErrors({ port: '80', endPort: 99999 })).toEqual([
      'P.endPort Invalid may not be specified when `port` is non-numeric',
      'P.port Invalid must contain at least one letter (a-z)',
    ]);
  });

  it('S50: endPort without port; its range is not looked at', () => {
    for (const port of [{ endPort: 99999 }, { endPort: 80, port: null }]) {
      expect(portErrors(port)).toEqual([
        'P.endPort Invalid may not be specified when `port` is not specified',
      ]);
    }
  });

  it('S51: a protocol alone, or nothing at all', () => {
    for (const port of [{}, null, { protocol: 'UDP' }]) expect(portErrors(port)).toEqual([]);
  });

  it('S52, S124, S378: without a port the entry is all ports of its protocol alone', () => {
    const rule = firstRule({ ingress: [{ ports: [{}, { protocol: 'SCTP' }] }] });
    expect(rule.ports).toEqual([
      { kind: 'range', path: 'spec.ingress[0].ports[0]', protocol: 'TCP', from: 1, to: 65535 },
      { kind: 'range', path: 'spec.ingress[0].ports[1]', protocol: 'SCTP', from: 1, to: 65535 },
    ]);
  });

  it('S53: overlapping and repeated entries', () => {
    expect(
      errors({ ingress: [{ ports: [{ port: 80 }, { port: 80 }, { port: 1, endPort: 90 }] }] }),
    ).toEqual([]);
  });

  it('S125, S126: one port, and a range with both ends', () => {
    const rule = firstRule({
      egress: [
        {
          ports: [
            { port: 53, protocol: 'UDP' },
            { port: 8000, endPort: 9000 },
          ],
        },
      ],
      policyTypes: ['Egress'],
    });
    expect(rule.ports).toMatchObject([
      { kind: 'range', protocol: 'UDP', from: 53, to: 53 },
      { kind: 'range', protocol: 'TCP', from: 8000, to: 9000 },
    ]);
  });
});

describe('NetworkPolicy: peers', () => {
  it('S54: an empty peer', () => {
    expect(peerErrors({})).toEqual(['T Required must specify a peer']);
    expect(peerErrors(null)).toEqual(['T Required must specify a peer']);
  });

  it('S55: ipBlock with a selector is one Forbidden, after the faults of the parts', () => {
    const forbidden = 'T Forbidden may not specify both ipBlock and another peer';
    expect(
      peerErrors({ podSelector: {}, namespaceSelector: {}, ipBlock: { cidr: '::/0' } }),
    ).toEqual([forbidden]);
    const broken = { matchExpressions: [{ key: 'a', operator: 'X' }] };
    expect(
      peerErrors({ ipBlock: { cidr: '' }, namespaceSelector: broken, podSelector: broken }),
    ).toEqual([
      'T.podSelector.matchExpressions[0].operator Invalid not a valid selector operator',
      'T.namespaceSelector.matchExpressions[0].operator Invalid not a valid selector operator',
      'T.ipBlock.cidr Required',
      forbidden,
    ]);
  });

  it('S56, S57: both selectors; an empty one counts as present', () => {
    expect(peerErrors({ podSelector: {}, namespaceSelector: {} })).toEqual([]);
    expect(peerErrors({ podSelector: {} })).toEqual([]);
    expect(peerErrors({ namespaceSelector: {} })).toEqual([]);
  });

  it('S58: an explicit null counts as absent', () => {
    expect(peerErrors({ podSelector: null })).toEqual(['T Required must specify a peer']);
    expect(peerErrors({ podSelector: null, ipBlock: { cidr: '::/0' } })).toEqual([]);
    const rule = firstRule({ ingress: [{ from: [{ podSelector: {}, namespaceSelector: null }] }] });
    expect(rule.peers).toMatchObject([{ matcher: { namespaces: { name: 'shop' } } }]);
  });

  it('S59: an empty cidr is Required, and the excepts are not looked at', () => {
    expect(blockErrors('')).toEqual(['cidr Required']);
    expect(blockErrors(undefined, ['x'])).toEqual(['cidr Required']);
    expect(blockErrors(null)).toEqual(['cidr Required']);
  });

  it('S60: a malformed cidr is Invalid, and the excepts are not looked at', () => {
    for (const cidr of ['10.0.0.0', '10.0.0.0/33', '10.0.0/8', '::/129', 'x/8']) {
      expect(blockErrors(cidr, ['x'])).toEqual([`cidr Invalid ${cidrForm}`]);
    }
  });

  it('S61: what only strict parsing refuses still frames the excepts', () => {
    expect(blockErrors('10.0.0.1/8', ['11.0.0.0/16', '10.1.0.0/16'], { strictCidr: true })).toEqual(
      [
        'cidr Invalid must not have bits set beyond the prefix length',
        `except[0] Invalid ${subset}`,
      ],
    );
  });

  it('S62: malformed excepts', () => {
    expect(blockErrors('10.0.0.0/8', ['', ' ', '10.1.0.0', null])).toEqual([
      `except[0] Invalid ${cidrForm}`,
      `except[1] Invalid ${cidrForm}`,
      `except[2] Invalid ${cidrForm}`,
      `except[3] Invalid ${cidrForm}`,
    ]);
  });

  it('S63: an except lies inside and is longer', () => {
    expect(blockErrors('10.0.0.0/8', ['10.0.0.0/9', '10.255.255.255/32'])).toEqual([]);
    for (const except of ['10.0.0.0/8', '10.0.0.0/7', '11.0.0.0/9', '0.0.0.0/0']) {
      expect(blockErrors('10.0.0.0/8', [except])).toEqual([`except[0] Invalid ${subset}`]);
    }
  });

  it('S63: IPv4-mapped networks compare by the prefix length as written, as in Go', () => {
    expect(blockErrors('10.0.0.0/8', ['::ffff:10.1.0.0/112'])).toEqual([]);
    expect(blockErrors('::ffff:10.0.0.0/104', ['10.1.0.0/16'])).toEqual([
      `except[0] Invalid ${subset}`,
    ]);
  });

  it('S64: the families do not mix', () => {
    expect(blockErrors('10.0.0.0/8', ['2001:db8::/64'])).toEqual([`except[0] Invalid ${subset}`]);
    expect(blockErrors('::/0', ['10.0.0.0/8'])).toEqual([`except[0] Invalid ${subset}`]);
  });

  it('S65: duplicate, nested and overlapping excepts', () => {
    expect(
      blockErrors('10.0.0.0/8', ['10.1.0.0/16', '10.1.0.0/16', '10.1.2.0/24', '10.0.0.0/9']),
    ).toEqual([]);
  });

  it('S66: everything and single addresses', () => {
    for (const cidr of ['0.0.0.0/0', '::/0', '192.0.2.1/32', '2001:db8::1/128']) {
      expect(blockErrors(cidr, undefined, { strictCidr: true })).toEqual([]);
    }
  });

  const ambiguous: readonly [string, string][] = [
    ['1.1.01.0/24', 'must not have leading 0s in IP or prefix length'],
    ['192.168.0.0/016', 'must not have leading 0s in IP or prefix length'],
    ['::ffff:1.1.1.0/120', 'must not have an IPv4-mapped IPv6 address'],
    ['::ffff:1.1.1.0/24', 'must not have an IPv4-mapped IPv6 address'],
    ['1.2.3.4/24', 'must not have bits set beyond the prefix length'],
    ['2001:db8::1/64', 'must not have bits set beyond the prefix length'],
  ];

  it('S67, S391: the lenient mode accepts zeros, mapped addresses and host bits', () => {
    for (const [cidr] of ambiguous) expect(blockErrors(cidr)).toEqual([]);
  });

  it('S68, S391: the strict mode refuses them', () => {
    for (const [cidr, fault] of ambiguous) {
      expect(blockErrors(cidr, undefined, { strictCidr: true })).toEqual([`cidr Invalid ${fault}`]);
    }
  });

  it('S69: both modes refuse', () => {
    for (const strictCidr of [false, true]) {
      for (const cidr of [
        'aaaaaaa',
        '1.2.3.4',
        '192.168.0.1/healthz',
        '192.168.0.1/0/99',
        '192.168.0.1/-16',
        '192.168.0.1/+16',
        'fe80::1%eth0/64',
      ]) {
        expect(blockErrors(cidr, undefined, { strictCidr })).toEqual([`cidr Invalid ${cidrForm}`]);
      }
    }
  });

  it('S70: both modes accept IPv6 that is only not canonical', () => {
    for (const strictCidr of [false, true]) {
      expect(blockErrors('2001:DB8:0:0::/64', undefined, { strictCidr })).toEqual([]);
    }
  });

  it('S71: an update may keep what it has, anywhere', () => {
    const metadata = { name: 'web', namespace: 'shop', resourceVersion: '1' };
    const block = (cidr: string, except: string[]): Loose => ({ ipBlock: { cidr, except } });
    const old = policy({ ingress: [{ from: [block('10.0.0.1/8', ['10.1.2.3/16'])] }] }, metadata);
    const changed = policy(
      { egress: [{ to: [block('10.0.0.1/8', ['10.1.2.3/16', '10.1.2.4/16'])] }] },
      metadata,
    );
    const found = networkPolicy.validate(changed, { old, strictCidr: true });
    expect(found.map(({ path, value }) => [path, value])).toEqual([
      ['spec.egress[0].to[0].ipBlock.except[1]', '10.1.2.4/16'],
    ]);
    // What no mode can read is refused even if it was there.
    const broken = policy({ ingress: [{ from: [block('x', [])] }] }, metadata);
    expect(networkPolicy.validate(broken, { old: broken })).toHaveLength(1);
  });

  it('S72: warnings for ambiguous and non-standard values', () => {
    const object = policy({
      ingress: [{ from: [{ ipBlock: { cidr: '10.1.2.3/8', except: ['010.1.0.0/16'] } }] }],
      egress: [{ to: [{ podSelector: {} }, { ipBlock: { cidr: '2001:DB8::/32' } }] }],
    });
    expect(networkPolicy.warnings?.(object).map(({ path, text }) => `${path}: ${text}`)).toEqual([
      'spec.ingress[0].from[0].ipBlock.cidr: CIDR value "10.1.2.3/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.2.3/32"?)',
      'spec.ingress[0].from[0].ipBlock.except[0]: non-standard CIDR value "010.1.0.0/16" will be considered invalid in a future Kubernetes release: use "10.1.0.0/16"',
      'spec.egress[0].to[1].ipBlock.cidr: IPv6 CIDR value "2001:DB8::/32" should be in RFC 5952 canonical format ("2001:db8::/32")',
    ]);
  });

  it('S73: host bits are masked', () => {
    const rule = firstRule({ ingress: [{ from: [{ ipBlock: { cidr: '10.1.2.3/8' } }] }] });
    expect(rule.peers).toMatchObject([{ text: '10.1.2.3/8' }]);
    expect(addressesOf(rule)).toBe('10.0.0.0/8');
  });

  it('S101–S109: what the selectors of a peer mean', () => {
    const rule = firstRule({
      ingress: [
        {
          from: [
            { podSelector: { matchLabels: { app: 'web' } } },
            { namespaceSelector: {} },
            { namespaceSelector: { matchLabels: { team: 'a' } }, podSelector: {} },
          ],
        },
      ],
    });
    expect(rule.peers).toMatchObject([
      {
        kind: 'pods',
        path: 'spec.ingress[0].from[0]',
        matcher: { namespaces: { name: 'shop' }, pods: { text: 'app=web' } },
      },
      { matcher: { namespaces: { selector: { text: '<none>' } }, pods: { text: '<none>' } } },
      { matcher: { namespaces: { selector: { text: 'team=a' } }, pods: { text: '<none>' } } },
    ]);
  });

  it('S113: an ipBlock is its cidr without its excepts', () => {
    const block = { cidr: '172.17.0.0/16', except: ['172.17.1.0/24'] };
    const rule = firstRule({ ingress: [{ from: [{ ipBlock: block }] }] });
    expect(rule.peers).toMatchObject([
      { kind: 'addresses', text: '172.17.0.0/16 except 172.17.1.0/24' },
    ]);
    expect(addressesOf(rule)).toBe('172.17.0.0/24,172.17.2.0-172.17.255.255');
  });

  it('S113: a mapped except is taken out of an IPv4 block', () => {
    const block = { cidr: '10.0.0.0/8', except: ['::ffff:10.128.0.0/105'] };
    const rule = firstRule({ ingress: [{ from: [{ ipBlock: block }] }] });
    expect(addressesOf(rule)).toBe('10.0.0.0/9');
  });

  it('S102, S121, S149, S376, S379: missing and empty lists in a rule mean everything', () => {
    for (const rule of [{}, { from: [], ports: [] }, { from: null, ports: null }, null]) {
      const spec = { ingress: [rule] };
      expect(firstRule(spec)).toEqual({
        action: 'Accept',
        path: 'spec.ingress[0]',
        peers: 'any',
        ports: 'any',
      });
    }
  });
});

describe('NetworkPolicy: policyTypes', () => {
  it('S74: more than two; the entries are then not looked at', () => {
    expect(errors({ policyTypes: ['x', 'y', 'z'] })).toEqual([
      'spec.policyTypes Invalid may not specify more than two policyTypes',
    ]);
    const object = policy({ policyTypes: ['Ingress', 'Egress', 'Ingress'] });
    expect(networkPolicy.validate(object).map(formatFieldError)).toEqual([
      'spec.policyTypes: Invalid value: ["Ingress","Egress","Ingress"]: may not specify more than two policyTypes',
    ]);
  });

  it('S75: other entries', () => {
    expect(errors({ policyTypes: ['Ingress', 'egress'] })).toEqual([
      'spec.policyTypes[1] NotSupported supported values: "Ingress", "Egress"',
    ]);
    expect(errors({ policyTypes: [''] })).toHaveLength(1);
  });

  it('S76: repeated and reversed', () => {
    expect(errors({ policyTypes: ['Ingress', 'Ingress'] })).toEqual([]);
    expect(errors({ policyTypes: ['Egress', 'Ingress'] })).toEqual([]);
    expect(compiled({ policyTypes: ['Ingress', 'Ingress'] }).isolates).toEqual({
      Ingress: true,
      Egress: false,
    });
  });

  it('S77, S78, S377: rules of a direction that is not listed are valid and void', () => {
    const ingress = compiled({ policyTypes: ['Ingress'], ingress: [{}], egress: [{}] });
    expect(ingress.isolates).toEqual({ Ingress: true, Egress: false });
    expect([ingress.rules.Ingress.length, ingress.rules.Egress.length]).toEqual([1, 0]);
    const egress = compiled({ policyTypes: ['Egress'], ingress: [{}], egress: [{}] });
    expect(egress.isolates).toEqual({ Ingress: false, Egress: true });
    expect([egress.rules.Ingress.length, egress.rules.Egress.length]).toEqual([0, 1]);
  });

  it('S87: old expression values, if the old podSelector is itself at fault', () => {
    const metadata = { name: 'web', namespace: 'shop', resourceVersion: '1' };
    const odd = { matchExpressions: [{ key: 'a', operator: 'In', values: ['x y'] }] };
    const spec = { podSelector: odd, ingress: [{ from: [{ podSelector: odd }] }] };
    const changed = policy(spec, metadata);
    expect(networkPolicy.validate(changed, { old: changed })).toEqual([]);
    const oldPeer = policy({ podSelector: {}, ingress: spec.ingress }, metadata);
    expect(networkPolicy.validate(changed, { old: oldPeer })).toHaveLength(2);
  });

  it('S390, S150–S152: default deny', () => {
    expect(compiled({ podSelector: {}, policyTypes: ['Ingress', 'Egress'] })).toMatchObject({
      ref: { key: 'NetworkPolicy/shop/web', kind: 'NetworkPolicy', namespace: 'shop', name: 'web' },
      tier: 'NetworkPolicy',
      priority: 0,
      isolates: { Ingress: true, Egress: true },
      rules: { Ingress: [], Egress: [] },
    });
  });
});
