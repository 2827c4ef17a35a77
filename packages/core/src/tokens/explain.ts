/** What becomes of one row, as text and counts: for `sralign data preview`. */
import { type PreferenceRow, textOf } from '../data/rows.js';
import { touches } from '../data/texts.js';
import { endOfTurn } from './completion.js';
import {
  type EncodeOptions,
  encodeInFull,
  encodingWithout,
  fitToPolicy,
  prepareEncoding,
  promptFate,
  sameTokens,
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

/** What begins a sequence and ends a whole answer, and who decided it. */
export interface EndRules {
  /** A text has the tokenizer's BOS and EOS; a chat has what its template writes, and nothing else. */
  readonly decidedBy: 'tokenizer' | 'chat template';
  /** Text of the token that stands first; null for none. */
  readonly bos: string | null;
  /** What ends a whole answer; null where the template writes nothing there. */
  readonly end: string | null;
  /** Its tokens: more than one where a chat template's end of turn is no token of the tokenizer. */
  readonly endTokens: number;
}

export interface PairExplanation {
  readonly file: string;
  readonly row: number;
  /**
   * used; or, because the prompt is too long, dropped (left out) or refused (training stops with an error). Then
   * nothing is shown as cut. equal: left out, because the answers are the same tokens once they are cut.
   */
  readonly fate: 'used' | 'dropped' | 'refused' | 'equal';
  readonly ends: EndRules;
  readonly prompt: ExplainedText;
  /** The whole augmented view up to the answer, p included; null where nothing reads it. */
  readonly augmentedPrompt: Pick<ExplainedText, 'text' | 'tokens'> | null;
  readonly chosen: ExplainedText;
  readonly rejected: ExplainedText;
  /** Of a text prompt; null for a chat, in which the template writes what is between. */
  readonly joined: { readonly chosen: Join; readonly rejected: Join } | null;
}

/** The place where a text prompt and an answer meet: nothing is put between them. */
export interface Join {
  /** The last tokens of the prompt and the first of the answer, decoded together. */
  readonly text: string;
  /** Whether a word of the answer stands at a word of the prompt, without a space between them. */
  readonly touching: boolean;
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
  const encoding = prepareEncoding([row], tokenizer, options) ?? encodingWithout(options, tokenizer);
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
      ? full.prompt.ids.slice(full.prompt.ids.length - cut.promptTokens)
      : full.prompt.ids.slice(0, cut.promptTokens);
  const responseCut = (ids: readonly number[], count: number) => ids.slice(ids.length - count);
  const augmented =
    options.augmentation === null ? null : [...encoding.sharedAugmentation, ...pair.augmentedPrompt];
  return {
    file: row.file,
    row: row.row,
    fate: used
      ? sameTokens(pair.chosen, pair.rejected)
        ? 'equal'
        : 'used'
      : fate === 'drop'
        ? 'dropped'
        : 'refused',
    ends: endRules(row.prompt.kind, full.prompt.bos, tokenizer),
    prompt: explain(pair.prompt, promptCut),
    augmentedPrompt: augmented && { text: tokenizer.decode(augmented), tokens: augmented.length },
    chosen: explain(pair.chosen, responseCut(full.chosen, cut.chosenTokens)),
    rejected: explain(pair.rejected, responseCut(full.rejected, cut.rejectedTokens)),
    joined:
      row.prompt.kind === 'chat'
        ? null
        : {
            chosen: join(row.prompt.text, textOf(row.chosen), pair.prompt, pair.chosen, tokenizer),
            rejected: join(row.prompt.text, textOf(row.rejected), pair.prompt, pair.rejected, tokenizer),
          },
  };
}

/** Tokens that are shown on both sides. */
const AROUND_JOIN = 8;

const join = (
  prompt: string,
  answer: string,
  promptIds: Int32Array,
  answerIds: Int32Array,
  tokenizer: Tokenizer,
): Join => ({
  text: tokenizer.decode([...promptIds.slice(-AROUND_JOIN), ...answerIds.slice(0, AROUND_JOIN)]),
  touching: touches(prompt, answer),
});

export function endRules(kind: 'text' | 'chat', bosIds: readonly number[], tokenizer: Tokenizer): EndRules {
  const bos = bosIds.length === 0 ? null : tokenizer.decode(bosIds);
  if (kind === 'text')
    return { decidedBy: 'tokenizer', bos, end: tokenizer.specialTokens.eos_token!, endTokens: 1 };
  const end = endOfTurn(tokenizer);
  return { decidedBy: 'chat template', bos, end: end?.text ?? null, endTokens: end?.ids.length ?? 0 };
}
