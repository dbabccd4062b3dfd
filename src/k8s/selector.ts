/**
 * Label selectors: compiled once, matched often, printed as kubectl prints them. Must not know which
 * field a selector came from; what an absent selector means there is the field's business (S90).
 */
import type { Labels, LabelSelector, SelectorOperator } from './types.ts';

export interface Requirement {
  readonly key: string;
  readonly operator: SelectorOperator;
  /** Sorted, without repeats; empty for Exists and DoesNotExist. */
  readonly values: readonly string[];
}

export interface Selector {
  /** All must hold (S91). Sorted; without repeats. Empty: everything, unless `nothing`. */
  readonly requirements: readonly Requirement[];
  /** As kubectl prints it (S211): `<none>` for everything, `<error>` when it does not convert. */
  readonly text: string;
  /** Present on a selector that matches nothing whatever the labels: absent (S90) or not convertible. */
  readonly nothing?: boolean;
  /** Why a selector does not convert. Such a selector never passes validation (S82–S84). */
  readonly fault?: string;
  /** Equal for selectors with the same requirements, however they were written: a key for maps. */
  readonly id: string;
}

/** Matches every object (S89). */
export const selectorEverything: Selector = Object.freeze({
  requirements: Object.freeze([]),
  text: '<none>',
  id: '',
});

/** Matches no object: the selector that is not there (S90). */
export const selectorNothing: Selector = Object.freeze({
  requirements: Object.freeze([]),
  text: '<none>',
  nothing: true,
  id: 'nothing',
});

/** Compiles a selector. Absent or null gives {@link selectorNothing}; `{}` {@link selectorEverything}. */
export function compileSelector(selector: LabelSelector | null | undefined): Selector {
  if (selector === undefined || selector === null) return selectorNothing;
  const printed: { key: string; text: string }[] = [];
  const requirements = new Map<string, Requirement>();

  const add = (requirement: Requirement, text: string): void => {
    printed.push({ key: requirement.key, text });
    requirements.set(idOf(requirement), requirement);
  };

  // Object.entries sees own keys only, `__proto__` among them.
  const labels: Readonly<Record<string, string | null>> = selector.matchLabels ?? {};
  for (const [key, given] of Object.entries(labels)) {
    // Go decodes a null value of a string map to the empty string.
    const value = given ?? '';
    add({ key, operator: 'In', values: [value] }, `${key}=${value}`);
  }

  for (const expression of selector.matchExpressions ?? []) {
    const { key, operator } = expression;
    const values = (expression.values ?? []).toSorted(byCodeUnits);
    switch (operator) {
      case 'In':
      case 'NotIn':
        if (values.length === 0) return broken(`${operator} needs at least one value`);
        add(
          { key, operator, values: [...new Set(values)] },
          `${key} ${operator === 'In' ? 'in' : 'notin'} (${values.join(',')})`,
        );
        break;
      case 'Exists':
      case 'DoesNotExist':
        if (values.length > 0) return broken(`${operator} takes no values`);
        add({ key, operator, values }, operator === 'Exists' ? key : `!${key}`);
        break;
      default:
        return broken(`${JSON.stringify(operator)} is not a valid label selector operator`);
    }
  }

  if (requirements.size === 0) return selectorEverything;
  const sorted = [...requirements].sort((a, b) => byCodeUnits(a[0], b[0]));
  return {
    requirements: sorted.map(([, requirement]) => requirement),
    text: printed
      .sort((a, b) => byCodeUnits(a.key, b.key))
      .map(({ text }) => text)
      .join(','),
    id: sorted.map(([id]) => id).join(''),
  };
}

/** JSON keeps it unambiguous whatever a key or value holds. */
function idOf({ key, operator, values }: Requirement): string {
  return JSON.stringify([key, operator, ...values]);
}

function broken(fault: string): Selector {
  return { requirements: [], text: '<error>', nothing: true, fault, id: 'nothing' };
}

/** Not localeCompare: order must not depend on the machine. */
function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Whether a selector matches an object's labels (S89–S97). Absent labels are no labels. */
export function matches(selector: Selector, labels: Labels | null | undefined): boolean {
  if (selector.nothing === true) return false;
  for (const requirement of selector.requirements) if (!meets(requirement, labels)) return false;
  return true;
}

function meets(requirement: Requirement, labels: Labels | null | undefined): boolean {
  // What an object inherits (`constructor`, `__proto__`) is never a string, so this sees own labels only.
  const value: unknown = labels?.[requirement.key];
  const present = typeof value === 'string';
  switch (requirement.operator) {
    case 'In':
      return present && has(requirement.values, value);
    case 'NotIn':
      return !present || !has(requirement.values, value);
    case 'Exists':
      return present;
    case 'DoesNotExist':
      return !present;
  }
}

function has(values: readonly string[], value: string): boolean {
  if (values.length <= 8) return values.includes(value);
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] as string) < value) low = middle + 1;
    else high = middle;
  }
  return values[low] === value;
}

/** The selector as kubectl prints it (S211). */
export function formatSelector(selector: Selector): string {
  return selector.text;
}

/** Whether two selectors have the same requirements: they then match the same objects. */
export function equalSelectors(a: Selector, b: Selector): boolean {
  return a === b || a.id === b.id;
}

/**
 * The label keys a selector reads. Two objects that agree on these match alike, so an index over
 * label sets needs no other key.
 */
export function selectorKeys(selector: Selector): readonly string[] {
  return [...new Set(selector.requirements.map(({ key }) => key))];
}
