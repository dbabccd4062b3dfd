/** `podwall lab lessons` as a user meets it, without packets. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { parseManifests } from '../../manifest/parse.ts';
import type { Io } from '../command.ts';
import { runCli } from '../main.ts';

const base = await mkdtemp(join(tmpdir(), 'podwall-lessons-'));
afterAll(() => rm(base, { recursive: true }));
let state = '';
let count = 0;
beforeEach(() => {
  state = join(base, `state-${++count}`);
});

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(
  words: readonly string[],
  options: {
    stdin?: NodeJS.ReadableStream;
    env?: NodeJS.ProcessEnv;
    abort?: AbortSignal;
    columns?: number;
  } = {},
): Promise<Result> {
  let out = '';
  let err = '';
  const io: Io = {
    out: (text) => (out += text),
    err: (text) => (err += text),
    stdin: options.stdin ?? Readable.from(['']),
    isTty: false,
    color: false,
    columns: options.columns ?? 100,
    env: { ...process.env, XDG_STATE_HOME: state, ...options.env },
    cwd: base,
    signal: options.abort ?? new AbortController().signal,
  };
  const code = await runCli(['lab', 'lessons', ...words], io);
  return { code, out, err };
}

/** A terminal with somebody who types these lines, each when the program has asked. */
function typing(...lines: string[]): NodeJS.ReadableStream {
  const stream = new PassThrough();
  stream.write(lines.map((line) => `${line}\n`).join(''));
  return Object.assign(stream, { isTTY: true });
}

async function file(name: string, text: string): Promise<string> {
  await writeFile(join(base, name), text);
  return name;
}

function policy(spec: string): string {
  return `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: mine }\nspec: ${spec}\n`;
}

const denyIngress = policy('{ podSelector: {}, policyTypes: [Ingress] }');

it('lists the lessons, and what was achieved, until it is forgotten', async () => {
  const first = await run([]);
  expect(first.code).toBe(0);
  expect(first.out).toMatch(/^ 1 {3}open-by-default {2,}Without a policy/m);
  expect(first.out).toMatch(/0 of \d+ tasks solved, 0 points/);
  const deny = await file('deny.yaml', denyIngress);
  const answers = await file('answers.txt', 'yes # a comment\n\nall\n');
  const played = await run(['start', '1', '--simulate', '--answers', answers, '--try', deny]);
  expect(played.out).toContain('predictions: 2 of 2 right; task: solved; 7 of 7 points');
  expect(played.code).toBe(0);
  expect((await run([])).out).toMatch(/open-by-default .* 2 of 2 {2,}solved {2,}7 of 7/);
  const json = JSON.parse((await run(['-o', 'json'])).out) as { lessons: { result?: object }[] };
  expect(json.lessons[0]?.result).toMatchObject({ solved: true, points: 7 });
  // The next one is offered when none is named.
  expect((await run(['start', '--simulate', '--solution'])).out).toContain('Your task');
  await run(['--reset']);
  expect((await run([])).out).toContain('0 points');
});

