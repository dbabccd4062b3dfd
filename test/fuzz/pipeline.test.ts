/**
 * No input crashes or hangs podwall: manifests mutated at random go the whole way from bytes to
 * answers. 30 seconds here; PODWALL_FUZZ_SECONDS or `npm run test:soak` for more.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { buildSnapshot } from '../../src/engine/build.ts';
import { createEvaluator } from '../../src/engine/evaluate.ts';
import { computeReach } from '../../src/engine/reach.ts';
import { resolveReference, splitPort } from '../../src/engine/reference.ts';
import { parseManifests } from '../../src/manifest/parse.ts';
import { checkPolicy, policyKindOf } from '../../src/policy/index.ts';
import { formatDiagnostic } from '../../src/report/diagnostics.ts';
import { formats } from '../../src/report/formats/index.ts';
import { impliedNotes } from '../../src/report/implied.ts';
import { describePolicy } from '../../src/report/policy-text.ts';
import { toReachability } from '../../src/report/to-reachability.ts';
import type { NetworkPolicySpec } from '../../src/k8s/types.ts';
import { randomCluster } from '../arbitrary/cluster.ts';
import { seededDraw, type Draw } from '../arbitrary/draw.ts';

const seconds = Number(
  process.env['PODWALL_FUZZ_SECONDS'] ?? (process.env['PODWALL_SOAK'] === '1' ? 600 : 30),
);
const firstSeed = Number(process.env['PODWALL_SEED'] ?? Date.now() % 1_000_000_000);
/** Far above what any input of this size needs; below what a person calls hanging. */
const hangMs = 20_000;

const corpus = ['invalid', 'valid'].flatMap((folder) => {
  const directory = join(import.meta.dirname, '..', 'corpus', folder);
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => readFileSync(join(directory, name), 'utf8'));
});

const tokens = [
  '__proto__',
  'constructor',
  'null',
  '~',
  '{}',
  '[]',
  '- ',
  ': ',
  '&a ',
  '*a',
  '<<: *a',
  '!!binary x',
  '"',
  "'",
  '\t',
  '\0',
  '\u2028',
  '\ud800',
  '---\n',
  '...\n',
  '0777',
  '1e999',
  '-0',
  '99999999999999999999',
  '::/0',
  '0.0.0.0/0',
  '172.17.0.0/33',
  'fe80::1%eth0/64',
  'yes',
  'In',
  'Gt',
  'a'.repeat(300),
];

function whole(draw: Draw, below: number): number {
  return draw.integer(0, Math.max(0, below - 1));
}

function start(draw: Draw, seed: number): string {
  const kind = whole(draw, 4);
  if (kind === 0) return JSON.stringify(randomCluster(seed).objects);
  const objects = randomCluster(seed)
    .objects.map((object) => JSON.stringify(object))
    .join('\n---\n');
  if (kind === 1) return objects;
  const policy = corpus[whole(draw, corpus.length)] ?? '';
  return kind === 2 ? policy : `${policy}\n---\n${objects}`;
}

function mutate(draw: Draw, text: string): string {
  const at = whole(draw, text.length + 1);
  const to = Math.min(text.length, at + whole(draw, 40));
  const other = corpus[whole(draw, corpus.length)] ?? '';
  switch (whole(draw, 8)) {
    case 0:
      return text.slice(0, at) + text.slice(to);
    case 1:
      return text.slice(0, at) + (tokens[whole(draw, tokens.length)] ?? '') + text.slice(at);
    case 2:
      return text.slice(0, at) + text.slice(at, to).repeat(1 + whole(draw, 20)) + text.slice(to);
    case 3:
      return text.slice(0, at) + other.slice(whole(draw, other.length)) + text.slice(at);
    case 4:
      return text.slice(0, at) + String.fromCharCode(whole(draw, 0x10000)) + text.slice(to);
    case 5:
      return text.replaceAll(/\d+/g, (digits) =>
        whole(draw, 10) === 0 ? String(whole(draw, 70_000) - 100) : digits,
      );
    case 6:
      return text.slice(0, at) + '['.repeat(1 + whole(draw, 200)) + text.slice(at);
    default:
      return text
        .split('\n')
        .map((line) => (whole(draw, 20) === 0 ? `  ${line}` : line))
        .join('\n');
  }
}

/** Everything that podwall does with input of this kind; returns how far it came. */
function pipeline(text: string): 'refused' | 'answered' {
  const parsed = parseManifests({ file: 'fuzz.yaml', text });
  const built = buildSnapshot(parsed.objects);
  for (const diagnostic of [...parsed.diagnostics, ...built.diagnostics]) {
    expect(formatDiagnostic(diagnostic)).toContain(diagnostic.code);
  }
  const { snapshot } = built;
  for (const policy of snapshot.policies) expect(describePolicy(policy)).toContain(policy.ref.name);
  for (const item of parsed.objects) {
    const { apiVersion, kind, spec } = item.object;
    if (kind !== 'NetworkPolicy' || policyKindOf(apiVersion, kind) === undefined) continue;
    if (checkPolicy(item).policy !== undefined) impliedNotes(spec as NetworkPolicySpec | undefined);
  }
  if (snapshot.pods.length === 0 || snapshot.pods.length > 60) return 'refused';
  const evaluator = createEvaluator(snapshot);
  for (const pod of snapshot.pods) {
    const found = resolveReference(snapshot, pod.id);
    const [other = pod] = snapshot.pods;
    evaluator.evaluate({
      source: { kind: 'pod', pod: other },
      destination: { kind: 'pod', pod },
      protocol: 'TCP',
      port: 80,
    });
    expect(typeof found).toBe('object');
  }
  const result = toReachability(computeReach(snapshot));
  for (const format of formats) {
    expect(format.render(result, { color: false, columns: 80 }).endsWith('\n')).toBe(true);
  }
  return 'answered';
}

it(
  `nothing crashes or hangs in ${seconds} s (seeds from ${firstSeed})`,
  () => {
    const end = Date.now() + seconds * 1000;
    const count = { refused: 0, answered: 0 };
    for (let seed = firstSeed; Date.now() < end; seed += 1) {
      const draw = seededDraw(seed);
      let text = start(draw, seed);
      for (let times = whole(draw, 6); times > 0 && text.length < 200_000; times -= 1) {
        text = mutate(draw, text);
      }
      const began = Date.now();
      try {
        count[pipeline(text)] += 1;
        splitPort(text.slice(0, 60));
      } catch (error) {
        throw new Error(`seed ${seed}: ${String(error)}\n${text.slice(0, 2000)}`, { cause: error });
      }
      const took = Date.now() - began;
      if (took > hangMs)
        throw new Error(`seed ${seed} took ${took} ms for ${text.length} characters`);
    }
    console.log(`fuzzed ${count.refused + count.answered} inputs, ${count.answered} gave answers`);
    expect(count.answered).toBeGreaterThan(seconds / 3);
    expect(count.refused).toBeGreaterThan(0);
  },
  (seconds + 120) * 1000,
);
