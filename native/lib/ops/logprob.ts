import { Call, COMPUTE, F32, I32 } from '../check.js';
import { native } from '../load.js';
import type { Tensor } from '../tensor.js';

export interface LinearLogprobArgs {
  /** f32|bf16 [T, H]. */
  hidden: Tensor;
  /** Type of `hidden`, [V, H]: the output matrix. */
  weight: Tensor;
  /** i32 [M], distinct, each in [0, T): the rows of `hidden` that predict something. */
  rows: Tensor;
  /** i32 [R], non-decreasing, each in [0, M): the row that predicts each target; a row may have several. */
  targetRows: Tensor;
  /** i32 [R], each in [0, V). */
  labels: Tensor;
  /** f32 [R], written. */
  logps: Tensor;
  /** f32 [M], written, for the backward pass. */
  logSumExp: Tensor;
  /** f32 [M, V], written: keeps the logits for the backward pass. Without it they never exist whole. */
  logits?: Tensor | undefined;
  /** f32 [M, 3], written: of the softmax of each row the entropy in nats, the mean logit and the highest log-probability. */
  statistics?: Tensor | undefined;
}

/**
 * `logps[i] = log softmax(hidden[rows[targetRows[i]]] weight^T)[labels[i]]`, panel by panel of the logits.
 * @throws RangeError for an index outside its range
 */
export function linearLogprob(args: LinearLogprobArgs): void {
  const call = new Call('linearLogprob', args);
  const hidden = call.input('hidden', COMPUTE, ['T', 'H']);
  const weight = call.input('weight', [hidden.dtype], ['V', 'H']);
  const rows = call.input('rows', I32, ['M']);
  const targetRows = call.input('targetRows', I32, ['R']);
  const labels = call.input('labels', I32, ['R']);
  const logps = call.output('logps', F32, ['R']);
  const logSumExp = call.output('logSumExp', F32, ['M']);
  const logits = call.optionalOutput('logits', F32, ['M', 'V']);
  const statistics = call.optionalOutput('statistics', F32, ['M', 3]);
  native().linearLogprob(
    ...[hidden.id, weight.id, rows.id, targetRows.id, labels.id],
    ...[logps.id, logSumExp.id, logits?.id ?? 0, statistics?.id ?? 0],
  );
}

export interface LinearLogprobBackwardArgs {
  /** As in the forward pass, like `weight`, `rows`, `targetRows`, `labels` and `logSumExp`. */
  hidden: Tensor;
  weight: Tensor;
  rows: Tensor;
  targetRows: Tensor;
  labels: Tensor;
  logSumExp: Tensor;
  /** f32 [R]. */
  dLogps: Tensor;
  /** Type of `hidden`, [T, H]: the rows named by `rows` are written, the others left as they are. */
  dHidden: Tensor;
  /** f32 [V, H], added to. */
  dWeight: Tensor;
  /** f32 [M, V] as `linearLogprob` left it, overwritten; without it the logits are computed again. */
  logits?: Tensor | undefined;
}

/** Gradients of `linearLogprob`. @throws RangeError as `linearLogprob` does */
export function linearLogprobBackward(args: LinearLogprobBackwardArgs): void {
  const call = new Call('linearLogprobBackward', args);
  const hidden = call.input('hidden', COMPUTE, ['T', 'H']);
  const weight = call.input('weight', [hidden.dtype], ['V', 'H']);
  const rows = call.input('rows', I32, ['M']);
  const targetRows = call.input('targetRows', I32, ['R']);
  const labels = call.input('labels', I32, ['R']);
  const logSumExp = call.input('logSumExp', F32, ['M']);
  const dLogps = call.input('dLogps', F32, ['R']);
  const dHidden = call.output('dHidden', [hidden.dtype], ['T', 'H']);
  const dWeight = call.output('dWeight', F32, ['V', 'H']);
  const logits = call.optionalOutput('logits', F32, ['M', 'V']);
  native().linearLogprobBackward(
    ...[hidden.id, weight.id, rows.id, targetRows.id, labels.id, logSumExp.id],
    ...[dLogps.id, dHidden.id, dWeight.id, logits?.id ?? 0],
  );
}

