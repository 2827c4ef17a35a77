import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { adamw, rmsprop, Scope, setThreads, Tensor, threads } from '../lib/index.js';
import { expectClose, randomTensor } from './support.js';

let scope: Scope;
beforeEach(() => {
  scope = new Scope();
});
afterEach(() => scope.dispose());

// One long enough to be split between threads, one of a single element.
const shapes = [[3, 7], [1], [17_000], [5]];
const steps = 4;

interface Rule {
  weightDecay: number;
  gradientScale: number;
}

/** torch.optim.RMSprop (not centred, no momentum), in double. */
function rmspropReference(p: Float64Array, v: Float64Array, gradient: Float32Array, rule: Rule) {
  for (let i = 0; i < p.length; i++) {
    const g = gradient[i]! * rule.gradientScale + rule.weightDecay * p[i]!;
    v[i] = 0.99 * v[i]! + 0.01 * g * g;
    p[i]! -= (0.003 * g) / (Math.sqrt(v[i]!) + 1e-8);
  }
}

/** torch.optim.AdamW, in double. */
function adamwReference(
  ...[p, m, v, gradient, rule, step]: [Float64Array, Float64Array, Float64Array, Float32Array, Rule, number]
) {
  for (let i = 0; i < p.length; i++) {
    const g = gradient[i]! * rule.gradientScale;
    p[i]! *= 1 - 0.003 * rule.weightDecay;
    m[i] = 0.9 * m[i]! + 0.1 * g;
    v[i] = 0.999 * v[i]! + 0.001 * g * g;
    const denominator = Math.sqrt(v[i]!) / Math.sqrt(1 - 0.999 ** step) + 1e-8;
    p[i]! -= ((0.003 / (1 - 0.9 ** step)) * m[i]!) / denominator;
  }
}

const zeros = () => shapes.map(shape => Tensor.zeros(shape));
const doubles = (tensors: Tensor[]) => tensors.map(tensor => Float64Array.from(tensor.toFloat32Array()));

describe.each([
  { weightDecay: 0, gradientScale: 1 },
  { weightDecay: 0.1, gradientScale: 0.37 },
])('weight decay $weightDecay, gradient scale $gradientScale', rule => {
  const common = () => ({
    ...{ learningRate: 0.003, epsilon: 1e-8, weightDecay: rule.weightDecay },
    gradientScale: Tensor.from([rule.gradientScale], [1]),
  });

  test('RMSprop follows torch in double', () => {
    const parameters = shapes.map((shape, index) => randomTensor(shape, index).tensor);
    const squareAverages = zeros();
    const [p, v] = [doubles(parameters), doubles(squareAverages)];
    for (let step = 1; step <= steps; step++) {
      const gradients = shapes.map((shape, index) => randomTensor(shape, 100 * step + index));
      rmsprop({
        parameters,
        gradients: gradients.map(g => g.tensor),
        squareAverages,
        alpha: 0.99,
        ...common(),
      });
      shapes.forEach((_, index) => {
        rmspropReference(p[index]!, v[index]!, gradients[index]!.values, rule);
      });
    }
    parameters.forEach((tensor, index) => {
      expectClose(tensor.toFloat32Array(), p[index]!, 1e-6);
    });
    squareAverages.forEach((tensor, index) => {
      expectClose(tensor.toFloat32Array(), v[index]!, 1e-6);
    });
  });

  test('AdamW follows torch in double', () => {
    const parameters = shapes.map((shape, index) => randomTensor(shape, index).tensor);
    const [firstMoments, secondMoments] = [zeros(), zeros()];
    const [p, m, v] = [doubles(parameters), doubles(firstMoments), doubles(secondMoments)];
    for (let step = 1; step <= steps; step++) {
      const gradients = shapes.map((shape, index) => randomTensor(shape, 100 * step + index));
      const tensors = { parameters, gradients: gradients.map(g => g.tensor), firstMoments, secondMoments };
      adamw({ ...tensors, beta1: 0.9, beta2: 0.999, step, ...common() });
      shapes.forEach((_, index) => {
        adamwReference(p[index]!, m[index]!, v[index]!, gradients[index]!.values, rule, step);
      });
    }
    parameters.forEach((tensor, index) => {
      expectClose(tensor.toFloat32Array(), p[index]!, 1e-6);
    });
    secondMoments.forEach((tensor, index) => {
      expectClose(tensor.toFloat32Array(), v[index]!, 1e-6);
    });
  });
});

const rmspropRule = (scale = 1) => ({
  ...{ learningRate: 0.1, alpha: 0.99, epsilon: 1e-8, weightDecay: 0 },
  gradientScale: Tensor.from([scale], [1]),
});

test('bf16 compute weights are the rounded parameters; null entries are left out', () => {
  const parameters = [randomTensor([40], 1).tensor, randomTensor([30], 2).tensor];
  const gradients = [randomTensor([40], 3).tensor, randomTensor([30], 4).tensor];
  const squareAverages = [Tensor.zeros([40]), Tensor.zeros([30])];
  const weight = Tensor.zeros([40], 'bf16');
  rmsprop({ parameters, gradients, squareAverages, computeWeights: [weight, null], ...rmspropRule() });
  const updated = parameters[0]!.toFloat32Array();
  expect(weight.toFloat32Array()).toEqual(Tensor.from(updated, [40], 'bf16').toFloat32Array());
});

test('a gradient scale that is NaN changes nothing', () => {
  const tensors = [1, 2, 3, 4].map(seed => randomTensor([70], seed));
  const [parameter, gradient, first, second] = tensors.map(({ tensor }) => tensor) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  const common = { parameters: [parameter], gradients: [gradient], ...rmspropRule(Number.NaN) };
  rmsprop({ ...common, squareAverages: [second] });
  adamw({ ...common, firstMoments: [first], secondMoments: [second], beta1: 0.9, beta2: 0.99, step: 1 });
  for (const { tensor, values } of tensors) expect(tensor.toFloat32Array()).toEqual(values);
});

test('the result does not depend on the number of threads', () => {
  const before = threads();
  const results = [1, 2, 3].map(count => {
    setThreads(count);
    const parameters = shapes.map((shape, index) => randomTensor(shape, index).tensor);
    const gradients = shapes.map((shape, index) => randomTensor(shape, 10 + index).tensor);
    rmsprop({ parameters, gradients, squareAverages: zeros(), ...rmspropRule() });
    return parameters.map(tensor => tensor.toFloat32Array());
  });
  setThreads(before);
  expect(results[1]).toEqual(results[0]);
  expect(results[2]).toEqual(results[0]);
});

test('parameters may be views of one flat tensor, but must not overlap', () => {
  const flat = randomTensor([100], 1).tensor;
  const gradients = [randomTensor([60], 2).tensor, randomTensor([40], 3).tensor];
  const squareAverages = [Tensor.zeros([60]), Tensor.zeros([40])];
  const views = [flat.rows(0, 60), flat.rows(60, 100)];
  const before = flat.toFloat32Array();
  rmsprop({ parameters: views, gradients, squareAverages, ...rmspropRule() });
  expect(flat.toFloat32Array().every((value, index) => value !== before[index])).toBe(true);
  const overlapping = [flat.rows(0, 60), flat.rows(59, 99)];
  expect(() => rmsprop({ parameters: overlapping, gradients, squareAverages, ...rmspropRule() })).toThrow(
    'rmsprop: "parameters[1]" must not share memory with "parameters[0]"',
  );
});
