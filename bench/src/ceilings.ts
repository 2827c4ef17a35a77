/** What this machine reaches at the threads in use: the ceilings that times are held against. */
import { add, type DType, l2Norm, linear, Scope, synchronize, Tensor } from '@sralign/native';

/** FLOP/s of a 2048^3 product in the given type: the best of three after a warm-up. */
export function matmulFlops(dtype: DType): number {
  using _scope = new Scope();
  const size = 2048;
  const [x, weight, out] = [0, 0, 0].map(() => Tensor.zeros([size, size], dtype)) as [Tensor, Tensor, Tensor];
  return (2 * size ** 3) / bestSeconds(() => linear({ x, weight, out }));
}

/**
 * Bytes/s of the main memory, over arrays of 128 MiB: the better of reading alone (a norm) and of two reads and
 * a write (an addition). Bytes are those an operation names; what a cache fetches before a write is not counted.
 */
export function memoryBandwidth(): number {
  using _scope = new Scope();
  const [a, b, out] = [0, 0, 0].map(() => Tensor.zeros([2 ** 25])) as [Tensor, Tensor, Tensor];
  const norm = Tensor.empty([1]);
  const reading = bestSeconds(() => l2Norm({ tensors: [a, b], norm }));
  const adding = bestSeconds(() => add({ a, b, out }));
  return Math.max((a.bytes + b.bytes) / reading, (a.bytes + b.bytes + out.bytes) / adding);
}

/** The shortest of three runs, after one that warms up. */
function bestSeconds(run: () => void): number {
  run();
  synchronize();
  const seconds = [0, 0, 0].map(() => {
    const startMs = performance.now();
    run();
    synchronize();
    return (performance.now() - startMs) / 1000;
  });
  return Math.min(...seconds);
}
