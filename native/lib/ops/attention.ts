import { AT_LEAST_ONE, Call, COMPUTE, COUNT, F32, I32 } from '../check.js';
import { native } from '../load.js';
import type { Tensor } from '../tensor.js';

/**
 * How queries, keys and values share a row of `qkv` of width `(heads + 2 kvHeads) headDim`: `interleaved` per head
 * (GPT-NeoX: q k v, q k v, ...; needs `kvHeads` equal to `heads`), or in `blocked` form (Llama: all q, all k, all v).
 * `heads` is a multiple of `kvHeads`; query head h reads key and value head `floor(h kvHeads / heads)`.
 */
export interface HeadShape {
  layout: 'interleaved' | 'blocked';
  heads: number;
  kvHeads: number;
  headDim: number;
}

interface CheckedHeads {
  codes: [layout: number, heads: number, kvHeads: number, headDim: number];
  rowWidth: number;
  outWidth: number;
  keyWidth: number;
}

function checkHeads(operation: string, value: HeadShape): CheckedHeads {
  if (typeof value !== 'object' || value === null) {
    throw new TypeError(
      `${operation}: "heads" must be an object { layout, heads, kvHeads, headDim }, got ${value}`,
    );
  }
  const call = new Call(`${operation}: heads`, value);
  const layout = call.choice('layout', { interleaved: 0, blocked: 1 });
  const heads = call.number('heads', AT_LEAST_ONE);
  const kvHeads = call.number('kvHeads', AT_LEAST_ONE);
  const headDim = call.number('headDim', AT_LEAST_ONE);
  if (layout === 0 ? heads !== kvHeads : heads % kvHeads !== 0) {
    const rule =
      layout === 0 ? `equal to "heads" in interleaved layout, ${heads}` : `a divisor of "heads", ${heads}`;
    throw call.error('kvHeads', rule, String(kvHeads));
  }
  return {
    codes: [layout, heads, kvHeads, headDim],
    rowWidth: (heads + 2 * kvHeads) * headDim,
    outWidth: heads * headDim,
    keyWidth: kvHeads * headDim,
  };
}

export interface RotaryArgs {
  /** f32|bf16 [T, row width], rotated in place. */
  qkv: Tensor;
  /** i32 [T], each in [0, P). */
  positions: Tensor;
  /** f32 [P, Rh], 2 Rh <= headDim. */
  cosines: Tensor;
  /** f32 [P, Rh]. */
  sines: Tensor;
  heads: HeadShape;
  /** Rotate back: the backward pass. */
  inverse?: boolean | undefined;
}

/**
 * Rotary position embedding (Su et al. 2021): turns the first 2 Rh elements of every query and key head by the angle of
 * the token's position, pairing element i with i + Rh, as Hugging Face checkpoints do.
 * @throws RangeError for a position outside the tables
 */
export function rotary(args: RotaryArgs): void {
  const call = new Call('rotary', args);
  const heads = checkHeads('rotary', args.heads);
  const qkv = call.output('qkv', COMPUTE, ['T', heads.rowWidth]);
  const positions = call.input('positions', I32, ['T']);
  const cosines = call.input('cosines', F32, ['P', 'Rh']);
  const sines = call.input('sines', F32, ['P', 'Rh']);
  if (2 * call.size('Rh') > args.heads.headDim) {
    throw call.error(
      'cosines',
      `at most headDim / 2 = ${args.heads.headDim / 2} wide`,
      String(call.size('Rh')),
    );
  }
  native().rotary(qkv.id, positions.id, cosines.id, sines.id, ...heads.codes, call.flag('inverse'));
}

export interface AttentionArgs {
  /** f32|bf16 [T, row width], already rotated. */
  qkv: Tensor;
  /** i32 [S, 3]: start, length, parent (-1: none) of each segment, in order of start and covering [0, T). */
  segments: Tensor;
  heads: HeadShape;
  /** A query at position i sees positions above i - window only; 0 or not given: all. */
  window?: number | undefined;
  /** Type of `qkv`, [T, heads headDim], written. */
  out: Tensor;
  /** f32 [T, heads], written, for the backward pass. */
  logSumExp: Tensor;
}

