/**
 * Finds objects by label without looking at each: key and value to the objects that have them. Must
 * not know what the objects are.
 */
import type { Selector } from '../k8s/selector.ts';
import type { Labels } from '../k8s/types.ts';

export interface LabelIndex {
  add(id: number, labels: Labels): void;
  /** A list that holds every object the selector can match, in order of adding; undefined: all. */
  candidates(selector: Selector): readonly number[] | undefined;
}

/** `keys`: only these are indexed; a selector on another key has all objects as candidates. */
export function createLabelIndex(): LabelIndex {
  const byKey = new Map<string, Map<string, number[]>>();
  return {
    add(id, labels) {
      for (const key in labels) {
        const value = labels[key] as string;
        let values = byKey.get(key);
        if (values === undefined) byKey.set(key, (values = new Map()));
        const list = values.get(value);
        if (list === undefined) values.set(value, [id]);
        else if (list[list.length - 1] !== id) list.push(id);
      }
    },
    candidates(selector) {
      let best: readonly number[] | undefined;
      for (const { key, operator, values } of selector.requirements) {
        if (operator !== 'In') continue;
        const known = byKey.get(key);
        const found =
          values.length === 1
            ? (known?.get(values[0] as string) ?? [])
            : values.flatMap((value) => known?.get(value) ?? []);
        if (best === undefined || found.length < best.length) best = found;
      }
      return best;
    },
  };
}
