import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { planNodes } from './config.ts';
import { servicesScript } from './services.ts';

const [node] = planNodes({
  nodes: ['a'],
  stack: 'dual',
  wiring: 'routed',
  masquerade: false,
  outside: [],
});
if (node === undefined) throw new Error('no node');

const service = (spec: object): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { namespace: 'x', name: 'web' },
  spec,
});

const slice = (
  addressType: string,
  addresses: readonly (readonly [string, boolean])[],
): KubeObject =>
  ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace: 'x',
      name: `web-${addressType}`,
      labels: { 'kubernetes.io/service-name': 'web' },
    },
    addressType,
    endpoints: addresses.map(([address, ready]) => ({
      addresses: [address],
      conditions: { ready },
    })),
    ports: [{ name: '', protocol: 'TCP', port: 8080 }],
  }) as KubeObject;

const ports = [{ port: 80, protocol: 'TCP', nodePort: 30080 }];

describe('services of a node', () => {
  it('translates the cluster address to ready endpoints of its family only', () => {
    const text = servicesScript(
      [
        service({ clusterIPs: ['10.96.0.2', 'fd00:10:96::2'], ports }),
        slice('IPv4', [
          ['10.244.1.2', true],
          ['10.244.1.3', false],
        ]),
        slice('IPv6', [['fd00:244:1::2', true]]),
      ],
      node,
    );
    expect(text).toContain('dnat ip to 10.244.1.2:8080');
    expect(text).toContain('dnat ip6 to [fd00:244:1::2]:8080');
    expect(text).not.toContain('10.244.1.3');
    expect(text).toContain('10.96.0.2 . tcp . 80 : goto s0');
    expect(text).toContain('tcp . 30080 : goto s0');
    expect(text).toContain(
      'ip saddr . ip daddr { 10.244.1.2 . 10.244.1.2 } snat ip to 192.168.200.11',
    );
  });

  it('refuses services without ready endpoints, in each family by itself', () => {
    const both = service({ clusterIPs: ['10.96.0.2', 'fd00:10:96::2'], ports });
    const text = servicesScript(
      [both, slice('IPv4', [['10.244.1.2', false]]), slice('IPv6', [['fd00:244:1::2', true]])],
      node,
    );
    expect(text).toContain('ip daddr . meta l4proto . th dport { 10.96.0.2 . tcp . 80 } reject');
    expect(text).not.toContain('ip6 daddr . meta l4proto . th dport { ');
    expect(text).not.toContain('dnat ip to');
  });

  it('gives pods the address of their node on the way to the world, when asked', () => {
    expect(servicesScript([], node)).not.toContain('snat');
    const text = servicesScript([], node, true);
    expect(text).toContain(
      'ip saddr 10.244.1.0/24 ip daddr != { 10.244.0.0/16, 192.168.200.0/24 } snat ip to 192.168.200.11',
    );
    expect(text).toContain('snat ip6 to fd00:200::11');
  });

  it('leaves out headless services and other families', () => {
    const headless = servicesScript(
      [service({ clusterIPs: ['None'], ports }), slice('IPv4', [['10.244.1.2', true]])],
      node,
    );
    expect(headless).not.toContain('dnat ip');
  });

  it('replaces its own table and names no other', () => {
    const text = servicesScript([], node);
    expect([...text.matchAll(/table inet (\S+)/g)].map((match) => match[1])).toEqual([
      'lab_services',
      'lab_services',
      'lab_services',
    ]);
  });
});
