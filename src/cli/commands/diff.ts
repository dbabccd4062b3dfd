/**
 * `podwall diff A B`: what a change opens and closes, and by which edit. Must not know how
 * reachability is computed.
 */
import { buildSnapshot } from '../../engine/build.ts';
import { diffReach } from '../../engine/diff.ts';
import { computeReach } from '../../engine/reach.ts';
import type { Snapshot } from '../../engine/snapshot.ts';
import { policyKindOf } from '../../policy/index.ts';
import { renderDiff, renderDiffMarkdown, toDiffJson } from '../../report/diff-text.ts';
import { isRevision, readRevision } from '../../system/git-manifests.ts';
import { CliError, type CommandModule, type Io } from '../command.ts';
import {
  declareInput,
  parseSettings,
  printDiagnostics,
  readInput,
  type Input,
  type InputObject,
  type InputOptions,
} from '../input.ts';

const help = `
A and B: a file or directory; a git revision (manifests below the current folder or --path);
\`cluster\` for the live cluster. \`main..HEAD\` stands for two revisions.

Examples:
  podwall diff before/ after/
  podwall diff main..HEAD --path deploy/
  podwall diff main..HEAD -o md            for a pull-request comment
  podwall diff cluster manifests/ --context prod
  podwall diff old-policies/ new-policies/ -f workloads/

-f and -k name objects that both sides have. A side with policies alone is read with the workloads
of the other.

Exit codes: 0 no difference, 1 differences, 2 usage or input error, 3 the cluster could not be read.`;

interface DiffOptions extends InputOptions {
  readonly path?: readonly string[];
  readonly output: string;
}

async function readSide(io: Io, text: string, options: DiffOptions): Promise<Input> {
  if (text === 'cluster') {
    const { filename: _filename, kustomize: _kustomize, ...live } = options;
    return readInput(io, live);
  }
  const { existsSync } = await import('node:fs');
  const { resolve } = await import('node:path');
  if (text === '-' || existsSync(resolve(io.cwd, text))) return readInput(io, { filename: [text] });
  if (await isRevision(io.cwd, text)) {
    const { objects, diagnostics } = await readRevision(io.cwd, text, options.path ?? []);
    return { objects, diagnostics, missing: [], origin: text };
  }
  throw new CliError(
    `${text} is neither a file, a directory, a git revision nor "cluster"`,
    2,
    'see podwall diff --help',
  );
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

function snapshotOf(
  io: Io,
  side: Input,
  common: readonly InputObject[],
  options: DiffOptions,
): Snapshot {
  const built = buildSnapshot([...common, ...side.objects], {
    settings: parseSettings(options.set),
    strictCidr: options.strictCidr ?? false,
  });
  printDiagnostics(io, [...side.diagnostics, ...built.diagnostics], options.quiet ?? false);
  for (const line of side.missing) io.err(`not read: ${line}\n`);
  return built.snapshot;
}

export const diff: CommandModule = {
  declare(command) {
    command
      .description('What a change opens, closes, widens and narrows, and which policy edit did it.')
      .argument('<a>', 'before; or A..B')
      .argument('[b]', 'after')
      .option(
        '--path <path>',
        'where manifests are in a revision (repeatable)',
        (path: string, paths: string[] | undefined) => [...(paths ?? []), path],
      )
      .option('-o, --output <format>', 'text, md or json', 'text')
      .addHelpText('after', help);
    declareInput(command);
  },
  async run(io, args, raw) {
    const options = raw as unknown as DiffOptions;
    if (!['text', 'md', 'json'].includes(options.output)) {
      throw new CliError(`no such output format: ${options.output}`, 2, 'use text, md or json');
    }
    const [first = '', second] = args;
    const range = /^(.+?)\.\.\.?(.+)$/.exec(first);
    const [a, b] =
      second === undefined && range !== null ? [range[1] ?? '', range[2] ?? ''] : [first, second];
    if (b === undefined) throw new CliError('diff needs two sides', 2, 'see podwall diff --help');
    const hasCommon = (options.filename ?? []).length + (options.kustomize ?? []).length > 0;
    const common = hasCommon ? await readInput(io, options) : undefined;
    if (common !== undefined) printDiagnostics(io, common.diagnostics, options.quiet ?? false);
    const sides = { a: await readSide(io, a, options), b: await readSide(io, b, options) };
    const shared = common?.objects ?? [];
    const before = snapshotOf(io, sides.a, [...shared, ...lent(io, sides.b, sides.a)], options);
    const after = snapshotOf(io, sides.b, [...shared, ...lent(io, sides.a, sides.b)], options);
    if (before.pods.length + after.pods.length === 0) {
      throw new CliError(
        'no pods and no workloads on either side',
        2,
        'name a directory that both sides have with -f workloads/',
      );
    }
    const result = diffReach(computeReach(before), computeReach(after));
    io.out(
      options.output === 'json'
        ? `${JSON.stringify(toDiffJson(result), null, 2)}\n`
        : options.output === 'md'
          ? renderDiffMarkdown(result)
          : renderDiff(result, io.color),
    );
    return result.changes.length === 0 ? 0 : 1;
  },
};
