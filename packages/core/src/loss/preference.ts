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

/** What the loss of B pairs takes as given: no gradient flows into it. */
export interface PreferenceGiven {
  /** Tokens of each answer: [B, 2] (chosen, rejected), or [B, 1] for SFT. */
  readonly responseTokens: Int32Array;
  /** log pi_ref(y | x): [B, 2]; null for SFT. */
  readonly reference: Float32Array | null;
  /** log pi(y | p (+) x) and log pi_ref(y | p (+) x): [B, 2], both or neither. */
  readonly augmentedPolicy: Float32Array | null;
  readonly augmentedReference: Float32Array | null;
}

/** The loss of B pairs, on the device. */
export interface PreferenceTensors {
  /** f32 [B]: the loss of each pair, not weighted; for SFT the summed negative log-prob, whatever the reduction. */
  readonly losses: Tensor;
  /** f32 [B]: m; zeros for SFT. */
  readonly margins: Tensor;
  /** f32 [B]: D; zeros without refinement. */
  readonly deltas: Tensor;
  /** f32, the shape of the policy's log-probs: gradient of the scaled loss. */
  readonly dLogps: Tensor;
}

/**
 * Loss of each pair and the gradient for each policy log-prob; the tensors belong to the current scope.
 *
 * @param policy log pi(y | x): f32 [B, 2], or [B, 1] for SFT
 * @param weight what one pair's loss (for SFT by token: one token's) counts in the step: 1 / pairs, 1 / tokens
 */
export function preferenceLoss(
  options: PreferenceOptions,
  policy: Tensor,
  given: PreferenceGiven,
  weight: number,
): PreferenceTensors {
  const pairs = policy.shape[0]!;
  const losses = Tensor.empty([pairs]);
  const dLogps = Tensor.empty(policy.shape);
  const responseTokens = Tensor.from(given.responseTokens, policy.shape);
  const common = { policy, responseTokens, losses, dLogps };
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
    return { losses, margins: Tensor.zeros([pairs]), deltas: Tensor.zeros([pairs]), dLogps };
  }
  const margins = Tensor.empty([pairs]);
  const deltas = Tensor.empty([pairs]);
  const logps = (values: Float32Array | null): Tensor | undefined =>
    values === null ? undefined : Tensor.from(values, [pairs, 2]);
  native.preferenceLoss({
    ...common,
    method: options.method.endsWith('dpo') ? 'dpo' : 'ipo',
    reduction: options.logpReduction,
    beta: options.beta,
    lambda: isRefined(options.method) ? options.lambda : 0,
    labelSmoothing: options.labelSmoothing,
    lossScale: weight,
    reference: logps(given.reference),
    augmentedPolicy: logps(given.augmentedPolicy),
    augmentedReference: logps(given.augmentedReference),
    margins,
    deltas,
  });
  return { losses, margins, deltas, dLogps };
}
