/**
 * Requests that end a pod or any object, give a pod its node, or name a container.
 */
import { type ApiObject, type JsonObject, listAt, numberAt, objectAt, stringAt } from './object.ts';
import { decodeAny } from './request.ts';
import type { Body, Context, Reply } from './resource-requests.ts';
import { ApiError, badRequest, conflict, invalid } from './status.ts';
import type { DeleteOptions } from './write.ts';

/** Options of a delete, from the body or the query. Error: 400. */
export function deleteOptions(
  query: URLSearchParams,
  body: Body,
): DeleteOptions & { dryRun: boolean } {
  const given: JsonObject =
    body.bytes.length === 0
      ? {}
      : decodeAny(body.bytes, body.media, { apiVersion: 'v1', kind: 'DeleteOptions' });
  const grace = query.get('gracePeriodSeconds');
  const seconds = grace === null ? numberAt(given, 'gracePeriodSeconds') : Number(grace);
  if (seconds !== undefined && (!Number.isInteger(seconds) || seconds < 0))
    throw badRequest(`invalid grace period ${String(seconds)}`);
  const policy =
    query.get('propagationPolicy') ??
    (stringAt(given, 'propagationPolicy') ||
      (given['orphanDependents'] === true ? 'Orphan' : undefined));
  if (policy !== undefined && !['Background', 'Foreground', 'Orphan'].includes(policy))
    throw invalid({ group: 'meta.k8s.io', kind: 'DeleteOptions' }, '', [
      {
        reason: 'FieldValueNotSupported',
        message: `Unsupported value: ${JSON.stringify(policy)}: supported values: "Foreground", "Background", "Orphan", "nil"`,
        field: 'propagationPolicy',
      },
    ]);
  const preconditions = objectAt(given, 'preconditions');
  const uid = stringAt(preconditions, 'uid');
  const version = stringAt(preconditions, 'resourceVersion');
  const dry = [
    ...query.getAll('dryRun'),
    ...(Array.isArray(given['dryRun']) ? given['dryRun'] : []),
  ];
  return {
    dryRun: dry.length > 0,
    ...(seconds === undefined ? {} : { gracePeriodSeconds: seconds }),
    ...(policy === undefined ? {} : { propagationPolicy: policy }),
    preconditions: {
      ...(uid === '' ? {} : { uid }),
      ...(version === '' ? {} : { resourceVersion: version }),
    },
  };
}

export function deleteObject(context: Context, body: Body): Reply {
  const { target, writer, query } = context;
  const { type } = target;
  const result = writer.remove(
    type,
    target.namespace,
    target.name ?? '',
    deleteOptions(query, body),
  );
  if (!result.gone || type.kind === 'Pod')
    return { code: 200, object: result.object, warnings: [] };
  return {
    code: 200,
    warnings: [],
    document: {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Success',
      details: {
        name: result.object.metadata.name,
        ...(type.group === '' ? {} : { group: type.group }),
        kind: type.plural,
        uid: result.object.metadata.uid,
      },
    },
  };
}

/** `POST pods/x/eviction`: a delete with the options inside. */
export function evictPod(context: Context, body: Body): Reply {
  const eviction = decodeAny(body.bytes, body.media, { apiVersion: 'policy/v1', kind: 'Eviction' });
  const seconds = numberAt(eviction, 'deleteOptions', 'gracePeriodSeconds');
  const dry =
    context.query.has('dryRun') || Array.isArray(objectAt(eviction, 'deleteOptions')['dryRun']);
  context.writer.remove(context.target.type, context.target.namespace, context.target.name ?? '', {
    dryRun: dry,
    ...(seconds === undefined ? {} : { gracePeriodSeconds: seconds }),
  });
  return {
    code: 201,
    warnings: [],
    document: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 },
  };
}

/** `POST pods/x/binding`: gives a pod its node. */
export function bindPod(context: Context, body: Body): Reply {
  const binding = decodeAny(body.bytes, body.media, { apiVersion: 'v1', kind: 'Binding' });
  const node = stringAt(binding, 'target', 'name');
  const { target, writer } = context;
  writer.update(target.type, target.namespace, target.name ?? '', (old) => {
    const before = stringAt(old, 'spec', 'nodeName');
    if (before !== '')
      throw conflict(
        target.type,
        old.metadata.name,
        `pod ${old.metadata.name} is already assigned to node "${before}"`,
      );
    return { ...old, spec: { ...objectAt(old, 'spec'), nodeName: node } };
  });
  return {
    code: 201,
    warnings: [],
    document: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 },
  };
}

/** The container a request means. Error: 400 when the pod has several and none is named. */
export function containerOf(pod: ApiObject, named: string | null): string {
  const names = ['containers', 'initContainers', 'ephemeralContainers'].flatMap((list) =>
    listAt(pod, 'spec', list).map((container) => stringAt(container, 'name')),
  );
  if (named !== null && named !== '') {
    if (names.includes(named)) return named;
    throw badRequest(`container ${named} is not valid for pod ${pod.metadata.name}`);
  }
  const main = listAt(pod, 'spec', 'containers').map((c) => stringAt(c, 'name'));
  const preferred = pod.metadata.annotations?.['kubectl.kubernetes.io/default-container'];
  if (preferred !== undefined && main.includes(preferred)) return preferred;
  if (main.length > 1)
    throw new ApiError(
      400,
      'BadRequest',
      `a container name must be specified for pod ${pod.metadata.name}, choose one of: [${main.join(' ')}]`,
    );
  return main[0] ?? '';
}

/** The status of a container of any kind; undefined when there is none yet. */
export function containerStatusOf(pod: ApiObject, container: string): JsonObject | undefined {
  return ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses']
    .flatMap((list) => listAt(pod, 'status', list))
    .find((status) => status['name'] === container);
}
