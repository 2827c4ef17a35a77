/**
 * From hidden states to the log-probability of every answer, without the [tokens x vocabulary] logits: only the
 * positions that predict response tokens meet the output matrix, in chunks (native linearLogprob).
 */
import * as native from '@sralign/native';
import { Tensor } from '@sralign/native';
import { type Graph, type Parameter, Variable } from '../autograd/graph.js';

/** Index tensors of a packed batch (batch/pack.ts), on the device. */
export interface ResponseTargets {
  readonly rows: Tensor; // i32 [M]
  readonly targetRows: Tensor; // i32 [R]
  readonly labels: Tensor; // i32 [R]
  readonly sequenceOffsets: Tensor; // i32 [Q + 1]
}

/**
 * log pi(y | x) of each of the Q answers, summed over its tokens: f32 [Q].
 *
 * @param hidden final hidden states of the compute type [T, H]
 * @param head output matrix [V, H]
 */
export function sequenceLogps(
  graph: Graph,
  hidden: Variable,
  head: Parameter,
  targets: ResponseTargets,
): Variable {
  const { rows, targetRows, labels, sequenceOffsets: offsets } = targets;
  const logps = Tensor.empty([labels.size]);
  const logSumExp = Tensor.empty([rows.size]);
  const weight = head.compute;
  native.linearLogprob({ hidden: hidden.value, weight, rows, targetRows, labels, logps, logSumExp });
  const sums = Tensor.empty([offsets.size - 1]);
  native.sequenceSum({ values: logps, offsets, sums });
  return graph.record(new Variable(sums), [logps, logSumExp], dSums => {
    const dLogps = Tensor.empty([labels.size]);
    native.sequenceSumBackward({ dSums, offsets, dValues: dLogps });
    hidden.contribute(hidden.value.dtype, dHidden =>
      native.linearLogprobBackward({
        hidden: hidden.value,
        weight,
        rows,
        targetRows,
        labels,
        logSumExp,
        dLogps,
        dHidden,
        dWeight: head.gradient,
      }),
    );
    dLogps.dispose();
  });
}
