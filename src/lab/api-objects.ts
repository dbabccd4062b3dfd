/**
 * `podwall lab apply`, `delete` and `get` on the objects of the API: the same store that kubectl sees,
 * all or none of a batch, answered when the change is in force. Must not know of sockets or processes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeObject, PodSpec } from '../k8s/types.ts';
import { type ApiObject, listAt, numberAt, stringAt } from './api/object.ts';
import { apiVersionOf, findKind, resourceTypes } from './api/registry.ts';
import { patchObject } from './api/resource-requests.ts';
import { keyOf, type ResourceType } from './api/resource.ts';
import { ApiError } from './api/status.ts';
import type { Writer } from './api/write.ts';
import { LabRefusal } from './errors.ts';
import { refOf } from './store.ts';
import { withoutEffect } from './without-effect.ts';
import type { ApplyResult, Change, LabObject, ObjectRef, Refusal } from './types.ts';

export interface ApiObjects {
  apply(objects: readonly LabObject[]): Promise<ApplyResult>;
  delete(refs: readonly ObjectRef[]): Promise<ApplyResult>;
  objects(): KubeObject[];
}

/** How long an answer waits for pods; a notice names those that are not ready by then. */
const patienceMs = 60_000;
const lookEveryMs = 15;

const manager = 'podwall';

