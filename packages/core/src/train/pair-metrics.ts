/**
 * Means over the pairs of a step or an evaluation, under the metric names of TRL where they exist. Rewards are
 * beta * (log pi - log pi_ref) with summed log-probs whatever the loss reduces with; an accuracy counts log-ratios of y+
 * that are strictly greater. Entropy, token accuracy and logits are means over the tokens of completions.
 */
import type { PreferenceGiven, PreferenceOptions, PreferenceTensors } from '../loss/preference.js';
import {
  type CompletionStatistics,
  completionStatistics,
  type Predictions,
} from '../loss/token-statistics.js';
import type { AnswerLogps } from '../reference/cache.js';

/** What the metrics of B pairs are made from, on the host: the values of PreferenceTensors and PreferenceGiven. */
export interface PairValues {
  readonly policy: Float32Array;
  readonly losses: Float32Array;
  readonly margins: Float32Array;
  readonly deltas: Float32Array;
  readonly reference: Float32Array | null;
  readonly augmentedPolicy: Float32Array | null;
  readonly augmentedReference: Float32Array | null;
  /** Of each completion, in the order of `policy`. */
  readonly completions: readonly CompletionStatistics[];
}

/** Reads the values from the device, which waits for what is queued there. */
export function pairValues(
  output: PreferenceTensors,
  given: PreferenceGiven,
  predictions: Predictions,
): PairValues {
  return {
    policy: output.policy.toFloat32Array(),
    losses: output.losses.toFloat32Array(),
    margins: output.margins.toFloat32Array(),
    deltas: output.deltas.toFloat32Array(),
    reference: given.reference?.toFloat32Array() ?? null,
    augmentedPolicy: given.augmentedPolicy?.toFloat32Array() ?? null,
    augmentedReference: given.augmentedReference?.toFloat32Array() ?? null,
    completions: completionStatistics(predictions),
  };
}

/** The sums of some pairs: what ranks tell each other. */
export interface PairSums {
  readonly pairs: number;
  readonly loss: number;
  /** A sum and what it is divided by: pairs, or tokens. */
  readonly sums: Readonly<Record<string, readonly [sum: number, count: number]>>;
}

export class PairMetrics {
  private readonly sums = new Map<string, [sum: number, count: number]>();
  private pairs = 0;
  private loss = 0;

  constructor(private readonly options: PreferenceOptions) {}

  /**
   * @param lossWeight what each pair's loss counts in the mean loss; 1 / pairs of the whole step, or 1 / tokens
   * @param isCounted whether the pair of an index is counted; by default all are
   */
  add(values: PairValues, lossWeight: number, isCounted: (index: number) => boolean = () => true): void {
    const sft = this.options.method === 'sft';
    for (const [i, loss] of values.losses.entries()) {
      if (!isCounted(i)) continue;
      this.pairs++;
      this.loss += loss * lossWeight;
      this.addCompletions(values.completions.slice(sft ? i : 2 * i, sft ? i + 1 : 2 * i + 2));
      if (sft) {
        this.sum('logps/chosen', values.policy[i]!);
        continue;
      }
      const { beta } = this.options;
      const policy = answers(values.policy, i);
      const reference = answers(values.reference!, i);
      const chosenReward = beta * (policy.chosen - reference.chosen);
      const rejectedReward = beta * (policy.rejected - reference.rejected);
      this.sum('rewards/chosen', chosenReward);
      this.sum('rewards/rejected', rejectedReward);
      this.sum('rewards/margins', chosenReward - rejectedReward);
      this.sum('rewards/accuracies', chosenReward > rejectedReward ? 1 : 0);
      this.sum('logps/chosen', policy.chosen);
      this.sum('logps/rejected', policy.rejected);
      this.sum('margin', values.margins[i]!);
      if (values.augmentedPolicy === null) continue;
      const augmented = answers(values.augmentedPolicy, i);
      const augmentedReference = answers(values.augmentedReference!, i);
      const augmentedMargin =
        augmented.chosen - augmentedReference.chosen - (augmented.rejected - augmentedReference.rejected);
      this.sum('sr/delta', values.deltas[i]!);
      this.sum('sr/augmented_margin', values.deltas[i]! / beta);
      this.sum('sr/augmented_accuracies', augmentedMargin > 0 ? 1 : 0);
    }
  }

  get total(): PairSums {
    return { pairs: this.pairs, loss: this.loss, sums: Object.fromEntries(this.sums) };
  }

  /** Means over tokens, as TRL has them: the accuracy is that of the chosen completion. */
  private addCompletions(completions: readonly CompletionStatistics[]): void {
    const [chosen, rejected] = completions;
    for (const { entropy, tokens } of completions) this.sum('entropy', entropy, tokens);
    this.sum('mean_token_accuracy', chosen!.correct, chosen!.tokens);
    this.sum('logits/chosen', chosen!.meanLogits, chosen!.tokens);
    if (rejected !== undefined) this.sum('logits/rejected', rejected.meanLogits, rejected.tokens);
  }

  private sum(name: string, value: number, count = 1): void {
    const [sum, before] = this.sums.get(name) ?? [0, 0];
    this.sums.set(name, [sum + value, before + count]);
  }
}

/** `loss`, and the mean of everything else over what all `totals` have of it. */
export function meansOf(totals: readonly PairSums[]): Record<string, number> {
  const add = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
  const means: Record<string, number> = { loss: add(totals.map(total => total.loss)) };
  for (const name of Object.keys(totals.find(total => total.pairs > 0)?.sums ?? {})) {
    const parts = totals.map(({ sums }) => sums[name] ?? [0, 0]);
    means[name] = add(parts.map(([sum]) => sum)) / add(parts.map(([, count]) => count));
  }
  return means;
}

const answers = (logps: Float32Array, pair: number): AnswerLogps => ({
  chosen: logps[2 * pair]!,
  rejected: logps[2 * pair + 1]!,
});
