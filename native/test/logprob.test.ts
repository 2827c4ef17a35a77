import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type DType,
  linearLogprob,
  linearLogprobBackward,
  logprobGather,
  logprobGatherBackward,
  memory,
  Scope,
  setThreads,
  Tensor,
  threads,
} from '../lib/index.js';
import { differences, expectSameBits, expectWithin } from './reference/compare.js';
import { dot, expectClose, product, randomIndices, randomTensor, randomValues } from './support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

const nan = (shape: number[], dtype: DType = 'f32') =>
  Tensor.from(new Float32Array(shape.reduce((a, b) => a * b)).fill(Number.NaN), shape, dtype);

function logSumExpOf(row: ArrayLike<number>): number {
  let highest = Number.NEGATIVE_INFINITY;
  for (let v = 0; v < row.length; v++) highest = Math.max(highest, row[v]!);
  let total = 0;
  for (let v = 0; v < row.length; v++) total += Math.exp(row[v]! - highest);
  return highest + Math.log(total);
}

const rowOf = (values: Float64Array, row: number, width: number) =>
  values.subarray(row * width, (row + 1) * width);

describe('the exponential function', () => {
  // with logSumExp 0 and dLogps -1 the gradient off the label is e^logit
  const exponentials = (logits: Float32Array) => {
    const width = logits.length + 1;
    const dLogits = Tensor.empty([1, width]);
    logprobGatherBackward({
      logits: Tensor.from(Float32Array.from([...logits, 0]), [1, width]),
      labels: Tensor.from(Int32Array.of(width - 1), [1]),
      logSumExp: Tensor.zeros([1]),
      dLogps: Tensor.from([-1], [1]),
      dLogits,
    });
    return dLogits.toFloat32Array().subarray(0, logits.length);
  };

  test('is right to 2 units in the last place', () => {
    const values = Float32Array.from({ length: 200_000 }, (_, i) => -86.9 + (i * 175.6) / 200_000);
    expectWithin(exponentials(values), Array.from(values, Math.exp), 0, 2 * 2 ** -23);
  });

  test('ends in 0 and in infinity, and keeps NaN', () => {
    const values = [Number.NEGATIVE_INFINITY, -1e30, -1000, -88, 0, 89, 1e30, Number.POSITIVE_INFINITY];
    const expected = [0, 0, 0, 0, 1, Infinity, Infinity, Infinity];
    expect(Array.from(exponentials(Float32Array.from(values)), Math.abs)).toEqual(expected);
    expect(exponentials(Float32Array.of(Number.NaN, 1))[0]).toBeNaN();
  });
});

const gatherTolerance = { f32: 1e-6, bf16: 2 ** -8 } as const;

describe.each(['f32', 'bf16'] as const)('gathered log-probs, %s logits', dtype => {
  test.each([
    [1, 1],
    [3, 5],
    [9, 31],
    [4, 33],
    [7, 129],
    [5, 4099],
    [4, 50_257],
    [3, 128_256],
  ])('[%i, %i]', (rows, vocabulary) => {
    const logits = randomTensor([rows, vocabulary], 1, dtype, 4);
    const indices = randomIndices(rows, vocabulary, 2);
    if (rows > 1) indices.set([0, vocabulary - 1]); // both edges
    if (rows > 2) indices[2] = -1;
    const labels = Tensor.from(indices, [rows]);
    const logps = nan([rows]);
    const logSumExp = nan([rows]);
    logprobGather({ logits: logits.tensor, labels, logps, logSumExp });
    const exact = Float64Array.from(logits.values);
    const expectedLse = Array.from(indices, (label, i) =>
      label < 0 ? 0 : logSumExpOf(rowOf(exact, i, vocabulary)),
    );
    const expected = Array.from(indices, (label, i) =>
      label < 0 ? 0 : exact[i * vocabulary + label]! - expectedLse[i]!,
    );
    expectWithin(logSumExp.toFloat32Array(), expectedLse, 1e-6, 1e-6);
    expectWithin(logps.toFloat32Array(), expected, 2e-6, 1e-6);

    const dLogps = randomTensor([rows], 3);
    const gradient = exact.map((logit, i) => {
      const row = Math.floor(i / vocabulary);
      if (indices[row]! < 0) return 0;
      const hit = i % vocabulary === indices[row] ? 1 : 0;
      return dLogps.values[row]! * (hit - Math.exp(logit - expectedLse[row]!));
    });
    const apart = nan([rows, vocabulary], dtype);
    const args = { logits: logits.tensor, labels, logSumExp, dLogps: dLogps.tensor };
    logprobGatherBackward({ ...args, dLogits: apart });
    // the saved logSumExp carries a rounding of 2^-24 of its size (here up to 16)
    expectWithin(apart.toFloat32Array(), gradient, 1e-7, 5 * gatherTolerance[dtype]);
    logprobGatherBackward({ ...args, dLogits: logits.tensor });
    expectSameBits(logits.tensor.toFloat32Array(), apart.toFloat32Array());
  });
});

