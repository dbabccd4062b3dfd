/**
 * Cuts objects down to the fields that policy needs and shares equal parts between objects, so
 * that a store of 100,000 pods stays small. Must not judge the fields it keeps.
 */
import type { KubeObject } from '../k8s/types.ts';

/** Returns the part of an object worth keeping; `undefined` when it is no object with a name. */
export type Keep = (object: KubeObject) => KubeObject | undefined;

/** Gives equal values one shared, frozen representative. */
export interface InternPool {
  text(value: string): string;
  /** `value` must be plain JSON; it is frozen at its top level. */
  value<T extends object>(value: T): T;
}

/**
 * Two generations: what nobody asked for during a whole generation is forgotten, so that churn
 * does not fill the pool. Forgetting costs only a later duplicate.
 */
export function createInternPool(generationSize = 50_000): InternPool {
  let young = new Map<string, unknown>();
  let old = new Map<string, unknown>();
  const intern = <T>(key: string, make: () => T): T => {
    let found = young.get(key) as T | undefined;
    if (found !== undefined) return found;
    found = (old.get(key) as T | undefined) ?? make();
    if (young.size >= generationSize) {
      old = young;
      young = new Map();
    }
    young.set(key, found);
    return found;
  };
  return {
    text: (value) => intern(value, () => value),
    // A JSON text begins with { or [, which no name, address or label value does.
    value: (value) => intern(JSON.stringify(value), () => Object.freeze(value)),
  };
}

type Json = Record<string, unknown>;

