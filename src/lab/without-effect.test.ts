import { expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { withoutEffect } from './without-effect.ts';

const object = (kind: string, spec: unknown): KubeObject => ({
  apiVersion: 'v1',
  kind,
  metadata: { name: 'x' },
  spec,
});

it('counts what the lab keeps and does not act on, in pods and templates alike', () => {
  const pod = {
    volumes: [{ name: 'v' }],
    affinity: { podAntiAffinity: {} },
    initContainers: [{ name: 'i', image: 'x' }],
    containers: [
      {
        name: 'c',
        image: 'x',
        livenessProbe: { tcpSocket: { port: 1 } },
        readinessProbe: { tcpSocket: { port: 1 } },
        resources: { limits: { cpu: '1' } },
        env: [
          { name: 'A', value: '1' },
          { name: 'B', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
          { name: 'C', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
        ],
      },
      { name: 'd', image: 'x', resources: {} },
    ],
  };
  expect(withoutEffect([object('Pod', pod)])).toBe(
    '3 images, 2 probes, 1 volume, 1 resource limit, 1 variable of a config map or secret, 1 affinity',
  );
  const set = { template: { spec: pod }, volumeClaimTemplates: [{}] };
  expect(withoutEffect([object('StatefulSet', set), object('Pod', pod)])).toMatch(
    /^6 images, 4 probes, 2 volumes, 1 volume claim, /,
  );
});

it('is silent when everything has its effect', () => {
  const containers = [{ name: 'c', ports: [{ containerPort: 80 }], resources: {} }];
  expect(withoutEffect([object('Pod', { containers }), object('Service', {})])).toBeUndefined();
});
