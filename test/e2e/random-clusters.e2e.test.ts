/**
 * Random clusters and policies of all kinds in a real lab: every packet must do what the naive
 * evaluator, which shares no code with the product, says; and the engine must say the same.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildSnapshot } from '../../src/engine/build.ts';
import { createEvaluator } from '../../src/engine/evaluate.ts';
import type { Endpoint } from '../../src/engine/verdict.ts';
import type { KubeObject, Pod } from '../../src/k8s/types.ts';
import { LabUnavailable } from '../../src/lab/errors.ts';
import { startLab } from '../../src/lab/index.ts';
import { agrees } from '../../src/lab/story/play.ts';
import type { Lab, LabPort, ObjectRef, ProbeResult } from '../../src/lab/types.ts';
import { parseAddress } from '../../src/net/address.ts';
import { packetOptions, randomCluster, type RandomCluster } from '../arbitrary/cluster.ts';
import {
  inBlock,
  naiveEvaluate,
  parseIp,
  type NaiveEnd,
  type NaiveObject,
} from '../naive/evaluate.ts';

const ports: readonly LabPort[] = [
  { protocol: 'TCP', port: 80 },
  { protocol: 'TCP', port: 8080 },
  { protocol: 'UDP', port: 53 },
];

const seeds = Number(process.env['PODWALL_PACKET_SEEDS'] ?? 6);
const firstSeed = Number(process.env['PODWALL_SEED'] ?? 1);

const hosts = randomCluster(firstSeed, packetOptions).outside.map((address, index) => ({
  name: `outside-${index + 1}`,
  addresses: [address],
  ports,
}));

let lab: Lab | undefined;
let unavailable: string | undefined;

beforeAll(async () => {
  try {
    lab = await startLab({ stack: 'ipv4', outside: hosts }, { lifetime: 'parent' });
  } catch (error) {
    if (!(error instanceof LabUnavailable)) throw error;
    unavailable = error.message;
  }
});

afterAll(async () => lab?.down());

/** Pods listen on every probed port, beside the named ports that the generator gave them. */
function listening(pod: NaiveObject, nodes: readonly string[]): KubeObject {
  const copy = structuredClone(pod) as unknown as Pod;
  delete copy.status;
  const index = nodes.indexOf(copy.spec?.nodeName ?? '');
  copy.spec = {
    ...copy.spec,
    nodeName: `node-${(Math.max(index, 0) % 2) + 1}`,
    containers: [
      ...(copy.spec?.containers ?? []),
      {
        name: 'listens-everywhere',
        ports: ports.map(({ protocol, port }) => ({ protocol, containerPort: port })),
      },
    ],
  };
  return copy;
}

/** The generator cuts blocks around its own pod addresses: single ones become the lab's. */
function readdress(
  policies: readonly NaiveObject[],
  addresses: ReadonlyMap<string, string>,
): KubeObject[] {
  const moved = (cidr: string): string => {
    const to = cidr.endsWith('/32') ? addresses.get(cidr.slice(0, -3)) : undefined;
    return to === undefined ? cidr : `${to}/32`;
  };
  const text = JSON.stringify(policies, (key, value: unknown) => {
    if (key === 'networks') return [...new Set((value as string[]).map(moved))];
    if (key !== 'ipBlock' || value === null) return value;
    const { cidr, except } = value as { cidr: string; except?: string[] | null };
    // An except has to stay inside its block.
    const inside = (entry: string): string =>
      inBlock(parseIp(moved(entry).split('/')[0] ?? ''), cidr) ? moved(entry) : entry;
    return { cidr: moved(cidr), ...(except ? { except: except.map(inside) } : {}) };
  });
  return JSON.parse(text) as KubeObject[];
}

function refOf({ apiVersion, kind, metadata }: KubeObject): ObjectRef {
  const { name = '', namespace } = metadata;
  return { apiVersion, kind, name, ...(namespace === undefined ? {} : { namespace }) };
}

