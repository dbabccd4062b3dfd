/**
 * Services, their endpoints, and what routes traffic from outside to them. Must not know of policies.
 */
import { parseAddress } from '../net/address.ts';
import type { Address } from '../net/address.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { SourceRange } from '../k8s/diagnostic.ts';
import { at, labelsOf, listOf, numberOf, textOf, textsOf } from './json.ts';
import { addressesOf, protocolOf } from './pod-facts.ts';
import type { RouteInfo, ServiceEndpoint, ServiceInfo } from './snapshot.ts';

export function serviceOf(
  object: KubeObject,
  namespace: string,
  name: string,
  endpoints: readonly ServiceEndpoint[] | undefined,
  source: SourceRange | undefined,
): ServiceInfo {
  const spec = object.spec;
  const selector = labelsOf(at(spec, 'selector'));
  const texts = textsOf(at(spec, 'clusterIPs'));
  const single = textOf(at(spec, 'clusterIP'));
  const clusterIps = addressesOf(texts.length > 0 ? texts : [single]);
  const ports: ServiceInfo['ports'][number][] = [];
  for (const entry of listOf(at(spec, 'ports'))) {
    const port = numberOf(at(entry, 'port'));
    const protocol = protocolOf(at(entry, 'protocol'));
    if (port === undefined || protocol === undefined) continue;
    const target = at(entry, 'targetPort');
    const portName = textOf(at(entry, 'name'));
    const nodePort = numberOf(at(entry, 'nodePort'));
    ports.push({
      ...(portName === undefined ? {} : { name: portName }),
      port,
      targetPort: numberOf(target) ?? textOf(target) ?? port,
      ...(nodePort === undefined ? {} : { nodePort }),
      protocol,
    });
  }
  return {
    namespace,
    name,
    type: textOf(at(spec, 'type')) ?? 'ClusterIP',
    clusterIps,
    ...(Object.keys(selector).length === 0 ? {} : { selector }),
    ports,
    ...(endpoints === undefined ? {} : { endpoints }),
    ...(source === undefined ? {} : { source }),
  };
}

/** The Service an EndpointSlice belongs to, and its endpoints that are ready or do not say. */
export function endpointsOf(
  slice: KubeObject,
  namespace: string,
): { service: string; endpoints: ServiceEndpoint[] } | undefined {
  const service = textOf(at(slice.metadata, 'labels', 'kubernetes.io/service-name'));
  if (service === undefined) return undefined;
  const endpoints: ServiceEndpoint[] = [];
  for (const endpoint of listOf(at(slice, 'endpoints'))) {
    if (at(endpoint, 'conditions', 'ready') === false) continue;
    const pod =
      at(endpoint, 'targetRef', 'kind') === 'Pod'
        ? textOf(at(endpoint, 'targetRef', 'name'))
        : undefined;
    const podNamespace = textOf(at(endpoint, 'targetRef', 'namespace')) ?? namespace;
    for (const text of textsOf(at(endpoint, 'addresses'))) {
      const address: Address | undefined = parseAddress(text);
      if (address === undefined) continue;
      endpoints.push({ address, ...(pod === undefined ? {} : { pod: `${podNamespace}/${pod}` }) });
    }
  }
  return { service, endpoints };
}

/** Ingress, HTTPRoute or GRPCRoute: which Services it leads to. */
export function routeOf(
  object: KubeObject,
  namespace: string,
  name: string,
  source: SourceRange | undefined,
): RouteInfo {
  const backends: RouteInfo['backends'][number][] = [];
  const add = (service: unknown, port: unknown, other?: unknown): void => {
    const serviceName = textOf(service);
    if (serviceName === undefined) return;
    const number = numberOf(port) ?? textOf(port);
    backends.push({
      namespace: textOf(other) ?? namespace,
      service: serviceName,
      ...(number === undefined ? {} : { port: number }),
    });
  };
  const rules = listOf(at(object.spec, 'rules'));
  const hosts: string[] = [];
  if (object.kind === 'Ingress') {
    const addIngress = (backend: unknown): void =>
      add(
        at(backend, 'service', 'name'),
        at(backend, 'service', 'port', 'number') ?? at(backend, 'service', 'port', 'name'),
      );
    addIngress(at(object.spec, 'defaultBackend'));
    for (const rule of rules) {
      const host = textOf(at(rule, 'host'));
      if (host !== undefined) hosts.push(host);
      for (const path of listOf(at(rule, 'http', 'paths'))) addIngress(at(path, 'backend'));
    }
  } else {
    hosts.push(...textsOf(at(object.spec, 'hostnames')));
    for (const rule of rules)
      for (const backend of listOf(at(rule, 'backendRefs')))
        if ((textOf(at(backend, 'kind')) ?? 'Service') === 'Service')
          add(at(backend, 'name'), at(backend, 'port'), at(backend, 'namespace'));
  }
  return {
    kind: object.kind,
    namespace,
    name,
    hosts,
    backends,
    ...(source === undefined ? {} : { source }),
  };
}
