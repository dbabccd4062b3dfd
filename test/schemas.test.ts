/** Every JSON document that podwall prints follows its published schema, and every schema is used. */
import { Ajv } from 'ajv';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AgentStatus } from '../src/agent/agent.ts';
import type { DoctorReport } from '../src/agent/doctor.ts';
import { runCli } from '../src/cli/main.ts';
import { createSimulatedLab } from '../src/lab/index.ts';
import { parseManifests } from '../src/manifest/parse.ts';

const folder = join(import.meta.dirname, '..', 'docs', 'reference', 'schemas');
const schemas = new Map(
  readdirSync(folder).map((file) => {
    const schema = JSON.parse(readFileSync(join(folder, file), 'utf8')) as Schema;
    return [schema.properties.kind.const, schema];
  }),
);
const used = new Set<string>();
const ajv = new Ajv({ strict: true, allErrors: true });

interface Schema {
  readonly properties: { readonly kind: { readonly const: string } };
}

const workloads = `
apiVersion: v1
kind: Namespace
metadata: {name: dev, labels: {env: dev}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: dev, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: c, image: i, ports: [{name: http, containerPort: 80}]}]}
status: {podIP: 10.0.0.1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db, namespace: dev}
spec:
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: i, ports: [{containerPort: 5432}]}]}
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
`;

