import { expect } from 'vitest';

/** Every element within `absolute + relative |expected|` of what is expected; a NaN never is. */
export function expectWithin(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  absolute: number,
  relative: number,
): void {
  expect(actual.length).toBe(expected.length);
  let worst = { excess: 0, index: -1 };
  for (let i = 0; i < expected.length; i++) {
    const excess = Math.abs(actual[i]! - expected[i]!) - absolute - relative * Math.abs(expected[i]!);
    if (!(excess <= worst.excess)) worst = { excess, index: i };
  }
  const at = worst.index;
  expect(at, at < 0 ? '' : `element ${at} is ${actual[at]}, expected ${expected[at]}`).toBe(-1);
}

/** Central differences of a scalar function of double numbers, relative error about 1e-9. */
export function differences(loss: (values: Float64Array) => number, values: Float64Array): Float64Array {
  return Float64Array.from(values, (value, index) => {
    const step = 1e-5 * Math.max(1, Math.abs(value));
    const moved = Float64Array.from(values);
    moved[index] = value + step;
    const above = loss(moved);
    moved[index] = value - step;
    return (above - loss(moved)) / (2 * step);
  });
}

/** Not one bit differs. */
export function expectSameBits(actual: Float32Array, expected: Float32Array): void {
  const bytes = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  expect(Buffer.compare(bytes(actual), bytes(expected))).toBe(0);
}
