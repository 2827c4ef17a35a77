/** The section `data`: what is trained and evaluated on. */
import { z } from 'zod';
import { count, key, path, text } from './keys.js';

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
  'messages',
  'prompt-completion',
  'text',
] as const;

export type DataFormat = (typeof DATA_FORMATS)[number];

/** Whose prompts are chats, whatever data.chat says. */
export const CHAT_FORMATS: readonly DataFormat[] = [
  'conversational',
  'ultrafeedback',
  'orca',
  'sharegpt',
  'oasst',
  'messages',
];

/** The fields of the formats that data.columns can find under other names. */
export const COLUMN_FIELDS = [
  'prompt',
  'instruction',
  'input',
  'system',
  'chosen',
  'rejected',
  'score_chosen',
  'score_rejected',
  'conversations',
  'answer_0',
  'answer_1',
  'answer_2',
  'score_1',
  'score_2',
  'label',
  'completion',
  'messages',
  'tools',
  'text',
  'answers',
  'scores',
  'ranks',
] as const;

const columns = () => z.partialRecord(z.enum(COLUMN_FIELDS), text());

/** Where records come from, and how they are read where that differs from the other sources. */
const sourceSchema = z
  .strictObject({
    path: key(path().optional(), 'A file, a folder of files, or a pattern such as data/train-*.parquet.'),
    hub: key(text().optional(), 'The id of a data set of the Hugging Face hub: organisation/name.'),
    revision: key(text().optional(), 'Branch, tag or commit of a hub data set; by default main.'),
    config: key(text().optional(), 'Which configuration (subset) of a hub data set, or a folder in it.'),
    split: key(
      text().optional(),
      'The split, as the names of files and folders say it; by default train for training, test (or validation) for evaluation.',
    ),
    format: key(z.enum(DATA_FORMATS).optional(), 'As data.format, for this source.'),
    columns: key(columns().optional(), 'As data.columns, for this source.'),
    weight: key(
      z.number().positive().max(1000).optional(),
      'Visits of a pair in an epoch, by default 1: 2 is twice; 0.5 a half of the pairs, another one each epoch.',
    ),
    name: key(
      z
        .string()
        .regex(/^[\w.-]+$/, 'Expected letters, digits, ".", "_" and "-"')
        .optional(),
      'Named in reports; in data.eval the source gets metrics of its own, eval_NAME_...',
    ),
  })
  .superRefine((source, context) => {
    const refuse = (message: string, ...path: string[]): void => {
      context.addIssue({ code: 'custom', message, path, input: source });
    };
    if ((source.path === undefined) === (source.hub === undefined))
      refuse('Expected either path or hub in a source');
    for (const name of ['revision', 'config'] as const)
      if (source[name] !== undefined && source.hub === undefined)
        refuse(`Expected hub beside ${name}: only data sets of the hub have it`);
  })
  .meta({ title: 'source' });

export type SourceConfig = z.output<typeof sourceSchema>;

export const SOURCE_KEYS: readonly string[] = Object.keys(sourceSchema.shape);

const sources = () =>
  z
    .union(
      [path(), sourceSchema, z.array(z.union([path(), sourceSchema], 'Expected a path or a source'))],
      'Expected a path, a source with keys such as path or hub, or a list of these',
    )
    .transform(value => [value].flat());

export const dataSchema = z.strictObject({
  format: key(
    z.enum(DATA_FORMATS).default('auto'),
    'What the fields of a record hold (docs/data.md); auto: known by their names, for each file, and reported.',
  ),
  columns: key(
    columns().default({}),
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
    sources().refine(list => list.length > 0, 'Expected at least one file'),
    'What is trained on: a file (.jsonl, .json, .csv, .tsv or .parquet, each also with .gz or .zst behind it), a folder of files, ' +
      'a pattern, or sources {path | hub, split, weight, name, ...} (docs/data.md); or a list of these.',
    'dataset_name',
    'train_file',
  ),
  eval: key(
    sources().prefault([]),
    'What is evaluated on, likewise; sources with a name get metrics of their own. [] for no evaluation.',
    'eval_file',
  ),
  limit: key(
    z.enum(['sample', 'first']).default('sample'),
    'Which pairs data.maxTrainPairs and data.maxEvalPairs leave: a sample of all, drawn by training.seed, in the order of the ' +
      'files; or the first, behind which nothing is read.',
  ),
  maxTrainPairs: key(
    count().nullable().default(null),
    'Pairs used of data.train (data.limit says which); null: all.',
    'max_train_samples',
  ),
  maxEvalPairs: key(
    count().nullable().default(256),
    'Pairs used of data.eval (data.limit says which); null: all.',
    'max_eval_samples',
    'n_eval_examples',
  ),
  cacheFolder: key(
    path().nullable().prefault(null),
    'Folder of data sets that are encoded already, for later starts; null: sralign/encoded in XDG_CACHE_HOME or ~/.cache. ' +
      'What was not used for longest goes once they take 20 GiB.',
  ),
});

/** The sources of a configuration, files named alone among them. */
export const sourcesOf = (list: readonly (string | SourceConfig)[]): SourceConfig[] =>
  list.map(entry => (typeof entry === 'string' ? { path: entry } : entry));
