/**
 * What the server says it serves: version, legacy and aggregated discovery. All of it is derived
 * from the registry.
 */
import { createHash } from 'node:crypto';
import type { JsonObject } from './object.ts';
import { apiVersionOf, groupVersions } from './registry.ts';
import type { ResourceType } from './resource.ts';

/** The minor version claimed decides which kubectl some dispatchers run. */
export const serverVersion: JsonObject = {
  major: '1',
  minor: '32',
  gitVersion: 'v1.32.0+podwall',
  gitCommit: '0000000000000000000000000000000000000000',
  gitTreeState: 'clean',
  buildDate: '2025-01-01T00:00:00Z',
  goVersion: 'go1.23.0',
  compiler: 'gc',
  platform: 'linux/amd64',
};

export interface Document {
  readonly contentType: string;
  readonly body: string;
  readonly etag?: string;
}

const json = (value: unknown): Document => ({
  contentType: 'application/json',
  body: `${JSON.stringify(value)}\n`,
});

const groups = (): string[] => [
  ...new Set(
    groupVersions()
      .map((entry) => entry.group)
      .filter((group) => group !== ''),
  ),
];

const versionsOf = (group: string): string[] =>
  groupVersions()
    .filter((entry) => entry.group === group)
    .map((entry) => entry.version);

const legacyGroup = (group: string): JsonObject => {
  const versions = versionsOf(group).map((version) => ({
    groupVersion: `${group}/${version}`,
    version,
  }));
  return { name: group, versions, preferredVersion: versions[0] };
};

/** `GET /api/v1`, `GET /apis/G/V`; undefined when the group-version is not served. */
export function resourceList(group: string, version: string): Document | undefined {
  const entry = groupVersions().find((gv) => gv.group === group && gv.version === version);
  if (!entry) return undefined;
  const resources = entry.types.flatMap((type) => [
    {
      name: type.plural,
      singularName: type.singular,
      namespaced: type.namespaced,
      kind: type.kind,
      verbs: type.verbs,
      ...(type.shortNames.length > 0 ? { shortNames: type.shortNames } : {}),
      ...(type.categories.length > 0 ? { categories: type.categories } : {}),
    },
    ...type.subresources.map((sub) => ({
      name: `${type.plural}/${sub.name}`,
      singularName: '',
      namespaced: type.namespaced,
      ...(sub.group === type.group ? {} : { group: sub.group, version: sub.version }),
      kind: sub.kind,
      verbs: sub.verbs,
    })),
  ]);
  return json({
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: apiVersionOf(entry),
    resources,
  });
}

/** `GET /apis/G`. */
export function groupDocument(group: string): Document | undefined {
  if (group === '' || versionsOf(group).length === 0) return undefined;
  return json({ kind: 'APIGroup', apiVersion: 'v1', ...legacyGroup(group) });
}

const aggregated =
  /application\/json;\s*g=apidiscovery\.k8s\.io;\s*v=(v2beta1|v2);\s*as=APIGroupDiscoveryList/;

/** `GET /api` (`core`) and `GET /apis`: aggregated when the client accepts it. */
export function rootDocument(core: boolean, accept: string, address: string): Document {
  const wanted = aggregated.exec(accept)?.[1];
  if (wanted !== undefined) return aggregatedDocument(core, wanted);
  return core
    ? json({
        kind: 'APIVersions',
        versions: ['v1'],
        serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: address }],
      })
    : json({ kind: 'APIGroupList', apiVersion: 'v1', groups: groups().map(legacyGroup) });
}

function aggregatedDocument(core: boolean, version: string): Document {
  const items = (core ? [''] : groups()).map((group) => ({
    metadata: { ...(group === '' ? {} : { name: group }), creationTimestamp: null },
    versions: groupVersions()
      .filter((entry) => entry.group === group)
      .map((entry) => ({
        version: entry.version,
        resources: entry.types.map(aggregatedResource),
        freshness: 'Current',
      })),
  }));
  const body = `${JSON.stringify({
    kind: 'APIGroupDiscoveryList',
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items,
  })}\n`;
  return {
    contentType: `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`,
    body,
    etag: `"${createHash('sha256').update(body).digest('hex').toUpperCase()}"`,
  };
}

function aggregatedResource(type: ResourceType): JsonObject {
  return {
    resource: type.plural,
    responseKind: { group: type.group, version: type.version, kind: type.kind },
    scope: type.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: type.singular,
    verbs: type.verbs,
    ...(type.shortNames.length > 0 ? { shortNames: type.shortNames } : {}),
    ...(type.categories.length > 0 ? { categories: type.categories } : {}),
    ...(type.subresources.length > 0
      ? {
          subresources: type.subresources.map((sub) => ({
            subresource: sub.name,
            responseKind: { group: sub.group, version: sub.version, kind: sub.kind },
            verbs: sub.verbs,
          })),
        }
      : {}),
  };
}
