/**
 * The loss of a batch and its gradient at the final hidden states, a group of pairs at a time.
 *
 * A pair's loss needs all its log-probs before any of them gets a gradient. Taking pairs in groups, the logits of a group
 * are still there when its loss is known: the product with the output matrix, the largest of a small model, is not done
 * again for the backward pass, and the logits of the whole batch never exist.
 */
import { Scope, type Tensor } from '@sralign/native';
import type { Parameter, Variable } from '../autograd/graph.js';
import { type PairGroup, pairGroups } from '../batch/groups.js';
import type { PackedBatch } from '../batch/pack.js';
import { responseTargets, sequenceLogps } from './logps.js';
import {
  type PreferenceGiven,
  type PreferenceOptions,
  type PreferenceTensors,
  preferenceLoss,
} from './preference.js';

/** Enough rows to make reading the weights cheap, and little next to a model that has so many logits. */
const KEPT_LOGITS_BYTES = 128 * 2 ** 20;

/** Values of the B pairs of a batch, on the host. */
export interface PreferenceOutput {
  /** log pi(y | x): f32 [B, 2], or [B, 1] for SFT. */
  readonly policy: Float32Array;
  /** As in PreferenceTensors, f32 [B]. */
  readonly losses: Float32Array;
  readonly margins: Float32Array;
  readonly deltas: Float32Array;
}

/**
 * Sets the gradient of `hidden` and adds to that of the output matrix.
 *
 * @param hidden final hidden states of the batch, of the compute type [T, H]
 * @param head output matrix [V, H]
 * @param weight as in `preferenceLoss`
 * @param keptBytes logits kept at a time; a pair with more of them has its logits computed again for the backward pass
 */
export function preferenceGradient(
  options: PreferenceOptions,
  hidden: Variable,
  head: Parameter,
  batch: PackedBatch,
  given: PreferenceGiven,
  weight: number,
  keptBytes = KEPT_LOGITS_BYTES,
): PreferenceOutput {
  const answersPerPair = options.method === 'sft' ? 1 : 2;
  const vocabulary = head.value.shape[0]!;
  const mostRows = Math.floor(keptBytes / (vocabulary * Float32Array.BYTES_PER_ELEMENT));
  const results: (Omit<PreferenceTensors, 'dLogps'> & { readonly policy: Tensor })[] = [];
  hidden.contribute(hidden.value.dtype, dHidden => {
    dHidden.zero();
    for (const group of pairGroups(batch, answersPerPair, mostRows)) {
      using scope = new Scope();
      const targets = responseTargets(group);
      const logps = sequenceLogps(hidden.value, head.compute, targets, group.rows.length <= mostRows);
      const shape = [group.endPair - group.firstPair, answersPerPair];
      const loss = preferenceLoss(
        options,
        logps.sums.reshape(shape),
        givenOf(given, group, answersPerPair),
        weight,
      );
      logps.backward(loss.dLogps.reshape([logps.sums.size]), dHidden, head.gradient);
      results.push({
        policy: scope.keep(logps.sums),
        losses: scope.keep(loss.losses),
        margins: scope.keep(loss.margins),
        deltas: scope.keep(loss.deltas),
      });
    }
  });
  return {
    policy: concatenated(results.map(result => result.policy)),
    losses: concatenated(results.map(result => result.losses)),
    margins: concatenated(results.map(result => result.margins)),
    deltas: concatenated(results.map(result => result.deltas)),
  };
}

/** What belongs to the pairs of a group, out of `columns` values per pair. */
function givenOf(
  given: PreferenceGiven,
  { firstPair, endPair }: PairGroup,
  columns: number,
): PreferenceGiven {
  const rows = <T extends Float32Array | Int32Array>(values: T): T =>
    values.subarray(firstPair * columns, endPair * columns) as T;
  return {
    responseTokens: rows(given.responseTokens),
    reference: given.reference && rows(given.reference),
    augmentedPolicy: given.augmentedPolicy && rows(given.augmentedPolicy),
    augmentedReference: given.augmentedReference && rows(given.augmentedReference),
  };
}

function concatenated(parts: readonly Tensor[]): Float32Array {
  return Float32Array.from(parts.flatMap(part => [...part.toFloat32Array()]));
}
