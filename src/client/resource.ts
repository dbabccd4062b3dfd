/**
 * The resources podwall reads: their places in the API and which verbs need them. Must not know
 * how they are fetched.
 */

export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** True for resources that a cluster may not have at all (CRDs); their absence is no fault. */
  readonly optional: boolean;
}

function resource(
  apiVersion: string,
  kind: string,
  plural: string,
  namespaced = true,
  optional = false,
): Resource {
  return { apiVersion, kind, plural, namespaced, optional };
}

/** What decides policy: the agent watches these. */
export const policyResources: readonly Resource[] = [
  resource('v1', 'Namespace', 'namespaces', false),
  resource('v1', 'Node', 'nodes', false),
  resource('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies'),
  resource(
    'policy.networking.k8s.io/v1alpha2',
    'ClusterNetworkPolicy',
    'clusternetworkpolicies',
    false,
    true,
  ),
  resource(
    'policy.networking.k8s.io/v1alpha1',
    'AdminNetworkPolicy',
    'adminnetworkpolicies',
    false,
    true,
  ),
  resource(
    'policy.networking.k8s.io/v1alpha1',
    'BaselineAdminNetworkPolicy',
    'baselineadminnetworkpolicies',
    false,
    true,
  ),
  resource('v1', 'Pod', 'pods'),
];

/** Everything the analyzer understands. */
export const allResources: readonly Resource[] = [
  ...policyResources,
  resource('v1', 'Service', 'services'),
  resource('discovery.k8s.io/v1', 'EndpointSlice', 'endpointslices'),
  resource('apps/v1', 'Deployment', 'deployments'),
  resource('apps/v1', 'ReplicaSet', 'replicasets'),
  resource('apps/v1', 'StatefulSet', 'statefulsets'),
  resource('apps/v1', 'DaemonSet', 'daemonsets'),
  resource('v1', 'ReplicationController', 'replicationcontrollers'),
  resource('batch/v1', 'Job', 'jobs'),
  resource('batch/v1', 'CronJob', 'cronjobs'),
  resource('networking.k8s.io/v1', 'Ingress', 'ingresses'),
  resource('gateway.networking.k8s.io/v1', 'HTTPRoute', 'httproutes', true, true),
  resource('gateway.networking.k8s.io/v1', 'GRPCRoute', 'grpcroutes', true, true),
];

/** The path of a group-version: `/api/v1` or `/apis/apps/v1`. */
export function groupVersionPath(apiVersion: string): string {
  return apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
}

/** The path of a collection, of one namespace when it is given and the resource has namespaces. */
export function collectionPath(item: Resource, namespace?: string): string {
  const inside =
    item.namespaced && namespace !== undefined
      ? `/namespaces/${encodeURIComponent(namespace)}`
      : '';
  return `${groupVersionPath(item.apiVersion)}${inside}/${item.plural}`;
}

/** `networkpolicies.networking.k8s.io`, as kubectl names a resource in messages. */
export function resourceName(item: Resource): string {
  const [group] = item.apiVersion.includes('/') ? item.apiVersion.split('/') : [];
  return group === undefined ? item.plural : `${item.plural}.${group}`;
}
