/**
 * Small random clusters on one node in which everybody is selected by something, and clusters one
 * changed object later. Must not know what is tested with them.
 */
import type { KubeObject } from '../../src/k8s/types.ts';
import { clusterPolicy, namespace, networkPolicy, node, pod } from '../cluster.ts';
import { pick } from './draw.ts';
import type { Draw } from './draw.ts';

const labels = ['x', 'y', 'z'] as const;

function randomPod(draw: Draw, number: number): KubeObject {
  return pod(`a/p${number}`, {
    labels: { l: pick(draw, labels) },
    ips: [`10.0.0.${number + 1}`, `fd00::${number + 1}`],
    node: 'n',
  });
}

const selected = (draw: Draw): object => ({
  podSelector: { matchLabels: { l: pick(draw, labels) } },
});

/** Deep: with what makes programs long, Pass rules and audited policies. */
export type Depth = 'deep' | 'shallow';

const audited = (draw: Draw, policy: KubeObject, depth: Depth): KubeObject =>
  depth === 'shallow' || draw.integer(0, 3) > 0
    ? policy
    : { ...policy, metadata: { ...policy.metadata, annotations: { 'podwall.dev/mode': 'audit' } } };

function randomPolicy(draw: Draw, number: number, depth: Depth): KubeObject {
  const rule = (peers: 'from' | 'to'): object => ({
    [peers]: Array.from({ length: draw.integer(1, 2) }, () => selected(draw)),
    ...(draw.integer(0, 3) === 0 ? { ports: [{ port: 80 }] } : {}),
  });
  const rules = (peers: 'from' | 'to'): object[] =>
    Array.from({ length: draw.integer(0, 2) }, () => rule(peers));
  if (draw.integer(0, 4) > 0)
    return audited(
      draw,
      networkPolicy(`a/np${number}`, {
        ...selected(draw),
        policyTypes: pick(draw, [['Ingress'], ['Egress'], ['Ingress', 'Egress']]),
        ingress: rules('from'),
        egress: rules('to'),
      }),
      depth,
    );
  const tiered = (peers: 'from' | 'to'): object[] =>
    Array.from({ length: draw.integer(0, 2) }, () => ({
      action: pick(draw, depth === 'deep' ? ['Accept', 'Deny', 'Pass'] : ['Accept', 'Deny']),
      [peers]: [{ pods: { ...selected(draw), namespaceSelector: {} } }],
    }));
  return clusterPolicy(`cnp${number}`, {
    tier: pick(draw, ['Admin', 'Baseline']),
    priority: number,
    subject: { pods: { ...selected(draw), namespaceSelector: {} } },
    ingress: tiered('from'),
    egress: tiered('to'),
  });
}

/** A namespace, a node, pods 10.0.0.1 to .4 (fd00::1 to ::4), and policies of all tiers, some only audited. */
export function randomObjects(draw: Draw, depth: Depth): KubeObject[] {
  return [
    namespace('a'),
    node('n', ['192.168.0.1']),
    ...Array.from({ length: 4 }, (_, number) => randomPod(draw, number)),
    ...Array.from({ length: draw.integer(2, 5) }, (_, number) => randomPolicy(draw, number, depth)),
  ];
}

/** One object later: a pod's labels, or a policy that comes, goes or says something else. */
export function changed(draw: Draw, objects: readonly KubeObject[], depth: Depth): KubeObject[] {
  const next = [...objects];
  const at = draw.integer(2, next.length - 1);
  const number = at - 6;
  if (number < 0) next[at] = randomPod(draw, at - 2);
  else if (draw.integer(0, 3) === 0) next.splice(at, 1);
  else next[at] = randomPolicy(draw, number, depth);
  return next;
}
