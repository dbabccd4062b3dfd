/**
 * The inverted index of selectors: a pod's namespace and labels to the matchers that may select it,
 * without asking each. Must not know what a match is good for.
 */
import { matches } from '../k8s/selector.ts';
import type { Labels } from '../k8s/types.ts';
import type { PodMatcher } from '../policy/compiled.ts';
import { namespaceLabelsOf } from './node-facts.ts';

/** The parts of a pod that matchers look at. */
export interface Labelled {
  readonly namespace: string;
  readonly labels: Labels;
}

export interface MatcherIndex<T> {
  add(item: T, matcher: PodMatcher): void;
  /** `matcher` as it was given to `add`. */
  delete(item: T, matcher: PodMatcher): void;
  /** Calls `found`, which must not change the index, with each item whose matcher selects the pod. */
  each(pod: Labelled, namespaceLabels: Labels | undefined, found: (item: T) => void): void;
  /** Items whose matcher asks for labels of the namespace. */
  readonly byNamespaceLabels: Iterable<readonly [T, PodMatcher]>;
}

/**
 * A matcher stands under the namespace it names (or none) and the values of the first label that its
 * pod selector wants one of (or none). A pod is looked up under each of its labels.
 */
export function createMatcherIndex<T>(): MatcherIndex<T> {
  const shelves = new Map<string, Map<T, PodMatcher>>();
  const byNamespaceLabels = new Map<T, PodMatcher>();

  const placesOf = ({ namespaces, pods }: PodMatcher): string[] => {
    const where = 'name' in namespaces ? namespaces.name : '';
    const wanted = pods.requirements.find(({ operator }) => operator === 'In');
    if (wanted === undefined) return [where];
    return wanted.values.map((value) => labelPlace(where, wanted.key, value));
  };

  return {
    add(item, matcher) {
      for (const place of placesOf(matcher)) {
        const shelf = shelves.get(place);
        if (shelf === undefined) shelves.set(place, new Map([[item, matcher]]));
        else shelf.set(item, matcher);
      }
      if (!('name' in matcher.namespaces)) byNamespaceLabels.set(item, matcher);
    },
    delete(item, matcher) {
      for (const place of placesOf(matcher)) {
        const shelf = shelves.get(place);
        if (shelf?.delete(item) === true && shelf.size === 0) shelves.delete(place);
      }
      byNamespaceLabels.delete(item);
    },
    each(pod, given, found) {
      const namespaceLabels = namespaceLabelsOf(given, pod.namespace);
      const look = (place: string): void => {
        for (const [item, { namespaces, pods }] of shelves.get(place) ?? [])
          if (
            ('name' in namespaces || matches(namespaces.selector, namespaceLabels)) &&
            matches(pods, pod.labels)
          )
            found(item);
      };
      for (const where of ['', pod.namespace]) {
        look(where);
        for (const [key, value] of Object.entries(pod.labels)) look(labelPlace(where, key, value));
      }
    },
    byNamespaceLabels,
  };
}

function labelPlace(namespace: string, key: string, value: string): string {
  return `${namespace}\u0000${key}\u0000${value}`;
}
