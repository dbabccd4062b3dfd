/**
 * `podwall diff A B`: what a change opens and closes, and by which edit. Must not know how
 * reachability is computed.
 */
import { diffReach } from '../../engine/diff.ts';
import { computeReach } from '../../engine/reach.ts';
import { renderDiff, renderDiffMarkdown, toDiffJson } from '../../report/diff-text.ts';
import { CliError, type CommandModule } from '../command.ts';
import { declareInput } from '../input.ts';
import { readSides, type SideOptions } from '../sides.ts';

const help = `
A and B: a file or directory; a git revision (manifests below the current folder
or --path); \`cluster\` for the live cluster. \`main..HEAD\` stands for two
revisions.

Examples:
  podwall diff before/ after/
  podwall diff main..HEAD --path deploy/
  podwall diff main..HEAD -o md            for a pull-request comment
  podwall diff cluster manifests/ --context prod
  podwall diff old-policies/ new-policies/ -f workloads/

-f and -k name objects that both sides have. A side with policies alone is read
with the workloads of the other.

Exit codes: 0 no difference, 1 differences, 2 usage or input error,
3 the cluster could not be read.`;

interface DiffOptions extends SideOptions {
  readonly output: string;
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
    const [{ snapshot: before }, { snapshot: after }] = await readSides(
      io,
      [a, b],
      options,
      'diff',
    );
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
