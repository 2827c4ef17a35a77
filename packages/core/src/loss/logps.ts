/**
 * From hidden states to the log-probability of every answer: only the positions that predict response tokens meet the
 * output matrix.
 */
import * as native from '@sralign/native';
import { Tensor } from '@sralign/native';
import type { Predictions } from './token-statistics.js';

/** Index tensors of packed pairs (batch/pack.ts), on the device: M rows, R targets, Q answers. */
export interface ResponseTargets {
  readonly rows: Tensor; // i32 [M]
  readonly targetRows: Tensor; // i32 [R]
  readonly labels: Tensor; // i32 [R]
  readonly sequenceOffsets: Tensor; // i32 [Q + 1]
}

export interface SequenceLogps {
  /**
   * The backward pass, once.
   *
   * @param dSums f32 [Q]
   * @param dHidden of the type of the hidden states [T, H]: the targets' rows are written
   * @param dWeight f32 [V, H], added to
   */
  backward(dSums: Tensor, dHidden: Tensor, dWeight: Tensor): void;
}

/** The index arrays on the device, owned by the current scope. */
export function responseTargets(
  arrays: {
    readonly [name in keyof ResponseTargets]: Int32Array;
  },
): ResponseTargets {
  return {
    rows: indexTensor(arrays.rows),
    targetRows: indexTensor(arrays.targetRows),
    labels: indexTensor(arrays.labels),
    sequenceOffsets: indexTensor(arrays.sequenceOffsets),
  };
}

export const indexTensor = (values: Int32Array): Tensor => Tensor.from(values, [values.length]);

/**
 * Log-probabilities of the answers.
 *
 * @param hidden final hidden states of the compute type [T, H]
 * @param weight output matrix of the compute type [V, H]
 * @param sums f32 [Q], written: log pi(y | x) of each of the Q answers, summed over its tokens
 * @param keepLogits keep the f32 [M, V] logits for the backward pass; otherwise they never exist whole, and the backward
 *   pass computes them again
 * @param predictions written, of these rows and targets
 */
export function sequenceLogps(
  hidden: Tensor,
  weight: Tensor,
  targets: ResponseTargets,
  sums: Tensor,
  keepLogits: boolean,
  predictions?: Pick<Predictions, 'statistics' | 'logps'>,
): SequenceLogps {
  const { rows, targetRows, labels, sequenceOffsets: offsets } = targets;
  const logps = predictions?.logps ?? Tensor.empty([labels.size]);
  const logSumExp = Tensor.empty([rows.size]);
  const logits = keepLogits ? Tensor.empty([rows.size, weight.shape[0]!]) : undefined;
  const { statistics } = predictions ?? {};
  native.linearLogprob({ hidden, weight, rows, targetRows, labels, logps, logSumExp, logits, statistics });
  native.sequenceSum({ values: logps, offsets, sums });
  return {
    backward(dSums, dHidden, dWeight) {
      const dLogps = Tensor.empty([labels.size]);
      native.sequenceSumBackward({ dSums, offsets, dValues: dLogps });
      const saved = { hidden, weight, rows, targetRows, labels, logSumExp, logits };
      native.linearLogprobBackward({ ...saved, dLogps, dHidden, dWeight });
    },
  };
}
