/** The pairs of a run as tokens: which method needs p in front of which pairs, and what must fit the model. */

import { isRefined } from '../config/method.js';
import type { Config } from '../config/schema.js';
import type { RowStream } from '../data/read.js';
import type { Row } from '../data/rows.js';
import { SralignError } from '../errors.js';
import { type EncodedDataset, type EncodeOptions, encodePairs } from './encode.js';
import { encodeSequences } from './encode-sequence.js';
import { encodeStream, type StreamOptions } from './encode-stream.js';
import { checkTokens, type EncodeTask, type TokenLimits } from './row-encoder.js';
import type { SetCache } from './set-cache.js';
import type { StoredSet } from './set-file.js';
import type { Tokenizer } from './tokenizer.js';

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
  const { onBadRow } = config.data;
  const encode = (augmentation: EncodeOptions['augmentation']): EncodedDataset => {
    const dataset =
      config.method === 'sft'
        ? encodeSequences(rows, tokenizer, { policy: config.tokens, turns: config.sft.turns, onBadRow })
        : encodePairs(
            rows.filter(row => row.kind === 'pair'),
            tokenizer,
            { policy: config.tokens, augmentation, onBadRow },
          );
    if (limits !== null)
      for (const example of dataset.pairs) checkTokens(example, dataset.sharedAugmentation, limits);
    return dataset;
  };
  const need = needOfAugmentation(config, purpose);
  if (need === 'none') return { dataset: encode(null), notice: null };
  try {
    return { dataset: encode(config.augmentation), notice: null };
  } catch (error) {
    if (need === 'required' || !concernsAugmentation(error)) throw error;
    return { dataset: encode(null), notice: leftOut(error) };
  }
}

export interface RunDataRequest {
  readonly purpose: 'training' | 'evaluation';
  readonly config: Config;
  readonly tokenizer: Tokenizer;
  readonly limits: TokenLimits;
  /** What `open` reads. */
  readonly files: readonly string[];
  /** What else decides which rows it gives, as JSON. */
  readonly rowSettings: unknown;
  readonly open: () => RowStream;
}

/**
 * The same for the rows of files, which are not in memory together; from the cache where it has them.
 *
 * @throws as `encodeForRun` and `open`, the error of the first row that has one; the signal's reason when it is aborted
 */
export async function loadRunData(
  { purpose, config, tokenizer, limits, files, rowSettings, open }: RunDataRequest,
  cache: SetCache,
  options: StreamOptions,
): Promise<StoredSet> {
  const need = needOfAugmentation(config, purpose);
  const task: EncodeTask = {
    kind: config.method === 'sft' ? 'sequences' : 'pairs',
    policy: config.tokens,
    turns: config.sft.turns,
    augmentation: need === 'none' ? null : config.augmentation,
    limits,
    onBadRow: config.data.onBadRow,
  };
  const { vocabularySize, maxPositions } = limits;
  const settings = [rowSettings, need, { ...task, limits: { vocabularySize, maxPositions } }];
  return cache.get({ files, tokenizer, settings }, async () => {
    try {
      return { encoded: await encodeStream(open, task, tokenizer, options), notice: null };
    } catch (error) {
      if (need !== 'optional' || !concernsAugmentation(error)) throw error;
      const plain = { ...task, augmentation: null };
      return { encoded: await encodeStream(open, plain, tokenizer, options), notice: leftOut(error) };
    }
  });
}

function needOfAugmentation(
  { method, evaluation }: Config,
  purpose: 'training' | 'evaluation',
): 'required' | 'optional' | 'none' {
  if (isRefined(method)) return 'required';
  if (method === 'sft' || purpose === 'training' || evaluation.augmented === false) return 'none';
  return evaluation.augmented === 'auto' ? 'optional' : 'required';
}

const leftOut = ({ message }: Error): string =>
  `The augmented view is not evaluated (evaluation.augmented: auto). ${message}`;

const concernsAugmentation = (error: unknown): error is SralignError =>
  error instanceof SralignError && error.details.field?.startsWith('augmentation.') === true;
