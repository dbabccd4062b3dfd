import { describe, expect, it } from 'vitest';
import type { Diagnostic, SourceRange } from '../k8s/diagnostic.ts';
import { parseManifests } from './parse.ts';
import type { ManifestObject, ManifestResult } from './parse.ts';

const policy = `# the shop
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  labels:
    app.kubernetes.io/name: "web"
spec:
  podSelector: {}
  ingress:
  - from:
    - podSelector:
        matchLabels: { app: a }
    - ipBlock:
        cidr: 10.0.0.0/8   # the office
        except: [10.1.0.0/16, 10.2.0.0/16]
    ports:
      - port: 80
`;

function parse(text: string | Uint8Array): ManifestResult {
  return parseManifests({ file: 'f.yaml', text });
}

function only(text: string): ManifestObject {
  const result = parse(text);
  expect(result.diagnostics).toEqual([]);
  expect(result.objects).toHaveLength(1);
  return result.objects[0] as ManifestObject;
}

function codes(result: ManifestResult): string[] {
  return result.diagnostics.map(({ code }) => code);
}

function show(range: SourceRange | undefined): string {
  if (range === undefined) return 'nowhere';
  const end = range.end === undefined ? '' : `-${range.end.line}:${range.end.column}`;
  return `${range.start.line}:${range.start.column}${end}`;
}

function where(diagnostic: Diagnostic | undefined): string {
  return show(diagnostic?.range);
}

const paths: [string, string][] = [
  ['', '2:1-2:33'],
  ['kind', '3:1-3:20'],
  ['metadata', '4:1-4:9'],
  ['metadata.name', '5:3-5:12'],
  ['metadata.labels[app.kubernetes.io/name]', '7:5-7:34'],
  ['metadata.labels.app.kubernetes.io/name', '7:5-7:34'],
  ['spec.podSelector', '9:3-9:14'],
  ['spec.ingress[0]', '11:5-11:10'],
  ['spec.ingress[0].from[1]', '14:7-14:15'],
  ['spec.ingress[0].from[1].ipBlock.cidr', '15:9-15:25'],
  ['spec.ingress[0].from[1].ipBlock.except[1]', '16:31-16:42'],
  ['spec.ingress[0].from[0].podSelector.matchLabels[app]', '13:24-13:30'],
  ['spec.ingress[0].ports[0].port', '18:9-18:17'],
];

describe('locate', () => {
  it.each(paths)('finds %j in block YAML', (path, expected) => {
    expect(show(only(policy).locate(path))).toBe(expected);
  });

  it.each(paths)('finds %j in the same way with the full parser', (path, expected) => {
    // An explicit tag is beyond the quick reader.
    const text = policy.replace('port: 80', 'port: !!int 80');
    const shift = (range: string): string =>
      path.endsWith('.port') ? range.replace('18:17', '18:23') : range;
    expect(show(only(text).locate(path))).toBe(shift(expected));
  });

  it('answers with the nearest ancestor of an absent field', () => {
    const object = only(policy);
    for (const path of [
      'spec.ingress[0].from[1].ipBlock.absent.deeper',
      'spec.ingress[0].from[1].ipBlock[7]',
    ])
      expect(show(object.locate(path))).toBe('14:7-14:14');
    expect(show(object.locate('spec.ingress[9].from'))).toBe('10:3-10:10');
    expect(show(object.locate('status'))).toBe('2:1-2:33');
    expect(show(object.locate('kind.x'))).toBe('3:1-3:20');
    for (const odd of [
      '.',
      '[',
      ']',
      '[]',
      '..',
      'spec..',
      'spec[',
      'spec.ingress[-1]',
      'spec.ingress[1e9]',
    ])
      expect(object.locate(odd).file).toBe('f.yaml');
  });

  it('finds fields of items of a list, in YAML and in JSON', () => {
    const yaml = `apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n- kind: Pod\n  apiVersion: v1\n  metadata:\n    name: b\n`;
    const json = `{"apiVersion":"v1","kind":"List","items":[\n{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}},\n{"kind":"Pod","apiVersion":"v1",\n"metadata":{"name":"b"}}]}`;
    for (const [text, positions] of [
      [yaml, ['4:3-6:22', '7:3-10:12', '6:14-6:21', '10:5-10:12', '8:3-8:17']],
      [json, ['2:1-2:57', '3:1-4:25', '2:45-2:55', '4:13-4:23', '3:15-3:32']],
      [
        `${yaml}# and !!str\nmetadata: !!null\n`,
        ['4:3-6:22', '7:3-10:12', '6:14-6:21', '10:5-10:12', '8:3-8:17'],
      ],
    ] as const) {
      const [a, b] = parse(text).objects;
      expect([
        show(a?.source),
        show(b?.source),
        show(a?.locate('metadata.name')),
        show(b?.locate('metadata.name')),
        show(b?.locate('apiVersion')),
      ]).toEqual(positions);
    }
  });

  it('counts lines over documents and with Windows line ends', () => {
    const text = `${policy}---\n${policy}`.replaceAll('\n', '\r\n');
    const [, second] = parse(text).objects;
    expect(show(second?.locate('kind'))).toBe('22:1-22:20');
    expect(show(second?.locate('spec.ingress[0].from[1].ipBlock.cidr'))).toBe('34:9-34:25');
  });

  it('finds keys by JSON position, escapes and all', () => {
    const text =
      '{"apiVersion": "v1", "kind": "Pod",\n "metadata": {"labels": {"a\\u002fb": "x\\"]"}, "name": "n"}}';
    const object = only(text);
    expect(show(object.locate('metadata.labels[a/b]'))).toBe('2:26-2:44');
    expect(show(object.locate('metadata.name'))).toBe('2:47-2:58');
    expect(show(object.source)).toBe('1:1-2:60');
  });
});

