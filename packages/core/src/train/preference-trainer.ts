/**
 * One optimizer step, read top to bottom: pack, augmented forward, forward, loss, backward, clip, update.
 *
 * Memory: everything a microbatch makes lives in one scope and is freed at its end; the [tokens x vocabulary] logits
 * of a batch never exist (loss/gradient.ts).
 */
import { Scope, Tensor } from '@sralign/native';
import { Graph } from '../autograd/graph.js';
import { type Answers, type PairTokens, packedTokens, packPairs } from '../batch/pack.js';
import { RunError } from '../errors.js';
import { type PreferenceOutput, preferenceGradient } from '../loss/gradient.js';
import {
  isRefined,
  type PreferenceGiven,
  type PreferenceOptions,
  preferenceLoss,
} from '../loss/preference.js';
import { batchHidden, scorePairs } from '../loss/score.js';
import type { CausalLM } from '../model/causal-lm.js';
import { clipFactor, gradientNorm } from '../optim/clip.js';
import { Optimizer, type OptimizerOptions } from '../optim/optimizer.js';
import type { AnswerLogps } from '../reference/cache.js';
import { measureMatmulFlops, stepFlops } from './flops.js';
import { PairMetrics } from './pair-metrics.js';
import { Phases } from './phases.js';
import { letOthersRun } from './yield.js';

/** A pair with what the reference says of it. */
export interface TrainingPair {
  readonly tokens: PairTokens;
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
  /** Pairs that go through the model at once. */
  readonly microbatchPairs: number;
  /** Keep only the input of each block for the backward pass and compute its inside again: less memory, more time. */
  readonly activationCheckpointing: boolean;
}

export class PreferenceTrainer {
  readonly optimizer: Optimizer;
  private readonly answers: Answers;
  private readonly matmulFlops: number;

  /** @param sharedAugmentation p, in front of every augmented prompt (EncodedDataset.sharedAugmentation) */
  constructor(
    readonly model: CausalLM,
    private readonly sharedAugmentation: Int32Array,
    readonly options: PreferenceTrainerOptions,
  ) {
    this.optimizer = new Optimizer(model.parameters, options.optimizer);
    this.answers = options.method === 'sft' ? 'chosen' : 'both';
    this.matmulFlops = measureMatmulFlops(model.computeType);
  }

  /**
   * Trains on a batch: microbatches, accumulation, clipping, update.
   *
   * @param signal aborting it ends the step between microbatches
   * @returns the metrics of the step, before the update
   * @throws RunError when the loss or the gradient is not finite, the signal's reason when it is aborted; the weights
   *   are then those before the step
   */
  async step(
    pairs: readonly TrainingPair[],
    learningRate: number,
    signal?: AbortSignal,
  ): Promise<Record<string, number>> {
    const startMs = performance.now();
    const phases = new Phases();
    const metrics = new PairMetrics(this.options);
    const weight = 1 / this.lossTerms(pairs);
    this.model.zeroGradients();
    for (let start = 0; start < pairs.length; start += this.options.microbatchPairs) {
      this.accumulate(pairs.slice(start, start + this.options.microbatchPairs), weight, metrics, phases);
      await letOthersRun(signal);
    }
    const norm = phases.run('optimizer', () => this.update(learningRate));
    const stepMs = performance.now() - startMs;
    const seconds = stepMs / 1000;
    return {
      ...metrics.means(),
      grad_norm: norm,
      learning_rate: learningRate,
      tokens_per_second: this.trainedTokens(pairs) / seconds,
      mfu: this.flops(pairs) / seconds / this.matmulFlops,
      ...phases.metrics(),
      'time/step_ms': stepMs,
    };
  }

  /**
   * Loss and metrics of pairs without training on them; the augmented view too where its reference is given.
   *
   * @throws the signal's reason when it is aborted
   */
  async evaluate(
    pairs: readonly TrainingPair[],
    batchPairs: number,
    signal?: AbortSignal,
  ): Promise<Record<string, number>> {
    const metrics = new PairMetrics(this.options);
    const weight = 1 / this.lossTerms(pairs);
    for (let start = 0; start < pairs.length; start += batchPairs) {
      this.evaluateBatch(pairs.slice(start, start + batchPairs), weight, metrics);
      await letOthersRun(signal);
    }
    return metrics.means();
  }

  /** Frees the optimizer's state; the model stays. */
  dispose(): void {
    this.optimizer.dispose();
  }

