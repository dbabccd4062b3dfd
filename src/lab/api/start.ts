/**
 * Puts the API server together: store, writes, controllers, first objects, the door. The lab calls
 * this; so do tests, with the fake runtime.
 */
import { isIP } from 'node:net';
import { arch, release } from 'node:os';
import { createCertificate } from './certificate.ts';
import { startEventExpiry } from './controllers/events.ts';
import { startGarbageCollector } from './controllers/garbage.ts';
import { startKubelet } from './controllers/kubelet.ts';
import { startNamespaceController } from './controllers/namespaces.ts';
import { startWorkloadControllers } from './controllers/workloads.ts';
import { startEndpointsController } from './controllers/endpoints.ts';
import { startIdleEncoder } from './idle-encoder.ts';
import { createFaults, seededRandom } from './faults.ts';
import { type ApiObject, listAt, objectAt, timestamp } from './object.ts';
import { kindOf } from './registry.ts';
import { keyOf } from './resource.ts';
import type { PodRuntime } from './runtime.ts';
import { type ApiServer, startApiServer } from './server.ts';
import {
  createAddressAllocator,
  defaultServiceRanges,
  type ServiceRanges,
} from './service-address.ts';
import { keepState, loadState, revived, type StateKeeper } from './state-file.ts';
import { createStore, type Store } from './store.ts';
import { createWriter, type Writer } from './write.ts';

export interface LabNode {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly podCIDRs?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
}

export interface LabApiOptions {
  readonly runtime: PodRuntime;
  readonly nodes?: readonly LabNode[];
  readonly port?: number;
  /** As in `ServerOptions`: somebody else listens and hands connections over. */
  readonly address?: { readonly host: string; readonly port: number };
  readonly hosts?: readonly string[];
  /** Where pods reach this API: the endpoint of the service `kubernetes`. Absent: it has none. */
  readonly endpoint?: { readonly address: string; readonly port: number };
  readonly token?: string;
  /** Keeps the objects in this file across restarts, beside what its owner wants to find there again. */
  readonly state?: StateOptions;
  /** Awaited when everything that was kept is in the store and no pod has been started yet. */
  readonly beforePods?: (store: Store) => Promise<void>;
  readonly serviceRanges?: ServiceRanges;
  /** Of names and of faults. */
  readonly seed?: number;
  readonly bookmarkEvery?: number;
  readonly history?: number;
  /** Events of pods cost a write each; default true. */
  readonly recordEvents?: boolean;
  readonly now?: () => number;
}

export interface StateOptions {
  readonly file: string;
  readonly shape: unknown;
  /** A save has failed that nobody waited for. */
  readonly onTrouble: (error: unknown) => void;
}

export interface LabApi extends ApiServer {
  readonly store: Store;
  readonly writer: Writer;
  /** Absent: nothing is kept. */
  readonly keeper: StateKeeper | undefined;
  stop(): Promise<void>;
}

const defaultNodes: readonly LabNode[] = [
  { name: 'node-1', addresses: ['172.18.0.2'], podCIDRs: ['10.244.0.0/16'] },
];

/** Starts everything and resolves when requests are answered. */
export async function startLabApi(options: LabApiOptions): Promise<LabApi> {
  const now = options.now ?? ((): number => Date.now());
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 31);
  const { state } = options;
  const saved = state === undefined ? undefined : await loadState(state.file);
  const store = createStore({
    ...(saved === undefined ? {} : { initial: revived(saved) }),
    ...(options.history === undefined ? {} : { history: options.history }),
  });
  const ranges = options.serviceRanges ?? defaultServiceRanges;
  const writer = createWriter({
    store,
    addresses: createAddressAllocator(ranges),
    now,
    random: seededRandom(seed),
  });
  const certificate = await createCertificate(options.hosts);
  const keeper = state === undefined ? undefined : keepState(store, state.file, state);
  // A file that cannot be written is said now, not when it is missed.
  await keeper?.save();
  for (const node of options.nodes ?? defaultNodes) putNode(writer, node);
  await options.beforePods?.(store);
  const faults = createFaults(seed);
  const controllers = [
    startNamespaceController(writer, certificate.cert),
    startGarbageCollector(writer),
    startKubelet(writer, options.runtime, {
      recordEvents: options.recordEvents !== false,
      lateDeleteMs: () => faults.lateDeleteMs(),
    }),
    ...startWorkloadControllers(writer),
    startEndpointsController(writer),
    startEventExpiry(writer),
    startIdleEncoder(store),
  ];
  const server = await startApiServer({
    writer,
    runtime: options.runtime,
    certificate,
    faults,
    ...(options.port === undefined ? {} : { port: options.port }),
    ...(options.address === undefined ? {} : { address: options.address }),
    ...(options.hosts === undefined ? {} : { hosts: options.hosts }),
    ...(options.token === undefined ? {} : { token: options.token }),
    ...(options.bookmarkEvery === undefined ? {} : { bookmarkEvery: options.bookmarkEvery }),
  });
  const { endpoint } = options;
  putFirstObjects(writer, ranges, endpoint?.port ?? Number(new URL(server.url).port));
  if (endpoint !== undefined) putEndpoint(writer, endpoint.address, endpoint.port);
  return {
    ...server,
    store,
    writer,
    keeper,
    async stop() {
      for (const controller of controllers) controller.stop();
      await server.close();
      await keeper?.stop();
    },
  };
}

