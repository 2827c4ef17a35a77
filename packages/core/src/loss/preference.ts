/**
 * The preference losses. The arithmetic is one native kernel (native/src/backend.h, PreferenceLossArgs); this file
 * names the methods, gives their equations and turns the kernel's tensors into metrics.
 *
 *   margin      m = [log pi(y+|x) - log pi_ref(y+|x)] - [log pi(y-|x) - log pi_ref(y-|x)]
 *   refinement  D = beta * (the same, measured under the augmented query p (+) x), no gradient   (paper eq. 12)
 *
 *   sft      -log pi(y+|x)
 *   dpo      -(1-e) log s(beta m) - e log s(-beta m)
 *   ipo      (m - 1/(2 beta))^2
 *   sr-dpo   -(1-e) log s(beta m - lambda D) - e log s(-(beta m - lambda D))   (eq. 13; e = 0 in the paper)
 *   sr-ipo   (m - lambda D - 1/(2 beta))^2                                     (eq. 14)
 */
import * as native from '@sralign/native';
import { Tensor } from '@sralign/native';

export const METHODS = ['sft', 'dpo', 'ipo', 'sr-dpo', 'sr-ipo'] as const;
export type Method = (typeof METHODS)[number];

export interface PreferenceOptions {
  readonly method: Method;
  /** Strength of the implicit KL constraint, > 0. */
  readonly beta: number;
  /** Weight of the refinement, >= 0; 0 gives DPO and IPO. Ignored by methods without refinement. */
  readonly lambda: number;
  /** Label smoothing of DPO, in [0, 0.5). */
  readonly labelSmoothing: number;
  /** `sum` of response log-probs (the paper), or `mean` per response token; for m and D alike. */
  readonly logpReduction: 'sum' | 'mean';
  /** SFT: the mean over `example`s of the summed negative log-prob, or the mean over `token`s. */
  readonly sftReduction: 'example' | 'token';
}

export const isRefined = (method: Method): boolean => method === 'sr-dpo' || method === 'sr-ipo';

/** Log-probs of the answers of B pairs, f32 [B, 2] (chosen, rejected), or [B, 1] for SFT. */
export interface PreferenceInput {
  readonly policy: Tensor;
  readonly reference: Tensor | null;
  readonly augmentedPolicy: Tensor | null;
  readonly augmentedReference: Tensor | null;
  /** i32, the shape of `policy`. */
  readonly responseTokens: Tensor;
}

export interface PreferenceOutput {
  /** f32 [B]: the loss of each pair, not weighted; for SFT the summed negative log-prob, whatever the reduction. */
  readonly losses: Float32Array;
  /** f32 [B]: m; zeros for SFT. */
  readonly margins: Float32Array;
  /** f32 [B]: D; zeros without refinement. */
  readonly deltas: Float32Array;
  /** f32, the shape of `policy`: gradient of the scaled loss, owned by the current scope. */
  readonly dLogps: Tensor;
}

/**
 * Loss of each pair and the gradient for each policy log-prob.
 *
 * @param weight what one pair's loss (for SFT by token: one token's) counts in the step: 1 / pairs, 1 / tokens
 */
export function preferenceLoss(
  options: PreferenceOptions,
  input: PreferenceInput,
  weight: number,
): PreferenceOutput {
  const pairs = input.policy.shape[0]!;
  const losses = Tensor.empty([pairs]);
  const dLogps = Tensor.empty(input.policy.shape);
  const common = { policy: input.policy, responseTokens: input.responseTokens, losses, dLogps };
  if (options.method === 'sft') {
    // The sum of negative log-probs; `weight` makes it the mean over examples or tokens.
    native.preferenceLoss({
      ...common,
      method: 'sft',
      reduction: 'sum',
      beta: 1,
      lambda: 0,
      labelSmoothing: 0,
      lossScale: weight,
    });
    return {
      losses: losses.toFloat32Array(),
      margins: new Float32Array(pairs),
      deltas: new Float32Array(pairs),
      dLogps,
    };
  }
  const margins = Tensor.empty([pairs]);
  const deltas = Tensor.empty([pairs]);
  native.preferenceLoss({
    ...common,
    method: options.method.endsWith('dpo') ? 'dpo' : 'ipo',
    reduction: options.logpReduction,
    beta: options.beta,
    lambda: isRefined(options.method) ? options.lambda : 0,
    labelSmoothing: options.labelSmoothing,
    lossScale: weight,
    reference: input.reference!,
    ...(input.augmentedPolicy && { augmentedPolicy: input.augmentedPolicy }),
    ...(input.augmentedReference && { augmentedReference: input.augmentedReference }),
    margins,
    deltas,
  });
  return {
    losses: losses.toFloat32Array(),
    margins: margins.toFloat32Array(),
    deltas: deltas.toFloat32Array(),
    dLogps,
  };
}
