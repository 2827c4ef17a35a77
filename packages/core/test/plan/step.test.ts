import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packExamples, packPairs, type View } from '../../src/batch/pack.js';
import type { Method } from '../../src/config/method.js';
import { isRefined } from '../../src/config/method.js';
import { parseModelSpec } from '../../src/model/spec.js';
import { stepFlops } from '../../src/plan/flops.js';
import { lengthsOf, meanShape, packedShape } from '../../src/plan/lengths.js';
import type { MemoryOptions } from '../../src/plan/memory.js';
import { type Ceilings, planStep, type StepPlan } from '../../src/plan/step.js';
import { examplesOf, fixedPairs, pairArbitrary, tinyConfigs, tinyModel } from '../support.js';
import { augmentation } from './measured.js';

describe('packedShape', () => {
  it('counts what packPairs packs, and what its tokens see', () => {
    fc.assert(
      fc.property(
        fc.array(pairArbitrary(), { minLength: 1, maxLength: 5 }),
        fc.constantFrom<View>('plain', 'augmented'),
        fc.constantFrom(0, 1, 3, 7),
        fc.constantFrom(0, 4),
        (pairs, view, window, sharedTokens) => {
          const packed = packPairs(pairs, view, new Int32Array(sharedTokens));
          const shape = packedShape(pairs.map(lengthsOf), view, sharedTokens, window);
          expect(shape.tokens).toBe(packed.tokens.length);
          expect(shape.segments).toBe(packed.segments.length / 3);
          expect(shape.rowsOfExamples.reduce((a, b) => a + b, 0)).toBe(packed.rows.length);
          expect(shape.targets).toBe(packed.labels.length);
          // A token at position i sees i + 1 tokens: its chain is not broken.
          const seen = packed.positions.reduce(
            (sum, position) => sum + (window === 0 ? position + 1 : Math.min(window, position + 1)),
            0,
          );
          expect(shape.attendedTokens).toBe(seen);
        },
      ),
    );
  });

  it('counts what sequences of SFT pack', () => {
    fc.assert(
      fc.property(
        fc.array(pairArbitrary(), { minLength: 1, maxLength: 5 }),
        fc.constantFrom(0, 1, 3, 7),
        (pairs, window) => {
          const examples = examplesOf('sft', pairs);
          const packed = packExamples(examples);
          const shape = packedShape(examples.map(lengthsOf), 'plain', 0, window);
          expect(shape.tokens).toBe(packed.tokens.length);
          expect(shape.segments).toBe(packed.segments.length / 3);
          expect(shape.rowsOfExamples.reduce((a, b) => a + b, 0)).toBe(packed.rows.length);
          expect(shape.targets).toBe(packed.labels.length);
          const seen = packed.positions.reduce(
            (sum, position) => sum + (window === 0 ? position + 1 : Math.min(window, position + 1)),
            0,
          );
          expect(shape.attendedTokens).toBe(seen);
        },
      ),
    );
  });

  it('of a mean batch of all pairs is that of all pairs', () => {
    const pairs = fixedPairs(7).map(lengthsOf);
    const whole = packedShape(pairs, 'augmented', 5, 0);
    const mean = meanShape(pairs, 7, 'augmented', 5, 0);
    expect(mean.tokens).toBeCloseTo(whole.tokens);
    expect(mean.attendedTokens).toBeCloseTo(whole.attendedTokens);
    // p is there once, however few the pairs.
    expect(meanShape(pairs, 3.5, 'augmented', 5, 0).tokens).toBeCloseTo((whole.tokens - 5) / 2 + 5);
  });
});

const spec = parseModelSpec(tinyConfigs['llama grouped'], 'config.json');
const pairs = fixedPairs(6);

function plan(
  method: Method,
  change: Partial<MemoryOptions> = {},
  ceilings: Partial<Ceilings> = {},
): StepPlan {
  const lengths = examplesOf(method, pairs).map(lengthsOf);
  const options: MemoryOptions = {
    dtype: 'f32',
    optimizer: 'rmsprop',
    sharding: 'full',
    worldSize: 1,
    activationCheckpointing: false,
    microbatches: 1,
    plain: packedShape(lengths, 'plain', 0, 0),
    augmented: isRefined(method) ? packedShape(lengths, 'augmented', augmentation.length, 0) : null,
    evaluation: null,
    device: 'cpu',
    threads: 1,
    nativeBf16: true,
    ...change,
  };
  return planStep(spec, options, {
    flopsPerSecond: 1e9,
    efficiency: 0.5,
    memoryBytesPerSecond: 1e9,
    linkBytesPerSecond: null,
    ...ceilings,
  });
}

describe('planStep', () => {
  it.each(['sft', 'dpo', 'sr-dpo'] as const)(
    'counts the linear layers of %s as the trainer does',
    async method => {
      const model = await tinyModel('llama grouped');
      try {
        const expected = stepFlops(model, examplesOf(method, pairs), method, augmentation.length);
        expect(plan(method).linearFlops).toBeCloseTo(expected);
      } finally {
        model.dispose();
      }
    },
  );

  it('adds the blocks once more for checkpointing', () => {
    const [plain, again] = [plan('dpo'), plan('dpo', { activationCheckpointing: true })];
    expect(again.attentionFlops / plain.attentionFlops).toBeCloseTo(4.5 / 3.5);
    expect(again.linearFlops).toBeGreaterThan(plain.linearFlops);
    expect(again.linearFlops).toBeLessThan((plain.linearFlops * 4) / 3);
  });

  it('takes compute from ceiling and share, and adds the parts up', () => {
    const step = plan('dpo', { worldSize: 4 }, { linkBytesPerSecond: 1e6 });
    expect(step.computeSeconds).toBeCloseTo((step.linearFlops + step.attentionFlops) / 0.5e9);
    expect(step.stepSeconds).toBeCloseTo(step.computeSeconds + step.exposedSeconds + step.optimizerSeconds);
  });

  it('hides communication behind computation, but for the ends of a pass', () => {
    const shared = { worldSize: 4 };
    const fastLink = plan('dpo', shared, { linkBytesPerSecond: 1e9, flopsPerSecond: 1e3 });
    expect(fastLink.exposedSeconds).toBeGreaterThan(0);
    expect(fastLink.exposedSeconds).toBeLessThan(0.5 * fastLink.communicationSeconds);
    const fastProducts = plan('dpo', shared, { linkBytesPerSecond: 1e3, flopsPerSecond: 1e15 });
    expect(fastProducts.exposedSeconds / fastProducts.communicationSeconds).toBeCloseTo(1);
    expect(plan('dpo', shared).communicationSeconds).toBe(0);
  });

  it('gathers in every pass where parameters are sharded, and sums once a step', () => {
    const [one, two] = [1, 2].map(microbatches => plan('dpo', { worldSize: 2, microbatches }).communication);
    expect(two!.allGatherBytes).toBe(2 * one!.allGatherBytes);
    expect(two!.reduceScatterBytes).toBe(one!.reduceScatterBytes);
  });
});
