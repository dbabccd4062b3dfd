import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { cluster, namespace, networkPolicy, node, pod } from '../../test/cluster.ts';
import { buildSnapshot } from './build.ts';
import type { BuildResult } from './build.ts';

function build(...objects: unknown[]): BuildResult {
  return buildSnapshot(
    objects.map((object, i) => ({
      object: object as KubeObject,
      source: { file: 'in.yaml', start: { line: i + 1, column: 1 } },
    })),
  );
}

const template = {
  metadata: { labels: { app: 'web' } },
  spec: { containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 8080 }] }] },
};

const owned = (object: KubeObject, kind: string, name: string): KubeObject => ({
  ...object,
  metadata: {
    ...object.metadata,
    ownerReferences: [{ apiVersion: 'apps/v1', kind, name, controller: true }],
  },
});

describe('workloads', () => {
  it('gives a workload without pods one template pod', () => {
    const { snapshot } = build({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { namespace: 'shop', name: 'web' },
      spec: { replicas: 3, template },
    });
    expect(snapshot.pods).toMatchObject([
      {
        id: 'shop/Deployment/web',
        template: true,
        replicas: 3,
        labels: { app: 'web' },
        addresses: [],
        namedPorts: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        workload: { kind: 'Deployment', namespace: 'shop', name: 'web' },
      },
    ]);
    expect(snapshot.completeness.podsWithoutAddress).toBe(1);
  });

  it('folds pods into the outermost owner, and makes no template beside live pods', () => {
    const deployment = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { namespace: 'shop', name: 'web' },
      spec: { template },
    };
    const replicaSet = owned(
      {
        apiVersion: 'apps/v1',
        kind: 'ReplicaSet',
        metadata: { namespace: 'shop', name: 'web-abc' },
        spec: { template },
      },
      'Deployment',
      'web',
    );
    const { snapshot } = build(
      deployment,
      replicaSet,
      owned(pod('shop/web-abc-1'), 'ReplicaSet', 'web-abc'),
    );
    expect(snapshot.pods.map(({ id, workload }) => [id, workload.kind, workload.name])).toEqual([
      ['shop/web-abc-1', 'Deployment', 'web'],
    ]);
  });

  it('finds the Deployment by pod-template-hash when the ReplicaSet is not given', () => {
    const { snapshot } = build(
      owned(
        pod('shop/web-abc-1', { labels: { 'pod-template-hash': 'abc' } }),
        'ReplicaSet',
        'web-abc',
      ),
    );
    expect(snapshot.pods[0]?.workload).toEqual({
      kind: 'Deployment',
      namespace: 'shop',
      name: 'web',
    });
  });

  it('follows Job to CronJob', () => {
    const job = owned(
      {
        apiVersion: 'batch/v1',
        kind: 'Job',
        metadata: { namespace: 'a', name: 'j-1' },
        spec: { template },
      },
      'CronJob',
      'j',
    );
    const cron = {
      apiVersion: 'batch/v1',
      kind: 'CronJob',
      metadata: { namespace: 'a', name: 'j' },
      spec: { jobTemplate: { spec: { template } } },
    };
    const { snapshot } = build(cron, job, owned(pod('a/j-1-x'), 'Job', 'j-1'));
    expect(snapshot.pods.map(({ workload }) => workload.kind)).toEqual(['CronJob']);
    expect(build(cron, job).snapshot.pods.map(({ id }) => id)).toEqual(['a/CronJob/j']);
  });

  it('makes no template for a finished Job or a replaced ReplicaSet', () => {
    const { snapshot } = build(
      {
        apiVersion: 'batch/v1',
        kind: 'Job',
        metadata: { namespace: 'a', name: 'done' },
        spec: { template },
        status: { conditions: [{ type: 'Complete', status: 'True' }] },
      },
      {
        apiVersion: 'apps/v1',
        kind: 'ReplicaSet',
        metadata: { namespace: 'a', name: 'old-1', labels: { 'pod-template-hash': '1' } },
        spec: { replicas: 0, template },
      },
    );
    expect(snapshot.pods).toEqual([]);
  });

  it('keeps a bare pod as its own workload, a static pod too', () => {
    const { snapshot } = build(pod('a/x'), owned(pod('a/kube-proxy-n1'), 'Node', 'n1'));
    expect(snapshot.pods.map(({ workload }) => workload.kind)).toEqual(['Pod', 'Pod']);
  });
});

