/**
 * What a lesson is, and the reader that turns its files into one and says what is wrong with them.
 * Must not touch files or know what any policy means.
 */
import type { Diagnostic } from '../../k8s/diagnostic.ts';
import { checkSchema, type SchemaNode } from '../../k8s/schema.ts';
import type { Pod } from '../../k8s/types.ts';
import type { Protocol } from '../../net/connection-set.ts';
import { parseManifests, type ManifestObject } from '../../manifest/parse.ts';
import { policyKindOf } from '../../policy/index.ts';
import { defaultOutside, defaultOutsidePorts } from '../config.ts';
import { listenPorts, namespacedIn } from '../store.ts';
import type { LabPort } from '../types.ts';
import { expandFlows, flowKey, type Flow, type Party } from './flows.ts';

/**
 * What a learner is asked to predict. `reach`: yes or no. `side`: which side stops it. `sources` and
 * `destinations`: who reaches, or is reached. Answers are words, in no order.
 */
export interface Question {
  readonly kind: 'reach' | 'side' | 'sources' | 'destinations';
  readonly ask: string;
  /** The connections the question is about. */
  readonly flows: readonly Flow[];
  readonly choices: readonly string[];
  /** What the author says is right; engine and packets are asked too. */
  readonly answer: readonly string[];
  readonly because: string;
}

export interface Mistake {
  readonly name: string;
  /** What is wrong with it, told to a learner whose policy has the same effect. */
  readonly says: string;
  readonly policies: readonly ManifestObject[];
}

export interface Task {
  readonly text: string;
  /** Where policies go that name no namespace. */
  readonly namespace: string;
  /** The given policies stay in force beside the learner's. */
  readonly keepGiven: boolean;
  readonly kinds: readonly string[];
  /** As written, for showing. */
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly allowed: readonly Flow[];
  readonly denied: readonly Flow[];
  /** Every other connection. `before`: as it is without a policy of the learner. */
  readonly otherwise: 'allowed' | 'denied' | 'before';
  readonly hints: readonly string[];
  readonly mistakes: readonly Mistake[];
}

export interface Lesson {
  /** The folder's name without its number: unique, for the command line. */
  readonly name: string;
  /** 1-based place in the order. */
  readonly number: number;
  readonly title: string;
  /** What it teaches, one line. */
  readonly point: string;
  readonly story: string;
  readonly ports: readonly LabPort[];
  readonly parties: readonly Party[];
  readonly cluster: readonly ManifestObject[];
  readonly clusterText: string;
  readonly given: readonly ManifestObject[];
  readonly givenText: string;
  readonly later: readonly ManifestObject[];
  readonly questions: readonly Question[];
  readonly task: Task;
  readonly solution: readonly ManifestObject[];
  readonly solutionText: string;
}

/** A lesson's files by name, without directories. */
export type LessonFiles = ReadonlyMap<string, string>;

const text: SchemaNode = { type: 'string' };
const texts: SchemaNode = { type: 'list', items: text };

const schema: SchemaNode = {
  type: 'object',
  fields: {
    apiVersion: text,
    kind: text,
    metadata: { type: 'any' },
    spec: {
      type: 'object',
      fields: {
        title: text,
        point: text,
        story: text,
        ports: { type: 'list', items: { type: 'int-or-string' } },
        outside: texts,
        questions: {
          type: 'list',
          items: {
            type: 'object',
            fields: {
              ask: text,
              from: text,
              to: text,
              port: { type: 'int-or-string' },
              answer: { type: 'any' },
              because: text,
            },
          },
        },
        task: {
          type: 'object',
          fields: {
            text,
            namespace: text,
            given: text,
            kinds: texts,
            allow: texts,
            deny: texts,
            otherwise: text,
            hints: texts,
            mistakes: { type: 'map', values: text },
          },
        },
      },
    },
  },
};

/** The fields of `schema`, after it found no fault. */
interface LessonSpec {
  readonly title?: string;
  readonly point?: string;
  readonly story?: string;
  readonly ports?: readonly (number | string)[];
  readonly outside?: readonly string[];
  readonly questions?: readonly {
    readonly ask?: string;
    readonly from?: string;
    readonly to?: string;
    readonly port?: number | string;
    readonly answer?: unknown;
    readonly because?: string;
  }[];
  readonly task?: {
    readonly text?: string;
    readonly namespace?: string;
    readonly given?: string;
    readonly kinds?: readonly string[];
    readonly allow?: readonly string[];
    readonly deny?: readonly string[];
    readonly otherwise?: string;
    readonly hints?: readonly string[];
    readonly mistakes?: Readonly<Record<string, string>>;
  };
}