export interface LogprobGatherArgs {
  /** f32|bf16 [R, V]; -inf allowed. */
  logits: Tensor;
  /** i32 [R], each in [0, V), or -1 for a row that is left out. */
  labels: Tensor;
  /** f32 [R], written; 0 for a row that is left out. */
  logps: Tensor;
  /** f32 [R], written, for the backward pass. */
  logSumExp: Tensor;
}

/** `logps[i] = logits[i][labels[i]] - logsumexp(logits[i])`. @throws RangeError for a label outside its range */
export function logprobGather(args: LogprobGatherArgs): void {
  const call = new Call('logprobGather', args);
  const logits = call.input('logits', COMPUTE, ['R', 'V']);
  const labels = call.input('labels', I32, ['R']);
  const logps = call.output('logps', F32, ['R']);
  const logSumExp = call.output('logSumExp', F32, ['R']);
  native().logprobGather(logits.id, labels.id, logps.id, logSumExp.id);
}

export interface LogprobGatherBackwardArgs {
  /** As in the forward pass, like `labels` and `logSumExp`. */
  logits: Tensor;
  labels: Tensor;
  logSumExp: Tensor;
  /** f32 [R]. */
  dLogps: Tensor;
  /** Type of `logits`, [R, V], written; may be `logits`. */
  dLogits: Tensor;
}

/** `dLogits[i] = dLogps[i] (onehot(labels[i]) - softmax(logits[i]))`. @throws RangeError as `logprobGather` does */
export function logprobGatherBackward(args: LogprobGatherBackwardArgs): void {
  const call = new Call('logprobGatherBackward', args);
  const logits = call.input('logits', COMPUTE, ['R', 'V']);
  const labels = call.input('labels', I32, ['R']);
  const logSumExp = call.input('logSumExp', F32, ['R']);
  const dLogps = call.input('dLogps', F32, ['R']);
  const dLogits = call.output('dLogits', [logits.dtype], ['R', 'V'], 'logits');
  native().logprobGatherBackward(logits.id, labels.id, logSumExp.id, dLogps.id, dLogits.id);
}

export interface SequenceSumArgs {
  /** f32 [R]. */
  values: Tensor;
  /** i32 [Q + 1], non-decreasing, the first 0 and the last R. */
  offsets: Tensor;
  /** f32 [Q], written. */
  sums: Tensor;
}

/**
 * `sums[q] = sum of values[offsets[q] .. offsets[q + 1])`, accumulated in double.
 * @throws RangeError for offsets out of order
 */
export function sequenceSum(args: SequenceSumArgs): void {
  const call = new Call('sequenceSum', args);
  const values = call.input('values', F32, ['R']);
  const sums = call.output('sums', F32, ['Q']);
  const offsets = call.input('offsets', I32, [call.size('Q') + 1]);
  native().sequenceSum(values.id, offsets.id, sums.id);
}

export interface SequenceSumBackwardArgs {
  /** f32 [Q]. */
  dSums: Tensor;
  /** i32 [Q + 1], as in the forward pass. */
  offsets: Tensor;
  /** f32 [R], written. */
  dValues: Tensor;
}

/** `dValues[i] = dSums[q]` for every i of sequence q. @throws RangeError as `sequenceSum` does */
export function sequenceSumBackward(args: SequenceSumBackwardArgs): void {
  const call = new Call('sequenceSumBackward', args);
  const dSums = call.input('dSums', F32, ['Q']);
  const offsets = call.input('offsets', I32, [call.size('Q') + 1]);
  const dValues = call.output('dValues', F32, ['R']);
  native().sequenceSumBackward(dSums.id, offsets.id, dValues.id);
}
