import { Call, F32, FINITE, FRACTION, I32, NOT_NEGATIVE, POSITIVE } from '../check.js';
import { native } from '../load.js';
import type { Tensor } from '../tensor.js';

/** Sr-DPO and Sr-IPO are `dpo` and `ipo` with augmented log-probs. */
export type PreferenceMethod = 'sft' | 'dpo' | 'ipo';
/** Whether a sequence enters the loss with the sum of its log-probs or with their mean over response tokens. */
export type LogpReduction = 'sum' | 'mean';

const methodCodes = { sft: 0, dpo: 1, ipo: 2 };
const reductionCodes = { sum: 0, mean: 1 };

export interface PreferenceLossArgs {
  method: PreferenceMethod;
  reduction: LogpReduction;
  /** Strength of the pull to the reference, above 0. */
  beta: number;
  /** Strength of the refinement, at least 0. */
  lambda: number;
  /** Share of pairs taken to be labelled the wrong way round, in [0, 1); `dpo` only. */
  labelSmoothing: number;
  /** Multiplies `dLogps`, not `losses`. */
  lossScale: number;
  /** f32 [B, c]: summed log-probs of (chosen, rejected), c = 2; for `sft` of chosen alone, c = 1. */
  policy: Tensor;
  /** f32 [B, 2]; not for `sft`. */
  reference?: Tensor | undefined;
  /** f32 [B, 2], given together with `augmentedReference` or not at all; not for `sft`. */
  augmentedPolicy?: Tensor | undefined;
  augmentedReference?: Tensor | undefined;
  /** i32 [B, c], each at least 1: the number of response tokens. */
  responseTokens: Tensor;
  /** f32 [B], written. */
  losses: Tensor;
  /** f32 [B], written; not for `sft`. */
  margins?: Tensor | undefined;
  /** f32 [B], written; not for `sft`. */
  deltas?: Tensor | undefined;
  /** f32 [B, c], written. */
  dLogps: Tensor;
}

/**
 * The preference losses of "Direct Alignment of Language Models via Quality-Aware Self-Refinement", pair by pair, in
 * double. With `mean`, every log-prob is first divided by its number of response tokens.
 *
 *     margin m  = (policy - reference)[chosen] - (policy - reference)[rejected]
 *     delta     = beta * (the same of the augmented view), or 0 without it           (eq. 12)
 *     sft       = -policy[chosen]
 *     dpo       = -(1-e) log s(beta m - lambda delta) - e log s(-(beta m - lambda delta))   (eq. 13)
 *     ipo       = (m - lambda delta - 1 / (2 beta))^2                                 (eq. 15)
 *
 * `dLogps = lossScale * d loss / d policy`; no gradient flows through delta.
 * @throws RangeError for a number of response tokens below 1
 */
export function preferenceLoss(args: PreferenceLossArgs): void {
  const call = new Call('preferenceLoss', args);
  const method = call.choice('method', methodCodes);
  const reduction = call.choice('reduction', reductionCodes);
  const beta = call.number('beta', POSITIVE);
  const lambda = call.number('lambda', NOT_NEGATIVE);
  const labelSmoothing = call.number('labelSmoothing', FRACTION);
  const lossScale = call.number('lossScale', FINITE);
  const numbers = [method, reduction, beta, lambda, labelSmoothing, lossScale] as const;
  if (args.method === 'sft') {
    const policy = call.input('policy', F32, ['B', 1]);
    const responseTokens = call.input('responseTokens', I32, ['B', 1]);
    const losses = call.output('losses', F32, ['B']);
    const dLogps = call.output('dLogps', F32, ['B', 1]);
    for (const name of ['reference', 'augmentedPolicy', 'augmentedReference', 'margins', 'deltas'] as const) {
      if (args[name] !== undefined) throw call.error(name, "left out for method 'sft'", 'a value');
    }
    native().preferenceLoss(
      ...[...numbers, policy.id, 0, 0, 0, responseTokens.id, losses.id, 0, 0, dLogps.id],
    );
    return;
  }
  const policy = call.input('policy', F32, ['B', 2]);
  const reference = call.input('reference', F32, ['B', 2]);
  const augmentedPolicy = call.optionalInput('augmentedPolicy', F32, ['B', 2]);
  const augmentedReference = call.optionalInput('augmentedReference', F32, ['B', 2]);
  if ((augmentedPolicy === undefined) !== (augmentedReference === undefined)) {
    const missing = augmentedPolicy === undefined ? 'augmentedPolicy' : 'augmentedReference';
    throw call.error(missing, 'given together with the other augmented log-probs', 'undefined');
  }
  const responseTokens = call.input('responseTokens', I32, ['B', 2]);
  const losses = call.output('losses', F32, ['B']);
  const margins = call.output('margins', F32, ['B']);
  const deltas = call.output('deltas', F32, ['B']);
  const dLogps = call.output('dLogps', F32, ['B', 2]);
  native().preferenceLoss(
    ...[...numbers, policy.id, reference.id, augmentedPolicy?.id ?? 0, augmentedReference?.id ?? 0],
    ...[responseTokens.id, losses.id, margins.id, deltas.id, dLogps.id],
  );
}
