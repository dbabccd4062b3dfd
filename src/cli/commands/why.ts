/**
 * `podwall why SRC DST[:PORT[/PROTO]]`: one question, both legs, the culprit, the near miss. Must not
 * know how verdicts are found.
 */
import { createEvaluator, type Evaluator } from '../../engine/evaluate.ts';
import { judgeFixes, type JudgedFix } from '../../engine/judge-fix.ts';
import {
  resolveReference,
  splitPort,
  targetPort,
  type PortReference,
  type Reference,
  type ReferenceFault,
} from '../../engine/reference.ts';
import type { PodInfo, Snapshot } from '../../engine/snapshot.ts';
import type { Connection, Endpoint, Verdict } from '../../engine/verdict.ts';
import { cutByPolicies, representatives, worldOf } from '../../engine/world.ts';
import { formatAddressSet, union, type AddressSet } from '../../net/address-set.ts';
import type { Protocol } from '../../net/connection-set.ts';
import type { CompiledPolicy } from '../../policy/compiled.ts';
import { toVerdictJson } from '../../report/verdict-json.ts';
import { renderVerdict, type VerdictView } from '../../report/verdict-text.ts';
import { CliError, type CommandModule, type ExitCode, type Io } from '../command.ts';
import { completenessNote, declareInput, readSnapshot, type InputOptions } from '../input.ts';
import { placeIn } from '../places.ts';
import { verdictView } from '../verdict-view.ts';

const help = `
SRC and DST: NAMESPACE/POD, NAMESPACE/KIND/NAME, NAMESPACE/svc/NAME, node/NAME,
an IP address, or world.

Examples:
  podwall why dev/devserver-1 prod/prodserver-1:80 -f manifests/
  podwall why shop/deploy/front-end shop/svc/carts -f manifests/
  podwall why world shop/deploy/front-end:8079 -f manifests/
  podwall why 172.17.1.10 prod/db:6379/TCP --kubeconfig ~/.kube/config
  kubectl kustomize overlay | podwall why a/web b/api:8080 -f -

Exit codes: 0 allowed, 1 denied or unknown, 2 usage or input error,
3 the cluster could not be read.`;

/** One connection to ask about, with the words for its ends. */
interface Question {
  readonly source: string;
  readonly destination: string;
  readonly connection: Connection;
  /** One end stands for a range of the world: no single change can be named for it. */
  readonly forRange: boolean;
}

function orFail<T extends object>(value: T | ReferenceFault): T {
  if ('fault' in value) throw new CliError(value.fault, 2, value.hint);
  return value;
}

/** Ports to ask about, with the target port when a Service stands between. */
interface AskedPort {
  readonly protocol: Protocol;
  readonly port?: number;
  readonly note?: string;
}

function portsOf(
  reference: Reference,
  pod: PodInfo | undefined,
  asked: PortReference | undefined,
): AskedPort[] {
  if (reference.kind === 'service' && pod !== undefined) {
    const { service } = reference;
    const wanted = service.ports.filter(
      (port) =>
        asked === undefined ||
        ((port.port === asked.port || port.name === asked.port) &&
          (asked.protocol === undefined || asked.protocol === port.protocol)),
    );
    if (wanted.length === 0) {
      const list = service.ports.map((port) => `${port.port}/${port.protocol}`).join(', ');
      throw new CliError(
        `${reference.text} has no port ${asked?.port ?? ''}`,
        2,
        `it has ${list || 'none'}`,
      );
    }
    return wanted.map((port) => {
      const target = targetPort(pod, port);
      const via = `${reference.text} port ${port.port} → target port ${port.targetPort}`;
      if (target === undefined) {
        return { protocol: port.protocol, note: `${via}: ${pod.id} has no port of that name` };
      }
      return { protocol: port.protocol, port: target, note: `${via} of ${pod.id}` };
    });
  }
  if (asked === undefined) {
    const declared = pod?.declaredPorts ?? [];
    return declared.length > 0 ? [...declared] : [{ protocol: 'TCP' }];
  }
  if (typeof asked.port === 'number')
    return [{ protocol: asked.protocol ?? 'TCP', port: asked.port }];
  const named = (pod?.namedPorts ?? []).filter(
    (port) =>
      port.name === asked.port &&
      (asked.protocol === undefined || asked.protocol === port.protocol),
  );
  if (named.length === 0) {
    const names = (pod?.namedPorts ?? []).map((port) => port.name).join(', ');
    throw new CliError(
      `${reference.text} has no port named "${asked.port}"`,
      2,
      `it has ${names || 'no named ports'}`,
    );
  }
  return named;
}

