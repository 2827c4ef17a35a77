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

/**
 * The same cut in the augmented view: p stays, and on the kept side of it the same tokens stay as in the plain view.
 *
 * @param removed tokens that the plain prompt lost
 * @param left tokens that the plain prompt has left
 */
export function cutAround(
  { head, protectedTokens, tail }: AroundAugmentation,
  removed: number,
  left: number,
  keep: KeptSide,
): number[] {
  if (keep === 'end') {
    const keptTail = removed <= head.length ? tail : tail.slice(-left);
    return [...head.slice(removed), ...protectedTokens, ...keptTail];
  }
  const keptHead = removed <= tail.length ? head : head.slice(0, left);
  return [...keptHead, ...protectedTokens, ...tail.slice(0, Math.max(0, tail.length - removed))];
}

/**
 * Cuts a response to its first `limit` >= 1 tokens. What ended it (EOS, the end of the turn) goes with the rest: it would
 * teach the model to stop there.
 */
export function cutResponse(ids: readonly number[], limit: number): readonly number[] {
  return ids.slice(0, limit);
}
