// Runs every kernel on fixed inputs and prints what comes out as JSON. Tests start it once per instruction set of the
// processor, which a process chooses when it loads the engine, or on another device: every-kernel.mjs [DEVICE]
import * as native from '../dist/index.js';

native.useDevice(process.argv[2] ?? 'cpu');

const { Tensor } = native;
const tokens = 75;
const heads = { layout: 'blocked', heads: 4, kvHeads: 2, headDim: 20 };
const rowWidth = 160;
const outWidth = 80;
const results = {};

const values = (count, seed) =>
  Float32Array.from({ length: count }, (_, i) => 2 * Math.sin(i * 1.3 + seed * i * i));
const size = shape => shape.reduce((a, b) => a * b);
const random = (shape, seed, dtype) => Tensor.from(values(size(shape), seed), shape, dtype);
const indices = (count, limit) =>
  Tensor.from(
    Int32Array.from({ length: count }, (_, i) => (i * 37) % limit),
    [count],
  );
const read = tensors =>
  Object.fromEntries(Object.entries(tensors).map(([k, t]) => [k, Array.from(t.toFloat32Array())]));

const record = (name, tensors) => {
  results[name] = read(tensors);
};

for (const dtype of ['f32', 'bf16']) {
  const empty = shape => Tensor.zeros(shape, dtype);

  const qkv = random([tokens, rowWidth], 0.1, dtype);
  const angles = { cosines: random([50, 7], 0.2), sines: random([50, 7], 0.3) };
  native.rotary({ qkv, positions: indices(tokens, 50), ...angles, heads });
  record(`rotary ${dtype}`, { qkv });

  const segments = Tensor.from(Int32Array.of(0, 5, -1, 5, 41, 0, 46, 1, 1, 47, 28, 1), [4, 3]);
  const shared = { qkv, segments, heads, window: 40 };
  const saved = { out: empty([tokens, outWidth]), logSumExp: Tensor.zeros([tokens, 4]) };
  const dQkv = empty([tokens, rowWidth]);
  native.attention({ ...shared, ...saved });
  native.attentionBackward({ ...shared, ...saved, dOut: random([tokens, outWidth], 0.4, dtype), dQkv });
  record(`attention ${dtype}`, { ...saved, dQkv });

  const cache = { keyCache: empty([80, 40]), valueCache: empty([80, 40]), out: empty([tokens, outWidth]) };
  native.attentionCached({ qkv, heads, ...cache, start: 5 });
  record(`attentionCached ${dtype}`, cache);

  const layerOf = { x: random([tokens, 29], 3.7, dtype), weight: random([43, 29], 3.8, dtype) };
  const products = { out: empty([tokens, 43]), dX: empty([tokens, 29]) };
  const sums = { dWeight: random([43, 29], 3.9), dBias: random([43], 4.1) };
  const dProduct = random([tokens, 43], 4.2, dtype);
  native.linear({ ...layerOf, bias: random([43], 4.3), out: products.out });
  native.linearBackwardInput({ dOut: dProduct, weight: layerOf.weight, dX: products.dX });
  native.linearBackwardWeight({ dOut: dProduct, x: layerOf.x, ...sums });
  record(`linear ${dtype}`, { ...products, ...sums });

  const x = random([tokens, 583], 0.5);
  const parameters = { weight: random([583], 0.6), bias: random([583], 0.7) };
  const layer = { out: empty([tokens, 583]), mean: Tensor.zeros([tokens]), rstd: Tensor.zeros([tokens]) };
  native.layerNorm({ x, ...parameters, ...layer });
  const gradients = {
    dX: Tensor.zeros([tokens, 583]),
    dWeight: Tensor.zeros([583]),
    dBias: Tensor.zeros([583]),
  };
  const dOut = random([tokens, 583], 0.8, dtype);
  native.layerNormBackward({
    x,
    weight: parameters.weight,
    mean: layer.mean,
    rstd: layer.rstd,
    dOut,
    ...gradients,
  });
  record(`layerNorm ${dtype}`, { ...layer, ...gradients });
  native.rmsNorm({ x, weight: parameters.weight, out: layer.out, rstd: layer.rstd });
  const { dX, dWeight } = gradients;
  native.rmsNormBackward({ x, weight: parameters.weight, rstd: layer.rstd, dOut, dX, dWeight });
  record(`rmsNorm ${dtype}`, { out: layer.out, rstd: layer.rstd, dX, dWeight });

  const input = random([tokens, 82], 0.9, dtype);
  for (const kind of ['erf', 'tanh']) {
    const activated = { out: empty([tokens, 82]), dX: empty([tokens, 82]) };
    native.gelu({ x: input, out: activated.out, kind });
    native.geluBackward({ x: input, dOut: random([tokens, 82], 1.1, dtype), dX: activated.dX, kind });
    record(`gelu ${kind} ${dtype}`, activated);
  }
  const gated = { out: empty([tokens, 41]), dGateUp: empty([tokens, 82]) };
  native.swiglu({ gateUp: input, out: gated.out });
  native.swigluBackward({ gateUp: input, dOut: random([tokens, 41], 1.2, dtype), dGateUp: gated.dGateUp });
  record(`swiglu ${dtype}`, gated);

  const rows = { logps: Tensor.zeros([tokens]), logSumExp: Tensor.zeros([tokens]) };
  const logits = random([tokens, 1237], 1.3, dtype);
  const labels = indices(tokens, 1237);
  const dLogits = empty([tokens, 1237]);
  native.logprobGather({ logits, labels, ...rows });
  const dLogps = random([tokens], 1.4);
  native.logprobGatherBackward({ logits, labels, logSumExp: rows.logSumExp, dLogps, dLogits });
  record(`logprobGather ${dtype}`, { ...rows, dLogits });

  const table = { hidden: random([tokens, 16], 1.5, dtype), weight: random([1237, 16], 1.6, dtype) };
  const targets = {
    rows: Tensor.from(Int32Array.of(3, 70, 12), [3]),
    targetRows: Tensor.from(Int32Array.of(0, 0, 2), [3]),
  };
  const predicted = { logps: Tensor.zeros([3]), logSumExp: Tensor.zeros([3]) };
  const labelsOfTargets = indices(3, 1237);
  native.linearLogprob({ ...table, ...targets, labels: labelsOfTargets, ...predicted });
  const flow = { dHidden: empty([tokens, 16]), dWeight: Tensor.zeros([1237, 16]) };
  native.linearLogprobBackward({
    ...table,
    ...targets,
    labels: labelsOfTargets,
    logSumExp: predicted.logSumExp,
    dLogps: random([3], 1.7),
    ...flow,
  });
  record(`linearLogprob ${dtype}`, { ...predicted, ...flow });
}

