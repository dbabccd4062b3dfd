/**
 * What controllers of workloads share: the pods they own, making one from a template, revisions.
 */
import { createHash } from 'node:crypto';
import {
  type ApiObject,
  at,
  clone,
  ensureObject,
  isObject,
  type JsonObject,
  listAt,
  numberAt,
  objectAt,
  type OwnerRef,
  stringAt,
  timestamp,
} from '../object.ts';
import { kindOf } from '../registry.ts';
import type { ResourceType } from '../resource.ts';
import { matchesLabels, parseSelectorObject } from '../selectors.ts';
import type { Writer } from '../write.ts';
import {
  type Controller,
  type ControllerOptions,
  itself,
  ownerOfKind,
  startController,
} from './controller.ts';

export const podType: ResourceType = kindOf('v1', 'Pod');

const isOwnedBy = (object: ApiObject, owner: ApiObject): boolean =>
  object.metadata.ownerReferences?.some(
    (reference) => reference.controller === true && reference.uid === owner.metadata.uid,
  ) === true;

/** Objects of a kind in the owner's namespace that it controls. */
export function ownedBy(writer: Writer, type: ResourceType, owner: ApiObject): ApiObject[] {
  return writer.store
    .list(type.bucket, `${owner.metadata.namespace ?? ''}/`)
    .objects.filter((object) => isOwnedBy(object, owner));
}

/** Also takes pods in that match the selector and that nobody controls. */
function claimPods(writer: Writer, owner: ApiObject): ApiObject[] {
  const selector = at(owner, 'spec', 'selector');
  if (!isObject(selector)) return [];
  const requirements = parseSelectorObject(selector);
  return writer.store
    .list(podType.bucket, `${owner.metadata.namespace ?? ''}/`)
    .objects.flatMap((pod) => {
      const { metadata } = pod;
      if (isOwnedBy(pod, owner)) return [pod];
      const free =
        !metadata.ownerReferences?.some((reference) => reference.controller === true) &&
        metadata.deletionTimestamp === undefined &&
        owner.metadata.deletionTimestamp === undefined &&
        matchesLabels(requirements, metadata.labels);
      if (!free) return [];
      return [
        writer.update(podType, metadata.namespace, metadata.name, (old) => ({
          ...old,
          metadata: {
            ...old.metadata,
            ownerReferences: [...(old.metadata.ownerReferences ?? []), ownerReference(owner)],
          },
        })),
      ];
    });
}

export const ownerReference = (owner: ApiObject): OwnerRef => ({
  apiVersion: owner.apiVersion,
  kind: owner.kind,
  name: owner.metadata.name,
  uid: owner.metadata.uid ?? '',
  controller: true,
  blockOwnerDeletion: true,
});

export const isReady = (pod: ApiObject): boolean =>
  listAt(pod, 'status', 'conditions').some((c) => c['type'] === 'Ready' && c['status'] === 'True');

/** Still counts as one of the pods wanted. */
export const isActive = (pod: ApiObject): boolean =>
  pod.metadata.deletionTimestamp === undefined &&
  !['Succeeded', 'Failed'].includes(stringAt(pod, 'status', 'phase'));

/** The label that says from which template a pod was made. */
export const revisionLabel = 'controller-revision-hash';

export const revisionOf = (pod: ApiObject): string => pod.metadata.labels?.[revisionLabel] ?? '';

/**
 * The controller of a kind that owns pods: looks at an owner when it or one of its pods changes, or
 * when `wakes` says so. `pods` are those it owns, whatever their state.
 */
export function startPodOwner(
  writer: Writer,
  type: ResourceType,
  reconcile: (owner: ApiObject, pods: readonly ApiObject[]) => void,
  wakes: ControllerOptions['watches'] = {},
): Controller {
  return startController({
    store: writer.store,
    watches: {
      ...wakes,
      [type.bucket]: itself,
      [podType.bucket]: ownerOfKind(type.kind),
    },
    reconcile(key) {
      const owner = writer.store.get(type.bucket, key);
      if (owner) reconcile(owner, claimPods(writer, owner));
    },
  });
}

