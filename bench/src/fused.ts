/** The fused output matrix + log-prob against the same from whole logits, forward and backward. */
import * as native from '@sralign/native';
import { type DType, fillNormal, memory, resetPeakMemory, Scope, Tensor } from '@sralign/native';

export const VOCABULARIES = [32_000, 50_304, 128_256];
export const ROWS = 1024;
const HIDDEN = 512;

export interface LogprobPath {
  readonly name: 'unfused' | 'fused' | 'fused, logits kept';
  readonly run: () => void;
}

/** The three ways at one size; the tensors they share belong to the current scope. */
export function logprobPaths(vocabulary: number, dtype: DType): LogprobPath[] {
  const normal = (shape: number[], seed: number, type: DType): Tensor => {
    const out = Tensor.empty(shape, type);
    fillNormal({ out, deviation: 0.05, seed });
    return out;
  };
  const hidden = normal([ROWS, HIDDEN], 1, dtype);
  const weight = normal([vocabulary, HIDDEN], 2, dtype);
  const rows = Tensor.from(
    Int32Array.from({ length: ROWS }, (_, i) => i),
    [ROWS],
  );
  const labels = Tensor.from(
    Int32Array.from({ length: ROWS }, (_, i) => (i * 7919) % vocabulary),
    [ROWS],
  );
  const [logps, logSumExp, dLogps] = [1, 2, 3].map(seed => normal([ROWS], seed, 'f32')) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const dHidden = normal([ROWS, HIDDEN], 3, dtype);
  const dWeight = Tensor.zeros([vocabulary, HIDDEN]);

  const unfused = (): void => {
    using _scope = new Scope();
    const logits = Tensor.empty([ROWS, vocabulary], dtype);
    native.linear({ x: hidden, weight, out: logits });
    native.logprobGather({ logits, labels, logps, logSumExp });
    native.logprobGatherBackward({ logits, labels, logSumExp, dLogps, dLogits: logits });
    native.linearBackwardInput({ dOut: logits, weight, dX: dHidden });
    native.linearBackwardWeight({ dOut: logits, x: hidden, dWeight });
  };
  const fused = (keep: boolean) => (): void => {
    using _scope = new Scope();
    const logits = keep ? Tensor.empty([ROWS, vocabulary]) : undefined;
    const common = { hidden, weight, rows, targetRows: rows, labels, logSumExp, logits };
    native.linearLogprob({ ...common, logps });
    native.linearLogprobBackward({ ...common, dLogps, dHidden, dWeight });
  };
  return [
    { name: 'unfused', run: unfused },
    { name: 'fused', run: fused(false) },
    { name: 'fused, logits kept', run: fused(true) },
  ];
}

/** Bytes of tensors that a run adds to what is in use, at most, and of its largest allocation, working memory included. */
export function memoryOf(run: () => void): { readonly addedBytes: number; readonly largestBytes: number } {
  const { liveBytes } = memory();
  resetPeakMemory();
  run();
  const { peakBytes, largestAllocationBytes } = memory();
  return { addedBytes: peakBytes - liveBytes, largestBytes: largestAllocationBytes };
}
