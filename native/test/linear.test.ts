import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { linear, linearBackwardInput, linearBackwardWeight, Scope, Tensor } from '../lib/index.js';
import { dot, expectClose, numericGradient, product, randomTensor, randomValues } from './support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

const shapes = [
  [1, 1, 1],
  [3, 5, 7],
  [17, 31, 1],
  [1, 129, 65],
  [63, 65, 67],
  [33, 300, 129],
] as const;
// f32 sums in f32; a bf16 output carries one rounding of 2^-9.
const tolerance = { f32: 2e-6, bf16: 2 ** -8 };

const cases = shapes.flatMap(([tokens, outputs, inputs]) =>
  (['f32', 'bf16'] as const).flatMap(dtype =>
    (dtype === 'f32' ? (['f32'] as const) : (['f32', 'bf16'] as const)).map(
      result => [tokens, outputs, inputs, dtype, result] as const,
    ),
  ),
);

describe.each(cases)(
  '[%i tokens, %i outputs, %i inputs] %s -> %s',
  (tokens, outputs, inputs, dtype, result) => {
    test.each([true, false])('forward, bias %s', withBias => {
      const x = randomTensor([tokens, inputs], 1, dtype);
      const weight = randomTensor([outputs, inputs], 2, dtype);
      const bias = randomTensor([outputs], 3);
      const out = Tensor.from(new Float32Array(tokens * outputs).fill(Number.NaN), [tokens, outputs], result);
      linear({ x: x.tensor, weight: weight.tensor, bias: withBias ? bias.tensor : undefined, out });
      const expected = product(
        tokens,
        outputs,
        inputs,
        (t, k) => x.values[t * inputs + k]!,
        (k, n) => weight.values[n * inputs + k]!,
      ).map((value, index) => value + (withBias ? bias.values[index % outputs]! : 0));
      expectClose(out.toFloat32Array(), expected, tolerance[result]);
    });

    test('gradient of the input overwrites', () => {
      const dOut = randomTensor([tokens, outputs], 4, dtype);
      const weight = randomTensor([outputs, inputs], 5, dtype);
      const dX = Tensor.from(new Float32Array(tokens * inputs).fill(Number.NaN), [tokens, inputs], result);
      linearBackwardInput({ dOut: dOut.tensor, weight: weight.tensor, dX });
      const expected = product(
        tokens,
        inputs,
        outputs,
        (t, n) => dOut.values[t * outputs + n]!,
        (n, k) => weight.values[n * inputs + k]!,
      );
      expectClose(dX.toFloat32Array(), expected, tolerance[result]);
    });
  },
);

test.each(['f32', 'bf16'] as const)('%s: gradients of weight and bias add to what is there', dtype => {
  const [tokens, outputs, inputs] = [37, 70, 19];
  const dOut = randomTensor([tokens, outputs], 6, dtype);
  const x = randomTensor([tokens, inputs], 7, dtype);
  const dWeight = randomTensor([outputs, inputs], 8);
  const dBias = randomTensor([outputs], 9);
  linearBackwardWeight({ dOut: dOut.tensor, x: x.tensor, dWeight: dWeight.tensor, dBias: dBias.tensor });
  const expected = product(
    outputs,
    inputs,
    tokens,
    (n, t) => dOut.values[t * outputs + n]!,
    (t, k) => x.values[t * inputs + k]!,
  ).map((value, index) => value + dWeight.values[index]!);
  expectClose(dWeight.tensor.toFloat32Array(), expected, 2e-6);
  const sums = Float64Array.from(dBias.values, (value, n) => {
    let sum = value;
    for (let t = 0; t < tokens; t++) sum += dOut.values[t * outputs + n]!;
    return sum;
  });
  expectClose(dBias.tensor.toFloat32Array(), sums, 2e-6);
});

test.each(['f32', 'bf16'] as const)('%s: accumulate adds the input gradient', dtype => {
  const dOut = randomTensor([5, 6], 10, dtype);
  const weight = randomTensor([6, 4], 11, dtype);
  const once = Tensor.empty([5, 4]);
  linearBackwardInput({ dOut: dOut.tensor, weight: weight.tensor, dX: once });
  const start = randomTensor([5, 4], 12);
  linearBackwardInput({ dOut: dOut.tensor, weight: weight.tensor, dX: start.tensor, accumulate: true });
  const expected = once.toFloat32Array().map((value, index) => value + start.values[index]!);
  expectClose(start.tensor.toFloat32Array(), expected, 1e-6);
});

test('gradients agree with finite differences', () => {
  const [tokens, outputs, inputs] = [4, 3, 5];
  const x = randomTensor([tokens, inputs], 13);
  const weight = randomTensor([outputs, inputs], 14);
  const bias = randomTensor([outputs], 15);
  const direction = randomValues(tokens * outputs, 16);
  const loss = (xs: Float32Array, ws: Float32Array, bs: Float32Array) => {
    const out = Tensor.empty([tokens, outputs]);
    linear({
      x: Tensor.from(xs, x.tensor.shape),
      weight: Tensor.from(ws, weight.tensor.shape),
      bias: Tensor.from(bs, [outputs]),
      out,
    });
    return dot(out.toFloat32Array(), direction);
  };
  const dOut = Tensor.from(direction, [tokens, outputs]);
  const dX = Tensor.empty([tokens, inputs]);
  const dWeight = Tensor.zeros([outputs, inputs]);
  const dBias = Tensor.zeros([outputs]);
  linearBackwardInput({ dOut, weight: weight.tensor, dX });
  linearBackwardWeight({ dOut, x: x.tensor, dWeight, dBias });
  expectClose(
    dX.toFloat32Array(),
    numericGradient(v => loss(v, weight.values, bias.values), x.values, 0.5),
    1e-5,
  );
  expectClose(
    dWeight.toFloat32Array(),
    numericGradient(v => loss(x.values, v, bias.values), weight.values, 0.5),
    1e-5,
  );
  expectClose(
    dBias.toFloat32Array(),
    numericGradient(v => loss(x.values, weight.values, v), bias.values, 0.5),
    1e-5,
  );
});

test('many different sizes in a row give right products', () => {
  for (let tokens = 1; tokens <= 40; tokens++) {
    using inner = new Scope();
    const x = randomTensor([tokens, 16], tokens, 'bf16');
    const weight = randomTensor([8, 16], 1000, 'bf16');
    const out = Tensor.empty([tokens, 8]);
    linear({ x: x.tensor, weight: weight.tensor, out });
    const expected = product(
      tokens,
      8,
      16,
      (t, k) => x.values[t * 16 + k]!,
      (k, n) => weight.values[n * 16 + k]!,
    );
    expectClose(out.toFloat32Array(), expected, 2e-6);
    expect(inner).toBeInstanceOf(Scope);
  }
});

test('a bias that begins anywhere in its tensor is the same bias', () => {
  const [x, weight] = [randomTensor([5, 16], 1), randomTensor([12, 16], 2)];
  const biases = randomTensor([15], 3);
  const results = [0, 1, 3].map(first => {
    const out = Tensor.empty([5, 12]);
    linear({ x: x.tensor, weight: weight.tensor, bias: biases.tensor.rows(first, first + 12), out });
    return out.toFloat32Array().map((value, i) => value - biases.values[first + (i % 12)]!);
  });
  expectClose(results[1]!, results[0]!, 1e-6);
  expectClose(results[2]!, results[0]!, 1e-6);
});
