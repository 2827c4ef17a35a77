/** The length policy: what is cut of prompts and responses. p has its own budget and is never cut. */

/** Limits in tokens; 2 <= maxPromptTokens < maxTokens. */
export interface TokenPolicy {
  /** Prompt + response. */
  readonly maxTokens: number;
  /** Prompt, BOS included. */
  readonly maxPromptTokens: number;
  /** What happens to a longer prompt. */
  readonly longPrompt: 'error' | 'keep-end' | 'keep-start' | 'drop';
}

/** The part of a prompt that stays when a long one is cut. */
export type KeptSide = 'end' | 'start';

/** The tokens of an augmented prompt around those of p, which must stay. */
export interface AroundAugmentation {
  readonly head: readonly number[];
  readonly protectedTokens: readonly number[];
  readonly tail: readonly number[];
}

/** Removes `count` tokens of a prompt, from the side that is not kept. */
export function cutPrompt(ids: readonly number[], count: number, keep: KeptSide): number[] {
  return keep === 'end' ? ids.slice(count) : ids.slice(0, ids.length - count);
}

/** The same cut in the augmented view: `count` tokens from the side that is not kept, passing over p. */
export function cutAround(
  { head, protectedTokens, tail }: AroundAugmentation,
  count: number,
  keep: KeptSide,
) {
  const [near, far] = keep === 'end' ? [head, tail] : [tail, head];
  const nearCount = Math.min(count, near.length);
  const farCount = Math.min(count - nearCount, far.length);
  const [headCount, tailCount] = keep === 'end' ? [nearCount, farCount] : [farCount, nearCount];
  return [...cutPrompt(head, headCount, keep), ...protectedTokens, ...cutPrompt(tail, tailCount, keep)];
}

/** Cuts a response, the EOS at its end included, to `limit` >= 1 tokens; the EOS stays last. */
export function cutResponse(ids: readonly number[], limit: number): readonly number[] {
  return ids.length <= limit ? ids : [...ids.slice(0, limit - 1), ids.at(-1)!];
}
