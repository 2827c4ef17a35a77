/**
 * The operations of the engine with what each must move and multiply, forward and backward.
 *
 * Products and attention have the shapes of a Pythia-70M step of 7 pairs (prompt 150, answers 70 and 70 tokens: 2,016
 * tokens). Operations that memory bounds get tensors of 100 MiB and more, larger than a last-level cache; RMS norm and
 * swiglu have the widths of Llama-60M.
 */
import { packPairs } from '@sralign/core';
import * as native from '@sralign/native';
import { type DType, fillNormal, type HeadShape, Tensor } from '@sralign/native';
import { Random, randomPairs } from './pairs.js';

export interface KernelCase {
  readonly name: string;
  /** Sizes, for the table. */
  readonly shape: string;
  /** Types of the floating-point tensors. */
  readonly dtypes: string;
  /** What bounds it: bytes read and written once at least, or FLOPs. */
  readonly floor: { readonly bytes: number } | { readonly flops: number };
  readonly run: () => void;
}

const HIDDEN = 512;
const FEED_FORWARD = 2048;
const VOCABULARY = 50_304;
const LLAMA_HIDDEN = 576;
const LLAMA_FEED_FORWARD = 1536;
const WIDE_TOKENS = 65_536;
const FEED_FORWARD_TOKENS = 16_384;
const HEADS: HeadShape = { layout: 'interleaved', heads: 8, kvHeads: 8, headDim: 64 };

const random = new Random(1);

const normal = (shape: readonly number[], dtype: DType = 'f32'): Tensor => {
  const out = Tensor.empty(shape, dtype);
  fillNormal({ out, deviation: 0.5, seed: random.integer(1, 1_000_000) });
  return out;
};
const integers = (count: number, below: number): Tensor =>
  Tensor.from(
    Int32Array.from({ length: count }, () => random.integer(0, below - 1)),
    [count],
  );

/** An operation bound by memory: every tensor is moved once, those in both lists twice. */
function moving(
  name: string,
  shape: string,
  reads: readonly Tensor[],
  writes: readonly Tensor[],
  run: () => void,
): KernelCase {
  const tensors = [...reads, ...writes];
  const bytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  return { name, shape, dtypes: floatTypes(tensors), floor: { bytes }, run };
}

const floatTypes = (tensors: readonly Tensor[]): string =>
  [...new Set(tensors.map(tensor => tensor.dtype))].filter(dtype => dtype !== 'i32').join(', ');

/** All cases; the tensors belong to the current scope. */
export function kernelCases(dtype: DType): KernelCase[] {
  return [
    ...embeddingCases(),
    ...linearCases(dtype),
    ...normCases(dtype),
    ...attentionCases(dtype),
    ...activationCases(dtype),
    ...elementwiseCases(),
    ...logprobCases(),
    ...lossCases(),
    ...optimizerCases(dtype),
  ];
}

function embeddingCases(): KernelCase[] {
  const tokens = integers(WIDE_TOKENS, VOCABULARY);
  const [table, out] = [normal([VOCABULARY, HIDDEN]), normal([WIDE_TOKENS, HIDDEN])];
  const shape = `${WIDE_TOKENS} of ${VOCABULARY} x ${HIDDEN}`;
  const distinct = new Set(tokens.toInt32Array()).size;
  const tableBytes = distinct * HIDDEN * 4; // a row that occurs again is in the cache
  return [
    {
      name: 'embedding',
      shape,
      dtypes: 'f32',
      floor: { bytes: tableBytes + out.bytes + tokens.bytes },
      run: () => native.embedding({ tokens, table, out }),
    },
    {
      name: 'embedding backward',
      shape,
      dtypes: 'f32',
      floor: { bytes: 2 * tableBytes + out.bytes + tokens.bytes },
      run: () => native.embeddingBackward({ tokens, dOut: out, dTable: table }),
    },
  ];
}

function linearCases(dtype: DType): KernelCase[] {
  const tokens = packed().tokens.length;
  return [
    [3 * HIDDEN, HIDDEN],
    [FEED_FORWARD, HIDDEN],
    [HIDDEN, FEED_FORWARD],
  ].flatMap(([outputs, inputs]) => {
    const [n, k] = [outputs!, inputs!];
    const [x, weight, out] = [normal([tokens, k], dtype), normal([n, k], dtype), normal([tokens, n], dtype)];
    const [bias, dWeight] = [normal([n]), normal([n, k])];
    const common = {
      shape: `${tokens} x ${k} -> ${n}`,
      dtypes: dtype,
      floor: { flops: 2 * tokens * n * k },
    };
    return [
      { name: 'linear', ...common, run: () => native.linear({ x, weight, bias, out }) },
      {
        name: 'linear backward, input',
        ...common,
        run: () => native.linearBackwardInput({ dOut: out, weight, dX: x }),
      },
      {
        name: 'linear backward, weight',
        ...common,
        run: () => native.linearBackwardWeight({ dOut: out, x, dWeight, dBias: bias }),
      },
    ];
  });
}

