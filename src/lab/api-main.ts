/**
 * The API's process: inside the lab's namespaces, but serving a socket of the host's loopback that it
 * inherited, so that kubectl reaches it and it cannot outlive the lab. Must not be imported;
 * `api-child.ts` runs it.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { startAdminSocket } from './api/admin.ts';
import { writeKubeconfig, writeSecret } from './api/kubeconfig.ts';
import type { ApiObject } from './api/object.ts';
import { kindOf } from './api/registry.ts';
import { keyOf } from './api/resource.ts';
import { dualServiceRanges, type ServiceRanges } from './api/service-address.ts';
import { adminUser } from './api/server.ts';
import { startLabApi, type LabApi } from './api/start.ts';
import {
  agentKubeconfig,
  agentTokenFile,
  apiSocketFd,
  type ApiNews,
  type ApiOrder,
} from './api-child.ts';
import { createApiObjects } from './api-objects.ts';
import { hasFamily, planNodes } from './config.ts';
import { dnsImage, dnsPodId } from './dns.ts';
import { callControl, serveControl, toWire } from './control.ts';
import { LabError } from './errors.ts';
import { bindPorts } from './listeners.ts';
import type { SyncOrder } from './hosted.ts';
import { followStore, wholeOrder } from './object-sync.ts';
import { holdContainerRoot } from './pod-process.ts';
import { createPodRuntime, type Call } from './pod-runtime.ts';
import { apiControlPath, controlPath, faultSocketPath, kubeconfigPath } from './state-dir.ts';
import { fabricAddress, fabricNetns } from './topology.ts';
import type { LabObject, ObjectRef, Stack } from './types.ts';

function tell(news: ApiNews): void {
  process.stdout.write(`${JSON.stringify(news)}\n`);
}

function log(error: unknown): void {
  // Where it comes from says something only of faults that nobody expected.
  const stack = error instanceof Error && !(error instanceof LabError) ? error.stack : undefined;
  const text = stack ?? (error instanceof Error ? error.message : String(error));
  process.stderr.write(`${new Date().toISOString()} api: ${text}\n`);
}

function serviceRanges(stack: Stack): ServiceRanges {
  const { ipv4, ipv6 } = dualServiceRanges;
  return {
    ...(hasFamily(stack, 4) && ipv4 !== undefined ? { ipv4 } : {}),
    ...(hasFamily(stack, 6) && ipv6 !== undefined ? { ipv6 } : {}),
  };
}

/** DNS as every cluster has it: a service in front of a pod, so that policy applies to it. */
function startDns(api: LabApi, address: string): void {
  const namespace = 'kube-system';
  const labels = { 'k8s-app': 'kube-dns' };
  const [, name = ''] = dnsPodId.split('/');
  const ports = (['UDP', 'TCP'] as const).map((protocol) => ({
    name: protocol === 'UDP' ? 'dns' : 'dns-tcp',
    protocol,
  }));
  const create = (kind: string, object: ApiObject): void => {
    const type = kindOf('v1', kind);
    // It may have been kept from an earlier lab.
    if (api.store.get(type.bucket, keyOf(type, namespace, object.metadata.name))) return;
    api.writer.create(type, namespace, object);
  };
  create('Service', {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'kube-dns', labels },
    spec: {
      clusterIP: address,
      selector: labels,
      ports: ports.map((port) => ({ ...port, port: 53, targetPort: 53 })),
    },
  });
  create('Pod', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels },
    spec: {
      containers: [
        {
          name,
          image: dnsImage,
          ports: ports.map((port) => ({ ...port, containerPort: 53 })),
        },
      ],
    },
  });
}

const clusterPort = 6443;
const agentUser = 'podwall-agent';

/** The address of the API on the wire between the nodes. */
function clusterHost(stack: Stack): string {
  return hasFamily(stack, 4) ? fabricAddress[4] : `[${fabricAddress[6]}]`;
}

/** What pods call the API: its service address and names. */
function serviceHosts(stack: Stack): string[] {
  const address = hasFamily(stack, 4) ? '10.96.0.1' : '[fd00:10:96::1]';
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc'];
  return [address, ...names, 'kubernetes.default.svc.cluster.local'];
}

