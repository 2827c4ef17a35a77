import { Call, COMPUTE, F32, FINITE } from '../check.js';
import { native } from '../load.js';
import type { Tensor } from '../tensor.js';

export interface AddArgs {
  /** f32, any shape. */
  a: Tensor;
  /** f32|bf16, shape of `a`. */
  b: Tensor;
  /** f32, shape of `a`, written; may be `a`. */
  out: Tensor;
}

/** `out = a + b`. */
export function add(args: AddArgs): void {
  const call = new Call('add', args);
  const a = call.input('a', F32, call.shapeOf('a'));
  const b = call.input('b', COMPUTE, a.shape);
  const out = call.output('out', F32, a.shape, 'a');
  native().add(a.id, b.id, out.id);
}

export interface CastArgs {
  /** f32|bf16, any shape. */
  x: Tensor;
  /** f32|bf16, shape of `x`, written. */
  out: Tensor;
}

/** `out = x` in the type of `out`; bf16 rounds to nearest even. */
export function cast(args: CastArgs): void {
  const call = new Call('cast', args);
  const x = call.input('x', COMPUTE, call.shapeOf('x'));
  const out = call.output('out', COMPUTE, x.shape);
  native().cast(x.id, out.id);
}

export interface ScaleArgs {
  /** f32, any shape, in place. */
  x: Tensor;
  factor: number;
}

/** `x *= factor`. */
export function scale(args: ScaleArgs): void {
  const call = new Call('scale', args);
  const x = call.output('x', F32, call.shapeOf('x'));
  native().scale(x.id, call.number('factor', FINITE));
}
