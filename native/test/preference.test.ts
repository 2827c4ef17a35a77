import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type LogpReduction, type PreferenceMethod, preferenceLoss, Scope, Tensor } from '../lib/index.js';
import { expectClose, numericGradient } from './support.js';

interface Settings {
  method: PreferenceMethod;
  reduction: LogpReduction;
  beta: number;
  lambda: number;
  labelSmoothing: number;
  lossScale: number;
}
const plain: Settings = {
  ...{ method: 'dpo', reduction: 'sum', beta: 0.1, lambda: 0, labelSmoothing: 0, lossScale: 1 },
};

interface Pair {
  policy: [number, number];
  reference: [number, number];
  augmentedPolicy: [number, number];
  augmentedReference: [number, number];
  tokens: [number, number];
}

/** Runs the loss over pairs; `augmented` says whether the augmented log-probs are given. */
function run(pairs: readonly Pair[], settings: Settings, augmented: boolean) {
  using _ = new Scope();
  const count = pairs.length;
  const columns = (pick: (pair: Pair) => number[]) => Tensor.from(pairs.flatMap(pick), [count, 2]);
  const out = { losses: [count], margins: [count], deltas: [count], dLogps: [count, 2] } as const;
  const written = {
    losses: Tensor.empty(out.losses),
    margins: Tensor.empty(out.margins),
    deltas: Tensor.empty(out.deltas),
    dLogps: Tensor.empty(out.dLogps),
  };
  preferenceLoss({
    ...settings,
    policy: columns(pair => pair.policy),
    reference: columns(pair => pair.reference),
    augmentedPolicy: augmented ? columns(pair => pair.augmentedPolicy) : undefined,
    augmentedReference: augmented ? columns(pair => pair.augmentedReference) : undefined,
    responseTokens: Tensor.from(Int32Array.from(pairs.flatMap(pair => pair.tokens)), [count, 2]),
    ...written,
  });
  return {
    losses: written.losses.toFloat32Array(),
    margins: written.margins.toFloat32Array(),
    deltas: written.deltas.toFloat32Array(),
    dLogps: written.dLogps.toFloat32Array(),
  };
}

const logp = fc.double({ min: -400, max: 0, noNaN: true }).map(Math.fround);
const twoLogps = fc.tuple(logp, logp);
const tokenCount = fc.integer({ min: 1, max: 300 });
const pairs = fc.array(
  fc.record({
    policy: twoLogps,
    reference: twoLogps,
    augmentedPolicy: twoLogps,
    augmentedReference: twoLogps,
    tokens: fc.tuple(tokenCount, tokenCount),
  }) as fc.Arbitrary<Pair>,
  { minLength: 1, maxLength: 5 },
);
const settings = fc.record({
  method: fc.constantFrom<PreferenceMethod>('dpo', 'ipo'),
  reduction: fc.constantFrom<LogpReduction>('sum', 'mean'),
  beta: fc.double({ min: 0.01, max: 2, noNaN: true }),
  lambda: fc.double({ min: 0, max: 2, noNaN: true }),
  labelSmoothing: fc.constantFrom(0, 0.1, 0.4),
  lossScale: fc.constantFrom(1, 0.25),
});

/** The definitions in double, one pair at a time. */
function reference(pair: Pair, s: Settings, augmented: boolean) {
  const weights = pair.tokens.map(count => (s.reduction === 'sum' ? 1 : 1 / count)) as [number, number];
  const margin = (policy: [number, number], base: [number, number]) =>
    (policy[0] - base[0]) * weights[0] - (policy[1] - base[1]) * weights[1];
  const m = margin(pair.policy, pair.reference);
  const delta = augmented ? s.beta * margin(pair.augmentedPolicy, pair.augmentedReference) : 0;
  const softplus = (z: number) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
  const z = s.beta * m - s.lambda * delta;
  const distance = m - s.lambda * delta - 1 / (2 * s.beta);
  const loss =
    s.method === 'ipo'
      ? distance ** 2
      : (1 - s.labelSmoothing) * softplus(-z) + s.labelSmoothing * softplus(z);
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  const dpoSlope = s.beta * (s.labelSmoothing * sigmoid(z) - (1 - s.labelSmoothing) * sigmoid(-z));
  const slope = s.method === 'ipo' ? 2 * distance : dpoSlope;
  return {
    ...{ m, delta, loss },
    dLogps: [slope * weights[0] * s.lossScale, -slope * weights[1] * s.lossScale],
  };
}

/** f32 results of sums of numbers of the given size. */
const closeTo = (actual: number, expected: number, scale: number) => {
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(3e-7 * (Math.abs(expected) + scale));
};

test('values and gradients follow the definitions', () => {
  fc.assert(
    fc.property(pairs, settings, fc.boolean(), (batch, s, augmented) => {
      const got = run(batch, s, augmented);
      batch.forEach((pair, index) => {
        const expected = reference(pair, s, augmented);
        closeTo(got.margins[index]!, expected.m, 1e-9);
        closeTo(got.deltas[index]!, expected.delta, 1e-9);
        closeTo(got.losses[index]!, expected.loss, 1e-9);
        closeTo(got.dLogps[2 * index]!, expected.dLogps[0]!, 1e-12);
        closeTo(got.dLogps[2 * index + 1]!, expected.dLogps[1]!, 1e-12);
      });
    }),
  );
});

