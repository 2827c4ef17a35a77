/** What this machine reaches at the threads in use: the ceilings that times are held against. */
import { type DType, linear, Scope, Tensor } from '@sralign/native';

/** FLOP/s of a 2048^3 product in the given type: the best of three after a warm-up. */
export function matmulFlops(dtype: DType): number {
  using _scope = new Scope();
  const size = 2048;
  const [x, weight, out] = [0, 0, 0].map(() => Tensor.zeros([size, size], dtype)) as [Tensor, Tensor, Tensor];
  return (2 * size ** 3) / bestSeconds(() => linear({ x, weight, out }));
}

/** The shortest of three runs, after one that warms up. */
export function bestSeconds(run: () => void): number {
  run();
  const seconds = [0, 0, 0].map(() => {
    const startMs = performance.now();
    run();
    return (performance.now() - startMs) / 1000;
  });
  return Math.min(...seconds);
}
