/**
 * Random streams of events: versions of the objects of several clusters that share their names. Must
 * not know what is done with them.
 */
import type { ObjectRef } from '../../src/engine/cluster-facts.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import { randomCluster } from './cluster.ts';
import { chance, pick } from './draw.ts';
import type { Draw } from './draw.ts';

export function refOf({ apiVersion, kind, metadata }: KubeObject): ObjectRef {
  return { apiVersion, kind, namespace: metadata.namespace, name: metadata.name ?? '' };
}

export function keyOf({ kind, namespace, name }: ObjectRef): string {
  return `${kind} ${namespace ?? ''}/${name}`;
}

/** Objects of several clusters that share their names: versions of the same objects. */
export function versions(draw: Draw): KubeObject[] {
  const found: KubeObject[] = [];
  for (let i = 0; i < 3; i++) {
    const { objects } = randomCluster(draw.integer(0, 0x7fffffff), { maxPods: 10 });
    found.push(...(structuredClone(objects) as unknown as KubeObject[]));
  }
  return found;
}

/** What else may be different about an object. */
export function varied(draw: Draw, object: KubeObject, others: readonly KubeObject[]): KubeObject {
  const next = structuredClone(object) as unknown as {
    spec?: Record<string, unknown>;
    status?: Record<string, unknown>;
    metadata: Record<string, unknown>;
  };
  const alike = others.filter(({ kind }) => kind === object.kind);
  if (chance(draw, 30)) next.metadata['resourceVersion'] = String(draw.integer(1, 9));
  if (object.kind === 'Pod') {
    const other = pick(draw, alike);
    if (chance(draw, 40)) next.metadata['labels'] = other.metadata.labels;
    if (chance(draw, 25)) Object.assign((next.status ??= {}), other.status);
    if (chance(draw, 8)) next.status = { phase: 'Pending' };
    if (chance(draw, 8))
      next.status = { ...next.status, phase: pick(draw, ['Succeeded', 'Failed']) };
    if (chance(draw, 40))
      next.status = { ...next.status, startTime: `2026-01-0${draw.integer(1, 3)}T00:00:00Z` };
    if (chance(draw, 30))
      next.status = { ...next.status, hostIP: `192.168.7.${draw.integer(1, 4)}` };
    if (chance(draw, 8)) delete (next.spec ??= {})['nodeName'];
    if (chance(draw, 5)) next.spec = { ...next.spec, nodeName: 'node-without-object' };
    if (chance(draw, 15))
      next.spec = { ...next.spec, containers: other.spec?.['containers' as never] };
  } else if (object.kind === 'Namespace') {
    if (chance(draw, 50)) next.metadata['labels'] = pick(draw, alike).metadata.labels;
  } else if (object.kind === 'Node') {
    if (chance(draw, 30)) next.metadata['labels'] = pick(draw, alike).metadata.labels;
    if (chance(draw, 15)) next.spec = { podCIDRs: ['10.244.0.0/20', 'fd00:10::/32'] };
    if (chance(draw, 10)) next.spec = { podCIDR: 'nonsense' };
  } else {
    if (chance(draw, 8))
      next.spec = { ...next.spec, [pick(draw, ['ingress', 'egress'])]: 'nonsense' };
    // So many peers are one set together.
    if (object.kind === 'NetworkPolicy' && chance(draw, 15)) {
      const values = ['a', 'b', '', 'c', 'd', 'e'].slice(0, draw.integer(5, 6));
      const from = values.map((app) => ({
        ...(chance(draw, 50) ? { namespaceSelector: {} } : {}),
        podSelector: { matchLabels: { app } },
      }));
      const rules = chance(draw, 50) ? { ingress: [{ from }] } : { egress: [{ to: from }] };
      next.spec = { podSelector: {}, ...rules };
    }
    if (chance(draw, 15)) next.metadata['annotations'] = { 'podwall.dev/mode': 'audit' };
  }
  return next as unknown as KubeObject;
}

/** Changes of a step; undefined: deleted. `present` is brought up to date. */
export type Step = Map<string, [ObjectRef, KubeObject | undefined]>;

export function nextStep(
  draw: Draw,
  pool: readonly KubeObject[],
  present: Map<string, KubeObject>,
  events: number,
): Step {
  const changes: Step = new Map();
  for (let left = events; left > 0; left--) {
    const base = pick(draw, pool);
    const ref = refOf(base);
    const key = keyOf(ref);
    const object = chance(draw, 25) ? undefined : varied(draw, base, pool);
    if (object === undefined) present.delete(key);
    else present.set(key, object);
    changes.set(key, [ref, object]);
  }
  return changes;
}