export const isGoing = (object: ApiObject): boolean =>
  object.metadata.deletionTimestamp !== undefined;

/** How many pods of an owner count now, how many are ready, how many are of the newest revision. */
export function countPods(
  writer: Writer,
  owner: ApiObject,
  revision?: string,
): { readonly active: number; readonly ready: number; readonly updated: number } {
  const pods = ownedBy(writer, podType, owner).filter(isActive);
  return {
    active: pods.length,
    ready: pods.filter(isReady).length,
    updated: pods.filter((pod) => revisionOf(pod) === revision).length,
  };
}

export interface PodPlan {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly spec?: JsonObject;
}

/** Creates a pod from `spec.template` of its owner. */
export function createPod(writer: Writer, owner: ApiObject, plan: PodPlan = {}): ApiObject {
  const template = objectAt(owner, 'spec', 'template');
  const metadata = objectAt(template, 'metadata');
  const labels = { ...objectAt(metadata, 'labels'), ...plan.labels } as Record<string, string>;
  const annotations = { ...objectAt(metadata, 'annotations'), ...plan.annotations } as Record<
    string,
    string
  >;
  return writer.create(podType, owner.metadata.namespace, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: plan.name ?? '',
      ...(plan.name === undefined ? { generateName: `${owner.metadata.name}-` } : {}),
      labels,
      annotations,
      ...(Array.isArray(metadata['finalizers'])
        ? { finalizers: metadata['finalizers'] as string[] }
        : {}),
      ownerReferences: [ownerReference(owner)],
    },
    spec: { ...clone(objectAt(template, 'spec')), ...plan.spec },
  });
}

export function removePod(writer: Writer, pod: ApiObject): void {
  writer.remove(podType, pod.metadata.namespace, pod.metadata.name, {
    preconditions: { uid: pod.metadata.uid ?? '' },
  });
}

const letters = 'bcdfghjklmnpqrstvwxz2456789';

/** A short stable name for a template, of letters that spell no words. */
export function templateHash(template: JsonObject): string {
  const digest = createHash('sha256').update(stableText(template)).digest();
  return Array.from(digest.subarray(0, 10), (byte) => letters[byte % letters.length]).join('');
}

function stableText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(stableText).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value ?? null);
  return `{${Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${stableText(value[key])}`)
    .join(',')}}`;
}

/** The template of a workload without a label that a controller added. */
export function plainTemplate(workload: ApiObject, label: string): JsonObject {
  const template = clone(objectAt(workload, 'spec', 'template'));
  delete ensureObject(ensureObject(template, 'metadata'), 'labels')[label];
  return template;
}

export const replicasOf = (workload: ApiObject): number =>
  numberAt(workload, 'spec', 'replicas') ?? 1;

/** A condition, keeping the time of the last change when the status is the same. */
export function withCondition(
  writer: Writer,
  conditions: readonly JsonObject[],
  next: { type: string; status: string; reason: string; message: string },
): JsonObject[] {
  const time = timestamp(writer.now());
  const old = conditions.find((c) => c['type'] === next.type);
  const same = old?.['status'] === next.status;
  const made: JsonObject = {
    ...next,
    lastUpdateTime: same && old['reason'] === next.reason ? old['lastUpdateTime'] : time,
    lastTransitionTime: same ? old['lastTransitionTime'] : time,
  };
  return old ? conditions.map((c) => (c['type'] === next.type ? made : c)) : [...conditions, made];
}

/** Writes a status when it differs. */
export function writeStatus(
  writer: Writer,
  type: ResourceType,
  object: ApiObject,
  status: JsonObject,
): void {
  const clean = Object.fromEntries(
    Object.entries(status).filter(([, value]) => value !== undefined),
  );
  writer.update(
    type,
    object.metadata.namespace,
    object.metadata.name,
    (old) => ({ ...old, status: clean }),
    { subresource: 'status' },
  );
}
