import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ManifestResult } from '../manifest/parse.ts';
import { run } from './exec.ts';
import { buildKustomization, readKustomization } from './kustomize.ts';
import { readManifests } from './read-manifests.ts';

let cwd: string;

beforeEach(async () => {
  cwd = await mkdtemp(path.join(tmpdir(), 'podwall-read-'));
});

afterEach(async () => {
  await rm(cwd, { recursive: true, force: true });
});

function pod(name: string): string {
  return `apiVersion: v1\nkind: Pod\nmetadata:\n  name: ${name}\n`;
}

async function write(files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(cwd, name)), { recursive: true });
    await writeFile(path.join(cwd, name), text);
  }
}

function names(result: ManifestResult): string[] {
  return result.objects.map(
    ({ object, source }) => `${source.file}:${object.metadata.name ?? '?'}`,
  );
}

function codes(result: ManifestResult): string[] {
  return result.diagnostics.map(({ code, range, message }) => `${code} ${range?.file ?? message}`);
}

async function* chunks(...texts: string[]): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  for (const text of texts) yield Buffer.from(text);
}

describe('readManifests', () => {
  it('reads directories recursively in the order of names, without hidden files', async () => {
    await write({
      'd/b.yaml': pod('b'),
      'd/a.yml': pod('a'),
      'd/sub/c.json': JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'c' } }),
      'd/.hidden.yaml': pod('x'),
      'd/.git/x.yaml': pod('x'),
      'd/notes.txt': 'nothing',
    });
    const result = await readManifests(['d'], { cwd });
    expect(names(result)).toEqual(['d/a.yml:a', 'd/b.yaml:b', 'd/sub/c.json:c']);
    expect(result.diagnostics).toEqual([]);
  });

  it('keeps the order of its arguments and reads no file twice', async () => {
    await write({ 'z.yaml': pod('z'), 'a.txt': pod('a') });
    const result = await readManifests(['z.yaml', './z.yaml', 'a.txt', '.'], { cwd });
    expect(names(result)).toEqual(['z.yaml:z', 'a.txt:a']);
  });

  it('reads standard input for -', async () => {
    const result = await readManifests(['-'], {
      cwd,
      stdin: chunks(pod('a').slice(0, 9), pod('a').slice(9)),
    });
    expect(names(result)).toEqual(['<stdin>:a']);
    expect(codes(await readManifests(['-'], { cwd, stdin: chunks() }))).toEqual([
      'no-manifests standard input is empty',
    ]);
  });

  it('survives loops of symbolic links and links to nowhere', async () => {
    await write({ 'd/a.yaml': pod('a') });
    await symlink('..', path.join(cwd, 'd/up'));
    await symlink('.', path.join(cwd, 'd/self'));
    await symlink('nowhere', path.join(cwd, 'd/broken.yaml'));
    await symlink('a.yaml', path.join(cwd, 'd/b.yaml'));
    const result = await readManifests(['d'], { cwd });
    expect(names(result)).toEqual(['d/a.yaml:a']);
    expect(codes(result)).toEqual([
      expect.stringContaining('unreadable-file cannot read d/broken.yaml'),
    ]);
  });

  it('tells missing paths, empty directories and URLs', async () => {
    await mkdir(path.join(cwd, 'empty'));
    const result = await readManifests(['gone.yaml', 'empty', 'https://example.com/x.yaml'], {
      cwd,
    });
    expect(codes(result)).toEqual([
      'no-such-file there is no file or directory gone.yaml',
      'no-manifests the directory empty holds no .yaml, .yml or .json files',
      'no-such-file there is no file or directory https://example.com/x.yaml',
    ]);
    expect(result.diagnostics.map(({ severity }) => severity)).toEqual([
      'error',
      'warning',
      'error',
    ]);
    expect(result.diagnostics[2]?.hint).toContain('curl -L https://example.com/x.yaml');
  });

  it('leaves kustomizations and Helm charts alone, and says so', async () => {
    await write({
      'k/kustomization.yaml': 'resources: [a.yaml]\n',
      'k/a.yaml': pod('a'),
      'k/other.yaml': 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n',
      'chart/Chart.yaml': 'apiVersion: v2\nname: x\n',
      'chart/values.yaml': 'replicas: 1\n',
      'chart/templates/pod.yaml': 'name: {{ .Values.x }}\n',
      'chart/crds/crd.yaml': pod('crd'),
    });
    const result = await readManifests(['k', 'chart'], { cwd });
    expect(names(result)).toEqual(['k/a.yaml:a', 'chart/crds/crd.yaml:crd']);
    expect(codes(result)).toEqual([
      'skipped k/kustomization.yaml: a kustomization lists manifests and is none itself; -k builds it',
      'skipped k/other.yaml: a kustomization lists manifests and is none itself; -k builds it',
      'skipped chart/Chart.yaml: part of a Helm chart, not a manifest',
      'helm-template chart/templates: chart is a Helm chart; its templates are not read',
      'skipped chart/values.yaml: part of a Helm chart, not a manifest',
    ]);
    expect(result.diagnostics.filter(({ severity }) => severity === 'error')).toEqual([]);
  });

  it('only mentions other YAML it finds, but not when it was named', async () => {
    await write({ 'd/compose.yaml': 'services: {}\n' });
    expect((await readManifests(['d'], { cwd })).diagnostics[0]).toMatchObject({
      code: 'skipped',
      severity: 'info',
    });
    expect((await readManifests(['d/compose.yaml'], { cwd })).diagnostics[0]).toMatchObject({
      code: 'not-an-object',
      severity: 'error',
    });
  });

  it('checks sizes before reading, on streams as well', async () => {
    await write({ 'big.yaml': 'x'.repeat(2000) });
    const options = { cwd, maxBytes: 1000, stdin: chunks('x'.repeat(600), 'x'.repeat(600)) };
    const result = await readManifests(['big.yaml', '-'], options);
    expect(codes(result)).toEqual([
      'too-large big.yaml: the input has 2000 bytes, more than the limit of 1000 bytes',
      'too-large the input has 1200 bytes, more than the limit of 1000 bytes',
    ]);
  });

  it('reads a pipe', async () => {
    await write({ 'a.yaml': pod('a') });
    const fifo = path.join(cwd, 'pipe');
    expect((await run('mkfifo', [fifo])).code).toBe(0);
    const writer = run('sh', ['-c', 'cat a.yaml > pipe'], { cwd });
    const result = await readManifests(['pipe'], { cwd });
    await writer;
    expect(names(result)).toEqual(['pipe:a']);
  });

  it('stops on abort', async () => {
    await write({ 'a.yaml': pod('a') });
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(readManifests(['a.yaml'], { cwd, signal })).rejects.toThrow('enough');
  });

  it('reads hundreds of files in order', async () => {
    const files: Record<string, string> = {};
    for (let i = 0; i < 300; i++) files[`d/${String(i).padStart(3, '0')}.yaml`] = pod(`p${i}`);
    await write(files);
    const result = await readManifests(['d'], { cwd });
    expect(result.objects.map(({ object }) => object.metadata.name)).toEqual(
      Array.from({ length: 300 }, (_, i) => `p${i}`),
    );
  });
});

