/** Every lesson's answers, solution and mistakes, without packets; and that the check can fail. */
import { afterAll, describe, expect, it } from 'vitest';
import { createSimulatedLab } from '../index.ts';
import { checkLesson } from './check.ts';
import type { Lesson } from './lesson.ts';
import { loadLessons } from './load.ts';

const { lessons, diagnostics } = await loadLessons();
const lab = createSimulatedLab({ stack: 'ipv4' });
afterAll(() => lab.down());

function named(name: string): Lesson {
  const found = lessons.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no lesson ${name}`);
  return found;
}

it('there are lessons, and nothing is wrong with their files', () => {
  expect(diagnostics).toEqual([]);
  expect(lessons.length).toBeGreaterThanOrEqual(14);
  expect(new Set(lessons.map((one) => one.name)).size).toBe(lessons.length);
});

describe('every expected answer is right', () => {
  it.each(lessons.map((one) => [one.name, one] as const))('%s', async (_, lesson) => {
    const result = await checkLesson(lab, lesson);
    expect(result.faults).toEqual([]);
    expect(result.connections).toBeGreaterThan(0);
    expect(lesson.task.hints.length).toBeGreaterThan(0);
    expect(lesson.task.mistakes.length).toBeGreaterThan(0);
  });
});

describe('the check notices', () => {
  it('a wrong answer of every kind', async () => {
    const kinds = new Set<string>();
    for (const lesson of lessons) {
      for (const [index, question] of lesson.questions.entries()) {
        if (kinds.has(question.kind)) continue;
        kinds.add(question.kind);
        const wrong = question.choices.filter((one) => !question.answer.includes(one)).slice(0, 1);
        const questions = lesson.questions.with(index, { ...question, answer: wrong });
        const { faults } = await checkLesson(lab, { ...lesson, questions });
        expect(faults.filter((one) => one.includes(question.ask)).length).toBeGreaterThan(0);
      }
    }
    expect([...kinds].toSorted()).toEqual(['destinations', 'reach', 'side', 'sources']);
  });

  it('a solution that is none', async () => {
    for (const lesson of lessons) {
      const [mistake] = lesson.task.mistakes;
      const { faults } = await checkLesson(lab, { ...lesson, solution: mistake?.policies ?? [] });
      expect(faults.join('\n')).toMatch(/the solution: .* is not (allowed|denied)/);
    }
  });

  it('a task that asks for nothing, and a mistake that is none', async () => {
    const lesson = named('open-by-default');
    const task = { ...lesson.task, denied: [] };
    const { faults } = await checkLesson(lab, { ...lesson, task, solution: [] });
    expect(faults).toContain('the task is solved by doing nothing');
    const same = [{ name: 'same', says: '', policies: lesson.solution }];
    const other = { ...lesson, task: { ...lesson.task, mistakes: same } };
    expect((await checkLesson(lab, other)).faults).toEqual(['the mistake "same" solves the task']);
  });

  it('a solution of a kind that the task does not take', async () => {
    const lesson = named('a-real-deny');
    const other = { ...lesson, task: { ...lesson.task, kinds: ['NetworkPolicy'] } };
    expect((await checkLesson(lab, other)).faults.join()).toContain('the solution is refused');
  });
});
