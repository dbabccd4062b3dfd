/**
 * Workloads: apps/v1 and batch/v1. Defaults, checks and columns; the controllers that make their
 * pods are elsewhere.
 */
import {
  type ApiObject,
  type JsonObject,
  at,
  ensureObject,
  isObject,
  listAt,
  numberAt,
  stringAt,
  stringMapAt,
} from '../object.ts';
import {
  ageColumn,
  ageOf,
  type Column,
  formatLabelSelector,
  formatLabels,
  humanDuration,
  nameColumn,
  readVerbs,
  resource,
  type ResourceType,
} from '../resource.ts';
import { matchesLabels, parseSelectorObject } from '../selectors.ts';
import type { StatusCause } from '../status.ts';
import { immutable, invalidValue, required } from './faults.ts';
import { defaultTemplate, templateFaults } from './pod.ts';

const integer = (name: string): Column => ({ name, type: 'string' });
const wide = (name: string): Column => ({ name, type: 'string', priority: 1 });
const scale = {
  name: 'scale',
  group: 'autoscaling',
  version: 'v1',
  kind: 'Scale',
  verbs: ['get', 'patch', 'update'],
};

const containersOf = (object: ApiObject): JsonObject[] =>
  listAt(object, 'spec', 'template', 'spec', 'containers');
const wideCells = (object: ApiObject): string[] => [
  containersOf(object)
    .map((c) => stringAt(c, 'name'))
    .join(','),
  containersOf(object)
    .map((c) => stringAt(c, 'image'))
    .join(','),
  formatLabelSelector(at(object, 'spec', 'selector')),
];
const wideColumns = [wide('Containers'), wide('Images'), wide('Selector')];

/** Checks shared by the kinds whose selector must find the pods of their template. */
function workloadFaults(object: ApiObject, old: ApiObject | undefined): StatusCause[] {
  const faults: StatusCause[] = [];
  const replicas = numberAt(object, 'spec', 'replicas');
  if (replicas !== undefined && replicas < 0)
    faults.push(invalidValue('spec.replicas', replicas, 'must be greater than or equal to 0'));
  const selector = at(object, 'spec', 'selector');
  if (!isObject(selector)) faults.push(required('spec.selector'));
  else {
    const labels = stringMapAt(object, 'spec', 'template', 'metadata', 'labels');
    if (Object.keys(selector).length === 0)
      faults.push(
        invalidValue('spec.selector', selector, 'empty selector is invalid for deployment'),
      );
    else if (!matchesLabels(parseSelectorObject(selector), labels))
      faults.push(
        invalidValue(
          'spec.template.metadata.labels',
          labels,
          '`selector` does not match template `labels`',
        ),
      );
    if (old) faults.push(...immutable('spec.selector', selector, at(old, 'spec', 'selector')));
  }
  return [...faults, ...templateFaults(object)];
}

const workload = {
  group: 'apps',
  version: 'v1',
  categories: ['all'],
  hasStatus: true,
  hasGeneration: true,
  validate: workloadFaults,
} as const;

const deployment: ResourceType = resource({
  ...workload,
  plural: 'deployments',
  kind: 'Deployment',
  schema: 'apps.v1.Deployment',
  shortNames: ['deploy'],
  subresources: [scale],
  columns: [
    nameColumn,
    { name: 'Ready', type: 'string' },
    integer('Up-to-date'),
    integer('Available'),
    ageColumn,
    ...wideColumns,
  ],
  row: (object, now) => [
    object.metadata.name,
    `${numberAt(object, 'status', 'readyReplicas') ?? 0}/${numberAt(object, 'spec', 'replicas') ?? 0}`,
    numberAt(object, 'status', 'updatedReplicas') ?? 0,
    numberAt(object, 'status', 'availableReplicas') ?? 0,
    ageOf(object, now),
    ...wideCells(object),
  ],
  applyDefaults(object) {
    const spec = ensureObject(object, 'spec');
    spec['replicas'] ??= 1;
    const strategy = ensureObject(spec, 'strategy');
    strategy['type'] ??= 'RollingUpdate';
    if (strategy['type'] === 'RollingUpdate') {
      const rolling = ensureObject(strategy, 'rollingUpdate');
      rolling['maxUnavailable'] ??= '25%';
      rolling['maxSurge'] ??= '25%';
    }
    spec['revisionHistoryLimit'] ??= 10;
    spec['progressDeadlineSeconds'] ??= 600;
    defaultTemplate(object);
  },
});

