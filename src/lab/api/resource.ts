/**
 * What a kind must declare to be served: names, verbs, defaults, checks, columns. One file in
 * `kinds/` holds each group of kinds. Must not know of HTTP or of any single kind.
 */
import { type ApiObject, type JsonObject, objectAt, stringAt } from './object.ts';
import type { StatusCause } from './status.ts';
import type { Store } from './store.ts';

export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date' | 'boolean';
  /** 0: always shown; 1: with `-o wide`. */
  readonly priority?: 0 | 1;
}

export type Cell = string | number | boolean | null;

export interface Subresource {
  readonly name: string;
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly verbs: readonly string[];
}

/** What hooks may use beside the object itself. */
export interface HookContext {
  readonly store: Store;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly dryRun: boolean;
  /** Addresses for services; see `service-address.ts`. */
  readonly addresses: AddressAllocator;
}

/** Hands out cluster addresses and node ports; answers undefined when a wish cannot be met. */
export interface AddressAllocator {
  readonly families: readonly ('IPv4' | 'IPv6')[];
  clusterIp(family: 'IPv4' | 'IPv6', used: ReadonlySet<string>): string | undefined;
  contains(ip: string): boolean;
  nodePort(used: ReadonlySet<number>): number | undefined;
}

export interface ResourceType {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  /** Name of its type in `schema.ts`. */
  readonly schema: string;
  /** Where its objects are kept; two versions of one kind share a bucket. */
  readonly bucket: string;
  readonly subresources: readonly Subresource[];
  /** Status is written through `/status` only. */
  readonly hasStatus: boolean;
  /** `metadata.generation` counts changes of spec. */
  readonly hasGeneration: boolean;
  readonly columns: readonly Column[];
  row(object: ApiObject, now: number): Cell[];
  /** Fills what the user left out; may change its argument. */
  applyDefaults(object: ApiObject): void;
  /** Takes what only the server knows (addresses, hashes); after defaults, before checks. */
  prepare(object: ApiObject, old: ApiObject | undefined, context: HookContext): void;
  validate(object: ApiObject, old: ApiObject | undefined): StatusCause[];
  /** Values for field selectors beside metadata.name and metadata.namespace. */
  selectable(object: ApiObject): Record<string, string>;
  /** Seconds between the request to delete and the end, when the kind ends gracefully. */
  grace?(object: ApiObject, requested: number | undefined): number;
  /** Another version's form of the stored object, and back. */
  readonly convert?: { out(object: ApiObject): ApiObject; in(object: ApiObject): ApiObject };
}

const allVerbs: readonly string[] = [
  'create',
  'delete',
  'deletecollection',
  'get',
  'list',
  'patch',
  'update',
  'watch',
];
export const readVerbs: readonly string[] = ['get', 'list', 'watch'];

export const ageColumn: Column = { name: 'Age', type: 'string' };
export const nameColumn: Column = { name: 'Name', type: 'string' };

type Declared = Partial<ResourceType> &
  Pick<ResourceType, 'group' | 'version' | 'plural' | 'kind' | 'schema'>;

/** Completes a declaration with what most kinds share. */
export function resource(declared: Declared): ResourceType {
  const status: readonly Subresource[] = declared.hasStatus
    ? [
        {
          name: 'status',
          group: declared.group,
          version: declared.version,
          kind: declared.kind,
          verbs: ['get', 'patch', 'update'],
        },
      ]
    : [];
  const columns = declared.columns ?? [nameColumn, ageColumn];
  return {
    singular: declared.kind.toLowerCase(),
    shortNames: [],
    categories: [],
    namespaced: true,
    verbs: allVerbs,
    bucket: `${declared.group}/${declared.plural}`,
    hasStatus: false,
    hasGeneration: false,
    row: (object, now) => [object.metadata.name, ageOf(object, now)],
    applyDefaults: () => {},
    prepare: () => {},
    validate: () => [],
    selectable: () => ({}),
    ...declared,
    columns,
    subresources: [...status, ...(declared.subresources ?? [])],
  };
}

/** The key of an object inside its bucket. */
export function keyOf(type: ResourceType, namespace: string | undefined, name: string): string {
  return type.namespaced ? `${namespace ?? ''}/${name}` : name;
}

export function ageOf(object: JsonObject, now: number): string {
  const created = stringAt(object, 'metadata', 'creationTimestamp');
  return created === '' ? '<unknown>' : humanDuration(now - Date.parse(created));
}

/** A duration as kubectl prints it: `45s`, `3m20s`, `5h`, `2d3h`. */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const pair = (a: number, unitA: string, b: number, unitB: string): string =>
    b === 0 ? `${a}${unitA}` : `${a}${unitA}${b}${unitB}`;
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return pair(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return pair(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (hours < 192) return pair(days, 'd', hours % 24, 'h');
  if (days < 730) return `${days}d`;
  const years = Math.floor(days / 365);
  return days < 2920 ? pair(years, 'y', days % 365, 'd') : `${years}y`;
}

/** `a=1,b=2`, or `<none>`. */
export function formatLabels(labels: JsonObject): string {
  const parts = Object.keys(labels)
    .sort()
    .map((key) => `${key}=${String(labels[key])}`);
  return parts.length === 0 ? '<none>' : parts.join(',');
}

/** A label selector as kubectl prints it in a table. */
export function formatLabelSelector(selector: unknown): string {
  const labels = objectAt(selector, 'matchLabels');
  const parts = Object.keys(labels)
    .sort()
    .map((key) => `${key}=${String(labels[key])}`);
  const expressions = objectAt({ selector }, 'selector')['matchExpressions'];
  for (const raw of Array.isArray(expressions) ? (expressions as JsonObject[]) : []) {
    const key = stringAt(raw, 'key');
    const values = Array.isArray(raw['values']) ? (raw['values'] as string[]) : [];
    const operator = stringAt(raw, 'operator');
    if (operator === 'In') parts.push(`${key} in (${[...values].sort().join(',')})`);
    else if (operator === 'NotIn') parts.push(`${key} notin (${[...values].sort().join(',')})`);
    else if (operator === 'Exists') parts.push(key);
    else parts.push(`!${key}`);
  }
  return parts.length === 0 ? '<none>' : parts.join(',');
}
