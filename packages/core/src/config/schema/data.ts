/** The section `data`: what is trained and evaluated on. */
import { z } from 'zod';
import { expandHome } from '../env.js';
import { count, key, text } from './keys.js';

const files = () =>
  z
    .union([text(), z.array(text())], 'Expected a file or a list of files')
    .transform(value => [value].flat().map(expandHome));

export const dataSchema = z.strictObject({
  format: key(
    z.enum(['hh', 'preference', 'conversational', 'ultrafeedback']),
    'What the fields hold. hh: {chosen, rejected} dialogues as text; preference: {prompt, chosen, rejected} texts; ' +
      'conversational: the same as lists of {role, content}; ultrafeedback: a text prompt, answered in chats or texts.',
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
