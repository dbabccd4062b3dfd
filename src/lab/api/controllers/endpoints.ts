/**
 * Keeps the endpoint slices (and the older Endpoints) of every service with a selector.
 */
import {
  type ApiObject,
  at,
  isObject,
  type JsonObject,
  listAt,
  stringAt,
  stringMapAt,
} from '../object.ts';
import { kindOf } from '../registry.ts';
import { keyOf } from '../resource.ts';
import { matchesLabels } from '../selectors.ts';
import type { Writer } from '../write.ts';
import { type Controller, itself, splitKey, startController } from './controller.ts';
import { isReady, ownerReference, podType } from './pods.ts';

const serviceType = kindOf('v1', 'Service');
const sliceType = kindOf('discovery.k8s.io/v1', 'EndpointSlice');
const endpointsType = kindOf('v1', 'Endpoints');

export function startEndpointsController(writer: Writer): Controller {
  const { store } = writer;

  /** Services whose selector finds the pod, before or after the change. */
  const servicesOf = (event: { object: ApiObject; previous?: ApiObject }): string[] => {
    const { namespace = '' } = event.object.metadata;
    return store.list(serviceType.bucket, `${namespace}/`).objects.flatMap((service) => {
      const selector = stringMapAt(service, 'spec', 'selector');
      const hits = [event.object, event.previous].some(
        (pod) => pod !== undefined && selects(selector, pod),
      );
      return hits ? [keyOf(serviceType, namespace, service.metadata.name)] : [];
    });
  };

  const put = (type: typeof sliceType, namespace: string, object: ApiObject): void => {
    const key = keyOf(type, namespace, object.metadata.name);
    if (!store.get(type.bucket, key)) {
      writer.create(type, namespace, object);
      return;
    }
    writer.update(type, namespace, object.metadata.name, (old) => ({
      ...object,
      metadata: { ...old.metadata, labels: object.metadata.labels ?? {} },
    }));
  };

  const drop = (type: typeof sliceType, namespace: string, name: string): void => {
    if (store.get(type.bucket, keyOf(type, namespace, name))) writer.erase(type, namespace, name);
  };

  return startController({
    store,
    watches: { [serviceType.bucket]: itself, [podType.bucket]: servicesOf },
    reconcile(key) {
      const { namespace, name } = splitKey(key);
      const service = store.get(serviceType.bucket, key);
      const selector = at(service, 'spec', 'selector');
      const families = ['IPv4', 'IPv6'] as const;
      if (!service || service.metadata.deletionTimestamp !== undefined || !isObject(selector)) {
        for (const family of families) drop(sliceType, namespace, sliceName(name, family));
        if (!service) drop(endpointsType, namespace, name);
        return;
      }
      const pods = store
        .list(podType.bucket, `${namespace}/`)
        .objects.filter(
          (pod) => selects(stringMapAt(service, 'spec', 'selector'), pod) && isUp(pod),
        );
      const wanted = at(service, 'spec', 'ipFamilies');
      for (const family of families) {
        if (Array.isArray(wanted) && wanted.includes(family))
          put(sliceType, namespace, sliceOf(service, pods, family));
        else drop(sliceType, namespace, sliceName(name, family));
      }
      put(endpointsType, namespace, endpointsOf(service, pods));
    },
  });
}

const selects = (selector: Record<string, string>, pod: ApiObject): boolean =>
  Object.keys(selector).length > 0 &&
  matchesLabels(
    Object.entries(selector).map(([key, value]) => ({ key, operator: 'In', values: [value] })),
    pod.metadata.labels,
  );

/** Has an address and has not ended. */
const isUp = (pod: ApiObject): boolean =>
  stringAt(pod, 'status', 'podIP') !== '' &&
  !['Succeeded', 'Failed'].includes(stringAt(pod, 'status', 'phase'));

