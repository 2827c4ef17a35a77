import { native } from './load.js';

export interface MemoryInfo {
  /** Tensors that are not disposed, views included. */
  liveTensors: number;
  /** Bytes of tensor memory in use; views share theirs. */
  liveBytes: number;
  /** Highest `liveBytes` since the last `resetPeakMemory`. */
  peakBytes: number;
  /** Freed tensor memory kept for the next tensors of the same size. */
  cachedBytes: number;
  /** Working memory that the operations keep between calls. */
  workspaceBytes: number;
  /** Memory that MPI reductions keep between calls; of the process, not of the thread. */
  communicationBytes: number;
  /** Largest single allocation, of a tensor since the last `resetPeakMemory` or of working memory. */
  largestAllocationBytes: number;
}

/** Native memory of this thread's engine. */
export function memory(): MemoryInfo {
  return native().memory();
}

/** Starts `peakBytes` again from `liveBytes` and the tensors' part of `largestAllocationBytes` from 0. */
export function resetPeakMemory(): void {
  native().resetPeakMemory();
}

/** CPU threads that one operation uses. Starts as OMP_NUM_THREADS or, where that is not set, every available core. */
export function threads(): number {
  return native().threads();
}

/** Sets the number of CPU threads of the operations called from this thread. */
export function setThreads(count: number): void {
  if (!Number.isInteger(count) || count < 1 || count > 1024) {
    throw new TypeError(`setThreads: "count" must be an integer from 1 to 1024, got ${String(count)}`);
  }
  native().setThreads(count);
}

export interface CpuInfo {
  vendor: string;
  model: string;
  /** Vector instructions of the processor that matter here. */
  instructionSets: string[];
  /** Which of our kernels run; SRALIGN_CPU_KERNELS (portable, avx2, avx512) in the environment asks for others, and keeps oneDNN to the same instructions. */
  kernels: 'portable' | 'avx2' | 'avx512';
  oneDnnVersion: string;
  /** The instruction set oneDNN generates code for. */
  oneDnnIsa: string;
  /**
   * Whether matrix products of bf16 use bf16 instructions. Where they do not, bf16 is multiplied in f32: the same
   * numbers to rounding, slower than f32.
   */
  nativeBf16: boolean;
  /** Cores this process may use. */
  cores: number;
}

export function cpuInfo(): CpuInfo {
  return native().cpuInfo();
}
