/**
 * The arithmetic of sralign. Tensors live in native memory with an explicit lifetime (`Tensor`, `Scope`); each operation
 * is one function that takes its arguments by name, checks all of them, and writes into tensors the caller made.
 *
 * In the docstrings: T = packed tokens, H = hidden size, K and N = inputs and outputs of a linear layer, V = vocabulary,
 * M = rows that meet the output matrix, R = targets (response tokens), B = pairs, S = segments, C = cache rows.
 * Gradients of parameters are added to what is there; gradients of activations overwrite, unless `accumulate` is set.
 */
export { type CollectiveSpan, takeSpans, WorldCommunicator, type WorldOptions } from './comm/collectives.js';
export { type Collective, type Communicator, SOLO } from './comm/communicator.js';
export { control, type JoinOptions } from './comm/control.js';
export { closeMpi, isMpiBuilt, openMpi, shareText } from './comm/mpi.js';
export { ncclId } from './comm/nccl.js';
export { type CudaInfo, cudaInfo, currentDevice, type DeviceName, synchronize, useDevice } from './device.js';
export { NativeError } from './errors.js';
export { lockFile, reserveBytes } from './files.js';
export {
  type CpuInfo,
  cpuInfo,
  type MemoryInfo,
  memory,
  resetPeakMemory,
  setThreads,
  threads,
} from './info.js';
export * from './ops/activation.js';
export * from './ops/attention.js';
export * from './ops/elementwise.js';
export * from './ops/embedding.js';
export * from './ops/linear.js';
export * from './ops/logprob.js';
export * from './ops/norm.js';
export * from './ops/optimizer.js';
export * from './ops/preference.js';
export * from './ops/random.js';
export { Scope, unscoped } from './scope.js';
export { type DType, type FileType, Tensor } from './tensor.js';