type Complain = (message: string, fieldPath?: string) => void;

/**
 * Reads the files of one folder. `directory` is only for messages. Every fault is collected; a lesson
 * comes out only when there is none.
 */
export function readLesson(
  directory: string,
  name: string,
  number: number,
  files: LessonFiles,
): { readonly lesson?: Lesson; readonly diagnostics: readonly Diagnostic[] } {
  const diagnostics: Diagnostic[] = [];
  const manifests = (file: string): readonly ManifestObject[] => {
    const given = files.get(file);
    if (given === undefined) return [];
    const read = parseManifests({ file: `${directory}/${file}`, text: given });
    diagnostics.push(...read.diagnostics.filter((one) => one.severity !== 'info'));
    return read.objects;
  };
  const [head, ...others] = manifests('lesson.yaml');
  const complain: Complain = (message, fieldPath) => {
    const range = head?.locate(fieldPath ?? 'metadata');
    diagnostics.push({
      code: 'lesson',
      severity: 'error',
      message,
      range: range ?? { file: `${directory}/lesson.yaml`, start: { line: 1, column: 1 } },
      ...(fieldPath === undefined ? {} : { fieldPath }),
    });
  };
  if (
    head === undefined ||
    others.length > 0 ||
    head.object.kind !== 'Lesson' ||
    head.object.apiVersion !== 'podwall/v1'
  ) {
    complain('lesson.yaml must hold one Lesson of podwall/v1');
    return { diagnostics };
  }
  if (head.object.metadata.name !== name) {
    complain(`must be ${name}, as the folder is called`, 'metadata.name');
  }
  const { unknown, typeErrors } = checkSchema(head.object, schema, '');
  for (const { path, suggestion } of unknown) {
    complain(`unknown field${suggestion === undefined ? '' : `; was ${suggestion} meant?`}`, path);
  }
  for (const { path, expected, actual } of typeErrors) complain(`not ${expected}: ${actual}`, path);
  for (const file of ['cluster.yaml', 'solution.yaml']) {
    if (!files.has(file)) complain(`${file} is missing`);
  }
  if (diagnostics.length > 0) return { diagnostics };

  const spec = (head.object.spec ?? {}) as LessonSpec;
  const required = (value: string | undefined, path: string): string => {
    if (value === undefined || value.trim() === '') complain('must say something', path);
    return (value ?? '').trim();
  };
  const cluster = manifests('cluster.yaml');
  const later = manifests('later.yaml');
  const outside = spec.outside ?? [];
  const parties = partiesOf(cluster, later, outside, complain);
  const ports = (spec.ports ?? [80]).flatMap((one) =>
    readPort(String(one), 'spec.ports', complain),
  );
  const [firstPort = { protocol: 'TCP', port: 80 } as const] = ports;
  const policies = (file: string): readonly ManifestObject[] => {
    const objects = manifests(file);
    const strange = objects.find(
      ({ object }) => policyKindOf(object.apiVersion, object.kind) === undefined,
    );
    if (strange !== undefined)
      complain(`${file} holds a ${strange.object.kind}, not only policies`);
    // As kubectl puts them there with -n.
    const namespace = spec.task?.namespace ?? 'default';
    return objects.map((one) => ({ ...one, object: namespacedIn(one.object, namespace) }));
  };
  const questions = (spec.questions ?? []).map((given, index) =>
    readQuestion(given, `spec.questions[${index}]`, { parties, firstPort, complain, required }),
  );
  if (questions.length === 0) complain('has no questions', 'spec.questions');
  const task = spec.task ?? {};
  const lesson: Lesson = {
    name,
    number,
    title: required(spec.title, 'spec.title'),
    point: required(spec.point, 'spec.point'),
    story: required(spec.story, 'spec.story'),
    ports,
    parties,
    cluster,
    clusterText: files.get('cluster.yaml') ?? '',
    given: policies('given.yaml'),
    givenText: files.get('given.yaml') ?? '',
    later,
    questions,
    task: {
      text: required(task.text, 'spec.task.text'),
      namespace: required(task.namespace, 'spec.task.namespace'),
      keepGiven:
        oneOf(task.given ?? 'goes', ['stays', 'goes'], 'spec.task.given', complain) === 'stays',
      kinds: task.kinds ?? ['NetworkPolicy'],
      allow: task.allow ?? [],
      deny: task.deny ?? [],
      ...readWants(task.allow ?? [], task.deny ?? [], { parties, ports, complain }),
      otherwise: oneOf(
        task.otherwise ?? '',
        ['allowed', 'denied', 'before'] as const,
        'spec.task.otherwise',
        complain,
      ),
      hints: task.hints ?? [],
      mistakes: Object.entries(task.mistakes ?? {}).map(([mistake, says]) => {
        const file = `mistake-${mistake}.yaml`;
        if (!files.has(file)) complain(`${file} is missing`, 'spec.task.mistakes');
        return { name: mistake, says: says.trim(), policies: policies(file) };
      }),
    },
    solution: policies('solution.yaml'),
    solutionText: files.get('solution.yaml') ?? '',
  };
  for (const file of files.keys()) {
    const known = /^(lesson|cluster|given|later|solution)\.yaml$/.test(file);
    const mistake = /^mistake-(.+)\.yaml$/.exec(file)?.[1];
    const used = lesson.task.mistakes.some((one) => one.name === mistake);
    if (!known && !used) complain(`${file} is used by nothing`);
  }
  return diagnostics.length > 0 ? { diagnostics } : { lesson, diagnostics };
}

