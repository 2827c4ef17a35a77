import type { HeadShape } from '../../lib/index.js';

/** Start, length and parent of each segment. */
export type Segments = readonly (readonly [start: number, length: number, parent: number])[];

export interface AttentionCase {
  segments: Segments;
  heads: HeadShape;
  window: number;
}

export const rowWidth = (h: HeadShape) => (h.heads + 2 * h.kvHeads) * h.headDim;
export const tokenCount = (segments: Segments) => segments.reduce((sum, [, length]) => sum + length, 0);

export function offsets(h: HeadShape, head: number): { query: number; key: number; value: number } {
  const kvHead = Math.floor((head * h.kvHeads) / h.heads);
  const columns =
    h.layout === 'interleaved'
      ? [head * 3, head * 3 + 1, head * 3 + 2]
      : [head, h.heads + kvHead, h.heads + h.kvHeads + kvHead];
  const [query, key, value] = columns.map(column => column * h.headDim);
  return { query: query!, key: key!, value: value! };
}

/** For every token the tokens it sees, itself last. */
function visibleTokens(segments: Segments, window: number): number[][] {
  const chain = (segment: number): number[] => {
    if (segment < 0) return [];
    const [start, length, parent] = segments[segment]!;
    return [...chain(parent), ...Array.from({ length }, (_, i) => start + i)];
  };
  const visible: number[][] = [];
  segments.forEach(([start, length, parent]) => {
    const before = chain(parent);
    for (let i = 0; i < length; i++) {
      const seen = [...before, ...Array.from({ length: i + 1 }, (_, j) => start + j)];
      visible[start + i] = window > 0 ? seen.slice(-window) : seen;
    }
  });
  return visible;
}

/** softmax(q k / sqrt(headDim)) v in double, straight from the definition; `weights[t * heads + h]` are the softmax. */
export function attentionForward({ segments, heads: h, window }: AttentionCase, qkv: ArrayLike<number>) {
  const width = rowWidth(h);
  const tokens = tokenCount(segments);
  const visible = visibleTokens(segments, window);
  const out = new Float64Array(tokens * h.heads * h.headDim);
  const logSumExp = new Float64Array(tokens * h.heads);
  const weights: Float64Array[] = [];
  for (let t = 0; t < tokens; t++) {
    for (let head = 0; head < h.heads; head++) {
      const { query, key, value } = offsets(h, head);
      const scores = Float64Array.from(visible[t]!, other => {
        let score = 0;
        for (let d = 0; d < h.headDim; d++) {
          score += qkv[t * width + query + d]! * qkv[other * width + key + d]!;
        }
        return score / Math.sqrt(h.headDim);
      });
      const highest = Math.max(...scores);
      const total = scores.reduce((sum, score) => sum + Math.exp(score - highest), 0);
      const row = t * h.heads + head;
      logSumExp[row] = highest + Math.log(total);
      weights[row] = scores.map(score => Math.exp(score - logSumExp[row]!));
      visible[t]!.forEach((other, i) => {
        for (let d = 0; d < h.headDim; d++) {
          out[row * h.headDim + d]! += weights[row]![i]! * qkv[other * width + value + d]!;
        }
      });
    }
  }
  return { out, logSumExp, weights };
}

/** The gradient of `sum(dOut * out)` for qkv, in double. */
export function attentionGradient(
  attentionCase: AttentionCase,
  qkv: ArrayLike<number>,
  dOut: ArrayLike<number>,
): Float64Array {
  const { segments, heads: h, window } = attentionCase;
  const width = rowWidth(h);
  const visible = visibleTokens(segments, window);
  const { out, weights } = attentionForward(attentionCase, qkv);
  const dQkv = new Float64Array(qkv.length);
  for (let t = 0; t < visible.length; t++) {
    for (let head = 0; head < h.heads; head++) {
      const { query, key, value } = offsets(h, head);
      const row = t * h.heads + head;
      const at = row * h.headDim;
      let mean = 0;
      for (let d = 0; d < h.headDim; d++) mean += dOut[at + d]! * out[at + d]!;
      visible[t]!.forEach((other, i) => {
        const weight = weights[row]![i]!;
        let dWeight = 0;
        for (let d = 0; d < h.headDim; d++) {
          dWeight += dOut[at + d]! * qkv[other * width + value + d]!;
          dQkv[other * width + value + d]! += weight * dOut[at + d]!;
        }
        const dScore = (weight * (dWeight - mean)) / Math.sqrt(h.headDim);
        for (let d = 0; d < h.headDim; d++) {
          dQkv[t * width + query + d]! += dScore * qkv[other * width + key + d]!;
          dQkv[other * width + key + d]! += dScore * qkv[t * width + query + d]!;
        }
      });
    }
  }
  return dQkv;
}
