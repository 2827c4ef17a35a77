/** Clipping by the global norm of all gradients, with torch's formula; all of it stays on the device. */
import * as native from '@sralign/native';
import { Tensor } from '@sralign/native';
import type { Parameter } from '../autograd/graph.js';

/** L2 norm over every gradient, accumulated in double: f32 [1], owned by the current scope. */
export function gradientNorm(parameters: readonly Parameter[]): Tensor {
  const norm = Tensor.empty([1]);
  native.l2Norm({ tensors: parameters.map(parameter => parameter.gradient), norm });
  return norm;
}

/** What to multiply the gradients with, as torch.nn.utils.clip_grad_norm_: f32 [1], owned by the current scope. */
export function clipFactor(norm: Tensor, maxNorm: number): Tensor {
  const factor = Tensor.empty([1]);
  native.clipFactor({ norm, maxNorm, factor });
  return factor;
}