function partiesOf(
  cluster: readonly ManifestObject[],
  later: readonly ManifestObject[],
  outside: readonly string[],
  complain: Complain,
): Party[] {
  const parties: Party[] = [];
  for (const [objects, isLater] of [
    [cluster, false],
    [later, true],
  ] as const) {
    for (const { object } of objects) {
      const { namespace = 'default', name = '' } = object.metadata;
      if (object.kind === 'Pod') {
        const listens = listenPorts(object as Pod);
        parties.push({ name: `${namespace}/${name}`, outside: false, listens, later: isLater });
      } else if (object.kind !== 'Namespace') {
        complain(`a lesson's cluster is made of Namespaces and Pods, not of a ${object.kind}`);
      }
    }
  }
  for (const name of outside) {
    const host = defaultOutside.find((one) => one.name === name);
    if (host === undefined) {
      const names = defaultOutside.map((one) => one.name).join(', ');
      complain(`there is no outside host ${name}; there are ${names}`, 'spec.outside');
      continue;
    }
    // World hosts are no pods: in a lesson they answer on what the lab gives them.
    parties.push({ name, outside: true, listens: defaultOutsidePorts, later: false });
  }
  return parties;
}

function readPort(given: string, path: string, complain: Complain): LabPort[] {
  const match = /^(\d{1,5})(?:\/(TCP|UDP))?$/.exec(given.trim());
  const port = Number(match?.[1]);
  if (match === null || port < 1 || port > 65_535) {
    complain(`"${given}" is no port; write 80, 6379/TCP or 53/UDP`, path);
    return [];
  }
  return [{ protocol: (match[2] ?? 'TCP') as Protocol, port }];
}

function oneOf<T extends string>(
  given: string,
  known: readonly T[],
  path: string,
  complain: Complain,
): T {
  const found = known.find((one) => one === given);
  if (found === undefined) complain(`must be ${known.join(' or ')}, not "${given}"`, path);
  return found ?? (known[0] as T);
}

/** Why a connection that a lesson names cannot be tried; undefined when it can. */
function flowFault(flow: Flow, parties: readonly Party[]): string | undefined {
  const { source, destination, port } = flow;
  for (const name of [source, destination]) {
    if (!parties.some((one) => one.name === name)) return `the lesson has no ${name}`;
  }
  const target = parties.find((one) => one.name === destination);
  const listens = target?.listens.some(
    (one) => one.protocol === port.protocol && one.port === port.port,
  );
  return listens ? undefined : `${destination} does not listen on ${port.protocol} ${port.port}`;
}

