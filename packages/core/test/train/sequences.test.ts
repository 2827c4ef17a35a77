/** The supervised loss of masked sequences beside PyTorch in float64 (fixtures/sequences/peer.json says how). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../../src/model/load.js';
import { PreferenceTrainer, type TrainingPair } from '../../src/train/preference-trainer.js';
import { fixedPairs, referenceCases } from '../support.js';

interface Loss {
  readonly loss: number;
  readonly gradNorm: number;
}
interface Case extends Record<'example' | 'token', Loss> {
  readonly model: string;
  readonly sequences: readonly { tokens: number[]; trained: number[] }[];
  readonly logps: readonly number[];
}

const { cases } = JSON.parse(
  readFileSync(new URL('../fixtures/sequences/peer.json', import.meta.url), 'utf8'),
) as { cases: Case[] };

async function trainerOf(model: string, sftReduction: 'example' | 'token', microbatchPairs: number) {
  const loaded = await loadModel(join(referenceCases, model, 'model'), { dtype: 'f32' });
  return new PreferenceTrainer(loaded, new Int32Array(), {
    method: 'sft',
    ...{ beta: 0.1, lambda: 0, labelSmoothing: 0, logpReduction: 'sum', sftReduction },
    optimizer: { name: 'adamw', alpha: 0.99, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
    maxGradNorm: 1e9,
    microbatchPairs,
    activationCheckpointing: false,
  });
}

const examplesOf = ({ sequences }: Case): TrainingPair[] =>
  sequences.map(({ tokens, trained }, i) => ({
    tokens: { tokens: Int32Array.from(tokens), trained: Uint8Array.from(trained) },
    reference: null,
    augmentedReference: null,
    source: `${i}`,
  }));

describe.each(cases)('$model', testCase => {
  it.each([
    ['example', 4],
    ['example', 1],
    ['token', 4],
    ['token', 3],
  ] as const)('has the loss and gradient by %s, %d sequences at a time', async (reduction, microbatch) => {
    const trainer = await trainerOf(testCase.model, reduction, microbatch);
    const examples = examplesOf(testCase);
    const { loss, gradNorm } = testCase[reduction];
    const evaluated = await trainer.evaluate(examples, microbatch);
    const trained = await trainer.step(examples, 0);
    expect(Math.abs(evaluated.loss! / loss - 1)).toBeLessThan(1e-5);
    expect(Math.abs(trained.loss! / loss - 1)).toBeLessThan(1e-5);
    expect(Math.abs(trained.grad_norm! / gradNorm - 1)).toBeLessThan(1e-4);
    const mean = testCase.logps.reduce((sum, logp) => sum + logp, 0) / testCase.logps.length;
    expect(Math.abs(trained['logps/chosen']! / mean - 1)).toBeLessThan(1e-5);
    trainer.model.dispose();
    trainer.dispose();
  });
});

it('is not the loss of another kind of example', async () => {
  const trainer = await trainerOf(cases[0]!.model, 'example', 4);
  const [pair] = fixedPairs(1, 50).map(tokens => ({ ...examplesOf(cases[0]!)[0]!, tokens }));
  await expect(trainer.step([pair!], 0)).rejects.toThrow('0 is no example of the method sft.');
  trainer.model.dispose();
  trainer.dispose();
});
