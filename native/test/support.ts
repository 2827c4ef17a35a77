import { expect } from 'vitest';
import { type DType, Tensor } from '../lib/index.js';

/** Seeded numbers in [0, 1): the same in every run (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` f32 numbers spread around 0 with the given deviation, roughly normal. */
export function randomValues(count: number, seed: number, deviation = 1): Float32Array {
  const next = uniform(seed);
  return Float32Array.from({ length: count }, () => (next() + next() + next() - 1.5) * 2 * deviation);
}

/** Random integers in [0, limit). */
export function randomIndices(count: number, limit: number, seed: number): Int32Array {
  const next = uniform(seed);
  return Int32Array.from({ length: count }, () => Math.floor(next() * limit));
}

/** A tensor of random numbers, and what it holds after rounding to its type. */
export function randomTensor(shape: readonly number[], seed: number, dtype: DType = 'f32', deviation = 1) {
  const tensor = Tensor.from(
    randomValues(
      shape.reduce((a, b) => a * b),
      seed,
      deviation,
    ),
    shape,
    dtype,
  );
  return { tensor, values: tensor.toFloat32Array() };
}

/** The error of every element relative to the largest expected magnitude stays within `tolerance`. */
export function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  let scale = Number.MIN_VALUE;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    scale = Math.max(scale, Math.abs(expected[i]!));
    const error = Math.abs(actual[i]! - expected[i]!);
    worst = Math.max(error, worst); // NaN counts as the worst
  }
  expect(worst / scale).toBeLessThanOrEqual(tolerance);
}

/** C[m, n] = op(A) op(B) in double; operands as functions of their indices. */
export function product(
  m: number,
  n: number,
  k: number,
  a: (row: number, inner: number) => number,
  b: (inner: number, column: number) => number,
): Float64Array {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) sum += a(i, l) * b(l, j);
      c[i * n + j] = sum;
    }
  }
  return c;
}

/** Central differences of a scalar function at `values`. */
export function numericGradient(
  loss: (values: Float32Array) => number,
  values: Float32Array,
  step: number,
): Float64Array {
  return Float64Array.from(values, (value, index) => {
    const moved = Float32Array.from(values);
    moved[index] = value + step;
    const above = loss(moved);
    const right = moved[index]!;
    moved[index] = value - step;
    return (above - loss(moved)) / (right - moved[index]!);
  });
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
