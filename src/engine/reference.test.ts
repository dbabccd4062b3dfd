import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { buildSnapshot } from './build.ts';
import { editDistance, resolveReference, splitPort, targetPort } from './reference.ts';

const objects = [
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
  {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web-1', namespace: 'shop', labels: { app: 'web' } },
    spec: { containers: [{ name: 'web', ports: [{ name: 'http', containerPort: 8080 }] }] },
  },
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'api', namespace: 'shop' },
    spec: {
      selector: { matchLabels: { app: 'api' } },
      template: {
        metadata: { labels: { app: 'api' } },
        spec: { containers: [{ name: 'api', ports: [{ containerPort: 9090 }] }] },
      },
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'shop' },
    spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 'http' }] },
  },
] as KubeObject[];

const { snapshot } = buildSnapshot(objects.map((object) => ({ object })));

describe('splitPort', () => {
  it.each([
    ['a/b', { end: 'a/b' }],
    ['a/b:80', { end: 'a/b', port: { port: 80 } }],
    ['a/b:53/udp', { end: 'a/b', port: { port: 53, protocol: 'UDP' } }],
    ['a/b:http', { end: 'a/b', port: { port: 'http' } }],
    ['10.0.0.1:443', { end: '10.0.0.1', port: { port: 443 } }],
    ['fd00::1', { end: 'fd00::1' }],
    ['[fd00::1]:80/TCP', { end: 'fd00::1', port: { port: 80, protocol: 'TCP' } }],
    ['world', { end: 'world' }],
  ])('%s', (text, parts) => expect(splitPort(text)).toEqual(parts));

  it.each(['a/b:0', 'a/b:65536', 'a/b:80/ICMP', 'a/b:80/TCP/x', 'a/b:-x'])(
    'refuses %s with words',
    (text) => expect(splitPort(text)).toHaveProperty('fault'),
  );
});

describe('resolveReference', () => {
  const pods = (text: string, namespace?: string): unknown => {
    const found = resolveReference(snapshot, text, namespace);
    return 'fault' in found
      ? found.fault
      : 'pods' in found
        ? found.pods.map((pod) => pod.id)
        : found.text;
  };

  it.each([
    ['shop/web-1', ['shop/web-1']],
    ['shop/pod/web-1', ['shop/web-1']],
    ['shop/api', ['shop/Deployment/api']],
    ['shop/deploy/api', ['shop/Deployment/api']],
    ['deploy/shop/api', ['shop/Deployment/api']],
    ['shop/svc/web', ['shop/web-1']],
    ['svc/shop/web', ['shop/web-1']],
    ['10.1.2.3', '10.1.2.3'],
    ['world', 'world'],
  ])('%s', (text, ids) => expect(pods(text)).toEqual(ids));

  it('completes names with the namespace given', () => {
    expect(pods('web-1', 'shop')).toEqual(['shop/web-1']);
    expect(pods('svc/web', 'shop')).toEqual(['shop/web-1']);
  });

  it('suggests the nearest name', () => {
    expect(resolveReference(snapshot, 'shop/wep-1')).toEqual({
      fault: 'no pod or workload shop/wep-1 in the input',
      hint: 'did you mean web-1?',
    });
    expect(resolveReference(snapshot, 'shop/svc/wen')).toMatchObject({ hint: 'did you mean web?' });
    expect(resolveReference(snapshot, 'shap/web-1')).toMatchObject({ hint: 'did you mean shop?' });
  });

  it.each(['', 'a//b', 'a/b/c/d', 'shop/cronus/api'])('refuses "%s"', (text) => {
    expect(resolveReference(snapshot, text)).toHaveProperty('fault');
  });
});

it('S180: a Service port leads to the target port, by name per pod', () => {
  const [service] = snapshot.services;
  const [port] = service?.ports ?? [];
  const web = snapshot.podById.get('shop/web-1');
  const api = snapshot.podById.get('shop/Deployment/api');
  if (port === undefined || web === undefined || api === undefined) throw new Error('fixture');
  expect(targetPort(web, port)).toBe(8080);
  expect(targetPort(api, port)).toBeUndefined();
});

it('editDistance counts edits', () => {
  expect(editDistance('cart', 'carts')).toBe(1);
  expect(editDistance('', 'abc')).toBe(3);
  expect(editDistance('kitten', 'sitting')).toBe(3);
});
