/**
 * What every analysing verb reads: files, stdin, kustomizations or a live cluster, as one snapshot.
 * Must not know what the verb asks of it.
 */
import type { Command } from 'commander';
import { buildSnapshot, createBuildCache, type BuildOptions } from '../engine/build.ts';
import type { Settings, Snapshot } from '../engine/snapshot.ts';
import type { Diagnostic, SourceRange } from '../k8s/diagnostic.ts';
import type { KubeObject } from '../k8s/types.ts';
import { formatDiagnostic } from '../report/diagnostics.ts';
import { CliError, type Io } from './command.ts';

/** An object and, when it came from a file, its place. */
export interface InputObject {
  readonly object: KubeObject;
  readonly source?: SourceRange;
  locate?(fieldPath: string): SourceRange;
}

export interface InputOptions {
  readonly filename?: readonly string[];
  readonly kustomize?: readonly string[];
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
  /** Changes nothing: what a pod may do depends on policies and labels of other namespaces. */
  readonly allNamespaces?: boolean;
  readonly strictCidr?: boolean;
  readonly set?: readonly string[];
  readonly quiet?: boolean;
}

export interface Input {
  readonly objects: readonly InputObject[];
  readonly diagnostics: readonly Diagnostic[];
  /** What could not be read of a live cluster, one sentence each. */
  readonly missing: readonly string[];
  /** For messages: `netpol/`, `<stdin>`, `cluster kind-a`. */
  readonly origin: string;
}

function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}

const settingValues: { readonly [K in keyof Settings]: readonly Settings[K][] } = {
  hostNetworkPods: ['node', 'unknown'],
  podToOwnNode: ['policy', 'allow', 'unknown'],
  selfThroughService: ['policy', 'allow', 'unknown'],
  ipBlockAddress: ['backend', 'unknown'],
  otherProtocols: ['portless-rules', 'allow', 'deny', 'unknown'],
  terminatedPods: ['ignore', 'include'],
  equalPriority: ['name', 'unknown'],
  baselineSkip: ['per-direction', 'per-pod', 'unknown'],
};

/** Adds the options of {@link InputOptions} to a verb. */
export function declareInput(command: Command): void {
  command
    .option('-f, --filename <path>', 'file, directory or - for stdin (repeatable)', collect)
    .option('-k, --kustomize <dir>', 'kustomization directory (repeatable)', collect)
    .option('--kubeconfig <file>', 'read a live cluster through this kubeconfig')
    .option('--context <name>', 'context of the kubeconfig')
    .option('-n, --namespace <name>', 'namespace for names without one')
    .option('-A, --all-namespaces', 'accepted as by kubectl: every namespace is always read')
    .option('--strict-cidr', 'parse CIDRs as Kubernetes 1.36 and later do')
    .option('--set <name=value>', 'decide what the specification leaves open (repeatable)', collect)
    .option('-q, --quiet', 'no warnings, only errors');
}

/** `--set name=value` pairs, checked. */
export function parseSettings(pairs: readonly string[] = []): Partial<Settings> {
  const result: Record<string, string> = {};
  for (const pair of pairs) {
    const [name = '', value = ''] = pair.split('=', 2);
    const values: readonly string[] | undefined = settingValues[name as keyof Settings];
    if (values === undefined) {
      throw new CliError(
        `no such setting: ${name}`,
        2,
        `settings are ${Object.keys(settingValues).join(', ')}`,
      );
    }
    if (!values.includes(value)) {
      throw new CliError(`${name} cannot be "${value}"`, 2, `use ${values.join(' or ')}`);
    }
    result[name] = value;
  }
  return result;
}

