import { AT_LEAST_ONE, Call, F32, FRACTION, NOT_NEGATIVE, POSITIVE } from '../check.js';
import { native } from '../load.js';
import type { Tensor } from '../tensor.js';

const idsOf = (tensors: readonly (Tensor | null)[]) => Float64Array.from(tensors, tensor => tensor?.id ?? 0);

/** What every optimizer takes. */
interface OptimizerArgs {
  /** f32, updated in place. */
  parameters: readonly Tensor[];
  /** f32, one in the shape of each parameter. */
  gradients: readonly Tensor[];
  /** bf16 copies for computing, written with the rounded result; null where a parameter has none. */
  computeWeights?: readonly (Tensor | null)[] | undefined;
  learningRate: number;
  /** Added to the denominator. */
  epsilon: number;
  weightDecay: number;
  /** f32 [1]. Multiplies every gradient first (`clipFactor`); where it is NaN, nothing is changed. */
  gradientScale: Tensor;
}

export interface RmspropArgs extends OptimizerArgs {
  /** f32, one in the shape of each parameter, updated; zeros at the start. */
  squareAverages: readonly Tensor[];
  /** Share of the old average that is kept, in [0, 1). */
  alpha: number;
}

/**
 * One step of RMSprop for all tensors of a model, as torch.optim.RMSprop computes it:
 * `g += weightDecay p; v = alpha v + (1 - alpha) g^2; p -= learningRate g / (sqrt(v) + epsilon)`.
 */
export function rmsprop(args: RmspropArgs): void {
  const call = new Call('rmsprop', args);
  const parameters = call.tensors('parameters', true);
  const gradients = call.tensors('gradients', false, parameters);
  const computeWeights = call.optionalBf16Tensors('computeWeights', parameters) ?? [];
  const gradientScale = call.input('gradientScale', F32, [1]);
  const squareAverages = call.tensors('squareAverages', true, parameters);
  call.checkListsDisjoint();
  native().rmsprop(
    ...[idsOf(parameters), idsOf(gradients), idsOf(computeWeights), gradientScale.id, idsOf(squareAverages)],
    call.number('learningRate', NOT_NEGATIVE),
    call.number('alpha', FRACTION),
    call.number('epsilon', NOT_NEGATIVE),
    call.number('weightDecay', NOT_NEGATIVE),
  );
}

export interface AdamwArgs extends OptimizerArgs {
  /** f32, one in the shape of each parameter, updated; zeros at the start. */
  firstMoments: readonly Tensor[];
  /** The same. */
  secondMoments: readonly Tensor[];
  /** In [0, 1). */
  beta1: number;
  /** In [0, 1). */
  beta2: number;
  /** Counts from 1. */
  step: number;
}

/**
 * One step of AdamW (Loshchilov and Hutter 2019) for all tensors of a model, as torch.optim.AdamW computes it:
 * `p *= 1 - learningRate weightDecay`, then the step of the bias-corrected moments.
 */
export function adamw(args: AdamwArgs): void {
  const call = new Call('adamw', args);
  const parameters = call.tensors('parameters', true);
  const gradients = call.tensors('gradients', false, parameters);
  const computeWeights = call.optionalBf16Tensors('computeWeights', parameters) ?? [];
  const gradientScale = call.input('gradientScale', F32, [1]);
  const firstMoments = call.tensors('firstMoments', true, parameters);
  const secondMoments = call.tensors('secondMoments', true, parameters);
  call.checkListsDisjoint();
  native().adamw(
    ...[idsOf(parameters), idsOf(gradients), idsOf(computeWeights), gradientScale.id],
    ...[idsOf(firstMoments), idsOf(secondMoments)],
    call.number('learningRate', NOT_NEGATIVE),
    call.number('beta1', FRACTION),
    call.number('beta2', FRACTION),
    call.number('epsilon', NOT_NEGATIVE),
    call.number('weightDecay', NOT_NEGATIVE),
    call.number('step', AT_LEAST_ONE),
  );
}

export interface L2NormArgs {
  /** f32. */
  tensors: readonly Tensor[];
  /** f32 [1], written. */
  norm: Tensor;
}

/** The square root of the sum of the squares of all elements, accumulated in double: the global norm. */
export function l2Norm(args: L2NormArgs): void {
  const call = new Call('l2Norm', args);
  const tensors = call.tensors('tensors', false);
  native().l2Norm(idsOf(tensors), call.output('norm', F32, [1]).id);
}

export interface ClipFactorArgs {
  /** f32 [1]. */
  norm: Tensor;
  maxNorm: number;
  /** f32 [1], written. */
  factor: Tensor;
}

/**
 * What gradients of that global norm are multiplied by: `min(1, maxNorm / (norm + 1e-6))`, as
 * torch.nn.utils.clip_grad_norm_ computes it; NaN where the norm is not finite.
 */
export function clipFactor(args: ClipFactorArgs): void {
  const call = new Call('clipFactor', args);
  const norm = call.input('norm', F32, [1]);
  const maxNorm = call.number('maxNorm', POSITIVE);
  native().clipFactor(norm.id, maxNorm, call.output('factor', F32, [1]).id);
}
