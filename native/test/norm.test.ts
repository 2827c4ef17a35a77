import { afterEach, beforeEach, describe, test } from 'vitest';
import {
  type DType,
  layerNorm,
  layerNormBackward,
  rmsNorm,
  rmsNormBackward,
  Scope,
  setThreads,
  Tensor,
  threads,
} from '../lib/index.js';
import { differences, expectSameBits, expectWithin } from './reference/compare.js';
import { dot, expectClose, randomTensor, randomValues } from './support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

type Kind = 'layer' | 'rms';
const epsilon = 1e-3;

interface Inputs {
  x: ArrayLike<number>;
  weight: ArrayLike<number>;
  bias: ArrayLike<number>;
}

/** The definition in double, row by row. */
function forward(kind: Kind, { x, weight, bias }: Inputs) {
  const width = weight.length;
  const tokens = x.length / width;
  const out = new Float64Array(x.length);
  const mean = new Float64Array(tokens);
  const rstd = new Float64Array(tokens);
  for (let t = 0; t < tokens; t++) {
    const row = Float64Array.from({ length: width }, (_, h) => x[t * width + h]!);
    mean[t] = kind === 'layer' ? row.reduce((a, b) => a + b) / width : 0;
    rstd[t] = 1 / Math.sqrt(row.reduce((sum, v) => sum + (v - mean[t]!) ** 2, 0) / width + epsilon);
    for (let h = 0; h < width; h++) {
      out[t * width + h] = (row[h]! - mean[t]!) * rstd[t]! * weight[h]! + (kind === 'layer' ? bias[h]! : 0);
    }
  }
  return { out, mean, rstd };
}

function gradients(kind: Kind, inputs: Inputs, dOut: ArrayLike<number>) {
  const { x, weight } = inputs;
  const { mean, rstd } = forward(kind, inputs);
  const width = weight.length;
  const dX = new Float64Array(x.length);
  const dWeight = new Float64Array(width);
  const dBias = new Float64Array(width);
  for (let t = 0; t < mean.length; t++) {
    const normalised = (h: number) => (x[t * width + h]! - mean[t]!) * rstd[t]!;
    let meanE = 0;
    let meanEX = 0;
    for (let h = 0; h < width; h++) {
      const d = dOut[t * width + h]!;
      if (kind === 'layer') meanE += (d * weight[h]!) / width;
      meanEX += (d * weight[h]! * normalised(h)) / width;
      dWeight[h]! += d * normalised(h);
      dBias[h]! += d;
    }
    for (let h = 0; h < width; h++) {
      dX[t * width + h] = rstd[t]! * (dOut[t * width + h]! * weight[h]! - meanE - normalised(h) * meanEX);
    }
  }
  return { dX, dWeight, dBias };
}

const nan = (shape: number[], dtype: DType = 'f32') =>
  Tensor.from(new Float32Array(shape.reduce((a, b) => a * b)).fill(Number.NaN), shape, dtype);

/** Both passes; dWeight and dBias start from 1, dX from NaN or, to be accumulated into, from 10. */
function run(kind: Kind, x: Tensor, weight: Tensor, bias: Tensor, dOut: Tensor, accumulate: boolean) {
  const [tokens, width] = [x.shape[0]!, x.shape[1]!];
  const out = nan([tokens, width], dOut.dtype);
  const mean = nan([tokens]);
  const rstd = nan([tokens]);
  const ones = new Float32Array(width).fill(1);
  const dWeight = Tensor.from(ones, [width]);
  const dBias = Tensor.from(ones, [width]);
  const dX = accumulate
    ? Tensor.from(new Float32Array(x.size).fill(10), [tokens, width])
    : nan([tokens, width]);
  if (kind === 'layer') {
    layerNorm({ x, weight, bias, epsilon, out, mean, rstd });
    layerNormBackward({ x, weight, mean, rstd, dOut, dX, accumulate, dWeight, dBias });
  } else {
    rmsNorm({ x, weight, epsilon, out, rstd });
    rmsNormBackward({ x, weight, rstd, dOut, dX, accumulate, dWeight });
  }
  const read = (tensor: Tensor) => tensor.toFloat32Array();
  return {
    out: read(out),
    mean: read(mean),
    rstd: read(rstd),
    dX: read(dX),
    dWeight: read(dWeight),
    dBias: read(dBias),
  };
}

