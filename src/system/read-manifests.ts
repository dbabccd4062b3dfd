/**
 * Finds and reads manifest files: files, directories and standard input. Faults become diagnostics;
 * only an abort is thrown. Must not know what the objects mean.
 */
import { createReadStream } from 'node:fs';
import type { Dirent, Stats } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Diagnostic, Severity } from '../k8s/diagnostic.ts';
import { defaultMaxBytes, parseManifestsWith, tooLarge } from '../manifest/parse-with.ts';
import type { ManifestObject, ManifestResult } from '../manifest/parse-with.ts';

export interface ReadManifestsOptions {
  /** Directory that relative paths count from. */
  readonly cwd: string;
  /** What `-` reads; default: this process's standard input. */
  readonly stdin?: AsyncIterable<Uint8Array | string>;
  readonly signal?: AbortSignal;
  /** Largest single input in bytes; default 64 MiB. */
  readonly maxBytes?: number;
}

/** How many files are opened at once. */
const BATCH = 64;

const MANIFEST_NAME = /\.(?:ya?ml|json)$/i;
const KUSTOMIZATION_NAME = /^(?:kustomization\.ya?ml|Kustomization)$/;
const CHART_FILE_NAME = /^(?:Chart\.ya?ml|Chart\.lock|values[^/]*\.(?:ya?ml|json))$/;

interface Source {
  /** As told to the user: the given path, or one below it. */
  readonly name: string;
  readonly absolute: string;
  /** A pipe or device: its size is not known before it is read. */
  readonly stream: boolean;
  /** Found in a directory, not named by the user: other YAML may lie about there. */
  readonly found: boolean;
}

interface State {
  readonly options: ReadManifestsOptions;
  readonly maxBytes: number;
  readonly objects: ManifestObject[];
  readonly diagnostics: Diagnostic[];
  /** Real paths already taken: no file twice, no endless loop through symbolic links. */
  readonly seen: Set<string>;
  skipped: number;
}

/**
 * Reads the manifests of `paths` in the order given: files whatever their name; directories with all
 * their `.yaml`, `.yml` and `.json` files, sorted, hidden ones left out; `-` for standard input.
 */
export async function readManifests(
  paths: readonly string[],
  options: ReadManifestsOptions,
): Promise<ManifestResult> {
  const state: State = {
    options,
    maxBytes: options.maxBytes ?? defaultMaxBytes,
    objects: [],
    diagnostics: [],
    seen: new Set(),
    skipped: 0,
  };
  for (const given of paths) {
    options.signal?.throwIfAborted();
    if (given === '-') await readStandardInput(state);
    else await readPath(state, given);
  }
  return {
    objects: state.objects,
    diagnostics: state.diagnostics,
    skippedDocuments: state.skipped,
  };
}

/** A fault of a whole file has no place in it: the message names the file. */
function tell(
  state: State,
  file: string,
  diagnostic: { code: string; severity: Severity; message: string; hint?: string },
): void {
  const { message } = diagnostic;
  const named = file === '<stdin>' || message.includes(file) ? message : `${file}: ${message}`;
  state.diagnostics.push({ ...diagnostic, message: named });
}

async function readStandardInput(state: State): Promise<void> {
  const { signal } = state.options;
  const stream = state.options.stdin ?? process.stdin;
  const bytes = await collect(state, '<stdin>', stream, signal);
  if (bytes === undefined) return;
  if (bytes.length === 0) {
    tell(state, '<stdin>', {
      code: 'no-manifests',
      severity: 'warning',
      message: 'standard input is empty',
    });
    return;
  }
  await take(state, '<stdin>', bytes, false);
}

/** Reads a stream up to the size limit; undefined when it failed, which was then told. */
async function collect(
  state: State,
  file: string,
  stream: AsyncIterable<Uint8Array | string>,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of stream) {
      signal?.throwIfAborted();
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk, 'utf8') : chunk;
      size += bytes.length;
      if (size > state.maxBytes) {
        state.skipped++;
        tell(state, file, tooLarge(size, state.maxBytes));
        return undefined;
      }
      chunks.push(bytes);
    }
  } catch (error) {
    signal?.throwIfAborted();
    unreadable(state, file, error);
    return undefined;
  }
  return Buffer.concat(chunks);
}

async function readPath(state: State, given: string): Promise<void> {
  const absolute = path.resolve(state.options.cwd, given);
  let info;
  try {
    info = await stat(absolute);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') {
      tell(state, given, {
        code: 'no-such-file',
        severity: 'error',
        message: `there is no file or directory ${given}`,
        ...(/^https?:\/\//.test(given)
          ? { hint: `podwall fetches nothing itself: curl -L ${given} | podwall … -f -` }
          : {}),
      });
    } else unreadable(state, given, error);
    return;
  }
  if (info.isDirectory()) {
    const found: Source[] = [];
    const before = state.diagnostics.length;
    await walk(state, { name: given, absolute }, found);
    if (found.length === 0 && state.diagnostics.length === before)
      tell(state, given, {
        code: 'no-manifests',
        severity: 'warning',
        message: `the directory ${given} holds no .yaml, .yml or .json files`,
      });
    await readAll(state, found);
  } else if (await isNew(state, absolute)) {
    const stream = !info.isFile();
    await readAll(state, [{ name: given, absolute, stream, found: false }]);
  }
}

