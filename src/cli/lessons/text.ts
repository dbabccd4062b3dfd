/**
 * Lessons as text: story, questions, matrices, results. Must not ask, play or grade.
 */
import type { ManifestObject } from '../../manifest/parse.ts';
import { matrixLegend, paint, renderMatrixBlock, type MatrixCell } from '../../report/matrix.ts';
import { renderVerdict } from '../../report/verdict-text.ts';
import {
  choiceKey,
  flowKey,
  howToAnswer,
  type Attempt,
  type Lesson,
  type LessonCheck,
  type LessonResult,
  type Progress,
  type Question,
  type Scene,
  type Sight,
} from '../../lab/lessons/index.ts';
import type { Outcome } from '../../engine/verdict.ts';
import { renderTable } from '../lab-output.ts';
import { placeIn } from '../places.ts';
import { verdictView } from '../verdict-view.ts';
import { wrapText } from '../wrap-text.ts';

export interface Look {
  readonly color: boolean;
  readonly columns: number;
}

function prose(text: string, { columns }: Look, indent = '  '): string[] {
  return wrapText(text, Math.min(columns, 100) - indent.length).map((line) => `${indent}${line}`);
}

function quoted(text: string, { color }: Look): string[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => paint(`  │ ${line}`, '2', color));
}

/** The list with what was achieved. */
export function renderList(lessons: readonly Lesson[], progress: Progress): string {
  const rows = lessons.map(({ number, name, title }) => {
    const done = progress.get(name);
    return [
      String(number).padStart(2),
      name,
      title,
      done === undefined ? '' : `${done.right} of ${done.questions}`,
      done === undefined ? '' : taskWord(done),
      done === undefined ? '' : `${done.points} of ${done.of}`,
    ];
  });
  const results = lessons.flatMap(({ name }) => progress.get(name) ?? []);
  const points = results.reduce((sum, one) => sum + one.points, 0);
  const solved = results.filter((one) => one.solved).length;
  const table = renderTable(['', 'LESSON', 'TITLE', 'PREDICTED', 'TASK', 'POINTS'], rows);
  return `${table}\n${solved} of ${lessons.length} tasks solved, ${points} points\n`;
}

function taskWord(done: LessonResult): string {
  if (!done.solved) return 'open';
  if (done.solutionSeen) return 'solution shown';
  return done.hints === 0 ? 'solved' : `solved, ${done.hints} ${plural(done.hints, 'hint')}`;
}

function plural(count: number, word: string): string {
  return count === 1 ? word : `${word}s`;
}

