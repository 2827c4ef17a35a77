import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  attention,
  attentionBackward,
  attentionCached,
  type DType,
  type HeadShape,
  Scope,
  setThreads,
  Tensor,
  threads,
} from '../lib/index.js';
import {
  type AttentionCase,
  attentionForward,
  attentionGradient,
  offsets,
  rowWidth,
  type Segments,
  tokenCount,
} from './reference/attention.js';
import { differences, expectSameBits } from './reference/compare.js';
import { dot, expectClose, randomTensor, uniform } from './support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

const filled = (shape: readonly number[], dtype: DType = 'f32') =>
  Tensor.from(new Float32Array(shape.reduce((a, b) => a * b)).fill(Number.NaN), shape, dtype);

/** Runs both passes into tensors full of NaN. */
function run({ segments, heads, window }: AttentionCase, qkv: Tensor, dOut: Tensor) {
  const tokens = tokenCount(segments);
  const table = Tensor.from(Int32Array.from(segments.flat()), [segments.length, 3]);
  const out = filled([tokens, heads.heads * heads.headDim], qkv.dtype);
  const logSumExp = filled([tokens, heads.heads]);
  const dQkv = filled(qkv.shape, qkv.dtype);
  attention({ qkv, segments: table, heads, window, out, logSumExp });
  attentionBackward({ qkv, segments: table, heads, window, out, logSumExp, dOut, dQkv });
  return {
    out: out.toFloat32Array(),
    logSumExp: logSumExp.toFloat32Array(),
    dQkv: dQkv.toFloat32Array(),
  };
}

function inputs({ segments, heads }: AttentionCase, dtype: DType = 'f32') {
  const tokens = tokenCount(segments);
  return {
    qkv: randomTensor([tokens, rowWidth(heads)], 1, dtype),
    dOut: randomTensor([tokens, heads.heads * heads.headDim], 2, dtype),
  };
}

/** Segments of the given lengths one after another. */
function forest(...parts: readonly (readonly [length: number, parent: number])[]): Segments {
  let start = 0;
  return parts.map(([length, parent]) => {
    start += length;
    return [start - length, length, parent] as const;
  });
}

/** A forest of short segments, each below any earlier one or a root; trees interleave. */
function randomForest(count: number, longest: number, seed: number): Segments {
  const next = uniform(seed);
  return forest(
    ...Array.from(
      { length: count },
      (_, s) => [1 + Math.floor(next() * longest), Math.floor(next() * (s + 1)) - 1] as const,
    ),
  );
}

const interleaved = (heads: number, headDim: number): HeadShape => ({
  layout: 'interleaved',
  heads,
  kvHeads: heads,
  headDim,
});
const blocked = (heads: number, kvHeads: number, headDim: number): HeadShape => ({
  layout: 'blocked',
  heads,
  kvHeads,
  headDim,
});

