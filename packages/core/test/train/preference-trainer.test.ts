import { currentDevice, memory, resetPeakMemory } from '@sralign/native';
import { afterEach, describe, expect, it } from 'vitest';
import type { Method } from '../../src/config/method.js';
import { RunError } from '../../src/errors.js';
import { scorePairs } from '../../src/loss/score.js';
import type { CausalLM } from '../../src/model/causal-lm.js';
import { createModel } from '../../src/model/load.js';
import { sequenceLogits } from '../../src/model/logits.js';
import { randomValues } from '../../src/model/parameters.js';
import { storedTensors } from '../../src/model/save.js';
import { parseModelSpec } from '../../src/model/spec.js';
import type { PairTokens } from '../../src/tokens/examples.js';
import {
  PreferenceTrainer,
  type PreferenceTrainerOptions,
  type TrainingPair,
} from '../../src/train/preference-trainer.js';
import { examplesOf, fixedPairs, tinyConfigs, tinyModel } from '../support.js';

const augmentation = Int32Array.of(90, 91, 92);
const disposables: { dispose(): void }[] = [];
afterEach(() => {
  for (const item of disposables.splice(0)) item.dispose();
});

const defaults: PreferenceTrainerOptions = {
  method: 'sr-dpo',
  beta: 0.1,
  lambda: 0.3,
  labelSmoothing: 0,
  logpReduction: 'sum',
  sftReduction: 'example',
  optimizer: { name: 'rmsprop', alpha: 0.99, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
  maxGradNorm: 1,
  microbatchPairs: 100,
  activationCheckpointing: false,
};

async function setup(
  options: Partial<PreferenceTrainerOptions> = {},
  shared = augmentation,
): Promise<{ model: CausalLM; trainer: PreferenceTrainer }> {
  const model = await tinyModel('gpt_neox parallel');
  const trainer = new PreferenceTrainer(model, shared, { ...defaults, ...options });
  disposables.push(model, trainer);
  return { model, trainer };
}

type ReferencedPair = TrainingPair & { readonly tokens: PairTokens };

function withReference(
  model: CausalLM,
  pairs: readonly PairTokens[],
  shared = augmentation,
): ReferencedPair[] {
  const plain = scorePairs(model, pairs, 'plain', shared);
  const augmented = scorePairs(model, pairs, 'augmented', shared);
  return pairs.map((tokens, i) => ({
    tokens,
    reference: { chosen: plain[2 * i]!, rejected: plain[2 * i + 1]! },
    augmentedReference: { chosen: augmented[2 * i]!, rejected: augmented[2 * i + 1]! },
    source: `pairs.jsonl:${i + 1}`,
  }));
}

/** What a method trains on of them. */
function forMethod(method: Method, pairs: readonly ReferencedPair[]): TrainingPair[] {
  if (method !== 'sft') return [...pairs];
  const examples = examplesOf(
    method,
    pairs.map(({ tokens }) => tokens),
  );
  return pairs.map((pair, i) => ({
    ...pair,
    tokens: examples[i]!,
    reference: null,
    augmentedReference: null,
  }));
}

const weights = (model: CausalLM): Buffer =>
  Buffer.concat([...storedTensors(model)].map(tensor => tensor.bytes()));

describe('the identities of the method', () => {
  it.each([
    ['dpo', Math.log(2)],
    ['sr-dpo', Math.log(2)],
    ['ipo', 1 / (4 * 0.1 ** 2)],
    ['sr-ipo', 1 / (4 * 0.1 ** 2)],
  ] as const)('%s: policy = reference gives margin 0, refinement 0 and loss %d', async (method, loss) => {
    const { model, trainer } = await setup({ method });
    const metrics = await trainer.step(withReference(model, fixedPairs(5)), 0);
    expect(metrics.loss).toBeCloseTo(loss, 5);
    expect(metrics.margin).toBe(0);
    expect(metrics['rewards/accuracies']).toBe(0);
    if (method.startsWith('sr')) expect(metrics['sr/delta']).toBe(0);
  });

  it.each(['dpo', 'ipo'] as const)('lambda = 0 gives %s bit for bit', async method => {
    const plain = await setup({ method });
    const refined = await setup({ method: `sr-${method}` as Method, lambda: 0 });
    const pairs = withReference(plain.model, fixedPairs(5));
    for (let step = 0; step < 3; step++) {
      await plain.trainer.step(pairs, 1e-2);
      await refined.trainer.step(pairs, 1e-2);
    }
    expect(weights(refined.model).equals(weights(plain.model))).toBe(true);
  });

  it('an empty p makes the refinement beta times the margin', async () => {
    const empty = new Int32Array(0);
    const { model, trainer } = await setup({}, empty);
    const pairs = withReference(model, fixedPairs(5), empty);
    await trainer.step(pairs, 1e-2);
    const metrics = await trainer.step(pairs, 1e-2);
    expect(Math.abs(metrics.margin!)).toBeGreaterThan(0.01);
    expect(metrics['sr/delta']).toBeCloseTo(0.1 * metrics.margin!, 5);
    expect(metrics['sr/augmented_margin']).toBeCloseTo(metrics.margin!, 4);
  });

  it('no gradient flows through the refinement: the gradient is that of a constant shift', async () => {
    // Sr-IPO's gradient is 2 (m - lambda D - 1/(2 beta)) dm: its direction is IPO's whatever D is.
    const refined = await setup({ method: 'sr-ipo', lambda: 1, maxGradNorm: 1e9 });
    const plain = await setup({ method: 'ipo', maxGradNorm: 1e9 });
    const [pair] = withReference(refined.model, fixedPairs(1));
    const moved = {
      ...pair!,
      augmentedReference: {
        chosen: pair!.augmentedReference!.chosen - 20,
        rejected: pair!.augmentedReference!.rejected,
      },
    };
    const a = await refined.trainer.step([moved], 0);
    const b = await plain.trainer.step([pair!], 0);
    // D = beta * 20 = 2 and m = 0: (0 - 2 - 5) / (0 - 5).
    expect(a.grad_norm! / b.grad_norm!).toBeCloseTo(7 / 5, 4);
  });
});

describe('training', () => {
  it.each(['sft', 'dpo', 'ipo', 'sr-dpo', 'sr-ipo'] as const)('%s learns its pairs', async method => {
    const { model, trainer } = await setup({ method, maxGradNorm: 10 });
    const pairs = forMethod(method, withReference(model, fixedPairs(6)));
    const first = await trainer.step(pairs, 3e-3);
    let last = first;
    for (let step = 0; step < 15; step++) last = await trainer.step(pairs, 3e-3);
    expect(last.loss!).toBeLessThan(0.8 * first.loss!);
    if (method !== 'sft') expect(last['rewards/accuracies']).toBe(1);
  });

  it('accumulating microbatches gives the gradient of the whole batch', async () => {
    for (const method of ['sr-dpo', 'sft'] as const) {
      const whole = await setup({ method, sftReduction: 'token' });
      const split = await setup({ method, sftReduction: 'token', microbatchPairs: 2 });
      const pairs = forMethod(method, withReference(whole.model, fixedPairs(5)));
      const a = await whole.trainer.step(pairs, 1e-3);
      const b = await split.trainer.step(pairs, 1e-3);
      expect(b.loss).toBeCloseTo(a.loss!, 5);
      expect(b.grad_norm! / a.grad_norm!).toBeCloseTo(1, 5);
    }
  });

  it('repeats bit for bit', async () => {
    const [a, b] = [await setup(), await setup()];
    const pairs = withReference(a.model, fixedPairs(8));
    for (let step = 0; step < 3; step++) {
      await a.trainer.step(pairs, 1e-2);
      await b.trainer.step(pairs, 1e-2);
    }
    expect(weights(a.model).equals(weights(b.model))).toBe(true);
  });

  it('gives the same weights bit for bit with activation checkpointing', async () => {
    const kept = await setup();
    const checkpointed = await setup({ activationCheckpointing: true });
    const pairs = withReference(kept.model, fixedPairs(8));
    for (let step = 0; step < 3; step++) {
      await kept.trainer.step(pairs, 1e-2);
      await checkpointed.trainer.step(pairs, 1e-2);
    }
    expect(weights(checkpointed.model).equals(weights(kept.model))).toBe(true);
  });

  it('holds no more native memory after many steps than after 2', async () => {
    const steps = currentDevice() === 'cpu' ? 200 : 20;
    const { model, trainer } = await setup();
    const pairs = withReference(model, fixedPairs(40));
    for (let step = 0; step < 2; step++) await trainer.step(pairs.slice(step, step + 4), 1e-3);
    const before = memory();
    for (let step = 2; step < steps; step++)
      await trainer.step(pairs.slice(step % 36, (step % 36) + 4), 1e-3);
    expect(memory().liveBytes).toBe(before.liveBytes);
    expect(memory().liveTensors).toBe(before.liveTensors);
  });

  // For other devices native/test/logprob.test.ts says the same of the operation alone.
  it.skipIf(currentDevice() !== 'cpu')('never holds [tokens x vocabulary]', async () => {
    const vocabulary = 131_072;
    const config = { ...tinyConfigs['gpt_neox parallel'], vocab_size: vocabulary };
    const spec = parseModelSpec(config, 'config.json');
    const model = await createModel(spec, randomValues(0.02, 1), 'f32');
    const trainer = new PreferenceTrainer(model, augmentation, defaults);
    disposables.push(model, trainer);
    const pairs = withReference(model, fixedPairs(80, vocabulary));
    resetPeakMemory();
    await trainer.step(pairs, 1e-3);
    const rows = pairs.reduce(
      (sum, { tokens }) => sum + tokens.chosen.length + tokens.rejected.length - 1,
      0,
    );
    const logitsBytes = rows * vocabulary * 4;
    expect(logitsBytes).toBeGreaterThan(300e6);
    expect(memory().largestAllocationBytes).toBeLessThan(logitsBytes / 2);
  });

  it('stops at a loss that is not a number and names the pair; the weights stay', async () => {
    const { model, trainer } = await setup();
    const pairs = withReference(model, fixedPairs(3));
    const bad = { ...pairs[1]!, reference: { chosen: Number.NaN, rejected: 0 } };
    const before = weights(model);
    const step = trainer.step([pairs[0]!, bad, pairs[2]!], 1e-3);
    await expect(step).rejects.toThrow(RunError);
    await expect(step).rejects.toThrow(/pairs\.jsonl:2 is NaN/);
    expect(weights(model).equals(before)).toBe(true);
    expect((await trainer.step(pairs, 1e-3)).loss).toBeCloseTo(Math.log(2), 5);
  });
});

describe('what the model predicts', () => {
  /** The definitions, from the whole logits in double. */
  function expected(model: CausalLM, pairs: readonly ReferencedPair[]): Record<string, number> {
    const sums = { entropy: 0, correct: 0, chosen: 0, rejected: 0 };
    const tokens = { chosen: 0, rejected: 0 };
    const vocabulary = model.spec.vocabularySize;
    for (const { tokens: pair } of pairs) {
      for (const side of ['chosen', 'rejected'] as const) {
        const logits = sequenceLogits(model, [...pair.prompt, ...pair[side]]);
        for (const [i, label] of pair[side].entries()) {
          const start = (pair.prompt.length + i - 1) * vocabulary;
          const row = Float64Array.from(logits.subarray(start, start + vocabulary));
          const total = row.reduce((sum, logit) => sum + Math.exp(logit), 0);
          sums.entropy -= row.reduce((sum, logit) => {
            const probability = Math.exp(logit) / total;
            return sum + probability * Math.log(probability);
          }, 0);
          sums[side] += row.reduce((sum, logit) => sum + logit, 0) / vocabulary;
          tokens[side]++;
          if (side === 'chosen' && row[label] === Math.max(...row)) sums.correct++;
        }
      }
    }
    return {
      entropy: sums.entropy / (tokens.chosen + tokens.rejected),
      mean_token_accuracy: sums.correct / tokens.chosen,
      'logits/chosen': sums.chosen / tokens.chosen,
      'logits/rejected': sums.rejected / tokens.rejected,
    };
  }

  it('is measured over the tokens of the completions, in training and evaluation alike', async () => {
    const { model, trainer } = await setup({ method: 'dpo', microbatchPairs: 2, maxGradNorm: 10 });
    const pairs = withReference(model, fixedPairs(5));
    for (let step = 0; step < 15; step++) await trainer.step(pairs, 1e-2);
    const means = expected(model, pairs);
    const evaluated = await trainer.evaluate(pairs, 3);
    const trained = await trainer.step(pairs, 0);
    expect(means.mean_token_accuracy).toBeGreaterThan(0);
    for (const [name, value] of Object.entries(means)) {
      expect(evaluated[name], name).toBeCloseTo(value, 4);
      expect(trained[name], name).toBeCloseTo(value, 4);
    }
  });

  it('is measured of the chosen completions alone by sft', async () => {
    const { model, trainer } = await setup({ method: 'sft' });
    const pairs = withReference(model, fixedPairs(5));
    const metrics = await trainer.step(forMethod('sft', pairs), 0);
    const { mean_token_accuracy, 'logits/chosen': logits } = expected(model, pairs);
    expect(metrics.mean_token_accuracy).toBeCloseTo(mean_token_accuracy!, 6);
    expect(metrics['logits/chosen']).toBeCloseTo(logits!, 4);
    expect(metrics).not.toHaveProperty('logits/rejected');
  });
});