export function createApiObjects(writer: Writer, settled: () => Promise<void>): ApiObjects {
  const { store } = writer;
  const namespaceType = findKind('v1', 'Namespace') as ResourceType;

  /** Server-side apply by force: what the file says holds, what it no longer says goes. */
  const put = (type: ResourceType, object: KubeObject, dryRun: boolean): Change => {
    const { namespace, name = '' } = object.metadata;
    const before = store.get(type.bucket, keyOf(type, namespace, name));
    const { status: _status, ...config } = object;
    const query = new URLSearchParams({ fieldManager: manager, force: 'true' });
    if (dryRun) query.set('dryRun', 'All');
    const target = { type, namespace, name, subresource: undefined };
    const media = 'application/apply-patch+yaml';
    const bytes = Buffer.from(JSON.stringify(config));
    const reply = patchObject({ writer, target, query, userAgent: manager }, { bytes, media });
    warnings.push(...reply.warnings.map((text) => `${object.kind} ${name}: ${text}`));
    const after = store.get(type.bucket, keyOf(type, namespace, name));
    const same = after?.metadata.resourceVersion === before?.metadata.resourceVersion;
    return {
      ref: refOf(object),
      action: before === undefined ? 'created' : same ? 'unchanged' : 'configured',
    };
  };
  let warnings: string[] = [];

  const attempt = <T>(ref: ObjectRef, given: LabObject | undefined, act: () => T): T | Refusal => {
    try {
      return act();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return refusalOf(ref, error, given);
    }
  };

  /** Until everything made so far runs. Names what does not. */
  const ready = async (): Promise<string[]> => {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      // Controllers work after the write that made work for them.
      await sleep(lookEveryMs);
      const waiting = unsettled(store);
      if (waiting.length === 0 || Date.now() > deadline) {
        await settled();
        const late = waiting.slice(0, 10).join(', ');
        const broken = hopelessPods(store).slice(0, 10).join(', ');
        return [
          ...(late === '' ? [] : [`not ready yet: ${late}`]),
          ...(broken === '' ? [] : [`does not run: ${broken}; its log or description says why`]),
        ];
      }
    }
  };

  return {
    async apply(given) {
      const started = performance.now();
      warnings = [];
      const ignored = new Map<string, number>();
      const plan: { type: ResourceType; given: LabObject }[] = [];
      for (const one of given) {
        const { object } = one;
        const type = findKind(object.apiVersion, object.kind);
        // Read-only kinds would lie there and do nothing.
        if (type?.verbs.includes('patch') === true)
          plan.push({ type, given: { ...one, object: complete(withNamespace(type, object)) } });
        else {
          // A kind of that name may well be known, in another group or version.
          const known =
            type === undefined && resourceTypes.some(({ kind }) => kind === object.kind);
          const name = known ? `${object.kind} of ${object.apiVersion}` : object.kind;
          ignored.set(name, (ignored.get(name) ?? 0) + 1);
        }
      }
      plan.sort((a, b) => rank(a.type) - rank(b.type));
      const notices: string[] = [];
      const changes: Change[] = [];
      const made: string[] = [];
      const refusals: Refusal[] = [];
      const named = new Set(
        plan
          .filter(({ type }) => type.kind === 'Namespace')
          .map((one) => one.given.object.metadata.name),
      );
      // What is in a namespace can be checked only when that is there.
      for (const {
        type,
        given: { object },
      } of plan) {
        const namespace = type.namespaced ? (object.metadata.namespace ?? '') : '';
        const wanted = type.kind === 'Namespace' ? (object.metadata.name ?? '') : namespace;
        if (wanted === '' || store.get(namespaceType.bucket, wanted) !== undefined) continue;
        const metadata = { name: wanted };
        const blank: ApiObject = { apiVersion: 'v1', kind: 'Namespace', metadata };
        const created = attempt(refOf(blank as KubeObject), undefined, () =>
          writer.create(namespaceType, undefined, blank),
        );
        if ('messages' in created) {
          refusals.push(created as Refusal);
          break;
        }
        made.push(wanted);
        if (named.has(wanted)) continue;
        changes.push({
          ref: { apiVersion: 'v1', kind: 'Namespace', name: wanted },
          action: 'created',
        });
        notices.push(`namespace ${wanted} did not exist and was created without labels of its own`);
      }
      for (const { type, given: one } of plan) {
        if (refusals.length > 0 && type.kind === 'Namespace') break;
        const result = attempt(refOf(one.object), one, () => put(type, one.object, true));
        if ('messages' in result) refusals.push(result);
      }
      if (refusals.length > 0) {
        for (const name of made) writer.remove(namespaceType, undefined, name);
        // While they end, the same objects would be refused for that.
        const deadline = Date.now() + patienceMs;
        const left = (): boolean =>
          made.some((name) => store.get(namespaceType.bucket, name) !== undefined);
        while (left() && Date.now() < deadline) await sleep(lookEveryMs);
        throw new LabRefusal(refusals);
      }
      warnings = [];
      for (const {
        type,
        given: { object },
      } of plan) {
        const change = put(type, object, false);
        const fresh = type.kind === 'Namespace' && made.includes(object.metadata.name ?? '');
        changes.push(fresh ? { ...change, action: 'created' } : change);
      }
      notices.push(...warnings);
      if (ignored.size > 0) {
        const list = [...ignored].map(([kind, count]) => `${count} ${kind}`).join(', ');
        notices.push(`ignored, because the lab has no use for them: ${list}`);
      }
      const fresh = given.filter(({ object }) =>
        changes.some(({ ref, action }) => action !== 'unchanged' && sameRef(ref, object)),
      );
      const idle = withoutEffect(fresh.map(({ object }) => object));
      if (idle !== undefined) notices.push(`kept, but without effect in a lab: ${idle}`);
      // With nothing to apply: until what is there already runs.
      const waits = given.length === 0 || changes.some(({ action }) => action !== 'unchanged');
      if (waits) notices.push(...(await ready()));
      return { changes, notices, tookMs: performance.now() - started };
    },

    async delete(refs) {
      const started = performance.now();
      const found: { type: ResourceType; namespace: string | undefined; name: string }[] = [];
      const refusals: Refusal[] = [];
      for (const ref of refs) {
        const type = typeOf(ref);
        const namespace = type?.namespaced === true ? (ref.namespace ?? 'default') : undefined;
        const at = type === undefined ? undefined : { type, namespace, name: ref.name };
        if (
          at === undefined ||
          store.get(at.type.bucket, keyOf(at.type, at.namespace, at.name)) === undefined
        ) {
          const plural = type?.plural ?? ref.kind.toLowerCase();
          refusals.push({
            ref,
            reason: 'NotFound',
            messages: [`${plural} "${ref.name}" not found`],
          });
        } else if (type?.kind === 'Node') {
          refusals.push({
            ref,
            reason: 'Forbidden',
            messages: ['a node lives as long as its lab'],
          });
        } else found.push(at);
      }
      if (refusals.length > 0) throw new LabRefusal(refusals);
      const changes: Change[] = [];
      for (const { type, namespace, name } of found) {
        if (store.get(type.bucket, keyOf(type, namespace, name)) === undefined) continue;
        writer.remove(type, namespace, name, { gracePeriodSeconds: 1 });
        const ref = { apiVersion: apiVersionOf(type), kind: type.kind, name };
        changes.push({
          ref: namespace === undefined ? ref : { ...ref, namespace },
          action: 'deleted',
        });
      }
      const deadline = Date.now() + patienceMs;
      const left = (): boolean =>
        found.some(({ type, namespace, name }) => {
          const object = store.get(type.bucket, keyOf(type, namespace, name));
          return object?.metadata.deletionTimestamp !== undefined;
        });
      while (left() && Date.now() < deadline) await sleep(lookEveryMs);
      const notices = await ready();
      return { changes, notices, tookMs: performance.now() - started };
    },

    objects: () =>
      resourceTypes
        .filter(
          (type) =>
            type.verbs.includes('list') && type.convert === undefined && type.kind !== 'Event',
        )
        .flatMap((type) => store.list(type.bucket).objects.map(plain)),
  };
}

function sameRef(ref: ObjectRef, { kind, metadata }: KubeObject): boolean {
  const { name, namespace = 'default' } = metadata;
  return ref.kind === kind && ref.name === name && (ref.namespace ?? namespace) === namespace;
}