function makeInputs(tokens: number, width: number, dtype: DType) {
  return {
    x: randomTensor([tokens, width], 1, 'f32', 3),
    weight: randomTensor([width], 2),
    bias: randomTensor([width], 3),
    dOut: randomTensor([tokens, width], 4, dtype),
  };
}

const shapes = [
  [1, 1],
  [3, 5],
  [2, 64],
  [70, 67],
  [5, 1003],
  [2100, 33],
] as const;

describe.each(['layer', 'rms'] as const)('%s norm', kind => {
  describe.each(['f32', 'bf16'] as const)('%s', dtype => {
    test.each(shapes)('[%i, %i] equals the definition in double', (tokens, width) => {
      const { x, weight, bias, dOut } = makeInputs(tokens, width, dtype);
      const values = { x: x.values, weight: weight.values, bias: bias.values };
      const expected = { ...forward(kind, values), ...gradients(kind, values, dOut.values) };
      for (const accumulate of [false, true]) {
        const result = run(kind, x.tensor, weight.tensor, bias.tensor, dOut.tensor, accumulate);
        expectWithin(result.out, expected.out, 1e-6, dtype === 'f32' ? 1e-5 : 2 ** -8);
        if (kind === 'layer') expectWithin(result.mean, expected.mean, 1e-6, 1e-6);
        expectWithin(result.rstd, expected.rstd, 0, 1e-6);
        const before = accumulate ? 10 : 0;
        expectWithin(
          result.dX,
          expected.dX.map(v => v + before),
          1e-5,
          1e-5,
        );
        expectClose(
          result.dWeight,
          expected.dWeight.map(v => v + 1),
          2e-6,
        );
        if (kind === 'layer') {
          expectClose(
            result.dBias,
            expected.dBias.map(v => v + 1),
            2e-6,
          );
        }
      }
    });
  });

  test('gradients equal differences of the definition', () => {
    const { x, weight, bias, dOut } = makeInputs(3, 7, 'f32');
    const result = run(kind, x.tensor, weight.tensor, bias.tensor, dOut.tensor, false);
    const values = { x: x.values, weight: weight.values, bias: bias.values };
    const loss = (changed: Partial<Inputs>) => dot(forward(kind, { ...values, ...changed }).out, dOut.values);
    const numeric = (name: keyof Inputs) =>
      differences(v => loss({ [name]: v }), Float64Array.from(values[name]));
    expectClose(result.dX, numeric('x'), 1e-5);
    expectClose(
      result.dWeight,
      numeric('weight').map(v => v + 1),
      1e-5,
    );
    if (kind === 'layer') {
      expectClose(
        result.dBias,
        numeric('bias').map(v => v + 1),
        1e-5,
      );
    }
  });

  test('a mean far from zero costs no accuracy beyond that of the input', () => {
    const width = 513;
    const x = randomValues(4 * width, 5).map(v => v + 1000);
    const weight = randomValues(width, 6);
    const bias = randomValues(width, 7);
    const tensors = [x, weight, bias].map((v, i) => Tensor.from(v, i === 0 ? [4, width] : [width]));
    const dOut = randomTensor([4, width], 8);
    const result = run(kind, tensors[0]!, tensors[1]!, tensors[2]!, dOut.tensor, false);
    expectClose(result.out, forward(kind, { x, weight, bias }).out, 1e-4);
  });

  test('the result has the same bits in every run and for every number of threads', () => {
    const { x, weight, bias, dOut } = makeInputs(517, 65, 'f32');
    const once = () => run(kind, x.tensor, weight.tensor, bias.tensor, dOut.tensor, false);
    const first = once();
    const usual = threads();
    try {
      for (const count of [usual, 1, 3]) {
        setThreads(count);
        const result = once();
        for (const name of ['out', 'rstd', 'dX', 'dWeight', 'dBias'] as const) {
          expectSameBits(result[name], first[name]);
        }
      }
    } finally {
      setThreads(usual);
    }
  });
});
