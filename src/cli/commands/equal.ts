/**
 * `podwall equal A B`: do two sets of policies mean the same? Must not know how that is found.
 */
import {
  compareFuture,
  compareReach,
  withImagined,
  type Imagined,
  type Witness,
} from '../../engine/equal.ts';
import { createEvaluator } from '../../engine/evaluate.ts';
import { computeReach } from '../../engine/reach.ts';
import type { Verdict } from '../../engine/verdict.ts';
import {
  onText,
  renderEquality,
  toEqualityJson,
  type EqualityView,
  type WitnessView,
} from '../../report/equal-text.ts';
import { renderVerdict } from '../../report/verdict-text.ts';
import { CliError, type CommandModule } from '../command.ts';
import { declareInput } from '../input.ts';
import { placeIn } from '../places.ts';
import { readSides, type Side, type SideOptions } from '../sides.ts';

const help = `
A and B: a file or directory, a git revision (manifests below the current folder
or --path), or \`cluster\`. -f and -k name objects that both sides have.

What is compared:
  1. Every ordered pair of the pods, workloads, nodes and ranges of the world
     that are given, on all ports and protocols. This is exact, and decides the
     exit code.
  2. Pods that do not exist yet, by selectors, addresses and ports alone.
     "equal" means that the isolation of each policy and the peers of each rule
     are held by single policies and rules of the other side, both ways; that is
     a proof. "NOT EQUAL" shows pods, imagined, that the two sides treat
     differently. Where neither succeeds the answer is "not decided". Admin and
     Baseline policies are only compared word by word here. With --strict
     anything but "equal" gives exit code 1, and so it does when no side has
     pods.

Examples:
  podwall equal old-policies/ new-policies/ -f workloads/
  podwall equal main HEAD --path deploy/ --strict
  podwall equal cluster manifests/ --context prod

Exit codes: 0 equal, 1 not equal, 2 usage or input error,
3 the cluster could not be read.`;

interface EqualOptions extends SideOptions {
  readonly strict?: boolean;
  readonly output: string;
}

function witnessView(
  sides: readonly [Side, Side],
  witness: Witness,
  made: readonly Imagined[],
): WitnessView {
  const ask = (side: Side, which: 0 | 1): { verdict: Verdict; text: string } => {
    const { source, destination } = witness.ends[which];
    const { protocol, port } = witness;
    const verdict = createEvaluator(withImagined(side.snapshot, made)).evaluate({
      source,
      destination,
      protocol,
      ...(port === undefined ? {} : { port }),
    });
    const text = renderVerdict(
      {
        source: witness.source,
        destination: witness.destination,
        on: onText(witness),
        verdict,
        nearMisses: [],
        fixes: [],
        labels: {},
        place: placeIn(side.objects),
      },
      false,
    );
    return { verdict, text };
  };
  const a = ask(sides[0], 0);
  const b = ask(sides[1], 1);
  return { witness, verdicts: [a.verdict, b.verdict], texts: [a.text, b.text] };
}

export const equal: CommandModule = {
  declare(command) {
    command
      .description('Do two sets of policies mean the same? If not, a connection that shows it.')
      .argument('<a>', 'one side; or A..B')
      .argument('[b]', 'the other')
      .option(
        '--path <path>',
        'where manifests are in a revision (repeatable)',
        (path: string, paths?: readonly string[]) => [...(paths ?? []), path],
      )
      .option('--strict', 'also for pods that do not exist yet')
      .option('-o, --output <format>', 'text or json', 'text')
      .addHelpText('after', help);
    declareInput(command);
  },
  async run(io, args, raw) {
    const options = raw as unknown as EqualOptions;
    if (options.output !== 'text' && options.output !== 'json') {
      throw new CliError(`no such output format: ${options.output}`, 2, 'use text or json');
    }
    const [first = '', second] = args;
    const range = /^(.+?)\.\.\.?(.+)$/.exec(first);
    const [a, b] =
      second === undefined && range !== null ? [range[1] ?? '', range[2] ?? ''] : [first, second];
    if (b === undefined) throw new CliError('equal needs two sides', 2, 'see podwall equal --help');
    const sides = await readSides(io, [a, b], options, 'equal');
    const [{ snapshot: one }, { snapshot: two }] = sides;
    if (one.policies.length + two.policies.length === 0) {
      throw new CliError('no policies on either side', 2, 'see podwall equal --help');
    }
    const hasPods = one.pods.length + two.pods.length > 0;
    const now = hasPods ? compareReach(computeReach(one), computeReach(two)) : undefined;
    const future = compareFuture(one, two);
    const view: EqualityView = {
      a,
      b,
      future,
      ...(now === undefined ? {} : { now }),
      ...(now?.equal === false && now.reason === 'pair'
        ? { nowWitness: witnessView(sides, now.witness, []) }
        : {}),
      ...(future.verdict === 'different'
        ? { futureWitness: witnessView(sides, future.witness, future.imagined) }
        : {}),
    };
    io.out(
      options.output === 'json'
        ? `${JSON.stringify(toEqualityJson(view), null, 2)}\n`
        : renderEquality(view, io.color),
    );
    if (!hasPods && !options.quiet) {
      io.err('input: no pods and no workloads: only pods that do not exist yet were compared\n');
    }
    const futureCounts = options.strict === true || !hasPods;
    return now?.equal === false || (futureCounts && future.verdict !== 'equal') ? 1 : 0;
  },
};
