import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { answerDns, clusterNames } from './dns.ts';

function query(name: string, type: number): Buffer {
  const labels = name
    .split('.')
    .map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)]));
  const head = Buffer.from([0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, type, 0, 1])]);
}

const names = clusterNames(
  [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { namespace: 'x', name: 'web' },
      spec: { clusterIPs: ['10.96.0.2', 'fd00:10:96::2'] },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { namespace: 'x', name: 'db' },
      spec: { clusterIPs: ['None'] },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace: 'x', name: 'db-1', labels: { 'kubernetes.io/service-name': 'db' } },
      endpoints: [{ addresses: ['10.244.1.9'], targetRef: { name: 'db-0' } }],
    } as KubeObject,
  ],
  [{ name: 'world-a', addresses: ['172.17.0.10'] }],
);

describe('cluster DNS', () => {
  it('answers with the addresses of the family that was asked for', () => {
    const four = answerDns(query('Web.x.svc.cluster.local', 1), names);
    expect(four?.subarray(0, 8).toString('hex')).toBe('abcd858000010001');
    expect(four?.subarray(-4)).toEqual(Buffer.from([10, 96, 0, 2]));
    const six = answerDns(query('web.x.svc.cluster.local', 28), names);
    expect(six?.subarray(-16).toString('hex')).toBe('fd000010009600000000000000000002');
  });

  it('knows headless services, their pods and hosts by name', () => {
    for (const name of ['db.x.svc.cluster.local', 'db-0.db.x.svc.cluster.local']) {
      expect(answerDns(query(name, 1), names)?.subarray(-4)).toEqual(Buffer.from([10, 244, 1, 9]));
    }
    expect(answerDns(query('world-a', 1), names)?.readUInt16BE(6)).toBe(1);
  });

  it('no record of a known name is no error, an unknown name is NXDOMAIN', () => {
    const empty = answerDns(query('world-a', 28), names);
    expect([(empty?.[3] ?? 0) & 15, empty?.readUInt16BE(6)]).toEqual([0, 0]);
    const unknown = answerDns(query('web.y.svc.cluster.local', 1), names);
    expect((unknown?.[3] ?? 0) & 15).toBe(3);
  });

  it('says nothing to what is no query', () => {
    expect(answerDns(Buffer.alloc(3), names)).toBeUndefined();
    expect(answerDns(Buffer.alloc(40, 0xff), names)).toBeUndefined();
    const whole = query('web.x.svc.cluster.local', 1);
    for (let length = 0; length < whole.length - 1; length++) {
      expect(answerDns(whole.subarray(0, length), names)).toBeUndefined();
    }
  });
});
