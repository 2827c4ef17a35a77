/** The section `data`: what is trained and evaluated on. */
import { z } from 'zod';
import { expandHome } from '../env.js';
import { count, key, text } from './keys.js';

const files = () =>
  z
    .union([text(), z.array(text())], 'Expected a file or a list of files')
    .transform(value => [value].flat().map(expandHome));

const DATA_FORMATS = [
  'auto',
  'preference',
  'conversational',
  'hh',
  'ultrafeedback',
  'orca',
  'sharegpt',
  'compared',
  'ranked',
  'qa-feedback',
  'oasst',
] as const;

export type DataFormat = (typeof DATA_FORMATS)[number];

/** Whose prompts are chats, whatever data.chat says. */
export const CHAT_FORMATS: readonly DataFormat[] = [
  'conversational',
  'ultrafeedback',
  'orca',
  'sharegpt',
  'oasst',
];

/** The fields of the formats that data.columns can find under other names. */
const COLUMN_FIELDS = [
  'prompt',
  'system',
  'chosen',
  'rejected',
  'score_chosen',
  'score_rejected',
  'conversations',
  'answer_1',
  'answer_2',
  'score_1',
  'score_2',
  'label',
  'answers',
  'scores',
  'ranks',
] as const;

export const dataSchema = z.strictObject({
  format: key(
    z.enum(DATA_FORMATS).default('auto'),
    'What the fields of a record hold (docs/data.md); auto: known by their names, for each file, and reported.',
  ),
  columns: key(
    z.partialRecord(z.enum(COLUMN_FIELDS), text()).default({}),
    'What the fields of the format are called in the files, such as {prompt: question, chosen: good, rejected: bad}.',
  ),
  chat: key(
    z.boolean().nullable().default(null),
    'Whether texts are the turns of a chat, rendered by the chat template; null: where they come with a system text.',
  ),
  pairs: key(
    z.enum(['best-worst', 'all']).default('best-worst'),
    'Pairs made of a list of answers with scores or ranks: the best with the worst, or every two that differ.',
  ),
  minScoreGap: key(
    z.number().nonnegative().default(0),
    'Least difference between the scores (or ranks) of a pair; others are left out and counted.',
  ),
  onBadRow: key(
    z.enum(['error', 'skip']).default('error'),
    'What happens to rows that do not fit: an error that names them all, or they are left out and counted.',
  ),
  train: key(
    files().refine(list => list.length > 0, 'Expected at least one file'),
    'Training file or files: .jsonl, .json, .csv, .tsv or .parquet, each also with .gz or .zst behind it.',
    'dataset_name',
    'train_file',
  ),
  eval: key(files().prefault([]), 'Evaluation file or files; [] for no evaluation.', 'eval_file'),
  maxTrainPairs: key(
    count().nullable().default(null),
    'Pairs used of the training files, from the first; null: all.',
    'max_train_samples',
  ),
  maxEvalPairs: key(
    count().nullable().default(256),
    'Pairs used of the evaluation files, from the first; null: all.',
    'max_eval_samples',
    'n_eval_examples',
  ),
});
