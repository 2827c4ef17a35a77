import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type DType,
  type GeluKind,
  gelu,
  geluBackward,
  Scope,
  swiglu,
  swigluBackward,
  Tensor,
} from '../lib/index.js';
import { differences, expectWithin } from './reference/compare.js';
import { logistic, normalDensity, normalDistribution } from './reference/special.js';
import { randomTensor } from './support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

const tanhArgument = (x: number) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
const value: Record<GeluKind, (x: number) => number> = {
  erf: x => x * normalDistribution(x),
  tanh: x => 0.5 * x * (1 + Math.tanh(tanhArgument(x))),
};
const slope: Record<GeluKind, (x: number) => number> = {
  erf: x => normalDistribution(x) + x * normalDensity(x),
  tanh: x => {
    const t = Math.tanh(tanhArgument(x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
  },
};
const silu = (x: number) => x * logistic(x);
const siluSlope = (x: number) => logistic(x) * (1 + x * logistic(-x));

const roundings = { f32: 1e-6, bf16: 2 ** -8 } as const;
const dtypes = ['f32', 'bf16'] as const;
const kinds = ['erf', 'tanh'] as const;

/** Every size of number, dense where the functions bend. */
function sweep(): Float32Array {
  const special = [
    0, -0, 1e-40, -1e-40, 1e-20, -1e-20, 15, -15, 40, -40, 100, -100, 1e6, -1e6, 1e20, -1e20, 3e38, -3e38,
  ];
  const dense = Array.from({ length: 24_001 }, (_, i) => (i - 12_000) / 1000);
  return Float32Array.from([...special, ...dense]);
}

describe.each(kinds)('gelu %s', kind => {
  test('equals double over the whole range', () => {
    const values = sweep();
    const x = Tensor.from(values, [1, values.length]);
    const out = Tensor.empty([1, values.length]);
    gelu({ x, out, kind });
    expectWithin(out.toFloat32Array(), Array.from(values, value[kind]), 2e-7, 1e-6);
    const dOut = Tensor.from(new Float32Array(values.length).fill(1), [1, values.length]);
    geluBackward({ x, dOut, dX: out, kind });
    const slopes = Array.from(values, v => (Math.abs(v) > 50 ? Number(v > 0) : slope[kind](v)));
    expectWithin(out.toFloat32Array(), slopes, 5e-7, 1e-6);
  });

  test('NaN stays NaN', () => {
    const out = Tensor.empty([1, 20]);
    gelu({ x: Tensor.from(new Float32Array(20).fill(Number.NaN), [1, 20]), out, kind });
    expect(out.toFloat32Array().every(Number.isNaN)).toBe(true);
  });

  test('the slope is the difference quotient of the value', () => {
    const points = Float64Array.from({ length: 81 }, (_, i) => (i - 40) / 10);
    const quotients = points.map(x => differences(([v]) => value[kind](v!), Float64Array.of(x))[0]!);
    expectWithin(points.map(slope[kind]), quotients, 1e-8, 1e-8);
  });

  describe.each(dtypes)('%s', dtype => {
    test.each([
      [1, 1],
      [3, 5],
      [7, 19],
      [31, 1001],
    ])('[%i, %i]', (tokens, width) => {
      const x = randomTensor([tokens, width], 1, dtype, 2);
      const dOut = randomTensor([tokens, width], 2, dtype);
      const out = Tensor.from(new Float32Array(tokens * width).fill(Number.NaN), [tokens, width], dtype);
      gelu({ x: x.tensor, out, kind });
      expectWithin(out.toFloat32Array(), Array.from(x.values, value[kind]), 2e-7, roundings[dtype]);
      geluBackward({ x: x.tensor, dOut: dOut.tensor, dX: dOut.tensor, kind }); // in place
      expectWithin(
        dOut.tensor.toFloat32Array(),
        Array.from(x.values, (v, i) => dOut.values[i]! * slope[kind](v)),
        2e-6,
        roundings[dtype],
      );
    });
  });
});

function runSwiglu(gateUp: Tensor, dOut: Tensor, dtype: DType) {
  const [tokens, width] = dOut.shape;
  const out = Tensor.from(new Float32Array(dOut.size).fill(Number.NaN), [tokens!, width!], dtype);
  const dGateUp = Tensor.from(new Float32Array(2 * dOut.size).fill(Number.NaN), [tokens!, 2 * width!], dtype);
  swiglu({ gateUp, out });
  swigluBackward({ gateUp, dOut, dGateUp });
  return { out: out.toFloat32Array(), dGateUp: dGateUp.toFloat32Array() };
}

test('silu equals double over the whole range', () => {
  const gates = sweep().filter(v => Math.abs(v) <= 1e20);
  const width = gates.length;
  const up = new Float32Array(width).fill(1);
  const gateUp = Tensor.from(Float32Array.from([...gates, ...up]), [1, 2 * width]);
  const result = runSwiglu(gateUp, Tensor.from(up, [1, width]), 'f32');
  expectWithin(result.out, Array.from(gates, silu), 1e-37, 1e-6);
  // near -1.278 the slope crosses zero
  expectWithin(result.dGateUp.subarray(0, width), Array.from(gates, siluSlope), 3e-7, 1e-6);
  expectWithin(result.dGateUp.subarray(width), Array.from(gates, silu), 1e-37, 1e-6);
});

describe.each(dtypes)('swiglu %s', dtype => {
  test.each([
    [1, 1],
    [3, 5],
    [7, 19],
    [37, 301],
  ])('[%i, %i]', (tokens, width) => {
    const gateUp = randomTensor([tokens, 2 * width], 1, dtype, 2);
    const dOut = randomTensor([tokens, width], 2, dtype);
    const result = runSwiglu(gateUp.tensor, dOut.tensor, dtype);
    const gate = (i: number) => gateUp.values[Math.floor(i / width) * 2 * width + (i % width)]!;
    const up = (i: number) => gateUp.values[Math.floor(i / width) * 2 * width + width + (i % width)]!;
    const expected = Array.from(dOut.values, (_, i) => silu(gate(i)) * up(i));
    expectWithin(result.out, expected, 1e-7, roundings[dtype]);
    const dGateUp = new Float64Array(2 * tokens * width);
    dOut.values.forEach((d, i) => {
      const at = Math.floor(i / width) * 2 * width + (i % width);
      dGateUp[at] = d * up(i) * siluSlope(gate(i));
      dGateUp[at + width] = d * silu(gate(i));
    });
    expectWithin(result.dGateUp, dGateUp, 2e-6, roundings[dtype]);
  });
});
