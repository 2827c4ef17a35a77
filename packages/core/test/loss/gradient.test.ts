import { Scope, Tensor } from '@sralign/native';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Variable } from '../../src/autograd/graph.js';
import { Parameter } from '../../src/autograd/parameter.js';
import { packExamples } from '../../src/batch/pack.js';
import type { Method } from '../../src/config/method.js';
import { preferenceGradient } from '../../src/loss/gradient.js';
import { examplesOf, fixedPairs } from '../support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

const [WIDTH, VOCABULARY, PAIRS] = [5, 101, 12];

const waves = (count: number, phase: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(1.7 * i + phase));

const logps = (phase: number): Tensor => Tensor.from(waves(2 * PAIRS, phase), [PAIRS, 2]);

/** The gradient of twelve pairs when the logits of `rows` rows are kept at a time. */
function gradient(method: Method, rows: number) {
  const batch = packExamples(examplesOf(method, fixedPairs(PAIRS)));
  const tokens = batch.tokens.length;
  const hidden = new Variable(Tensor.from(waves(tokens * WIDTH, 1), [tokens, WIDTH]));
  const weight = Tensor.from(waves(VOCABULARY * WIDTH, 2), [VOCABULARY, WIDTH]);
  const gradient = Tensor.zeros(weight.shape);
  const head = new Parameter('head', weight.shape, [], { gradientOf: () => gradient });
  head.bind({ value: weight, compute: weight });
  const output = preferenceGradient(
    { method, beta: 0.1, lambda: 0.5, labelSmoothing: 0, logpReduction: 'mean', sftReduction: 'example' },
    hidden,
    head,
    batch,
    {
      responseTokens: Tensor.from(batch.responseTokens, [PAIRS, method === 'sft' ? 1 : 2]),
      reference: method === 'sft' ? null : logps(3),
      augmentedPolicy: method === 'sr-dpo' ? logps(4) : null,
      augmentedReference: method === 'sr-dpo' ? logps(5) : null,
    },
    1 / PAIRS,
    rows * VOCABULARY * Float32Array.BYTES_PER_ELEMENT,
  );
  const dHead = head.gradient.toFloat32Array();
  return {
    policy: output.policy.toFloat32Array(),
    losses: output.losses.toFloat32Array(),
    margins: output.margins.toFloat32Array(),
    deltas: output.deltas.toFloat32Array(),
    dHidden: hidden.gradient!.toFloat32Array(),
    dHead,
  };
}

// Answers have up to 9 tokens: 4 rows are less than most pairs have, 20 hold one or two pairs, 1000 hold all.
it.each(['sft', 'dpo', 'sr-dpo'] as const)('%s: every grouping of the pairs gives the same', method => {
  const whole = gradient(method, 1000);
  expect(whole.losses.length).toBe(PAIRS);
  expect(whole.dHidden.some(value => value !== 0)).toBe(true);
  for (const rows of [4, 20]) {
    const grouped = gradient(method, rows);
    for (const name of ['policy', 'losses', 'margins', 'deltas', 'dHidden', 'dHead'] as const) {
      expect(grouped[name].length).toBe(whole[name].length);
      const worst = Math.max(...grouped[name].map((value, i) => Math.abs(value - whole[name][i]!)));
      expect(worst, `${name} with ${rows} rows`).toBeLessThan(1e-5);
    }
  }
});
