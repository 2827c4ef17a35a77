/**
 * One optimizer step, read top to bottom: pack, augmented forward, forward, loss, backward, clip, update.
 *
 * Memory: everything a microbatch makes lives in one scope and is freed at its end, but for the few numbers of each pair
 * that become metrics; the [tokens x vocabulary] logits of a batch never exist (loss/gradient.ts). A GPU is waited for
 * once in a step, when those numbers are read.
 */
import { Scope, Tensor } from '@sralign/native';
import { Graph } from '../autograd/graph.js';
import { balancedRounds } from '../batch/balance.js';
import { packExamples, packedTokens } from '../batch/pack.js';
import { isRefined } from '../config/method.js';
import { DataError, RunError } from '../errors.js';
import { KEPT_LOGITS_BYTES, preferenceGradient } from '../loss/gradient.js';
import {
  emptyPreferenceTensors,
  type PreferenceGiven,
  type PreferenceOptions,
  type PreferenceTensors,
  preferenceLoss,
} from '../loss/preference.js';
import { batchHidden, pairLogps, predictExamples } from '../loss/score.js';
import { emptyPredictions, type Predictions } from '../loss/token-statistics.js';
import type { CausalLM } from '../model/causal-lm.js';
import { clipFactor, gradientNorm } from '../optim/clip.js';
import { Optimizer, type OptimizerOptions } from '../optim/optimizer.js';
import { measureMatmulFlops, stepFlops } from '../plan/flops.js';
import { reportProgress } from '../progress.js';
import type { AnswerLogps } from '../reference/cache.js';
import { type ExampleTokens, isPair, scoredTokens } from '../tokens/examples.js';
import { meansOf, PairMetrics, type PairSums, pairValues } from './pair-metrics.js';
import { Phases } from './phases.js';
import { letOthersRun } from './yield.js';

/** A pair with what the reference says of it, or an example of SFT. */
export interface TrainingPair {
  readonly tokens: ExampleTokens;
  /** log pi_ref(y | x); null for SFT. */
  readonly reference: AnswerLogps | null;
  /** log pi_ref(y | p (+) x); null where the augmented view is not used. */
  readonly augmentedReference: AnswerLogps | null;
  /** Where the pair comes from, for messages. */
  readonly source: string;
}

export interface PreferenceTrainerOptions extends PreferenceOptions {
  readonly optimizer: OptimizerOptions;
  /** Gradients are scaled down to this global norm. */
  readonly maxGradNorm: number;
  /** Pairs that go through the model at once, on every rank. */
  readonly microbatchPairs: number;
  /** Keep only the input of each block for the backward pass and compute its inside again: less memory, more time. */
  readonly activationCheckpointing: boolean;
}

/** A microbatch whose gradient is queued: what its metrics will be read from. */
interface Microbatch {
  readonly pairs: readonly TrainingPair[];
  readonly output: PreferenceTensors;
  readonly given: PreferenceGiven;
  readonly predictions: Predictions;
}

/** What an evaluation counts of some of its pairs. */
interface GroupMetrics {
  /** Of the names of its metrics. */
  readonly prefix: string;
  readonly has: (pair: TrainingPair) => boolean;
  /** Of a pair's loss in the mean. */
  readonly weight: number;
  readonly sums: PairMetrics;
}

export class PreferenceTrainer {
  readonly optimizer: Optimizer;
  private readonly matmulFlops: number;

  /** @param sharedAugmentation p, in front of every augmented prompt (EncodedDataset.sharedAugmentation) */
  constructor(
    readonly model: CausalLM,
    private readonly sharedAugmentation: Int32Array,
    readonly options: PreferenceTrainerOptions,
  ) {
    this.optimizer = new Optimizer(model.units.flats, options.optimizer);
    this.matmulFlops = measureMatmulFlops(model.computeType);
  }

  /**
   * Trains on a batch: microbatches, accumulation, clipping, update. Several ranks all call it with the whole batch, and
   * share the work.
   *
   * @param signal aborting it ends the step between microbatches; one process only
   * @returns the metrics of the step, before the update; time and memory are this rank's
   * @throws RunError when the loss or the gradient is not finite, the signal's reason when it is aborted; the weights
   *   are then those before the step
   */
  async step(
    pairs: readonly TrainingPair[],
    learningRate: number,
    signal?: AbortSignal,
  ): Promise<Record<string, number>> {
    const startMs = performance.now();
    const { units } = this.model;
    const phases = new Phases();
    const weight = 1 / this.lossTerms(pairs);
    const microbatches: Microbatch[] = [];
    let result: { norm: number; means: Record<string, number> };
    try {
      this.model.zeroGradients();
      const rounds = this.rounds(pairs, this.options.microbatchPairs);
      for (const [index, round] of rounds.entries()) {
        units.reducing = index === rounds.length - 1;
        const own = round[units.communicator.rank]!;
        if (own.length > 0) microbatches.push(this.accumulate(own, weight, phases));
        else this.emptyMicrobatch();
        await letOthersRun(signal);
      }
      result = phases.run('optimizer', () => this.update(learningRate, microbatches, weight));
    } finally {
      for (const microbatch of microbatches) for (const tensor of tensorsOf(microbatch)) tensor.dispose();
    }
    const stepMs = performance.now() - startMs;
    const seconds = stepMs / 1000;
    return {
      ...result.means,
      grad_norm: result.norm,
      learning_rate: learningRate,
      tokens_per_second: this.trainedTokens(pairs) / seconds,
      mfu: this.flops(pairs) / seconds / (this.matmulFlops * units.communicator.worldSize),
      ...phases.metrics(),
      ...(units.communicator.worldSize > 1 && { 'time/waiting_ms': units.waitedMs }),
      'time/step_ms': stepMs,
    };
  }

