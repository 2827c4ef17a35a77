import { Call, COMPUTE } from '../check.js';
import { native } from '../load.js';
import type { Tensor } from '../tensor.js';

/** `erf` is the exact function, `tanh` the approximation some checkpoints were trained with ("gelu_new"). */
export type GeluKind = 'erf' | 'tanh';

const kindCodes = { erf: 0, tanh: 1 };

export interface GeluArgs {
  /** f32|bf16 [T, F]. */
  x: Tensor;
  /** Type of `x`, [T, F], written. */
  out: Tensor;
  kind: GeluKind;
}

/** `out = x Phi(x)` (Hendrycks and Gimpel 2016). */
export function gelu(args: GeluArgs): void {
  const call = new Call('gelu', args);
  const x = call.input('x', COMPUTE, ['T', 'F']);
  const out = call.output('out', [x.dtype], ['T', 'F']);
  native().gelu(x.id, out.id, call.choice('kind', kindCodes));
}

export interface GeluBackwardArgs {
  /** f32|bf16 [T, F], the input of the forward pass. */
  x: Tensor;
  /** Type of `x`, [T, F]. */
  dOut: Tensor;
  /** Type of `x`, [T, F], written; may be `dOut`. */
  dX: Tensor;
  kind: GeluKind;
}

export function geluBackward(args: GeluBackwardArgs): void {
  const call = new Call('geluBackward', args);
  const x = call.input('x', COMPUTE, ['T', 'F']);
  const dOut = call.input('dOut', [x.dtype], ['T', 'F']);
  const dX = call.output('dX', [x.dtype], ['T', 'F'], 'dOut');
  native().geluBackward(x.id, dOut.id, dX.id, call.choice('kind', kindCodes));
}

export interface SwigluArgs {
  /** f32|bf16 [T, 2F]: gate | up. */
  gateUp: Tensor;
  /** Type of `gateUp`, [T, F], written. */
  out: Tensor;
}

/** `out = silu(gate) up` (Shazeer 2020), silu(z) = z sigmoid(z). */
export function swiglu(args: SwigluArgs): void {
  const call = new Call('swiglu', args);
  const out = call.output('out', COMPUTE, ['T', 'F']);
  const gateUp = call.input('gateUp', [out.dtype], ['T', 2 * call.size('F')]);
  native().swiglu(gateUp.id, out.id);
}

export interface SwigluBackwardArgs {
  /** f32|bf16 [T, 2F]: gate | up, the input of the forward pass. */
  gateUp: Tensor;
  /** Type of `gateUp`, [T, F]. */
  dOut: Tensor;
  /** Type of `gateUp`, [T, 2F], written. */
  dGateUp: Tensor;
}

export function swigluBackward(args: SwigluBackwardArgs): void {
  const call = new Call('swigluBackward', args);
  const dOut = call.input('dOut', COMPUTE, ['T', 'F']);
  const gateUp = call.input('gateUp', [dOut.dtype], ['T', 2 * call.size('F')]);
  const dGateUp = call.output('dGateUp', [dOut.dtype], ['T', 2 * call.size('F')]);
  native().swigluBackward(gateUp.id, dOut.id, dGateUp.id);
}
