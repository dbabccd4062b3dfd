/**
 * A cluster of two nodes in real namespaces for the lessons: pods routed or on a bridge, one family
 * or two, a backend on each node, and flows that are believed only with evidence. Must not know
 * which lesson is tested.
 */
import { expect } from 'vitest';
import { compileNode, createBackend, spawnRunner } from '../../../src/dataplane/index.ts';
import type {
  ApplyReport,
  Backend,
  DataplaneOptions,
  Drop,
  NodeProgram,
} from '../../../src/dataplane/index.ts';
import { readDrops } from '../../../src/dataplane/listing.ts';
import { buildSnapshot } from '../../../src/engine/build.ts';
import type { Settings } from '../../../src/engine/snapshot.ts';
import type { KubeObject } from '../../../src/k8s/types.ts';
import { clusterObjects, pods, tcpPorts, udpPorts } from '../../contract/dataplane.ts';
import { address, address6, makeBed } from '../dataplane/bed.ts';
import type { Bed, BedStack, BedWiring, PodProcess } from '../dataplane/bed.ts';

export type Family = 4 | 6;
export const nodeNames = ['node-1', 'node-2'] as const;
export type NodeName = (typeof nodeNames)[number];

/** Wired on node-1; the API has not announced it. */
export const stranger = { name: 'stranger', node: 1, host: 99 } as const;

export const observing: Partial<DataplaneOptions> = { observe: true };

/** `from to PROTOCOL/port` → whether it passes. `to` may be an address; then only its family is asked. */
export type Flows = Readonly<Record<string, boolean>>;

export interface EnforceOptions {
  readonly options?: Partial<DataplaneOptions>;
  readonly settings?: Partial<Settings>;
}

export interface LessonCluster {
  readonly title: string;
  readonly wiring: BedWiring;
  readonly stack: BedStack;
  readonly families: readonly Family[];
  readonly bed: Bed;
  readonly backends: ReadonlyMap<NodeName, Backend>;
  ask(name: string): PodProcess;
  /** Address of a pod, node, `world` or `stranger`. */
  address(name: string, family: Family): string;
  /** All objects of the cluster without policies, in this stack's families. */
  objects(): KubeObject[];
  program(objects: readonly KubeObject[], node: NodeName, options?: EnforceOptions): NodeProgram;
  /** Makes both nodes enforce exactly `objects`. */
  enforce(objects: readonly KubeObject[], options?: EnforceOptions): Promise<ApplyReport[]>;
  /** Adds `policies` to the objects of the cluster. */
  enforcePolicies(policies: readonly KubeObject[], options?: EnforceOptions): Promise<void>;
  /** One try in one family: `open`, `timeout` or an error's code. */
  attempt(flow: string, family: Family, timeoutMs?: number): Promise<string>;
  /**
   * Asks all flows at once in all families. A denial counts only when the listener answers its own
   * node and a node counted the drop of exactly this flow.
   */
  expectFlows(flows: Flows): Promise<void>;
  /** Makes both nodes translate exactly these Services, as kube-proxy would. */
  services(services: readonly Service[]): Promise<void>;
  drops(): Promise<Drop[]>;
  close(): Promise<void>;
}

/** A Service: virtual address, port, and the one pod behind it. */
export interface Service {
  /** Last part of 10.96.0.x and fd00:96::x. */
  readonly host: number;
  readonly protocol?: 'tcp' | 'udp';
  readonly port: number;
  readonly pod: string;
  readonly targetPort: number;
  /** Also on every address of the nodes; `Cluster` hides the client behind the node, `Local` does not. */
  readonly nodePort?: { readonly port: number; readonly policy: 'Cluster' | 'Local' };
}

export const virtualAddress = (host: number, family: Family): string =>
  family === 4 ? `10.96.0.${host}` : `fd00:96::${host}`;

/** The address's family; undefined for a name. */
function familyOfText(text: string): Family | undefined {
  if (text.includes(':')) return 6;
  return /^\d+\.\d+\.\d+\.\d+$/.test(text) ? 4 : undefined;
}

/** Objects without the addresses and ranges of families that the stack lacks. */
export function inFamilies(
  objects: readonly KubeObject[],
  families: readonly Family[],
): KubeObject[] {
  const kept = (text: string): boolean => families.includes(text.includes(':') ? 6 : 4);
  return objects.map((object) => {
    const copy = structuredClone(object) as KubeObject & {
      spec?: { podCIDRs?: string[] };
      status?: { addresses?: { address: string }[]; podIPs?: { ip: string }[]; podIP?: string };
    };
    if (copy.spec?.podCIDRs !== undefined) copy.spec.podCIDRs = copy.spec.podCIDRs.filter(kept);
    const { status } = copy;
    if (status?.addresses !== undefined)
      status.addresses = status.addresses.filter((one) => kept(one.address));
    if (status?.podIPs !== undefined) status.podIPs = status.podIPs.filter(({ ip }) => kept(ip));
    return copy;
  });
}

