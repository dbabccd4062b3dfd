/**
 * Plays a lesson in a lab: sets the stage, puts policies in force, sends packets over every connection
 * and holds them against the engine. Must not print or ask.
 */
import type { Snapshot } from '../../engine/snapshot.ts';
import type { KubeObject } from '../../k8s/types.ts';
import type { ManifestObject } from '../../manifest/parse.ts';
import { clusterKinds, namespacedIn, refOf } from '../store.ts';
import { agrees } from '../story/play.ts';
import type { DropEvidence, Lab, LabObject, ObjectRef, ProbeOutcome } from '../types.ts';
import { flowKey } from './flows.ts';
import {
  isPolicy,
  judgeFlows,
  knownMistake,
  standing,
  wantedOf,
  type Judged,
  type Judgement,
} from './judge.ts';
import type { Lesson, Mistake, Question } from './lesson.ts';
import type { Outcome } from '../../engine/verdict.ts';

/** One connection: what the engine says, what the packets showed. */
export interface Sight extends Judged {
  readonly observed: ProbeOutcome;
  readonly drop?: DropEvidence;
  readonly reason?: string;
  /** Packets and engine say the same, the side that drops included. */
  readonly agrees: boolean;
}

/** Some policies in force, seen on every connection. */
export interface Scene {
  readonly simulated: boolean;
  readonly snapshot: Snapshot;
  /** With their places in files, for messages. */
  readonly policies: readonly LabObject[];
  /** The lab's objects: pods with their addresses. */
  readonly objects: readonly KubeObject[];
  readonly sights: ReadonlyMap<string, Sight>;
  readonly applyMs: number;
  readonly probeMs: number;
}

export interface PlayOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (text: string) => void;
}

/** Namespaces that the lab itself made and keeps. */
const lasting = ['default', 'kube-system'];

/** Takes away whatever the lab holds and puts the lesson's cluster there, without policies. */
export async function setStage(lab: Lab, lesson: Lesson): Promise<void> {
  await remove(lab, ({ kind, metadata }) =>
    kind === 'Namespace' ? !lasting.includes(metadata.name ?? '') : kind !== 'Node',
  );
  await lab.apply(lesson.cluster);
}

async function remove(lab: Lab, isOld: (object: KubeObject) => boolean): Promise<void> {
  const refs = (await lab.objects()).filter(isOld).map(refOf);
  if (refs.length > 0) await lab.delete(refs);
}

/**
 * Puts exactly these policies in force, later pods after them when asked, and looks at every
 * connection. Throws `LabRefusal` when the API server would refuse one of them.
 */
export async function enact(
  lab: Lab,
  lesson: Lesson,
  policies: readonly LabObject[],
  options: PlayOptions & { readonly later?: boolean } = {},
): Promise<Scene> {
  const { signal, onProgress, later = false } = options;
  signal?.throwIfAborted();
  const started = Date.now();
  const late = lesson.later.map(({ object }) => refText(refOf(object)));
  await remove(lab, (object) => isPolicy(object) || late.includes(refText(refOf(object))));
  if (policies.length > 0) await lab.apply(policies);
  if (later && lesson.later.length > 0) await lab.apply(lesson.later);
  const applyMs = Date.now() - started;
  signal?.throwIfAborted();
  const objects = await lab.objects();
  const { outside } = (await lab.status()).config;
  const { snapshot, judged } = judgeFlows(lesson, objects, outside, policies);
  const probing = Date.now();
  const sights = await look(lab, lesson, judged, options);
  onProgress?.(`${sights.size} connections tried`);
  return {
    simulated: lab.simulated,
    snapshot,
    policies,
    objects,
    sights,
    applyMs,
    probeMs: Date.now() - probing,
  };
}

function refText({ kind, namespace, name }: ObjectRef): string {
  return `${kind} ${namespace ?? ''} ${name}`;
}

async function look(
  lab: Lab,
  lesson: Lesson,
  judged: Judgement,
  { signal }: PlayOptions,
): Promise<Map<string, Sight>> {
  const flows = [...judged.values()].map(({ flow }) => flow);
  const { results } = await lab.probe({
    from: [...new Set(flows.map(({ source }) => source))],
    to: [...new Set(flows.map(({ destination }) => destination))],
    ports: lesson.ports,
    family: 4,
    includeSelf: false,
  });
  signal?.throwIfAborted();
  const sights = new Map<string, Sight>();
  for (const { source, destination, protocol, port, outcome, evidence, reason } of results) {
    const key = flowKey({ source, destination, port: { protocol, port } });
    const one = judged.get(key);
    // Asked only because another pod listens there.
    if (one === undefined) continue;
    const { drop } = evidence;
    sights.set(key, {
      ...one,
      observed: outcome,
      ...(drop === undefined ? {} : { drop }),
      ...(reason === undefined ? {} : { reason }),
      agrees: agrees(one.verdict.outcome, outcome) && fellWhereSaid(one, drop),
    });
  }
  const lost = [...judged.keys()].find((key) => !sights.has(key));
  if (lost !== undefined) throw new Error(`the lab did not try ${lost}`);
  return sights;
}