{
  const tokenIds = indices(tokens, 23);
  const embedded = { out: Tensor.zeros([tokens, 18]), dTable: Tensor.zeros([23, 18]) };
  native.embedding({ tokens: tokenIds, table: random([23, 18], 2.1), out: embedded.out });
  native.embeddingBackward({ tokens: tokenIds, dOut: random([tokens, 18], 2.2), dTable: embedded.dTable });
  record('embedding', embedded);

  const sums = { out: Tensor.zeros([tokens, 18]), scaled: random([tokens, 18], 2.3) };
  native.add({ a: random([tokens, 18], 2.4), b: random([tokens, 18], 2.5, 'bf16'), out: sums.out });
  native.scale({ x: sums.scaled, factor: 0.3 });
  record('elementwise', sums);

  const offsets = Tensor.from(Int32Array.of(0, 0, 7, 60, tokens), [5]);
  const sequences = { sums: Tensor.zeros([4]), dValues: Tensor.zeros([tokens]) };
  native.sequenceSum({ values: random([tokens], 2.6), offsets, sums: sequences.sums });
  native.sequenceSumBackward({ dSums: random([4], 2.7), offsets, dValues: sequences.dValues });
  record('sequenceSum', sequences);

  const pairs = {
    losses: Tensor.zeros([300]),
    margins: Tensor.zeros([300]),
    deltas: Tensor.zeros([300]),
    dLogps: Tensor.zeros([300, 2]),
  };
  native.preferenceLoss({
    ...{ method: 'dpo', reduction: 'mean', beta: 0.1, lambda: 0.5, labelSmoothing: 0.1, lossScale: 0.01 },
    ...{ policy: random([300, 2], 2.8), reference: random([300, 2], 2.9) },
    ...{ augmentedPolicy: random([300, 2], 3.1), augmentedReference: random([300, 2], 3.2) },
    responseTokens: Tensor.from(
      Int32Array.from({ length: 600 }, (_, i) => 1 + (i % 9)),
      [300, 2],
    ),
    ...pairs,
  });
  record('preferenceLoss', pairs);

  const parameters = [random([17_001], 3.3), random([3, 5], 3.4)];
  const gradients = [random([17_001], 3.5), random([3, 5], 3.6)];
  const [first, second] = [0, 1].map(() => [Tensor.zeros([17_001]), Tensor.zeros([3, 5])]);
  const copies = [null, Tensor.zeros([3, 5], 'bf16')];
  const [norm, gradientScale] = [Tensor.zeros([1]), Tensor.zeros([1])];
  native.l2Norm({ tensors: gradients, norm });
  native.clipFactor({ norm, maxNorm: 10, factor: gradientScale });
  const common = { parameters, gradients, computeWeights: copies, gradientScale };
  const settings = { learningRate: 0.01, epsilon: 1e-8, weightDecay: 0.1 };
  native.rmsprop({ ...common, ...settings, squareAverages: second, alpha: 0.9 });
  const moments = { firstMoments: first, secondMoments: second };
  native.adamw({ ...common, ...settings, ...moments, beta1: 0.9, beta2: 0.99, step: 3 });
  record('optimizers', {
    norm,
    large: parameters[0],
    small: parameters[1],
    copy: copies[1],
    average: second[0],
  });
}

process.stdout.write(JSON.stringify({ kernels: native.cpuInfo().kernels, results }));
