/**
 * Walks the corpus of policies: every file under `invalid/` has one fault, and says in its first
 * lines what the API server makes of it; every file under `valid/` is accepted.
 *
 *     # expect: <path> <kind> <detail>     one per error, in order; kinds as in FieldError, or
 *                                          UnknownField <suggestion or ->, or WrongType <message>
 *     # line: <n>                          the line the first diagnostic points at
 *     # options: strictCidr channel=standard
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatFieldError, quoteGo } from '../../src/k8s/field-error.ts';
import { parseManifests } from '../../src/manifest/parse.ts';
import { checkPolicy, type CheckOptions, type CheckResult } from '../../src/policy/index.ts';

const root = import.meta.dirname;

function filesIn(folder: string): string[] {
  return readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.yaml'))
    .sort();
}

function header(text: string, name: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith(`# ${name}: `))
    .map((line) => line.slice(name.length + 4));
}

function optionsOf(text: string): CheckOptions {
  const words = header(text, 'options').flatMap((line) => line.split(' '));
  return {
    ...(words.includes('strictCidr') ? { strictCidr: true } : {}),
    ...(words.includes('channel=standard') ? { channel: 'standard' } : {}),
    ...(words.includes('dropUnknown') ? { fieldValidation: 'warn' } : {}),
  };
}

function check(folder: string, file: string): { text: string; result: CheckResult } {
  const text = readFileSync(join(root, folder, file), 'utf8');
  const parsed = parseManifests({ file, text });
  expect(parsed.diagnostics).toEqual([]);
  expect(parsed.objects).toHaveLength(1);
  const [object] = parsed.objects;
  return { text, result: checkPolicy(object as NonNullable<typeof object>, optionsOf(text)) };
}

interface Expectation {
  readonly path: string;
  readonly kind: string;
  readonly detail: string;
}

function expectations(text: string): Expectation[] {
  return header(text, 'expect').map((line) => {
    const [path = '', kind = '', ...rest] = line.split(' ');
    return { path, kind, detail: rest.join(' ') };
  });
}

const invalidFiles = filesIn('invalid');
const validFiles = filesIn('valid');

it('is large enough to mean something', () => {
  expect(invalidFiles.length).toBeGreaterThanOrEqual(150);
  expect(validFiles.length).toBeGreaterThanOrEqual(20);
});

describe('invalid', () => {
  it.each(invalidFiles)('%s', (file) => {
    const { text, result } = check('invalid', file);
    const expected = expectations(text);
    expect(expected.length).toBeGreaterThan(0);
    const [first] = expected as [Expectation];

    if (first.kind === 'UnknownField') {
      const suggestion = first.detail;
      expect(result.diagnostics.map(({ code, message }) => ({ code, message }))).toEqual([
        {
          code: 'unknown-field',
          message: `strict decoding error: unknown field ${quoteGo(first.path)}`,
        },
      ]);
      const hint = result.diagnostics[0]?.hint ?? '';
      const meant = /^Did you mean "([^"]*)"\?/.exec(hint)?.[1] ?? '-';
      expect(meant).toBe(suggestion);
      expect(hint).toContain('not asked to be strict drops it');
    } else if (first.kind === 'WrongType') {
      expect(result.diagnostics.map(({ code, message }) => ({ code, message }))).toEqual([
        { code: 'wrong-type', message: `${first.path}: ${first.detail}` },
      ]);
      expect(result.errors).toEqual([]);
    } else {
      expect(result.errors.map(({ path, kind, detail }) => ({ path, kind, detail }))).toEqual(
        expected,
      );
      expect(result.diagnostics.map(({ message }) => message)).toEqual(
        result.errors.map(formatFieldError),
      );
    }
    expect(result.policy).toBeUndefined();
    expect(result.diagnostics[0]?.severity).toBe('error');
    const [line] = header(text, 'line');
    expect(result.diagnostics[0]?.range?.start.line).toBe(Number(line));
  });
});

describe('valid', () => {
  it.each(validFiles)('%s', (file) => {
    const { text, result } = check('valid', file);
    expect(result.errors).toEqual([]);
    expect(result.diagnostics.map(({ severity, message }) => `${severity} ${message}`)).toEqual(
      header(text, 'warns').map((message) => `warning ${message}`),
    );
    expect(result.policy?.ref.name).toBe(result.defaulted?.metadata.name);
  });
});