const replicaSet: ResourceType = resource({
  ...workload,
  plural: 'replicasets',
  kind: 'ReplicaSet',
  schema: 'apps.v1.ReplicaSet',
  shortNames: ['rs'],
  subresources: [scale],
  columns: [
    nameColumn,
    integer('Desired'),
    integer('Current'),
    integer('Ready'),
    ageColumn,
    ...wideColumns,
  ],
  row: (object, now) => [
    object.metadata.name,
    numberAt(object, 'spec', 'replicas') ?? 0,
    numberAt(object, 'status', 'replicas') ?? 0,
    numberAt(object, 'status', 'readyReplicas') ?? 0,
    ageOf(object, now),
    ...wideCells(object),
  ],
  applyDefaults(object) {
    ensureObject(object, 'spec')['replicas'] ??= 1;
    defaultTemplate(object);
  },
});

const statefulSet: ResourceType = resource({
  ...workload,
  plural: 'statefulsets',
  kind: 'StatefulSet',
  schema: 'apps.v1.StatefulSet',
  shortNames: ['sts'],
  subresources: [scale],
  columns: [
    nameColumn,
    { name: 'Ready', type: 'string' },
    ageColumn,
    wide('Containers'),
    wide('Images'),
  ],
  row: (object, now) => [
    object.metadata.name,
    `${numberAt(object, 'status', 'readyReplicas') ?? 0}/${numberAt(object, 'spec', 'replicas') ?? 0}`,
    ageOf(object, now),
    ...wideCells(object).slice(0, 2),
  ],
  applyDefaults(object) {
    const spec = ensureObject(object, 'spec');
    spec['replicas'] ??= 1;
    spec['podManagementPolicy'] ??= 'OrderedReady';
    spec['revisionHistoryLimit'] ??= 10;
    const strategy = ensureObject(spec, 'updateStrategy');
    strategy['type'] ??= 'RollingUpdate';
    if (strategy['type'] === 'RollingUpdate')
      ensureObject(strategy, 'rollingUpdate')['partition'] ??= 0;
    defaultTemplate(object);
  },
});

const daemonSet: ResourceType = resource({
  ...workload,
  plural: 'daemonsets',
  kind: 'DaemonSet',
  schema: 'apps.v1.DaemonSet',
  shortNames: ['ds'],
  columns: [
    nameColumn,
    integer('Desired'),
    integer('Current'),
    integer('Ready'),
    integer('Up-to-date'),
    integer('Available'),
    { name: 'Node Selector', type: 'string' },
    ageColumn,
    ...wideColumns,
  ],
  row: (object, now) => [
    object.metadata.name,
    numberAt(object, 'status', 'desiredNumberScheduled') ?? 0,
    numberAt(object, 'status', 'currentNumberScheduled') ?? 0,
    numberAt(object, 'status', 'numberReady') ?? 0,
    numberAt(object, 'status', 'updatedNumberScheduled') ?? 0,
    numberAt(object, 'status', 'numberAvailable') ?? 0,
    formatLabels(stringMapAt(object, 'spec', 'template', 'spec', 'nodeSelector')),
    ageOf(object, now),
    ...wideCells(object),
  ],
  applyDefaults(object) {
    const spec = ensureObject(object, 'spec');
    spec['revisionHistoryLimit'] ??= 10;
    const strategy = ensureObject(spec, 'updateStrategy');
    strategy['type'] ??= 'RollingUpdate';
    if (strategy['type'] === 'RollingUpdate') {
      const rolling = ensureObject(strategy, 'rollingUpdate');
      rolling['maxUnavailable'] ??= 1;
      rolling['maxSurge'] ??= 0;
    }
    defaultTemplate(object);
  },
});