  /**
   * Loss and metrics of pairs without training on them; the augmented view too where its reference is given. Several
   * ranks all call it with all pairs, and share the work.
   *
   * @param signal aborting it stops between batches; several ranks give one on all of them or on none
   * @param groupOf the group of a pair, which gets metrics of its own as GROUP_METRIC; null: none
   * @throws the signal's reason when it is aborted, or a rank's
   */
  async evaluate(
    pairs: readonly TrainingPair[],
    batchPairs: number,
    signal?: AbortSignal,
    groupOf: (pair: TrainingPair) => string | null = () => null,
  ): Promise<Record<string, number>> {
    const { units } = this.model;
    const metrics = this.groupMetrics(pairs, groupOf);
    const augmented = pairs[0]!.augmentedReference !== null;
    let done = 0;
    for (const round of this.rounds(pairs, batchPairs)) {
      reportProgress({ phase: 'evaluation', done, total: pairs.length, unit: 'pairs' });
      const own = round[units.communicator.rank]!;
      if (own.length > 0) this.evaluateBatch(own, augmented, metrics);
      else for (let pass = 0; pass < (augmented ? 2 : 1); pass++) units.emptyPass(false);
      done += round.flat().length;
      await letOthersRun(signal, units.communicator);
    }
    reportProgress({ phase: 'evaluation', done, total: done, unit: 'pairs' });
    const means: Record<string, number> = {};
    for (const { prefix, sums } of metrics) {
      for (const [name, value] of Object.entries(meansOf(this.share(sums)))) means[prefix + name] = value;
    }
    return means;
  }

  /** Of all pairs, then of every group. */
  private groupMetrics(
    pairs: readonly TrainingPair[],
    groupOf: (pair: TrainingPair) => string | null,
  ): GroupMetrics[] {
    const groups = [...new Set(pairs.map(groupOf))].filter(group => group !== null).sort();
    const metricsOf = (prefix: string, has: (pair: TrainingPair) => boolean): GroupMetrics => ({
      prefix,
      has,
      weight: 1 / this.lossTerms(pairs.filter(has)),
      sums: new PairMetrics(this.options),
    });
    return [
      metricsOf('', () => true),
      ...groups.map(group => metricsOf(`${group}_`, pair => groupOf(pair) === group)),
    ];
  }

  /** Frees the optimizer's state; the model stays. */
  dispose(): void {
    this.optimizer.dispose();
  }

  private evaluateBatch(
    pairs: readonly TrainingPair[],
    augmented: boolean,
    metrics: readonly GroupMetrics[],
  ): void {
    using _scope = new Scope();
    const given = this.given(pairs, augmented);
    const tensors = emptyPreferenceTensors(this.options.method, pairs.length);
    const tokens = pairs.map(pair => pair.tokens);
    const { logps: policy, predictions } = predictExamples(this.model, tokens);
    const output = { ...tensors, policy };
    preferenceLoss(this.options, output, given, 1);
    const values = pairValues(output, given, predictions);
    for (const { has, weight, sums } of metrics) sums.add(values, weight, index => has(pairs[index]!));
  }

  /** Queues one microbatch's gradient; its tensors belong to the caller. */
  private accumulate(pairs: readonly TrainingPair[], weight: number, phases: Phases): Microbatch {
    using scope = new Scope();
    const { model, options } = this;
    const given = isRefined(options.method)
      ? phases.run('augmented', () => this.given(pairs, true))
      : this.given(pairs, false);
    const batch = packExamples(pairs.map(pair => pair.tokens));
    using graph = new Graph(options.activationCheckpointing ? 'checkpointing' : 'recording');
    const hidden = phases.run('forward', () => batchHidden(model, graph, batch));
    const predictions = emptyPredictions(batch);
    const output = phases.run('head', () =>
      preferenceGradient(options, hidden, model.head, batch, given, weight, KEPT_LOGITS_BYTES, predictions),
    );
    phases.run('backward', () => graph.backward());
    const microbatch = { pairs, output, given, predictions };
    for (const tensor of tensorsOf(microbatch)) scope.keep(tensor);
    return microbatch;
  }