describe('a script', () => {
  it('a wrong prediction and a wrong policy, each with the reason', async () => {
    const { code, out, err } = await run([
      'start',
      'and-or',
      '--simulate',
      '--answers',
      await file('a', 'a\nnone\n'),
      '--try',
      await file(
        'three.yaml',
        policy(`
  podSelector: { matchLabels: { app: reads-and } }
  ingress:
    - from:
        - namespaceSelector: { matchLabels: { env: dev } }
        - podSelector: { matchLabels: { role: client } }
        - podSelector: {}`),
      ),
    ]);
    expect(code).toBe(1);
    expect(err).toContain('SIMULATED, no packets are sent: --simulate was given');
    expect(out).toContain('1. right');
    expect(out).toContain('2. wrong');
    expect(out).toContain('(you said none)');
    expect(out).toContain(
      'admitted by prod/two-peers-or spec.ingress[0].from[0]  11-and-or/given.yaml',
    );
    expect(out).toContain('! dev/batch → prod/reads-and TCP 80 should be closed, is open');
    expect(out).toContain('admitted by prod/mine spec.ingress[0].from[0]  three.yaml:8');
    // The lesson knows this mistake.
    expect(out).toContain('stand under dashes of their own');
    expect(out).toContain('29 of 30 connections are as they should be');
    expect(out).toContain('predictions: 1 of 2 right; task: not solved; 1 of 7 points');
  });

  it('JSON for programs', async () => {
    const deny = await file('deny.yaml', denyIngress);
    const { code, out } = await run(['start', '2', '--simulate', '--try', deny, '-o', 'json']);
    expect(code).toBe(1);
    const report = JSON.parse(out) as { task: { connections: object[]; wrong: string[] } };
    expect(report).toMatchObject({
      kind: 'LessonRun',
      lesson: 'default-deny',
      simulated: true,
      predictions: [],
      task: { solved: false, mistake: expect.stringContaining('default-deny-ingress again') },
    });
    expect(report.task.connections).toHaveLength(20);
    expect(report.task.wrong).toContain('dev/devserver-1 → prod/prodserver-1 TCP 80');
  });

  it.each<[what: string, words: string[], message: string]>([
    ['nobody to ask', ['start', '1'], 'standard input is not a terminal'],
    ['no such lesson', ['start', 'nope'], 'no such lesson: nope'],
    ['no such subcommand', ['strat'], 'no such subcommand: lab lessons strat'],
    ['no such format', ['-o', 'xml'], 'no such output format: xml'],
    ['no such directory', ['--dir', 'nowhere'], 'the lessons cannot be read'],
    ['an empty directory', ['--dir', '.'], 'there are no lessons in'],
    ['no such answers', ['start', '1', '--answers', 'nowhere'], 'ENOENT'],
    ['too few answers', ['start', '1', '--answers', '-'], 'question 1 (Does'],
    ['no such policy', ['start', '1', '--simulate', '--try', 'nowhere.yaml'], 'nowhere.yaml'],
    ['two policies', ['start', '1', '--try', 'x', '--solution'], 'exclude each other'],
    ['JSON of a talk', ['start', '1', '-o', 'json'], 'not a terminal'],
  ])('usage error: %s', async (_, words, message) => {
    const { code, err, out } = await run(words);
    expect(err).toContain(message);
    expect(code).toBe(2);
    expect(out).toBe('');
  });

  it('takes no answer that is none, and no policy that cannot be one', async () => {
    const bad = await run(['start', '1', '--answers', await file('a', 'yes\nx\n')]);
    expect(bad.err).toContain('"x" is none of dev/devserver-1');
    const pod = await file('pod.yaml', 'apiVersion: v1\nkind: Pod\nmetadata: { name: x }\n');
    const other = await run(['start', '1', '--simulate', '--try', pod]);
    expect(other.err).toContain('to be solved with NetworkPolicy only');
    const given = policy('{ podSelector: {} }').replace('mine', 'default-deny-all');
    const same = await run(['start', '3', '--simulate', '--try', await file('g.yaml', given)]);
    expect(same.err).toContain("is one of the lesson's own and stays as it is");
    const invalid = await file('i.yaml', policy('{ podSelector: {}, ingress: [{ from: [{}] }] }'));
    const refused = await run(['start', '1', '--simulate', '--try', invalid]);
    expect(refused.err).toContain('The NetworkPolicy "mine" is invalid');
    expect([bad.code, other.code, same.code, refused.code]).toEqual([2, 2, 2, 2]);
  });
});

