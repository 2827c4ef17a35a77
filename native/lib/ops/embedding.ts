import { Call, COMPUTE, F32, I32 } from '../check.js';
import { native } from '../load.js';
import type { Tensor } from '../tensor.js';

export interface EmbeddingArgs {
  /** i32 [T], each in [0, V). */
  tokens: Tensor;
  /** f32|bf16 [V, H]. */
  table: Tensor;
  /** f32 [T, H], written. */
  out: Tensor;
}

/** `out[t] = table[tokens[t]]`. @throws RangeError for a token outside the table */
export function embedding(args: EmbeddingArgs): void {
  const call = new Call('embedding', args);
  const tokens = call.input('tokens', I32, ['T']);
  const table = call.input('table', COMPUTE, ['V', 'H']);
  const out = call.output('out', F32, ['T', 'H']);
  native().embedding(tokens.id, table.id, out.id);
}

export interface EmbeddingBackwardArgs {
  /** i32 [T], each in [0, V). */
  tokens: Tensor;
  /** f32 [T, H]. */
  dOut: Tensor;
  /** f32 [V, H], added to. */
  dTable: Tensor;
}

/** `dTable[tokens[t]] += dOut[t]`. @throws RangeError for a token outside the table */
export function embeddingBackward(args: EmbeddingBackwardArgs): void {
  const call = new Call('embeddingBackward', args);
  const tokens = call.input('tokens', I32, ['T']);
  const dOut = call.input('dOut', F32, ['T', 'H']);
  const dTable = call.output('dTable', F32, ['V', 'H']);
  native().embeddingBackward(tokens.id, dOut.id, dTable.id);
}
