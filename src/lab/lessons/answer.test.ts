import { expect, it } from 'vitest';
import { readAnswer } from './answer.ts';
import type { Question } from './lesson.ts';

const base = { ask: '', flows: [], answer: [], because: '' };
const reach: Question = { ...base, kind: 'reach', choices: ['yes', 'no'] };
const side: Question = { ...base, kind: 'side', choices: ['egress', 'ingress', 'both', 'neither'] };
const who: Question = { ...base, kind: 'sources', choices: ['a/one', 'a/two', 'internet'] };

it('takes words, their beginnings, letters and names', () => {
  expect(readAnswer(reach, 'Y')).toEqual(['yes']);
  expect(readAnswer(side, ' in ')).toEqual(['ingress']);
  expect(readAnswer(who, 'b, internet b')).toEqual(['a/two', 'internet']);
  expect(readAnswer(who, 'a/one c')).toEqual(['a/one', 'internet']);
  expect(readAnswer(who, 'none')).toEqual([]);
  expect(readAnswer(who, 'all')).toEqual(who.choices);
});

it('says what is no answer', () => {
  expect(readAnswer(reach, '')).toBe('answer with yes, no');
  expect(readAnswer(reach, 'maybe')).toBe('"maybe" is none of yes, no');
  expect(readAnswer(reach, 'yes no')).toBe('"yes no" is none of yes, no');
  expect(readAnswer(who, 'a d')).toBe('"d" is none of a/one, a/two, internet');
  expect(readAnswer(who, '  ')).toContain('answer with letters');
});
