import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseManifests } from './parse.ts';

/** Milliseconds that reading any of these small inputs may take; the machine may be busy. */
const BOUND = 10_000;

function survives(text: string | Uint8Array): void {
  const started = performance.now();
  const result = parseManifests({ file: 'fuzz', text });
  for (const { object, source, locate } of result.objects) {
    expect(typeof object.apiVersion).toBe('string');
    expect(typeof object.kind).toBe('string');
    expect(typeof object.metadata).toBe('object');
    expect(source.start.line).toBeGreaterThan(0);
    for (const path of ['', 'metadata.name', 'spec.ingress[0].from[1]', 'a[b].c'])
      expect(locate(path).start.column).toBeGreaterThan(0);
    JSON.stringify(object);
  }
  for (const diagnostic of result.diagnostics) {
    expect(diagnostic.code).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
    expect(diagnostic.message.length).toBeGreaterThan(0);
    expect(diagnostic.message).not.toMatch(/\n|undefined|\[object/);
    const { range } = diagnostic;
    expect(range?.file).toBe('fuzz');
    expect(range?.start.line).toBeGreaterThan(0);
    expect(range?.start.column).toBeGreaterThan(0);
  }
  if (result.skippedDocuments > 0) expect(result.diagnostics.length).toBeGreaterThan(0);
  expect(performance.now() - started).toBeLessThan(BOUND);
  expect(Object.keys(Object.prototype)).toEqual([]);
}

const policy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  labels: {app: web, "x.io/y": 'z'}
spec:
  podSelector:
    matchLabels:
      app: web
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {}
    - ipBlock:
        cidr: 10.0.0.0/8
        except: ["10.1.0.0/16"]
    ports:
    - port: 80
      protocol: TCP
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: &m
    name: c
  data:
    text: |
      one
      two
- apiVersion: v1
  kind: ConfigMap
  metadata: *m
`;

const json = JSON.stringify(
  {
    apiVersion: 'v1',
    kind: 'List',
    items: [
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a', labels: { 'x/y': 'z"\\é' } } },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: null,
        spec: { n: [1, -2.5e3, true, null, {}, []] },
      },
    ],
  },
  null,
  2,
);

const pieces = fc.constantFrom(
  ' ',
  '\n',
  '\t',
  '\r',
  '-',
  '- ',
  ':',
  ': ',
  '#',
  '"',
  "'",
  '{',
  '}',
  '[',
  ']',
  ',',
  '|',
  '>',
  '&a ',
  '*a',
  '!',
  '!!set ',
  '!!binary ',
  '%YAML 1.2\n',
  '---\n',
  '...\n',
  '<<: *m\n',
  '? ',
  '{{ .Values.x }}',
  '{{-',
  '}}',
  '\u0000',
  '\uFEFF',
  '\u2028',
  '\uD800',
  '__proto__: {a: 1}\n',
  'constructor: 1\n',
  '"__proto__": {},',
  '\\u12',
  'items:\n',
  'kind: PodList\n',
  '9'.repeat(400),
  'a'.repeat(2000),
  '- '.repeat(60),
  '{"a":'.repeat(60),
);

const mutated = fc
  .tuple(
    fc.constantFrom(policy, json, policy + json, json + policy),
    fc.array(fc.tuple(fc.nat(2000), fc.nat(5), fc.option(pieces)), { minLength: 1, maxLength: 6 }),
  )
  .map(([text, edits]) =>
    edits.reduce((current, [at, remove, insert]) => {
      const place = at % (current.length + 1);
      return current.slice(0, place) + (insert ?? '') + current.slice(place + remove);
    }, text),
  );

it('tells a broken escape at the end of a line in one line', () => {
  const [fault] = parseManifests({ file: 'f', text: 'a: ["10.1.0.0/\\u12]\n' }).diagnostics;
  expect(fault?.message).toContain('Invalid escape sequence');
  expect(fault?.message).not.toContain('\n');
});

describe('parseManifests survives', () => {
  it('mutated manifests', () => {
    fc.assert(fc.property(mutated, survives), { numRuns: 3000, interruptAfterTimeLimit: 3000 });
  });

  it('mutated bytes, invalid UTF-8 among them', () => {
    const edit = fc.tuple(fc.nat(3000), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(
        fc.constantFrom(policy, json),
        fc.array(edit, { minLength: 1, maxLength: 4 }),
        (text, edits) => {
          const bytes = new Uint8Array(Buffer.from(text));
          for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
          survives(bytes);
        },
      ),
      { numRuns: 1500, interruptAfterTimeLimit: 2000 },
    );
  });

  it('bytes and texts at random', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.string({ unit: 'binary', maxLength: 300 }),
        (bytes, text) => {
          survives(bytes);
          survives(text);
        },
      ),
      { numRuns: 800, interruptAfterTimeLimit: 1500 },
    );
  });

  it('punctuation at random', () => {
    const text = fc.string({
      unit: fc.constantFrom(...`ab: -\n  "'#{}[],|>&*!%@\t\r0.~?\\<`),
      maxLength: 200,
    });
    fc.assert(
      fc.property(text, (tail) => {
        survives(tail);
        survives(`apiVersion: v1\nkind: X\nspec: ${tail}`);
      }),
      { numRuns: 1500, interruptAfterTimeLimit: 2000 },
    );
  });

  it('any JSON value, which comes back unchanged', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (spec) => {
        const text = JSON.stringify({ apiVersion: 'v1', kind: 'X', metadata: {}, spec });
        survives(text);
        const [first] = parseManifests({ file: 'f', text }).objects;
        expect(first?.object).toEqual(JSON.parse(text));
      }),
      { numRuns: 500, interruptAfterTimeLimit: 1500 },
    );
  });

  it.each([
    ['brackets', '['.repeat(200_000)],
    ['closed brackets', `a: ${'['.repeat(100_000)}${']'.repeat(100_000)}`],
    ['dashes', '- '.repeat(100_000)],
    ['question marks', '? '.repeat(50_000)],
    ['anchors', '&a '.repeat(20_000)],
    ['anchored nulls', Array.from({ length: 20_000 }, (_, i) => `- &a${i} *a${i - 1}\n`).join('')],
    ['aliases of one value', `a: &a {b: c}\nlist:\n${'- *a\n'.repeat(50_000)}`],
    ['wide alias bomb', `a: &a [${'x,'.repeat(1000)}]\nb: [${'*a,'.repeat(1000)}]\n`],
    [
      'merge bomb',
      Array.from(
        { length: 30 },
        (_, i) => `a${i}: &a${i} {<<: [*a${i - 1}, *a${i - 1}], k${i}: 1}\n`,
      ).join(''),
    ],
    ['quotes', `a: ${'"'.repeat(100_001)}`],
    ['open quote', `a: "${'x\n'.repeat(50_000)}`],
    ['long line', `a: ${'x '.repeat(500_000)}`],
    ['many keys', Array.from({ length: 30_000 }, (_, i) => `&k${i} k${i}: v\n`).join('')],
    ['one key, often', 'a: &x 1\n'.repeat(30_000)],
    ['document marks', '---\n'.repeat(100_000)],
    ['documents', 'a: [\n---\n'.repeat(5000)],
    ['comments', '# c\n'.repeat(200_000)],
    ['spaces', ' '.repeat(1_000_000)],
    ['indentation', Array.from({ length: 1500 }, (_, i) => `${' '.repeat(i)}k:\n`).join('')],
    ['tags', '!a '.repeat(20_000)],
    ['directives', '%A b\n'.repeat(20_000)],
    ['template braces', '{{ '.repeat(20_000)],
    ['template guess', `${' '.repeat(50_000)}- ${'a:'.repeat(50_000)} {{`],
    ['JSON braces', '{"a":'.repeat(100_000)],
    ['JSON values in a row', '{}'.repeat(50_000)],
    ['JSON with one fault at the end', `[${'1,'.repeat(300_000)}x]`],
    ['JSON backslashes', `{"a": "${'\\'.repeat(100_001)}`],
    [
      'JSON lists in lists',
      '{"apiVersion":"v1","kind":"List","items":['.repeat(100) + ']}'.repeat(100),
    ],
  ])('%s', (_, text) => {
    const started = performance.now();
    survives(text);
    expect(performance.now() - started).toBeLessThan(BOUND);
  });
});
