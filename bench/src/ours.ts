/** Our side of the step benchmark: a model with random weights, and one trainer per kind of step. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type CausalLM,
  loadModel,
  type Method,
  type PairTokens,
  PreferenceTrainer,
  promptAndAnswer,
  type ShardingOptions,
  scorePairs,
  stepFlops,
  type TrainingPair,
} from '@sralign/core';

/** `dpo-online` computes the reference log-probs again in every step, as trainers without a cache do. */
export const OUR_STEPS = ['sft', 'dpo', 'dpo-online', 'sr-dpo'] as const;
export type OurStep = (typeof OUR_STEPS)[number];

export async function randomModel(
  config: object,
  dtype: 'f32' | 'bf16',
  sharding?: ShardingOptions,
): Promise<CausalLM> {
  const folder = await mkdtemp(join(tmpdir(), 'sralign-bench-'));
  try {
    await writeFile(join(folder, 'config.json'), JSON.stringify(config));
    return await loadModel(folder, { dtype, randomSeed: 1, ...(sharding && { sharding }) });
  } finally {
    await rm(folder, { recursive: true });
  }
}

export class Ours {
  private readonly trainers = new Map<Method, PreferenceTrainer>();
  private readonly pairs: readonly TrainingPair[];
  /** The chosen answers alone. */
  private readonly sequences: readonly TrainingPair[];

  constructor(
    private readonly model: CausalLM,
    private readonly tokens: readonly PairTokens[],
    private readonly augmentation: Int32Array,
    private readonly memory: { readonly microbatchPairs: number; readonly activationCheckpointing: boolean },
  ) {
    const [plain, augmented] = [this.logps('plain'), this.logps('augmented')];
    this.pairs = tokens.map((pair, i) => ({
      tokens: pair,
      reference: { chosen: plain[2 * i]!, rejected: plain[2 * i + 1]! },
      augmentedReference: { chosen: augmented[2 * i]!, rejected: augmented[2 * i + 1]! },
      source: `pair ${i}`,
    }));
    this.sequences = this.pairs.map((pair, i) => ({
      ...pair,
      tokens: promptAndAnswer(tokens[i]!.prompt, tokens[i]!.chosen),
    }));
  }

  /** Forward, loss, backward, clip, RMSprop: the trainer's metrics of the step. */
  step(kind: OurStep): Promise<Record<string, number>> {
    // The model itself stands for the reference: the cost is the same.
    if (kind === 'dpo-online') this.logps('plain');
    return this.trainer(methodOf(kind)).step(kind === 'sft' ? this.sequences : this.pairs, 5e-7);
  }

  /** FLOPs of the linear layers in a step. */
  flops(kind: OurStep): number {
    const flops = stepFlops(
      this.model,
      kind === 'sft' ? this.sequences.map(({ tokens }) => tokens) : this.tokens,
      methodOf(kind),
      this.augmentation.length,
    );
    return kind === 'dpo-online' ? (flops * 4) / 3 : flops;
  }

  private logps(view: 'plain' | 'augmented'): Float32Array {
    return scorePairs(this.model, this.tokens, view, this.augmentation);
  }

  private trainer(method: Method): PreferenceTrainer {
    const made = this.trainers.get(method);
    if (made !== undefined) return made;
    const trainer = new PreferenceTrainer(this.model, this.augmentation, {
      method,
      beta: 0.1,
      lambda: 0.3,
      labelSmoothing: 0,
      logpReduction: 'sum',
      sftReduction: 'example',
      optimizer: { name: 'rmsprop', alpha: 0.99, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
      maxGradNorm: 10,
      ...this.memory,
    });
    this.trainers.set(method, trainer);
    return trainer;
  }
}

const methodOf = (kind: OurStep): Method => (kind === 'dpo-online' ? 'dpo' : kind);
