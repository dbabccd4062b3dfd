/**
 * The list of kinds served: the single source of discovery, OpenAPI, routing and the published
 * compatibility matrix.
 */
import { workloadKinds } from './kinds/apps.ts';
import { coreKinds } from './kinds/core.ts';
import { eventKinds } from './kinds/event.ts';
import { podKinds } from './kinds/pod.ts';
import { policyResources } from './kinds/policy.ts';
import { serviceKinds } from './kinds/service.ts';
import { resource, type ResourceType } from './resource.ts';

const review = (
  group: string,
  plural: string,
  kind: string,
  more: { readonly namespaced?: boolean; readonly version?: string } = {},
): ResourceType =>
  resource({
    group,
    version: more.version ?? 'v1',
    plural,
    kind,
    namespaced: more.namespaced === true,
    verbs: ['create'],
    schema: `${group.split('.')[0] ?? ''}.v1.${kind}`,
  });

/** Questions to the server: created, answered, never kept. */
const reviews: readonly ResourceType[] = [
  review('authorization.k8s.io', 'selfsubjectaccessreviews', 'SelfSubjectAccessReview'),
  review('authorization.k8s.io', 'selfsubjectrulesreviews', 'SelfSubjectRulesReview'),
  review('authorization.k8s.io', 'subjectaccessreviews', 'SubjectAccessReview'),
  review('authorization.k8s.io', 'localsubjectaccessreviews', 'LocalSubjectAccessReview', {
    namespaced: true,
  }),
  review('authentication.k8s.io', 'selfsubjectreviews', 'SelfSubjectReview'),
  review('authentication.k8s.io', 'tokenreviews', 'TokenReview'),
  // `kubectl auth whoami` of 1.26 and 1.27 asks for these.
  ...['v1beta1', 'v1alpha1'].map((version) =>
    review('authentication.k8s.io', 'selfsubjectreviews', 'SelfSubjectReview', { version }),
  ),
];

export const resourceTypes: readonly ResourceType[] = [
  ...coreKinds,
  ...podKinds,
  ...serviceKinds,
  ...eventKinds,
  ...workloadKinds,
  ...policyResources,
  ...reviews,
];

const byPath = new Map(
  resourceTypes.map((type) => [`${type.group}/${type.version}/${type.plural}`, type]),
);
const byKind = new Map(resourceTypes.map((type) => [`${apiVersionOf(type)}/${type.kind}`, type]));

/** The kind served at a path; undefined when none is. */
export function findResource(
  group: string,
  version: string,
  plural: string,
): ResourceType | undefined {
  return byPath.get(`${group}/${version}/${plural}`);
}

export function findKind(apiVersion: string, kind: string): ResourceType | undefined {
  return byKind.get(`${apiVersion}/${kind}`);
}

/** Like `findKind`, for code that names a kind known to be served. */
export function kindOf(apiVersion: string, kind: string): ResourceType {
  const type = findKind(apiVersion, kind);
  if (!type) throw new Error(`kind ${apiVersion} ${kind} is not served`);
  return type;
}

export function apiVersionOf(type: { readonly group: string; readonly version: string }): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`;
}

export function isReview(type: ResourceType): boolean {
  return type.verbs.length === 1 && type.verbs[0] === 'create';
}

/** Group-versions in order of first mention, `['', 'v1']` first. */
export function groupVersions(): { group: string; version: string; types: ResourceType[] }[] {
  const found = new Map<string, { group: string; version: string; types: ResourceType[] }>();
  for (const type of resourceTypes) {
    const key = apiVersionOf(type);
    const entry = found.get(key) ?? { group: type.group, version: type.version, types: [] };
    entry.types.push(type);
    found.set(key, entry);
  }
  return [...found.values()];
}