function isMapping(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function mappings(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter(isMapping) : [];
}

function nonEmptyText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

/** Annotations that podwall itself reads begin with this. */
const ownAnnotations = 'podwall.dev/';

/**
 * A `Keep` for objects of any kind. Pods, nodes, services and workloads are cut to what the engine
 * reads; other kinds keep everything but bookkeeping (managedFields, last-applied).
 * `apiVersion` and `kind` are filled in, since items of a list come without.
 */
export function createKeep(
  apiVersion: string,
  kind: string,
  pool: InternPool = createInternPool(),
): Keep {
  const cut = cuts[kind] ?? cutNothing;
  return (object) => {
    if (!isMapping(object) || !isMapping(object.metadata)) return undefined;
    if (!nonEmptyText(object.metadata['name'])) return undefined;
    const metadata = keepMetadata(object.metadata, pool);
    // Which of two pods with one address is the newer: asked of the start, else of the creation.
    const created = object.metadata['creationTimestamp'];
    if (kind === 'Pod' && nonEmptyText(created) && !nonEmptyText(startTimeOf(object))) {
      metadata['creationTimestamp'] = pool.text(created);
    }
    return { apiVersion, kind, metadata, ...cut(object, pool) };
  };
}

function startTimeOf(object: KubeObject): unknown {
  return isMapping(object.status) ? object.status['startTime'] : undefined;
}

function keepLabels(
  value: unknown,
  pool: InternPool,
): Readonly<Record<string, string>> | undefined {
  if (!isMapping(value)) return undefined;
  const pairs = Object.entries(value).filter(
    (pair): pair is [string, string] => typeof pair[1] === 'string',
  );
  if (pairs.length === 0) return undefined;
  return pool.value(Object.fromEntries(pairs.map(([key, text]) => [key, pool.text(text)])));
}

// Properties are always written in the same order: objects of one shape share their layout in memory.
function keepMetadata(meta: Json, pool: InternPool): Json {
  const kept: Json = { name: meta['name'] };
  if (nonEmptyText(meta['namespace'])) kept['namespace'] = pool.text(meta['namespace']);
  if (nonEmptyText(meta['uid'])) kept['uid'] = meta['uid'];
  if (nonEmptyText(meta['resourceVersion'])) kept['resourceVersion'] = meta['resourceVersion'];
  const labels = keepLabels(meta['labels'], pool);
  if (labels !== undefined) kept['labels'] = labels;
  const owner = mappings(meta['ownerReferences']).find(
    (reference) => reference['controller'] === true,
  );
  if (owner !== undefined) {
    kept['ownerReferences'] = pool.value([
      {
        apiVersion: owner['apiVersion'],
        kind: owner['kind'],
        name: owner['name'],
        controller: true,
      },
    ]);
  }
  if (isMapping(meta['annotations'])) {
    const own = Object.entries(meta['annotations']).filter(([key]) =>
      key.startsWith(ownAnnotations),
    );
    if (own.length > 0) kept['annotations'] = pool.value(Object.fromEntries(own));
  }
  if (nonEmptyText(meta['deletionTimestamp']))
    kept['deletionTimestamp'] = meta['deletionTimestamp'];
  return kept;
}

function keepContainers(value: unknown, onlySidecars: boolean): Json[] {
  const kept: Json[] = [];
  for (const container of mappings(value)) {
    if (onlySidecars && container['restartPolicy'] !== 'Always') continue;
    const ports = mappings(container['ports']).map((port) => ({
      ...(nonEmptyText(port['name']) ? { name: port['name'] } : {}),
      containerPort: port['containerPort'],
      ...(nonEmptyText(port['protocol']) ? { protocol: port['protocol'] } : {}),
      ...(port['hostPort'] === undefined ? {} : { hostPort: port['hostPort'] }),
    }));
    kept.push({
      name: container['name'],
      ...(onlySidecars ? { restartPolicy: 'Always' } : {}),
      ...(ports.length > 0 ? { ports } : {}),
    });
  }
  return kept;
}

function keepPodSpec(spec: unknown, pool: InternPool): Json {
  if (!isMapping(spec)) return {};
  const kept: Json = {};
  if (nonEmptyText(spec['nodeName'])) kept['nodeName'] = pool.text(spec['nodeName']);
  if (spec['hostNetwork'] === true) kept['hostNetwork'] = true;
  kept['containers'] = pool.value(keepContainers(spec['containers'], false));
  const sidecars = keepContainers(spec['initContainers'], true);
  if (sidecars.length > 0) kept['initContainers'] = pool.value(sidecars);
  return kept;
}

function keepTemplate(template: unknown, pool: InternPool): Json | undefined {
  if (!isMapping(template)) return undefined;
  const meta = isMapping(template['metadata']) ? template['metadata'] : {};
  const labels = keepLabels(meta['labels'], pool);
  return {
    metadata: labels === undefined ? {} : { labels },
    spec: keepPodSpec(template['spec'], pool),
  };
}

function cutPod(object: Json, pool: InternPool): Json {
  const status = isMapping(object['status']) ? object['status'] : {};
  const kept: Json = {};
  if (nonEmptyText(status['phase'])) kept['phase'] = pool.text(status['phase']);
  const first = status['podIP'];
  if (nonEmptyText(first)) kept['podIP'] = first;
  const all = mappings(status['podIPs']).flatMap((item) =>
    nonEmptyText(item['ip']) ? [item['ip']] : [],
  );
  // The usual single address is already podIP.
  if (all.length > 1 || (all.length === 1 && all[0] !== first))
    kept['podIPs'] = all.map((ip) => ({ ip }));
  if (nonEmptyText(status['hostIP'])) kept['hostIP'] = pool.text(status['hostIP']);
  const hosts = mappings(status['hostIPs']);
  if (hosts.length > 1) {
    kept['hostIPs'] = pool.value(
      hosts.flatMap((item) => (nonEmptyText(item['ip']) ? [{ ip: item['ip'] }] : [])),
    );
  }
  if (nonEmptyText(status['startTime'])) kept['startTime'] = pool.text(status['startTime']);
  return { spec: keepPodSpec(object['spec'], pool), status: kept };
}

function cutNode(object: Json): Json {
  const spec = isMapping(object['spec']) ? object['spec'] : {};
  const status = isMapping(object['status']) ? object['status'] : {};
  return {
    spec: {
      ...(spec['podCIDR'] === undefined ? {} : { podCIDR: spec['podCIDR'] }),
      ...(spec['podCIDRs'] === undefined ? {} : { podCIDRs: spec['podCIDRs'] }),
    },
    status: { addresses: mappings(status['addresses']) },
  };
}

function cutNamespace(object: Json, pool: InternPool): Json {
  const status = isMapping(object['status']) ? object['status'] : {};
  return nonEmptyText(status['phase']) ? { status: { phase: pool.text(status['phase']) } } : {};
}

function cutWorkload(object: Json, pool: InternPool): Json {
  const spec = isMapping(object['spec']) ? object['spec'] : {};
  const template = keepTemplate(spec['template'], pool);
  return {
    spec: {
      ...(spec['replicas'] === undefined ? {} : { replicas: spec['replicas'] }),
      ...(isMapping(spec['selector']) ? { selector: spec['selector'] } : {}),
      ...(template === undefined ? {} : { template }),
    },
  };
}

function cutCronJob(object: Json, pool: InternPool): Json {
  const spec = isMapping(object['spec']) ? object['spec'] : {};
  const job = isMapping(spec['jobTemplate']) ? spec['jobTemplate'] : {};
  return {
    spec: {
      ...(spec['suspend'] === undefined ? {} : { suspend: spec['suspend'] }),
      jobTemplate: cutWorkload(job, pool),
    },
  };
}

function cutSpecOnly(object: Json): Json {
  return object['spec'] === undefined ? {} : { spec: object['spec'] };
}

function cutNothing(object: Json): Json {
  const { apiVersion: _apiVersion, kind: _kind, metadata: _metadata, ...rest } = object;
  return rest;
}

const cuts: Readonly<Record<string, (object: Json, pool: InternPool) => Json>> = {
  Pod: cutPod,
  Node: cutNode,
  Namespace: cutNamespace,
  Deployment: cutWorkload,
  ReplicaSet: cutWorkload,
  StatefulSet: cutWorkload,
  DaemonSet: cutWorkload,
  ReplicationController: cutWorkload,
  Job: cutWorkload,
  CronJob: cutCronJob,
  NetworkPolicy: cutSpecOnly,
  ClusterNetworkPolicy: cutSpecOnly,
  AdminNetworkPolicy: cutSpecOnly,
  BaselineAdminNetworkPolicy: cutSpecOnly,
  Service: cutSpecOnly,
  Ingress: cutSpecOnly,
  HTTPRoute: cutSpecOnly,
  GRPCRoute: cutSpecOnly,
};