function putFirstObjects(writer: Writer, ranges: ServiceRanges, port: number): void {
  const namespaceType = kindOf('v1', 'Namespace');
  const serviceType = kindOf('v1', 'Service');
  for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease'])
    if (!writer.store.get(namespaceType.bucket, name))
      writer.create(namespaceType, undefined, {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name },
      });
  if (writer.store.get(serviceType.bucket, keyOf(serviceType, 'default', 'kubernetes'))) {
    // Kept from a lab whose API had another port.
    writer.update(serviceType, 'default', 'kubernetes', (old) => ({
      ...old,
      spec: {
        ...objectAt(old, 'spec'),
        ports: listAt(old, 'spec', 'ports').map((one) => ({ ...one, targetPort: port })),
      },
    }));
    return;
  }
  writer.create(serviceType, 'default', {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: 'kubernetes',
      labels: { component: 'apiserver', provider: 'kubernetes' },
    },
    spec: {
      clusterIP: ranges.ipv4
        ? `${ranges.ipv4.prefix.join('.')}.0.1`
        : `${ranges.ipv6?.prefix ?? ''}1`,
      ipFamilies: [ranges.ipv4 ? 'IPv4' : 'IPv6'],
      ports: [{ name: 'https', port: 443, protocol: 'TCP', targetPort: port }],
    },
  });
}

/** What a real API server writes about itself, as no selector can. */
function putEndpoint(writer: Writer, address: string, port: number): void {
  const type = kindOf('discovery.k8s.io/v1', 'EndpointSlice');
  const name = 'kubernetes';
  const parts = {
    addressType: isIP(address) === 6 ? 'IPv6' : 'IPv4',
    endpoints: [{ addresses: [address], conditions: { ready: true } }],
    ports: [{ name: 'https', port, protocol: 'TCP' }],
  };
  if (writer.store.get(type.bucket, keyOf(type, 'default', name))) {
    writer.update(type, 'default', name, (old) => ({ ...old, ...parts }));
    return;
  }
  writer.create(type, 'default', {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, labels: { 'kubernetes.io/service-name': name } },
    ...parts,
  });
}

/** Makes or renews a node; it is Ready at once. */
export function putNode(writer: Writer, node: LabNode): void {
  const type = kindOf('v1', 'Node');
  const time = timestamp(writer.now());
  const machine = arch() === 'x64' ? 'amd64' : arch();
  if (!writer.store.get(type.bucket, node.name))
    writer.create(type, undefined, {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name: node.name,
        labels: {
          'kubernetes.io/hostname': node.name,
          'kubernetes.io/os': 'linux',
          // Old names of the same facts; manifests still select by them.
          'beta.kubernetes.io/os': 'linux',
          'beta.kubernetes.io/arch': machine,
          'kubernetes.io/arch': machine,
          ...node.labels,
        },
      },
      spec: node.podCIDRs ? { podCIDR: node.podCIDRs[0], podCIDRs: [...node.podCIDRs] } : {},
    });
  writer.update(
    type,
    undefined,
    node.name,
    (old): ApiObject => ({
      ...old,
      status: {
        addresses: [
          ...node.addresses.map((address) => ({ type: 'InternalIP', address })),
          { type: 'Hostname', address: node.name },
        ],
        capacity: { cpu: '8', memory: '16Gi', pods: '1000' },
        allocatable: { cpu: '8', memory: '16Gi', pods: '1000' },
        conditions: [
          {
            type: 'Ready',
            status: 'True',
            reason: 'KubeletReady',
            message: 'the lab node is up',
            lastHeartbeatTime: time,
            lastTransitionTime: time,
          },
        ],
        nodeInfo: {
          kubeletVersion: 'v1.32.0+podwall',
          kernelVersion: release(),
          osImage: 'podwall lab',
          containerRuntimeVersion: 'podwall://0.1',
          operatingSystem: 'linux',
          architecture: machine,
        },
      },
    }),
    { subresource: 'status' },
  );
}