function normCases(dtype: DType): KernelCase[] {
  return [...layerNormCases(dtype), ...rmsNormCases(dtype)];
}

function layerNormCases(dtype: DType): KernelCase[] {
  const shape = `${WIDE_TOKENS} x ${HIDDEN}`;
  const [x, dX] = [normal([WIDE_TOKENS, HIDDEN]), normal([WIDE_TOKENS, HIDDEN])];
  const out = normal([WIDE_TOKENS, HIDDEN], dtype);
  const [weight, bias, dWeight, dBias] = [0, 0, 0, 0].map(() => normal([HIDDEN])) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  const [mean, rstd] = [normal([WIDE_TOKENS]), normal([WIDE_TOKENS])];
  const common = { x, weight, mean, rstd };
  return [
    moving('layer norm', shape, [x], [out, mean, rstd], () => native.layerNorm({ ...common, bias, out })),
    moving('layer norm backward', shape, [x, out, mean, rstd], [dX], () =>
      native.layerNormBackward({ ...common, dOut: out, dX, dWeight, dBias }),
    ),
  ];
}

function rmsNormCases(dtype: DType): KernelCase[] {
  const shape = `${WIDE_TOKENS} x ${LLAMA_HIDDEN}`;
  const [x, dX] = [normal([WIDE_TOKENS, LLAMA_HIDDEN]), normal([WIDE_TOKENS, LLAMA_HIDDEN])];
  const out = normal([WIDE_TOKENS, LLAMA_HIDDEN], dtype);
  const [weight, dWeight, rstd] = [normal([LLAMA_HIDDEN]), normal([LLAMA_HIDDEN]), normal([WIDE_TOKENS])];
  return [
    moving('RMS norm', shape, [x], [out, rstd], () => native.rmsNorm({ x, weight, out, rstd })),
    moving('RMS norm backward', shape, [x, out, rstd], [dX], () =>
      native.rmsNormBackward({ x, weight, rstd, dOut: out, dX, dWeight }),
    ),
  ];
}

function attentionCases(dtype: DType): KernelCase[] {
  const batch = packed();
  const tokens = batch.tokens.length;
  const segments = Tensor.from(batch.segments, [batch.segments.length / 3, 3]);
  const width = HEADS.heads * HEADS.headDim;
  const [qkv, dQkv] = [normal([tokens, 3 * width], dtype), normal([tokens, 3 * width], dtype)];
  const [out, dOut] = [normal([tokens, width], dtype), normal([tokens, width], dtype)];
  const logSumExp = normal([tokens, HEADS.heads]);
  // A query sees every position up to its own: positions run on from the prompt into each answer.
  const visible = batch.positions.reduce((sum, position) => sum + position + 1, 0);
  const product = 2 * visible * width;
  const shape = `${tokens} tokens, ${HEADS.heads} heads of ${HEADS.headDim}`;

  const wide = normal([WIDE_TOKENS, 3 * width], dtype);
  const positions = integers(WIDE_TOKENS, 512);
  const rotary = { qkv: wide, positions, cosines: normal([512, 8]), sines: normal([512, 8]), heads: HEADS };
  const rotated = (wide.bytes / wide.size) * WIDE_TOKENS * HEADS.heads * 2 * 16;
  return [
    {
      name: 'rotary (in place)',
      shape: `${WIDE_TOKENS} tokens, 16 of 64`,
      dtypes: dtype,
      floor: { bytes: 2 * rotated },
      run: () => native.rotary(rotary),
    },
    {
      name: 'attention',
      shape,
      dtypes: dtype,
      floor: { flops: 2 * product }, // scores, values
      run: () => native.attention({ qkv, segments, heads: HEADS, out, logSumExp }),
    },
    {
      name: 'attention backward',
      shape,
      dtypes: dtype,
      floor: { flops: 5 * product }, // scores again, dP, dQ, dK, dV
      run: () => native.attentionBackward({ qkv, segments, heads: HEADS, out, logSumExp, dOut, dQkv }),
    },
  ];
}

function activationCases(dtype: DType): KernelCase[] {
  const shape = `${FEED_FORWARD_TOKENS} x ${FEED_FORWARD}`;
  const [x, out, dX] = [0, 0, 0].map(() => normal([FEED_FORWARD_TOKENS, FEED_FORWARD], dtype)) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const gated = `${FEED_FORWARD_TOKENS} x ${LLAMA_FEED_FORWARD}`;
  const [gateUp, dGateUp] = [0, 0].map(() =>
    normal([FEED_FORWARD_TOKENS, 2 * LLAMA_FEED_FORWARD], dtype),
  ) as [Tensor, Tensor];
  const product = normal([FEED_FORWARD_TOKENS, LLAMA_FEED_FORWARD], dtype);
  return [
    moving('gelu', shape, [x], [out], () => native.gelu({ x, out, kind: 'erf' })),
    moving('gelu backward', shape, [x, out], [dX], () =>
      native.geluBackward({ x, dOut: out, dX, kind: 'erf' }),
    ),
    moving('swiglu', gated, [gateUp], [product], () => native.swiglu({ gateUp, out: product })),
    moving('swiglu backward', gated, [gateUp, product], [dGateUp], () =>
      native.swigluBackward({ gateUp, dOut: product, dGateUp }),
    ),
  ];
}

