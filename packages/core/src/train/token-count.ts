/** How many tokens a run has trained on, as TRL counts them: of every completion, each with its prompt (`num_tokens`). */

import type { Method } from '../config/method.js';
import type { Sampler } from '../data/sampler.js';
import type { TrainingPair } from './preference-trainer.js';

/** Tokens of the completions of a pair that a method trains on, each with its prompt. */
export function trainedTokens(
  { tokens: { prompt, chosen, rejected } }: TrainingPair,
  method: Method,
): number {
  const ofChosen = prompt.length + chosen.length;
  return method === 'sft' ? ofChosen : ofChosen + prompt.length + rejected.length;
}

/** Of all pairs that a sampler has given. */
export function tokensBefore(
  { sampler, trainPairs }: { readonly sampler: Sampler; readonly trainPairs: readonly TrainingPair[] },
  method: Method,
): number {
  const visits = sampler.visits();
  return trainPairs.reduce((sum, pair, index) => sum + visits[index]! * trainedTokens(pair, method), 0);
}