const policy = (name: string, spec: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ${name}, namespace: dev}
spec: ${spec}
---`;

const before =
  policy('deny', '{podSelector: {}, policyTypes: [Ingress]}') +
  policy(
    'db',
    '{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: 8.8.8.0/24}}, {podSelector: {matchLabels: {app: gone}}}], ports: [{port: 5432}]}], egress: [{}]}',
  ) +
  policy('nobody', '{podSelector: {matchLabels: {app: nobody}}}');

const after =
  policy('deny', '{podSelector: {}, policyTypes: [Ingress]}') +
  policy(
    'db',
    '{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {env: dev}}}]}]}',
  );

let directory = '';

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'podwall-schemas-'));
  const files = {
    'w.yaml': workloads,
    'a/p.yaml': before,
    'b/p.yaml': after,
    'deny.yaml': policy('deny', '{podSelector: {}}'),
    answers: 'no\nyes\nnone\n',
  };
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** What the schema of the document's kind has against it. */
function faults(document: unknown): unknown {
  const { kind } = document as { kind: string };
  const schema = schemas.get(kind);
  expect(schema, `a schema for kind ${kind}`).toBeDefined();
  used.add(kind);
  const validate = ajv.compile(schema as Schema);
  return validate(document) ? [] : validate.errors;
}

async function run(...argv: string[]): Promise<unknown> {
  let stdout = '';
  let stderr = '';
  await runCli([...argv, '-o', 'json'], {
    out: (text) => (stdout += text),
    err: (text) => (stderr += text),
    stdin: Readable.from(['']),
    isTty: false,
    color: false,
    columns: 80,
    env: { HOME: directory },
    cwd: directory,
    signal: new AbortController().signal,
  });
  expect(stdout, stderr).not.toBe('');
  return JSON.parse(stdout);
}

describe('documents follow their schemas', () => {
  it.each([
    ['Verdict', ['why', 'dev/web', 'dev/db', '-f', 'w.yaml', '-f', 'a']],
    ['Verdict', ['why', 'world', 'dev/db', '-f', 'w.yaml', '-f', 'a']],
    ['Reachability', ['reach', '-f', 'w.yaml', '-f', 'a']],
    ['Diff', ['diff', 'a', 'b', '-f', 'w.yaml']],
    ['Diff', ['diff', 'w.yaml', 'a']],
    ['Explanation', ['explain', 'a']],
    ['Exposure', ['expose', '-f', 'w.yaml', '-f', 'a']],
    ['Exposure', ['expose', '-f', 'w.yaml', '-f', 'b']],
    ['Equality', ['equal', 'a', 'b', '-f', 'w.yaml']],
    ['Equality', ['equal', 'a', 'a', '-f', 'w.yaml']],
    ['Equality', ['equal', 'a', 'b']],
    ['Equality', ['equal', 'w.yaml', 'a']],
    ['Unused', ['unused', '-f', 'w.yaml', '-f', 'a']],
    ['Unused', ['unused', '-f', 'a']],
    ['Demo', ['demo', '--simulate']],
    [
      'LessonRun',
      ['lab', 'lessons', 'start', '2', '--simulate', '--answers', 'answers', '--try', 'a'],
    ],
    ['LessonRun', ['lab', 'lessons', 'start', '2', '--simulate', '--try', 'deny.yaml']],
    ['LessonCheck', ['lab', 'lessons', 'check', '1', '--simulate']],
    ['Lessons', ['lab', 'lessons']],
  ])('%s: podwall %j', async (kind, argv) => {
    const document = await run(...argv);
    expect((document as { kind: string }).kind).toBe(kind);
    expect(faults(document)).toEqual([]);
  });

  it('ProbeReport: the report of a simulated lab', async () => {
    const lab = createSimulatedLab();
    const { objects } = parseManifests({ file: 'all', text: `${before}\n${workloads}` });
    const items = objects
      .filter(({ object }) => object.kind !== 'Node')
      .map(({ object }) => object);
    await lab.apply(items);
    const report = await lab.probe({ ports: [{ protocol: 'TCP', port: 80 }] });
    await lab.down();
    expect(report.results.length).toBeGreaterThan(3);
    const document: unknown = JSON.parse(
      JSON.stringify({ apiVersion: 'podwall/v1', kind: 'ProbeReport', ...report }),
    );
    expect(faults(document)).toEqual([]);
  });

  it('AgentStatus: what the type says', () => {
    const status: AgentStatus = {
      node: 'n1',
      version: '0.1.0',
      server: 'https://10.0.0.1',
      startedAt: '2026-01-01T00:00:00Z',
      ready: true,
      mode: 'enforce',
      source: 'cluster',
      lastApplied: '2026-01-01T00:00:00Z',
      epoch: 1,
      program: {
        localAddresses: 1,
        sets: 1,
        elements: 1,
        chains: 1,
        policies: 1,
        warnings: ['one'],
      },
      closedBy: [],
      driftRepairs: 0,
      findings: [{ check: 'nft', severity: 'note', message: 'one' }],
      resources: [{ resource: 'pods', state: 'watching', objects: 1 }] as never,
    };
    expect(faults({ apiVersion: 'podwall/v1', kind: 'AgentStatus', ...status })).toEqual([]);
  });

  it('DoctorReport: what the type says', () => {
    const report: DoctorReport = {
      verdict: 'ENFORCED',
      reason: 'the deny policy stopped connections',
      denyAfterMs: 12.5,
      allowAfterMs: 20,
      tries: 3,
      attempts: 9,
    };
    expect(faults({ apiVersion: 'podwall/v1', kind: 'DoctorReport', ...report })).toEqual([]);
  });

  it('refuses what no schema describes', async () => {
    const document = (await run('unused', '-f', 'w.yaml', '-f', 'a')) as object;
    expect(faults({ ...document, surprise: 1 })).not.toEqual([]);
  });
});

it('every schema is used, and every kind that is printed has one', () => {
  expect([...used].toSorted()).toEqual([...schemas.keys()].toSorted());
  const source = join(import.meta.dirname, '..', 'src');
  const kinds = new Set<string>();
  for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts') || file.endsWith('.test.ts')) continue;
    const text = readFileSync(join(source, file), 'utf8');
    for (const match of text.matchAll(
      /apiVersion: 'podwall\/v1'[,;]?\s+(?:readonly )?kind: '(\w+)'/g,
    ))
      kinds.add(match[1] ?? '');
  }
  expect(kinds.size).toBeGreaterThan(8);
  expect([...kinds].filter((kind) => !schemas.has(kind))).toEqual([]);
});
