import { Call, COMPUTE, COUNT, NOT_NEGATIVE } from '../check.js';
import { native } from '../load.js';
import type { Tensor } from '../tensor.js';

export interface FillNormalArgs {
  /** f32|bf16, any shape, written. */
  out: Tensor;
  /** Standard deviation. */
  deviation: number;
  /** An integer of at least 0. */
  seed: number;
}

/** Fills with normal numbers of mean 0 that depend on the seed and the place alone, not on the number of threads. */
export function fillNormal(args: FillNormalArgs): void {
  const call = new Call('fillNormal', args);
  const out = call.output('out', COMPUTE, call.shapeOf('out'));
  native().fillNormal(out.id, call.number('deviation', NOT_NEGATIVE), call.number('seed', COUNT));
}
