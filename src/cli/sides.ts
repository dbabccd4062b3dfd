/**
 * Two sides to compare: files, git revisions or the live cluster, each with the objects that both
 * share. Must not know what is compared.
 */
import { buildSnapshot } from '../engine/build.ts';
import type { Snapshot } from '../engine/snapshot.ts';
import { policyKindOf } from '../policy/index.ts';
import { CliError, type Io } from './command.ts';
import {
  parseSettings,
  printDiagnostics,
  readInput,
  type Input,
  type InputObject,
  type InputOptions,
} from './input.ts';

export interface SideOptions extends InputOptions {
  /** Where manifests are in a revision. */
  readonly path?: readonly string[];
}

export interface Side {
  readonly snapshot: Snapshot;
  readonly objects: readonly InputObject[];
}

async function readSide(io: Io, text: string, options: SideOptions, verb: string): Promise<Input> {
  if (text === 'cluster') {
    const { filename: _filename, kustomize: _kustomize, ...live } = options;
    return readInput(io, live);
  }
  const { existsSync } = await import('node:fs');
  const { resolve } = await import('node:path');
  if (text === '-' || existsSync(resolve(io.cwd, text))) return readInput(io, { filename: [text] });
  const { isRevision, readRevision } = await import('../system/git-manifests.ts');
  if (await isRevision(io.cwd, text)) {
    const { objects, diagnostics } = await readRevision(io.cwd, text, options.path ?? []);
    return { objects, diagnostics, missing: [], origin: text };
  }
  throw new CliError(
    `${text} is neither a file, a directory, a git revision nor "cluster"`,
    2,
    `see podwall ${verb} --help`,
  );
}

/** Reads both; `-f` and `-k` name what both have. Faults in either end the verb. */
export async function readSides(
  io: Io,
  names: readonly [string, string],
  options: SideOptions,
  verb: string,
): Promise<[Side, Side]> {
  const hasCommon = (options.filename ?? []).length + (options.kustomize ?? []).length > 0;
  const common = hasCommon ? await readInput(io, options) : undefined;
  if (common !== undefined) printDiagnostics(io, common.diagnostics, options.quiet ?? false);
  const [a, b] = [
    await readSide(io, names[0], options, verb),
    await readSide(io, names[1], options, verb),
  ];
  const read = (input: Input, other: Input): Side => {
    const objects = [...(common?.objects ?? []), ...lent(io, other, input), ...input.objects];
    const built = buildSnapshot(objects, {
      settings: parseSettings(options.set),
      strictCidr: options.strictCidr ?? false,
    });
    printDiagnostics(io, [...input.diagnostics, ...built.diagnostics], options.quiet ?? false);
    for (const line of input.missing) io.err(`not read: ${line}\n`);
    return { snapshot: built.snapshot, objects };
  };
  return [read(a, b), read(b, a)];
}

/** Policies alone say nothing about pairs: a side without workloads is read with those of the other. */
function lent(io: Io, from: Input, to: Input): InputObject[] {
  if (hasWorkloads(to) || !hasWorkloads(from)) return [];
  io.err(`${to.origin} has no workloads: those of ${from.origin} stand on both sides\n`);
  return from.objects.filter(
    ({ object }) => policyKindOf(object.apiVersion, object.kind) === undefined,
  );
}

const workloads =
  /^(Pod|Deployment|ReplicaSet|StatefulSet|DaemonSet|ReplicationController|Job|CronJob)$/;

function hasWorkloads({ objects }: Input): boolean {
  return objects.some(({ object }) => workloads.test(object.kind));
}
