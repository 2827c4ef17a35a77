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

/** Neighbouring pairs that are visited equally often. */
export interface WeightedPairs {
  readonly pairs: number;
  /** Visits of a pair in an epoch, greater than 0: 2 is twice; 0.5 a half of the pairs, another one each epoch. */
  readonly weight: number;
}

/** A state beyond it is damaged: getting there would take minutes. */
export const MAX_EPOCH = 1_000_000;

/**
 * Visits the indices of the pairs, each epoch in its own order: every one once, or as often as its weight says. An order
 * depends on seed, epoch and weights only (Fisher-Yates; epoch e draws from the e-th non-overlapping stretch of the
 * generator), so a state is two numbers and a resumed run sees exactly the batches it would have seen.
 */
export class Sampler {
  /** Visits of an epoch. */
  readonly epochPairs: number;
  readonly #blocks: readonly WeightedPairs[];
  readonly #seed: number;
  /** At the beginning of this epoch's stretch. */
  readonly #random: JumpableRandomGenerator;
  #epoch: number;
  #position: number;
  #order: Uint32Array;

  /**
   * @param pairs their number, at least 1, or blocks of them that together make an epoch of at least one visit
   * @param seed 32-bit integer
   * @throws RangeError when there is nothing to visit or the state lies outside the data
   */
  constructor(
    pairs: number | readonly WeightedPairs[],
    seed: number,
    state: SamplerState = { epoch: 0, position: 0 },
  ) {
    const { epoch, position } = state;
    this.#blocks = typeof pairs === 'number' ? [{ pairs, weight: 1 }] : pairs;
    this.epochPairs = this.#blocks.reduce((sum, block) => sum + visitsOf(block), 0);
    if (!Number.isInteger(this.epochPairs) || this.epochPairs < 1)
      throw new RangeError(`an epoch must have a positive number of pairs, has ${this.epochPairs}`);
    if (
      !Number.isInteger(epoch) ||
      !Number.isInteger(position) ||
      epoch < 0 ||
      epoch > MAX_EPOCH ||
      position < 0 ||
      position >= this.epochPairs
    ) {
      throw new RangeError(`no position ${position} in epoch ${epoch} of ${this.epochPairs} pairs`);
    }
    this.#seed = seed;
    this.#random = xoroshiro128plus(seed);
    for (let jumps = 0; jumps < epoch; jumps++) this.#random.jump();
    this.#epoch = epoch;
    this.#position = position;
    this.#order = epochOrder(this.#blocks, this.#random.clone());
  }

  /**
   * The next `count` indices, fewer at the end of an epoch: a batch never spans two epochs, and none is dropped.
   */
  next(count: number): number[] {
    const batch = Array.from(this.#order.subarray(this.#position, this.#position + count));
    this.#position += batch.length;
    if (this.#position === this.epochPairs) {
      this.#epoch++;
      this.#position = 0;
      this.#random.jump();
      this.#order = epochOrder(this.#blocks, this.#random.clone());
    }
    return batch;
  }

  /**
   * What the next `batches` calls of `next(count)` will give: every index once, in the order in which they come first, so
   * that what is told of more batches begins with what is told of fewer.
   */
  upcoming(batches: number, count: number): number[] {
    const ahead = new Sampler(this.#blocks, this.#seed, this.state);
    const total = this.#blocks.reduce((sum, block) => sum + block.pairs, 0);
    const indices = new Set<number>();
    for (let batch = 0; batch < batches && indices.size < total; batch++) {
      for (const index of ahead.next(count)) indices.add(index);
    }
    return [...indices];
  }

  /** How often each index has been given. */
  visits(): Uint32Array {
    const counts = new Uint32Array(this.#blocks.reduce((sum, block) => sum + block.pairs, 0));
    const past = new Sampler(this.#blocks, this.#seed);
    const same = this.#blocks.every(({ weight }) => Number.isInteger(weight));
    // Every epoch is alike where nothing is drawn but the order.
    for (let epoch = 0; epoch < (same ? Math.min(1, this.#epoch) : this.#epoch); epoch++)
      for (const index of past.next(this.epochPairs)) counts[index]! += same ? this.#epoch : 1;
    for (const index of this.#order.subarray(0, this.#position)) counts[index]!++;
    return counts;
  }

  get state(): SamplerState {
    return { epoch: this.#epoch, position: this.#position };
  }
}

/** In an epoch. */
export const visitsOf = ({ pairs, weight }: WeightedPairs): number => Math.round(pairs * weight);

function epochOrder(blocks: readonly WeightedPairs[], random: RandomGenerator): Uint32Array {
  const visits: number[] = [];
  let first = 0;
  for (const block of blocks) {
    const indices = Uint32Array.from({ length: block.pairs }, (_, index) => first + index);
    const rounds = Math.floor(block.weight);
    for (let round = 0; round < rounds; round++) for (const index of indices) visits.push(index);
    const more = visitsOf(block) - rounds * block.pairs;
    if (more > 0) for (const index of shuffle(indices, random).subarray(0, more)) visits.push(index);
    first += block.pairs;
  }
  return shuffle(Uint32Array.from(visits), random);
}

function shuffle(order: Uint32Array, random: RandomGenerator): Uint32Array {
  for (let last = order.length - 1; last > 0; last--) {
    const other = uniformInt(random, 0, last);
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return order;
}
