/**
 * `podwall explain`: every policy of the input in plain English. Must not know of pods or verdicts.
 */
import { checkPolicy, policyKindOf } from '../../policy/index.ts';
import type { Diagnostic } from '../../k8s/diagnostic.ts';
import type { NetworkPolicySpec } from '../../k8s/types.ts';
import { impliedNotes } from '../../report/implied.ts';
import { describePolicy } from '../../report/policy-text.ts';
import { CliError, type CommandModule } from '../command.ts';
import { printDiagnostics, readInput, type InputOptions } from '../input.ts';

const help = `
Examples:
  podwall explain policy.yaml
  podwall explain manifests/ more.yaml
  helm template . | podwall explain -
  podwall explain policy.yaml -o json`;

export const explain: CommandModule = {
  declare(command) {
    command
      .description(
        'Every policy in plain English: AND and OR in capitals, everything implied said aloud.',
      )
      .argument('<path...>', 'files, directories or - for stdin')
      .option('--strict-cidr', 'parse CIDRs as Kubernetes 1.36 and later do')
      .option('-o, --output <format>', 'text or json', 'text')
      .option('-q, --quiet', 'no warnings, only errors')
      .addHelpText('after', help);
  },
  async run(io, args, raw) {
    const options = raw as unknown as InputOptions & { output: string };
    if (options.output !== 'text' && options.output !== 'json') {
      throw new CliError(`no such output format: ${options.output}`, 2, 'use text or json');
    }
    const input = await readInput(io, { filename: args });
    const diagnostics: Diagnostic[] = [...input.diagnostics];
    const explained: { policy: string; text: string; notes: string[] }[] = [];
    for (const item of input.objects) {
      const { object } = item;
      if (policyKindOf(object.apiVersion, object.kind) === undefined) continue;
      const checked = checkPolicy(item, { strictCidr: options.strictCidr ?? false });
      diagnostics.push(...checked.diagnostics);
      if (checked.policy === undefined) continue;
      const notes =
        object.kind === 'NetworkPolicy'
          ? impliedNotes(object.spec as NetworkPolicySpec | undefined)
          : [];
      explained.push({
        policy: checked.policy.ref.key,
        text: describePolicy(checked.policy, notes),
        notes,
      });
    }
    if (options.output === 'json') {
      io.out(
        `${JSON.stringify({ apiVersion: 'podwall/v1', kind: 'Explanation', policies: explained }, null, 2)}\n`,
      );
    } else io.out(explained.map(({ text }) => text).join('\n'));
    printDiagnostics(io, diagnostics, options.quiet ?? false);
    if (explained.length === 0) {
      throw new CliError(
        `no policies in ${input.origin}`,
        2,
        'explain reads NetworkPolicy, ClusterNetworkPolicy, AdminNetworkPolicy and BaselineAdminNetworkPolicy',
      );
    }
    return 0;
  },
};