/** Without what only servers read. */
function plain(object: ApiObject): KubeObject {
  const { managedFields: _fields, ...metadata } = object.metadata;
  return { ...object, metadata };
}

const rank = (type: ResourceType): number => (type.kind === 'Namespace' ? 0 : 1);

function typeOf(ref: ObjectRef): ResourceType | undefined {
  if (ref.apiVersion !== undefined) return findKind(ref.apiVersion, ref.kind);
  return resourceTypes.find((type) => type.kind === ref.kind && type.verbs.includes('list'));
}

function withNamespace(type: ResourceType, object: KubeObject): KubeObject {
  const metadata = { ...object.metadata };
  delete metadata.uid;
  delete metadata.resourceVersion;
  delete metadata.creationTimestamp;
  if (type.namespaced) metadata.namespace = metadata.namespace ?? 'default';
  else delete metadata.namespace;
  return { ...object, metadata };
}

/** Manifests that are only about policy often say nothing of what runs; kubectl would refuse them. */
function complete(object: KubeObject): KubeObject {
  if (object.kind === 'Pod') return { ...object, spec: withImages(object.spec) };
  const spec = object.spec as { template?: { spec?: unknown } } | undefined;
  if (!object.apiVersion.match(/^(apps|batch)\//) || spec?.template === undefined) return object;
  const template = { ...spec.template, spec: withImages(spec.template.spec) };
  return { ...object, spec: { ...spec, template } };
}

function withImages(given: unknown): PodSpec {
  const spec = (given ?? {}) as PodSpec;
  const containers = spec.containers ?? [];
  const image = 'podwall';
  return {
    ...spec,
    containers:
      containers.length === 0
        ? [{ name: 'main', image }]
        : containers.map((container) => ({ image, ...container })),
  };
}

function refusalOf(ref: ObjectRef, error: ApiError, given: LabObject | undefined): Refusal {
  const causes = error.details?.causes ?? [];
  const messages =
    error.reason === 'Invalid' && causes.length > 0
      ? causes.map((cause) => `${cause.field ?? ''}: ${cause.message}`)
      : [error.message];
  const { source } = given ?? {};
  return { ref, reason: error.reason, messages, ...(source === undefined ? {} : { source }) };
}

/** Names of pods and workloads that are not yet what they shall be. */
function unsettled(store: Writer['store']): string[] {
  const waiting: string[] = [];
  const look = (
    apiVersion: string,
    kind: string,
    isSettled: (object: ApiObject) => boolean,
  ): void => {
    const type = findKind(apiVersion, kind);
    if (type === undefined) return;
    for (const object of store.list(type.bucket).objects) {
      const { namespace = '', name } = object.metadata;
      if (!isSettled(object)) waiting.push(`${kind.toLowerCase()} ${namespace}/${name}`);
    }
  };
  for (const kind of ['Deployment', 'ReplicaSet', 'StatefulSet', 'DaemonSet']) {
    look('apps/v1', kind, workloadSettled);
  }
  look('batch/v1', 'Job', (job) => job['status'] !== undefined);
  look('v1', 'Pod', podSettled);
  return waiting;
}

function workloadSettled(object: ApiObject): boolean {
  const seen = numberAt(object, 'status', 'observedGeneration') ?? 0;
  if (seen < (object.metadata.generation ?? 1)) return false;
  const wanted =
    object.kind === 'DaemonSet'
      ? (numberAt(object, 'status', 'desiredNumberScheduled') ?? 0)
      : (numberAt(object, 'spec', 'replicas') ?? 1);
  const made =
    object.kind === 'DaemonSet'
      ? numberAt(object, 'status', 'currentNumberScheduled')
      : numberAt(object, 'status', 'replicas');
  return (made ?? 0) === wanted;
}

/** Why a pod will not run by waiting; undefined when it may. */
function hopelessReason(pod: ApiObject): string | undefined {
  return ['initContainerStatuses', 'containerStatuses']
    .flatMap((list) => listAt(pod, 'status', list))
    .map((one) => stringAt(one, 'state', 'waiting', 'reason'))
    .find((reason) => hopeless.has(reason));
}

function hopelessPods(store: Writer['store']): string[] {
  return store.list('/pods').objects.flatMap((pod) => {
    const reason = hopelessReason(pod);
    const { namespace = '', name } = pod.metadata;
    return reason === undefined ? [] : [`pod ${namespace}/${name} (${reason})`];
  });
}

const hopeless = new Set(['CreateContainerError', 'RunContainerError', 'CrashLoopBackOff']);

function podSettled(pod: ApiObject): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  if (stringAt(pod, 'status', 'phase') !== 'Pending') return true;
  // Neither of these becomes better by waiting.
  const unschedulable = listAt(pod, 'status', 'conditions').some(
    (one) => one['reason'] === 'Unschedulable',
  );
  const broken = hopelessReason(pod) !== undefined;
  return unschedulable || broken;
}
