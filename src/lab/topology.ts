/**
 * The lab's network as text for `sh` and `ip -batch`: a fabric (the wire), nodes and outside hosts
 * around it, pods behind their node. Pure: must not run anything. Few processes, because each costs
 * milliseconds: one `ip` per namespace, one `sh` per batch of pods.
 */
import { createHash } from 'node:crypto';
import { familyOf, podGateways, type NodePlan } from './config.ts';
import type { OutsideHost, Wiring } from './types.ts';

/** What a pod's wiring needs to know. */
export interface PodWiring {
  readonly namespace: string;
  readonly name: string;
  readonly node: NodePlan;
  readonly slot: number;
  readonly addresses: readonly string[];
  /** Interface in the node's namespace, at most 15 characters. */
  readonly link: string;
}

export const fabricNetns = 'fabric';
export const netnsDirectory = '/run/netns';

/** Name of a node's bridge, with `bridge` wiring. */
const bridgeName = 'cni0';
/** A pair of links of which one is a port: a bridge without ports has no carrier, and comes up late. */
const keeper = ['cni0-up', 'cni0-port'] as const;

/** Next hops that exist only as permanent neighbour entries, so that no first packet waits for ARP or ND. */
const podGateway = { 4: '169.254.1.1', 6: 'fe80::1' } as const;
const nodeGateway = { 4: '169.254.0.1', 6: 'fe80::1' } as const;
const podGatewayMac = 'ee:ee:ee:ee:ee:ee';

export function nodeNetns(name: string): string {
  return `node-${name}`;
}

export function outsideNetns(name: string): string {
  return `out-${name}`;
}

