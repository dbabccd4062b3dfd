/** The agent's self-checks in a real, private network namespace. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkNode } from '../../src/agent/self-checks.ts';
import { canMakeBed, makeBed } from './dataplane/bed.ts';
import type { Bed } from './dataplane/bed.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`self-check e2e tests skipped: ${impossible}`);

describe.skipIf(impossible !== undefined)('self-checks of a node', () => {
  let bed: Bed;
  const check = async (podCidrs: string[] = ['10.244.1.0/24']): Promise<string[]> =>
    (
      await checkNode({
        netns: bed.netns('node-1'),
        table: 'podwall',
        markMask: 0xffff0000,
        podCidrs,
      })
    ).map((found) => `${found.severity} ${found.check}: ${found.message}`);
  const inside = (command: string): Promise<string> => bed.sh(`ip netns exec node-1 ${command}`);

  beforeAll(async () => {
    bed = await makeBed([]);
  });
  afterAll(async () => {
    await bed?.close();
  });

  it('finds nothing on a routed node', async () => {
    expect(await check()).toEqual([]);
  });

  it('names marks, notrack and priorities of other tables', async () => {
    await inside(`nft -f - <<'END'
table ip other {
  chain pre { type filter hook forward priority filter - 5; ct mark set ct mark or 0x00010000; };
  chain raw { type filter hook prerouting priority raw; udp dport 53 notrack; };
}
table inet podwall { chain ours { type filter hook forward priority filter - 5; ct mark set 0x1; }; }
END`);
    expect(await check()).toEqual([
      'warning conntrack-mark: table ip other writes bits of the connection mark that podwall uses (mask 0xffff0000): ct mark set ct mark | 0x00010000',
      'warning notrack: table ip other exempts packets from connection tracking (notrack): podwall drops those of pods',
      expect.stringContaining('note hook-priority: chain ip other pre has our priority') as string,
    ]);
    await inside('nft delete table ip other');
  });

  it('forwarding switched off', async () => {
    await inside('sysctl -qw net.ipv4.ip_forward=0');
    expect(await check()).toEqual([expect.stringContaining('warning forwarding') as string]);
    await inside('sysctl -qw net.ipv4.ip_forward=1');
  });

  it('pods on a bridge without bridge-nf-call', async () => {
    await bed.sh(`ip -n node-1 link add cni0 type bridge; ip -n node-1 link set cni0 up
ip -n node-1 link add p0 type veth peer name p1; ip -n node-1 link set p0 master cni0 up
ip -n node-1 addr add 10.244.1.1/24 dev cni0`);
    // Without br_netfilter in this kernel the finding is the same in other words.
    await bed.sh(
      'ip netns exec node-1 sh -c "sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null; true"',
    );
    expect(await check()).toEqual([
      expect.stringContaining('problem bridge: IPv4 pods sit on bridge cni0') as string,
    ]);
    expect(await check(['10.9.0.0/24'])).toEqual([]);
  });
});
