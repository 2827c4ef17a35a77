/**
 * One optimizer step, read top to bottom: pack, augmented forward, forward, loss, backward, clip, update.
 *
 * Memory: everything a microbatch makes lives in one scope and is freed at its end; the [tokens x vocabulary] logits
 * never exist (loss/logps.ts).
 */
import { Scope, Tensor } from '@sralign/native';
import { Graph } from '../autograd/graph.js';
import { type Answers, type PairTokens, packedTokens, packPairs } from '../batch/pack.js';
import { RunError } from '../errors.js';
import {
  isRefined,
  type PreferenceOptions,
  type PreferenceOutput,
  preferenceLoss,
} from '../loss/preference.js';
import { batchLogps, scorePairs } from '../loss/score.js';
import type { CausalLM } from '../model/causal-lm.js';
import { clipFactor, gradientNorm } from '../optim/clip.js';
import { Optimizer, type OptimizerOptions } from '../optim/optimizer.js';
import type { AnswerLogps } from '../reference/cache.js';
import { forwardFlops, measureMatmulFlops } from './flops.js';
import { PairMetrics } from './pair-metrics.js';
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
    const times = { augmentedMs: 0, forwardMs: 0, backwardMs: 0 };
    const metrics = new PairMetrics(this.options);
    const weight = 1 / this.lossTerms(pairs);
    this.model.zeroGradients();
    for (let start = 0; start < pairs.length; start += this.options.microbatchPairs) {
      this.accumulate(pairs.slice(start, start + this.options.microbatchPairs), weight, metrics, times);
      await letOthersRun(signal);
    }
    const updateMs = performance.now();
    const norm = gradientNorm(this.model.parameters);
    if (!Number.isFinite(norm)) throw new RunError(`The gradient norm is ${norm}.`);
    this.optimizer.step(learningRate, clipFactor(norm, this.options.maxGradNorm));
    const endMs = performance.now();
    const seconds = (endMs - startMs) / 1000;
    return {
      ...metrics.means(),
      grad_norm: norm,
      learning_rate: learningRate,
      tokens_per_second: this.trainedTokens(pairs) / seconds,
      mfu: this.flops(pairs) / seconds / this.matmulFlops,
      'time/augmented_ms': times.augmentedMs,
      'time/forward_ms': times.forwardMs,
      'time/backward_ms': times.backwardMs,
      'time/optimizer_ms': endMs - updateMs,
      'time/step_ms': endMs - startMs,
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
    const logps = scorePairs(this.model, tokens, 'plain', this.answers, this.sharedAugmentation);
    const policy = Tensor.from(logps, [pairs.length, this.answers === 'both' ? 2 : 1]);
    const augmented = pairs[0]!.augmentedReference === null ? null : this.augmentedLogps(pairs);
    this.loss(pairs, policy, augmented, weight, metrics);
  }

  /** Adds one microbatch's gradient. */
  private accumulate(
    pairs: readonly TrainingPair[],
    weight: number,
    metrics: PairMetrics,
    times: { augmentedMs: number; forwardMs: number; backwardMs: number },
  ): void {
    using _scope = new Scope();
    const startMs = performance.now();
    const augmented = isRefined(this.options.method) ? this.augmentedLogps(pairs) : null;
    const forwardMs = performance.now();
    const graph = new Graph(true);
    const batch = packPairs(
      pairs.map(pair => pair.tokens),
      'plain',
      this.answers,
    );
    const logps = batchLogps(this.model, graph, batch);
    const policy = logps.value.reshape([pairs.length, this.answers === 'both' ? 2 : 1]);
    const { dLogps } = this.loss(pairs, policy, augmented, weight, metrics);
    const backwardMs = performance.now();
    logps.contribute('f32', target => target.copyFrom(dLogps.reshape(target.shape)));
    graph.backward();
    times.augmentedMs += forwardMs - startMs;
    times.forwardMs += backwardMs - forwardMs;
    times.backwardMs += performance.now() - backwardMs;
  }

  private loss(
    pairs: readonly TrainingPair[],
    policy: Tensor,
    augmentedPolicy: Tensor | null,
    weight: number,
    metrics: PairMetrics,
  ): PreferenceOutput {
    const sft = this.options.method === 'sft';
    const reference = sft ? null : pairs.map(pair => pair.reference!);
    const augmentedReference = augmentedPolicy === null ? null : pairs.map(pair => pair.augmentedReference!);
    const responseTokens = pairs.flatMap(({ tokens }) =>
      sft ? [tokens.chosen.length] : [tokens.chosen.length, tokens.rejected.length],
    );
    const output = preferenceLoss(
      this.options,
      {
        policy,
        reference: reference && logpsTensor(reference),
        augmentedPolicy,
        augmentedReference: augmentedReference && logpsTensor(augmentedReference),
        responseTokens: Tensor.from(Int32Array.from(responseTokens), policy.shape),
      },
      weight,
    );
    for (const [i, loss] of output.losses.entries()) {
      if (!Number.isFinite(loss)) throw new RunError(`The loss of the pair ${pairs[i]!.source} is ${loss}.`);
    }
    const logps = {
      policy: policy.toFloat32Array(),
      reference,
      augmentedPolicy: augmentedPolicy?.toFloat32Array() ?? null,
      augmentedReference,
    };
    metrics.add(output, logps, weight);
    return output;
  }

  /** log pi(y | p (+) x), without gradient: f32 [B, 2]. */
  private augmentedLogps(pairs: readonly TrainingPair[]): Tensor {
    const tokens = pairs.map(pair => pair.tokens);
    const logps = scorePairs(this.model, tokens, 'augmented', 'both', this.sharedAugmentation);
    return Tensor.from(logps, [pairs.length, 2]);
  }

  /** Tokens of x, y+ and y- that the forward pass with gradient computes; shared ones count once. */
  private trainedTokens(pairs: readonly TrainingPair[]): number {
    return pairs.reduce((sum, { tokens }) => sum + packedTokens(tokens, 'plain', this.answers), 0);
  }

  /** FLOPs of a step: forward and twice that backward, and the augmented forward. */
  private flops(pairs: readonly TrainingPair[]): number {
    const tokens = pairs.map(pair => pair.tokens);
    const plain = 3 * forwardFlops(this.model, tokens, 'plain', this.answers, 0);
    if (!isRefined(this.options.method)) return plain;
    return (
      plain + forwardFlops(this.model, tokens, 'augmented', this.answers, this.sharedAugmentation.length)
    );
  }

  /** What the mean loss divides by: pairs, or response tokens (SFT with `sftReduction: token`). */
  private lossTerms(pairs: readonly TrainingPair[]): number {
    const byToken = this.options.method === 'sft' && this.options.sftReduction === 'token';
    return byToken ? pairs.reduce((sum, pair) => sum + pair.tokens.chosen.length, 0) : pairs.length;
  }
}

const logpsTensor = (logps: readonly AnswerLogps[]): Tensor =>
  Tensor.from(Float32Array.from(logps.flatMap(({ chosen, rejected }) => [chosen, rejected])), [
    logps.length,
    2,
  ]);
