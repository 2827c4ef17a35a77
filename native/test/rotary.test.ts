import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type HeadShape, rotary, Scope, Tensor } from '../lib/index.js';
import { offsets, rowWidth } from './reference/attention.js';
import { dot, expectClose, randomIndices, randomTensor } from './support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

const tokens = 23;
const positionLimit = 40;

function angles(half: number) {
  const angle = (i: number) => Math.floor(i / half) * 10_000 ** (-(i % half) / half);
  const values = (f: (x: number) => number) =>
    Float32Array.from({ length: positionLimit * half }, (_, i) => f(angle(i)));
  return { cosines: values(Math.cos), sines: values(Math.sin) };
}

/** The definition in double, on a copy. */
function rotated(
  qkv: Float32Array,
  positions: Int32Array,
  heads: HeadShape,
  half: number,
  inverse: boolean,
): Float64Array {
  const out = Float64Array.from(qkv);
  const { cosines, sines } = angles(half);
  positions.forEach((position, t) => {
    const starts = new Set<number>(); // a key head is shared by several query heads
    for (let head = 0; head < heads.heads; head++) {
      const { query, key } = offsets(heads, head);
      starts.add(query).add(key);
    }
    for (const start of starts) {
      for (let i = 0; i < half; i++) {
        const at = t * rowWidth(heads) + start + i;
        const cosine = cosines[position * half + i]!;
        const sine = sines[position * half + i]! * (inverse ? -1 : 1);
        out[at] = qkv[at]! * cosine - qkv[at + half]! * sine;
        out[at + half] = qkv[at + half]! * cosine + qkv[at]! * sine;
      }
    }
  });
  return out;
}

const shapes: [HeadShape, number][] = [
  [{ layout: 'interleaved', heads: 3, kvHeads: 3, headDim: 64 }, 8],
  [{ layout: 'interleaved', heads: 2, kvHeads: 2, headDim: 10 }, 5],
  [{ layout: 'blocked', heads: 6, kvHeads: 2, headDim: 32 }, 16],
  [{ layout: 'blocked', heads: 4, kvHeads: 1, headDim: 13 }, 3],
  [{ layout: 'blocked', heads: 2, kvHeads: 2, headDim: 80 }, 40],
];

describe.each(['f32', 'bf16'] as const)('%s', dtype => {
  test.each(shapes)('%j, %i angles', (heads, half) => {
    const { cosines, sines } = angles(half);
    const tables = {
      cosines: Tensor.from(cosines, [positionLimit, half]),
      sines: Tensor.from(sines, [positionLimit, half]),
    };
    const indices = randomIndices(tokens, positionLimit, 1);
    const positions = Tensor.from(indices, [tokens]);
    for (const inverse of [false, true]) {
      const qkv = randomTensor([tokens, rowWidth(heads)], 2, dtype);
      rotary({ qkv: qkv.tensor, positions, ...tables, heads, inverse });
      const result = qkv.tensor.toFloat32Array();
      const expected = rotated(qkv.values, indices, heads, half, inverse);
      expectClose(result, expected, dtype === 'f32' ? 2e-7 : 2 ** -8);
      // values, and what lies beyond the rotated part of a head, keep their bits
      const changed = expected.findIndex((value, i) => value === qkv.values[i] && result[i] !== value);
      expect(changed).toBe(-1);
    }
  });
});

test('the inverse is the gradient: it is the transpose, and undoes the rotation', () => {
  const [heads, half] = shapes[2]!;
  const { cosines, sines } = angles(half);
  const positions = Tensor.from(randomIndices(tokens, positionLimit, 3), [tokens]);
  const apply = (values: Float32Array, inverse: boolean) => {
    const qkv = Tensor.from(values, [tokens, rowWidth(heads)]);
    const tables = {
      cosines: Tensor.from(cosines, [positionLimit, half]),
      sines: Tensor.from(sines, [positionLimit, half]),
    };
    rotary({ qkv, positions, ...tables, heads, inverse });
    return qkv.toFloat32Array();
  };
  const x = randomTensor([tokens, rowWidth(heads)], 4).values;
  const d = randomTensor([tokens, rowWidth(heads)], 5).values;
  expectClose(apply(apply(x, false), true), x, 1e-6);
  expect(Math.abs(dot(apply(x, false), d) - dot(x, apply(d, true)))).toBeLessThan(1e-4);
});
