/** Reference log-probabilities held in memory: for programs with a loop of their own (`train` keeps them on disk). */
import type { View } from '../batch/pack.js';
import { scorePairs } from '../loss/score.js';
import type { CausalLM } from '../model/causal-lm.js';
import type { AnswerLogps } from '../reference/cache.js';
import type { EncodedDataset, EncodedPair } from '../tokens/encode.js';
import type { TrainingPair } from './preference-trainer.js';

/** Pairs scored at once: bounds the memory of the forward pass. */
const BATCH_PAIRS = 16;

/**
 * The pairs of a data set with what `reference` says of them, in both views: ready for `PreferenceTrainer`.
 *
 * @param reference the model that is trained, before its first step, or another one
 */
export function withReference(reference: CausalLM, dataset: EncodedDataset<EncodedPair>): TrainingPair[] {
  const plain = scoreAll(reference, dataset, 'plain');
  const augmented = scoreAll(reference, dataset, 'augmented');
  return dataset.pairs.map((tokens, i) => ({
    tokens,
    reference: plain[i]!,
    augmentedReference: augmented[i]!,
    source: `${tokens.file}:${tokens.row}`,
  }));
}

function scoreAll(
  model: CausalLM,
  { pairs, sharedAugmentation }: EncodedDataset<EncodedPair>,
  view: View,
): AnswerLogps[] {
  const scores: AnswerLogps[] = [];
  for (let start = 0; start < pairs.length; start += BATCH_PAIRS) {
    const batch = pairs.slice(start, start + BATCH_PAIRS);
    const logps = scorePairs(model, batch, view, sharedAugmentation);
    for (let i = 0; i < batch.length; i++)
      scores.push({ chosen: logps[2 * i]!, rejected: logps[2 * i + 1]! });
  }
  return scores;
}