test('-inf logits have probability 0; a label there has log-prob -inf', () => {
  const row = [Number.NEGATIVE_INFINITY, 1, Number.NEGATIVE_INFINITY, 2];
  const wide = [...Array<number>(20_000).fill(Number.NEGATIVE_INFINITY), ...row]; // whole blocks of -inf come first
  for (const values of [row, wide]) {
    const width = values.length;
    const logits = Tensor.from(Float32Array.from([...values, ...values]), [2, width]);
    const labels = Tensor.from(Int32Array.of(width - 1, 0), [2]);
    const logps = nan([2]);
    const logSumExp = nan([2]);
    logprobGather({ logits, labels, logps, logSumExp });
    const expected = 2 - Math.log(Math.exp(1) + Math.exp(2));
    expect(logps.toFloat32Array()[0]).toBeCloseTo(expected, 6);
    expect(logps.toFloat32Array()[1]).toBe(Number.NEGATIVE_INFINITY);
    const dLogits = nan([2, width]);
    logprobGatherBackward({ logits, labels, logSumExp, dLogps: Tensor.from([1, 1], [2]), dLogits });
    const gradient = dLogits.toFloat32Array();
    expect(gradient[width - 1]).toBeCloseTo(1 - Math.exp(expected), 6);
    expect(gradient[width - 3]).toBeCloseTo(-Math.exp(expected - 1), 6);
    expect(Math.abs(gradient[0]!)).toBe(0);
  }
});

test('logits of any height, rising or falling along the row', () => {
  const width = 9001;
  const rising = Float32Array.from({ length: width }, (_, v) => v / 10 - 300);
  for (const values of [rising, rising.slice().reverse(), rising.map(v => v * 1e4)]) {
    const logps = nan([1]);
    const logSumExp = nan([1]);
    const labels = Tensor.from(Int32Array.of(17), [1]);
    logprobGather({ logits: Tensor.from(values, [1, width]), labels, logps, logSumExp });
    expectWithin(logSumExp.toFloat32Array(), [logSumExpOf(values)], 0, 2e-7);
  }
});

test('a NaN logit shows', () => {
  const values = randomValues(5000, 1);
  values[3210] = Number.NaN;
  const logps = nan([1]);
  const logSumExp = Tensor.zeros([1]);
  const labels = Tensor.from(Int32Array.of(0), [1]);
  logprobGather({ logits: Tensor.from(values, [1, 5000]), labels, logps, logSumExp });
  expect(logSumExp.toFloat32Array()[0]).toBeNaN();
});

interface Problem {
  tokens: number;
  width: number;
  vocabulary: number;
  rows: Int32Array;
  targetRows: Int32Array;
  labels: Int32Array;
}

/** Distinct rows in no order; the first row has several targets, two of them the same label; row 1 has none. */
function makeProblem(tokens: number, width: number, vocabulary: number, rowCount: number): Problem {
  const order = Array.from({ length: tokens }, (_, i) => (i * 7 + 3) % tokens); // 7 and tokens are coprime
  const targetRows = [0, 0, 0, ...Array.from({ length: rowCount }, (_, i) => i).filter(i => i !== 1)].sort(
    (a, b) => a - b,
  );
  const labels = randomIndices(targetRows.length, vocabulary, 5);
  labels[1] = labels[0]!;
  labels.set([vocabulary - 1, 0], 2); // both edges
  return {
    tokens,
    width,
    vocabulary,
    rows: Int32Array.from(order.slice(0, rowCount)),
    targetRows: Int32Array.from(targetRows),
    labels,
  };
}

function reference(p: Problem, hidden: ArrayLike<number>, weight: ArrayLike<number>) {
  const logits = product(
    p.rows.length,
    p.vocabulary,
    p.width,
    (m, h) => hidden[p.rows[m]! * p.width + h]!,
    (h, v) => weight[v * p.width + h]!,
  );
  const logSumExp = Array.from(p.rows, (_, m) => logSumExpOf(rowOf(logits, m, p.vocabulary)));
  const logps = Float64Array.from(
    p.labels,
    (label, i) => logits[p.targetRows[i]! * p.vocabulary + label]! - logSumExp[p.targetRows[i]!]!,
  );
  const statistics = Array.from(p.rows, (_, m) => {
    const row = rowOf(logits, m, p.vocabulary);
    const logProbs = row.map(logit => logit - logSumExp[m]!);
    const entropy = -logProbs.reduce((sum, value) => sum + Math.exp(value) * value, 0);
    const mean = row.reduce((sum, logit) => sum + logit, 0) / p.vocabulary;
    return [entropy, mean, logProbs.reduce((most, value) => Math.max(most, value), -Infinity)];
  }).flat();
  return { logits, logSumExp, logps, statistics };
}

