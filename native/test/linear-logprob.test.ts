import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  linearLogprob,
  linearLogprobBackward,
  memory,
  resetPeakMemory,
  Scope,
  Tensor,
} from '../lib/index.js';
import { dot, expectClose, numericGradient, randomIndices, randomTensor, randomValues } from './support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

interface Problem {
  tokens: number;
  width: number;
  vocabulary: number;
  rows: Int32Array;
  targetRows: Int32Array;
  labels: Int32Array;
}

/** Rows in no order, of which the first, some in the middle and the last have no target and others have three. */
function makeProblem(tokens: number, width: number, vocabulary: number): Problem {
  const rows = Int32Array.from({ length: tokens }, (_, t) => (t * 7) % tokens).subarray(0, tokens - 3);
  const targets: number[] = [];
  for (let row = 1; row < rows.length - 1; row++) targets.push(...Array(row % 4).fill(row));
  const labels = randomIndices(targets.length, vocabulary, 3);
  labels[0] = vocabulary - 1;
  return { tokens, width, vocabulary, rows, targetRows: Int32Array.from(targets), labels };
}

const indices = ({ rows, targetRows, labels }: Problem) => ({
  rows: Tensor.from(rows, [rows.length]),
  targetRows: Tensor.from(targetRows, [targetRows.length]),
  labels: Tensor.from(labels, [labels.length]),
});

/** The definition in double, one row at a time. */
function reference(p: Problem, hidden: Float32Array, weight: Float32Array, dLogps: Float32Array) {
  const { width, vocabulary } = p;
  const logps = new Float64Array(p.labels.length);
  const logSumExp = new Float64Array(p.rows.length);
  const dHidden = new Float64Array(p.tokens * width);
  const dWeight = new Float64Array(vocabulary * width);
  const logits = new Float64Array(vocabulary);
  for (const [row, token] of p.rows.entries()) {
    const h = hidden.subarray(token * width, (token + 1) * width);
    for (let v = 0; v < vocabulary; v++) {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += h[i]! * weight[v * width + i]!;
      logits[v] = sum;
    }
    const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
    logSumExp[row] = Math.log(sum);
    const targets = [...p.targetRows.keys()].filter(target => p.targetRows[target] === row);
    let total = 0;
    for (const target of targets) {
      logps[target] = logits[p.labels[target]!]! - logSumExp[row]!;
      total += dLogps[target]!;
    }
    const slopes = logits.map(logit => (-total * Math.exp(logit)) / sum);
    for (const target of targets) slopes[p.labels[target]!]! += dLogps[target]!;
    if (targets.length === 0) continue;
    for (let v = 0; v < vocabulary; v++) {
      for (let i = 0; i < width; i++) {
        dHidden[token * width + i]! += slopes[v]! * weight[v * width + i]!;
        dWeight[v * width + i]! += slopes[v]! * h[i]!;
      }
    }
  }
  return { logps, logSumExp, dHidden, dWeight };
}

// A vocabulary of 2^18 leaves room for 16 rows in a chunk: three chunks, the last not full.
const sizes = [
  { tokens: 36, width: 2, vocabulary: 1 << 18 },
  { tokens: 23, width: 33, vocabulary: 101 },
];
// bf16: the logits' gradient and dHidden are each rounded to 2^-9.
const tolerance = { f32: 3e-6, bf16: 2 ** -7 };

