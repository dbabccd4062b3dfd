/**
 * Label and field selectors as they come in query strings and in objects. Knows no kind.
 */
import { type JsonObject, isObject } from './object.ts';
import { badRequest } from './status.ts';

export interface LabelRequirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'Gt' | 'Lt';
  readonly values: readonly string[];
}

export interface FieldRequirement {
  readonly field: string;
  readonly equal: boolean;
  readonly value: string;
}

export function matchesLabels(
  requirements: readonly LabelRequirement[],
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  return requirements.every((requirement) => {
    const value =
      labels && Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
    switch (requirement.operator) {
      case 'In':
        return value !== undefined && requirement.values.includes(value);
      case 'NotIn':
        return value === undefined || !requirement.values.includes(value);
      case 'Exists':
        return value !== undefined;
      case 'DoesNotExist':
        return value === undefined;
      case 'Gt':
        return value !== undefined && Number(value) > Number(requirement.values[0]);
      case 'Lt':
        return value !== undefined && Number(value) < Number(requirement.values[0]);
    }
  });
}

const token = /\s*(?:(\()|(\))|(,)|(!=|==|=|!|>|<)|([A-Za-z0-9_./-]+))/y;

function tokens(text: string): string[] {
  const found: string[] = [];
  token.lastIndex = 0;
  while (token.lastIndex < text.trimEnd().length) {
    const match = token.exec(text);
    if (!match)
      throw badRequest(`unable to parse requirement: found '${text}', expected: identifier`);
    found.push(match[0].trim());
  }
  return found;
}

/**
 * Parses `a=b,c!=d,e in (f,g),!h,i`. Error: 400, as the API server answers.
 */
export function parseLabelSelector(text: string): LabelRequirement[] {
  const requirements: LabelRequirement[] = [];
  const list = tokens(text);
  let position = 0;
  const isWord = (t: string | undefined): t is string =>
    t !== undefined && /^[A-Za-z0-9_./-]/.test(t);
  const fail = (): never => {
    throw badRequest(
      `unable to parse requirement: found '${list[position] ?? ''}', expected: in, notin, =, ==, !=, gt, lt`,
    );
  };
  while (position < list.length) {
    if (list[position] === '!') {
      const key = list[position + 1];
      if (!isWord(key)) return fail();
      requirements.push({ key, operator: 'DoesNotExist', values: [] });
      position += 2;
    } else {
      const key = list[position];
      if (!isWord(key)) return fail();
      position += 1;
      const operator = list[position];
      if (operator === undefined || operator === ',')
        requirements.push({ key, operator: 'Exists', values: [] });
      else if (operator === '=' || operator === '==' || operator === '!=') {
        const value = list[position + 1];
        const has = isWord(value);
        requirements.push({
          key,
          operator: operator === '!=' ? 'NotIn' : 'In',
          values: [has ? value : ''],
        });
        position += has ? 2 : 1;
      } else if (operator === '>' || operator === '<') {
        requirements.push({
          key,
          operator: operator === '>' ? 'Gt' : 'Lt',
          values: [list[position + 1] ?? ''],
        });
        position += 2;
      } else if (operator === 'in' || operator === 'notin') {
        position += 1;
        if (list[position] !== '(') return fail();
        position += 1;
        const values: string[] = [];
        while (position < list.length && list[position] !== ')') {
          const value = list[position];
          if (isWord(value)) values.push(value);
          position += 1;
        }
        if (list[position] !== ')') return fail();
        position += 1;
        requirements.push({ key, operator: operator === 'in' ? 'In' : 'NotIn', values });
      } else return fail();
    }
    if (position < list.length) {
      if (list[position] !== ',') return fail();
      position += 1;
    }
  }
  return requirements;
}

/** A LabelSelector of an object; absent selects nothing only where the caller says so. */
export function parseSelectorObject(selector: JsonObject): LabelRequirement[] {
  const requirements: LabelRequirement[] = [];
  const labels = selector['matchLabels'];
  if (isObject(labels))
    for (const [key, value] of Object.entries(labels))
      requirements.push({ key, operator: 'In', values: [String(value)] });
  const expressions = selector['matchExpressions'];
  if (Array.isArray(expressions))
    for (const expression of expressions.filter(isObject))
      requirements.push({
        key: String(expression['key']),
        operator: expression['operator'] as LabelRequirement['operator'],
        values: Array.isArray(expression['values']) ? expression['values'].map(String) : [],
      });
  return requirements;
}

/** Parses `a=b,c!=d` with `\,`, `\=` and `\\` as escapes. */
export function parseFieldSelector(text: string): FieldRequirement[] {
  const requirements: FieldRequirement[] = [];
  for (const part of text.split(/(?<!\\),/)) {
    if (part.trim() === '') continue;
    const match = /^(.*?)(!=|==|=)(.*)$/.exec(part);
    if (!match) throw badRequest(`invalid selector: '${text}'; can't understand '${part}'`);
    const [, field = '', operator, value = ''] = match;
    requirements.push({
      field: field.trim(),
      equal: operator !== '!=',
      value: value.replace(/\\(.)/g, '$1'),
    });
  }
  return requirements;
}

/** Error: 400 for a field the kind does not offer. */
export function matchesFields(
  requirements: readonly FieldRequirement[],
  values: Readonly<Record<string, string>>,
): boolean {
  return requirements.every(({ field, equal, value }) => {
    const found = Object.hasOwn(values, field) ? values[field] : undefined;
    if (found === undefined) throw badRequest(`field label not supported: ${field}`);
    return (found === value) === equal;
  });
}
