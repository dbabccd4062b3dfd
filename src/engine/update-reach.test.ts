import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { formatConnections } from '../net/connection-set.ts';
import { buildSnapshot } from './build.ts';
import { computeReach } from './reach.ts';
import type { Reach } from './reach.ts';
import type { Snapshot } from './snapshot.ts';
import { updateReach } from './update-reach.ts';

function namespace(name: string, labels: Record<string, string> = {}): KubeObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

function pod(
  id: string,
  labels: Record<string, string>,
  port?: { name: string; containerPort: number },
): KubeObject {
  const [place = '', name = ''] = id.split('/');
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: place, name, labels },
    spec: { containers: [{ name: 'c', ...(port === undefined ? {} : { ports: [port] }) }] },
  };
}

function policy(id: string, podSelector: object, ingress: object[]): KubeObject {
  const [place = '', name = ''] = id.split('/');
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: place, name },
    spec: { podSelector, policyTypes: ['Ingress'], ingress },
  };
}

function snapshotOf(...objects: KubeObject[]): Snapshot {
  return buildSnapshot(objects.map((object) => ({ object }))).snapshot;
}

function allowed(reach: Reach, from: string, to: string): string {
  const [source = -1, destination = -1] = [reach.positionOf(from), reach.positionOf(to)];
  return formatConnections(reach.lookup(source, destination).allowed);
}

function namedKey(snapshot: Snapshot, name: string): string {
  return snapshot.policies.find(({ ref }) => ref.name === name)?.ref.key ?? '';
}

describe('updateReach', () => {
  it('lets go of a class whose pods all moved away, and of the policies that selected it', () => {
    const snapshot = snapshotOf(
      namespace('a'),
      pod('a/x', { app: 'x', role: 'one' }),
      pod('a/y', { app: 'y' }),
      policy('a/first', { matchLabels: { app: 'x' } }, []),
      policy('a/second', { matchLabels: { role: 'one' } }, []),
    );
    let reach = computeReach(snapshot);
    reach = updateReach(reach, { kind: 'pod-labels', id: 'a/x', labels: { app: 'y' } });
    expect(allowed(reach, 'a/y', 'a/x')).toBe('all');
    reach = updateReach(reach, { kind: 'policy', key: namedKey(snapshot, 'first') });
    // It finds its subjects by label alone, so it would find the class of old, too.
    const deny = snapshotOf(namespace('a'), {
      apiVersion: 'policy.networking.k8s.io/v1alpha2',
      kind: 'ClusterNetworkPolicy',
      metadata: { name: 'deny' },
      spec: {
        tier: 'Admin',
        priority: 1,
        subject: {
          pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: 'one' } } },
        },
        ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
      },
    }).policies[0];
    if (deny === undefined) throw new Error('no policy');
    reach = updateReach(reach, { kind: 'policy', key: deny.ref.key, policy: deny });
    expect(allowed(reach, 'a/y', 'a/x')).toBe('all');
    reach = updateReach(reach, { kind: 'pod-labels', id: 'a/x', labels: { role: 'one' } });
    expect(allowed(reach, 'a/y', 'a/x')).toBe('none');
    reach = updateReach(reach, { kind: 'policy', key: namedKey(snapshot, 'second') });
    expect(reach.count()).toEqual({ open: 1, unknown: 0, total: 2 });
  });

  it('S133: a named port is each pod’s own, also when the rule matched nobody at first', () => {
    const ports = [{ port: 'web' }];
    const snapshot = snapshotOf(
      namespace('a'),
      namespace('b'),
      pod('a/one', {}, { name: 'web', containerPort: 8001 }),
      pod('a/two', {}, { name: 'web', containerPort: 8002 }),
      pod('b/client', {}),
      policy('a/web', {}, [
        { from: [{ namespaceSelector: { matchLabels: { team: 'red' } } }], ports },
      ]),
    );
    let reach = computeReach(snapshot);
    expect(allowed(reach, 'b/client', 'a/one')).toBe('none');
    reach = updateReach(reach, { kind: 'namespace-labels', name: 'b', labels: { team: 'red' } });
    expect(allowed(reach, 'b/client', 'a/one')).toBe('TCP 8001');
    expect(allowed(reach, 'b/client', 'a/two')).toBe('TCP 8002');
  });

  it('tells pods of a namespace apart by a label only when a policy can see it there', () => {
    const snapshot = snapshotOf(
      namespace('a'),
      namespace('b'),
      ...['a/x', 'b/x'].map((id) => pod(id, { app: 'x' })),
      ...['a/y', 'b/y'].map((id) => pod(id, {})),
      policy('a/every', {}, []),
      policy('b/every', {}, []),
    );
    const closing = snapshotOf(
      namespace('a'),
      namespace('b'),
      policy('a/x', { matchLabels: { app: 'x' } }, [{}]),
      policy('b/x', { matchLabels: { app: 'x' } }, [{}]),
    ).policies;
    let reach = computeReach(snapshot);
    const classes = reach.statistics.classes;
    for (const [place, one] of closing.entries()) {
      reach = updateReach(reach, { kind: 'policy', key: one.ref.key, policy: one });
      expect(reach.statistics.classes).toBe(classes + place + 1);
    }
    for (const place of ['a', 'b']) {
      expect(allowed(reach, 'b/y', `${place}/x`)).toBe('all');
      expect(allowed(reach, `a/x`, `${place}/y`)).toBe('none');
    }
  });
});
