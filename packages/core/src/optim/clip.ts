/** Clipping by the global norm of all gradients, with torch's formula. */
import { sumOfSquares } from '@sralign/native';
import type { Parameter } from '../autograd/graph.js';

/** L2 norm over every gradient, accumulated in double. */
export function gradientNorm(parameters: readonly Parameter[]): number {
  return Math.sqrt(sumOfSquares(parameters.map(parameter => parameter.gradient)));
}

/** What to multiply the gradients with: min(1, maxNorm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_. */
export function clipFactor(norm: number, maxNorm: number): number {
  return Math.min(1, maxNorm / (norm + 1e-6));
}