describe('documents', () => {
  it('reads several, whatever stands between them', () => {
    const pod = (name: string): string => `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\n`;
    const text = `# head\n---\n# only a comment\n---\n\n---  \n${pod('a')}--- # b\n${pod('b')}...\n---\n---\n${pod('c')}---\nnull\n---`;
    const result = parse(text);
    expect(result.diagnostics).toEqual([]);
    expect(result.skippedDocuments).toBe(0);
    expect(result.objects.map(({ object }) => object.metadata.name)).toEqual(['a', 'b', 'c']);
    expect(result.objects.map(({ source }) => source.start.line)).toEqual([7, 11, 17]);
  });

  it('reads directives and markers with content', () => {
    const text = `%YAML 1.1\n---\n{apiVersion: v1, kind: Pod}\n--- {apiVersion: v1, kind: Pod}\n`;
    expect(parse(text).objects).toHaveLength(2);
  });

  it('reads empty input as nothing', () => {
    for (const text of ['', ' \n', '# nothing\n', '---\n', '\uFEFF', new Uint8Array()])
      expect(parse(text)).toEqual({ objects: [], diagnostics: [], skippedDocuments: 0 });
  });

  it('reads values as Kubernetes does, in YAML 1.1', () => {
    const values: [string, unknown][] = [
      ['yes', true],
      ['off', false],
      ['~', null],
      ['', null],
      ['0777', 511],
      ['0x1F', 31],
      ['1_000', 1000],
      ['08', 8],
      ['1e3', 1000],
      ['.5', 0.5],
      ['-0', 0],
      ['1:30', '1:30'],
      ['2020-01-01', '2020-01-01'],
      ['10.0.0.0/8', '10.0.0.0/8'],
      ['1.2.3', '1.2.3'],
      ['e1', 'e1'],
      ['.', '.'],
      ['100m', '100m'],
      ['"80"', '80'],
      ["'it''s'", "it's"],
      ['!!str 80', '80'],
      ['.inf', '.inf'],
      ['yEs', 'yEs'],
      ['http://x:80/#a', 'http://x:80/#a'],
    ];
    for (const [source, value] of values) {
      const block = only(`apiVersion: v1\nkind: X\nspec: ${source}\n`);
      expect([source, block.object.spec]).toEqual([source, value]);
      const full = only(`apiVersion: v1\nkind: !!str X\nspec: ${source}\n`);
      expect([source, full.object.spec]).toEqual([source, value]);
    }
  });

  it('turns keys into strings', () => {
    const { object } = only('apiVersion: v1\nkind: X\nspec: {yes: a, 8080: b, 0x10: c, "d": e}\n');
    expect(object.spec).toEqual({ true: 'a', '8080': 'b', '16': 'c', d: 'e' });
  });

  it('resolves anchors, aliases and merge keys', () => {
    const { object } = only(
      'apiVersion: v1\nkind: X\nspec:\n  a: &a {x: 1, z: 2}\n  b: *a\n  c: {<<: *a, z: 3}\n  d: {<<: [{x: 9}, *a]}\n',
    );
    expect(object.spec).toEqual({
      a: { x: 1, z: 2 },
      b: { x: 1, z: 2 },
      c: { x: 1, z: 3 },
      d: { x: 9, z: 2 },
    });
  });

  it('keeps keys that name parts of a prototype, and changes no prototype', () => {
    for (const text of [
      'apiVersion: v1\nkind: X\nmetadata:\n  labels:\n    __proto__: a\n    constructor: b\n',
      'apiVersion: v1\nkind: !!str X\nmetadata:\n  labels: {__proto__: a, constructor: b}\n',
      '{"apiVersion": "v1", "kind": "X", "metadata": {"labels": {"__proto__": "a", "constructor": "b"}}}',
      'apiVersion: v1\nkind: XList\nitems:\n- metadata: {labels: {__proto__: a, constructor: b}}\n',
    ]) {
      const { object } = only(text);
      expect(Object.entries(object.metadata.labels ?? {})).toEqual([
        ['__proto__', 'a'],
        ['constructor', 'b'],
      ]);
    }
    expect(({} as Record<string, unknown>)['a']).toBeUndefined();
    const polluted = only('{"apiVersion": "v1", "kind": "X", "__proto__": {"polluted": true}}');
    expect((polluted.object as unknown as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('gives an object without metadata an empty one', () => {
    expect(only('apiVersion: v1\nkind: X\n').object.metadata).toEqual({});
    expect(only('apiVersion: v1\nkind: X\nmetadata:\n').object.metadata).toEqual({});
  });
});

describe('lists', () => {
  it('are replaced by their items, which learn kind and version from a typed list', () => {
    const result = parse(
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'List',
        items: [
          { apiVersion: 'v1', kind: 'PodList', items: [{ metadata: { name: 'a' } }] },
          { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicyList', items: null },
          { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'b' } },
          7,
          { kind: 'Pod' },
        ],
      }),
    );
    expect(result.objects.map(({ object }) => object)).toEqual([
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' } },
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'b' } },
    ]);
    expect(result.diagnostics.map(({ code, fieldPath }) => [code, fieldPath])).toEqual([
      ['not-an-object', 'items[3]'],
      ['missing-api-version', 'items[4]'],
    ]);
  });

  it('are not every kind that ends in List', () => {
    expect(only('apiVersion: x/v1\nkind: AllowList\nspec: {a: 1}\nitems: []\n').object.kind).toBe(
      'AllowList',
    );
    expect(only('apiVersion: x/v1\nkind: AllowList\n').object.kind).toBe('AllowList');
  });
});

