import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { buildSnapshot } from './build.ts';
import { idleDirections } from './unused-directions.ts';
import { findUnused } from './unused.ts';
import { compileSelector } from '../k8s/selector.ts';
import { madeByOperator } from './operators.ts';

function pod(name: string, labels: Record<string, string>, spec: object = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', labels },
    spec: { containers: [{ name: 'c' }], ...spec },
  };
}

function policy(name: string, spec: object): KubeObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: 'shop' },
    spec,
  };
}

function unusedIn(...objects: KubeObject[]): ReturnType<typeof findUnused> {
  return findUnused(buildSnapshot(objects.map((object) => ({ object }))).snapshot);
}

const kindsOf = ({ findings }: ReturnType<typeof findUnused>): string[] =>
  findings.map(({ kind, policy: { name }, holds }) => `${kind} ${name} ${holds}`);

describe('findUnused', () => {
  it('S78: rules of a direction that policyTypes leaves out have no effect', () => {
    const object = policy('half', { podSelector: {}, policyTypes: ['Ingress'], egress: [{}] });
    const ref = { key: 'k', kind: 'NetworkPolicy', namespace: 'shop', name: 'half' };
    expect(idleDirections([object], () => ref)).toMatchObject([
      { kind: 'direction-without-effect', direction: 'Egress', path: 'spec.egress' },
    ]);
    const implied = policy('both', { podSelector: {}, egress: [{}] });
    expect(idleDirections([implied], () => ref)).toEqual([]);
  });

  it('of two policies the narrower one goes, whatever pods there are', () => {
    const wide = { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] };
    const narrow = {
      podSelector: { matchLabels: { app: 'a' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'b' } } }], ports: [{ port: 80 }] }],
    };
    for (const names of [
      ['one', 'two'],
      ['two', 'one'],
    ] as const) {
      const found = unusedIn(
        pod('a', { app: 'a' }),
        pod('b', { app: 'b' }),
        policy(names[0], wide),
        policy(names[1], narrow),
      );
      expect(kindsOf(found)).toEqual([`policy-redundant ${names[1]} always`]);
    }
  });

  it('of two alike one goes, not both', () => {
    const deny = { podSelector: {}, policyTypes: ['Ingress'] };
    const found = unusedIn(pod('a', {}), policy('one', deny), policy('two', deny));
    expect(kindsOf(found)).toEqual(['policy-redundant two always']);
  });

  it('a default deny is not called redundant because every pod of the input has a policy of its own', () => {
    const found = unusedIn(
      pod('a', { app: 'a' }),
      policy('deny', { podSelector: {}, policyTypes: ['Ingress'] }),
      policy('own', { podSelector: { matchLabels: { app: 'a' } }, ingress: [{}] }),
    );
    expect(found.findings).toEqual([]);
    expect(found.notJudged).toMatchObject([{ policy: { name: 'deny' } }]);
  });

  it('does not judge selectors where the input may be incomplete', () => {
    const dead = policy('dead', { podSelector: { matchLabels: { app: 'gone' } } });
    expect(kindsOf(unusedIn(dead))).toEqual([]);
    expect(unusedIn(dead).notJudged).toHaveLength(1);
    expect(kindsOf(unusedIn(pod('a', {}), dead))).toEqual(['selects-no-pod dead input']);
    const host = pod('h', { app: 'gone' }, { hostNetwork: true });
    expect(kindsOf(unusedIn(host, dead))).toEqual([]);
  });

  it('knows labels of operators', () => {
    const of = (labels: Record<string, string>): string | undefined =>
      madeByOperator(compileSelector({ matchLabels: labels }));
    expect(of({ 'app.kubernetes.io/name': 'prometheus' })).toBe('the Prometheus operator');
    expect(of({ 'longhorn.io/component': 'ui' })).toBe('Longhorn');
    expect(of({ 'app.kubernetes.io/name': 'shop' })).toBeUndefined();
  });
});
