/**
 * What a learner answers, read as they type it. Must not know where the words come from.
 */
import type { Question } from './lesson.ts';

const nobody = ['none', 'nobody', '-', '0'];

/** Letter of a choice: a, b, … */
export function choiceKey(index: number): string {
  return String.fromCharCode('a'.charCodeAt(0) + index);
}

/** How to answer, in a few words. */
export function howToAnswer(question: Question): string {
  if (question.kind === 'reach' || question.kind === 'side') return question.choices.join(', ');
  return 'letters or names, several with blanks between; or none';
}

/** An answer as the lesson writes it; a sentence about the fault when it is none. */
export function readAnswer(question: Question, text: string): readonly string[] | string {
  const words = text
    .trim()
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((word) => word !== '');
  if (words.length === 0) return `answer with ${howToAnswer(question)}`;
  const { choices } = question;
  if (question.kind === 'reach' || question.kind === 'side') {
    const found = choices.filter((choice) => choice.startsWith(words[0] ?? ' '));
    const [only] = found;
    if (words.length > 1 || found.length !== 1 || only === undefined) {
      return `"${text.trim()}" is none of ${choices.join(', ')}`;
    }
    return [only];
  }
  if (words.length === 1 && nobody.includes(words[0] ?? '')) return [];
  if (words.length === 1 && words[0] === 'all') return choices;
  const answer: string[] = [];
  for (const word of words) {
    const choice = choices.find((one, index) => one === word || choiceKey(index) === word);
    if (choice === undefined) return `"${word}" is none of ${choices.join(', ')}`;
    if (!answer.includes(choice)) answer.push(choice);
  }
  return answer;
}