/** `from -> to [ports]`, ends separated by commas: `dev/*, internet -> prod/db 6379,53/UDP`. */
function readWants(
  allow: readonly string[],
  deny: readonly string[],
  context: {
    readonly parties: readonly Party[];
    readonly ports: readonly LabPort[];
    readonly complain: Complain;
  },
): { allowed: Flow[]; denied: Flow[] } {
  const { parties, ports, complain } = context;
  const read = (lines: readonly string[], path: string): Flow[] =>
    lines.flatMap((line, index) => {
      const at = `${path}[${index}]`;
      const match = /^(.+?)\s*->\s*(.+?)(?:\s+([\d/,TCPUD]+))?$/.exec(line.trim());
      if (match === null) {
        complain(`"${line}" is not FROM -> TO [PORTS]`, at);
        return [];
      }
      const [, from = '', to = '', portText] = match;
      const wanted =
        portText === undefined
          ? ports
          : portText.split(',').flatMap((one) => readPort(one, at, complain));
      const flows = expandFlows(from, to, wanted, parties);
      if (typeof flows === 'string') complain(flows, at);
      else if (flows.length === 0) complain(`"${line}" names no connection`, at);
      return typeof flows === 'string' ? [] : flows;
    });
  const allowed = read(allow, 'spec.task.allow');
  const denied = read(deny, 'spec.task.deny');
  const both = denied.find((flow) => allowed.some((one) => flowKey(one) === flowKey(flow)));
  if (both !== undefined) complain(`${flowKey(both)} is both allowed and denied`, 'spec.task');
  return { allowed, denied };
}

function readQuestion(
  given: NonNullable<LessonSpec['questions']>[number],
  path: string,
  context: {
    readonly parties: readonly Party[];
    readonly firstPort: LabPort;
    readonly complain: Complain;
    readonly required: (value: string | undefined, path: string) => string;
  },
): Question {
  const { parties, complain, required } = context;
  const now = parties.filter((one) => !one.later);
  const because = required(given.because, `${path}.because`);
  const { from, to } = given;
  const [port = context.firstPort] =
    given.port === undefined ? [] : readPort(String(given.port), `${path}.port`, complain);
  const on = `${port.protocol} ${port.port}`;
  const words = answerWords(given.answer);
  const ask = given.ask?.trim();
  if (from !== undefined && to !== undefined) {
    const flow = { source: from, destination: to, port };
    const fault = flowFault(flow, now);
    if (fault !== undefined) complain(fault, path);
    const [word = ''] = words;
    const kind = word === 'yes' || word === 'no' ? 'reach' : 'side';
    const choices = kind === 'reach' ? ['yes', 'no'] : ['egress', 'ingress', 'both', 'neither'];
    if (words.length !== 1 || !choices.includes(word)) {
      complain('answer must be yes, no, egress, ingress, both or neither', `${path}.answer`);
    }
    const plain =
      kind === 'reach'
        ? `Does ${from} reach ${to} on ${on}?`
        : `${from} → ${to} on ${on}: which side stops it, egress (of ${from}), ingress (of ${to}), both or neither?`;
    return { kind, ask: ask ?? plain, flows: [flow], choices, answer: words, because };
  }
  const others = now.filter((one) => one.name !== from && one.name !== to);
  const own = now.find((one) => one.name === (from ?? to));
  if (own === undefined) complain(`the lesson has no ${from ?? to ?? 'pod of no name'}`, path);
  const flows = others
    .filter((one) => !(one.outside && own?.outside))
    .map(({ name }): Flow =>
      from === undefined
        ? { source: name, destination: to ?? '', port }
        : { source: from, destination: name, port },
    )
    .filter((flow) => flowFault(flow, now) === undefined);
  const choices = flows.map((flow) => (from === undefined ? flow.source : flow.destination));
  const strange = words.find((word) => !choices.includes(word));
  if (strange !== undefined)
    complain(`${strange} is none of ${choices.join(', ')}`, `${path}.answer`);
  if (choices.length === 0) complain('asks about no connection', path);
  return {
    kind: from === undefined ? 'sources' : 'destinations',
    ask:
      ask ??
      (from === undefined ? `Who reaches ${to} on ${on}?` : `Whom does ${from} reach on ${on}?`),
    flows,
    choices,
    answer: words,
    because,
  };
}

/** YAML 1.1 reads a bare yes as true. */
function answerWords(answer: unknown): string[] {
  if (answer === true) return ['yes'];
  if (answer === false) return ['no'];
  if (typeof answer === 'string') return [answer];
  return Array.isArray(answer) ? answer.map(String) : [];
}