/** The ends a reference stands for, one per pod; the world comes later, cut by the other end. */
function endpointsOf(reference: Reference): { text: string; endpoint: Endpoint }[] {
  switch (reference.kind) {
    case 'pods':
    case 'service':
      return reference.pods.map((pod) => ({ text: pod.id, endpoint: { kind: 'pod', pod } }));
    case 'address':
      return [{ text: reference.text, endpoint: { kind: 'address', address: reference.address } }];
    case 'world':
      return [];
  }
}

function questions(
  evaluator: Evaluator,
  snapshot: Snapshot,
  from: Reference,
  to: Reference,
  asked: PortReference | undefined,
): { questions: Question[]; notes: string[] } {
  if (from.kind === 'world' && to.kind === 'world') {
    throw new CliError('world → world does not touch the cluster');
  }
  const notes = new Set<string>();
  const list: Question[] = [];
  const destinations =
    to.kind === 'world' ? worldEnds(evaluator, snapshot, from, 'Egress') : endpointsOf(to);
  const sources =
    from.kind === 'world' ? worldEnds(evaluator, snapshot, to, 'Ingress') : endpointsOf(from);
  for (const destination of destinations) {
    const pod = destination.endpoint.kind === 'pod' ? destination.endpoint.pod : undefined;
    for (const port of portsOf(to, pod, asked)) {
      if (port.note !== undefined) notes.add(port.note);
      for (const source of sources) {
        list.push({
          source: source.text,
          destination: destination.text,
          forRange: from.kind === 'world' || to.kind === 'world',
          connection: {
            source: source.endpoint,
            destination: destination.endpoint,
            protocol: port.protocol,
            ...(port.port === undefined ? {} : { port: port.port }),
            ...(to.kind === 'service' ? { throughService: true } : {}),
          },
        });
      }
    }
  }
  return { questions: list, notes: [...notes] };
}

function worldEnds(
  evaluator: Evaluator,
  snapshot: Snapshot,
  other: Reference,
  direction: 'Ingress' | 'Egress',
): { text: string; endpoint: Endpoint }[] {
  const pods = other.kind === 'pods' || other.kind === 'service' ? other.pods : [];
  const policies = new Set<CompiledPolicy>(
    pods.flatMap((pod) => evaluator.policiesOf(pod, direction)),
  );
  const families = familiesOf(pods, snapshot);
  return cutByPolicies(worldOf(snapshot), [...policies]).flatMap((part) =>
    representatives(part)
      .filter(({ family }) => families.has(family))
      .map((address) => ({
        text: `world (${shorten(part, address.family)})`,
        endpoint: { kind: 'address' as const, address },
      })),
  );
}

/**
 * In which families the world can meet these pods: their own, or, where no address of theirs is known,
 * those that pods of the cluster have; both when nothing says.
 */
function familiesOf(pods: readonly PodInfo[], snapshot: Snapshot): ReadonlySet<4 | 6> {
  for (const some of [pods, snapshot.pods]) {
    const found = some.flatMap((pod) => pod.addresses.map((address) => address.family));
    if (found.length > 0) return new Set(found);
  }
  return new Set([4, 6]);
}