const pairUnderPrompt = forest([5, -1], [13, 0], [1, 1], [9, 1]); // p -> x -> y+ of one token, y-
const longPair = forest([3, -1], [107, 0], [21, 1], [40, 1]); // several blocks of keys, ragged
const cases: Record<string, AttentionCase> = {
  'one token': { segments: forest([1, -1]), heads: interleaved(2, 8), window: 0 },
  'one segment': { segments: forest([37, -1]), heads: interleaved(2, 16), window: 0 },
  'pair under a prompt': { segments: pairUnderPrompt, heads: interleaved(3, 32), window: 0 },
  'pair under a prompt, grouped': { segments: pairUnderPrompt, heads: blocked(6, 2, 40), window: 0 },
  'pair under a prompt, one key head': { segments: pairUnderPrompt, heads: blocked(5, 1, 8), window: 0 },
  'one key head for more queries than a block holds': {
    segments: forest([3, -1], [2, 0]),
    heads: blocked(150, 1, 8),
    window: 0,
  },
  'long pair, headDim 64': { segments: longPair, heads: interleaved(1, 64), window: 0 },
  'long pair, headDim 80': { segments: longPair, heads: blocked(2, 1, 80), window: 0 },
  'long pair, headDim 96': { segments: longPair, heads: blocked(1, 1, 96), window: 0 },
  'long pair, headDim 128': { segments: longPair, heads: blocked(2, 2, 128), window: 0 },
  'headDim that is no multiple of anything': { segments: longPair, heads: blocked(2, 1, 13), window: 0 },
  '32 query heads on 8 key heads': {
    segments: forest([21, -1], [45, 0], [7, 1], [70, 1]),
    heads: blocked(32, 8, 16),
    window: 0,
  },
  'window 1': { segments: pairUnderPrompt, heads: interleaved(2, 8), window: 1 },
  'window 7 across segments': { segments: pairUnderPrompt, heads: blocked(4, 2, 16), window: 7 },
  'window 33': { segments: longPair, heads: blocked(4, 2, 16), window: 33 },
  'window longer than the chain': { segments: longPair, heads: interleaved(1, 16), window: 1000 },
  'deep forest of one-token segments': {
    segments: randomForest(60, 1, 3),
    heads: blocked(4, 2, 16),
    window: 0,
  },
  'interleaved trees': { segments: randomForest(25, 12, 4), heads: blocked(4, 2, 24), window: 0 },
  'interleaved trees, window 9': { segments: randomForest(25, 12, 5), heads: interleaved(2, 16), window: 9 },
};

describe.each(Object.entries(cases))('%s', (_, attentionCase) => {
  // bf16: outputs and the saved output carry one rounding of 2^-9 each
  test.each([
    ['f32', 2e-6, 1e-5],
    ['bf16', 2 ** -8, 2 ** -6.5],
  ] as const)('%s equals the definition in double, forward and backward', (dtype, tolerance, backward) => {
    const { qkv, dOut } = inputs(attentionCase, dtype);
    const result = run(attentionCase, qkv.tensor, dOut.tensor);
    const expected = attentionForward(attentionCase, qkv.values);
    expectClose(result.out, expected.out, tolerance);
    expectClose(result.logSumExp, expected.logSumExp, 2e-6);
    expectClose(result.dQkv, attentionGradient(attentionCase, qkv.values, dOut.values), backward);
  });

  test('the result has the same bits in every run and for every number of threads', () => {
    const { qkv, dOut } = inputs(attentionCase);
    const first = run(attentionCase, qkv.tensor, dOut.tensor);
    const again = () => {
      const result = run(attentionCase, qkv.tensor, dOut.tensor);
      expectSameBits(result.out, first.out);
      expectSameBits(result.logSumExp, first.logSumExp);
      expectSameBits(result.dQkv, first.dQkv);
    };
    again();
    const usual = threads();
    try {
      for (const count of [1, 3]) {
        setThreads(count);
        again();
      }
    } finally {
      setThreads(usual);
    }
  });
});

test.each([
  [{ segments: forest([2, -1], [3, 0], [1, 1], [2, 1]), heads: interleaved(2, 3), window: 0 }],
  [{ segments: forest([2, -1], [3, 0], [1, -1], [2, 1]), heads: blocked(4, 2, 2), window: 3 }],
])('the gradient equals differences of the definition: %j', attentionCase => {
  const { qkv, dOut } = inputs(attentionCase);
  const expected = differences(
    values => dot(attentionForward(attentionCase, values).out, dOut.values),
    Float64Array.from(qkv.values),
  );
  expectClose(run(attentionCase, qkv.tensor, dOut.tensor).dQkv, expected, 1e-5);
});

