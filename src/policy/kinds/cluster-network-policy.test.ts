import { describe, expect, it } from 'vitest';
import { formatFieldError, type FieldError } from '../../k8s/field-error.ts';
import { checkSchema } from '../../k8s/schema.ts';
import { matches } from '../../k8s/selector.ts';
import type { KubeObject } from '../../k8s/types.ts';
import { emptyAddressSet, formatAddressSet } from '../../net/address-set.ts';
import type { CompiledPolicy, CompiledRule } from '../compiled.ts';
import { isCidr } from '../cluster-policy-parts.ts';
import type { ValidationOptions } from '../policy-kind.ts';
import { clusterNetworkPolicy } from './cluster-network-policy.ts';

type Loose = Record<string, unknown>;

function object(spec: unknown, metadata: Loose = { name: 'guard' }): KubeObject {
  return {
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata,
    ...(spec === undefined ? {} : { spec }),
  };
}

const base = { tier: 'Admin', priority: 10, subject: { namespaces: {} } };

function show({ path, kind, detail }: FieldError): string {
  return `${path} ${kind} ${detail}`.trim();
}

const unchecked =
  '<nil> Invalid some validation rules were not checked because the object was invalid; correct the existing errors to complete validation';

function errors(spec: unknown, options?: ValidationOptions): string[] {
  return clusterNetworkPolicy.validate(object(spec), options).map(show);
}

function ruleErrors(
  rule: Loose,
  where: 'ingress' | 'egress',
  options?: ValidationOptions,
): string[] {
  return errors({ ...base, [where]: [rule] }, options).map((line) =>
    line.replaceAll(`spec.${where}[0]`, 'R'),
  );
}

const everyone = [{ namespaces: {} }];

function protocolErrors(...protocols: unknown[]): string[] {
  return ruleErrors({ action: 'Accept', from: everyone, protocols }, 'ingress');
}

function peerErrors(
  peer: unknown,
  where: 'ingress' | 'egress',
  options?: ValidationOptions,
): string[] {
  const field = where === 'ingress' ? 'from' : 'to';
  return ruleErrors({ action: 'Accept', [field]: [peer] }, where, options);
}

function compiled(spec: Loose): CompiledPolicy {
  expect(errors(spec)).toEqual([]);
  return clusterNetworkPolicy.compile(object(spec));
}

function rule(given: Loose, where: 'ingress' | 'egress' = 'ingress'): CompiledRule {
  const { rules } = compiled({ ...base, [where]: [given] });
  return (where === 'ingress' ? rules.Ingress[0] : rules.Egress[0]) as CompiledRule;
}

describe('ClusterNetworkPolicy: object', () => {
  it('S213: names of the kind', () => {
    expect(clusterNetworkPolicy).toMatchObject({
      apiVersion: 'policy.networking.k8s.io/v1alpha2',
      kind: 'ClusterNetworkPolicy',
      plural: 'clusternetworkpolicies',
      shortNames: ['cnp'],
      namespaced: false,
    });
  });

  it('S215: status is a subresource: not looked at here', () => {
    const given = { ...object(base), status: { nonsense: true } };
    expect(clusterNetworkPolicy.validate(given)).toEqual([]);
    expect(checkSchema(given, clusterNetworkPolicy.schema, '').unknown).toEqual([]);
  });

  it('S217: nodes and domainNames belong to the experimental channel', () => {
    const spec = {
      ...base,
      egress: [{ action: 'Deny', to: [{ nodes: {} }, { domainNames: ['a.b'] }] }],
    };
    const unknown = (channel: 'standard' | 'experimental'): string[] =>
      checkSchema(object(spec), clusterNetworkPolicy.schemaFor?.(channel) as never, '').unknown.map(
        ({ path }) => path,
      );
    expect(unknown('experimental')).toEqual([]);
    expect(unknown('standard')).toEqual([
      'spec.egress[0].to[0].nodes',
      'spec.egress[0].to[1].domainNames',
    ]);
  });

  it('S219: no defaults', () => {
    const given = object({ ...base, ingress: [{ action: 'Deny', from: everyone }] });
    expect(clusterNetworkPolicy.applyDefaults(given)).toEqual(given);
  });

  it('S220: unknown fields are dropped before validation', () => {
    expect(
      errors({ ...base, subject: { namespaces: { namespaceSelector: { matchLabels: 1 } } } }),
    ).toEqual([]);
    const { subject } = clusterNetworkPolicy.compile(
      object({ ...base, subject: { namespaces: {} } }),
    );
    expect(matches((subject.namespaces as { selector: never }).selector, {})).toBe(true);
  });

  it('S221: in the standard channel a nodes peer is pruned to nothing', () => {
    expect(peerErrors({ nodes: {} }, 'egress', { channel: 'standard' })).toEqual([
      'R.to[0] Invalid R.to[0] in body should have at least 1 properties',
    ]);
    expect(peerErrors({ nodes: {} }, 'egress')).toEqual([]);
  });
});

