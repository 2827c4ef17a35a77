import type { Tensor } from '../tensor.js';

/** A collective operation that was started. */
export interface Collective {
  /**
   * On the CPU waits until the operation is done; on a GPU makes the operations called from now on run after it. Until
   * then its tensors must be neither read nor written; they may be disposed. Does nothing the second time.
   *
   * @throws NativeError (ERR_COMMUNICATION)
   */
  wait(): void;
}

/**
 * The ranks of a job and what they do together. Every rank makes the same calls in the same order; a call starts the
 * operation and returns. Tensors are on the device of `useDevice`.
 */
export interface Communicator {
  /** Of this process, from 0. */
  readonly rank: number;
  readonly worldSize: number;
  /** Name of the host of every rank. */
  readonly hosts: readonly string[];

  /** `out` = the shards of all ranks behind each other; same type, `worldSize` times as many elements as `shard`. */
  allGather(shard: Tensor, out: Tensor): Collective;
  /** `shard` = this rank's part of the sum of `input` over ranks, f32; `input` has `worldSize` times its elements. */
  reduceScatter(input: Tensor, shard: Tensor): Collective;
  /** `tensor` = its sum over ranks, f32; the same bits on every rank. */
  allReduce(tensor: Tensor): Collective;
  /** `tensor` = that of rank `root`. */
  broadcast(tensor: Tensor, root: number): Collective;
  /** Is done when every rank has called it. */
  barrier(): Collective;

  /**
   * A small value of every rank (JSON), in the order of ranks. Waits for all ranks.
   *
   * @throws NativeError (ERR_COMMUNICATION)
   */
  exchange<T>(value: T): T[];
}

const DONE: Collective = { wait: () => {} };

/** The communicator of a job of one process. */
export const SOLO: Communicator = {
  rank: 0,
  worldSize: 1,
  hosts: ['localhost'],
  allGather(shard, out) {
    out.copyFrom(shard);
    return DONE;
  },
  reduceScatter(input, shard) {
    shard.copyFrom(input);
    return DONE;
  },
  allReduce: () => DONE,
  broadcast: () => DONE,
  barrier: () => DONE,
  exchange: value => [value],
};