describe('in a terminal', () => {
  it('asks, corrects, hints, grades and keeps the score', async () => {
    const wrong = await file(
      'wrong.yaml',
      policy('{ podSelector: { matchLabels: { app: prodserver-1 } } }'),
    );
    const right = await file('right.yaml', denyIngress);
    const stdin = typing(
      'what',
      'y',
      'a b',
      'hint',
      'nowhere.yaml',
      wrong,
      'why dev/devserver-1 prod/prodserver-2',
      right,
      'q',
    );
    const { code, out, err } = await run(['start', '1', '--simulate'], { stdin });
    expect(code).toBe(0);
    expect(out).toContain('Lesson 1 of');
    expect(err).toContain('"what" is none of yes, no');
    expect(out).toContain('1. right');
    expect(out).toContain('2. wrong');
    expect(out).toContain('1/3 A pod is isolated for ingress as soon as');
    expect(err).toContain('nowhere.yaml');
    expect(out).toContain('It selects one pod only.');
    expect(out.match(/ALLOWED {2}dev\/devserver-1 → prod\/prodserver-2/g)?.length).toBeGreaterThan(
      1,
    );
    expect(out).toContain('solved: all 20 connections are as they should be');
    expect(out).toContain('task: solved with 1 hint; 5 of 7 points');
  });

  it('opens an editor on a file that is kept', async () => {
    const answer = await file('answer.yaml', denyIngress);
    const editor = `cat ${join(base, answer)} >`;
    const stdin = typing('yes', 'all', 'edit', 'q');
    const { code, out } = await run(['start', '1', '--simulate'], {
      stdin,
      env: { VISUAL: '', EDITOR: editor },
    });
    expect(out).toContain('solved: all 20');
    expect(code).toBe(0);
    const kept = join(state, 'podwall', 'lessons', 'open-by-default.yaml');
    expect(await readFile(kept, 'utf8')).toBe(denyIngress);
  });

  it('starts the editor with a frame, and says when it failed', async () => {
    const stdin = typing('yes', 'all', 'edit', 'q');
    const env = { VISUAL: 'false' };
    const { code, err, out } = await run(['start', '1', '--simulate'], { stdin, env });
    expect(err).toContain('the editor "false" ended with 1');
    expect(out).toContain('task: not solved; 2 of 7 points');
    expect(code).toBe(1);
    const kept = join(state, 'podwall', 'lessons', 'open-by-default.yaml');
    expect(await readFile(kept, 'utf8')).toContain('kind: NetworkPolicy');
  });

  it('the end of the input and Ctrl-C end it', async () => {
    const ended = typing('yes');
    (ended as PassThrough).end();
    expect((await run(['start', '1', '--simulate'], { stdin: ended })).code).toBe(1);
    const abort = new AbortController();
    const running = run(['start', '1', '--simulate'], {
      stdin: typing('yes'),
      abort: abort.signal,
    });
    setTimeout(() => abort.abort(), 200);
    const { code, err } = await running;
    expect(err).toContain('stopped; the lab is gone');
    expect(code).toBe(1);
  });
});

it('shows a lesson without starting anything', async () => {
  const { code, out, err } = await run(['show', 'egress-and-dns', '--hints', '--solution']);
  expect(code).toBe(0);
  expect(err).toBe('');
  expect(out).toContain('no: The trap: nothing admits DNS.');
  expect(out).toContain('hint 3:');
  expect(out).toContain('│         - { protocol: UDP, port: 53 }');
});

it('gives its manifests for other programs', async () => {
  const { code, out } = await run(['show', 'default-deny', '--manifests']);
  expect(code).toBe(0);
  const { objects, diagnostics } = parseManifests({ file: 'out', text: out });
  expect(diagnostics).toEqual([]);
  const kinds = objects.map(({ object }) => object.kind);
  expect(kinds.toSorted().join(' ')).toBe('Namespace Namespace NetworkPolicy Pod Pod Pod Pod');
});

it('checks every lesson', async () => {
  const { code, out } = await run(['check', '--simulate', '1', 'and-or']);
  expect(code).toBe(0);
  expect(out).toContain(
    '2 lessons, 4 answers, 100 connections SIMULATED, 5 mistakes refused: all as expected',
  );
  const json = JSON.parse((await run(['check', '--simulate', '11', '-o', 'json'])).out) as object;
  expect(json).toMatchObject({ kind: 'LessonCheck', faults: 0, lessons: [{ lesson: 'and-or' }] });
});

it('the README shows what is printed', async () => {
  const root = join(import.meta.dirname, '..', '..', '..');
  const readme = await readFile(join(root, 'README.md'), 'utf8');
  const [, block = ''] = /\$ (podwall lab lessons start[^]*?)```/.exec(readme) ?? [];
  const [command = '', ...shown] = block.split('\n').filter((line) => line !== '…' && line !== '');
  const mistake = join(root, 'lessons', '11-and-or', 'mistake-three-dashes.yaml');
  await file('policy.yaml', (await readFile(mistake, 'utf8')).replace('name: both', 'name: mine'));
  const words = [...command.split(' ').slice(3), '--simulate'];
  const { out } = await run(words, { columns: 80 });
  const lines = out.replaceAll('SIMULATED:', 'packets:').split('\n');
  expect(shown.length).toBeGreaterThan(5);
  for (const line of shown) expect(lines).toContain(line);
  const count = JSON.parse((await run(['-o', 'json'])).out) as { lessons: unknown[] };
  expect(readme).toContain(`lists ${count.lessons.length} exercises`);
});
