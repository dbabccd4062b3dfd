/**
 * `podwall expose`: per pod, who could reach it and whom it could reach, pods to come included. Must
 * not know how exposure is found.
 */
import { exposures } from '../../engine/expose.ts';
import type { PeerGroup } from '../../engine/groups.ts';
import { computeReach } from '../../engine/reach.ts';
import { resolveReference } from '../../engine/reference.ts';
import type { Snapshot } from '../../engine/snapshot.ts';
import {
  renderExposure,
  renderExposureMarkdown,
  toExposureJson,
} from '../../report/expose-text.ts';
import { CliError, type CommandModule } from '../command.ts';
import { completenessNote, declareInput, readSnapshot, type InputOptions } from '../input.ts';
import { placeIn } from '../places.ts';

const help = `
END: a namespace, NAMESPACE/POD, NAMESPACE/KIND/NAME or NAMESPACE/svc/NAME;
none: every pod.

"from" is whom the pod's own ingress rules admit, "to" whom its own egress rules
admit: by selector, so pods that do not exist yet are included. "now:" names the
existing peers that a selector matches; "=" sums up what is admitted from the
peers that exist. The other end has rules of its own; where they close what this
end admits, the last line says so.

Examples:
  podwall expose -f manifests/
  podwall expose prod/db -f manifests/
  podwall expose prod --context prod -o md
  podwall expose -f manifests/ -o json | jq '.subjects[].id'

Exit codes: 0 fine, 2 usage or input error, 3 the cluster could not be read.`;

function chooser(
  snapshot: Snapshot,
  names: readonly string[],
  namespace: string | undefined,
): (group: PeerGroup) => boolean {
  if (names.length === 0) return () => true;
  const choosers = names.map((text): ((group: PeerGroup) => boolean) => {
    if (snapshot.namespaces.has(text)) return (group) => group.namespace === text;
    const found = resolveReference(snapshot, text, namespace);
    if ('fault' in found) throw new CliError(found.fault, 2, found.hint);
    if (found.kind === 'world' || found.kind === 'address') {
      throw new CliError(`${text} is no pod`, 2, 'policies expose pods; name one, or a workload');
    }
    const ids = new Set(found.pods.map((pod) => pod.id));
    return ({ first }) => first.kind === 'pod' && ids.has(first.pod.id);
  });
  return (group) => choosers.some((chosen) => chosen(group));
}

export const expose: CommandModule = {
  declare(command) {
    command
      .description(
        'Who could reach each pod and whom it could reach: pods to come and the world included.',
      )
      .argument('[end...]', 'pods, workloads, Services or namespaces; none: all')
      .option('-o, --output <format>', 'text, json or md', 'text')
      .addHelpText('after', help);
    declareInput(command);
  },
  async run(io, args, raw) {
    const options = raw as unknown as InputOptions & { output: string };
    if (!['text', 'json', 'md'].includes(options.output)) {
      throw new CliError(`no such output format: ${options.output}`, 2, 'use text, json or md');
    }
    const { snapshot, input } = await readSnapshot(io, options);
    if (snapshot.pods.length === 0) {
      throw new CliError(
        'no pods and no workloads in the input',
        2,
        'expose needs them beside the policies; `podwall explain` reads policies alone',
      );
    }
    const chosen = chooser(snapshot, args, options.namespace);
    const reach = computeReach(snapshot);
    const place = placeIn(input.objects);
    if (options.output === 'json') {
      const document = toExposureJson([...exposures(reach, chosen)], place, snapshot.completeness);
      io.out(`${JSON.stringify(document, null, 2)}\n`);
    } else if (options.output === 'md') io.out(renderExposureMarkdown(exposures(reach, chosen)));
    else {
      let separator = '';
      for (const exposure of exposures(reach, chosen)) {
        io.out(separator + renderExposure(exposure, place, io.color));
        separator = '\n';
      }
    }
    const incomplete = completenessNote(snapshot);
    if (incomplete !== '' && !options.quiet) io.err(`input: ${incomplete}\n`);
    return 0;
  },
};
