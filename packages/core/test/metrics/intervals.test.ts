import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { accuracyIntervals, bootstrapMean, wilson } from '../../src/metrics/intervals.js';

const trials = fc
  .integer({ min: 1, max: 500 })
  .chain(n => fc.tuple(fc.integer({ min: 0, max: n }), fc.constant(n)));
const levels = fc.double({ min: 0.5, max: 0.999, noNaN: true });

describe('wilson', () => {
  // 81 of 263, 15 of 148, 0 of 20 and 1 of 29: table I of R. G. Newcombe, Statistics in Medicine 17 (1998), method 3.
  it.each([
    [8, 10, 0.4902, 0.9433],
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ])('gives the published interval of %d of %d', (successes, n, low, high) => {
    const interval = wilson(successes, n, 0.95);
    expect(interval.low).toBeCloseTo(low, 4);
    expect(interval.high).toBeCloseTo(high, 4);
  });

  // At all of n successes the lower end is n / (n + z^2).
  it.each([
    [0.9, 1.6448536269514722],
    [0.95, 1.959963984540054],
    [0.99, 2.5758293035489004],
    [0.999, 3.2905267314918945],
  ])('takes the normal quantile of level %d', (level, z) => {
    expect(wilson(7, 7, level).low).toBeCloseTo(7 / (7 + z ** 2), 13);
  });

  it('holds the share, within [0, 1]', () => {
    fc.assert(
      fc.property(trials, levels, ([successes, n], level) => {
        const { low, high } = wilson(successes, n, level);
        expect(low).toBeGreaterThanOrEqual(0);
        expect(high).toBeLessThanOrEqual(1);
        expect(low).toBeLessThanOrEqual(successes / n);
        expect(high).toBeGreaterThanOrEqual(successes / n);
      }),
    );
  });

  it('says of failures the contrary of what it says of successes', () => {
    fc.assert(
      fc.property(trials, levels, ([successes, n], level) => {
        const { low, high } = wilson(successes, n, level);
        const failures = wilson(n - successes, n, level);
        expect(failures.low).toBeCloseTo(1 - high, 12);
        expect(failures.high).toBeCloseTo(1 - low, 12);
      }),
    );
  });

  it('narrows with more trials and widens with the level', () => {
    fc.assert(
      fc.property(trials, levels, ([successes, n], level) => {
        const width = ({ low, high }: { low: number; high: number }): number => high - low;
        expect(width(wilson(4 * successes, 4 * n, level))).toBeLessThan(width(wilson(successes, n, level)));
        expect(width(wilson(successes, n, 0.9995))).toBeGreaterThan(width(wilson(successes, n, level)));
      }),
    );
  });

  it('refuses what is no share', () => {
    for (const [successes, n, level] of [
      [1, 0, 0.95],
      [3, 2, 0.95],
      [-1, 2, 0.95],
      [Number.NaN, 2, 0.95],
      [1, 2.5, 0.95],
      [1, 2, 1],
      [1, 2, 0],
    ] as const) {
      expect(() => wilson(successes, n, level)).toThrow(RangeError);
    }
  });
});

describe('bootstrapMean', () => {
  const values = fc.array(fc.double({ min: -1e3, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 20 });
  const few = { resamples: 50 };

  it('gives the same for the same seed, and another for another', () => {
    const sample = [1, 2, 4, 8, 16];
    expect(bootstrapMean(sample, 3)).toEqual(bootstrapMean(sample, 3));
    expect(bootstrapMean(sample, 3, few)).not.toEqual(bootstrapMean(sample, 4, few));
  });

  it('comes near to what all resamples give', () => {
    // Of 5 values all 5^5 resamples can be counted.
    const sample = [1, 2, 4, 8, 16];
    const means = Array.from({ length: 5 ** 5 }, (_, index) => {
      let sum = 0;
      for (let draw = 0; draw < 5; draw++) sum += sample[Math.floor(index / 5 ** draw) % 5]!;
      return sum / 5;
    }).sort((a, b) => a - b);
    const { low, high } = bootstrapMean(sample, 1, { resamples: 100_000, level: 0.8 });
    expect(Math.abs(low - means[Math.floor(0.1 * means.length)]!)).toBeLessThanOrEqual(0.2);
    expect(Math.abs(high - means[Math.floor(0.9 * means.length)]!)).toBeLessThanOrEqual(0.2);
  });

  it('comes near to the normal interval of many values', () => {
    const n = 400;
    const sample = Array.from({ length: n }, (_, i) => (i % 2 === 0 ? 1 : 3));
    const { low, high } = bootstrapMean(sample, 7);
    const half = 1.96 / Math.sqrt(n);
    expect(Math.abs(low - (2 - half))).toBeLessThan(0.012);
    expect(Math.abs(high - (2 + half))).toBeLessThan(0.012);
  });

  it('stays within the values, and of equal ones is a point', () => {
    fc.assert(
      fc.property(values, fc.integer(), (sample, seed) => {
        const { low, high } = bootstrapMean(sample, seed, few);
        const slack = 1e-9;
        expect(low).toBeGreaterThanOrEqual(Math.min(...sample) - slack);
        expect(high).toBeLessThanOrEqual(Math.max(...sample) + slack);
        expect(low).toBeLessThanOrEqual(high);
      }),
    );
    expect(bootstrapMean([2, 2, 2], 0)).toEqual({ low: 2, high: 2 });
  });

  it('refuses what has no mean', () => {
    expect(() => bootstrapMean([], 0)).toThrow(RangeError);
    expect(() => bootstrapMean([1, Number.NaN], 0)).toThrow(RangeError);
    expect(() => bootstrapMean([1], 0, { resamples: 0 })).toThrow(RangeError);
    expect(() => bootstrapMean([1], 0, { level: 95 })).toThrow(RangeError);
  });
});

describe('accuracyIntervals', () => {
  it('finds the accuracies of pairs among the metrics', () => {
    const metrics = {
      eval_loss: 0.5,
      'eval_rewards/accuracies': 0.8,
      'eval_rewards/chosen': 1,
      'eval_sr/augmented_accuracies': 0.1 + 0.2,
    };
    const intervals = accuracyIntervals(metrics, () => 10);
    expect(Object.keys(intervals)).toEqual(['eval_rewards/accuracies', 'eval_sr/augmented_accuracies']);
    expect(intervals['eval_rewards/accuracies']).toEqual({ pairs: 10, level: 0.95, ...wilson(8, 10) });
    expect(intervals['eval_sr/augmented_accuracies']).toMatchObject(wilson(3, 10));
  });
});