function shorten(part: AddressSet, family: 4 | 6): string {
  const own = family === 4 ? { v4: part.v4, v6: [] } : { v4: [], v6: part.v6 };
  const ranges = (family === 4 ? part.v4.length : part.v6.length) / 2;
  if (ranges <= 3) return formatAddressSet(union(own, { v4: [], v6: [] }));
  return `IPv${family}, ${ranges} ranges`;
}

/** Questions with the same answer in every word are told once: replicas of one workload. */
function told(view: VerdictView): string {
  const { verdict } = view;
  return JSON.stringify([view.on, verdict, view.nearMisses.length], (_, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
}

/** Adds what would open each denied connection; once for connections with the same answer. */
function withFixes(
  views: readonly VerdictView[],
  asked: readonly Question[],
  judge: (question: Question, verdict: Verdict) => JudgedFix[],
): VerdictView[] {
  const known = new Map<string, JudgedFix[]>();
  return views.map((view, index) => {
    const question = asked[index];
    if (view.verdict.outcome !== 'denied' || !question || question.forRange) return view;
    const key = told(view);
    const fixes = known.get(key) ?? judge(question, view.verdict);
    known.set(key, fixes);
    return { ...view, fixes };
  });
}

function print(io: Io, views: readonly VerdictView[], notes: readonly string[]): void {
  for (const note of notes) io.out(`${note}\n`);
  const groups = new Map<string, VerdictView[]>();
  for (const view of views) {
    const key = told(view);
    groups.set(key, [...(groups.get(key) ?? []), view]);
  }
  const blocks = [...groups.values()].map((group) => {
    const [first] = group;
    if (first === undefined) return '';
    const same =
      group.length === 1 ? '' : `  the same for ${group.length - 1} more pairs of pods\n`;
    return renderVerdict(first, io.color) + same;
  });
  io.out(blocks.join('\n'));
}

export const why: CommandModule = {
  declare(command) {
    command
      .description('Can SRC reach DST, and why (not)? Both legs, what isolates, what came close.')
      .argument('<src>', 'where the connection comes from')
      .argument('<dst[:port[/proto]]>', 'where it goes to')
      .option('-o, --output <format>', 'text or json', 'text')
      .addHelpText('after', help);
    declareInput(command);
  },
  async run(io, args, raw) {
    const options = raw as unknown as InputOptions & { output: string };
    if (options.output !== 'text' && options.output !== 'json') {
      throw new CliError(`no such output format: ${options.output}`, 2, 'use text or json');
    }
    const [fromText = '', toText = ''] = args;
    const { end, port } = orFail(splitPort(toText));
    const { snapshot, input, build } = await readSnapshot(io, options);
    const from = orFail(resolveReference(snapshot, fromText, options.namespace));
    const to = orFail(resolveReference(snapshot, end, options.namespace));
    for (const reference of [from, to]) {
      if (reference.kind === 'service' && reference.pods.length === 0) {
        throw new CliError(`no pod of the input is behind ${reference.text}`);
      }
    }
    const evaluator = createEvaluator(snapshot);
    const asked = questions(evaluator, snapshot, from, to, port);
    const place = placeIn(input.objects);
    const answers = asked.questions.map((question) =>
      verdictView(snapshot, question, evaluator.evaluate(question.connection), place),
    );
    const views = withFixes(answers, asked.questions, ({ connection }, verdict) =>
      judgeFixes(input.objects, build, snapshot, connection, verdict),
    );
    const notes = [...asked.notes];
    const incomplete = completenessNote(snapshot);
    if (options.output === 'json') {
      io.out(`${JSON.stringify(toVerdictJson(views, notes, snapshot.completeness), null, 2)}\n`);
    } else {
      print(io, views, notes);
      if (incomplete !== '' && !options.quiet) io.err(`input: ${incomplete}\n`);
    }
    const code: ExitCode = views.every((view) => view.verdict.outcome === 'allowed') ? 0 : 1;
    return code;
  },
};
