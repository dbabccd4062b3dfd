/**
 * Pods: defaults, checks and columns, also for the pod templates of workloads.
 */
import {
  type ApiObject,
  type JsonObject,
  at,
  deepEqual,
  ensureObject,
  isObject,
  listAt,
  numberAt,
  stringAt,
  clone,
} from '../object.ts';
import {
  ageColumn,
  ageOf,
  humanDuration,
  nameColumn,
  resource,
  type ResourceType,
} from '../resource.ts';
import type { StatusCause } from '../status.ts';
import { podSummary } from './pod-summary.ts';
import {
  duplicate,
  forbiddenField,
  invalidValue,
  labelFault,
  labelsFaults,
  notSupported,
  required,
} from './faults.ts';

const protocols = ['SCTP', 'TCP', 'UDP'];

/** Fills a pod spec as the API server does, apart from what admission adds to pods alone. */
function defaultPodSpec(spec: JsonObject): void {
  spec['restartPolicy'] ??= 'Always';
  spec['dnsPolicy'] ??= 'ClusterFirst';
  spec['schedulerName'] ??= 'default-scheduler';
  spec['terminationGracePeriodSeconds'] ??= 30;
  spec['securityContext'] ??= {};
  if (spec['serviceAccountName'] !== undefined)
    spec['serviceAccount'] ??= spec['serviceAccountName'];
  for (const list of ['initContainers', 'containers', 'ephemeralContainers'])
    for (const container of listAt(spec, list)) defaultContainer(container, spec);
  for (const volume of listAt(spec, 'volumes')) {
    for (const source of ['configMap', 'secret', 'projected', 'downwardAPI'])
      if (isObject(volume[source])) volume[source]['defaultMode'] ??= 420;
    if (isObject(volume['hostPath'])) volume['hostPath']['type'] ??= '';
    if (Object.keys(volume).length === 1) volume['emptyDir'] = {};
  }
}

function defaultContainer(container: JsonObject, spec: JsonObject): void {
  container['resources'] ??= {};
  container['terminationMessagePath'] ??= '/dev/termination-log';
  container['terminationMessagePolicy'] ??= 'File';
  const image = stringAt(container, 'image');
  const tag = image.slice(image.lastIndexOf('/') + 1).split(':')[1];
  container['imagePullPolicy'] ??=
    !image.includes('@') && (tag === undefined || tag === 'latest') ? 'Always' : 'IfNotPresent';
  for (const port of listAt(container, 'ports')) {
    port['protocol'] ??= 'TCP';
    if (spec['hostNetwork'] === true) port['hostPort'] ??= port['containerPort'];
  }
  for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe']) {
    const probe = container[name];
    if (!isObject(probe)) continue;
    probe['timeoutSeconds'] ??= 1;
    probe['periodSeconds'] ??= 10;
    probe['successThreshold'] ??= 1;
    probe['failureThreshold'] ??= 3;
    if (isObject(probe['httpGet'])) {
      probe['httpGet']['path'] ??= '/';
      probe['httpGet']['scheme'] ??= 'HTTP';
    }
  }
  for (const variable of listAt(container, 'env')) {
    const field = at(variable, 'valueFrom', 'fieldRef');
    if (isObject(field)) field['apiVersion'] ??= 'v1';
  }
}

/** Faults of a pod spec below `path`. */
export function podSpecFaults(spec: JsonObject, path: string): StatusCause[] {
  const faults: StatusCause[] = [];
  const containers = listAt(spec, 'containers');
  if (containers.length === 0) faults.push(required(`${path}.containers`));
  const names = new Set<string>();
  for (const list of ['initContainers', 'containers', 'ephemeralContainers'])
    listAt(spec, list).forEach((container, index) => {
      faults.push(...containerFaults(container, `${path}.${list}[${index}]`, names));
    });
  const policy = stringAt(spec, 'restartPolicy');
  if (policy !== '' && !['Always', 'Never', 'OnFailure'].includes(policy))
    faults.push(notSupported(`${path}.restartPolicy`, policy, ['Always', 'Never', 'OnFailure']));
  const grace = numberAt(spec, 'terminationGracePeriodSeconds');
  if (grace !== undefined && grace < 0)
    faults.push(
      invalidValue(
        `${path}.terminationGracePeriodSeconds`,
        grace,
        'must be greater than or equal to 0',
      ),
    );
  return faults;
}

