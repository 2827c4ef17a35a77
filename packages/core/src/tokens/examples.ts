/** What the methods train on, as tokens. */

/** Token ids of one preference pair, in the two views. */
export interface PairTokens {
  /** x, with BOS where the tokenizer has one. At least one token. */
  readonly prompt: Int32Array;
  /** y+ and, unless it was cut, what ends it: EOS, or the end of the turn in the words of the chat template. At least one. */
  readonly chosen: Int32Array;
  /** y- likewise. */
  readonly rejected: Int32Array;
  /** What follows the shared augmentation in the augmented view. */
  readonly augmentedPrompt: Int32Array;
}

/** Token ids of one example of SFT. */
export interface SequenceTokens {
  /** With BOS where there is one. */
  readonly tokens: Int32Array;
  /** Of each token: 1 where it is trained on, else 0. At least one is; the first never, since nothing predicts it. */
  readonly trained: Uint8Array;
}

export type ExampleTokens = PairTokens | SequenceTokens;

/** Whether an example is a pair, and not a sequence of SFT. */
export const isPair = <Example extends object>(
  example: Example,
): example is Extract<Example, { readonly chosen: Int32Array }> => 'chosen' in example;

/** A prompt and its answer as one sequence: the answer is trained on. */
export function promptAndAnswer(prompt: Int32Array, answer: Int32Array): SequenceTokens {
  const tokens = new Int32Array(prompt.length + answer.length);
  tokens.set(prompt);
  tokens.set(answer, prompt.length);
  return { tokens, trained: new Uint8Array(tokens.length).fill(1, prompt.length) };
}

/** Tokens that are scored, of each sequence of an example: [y+, y-] of a pair, [trained tokens] of SFT. */
export function scoredTokens(example: ExampleTokens): number[] {
  if (isPair(example)) return [example.chosen.length, example.rejected.length];
  return [example.trained.reduce((sum, trained) => sum + trained, 0)];
}
