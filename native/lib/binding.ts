import type { CollectiveSpan } from './comm/collectives.js';
import type { CudaInfo } from './device.js';
import type { NativeError } from './errors.js';

type Id = number;
/** Ids of several tensors; 0 stands for "none". */
type Ids = Float64Array;
type Flag = boolean;
/** Of a collective operation that was started. */
type Ticket = number;
/** Layout (0 interleaved, 1 blocked), query heads, key/value heads, elements per head. */
type Heads = [layout: number, heads: number, kvHeads: number, headDim: number];

/**
 * What the .node file exports, function by function: positional arguments, tensors as ids (0 where an optional one is
 * not given), enumerations as numbers. Nothing outside this package calls it: the package exports no path to it, and
 * shapes are checked only in front of it.
 */
export interface NativeBinding {
  setErrorClass(type: typeof NativeError): void;
  /** `library`: '' for the processor. */
  useDevice(library: string, device: number): void;
  synchronize(): void;
  memory(): Record<
    | 'liveTensors'
    | 'liveBytes'
    | 'peakBytes'
    | 'cachedBytes'
    | 'workspaceBytes'
    | 'communicationBytes'
    | 'largestAllocationBytes',
    number
  >;
  resetPeakMemory(): void;
  threads(): number;
  setThreads(count: number): void;
  cpuInfo(): {
    vendor: string;
    model: string;
    instructionSets: string[];
    kernels: 'portable' | 'avx2' | 'avx512';
    oneDnnVersion: string;
    oneDnnIsa: string;
    nativeBf16: boolean;
    cores: number;
  };

  cudaInfo(library: string): CudaInfo;

  /** 0 or errno. */
  fileLock(descriptor: number): number;
  /** 0 or errno. */
  fileReserve(descriptor: number, bytes: number): number;

  controlListen(port: number, onHost: Flag): number;
  controlJoin(
    ...args: [
      ...[rank: number, worldSize: number, host: string, address: string, port: number],
      ...[timeoutMs: number, token: string],
    ]
  ): void;
  controlExchange(bytes: Uint8Array): Uint8Array[];
  controlFail(message: string, exitCode: number): never;
  controlWatch(on: Flag): void;
  controlTick(): void;
  controlLeave(): void;
  mpiOpen(library: string): [rank: number, worldSize: number];
  /** The text of rank 0. */
  mpiShareText(text: string): string;
  mpiClose(): void;
  ncclId(): Uint8Array;
  /** `transport`: 0 MPI, 1 NCCL; `id`: of the NCCL job. */
  useCollectives(transport: number, id: Uint8Array, rank: number, worldSize: number): void;
  allGather(shard: Id, out: Id): Ticket;
  reduceScatter(input: Id, shard: Id): Ticket;
  allReduce(tensor: Id): Ticket;
  broadcast(tensor: Id, root: number): Ticket;
  barrier(): Ticket;
  collectiveWait(ticket: Ticket): void;
  takeSpans(): CollectiveSpan[];

  create(dtype: number, rank: number, ...sizes: number[]): Id;
  createView(base: Id, elementOffset: number, rank: number, ...sizes: number[]): Id;
  release(tensor: Id): void;
  zero(tensor: Id): void;
  copy(target: Id, source: Id): void;
  write(tensor: Id, elementOffset: number, bytes: Uint8Array, fileType: number): void;
  read(tensor: Id, bytes: Uint8Array): void;
  readWidened(tensor: Id, values: Float32Array): void;

  embedding(tokens: Id, table: Id, out: Id): void;
  embeddingBackward(tokens: Id, dOut: Id, dTable: Id): void;
  linear(x: Id, weight: Id, bias: Id, out: Id): void;
  linearBackwardInput(dOut: Id, weight: Id, dX: Id, accumulate: Flag): void;
  linearBackwardWeight(dOut: Id, x: Id, dWeight: Id, dBias: Id): void;
  layerNorm(x: Id, weight: Id, bias: Id, epsilon: number, out: Id, mean: Id, rstd: Id): void;
  layerNormBackward(
    ...args: [
      x: Id,
      weight: Id,
      mean: Id,
      rstd: Id,
      dOut: Id,
      dX: Id,
      accumulate: Flag,
      dWeight: Id,
      dBias: Id,
    ]
  ): void;
  rmsNorm(x: Id, weight: Id, epsilon: number, out: Id, rstd: Id): void;
  rmsNormBackward(x: Id, weight: Id, rstd: Id, dOut: Id, dX: Id, accumulate: Flag, dWeight: Id): void;
  rotary(...args: [qkv: Id, positions: Id, cosines: Id, sines: Id, ...Heads, inverse: Flag]): void;
  attention(...args: [qkv: Id, segments: Id, ...Heads, window: number, out: Id, logSumExp: Id]): void;
  attentionBackward(
    ...args: [qkv: Id, segments: Id, ...Heads, window: number, out: Id, logSumExp: Id, dOut: Id, dQkv: Id]
  ): void;
  attentionCached(
    ...args: [qkv: Id, ...Heads, window: number, keyCache: Id, valueCache: Id, start: number, out: Id]
  ): void;
  gelu(x: Id, out: Id, kind: number): void;
  geluBackward(x: Id, dOut: Id, dX: Id, kind: number): void;
  swiglu(gateUp: Id, out: Id): void;
  swigluBackward(gateUp: Id, dOut: Id, dGateUp: Id): void;
  add(a: Id, b: Id, out: Id): void;
  cast(x: Id, out: Id): void;
  scale(x: Id, factor: number): void;
  linearLogprob(
    ...args: [
      ...[hidden: Id, weight: Id, rows: Id, targetRows: Id, labels: Id],
      ...[logps: Id, logSumExp: Id, logits: Id, statistics: Id],
    ]
  ): void;
  linearLogprobBackward(
    ...args: [
      ...[hidden: Id, weight: Id, rows: Id, targetRows: Id, labels: Id, logSumExp: Id],
      ...[dLogps: Id, dHidden: Id, dWeight: Id, logits: Id],
    ]
  ): void;
  logprobGather(logits: Id, labels: Id, logps: Id, logSumExp: Id): void;
  logprobGatherBackward(logits: Id, labels: Id, logSumExp: Id, dLogps: Id, dLogits: Id): void;
  sequenceSum(values: Id, offsets: Id, sums: Id): void;
  sequenceSumBackward(dSums: Id, offsets: Id, dValues: Id): void;
  preferenceLoss(
    ...args: [
      ...[method: number, reduction: number, beta: number, lambda: number, labelSmoothing: number],
      ...[lossScale: number, policy: Id, reference: Id, augmentedPolicy: Id, augmentedReference: Id],
      ...[responseTokens: Id, losses: Id, margins: Id, deltas: Id, dLogps: Id],
    ]
  ): void;
  rmsprop(
    ...args: [
      ...[parameters: Ids, gradients: Ids, computeWeights: Ids, gradientScale: Id, squareAverages: Ids],
      ...[learningRate: number, alpha: number, epsilon: number, weightDecay: number],
    ]
  ): void;
  adamw(
    ...args: [
      ...[parameters: Ids, gradients: Ids, computeWeights: Ids, gradientScale: Id],
      ...[firstMoments: Ids, secondMoments: Ids],
      ...[learningRate: number, beta1: number, beta2: number, epsilon: number, weightDecay: number],
      step: number,
    ]
  ): void;
  l2Norm(tensors: Ids, norm: Id): void;
  clipFactor(norm: Id, maxNorm: number, factor: Id): void;
  fillNormal(out: Id, deviation: number, seed: number): void;
}