test('packed answers that share a prompt equal each chain run alone', () => {
  const heads = blocked(4, 2, 64);
  const packed: AttentionCase = { segments: longPair, heads, window: 0 };
  const width = rowWidth(heads);
  const outWidth = heads.heads * heads.headDim;
  const { qkv, dOut } = inputs(packed);
  const together = run(packed, qkv.tensor, dOut.tensor);
  const sumOfGradients = new Float64Array(qkv.values.length);
  const answers = [2, 3];
  for (const answer of answers) {
    const tokens = [0, 1, answer].flatMap(s => {
      const [start, length] = longPair[s]!;
      return Array.from({ length }, (_, i) => start + i);
    });
    const pick = (values: Float32Array, columns: number, factor = (_token: number) => 1) =>
      Float32Array.from(
        tokens.flatMap(t =>
          Array.from(values.subarray(t * columns, (t + 1) * columns), value => value * factor(t)),
        ),
      );
    const [answerStart] = longPair[answer]!;
    const share = (token: number) => (token >= answerStart ? 1 : 1 / answers.length); // the prompt is in both
    const alone = run(
      { segments: forest([tokens.length, -1]), heads, window: 0 },
      Tensor.from(pick(qkv.values, width), [tokens.length, width]),
      Tensor.from(pick(dOut.values, outWidth, share), [tokens.length, outWidth]),
    );
    expectClose(alone.out, pick(together.out, outWidth), 2e-6);
    tokens.forEach((t, i) => {
      for (let c = 0; c < width; c++) sumOfGradients[t * width + c]! += alone.dQkv[i * width + c]!;
    });
  }
  expectClose(together.dQkv, sumOfGradients, 5e-6);
});

test('scores of any size give finite outputs', () => {
  const attentionCase: AttentionCase = { segments: longPair, heads: interleaved(1, 16), window: 0 };
  const tokens = tokenCount(longPair);
  const qkv = randomTensor([tokens, rowWidth(attentionCase.heads)], 6, 'f32', 60);
  const dOut = randomTensor([tokens, 16], 7);
  const result = run(attentionCase, qkv.tensor, dOut.tensor);
  expectClose(result.out, attentionForward(attentionCase, qkv.values).out, 1e-3); // scores reach 1e4
  expect(result.dQkv.every(Number.isFinite)).toBe(true);
});

describe.each([
  ['f32', 2e-6],
  ['bf16', 2 ** -8],
] as const)('attention with a cache, %s', (dtype, tolerance) => {
  test.each([
    [interleaved(2, 8), 0],
    [blocked(6, 2, 64), 0],
    [blocked(4, 1, 80), 0],
    [blocked(4, 2, 13), 5],
    [blocked(2, 2, 16), 100],
  ] as const)('in steps equals all at once: %j, window %i', (heads, window) => {
    const tokens = 137;
    const capacity = 150;
    const width = rowWidth(heads);
    const outWidth = heads.heads * heads.headDim;
    const keyWidth = heads.kvHeads * heads.headDim;
    const qkv = randomTensor([tokens, width], 8, dtype);
    const expected = attentionForward({ segments: forest([tokens, -1]), heads, window }, qkv.values);
    const keyCache = filled([capacity, keyWidth], dtype);
    const valueCache = filled([capacity, keyWidth], dtype);
    const out = filled([tokens, outWidth], dtype);
    let start = 0;
    for (const step of [1, 40, 1, 1, 93, 1]) {
      attentionCached({
        qkv: qkv.tensor.rows(start, start + step),
        heads,
        window,
        keyCache,
        valueCache,
        start,
        out: out.rows(start, start + step),
      });
      start += step;
    }
    expect(start).toBe(tokens);
    expectClose(out.toFloat32Array(), expected.out, tolerance);
    const keys = keyCache.toFloat32Array();
    const values = valueCache.toFloat32Array();
    for (let head = 0; head < heads.heads; head++) {
      const { key, value } = offsets(heads, head);
      const column = Math.floor((head * heads.kvHeads) / heads.heads) * heads.headDim;
      expect(keys[100 * keyWidth + column]).toBe(qkv.values[100 * width + key]);
      expect(values[100 * keyWidth + column]).toBe(qkv.values[100 * width + value]);
    }
    expect(keys.subarray(tokens * keyWidth).every(Number.isNaN)).toBe(true);
  });
});