/** Pods and agents come over the lab's network, as to a real control plane. */
async function openToNodes(api: LabApi): Promise<void> {
  const faults = await bindPorts(
    {
      endpoint: 'the API',
      netns: fabricNetns,
      ports: [{ protocol: 'TCP', port: clusterPort }],
      ownNetwork: false,
    },
    (_port, handle) => {
      (handle as Server).on('connection', (socket: Socket) => api.accept(socket));
    },
  );
  if (faults.length > 0) throw new Error(faults.join('; '));
}

/** Agents have a token of their own. */
async function admitAgents(api: LabApi, stack: Stack): Promise<void> {
  await writeSecret(
    agentTokenFile,
    api.addToken({ name: agentUser, groups: ['system:nodes', 'system:authenticated'] }),
  );
  await writeKubeconfig(agentKubeconfig, {
    server: `https://${clusterHost(stack)}:${clusterPort}`,
    authority: api.certificate.cert,
    tokenFile: agentTokenFile,
  });
}

async function serve({ config, stateDir, agents, stateFile }: ApiOrder): Promise<void> {
  const call: Call = (method, params) => callControl(controlPath(stateDir), method, params);
  const door = createServer();
  await new Promise<void>((resolve, reject) => {
    door.once('error', reject);
    door.listen({ fd: apiSocketFd }, resolve);
  });
  const { port } = door.address() as AddressInfo;
  const root = await holdContainerRoot().catch((error: unknown) => {
    log(error);
    return undefined;
  });
  const dnsAddress = hasFamily(config.stack, 4) ? '10.96.0.10' : 'fd00:10:96::a';
  const api = await startLabApi({
    runtime: createPodRuntime({ call, root, dns: dnsAddress }),
    address: { host: '127.0.0.1', port },
    hosts: [clusterHost(config.stack), ...serviceHosts(config.stack)],
    endpoint: { address: clusterHost(config.stack).replace(/[[\]]/g, ''), port: clusterPort },
    serviceRanges: serviceRanges(config.stack),
    nodes: planNodes(config).map(({ name, addresses, podCidrs }) => ({
      name,
      addresses,
      podCIDRs: podCidrs,
    })),
    ...(stateFile === undefined
      ? {}
      : { state: { file: stateFile, shape: config, onTrouble: log } }),
    // Policies that were kept are known before a pod that was kept can be opened.
    beforePods: async (store) => {
      await call('sync', wholeOrder(store));
    },
  });
  door.on('connection', (socket) => api.accept(socket));
  const daemon = {
    tell: async (order: SyncOrder) => (await call('sync', order)) === true,
    enforce: (changed: boolean) => call('enforce', changed),
  };
  const sync = followStore(api.store, daemon, log);
  const objects = createApiObjects(api.writer, () => sync.settled());
  await serveControl(apiControlPath(stateDir), {
    apply: (params) => objects.apply(params as LabObject[]),
    delete: (params) => objects.delete(params as ObjectRef[]),
    objects: async () => objects.objects(),
    save: async () => api.keeper?.save(),
  });
  const kubeconfig = kubeconfigPath(stateDir);
  const handOut = (token: string): Promise<void> =>
    writeKubeconfig(kubeconfig, { server: api.url, authority: api.certificate.cert, token });
  await handOut(api.token);
  await startAdminSocket(api, faultSocketPath(stateDir), {
    async onToken(user, token) {
      if (user === agentUser) await writeSecret(agentTokenFile, token);
      else if (user === adminUser) await handOut(token);
    },
  });
  startDns(api, dnsAddress);
  await openToNodes(api);
  if (agents) await admitAgents(api, config.stack);
  else await sync.settled();
  tell({ kind: 'ready', status: { server: api.url, kubeconfig } });
}

// Keys in the making go with the lab's own /run, also when this process is killed.
process.env['TMPDIR'] = '/run';

// A request must not end the lab; what broke is in the log.
process.on('uncaughtException', log);
process.on('unhandledRejection', log);

createInterface({ input: process.stdin }).once('line', (line) => {
  serve(JSON.parse(line) as ApiOrder).catch((error: unknown) => {
    tell({ kind: 'failed', error: toWire(error) });
    process.exit(1);
  });
});