describe('namespaces', () => {
  it('S25: every namespace has its name as a label', () => {
    const { snapshot } = build(namespace('a', { team: 'x' }), pod('b/p'));
    expect(snapshot.namespaces.get('a')).toMatchObject({
      labels: { team: 'x', 'kubernetes.io/metadata.name': 'a' },
      implied: false,
    });
    expect(snapshot.namespaces.get('b')).toMatchObject({
      labels: { 'kubernetes.io/metadata.name': 'b' },
      implied: true,
    });
    expect(snapshot.completeness.impliedNamespaces).toEqual(['b']);
  });

  it('takes an omitted namespace as default and says so', () => {
    const { snapshot, diagnostics } = build({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p' },
      spec: {},
    });
    expect(snapshot.pods[0]?.id).toBe('default/p');
    expect(diagnostics).toMatchObject([{ code: 'namespace-omitted', severity: 'info' }]);
  });
});

describe('pods and nodes', () => {
  it('S136: restartable init containers count for named ports, other init containers do not', () => {
    const { snapshot } = build(
      pod('a/p', {
        spec: {
          initContainers: [
            { name: 's', restartPolicy: 'Always', ports: [{ name: 'side', containerPort: 1 }] },
            { name: 'i', ports: [{ name: 'init', containerPort: 2 }] },
          ],
        },
      }),
    );
    expect(snapshot.pods[0]?.namedPorts).toEqual([{ name: 'side', port: 1, protocol: 'TCP' }]);
  });

  it('gives a hostNetwork pod without status the InternalIPs of its node', () => {
    const { snapshot } = build(
      pod('a/p', { hostNetwork: true, node: 'n1' }),
      node('n1', ['10.0.0.1', 'fd00::1']),
    );
    expect(snapshot.pods[0]?.addresses).toHaveLength(2);
  });

  it('learns nodes from pods when no Node object is given', () => {
    const { snapshot } = build({
      ...pod('a/p', { node: 'n1' }),
      status: { hostIP: '10.0.0.1', podIP: '10.1.0.1' },
    });
    expect(snapshot.nodes.get('n1')).toMatchObject({
      implied: true,
      addresses: [{ family: 4, value: 0x0a000001 }],
    });
  });

  it('S195: a live pod keeps an address against a finished one; of two live ones the newest', () => {
    const start = (object: KubeObject, startTime: string): KubeObject => ({
      ...object,
      status: { ...(object.status as object), startTime },
    });
    const { snapshot, diagnostics } = build(
      start(pod('a/new', { ips: ['10.1.0.1'] }), '2026-01-02T00:00:00Z'),
      start(pod('a/old', { ips: ['10.1.0.1'] }), '2026-01-01T00:00:00Z'),
      start(pod('a/done', { ips: ['10.1.0.1'], phase: 'Succeeded' }), '2026-01-03T00:00:00Z'),
    );
    expect(snapshot.podById.get('a/new')?.addresses).toHaveLength(1);
    expect(snapshot.podById.get('a/old')?.addresses).toHaveLength(0);
    expect(diagnostics.map(({ code }) => code)).toEqual(['duplicate-pod-address']);
    expect(diagnostics[0]?.message).toContain('a/new, which started last');
  });

  it('S195: pods that started at one time are told apart by name, not by the order of input', () => {
    const [a, b] = [pod('a/a', { ips: ['10.1.0.1'] }), pod('a/b', { ips: ['10.1.0.1'] })];
    for (const order of [
      [a, b],
      [b, a],
    ]) {
      const { snapshot, diagnostics } = build(...order);
      expect(snapshot.podById.get('a/b')?.addresses).toHaveLength(1);
      expect(snapshot.podById.get('a/a')?.addresses).toHaveLength(0);
      expect(diagnostics[0]?.message).toContain('a/b, the last by name');
    }
  });

  it('lets hostNetwork pods share an address', () => {
    const { diagnostics } = build(
      pod('a/x', { hostNetwork: true, ips: ['10.0.0.1'] }),
      pod('a/y', { hostNetwork: true, ips: ['10.0.0.1'] }),
    );
    expect(diagnostics).toEqual([]);
  });

  it('S198: a pod without an address or node is no error', () => {
    const { snapshot, diagnostics } = build(pod('a/p', { phase: 'Pending' }));
    expect(snapshot.pods).toHaveLength(1);
    expect(diagnostics).toEqual([]);
  });
});

