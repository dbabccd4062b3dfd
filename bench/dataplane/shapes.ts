/**
 * Clusters of the dataplane benchmark, and the rulesets that podwall is compared with. Must not know
 * how anything is measured.
 */
import type { KubeObject } from '../../src/k8s/types.ts';

export interface Shape {
  readonly name: string;
  readonly local: number;
  readonly addresses: number;
  readonly policies: number;
  readonly perPod: number;
}

/** Those of the study: local pods, addresses, policies, policies per pod. */
export const shapes: readonly Shape[] = [
  { name: 'S1', local: 10, addresses: 100, policies: 10, perPod: 2 },
  { name: 'S2', local: 100, addresses: 1000, policies: 100, perPod: 5 },
  { name: 'R1', local: 110, addresses: 5000, policies: 150, perPod: 5 },
  { name: 'S3', local: 250, addresses: 5000, policies: 1000, perPod: 20 },
  { name: 'K10', local: 110, addresses: 5000, policies: 10000, perPod: 20 },
];

const GROUPS = 50;
/** New TCP connections, bulk TCP, and a UDP stream between the two tested pods. */
export const PORT = 7777;
export const BULK_PORT = 7778;
export const STREAM_PORT = 7779;

export function podAddress(index: number, local: number): string {
  // Local pods in 10.1.0.0/16, the others in 10.2.0.0/16.
  const at = index < local ? index + 10 : index - local + 10;
  return `10.${index < local ? 1 : 2}.${at >> 8}.${at & 255}`;
}

/** Every policy has rules in both directions; only the last rule of the last policy admits the test flow. */
export function objectsOf(shape: Shape): KubeObject[] {
  const { local, addresses, policies, perPod } = shape;
  const objects: KubeObject[] = [
    { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' }, spec: { podCIDR: '10.1.0.0/16' } },
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'bench', labels: {} } },
  ];
  const last = local - 1;
  for (let i = 0; i < addresses; i++) {
    const labels: Record<string, string> = {
      group: i >= last - 1 && i <= last ? 'tested' : `g${i % GROUPS}`,
    };
    // Local pods have the policies last, so that the linear shape walks all of them.
    if (i < local)
      for (let j = 0; j < perPod; j++)
        labels[`policy-${(policies - 1 - ((i * perPod + j) % policies)) % policies}`] = '';
    if (i >= last - 1 && i <= last) labels[`policy-${policies - 1}`] = '';
    objects.push({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `pod-${i}`, namespace: 'bench', labels },
      spec: { nodeName: i < local ? 'n1' : 'n2' },
      status: { phase: 'Running', podIPs: [{ ip: podAddress(i, local) }] },
    });
  }
  for (let k = 0; k < policies; k++) {
    const peers = [k % GROUPS, (k + 7) % GROUPS].map((group) => ({
      podSelector: { matchLabels: { group: `g${group}` } },
    }));
    const ports = [1000 + (k % 97), 2000 + (k % 31), 3000 + (k % 11)].map((port) => ({ port }));
    const tested =
      k === policies - 1
        ? [
            { protocol: 'UDP', port: STREAM_PORT },
            { protocol: 'TCP', port: BULK_PORT },
            { protocol: 'TCP', port: PORT },
          ].map((port) => ({
            peers: [{ podSelector: { matchLabels: { group: 'tested' } } }],
            ports: [port],
          }))
        : [];
    objects.push({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `z-${String(k).padStart(5, '0')}`, namespace: 'bench' },
      spec: {
        podSelector: { matchExpressions: [{ key: `policy-${k}`, operator: 'Exists' }] },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          { from: peers, ports },
          ...tested.map((rule) => ({ from: rule.peers, ports: rule.ports })),
        ],
        egress: [
          { to: peers, ports },
          ...tested.map((rule) => ({ to: rule.peers, ports: rule.ports })),
        ],
      },
    });
  }
  return objects;
}

/** kube-router's shape in nftables: a list of pods, a chain per pod, a chain per policy, a set per rule. */
export function linearRuleset(objects: readonly KubeObject[], local: number): string {
  const lines = ['table inet linear {'];
  const pods = objects.filter(({ kind }) => kind === 'Pod');
  const ip = (pod: KubeObject): string =>
    (pod.status as { podIPs: { ip: string }[] }).podIPs[0]?.ip ?? '';
  const byGroup = new Map<string, string[]>();
  for (const pod of pods) {
    const group = pod.metadata.labels?.['group'] ?? '';
    byGroup.set(group, [...(byGroup.get(group) ?? []), ip(pod)]);
  }
  interface Rule {
    from?: { podSelector: { matchLabels: { group: string } } }[];
    to?: { podSelector: { matchLabels: { group: string } } }[];
    ports: { protocol?: string; port: number }[];
  }
  const policies = objects.filter(({ kind }) => kind === 'NetworkPolicy');
  for (const [index, policy] of policies.entries()) {
    const spec = policy.spec as { ingress: Rule[]; egress: Rule[] };
    for (const [direction, rules, side] of [
      ['in', spec.ingress, 'saddr'],
      ['out', spec.egress, 'daddr'],
    ] as const) {
      const chain: string[] = [];
      for (const [number, rule] of rules.entries()) {
        const members = (rule.from ?? rule.to ?? []).flatMap(
          (peer) => byGroup.get(peer.podSelector.matchLabels.group) ?? [],
        );
        const set = `s${index}${direction}${number}`;
        lines.push(`set ${set} { type ipv4_addr; elements = { ${members.join(', ')} }; }`);
        const protocol = (rule.ports[0]?.protocol ?? 'TCP').toLowerCase();
        chain.push(
          `ip ${side} @${set} ${protocol} dport { ${rule.ports.map(({ port }) => port).join(', ')} } meta mark set meta mark | 0x10000`,
        );
      }
      lines.push(`chain p${index}${direction} {\n${chain.join('\n')}\n}`);
    }
  }
  const locals = pods.slice(0, local);
  const dispatch: string[] = [];
  for (const [index, pod] of locals.entries()) {
    for (const direction of ['in', 'out'] as const) {
      const jumps = policies.flatMap((policy, at) => {
        const spec = policy.spec as { podSelector: { matchExpressions: { key: string }[] } };
        const key = spec.podSelector.matchExpressions[0]?.key ?? '';
        return pod.metadata.labels?.[key] === undefined ? [] : [`jump p${at}${direction}`];
      });
      lines.push(
        `chain w${index}${direction} {\n${jumps.join('\n')}\nmeta mark & 0x10000 != 0x10000 drop\nmeta mark set meta mark & 0xfffeffff\n}`,
      );
    }
    dispatch.push(`ip daddr ${ip(pod)} jump w${index}in`, `ip saddr ${ip(pod)} jump w${index}out`);
  }
  lines.push(
    `chain forward { type filter hook forward priority filter - 5; policy accept;\nct state established,related accept\nct state invalid drop\n${dispatch.join('\n')}\n}`,
    '}',
  );
  return `${lines.join('\n')}\n`;
}

export const conntrackOnly = `table inet ctonly {
  chain forward { type filter hook forward priority filter - 5; policy accept;
    ct state vmap { established : accept, related : accept, invalid : drop }
  }
}
`;

// --- inside: the node, the tested pods ----------------------------------------------------------
