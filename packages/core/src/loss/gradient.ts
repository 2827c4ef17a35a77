/**
 * The loss of a batch and its gradient at the final hidden states, a group of pairs at a time.
 *
 * A pair's loss needs all its log-probs before any of them gets a gradient. Taking pairs in groups, the logits of a group
 * are still there when its loss is known: the product with the output matrix, the largest of a small model, is not done
 * again for the backward pass, and the logits of the whole batch never exist.
 */
import { Scope, type Tensor } from '@sralign/native';
import type { Variable } from '../autograd/graph.js';
import type { Parameter } from '../autograd/parameter.js';
import { pairGroups } from '../batch/groups.js';
import type { PackedBatch } from '../batch/pack.js';
import { responseTargets, sequenceLogps } from './logps.js';
import {
  emptyPreferenceTensors,
  type PreferenceGiven,
  type PreferenceOptions,
  type PreferenceTensors,
  preferenceLoss,
} from './preference.js';
import type { Predictions } from './token-statistics.js';

/** Enough rows to make reading the weights cheap, and little next to a model that has so many logits. */
export const KEPT_LOGITS_BYTES = 128 * 2 ** 20;

/**
 * Sets the gradient of `hidden` and adds to that of the output matrix.
 *
 * @param hidden final hidden states of the batch, of the compute type [T, H]
 * @param head output matrix [V, H]
 * @param weight as in `preferenceLoss`
 * @param keptBytes logits kept at a time; a pair with more of them has its logits computed again for the backward pass
 * @param predictions of the batch, written
 * @returns the loss of the batch, owned by the current scope
 */
export function preferenceGradient(
  options: PreferenceOptions,
  hidden: Variable,
  head: Parameter,
  batch: PackedBatch,
  given: PreferenceGiven,
  weight: number,
  keptBytes = KEPT_LOGITS_BYTES,
  predictions?: Predictions,
): PreferenceTensors {
  const [pairs, answersPerPair] = given.responseTokens.shape as [number, 1 | 2];
  const vocabulary = head.shape[0]!;
  const mostRows = Math.floor(keptBytes / (vocabulary * Float32Array.BYTES_PER_ELEMENT));
  const output = emptyPreferenceTensors(options.method, pairs);
  hidden.contribute(hidden.value.dtype, dHidden => {
    dHidden.zero();
    for (const group of pairGroups(batch, answersPerPair, mostRows)) {
      using _scope = new Scope();
      const rows = (tensor: Tensor): Tensor => tensor.rows(group.firstPair, group.endPair);
      const part = {
        policy: rows(output.policy),
        losses: rows(output.losses),
        margins: rows(output.margins),
        deltas: rows(output.deltas),
      };
      const partGiven = {
        responseTokens: rows(given.responseTokens),
        reference: given.reference && rows(given.reference),
        augmentedPolicy: given.augmentedPolicy && rows(given.augmentedPolicy),
        augmentedReference: given.augmentedReference && rows(given.augmentedReference),
      };
      const sums = part.policy.reshape([part.policy.size]);
      const targets = responseTargets(group);
      const kept = group.rows.length <= mostRows;
      const partPredictions = predictions && {
        statistics: predictions.statistics.rows(group.firstRow, group.firstRow + group.rows.length),
        logps: predictions.logps.rows(group.firstTarget, group.firstTarget + group.labels.length),
      };
      const logps = sequenceLogps(hidden.value, head.compute, targets, sums, kept, partPredictions);
      const dLogps = preferenceLoss(options, part, partGiven, weight);
      logps.backward(dLogps.reshape([dLogps.size]), dHidden, head.gradient);
    }
  });
  return output;
}