/**
 * Causal attention over a forest of packed segments: a query sees its own segment up to itself and the whole of every
 * ancestor, so that two answers share the prompt that is their parent. Positions run on along a chain, root first.
 * Scores are scaled by 1 / sqrt(headDim); memory is linear in T.
 * @throws RangeError for segments that leave gaps or have a parent that does not come before them
 */
export function attention(args: AttentionArgs): void {
  const call = new Call('attention', args);
  const heads = checkHeads('attention', args.heads);
  const qkv = call.input('qkv', COMPUTE, ['T', heads.rowWidth]);
  const segments = call.input('segments', I32, ['S', 3]);
  const window = call.optionalNumber('window', COUNT, 0);
  const out = call.output('out', [qkv.dtype], ['T', heads.outWidth]);
  const logSumExp = call.output('logSumExp', F32, ['T', args.heads.heads]);
  native().attention(qkv.id, segments.id, ...heads.codes, window, out.id, logSumExp.id);
}

export interface AttentionBackwardArgs {
  /** As in the forward pass, like `segments`, `heads`, `window`, `out` and `logSumExp`. */
  qkv: Tensor;
  segments: Tensor;
  heads: HeadShape;
  window?: number | undefined;
  out: Tensor;
  logSumExp: Tensor;
  /** Type of `qkv`, [T, heads headDim]. */
  dOut: Tensor;
  /** Type of `qkv`, [T, row width], written. */
  dQkv: Tensor;
}

/** Gradient of `attention` for `qkv`. Scores are computed again. @throws RangeError as `attention` does */
export function attentionBackward(args: AttentionBackwardArgs): void {
  const call = new Call('attentionBackward', args);
  const heads = checkHeads('attentionBackward', args.heads);
  const qkv = call.input('qkv', COMPUTE, ['T', heads.rowWidth]);
  const segments = call.input('segments', I32, ['S', 3]);
  const window = call.optionalNumber('window', COUNT, 0);
  const out = call.input('out', [qkv.dtype], ['T', heads.outWidth]);
  const logSumExp = call.input('logSumExp', F32, ['T', args.heads.heads]);
  const dOut = call.input('dOut', [qkv.dtype], ['T', heads.outWidth]);
  const dQkv = call.output('dQkv', [qkv.dtype], ['T', heads.rowWidth]);
  native().attentionBackward(
    ...[qkv.id, segments.id, ...heads.codes, window, out.id, logSumExp.id, dOut.id, dQkv.id],
  );
}

export interface AttentionCachedArgs {
  /** f32|bf16 [T, row width] of the new tokens, already rotated. */
  qkv: Tensor;
  heads: HeadShape;
  window?: number | undefined;
  /** Type of `qkv`, [C, kvHeads headDim]; rows [start, start + T) are written. */
  keyCache: Tensor;
  /** The same for values. */
  valueCache: Tensor;
  /** Tokens already in the cache; start + T <= C. */
  start: number;
  /** Type of `qkv`, [T, heads headDim], written. */
  out: Tensor;
}

/** Generation: appends the new tokens to the cache and lets each see every row up to its own. */
export function attentionCached(args: AttentionCachedArgs): void {
  const call = new Call('attentionCached', args);
  const heads = checkHeads('attentionCached', args.heads);
  const qkv = call.input('qkv', COMPUTE, ['T', heads.rowWidth]);
  const window = call.optionalNumber('window', COUNT, 0);
  const keyCache = call.output('keyCache', [qkv.dtype], ['C', heads.keyWidth]);
  const valueCache = call.output('valueCache', [qkv.dtype], ['C', heads.keyWidth]);
  const start = call.number('start', COUNT);
  if (start + call.size('T') > call.size('C')) {
    throw call.error('start', `at most C - T = ${call.size('C') - call.size('T')}`, String(start));
  }
  const out = call.output('out', [qkv.dtype], ['T', heads.outWidth]);
  native().attentionCached(qkv.id, ...heads.codes, window, keyCache.id, valueCache.id, start, out.id);
}
