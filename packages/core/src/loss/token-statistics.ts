/**
 * What the model predicts at the tokens of the completions, as TRL reports it: how sure it is (entropy), how often its likeliest
 * token is the right one, how large its logits are. The engine leaves three numbers of every row that predicts (`statistics` of
 * linearLogprob); they are added up here, on the host.
 */
import { Tensor } from '@sralign/native';
import type { PackedBatch } from '../batch/pack.js';

/** What was predicted in a packed batch, on the device: M rows, R targets. */
export interface Predictions {
  readonly batch: Pick<PackedBatch, 'targetRows' | 'sequenceOffsets'>;
  /** Of each row the entropy in nats, the mean logit and the highest log-probability: f32 [M, 3]. */
  readonly statistics: Tensor;
  /** log pi of each target: f32 [R]. */
  readonly logps: Tensor;
}

/** Sums over the tokens of one completion. */
export interface CompletionStatistics {
  readonly tokens: number;
  /** Of the predictions of its tokens, in nats. */
  readonly entropy: number;
  /** Tokens that were the likeliest; one of several that are equally likely counts. */
  readonly correct: number;
  /** Of the mean logits of its predictions. */
  readonly meanLogits: number;
}

/** Room for the predictions of a batch, owned by the current scope. */
export function emptyPredictions(batch: PackedBatch): Predictions {
  return {
    batch,
    statistics: Tensor.empty([batch.rows.length, 3]),
    logps: Tensor.empty([batch.labels.length]),
  };
}

/** Reads the predictions from the device: one entry a completion, in the order of the batch. */
export function completionStatistics({ batch, statistics, logps }: Predictions): CompletionStatistics[] {
  const rows = statistics.toFloat32Array();
  const targets = logps.toFloat32Array();
  const { targetRows, sequenceOffsets } = batch;
  return Array.from({ length: sequenceOffsets.length - 1 }, (_, sequence) => {
    const [first, end] = [sequenceOffsets[sequence]!, sequenceOffsets[sequence + 1]!];
    let [entropy, correct, meanLogits] = [0, 0, 0];
    for (let target = first; target < end; target++) {
      const row = 3 * targetRows[target]!;
      entropy += rows[row]!;
      meanLogits += rows[row + 1]!;
      if (targets[target] === rows[row + 2]) correct++;
    }
    return { tokens: end - first, entropy, correct, meanLogits };
  });
}
