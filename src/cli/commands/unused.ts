/**
 * `podwall unused`: policies, rules and peers that could go without changing any answer. Must not
 * know how they are found.
 */
import type { UnusedResult } from '../../engine/unused-finding.ts';
import { findUnused } from '../../engine/unused.ts';
import { idleDirections } from '../../engine/unused-directions.ts';
import { renderUnused, toUnusedJson } from '../../report/unused-text.ts';
import { CliError, type CommandModule } from '../command.ts';
import { completenessNote, declareInput, readSnapshot, type InputOptions } from '../input.ts';
import { placeIn } from '../places.ts';

const help = `
What is found, each with the reason:
  selects-no-pod            the pod selector finds nothing
  policy-redundant          others isolate the same pods and admit as much
  direction-without-effect  rules of a direction that policyTypes leaves out
  rule-matches-nothing      no peer of the rule, or no port, is there
  rule-redundant            other rules admit all that it admits
  shadowed                  Admin and Baseline tiers: earlier rules decide all
  no-pair-changes           the other end closes it all, or it is exempt
  peer-matches-nothing      one peer of a rule finds nothing
  peer-redundant            other peers of the rule match all that it matches

Each finding holds "whatever pods there are" (by selectors, addresses and ports
alone) or "with the pods of this input". Every finding can go alone, and all of
them together: no pair of pods, nodes and the rest of the world changes, and the
same pods stay isolated. When the last rule of a direction goes, keep
policyTypes as it is.

A selector that finds nothing is not reported when the input may be incomplete:
no pods at all, none in that namespace, or pods that a known operator makes.
Those policies are listed as not judged.

Examples:
  podwall unused -f manifests/
  podwall unused --context prod
  podwall unused -f manifests/ -o json | jq '.findings[].kind'

Exit codes: 0 nothing found, 1 findings, 2 usage or input error,
3 the cluster could not be read.`;

export const unused: CommandModule = {
  declare(command) {
    command
      .description(
        'Policies, rules and peers that select nothing, are shadowed or redundant, with the reason.',
      )
      .option('-o, --output <format>', 'text or json', 'text')
      .addHelpText('after', help);
    declareInput(command);
  },
  async run(io, _args, raw) {
    const options = raw as unknown as InputOptions & { output: string };
    if (options.output !== 'text' && options.output !== 'json') {
      throw new CliError(`no such output format: ${options.output}`, 2, 'use text or json');
    }
    const { snapshot, input } = await readSnapshot(io, options);
    if (snapshot.policies.length === 0) {
      throw new CliError(`no policies in ${input.origin}`, 2, 'unused judges policies');
    }
    const found = findUnused(snapshot);
    const refs = new Map(
      snapshot.policies.map(({ ref }) => [`${ref.kind} ${ref.namespace ?? ''} ${ref.name}`, ref]),
    );
    const idle = idleDirections(
      input.objects.map(({ object }) => object),
      ({ kind, metadata }) =>
        refs.get(`${kind} ${metadata.namespace ?? 'default'} ${metadata.name}`),
    ).filter(
      ({ policy }) =>
        !found.findings.some((one) => one.policy.key === policy.key && one.path === undefined),
    );
    const result: UnusedResult = { ...found, findings: [...found.findings, ...idle] };
    const place = placeIn(input.objects);
    if (options.output === 'json') {
      io.out(`${JSON.stringify(toUnusedJson(result, place, snapshot.completeness), null, 2)}\n`);
    } else io.out(renderUnused(result, place, io.color));
    if (!options.quiet) {
      if (snapshot.pods.length === 0) {
        io.err(
          'input: no pods and no workloads, so which selectors find nothing cannot be judged;\n' +
            '       policies are compared with each other by their words only\n',
        );
      } else {
        const incomplete = completenessNote(snapshot);
        if (incomplete !== '') io.err(`input: ${incomplete}\n`);
      }
    }
    return result.findings.length === 0 ? 0 : 1;
  },
};