  /** Does for the other ranks what `accumulate` does, where there are not enough pairs for this one. */
  private emptyMicrobatch(): void {
    const { units } = this.model;
    if (isRefined(this.options.method)) units.emptyPass(false);
    units.emptyPass(true);
  }

  /** Reads the metrics, clips and updates the weights; `norm` is that before clipping. */
  private update(
    learningRate: number,
    microbatches: readonly Microbatch[],
    weight: number,
  ): { norm: number; means: Record<string, number> } {
    using _scope = new Scope();
    const { units } = this.model;
    units.finishReductions();
    const norm = gradientNorm(units);
    const factor = clipFactor(norm, this.options.maxGradNorm);
    const metrics = new PairMetrics(this.options);
    let failure: string | null = null;
    for (const { pairs, output, given, predictions } of microbatches) {
      const values = pairValues(output, given, predictions);
      const bad = values.losses.findIndex(loss => !Number.isFinite(loss));
      if (bad >= 0) failure ??= `The loss of the pair ${pairs[bad]!.source} is ${values.losses[bad]}.`;
      metrics.add(values, weight);
    }
    const totals = this.share(metrics, failure);
    const value = norm.toFloat32Array()[0]!;
    if (!Number.isFinite(value)) throw new RunError(`The gradient norm is ${value}.`);
    this.optimizer.step(learningRate, factor);
    units.invalidate();
    return { norm: value, means: meansOf(totals) };
  }

  /**
   * The sums of all ranks.
   *
   * @throws RunError with the first rank's `failure`, on all ranks
   */
  private share(metrics: PairMetrics, failure: string | null = null): PairSums[] {
    const reports = this.model.units.communicator.exchange({ total: metrics.total, failure });
    const failed = reports.find(report => report.failure !== null);
    if (failed !== undefined) throw new RunError(failed.failure!);
    return reports.map(({ total }) => total);
  }

  /** Microbatches of every rank. */
  private rounds(pairs: readonly TrainingPair[], mostPairs: number): TrainingPair[][][] {
    const { worldSize } = this.model.units.communicator;
    return balancedRounds(pairs, worldSize, mostPairs, ({ tokens }) => packedTokens(tokens, 'plain'));
  }

  /**
   * The tensors belong to the current scope.
   *
   * @param augmented measure the augmented view too
   * @throws DataError for an example that is not of the kind that the method trains on
   */
  private given(pairs: readonly TrainingPair[], augmented: boolean): PreferenceGiven {
    const sft = this.options.method === 'sft';
    const other = pairs.find(({ tokens }) => isPair(tokens) === sft);
    if (other !== undefined) {
      throw new DataError(`${other.source} is no example of the method ${this.options.method}.`, {
        hint: 'Encode for sft with encodeSequences, for the other methods with encodePairs.',
      });
    }
    const lengths = Int32Array.from(pairs.flatMap(pair => scoredTokens(pair.tokens)));
    const responseTokens = Tensor.from(lengths, [pairs.length, lengths.length / pairs.length]);
    if (sft) {
      return { responseTokens, reference: null, augmentedPolicy: null, augmentedReference: null };
    }
    const tokens = pairs.map(pair => pair.tokens).filter(isPair);
    return {
      responseTokens,
      reference: logpsTensor(pairs.map(pair => pair.reference!)),
      augmentedPolicy: augmented ? pairLogps(this.model, tokens, 'augmented', this.sharedAugmentation) : null,
      augmentedReference: augmented ? logpsTensor(pairs.map(pair => pair.augmentedReference!)) : null,
    };
  }

  /** Tokens that the forward pass with gradient computes; shared ones count once. */
  private trainedTokens(pairs: readonly TrainingPair[]): number {
    return pairs.reduce((sum, { tokens }) => sum + packedTokens(tokens, 'plain'), 0);
  }

  private flops(pairs: readonly TrainingPair[]): number {
    const tokens = pairs.map(pair => pair.tokens);
    return stepFlops(this.model, tokens, this.options.method, this.sharedAugmentation.length);
  }

  /** What the mean loss divides by: examples, or trained tokens (SFT with `sftReduction: token`). */
  private lossTerms(pairs: readonly TrainingPair[]): number {
    const byToken = this.options.method === 'sft' && this.options.sftReduction === 'token';
    return byToken ? pairs.reduce((sum, pair) => sum + scoredTokens(pair.tokens)[0]!, 0) : pairs.length;
  }
}

const logpsTensor = (logps: readonly AnswerLogps[]): Tensor =>
  Tensor.from(
    logps.flatMap(({ chosen, rejected }) => [chosen, rejected]),
    [logps.length, 2],
  );

function tensorsOf({ output, given, predictions: { statistics, logps } }: Microbatch): Tensor[] {
  const tensors = [...Object.values(output), ...Object.values(given), statistics, logps];
  return tensors.filter(tensor => tensor !== null);
}