function containerFaults(container: JsonObject, path: string, names: Set<string>): StatusCause[] {
  const faults: StatusCause[] = [];
  const name = stringAt(container, 'name');
  if (name === '') faults.push(required(`${path}.name`));
  else if (names.has(name)) faults.push(duplicate(`${path}.name`, name));
  else {
    const fault = labelFault(name);
    if (fault) faults.push(invalidValue(`${path}.name`, name, fault));
    names.add(name);
  }
  if (stringAt(container, 'image') === '') faults.push(required(`${path}.image`));
  listAt(container, 'ports').forEach((port, index) => {
    const at = `${path}.ports[${index}]`;
    const number = numberAt(port, 'containerPort') ?? 0;
    if (number === 0) faults.push(required(`${at}.containerPort`));
    else if (number < 1 || number > 65535)
      faults.push(
        invalidValue(`${at}.containerPort`, number, 'must be between 1 and 65535, inclusive'),
      );
    const protocol = stringAt(port, 'protocol');
    if (!protocols.includes(protocol))
      faults.push(notSupported(`${at}.protocol`, protocol, protocols));
    const portName = stringAt(port, 'name');
    if (
      portName !== '' &&
      (portName.length > 15 || !/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(portName))
    )
      faults.push(
        invalidValue(
          `${at}.name`,
          portName,
          portName.length > 15
            ? 'must be no more than 15 characters'
            : 'must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)',
        ),
      );
  });
  return faults;
}

/** Defaults and faults of `spec.template` of a workload. */
export function defaultTemplate(workload: ApiObject): void {
  const template = at(workload, 'spec', 'template');
  if (!isObject(template)) return;
  const metadata = ensureObject(template, 'metadata');
  metadata['creationTimestamp'] ??= null;
  defaultPodSpec(ensureObject(template, 'spec'));
}

export function templateFaults(workload: ApiObject): StatusCause[] {
  const template = at(workload, 'spec', 'template');
  if (!isObject(template)) return [required('spec.template')];
  return [
    ...labelsFaults(at(template, 'metadata', 'labels'), 'spec.template.metadata.labels'),
    ...podSpecFaults(ensureObject(template, 'spec'), 'spec.template.spec'),
  ];
}

const mutableMessage =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';

function withoutMutable(spec: unknown): unknown {
  const copy = withoutEmpty(clone(spec));
  if (!isObject(copy)) return copy;
  for (const field of ['activeDeadlineSeconds', 'tolerations', 'ephemeralContainers'])
    delete copy[field];
  for (const list of ['containers', 'initContainers'])
    for (const container of listAt(copy, list)) {
      delete container['image'];
      delete container['imagePullPolicy'];
    }
  // Set by the scheduler through the binding, never by the pod's author.
  delete copy['nodeName'];
  return copy;
}

