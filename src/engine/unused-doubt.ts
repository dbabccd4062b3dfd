/**
 * Why a selector that finds nothing in the input may find something in the cluster. Must not know what
 * is concluded from that.
 */
import { formatSelector, matches } from '../k8s/selector.ts';
import type { PodMatcher } from '../policy/compiled.ts';
import { madeByOperator } from './operators.ts';
import type { Snapshot } from './snapshot.ts';

/** Why a selector that finds nothing may still be in use. */
export function doubtOf(snapshot: Snapshot, matcher: PodMatcher): string | undefined {
  if (snapshot.pods.length === 0) return 'there are no pods in the input';
  const operator = madeByOperator(matcher.pods);
  // Pods that run were listed by a cluster: then those of operators are among them.
  const live = snapshot.pods.some((pod) => !pod.template);
  if (operator !== undefined && !live) return `its pods are made by ${operator}, not by the input`;
  if ('name' in matcher.namespaces) {
    const { name } = matcher.namespaces;
    if (!snapshot.pods.some((pod) => pod.namespace === name) && !live)
      return `the input has no pods of namespace ${name}`;
  } else if (!live) {
    const { selector } = matcher.namespaces;
    const given = [...snapshot.namespaces.values()];
    if (!given.some(({ labels }) => matches(selector, labels)))
      return `the input has no namespace with ${formatSelector(selector)}`;
  }
  return undefined;
}

/** S184: whether policy reaches pods of the host's network differs between network plugins. */
export function hostDoubt(snapshot: Snapshot, matcher: PodMatcher): string | undefined {
  const hosted = snapshot.pods.some(
    (pod) =>
      pod.hostNetwork &&
      matches(matcher.pods, pod.labels) &&
      ('name' in matcher.namespaces
        ? matcher.namespaces.name === pod.namespace
        : matches(matcher.namespaces.selector, snapshot.namespaces.get(pod.namespace)?.labels)),
  );
  return hosted
    ? "it selects only pods that use their node's network: whether policy applies to them differs between network plugins"
    : undefined;
}
