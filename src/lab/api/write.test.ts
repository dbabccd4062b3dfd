import { beforeEach, describe, expect, it } from 'vitest';
import { seededRandom } from './faults.ts';
import type { ApiObject, JsonObject } from './object.ts';
import { kindOf } from './registry.ts';
import { createAddressAllocator, defaultServiceRanges } from './service-address.ts';
import { ApiError } from './status.ts';
import { createStore } from './store.ts';
import { createWriter, type Writer } from './write.ts';

const namespaceType = kindOf('v1', 'Namespace');
const podType = kindOf('v1', 'Pod');
const mapType = kindOf('v1', 'ConfigMap');
const serviceType = kindOf('v1', 'Service');
const policyType = kindOf('networking.k8s.io/v1', 'NetworkPolicy');
const deploymentType = kindOf('apps/v1', 'Deployment');

const object = (name: string, more: JsonObject = {}): ApiObject => ({
  apiVersion: '',
  kind: '',
  metadata: { name },
  ...more,
});
const pod = (name: string): ApiObject =>
  object(name, { spec: { containers: [{ name: 'c', image: 'nginx' }] } });

function errorOf(action: () => unknown): ApiError {
  try {
    action();
  } catch (error) {
    if (error instanceof ApiError) return error;
    throw error;
  }
  throw new Error('no error');
}

let writer: Writer;
let clock = Date.UTC(2026, 0, 1);

beforeEach(() => {
  clock = Date.UTC(2026, 0, 1);
  writer = createWriter({
    store: createStore(),
    addresses: createAddressAllocator(defaultServiceRanges),
    now: () => clock,
    random: seededRandom(1),
  });
  writer.create(namespaceType, undefined, object('dev'));
});

