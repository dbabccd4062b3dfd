/**
 * The services of the lab's cluster as an nftables program for every node: cluster addresses and node
 * ports are translated to ready endpoints, so that policy judges the pods behind them. Pure; must not
 * load anything. The table is its own: podwall's is never touched.
 */
import type { KubeObject } from '../k8s/types.ts';
import { clusterRanges, familyOf, type NodePlan } from './config.ts';

export const servicesTable = 'lab_services';

interface ServicePort {
  readonly name?: string;
  readonly protocol?: string;
  readonly port: number;
  readonly nodePort?: number;
}

interface ServiceSpec {
  readonly type?: string;
  readonly clusterIPs?: readonly string[];
  readonly ports?: readonly ServicePort[];
}

/** The parts of an `EndpointSlice` that matter here. */
interface Slice extends KubeObject {
  readonly addressType?: string;
  readonly endpoints?: readonly {
    readonly addresses?: readonly string[];
    readonly conditions?: { readonly ready?: boolean };
  }[];
  readonly ports?: readonly {
    readonly name?: string;
    readonly protocol?: string;
    readonly port?: number;
  }[];
}

interface Backend {
  readonly address: string;
  readonly port: number;
}

/** Ready endpoints of one port of a service, of one family. */
function backendsOf(slices: readonly Slice[], port: ServicePort, family: 4 | 6): Backend[] {
  const found = new Map<string, Backend>();
  for (const slice of slices) {
    if (slice.addressType !== (family === 4 ? 'IPv4' : 'IPv6')) continue;
    const target = slice.ports?.find(
      (one) =>
        (one.name ?? '') === (port.name ?? '') &&
        (one.protocol ?? 'TCP') === (port.protocol ?? 'TCP'),
    );
    if (target?.port === undefined) continue;
    for (const endpoint of slice.endpoints ?? []) {
      const [address] = endpoint.addresses ?? [];
      if (endpoint.conditions?.ready === false || address === undefined) continue;
      found.set(address, { address, port: target.port });
    }
  }
  return [...found.values()].toSorted((a, b) => (a.address < b.address ? -1 : 1));
}

const to = ({ address, port }: Backend): string =>
  familyOf(address) === 4 ? `dnat ip to ${address}:${port}` : `dnat ip6 to [${address}]:${port}`;

/** Inside are pods, nodes and the wire between them; everything else is the world. */
function masqueradeRules(node: NodePlan): string[] {
  return node.podCidrs.map((cidr) => {
    const word = familyOf(cidr) === 4 ? 'ip' : 'ip6';
    const own = node.addresses.find((one) => familyOf(one) === familyOf(cidr));
    const inside = familyOf(cidr) === 4 ? clusterRanges.ipv4 : clusterRanges.ipv6;
    return `    ${word} saddr ${cidr} ${word} daddr != { ${inside.join(', ')} } snat ${word} to ${own}`;
  });
}

/**
 * Text for `nft -f` that replaces the whole table; nodes differ by their own addresses only.
 * `masquerade`: what pods send to the world goes out with their node's address.
 */
