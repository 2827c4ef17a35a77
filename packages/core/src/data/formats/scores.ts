/** Scores of answers, and the difference that a pair must have. */
import { DataError } from '../../errors.js';
import { has, numberField } from './fields.js';
import { type Fields, type ParseOptions, SMALL_GAP, TIE, type Where } from './format.js';

/** Why two answers whose scores differ by so much are no pair; null where they are one. */
export function refusalOfGap(gap: number, { minScoreGap }: Pick<ParseOptions, 'minScoreGap'>): string | null {
  if (gap === 0) return TIE;
  return Math.abs(gap) < minScoreGap ? SMALL_GAP : null;
}

/** What data sets call the scores of a chosen and a rejected answer. */
export const PAIR_SCORES = [
  ['score_chosen', 'score_rejected'],
  ['chosen_score', 'rejected_score'],
  ['chosen_rating', 'rejected_rating'],
  ['chosen-rating', 'rejected-rating'],
  ['chosen_avg_rating', 'rejected_avg_rating'],
] as const;

export const PAIR_SCORE_FIELDS: readonly string[] = PAIR_SCORES.flat();

/**
 * Whether the scores beside a chosen and a rejected answer differ by less than they must.
 *
 * @throws DataError when a difference is asked for and there are no scores
 */
export function pairGapTooSmall(record: Fields, where: Where, { minScoreGap }: ParseOptions): boolean {
  if (minScoreGap === 0) return false;
  const names = PAIR_SCORES.find(([chosen]) => has(record, chosen));
  if (names === undefined) throw noScores(where);
  const [chosen, rejected] = names.map(name => numberField(record, name, where)) as [number, number];
  return chosen - rejected < minScoreGap;
}

export const noScores = (where: Where): DataError =>
  new DataError('data.minScoreGap is set, and the record has no scores.', {
    ...where,
    hint: 'Name them in data.columns (score_chosen, score_rejected), or set data.minScoreGap to 0.',
  });