describe('ClusterNetworkPolicy: validation', () => {
  it('S222: kinds of schema violations', () => {
    const kinds = clusterNetworkPolicy
      .validate(
        object({
          tier: 'x',
          priority: '1',
          subject: {},
          ingress: [
            { name: 'n'.repeat(101), from: [{ namespaces: {}, pods: {} }] },
            ...Array.from({ length: 25 }, () => ({ action: 'Deny', from: [] })),
          ],
        }),
      )
      .map(({ path, kind }) => `${path} ${kind}`)
      .filter((line) => !/ingress\[(\d\d|[2-9])\]/.test(line));
    expect(kinds).toEqual([
      'spec.tier NotSupported',
      'spec.priority TypeInvalid',
      'spec.subject Invalid',
      'spec.ingress[0].name TooLong',
      'spec.ingress[0].from[0] TooMany',
      'spec.ingress[0].action Required',
      'spec.ingress[1].from Invalid',
      'spec.ingress TooMany',
      '<nil> Invalid',
    ]);
  });

  it('S222: a wrong type is TypeInvalid, with the words of the schema validator', () => {
    const first = (spec: unknown): string =>
      formatFieldError(clusterNetworkPolicy.validate(object(spec))[0] as FieldError);
    expect(first({ ...base, priority: '1' })).toBe(
      'spec.priority: Invalid value: "string": spec.priority in body must be of type integer: "string"',
    );
    expect(first({ ...base, priority: 1.5 })).toBe(
      'spec.priority: Invalid value: "float64": spec.priority in body must be of type int32: "float64"',
    );
    expect(first({ ...base, ingress: {} })).toBe(
      'spec.ingress: Invalid value: "object": spec.ingress in body must be of type array: "object"',
    );
    expect(first({ ...base, subject: { namespaces: null } })).toBe(
      'spec.subject.namespaces: Invalid value: "null": spec.subject.namespaces in body must be of type object: "null"',
    );
    expect(first(null)).toBe(
      'spec: Invalid value: "null": spec in body must be of type object: "null"',
    );
  });

  it('S222: rules are not run when the schema is badly broken, and the server says so', () => {
    const broken = { action: 'Deny', to: [{ networks: ['x'] }] };
    expect(errors({ ...base, tier: 'x', egress: [broken] })).toEqual([
      'spec.tier NotSupported supported values: "Admin", "Baseline"',
      unchecked,
    ]);
    // Invalid alone does not keep them from running.
    expect(errors({ ...base, priority: -1, egress: [broken] })).toEqual([
      'spec.priority Invalid spec.priority in body should be greater than or equal to 0',
      'spec.egress[0].to[0].networks[0] Invalid Invalid CIDR format provided',
    ]);
  });

  it('S223: repeated elements are Duplicate, once each; rules give Invalid with their message', () => {
    const networks = ['10.0.0.0/8', '::/0', '10.0.0.0/8', '10.0.0.0/8'];
    expect(peerErrors({ networks }, 'egress')).toEqual(['R.to[0].networks[2] Duplicate']);
    const domainNames = ['a.b', 'a.b'];
    expect(peerErrors({ domainNames }, 'egress')).toEqual(['R.to[0].domainNames[1] Duplicate']);
    const range = { tcp: { destinationPort: { range: { start: 2, end: 1 } } } };
    const found = clusterNetworkPolicy.validate(
      object({ ...base, ingress: [{ action: 'Accept', from: everyone, protocols: [range] }] }),
    );
    expect(found.map(formatFieldError)).toEqual([
      'spec.ingress[0].protocols[0].tcp.destinationPort.range: Invalid value: "object": Start port must be less than End port',
    ]);
  });

  it('S224: metadata, spec, tier, priority and subject are required', () => {
    expect(errors(undefined)).toEqual(['spec Required', unchecked]);
    expect(errors({})).toEqual([
      'spec.priority Required',
      'spec.subject Required',
      'spec.tier Required',
      unchecked,
    ]);
    const bare = { apiVersion: 'x', kind: 'y', spec: base } as unknown as KubeObject;
    expect(clusterNetworkPolicy.validate(bare).map(show)).toEqual([
      'metadata.name Required name or generateName is required',
      'metadata Required',
      unchecked,
    ]);
  });

  it('S225: tiers', () => {
    expect(errors({ ...base, tier: 'Baseline' })).toEqual([]);
    expect(errors({ ...base, tier: 'admin' })[0]).toBe(
      'spec.tier NotSupported supported values: "Admin", "Baseline"',
    );
  });

  it('S226: priority 0 to 1000, written out', () => {
    for (const priority of [0, 1000]) expect(errors({ ...base, priority })).toEqual([]);
    expect(errors({ ...base, priority: -1 })).toEqual([
      'spec.priority Invalid spec.priority in body should be greater than or equal to 0',
    ]);
    expect(errors({ ...base, priority: 1001 })).toEqual([
      'spec.priority Invalid spec.priority in body should be less than or equal to 1000',
    ]);
  });

  it('S227: exactly one kind of subject', () => {
    expect(errors({ ...base, subject: {} })).toEqual([
      'spec.subject Invalid spec.subject in body should have at least 1 properties',
    ]);
    expect(errors({ ...base, subject: { namespaces: {}, pods: {} } })).toEqual([
      'spec.subject TooMany must have at most 1 item',
      unchecked,
    ]);
  });

  it('S228: podSelector is required, namespaceSelector is not', () => {
    expect(errors({ ...base, subject: { pods: { podSelector: {} } } })).toEqual([]);
    expect(errors({ ...base, subject: { pods: { namespaceSelector: {} } } })).toEqual([
      'spec.subject.pods.podSelector Required',
      unchecked,
    ]);
  });

  const many = (count: number): Loose[] =>
    Array.from({ length: count }, () => ({ action: 'Deny', from: everyone }));

  it('S229: up to 25 rules, or none', () => {
    expect(errors({ ...base, ingress: [], egress: [] })).toEqual([]);
    expect(errors({ ...base, ingress: many(25) })).toEqual([]);
    expect(errors({ ...base, ingress: many(26) })).toEqual([
      'spec.ingress TooMany must have at most 25 items',
      unchecked,
    ]);
  });

  it('S230: action and peers are required', () => {
    expect(ruleErrors({}, 'ingress')).toEqual(['R.action Required', 'R.from Required', unchecked]);
    expect(ruleErrors({}, 'egress')).toEqual(['R.action Required', 'R.to Required', unchecked]);
  });

  it('S231, S252: actions', () => {
    for (const action of ['Accept', 'Deny', 'Pass']) {
      expect(ruleErrors({ action, from: everyone }, 'ingress')).toEqual([]);
    }
    for (const action of ['Allow', 'Invalid', 'accept', '']) {
      expect(ruleErrors({ action, from: everyone }, 'ingress')).toEqual([
        'R.action NotSupported supported values: "Accept", "Deny", "Pass"',
        unchecked,
      ]);
    }
  });

  it('S232: 1 to 25 peers', () => {
    const peers = (count: number): Loose[] =>
      Array.from({ length: count }, () => ({ namespaces: {} }));
    expect(ruleErrors({ action: 'Deny', to: peers(25) }, 'egress')).toEqual([]);
    expect(ruleErrors({ action: 'Deny', to: [] }, 'egress')).toEqual([
      'R.to Invalid R.to in body should have at least 1 items',
    ]);
    expect(ruleErrors({ action: 'Deny', to: peers(26) }, 'egress')[0]).toBe(
      'R.to TooMany must have at most 25 items',
    );
  });

  it('S233: rule names have at most 100 characters, of any kind', () => {
    expect(
      ruleErrors({ action: 'Deny', from: everyone, name: 'ä'.repeat(100) }, 'ingress'),
    ).toEqual([]);
    expect(
      ruleErrors({ action: 'Deny', from: everyone, name: '😀'.repeat(100) }, 'ingress'),
    ).toEqual([]);
    expect(
      ruleErrors({ action: 'Deny', from: everyone, name: 'a'.repeat(101) }, 'ingress')[0],
    ).toBe('R.name TooLong may not be more than 100 bytes');
  });

  it('S234: 1 to 25 protocols', () => {
    expect(protocolErrors()).toEqual([
      'R.protocols Invalid R.protocols in body should have at least 1 items',
    ]);
    const entry = { destinationNamedPort: 'web' };
    expect(protocolErrors(...Array.from({ length: 25 }, () => entry))).toEqual([]);
    expect(protocolErrors(...Array.from({ length: 26 }, () => entry))[0]).toBe(
      'R.protocols TooMany must have at most 25 items',
    );
  });

  it('S235: an ingress peer has exactly one field, of two', () => {
    expect(peerErrors({}, 'ingress')[0]).toMatch(/at least 1 properties$/);
    expect(peerErrors({ namespaces: {}, pods: { podSelector: {} } }, 'ingress')[0]).toBe(
      'R.from[0] TooMany must have at most 1 item',
    );
    // Pruned, so nothing is left (S263).
    expect(peerErrors({ networks: ['10.0.0.0/8'] }, 'ingress')[0]).toMatch(
      /at least 1 properties$/,
    );
  });

  it('S236: an egress peer has exactly one field, of five', () => {
    for (const peer of [
      { namespaces: {} },
      { pods: { podSelector: {} } },
      { networks: ['::/0'] },
      { nodes: {} },
      { domainNames: ['a.b'] },
    ]) {
      expect(peerErrors(peer, 'egress')).toEqual([]);
    }
    expect(peerErrors({ networks: ['::/0'], nodes: {} }, 'egress')[0]).toBe(
      'R.to[0] TooMany must have at most 1 item',
    );
  });

  it('S237: 1 to 25 networks of at most 43 characters', () => {
    expect(peerErrors({ networks: [] }, 'egress')[0]).toMatch(/at least 1 items$/);
    const networks = Array.from({ length: 26 }, (_, i) => `10.${i}.0.0/16`);
    expect(peerErrors({ networks }, 'egress')[0]).toBe(
      'R.to[0].networks TooMany must have at most 25 items',
    );
    expect(peerErrors({ networks: ['1'.repeat(44)] }, 'egress')[0]).toBe(
      'R.to[0].networks[0] TooLong may not be more than 43 bytes',
    );
  });

  it('S238, S391: isCIDR', () => {
    for (const text of ['10.0.0.0/8', '192.168.0.1/16', '::/0', '2001:DB8::1/64', '0.0.0.0/0']) {
      expect(isCidr(text), text).toBe(true);
    }
    for (const text of [
      '',
      '/',
      '10.0.0.0',
      '10.0.0.0/33',
      '::/129',
      '010.0.0.0/8',
      '10.0.0.0/08',
      '10.0.0.0/+8',
      '::ffff:10.0.0.0/104',
      'fe80::1%eth0/64',
      '10.0.0.0/8/8',
      ' 10.0.0.0/8',
    ]) {
      expect(isCidr(text), text).toBe(false);
    }
  });

  it('S239, S240: domain names', () => {
    for (const name of ['a.b', '*.example.io', 'a.b.', 'A_b.c', '_a.b', '^.b', 'x1.y-z']) {
      expect(peerErrors({ domainNames: [name] }, 'egress'), name).toEqual([]);
    }
    for (const name of [
      'localhost',
      '*',
      'a.*.b',
      '*a.b',
      'a..b',
      '.a.b',
      'a-.b',
      'a b.c',
      'ä.b',
    ]) {
      expect(peerErrors({ domainNames: [name] }, 'egress'), name).toEqual([
        "R.to[0].domainNames[0] Invalid R.to[0].domainNames[0] in body should match '^(\\*\\.)?([a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\\.)+[a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\\.?$'",
      ]);
    }
  });

  it('S241: a protocols entry has exactly one field', () => {
    expect(protocolErrors({})[0]).toMatch(/at least 1 properties$/);
    const port = { destinationPort: { number: 1 } };
    expect(protocolErrors({ tcp: port, udp: port })[0]).toBe(
      'R.protocols[0] TooMany must have at most 1 item',
    );
  });

  it('S242: tcp: {} is rejected', () => {
    expect(protocolErrors({ tcp: {} })).toEqual([
      'R.protocols[0].tcp Invalid R.protocols[0].tcp in body should have at least 1 properties',
    ]);
  });

  it('S244: exactly one of number and range', () => {
    expect(protocolErrors({ udp: { destinationPort: {} } })[0]).toMatch(/at least 1 properties$/);
    const both = { number: 1, range: { start: 1, end: 2 } };
    expect(protocolErrors({ udp: { destinationPort: both } })[0]).toMatch(/TooMany/);
    for (const number of [0, 65536]) {
      expect(protocolErrors({ udp: { destinationPort: { number } } })).toHaveLength(1);
    }
  });

  it('S245, S387: start below end', () => {
    const range = (start: number, end: number): string[] =>
      protocolErrors({ sctp: { destinationPort: { range: { start, end } } } });
    expect(range(1, 65535)).toEqual([]);
    expect(range(80, 80)).toEqual([
      'R.protocols[0].sctp.destinationPort.range Invalid Start port must be less than End port',
    ]);
    expect(range(0, 80)[0]).toMatch(/range.start Invalid .* greater than or equal to 1$/);
  });

  it('S246: any string is a named port', () => {
    for (const name of ['', 'web', 'Not A Port', '80']) {
      expect(protocolErrors({ destinationNamedPort: name })).toEqual([]);
    }
  });

  const named = { action: 'Accept', protocols: [{ destinationNamedPort: 'web' }] };

  it('S247: experimental: no named port beside networks, nodes or domainNames', () => {
    for (const peer of [{ networks: ['::/0'] }, { nodes: {} }, { domainNames: ['a.b'] }]) {
      expect(ruleErrors({ ...named, to: [{ namespaces: {} }, peer] }, 'egress')).toEqual([
        'R Invalid networks/nodes/domainNames peer cannot be set with namedPorts since there are no namedPorts for networks/nodes/domainNames',
      ]);
    }
    expect(ruleErrors({ ...named, to: everyone }, 'egress')).toEqual([]);
  });

  it('S248: standard: it is admitted for networks', () => {
    const given = { ...named, to: [{ networks: ['::/0'] }] };
    expect(ruleErrors(given, 'egress', { channel: 'standard' })).toEqual([]);
  });

  it('S249: domain names in Deny rules are admitted, with a warning', () => {
    const spec = { ...base, egress: [{ action: 'Deny', to: [{ domainNames: ['a.b'] }] }] };
    expect(errors(spec)).toEqual([]);
    expect(clusterNetworkPolicy.warnings?.(object(spec)).map(({ code }) => code)).toEqual([
      'domain-names-not-accept',
    ]);
  });

  it('S250: selectors are not validated', () => {
    const selector = {
      matchLabels: { 'not a key': 'not a value' },
      matchExpressions: [{ key: '', operator: 'Foo' }],
    };
    expect(errors({ ...base, subject: { namespaces: selector } })).toEqual([]);
    expect(errors({ ...base, subject: { namespaces: { matchExpressions: [{}] } } })).toEqual([
      'spec.subject.namespaces.matchExpressions[0].key Required',
      'spec.subject.namespaces.matchExpressions[0].operator Required',
      unchecked,
    ]);
  });

  it('S251: any object name, no namespace', () => {
    const given = object({ ...base, tier: 'Baseline' }, { name: 'any.name-1' });
    expect(clusterNetworkPolicy.validate(given)).toEqual([]);
    expect(
      clusterNetworkPolicy.validate(object(base, { name: 'A' })).map(({ path }) => path),
    ).toEqual(['metadata.name']);
    expect(
      clusterNetworkPolicy.validate(object(base, { name: 'a', namespace: 'b' })).map(show),
    ).toEqual(['metadata.namespace Forbidden not allowed on this type']);
  });

  it('checks an update against the stored object', () => {
    const old = object(base, { name: 'a', resourceVersion: '1' });
    expect(clusterNetworkPolicy.validate(old, { old })).toEqual([]);
    expect(
      clusterNetworkPolicy.validate(object(base, { name: 'b' }), { old }).map(({ path }) => path),
    ).toEqual(['metadata.resourceVersion', 'metadata.name']);
  });
});

