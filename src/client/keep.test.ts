import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { createInternPool, createKeep } from './keep.ts';

const json = (text: string): KubeObject => JSON.parse(text) as KubeObject;

describe('createKeep', () => {
  it('cuts a pod down to what policy reads', () => {
    const keep = createKeep('v1', 'Pod');
    const kept = keep(
      json(`{
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "5", "generateName": "x",
          "labels": {"app": "web"}, "annotations": {"podwall.dev/mode": "audit", "other": "1"}, "managedFields": [{}],
          "ownerReferences": [{"apiVersion": "v1", "kind": "Foo", "name": "f"}, {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "r", "controller": true}]},
        "spec": {"nodeName": "n1", "hostNetwork": false, "volumes": [{}],
          "containers": [{"name": "c", "image": "i", "env": [{}], "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}]}, {"name": "d"}],
          "initContainers": [{"name": "once"}, {"name": "side", "restartPolicy": "Always", "ports": [{"containerPort": 9}]}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "hostIP": "192.0.2.1", "conditions": [{}]}
      }`),
    );
    expect(kept).toEqual({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: 'a',
        namespace: 'n',
        uid: 'u',
        resourceVersion: '5',
        labels: { app: 'web' },
        annotations: { 'podwall.dev/mode': 'audit' },
        ownerReferences: [
          { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'rs', controller: true },
        ],
      },
      spec: {
        nodeName: 'n1',
        containers: [
          { name: 'c', ports: [{ name: 'http', containerPort: 80, protocol: 'TCP' }] },
          { name: 'd' },
        ],
        initContainers: [{ name: 'side', restartPolicy: 'Always', ports: [{ containerPort: 9 }] }],
      },
      status: {
        phase: 'Running',
        podIP: '10.0.0.1',
        podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }],
        hostIP: '192.0.2.1',
      },
    });
  });

  it('accepts null, empty and odd parts', () => {
    const keep = createKeep('v1', 'Pod');
    expect(
      keep(
        json(
          '{"metadata": {"name": "a", "labels": null, "ownerReferences": null}, "spec": null, "status": {"podIPs": [null, {"ip": ""}]}}',
        ),
      ),
    ).toEqual({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'a' },
      spec: {},
      status: {},
    });
    expect(
      keep(
        json(
          '{"metadata": {"name": "a", "labels": {"x": 1, "y": "2", "__proto__": "3"}}, "spec": {"containers": null}}',
        ),
      )?.metadata.labels,
    ).toEqual(JSON.parse('{"y": "2", "__proto__": "3"}'));
    for (const text of ['{}', '{"metadata": null}', '{"metadata": {"name": ""}}', '[]', '"x"'])
      expect(keep(json(text))).toBeUndefined();
  });

  it('keeps what tells the newer of two pods, and every host address', () => {
    const keep = createKeep('v1', 'Pod');
    const created = '"creationTimestamp": "2026-01-01T00:00:00Z"';
    expect(keep(json(`{"metadata": {"name": "a", ${created}}}`))?.metadata.creationTimestamp).toBe(
      '2026-01-01T00:00:00Z',
    );
    const started = keep(
      json(
        `{"metadata": {"name": "a", ${created}}, "status": {"startTime": "t", "hostIPs": [{"ip": "1.1.1.1"}, {"ip": "::1"}]}}`,
      ),
    );
    expect(started?.metadata).toEqual({ name: 'a' });
    expect(started?.status).toEqual({
      startTime: 't',
      hostIPs: [{ ip: '1.1.1.1' }, { ip: '::1' }],
    });
  });

  it('keeps the whole spec of a policy, `null`, `[]` and absent as they are', () => {
    const keep = createKeep('networking.k8s.io/v1', 'NetworkPolicy');
    const spec = { podSelector: {}, ingress: [], egress: null, unknown: 1 };
    expect(
      keep({ apiVersion: '', kind: '', metadata: { name: 'p', namespace: 'n' }, spec })?.spec,
    ).toEqual(spec);
  });

  it('keeps endpoints, node addresses and job templates', () => {
    expect(
      createKeep(
        'discovery.k8s.io/v1',
        'EndpointSlice',
      )(json('{"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": []}')),
    ).toMatchObject({ addressType: 'IPv4', endpoints: [] });
    expect(
      createKeep(
        'v1',
        'Node',
      )(
        json(
          '{"metadata": {"name": "e"}, "spec": {"podCIDRs": ["10.0.0.0/24"], "taints": []}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "images": []}}',
        ),
      ),
    ).toMatchObject({
      spec: { podCIDRs: ['10.0.0.0/24'] },
      status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
    });
    const cron = createKeep(
      'batch/v1',
      'CronJob',
    )(
      json(
        '{"metadata": {"name": "c"}, "spec": {"schedule": "x", "jobTemplate": {"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"hostNetwork": true, "containers": []}}}}}}',
      ),
    );
    expect(cron?.spec).toEqual({
      jobTemplate: {
        spec: {
          template: {
            metadata: { labels: { a: 'b' } },
            spec: { hostNetwork: true, containers: [] },
          },
        },
      },
    });
  });

  it('shares equal labels, containers and owners between objects', () => {
    const pool = createInternPool();
    const keep = createKeep('v1', 'Pod', pool);
    const text =
      '{"metadata": {"name": "a", "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}';
    const [one, two] = [keep(json(text)), keep(json(text.replace('"a"', '"b"')))];
    expect(one?.metadata.labels).toBe(two?.metadata.labels);
    const containers = (pod: KubeObject | undefined): unknown =>
      (pod?.spec as { containers: unknown } | undefined)?.containers;
    expect(containers(one)).toBeDefined();
    expect(containers(one)).toBe(containers(two));
  });
});

describe('createInternPool', () => {
  it('forgets what is not used for a generation, and never gives a wrong value', () => {
    const pool = createInternPool(2);
    const first = pool.value({ a: 1 });
    expect(pool.value({ a: 1 })).toBe(first);
    for (let i = 0; i < 6; i += 1) expect(pool.text(`t${i}`)).toBe(`t${i}`);
    expect(pool.value({ a: 1 })).not.toBe(first);
    expect(pool.value({ a: 1 })).toEqual(first);
  });
});
