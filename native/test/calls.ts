import * as native from '../lib/index.js';
import { type DType, Tensor } from '../lib/index.js';

/** A correct call of every operation, small; the tests of arguments spoil them one by one. */
export interface GoodCall {
  run: (args: never) => unknown;
  /** Fresh arguments, made in the current scope. */
  args: () => Record<string, unknown>;
  /** Tensors the call writes, with the argument that each may share memory with. */
  outputs: Record<string, string | undefined>;
}

const f32 = (...shape: number[]) => Tensor.zeros(shape);
const i32 = (values: number[], shape = [values.length]) => Tensor.from(values, shape, 'i32');
const fill = (dtype: DType, ...shape: number[]) => {
  const tensor = Tensor.empty(shape, dtype);
  native.fillNormal({ out: tensor, deviation: 1, seed: 1 });
  return tensor;
};
const write = (...names: string[]) => Object.fromEntries(names.map(name => [name, undefined]));

const heads = { layout: 'blocked', heads: 4, kvHeads: 2, headDim: 8 };
const rowWidth = 64;
const segments = () => i32([0, 3, -1, 3, 2, 0], [2, 3]);
const optimizer = () => ({
  ...{ learningRate: 0.1, epsilon: 1e-8, weightDecay: 0 },
  gradientScale: Tensor.from([1], [1]),
});
const preference = {
  ...{ method: 'dpo', reduction: 'sum', beta: 0.1, lambda: 1, labelSmoothing: 0, lossScale: 1 },
};

