import { describe, expect, it } from 'vitest';
import { checkSchema } from '../../k8s/schema.ts';
import type { KubeObject } from '../../k8s/types.ts';
import type { CompiledRule } from '../compiled.ts';
import type { ValidationOptions } from '../policy-kind.ts';
import { adminNetworkPolicy } from './admin-network-policy.ts';
import { baselineAdminNetworkPolicy } from './baseline-admin-network-policy.ts';

type Loose = Record<string, unknown>;

function object(kind: string, spec: unknown, name: string): KubeObject {
  return {
    apiVersion: 'policy.networking.k8s.io/v1alpha1',
    kind,
    metadata: { name },
    ...(spec === undefined ? {} : { spec }),
  };
}

const unchecked =
  '<nil> Invalid some validation rules were not checked because the object was invalid; correct the existing errors to complete validation';

function errorsOf(
  kind: typeof adminNetworkPolicy,
  spec: unknown,
  name: string,
  options?: ValidationOptions,
): string[] {
  const given = kind.applyDefaults(object(kind.kind, spec, name));
  return kind
    .validate(given, options)
    .map(({ path, kind: fault, detail }) => `${path} ${fault} ${detail}`.trim());
}

const base = { priority: 5, subject: { namespaces: {} } };
const everyone = [{ namespaces: {} }];

function errors(spec: unknown, options?: ValidationOptions): string[] {
  return errorsOf(adminNetworkPolicy, spec, 'guard', options);
}

function baselineErrors(spec: unknown, name = 'default'): string[] {
  return errorsOf(baselineAdminNetworkPolicy, spec, name);
}

function portErrors(...ports: unknown[]): string[] {
  return errors({ ...base, ingress: [{ action: 'Allow', from: everyone, ports }] }).map((line) =>
    line.replaceAll('spec.ingress[0].ports', 'P'),
  );
}

function rule(given: Loose): CompiledRule {
  const spec = { ...base, ingress: [given] };
  expect(errors(spec)).toEqual([]);
  const stored = adminNetworkPolicy.applyDefaults(object('AdminNetworkPolicy', spec, 'guard'));
  return adminNetworkPolicy.compile(stored).rules.Ingress[0] as CompiledRule;
}