const job: ResourceType = resource({
  group: 'batch',
  version: 'v1',
  plural: 'jobs',
  kind: 'Job',
  schema: 'batch.v1.Job',
  categories: ['all'],
  hasStatus: true,
  hasGeneration: true,
  columns: [
    nameColumn,
    { name: 'Status', type: 'string' },
    { name: 'Completions', type: 'string' },
    { name: 'Duration', type: 'string' },
    ageColumn,
    ...wideColumns,
  ],
  row(object, now) {
    const started = Date.parse(stringAt(object, 'status', 'startTime'));
    const ended = Date.parse(stringAt(object, 'status', 'completionTime'));
    const conditions = listAt(object, 'status', 'conditions').filter((c) => c['status'] === 'True');
    const has = (type: string): boolean => conditions.some((c) => c['type'] === type);
    return [
      object.metadata.name,
      has('Complete') ? 'Complete' : has('Failed') ? 'Failed' : 'Running',
      `${numberAt(object, 'status', 'succeeded') ?? 0}/${numberAt(object, 'spec', 'completions') ?? 1}`,
      Number.isNaN(started) ? '' : humanDuration((Number.isNaN(ended) ? now : ended) - started),
      ageOf(object, now),
      ...wideCells(object),
    ];
  },
  applyDefaults(object) {
    const spec = ensureObject(object, 'spec');
    if (spec['completions'] === undefined && spec['parallelism'] === undefined)
      spec['completions'] = 1;
    spec['parallelism'] ??= 1;
    spec['backoffLimit'] ??= 6;
    spec['completionMode'] ??= 'NonIndexed';
    spec['suspend'] ??= false;
    spec['manualSelector'] ??= false;
    spec['podReplacementPolicy'] ??= 'TerminatingOrFailed';
    defaultTemplate(object);
  },
  prepare(object, old) {
    const spec = ensureObject(object, 'spec');
    if (old) {
      spec['selector'] ??= at(old, 'spec', 'selector');
      return;
    }
    if (spec['manualSelector'] === true) return;
    // The pods of a job are found by the job's uid, which no one else can know.
    const uid = object.metadata.uid ?? '';
    spec['selector'] = { matchLabels: { 'batch.kubernetes.io/controller-uid': uid } };
    const template = ensureObject(spec, 'template');
    const metadata = ensureObject(template, 'metadata');
    Object.assign(ensureObject(metadata, 'labels'), {
      'batch.kubernetes.io/controller-uid': uid,
      'batch.kubernetes.io/job-name': object.metadata.name,
      'controller-uid': uid,
      'job-name': object.metadata.name,
    });
  },
  validate(object, old) {
    const faults = templateFaults(object);
    const policy = stringAt(object, 'spec', 'template', 'spec', 'restartPolicy');
    if (policy === 'Always')
      faults.push({
        reason: 'FieldValueNotSupported',
        message: 'Unsupported value: "Always": supported values: "OnFailure", "Never"',
        field: 'spec.template.spec.restartPolicy',
      });
    if (old)
      faults.push(
        ...immutable('spec.template', at(object, 'spec', 'template'), at(old, 'spec', 'template')),
      );
    return faults;
  },
});

const cronJob: ResourceType = resource({
  group: 'batch',
  version: 'v1',
  plural: 'cronjobs',
  kind: 'CronJob',
  schema: 'batch.v1.CronJob',
  shortNames: ['cj'],
  categories: ['all'],
  verbs: readVerbs,
});

export const workloadKinds: readonly ResourceType[] = [
  deployment,
  replicaSet,
  statefulSet,
  daemonSet,
  job,
  cronJob,
];
