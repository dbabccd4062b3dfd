import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { completeLabConfig } from './config.ts';
import { LabRefusal } from './errors.ts';
import { createStore, kindNamed, namespacedIn, pluralOf, type LabStore } from './store.ts';

function pod(name: string, spec: object = {}, metadata: object = {}): KubeObject {
  return { apiVersion: 'v1', kind: 'Pod', metadata: { namespace: 'a', name, ...metadata }, spec };
}

function workload(kind: string, spec: object, apiVersion = 'apps/v1'): KubeObject {
  return { apiVersion, kind, metadata: { namespace: 'a', name: 'web' }, spec };
}

function apply(store: LabStore, ...objects: KubeObject[]): ReturnType<LabStore['apply']> {
  return store.apply(objects.map((object) => ({ object })));
}

function refusal(act: () => unknown): LabRefusal {
  try {
    act();
  } catch (error) {
    if (error instanceof LabRefusal) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

const fresh = (config = {}): LabStore => createStore(completeLabConfig(config));

describe('pods', () => {
  it('are spread over nodes by load and get addresses in order', () => {
    const store = fresh();
    apply(store, pod('p1'), pod('p2'), pod('p3', { nodeName: 'node-2' }), pod('p4'));
    expect(store.pods().map((each) => [each.name, each.node.name, each.addresses[0]])).toEqual([
      ['p1', 'node-1', '10.244.1.2'],
      ['p2', 'node-2', '10.244.2.2'],
      ['p3', 'node-2', '10.244.2.3'],
      ['p4', 'node-1', '10.244.1.3'],
    ]);
  });

  it('do not get an address again that was freed just now', () => {
    const store = fresh({ nodes: ['n'] });
    apply(store, pod('p1'));
    store.delete([{ kind: 'Pod', namespace: 'a', name: 'p1' }]);
    apply(store, pod('p1'));
    expect(store.pods()[0]?.addresses[0]).toBe('10.244.1.3');
  });

  it('are 253 to a node, and the next is refused', () => {
    const store = fresh({ nodes: ['n'], stack: 'ipv4' });
    apply(store, ...Array.from({ length: 253 }, (_, index) => pod(`p${index}`)));
    expect(new Set(store.pods().map((each) => each.addresses[0])).size).toBe(253);
    expect(refusal(() => apply(store, pod('more'))).message).toContain('a node holds 253 pods');
    store.delete([{ kind: 'Pod', namespace: 'a', name: 'p7' }]);
    apply(store, pod('more'));
    expect(store.pods().find((each) => each.name === 'more')?.addresses).toEqual(['10.244.1.9']);
  });

  it('listen on declared ports once each, on TCP 80 without any', () => {
    const store = fresh();
    const ports = [
      { containerPort: 8080 },
      { containerPort: 8080, protocol: 'TCP' },
      { containerPort: 53, protocol: 'UDP' },
      { containerPort: 9, protocol: 'SCTP' },
    ];
    const sidecar = { name: 's', restartPolicy: 'Always', ports: [{ containerPort: 15000 }] };
    const init = { name: 'i', ports: [{ containerPort: 1 }] };
    apply(
      store,
      pod('some', { containers: [{ name: 'c', ports }], initContainers: [init, sidecar] }),
      pod('none'),
    );
    expect(store.pods().map((each) => each.ports)).toEqual([
      [
        { protocol: 'TCP', port: 15000 },
        { protocol: 'TCP', port: 8080 },
        { protocol: 'UDP', port: 53 },
        { protocol: 'SCTP', port: 9 },
      ],
      [{ protocol: 'TCP', port: 80 }],
    ]);
  });

  it('with hostNetwork have the addresses of their node', () => {
    const store = fresh();
    apply(store, pod('h', { hostNetwork: true, nodeName: 'node-2' }));
    expect(store.pods()[0]).toMatchObject({
      hostNetwork: true,
      addresses: ['192.168.200.12', 'fd00:200::12'],
    });
  });

  it('are Pending until they are marked ready', () => {
    const store = fresh();
    const { added } = apply(store, pod('p'));
    const status = (): unknown => store.objects().find((one) => one.kind === 'Pod')?.status;
    expect(status()).toMatchObject({ phase: 'Pending', podIP: '10.244.1.2' });
    store.markReady(added);
    expect(status()).toMatchObject({ phase: 'Running', hostIP: '192.168.200.11' });
    expect(store.readyPods()).toBe(1);
  });

  it('may change labels in place, the spec only by deletion', () => {
    const store = fresh();
    apply(store, pod('p'));
    const relabelled = apply(store, pod('p', {}, { labels: { role: 'db' } }));
    expect(relabelled).toMatchObject({
      added: [],
      removed: [],
      changes: [{ action: 'configured' }],
    });
    expect(apply(store, pod('p', {}, { labels: { role: 'db' } })).changes).toMatchObject([
      { action: 'unchanged' },
    ]);
    const changed = { containers: [{ name: 'c', ports: [{ containerPort: 81 }] }] };
    const refused = refusal(() => apply(store, pod('p', changed)));
    expect(refused.message).toContain('The Pod "p" is invalid: spec: Forbidden: pod updates');
  });
});

describe('workloads', () => {
  const template = { metadata: { labels: { app: 'web' } }, spec: { containers: [] } };
  const pods = (store: LabStore): string[] => store.pods().map((each) => each.name);

  it('become pods with stable names, scale, and replace pods when the template changes', () => {
    const store = fresh();
    apply(store, workload('Deployment', { replicas: 3, template }));
    const three = pods(store);
    expect(three).toHaveLength(3);
    for (const name of three) expect(name).toMatch(/^web-[a-z0-9]{8}-[a-z0-9]{5}$/);
    const again = fresh();
    apply(again, workload('Deployment', { replicas: 3, template }));
    expect(pods(again)).toEqual(three);
    const smaller = apply(store, workload('Deployment', { replicas: 1, template }));
    expect(smaller.removed).toHaveLength(2);
    expect(pods(store)).toEqual(three.slice(0, 1));
    const relabelled = { ...template, metadata: { labels: { app: 'web', tier: 'x' } } };
    apply(store, workload('Deployment', { replicas: 1, template: relabelled }));
    expect(pods(store)).not.toEqual(three.slice(0, 1));
  });

  it('of a StatefulSet keep names: a new template removes and adds the same pod', () => {
    const store = fresh();
    apply(store, workload('StatefulSet', { replicas: 2, template }));
    expect(pods(store)).toEqual(['web-0', 'web-1']);
    const other = { ...template, metadata: { labels: { app: 'other' } } };
    const change = apply(store, workload('StatefulSet', { replicas: 2, template: other }));
    expect(change.removed.map((each) => each.name)).toEqual(['web-0', 'web-1']);
    expect(change.added.map((each) => each.name)).toEqual(['web-0', 'web-1']);
  });

  it('of a DaemonSet have one pod on every node; a Job has parallelism', () => {
    const store = fresh({ nodes: ['x', 'y', 'z'] });
    apply(store, workload('DaemonSet', { template }));
    expect(store.pods().map((each) => each.node.name)).toEqual(['x', 'y', 'z']);
    store.delete([{ kind: 'DaemonSet', namespace: 'a', name: 'web' }]);
    expect(store.pods()).toEqual([]);
    apply(store, workload('Job', { parallelism: 2, template }, 'batch/v1'));
    expect(store.pods()).toHaveLength(2);
  });

  it('make a deleted pod again', () => {
    const store = fresh();
    apply(store, workload('StatefulSet', { replicas: 1, template }));
    const change = store.delete([{ kind: 'Pod', namespace: 'a', name: 'web-0' }]);
    expect([change.removed.length, change.added.length]).toEqual([1, 1]);
  });

  it('refuse impossible counts', () => {
    const store = fresh();
    for (const replicas of [-1, 1.5, '3', 1e9]) {
      expect(
        refusal(() => apply(store, workload('Deployment', { replicas, template }))),
      ).toBeTruthy();
    }
    expect(store.pods()).toEqual([]);
  });
});

describe('objects', () => {
  const policy = (spec: object): KubeObject => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: 'a', name: 'np' },
    spec,
  });

  it('policies are validated and stored with defaults', () => {
    const store = fresh();
    apply(store, policy({ podSelector: {} }));
    const [stored] = store.objects().filter((one) => one.kind === 'NetworkPolicy');
    expect(stored?.spec).toMatchObject({ policyTypes: ['Ingress'] });
    expect(store.countPolicies()).toBe(1);
  });

  it('a fault anywhere in a batch refuses all of it', () => {
    const store = fresh();
    const bad = policy({ podSelector: {}, ingress: [{ ports: [{ port: 70000 }] }] });
    const refused = refusal(() => apply(store, pod('p'), bad));
    expect(refused.refusals).toMatchObject([{ reason: 'Invalid', ref: { name: 'np' } }]);
    expect(refused.message).toContain('spec.ingress[0].ports[0].port: Invalid value: 70000');
    expect(store.pods()).toEqual([]);
    expect(refusal(() => apply(store, policy({ podSelectr: {} }))).message).toContain('podSelectr');
  });

  it('names are checked before they reach a shell', () => {
    const store = fresh();
    const refused = refusal(() => apply(store, pod('x; reboot')));
    expect(refused.message).toContain('metadata.name: Invalid value: "x; reboot"');
    expect(refusal(() => apply(store, pod('p', {}, { namespace: '$(id)' })))).toBeTruthy();
  });

  it('a missing namespace is made and said; its name label cannot be taken away', () => {
    const store = fresh();
    expect(apply(store, pod('p')).notices).toEqual([
      'namespace a did not exist and was created without labels of its own',
    ]);
    const labels = { 'kubernetes.io/metadata.name': 'lie', team: 'x' };
    apply(store, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'a', labels } });
    const found = store
      .objects()
      .find((one) => one.kind === 'Namespace' && one.metadata.name === 'a');
    expect(found?.metadata.labels).toEqual({ 'kubernetes.io/metadata.name': 'a', team: 'x' });
  });

  it('a namespace takes everything in it along, also when its parts are named too', () => {
    const store = fresh();
    apply(store, pod('p'), policy({ podSelector: {} }));
    const { changes, removed } = store.delete([
      { kind: 'Namespace', name: 'a' },
      { kind: 'Pod', namespace: 'a', name: 'p' },
    ]);
    expect(changes.map((change) => change.ref.kind)).toEqual(['Namespace', 'Pod', 'NetworkPolicy']);
    expect(removed).toHaveLength(1);
  });

  it('deleting what is not there deletes nothing', () => {
    const store = fresh();
    apply(store, pod('p'));
    const refs = ['p', 'q'].map((name) => ({ kind: 'Pod', namespace: 'a', name }));
    expect(refusal(() => store.delete(refs)).message).toBe(
      'Error from server (NotFound): pods "q" not found',
    );
    expect(store.pods()).toHaveLength(1);
  });

  it('nodes take labels but neither come nor go', () => {
    const store = fresh();
    const node = (name: string): KubeObject => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels: { zone: 'z' } },
      spec: { podCIDR: '1.2.3.0/24' },
    });
    apply(store, node('node-1'));
    const stored = store.objects().find((one) => one.metadata.name === 'node-1');
    expect(stored).toMatchObject({
      metadata: { labels: { zone: 'z' } },
      spec: { podCIDR: '10.244.1.0/24' },
    });
    expect(refusal(() => apply(store, node('node-9'))).message).toContain('fixed when it starts');
    expect(refusal(() => store.delete([{ kind: 'Node', name: 'node-1' }])).message).toContain(
      'Forbidden',
    );
  });

  it('what the lab has no use for is counted once; wrong versions of known kinds are refused', () => {
    const store = fresh();
    const other = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x' } };
    expect(apply(store, other, other).notices).toEqual([
      'ignored, because the lab has no use for them: 2 ConfigMap',
    ]);
    const old = { ...policy({}), apiVersion: 'extensions/v1beta1' };
    expect(refusal(() => apply(store, old)).message).toContain(
      'no matches for kind "NetworkPolicy" in version "extensions/v1beta1"',
    );
  });
});

describe('names of kinds', () => {
  it.each([
    ['po', 'Pod'],
    ['PODS', 'Pod'],
    ['netpol', 'NetworkPolicy'],
    ['networkpolicies', 'NetworkPolicy'],
    ['ns', 'Namespace'],
    ['deploy', 'Deployment'],
    ['secrets', undefined],
  ])('%s is %s', (word, kind) => expect(kindNamed(word)).toBe(kind));

  it('have plurals, and a namespace only where there is one', () => {
    expect([pluralOf('Pod'), pluralOf('NetworkPolicy')]).toEqual(['pods', 'networkpolicies']);
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } };
    expect(namespacedIn(node, 'x')).toBe(node);
    const bare = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'n' } };
    expect(namespacedIn(bare, 'x').metadata.namespace).toBe('x');
  });
});