describe('create', () => {
  it('fills metadata, defaults and status', () => {
    const made = writer.create(podType, 'dev', { ...pod('p'), status: { phase: 'Running' } });
    expect(made).toMatchObject({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', namespace: 'dev', creationTimestamp: '2026-01-01T00:00:00Z' },
      spec: {
        restartPolicy: 'Always',
        terminationGracePeriodSeconds: 30,
        serviceAccountName: 'default',
      },
      status: { phase: 'Pending', qosClass: 'BestEffort' },
    });
    expect(made.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('makes names of five characters after generateName', () => {
    const made = writer.create(mapType, 'dev', {
      ...object(''),
      metadata: { name: '', generateName: 'x-' },
    });
    expect(made.metadata.name).toMatch(/^x-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
  });

  it('dry run: the answer is whole, nothing is kept', () => {
    const before = writer.store.version();
    const made = writer.create(podType, 'dev', pod('p'), { dryRun: true });
    expect(made.metadata.uid).toBeDefined();
    expect(writer.store.version()).toBe(before);
  });

  it('refuses what it must', () => {
    writer.create(mapType, 'dev', object('c'));
    expect(errorOf(() => writer.create(mapType, 'dev', object('c'))).reason).toBe('AlreadyExists');
    expect(errorOf(() => writer.create(mapType, 'none', object('c'))).message).toBe(
      'namespaces "none" not found',
    );
    expect(
      errorOf(() =>
        writer.create(mapType, 'dev', {
          ...object('d'),
          metadata: { name: 'd', namespace: 'other' },
        }),
      ).code,
    ).toBe(400);
    expect(
      errorOf(() =>
        writer.create(mapType, 'dev', {
          ...object('d'),
          metadata: { name: 'd', resourceVersion: '3' },
        }),
      ).code,
    ).toBe(400);
    expect(errorOf(() => writer.create(mapType, 'dev', object('UPPER'))).code).toBe(422);
  });

  it('an invalid policy is 422 with the causes of policy/', () => {
    const error = errorOf(() =>
      writer.create(
        policyType,
        'dev',
        object('np', {
          spec: { podSelector: {}, ingress: [{ ports: [{ port: 80, endPort: 70 }] }] },
        }),
      ),
    );
    expect(error.code).toBe(422);
    expect(error.message).toBe(
      'NetworkPolicy.networking.k8s.io "np" is invalid: spec.ingress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`',
    );
    expect(error.details?.causes).toEqual([
      {
        reason: 'FieldValueInvalid',
        message: 'Invalid value: 70: must be greater than or equal to `port`',
        field: 'spec.ingress[0].ports[0].endPort',
      },
    ]);
  });

  it('gives services distinct addresses at once', () => {
    const make = (name: string): unknown =>
      (
        writer.create(serviceType, 'dev', object(name, { spec: { ports: [{ port: 80 }] } }))[
          'spec'
        ] as JsonObject
      )['clusterIP'];
    const [a, b] = [make('a'), make('b')];
    expect(a).toMatch(/^10\.96\./);
    expect(a).not.toBe(b);
    const wish =
      (name: string, clusterIP: unknown): (() => unknown) =>
      () =>
        writer.create(
          serviceType,
          'dev',
          object(name, { spec: { clusterIP, ports: [{ port: 80 }] } }),
        );
    expect(errorOf(wish('c', a)).message).toContain('provided IP is already allocated');
    expect(errorOf(wish('d', '1.2.3.4')).code).toBe(422);
    expect(wish('e', 'None')).not.toThrow();
  });
});

describe('update', () => {
  it('puts kubernetes.io/metadata.name back', () => {
    const updated = writer.update(namespaceType, undefined, 'dev', (old) => ({
      ...old,
      metadata: { ...old.metadata, labels: { ns: 'x' } },
    }));
    expect(updated.metadata.labels).toEqual({ ns: 'x', 'kubernetes.io/metadata.name': 'dev' });
  });

  it('does not write what changes nothing', () => {
    writer.create(policyType, 'dev', object('np', { spec: { podSelector: {} } }));
    const before = writer.store.version();
    writer.update(policyType, 'dev', 'np', (old) => ({ ...old, spec: { podSelector: {} } }), {
      manager: 'm',
    });
    writer.update(policyType, 'dev', 'np', (old) => structuredClone(old), { manager: 'm' });
    expect(writer.store.version()).toBe(before);
  });

  it('counts generations by changes of spec only', () => {
    writer.create(policyType, 'dev', object('np', { spec: { podSelector: {} } }));
    const labelled = writer.update(policyType, 'dev', 'np', (old) => ({
      ...old,
      metadata: { ...old.metadata, labels: { a: 'b' } },
    }));
    expect(labelled.metadata.generation).toBe(1);
    const changed = writer.update(policyType, 'dev', 'np', (old) => ({
      ...old,
      spec: { podSelector: {}, policyTypes: ['Egress'] },
    }));
    expect(changed.metadata.generation).toBe(2);
  });

  it('409 for an old version, 400 for another name, server fields stay', () => {
    const made = writer.create(mapType, 'dev', object('c', { data: { a: '1' } }));
    writer.update(mapType, 'dev', 'c', (old) => ({ ...old, data: { a: '2' } }));
    const stale = errorOf(() => writer.update(mapType, 'dev', 'c', () => made));
    expect(stale.message).toBe(
      'Operation cannot be fulfilled on configmaps "c": the object has been modified; please apply your changes to the latest version and try again',
    );
    expect(errorOf(() => writer.update(mapType, 'dev', 'c', () => object('d'))).code).toBe(400);
    const kept = writer.update(mapType, 'dev', 'c', () => object('c', { data: { a: '3' } }));
    expect(kept.metadata.uid).toBe(made.metadata.uid);
    expect(kept.metadata.creationTimestamp).toBe(made.metadata.creationTimestamp);
  });

  it('status and the rest are written apart', () => {
    writer.create(podType, 'dev', pod('p'));
    const viaStatus = writer.update(
      podType,
      'dev',
      'p',
      (old) => ({ ...old, spec: {}, status: { phase: 'Running' } }),
      { subresource: 'status' },
    );
    expect(viaStatus).toMatchObject({
      spec: { containers: [{ name: 'c' }] },
      status: { phase: 'Running' },
    });
    const viaMain = writer.update(podType, 'dev', 'p', (old) => ({
      ...old,
      metadata: { ...old.metadata, labels: { a: 'b' } },
      status: { phase: 'Failed' },
    }));
    expect(viaMain).toMatchObject({
      metadata: { labels: { a: 'b' } },
      status: { phase: 'Running' },
    });
  });

  it('a pod keeps its containers, a deployment its selector', () => {
    writer.create(podType, 'dev', pod('p'));
    const changed = errorOf(() =>
      writer.update(podType, 'dev', 'p', (old) => ({
        ...old,
        spec: { ...(old['spec'] as JsonObject), hostname: 'h' },
      })),
    );
    expect(changed.message).toContain('pod updates may not change fields other than');
    writer.create(
      deploymentType,
      'dev',
      object('d', {
        spec: {
          selector: { matchLabels: { a: '1' } },
          template: {
            metadata: { labels: { a: '1' } },
            spec: { containers: [{ name: 'c', image: 'x' }] },
          },
        },
      }),
    );
    const selector = errorOf(() =>
      writer.update(deploymentType, 'dev', 'd', (old) => {
        const next = structuredClone(old);
        (next['spec'] as JsonObject)['selector'] = { matchLabels: { b: '1' } };
        return next;
      }),
    );
    expect(selector.details?.causes?.map((cause) => cause.field)).toContain('spec.selector');
  });
});

describe('delete', () => {
  it('checks preconditions', () => {
    writer.create(mapType, 'dev', object('c'));
    expect(
      errorOf(() => writer.remove(mapType, 'dev', 'c', { preconditions: { uid: 'x' } })).code,
    ).toBe(409);
    expect(writer.remove(mapType, 'dev', 'c').gone).toBe(true);
    expect(errorOf(() => writer.remove(mapType, 'dev', 'c')).message).toBe(
      'configmaps "c" not found',
    );
  });

  it('waits for finalizers', () => {
    writer.create(mapType, 'dev', {
      ...object('c'),
      metadata: { name: 'c', finalizers: ['x.io/f'] },
    });
    expect(writer.remove(mapType, 'dev', 'c').gone).toBe(false);
    expect(writer.store.get(mapType.bucket, 'dev/c')?.metadata.deletionTimestamp).toBeDefined();
    writer.update(mapType, 'dev', 'c', (old) => ({
      ...old,
      metadata: { ...old.metadata, finalizers: [] },
    }));
    expect(writer.store.get(mapType.bucket, 'dev/c')).toBeUndefined();
  });

  it('gives a pod on a node its grace, which may be shortened', () => {
    writer.create(podType, 'dev', pod('p'));
    writer.update(podType, 'dev', 'p', (old) => ({
      ...old,
      spec: { ...(old['spec'] as JsonObject), nodeName: 'n' },
    }));
    const first = writer.remove(podType, 'dev', 'p');
    expect(first.object.metadata.deletionGracePeriodSeconds).toBe(30);
    expect(first.object.metadata.deletionTimestamp).toBe('2026-01-01T00:00:30Z');
    expect(writer.remove(podType, 'dev', 'p', { gracePeriodSeconds: 0 }).gone).toBe(true);
  });

  it('a pod without a node goes at once', () => {
    writer.create(podType, 'dev', pod('p'));
    expect(writer.remove(podType, 'dev', 'p').gone).toBe(true);
  });

  it('a namespace turns Terminating and takes nothing new', () => {
    const { object: marked, gone } = writer.remove(namespaceType, undefined, 'dev');
    expect(gone).toBe(false);
    expect(marked['status']).toEqual({ phase: 'Terminating' });
    const error = errorOf(() => writer.create(mapType, 'dev', object('c')));
    expect(error.code).toBe(403);
    expect(error.details?.causes?.[0]?.reason).toBe('NamespaceTerminating');
  });
});
