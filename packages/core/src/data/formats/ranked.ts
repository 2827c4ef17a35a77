/** A list of answers to one prompt with their scores or ranks: UltraFeedback before it was binarized, Nectar, or your own. */
import type { Answer, PromptContent } from '../rows.js';
import { fieldError, firstOf, has, isObject, listField, numberField } from './fields.js';
import type { Fields, Format, ParsedRecord, ParseOptions, Where } from './format.js';
import { holdsMessages } from './messages.js';
import { PROMPT_FIELDS, PROMPT_NAMES, promptFields, readAnswer, readPrompt } from './prompt.js';
import { refusalOfGap } from './scores.js';

const LISTS = ['answers', 'responses', 'completions'] as const;
/** Where an answer is an object: its text, and its score or rank. */
const TEXTS = ['text', 'response', 'answer', 'content'] as const;
const SCORE = ['score', 'overall_score', 'rating', 'pm_score'] as const;
/** Beside a list of texts. */
const SCORES = ['scores', 'ratings'] as const;

/** An answer and how good it is, the higher the better. */
export interface Ranked {
  readonly answer: Answer;
  readonly value: number;
}

/** {prompt, answers, scores | ranks}, or {prompt, answers: [{text, score | rank}]}; a rank is the better the lower it is. */
export const ranked: Format = {
  needs:
    'prompt, answers (texts) with scores or ranks (numbers); or answers as {text, score} or {text, rank}',
  fields: [...PROMPT_FIELDS, ...LISTS, ...SCORES, 'ranks'],
  alternatives: [PROMPT_NAMES, LISTS.map(name => [name]), [...SCORES, 'ranks'].map(name => [name])],
  gives: 'pairs',
  recognise(record) {
    const prompt = promptFields(record, 'any');
    const list = firstOf(record, LISTS);
    if (prompt === null || list === undefined || !Array.isArray(record[list])) return null;
    const [first] = record[list] as unknown[];
    if (isObject(first) && !holdsMessages(first)) {
      const inside = [firstOf(first, TEXTS), firstOf(first, [...SCORE, 'rank'])];
      return inside.includes(undefined) ? null : [...prompt, ...inside.map(name => `${list}[].${name}`)];
    }
    const values = firstOf(record, [...SCORES, 'ranks']);
    return values === undefined ? null : [...prompt, list, values];
  },
  parse(record, where, options) {
    const prompt = readPrompt(record, where, options);
    return pairsOf(prompt, readRanked(record, prompt, where), options);
  },
};

function readRanked(record: Fields, prompt: PromptContent, where: Where): Ranked[] {
  const name = firstOf(record, LISTS) ?? LISTS[0];
  const list = listField(record, name, 'a list of answers', where);
  if (isObject(list[0]) && !holdsMessages(list[0]))
    return list.map((entry, index) => readEntry(entry, `${name}[${index}]`, prompt, where));
  const values = firstOf(record, [...SCORES, 'ranks']) ?? SCORES[0];
  const numbers = listField(record, values, `a list of ${list.length} numbers`, where);
  if (numbers.length !== list.length)
    throw fieldError(numbers, `${list.length} numbers, one an answer`, { ...where, field: values });
  return list.map((answer, index) => {
    const fields = { [`${name}[${index}]`]: answer, [`${values}[${index}]`]: numbers[index] };
    const value = numberField(fields, `${values}[${index}]`, where);
    return {
      answer: readAnswer(fields, `${name}[${index}]`, prompt, where),
      value: values === 'ranks' ? -value : value,
    };
  });
}

function readEntry(entry: unknown, place: string, prompt: PromptContent, where: Where): Ranked {
  if (!isObject(entry)) throw fieldError(entry, '{text, score} or {text, rank}', { ...where, field: place });
  const value = firstOf(entry, SCORE) ?? (has(entry, 'rank') ? 'rank' : SCORE[0]);
  const text = firstOf(entry, TEXTS) ?? TEXTS[0];
  const fields = { [`${place}.${text}`]: entry[text], [`${place}.${value}`]: entry[value] };
  const number = numberField(fields, `${place}.${value}`, where);
  return {
    answer: readAnswer(fields, `${place}.${text}`, prompt, where),
    value: value === 'rank' ? -number : number,
  };
}

/** The pairs that the options ask for, the best answers first; answers as good as each other are no pair. */
export function pairsOf(
  prompt: PromptContent,
  answers: readonly Ranked[],
  options: Pick<ParseOptions, 'pairs' | 'minScoreGap'>,
): ParsedRecord {
  if (answers.length < 2) return { skipped: 'a single answer' };
  const sorted = answers.toSorted((a, b) => b.value - a.value);
  const couples =
    options.pairs === 'best-worst'
      ? [[sorted[0]!, sorted.at(-1)!] as const]
      : sorted.flatMap((better, index) => sorted.slice(index + 1).map(worse => [better, worse] as const));
  const refusals = couples.map(([better, worse]) => refusalOfGap(better.value - worse.value, options));
  const rows = couples
    .filter((_, index) => refusals[index] === null)
    .map(([better, worse]) => ({
      kind: 'pair' as const,
      prompt,
      chosen: better.answer,
      rejected: worse.answer,
    }));
  return { rows, refused: refusals.filter(refusal => refusal !== null) };
}
