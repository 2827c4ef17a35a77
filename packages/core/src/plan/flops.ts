/**
 * Model FLOPs utilisation: the multiplications and additions of the linear layers that a step needs, over what this
 * machine's matrix product reaches. Attention scores and what is computed twice (activation checkpointing, logits too
 * large to keep) are not counted, so the figure understates a little.
 */
import { type DType, linear, Scope, synchronize, Tensor } from '@sralign/native';
import { packedTokens, type View } from '../batch/pack.js';
import { isRefined, type Method } from '../config/method.js';
import type { CausalLM } from '../model/causal-lm.js';
import type { ModelSpec } from '../model/spec.js';
import { type ExampleTokens, scoredTokens } from '../tokens/examples.js';

/**
 * FLOPs of a training step: forward and twice that backward, and the augmented forward of the refined methods.
 *
 * @param augmentationTokens tokens of p, computed once for the whole step
 */
export function stepFlops(
  model: CausalLM,
  pairs: readonly ExampleTokens[],
  method: Method,
  augmentationTokens: number,
): number {
  const plain = 3 * forwardFlops(model, pairs, 'plain', 0);
  if (!isRefined(method)) return plain;
  return plain + forwardFlops(model, pairs, 'augmented', augmentationTokens);
}

/** Forward FLOPs of examples in one view: 2 per weight and token, the output matrix only at response positions. */
function forwardFlops(
  model: CausalLM,
  examples: readonly ExampleTokens[],
  view: View,
  sharedTokens: number,
): number {
  let tokens = sharedTokens;
  let rows = 0;
  for (const example of examples) {
    tokens += packedTokens(example, view);
    rows += predictingRows(scoredTokens(example));
  }
  return tokens * blockFlops(model.spec) + rows * headFlops(model.spec);
}

/** Rows that meet the output matrix: that of the end of a prompt serves both of its answers. */
const predictingRows = (scored: readonly number[]): number =>
  scored.reduce((sum, tokens) => sum + tokens - 1, 1);

/** Forward FLOPs of the blocks' linear layers per token. */
export function blockFlops({ hiddenSize, layers, feedForwardSize, heads, activation }: ModelSpec): number {
  const queryWidth = heads.heads * heads.headDim;
  const qkvWidth = queryWidth + 2 * heads.kvHeads * heads.headDim;
  const feedForwardMatrices = activation === 'swiglu' ? 3 : 2;
  return 2 * layers * hiddenSize * (qkvWidth + queryWidth + feedForwardMatrices * feedForwardSize);
}

/** Forward FLOPs of the output matrix per row. */
export const headFlops = ({ vocabularySize, hiddenSize }: ModelSpec): number =>
  2 * vocabularySize * hiddenSize;

/** FLOP/s of a square product in the compute type: the best of a few, at the threads in use. */
export function measureMatmulFlops(dtype: DType): number {
  using _scope = new Scope();
  const size = 1024;
  const [x, weight, out] = Array.from({ length: 3 }, () => Tensor.zeros([size, size], dtype)) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const seconds = Array.from({ length: 6 }, () => {
    const startMs = performance.now();
    linear({ x, weight, out });
    synchronize();
    return (performance.now() - startMs) / 1000;
  });
  return (2 * size ** 3) / Math.min(...seconds);
}
