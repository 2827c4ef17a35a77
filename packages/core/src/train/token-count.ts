/** How many tokens a run has trained on, as TRL counts them: of every completion, each with its prompt (`num_tokens`). */

import type { Sampler } from '../data/sampler.js';
import { isPair } from '../tokens/examples.js';
import type { TrainingPair } from './preference-trainer.js';

/** Tokens of the completions of an example, each with its prompt; of SFT all tokens of the sequence. */
export function trainedTokens({ tokens }: TrainingPair): number {
  if (!isPair(tokens)) return tokens.tokens.length;
  return 2 * tokens.prompt.length + tokens.chosen.length + tokens.rejected.length;
}

/** Of all pairs that a sampler has given. */
export function tokensBefore({
  sampler,
  trainPairs,
}: {
  readonly sampler: Sampler;
  readonly trainPairs: readonly TrainingPair[];
}): number {
  const visits = sampler.visits();
  return trainPairs.reduce((sum, pair, index) => sum + visits[index]! * trainedTokens(pair), 0);
}