/** The side that closes first on the packet's way is the one where it must be counted. */
function fellWhereSaid({ verdict }: Judged, drop: DropEvidence | undefined): boolean {
  if (drop === undefined) return true;
  return drop.direction === (verdict.egress.outcome === 'denied' ? 'Egress' : 'Ingress');
}

/** Whether what the packets showed bears out an answer. */
export function packetsConfirm(question: Question, scene: Scene): boolean {
  const seen = question.flows.map((flow) => scene.sights.get(flowKey(flow)));
  const [first] = seen;
  const [word] = question.answer;
  switch (question.kind) {
    case 'reach':
      return first?.observed === (word === 'yes' ? 'OPEN' : 'DROPPED');
    case 'side':
      // Of two closed sides packets meet only the first.
      if (word === 'neither') return first?.observed === 'OPEN';
      return first?.drop?.direction === (word === 'ingress' ? 'Ingress' : 'Egress');
    default:
      return seen.every(
        (sight, index) =>
          sight?.observed ===
          (question.answer.includes(question.choices[index] ?? '') ? 'OPEN' : 'DROPPED'),
      );
  }
}

/** A connection that is not as the task wants it. */
export interface Wrong {
  readonly sight: Sight;
  readonly wanted: Outcome;
}

/** A learner's policies, tried. */
export interface Attempt {
  readonly scene: Scene;
  readonly wanted: ReadonlyMap<string, Outcome>;
  readonly wrong: readonly Wrong[];
  /** The lesson knows what went wrong. */
  readonly mistake?: Mistake;
  /** Every connection is as wanted, for the engine and for the packets. */
  readonly solved: boolean;
}

/** Tries policies on the lesson's task. Throws `LabRefusal` for what the API server would refuse. */
export async function attempt(
  lab: Lab,
  lesson: Lesson,
  policies: readonly ManifestObject[],
  options: PlayOptions = {},
): Promise<Attempt> {
  const all = [...standing(lesson), ...intoNamespace(lesson, policies)];
  const scene = await enact(lab, lesson, all, { ...options, later: true });
  const { outside } = (await lab.status()).config;
  const before = judgeFlows(lesson, scene.objects, outside, standing(lesson)).judged;
  const wanted = wantedOf(lesson, before);
  const wrong = [...scene.sights].flatMap(([key, sight]): Wrong[] => {
    const want = wanted.get(key) ?? 'unknown';
    const right = sight.verdict.outcome === want && agrees(want, sight.observed);
    return right ? [] : [{ sight, wanted: want }];
  });
  const mistake =
    wrong.length === 0 ? undefined : knownMistake(lesson, scene.objects, outside, scene.sights);
  return {
    scene,
    wanted,
    wrong,
    solved: wrong.length === 0,
    ...(mistake === undefined ? {} : { mistake }),
  };
}

function intoNamespace(lesson: Lesson, policies: readonly ManifestObject[]): ManifestObject[] {
  return policies.map((item) => ({
    ...item,
    object: namespacedIn(item.object, lesson.task.namespace),
  }));
}

/** Why these objects are no answer to the task at all; undefined when they can be tried. */
export function submissionFault(
  lesson: Lesson,
  objects: readonly { readonly object: KubeObject }[],
): string | undefined {
  const { kinds } = lesson.task;
  if (objects.length === 0) return 'there is no policy in it';
  for (const { object } of objects) {
    if (kinds.includes(object.kind) && isPolicy(object)) continue;
    const which = clusterKinds().includes(object.kind) && isPolicy(object) ? 'cluster-wide ' : '';
    return `it holds a ${which}${object.kind}; the task is to be solved with ${kinds.join(' or ')} only`;
  }
  const names = lesson.task.keepGiven ? lesson.given.map(({ object }) => keyOf(object)) : [];
  const clash = objects.find(({ object }) =>
    names.includes(keyOf(namespacedIn(object, lesson.task.namespace))),
  );
  return clash === undefined
    ? undefined
    : `${clash.object.kind} ${clash.object.metadata.name} is one of the lesson's own and stays as it is; choose another name`;
}

function keyOf(object: KubeObject): string {
  return refText(refOf(object));
}
