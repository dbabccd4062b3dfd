import { describe, expect, it } from 'vitest';
import { completeLabConfig, planNodes, podAddresses, type NodePlan } from './config.ts';
import {
  addPodsScript,
  fabricScript,
  podNetns,
  removePodsScript,
  type PodWiring,
} from './topology.ts';

const config = completeLabConfig({ nodes: ['n'], outside: [] });
const [node] = planNodes(config) as [NodePlan];
const pod: PodWiring = {
  namespace: 'prod',
  name: 'db.0',
  node,
  slot: 2,
  addresses: podAddresses(config, node, 2),
  link: 'v1-2',
};

describe('pod wiring', () => {
  it('has the node end up before the pod end, permanent neighbours, host routes, no bridge', () => {
    expect(addPodsScript([pod])).toMatchInlineSnapshot(`
      "set -e
      ip -batch - <<'EOF'
      netns add pod-prod_db.0
      EOF
      ip -n node-n -batch - <<'EOF'
      link add v1-2 address ee:ee:ee:ee:ee:ee type veth peer name eth0 address 02:10:00:01:00:02 netns pod-prod_db.0
      link set v1-2 addrgenmode none up
      neigh replace 10.244.1.2 lladdr 02:10:00:01:00:02 dev v1-2 nud permanent
      route add 10.244.1.2/32 dev v1-2
      neigh replace fd00:244:1::2 lladdr 02:10:00:01:00:02 dev v1-2 nud permanent
      route add fd00:244:1::2/128 dev v1-2
      EOF
      ip -n pod-prod_db.0 -batch - <<'EOF'
      link set lo up
      link set eth0 addrgenmode none up
      addr add 10.244.1.2/32 dev eth0
      addr add fd00:244:1::2/128 dev eth0 nodad
      neigh replace 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent
      route add 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink
      neigh replace fe80::1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent
      route add ::/0 via fe80::1 dev eth0 onlink
      EOF
      "
    `);
  });

  it('is a port of the bridge, with the node as gateway, and the bridge forgets it', () => {
    const [nodeLines, podLines] = addPodsScript([pod], 'bridge').split('ip -n ').slice(1);
    expect(nodeLines?.split('\n').slice(1, -2)).toEqual([
      'link add v1-2 type veth peer name eth0 address 02:10:00:01:00:02 netns pod-prod_db.0',
      'link set v1-2 addrgenmode none master cni0 up',
      'link set v1-2 type bridge_slave hairpin on',
      'neigh replace 10.244.1.2 lladdr 02:10:00:01:00:02 dev cni0 nud permanent',
      'neigh replace fd00:244:1::2 lladdr 02:10:00:01:00:02 dev cni0 nud permanent',
    ]);
    expect(podLines).toContain('addr add 10.244.1.2/24 dev eth0\n');
    expect(podLines).toContain('addr add fd00:244:1::2/64 dev eth0 nodad\n');
    expect(podLines).toContain('route add 0.0.0.0/0 via 10.244.1.1 dev eth0 onlink');
    expect(podLines).toContain('route add ::/0 via fd00:244:1::1 dev eth0 onlink');
    expect(removePodsScript([pod], 'bridge')).toContain('neigh del 10.244.1.2 dev cni0');
    const v4 = { ...pod, addresses: ['10.244.1.2'] };
    expect(addPodsScript([v4], 'bridge')).not.toMatch(/fd00|::/);
  });

  it('is taken away with every process inside', () => {
    const script = removePodsScript([pod]);
    expect(script).toContain('for n in pod-prod_db.0;');
    expect(script).toContain('ip netns pids $n');
    expect(script).toContain('link del v1-2');
    expect(script).toContain('netns del $n');
    // One that was made only in part lacks some of it.
    expect(script).toContain('[ -e /run/netns/$n ] || continue');
    expect(script).toMatch(/-force -batch - <<'EOF' 2>\/dev\/null \|\| :/);
  });

  it('costs one ip per namespace, whatever the number of pods', () => {
    const pods = Array.from({ length: 50 }, (_, index) => ({
      ...pod,
      name: `p${index}`,
      slot: index + 2,
    }));
    expect(addPodsScript(pods).match(/^ip /gm)).toHaveLength(52);
    expect([addPodsScript([]), removePodsScript([])]).toEqual(['', '']);
  });
});

describe('names of network namespaces', () => {
  it('never meet: `_` is in no Kubernetes name', () => {
    expect(podNetns('a', 'b-c')).not.toBe(podNetns('a-b', 'c'));
  });

  it('fit a file name, and stay apart when cut', () => {
    const long = 'x'.repeat(253);
    const names = [podNetns('a'.repeat(63), long), podNetns('a'.repeat(63), `${long.slice(1)}y`)];
    for (const name of names) expect(name.length).toBeLessThan(255);
    expect(names[0]).not.toBe(names[1]);
  });
});

describe('the fabric', () => {
  it('leaves out the family a stack lacks', () => {
    const v4 = completeLabConfig({ stack: 'ipv4' });
    const script = fabricScript(planNodes(v4), v4.outside);
    expect(script).not.toMatch(/fd00|fe80|::\/0/);
    expect(script).toContain('route add 10.244.2.0/24 via 192.168.200.12 dev n2 onlink');
    const v6 = completeLabConfig({ stack: 'ipv6' });
    expect(fabricScript(planNodes(v6), v6.outside)).not.toMatch(/ (10|172|192|169)\.\d/);
  });

  it('shows packets between ports of a bridge to the rules of its node', () => {
    const script = fabricScript([node], [], 'bridge');
    expect(script).toContain('echo 1 > net/bridge/bridge-nf-call-iptables');
    expect(script).toContain('echo 1 > net/bridge/bridge-nf-call-ip6tables');
    expect(script).toContain('addr add 10.244.1.1/24 dev cni0');
    expect(script).not.toContain('blackhole');
    expect(fabricScript([node], [])).not.toMatch(/bridge|cni0/);
  });

  it('drops what no pod has instead of sending it round', () => {
    expect(fabricScript([node], [])).toContain('route add blackhole 10.244.1.0/24');
  });
});
