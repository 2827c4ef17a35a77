/** What this machine reaches: matrix products and memory. */
import { add, type DType, Scope, synchronize, Tensor } from '@sralign/native';
import { measureMatmulFlops } from './flops.js';

interface MeasuredCeilings {
  readonly flopsPerSecond: number;
  readonly memoryBytesPerSecond: number;
}

/** At the device and the threads in use. */
export function measureCeilings(dtype: DType): MeasuredCeilings {
  return { flopsPerSecond: measureMatmulFlops(dtype), memoryBytesPerSecond: measureMemory() };
}

/** Bytes/s of an addition of arrays too large for a cache, two read and one written: the best of a few. */
function measureMemory(): number {
  using _scope = new Scope();
  const [a, b, out] = Array.from({ length: 3 }, () => Tensor.zeros([2 ** 24])) as [Tensor, Tensor, Tensor];
  const seconds = Array.from({ length: 5 }, () => {
    const startMs = performance.now();
    add({ a, b, out });
    synchronize();
    return (performance.now() - startMs) / 1000;
  });
  return (3 * a.bytes) / Math.min(...seconds);
}