function elementwiseCases(): KernelCase[] {
  const shape = `${FEED_FORWARD_TOKENS} x ${FEED_FORWARD}`;
  const [a, b, out] = [0, 0, 0].map(() => normal([FEED_FORWARD_TOKENS, FEED_FORWARD])) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const rounded = normal([FEED_FORWARD_TOKENS, FEED_FORWARD], 'bf16');
  return [
    moving('add', shape, [a, b], [out], () => native.add({ a, b, out })),
    moving('cast f32 to bf16', shape, [a], [rounded], () => native.cast({ x: a, out: rounded })),
    moving('scale (in place)', shape, [a], [a], () => native.scale({ x: a, factor: 1 })),
  ];
}

function logprobCases(): KernelCase[] {
  const rows = 512;
  const logits = normal([rows, VOCABULARY]);
  const labels = integers(rows, VOCABULARY);
  const [logps, logSumExp, dLogps] = [normal([rows]), normal([rows]), normal([rows])];
  native.logprobGather({ logits, labels, logps, logSumExp }); // the backward pass may run alone
  const shape = `${rows} x ${VOCABULARY}`;

  const [sequences, length] = [2 ** 18, 128];
  const values = normal([sequences * length]);
  const offsets = Tensor.from(
    Int32Array.from({ length: sequences + 1 }, (_, i) => i * length),
    [sequences + 1],
  );
  const sums = normal([sequences]);
  const summed = `${sequences} of ${length}`;
  return [
    moving('log-prob gather', shape, [logits], [logps, logSumExp], () =>
      native.logprobGather({ logits, labels, logps, logSumExp }),
    ),
    moving('log-prob gather backward (in place)', shape, [logits], [logits], () =>
      native.logprobGatherBackward({ logits, labels, logSumExp, dLogps, dLogits: logits }),
    ),
    moving('sequence sum', summed, [values, offsets], [sums], () =>
      native.sequenceSum({ values, offsets, sums }),
    ),
    moving('sequence sum backward', summed, [sums, offsets], [values], () =>
      native.sequenceSumBackward({ dSums: sums, offsets, dValues: values }),
    ),
  ];
}

function lossCases(): KernelCase[] {
  const pairs = 2 ** 21;
  const matrix = (): Tensor => normal([pairs, 2]);
  const loss = {
    method: 'dpo',
    reduction: 'sum',
    beta: 0.1,
    lambda: 0.3,
    labelSmoothing: 0,
    lossScale: 1,
    policy: matrix(),
    reference: matrix(),
    augmentedPolicy: matrix(),
    augmentedReference: matrix(),
    responseTokens: Tensor.from(new Int32Array(2 * pairs).fill(70), [pairs, 2]),
    losses: normal([pairs]),
    margins: normal([pairs]),
    deltas: normal([pairs]),
    dLogps: matrix(),
  } as const;
  const { policy, reference, augmentedPolicy, augmentedReference, responseTokens } = loss;
  return [
    moving(
      'preference loss, Sr-DPO',
      `${pairs} pairs`,
      [policy, reference, augmentedPolicy, augmentedReference, responseTokens],
      [loss.losses, loss.margins, loss.deltas, loss.dLogps],
      () => native.preferenceLoss(loss),
    ),
  ];
}

function optimizerCases(dtype: DType): KernelCase[] {
  const count = 2 ** 24;
  const [parameter, gradient, first, second] = [0, 0, 0, 0].map(() => Tensor.zeros([count])) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  const copies = dtype === 'bf16' ? [Tensor.zeros([count], 'bf16')] : [];
  const common = {
    parameters: [parameter],
    gradients: [gradient],
    ...(copies.length > 0 && { computeWeights: copies }),
    learningRate: 0,
    epsilon: 1e-8,
    weightDecay: 0,
    gradientScale: Tensor.from([0.5], [1]),
  };
  const norm = Tensor.empty([1]);
  const shape = `${count} parameters`;
  return [
    moving('RMSprop', shape, [parameter, gradient, second], [parameter, second, ...copies], () =>
      native.rmsprop({ ...common, squareAverages: [second], alpha: 0.99 }),
    ),
    moving('AdamW', shape, [parameter, gradient, first, second], [parameter, first, second, ...copies], () =>
      native.adamw({
        ...common,
        firstMoments: [first],
        secondMoments: [second],
        beta1: 0.9,
        beta2: 0.999,
        step: 1,
      }),
    ),
    moving('norm', shape, [gradient], [], () => native.l2Norm({ tensors: [gradient], norm })),
  ];
}

function packed(): ReturnType<typeof packPairs> {
  const lengths = Array.from({ length: 7 }, () => [150, 70, 70] as const);
  return packPairs(randomPairs(lengths, VOCABULARY, new Random(2)), 'plain');
}
