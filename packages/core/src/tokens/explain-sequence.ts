/** What becomes of one row of SFT, as text and counts: for `sralign data preview`. */
import { kindOf, type Row } from '../data/rows.js';
import type { EncodedSequence } from './encode.js';
import { encodeRow, type SequenceOptions } from './encode-sequence.js';
import { type EndRules, endRules } from './explain.js';
import { bosOf } from './sequence.js';
import type { Tokenizer } from './tokenizer.js';

/** Neighbouring tokens that are all trained on, or all not. */
export interface SequencePart {
  readonly trained: boolean;
  /** Decoded, special tokens included. */
  readonly text: string;
  readonly tokens: number;
}

export interface SequenceExplanation {
  readonly file: string;
  readonly row: number;
  /**
   * used; or, because the prompt is too long, dropped (left out) or refused (training stops with an error). Then nothing is
   * shown as cut.
   */
  readonly fate: 'used' | 'dropped' | 'refused';
  readonly ends: EndRules;
  /** The parts of one sequence, or of the pieces of a long text. */
  readonly sequences: readonly (readonly SequencePart[])[];
  /** What the length policy removed: of the prompt, and behind what is left. */
  readonly cut: Readonly<Record<'prompt' | 'end', Omit<SequencePart, 'trained'>>>;
}

const UNLIMITED = { maxTokens: Infinity, maxPromptTokens: Infinity, longPrompt: 'error' } as const;

/**
 * Encodes one row as `encodeSequences` would and tells what it became. Throws as that does, except for what is too long.
 */
export function explainSequences(
  row: Row,
  tokenizer: Tokenizer,
  options: SequenceOptions,
): SequenceExplanation {
  const { policy } = options;
  const refusing = policy.longPrompt === 'error';
  const made = encodeRow(row, tokenizer, {
    ...options,
    policy: refusing ? { ...policy, longPrompt: 'drop' } : policy,
  });
  // Without limits a row gives one sequence.
  const [whole] = encodeRow(row, tokenizer, { ...options, policy: UNLIMITED }) as EncodedSequence[];
  const isUsed = Array.isArray(made);
  const encoded = isUsed ? made : [whole!];
  const ids = [...whole!.tokens];
  const bos = ids[0] === bosOf(tokenizer) ? ids.slice(0, 1) : [];
  const prompt = ids.slice(bos.length, whole!.trained.indexOf(1));
  const { promptTokens, endTokens } = encoded[0]!.cut;
  const explain = (removed: readonly number[]) => ({
    text: tokenizer.decode(removed),
    tokens: removed.length,
  });
  return {
    file: row.file,
    row: row.row,
    fate: isUsed ? 'used' : refusing ? 'refused' : made,
    ends: endRules(kindOf(row), bos, tokenizer),
    sequences: encoded.map(sequence => partsOf(sequence, tokenizer)),
    cut: {
      prompt: explain(
        policy.longPrompt === 'keep-start'
          ? prompt.slice(prompt.length - promptTokens)
          : prompt.slice(0, promptTokens),
      ),
      end: explain(ids.slice(ids.length - endTokens)),
    },
  };
}

function partsOf({ tokens, trained }: EncodedSequence, tokenizer: Tokenizer): SequencePart[] {
  const parts: SequencePart[] = [];
  let start = 0;
  for (let end = 1; end <= tokens.length; end++) {
    if (end < tokens.length && trained[end] === trained[start]) continue;
    parts.push({
      trained: trained[start] === 1,
      text: tokenizer.decode([...tokens.subarray(start, end)]),
      tokens: end - start,
    });
    start = end;
  }
  return parts;
}
