import { describe, expect, it } from 'vitest';
import { judgeNode, markBitsOf, readForeignTable } from './self-checks.ts';
import type { CheckScope, Finding, NodeFacts } from './self-checks.ts';

const fine: NodeFacts = {
  nftVersion: '1.0.6',
  kernel: '6.1.0-18-amd64',
  bridges: [],
  routes: [],
  bridgeNf: { ipv4: true, ipv6: true },
  forwarding: { ipv4: true, ipv6: true },
  conntrack: { count: 10, max: 100 },
  chains: [],
  flowtables: [],
  rules: new Map(),
};
const scope: CheckScope = {
  table: 'podwall',
  markMask: 0xffff0000,
  podCidrs: ['10.244.1.0/24', 'fd00:244:1::/64'],
};
const judge = (facts: Partial<NodeFacts>, with_: Partial<CheckScope> = {}): Finding[] =>
  judgeNode({ ...fine, ...facts }, { ...scope, ...with_ });
const brief = (found: Finding[]): string[] =>
  found.map(({ check, severity }) => `${severity} ${check}`);

describe('self-checks', () => {
  it('a healthy node has no findings', () => {
    expect(judge({})).toEqual([]);
  });

  it('versions', () => {
    expect(brief(judge({ nftVersion: '1.0.0' }))).toEqual(['problem nft']);
    expect(brief(judge({ nftVersion: '1.0.2' }))).toEqual(['note nft']);
    expect(brief(judge({ nftVersion: '1.1.3' }))).toEqual([]);
    expect(brief(judge({ kernel: '5.10.0-28-amd64' }))).toEqual(['problem kernel']);
    expect(brief(judge({ kernel: '5.15.0' }))).toEqual([]);
    const { nftVersion: _, ...without } = fine;
    expect(judgeNode({ ...without, nftError: 'Operation not permitted' }, scope)[0]).toMatchObject({
      severity: 'problem',
      message: 'nft cannot be used: Operation not permitted',
    });
  });

  it('lesson 44: an nft that crashes on a newer table is not called missing', () => {
    const [finding] = judge({ nftCrash: 'SIGSEGV' });
    expect(finding).toMatchObject({ check: 'nft', severity: 'problem' });
    expect(finding?.message).toContain('crashes (SIGSEGV)');
    expect(finding?.remedy).toContain('newest');
  });

  it('lesson 42: pods on a bridge that netfilter does not see', () => {
    const bridge = {
      bridges: ['cni0'],
      routes: [
        { device: 'cni0', to: '10.244.1.0/24' },
        { device: 'cni0', to: 'fe80::/64' },
      ],
    };
    const { bridgeNf: _, ...unloaded } = fine;
    const [found, ...rest] = judgeNode({ ...unloaded, ...bridge }, scope);
    expect(rest).toEqual([]);
    expect(found).toEqual({
      check: 'bridge',
      severity: 'problem',
      message:
        'IPv4 pods sit on bridge cni0 and br_netfilter is not loaded: packets between pods of this node are not seen by nftables, no policy applies to them',
      remedy: 'modprobe br_netfilter, then sysctl -w net.bridge.bridge-nf-call-iptables=1',
    });
    expect(judge({ ...bridge, bridgeNf: { ipv4: false, ipv6: true } })[0]?.message).toContain(
      'net.bridge.bridge-nf-call-iptables is 0',
    );
    expect(judge({ ...bridge, bridgeNf: { ipv4: true, ipv6: false } })).toEqual([]);
    // Somebody's other bridge is none of our business, unless pod ranges are not known yet.
    const other = { ...bridge, routes: [{ device: 'cni0', to: '172.17.0.0/16' }] };
    expect(judge({ ...other, bridgeNf: { ipv4: false, ipv6: false } })).toEqual([]);
    expect(
      brief(judge({ ...other, bridgeNf: { ipv4: false, ipv6: false } }, { podCidrs: [] })),
    ).toEqual(['warning bridge']);
  });

  it('lesson 41: flowtables', () => {
    expect(brief(judge({ flowtables: ['inet other f'] }))).toEqual(['warning flowtable']);
  });

  it('lesson 43: a full conntrack table', () => {
    expect(brief(judge({ conntrack: { count: 79, max: 100 } }))).toEqual([]);
    expect(brief(judge({ conntrack: { count: 80, max: 100 } }))).toEqual([
      'warning conntrack-fill',
    ]);
    expect(brief(judge({ conntrack: { count: 99, max: 100 } }))).toEqual([
      'problem conntrack-fill',
    ]);
  });

  it('lesson 46: bits of the connection mark that a rule writes', () => {
    expect(markBitsOf('ct mark set 0x00000001')).toBe(0xffffffff);
    expect(markBitsOf('ct mark set meta mark')).toBe(0xffffffff);
    expect(markBitsOf('ct mark set ct mark | 0x00004000')).toBe(0x4000);
    expect(markBitsOf('ct mark set ct mark & 0xfffeffff accept')).toBe(0x00010000);
    expect(markBitsOf('ct mark set ct mark & 0xffff00ff | 0x00000100 counter')).toBe(0xff00);
    expect(markBitsOf('meta mark set 0x1')).toBeUndefined();
    expect(markBitsOf('ct mark 0x1 accept')).toBeUndefined();
    expect(markBitsOf('meta l4proto tcp xt target "CONNMARK"')).toBe(0xffffffff);
    const rule = (text: string): string[] => brief(judge({ rules: new Map([['ip x', [text]]]) }));
    expect(rule('ct mark set ct mark | 0x00004000')).toEqual([]);
    expect(rule('ct mark set ct mark | 0x00020000')).toEqual(['warning conntrack-mark']);
    expect(rule('notrack')).toEqual(['warning notrack']);
    expect(brief(judge({ rules: new Map([['ip x', undefined]]) }))).toEqual(['note other-tables']);
  });

  it('hook priorities', () => {
    const chain = { family: 'ip', table: 'x', name: 'c', hook: 'forward', priority: -5 };
    expect(brief(judge({ chains: [chain] }))).toEqual(['note hook-priority']);
    expect(judge({ chains: [{ ...chain, priority: 0 }] })).toEqual([]);
    expect(judge({ chains: [{ ...chain, hook: 'prerouting' }] })).toEqual([]);
  });

  it('forwarding', () => {
    expect(brief(judge({ forwarding: { ipv4: false, ipv6: true } }))).toEqual([
      'warning forwarding',
    ]);
    expect(
      judge({ forwarding: { ipv4: true, ipv6: false } }, { podCidrs: ['10.244.1.0/24'] }),
    ).toEqual([]);
  });

  it('reads somebody else’s table', () => {
    expect(
      readForeignTable(
        'ip',
        'x',
        `table ip x {
	set s {
		type ipv4_addr
		elements = { 10.0.0.1 }
	}
	flowtable f {
		hook ingress priority filter
		devices = { eth0 }
	}
	chain a {
		type filter hook forward priority filter - 5; policy accept;
		ct mark set 0x1
	}
	chain b {
		type nat hook prerouting priority dstnat; policy accept;
		return
	}
}`,
      ),
    ).toEqual({
      chains: [
        { family: 'ip', table: 'x', name: 'a', hook: 'forward', priority: -5 },
        { family: 'ip', table: 'x', name: 'b', hook: 'prerouting', priority: -100 },
      ],
      flowtables: ['ip x f'],
      rules: ['ct mark set 0x1', 'return'],
    });
  });
});
