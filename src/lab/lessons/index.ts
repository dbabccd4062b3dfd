/**
 * The lessons' surface: load, play, grade, check, remember.
 */
export { choiceKey, howToAnswer, readAnswer } from './answer.ts';
export { checkLesson, type LessonCheck } from './check.ts';
export { flowKey, type Flow, type Party } from './flows.ts';
export { engineAnswer, sameAnswer } from './judge.ts';
export type { Lesson, Mistake, Question, Task } from './lesson.ts';
export { loadLessons, ownLessons } from './load.ts';
export {
  attempt,
  enact,
  setStage,
  submissionFault,
  type Attempt,
  type Scene,
  type Sight,
  type Wrong,
} from './play.ts';
export {
  pointsOf,
  progressDirectory,
  readProgress,
  recordResult,
  resetProgress,
  type LessonResult,
  type Progress,
} from './progress.ts';