const sliceName = (service: string, family: string): string =>
  `${service}-${family === 'IPv4' ? 'v4' : 'v6'}`;

const addressOf = (pod: ApiObject, family: string): string | undefined =>
  listAt(pod, 'status', 'podIPs')
    .map((entry) => stringAt(entry, 'ip'))
    .find((ip) => ip.includes(':') === (family === 'IPv6'));

/** A service port as pods have it; a name is looked up in the first pod that knows it. */
function resolvedPorts(service: ApiObject, pods: readonly ApiObject[]): JsonObject[] {
  return listAt(service, 'spec', 'ports').flatMap((port) => {
    const target = port['targetPort'];
    const named = (pod: ApiObject): unknown =>
      listAt(pod, 'spec', 'containers')
        .flatMap((container) => listAt(container, 'ports'))
        .find((p) => p['name'] === target && p['protocol'] === port['protocol'])?.['containerPort'];
    const number =
      typeof target === 'string' ? pods.map(named).find((n) => n !== undefined) : target;
    if (number === undefined && pods.length > 0) return [];
    return [
      {
        name: stringAt(port, 'name'),
        port: number ?? port['port'],
        protocol: port['protocol'],
        ...(port['appProtocol'] === undefined ? {} : { appProtocol: port['appProtocol'] }),
      },
    ];
  });
}

const targetOf = (pod: ApiObject): JsonObject => ({
  kind: 'Pod',
  namespace: pod.metadata.namespace,
  name: pod.metadata.name,
  uid: pod.metadata.uid,
});

const publishesAll = (service: ApiObject): boolean =>
  at(service, 'spec', 'publishNotReadyAddresses') === true;

function sliceOf(service: ApiObject, pods: readonly ApiObject[], family: string): ApiObject {
  const headless = stringAt(service, 'spec', 'clusterIP') === 'None';
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: sliceName(service.metadata.name, family),
      labels: {
        ...service.metadata.labels,
        'kubernetes.io/service-name': service.metadata.name,
        'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        ...(headless ? { 'service.kubernetes.io/headless': '' } : {}),
      },
      ownerReferences: [ownerReference(service)],
    },
    addressType: family,
    endpoints: pods.flatMap((pod) => {
      const address = addressOf(pod, family);
      if (address === undefined) return [];
      const terminating = pod.metadata.deletionTimestamp !== undefined;
      const serving = isReady(pod);
      return [
        {
          addresses: [address],
          conditions: {
            ready: publishesAll(service) || (serving && !terminating),
            serving,
            terminating,
          },
          nodeName: stringAt(pod, 'spec', 'nodeName'),
          ...(stringAt(pod, 'spec', 'hostname') !== '' && headless
            ? { hostname: stringAt(pod, 'spec', 'hostname') }
            : {}),
          targetRef: targetOf(pod),
        },
      ];
    }),
    ports: resolvedPorts(service, pods),
  };
}

function endpointsOf(service: ApiObject, pods: readonly ApiObject[]): ApiObject {
  const address = (pod: ApiObject): JsonObject => ({
    ip: stringAt(pod, 'status', 'podIP'),
    nodeName: stringAt(pod, 'spec', 'nodeName'),
    targetRef: targetOf(pod),
  });
  const alive = pods.filter((pod) => pod.metadata.deletionTimestamp === undefined);
  const ready = alive.filter((pod) => publishesAll(service) || isReady(pod)).map(address);
  const other = alive.filter((pod) => !publishesAll(service) && !isReady(pod)).map(address);
  const subset = {
    ...(ready.length > 0 ? { addresses: ready } : {}),
    ...(other.length > 0 ? { notReadyAddresses: other } : {}),
    ports: resolvedPorts(service, pods),
  };
  return {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: {
      name: service.metadata.name,
      ...(service.metadata.labels ? { labels: service.metadata.labels } : {}),
    },
    ...(alive.length > 0 ? { subsets: [subset] } : {}),
  };
}