describe('kustomizations', () => {
  /** A stand-in on PATH, so that the test needs no cluster tools. */
  async function tool(name: string, script: string): Promise<NodeJS.ProcessEnv> {
    const bin = path.join(cwd, 'bin');
    await mkdir(bin, { recursive: true });
    await writeFile(path.join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return { PATH: bin };
  }

  it("say kubectl's message without the log line around it", async () => {
    const log = `E1122 23:41:01.491904   13331 run.go:72] "command failed" err="no \\"x\\" in 'd'"`;
    await write({ message: `${log}\n` });
    const env = await tool(
      'kubectl',
      'while read -r line; do echo "$line" >&2; done <message; exit 1',
    );
    expect(await buildKustomization('d', { cwd, env })).toMatchObject({
      ok: false,
      message: `kubectl kustomize d failed: no "x" in 'd'`,
    });
  });

  it('are built by kubectl, else by kustomize', async () => {
    const env = await tool('kustomize', `echo "$@"`);
    expect(await buildKustomization('-dir', { env })).toEqual({
      ok: true,
      text: 'build -- -dir\n',
      command: 'kustomize build',
    });
    await tool('kubectl', `echo "$@"`);
    expect(await buildKustomization('dir', { env })).toMatchObject({
      command: 'kubectl kustomize',
    });
  });

  it('tell a missing tool and a failed build', async () => {
    const env = await tool('nothing', '');
    expect(await buildKustomization('dir', { env })).toMatchObject({
      ok: false,
      code: 'kustomize-missing',
    });
    await tool('kubectl', 'echo "Error: no kustomization" >&2; exit 1');
    const result = await readKustomization('dir', { env });
    expect(result.diagnostics).toMatchObject([
      {
        code: 'kustomize-failed',
        message: 'kubectl kustomize dir failed: Error: no kustomization',
        range: { file: 'dir' },
      },
    ]);
  });

  it('become objects', async () => {
    const env = await tool(
      'kubectl',
      `printf 'apiVersion: v1\\nkind: Pod\\nmetadata: {name: a}\\n'`,
    );
    expect(names(await readKustomization('dir', { env }))).toEqual(['dir (kubectl kustomize):a']);
  });
});
