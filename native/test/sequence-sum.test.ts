import { afterEach, beforeEach, expect, test } from 'vitest';
import { Scope, sequenceSum, sequenceSumBackward, Tensor } from '../lib/index.js';
import { expectClose, randomTensor } from './support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

const offsets = [0, 3, 3, 10, 64];

test('sums by sequence, empty ones too, and the gradient back to each value', () => {
  const values = randomTensor([64], 1);
  const sums = Tensor.empty([4]);
  sequenceSum({ values: values.tensor, offsets: Tensor.from(offsets, [5], 'i32'), sums });
  const expected = [0, 1, 2, 3].map(q =>
    values.values.subarray(offsets[q], offsets[q + 1]).reduce((sum, value) => sum + value, 0),
  );
  expectClose(sums.toFloat32Array(), expected, 1e-7);

  const dSums = randomTensor([4], 2);
  const dValues = Tensor.empty([64]);
  sequenceSumBackward({ dSums: dSums.tensor, offsets: Tensor.from(offsets, [5], 'i32'), dValues });
  const sequenceOf = (index: number) => [0, 1, 2, 3].find(q => index < offsets[q + 1]!)!;
  expect(dValues.toFloat32Array()).toEqual(
    Float32Array.from({ length: 64 }, (_, index) => dSums.values[sequenceOf(index)]!),
  );
});

test('the sum is accumulated in double', () => {
  const count = 1 << 16;
  const values = Tensor.from(new Float32Array(count).fill(0.1), [count]);
  const sums = Tensor.empty([1]);
  sequenceSum({ values, offsets: Tensor.from([0, count], [2], 'i32'), sums });
  expect(sums.toFloat32Array()[0]).toBe(Math.fround(Math.fround(0.1) * count));
});