describe('faults', () => {
  it('counts unknown kinds', () => {
    const { snapshot } = build(
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } },
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'b' } },
      { apiVersion: 'example.com/v1', kind: 'Pod', metadata: { name: 'c' } },
    );
    expect([...snapshot.completeness.unknownKinds]).toEqual([
      ['v1/ConfigMap', 2],
      ['example.com/v1/Pod', 1],
    ]);
    expect(snapshot.completeness.objects).toBe(3);
  });

  it('reports duplicates with both places; the later one counts', () => {
    const { snapshot, diagnostics } = build(
      pod('a/p', { labels: { v: '1' } }),
      pod('a/p', { labels: { v: '2' } }),
    );
    expect(snapshot.pods.map(({ labels }) => labels)).toEqual([{ v: '2' }]);
    expect(diagnostics).toMatchObject([
      {
        code: 'duplicate-object',
        severity: 'warning',
        range: { file: 'in.yaml', start: { line: 2 } },
      },
    ]);
    expect(diagnostics[0]?.message).toContain('in.yaml:1:1');
    expect(build(pod('a/p'), pod('a/p')).diagnostics[0]?.severity).toBe('warning');
  });

  it('keeps a reference to policies that do not validate', () => {
    const { snapshot, diagnostics } = build(networkPolicy('a/bad', { ingress: [{ from: [{}] }] }));
    expect(snapshot.policies).toEqual([]);
    expect(snapshot.completeness.invalidPolicies).toMatchObject([{ namespace: 'a', name: 'bad' }]);
    expect(diagnostics.some(({ severity }) => severity === 'error')).toBe(true);
  });

  it('survives objects with the wrong shape and prototype keys', () => {
    const labels = JSON.parse('{"__proto__": "x", "a": 1, "b": "c"}') as Record<string, string>;
    const { snapshot } = build(
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'a', labels }, spec: 7 },
      { apiVersion: 'v1', kind: 'Node', metadata: null, status: [] },
      { apiVersion: 'v1', kind: 'Namespace' },
      { apiVersion: 'v1', kind: 'Service', metadata: { name: 's' }, spec: { ports: [1, null] } },
      { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd' }, spec: null },
    );
    expect(Object.entries(snapshot.pods[0]?.labels ?? {})).toEqual([
      ['__proto__', 'x'],
      ['b', 'c'],
    ]);
    expect(snapshot.services[0]?.ports).toEqual([]);
  });
});

describe('services and routes', () => {
  it('reads services, endpoint slices and routes', () => {
    const { snapshot } = build(
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { namespace: 'a', name: 's' },
        spec: {
          clusterIP: '10.96.0.1',
          selector: { app: 'web' },
          ports: [{ port: 80, targetPort: 'http' }],
        },
      },
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { namespace: 'a', name: 's-1', labels: { 'kubernetes.io/service-name': 's' } },
        endpoints: [
          { addresses: ['10.1.0.1'], targetRef: { kind: 'Pod', name: 'p' } },
          { addresses: ['10.1.0.2'], conditions: { ready: false } },
        ],
      },
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'Ingress',
        metadata: { namespace: 'a', name: 'i' },
        spec: {
          rules: [
            {
              host: 'x.org',
              http: { paths: [{ backend: { service: { name: 's', port: { number: 80 } } } }] },
            },
          ],
        },
      },
    );
    expect(snapshot.services).toMatchObject([
      {
        name: 's',
        type: 'ClusterIP',
        selector: { app: 'web' },
        ports: [{ port: 80, targetPort: 'http', protocol: 'TCP' }],
        endpoints: [{ pod: 'a/p' }],
      },
    ]);
    expect(snapshot.routes).toMatchObject([
      { kind: 'Ingress', hosts: ['x.org'], backends: [{ namespace: 'a', service: 's', port: 80 }] },
    ]);
  });
});

it('refuses a test cluster with faults unless told otherwise', () => {
  expect(() => cluster([networkPolicy('a/bad', { ingress: [{ from: [{}] }] })])).toThrow('peer');
});

describe('names of objects that are no policies (S32, S33)', () => {
  const faults = (metadata: object): string[] =>
    buildSnapshot([
      { object: { apiVersion: 'v1', kind: 'Pod', metadata: { namespace: 'a', ...metadata } } },
    ])
      .diagnostics.filter(({ severity }) => severity === 'error')
      .map(({ message }) => message);

  it('refuses a missing and a malformed name', () => {
    expect(faults({})).toEqual(['metadata.name: Required value: name or generateName is required']);
    expect(faults({ name: 'Bad Name!' })[0]).toContain('metadata.name: Invalid value: "Bad Name!"');
  });

  it('takes a good name and a generated one', () => {
    expect(faults({ name: 'web-1.x' })).toEqual([]);
    expect(faults({ generateName: 'web-' })).toEqual([]);
  });
});