describe('faults', () => {
  it('of several documents are told at once, and good documents survive', () => {
    const result = parse(`a: [1\n---\napiVersion: v1\nkind: Pod\n---\nb: "x\n---\nkind: Pod\n`);
    expect(codes(result)).toContain('yaml-syntax');
    expect(codes(result).at(-1)).toBe('missing-api-version');
    expect(result.objects).toHaveLength(1);
    expect(result.skippedDocuments).toBe(3);
    expect(result.diagnostics.map(({ range }) => range?.start.line)).toEqual(
      result.diagnostics.map(({ range }) => range?.start.line).sort((a, b) => (a ?? 0) - (b ?? 0)),
    );
  });

  it('tab-indentation', () => {
    const result = parse('apiVersion: v1\nkind: Pod\nmetadata:\n\tname: a\n');
    expect(codes(result)).toContain('tab-indentation');
    const tab = result.diagnostics.find(({ code }) => code === 'tab-indentation');
    expect(tab?.range?.start.line).toBe(4);
    expect(tab?.hint).toBe('indent with spaces');
  });

  it('duplicate-key, in YAML and JSON, at the second one; the last value counts', () => {
    const yaml = parse('apiVersion: v1\nkind: Pod\nspec:\n  a: 1\n  a: 2\n');
    expect(codes(yaml)).toEqual(['duplicate-key']);
    expect(where(yaml.diagnostics[0])).toBe('5:3-5:4');
    expect(yaml.objects[0]?.object.spec).toEqual({ a: 2 });
    const json = parse('{"apiVersion": "v1", "kind": "Pod",\n "spec": {"a": 1, "a": 2}}');
    expect(codes(json)).toEqual(['duplicate-key']);
    expect(where(json.diagnostics[0])).toBe('2:19-2:22');
    expect(json.objects[0]?.object.spec).toEqual({ a: 2 });
  });

  it.each([
    ['{"apiVersion": "v1",\n "kind": Pod}', '2:10'],
    ['{"apiVersion": "v1",\n "kind": "Pod",}', '2:16'],
    ['{"apiVersion": "v1"\n "kind": "Pod"}', '2:2'],
    ['{"apiVersion": "v1", "kind": "Pod"', '1:35'],
    ['{"apiVersion": "v1", "kind": "Pod"} x', '1:37'],
    ['{"apiVersion": "v\n1"}', '1:16'],
  ])('json-syntax in %j', (text, position) => {
    const result = parse(text);
    expect(codes(result)).toEqual(['json-syntax']);
    expect(where(result.diagnostics[0])).toBe(position);
  });

  it('reads JSON values in a row, as kubectl does', () => {
    const result = parse(
      '{"apiVersion": "v1", "kind": "A"}\n{"apiVersion": "v1", "kind": "B"} {"apiVersion": "v1"',
    );
    expect(result.objects.map(({ object }) => object.kind)).toEqual(['A', 'B']);
    expect(codes(result)).toEqual(['json-syntax']);
  });

  it('alias-bomb', () => {
    const laughs = ['a: &a [x, x, x, x, x, x, x, x, x, x]'];
    for (let i = 1; i < 10; i++) {
      const [last, next] = ['abcdefghij'[i - 1] as string, 'abcdefghij'[i] as string];
      laughs.push(`${next}: &${next} [${Array(10).fill(`*${last}`).join(', ')}]`);
    }
    expect(codes(parse(laughs.join('\n')))).toEqual(['alias-bomb']);
    expect(codes(parse('apiVersion: v1\nkind: X\nspec: &a [*a]\n'))).toEqual(['alias-bomb']);
    expect(codes(parse('apiVersion: v1\nkind: X\nspec: *nowhere\n'))).toEqual(['yaml-syntax']);
  });

  it('too-deep, in every notation', () => {
    const deep = 20_000;
    for (const text of [
      '['.repeat(deep),
      '{"a":'.repeat(deep),
      `${'['.repeat(deep)}${']'.repeat(deep)}`,
      `${'{"a":'.repeat(deep)}1${'}'.repeat(deep)}`,
      `${'- '.repeat(deep)}a`,
      `a: ${'['.repeat(deep)}${']'.repeat(deep)}`,
      `spec: ${'{a: '.repeat(deep)}`,
      Array.from({ length: 400 }, (_, i) => `${' '.repeat(i)}a:\n`).join(''),
    ]) {
      const result = parse(text);
      expect(result.objects).toEqual([]);
      expect(result.diagnostics).toHaveLength(1);
      expect(['too-deep', 'json-syntax']).toContain(result.diagnostics[0]?.code);
    }
  });

  it('too-large names size and limit', () => {
    const result = parseManifests(
      { file: 'f', text: 'x'.repeat(3 * 1024 * 1024) },
      { maxBytes: 2 * 1024 * 1024 },
    );
    expect(result.diagnostics[0]).toMatchObject({
      code: 'too-large',
      message: 'the input has 3.0 MiB, more than the limit of 2.0 MiB',
    });
  });

  it('binary-input and invalid-utf8', () => {
    const bytes = (...list: number[]): Uint8Array => Uint8Array.from(list);
    expect(codes(parse('a\0b'))).toEqual(['binary-input']);
    expect(codes(parse(bytes(0x7f, 0x45, 0x4c, 0x46, 0, 0)))).toEqual(['binary-input']);
    expect(codes(parse(bytes(0xff, 0xfe, 0x61, 0)))).toEqual(['invalid-utf8']);
    const latin = parse(bytes(0x61, 0x0a, 0xc3, 0xa4, 0x20, 0xe4, 0x0a));
    expect(codes(latin)).toEqual(['invalid-utf8']);
    expect(where(latin.diagnostics[0])).toBe('2:3');
    expect(latin.diagnostics[0]?.message).toBe('byte 6 (0xe4) is not valid UTF-8');
    expect(codes(parse(bytes(0x61, 0xe2, 0x82)))).toEqual(['invalid-utf8']);
  });

  it('documents that are no objects', () => {
    expect(codes(parse('just text\n'))).toEqual(['not-an-object']);
    expect(codes(parse('- a\n- b\n'))).toEqual(['not-an-object']);
    expect(codes(parse('[1, 2]'))).toEqual(['not-an-object']);
    expect(codes(parse('replicas: 3\n'))).toEqual(['not-an-object']);
    expect(codes(parse('apiVersion: v1\n'))).toEqual(['missing-kind']);
    expect(codes(parse('apiVersion: v1\nkind: 7\n'))).toEqual(['missing-kind']);
    expect(codes(parse('kind: Pod\n'))).toEqual(['missing-api-version']);
    expect(codes(parse('apiVersion: 1\nkind: Pod\n'))).toEqual(['missing-api-version']);
    expect(codes(parse('apiVersion: v1\nkind: Pod\nmetadata: []\n'))).toEqual(['invalid-metadata']);
  });

  it.each([
    'apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Values.name }}\n',
    'apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Values.name }}-web\n',
    '{{- if .Values.enabled }}\napiVersion: v1\nkind: Pod\n{{- end }}\n',
    'apiVersion: v1\nkind: Pod\nmetadata:\n  labels:\n    {{- include "x.labels" . | nindent 4 }}\n',
    'apiVersion: v1\nkind: Pod\nspec:\n  list:\n  - {{ .Values.x }}\n  - b\n',
    'apiVersion: v1\nkind: Pod\nmetadata:\n  name: "{{ .Release.Name }}-web"\n',
  ])('helm-template: %j', (text) => {
    const result = parse(text);
    expect(codes(result)).toEqual(['helm-template']);
    expect(result.objects).toEqual([]);
    expect(result.diagnostics[0]?.hint).toBe('render it first: helm template … | podwall … -f -');
  });

  it('does not take quoted braces for a template', () => {
    const text =
      'apiVersion: v1\nkind: ConfigMap\ndata:\n  a: "{{ $value }}"\n  b: |\n    {{ x }}\n';
    expect(only(text).object.kind).toBe('ConfigMap');
  });

  it('are limited in number', () => {
    const result = parse('x: [\n---\n'.repeat(1000));
    expect(result.diagnostics.length).toBeLessThan(210);
    expect(codes(result).at(-1)).toBe('too-many-faults');
  });

  it('of unknown tags are warnings', () => {
    const result = parse('apiVersion: v1\nkind: X\nspec: !vault abc\n');
    expect(result.diagnostics.map(({ severity }) => severity)).toEqual(['warning']);
    expect(result.objects[0]?.object.spec).toBe('abc');
  });
});

describe('size', () => {
  it('reads a policy of a million rules', () => {
    const text = `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: a\nspec:\n  ingress:\n${'  - ports: [{port: 80}]\n'.repeat(1_000_000)}`;
    const { object } = only(text);
    expect((object.spec as { ingress: unknown[] }).ingress).toHaveLength(1_000_000);
  });

  it('refuses a huge document beyond the quick reader', () => {
    const result = parse(`spec: &a\n${'- abc\n'.repeat(1_500_000)}`);
    expect(codes(result)).toEqual(['too-large']);
  });

  it('positions every item of a long list', () => {
    const items = Array.from({ length: 20_000 }, (_, i) => `- metadata:\n    name: p${i}\n`).join(
      '',
    );
    const { objects } = parse(`apiVersion: v1\nkind: PodList\nitems:\n${items}`);
    expect(objects).toHaveLength(20_000);
    for (const index of [0, 9_999, 19_999]) {
      expect(objects[index]?.source.start.line).toBe(4 + 2 * index);
      expect(show(objects[index]?.locate('metadata.name')).startsWith(`${5 + 2 * index}:5-`)).toBe(
        true,
      );
    }
  });
});