function referenceGradients(
  p: Problem,
  hidden: ArrayLike<number>,
  weight: ArrayLike<number>,
  dLogps: ArrayLike<number>,
) {
  const { logits, logSumExp } = reference(p, hidden, weight);
  const dLogits = new Float64Array(logits.length);
  p.labels.forEach((label, i) => {
    const row = p.targetRows[i]!;
    for (let v = 0; v < p.vocabulary; v++) {
      const at = row * p.vocabulary + v;
      dLogits[at]! += dLogps[i]! * ((v === label ? 1 : 0) - Math.exp(logits[at]! - logSumExp[row]!));
    }
  });
  const dHidden = new Float64Array(p.tokens * p.width).fill(BEFORE);
  const dRows = product(
    p.rows.length,
    p.width,
    p.vocabulary,
    (m, v) => dLogits[m * p.vocabulary + v]!,
    (v, h) => weight[v * p.width + h]!,
  );
  p.rows.forEach((row, m) => {
    dHidden.set(rowOf(dRows, m, p.width), row * p.width);
  });
  const dWeight = product(
    p.vocabulary,
    p.width,
    p.rows.length,
    (v, m) => dLogits[m * p.vocabulary + v]!,
    (m, h) => hidden[p.rows[m]! * p.width + h]!,
  ).map(value => value + BEFORE);
  return { dHidden, dWeight };
}

/** What stands in the rows of dHidden and the rest of dWeight before the backward pass. */
const BEFORE = 1;

function run(p: Problem, hidden: Tensor, weight: Tensor, dLogps: Tensor, keepLogits = false) {
  const table = (values: Int32Array) => Tensor.from(values, [values.length]);
  const indices = { rows: table(p.rows), targetRows: table(p.targetRows), labels: table(p.labels) };
  const logps = nan([p.labels.length]);
  const logSumExp = nan([p.rows.length]);
  const before = (rows: number, dtype: DType) =>
    Tensor.from(new Float32Array(rows * p.width).fill(BEFORE), [rows, p.width], dtype);
  const dHidden = before(p.tokens, hidden.dtype);
  const dWeight = before(p.vocabulary, 'f32');
  const logits = keepLogits ? nan([p.rows.length, p.vocabulary]) : undefined;
  const statistics = nan([p.rows.length, 3]);
  linearLogprob({ hidden, weight, ...indices, logps, logSumExp, logits });
  const alone = logps.toFloat32Array();
  linearLogprob({ hidden, weight, ...indices, logps, logSumExp, logits, statistics });
  expectWithin(logps.toFloat32Array(), alone, 1e-6, 1e-6);
  linearLogprobBackward({ hidden, weight, ...indices, logSumExp, dLogps, dHidden, dWeight, logits });
  return {
    logps: logps.toFloat32Array(),
    logSumExp: logSumExp.toFloat32Array(),
    statistics: statistics.toFloat32Array(),
    dHidden: dHidden.toFloat32Array(),
    dWeight: dWeight.toFloat32Array(),
  };
}

const problems = {
  'a vocabulary of one': makeProblem(4, 5, 1, 3),
  'a vocabulary of 31': makeProblem(9, 4, 31, 6),
  'a vocabulary of 33': makeProblem(9, 4, 33, 6),
  'a vocabulary of 50257': makeProblem(4, 3, 50_257, 3),
  'a vocabulary of 128256': makeProblem(4, 3, 128_256, 3),
  small: makeProblem(5, 3, 7, 4),
  odd: makeProblem(37, 19, 131, 31),
  'every token': makeProblem(11, 8, 64, 11),
  'several panels': makeProblem(64, 2, 70_001, 61),
  'several panels of a GPU': makeProblem(300, 3, 30_012, 293),
  'several groups of rows': makeProblem(2090, 3, 2051, 2081),
  'several groups of rows of a GPU': makeProblem(4201, 3, 36, 4101),
};