describe('AdminNetworkPolicy', () => {
  it('S322: names of the kind', () => {
    expect(adminNetworkPolicy).toMatchObject({
      apiVersion: 'policy.networking.k8s.io/v1alpha1',
      kind: 'AdminNetworkPolicy',
      plural: 'adminnetworkpolicies',
      shortNames: ['anp'],
      namespaced: false,
      tier: 'Admin',
    });
  });

  it('S323: priority and subject', () => {
    expect(errors(base)).toEqual([]);
    expect(errors({})).toEqual(['spec.priority Required', 'spec.subject Required', unchecked]);
    expect(errors({ ...base, priority: 1001 })).toEqual([
      'spec.priority Invalid spec.priority in body should be less than or equal to 1000',
    ]);
    expect(errors({ ...base, subject: {} })[0]).toMatch(/at least 1 properties$/);
    expect(errors({ ...base, subject: { namespaces: {}, pods: {} } })[0]).toMatch(/TooMany/);
  });

  it('S324: both selectors are required in pods', () => {
    expect(errors({ ...base, subject: { pods: { podSelector: {} } } })).toEqual([
      'spec.subject.pods.namespaceSelector Required',
      unchecked,
    ]);
    expect(
      errors({ ...base, subject: { pods: { podSelector: {}, namespaceSelector: {} } } }),
    ).toEqual([]);
  });

  it('S325: up to 100 rules, peers and ports, names of 100 characters', () => {
    const rules = (count: number): Loose[] =>
      Array.from({ length: count }, () => ({ action: 'Deny', from: everyone }));
    expect(errors({ ...base, ingress: rules(100) })).toEqual([]);
    expect(errors({ ...base, ingress: rules(101) })[0]).toBe(
      'spec.ingress TooMany must have at most 100 items',
    );
    const port = { portNumber: { port: 1 } };
    expect(portErrors(...Array.from({ length: 100 }, () => port))).toEqual([]);
    expect(portErrors(...Array.from({ length: 101 }, () => port))[0]).toBe(
      'P TooMany must have at most 100 items',
    );
    expect(portErrors()).toEqual(['P Invalid P in body should have at least 1 items']);
    const peers = (count: number): Loose => ({
      action: 'Deny',
      from: Array.from({ length: count }, () => ({ namespaces: {} })),
    });
    expect(errors({ ...base, ingress: [peers(100)] })).toEqual([]);
    expect(errors({ ...base, ingress: [peers(0)] })[0]).toMatch(/at least 1 items$/);
    expect(errors({ ...base, ingress: [peers(101)] })[0]).toMatch(/TooMany must have at most 100/);
    expect(errors({ ...base, ingress: [{ ...peers(1), name: 'n'.repeat(101) }] })[0]).toBe(
      'spec.ingress[0].name TooLong may not be more than 100 bytes',
    );
  });

  it('S326: actions', () => {
    for (const action of ['Allow', 'Deny', 'Pass']) {
      expect(errors({ ...base, ingress: [{ action, from: everyone }] })).toEqual([]);
    }
    expect(errors({ ...base, ingress: [{ action: 'Accept', from: everyone }] })[0]).toBe(
      'spec.ingress[0].action NotSupported supported values: "Allow", "Deny", "Pass"',
    );
  });

  it('S327: a port entry has exactly one field', () => {
    expect(portErrors({})[0]).toMatch(/at least 1 properties$/);
    expect(portErrors({ namedPort: 'a', portNumber: { port: 1 } })[0]).toBe(
      'P[0] TooMany must have at most 1 item',
    );
  });

  it('S328: numbers and ranges, TCP by default', () => {
    const stored = adminNetworkPolicy.applyDefaults(
      object(
        'AdminNetworkPolicy',
        {
          ...base,
          ingress: [
            {
              action: 'Allow',
              from: everyone,
              ports: [{ portNumber: { port: 1 } }, { portRange: { start: 1, end: 2 } }],
            },
          ],
        },
        'guard',
      ),
    );
    expect(stored).toHaveProperty('spec.ingress.0.ports', [
      { portNumber: { port: 1, protocol: 'TCP' } },
      { portRange: { start: 1, end: 2, protocol: 'TCP' } },
    ]);
    expect(portErrors({ portNumber: { port: 65536 } })).toHaveLength(1);
    expect(portErrors({ portNumber: {} })).toEqual(['P[0].portNumber.port Required', unchecked]);
    expect(portErrors({ portRange: { start: 1 } })).toEqual([
      'P[0].portRange.end Required',
      unchecked,
    ]);
  });

  it('S329: neither the order of a range nor the protocol is checked', () => {
    expect(portErrors({ portRange: { start: 90, end: 80 } })).toEqual([]);
    expect(portErrors({ portNumber: { protocol: 'ICMP', port: 8 } })).toEqual([]);
  });

  it('S330, S331: peers', () => {
    const egress = (peer: Loose, options?: ValidationOptions): string[] =>
      errors({ ...base, egress: [{ action: 'Allow', to: [peer] }] }, options);
    for (const peer of [
      { namespaces: {} },
      { pods: { podSelector: {}, namespaceSelector: {} } },
      { networks: ['10.0.0.1/8'] },
      { nodes: {} },
      { domainNames: ['a.b'] },
    ]) {
      expect(egress(peer)).toEqual([]);
    }
    expect(egress({ networks: ['10.0.0.0'] })).toEqual([
      'spec.egress[0].to[0].networks[0] Invalid Invalid CIDR format provided',
    ]);
    expect(egress({ networks: ['::/0'] }, { channel: 'standard' })).toEqual([]);
    expect(egress({ nodes: {} }, { channel: 'standard' })[0]).toMatch(/at least 1 properties$/);
  });

  it('S332: experimental: no named port beside networks, nodes or domainNames', () => {
    const given = { action: 'Allow', to: [{ networks: ['::/0'] }], ports: [{ namedPort: 'web' }] };
    expect(errors({ ...base, egress: [given] })).toEqual([
      'spec.egress[0] Invalid networks/nodes/domainNames peer cannot be set with namedPorts since there are no namedPorts for networks/nodes/domainNames',
    ]);
  });

  it('S333: Allow compiles to Accept; ordering and failing closed as in v1alpha2', () => {
    const port = { namedPort: 'web' };
    expect(rule({ action: 'Allow', from: everyone, ports: [port] })).toEqual({
      action: 'Accept',
      path: 'spec.ingress[0]',
      peers: [expect.objectContaining({ kind: 'pods' })],
      ports: [{ kind: 'named', path: 'spec.ingress[0].ports[0]', name: 'web' }],
    });
    expect(rule({ action: 'Pass', from: everyone }).action).toBe('Pass');
    const odd = { portNumber: { protocol: 'ICMP', port: 8 } };
    expect(rule({ action: 'Deny', from: everyone, ports: [odd] })).toEqual({
      action: 'Deny',
      path: 'spec.ingress[0]',
      peers: [
        { kind: 'unusable', path: 'spec.ingress[0].ports[0]', reason: 'unknown protocol "ICMP"' },
      ],
      ports: 'any',
    });
  });

  it('S347: a range of one port, and one that ends before it starts', () => {
    const ports = [
      { portRange: { protocol: 'UDP', start: 80, end: 80 } },
      { portRange: { start: 90, end: 80 } },
    ];
    expect(rule({ action: 'Deny', from: everyone, ports }).ports).toEqual([
      { kind: 'range', path: 'spec.ingress[0].ports[0]', protocol: 'UDP', from: 80, to: 80 },
    ]);
    // Nothing, not everything.
    expect(rule({ action: 'Deny', from: everyone, ports: [ports[1]] }).ports).toEqual([]);
  });

  it('S348: sameLabels and notSameLabels are unknown fields', () => {
    const spec = {
      ...base,
      ingress: [{ action: 'Deny', from: [{ namespaces: { sameLabels: ['a'] } }] }],
    };
    const given = object('AdminNetworkPolicy', spec, 'guard');
    expect(
      checkSchema(given, adminNetworkPolicy.schema, '').unknown.map(({ path }) => path),
    ).toEqual(['spec.ingress[0].from[0].namespaces.sameLabels']);
  });
});

