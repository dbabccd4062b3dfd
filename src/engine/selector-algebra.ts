/**
 * What selectors say of any labels there could be: whether one implies another, whether one can match
 * at all, and labels that it matches. Must not know of objects that exist.
 */
import type { Selector } from '../k8s/selector.ts';
import type { Labels } from '../k8s/types.ts';

/** What a selector demands of one key: which values, and whether the label may be missing. */
interface Demand {
  readonly absent: boolean;
  /** With `others` all values but these, else only these. */
  readonly values: ReadonlySet<string>;
  readonly others: boolean;
}

const anything: Demand = { absent: true, values: new Set(), others: true };

/** Per key; undefined when nothing can match. */
function demandsOf(selector: Selector): ReadonlyMap<string, Demand> | undefined {
  if (selector.nothing === true) return undefined;
  const demands = new Map<string, Demand>();
  for (const { key, operator, values } of selector.requirements) {
    const own: Demand =
      operator === 'In'
        ? { absent: false, values: new Set(values), others: false }
        : operator === 'NotIn'
          ? { absent: true, values: new Set(values), others: true }
          : operator === 'Exists'
            ? { absent: false, values: new Set(), others: true }
            : { absent: true, values: new Set(), others: false };
    const both = meet(demands.get(key) ?? anything, own);
    if (!both.absent && !both.others && both.values.size === 0) return undefined;
    demands.set(key, both);
  }
  return demands;
}

function meet(a: Demand, b: Demand): Demand {
  const absent = a.absent && b.absent;
  if (a.others && b.others)
    return { absent, values: new Set([...a.values, ...b.values]), others: true };
  const [finite, other] = a.others ? [b, a] : [a, b];
  const values = new Set([...finite.values].filter((value) => admits(other, value)));
  return { absent, values, others: false };
}

function admits(demand: Demand, value: string): boolean {
  return demand.values.has(value) !== demand.others;
}

/** Exact: there are more label values than any selector lists. */
function within(a: Demand, b: Demand): boolean {
  if (a.absent && !b.absent) return false;
  if (!a.others) return [...a.values].every((value) => admits(b, value));
  return b.others && [...b.values].every((value) => a.values.has(value));
}

/** Whether some labels match. */
export function isSatisfiable(selector: Selector): boolean {
  return demandsOf(selector) !== undefined;
}

/** Whether all labels that match `a` match `b`, whatever objects there are. Exact. */
export function implies(a: Selector, b: Selector): boolean {
  const narrow = demandsOf(a);
  if (narrow === undefined) return true;
  const wide = demandsOf(b);
  if (wide === undefined) return false;
  return [...wide].every(([key, demand]) => within(narrow.get(key) ?? anything, demand));
}

/**
 * Labels that match; undefined when none do. `full`: keys that may be missing get a value that no
 * selector of these names, so that both sorts of object can be tried.
 */
export function exampleLabels(selector: Selector, full: boolean): Labels | undefined {
  const demands = demandsOf(selector);
  if (demands === undefined) return undefined;
  const labels: Record<string, string> = {};
  for (const [key, { absent, values, others }] of demands) {
    if (absent && !full) continue;
    const value = others ? fresh(values) : [...values][0];
    if (value !== undefined) labels[key] = value;
  }
  return labels;
}

function fresh(taken: ReadonlySet<string>): string {
  for (let i = 0; ; i += 1) if (!taken.has(`any${i}`)) return `any${i}`;
}
