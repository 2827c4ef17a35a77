/** The pairs of a run as tokens: which method needs p in front of which pairs, and what must fit the model. */

import { isRefined } from '../config/method.js';
import type { Config } from '../config/schema.js';
import type { EqualAnswers, Row } from '../data/rows.js';
import { ConfigError, SralignError } from '../errors.js';
import {
  type EncodedDataset,
  type EncodedExample,
  type EncodeOptions,
  encodePairs,
  tokensOf,
} from './encode.js';
import { encodeSequences } from './encode-sequence.js';
import { isPair } from './examples.js';
import type { Tokenizer } from './tokenizer.js';

/** What limits the tokens of a model. */
export interface TokenLimits {
  readonly vocabularySize: number;
  readonly maxPositions: number;
  /** Where the model is from, for messages. */
  readonly modelFolder: string;
}

export interface EncodedForRun {
  readonly dataset: EncodedDataset;
  /** Why the augmented view is left out although it could be evaluated; null where nothing is left out. */
  readonly notice: string | null;
}

/**
 * Encodes rows as a run of this configuration does, and checks that they fit the model. The self-refined methods always
 * have the augmented view, SFT never; DPO and IPO evaluate it as `evaluation.augmented` says.
 *
 * @param limits null to encode without that check
 * @throws as `encodePairs`; ConfigError naming the row when a token or a length does not fit the model
 */
export function encodeForRun(
  rows: readonly Row[],
  purpose: 'training' | 'evaluation',
  config: Config,
  tokenizer: Tokenizer,
  limits: TokenLimits | null,
): EncodedForRun {
  const encode = (augmentation: EncodeOptions['augmentation']): EncodedDataset => {
    const dataset =
      config.method === 'sft'
        ? encodeSequences(rows, tokenizer, { policy: config.tokens, turns: config.sft.turns })
        : encodePairs(
            rows.filter(row => row.kind === 'pair'),
            tokenizer,
            { policy: config.tokens, augmentation },
          );
    if (limits !== null) checkTokens(dataset, limits);
    return dataset;
  };
  const need = needOfAugmentation(config, purpose);
  if (need === 'none') return { dataset: encode(null), notice: null };
  try {
    return { dataset: encode(config.augmentation), notice: null };
  } catch (error) {
    if (need === 'required' || !concernsAugmentation(error)) throw error;
    const notice = `The augmented view is not evaluated (evaluation.augmented: auto). ${error.message}`;
    return { dataset: encode(null), notice };
  }
}

/** SFT reads the chosen answer only. */
export const equalAnswersOf = ({ method }: Config): EqualAnswers => (method === 'sft' ? 'keep' : 'drop');

function needOfAugmentation(
  { method, evaluation }: Config,
  purpose: 'training' | 'evaluation',
): 'required' | 'optional' | 'none' {
  if (isRefined(method)) return 'required';
  if (method === 'sft' || purpose === 'training' || evaluation.augmented === false) return 'none';
  return evaluation.augmented === 'auto' ? 'optional' : 'required';
}

const concernsAugmentation = (error: unknown): error is SralignError =>
  error instanceof SralignError && error.details.field?.startsWith('augmentation.') === true;

function checkTokens(dataset: EncodedDataset, limits: TokenLimits): void {
  const { vocabularySize, maxPositions, modelFolder } = limits;
  const prefixTokens = dataset.sharedAugmentation.length;
  for (const example of dataset.pairs) {
    const where = { file: example.file, row: example.row };
    const largest = largestToken(example, dataset.sharedAugmentation);
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
    if (!isPair(example)) continue;
    const augmented = prefixTokens + example.augmentedPrompt.length + answer;
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
}

function largestToken(example: EncodedExample, sharedAugmentation: Int32Array): number {
  let largest = 0;
  for (const ids of [...tokensOf(example), sharedAugmentation])
    for (const id of ids) largest = Math.max(largest, id);
  return largest;
}
