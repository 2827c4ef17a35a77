/** The rows of a run to examples, some at a time: by whoever has them, this thread or a worker. */

import type { OnBadRow } from '../data/reading.js';
import { RowCounter, type RowCounts } from '../data/row-counts.js';
import type { PreferenceRow, Row } from '../data/rows.js';
import { ConfigError, DataError } from '../errors.js';
import type { AugmentationOptions } from './augment.js';
import {
  type EncodedExample,
  type Encoding,
  encodePair,
  encodingWithout,
  placementError,
  prepareEncoding,
  tokensOf,
} from './encode.js';
import { EncodeCounter, type EncodeReport } from './encode-counter.js';
import { encodeRow } from './encode-sequence.js';
import { type Chunk, chunkOf } from './example-store.js';
import { isPair } from './examples.js';
import type { Tokenizer } from './tokenizer.js';
import type { TokenPolicy } from './truncate.js';

/** What limits the tokens of a model. */
export interface TokenLimits {
  readonly vocabularySize: number;
  readonly maxPositions: number;
  /** Where the model is from, for messages. */
  readonly modelFolder: string;
}

/** What is made of rows. */
export interface EncodeTask {
  readonly kind: 'pairs' | 'sequences';
  readonly policy: TokenPolicy;
  /** Of sequences: which answers of a conversation are trained on. */
  readonly turns: 'all' | 'last';
  /** null where nothing reads the augmented view. */
  readonly augmentation: AugmentationOptions | null;
  /** null: whatever the model. */
  readonly limits: TokenLimits | null;
  /** Rows that cannot be encoded. */
  readonly onBadRow: OnBadRow;
}

/** The same once the first rows have been seen: plain data, which a worker is sent. */
export interface PreparedTask extends EncodeTask, Omit<Encoding, 'tokenizer' | keyof EncodeTask> {}

/** What some rows became, in their order. */
export interface EncodedRows {
  readonly chunk: Chunk;
  readonly reports: readonly EncodeReport[];
  readonly counts: readonly RowCounts[];
}

/**
 * A row that the placement does not suit, which the first rows gave: all must be encoded again with placement prompt.
 */
export class TextBehindChats extends Error {}

/** @returns null where none of the rows can be encoded, so that they do not tell @throws as `prepareEncoding` */
export function prepareTask(
  task: EncodeTask,
  firstRows: readonly Row[],
  tokenizer: Tokenizer,
): PreparedTask | null {
  const encoding = prepareEncoding(firstRows.filter(isPairRow), tokenizer, task);
  return encoding && preparedBy(encoding, task);
}

/** For rows none of which can be encoded: what is wrong with them does not depend on p. */
export const taskOfBadRows = (task: EncodeTask, tokenizer: Tokenizer): PreparedTask =>
  preparedBy(encodingWithout(task, tokenizer), task);

const preparedBy = (
  { augmentation, placement, bos, sharedAugmentation }: Encoding,
  task: EncodeTask,
): PreparedTask => ({ ...task, augmentation, placement, bos, sharedAugmentation });

/** Bad rows are counted. @throws as `encodePairs` and `encodeSequences`; ConfigError when a token or a length does not fit the model */
export function encodeRows(rows: readonly Row[], task: PreparedTask, tokenizer: Tokenizer): EncodedRows {
  const encoding = { ...task, tokenizer };
  const counter = new EncodeCounter();
  const rowCounter = new RowCounter();
  const examples: EncodedExample[] = [];
  for (const row of rows) {
    const made = counter.count<EncodedExample>(row.file, () =>
      task.kind === 'sequences' ? encodeRow(row, tokenizer, task) : pairOf(row, encoding),
    );
    rowCounter.add(row);
    if (!Array.isArray(made)) continue;
    for (const example of made) {
      if (task.limits !== null) checkTokens(example, task.sharedAugmentation, task.limits);
      examples.push(example);
    }
  }
  return { chunk: chunkOf(examples), reports: counter.reports, counts: rowCounter.counts };
}

const isPairRow = (row: Row): row is PreferenceRow => row.kind === 'pair';

/** The formats give nothing else where a method learns from pairs. */
function pairOf(row: Row, encoding: Encoding): ReturnType<typeof encodePair> {
  if (!isPairRow(row)) throw new DataError('This is no pair of answers.', { file: row.file, row: row.row });
  checkPlacement(row, encoding);
  return encodePair(row, encoding);
}

function checkPlacement({ file, prompt }: PreferenceRow, { augmentation, placement }: Encoding): void {
  if (augmentation === null || placement !== 'last-user-turn' || prompt.kind !== 'text') return;
  if (augmentation.placement === null) throw new TextBehindChats();
  throw placementError(file);
}

export function checkTokens(
  example: EncodedExample,
  sharedAugmentation: Int32Array,
  { vocabularySize, maxPositions, modelFolder }: TokenLimits,
): void {
  const where = { file: example.file, row: example.row };
  const largest = largestToken(example, sharedAugmentation);
  if (largest >= vocabularySize) {
    throw new ConfigError(
      `The tokenizer gives token ${largest}, but the model in ${modelFolder} has a vocabulary of ${vocabularySize}.`,
      { ...where, field: 'model.tokenizer', hint: 'Use the tokenizer that belongs to the model.' },
    );
  }
  const answer = isPair(example) ? Math.max(example.chosen.length, example.rejected.length) : 0;
  const plain = isPair(example) ? example.prompt.length + answer : example.tokens.length;
  if (plain > maxPositions) {
    throw new ConfigError(
      `A sequence of ${plain} tokens does not fit the model's ${maxPositions} positions.`,
      { ...where, field: 'tokens.maxTokens', hint: 'Lower tokens.maxTokens.' },
    );
  }
  if (!isPair(example)) return;
  const augmented = sharedAugmentation.length + example.augmentedPrompt.length + answer;
  if (augmented > maxPositions) {
    throw new ConfigError(
      `A sequence of ${augmented} tokens (with the quality prompt) does not fit the model's ${maxPositions} positions.`,
      {
        ...where,
        field: 'augmentation.prompt',
        hint: 'Lower tokens.maxTokens or shorten augmentation.prompt.',
      },
    );
  }
}

function largestToken(example: EncodedExample, sharedAugmentation: Int32Array): number {
  let largest = 0;
  for (const ids of [...tokensOf(example), sharedAugmentation])
    for (const id of ids) if (id > largest) largest = id;
  return largest;
}