describe('ClusterNetworkPolicy: compilation', () => {
  it('S253, S276: subject by namespaces; tier and priority', () => {
    const result = compiled({ ...base, subject: { namespaces: { matchLabels: { team: 'a' } } } });
    expect(result).toMatchObject({
      ref: { key: 'ClusterNetworkPolicy/guard', kind: 'ClusterNetworkPolicy', name: 'guard' },
      tier: 'Admin',
      priority: 10,
      isolates: { Ingress: false, Egress: false },
      subject: { namespaces: { selector: { text: 'team=a' } }, pods: { text: '<none>' } },
    });
    expect(compiled({ ...base, tier: 'Baseline' }).tier).toBe('Baseline');
    expect(result.ref.namespace).toBeUndefined();
  });

  it('S254: subject by pods; an absent namespaceSelector is every namespace', () => {
    const result = compiled({
      ...base,
      subject: { pods: { podSelector: { matchLabels: { a: 'b' } } } },
    });
    expect(result.subject).toMatchObject({ pods: { text: 'a=b' } });
    expect(matches((result.subject.namespaces as { selector: never }).selector, { x: 'y' })).toBe(
      true,
    );
    const both = compiled({
      ...base,
      subject: { pods: { podSelector: {}, namespaceSelector: { matchLabels: { n: 'm' } } } },
    });
    expect(both.subject).toMatchObject({ namespaces: { selector: { text: 'n=m' } } });
  });

  it('S257, S258, S261: peers', () => {
    const given = {
      action: 'Deny',
      name: 'all of them',
      to: [
        { namespaces: {} },
        { networks: ['10.0.0.1/8', '2001:db8::/32'] },
        { nodes: { matchLabels: { role: 'edge' } } },
        { domainNames: ['*.example.io'] },
      ],
    };
    const result = rule(given, 'egress');
    expect(result).toMatchObject({
      action: 'Deny',
      name: 'all of them',
      path: 'spec.egress[0]',
      ports: 'any',
      peers: [
        { kind: 'pods', path: 'spec.egress[0].to[0]' },
        { kind: 'addresses', text: '10.0.0.1/8, 2001:db8::/32' },
        { kind: 'nodes', selector: { text: 'role=edge' } },
        { kind: 'domainNames', names: ['*.example.io'] },
      ],
    });
    const networks = result.peers === 'any' ? undefined : result.peers[1];
    const set = networks?.kind === 'addresses' ? networks.set : emptyAddressSet;
    expect(formatAddressSet(set)).toBe('10.0.0.0/8,2001:db8::/32');
  });

  const broken = { matchExpressions: [{ key: 'a', operator: 'Foo' }] };

  it('S266, S267, S268: an unusable peer makes the whole rule fail closed', () => {
    const port = { tcp: { destinationPort: { number: 80 } } };
    const given = { from: [{ namespaces: {} }, { namespaces: broken }], protocols: [port] };
    const reason =
      'namespaces.matchExpressions[0].operator: unusable selector: Invalid value: "Foo": not a valid selector operator';
    const unusable = [{ kind: 'unusable', path: 'spec.ingress[0].from[1]', reason }];
    expect(rule({ ...given, action: 'Accept' })).toMatchObject({
      action: 'Accept',
      peers: unusable,
    });
    for (const action of ['Deny', 'Pass']) {
      expect(rule({ ...given, action })).toEqual({
        action: 'Deny',
        path: 'spec.ingress[0]',
        peers: unusable,
        ports: 'any',
      });
    }
  });

  it('S268: bad keys and values, and values that do not fit the operator, are unusable too', () => {
    for (const selector of [
      { matchLabels: { 'a b': '' } },
      { matchLabels: { a: 'x y' } },
      { matchExpressions: [{ key: 'a', operator: 'In' }] },
      { matchExpressions: [{ key: 'a', operator: 'Exists', values: ['b'] }] },
    ]) {
      expect(
        rule({ action: 'Accept', from: [{ pods: { podSelector: selector } }] }).peers,
      ).toMatchObject([{ kind: 'unusable' }]);
      expect(rule({ action: 'Accept', to: [{ nodes: selector }] }, 'egress').peers).toMatchObject([
        { kind: 'unusable' },
      ]);
    }
  });

  it('S268: an unusable subject selects no pod, with a warning', () => {
    const spec = { ...base, subject: { pods: { podSelector: broken } } };
    const { subject } = compiled(spec);
    expect(matches(subject.pods, {})).toBe(false);
    expect(clusterNetworkPolicy.warnings?.(object(spec))).toMatchObject([
      {
        code: 'unusable-subject',
        path: 'spec.subject.pods.podSelector.matchExpressions[0].operator',
      },
    ]);
  });

  it('S269: without protocols a rule is for all traffic', () => {
    expect(rule({ action: 'Pass', from: everyone })).toMatchObject({
      action: 'Pass',
      ports: 'any',
    });
  });

  it('S270, S271: numbers and ranges', () => {
    const given = {
      action: 'Accept',
      from: everyone,
      protocols: [
        { tcp: { destinationPort: { number: 80 } } },
        { udp: { destinationPort: { range: { start: 5000, end: 6000 } } } },
        { sctp: { destinationPort: { number: 9 } } },
      ],
    };
    expect(rule(given).ports).toEqual([
      { kind: 'range', path: 'spec.ingress[0].protocols[0]', protocol: 'TCP', from: 80, to: 80 },
      {
        kind: 'range',
        path: 'spec.ingress[0].protocols[1]',
        protocol: 'UDP',
        from: 5000,
        to: 6000,
      },
      { kind: 'range', path: 'spec.ingress[0].protocols[2]', protocol: 'SCTP', from: 9, to: 9 },
    ]);
  });

  it('S272: a named port brings its own protocol', () => {
    expect(rule({ ...named(), from: everyone }).ports).toEqual([
      { kind: 'named', path: 'spec.ingress[0].protocols[0]', name: 'web' },
    ]);
  });

  function named(): Loose {
    return { action: 'Accept', protocols: [{ destinationNamedPort: 'web' }] };
  }
});