describe('BaselineAdminNetworkPolicy', () => {
  const subject = { namespaces: {} };

  it('S339: the only name is default', () => {
    expect(baselineAdminNetworkPolicy).toMatchObject({ shortNames: ['banp'], tier: 'Baseline' });
    expect(baselineErrors({ subject })).toEqual([]);
    expect(baselineErrors({ subject }, 'other')).toEqual([
      '<nil> Invalid Only one baseline admin network policy with metadata.name="default" can be created in the cluster',
    ]);
  });

  it('S340: no priority', () => {
    const given = object('BaselineAdminNetworkPolicy', { subject, priority: 1 }, 'default');
    expect(
      checkSchema(given, baselineAdminNetworkPolicy.schema, '').unknown.map(({ path }) => path),
    ).toEqual(['spec.priority']);
    expect(baselineAdminNetworkPolicy.compile(given).priority).toBe(0);
  });

  it('S341: Allow and Deny only', () => {
    expect(baselineErrors({ subject, ingress: [{ action: 'Pass', from: everyone }] })).toEqual([
      'spec.ingress[0].action NotSupported supported values: "Allow", "Deny"',
      unchecked,
    ]);
    expect(baselineErrors({ subject, ingress: [{ action: 'Deny', from: everyone }] })).toEqual([]);
  });

  it('S342: peers without domain names', () => {
    const egress = (peer: Loose, ports?: Loose[]): string[] =>
      baselineErrors({
        subject,
        egress: [{ action: 'Deny', to: [peer], ...(ports === undefined ? {} : { ports }) }],
      });
    for (const peer of [{ networks: ['::/0'] }, { nodes: {} }]) expect(egress(peer)).toEqual([]);
    expect(egress({ domainNames: ['a.b'] })[0]).toMatch(/at least 1 properties$/);
    expect(egress({ nodes: {} }, [{ namedPort: 'web' }])).toEqual([
      'spec.egress[0] Invalid networks/nodes peer cannot be set with namedPorts since there are no namedPorts for networks/nodes',
    ]);
  });

  it('S343: compiles into the Baseline tier', () => {
    const given = object(
      'BaselineAdminNetworkPolicy',
      { subject, ingress: [{ action: 'Allow', from: everyone }] },
      'default',
    );
    expect(baselineAdminNetworkPolicy.compile(given)).toMatchObject({
      ref: { key: 'BaselineAdminNetworkPolicy/default' },
      tier: 'Baseline',
      isolates: { Ingress: false, Egress: false },
      rules: { Ingress: [{ action: 'Accept' }], Egress: [] },
    });
  });
});