export const goodCalls: Record<string, GoodCall> = {
  embedding: {
    run: native.embedding,
    args: () => ({ tokens: i32([0, 2]), table: fill('f32', 3, 4), out: f32(2, 4) }),
    outputs: write('out'),
  },
  embeddingBackward: {
    run: native.embeddingBackward,
    args: () => ({ tokens: i32([0, 2]), dOut: fill('f32', 2, 4), dTable: f32(3, 4) }),
    outputs: write('dTable'),
  },
  linear: {
    run: native.linear,
    args: () => ({ x: fill('f32', 2, 4), weight: fill('f32', 3, 4), bias: f32(3), out: f32(2, 3) }),
    outputs: write('out'),
  },
  linearBackwardInput: {
    run: native.linearBackwardInput,
    args: () => ({ dOut: fill('f32', 2, 3), weight: fill('f32', 3, 4), dX: f32(2, 4), accumulate: true }),
    outputs: write('dX'),
  },
  linearBackwardWeight: {
    run: native.linearBackwardWeight,
    args: () => ({ dOut: fill('f32', 2, 3), x: fill('f32', 2, 4), dWeight: f32(3, 4), dBias: f32(3) }),
    outputs: write('dWeight', 'dBias'),
  },
  layerNorm: {
    run: native.layerNorm,
    args: () => ({
      ...{ x: fill('f32', 2, 4), weight: f32(4), bias: f32(4), epsilon: 1e-5, out: f32(2, 4) },
      ...{ mean: f32(2), rstd: f32(2) },
    }),
    outputs: write('out', 'mean', 'rstd'),
  },
  layerNormBackward: {
    run: native.layerNormBackward,
    args: () => ({
      ...{ x: fill('f32', 2, 4), weight: f32(4), mean: f32(2), rstd: f32(2), dOut: fill('f32', 2, 4) },
      ...{ dX: f32(2, 4), accumulate: false, dWeight: f32(4), dBias: f32(4) },
    }),
    outputs: write('dX', 'dWeight', 'dBias'),
  },
  rmsNorm: {
    run: native.rmsNorm,
    args: () => ({ x: fill('f32', 2, 4), weight: f32(4), epsilon: 1e-5, out: f32(2, 4), rstd: f32(2) }),
    outputs: write('out', 'rstd'),
  },
  rmsNormBackward: {
    run: native.rmsNormBackward,
    args: () => ({
      ...{ x: fill('f32', 2, 4), weight: f32(4), rstd: f32(2), dOut: fill('f32', 2, 4) },
      ...{ dX: f32(2, 4), accumulate: false, dWeight: f32(4) },
    }),
    outputs: write('dX', 'dWeight'),
  },
  rotary: {
    run: native.rotary,
    args: () => ({
      ...{
        qkv: fill('f32', 5, rowWidth),
        positions: i32([0, 1, 2, 3, 4]),
        cosines: f32(6, 4),
        sines: f32(6, 4),
      },
      ...{ heads, inverse: false },
    }),
    outputs: write('qkv'),
  },
  attention: {
    run: native.attention,
    args: () => ({
      ...{ qkv: fill('f32', 5, rowWidth), segments: segments(), heads, window: 0 },
      ...{ out: f32(5, 32), logSumExp: f32(5, 4) },
    }),
    outputs: write('out', 'logSumExp'),
  },
  attentionBackward: {
    run: native.attentionBackward,
    args: () => ({
      ...{ qkv: fill('f32', 5, rowWidth), segments: segments(), heads, window: 0 },
      ...{ out: f32(5, 32), logSumExp: f32(5, 4), dOut: fill('f32', 5, 32), dQkv: f32(5, rowWidth) },
    }),
    outputs: write('dQkv'),
  },
  attentionCached: {
    run: native.attentionCached,
    args: () => ({
      ...{ qkv: fill('f32', 2, rowWidth), heads, window: 0 },
      ...{ keyCache: f32(7, 16), valueCache: f32(7, 16), start: 5, out: f32(2, 32) },
    }),
    outputs: write('keyCache', 'valueCache', 'out'),
  },
  gelu: {
    run: native.gelu,
    args: () => ({ x: fill('f32', 2, 4), out: f32(2, 4), kind: 'erf' }),
    outputs: write('out'),
  },
  geluBackward: {
    run: native.geluBackward,
    args: () => ({ x: fill('f32', 2, 4), dOut: fill('f32', 2, 4), dX: f32(2, 4), kind: 'tanh' }),
    outputs: { dX: 'dOut' },
  },
  swiglu: {
    run: native.swiglu,
    args: () => ({ gateUp: fill('f32', 2, 8), out: f32(2, 4) }),
    outputs: write('out'),
  },
  swigluBackward: {
    run: native.swigluBackward,
    args: () => ({ gateUp: fill('f32', 2, 8), dOut: fill('f32', 2, 4), dGateUp: f32(2, 8) }),
    outputs: write('dGateUp'),
  },
  add: {
    run: native.add,
    args: () => ({ a: fill('f32', 2, 4), b: fill('f32', 2, 4), out: f32(2, 4) }),
    outputs: { out: 'a' },
  },
  cast: {
    run: native.cast,
    args: () => ({ x: fill('f32', 2, 4), out: Tensor.zeros([2, 4]) }),
    outputs: write('out'),
  },
  scale: { run: native.scale, args: () => ({ x: fill('f32', 2, 4), factor: 2 }), outputs: write('x') },
  linearLogprob: {
    run: native.linearLogprob,
    args: () => ({
      ...{
        hidden: fill('f32', 4, 8),
        weight: fill('f32', 9, 8),
        rows: i32([1, 3]),
        targetRows: i32([0, 0, 1]),
      },
      ...{ labels: i32([8, 0, 4]), logps: f32(3), logSumExp: f32(2) },
    }),
    outputs: write('logps', 'logSumExp'),
  },
  linearLogprobBackward: {
    run: native.linearLogprobBackward,
    args: () => ({
      ...{
        hidden: fill('f32', 4, 8),
        weight: fill('f32', 9, 8),
        rows: i32([1, 3]),
        targetRows: i32([0, 0, 1]),
      },
      ...{
        labels: i32([8, 0, 4]),
        logSumExp: f32(2),
        dLogps: f32(3),
        dHidden: f32(4, 8),
        dWeight: f32(9, 8),
      },
    }),
    outputs: write('dHidden', 'dWeight'),
  },
  logprobGather: {
    run: native.logprobGather,
    args: () => ({ logits: fill('f32', 2, 9), labels: i32([-1, 8]), logps: f32(2), logSumExp: f32(2) }),
    outputs: write('logps', 'logSumExp'),
  },
  logprobGatherBackward: {
    run: native.logprobGatherBackward,
    args: () => ({
      ...{ logits: fill('f32', 2, 9), labels: i32([-1, 8]), logSumExp: f32(2) },
      ...{ dLogps: f32(2), dLogits: f32(2, 9) },
    }),
    outputs: { dLogits: 'logits' },
  },
  sequenceSum: {
    run: native.sequenceSum,
    args: () => ({ values: fill('f32', 5), offsets: i32([0, 2, 5]), sums: f32(2) }),
    outputs: write('sums'),
  },
  sequenceSumBackward: {
    run: native.sequenceSumBackward,
    args: () => ({ dSums: fill('f32', 2), offsets: i32([0, 2, 5]), dValues: f32(5) }),
    outputs: write('dValues'),
  },
  preferenceLoss: {
    run: native.preferenceLoss,
    args: () => ({
      ...{ ...preference, policy: fill('f32', 3, 2), reference: f32(3, 2) },
      ...{ augmentedPolicy: f32(3, 2), augmentedReference: f32(3, 2) },
      ...{ responseTokens: i32([1, 2, 3, 4, 5, 6], [3, 2]), losses: f32(3), margins: f32(3), deltas: f32(3) },
      dLogps: f32(3, 2),
    }),
    outputs: write('losses', 'margins', 'deltas', 'dLogps'),
  },
  rmsprop: {
    run: native.rmsprop,
    args: () => ({
      ...{
        parameters: [f32(3), f32(2, 2)],
        gradients: [f32(3), f32(2, 2)],
        squareAverages: [f32(3), f32(2, 2)],
      },
      ...{ computeWeights: [null, Tensor.zeros([2, 2], 'bf16')], ...optimizer(), alpha: 0.9 },
    }),
    outputs: {},
  },
  adamw: {
    run: native.adamw,
    args: () => ({
      ...{ parameters: [f32(3), f32(2, 2)], gradients: [f32(3), f32(2, 2)] },
      ...{ firstMoments: [f32(3), f32(2, 2)], secondMoments: [f32(3), f32(2, 2)] },
      ...{ ...optimizer(), beta1: 0.9, beta2: 0.99, step: 1 },
    }),
    outputs: {},
  },
  l2Norm: {
    run: native.l2Norm,
    args: () => ({ tensors: [f32(3), f32(2, 2)], norm: f32(1) }),
    outputs: write('norm'),
  },
  clipFactor: {
    run: native.clipFactor,
    args: () => ({ norm: f32(1), maxNorm: 10, factor: f32(1) }),
    outputs: write('factor'),
  },
  fillNormal: {
    run: native.fillNormal,
    args: () => ({ out: f32(2, 4), deviation: 1, seed: 3 }),
    outputs: write('out'),
  },
};
