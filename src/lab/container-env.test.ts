import { expect, it } from 'vitest';
import type { Container, Pod } from '../k8s/types.ts';
import { environmentOf, expand, hostnameOf, podFields } from './container-env.ts';

it('$(NAME) by its value, $$ a dollar, what nobody knows as it is', () => {
  const known = { A: '1', B: '2' };
  expect(expand('$(A)-$(B) $(C) $$(A) $A cost $$', known)).toBe('1-2 $(C) $(A) $A cost $');
});

it('literal values, values of earlier ones, fields of the pod; no config maps', () => {
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'ns', labels: { app: 'web' } },
    spec: { nodeName: 'node-1' },
  };
  const field = (name: string, fieldPath: string): unknown => ({
    name,
    valueFrom: { fieldRef: { fieldPath } },
  });
  const env = [
    { name: 'A', value: 'x' },
    { name: 'B', value: '$(A)y' },
    field('NAME', 'metadata.name'),
    field('APP', "metadata.labels['app']"),
    field('IP', 'status.podIP'),
    field('NODE', 'spec.nodeName'),
    { name: 'SECRET', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
  ] as Container['env'];
  const addressed = { podIPs: ['10.244.1.2', 'fd00::2'], hostIP: '192.168.200.11' };
  expect(environmentOf({ name: 'c', env: env ?? null }, podFields(pod, addressed))).toEqual({
    A: 'x',
    B: 'xy',
    NAME: 'p',
    APP: 'web',
    IP: '10.244.1.2',
    NODE: 'node-1',
  });
});

it("the host name is that of the spec, else the pod; a hostNetwork pod has its node's", () => {
  const pod = (spec: unknown): Pod =>
    ({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p-1' }, spec }) as Pod;
  expect(hostnameOf(pod({}))).toBe('p-1');
  expect(hostnameOf(pod({ hostname: 'db-0' }))).toBe('db-0');
  expect(hostnameOf(pod({ hostNetwork: true, nodeName: 'node-1' }))).toBe('node-1');
});
