import { describe, expect, it } from 'vitest';
import type { KubeObject, Pod } from '../k8s/types.ts';
import { createMirror } from './mirror.ts';

const config = {
  nodes: ['n'],
  stack: 'dual',
  wiring: 'routed',
  masquerade: false,
  outside: [],
} as const;

const pod = (name: string, version: number, labels: Record<string, string> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'a', name, uid: `uid-${name}`, resourceVersion: String(version), labels },
  spec: { nodeName: 'n' },
});

const statusOf = (objects: readonly KubeObject[]): unknown[] => objects.map(({ status }) => status);

describe("the daemon's copy of the API's objects", () => {
  it("a pod counts from when it has a network; its addresses are the lab's", () => {
    const mirror = createMirror(config);
    expect(mirror.put([pod('x', 1)])).toBe(false);
    expect(mirror.place(pod('x', 1)).addresses).toEqual(['10.244.1.2', 'fd00:244:1::2']);
    expect(statusOf(mirror.objects())).toMatchObject([{ podIP: '10.244.1.2' }]);
    expect(mirror.put([pod('x', 2, { role: 'db' })])).toBe(true);
    expect(mirror.put([pod('x', 3, { role: 'db' })])).toBe(false);
    expect(mirror.endpoint('a/x')).toMatchObject({ kind: 'pod' });
  });

  it('never goes back to an older state', () => {
    const mirror = createMirror(config);
    mirror.place(pod('x', 5));
    mirror.put([pod('x', 5, { now: 'yes' })]);
    expect(mirror.put([pod('x', 4, { now: 'no' })])).toBe(false);
    expect(mirror.objects()[0]?.metadata.labels).toEqual({ now: 'yes' });
  });

  it('frees addresses and does not use them again at once', () => {
    const mirror = createMirror(config);
    mirror.place(pod('x', 1));
    expect(mirror.release('uid-x')?.id).toBe('a/x');
    expect(mirror.release('uid-x')).toBeUndefined();
    expect(mirror.place(pod('y', 1)).addresses[0]).toBe('10.244.1.3');
    expect(mirror.pods()).toHaveLength(1);
  });

  it('refuses an unknown node and a full one', () => {
    const mirror = createMirror(config);
    expect(() => mirror.place({ ...pod('x', 1), spec: { nodeName: 'm' } })).toThrow('no node');
    for (let index = 0; index < 253; index++) mirror.place(pod(`p${index}`, 1));
    expect(() => mirror.place(pod('last', 1))).toThrow('no address is left');
  });
});
