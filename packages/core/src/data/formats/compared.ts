/** Two answers to one prompt and a judgement of which is better: scores, a label, or the votes of annotators. */

import { DataError } from '../../errors.js';
import type { Answer } from '../rows.js';
import { fieldError, firstOf, has, isText, numberField } from './fields.js';
import { type Fields, type Format, type Label, onePair, type Where } from './format.js';
import { holdsMessages } from './messages.js';
import { PROMPT_FIELDS, PROMPT_NAMES, promptFields, readAnswer, readPrompt } from './prompt.js';
import { noScores, refusalOfGap } from './scores.js';

/** What data sets call the first and the second answer: ours, LLMBar, PandaLM, HelpSteer2, SHP, PKU-SafeRLHF, WebGPT. */
const ANSWERS = [
  ['answer_1', 'answer_2'],
  ['output_1', 'output_2'],
  ['response1', 'response2'],
  ['response_1', 'response_2'],
  ['response_a', 'response_b'],
  ['human_ref_A', 'human_ref_B'],
  ['response_0', 'response_1'],
  ['answer_0', 'answer_1'],
] as const;

const SCORES = [
  ['score_1', 'score_2'],
  ['score_A', 'score_B'],
  ['score_a', 'score_b'],
  ['score_0', 'score_1'],
] as const;

/** A difference of scores: negative where the first answer is better (HelpSteer2). */
const STRENGTH = 'preference_strength';

/** Answers that are counted from 0; so are they by a label beside them. */
const FROM_ZERO: readonly string[] = ['response_0', 'answer_0'];

/** 1: the first answer is better, 2: the second, 0: neither; of answers that are counted from 0, 0: the first, 1: the second. */
const LABELS = ['label', 'preference'] as const;

/** Which answer is better: 0, the first, or 1 (PKU-SafeRLHF). */
const BETTER_INDEX = 'better_response_id';

/** One vote each, with the values of a label. */
const VOTES = ['annotator1', 'annotator2', 'annotator3', 'annotator4', 'annotator5'] as const;

const answersOf = (record: Fields) => ANSWERS.find(names => names.every(name => has(record, name)));

function judgementFields(record: Fields): readonly string[] | null {
  const scores = SCORES.find(names => names.every(name => has(record, name)));
  if (scores !== undefined) return scores;
  const label = firstOf(record, LABELS);
  if (label !== undefined) return [label];
  const other = firstOf(record, [STRENGTH, BETTER_INDEX]);
  if (other !== undefined) return [other];
  const votes = VOTES.filter(name => has(record, name));
  return votes.length === 0 ? null : votes;
}

/** {prompt, answer_1, answer_2} with score_1 and score_2, a label, or votes; ties are passed over. */
export const compared: Format = {
  needs: 'prompt, answer_1, answer_2, and score_1, score_2 or a label (1, 2, 0: tie)',
  fields: [
    ...PROMPT_FIELDS,
    ...ANSWERS.flat(),
    ...SCORES.flat(),
    STRENGTH,
    ...LABELS,
    BETTER_INDEX,
    ...VOTES,
  ],
  alternatives: [
    PROMPT_NAMES,
    ANSWERS,
    [...SCORES, ...LABELS.map(name => [name]), [STRENGTH], [BETTER_INDEX], VOTES],
  ],
  gives: 'pairs',
  recognise(record) {
    const prompt = promptFields(record, 'any');
    const answers = answersOf(record);
    const judgement = judgementFields(record);
    if (prompt === null || answers === undefined || judgement === null) return null;
    const readable = answers.every(name => isText(record[name]) || holdsMessages(record[name]));
    return readable ? [...prompt, ...answers, ...judgement] : null;
  },
  parse(record, where, options) {
    const prompt = readPrompt(record, where, options);
    const names = answersOf(record) ?? ANSWERS[0];
    const [first, second] = names.map(name => readAnswer(record, name, prompt, where)) as [Answer, Answer];
    const fromZero = FROM_ZERO.includes(names[0]);
    const gap = judgedGap(record, where, options.minScoreGap, fromZero);
    const label = fromZero ? null : labelOf(record, where);
    const refusal = refusalOfGap(gap, options);
    if (refusal !== null) return { skipped: refusal, label };
    const [chosen, rejected] = gap > 0 ? [first, second] : [second, first];
    return { ...onePair({ prompt, chosen, rejected }), label };
  },
};

/** How much better the first answer is than the second: a difference of scores, or ±Infinity where there is a label. */
function judgedGap(record: Fields, where: Where, minScoreGap: number, fromZero: boolean): number {
  const names = judgementFields(record);
  if (names === null) {
    throw new DataError('Nothing says which answer is better.', {
      ...where,
      hint: 'Expected score_1 and score_2, or a label (1, 2, 0: tie). data.columns takes other names.',
    });
  }
  if (names.length === 2 && SCORES.some(scores => scores[0] === names[0]))
    return numberField(record, names[0]!, where) - numberField(record, names[1]!, where);
  if (names[0] === STRENGTH) return -numberField(record, STRENGTH, where);
  if (minScoreGap > 0) throw noScores(where);
  if (names[0] === BETTER_INDEX) {
    const index = numberField(record, BETTER_INDEX, where);
    if (index !== 0 && index !== 1) {
      throw fieldError(record[BETTER_INDEX], '0 or 1', { ...where, field: BETTER_INDEX });
    }
    return index === 0 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  }
  const votes = names.map(name => verdict(record, name, where, fromZero));
  const count = (value: number): number => votes.filter(vote => vote === value).length;
  const [ties, first, second] = [count(0), count(1), count(2)] as const;
  if (first > second && first > ties) return Number.POSITIVE_INFINITY;
  return second > first && second > ties ? Number.NEGATIVE_INFINITY : 0;
}

/** The label by which the answers are judged, where it is a number. */
function labelOf(record: Fields, where: Where): Label | null {
  const [field] = judgementFields(record) ?? [];
  if (!LABELS.some(name => name === field) || record[field!] === 'tie') return null;
  return { field: field!, value: verdict(record, field!, where, false) };
}

function verdict(record: Fields, field: string, where: Where, fromZero: boolean): Label['value'] {
  if (record[field] === 'tie') return 0;
  const value = numberField(record, field, where);
  if (fromZero) {
    if (value === 0) return 1;
    if (value === 1) return 2;
    throw fieldError(record[field], '0 (the first answer is better), 1 or "tie"', { ...where, field });
  }
  if (value === 0 || value === 1 || value === 2) return value;
  throw fieldError(record[field], '1 (the first answer is better), 2 or 0 (a tie)', { ...where, field });
}
