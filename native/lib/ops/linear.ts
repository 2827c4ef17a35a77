import { Call, COMPUTE, F32 } from '../check.js';
import { native } from '../load.js';
import type { DType, Tensor } from '../tensor.js';

/** A product of bf16 matrices may be kept in f32; one of f32 matrices is not rounded to bf16 on the way. */
const resultTypes = (operands: DType) => (operands === 'f32' ? F32 : COMPUTE);

export interface LinearArgs {
  /** f32|bf16 [T, K]. */
  x: Tensor;
  /** Type of `x`, [N, K]. */
  weight: Tensor;
  /** f32 [N]. */
  bias?: Tensor | undefined;
  /** f32, or bf16 where `x` is, [T, N], written. */
  out: Tensor;
}

/** `out = x weight^T + bias`; sums are kept in f32 and rounded once. */
export function linear(args: LinearArgs): void {
  const call = new Call('linear', args);
  const x = call.input('x', COMPUTE, ['T', 'K']);
  const weight = call.input('weight', [x.dtype], ['N', 'K']);
  const bias = call.optionalInput('bias', F32, ['N']);
  const out = call.output('out', resultTypes(x.dtype), ['T', 'N']);
  native().linear(x.id, weight.id, bias?.id ?? 0, out.id);
}

export interface LinearBackwardInputArgs {
  /** f32|bf16 [T, N]. */
  dOut: Tensor;
  /** Type of `dOut`, [N, K]. */
  weight: Tensor;
  /** f32, or bf16 where `dOut` is, [T, K], written. */
  dX: Tensor;
  /** Add to what `dX` holds; only where `dX` is f32. */
  accumulate?: boolean | undefined;
}

/** `dX = dOut weight`. */
export function linearBackwardInput(args: LinearBackwardInputArgs): void {
  const call = new Call('linearBackwardInput', args);
  const dOut = call.input('dOut', COMPUTE, ['T', 'N']);
  const weight = call.input('weight', [dOut.dtype], ['N', 'K']);
  const accumulate = call.flag('accumulate');
  const dX = call.output('dX', accumulate ? F32 : resultTypes(dOut.dtype), ['T', 'K']);
  native().linearBackwardInput(dOut.id, weight.id, dX.id, accumulate);
}

export interface LinearBackwardWeightArgs {
  /** f32|bf16 [T, N]. */
  dOut: Tensor;
  /** Type of `dOut`, [T, K]. */
  x: Tensor;
  /** f32 [N, K], added to. */
  dWeight: Tensor;
  /** f32 [N], added to. */
  dBias?: Tensor | undefined;
}

/** `dWeight += dOut^T x` and `dBias += column sums of dOut`. */
export function linearBackwardWeight(args: LinearBackwardWeightArgs): void {
  const call = new Call('linearBackwardWeight', args);
  const dOut = call.input('dOut', COMPUTE, ['T', 'N']);
  const x = call.input('x', [dOut.dtype], ['T', 'K']);
  const dWeight = call.output('dWeight', F32, ['N', 'K']);
  const dBias = call.optionalOutput('dBias', F32, ['N']);
  native().linearBackwardWeight(dOut.id, x.id, dWeight.id, dBias?.id ?? 0);
}
