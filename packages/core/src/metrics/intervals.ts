/** How far a share or a mean of a sample may lie from that of all there is. */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** Of the intervals that are shown. */
export const SHOWN_LEVEL = 0.95;

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** A share of n pairs: what stands beside an accuracy. */
export interface ShareInterval extends Interval {
  readonly pairs: number;
  /** Confidence, such as 0.95. */
  readonly level: number;
}

/**
 * Wilson score interval of a share (E. B. Wilson, JASA 22, 1927), without continuity correction: it stays within [0, 1] and is
 * of use at few trials and at shares of 0 and 1, where the share plus or minus standard errors is not.
 *
 * @param successes of the n trials, from 0 to n
 * @param n at least 1
 * @param level confidence, in (0, 1)
 * @throws RangeError when an argument lies outside
 */
export function wilson(successes: number, n: number, level = SHOWN_LEVEL): Interval {
  if (!Number.isInteger(n) || n < 1) throw new RangeError(`n must be a positive integer, is ${n}`);
  if (!(successes >= 0 && successes <= n)) {
    throw new RangeError(`successes must lie between 0 and n = ${n}, is ${successes}`);
  }
  const z = normalQuantile(0.5 + checkedLevel(level) / 2);
  const share = successes / n;
  const scale = 1 + z ** 2 / n;
  const center = (share + z ** 2 / (2 * n)) / scale;
  const half = (z / scale) * Math.sqrt((share * (1 - share)) / n + z ** 2 / (4 * n ** 2));
  // Exact at the ends, where rounding would leave 1e-17.
  return {
    low: successes === 0 ? 0 : Math.max(0, center - half),
    high: successes === n ? 1 : Math.min(1, center + half),
  };
}

export interface BootstrapOptions {
  /** Confidence, in (0, 1). */
  readonly level?: number;
  /** Samples drawn with replacement, each of as many values as there are. */
  readonly resamples?: number;
}

/**
 * Percentile bootstrap interval of a mean (B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3), with
 * quantiles interpolated linearly between order statistics. The same values, seed and options give the same interval.
 *
 * @param values at least one, independent of each other
 * @param seed 32-bit integer
 * @throws RangeError when there is no value, one is not finite, or an option lies outside
 */
export function bootstrapMean(
  values: ArrayLike<number>,
  seed: number,
  { level = SHOWN_LEVEL, resamples = 10_000 }: BootstrapOptions = {},
): Interval {
  const sample = Float64Array.from(values);
  if (sample.length === 0) throw new RangeError('there are no values');
  if (!sample.every(Number.isFinite)) throw new RangeError('a value is not finite');
  if (!Number.isInteger(resamples) || resamples < 1) {
    throw new RangeError(`resamples must be a positive integer, is ${resamples}`);
  }
  const tail = (1 - checkedLevel(level)) / 2;
  const random = xoroshiro128plus(seed);
  const means = new Float64Array(resamples);
  for (let resample = 0; resample < resamples; resample++) {
    let sum = 0;
    for (let draw = 0; draw < sample.length; draw++) sum += sample[uniformInt(random, 0, sample.length - 1)]!;
    means[resample] = sum / sample.length;
  }
  means.sort();
  return { low: quantile(means, tail), high: quantile(means, 1 - tail) };
}

/**
 * The interval of every accuracy among the metrics of some pairs, under its name.
 *
 * @param pairsOf how many pairs a metric is a mean over, at least 1
 */
export function accuracyIntervals(
  metrics: Readonly<Record<string, number>>,
  pairsOf: (name: string) => number,
): Record<string, ShareInterval> {
  const accuracies = Object.entries(metrics).filter(([name]) =>
    /(rewards\/|sr\/augmented_)accuracies$/.test(name),
  );
  return Object.fromEntries(
    accuracies.map(([name, share]) => {
      const pairs = pairsOf(name);
      return [name, { pairs, level: SHOWN_LEVEL, ...wilson(Math.round(share * pairs), pairs) }];
    }),
  );
}

function checkedLevel(level: number): number {
  if (!(level > 0 && level < 1)) throw new RangeError(`level must lie between 0 and 1, is ${level}`);
  return level;
}

/** Of sorted values, interpolated as NumPy's default does. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const [a, b] = [sorted[below]!, sorted[Math.min(below + 1, sorted.length - 1)]!];
  return a + (place - below) * (b - a);
}

/** z with P(Z <= z) = p of a standard normal Z, for p in [0.5, 1), by bisection to the last bit. */
function normalQuantile(p: number): number {
  let [low, high] = [0, 9];
  for (;;) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) return middle;
    if (normalCdf(middle) < p) low = middle;
    else high = middle;
  }
}

/** P(Z <= z) by its series in z (G. Marsaglia, J. Stat. Software 11(4), 2004). */
function normalCdf(z: number): number {
  let [sum, term] = [z, z];
  for (let i = 3; ; i += 2) {
    term *= z ** 2 / i;
    if (sum + term === sum) break;
    sum += term;
  }
  return 0.5 + (sum * Math.exp(-(z ** 2) / 2)) / Math.sqrt(2 * Math.PI);
}