export async function makeLessonCluster(
  wiring: BedWiring,
  stack: BedStack,
): Promise<LessonCluster> {
  const families: readonly Family[] = stack === 'ipv4' ? [4] : stack === 'ipv6' ? [6] : [4, 6];
  const bed = await makeBed([...pods, stranger], { wiring, stack });
  const processes = new Map<string, PodProcess>();
  for (const name of [...pods.map((one) => one.name), 'stranger', 'world', ...nodeNames])
    processes.set(name, bed.process(name));
  const ask = (name: string): PodProcess => {
    const found = processes.get(name);
    if (found === undefined) throw new Error(`no process ${name}`);
    return found;
  };
  await Promise.all(
    [...processes].flatMap(([name, process]) => [
      ...tcpPorts.map((port) =>
        process.ask({ do: 'listen', protocol: 'tcp', port, talk: port === 5978 }),
      ),
      ...(name.startsWith('node') ? [] : udpPorts).map((port) =>
        process.ask({ do: 'listen', protocol: 'udp', port }),
      ),
    ]),
  );
  const backends = new Map(
    nodeNames.map((name) => [
      name,
      createBackend({
        nft: spawnRunner({ netns: bed.netns(name) }),
        options: observing,
        collectAfterMs: 0,
      }),
    ]),
  );

  const known = [...pods, stranger];
  const addressOf = (name: string, family: Family): string => {
    if (familyOfText(name) !== undefined) return name;
    const node = /^node-(\d)$/.exec(name)?.[1];
    if (node !== undefined) return family === 4 ? `192.168.0.${node}` : `fd00:192::${node}`;
    if (name === 'world') return family === 4 ? '172.16.9.2' : 'fd00:9::2';
    const vip = /^vip-(\d+)$/.exec(name)?.[1];
    if (vip !== undefined) return virtualAddress(Number(vip), family);
    const pod = known.find((one) => one.name === name);
    if (pod === undefined) throw new Error(`no such end: ${name}`);
    return family === 4 ? address(pod) : address6(pod);
  };
  const ownerOf = (name: string): string | undefined => {
    if (familyOfText(name) === undefined) return name;
    return known.find((one) => [address(one), address6(one)].includes(name))?.name;
  };
  const parse = (flow: string): { from: string; to: string; protocol: string; port: number } => {
    const match = /^(\S+) (\S+) (TCP|UDP)\/(\d+)$/.exec(flow);
    if (match === null) throw new Error(`not a flow: ${flow}`);
    const [, from = '', to = '', protocol = '', port = ''] = match;
    return { from, to, protocol, port: Number(port) };
  };
  let installed: readonly Service[] = [];
  /** The end that a Service leads to; `through` is the node that may have put its address on the packet. */
  const behind = (to: string, port: number): { name: string; port: number; through?: string } => {
    const service = installed.find(
      (one) =>
        (to === `vip-${one.host}` && one.port === port) ||
        (to.startsWith('node-') && one.nodePort?.port === port),
    );
    if (service === undefined) return { name: to, port };
    return {
      name: service.pod,
      port: service.targetPort,
      ...(to.startsWith('node-') ? { through: to } : {}),
    };
  };
  const attempt = (flow: string, family: Family, timeout = 350): Promise<string> => {
    const { from, to, protocol, port } = parse(flow);
    const host = addressOf(to, family);
    // An address of the outside host as source: it speaks from there.
    const bound = familyOfText(from) === undefined ? {} : { from };
    return ask(familyOfText(from) === undefined ? from : 'world').ask(
      protocol === 'TCP'
        ? { do: 'connect', host, port, timeout, ...bound }
        : { do: 'udp', host, port, timeout, ...bound },
    );
  };
  // One process for both nodes: the backend's own way reads each set by itself, which is for big tables.
  const drops = async (): Promise<Drop[]> =>
    readDrops(
      await bed.sh(
        nodeNames
          .flatMap((node) =>
            ['podwall', 'podwall_b'].map(
              (table) => `ip netns exec ${node} nft list table inet ${table} 2>/dev/null || :`,
            ),
          )
          .join('\n'),
      ),
    );

  const program: LessonCluster['program'] = (objects, node, options = {}) => {
    const { snapshot } = buildSnapshot(
      objects.map((object) => ({ object })),
      { settings: options.settings ?? {} },
    );
    return compileNode(snapshot, node, { ...observing, ...options.options });
  };
  const enforce: LessonCluster['enforce'] = (objects, options) =>
    Promise.all(
      [...backends].map(([name, backend]) => backend.apply(program(objects, name, options))),
    );
  const objects = (): KubeObject[] => inFamilies(clusterObjects(), families);

  const cluster: LessonCluster = {
    title: `${wiring}, ${stack}`,
    wiring,
    stack,
    families,
    bed,
    backends,
    ask,
    address: addressOf,
    objects,
    program,
    enforce,
    enforcePolicies: async (policies, options) => {
      await enforce([...objects(), ...policies], options);
    },
    attempt,
    drops,
    expectFlows: async (flows) => {
      const denies = Object.values(flows).includes(false);
      if (denies) await Promise.all([...backends.values()].map((backend) => backend.resetDrops()));
      const asked = Object.entries(flows).flatMap(([flow, passes]) =>
        (familyOfText(parse(flow).to) === undefined
          ? families
          : families.filter((family) => family === familyOfText(parse(flow).to))
        ).map((family) => ({ flow, passes, family })),
      );
      const found = await Promise.all(
        asked.map(async ({ flow, passes, family }) => {
          const name = `IPv${family} ${flow}`;
          let answer = await attempt(flow, family);
          // A machine short of CPU may be slow to answer; a listener that is denied stays silent.
          if (passes && answer === 'timeout') answer = await attempt(flow, family, 3000);
          const { from, to, protocol, port } = parse(flow);
          const end = behind(to, port);
          const pod = known.find((one) => one.name === ownerOf(end.name));
          if (!passes && answer === 'timeout' && pod !== undefined) {
            const direct = `node-${pod.node} ${pod.name} ${protocol}/${end.port}`;
            const control = await attempt(direct, family, 3000);
            if (control !== 'open') answer = `timeout, but its own node hears ${control}`;
          }
          return { name, answer, from, protocol, end, family };
        }),
      );
      const seen = denies ? await drops() : [];
      const judged = found.map(({ name, answer, from, protocol, end, family }) => {
        if (answer !== 'timeout') return [name, answer];
        const sources = [from, ...(end.through === undefined ? [] : [end.through])].map((one) =>
          addressOf(one, family),
        );
        const counted = seen.some(
          (drop) =>
            sources.includes(drop.source) &&
            drop.destination === addressOf(end.name, family) &&
            drop.protocol === protocol &&
            drop.port === end.port,
        );
        return [name, counted ? 'dropped' : 'timeout, but no node counted a drop'];
      });
      expect(Object.fromEntries(judged), cluster.title).toEqual(
        Object.fromEntries(
          asked.map(({ flow, passes, family }) => [
            `IPv${family} ${flow}`,
            passes ? 'open' : 'dropped',
          ]),
        ),
      );
    },
    services: async (services) => {
      installed = services;
      const script = families
        .map((family) => {
          const word = family === 4 ? 'ip' : 'ip6';
          const table = `table ${word} svc`;
          const at = (pod: string, port: number): string =>
            family === 4 ? `${addressOf(pod, 4)}:${port}` : `[${addressOf(pod, 6)}]:${port}`;
          const dnat = services.flatMap(
            ({ host, protocol = 'tcp', port, pod, targetPort, nodePort }) => [
              `${word} daddr ${virtualAddress(host, family)} ${protocol} dport ${port} dnat to ${at(pod, targetPort)}`,
              ...(nodePort === undefined
                ? []
                : [
                    `fib daddr type local ${protocol} dport ${nodePort.port} ${
                      nodePort.policy === 'Cluster' ? 'meta mark set meta mark | 0x4000 ' : ''
                    }dnat to ${at(pod, targetPort)}`,
                  ]),
            ],
          );
          const hairpin = services.map(
            ({ pod }) =>
              `ct status dnat ${word} saddr ${addressOf(pod, family)} ${word} daddr ${addressOf(pod, family)} masquerade`,
          );
          // Without a chain of this kind the kernel would translate nothing, also what it has begun.
          return `add ${table}
delete ${table}
${table} {
  chain pre { type nat hook prerouting priority dstnat; ${dnat.join('; ')}; }
  chain out { type nat hook output priority -100; ${dnat.join('; ')}; }
  chain post { type nat hook postrouting priority srcnat; ${[...new Set(hairpin)].join('; ')}; meta mark & 0x4000 == 0x4000 masquerade; }
}
`;
        })
        .join('');
      for (const node of nodeNames)
        await bed.sh(`ip netns exec ${node} nft -f - <<'X'\n${script}X`);
    },
    close: async () => {
      await bed.close();
    },
  };
  return cluster;
}
