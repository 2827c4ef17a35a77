import { Call, COMPUTE, F32, NOT_NEGATIVE } from '../check.js';
import { native } from '../load.js';
import type { Tensor } from '../tensor.js';

export interface LayerNormArgs {
  /** f32 [T, H]. */
  x: Tensor;
  /** f32 [H]. */
  weight: Tensor;
  /** f32 [H]. */
  bias: Tensor;
  /** Added to the variance; 1e-5 where it is not given. */
  epsilon?: number | undefined;
  /** f32|bf16 [T, H]. */
  out: Tensor;
  /** f32 [T], written: the row's mean, for the backward pass. */
  mean: Tensor;
  /** f32 [T], written: 1 / sqrt(variance + epsilon). */
  rstd: Tensor;
}

/** `out = (x - mean) rstd weight + bias` over the last axis (Ba et al. 2016). */
export function layerNorm(args: LayerNormArgs): void {
  const call = new Call('layerNorm', args);
  const x = call.input('x', F32, ['T', 'H']);
  const weight = call.input('weight', F32, ['H']);
  const bias = call.input('bias', F32, ['H']);
  const epsilon = call.optionalNumber('epsilon', NOT_NEGATIVE, 1e-5);
  const out = call.output('out', COMPUTE, ['T', 'H']);
  const mean = call.output('mean', F32, ['T']);
  const rstd = call.output('rstd', F32, ['T']);
  native().layerNorm(x.id, weight.id, bias.id, epsilon, out.id, mean.id, rstd.id);
}

export interface LayerNormBackwardArgs {
  /** f32 [T, H]. */
  x: Tensor;
  /** f32 [H]. */
  weight: Tensor;
  /** f32 [T], from the forward pass. */
  mean: Tensor;
  /** f32 [T], from the forward pass. */
  rstd: Tensor;
  /** f32|bf16 [T, H]. */
  dOut: Tensor;
  /** f32 [T, H], written. */
  dX: Tensor;
  /** Add to what `dX` holds. */
  accumulate?: boolean | undefined;
  /** f32 [H], added to. */
  dWeight: Tensor;
  /** f32 [H], added to. */
  dBias: Tensor;
}

export function layerNormBackward(args: LayerNormBackwardArgs): void {
  const call = new Call('layerNormBackward', args);
  const x = call.input('x', F32, ['T', 'H']);
  const weight = call.input('weight', F32, ['H']);
  const mean = call.input('mean', F32, ['T']);
  const rstd = call.input('rstd', F32, ['T']);
  const dOut = call.input('dOut', COMPUTE, ['T', 'H']);
  const dX = call.output('dX', F32, ['T', 'H']);
  const accumulate = call.flag('accumulate');
  const dWeight = call.output('dWeight', F32, ['H']);
  const dBias = call.output('dBias', F32, ['H']);
  native().layerNormBackward(
    ...[x.id, weight.id, mean.id, rstd.id, dOut.id, dX.id, accumulate, dWeight.id, dBias.id],
  );
}

export interface RmsNormArgs {
  /** f32 [T, H]. */
  x: Tensor;
  /** f32 [H]. */
  weight: Tensor;
  /** Added to the mean square; 1e-6 where it is not given. */
  epsilon?: number | undefined;
  /** f32|bf16 [T, H], written. */
  out: Tensor;
  /** f32 [T], written: 1 / sqrt(mean square + epsilon), for the backward pass. */
  rstd: Tensor;
}

/** `out = x rstd weight` over the last axis (Zhang and Sennrich 2019). */
export function rmsNorm(args: RmsNormArgs): void {
  const call = new Call('rmsNorm', args);
  const x = call.input('x', F32, ['T', 'H']);
  const weight = call.input('weight', F32, ['H']);
  const epsilon = call.optionalNumber('epsilon', NOT_NEGATIVE, 1e-6);
  const out = call.output('out', COMPUTE, ['T', 'H']);
  const rstd = call.output('rstd', F32, ['T']);
  native().rmsNorm(x.id, weight.id, epsilon, out.id, rstd.id);
}

export interface RmsNormBackwardArgs {
  /** f32 [T, H]. */
  x: Tensor;
  /** f32 [H]. */
  weight: Tensor;
  /** f32 [T], from the forward pass. */
  rstd: Tensor;
  /** f32|bf16 [T, H]. */
  dOut: Tensor;
  /** f32 [T, H], written. */
  dX: Tensor;
  /** Add to what `dX` holds. */
  accumulate?: boolean | undefined;
  /** f32 [H], added to. */
  dWeight: Tensor;
}

export function rmsNormBackward(args: RmsNormBackwardArgs): void {
  const call = new Call('rmsNormBackward', args);
  const x = call.input('x', F32, ['T', 'H']);
  const weight = call.input('weight', F32, ['H']);
  const rstd = call.input('rstd', F32, ['T']);
  const dOut = call.input('dOut', COMPUTE, ['T', 'H']);
  const dX = call.output('dX', F32, ['T', 'H']);
  const accumulate = call.flag('accumulate');
  const dWeight = call.output('dWeight', F32, ['H']);
  native().rmsNormBackward(x.id, weight.id, rstd.id, dOut.id, dX.id, accumulate, dWeight.id);
}
