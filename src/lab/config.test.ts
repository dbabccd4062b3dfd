import { describe, expect, it } from 'vitest';
import { completeLabConfig, defaultOutsidePorts, planNodes, podAddresses } from './config.ts';

describe('completeLabConfig', () => {
  it('fills in two nodes, both families and the documented world', () => {
    const config = completeLabConfig();
    expect(config.nodes).toEqual(['node-1', 'node-2']);
    expect(config.stack).toBe('dual');
    expect(config.outside.map((host) => [host.name, host.addresses[0]])).toEqual([
      ['world-a', '172.17.0.10'],
      ['world-b', '172.17.1.10'],
      ['db-net', '10.0.0.10'],
      ['internet', '203.0.113.10'],
    ]);
    expect(config.outside[0]?.ports).toBe(defaultOutsidePorts);
  });

  it('keeps only addresses of the stack, in canonical form', () => {
    const outside = [{ name: 'a', addresses: ['192.0.2.1', '2001:DB8:0:0::1'] }];
    expect(completeLabConfig({ outside, stack: 'ipv6' }).outside[0]?.addresses).toEqual([
      '2001:db8::1',
    ]);
    expect(completeLabConfig({ outside, stack: 'ipv4' }).outside[0]?.addresses).toEqual([
      '192.0.2.1',
    ]);
  });

  it.each([
    [{ nodes: [] }, 'a lab has 1 to 200 nodes, not 0'],
    [{ nodes: ['a', 'a'] }, 'two nodes or outside hosts are called "a"'],
    [{ nodes: ['world-a'] }, 'two nodes or outside hosts are called "world-a"'],
    [{ nodes: ['a;reboot'] }, '"a;reboot" is no name for a node or outside host: use a DNS label'],
    [{ outside: [{ name: 'x', addresses: ['10.1'] }] }, 'outside host x: "10.1" is no IP address'],
  ])('refuses %j', (config, message) => {
    expect(() => completeLabConfig(config)).toThrow(message);
  });
});

describe('the address plan', () => {
  it('gives every node its own addresses and pod CIDRs', () => {
    expect(planNodes(completeLabConfig())).toEqual([
      {
        name: 'node-1',
        index: 1,
        addresses: ['192.168.200.11', 'fd00:200::11'],
        podCidrs: ['10.244.1.0/24', 'fd00:244:1::/64'],
      },
      {
        name: 'node-2',
        index: 2,
        addresses: ['192.168.200.12', 'fd00:200::12'],
        podCidrs: ['10.244.2.0/24', 'fd00:244:2::/64'],
      },
    ]);
  });

  it('numbers pods alike in both families', () => {
    const config = completeLabConfig({ nodes: Array.from({ length: 200 }, (_, i) => `n${i}`) });
    const last = planNodes(config).at(-1);
    expect(last?.addresses[0]).toBe('192.168.200.210');
    expect(last && podAddresses(config, last, 254)).toEqual(['10.244.200.254', 'fd00:244:c8::fe']);
    const single = completeLabConfig({ stack: 'ipv4' });
    const [node] = planNodes(single);
    expect(node && podAddresses(single, node, 2)).toEqual(['10.244.1.2']);
  });
});