test('lambda = 0 gives DPO and IPO bit for bit', () => {
  fc.assert(
    fc.property(pairs, settings, (batch, s) => {
      const [refined, unrefined] = [run(batch, { ...s, lambda: 0 }, true), run(batch, s, false)];
      expect(refined.losses).toEqual(unrefined.losses);
      expect(refined.margins).toEqual(unrefined.margins);
      expect(refined.dLogps).toEqual(unrefined.dLogps);
    }),
  );
});

test('at step 0, where policy and reference are one, every loss has its constant', () => {
  fc.assert(
    fc.property(pairs, settings, (batch, s) => {
      const same = batch.map(pair => ({
        ...pair,
        reference: pair.policy,
        augmentedReference: pair.augmentedPolicy,
      }));
      const got = run(same, { ...s, labelSmoothing: 0 }, true);
      const constant = s.method === 'dpo' ? Math.log(2) : 1 / (4 * s.beta * s.beta);
      expect(got.margins.every(margin => margin === 0)).toBe(true);
      expect(got.deltas.every(delta => delta === 0)).toBe(true);
      expect(got.losses.every(loss => loss === Math.fround(constant))).toBe(true);
    }),
  );
});

test('the refinement is additive (Prop. 3.3 i): delta(l, w) = delta(l, s) - delta(w, s)', () => {
  fc.assert(
    fc.property(
      twoLogps,
      twoLogps,
      twoLogps,
      fc.double({ min: 0.01, max: 2, noNaN: true }),
      (w, l, s, beta) => {
        // Each answer brings (policy, reference) under the augmented query; the plain view plays no part.
        const pair = (first: [number, number], second: [number, number]): Pair => ({
          policy: [0, 0],
          reference: [0, 0],
          augmentedPolicy: [first[0], second[0]],
          augmentedReference: [first[1], second[1]],
          tokens: [1, 1],
        });
        const { deltas } = run([pair(l, w), pair(l, s), pair(w, s)], { ...plain, beta }, true);
        closeTo(deltas[0]!, deltas[1]! - deltas[2]!, 1000 * beta);
      },
    ),
  );
});

test('an empty p gives delta = beta m, and beta (1 - lambda) inside the sigmoid only', () => {
  const beta = fc.double({ min: 0.01, max: 2, noNaN: true });
  const lambda = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(pairs, beta, lambda, (batch, beta, lambda) => {
      const empty = batch.map(pair => ({
        ...pair,
        augmentedPolicy: pair.policy,
        augmentedReference: pair.reference,
      }));
      const got = run(empty, { ...plain, beta, lambda }, true);
      empty.forEach((pair, index) => {
        const m = reference(pair, plain, false).m;
        closeTo(got.deltas[index]!, beta * m, 1e-9);
        const inside = beta * (1 - lambda) * m;
        const slope = -beta / (1 + Math.exp(inside)); // the factor in front stays beta
        expect(Math.abs(got.dLogps[2 * index]! - slope)).toBeLessThanOrEqual(1e-6 * beta);
      });
    }),
  );
});

test('no gradient flows through delta: dLogps is the slope with delta held fixed', () => {
  const pair: Pair = {
    policy: [-21.5, -24],
    reference: [-22, -22.5],
    augmentedPolicy: [-20, -25],
    augmentedReference: [-21, -24.5],
    tokens: [5, 7],
  };
  for (const method of ['dpo', 'ipo'] as const) {
    for (const reduction of ['sum', 'mean'] as const) {
      const s: Settings = { method, reduction, beta: 0.3, lambda: 0.5, labelSmoothing: 0.1, lossScale: 1 };
      const loss = (values: Float32Array) =>
        run([{ ...pair, policy: [values[0]!, values[1]!] }], s, true).losses[0]!;
      const numeric = numericGradient(loss, Float32Array.from(pair.policy), 2 ** -5);
      expectClose(run([pair], s, true).dLogps, numeric, 1e-3);
    }
  }
});

describe('SFT', () => {
  test.each(['sum', 'mean'] as const)('%s over response tokens', reduction => {
    using _ = new Scope();
    const losses = Tensor.empty([2]);
    const dLogps = Tensor.empty([2, 1]);
    preferenceLoss({
      ...{ ...plain, method: 'sft', reduction, lossScale: 0.5 },
      policy: Tensor.from([-12, -30], [2, 1]),
      responseTokens: Tensor.from(new Int32Array([4, 8]), [2, 1]),
      ...{ losses, dLogps },
    });
    expect([...losses.toFloat32Array()]).toEqual(reduction === 'sum' ? [12, 30] : [3, 3.75]);
    expect([...dLogps.toFloat32Array()]).toEqual(reduction === 'sum' ? [-0.5, -0.5] : [-0.125, -0.0625]);
  });
});

test('log-probs far apart give finite numbers', () => {
  const pair: Pair = {
    policy: [-1e6, 0],
    reference: [0, -1e6],
    ...{ augmentedPolicy: [0, 0], augmentedReference: [0, 0], tokens: [1, 1] },
  };
  const got = run([pair], { ...plain, beta: 1 }, false);
  expect(got.losses[0]).toBe(2e6);
  expect([...got.dLogps]).toEqual([-1, 1]);
});
