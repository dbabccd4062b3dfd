/**
 * Every lesson with real packets: answers, solutions, and the side where each packet fell. Needs root
 * or user namespaces; says why when it has neither.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { LabUnavailable, startLab } from '../../src/lab/index.ts';
import { checkLesson, loadLessons } from '../../src/lab/lessons/index.ts';
import type { Lab } from '../../src/lab/types.ts';

async function open(): Promise<Lab | string> {
  try {
    return await startLab({ stack: 'ipv4' }, { lifetime: 'parent' });
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

const lab = await open();
if (typeof lab === 'string') console.log(`SKIPPED: the lab cannot run here: ${lab}`);
const { lessons } = await loadLessons();
afterAll(async () => {
  if (typeof lab !== 'string') await lab.down();
});

describe.skipIf(typeof lab === 'string')('lessons, one lab for all', () => {
  it.each(lessons.map((one) => [one.name, one] as const))('%s', async (_, lesson) => {
    if (typeof lab === 'string') throw new Error(lab);
    const result = await checkLesson(lab, lesson);
    expect(result.faults).toEqual([]);
    expect(result.simulated).toBe(false);
    expect(result.connections).toBeGreaterThan(0);
  });
});