  private evaluateBatch(pairs: readonly TrainingPair[], weight: number, metrics: PairMetrics): void {
    using _scope = new Scope();
    const tokens = pairs.map(pair => pair.tokens);
    const policy = scorePairs(this.model, tokens, 'plain', this.answers, this.sharedAugmentation);
    const augmented = pairs[0]!.augmentedReference === null ? null : this.augmentedLogps(pairs);
    const given = this.given(pairs, augmented);
    const shape = [pairs.length, this.answers === 'both' ? 2 : 1];
    const { losses, margins, deltas } = preferenceLoss(
      this.options,
      Tensor.from(policy, shape),
      given,
      weight,
    );
    const output = {
      policy,
      losses: losses.toFloat32Array(),
      margins: margins.toFloat32Array(),
      deltas: deltas.toFloat32Array(),
    };
    this.report(pairs, output, given, weight, metrics);
  }

  /** Adds one microbatch's gradient. */
  private accumulate(
    pairs: readonly TrainingPair[],
    weight: number,
    metrics: PairMetrics,
    phases: Phases,
  ): void {
    using _scope = new Scope();
    const { model, options } = this;
    const augmented = isRefined(options.method)
      ? phases.run('augmented', () => this.augmentedLogps(pairs))
      : null;
    const given = this.given(pairs, augmented);
    const batch = packPairs(
      pairs.map(pair => pair.tokens),
      'plain',
      this.answers,
    );
    const graph = new Graph(options.activationCheckpointing ? 'checkpointing' : 'recording');
    const hidden = phases.run('forward', () => batchHidden(model, graph, batch));
    const output = phases.run('head', () =>
      preferenceGradient(options, hidden, model.head, batch, given, weight),
    );
    this.report(pairs, output, given, weight, metrics);
    phases.run('backward', () => graph.backward());
  }

  /** Clips and updates the weights; returns the norm before clipping. */
  private update(learningRate: number): number {
    const norm = gradientNorm(this.model.parameters);
    if (!Number.isFinite(norm)) throw new RunError(`The gradient norm is ${norm}.`);
    this.optimizer.step(learningRate, clipFactor(norm, this.options.maxGradNorm));
    return norm;
  }

  /** Adds the output of pairs to the metrics. */
  private report(
    pairs: readonly TrainingPair[],
    output: PreferenceOutput,
    given: PreferenceGiven,
    weight: number,
    metrics: PairMetrics,
  ): void {
    for (const [i, loss] of output.losses.entries()) {
      if (!Number.isFinite(loss)) throw new RunError(`The loss of the pair ${pairs[i]!.source} is ${loss}.`);
    }
    metrics.add(output, given, weight);
  }

  private given(pairs: readonly TrainingPair[], augmentedPolicy: Float32Array | null): PreferenceGiven {
    const sft = this.options.method === 'sft';
    return {
      responseTokens: Int32Array.from(
        pairs.flatMap(({ tokens: { chosen, rejected } }) =>
          sft ? [chosen.length] : [chosen.length, rejected.length],
        ),
      ),
      reference: sft ? null : logpsArray(pairs.map(pair => pair.reference!)),
      augmentedPolicy,
      augmentedReference:
        augmentedPolicy === null ? null : logpsArray(pairs.map(pair => pair.augmentedReference!)),
    };
  }

  /** log pi(y | p (+) x), without gradient: [B, 2]. */
  private augmentedLogps(pairs: readonly TrainingPair[]): Float32Array {
    const tokens = pairs.map(pair => pair.tokens);
    return scorePairs(this.model, tokens, 'augmented', 'both', this.sharedAugmentation);
  }

  /** Tokens of x, y+ and y- that the forward pass with gradient computes; shared ones count once. */
  private trainedTokens(pairs: readonly TrainingPair[]): number {
    return pairs.reduce((sum, { tokens }) => sum + packedTokens(tokens, 'plain', this.answers), 0);
  }

  private flops(pairs: readonly TrainingPair[]): number {
    const tokens = pairs.map(pair => pair.tokens);
    return stepFlops(this.model, tokens, this.options.method, this.sharedAugmentation.length);
  }

  /** What the mean loss divides by: pairs, or response tokens (SFT with `sftReduction: token`). */
  private lossTerms(pairs: readonly TrainingPair[]): number {
    const byToken = this.options.method === 'sft' && this.options.sftReduction === 'token';
    return byToken ? pairs.reduce((sum, pair) => sum + pair.tokens.chosen.length, 0) : pairs.length;
  }
}

const logpsArray = (logps: readonly AnswerLogps[]): Float32Array =>
  Float32Array.from(logps.flatMap(({ chosen, rejected }) => [chosen, rejected]));
