import { memory, resetPeakMemory, Scope } from '@sralign/native';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { predictExamples, scorePairs } from '../../src/loss/score.js';
import type { CausalLM } from '../../src/model/causal-lm.js';
import { type PairTokens, promptAndAnswer } from '../../src/tokens/examples.js';
import { fixedPairs, pairArbitrary, tinyConfigs, tinyModel } from '../support.js';

const augmentation = Int32Array.of(90, 91, 92, 93, 94);

/** Every answer alone: one sequence, no sharing, p repeated in front of each. */
function oneAtATime(model: CausalLM, pairs: readonly PairTokens[], augmented: boolean): number[] {
  const prefix = augmented ? [...augmentation] : [];
  return pairs.flatMap(pair =>
    [pair.chosen, pair.rejected].map(answer => {
      const prompt = Int32Array.from([...prefix, ...pair.prompt]);
      using _scope = new Scope();
      return predictExamples(model, [promptAndAnswer(prompt, answer)]).logps.toFloat32Array()[0]!;
    }),
  );
}

describe.each(Object.keys(tinyConfigs))('%s', name => {
  it('packed with shared prefixes equals one sequence at a time, for ragged batches', async () => {
    const model = await tinyModel(name);
    fc.assert(
      fc.property(
        fc.array(pairArbitrary(), { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        (pairs, augmented) => {
          const packed = scorePairs(model, pairs, augmented ? 'augmented' : 'plain', augmentation);
          for (const [i, expected] of oneAtATime(model, pairs, augmented).entries()) {
            expect(Math.abs(packed[i]! - expected)).toBeLessThan(1e-4 + 1e-5 * Math.abs(expected));
          }
        },
      ),
      { numRuns: 25 },
    );
    model.dispose();
  });

  it('bf16 stays near f32', async () => {
    const f32 = await tinyModel(name);
    const bf16 = await tinyModel(name, 'bf16');
    const pairs = fixedPairs(6);
    const expected = scorePairs(f32, pairs, 'plain', augmentation);
    const got = scorePairs(bf16, pairs, 'plain', augmentation);
    for (const [i, value] of expected.entries()) {
      expect(Math.abs(got[i]! - value)).toBeLessThan(0.2 + 0.02 * Math.abs(value));
      expect(got[i]).not.toBe(value);
    }
    f32.dispose();
    bf16.dispose();
  });
});

it('a forward pass without gradient keeps the memory of about one block', async () => {
  const model = await tinyModel('llama grouped');
  const pairs = fixedPairs(64);
  const before = memory().liveBytes;
  resetPeakMemory();
  scorePairs(model, pairs, 'plain', augmentation);
  const tokens = pairs.reduce(
    (sum, pair) => sum + pair.prompt.length + pair.chosen.length + pair.rejected.length,
    0,
  );
  // One block holds its input, normalised input, qkv, attention, branches and gate|up: under 20 hidden widths.
  expect(memory().peakBytes - before).toBeLessThan(20 * tokens * 24 * 4);
  expect(memory().liveBytes).toBe(before);
  model.dispose();
});