export function servicesScript(
  objects: readonly KubeObject[],
  node: NodePlan,
  masquerade = false,
): string {
  const slices = new Map<string, Slice[]>();
  for (const object of objects) {
    if (object.kind !== 'EndpointSlice') continue;
    const service = object.metadata.labels?.['kubernetes.io/service-name'] ?? '';
    const key = `${object.metadata.namespace ?? ''}/${service}`;
    slices.set(key, [...(slices.get(key) ?? []), object]);
  }
  const chains: string[] = [];
  const cluster: Record<4 | 6, string[]> = { 4: [], 6: [] };
  const ports: Record<4 | 6, string[]> = { 4: [], 6: [] };
  /** Addresses and ports that are refused, because nobody is behind them. */
  const refused: Record<4 | 6, string[]> = { 4: [], 6: [] };
  const hairpin: Record<4 | 6, Set<string>> = { 4: new Set(), 6: new Set() };

  const chainFor = (protocol: string, backends: readonly Backend[], text: string): string => {
    const name = `s${chains.length}`;
    const rules = backends.map((backend) => `meta l4proto ${protocol} ${to(backend)}`);
    const inner = rules.map((rule, index) => `  chain ${name}e${index} { ${rule}; }`);
    const pick = rules.map((_, index) => `${index} : goto ${name}e${index}`).join(', ');
    chains.push(
      [
        ...inner,
        `  chain ${name} { # ${text}`,
        `    numgen random mod ${backends.length} vmap { ${pick} }`,
        '  }',
      ].join('\n'),
    );
    for (const { address } of backends) hairpin[familyOf(address)].add(`${address} . ${address}`);
    return name;
  };

  for (const object of objects) {
    if (object.kind !== 'Service' || object.apiVersion !== 'v1') continue;
    const { namespace = '', name = '' } = object.metadata;
    const spec = (object.spec ?? {}) as ServiceSpec;
    const mine = slices.get(`${namespace}/${name}`) ?? [];
    for (const address of spec.clusterIPs ?? []) {
      if (address === 'None') continue;
      const family = familyOf(address);
      for (const port of spec.ports ?? []) {
        const backends = backendsOf(mine, port, family);
        const protocol = (port.protocol ?? 'TCP').toLowerCase();
        if (backends.length === 0) {
          refused[family].push(`${address} . ${protocol} . ${port.port}`);
          continue;
        }
        const chain = chainFor(protocol, backends, `${namespace}/${name} ${protocol} ${port.port}`);
        cluster[family].push(`${address} . ${protocol} . ${port.port} : goto ${chain}`);
        if (port.nodePort !== undefined) {
          ports[family].push(`${protocol} . ${port.nodePort} : goto ${chain}`);
        }
      }
    }
  }

  const lines: string[] = [
    `table inet ${servicesTable} {}`,
    `delete table inet ${servicesTable}`,
    `table inet ${servicesTable} {`,
    ...chains,
    '  chain translate {',
  ];
  for (const [family, word] of [
    [4, 'ip'],
    [6, 'ip6'],
  ] as const) {
    if (cluster[family].length > 0) {
      lines.push(
        `    ${word} daddr . meta l4proto . th dport vmap { ${cluster[family].join(', ')} }`,
      );
    }
    if (ports[family].length > 0) {
      const protocol = family === 4 ? 'ipv4' : 'ipv6';
      lines.push(
        `    meta nfproto ${protocol} fib daddr type local meta l4proto . th dport vmap { ${ports[family].join(', ')} }`,
      );
    }
  }
  lines.push(
    '  }',
    '  chain refuse {',
    ...([4, 6] as const).flatMap((family) =>
      refused[family].length === 0
        ? []
        : [
            `    ${family === 4 ? 'ip' : 'ip6'} daddr . meta l4proto . th dport { ${refused[family].join(', ')} } reject`,
          ],
    ),
    '  }',
    // Before policy, as kube-proxy does it: an address without endpoints is nobody's.
    '  chain forward { type filter hook forward priority -110; ct state new jump refuse; }',
    '  chain local { type filter hook output priority -110; ct state new jump refuse; }',
    '  chain prerouting { type nat hook prerouting priority -100; jump translate; }',
    '  chain output { type nat hook output priority -100; jump translate; }',
    '  chain postrouting {',
    '    type nat hook postrouting priority 100;',
    ...(masquerade ? masqueradeRules(node) : []),
    '    ct status & dnat == 0 return',
  );
  for (const address of node.addresses) {
    const family = familyOf(address);
    const word = family === 4 ? 'ip' : 'ip6';
    // A pod that reaches itself through its service must not see its own address as the sender.
    if (hairpin[family].size > 0) {
      lines.push(
        `    ${word} saddr . ${word} daddr { ${[...hairpin[family]].join(', ')} } snat ${word} to ${address}`,
      );
    }
    // The answer to a node port has to come back through this node.
    if (ports[family].length > 0) {
      lines.push(`    ct original ${word} daddr ${address} snat ${word} to ${address}`);
    }
  }
  lines.push('  }', '}', '');
  return lines.join('\n');
}