describe.each(sizes)('vocabulary of $vocabulary', ({ tokens, width, vocabulary }) => {
  test.each(['f32', 'bf16'] as const)('%s values and gradients, without whole logits', dtype => {
    const problem = makeProblem(tokens, width, vocabulary);
    const hidden = randomTensor([tokens, width], 1, dtype);
    const weight = randomTensor([vocabulary, width], 2, dtype, 0.5);
    const dLogps = randomTensor([problem.labels.length], 4);
    const start = randomTensor([vocabulary, width], 5, 'f32', 0.01);
    const expected = reference(problem, hidden.values, weight.values, dLogps.values);
    const inputs = { hidden: hidden.tensor, weight: weight.tensor, ...indices(problem) };
    const logps = Tensor.empty([problem.labels.length]);
    const logSumExp = Tensor.empty([problem.rows.length]);
    const dHidden = Tensor.from(new Float32Array(tokens * width).fill(Number.NaN), [tokens, width], dtype);
    resetPeakMemory();
    linearLogprob({ ...inputs, logps, logSumExp });
    linearLogprobBackward({ ...inputs, logSumExp, dLogps: dLogps.tensor, dHidden, dWeight: start.tensor });
    if (vocabulary > 1000) {
      expect(memory().largestAllocationBytes).toBeLessThan((problem.rows.length * vocabulary * 4) / 2);
    }
    expectClose(logps.toFloat32Array(), expected.logps, 3e-6);
    expectClose(logSumExp.toFloat32Array(), expected.logSumExp, 3e-6);
    expectClose(dHidden.toFloat32Array(), expected.dHidden, tolerance[dtype]);
    const added = start.tensor.toFloat32Array().map((value, index) => value - start.values[index]!);
    expectClose(added, expected.dWeight, tolerance[dtype]);
  });
});

test('gradients agree with finite differences', () => {
  const problem = makeProblem(6, 4, 11);
  const hidden = randomValues(24, 6);
  const weight = randomValues(44, 7);
  const direction = randomValues(problem.labels.length, 8);
  const logSumExp = Tensor.empty([problem.rows.length]);
  const run = (h: Float32Array, w: Float32Array) => {
    const logps = Tensor.empty([problem.labels.length]);
    const inputs = { hidden: Tensor.from(h, [6, 4]), weight: Tensor.from(w, [11, 4]), ...indices(problem) };
    linearLogprob({ ...inputs, logps, logSumExp });
    return { inputs, loss: dot(logps.toFloat32Array(), direction) };
  };
  const { inputs } = run(hidden, weight);
  const dHidden = Tensor.empty([6, 4]);
  const dWeight = Tensor.zeros([11, 4]);
  const dLogps = Tensor.from(direction, [direction.length]);
  linearLogprobBackward({ ...inputs, logSumExp, dLogps, dHidden, dWeight });
  expectClose(
    dHidden.toFloat32Array(),
    numericGradient(h => run(h, weight).loss, hidden, 2 ** -7),
    2e-3,
  );
  expectClose(
    dWeight.toFloat32Array(),
    numericGradient(w => run(hidden, w).loss, weight, 2 ** -7),
    2e-3,
  );
});

test.each([
  { change: { rows: [0, 5] }, text: '"rows"[1] is 5' },
  { change: { rows: [2, 2] }, text: '"rows"[1] is 2' },
  { change: { targetRows: [0, 2] }, text: '"targetRows"[1] is 2' },
  { change: { targetRows: [1, 0] }, text: '"targetRows"[1] is 0' },
  { change: { labels: [3, 9] }, text: '"labels"[1] is 9' },
  { change: { labels: [-1, 0] }, text: '"labels"[0] is -1' },
])('$text is refused', ({ change, text }) => {
  const values = { rows: [0, 1], targetRows: [0, 1], labels: [0, 1], ...change };
  const args = {
    hidden: Tensor.zeros([5, 4]),
    weight: Tensor.zeros([9, 4]),
    rows: Tensor.from(values.rows, [2], 'i32'),
    targetRows: Tensor.from(values.targetRows, [2], 'i32'),
    labels: Tensor.from(values.labels, [2], 'i32'),
    logps: Tensor.zeros([2]),
    logSumExp: Tensor.zeros([2]),
  };
  expect(() => linearLogprob(args)).toThrow(RangeError);
  expect(() => linearLogprob(args)).toThrow(`linearLogprob: ${text}`);
});