/** `_` is in no Kubernetes name, so two pods never share one; long names end in a digest. */
export function podNetns(namespace: string, name: string): string {
  const text = `pod-${namespace}_${name}`;
  if (text.length <= 200) return text;
  return `${text.slice(0, 180)}_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
}

export function netnsPath(netns: string): string {
  return `${netnsDirectory}/${netns}`;
}

function mac(kind: number, high: number, low: number): string {
  return [0x02, kind, high >> 8, high & 255, low >> 8, low & 255]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join(':');
}

const fabricMac = (index: number): string => mac(0xfa, 0, index);
const nodeMac = (index: number): string => mac(0x0d, 0, index);
const fabricHostMac = (index: number): string => mac(0xfb, 0, index);
const hostMac = (index: number): string => mac(0x0e, 0, index);
const bridgeMac = (index: number): string => mac(0xb0, 0, index);
const podMac = (pod: PodWiring): string => mac(0x10, pod.node.index, pod.slot);

function single(address: string): string {
  return `${address}/${familyOf(address) === 4 ? 32 : 128}`;
}

/** An address on a link without waiting for duplicate address detection. */
function addAddress(address: string, link: string): string {
  return `addr add ${single(address)} dev ${link}${familyOf(address) === 6 ? ' nodad' : ''}`;
}

function neighbour(address: string, hardware: string, link: string): string {
  return `neigh replace ${address} lladdr ${hardware} dev ${link} nud permanent`;
}

function gatewayLines(gateway: string, hardware: string, link: string): string[] {
  return [
    neighbour(gateway, hardware, link),
    `route add ${familyOf(gateway) === 6 ? '::/0' : '0.0.0.0/0'} via ${gateway} dev ${link} onlink`,
  ];
}

/** With the length of its pod CIDR: others of it are reached without the gateway. */
function onBridge(address: string): string {
  return `${address}/${familyOf(address) === 4 ? 24 : 64}`;
}

function families(addresses: readonly string[]): (4 | 6)[] {
  return [...new Set(addresses.map(familyOf))];
}

/** One `ip` process for one namespace. Lines must not contain `EOF`: names are DNS labels, so they cannot. */
function batch(
  netns: string | undefined,
  lines: readonly string[],
  option = '',
  after = '',
): string {
  const words = [
    'ip',
    ...(netns === undefined ? [] : ['-n', netns]),
    ...(option === '' ? [] : [option]),
    "-batch - <<'EOF'",
    ...(after === '' ? [] : [after]),
  ];
  return `${words.join(' ')}\n${lines.join('\n')}\nEOF\n`;
}

const forwarding = [
  'echo 1 > net/ipv4/ip_forward',
  'echo 0 > net/ipv4/conf/all/send_redirects',
  'echo 0 > net/ipv4/conf/default/send_redirects',
  'if [ -e net/ipv6 ]; then echo 1 > net/ipv6/conf/all/forwarding; fi',
];

/** Packets between two ports of a bridge go through the IP rules of the node. */
const bridgeFilter = [
  'echo 1 > net/bridge/bridge-nf-call-iptables',
  'if [ -e net/ipv6 ]; then echo 1 > net/bridge/bridge-nf-call-ip6tables; fi',
];

/** rp_filter 1 on nodes: a pod cannot send with another pod's IPv4 address. */
function settings(netns: string, reversePath: 0 | 1, more: readonly string[] = []): string {
  const lines = [
    'cd /proc/sys',
    ...forwarding,
    `echo ${reversePath} > net/ipv4/conf/all/rp_filter`,
    `echo ${reversePath} > net/ipv4/conf/default/rp_filter`,
    ...more,
  ];
  return `nsenter --net=${netnsPath(netns)} sh -ec '${lines.join('; ')}'\n`;
}

/** A bridge that is up before its first pod, with the node as everybody's gateway. */
function bridgeLines(node: NodePlan): string[] {
  const [up, port] = keeper;
  return [
    `link add ${bridgeName} address ${bridgeMac(node.index)} type bridge forward_delay 0 mcast_snooping 0`,
    `link set ${bridgeName} addrgenmode none up`,
    `link add ${up} type veth peer name ${port}`,
    // It must not answer for the node's addresses.
    `link set ${up} addrgenmode none arp off up`,
    `link set ${port} addrgenmode none master ${bridgeName} up`,
    ...podGateways(node).map(
      (address) =>
        `addr add ${onBridge(address)} dev ${bridgeName}${familyOf(address) === 6 ? ' nodad' : ''}`,
    ),
  ];
}

/** Shell text that builds fabric, nodes and outside hosts. */
export function fabricScript(
  nodes: readonly NodePlan[],
  outside: readonly OutsideHost[],
  wiring: Wiring = 'routed',
): string {
  const names = [
    fabricNetns,
    ...nodes.map((node) => nodeNetns(node.name)),
    ...outside.map((host) => outsideNetns(host.name)),
  ];
  const fabric = ['link set lo up'];
  let rest = '';
  for (const node of nodes) {
    const link = `n${node.index}`;
    fabric.push(
      `link add ${link} address ${fabricMac(node.index)} type veth peer name eth0 address ${nodeMac(node.index)} netns ${nodeNetns(node.name)}`,
      `link set ${link} addrgenmode none up`,
    );
    for (const address of node.addresses) {
      fabric.push(
        `route add ${single(address)} dev ${link}`,
        neighbour(address, nodeMac(node.index), link),
      );
      const cidr = node.podCidrs.find((text) => familyOf(text) === familyOf(address));
      if (cidr !== undefined) {
        fabric.push(`route add ${cidr} via ${address} dev ${link} onlink`);
      }
    }
    const lines = ['link set lo up', 'link set eth0 addrgenmode none up'];
    for (const address of node.addresses) {
      lines.push(addAddress(address, 'eth0'));
      if (wiring === 'routed') lines.push(addAddress(podGateway[familyOf(address)], 'lo'));
    }
    for (const family of families(node.addresses)) {
      lines.push(...gatewayLines(nodeGateway[family], fabricMac(node.index), 'eth0'));
    }
    // Without this a packet to an address no pod has would go round between node and fabric.
    if (wiring === 'routed') {
      for (const cidr of node.podCidrs) lines.push(`route add blackhole ${cidr}`);
    } else lines.push(...bridgeLines(node));
    rest += batch(nodeNetns(node.name), lines);
  }
  outside.forEach((host, position) => {
    const index = position + 1;
    const link = `h${index}`;
    fabric.push(
      `link add ${link} address ${fabricHostMac(index)} type veth peer name eth0 address ${hostMac(index)} netns ${outsideNetns(host.name)}`,
      `link set ${link} addrgenmode none up`,
    );
    const lines = ['link set lo up', 'link set eth0 addrgenmode none up'];
    for (const address of host.addresses) {
      fabric.push(
        `route add ${single(address)} dev ${link}`,
        neighbour(address, hostMac(index), link),
      );
      lines.push(addAddress(address, 'eth0'));
    }
    for (const family of families(host.addresses)) {
      lines.push(...gatewayLines(nodeGateway[family], fabricHostMac(index), 'eth0'));
    }
    rest += batch(outsideNetns(host.name), lines);
  });
  // The fabric speaks for controls of outside hosts and needs addresses of its own.
  for (const family of families(nodes.flatMap((node) => node.addresses))) {
    fabric.push(addAddress(fabricAddress[family], 'lo'));
  }
  return [
    'set -e\n',
    batch(
      undefined,
      names.map((name) => `netns add ${name}`),
    ),
    settings(fabricNetns, 0),
    ...nodes.map(({ name }) =>
      settings(nodeNetns(name), 1, wiring === 'bridge' ? bridgeFilter : []),
    ),
    batch(fabricNetns, fabric),
    rest,
  ].join('');
}

/** Where controls of outside hosts come from. */
export const fabricAddress = { 4: '192.168.200.1', 6: 'fd00:200::1' } as const;

/** One pod's links, addresses and routes: lines for its node and lines for itself. */
interface PodLines {
  readonly node: readonly string[];
  readonly pod: readonly string[];
}

/** On a link of its own: host routes, and a next hop that only this pod sees. */
function routedLines(pod: PodWiring, netns: string): PodLines {
  const node = [
    `link add ${pod.link} address ${podGatewayMac} type veth peer name eth0 address ${podMac(pod)} netns ${netns}`,
    `link set ${pod.link} addrgenmode none up`,
  ];
  const lines = ['link set lo up', 'link set eth0 addrgenmode none up'];
  for (const address of pod.addresses) {
    node.push(
      neighbour(address, podMac(pod), pod.link),
      `route add ${single(address)} dev ${pod.link}`,
    );
    lines.push(addAddress(address, 'eth0'));
  }
  for (const family of families(pod.addresses)) {
    lines.push(...gatewayLines(podGateway[family], podGatewayMac, 'eth0'));
  }
  return { node, pod: lines };
}

/**
 * As a port of the node's bridge. Pods of one node find each other by ARP and neighbour discovery;
 * `hairpin` lets a pod reach itself through a service.
 */
function bridgedLines(pod: PodWiring, netns: string): PodLines {
  const node = [
    `link add ${pod.link} type veth peer name eth0 address ${podMac(pod)} netns ${netns}`,
    `link set ${pod.link} addrgenmode none master ${bridgeName} up`,
    `link set ${pod.link} type bridge_slave hairpin on`,
  ];
  const lines = ['link set lo up', 'link set eth0 addrgenmode none up'];
  for (const address of pod.addresses) {
    node.push(neighbour(address, podMac(pod), bridgeName));
    const settled = familyOf(address) === 6 ? ' nodad' : '';
    lines.push(`addr add ${onBridge(address)} dev eth0${settled}`);
  }
  const own = families(pod.addresses);
  for (const gateway of podGateways(pod.node)) {
    if (!own.includes(familyOf(gateway))) continue;
    lines.push(...gatewayLines(gateway, bridgeMac(pod.node.index), 'eth0'));
  }
  return { node, pod: lines };
}

/** Shell text that wires pods. The node's end is up before the pod's, so that no first packet is lost. */
export function addPodsScript(pods: readonly PodWiring[], wiring: Wiring = 'routed'): string {
  if (pods.length === 0) return '';
  const byNode = new Map<string, string[]>();
  let rest = '';
  for (const pod of pods) {
    const netns = podNetns(pod.namespace, pod.name);
    const node = byNode.get(pod.node.name) ?? [];
    byNode.set(pod.node.name, node);
    const lines = wiring === 'bridge' ? bridgedLines(pod, netns) : routedLines(pod, netns);
    node.push(...lines.node);
    rest += batch(netns, lines.pod);
  }
  return [
    'set -e\n',
    batch(
      undefined,
      pods.map((pod) => `netns add ${podNetns(pod.namespace, pod.name)}`),
    ),
    ...[...byNode].map(([node, lines]) => batch(nodeNetns(node), lines)),
    rest,
  ].join('');
}

/**
 * Shell text that takes pods away with every process in them, also pods that were made only in part.
 * It fails when a namespace stays; links and routes go with that, whatever became of them.
 */
export function removePodsScript(pods: readonly PodWiring[], wiring: Wiring = 'routed'): string {
  if (pods.length === 0) return '';
  const byNode = new Map<string, string[]>();
  const names: string[] = [];
  for (const pod of pods) {
    const lines = byNode.get(pod.node.name) ?? [];
    byNode.set(pod.node.name, lines);
    // Entries of a link of one's own go with it, those of the bridge stay.
    if (wiring === 'bridge') {
      lines.push(...pod.addresses.map((address) => `neigh del ${address} dev ${bridgeName}`));
    }
    // Taking the link away is immediate; the kernel takes its time over the namespace.
    lines.push(`link del ${pod.link}`);
    names.push(podNetns(pod.namespace, pod.name));
  }
  const left = `for n in ${names.join(' ')}; do [ -e /run/netns/$n ] || continue; `;
  return [
    'set -e\n',
    `${left}for p in $(ip netns pids $n); do kill -9 $p 2>/dev/null || :; done; done\n`,
    ...[...byNode].map(([node, lines]) =>
      batch(nodeNetns(node), lines, '-force', '2>/dev/null || :'),
    ),
    `${left}echo "netns del $n"; done | ip -batch -\n`,
  ].join('');
}
