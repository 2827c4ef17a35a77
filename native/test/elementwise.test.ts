import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  add,
  cast,
  clipFactor,
  fillNormal,
  l2Norm,
  Scope,
  scale,
  setThreads,
  Tensor,
  threads,
} from '../lib/index.js';
import { randomTensor, randomValues } from './support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

/** Round to nearest even, written down independently of the engine. */
function toBf16(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  const bits = view.getUint32(0);
  const [kept, dropped] = [bits >>> 16, bits & 0xffff];
  const up = dropped > 0x8000 || (dropped === 0x8000 && (kept & 1) === 1);
  view.setUint32(0, ((kept + (up ? 1 : 0)) << 16) >>> 0);
  return view.getFloat32(0);
}

test.each(['f32', 'bf16'] as const)('add f32 and %s, also in place', dtype => {
  const a = randomTensor([7, 11], 1);
  const b = randomTensor([7, 11], 2, dtype);
  const out = Tensor.empty([7, 11]);
  add({ a: a.tensor, b: b.tensor, out });
  const expected = a.values.map((value, index) => Math.fround(value + b.values[index]!));
  expect(out.toFloat32Array()).toEqual(expected);
  add({ a: a.tensor, b: b.tensor, out: a.tensor });
  expect(a.tensor.toFloat32Array()).toEqual(expected);
});

test('cast rounds to nearest even and keeps infinities and NaN', () => {
  const tie = 1 + 2 ** -8; // half way between 1 and the next bf16
  const special = [0, -0, 1, -1, tie, 1 + 3 * 2 ** -8, 1e-45, -1e-45, 3.4e38, -3.4e38];
  const values = Float32Array.from([...special, ...randomValues(1000, 3, 100)]);
  const out = Tensor.empty([values.length], 'bf16');
  cast({ x: Tensor.from(values, [values.length]), out });
  expect(out.toFloat32Array()).toEqual(values.map(toBf16));

  const odd = Float32Array.of(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN);
  const rounded = Tensor.empty([3], 'bf16');
  const back = Tensor.empty([3]);
  cast({ x: Tensor.from(odd, [3]), out: rounded });
  cast({ x: rounded, out: back });
  expect(back.toFloat32Array()).toEqual(odd);
});

test('cast between equal types copies', () => {
  for (const dtype of ['f32', 'bf16'] as const) {
    const x = randomTensor([5, 5], 4, dtype);
    const out = Tensor.empty([5, 5], dtype);
    cast({ x: x.tensor, out });
    expect(out.readBytes()).toEqual(x.tensor.readBytes());
  }
});

test('scale multiplies in place', () => {
  const x = randomTensor([3, 50], 5);
  scale({ x: x.tensor, factor: -0.3 });
  const expected = x.values.map(value => Math.fround(value * Math.fround(-0.3)));
  expect(x.tensor.toFloat32Array()).toEqual(expected);
});

const read = (tensor: Tensor) => tensor.toFloat32Array()[0]!;

test('the norm over several tensors in double, the same for any number of threads', () => {
  const sizes = [1, 15, 16, 17, 16384, 16385, 50_001];
  const tensors = sizes.map((size, index) => randomTensor([size], index, 'f32', 1 + index));
  let expected = 0;
  for (const { values } of tensors) for (const value of values) expected += value * value;
  const before = threads();
  const norm = Tensor.empty([1]);
  const norms = [1, 2, 3].map(count => {
    setThreads(count);
    l2Norm({ tensors: tensors.map(({ tensor }) => tensor), norm });
    return read(norm);
  });
  setThreads(before);
  expect(norms[0]).toBe(Math.fround(Math.sqrt(expected)));
  expect(norms[1]).toBe(norms[0]);
  expect(norms[2]).toBe(norms[0]);
  l2Norm({ tensors: [], norm });
  expect(read(norm)).toBe(0);
});

test('the clipping factor leaves small gradients alone, scales large ones, and is NaN for what is not finite', () => {
  const factor = Tensor.empty([1]);
  const factorOf = (norm: number) => {
    clipFactor({ norm: Tensor.from([norm], [1]), maxNorm: 10, factor });
    return read(factor);
  };
  expect(factorOf(9.99)).toBe(1);
  expect(factorOf(0)).toBe(1);
  expect(factorOf(20)).toBe(Math.fround(10 / (20 + 1e-6)));
  expect(factorOf(Number.POSITIVE_INFINITY)).toBeNaN();
  expect(factorOf(Number.NaN)).toBeNaN();
});

test('normal numbers have the moments asked for and depend on seed and place alone', () => {
  const count = 100_001;
  const draw = (seed: number, size = count) => {
    const out = Tensor.empty([size]);
    fillNormal({ out, deviation: 0.02, seed });
    return out.toFloat32Array();
  };
  const values = draw(7);
  let [mean, square, fourth] = [0, 0, 0];
  for (const value of values) {
    const z = value / 0.02;
    mean += z / count;
    square += z ** 2 / count;
    fourth += z ** 4 / count;
  }
  // Standard errors: 0.003, 0.0045 and 0.031.
  expect(Math.abs(mean)).toBeLessThan(0.015);
  expect(Math.abs(square - 1)).toBeLessThan(0.02);
  expect(Math.abs(fourth - 3)).toBeLessThan(0.15);
  const before = threads();
  setThreads(before === 1 ? 2 : 1);
  expect(draw(7)).toEqual(values);
  setThreads(before);
  expect(draw(7, 999)).toEqual(values.subarray(0, 999));
  expect(draw(8)).not.toEqual(values);
  const rounded = Tensor.empty([999], 'bf16');
  fillNormal({ out: rounded, deviation: 0.02, seed: 7 });
  expect(rounded.toFloat32Array()).toEqual(values.subarray(0, 999).map(toBf16));
});
