/**
 * The lab without packets, for machines where the real one cannot run: same objects, same compiled
 * programs, and each probe answered by walking those programs as the kernel would. Must not ask the
 * evaluator, or prediction and observation would be the same thing said twice.
 */
import { simulate, type NodeProgram, type Packet, type Path } from '../dataplane/index.ts';
import { parseAddress } from '../net/address.ts';
import { asLabObject, selectObjects } from './client.ts';
import { completeLabConfig } from './config.ts';
import { compileNodes, revisionOf } from './enforce.ts';
import { LabError } from './errors.ts';
import { planProbes, type PlannedProbe } from './probe.ts';
import { createStore, type LabEndpoint, type LabStore, type StoreChange } from './store.ts';
import type {
  ApplyResult,
  DropEvidence,
  Lab,
  LabConfig,
  LabPort,
  LabStatus,
  ProbeResult,
} from './types.ts';

/** A lab in this process only; it ends with it. */
export function createSimulatedLab(given: Partial<LabConfig> = {}): Lab {
  const config = completeLabConfig(given);
  const store = createStore(config);
  const closed = new Set<string>();
  const startedAt = new Date();
  let programs = compileAll();

  function compileAll(): Map<string, NodeProgram> {
    const list = compileNodes(store.objects(), config.nodes);
    return new Map(list.map((program) => [program.node, program]));
  }

  function carryOut(act: () => StoreChange): ApplyResult {
    const started = performance.now();
    const { changes, notices, added } = act();
    store.markReady(added);
    programs = compileAll();
    const warnings = new Set([...programs.values()].flatMap((program) => program.warnings));
    return { changes, notices: [...notices, ...warnings], tookMs: performance.now() - started };
  }

  const status = (): LabStatus => {
    const pods = store.pods();
    return {
      simulated: true,
      startedAt: startedAt.toISOString(),
      uptimeMs: Date.now() - startedAt.getTime(),
      config,
      nodes: store.nodes.map(({ name, addresses, podCidrs }) => {
        const program = programs.get(name);
        return {
          name,
          addresses,
          podCidrs,
          pods: pods.filter((pod) => pod.node.name === name).length,
          revision: program === undefined ? '' : revisionOf(program),
        };
      }),
      outside: config.outside,
      pods: pods.length,
      readyPods: store.readyPods(),
      policies: store.countPolicies(),
      privileges: 'none',
    };
  };

  return {
    simulated: true,
    apply: async (objects) => carryOut(() => store.apply(objects.map(asLabObject))),
    delete: async (refs) => carryOut(() => store.delete(refs)),
    objects: async () => store.objects(),
    get: async (kind, options = {}) => selectObjects(store.objects(), kind, options),
    exec: () => Promise.reject(new LabError('a simulated lab has no network to run a program in')),
    async probe(request = {}) {
      const started = performance.now();
      const plan = planProbes(store, request);
      const results = plan.probes.map((probe) => simulateProbe(probe, store, programs, closed));
      const wallMs = performance.now() - started;
      return {
        results,
        sources: plan.sources,
        destinations: plan.destinations,
        ports: plan.ports,
        wallMs,
        perSecond: wallMs > 0 ? (results.length * 1000) / wallMs : 0,
        simulated: true,
      };
    },
    async closeListener(endpoint, port) {
      closed.add(listenerKey(endpoint, port));
    },
    status: async () => status(),
    down: async () => {},
  };
}

function listenerKey(endpoint: string, port: LabPort): string {
  return `${endpoint} ${port.protocol} ${port.port}`;
}

function simulateProbe(
  probe: PlannedProbe,
  store: LabStore,
  programs: ReadonlyMap<string, NodeProgram>,
  closed: ReadonlySet<string>,
): ProbeResult {
  const { source, destination, family, sourceAddress, destinationAddress, port } = probe;
  const common = {
    source: source.name,
    destination: destination.name,
    family,
    sourceAddress,
    destinationAddress,
    protocol: port.protocol,
    port: port.port,
    latencyMs: 0,
    simulated: true,
  } as const;
  const from = store.endpoint(source.name);
  const to = store.endpoint(destination.name);
  if (from === undefined || to === undefined) throw new LabError('a probe lost its end');
  if (!listens(to, port) || closed.has(listenerKey(destination.name, port))) {
    const evidence = { control: false, attempts: 1 };
    return { ...common, outcome: 'NO-LISTENER', reason: 'nothing listens there', evidence };
  }
  const drop = walk(probe, from, to, programs);
  if (drop === undefined)
    return { ...common, outcome: 'OPEN', evidence: { control: true, attempts: 1 } };
  return { ...common, outcome: 'DROPPED', evidence: { control: true, attempts: 1, drop } };
}

function listens(endpoint: LabEndpoint, port: LabPort): boolean {
  if (endpoint.kind === 'node') return false;
  const ports = endpoint.kind === 'pod' ? endpoint.pod.ports : (endpoint.host.ports ?? []);
  return ports.some((one) => one.protocol === port.protocol && one.port === port.port);
}

/** The node whose kernel an end's packets meet; undefined for the world. */
function nodeOf(endpoint: LabEndpoint): string | undefined {
  if (endpoint.kind === 'pod') return endpoint.pod.node.name;
  return endpoint.kind === 'node' ? endpoint.node.name : undefined;
}

/** In the node's own network: the node itself and hostNetwork pods. */
function isOnHost(endpoint: LabEndpoint): boolean {
  return endpoint.kind === 'node' || (endpoint.kind === 'pod' && endpoint.pod.hostNetwork);
}

/** The kernels a first packet passes, in order, until one drops it. */
function walk(
  probe: PlannedProbe,
  from: LabEndpoint,
  to: LabEndpoint,
  programs: ReadonlyMap<string, NodeProgram>,
): DropEvidence | undefined {
  const source = parseAddress(probe.sourceAddress);
  const destination = parseAddress(probe.destinationAddress);
  if (source === undefined || destination === undefined) throw new LabError('a bad address');
  // To itself a packet never leaves the pod.
  if (probe.sourceAddress === probe.destinationAddress) return undefined;
  const { protocol, port } = probe.port;
  const packet: Packet = { source, destination, protocol, port };
  const stations: [node: string | undefined, path: Path][] = [];
  const near = nodeOf(from);
  const far = nodeOf(to);
  if (near === far) {
    const path = isOnHost(from) ? 'from-node' : isOnHost(to) ? 'from-pod-to-node' : 'forward';
    stations.push([near, path]);
  } else {
    stations.push([near, isOnHost(from) ? 'from-node' : 'forward']);
    stations.push([far, isOnHost(to) ? 'from-pod-to-node' : 'forward']);
  }
  for (const [node, path] of stations) {
    const program = node === undefined ? undefined : programs.get(node);
    if (node === undefined || program === undefined) continue;
    const verdict = simulate(program, packet, path);
    if (verdict.outcome === 'denied') return { node, direction: verdict.direction, packets: 1 };
  }
  return undefined;
}
