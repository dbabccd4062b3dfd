/**
 * The plain kinds of core/v1: namespaces, nodes, config maps, secrets, service accounts; and leases.
 */
import { listAt, objectAt, stringAt, ensureObject, at, numberAt } from '../object.ts';
import { ageColumn, ageOf, nameColumn, resource, type ResourceType } from '../resource.ts';
import { immutable, invalidValue, labelFault } from './faults.ts';

const namespace: ResourceType = resource({
  group: '',
  version: 'v1',
  plural: 'namespaces',
  kind: 'Namespace',
  schema: 'core.v1.Namespace',
  shortNames: ['ns'],
  namespaced: false,
  hasStatus: true,
  verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
  columns: [nameColumn, { name: 'Status', type: 'string' }, ageColumn],
  row: (object, now) => [
    object.metadata.name,
    stringAt(object, 'status', 'phase'),
    ageOf(object, now),
  ],
  prepare(object, old) {
    const meta = object.metadata;
    // The server puts this label back whatever a client sends; policies rely on it.
    meta.labels = { ...meta.labels, 'kubernetes.io/metadata.name': meta.name };
    if (!old) {
      object['spec'] = { finalizers: ['kubernetes'] };
      object['status'] = { phase: 'Active' };
    } else object['spec'] = old['spec'] ?? {};
  },
  validate: (object) => {
    const fault = labelFault(object.metadata.name);
    return fault ? [invalidValue('metadata.name', object.metadata.name, fault)] : [];
  },
  selectable: (object) => ({ 'status.phase': stringAt(object, 'status', 'phase') }),
});

const node: ResourceType = resource({
  group: '',
  version: 'v1',
  plural: 'nodes',
  kind: 'Node',
  schema: 'core.v1.Node',
  shortNames: ['no'],
  namespaced: false,
  hasStatus: true,
  columns: [
    nameColumn,
    { name: 'Status', type: 'string' },
    { name: 'Roles', type: 'string' },
    ageColumn,
    { name: 'Version', type: 'string' },
    { name: 'Internal-IP', type: 'string', priority: 1 },
    { name: 'External-IP', type: 'string', priority: 1 },
    { name: 'OS-Image', type: 'string', priority: 1 },
    { name: 'Kernel-Version', type: 'string', priority: 1 },
    { name: 'Container-Runtime', type: 'string', priority: 1 },
  ],
  row(object, now) {
    const ready = listAt(object, 'status', 'conditions').find((c) => c['type'] === 'Ready');
    const state = ready?.['status'] === 'True' ? 'Ready' : ready ? 'NotReady' : 'Unknown';
    const cordoned = at(object, 'spec', 'unschedulable') === true ? ',SchedulingDisabled' : '';
    const roles = Object.keys(object.metadata.labels ?? {})
      .filter((key) => key.startsWith('node-role.kubernetes.io/'))
      .map((key) => key.slice('node-role.kubernetes.io/'.length));
    const address = (type: string): string =>
      stringAt(
        listAt(object, 'status', 'addresses').find((a) => a['type'] === type),
        'address',
      ) || '<none>';
    const info = objectAt(object, 'status', 'nodeInfo');
    return [
      object.metadata.name,
      state + cordoned,
      roles.length === 0 ? '<none>' : roles.sort().join(','),
      ageOf(object, now),
      stringAt(info, 'kubeletVersion'),
      address('InternalIP'),
      address('ExternalIP'),
      stringAt(info, 'osImage') || '<unknown>',
      stringAt(info, 'kernelVersion') || '<unknown>',
      stringAt(info, 'containerRuntimeVersion') || '<unknown>',
    ];
  },
  selectable: (object) => ({
    'spec.unschedulable': String(at(object, 'spec', 'unschedulable') === true),
  }),
});

const configMap: ResourceType = resource({
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  schema: 'core.v1.ConfigMap',
  shortNames: ['cm'],
  columns: [nameColumn, { name: 'Data', type: 'string' }, ageColumn],
  row: (object, now) => [
    object.metadata.name,
    Object.keys(objectAt(object, 'data')).length +
      Object.keys(objectAt(object, 'binaryData')).length,
    ageOf(object, now),
  ],
  validate(object, old) {
    const faults = Object.keys(objectAt(object, 'data')).flatMap((key) =>
      /^[-._a-zA-Z0-9]+$/.test(key)
        ? []
        : [
            invalidValue(
              `data[${key}]`,
              key,
              "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            ),
          ],
    );
    return old?.['immutable'] === true
      ? [...faults, ...immutable('data', object['data'], old['data'])]
      : faults;
  },
});

const secret: ResourceType = resource({
  group: '',
  version: 'v1',
  plural: 'secrets',
  kind: 'Secret',
  schema: 'core.v1.Secret',
  columns: [
    nameColumn,
    { name: 'Type', type: 'string' },
    { name: 'Data', type: 'string' },
    ageColumn,
  ],
  row: (object, now) => [
    object.metadata.name,
    stringAt(object, 'type'),
    Object.keys(objectAt(object, 'data')).length,
    ageOf(object, now),
  ],
  applyDefaults(object) {
    object['type'] ??= 'Opaque';
    if (object['stringData'] === undefined) return;
    const data = ensureObject(object, 'data');
    for (const [key, value] of Object.entries(objectAt(object, 'stringData')))
      data[key] = Buffer.from(String(value)).toString('base64');
    delete object['stringData'];
  },
  validate: (object, old) => (old ? immutable('type', object['type'], old['type']) : []),
  selectable: (object) => ({ type: stringAt(object, 'type') }),
});

const serviceAccount: ResourceType = resource({
  group: '',
  version: 'v1',
  plural: 'serviceaccounts',
  kind: 'ServiceAccount',
  schema: 'core.v1.ServiceAccount',
  shortNames: ['sa'],
  columns: [nameColumn, { name: 'Secrets', type: 'string' }, ageColumn],
  row: (object, now) => [
    object.metadata.name,
    listAt(object, 'secrets').length,
    ageOf(object, now),
  ],
});

const lease: ResourceType = resource({
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  schema: 'coordination.v1.Lease',
  columns: [nameColumn, { name: 'Holder', type: 'string' }, ageColumn],
  row: (object, now) => [
    object.metadata.name,
    stringAt(object, 'spec', 'holderIdentity'),
    ageOf(object, now),
  ],
  validate(object) {
    const seconds = numberAt(object, 'spec', 'leaseDurationSeconds');
    return seconds !== undefined && seconds <= 0
      ? [invalidValue('spec.leaseDurationSeconds', seconds, 'must be greater than 0')]
      : [];
  },
});

export const coreKinds: readonly ResourceType[] = [
  namespace,
  node,
  configMap,
  secret,
  serviceAccount,
  lease,
];
