/**
 * The tensors that a microbatch makes, at the worst moment of each phase of a step: what autograd/ops.ts saves, and
 * when autograd/graph.ts frees it.
 *
 * T tokens, H hidden, A heads * headDim, Q width of qkv, F feed-forward, U = F (gelu) or 2 F (gate | up), a attention
 * heads, c bytes of the compute type, s = 8 (LayerNorm: mean and rstd) or 4 (RMSNorm). Bytes per token:
 *
 *   saved by a block     S = 4 H (x) + [serial: 4 H (y)] + c (2 H + Q + A + U + F) + 2 s + 4 a
 *   at its end, too      X = 4 H (output) + 2 c H (branches) + [parallel: 4 H (y)]
 *   between the passes   E = blocks * S, with checkpointing blocks * 4 H
 *
 *   inference            T (S + X)
 *   forward              T (blocks * S + X), with checkpointing T ((blocks - 1) 4 H + S + X)
 *   head                 T (E + 4 H + 2 c H + s) + logits
 *   backward             the largest of the moments in `backwardMoments`
 *
 * A recorded value is freed by the last backward pass that reads it, so the backward pass of a block only falls from
 * where it began, but for what its moments name.
 */
import type { DType } from '@sralign/native';
import type { ModelSpec } from '../model/spec.js';
import type { PackedShape } from './lengths.js';
import { widths } from './units.js';

interface TokenBytes {
  /** S. */
  readonly savedByBlock: number;
  /** X. */
  readonly atEndOfBlock: number;
  /** 4 H. */
  readonly stream: number;
  /** c H. */
  readonly hidden: number;
  /** s. */
  readonly normStatistics: number;
}

export function tokenBytes(spec: ModelSpec, dtype: DType): TokenBytes {
  const { hiddenSize: h, feedForwardSize: f, heads, parallelResidual } = spec;
  const { attentionWidth, qkvWidth, upWidth } = widths(spec);
  const compute = bytesOf(dtype);
  const normStatistics = spec.modelType === 'gpt_neox' ? 8 : 4;
  const stream = 4 * h;
  return {
    savedByBlock:
      stream +
      (parallelResidual ? 0 : stream) +
      compute * (2 * h + qkvWidth + attentionWidth + upWidth + f) +
      2 * normStatistics +
      4 * heads.heads,
    atEndOfBlock: stream + 2 * compute * h + (parallelResidual ? stream : 0),
    stream,
    hidden: compute * h,
    normStatistics,
  };
}

/**
 * Moments of the backward pass of a block, in bytes per token above its beginning, where its saved values and the
 * gradient of its output are there.
 */
function backwardMoments(spec: ModelSpec, dtype: DType): number[] {
  const { hiddenSize: h, feedForwardSize: f, activation, parallelResidual } = spec;
  const { attentionWidth, qkvWidth, upWidth } = widths(spec);
  const compute = bytesOf(dtype);
  const stream = 4 * h;
  const rounded = dtype === 'bf16' ? compute * h : 0;
  const { normStatistics } = tokenBytes(spec, dtype);
  // Feed-forward and its norm are done: their values are gone.
  const afterFeedForward = -compute * (f + upWidth + h) - normStatistics;
  // In a parallel block y's gradient stands beside x's until the attention branch has it; in a serial one y goes.
  const beforeDense = parallelResidual ? (dtype === 'f32' ? stream : 0) : -stream;
  return [
    // A bf16 branch takes a rounded copy of the stream's gradient.
    rounded,
    // The gradient of gate | up stands beside it; GELU's is computed in place.
    activation === 'swiglu' ? compute * upWidth : 0,
    afterFeedForward + beforeDense + rounded + compute * attentionWidth,
    afterFeedForward + (parallelResidual ? 0 : -stream) + compute * (attentionWidth + qkvWidth),
  ];
}

export interface ActivationOptions {
  readonly spec: ModelSpec;
  readonly dtype: DType;
  readonly activationCheckpointing: boolean;
}

/** Bytes of the tensors of one pass without gradient, at its worst. */
export function inferenceBytes({ spec, dtype }: ActivationOptions, shape: PackedShape): number {
  const { savedByBlock, atEndOfBlock } = tokenBytes(spec, dtype);
  return shape.tokens * (savedByBlock + atEndOfBlock) + inputBytes(shape);
}

/** Bytes of activations when the forward pass is at the end of block `block`, counted from 1. */
export function forwardBytes(options: ActivationOptions, shape: PackedShape, block: number): number {
  const { savedByBlock, atEndOfBlock } = tokenBytes(options.spec, options.dtype);
  return shape.tokens * (keptBytes(options, block - 1) + savedByBlock + atEndOfBlock) + inputBytes(shape);
}

/** Bytes of activations, without logits, while the output matrix is at work; `hidden` and its gradient are there. */
export function headBytes(options: ActivationOptions, shape: PackedShape): number {
  const { spec, dtype } = options;
  const { stream, hidden, normStatistics } = tokenBytes(spec, dtype);
  const perToken = keptBytes(options, spec.layers) + stream + 2 * hidden + normStatistics;
  return shape.tokens * perToken + inputBytes(shape);
}

/** Bytes of activations in the backward pass of the final norm: `hidden` is gone, the stream's gradient is there. */
export function finalNormBytes(options: ActivationOptions, shape: PackedShape): number {
  const { spec, dtype } = options;
  const { stream, hidden, normStatistics } = tokenBytes(spec, dtype);
  const perToken = keptBytes(options, spec.layers) + 2 * stream + hidden + normStatistics;
  return shape.tokens * perToken + inputBytes(shape);
}

/** Bytes of activations in the backward pass of block `block`, counted from 1, at its worst. */
export function backwardBytes(options: ActivationOptions, shape: PackedShape, block: number): number {
  const { savedByBlock, atEndOfBlock, stream } = tokenBytes(options.spec, options.dtype);
  // With checkpointing the block is computed again first, to its end.
  const moments = [
    ...backwardMoments(options.spec, options.dtype),
    ...(options.activationCheckpointing ? [atEndOfBlock] : []),
  ];
  const perToken = keptBytes(options, block - 1) + savedByBlock + stream + Math.max(...moments);
  return shape.tokens * perToken + inputBytes(shape);
}

/** Per token: what `blocks` blocks keep for their backward passes. */
function keptBytes({ spec, dtype, activationCheckpointing }: ActivationOptions, blocks: number): number {
  const { savedByBlock, stream } = tokenBytes(spec, dtype);
  return blocks * (activationCheckpointing ? stream : savedByBlock);
}

/** Token ids, positions and segments. */
const inputBytes = ({ tokens, segments }: PackedShape): number => 8 * tokens + 12 * segments;

export const bytesOf = (dtype: DType): 2 | 4 => (dtype === 'bf16' ? 2 : 4);
