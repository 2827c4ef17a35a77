/** What becomes of one row, as text and counts: for `sralign data preview`. */
import type { PreferenceRow } from '../data/rows.js';
import {
  type EncodeOptions,
  encodeInFull,
  fitToPolicy,
  prepareEncoding,
  promptFate,
  saysNothing,
} from './encode.js';
import type { Tokenizer } from './tokenizer.js';

/** A piece of a sequence after the length policy. */
export interface ExplainedText {
  /** Decoded from the tokens that stay, special tokens included. */
  readonly text: string;
  readonly tokens: number;
  /** Decoded from the tokens that were cut; '' for none. */
  readonly cutText: string;
  readonly cutTokens: number;
}

export interface PairExplanation {
  readonly file: string;
  readonly row: number;
  /**
   * used; or, because the prompt is too long, dropped (left out) or refused (training stops with an error). Then
   * nothing is shown as cut. equal: left out, because the answers are the same tokens once they are cut.
   */
  readonly fate: 'used' | 'dropped' | 'refused' | 'equal';
  readonly prompt: ExplainedText;
  /** The whole augmented view up to the answer, p included. */
  readonly augmentedPrompt: Pick<ExplainedText, 'text' | 'tokens'>;
  readonly chosen: ExplainedText;
  readonly rejected: ExplainedText;
}

/**
 * Encodes one row as `encodePairs` would and tells what it became. Throws as `encodePairs` does, except for a long
 * prompt.
 */
export function explainPair(
  row: PreferenceRow,
  tokenizer: Tokenizer,
  options: EncodeOptions,
): PairExplanation {
  const encoding = prepareEncoding([row], tokenizer, options);
  const full = encodeInFull(row, encoding);
  const fate = promptFate(full, options.policy);
  const used = fate === 'fits' || fate === 'cut';
  const unlimited = { maxTokens: Infinity, maxPromptTokens: Infinity, longPrompt: 'error' } as const;
  const pair = fitToPolicy(full, used ? encoding : { ...encoding, policy: unlimited });

  const explain = (kept: Int32Array, removed: readonly number[]): ExplainedText => ({
    text: tokenizer.decode([...kept]),
    tokens: kept.length,
    cutText: tokenizer.decode(removed),
    cutTokens: removed.length,
  });
  const { cut } = pair;
  const promptCut =
    options.policy.longPrompt === 'keep-start'
      ? full.prompt.slice(full.prompt.length - cut.promptTokens)
      : full.prompt.slice(0, cut.promptTokens);
  const responseCut = (ids: readonly number[], count: number) => ids.slice(ids.length - count);
  const augmented = [...encoding.sharedAugmentation, ...pair.augmentedPrompt];
  return {
    file: row.file,
    row: row.row,
    fate: used ? (saysNothing(pair, options) ? 'equal' : 'used') : fate === 'drop' ? 'dropped' : 'refused',
    prompt: explain(pair.prompt, promptCut),
    augmentedPrompt: { text: tokenizer.decode(augmented), tokens: augmented.length },
    chosen: explain(pair.chosen, responseCut(full.chosen, cut.chosenTokens)),
    rejected: explain(pair.rejected, responseCut(full.rejected, cut.rejectedTokens)),
  };
}
