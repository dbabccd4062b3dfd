/**
 * Three-valued logic over facts that may be missing, and label matching in it. Must not know of
 * policies or pods.
 */
import { matches } from '../k8s/selector.ts';
import type { Selector } from '../k8s/selector.ts';
import type { Labels } from '../k8s/types.ts';

/** `maybe`: the facts that would decide are not in the input. */
export type Truth = 'yes' | 'no' | 'maybe';

export function truthOf(value: boolean): Truth {
  return value ? 'yes' : 'no';
}

export function and(a: Truth, b: Truth): Truth {
  if (a === 'no' || b === 'no') return 'no';
  return a === 'yes' && b === 'yes' ? 'yes' : 'maybe';
}

export function or(a: Truth, b: Truth): Truth {
  if (a === 'yes' || b === 'yes') return 'yes';
  return a === 'no' && b === 'no' ? 'no' : 'maybe';
}

/** What several candidates for one fact agree on; `maybe` when they differ. Empty: `maybe`. */
export function agreed(values: readonly Truth[]): Truth {
  const first = values[0];
  if (first === undefined) return 'maybe';
  for (const value of values) if (value !== first) return 'maybe';
  return first;
}

/**
 * Whether a selector matches (S89–S97). With `complete` false the object may have more labels than
 * the ones given, so a requirement on any other key is not decided.
 */
export function selects(selector: Selector, labels: Labels, complete: boolean): Truth {
  if (complete) return matches(selector, labels) ? 'yes' : 'no';
  if (selector.nothing === true) return 'no';
  let result: Truth = 'yes';
  for (const requirement of selector.requirements) {
    if (!Object.hasOwn(labels, requirement.key)) {
      result = 'maybe';
      continue;
    }
    const value = labels[requirement.key] ?? '';
    const met =
      requirement.operator === 'In'
        ? requirement.values.includes(value)
        : requirement.operator === 'NotIn'
          ? !requirement.values.includes(value)
          : requirement.operator === 'Exists';
    if (!met) return 'no';
  }
  return result;
}