async function load(cluster: RandomCluster): Promise<ObjectRef[]> {
  if (lab === undefined) throw new Error('no lab');
  const kinds = (wanted: (kind: string) => boolean): NaiveObject[] =>
    cluster.objects.filter(({ kind }) => wanted(kind));
  const namespaces = kinds((kind) => kind === 'Namespace') as unknown as KubeObject[];
  const given = kinds((kind) => kind === 'Pod');
  const pods = given.map((pod) => listening(pod, cluster.nodes));
  await lab.apply([...namespaces, ...pods]);
  const addresses = new Map<string, string>();
  for (const pod of await lab.get('Pod')) {
    const { name, namespace } = pod.metadata;
    const old = given.find(
      ({ metadata }) => metadata.name === name && metadata.namespace === namespace,
    ) as unknown as Pod | undefined;
    addresses.set(old?.status?.podIP ?? '', (pod as Pod).status?.podIP ?? '');
  }
  const policies = readdress(
    kinds((kind) => kind.endsWith('Policy')),
    addresses,
  );
  await lab.apply(policies);
  return [...policies, ...pods, ...namespaces].map(refOf);
}

const counted = { cases: 0, open: 0, dropped: 0 };

it.each(Array.from({ length: seeds }, (_, index) => [firstSeed + index]))(
  'packets agree with the naive evaluator and the engine: seed %i',
  async (seed) => {
    if (lab === undefined) {
      console.log(`not run: ${unavailable}`);
      expect(unavailable).toBeDefined();
      return;
    }
    const cluster = randomCluster(seed, {
      ...packetOptions,
      kinds: [
        'NetworkPolicy',
        'NetworkPolicy',
        'ClusterNetworkPolicy',
        'AdminNetworkPolicy',
        'BaselineAdminNetworkPolicy',
      ],
    });
    const refs = await load(cluster);
    const objects = await lab.objects();
    const { snapshot } = buildSnapshot(objects.map((object) => ({ object })));
    const evaluator = createEvaluator(snapshot);
    const names = hosts.map((host) => host.name);
    const everyone = [...snapshot.pods.map((pod) => pod.id), ...names];
    const report = await lab.probe({ from: everyone, to: everyone, ports, includeSelf: false });
    const results = report.results.filter(
      ({ source, destination }) => !names.includes(source) || !names.includes(destination),
    );
    const naiveEnd = (name: string, address: string): NaiveEnd =>
      snapshot.podById.has(name) ? { pod: name, address } : { address };
    const engineEnd = (name: string, text: string): Endpoint => {
      const pod = snapshot.podById.get(name);
      const address = parseAddress(text);
      if (address === undefined) throw new Error(`bad address ${text}`);
      return pod === undefined ? { kind: 'address', address } : { kind: 'pod', pod, address };
    };
    const wrong: (ProbeResult & { naive: string; engine: string })[] = [];
    for (const result of results) {
      const { source, destination, sourceAddress, destinationAddress, protocol, port } = result;
      const naive = naiveEvaluate(objects as unknown as NaiveObject[], {
        source: naiveEnd(source, sourceAddress),
        destination: naiveEnd(destination, destinationAddress),
        protocol,
        port,
      }).outcome;
      const engine = evaluator.evaluate({
        source: engineEnd(source, sourceAddress),
        destination: engineEnd(destination, destinationAddress),
        protocol,
        port,
      }).outcome;
      counted.cases += 1;
      if (result.outcome === 'OPEN') counted.open += 1;
      if (result.outcome === 'DROPPED') counted.dropped += 1;
      if (engine !== naive || !agrees(naive, result.outcome)) {
        wrong.push({ ...result, naive, engine });
      }
    }
    expect(results.length).toBeGreaterThan(0);
    expect(wrong).toEqual([]);
    await lab.delete(refs);
  },
);

it('compared at least 300 packet cases, open and dropped', () => {
  if (lab === undefined) {
    console.log(`not run: ${unavailable}`);
    expect(unavailable).toBeDefined();
    return;
  }
  console.log(`packet cases: ${counted.cases} (${counted.open} open, ${counted.dropped} dropped)`);
  expect(counted.cases).toBeGreaterThanOrEqual(300);
  expect(counted.open).toBeGreaterThan(30);
  expect(counted.dropped).toBeGreaterThan(30);
});