describe.each(Object.entries(problems))('linear and log-prob, %s', (_, problem) => {
  test.each([
    ['f32', 5e-6, 1e-5],
    ['bf16', 1e-5, 2 ** -7],
  ] as const)('%s equals the definition in double', (dtype, tolerance, backward) => {
    const hidden = randomTensor([problem.tokens, problem.width], 1, dtype);
    const weight = randomTensor([problem.vocabulary, problem.width], 2, dtype);
    const dLogps = randomTensor([problem.labels.length], 3);
    const result = run(problem, hidden.tensor, weight.tensor, dLogps.tensor);
    const expected = reference(problem, hidden.values, weight.values);
    expectWithin(result.logSumExp, expected.logSumExp, tolerance, tolerance);
    expectWithin(result.logps, expected.logps, tolerance, tolerance);
    expectWithin(result.statistics, expected.statistics, 2 * tolerance, 2 * tolerance);
    const gradients = referenceGradients(problem, hidden.values, weight.values, dLogps.values);
    // dHidden sums over the vocabulary in f32
    expectClose(result.dHidden, gradients.dHidden, backward + problem.vocabulary * 1e-9);
    expectClose(result.dWeight, gradients.dWeight, backward);

    const kept = run(problem, hidden.tensor, weight.tensor, dLogps.tensor, true);
    for (const name of ['logps', 'logSumExp', 'dHidden', 'dWeight'] as const) {
      expectWithin(kept[name], result[name], 1e-6, 1e-6);
    }
  });
});

test('gradients of linear and log-prob equal differences of the definition', () => {
  const problem = problems.small;
  const hidden = randomTensor([problem.tokens, problem.width], 1);
  const weight = randomTensor([problem.vocabulary, problem.width], 2);
  const dLogps = randomTensor([problem.labels.length], 3);
  const result = run(problem, hidden.tensor, weight.tensor, dLogps.tensor);
  const loss = (h: ArrayLike<number>, w: ArrayLike<number>) =>
    dot(reference(problem, h, w).logps, dLogps.values);
  expectClose(
    result.dHidden,
    differences(h => loss(h, weight.values), Float64Array.from(hidden.values)).map(
      (v, i) => v + (problem.rows.includes(Math.floor(i / problem.width)) ? 0 : BEFORE),
    ),
    1e-5,
  );
  expectClose(
    result.dWeight,
    differences(w => loss(hidden.values, w), Float64Array.from(weight.values)).map(v => v + BEFORE),
    1e-5,
  );
});

test('linear and log-prob have the same bits in every run, forward for every number of threads', () => {
  const problem = problems.odd;
  const hidden = randomTensor([problem.tokens, problem.width], 1);
  const weight = randomTensor([problem.vocabulary, problem.width], 2);
  const dLogps = randomTensor([problem.labels.length], 3);
  const once = () => run(problem, hidden.tensor, weight.tensor, dLogps.tensor);
  const first = once();
  const second = once();
  for (const name of ['logps', 'logSumExp', 'dHidden', 'dWeight'] as const) {
    expectSameBits(second[name], first[name]);
  }
  const usual = threads();
  try {
    setThreads(1);
    expectSameBits(once().logps, first.logps);
  } finally {
    setThreads(usual);
  }
});

test('the statistics of extreme logits', () => {
  const statisticsOf = (weights: number[]): Float32Array => {
    const statistics = nan([1, 3]);
    linearLogprob({
      hidden: Tensor.from([1], [1, 1]),
      weight: Tensor.from(weights, [weights.length, 1]),
      rows: Tensor.from(Int32Array.of(0), [1]),
      targetRows: Tensor.from(Int32Array.of(0), [1]),
      labels: Tensor.from(Int32Array.of(0), [1]),
      logps: nan([1]),
      logSumExp: nan([1]),
      statistics,
    });
    return statistics.toFloat32Array();
  };
  // One certain token among others that have no probability at all; rising, so that every block moves the maximum.
  const rising = Array.from({ length: 5000 }, (_, v) => v * 1e4);
  expectWithin(statisticsOf(rising), [0, 4999 * 5e3, 0], 0, 1e-6);
  expectWithin(statisticsOf(rising.reverse()), [0, 4999 * 5e3, 0], 0, 1e-6);
  // Equal logits: the largest entropy there is.
  expectWithin(statisticsOf(Array<number>(3001).fill(-7)), [Math.log(3001), -7, -Math.log(3001)], 0, 1e-6);
});

test('the logits of all rows never exist at once', () => {
  const problem = makeProblem(503, 4, 100_003, 500);
  const hidden = randomTensor([problem.tokens, problem.width], 1);
  const weight = randomTensor([problem.vocabulary, problem.width], 2);
  run(problem, hidden.tensor, weight.tensor, randomTensor([problem.labels.length], 3).tensor);
  expect(memory().largestAllocationBytes).toBeLessThan(0.2 * 500 * 100_003 * 4);
});
