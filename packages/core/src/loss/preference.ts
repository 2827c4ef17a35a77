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
 *   sr-ipo   (m - lambda D - 1/(2 beta))^2                                     (eq. 15)
 */
import * as native from '@sralign/native';
import { Tensor } from '@sralign/native';

import { isRefined, type Method } from '../config/method.js';

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

/** What the loss of B pairs takes as given, on the device: no gradient flows into it. */
export interface PreferenceGiven {
  /** Tokens of each answer: i32 [B, 2] (chosen, rejected), or [B, 1] for SFT. */
  readonly responseTokens: Tensor;
  /** log pi_ref(y | x): f32 [B, 2]; null for SFT. */
  readonly reference: Tensor | null;
  /** log pi(y | p (+) x) and log pi_ref(y | p (+) x): f32 [B, 2], both or neither. */
  readonly augmentedPolicy: Tensor | null;
  readonly augmentedReference: Tensor | null;
}

/** The loss of B pairs, on the device. */
export interface PreferenceTensors {
  /** log pi(y | x): f32 [B, 2], or [B, 1] for SFT. */
  readonly policy: Tensor;
  /** f32 [B]: the loss of each pair, not weighted; for SFT the summed negative log-prob, whatever the reduction. */
  readonly losses: Tensor;
  /** f32 [B]: m; zeros for SFT. */
  readonly margins: Tensor;
  /** f32 [B]: D; zeros without refinement. */
  readonly deltas: Tensor;
}

/** Room for the loss of B pairs, owned by the current scope. */
export function emptyPreferenceTensors(method: Method, pairs: number): PreferenceTensors {
  const sft = method === 'sft';
  const perPair = (): Tensor => (sft ? Tensor.zeros([pairs]) : Tensor.empty([pairs]));
  return {
    policy: Tensor.empty([pairs, sft ? 1 : 2]),
    losses: Tensor.empty([pairs]),
    margins: perPair(),
    deltas: perPair(),
  };
}

/**
 * Loss of each pair, from `tensors.policy` into the other tensors.
 *
 * @param weight what one pair's loss (for SFT by token: one token's) counts in the step: 1 / pairs, 1 / tokens
 * @returns the gradient of the weighted loss for `policy`, in its shape; it belongs to the current scope
 */
export function preferenceLoss(
  options: PreferenceOptions,
  { policy, losses, margins, deltas }: PreferenceTensors,
  { responseTokens, reference, augmentedPolicy, augmentedReference }: PreferenceGiven,
  weight: number,
): Tensor {
  const dLogps = Tensor.empty(policy.shape);
  const common = { policy, responseTokens, losses, dLogps, lossScale: weight };
  if (options.method === 'sft') {
    // The sum of negative log-probs; `weight` makes it the mean over examples or tokens.
    native.preferenceLoss({
      ...common,
      method: 'sft',
      reduction: 'sum',
      beta: 1,
      lambda: 0,
      labelSmoothing: 0,
    });
    return dLogps;
  }
  native.preferenceLoss({
    ...common,
    method: options.method.endsWith('dpo') ? 'dpo' : 'ipo',
    reduction: options.logpReduction,
    beta: options.beta,
    lambda: isRefined(options.method) ? options.lambda : 0,
    labelSmoothing: options.labelSmoothing,
    reference: reference ?? undefined,
    augmentedPolicy: augmentedPolicy ?? undefined,
    augmentedReference: augmentedReference ?? undefined,
    margins,
    deltas,
  });
  return dLogps;
}