/** Reads everything that was named; without `-f` and `-k` the live cluster. */
export async function readInput(io: Io, options: InputOptions): Promise<Input> {
  const files = options.filename ?? [];
  const kustomizations = options.kustomize ?? [];
  if (files.length + kustomizations.length === 0) return readLive(io, options);
  const objects: InputObject[] = [];
  const diagnostics: Diagnostic[] = [];
  if (files.length > 0) {
    const { readManifests } = await import('../system/read-manifests.ts');
    const read = await readManifests(files, { cwd: io.cwd, stdin: io.stdin, signal: io.signal });
    objects.push(...read.objects);
    diagnostics.push(...read.diagnostics);
  }
  for (const directory of kustomizations) {
    const { buildKustomization } = await import('../system/kustomize.ts');
    const { parseManifests } = await import('../manifest/parse.ts');
    const built = await buildKustomization(directory, { cwd: io.cwd, signal: io.signal });
    if (!built.ok) throw new CliError(`${directory}: ${built.message}`, 2, built.hint);
    const read = parseManifests({ file: `${directory} (kustomize)`, text: built.text });
    objects.push(...read.objects);
    diagnostics.push(...read.diagnostics);
  }
  return { objects, diagnostics, missing: [], origin: [...files, ...kustomizations].join(', ') };
}

async function readLive(io: Io, options: InputOptions): Promise<Input> {
  const { connectTo } = await import('../client/transport.ts');
  const { readCluster } = await import('../client/snapshot-source.ts');
  const connection = connectTo({
    env: io.env,
    cwd: io.cwd,
    kubeconfig: options.kubeconfig,
    context: options.context,
  });
  const start = Date.now();
  try {
    const { objects, missing } = await readCluster(connection, {
      signal: io.signal,
      onProgress: ({ resource, objects: count }) => {
        // Progress only for what takes long.
        if (Date.now() - start > 1000) io.err(`reading ${resource}: ${count}\n`);
      },
    });
    return {
      objects: objects.map((object) => ({ object })),
      diagnostics: [],
      missing: missing.map(({ resource, reason }) => `${resource}: ${reason}`),
      origin: connection.description,
    };
  } finally {
    connection.close();
  }
}

/**
 * Reads and builds the snapshot. Warnings and errors go to stderr. An error in the input ends the
 * verb with exit code 2, never with a partial answer. With `build`, the same objects and others are
 * built again in the same way, and what was found out about an object is not sought twice.
 */
export async function readSnapshot(
  io: Io,
  options: InputOptions,
): Promise<{ snapshot: Snapshot; input: Input; build: BuildOptions }> {
  const input = await readInput(io, options);
  const build: BuildOptions = {
    settings: parseSettings(options.set),
    strictCidr: options.strictCidr ?? false,
    cache: createBuildCache(),
  };
  const built = buildSnapshot(input.objects, build);
  printDiagnostics(io, [...input.diagnostics, ...built.diagnostics], options.quiet ?? false);
  for (const line of input.missing) io.err(`not read: ${line}\n`);
  return { snapshot: built.snapshot, input, build };
}

/** Prints; throws when there is an error among them. */
export function printDiagnostics(io: Io, diagnostics: readonly Diagnostic[], quiet: boolean): void {
  const errors = diagnostics.filter((one) => one.severity === 'error');
  const shown = quiet ? errors : diagnostics.filter((one) => one.severity !== 'info');
  for (const one of shown) io.err(formatDiagnostic(one, io.color));
  if (errors.length === 0) return;
  const count = errors.length === 1 ? '1 error' : `${errors.length} errors`;
  throw new CliError(`${count} in the input`, 2, 'mend the lines above; nothing was answered');
}

/** One line that says how complete the input is; empty when nothing is missing. */
export function completenessNote(snapshot: Snapshot): string {
  const { completeness } = snapshot;
  const notes: string[] = [];
  if (completeness.impliedNamespaces.length > 0) {
    const names = completeness.impliedNamespaces.slice(0, 3).join(', ');
    const more = completeness.impliedNamespaces.length > 3 ? ', …' : '';
    const { length } = completeness.impliedNamespaces;
    const what = length === 1 ? 'one namespace' : `${length} namespaces`;
    notes.push(`labels of ${what} unknown (${names}${more})`);
  }
  if (completeness.invalidPolicies.length > 0) {
    const { length } = completeness.invalidPolicies;
    notes.push(`${length} invalid ${length === 1 ? 'policy' : 'policies'}`);
  }
  const skipped = [...completeness.unknownKinds.values()].reduce((sum, count) => sum + count, 0);
  if (skipped > 0)
    notes.push(`${skipped} ${skipped === 1 ? 'object' : 'objects'} of other kinds not read`);
  return notes.join('; ');
}