async function isNew(state: State, absolute: string): Promise<boolean> {
  // A pipe such as /dev/fd/63 has no real path; it cannot be read twice anyway.
  const real = await realpath(absolute).catch(() => absolute);
  if (state.seen.has(real)) return false;
  state.seen.add(real);
  return true;
}

/** Collects the manifest files below a directory, in the order of their names. */
async function walk(
  state: State,
  directory: { name: string; absolute: string },
  found: Source[],
): Promise<void> {
  state.options.signal?.throwIfAborted();
  const real = await realpath(directory.absolute).catch(() => directory.absolute);
  if (state.seen.has(real)) return;
  state.seen.add(real);
  let entries: Dirent[];
  try {
    entries = await readdir(real, { withFileTypes: true });
  } catch (error) {
    unreadable(state, directory.name, error);
    return;
  }
  // Not the locale's order: reports must not depend on the machine.
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  const isChart = entries.some(({ name }) => name === 'Chart.yaml' || name === 'Chart.yml');
  for (const entry of entries) {
    const { name } = entry;
    if (name.startsWith('.')) continue;
    const child = { name: path.join(directory.name, name), absolute: path.join(real, name) };
    let target: Dirent | Stats = entry;
    if (entry.isSymbolicLink()) {
      try {
        target = await stat(child.absolute);
        child.absolute = await realpath(child.absolute);
      } catch (error) {
        if (MANIFEST_NAME.test(name)) unreadable(state, child.name, error);
        continue;
      }
    }
    if (target.isDirectory()) {
      if (isChart && name === 'templates')
        tell(state, child.name, {
          code: 'helm-template',
          severity: 'warning',
          message: `${directory.name} is a Helm chart; its templates are not read`,
          hint: `render it first: helm template ${directory.name} | podwall … -f -`,
        });
      else await walk(state, child, found);
    } else if (!target.isFile()) {
      continue;
    } else if (KUSTOMIZATION_NAME.test(name)) {
      skipFile(
        state,
        child.name,
        'a kustomization lists manifests and is none itself; -k builds it',
      );
    } else if (isChart && CHART_FILE_NAME.test(name)) {
      skipFile(state, child.name, 'part of a Helm chart, not a manifest');
    } else if (MANIFEST_NAME.test(name) && !state.seen.has(child.absolute)) {
      state.seen.add(child.absolute);
      found.push({ ...child, stream: false, found: true });
    }
  }
}

function skipFile(state: State, file: string, message: string): void {
  tell(state, file, { code: 'skipped', severity: 'info', message });
}

/** Reads in batches, so that thousands of small files do not wait for one another. */
async function readAll(state: State, sources: readonly Source[]): Promise<void> {
  const { signal } = state.options;
  for (let at = 0; at < sources.length;) {
    signal?.throwIfAborted();
    const batch = sources.slice(at, at + BATCH);
    at += batch.length;
    const contents = await Promise.all(batch.map((source) => readSource(state, source)));
    for (const [index, source] of batch.entries()) {
      const content = contents[index];
      if (content === undefined) continue;
      if ('error' in content) unreadable(state, source.name, content.error);
      else if ('size' in content) {
        state.skipped++;
        tell(state, source.name, tooLarge(content.size, state.maxBytes));
      } else await take(state, source.name, content.bytes, source.found);
    }
  }
}

async function readSource(
  state: State,
  source: Source,
): Promise<{ bytes: Uint8Array } | { size: number } | { error: unknown } | undefined> {
  if (source.stream) {
    const { signal } = state.options;
    const stream = createReadStream(source.absolute, signal === undefined ? {} : { signal });
    const bytes = await collect(state, source.name, stream, signal);
    return bytes === undefined ? undefined : { bytes };
  }
  try {
    const { size } = await stat(source.absolute);
    if (size > state.maxBytes) return { size };
    return { bytes: await readFile(source.absolute) };
  } catch (error) {
    return { error };
  }
}

async function take(state: State, file: string, bytes: Uint8Array, found: boolean): Promise<void> {
  const input = { file, text: bytes };
  const { maxBytes } = state;
  // The full parser is loaded when a document needs it: most never do.
  const result =
    parseManifestsWith(undefined, input, { maxBytes }) ??
    (await import('../manifest/parse.ts')).parseManifests(input, { maxBytes });
  const { diagnostics } = result;
  if (
    found &&
    result.objects.length === 0 &&
    diagnostics.length > 0 &&
    diagnostics.every(({ code }) => code === 'not-an-object')
  ) {
    skipFile(state, file, 'it holds no Kubernetes objects');
    return;
  }
  for (const diagnostic of diagnostics) state.diagnostics.push(diagnostic);
  state.skipped += result.skippedDocuments;
  for (const entry of result.objects) {
    const { apiVersion, kind } = entry.object;
    if (kind === 'Kustomization' && apiVersion.startsWith('kustomize.config.k8s.io/'))
      skipFile(state, file, 'a kustomization lists manifests and is none itself; -k builds it');
    else state.objects.push(entry);
  }
}

function unreadable(state: State, file: string, error: unknown): void {
  state.skipped++;
  tell(state, file, {
    code: 'unreadable-file',
    severity: 'error',
    message: `cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`,
  });
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