/** Title, story, pods and the given policies. */
export function renderIntroduction(lesson: Lesson, total: number, look: Look): string {
  const namespaces = lesson.cluster.filter(({ object }) => object.kind === 'Namespace');
  const labelText = ({ object }: ManifestObject): string =>
    Object.entries(object.metadata.labels ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(', ') || 'no labels';
  const pods = lesson.cluster.filter(({ object }) => object.kind === 'Pod');
  const listens = (name: string): string =>
    (lesson.parties.find((one) => one.name === name)?.listens ?? [])
      .map(({ protocol, port }) => `${port}/${protocol}`)
      .join(' ');
  const rows = [
    ...namespaces.map((one) => [`namespace ${one.object.metadata.name}`, labelText(one), '']),
    ...pods.map((one) => {
      const name = `${one.object.metadata.namespace}/${one.object.metadata.name}`;
      return [name, labelText(one), listens(name)];
    }),
    ...lesson.parties
      .filter((one) => one.outside)
      .map((one) => [one.name, 'a host outside the cluster', '']),
  ];
  const table = renderTable(['WHO', 'LABELS', 'LISTENS ON'], rows).trimEnd().split('\n');
  return [
    paint(`Lesson ${lesson.number} of ${total}: ${lesson.title}`, '1', look.color),
    ...prose(lesson.point, look),
    '',
    ...prose(lesson.story, look),
    '',
    ...table.map((line) => `  ${line}`),
    '',
    ...(lesson.givenText === '' ? [] : [...quoted(lesson.givenText, look), '']),
  ].join('\n');
}

/** A question with how to answer it. */
export function renderQuestion(
  question: Question,
  number: number,
  total: number,
  look: Look,
): string {
  const several = question.kind === 'sources' || question.kind === 'destinations';
  const choices = several
    ? [`    ${question.choices.map((one, index) => `${choiceKey(index)} ${one}`).join('   ')}`]
    : [];
  const [first = '', ...rest] = prose(`${number}/${total} ${question.ask}`, look, '');
  return [
    paint(first, '1', look.color),
    ...rest,
    ...choices,
    `    (${howToAnswer(question)})`,
  ].join('\n');
}

export function answerText(answer: readonly string[]): string {
  return answer.length === 0 ? 'none' : answer.join(', ');
}

const observedStates = {
  OPEN: 'open',
  DROPPED: 'closed',
  REFUSED: 'refused',
  'NO-LISTENER': 'error',
  ERROR: 'error',
} as const;

const outcomeStates: Readonly<Record<Outcome, MatrixCell['state']>> = {
  allowed: 'open',
  denied: 'closed',
  unknown: 'unknown',
};

/**
 * One block per port: what was expected beside what packets showed. With `wanted`, that is what the
 * task demands; without, what the engine predicts.
 */
export function renderScene(
  lesson: Lesson,
  scene: Scene,
  look: Look,
  wanted?: ReadonlyMap<string, Outcome>,
): string {
  const blocks = lesson.ports.flatMap((port) => {
    const mine = [...scene.sights.values()].filter(
      ({ flow }) => flow.port.port === port.port && flow.port.protocol === port.protocol,
    );
    if (mine.length === 0) return [];
    const rows = lesson.parties
      .map((one) => one.name)
      .filter((name) => mine.some(({ flow }) => flow.source === name));
    const columns = lesson.parties
      .map((one) => one.name)
      .filter((name) => mine.some(({ flow }) => flow.destination === name));
    const cells = (of: (sight: Sight) => MatrixCell): MatrixCell[][] =>
      rows.map((source) =>
        columns.map((destination) => {
          const sight = scene.sights.get(flowKey({ source, destination, port }));
          if (sight !== undefined) return of(sight);
          return { state: source === destination ? 'self' : 'none' };
        }),
      );
    const expected = (sight: Sight): Outcome =>
      wanted?.get(flowKey(sight.flow)) ?? sight.verdict.outcome;
    const block = {
      heading: `${port.protocol} ${port.port}`,
      rows,
      columns,
      matrices: [
        {
          title: wanted === undefined ? 'predicted' : 'wanted',
          cells: cells((sight) => ({ state: outcomeStates[expected(sight)] })),
        },
        {
          title: scene.simulated ? 'SIMULATED' : 'observed',
          cells: cells((sight) => {
            const state = observedStates[sight.observed];
            const right = state === outcomeStates[expected(sight)] && sight.agrees;
            return { state, ...(right ? {} : { disagrees: true }) };
          }),
        },
      ],
    };
    return [renderMatrixBlock(block, look)];
  });
  return blocks.join('\n');
}

export const sceneLegend: string = `  ${matrixLegend.replace(/ {2}\+ .*? before/, '')}`;

/** What the packets of one connection showed, in words. */
function seenText(sight: Sight, simulated: boolean): string {
  const { observed, drop, reason } = sight;
  const how = simulated ? 'SIMULATED' : 'packets';
  if (observed === 'OPEN') return `${how}: the listener answered`;
  if (observed === 'DROPPED' && drop !== undefined) {
    return `${how}: dropped, counted at ${drop.node} for ${drop.direction.toLowerCase()}`;
  }
  return `${how}: ${observed}${reason === undefined ? '' : ` (${reason})`}`;
}

/** Why the engine decides a connection so, as `podwall why` tells it, and what packets showed. */
export function renderWhy(scene: Scene, sight: Sight, look: Look): string {
  const view = verdictView(
    scene.snapshot,
    { ...sight.flow, connection: sight.connection },
    sight.verdict,
    placeIn(scene.policies),
  );
  const lines = renderVerdict(view, look.color).trimEnd().split('\n');
  return [...lines, `  ${seenText(sight, scene.simulated)}`]
    .map((line) => `    ${line}\n`)
    .join('');
}

/** The task with its demands. */
export function renderTask(lesson: Lesson, look: Look): string {
  const { text, allow, deny, otherwise, keepGiven, namespace } = lesson.task;
  const rest = {
    allowed: 'open',
    denied: 'closed',
    before: keepGiven ? 'as the given policies leave it' : 'as it is without any policy',
  };
  const item = (label: string, lines: readonly string[]): string[] =>
    lines.map((line, index) => `  ${(index === 0 ? label : '').padEnd(16)}${line}`);
  const given = lesson.given.map(({ object }) => object.metadata.name).join(', ');
  return [
    paint('Your task', '1', look.color),
    ...prose(text, look),
    '',
    ...item('must be open', allow),
    ...item('must be closed', deny),
    ...item('all others', [rest[otherwise]]),
    ...item('namespace', [namespace]),
    ...(given === ''
      ? []
      : item('given policies', [keepGiven ? `${given}: stay` : `${given}: gone`])),
    '',
  ].join('\n');
}

const wordsFor: Readonly<Record<Outcome, string>> = {
  allowed: 'open',
  denied: 'closed',
  unknown: 'undecided',
};

/** Wrong connections that are explained; the others are in the matrix. */
const explained = 3;

/** What became of a learner's policies. */
export function renderAttempt(lesson: Lesson, result: Attempt, look: Look): string {
  const { scene, wanted, wrong, mistake, solved } = result;
  const total = scene.sights.size;
  const lines = [renderScene(lesson, scene, look, wanted)];
  for (const { sight, wanted: want } of wrong.slice(0, explained)) {
    const is = sight.agrees
      ? `is ${wordsFor[sight.verdict.outcome]}`
      : `the engine says ${wordsFor[sight.verdict.outcome]}, the packets ${sight.observed}`;
    const head = `  ! ${flowKey(sight.flow)} should be ${wordsFor[want]}, ${is}`;
    lines.push(`${paint(head, '1;35', look.color)}\n`, renderWhy(scene, sight, look));
  }
  if (wrong.length > explained) lines.push(`  ! and ${wrong.length - explained} more\n`);
  if (mistake !== undefined) lines.push(...prose(mistake.says, look).map((line) => `${line}\n`));
  const end = solved
    ? paint(`solved: all ${total} connections are as they should be`, '1;32', look.color)
    : `${total - wrong.length} of ${total} connections are as they should be`;
  return `${lines.join('')}${end}\n`;
}

/** One line per lesson, and what is wrong. */
export function renderCheck(checks: readonly LessonCheck[]): string {
  const rows = checks.map((one) => [
    one.lesson,
    String(one.questions),
    String(one.connections),
    String(one.mistakes),
    one.faults.length === 0 ? 'ok' : `${one.faults.length} WRONG`,
  ]);
  const table = renderTable(['LESSON', 'QUESTIONS', 'CONNECTIONS', 'MISTAKES', 'RESULT'], rows);
  const faults = checks.flatMap((one) => one.faults.map((fault) => `${one.lesson}: ${fault}\n`));
  const sum = (of: (one: LessonCheck) => number): number =>
    checks.reduce((total, one) => total + of(one), 0);
  const seen = checks.some((one) => one.simulated) ? 'SIMULATED' : 'tried with packets';
  const count = faults.length;
  return (
    `${table}${faults.join('')}` +
    `${checks.length} lessons, ${sum((one) => one.questions)} answers, ` +
    `${sum((one) => one.connections)} connections ${seen}, ` +
    `${sum((one) => one.mistakes)} mistakes refused: ${count === 0 ? 'all as expected' : `${count} WRONG`}\n`
  );
}

/** The solution, for whoever asked for it. */
export function renderSolution(lesson: Lesson, look: Look): string {
  return quoted(lesson.solutionText, look)
    .map((line) => `${line}\n`)
    .join('');
}
