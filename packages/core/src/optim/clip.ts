/** Clipping by the global norm of all gradients, with torch's formula; all of it stays on the device. */
import * as native from '@sralign/native';
import { Tensor } from '@sralign/native';
import type { UnitSequence } from '../shard/sequence.js';

/** L2 norm over every gradient on every rank, accumulated in double on each: f32 [1], owned by the current scope. */
export function gradientNorm(units: UnitSequence): Tensor {
  const { flats, communicator } = units;
  const norm = Tensor.empty([1]);
  native.l2Norm({ tensors: flats.map(flat => flat.gradient), norm });
  if (flats.every(flat => flat.shards === 1)) return norm;
  const norms = Tensor.empty([communicator.worldSize]);
  units.waiting('gradient norm', () => communicator.allGather(norm, norms).wait());
  native.l2Norm({ tensors: [norms], norm });
  return norm;
}

/** What to multiply the gradients with, as torch.nn.utils.clip_grad_norm_: f32 [1], owned by the current scope. */
export function clipFactor(norm: Tensor, maxNorm: number): Tensor {
  const factor = Tensor.empty([1]);
  native.clipFactor({ norm, maxNorm, factor });
  return factor;
}
