import { describe, expect, it } from 'vitest';
import { formatAddress } from '../net/address.ts';
import type { KubeObject } from '../k8s/types.ts';
import { createClusterFacts } from './cluster-facts.ts';
import type { ClusterFacts, FactChanges } from './cluster-facts.ts';

function pod(
  name: string,
  status: object,
  extra: { labels?: object; spec?: object } = {},
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'a', name, labels: extra.labels ?? {} },
    spec: { nodeName: 'n1', containers: [], ...extra.spec },
    status: { phase: 'Running', ...status },
  } as unknown as KubeObject;
}

function other(kind: string, name: string, rest: object): KubeObject {
  const apiVersion = kind === 'NetworkPolicy' ? 'networking.k8s.io/v1' : 'v1';
  const namespace = kind === 'NetworkPolicy' ? { namespace: 'a' } : {};
  return { apiVersion, kind, metadata: { name, ...namespace }, ...rest };
}

function put(facts: ClusterFacts, ...objects: readonly KubeObject[]): FactChanges {
  return facts.apply(
    objects.map((object) => {
      const { apiVersion, kind, metadata } = object;
      return [
        { apiVersion, kind, namespace: metadata.namespace, name: metadata.name ?? '' },
        object,
      ] as const;
    }),
  );
}

function drop(facts: ClusterFacts, { apiVersion, kind, metadata }: KubeObject): FactChanges {
  const { namespace, name = '' } = metadata;
  return facts.apply([[{ apiVersion, kind, namespace, name }, undefined]]);
}

/** Pods that changed, with their addresses. */
function owners({ pods }: FactChanges): Record<string, string[] | undefined> {
  return Object.fromEntries(
    [...pods].map(([id, fact]) => [id, fact?.addresses.map(formatAddress)]),
  );
}

describe('addresses of pods', () => {
  it('S195: the pod that started last has an address; when it goes, the one before has it again', () => {
    const facts = createClusterFacts();
    const old = pod('old', { podIP: '10.0.0.1', startTime: '2026-01-01T00:00:00Z' });
    const young = pod('young', { podIP: '10.0.0.1', startTime: '2026-01-02T00:00:00Z' });
    expect(owners(put(facts, old))).toEqual({ 'a/old': ['10.0.0.1'] });
    expect(owners(put(facts, young))).toEqual({ 'a/young': ['10.0.0.1'], 'a/old': undefined });
    // A late event of the older one changes nothing.
    expect(owners(put(facts, structuredClone(old)))).toEqual({});
    expect(owners(drop(facts, young))).toEqual({ 'a/young': undefined, 'a/old': ['10.0.0.1'] });
  });

  it('S195: a finished pod has none, and says so once', () => {
    const facts = createClusterFacts();
    put(facts, pod('p', { podIP: '10.0.0.1' }));
    const done = pod('p', { podIP: '10.0.0.1', phase: 'Succeeded' });
    expect(owners(put(facts, done))).toEqual({ 'a/p': undefined });
    expect(owners(put(facts, { ...done }))).toEqual({});
    expect(owners(put(facts, pod('q', { podIP: '10.0.0.1' })))).toEqual({ 'a/q': ['10.0.0.1'] });
  });

  it('S184: a pod in its node’s network has none of its own', () => {
    const facts = createClusterFacts();
    const host = pod('h', { podIP: '192.168.0.1' }, { spec: { hostNetwork: true } });
    expect(owners(put(facts, host))).toEqual({});
    expect(facts.objects).toBe(1);
  });
});

describe('what differs', () => {
  it('facts that come out equal are not told again', () => {
    const facts = createClusterFacts();
    const objects = [
      pod('p', { podIP: '10.0.0.1' }, { labels: { app: 'a' } }),
      other('Namespace', 'a', { metadata: { name: 'a', labels: { team: 'x' } } }),
      other('Node', 'n1', { spec: { podCIDR: '10.0.0.0/24' } }),
      other('NetworkPolicy', 'np', { spec: { podSelector: {} } }),
      other('NetworkPolicy', 'bad', { spec: { podSelector: {}, policyTypes: ['Sideways'] } }),
    ];
    const first = put(facts, ...objects);
    expect([first.pods.size, first.namespaces.size, first.nodes.size, first.policies.size]).toEqual(
      [1, 1, 1, 1],
    );
    expect(first.invalid?.map(({ key }) => key)).toEqual(['NetworkPolicy/a/bad']);
    expect(facts.errors).toHaveLength(1);
    const again = put(
      facts,
      ...objects.map((object) => ({
        ...structuredClone(object),
        metadata: { ...object.metadata, resourceVersion: '2' },
      })),
    );
    expect(again).toEqual({
      pods: new Map(),
      namespaces: new Map(),
      nodes: new Map(),
      policies: new Map(),
    });
  });

  it('a node without object is what its pods tell of it, until it has one', () => {
    const facts = createClusterFacts();
    const told = (changes: FactChanges): unknown => {
      const node = changes.nodes.get('n1');
      return changes.nodes.has('n1') ? (node?.addresses.map(formatAddress) ?? 'none') : 'the same';
    };
    const p = pod('p', { podIP: '10.0.0.1', hostIP: '192.168.0.1' });
    const q = pod('q', { podIP: '10.0.0.2', hostIP: '192.168.0.2' });
    const node = other('Node', 'n1', {
      status: { addresses: [{ type: 'InternalIP', address: '192.168.0.9' }] },
    });
    expect(told(put(facts, p))).toEqual(['192.168.0.1']);
    expect(told(put(facts, q))).toEqual(['192.168.0.1', '192.168.0.2']);
    expect(told(put(facts, node))).toEqual(['192.168.0.9']);
    expect(told(drop(facts, p))).toBe('the same');
    expect(told(drop(facts, node))).toEqual(['192.168.0.2']);
    expect(told(drop(facts, q))).toBe('none');
  });

  it('a policy that stops to validate is no policy any more, and the other way round', () => {
    const facts = createClusterFacts();
    const good = other('NetworkPolicy', 'np', { spec: { podSelector: {} } });
    const bad = other('NetworkPolicy', 'np', { spec: { podSelector: {}, policyTypes: ['No'] } });
    put(facts, good);
    const broken = put(facts, bad);
    expect([...broken.policies]).toEqual([['NetworkPolicy/a/np', undefined]]);
    expect(broken.invalid).toHaveLength(1);
    const mended = put(facts, good);
    expect(mended.policies.get('NetworkPolicy/a/np')?.ref.name).toBe('np');
    expect(mended.invalid).toEqual([]);
    expect([facts.errors, facts.policies.size]).toEqual([[], 1]);
  });
});
