/** The order in which training visits the pairs. */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import type { JumpableRandomGenerator } from 'pure-rand/types/JumpableRandomGenerator';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';

/** Where a sampler stands. The seed and the number of pairs come from the configuration and the data. */
export interface SamplerState {
  /** From 0. */
  readonly epoch: number;
  /** Pairs of this epoch already visited, less than their number. */
  readonly position: number;
}

/** A state beyond it is damaged: getting there would take minutes. */
export const MAX_EPOCH = 1_000_000;

/**
 * Visits the indices 0 .. size-1 once an epoch, each epoch in its own order. An order depends on seed and epoch only
 * (Fisher-Yates; epoch e draws from the e-th non-overlapping stretch of the generator), so a state is two numbers and
 * a resumed run sees exactly the batches it would have seen.
 */
export class Sampler {
  readonly #size: number;
  readonly #seed: number;
  /** At the beginning of this epoch's stretch. */
  readonly #random: JumpableRandomGenerator;
  #epoch: number;
  #position: number;
  #order: Uint32Array;

  /**
   * @param size number of pairs, at least 1
   * @param seed 32-bit integer
   * @throws RangeError when the size is not positive or the state lies outside the data
   */
  constructor(size: number, seed: number, state: SamplerState = { epoch: 0, position: 0 }) {
    const { epoch, position } = state;
    if (!Number.isInteger(size) || size < 1)
      throw new RangeError(`size must be a positive integer, is ${size}`);
    if (
      !Number.isInteger(epoch) ||
      !Number.isInteger(position) ||
      epoch < 0 ||
      epoch > MAX_EPOCH ||
      position < 0 ||
      position >= size
    ) {
      throw new RangeError(`no position ${position} in epoch ${epoch} of ${size} pairs`);
    }
    this.#size = size;
    this.#seed = seed;
    this.#random = xoroshiro128plus(seed);
    for (let jumps = 0; jumps < epoch; jumps++) this.#random.jump();
    this.#epoch = epoch;
    this.#position = position;
    this.#order = shuffledIndices(size, this.#random.clone());
  }

  /**
   * The next `count` indices, fewer at the end of an epoch: a batch never spans two epochs, and none is dropped.
   */
  next(count: number): number[] {
    const batch = Array.from(this.#order.subarray(this.#position, this.#position + count));
    this.#position += batch.length;
    if (this.#position === this.#size) {
      this.#epoch++;
      this.#position = 0;
      this.#random.jump();
      this.#order = shuffledIndices(this.#size, this.#random.clone());
    }
    return batch;
  }

  /** What the next `batches` calls of `next(count)` will give: every index once, in ascending order. */
  upcoming(batches: number, count: number): number[] {
    const ahead = new Sampler(this.#size, this.#seed, this.state);
    const indices = new Set<number>();
    for (let batch = 0; batch < batches && indices.size < this.#size; batch++) {
      for (const index of ahead.next(count)) indices.add(index);
    }
    return [...indices].sort((a, b) => a - b);
  }

  /** The indices of this epoch that have been given. */
  visited(): number[] {
    return Array.from(this.#order.subarray(0, this.#position));
  }

  get state(): SamplerState {
    return { epoch: this.#epoch, position: this.#position };
  }
}

function shuffledIndices(size: number, random: RandomGenerator): Uint32Array {
  const order = Uint32Array.from({ length: size }, (_, index) => index);
  for (let last = size - 1; last > 0; last--) {
    const other = uniformInt(random, 0, last);
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return order;
}