/** Typed clients cannot tell empty from absent; neither may count as a change. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (!isObject(value)) return value;
  const rest: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    const inner = withoutEmpty(item);
    const empty =
      inner === null ||
      inner === '' ||
      inner === 0 ||
      inner === false ||
      (typeof inner === 'object' && Object.keys(inner).length === 0);
    if (!empty) rest[key] = inner;
  }
  return rest;
}

const proxied = ['create', 'get'];
const podSub = (
  name: string,
  kind: string,
  verbs: readonly string[],
  group = '',
  version = 'v1',
) => ({
  name,
  group,
  version,
  kind,
  verbs,
});

const pod: ResourceType = resource({
  group: '',
  version: 'v1',
  plural: 'pods',
  kind: 'Pod',
  schema: 'core.v1.Pod',
  shortNames: ['po'],
  categories: ['all'],
  hasStatus: true,
  subresources: [
    podSub('attach', 'PodAttachOptions', proxied),
    podSub('binding', 'Binding', ['create']),
    podSub('ephemeralcontainers', 'Pod', ['get', 'patch', 'update']),
    podSub('eviction', 'Eviction', ['create'], 'policy'),
    podSub('exec', 'PodExecOptions', proxied),
    podSub('log', 'Pod', ['get']),
    podSub('portforward', 'PodPortForwardOptions', proxied),
  ],
  columns: [
    nameColumn,
    { name: 'Ready', type: 'string' },
    { name: 'Status', type: 'string' },
    { name: 'Restarts', type: 'string' },
    ageColumn,
    { name: 'IP', type: 'string', priority: 1 },
    { name: 'Node', type: 'string', priority: 1 },
    { name: 'Nominated Node', type: 'string', priority: 1 },
    { name: 'Readiness Gates', type: 'string', priority: 1 },
  ],
  row(object, now) {
    const { ready, total, restarts, reason, lastRestart } = podSummary(object);
    const ago = lastRestart === undefined ? '' : ` (${humanDuration(now - lastRestart)} ago)`;
    return [
      object.metadata.name,
      `${ready}/${total}`,
      reason,
      `${restarts}${ago}`,
      ageOf(object, now),
      stringAt(object, 'status', 'podIP') || '<none>',
      stringAt(object, 'spec', 'nodeName') || '<none>',
      '<none>',
      '<none>',
    ];
  },
  applyDefaults(object) {
    const spec = ensureObject(object, 'spec');
    defaultPodSpec(spec);
    spec['enableServiceLinks'] ??= true;
  },
  prepare(object, old) {
    const spec = ensureObject(object, 'spec');
    if (old) return;
    spec['serviceAccountName'] ??= 'default';
    spec['serviceAccount'] = spec['serviceAccountName'];
    spec['preemptionPolicy'] ??= 'PreemptLowerPriority';
    spec['priority'] ??= 0;
    const tolerations = Array.isArray(spec['tolerations'])
      ? (spec['tolerations'] as unknown[])
      : [];
    for (const key of ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'])
      if (!listAt(spec, 'tolerations').some((t) => t['key'] === key))
        tolerations.push({ effect: 'NoExecute', key, operator: 'Exists', tolerationSeconds: 300 });
    spec['tolerations'] = tolerations;
    object['status'] = { phase: 'Pending', qosClass: qosClass(spec) };
  },
  validate(object, old) {
    const spec = ensureObject(object, 'spec');
    const faults = podSpecFaults(spec, 'spec');
    if (old && !deepEqual(withoutMutable(spec), withoutMutable(old['spec'])))
      faults.push(forbiddenField('spec', mutableMessage));
    return faults;
  },
  selectable: (object) => ({
    'spec.nodeName': stringAt(object, 'spec', 'nodeName'),
    'spec.restartPolicy': stringAt(object, 'spec', 'restartPolicy'),
    'spec.schedulerName': stringAt(object, 'spec', 'schedulerName'),
    'spec.serviceAccountName': stringAt(object, 'spec', 'serviceAccountName'),
    'spec.hostNetwork': String(at(object, 'spec', 'hostNetwork') === true),
    'status.phase': stringAt(object, 'status', 'phase'),
    'status.podIP': stringAt(object, 'status', 'podIP'),
    'status.nominatedNodeName': stringAt(object, 'status', 'nominatedNodeName'),
  }),
  grace(object, requested) {
    // A pod without a node, or one that has ended, has nothing to wind down.
    const phase = stringAt(object, 'status', 'phase');
    if (stringAt(object, 'spec', 'nodeName') === '' || phase === 'Succeeded' || phase === 'Failed')
      return 0;
    return requested ?? numberAt(object, 'spec', 'terminationGracePeriodSeconds') ?? 30;
  },
});

function qosClass(spec: JsonObject): string {
  const asked = [...listAt(spec, 'containers'), ...listAt(spec, 'initContainers')].map((c) => [
    at(c, 'resources', 'requests'),
    at(c, 'resources', 'limits'),
  ]);
  if (asked.every(([requests, limits]) => requests === undefined && limits === undefined))
    return 'BestEffort';
  return asked.every(
    ([requests, limits]) =>
      isObject(limits) &&
      limits['cpu'] !== undefined &&
      limits['memory'] !== undefined &&
      (requests === undefined || deepEqual(requests, limits)),
  )
    ? 'Guaranteed'
    : 'Burstable';
}

export const podKinds: readonly ResourceType[] = [pod];
