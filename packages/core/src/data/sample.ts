/** A sample of fixed size of a stream whose length nobody knows. */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** An item with its place in the stream, from 0. */
export interface Placed<T> {
  readonly place: number;
  readonly item: T;
}

/**
 * Takes `size` items, every subset equally likely (reservoir sampling; J. S. Vitter, ACM TOMS 11(1), 1985, algorithm R); all
 * where there are fewer. The same stream, size and seed give the same sample.
 *
 * @param seed 32-bit integer
 * @returns them in the order of the stream
 */
export async function sampleOf<T>(items: AsyncIterable<T>, size: number, seed: number): Promise<Placed<T>[]> {
  const random = xoroshiro128plus(seed);
  const kept: Placed<T>[] = [];
  let place = 0;
  for await (const item of items) {
    const slot = place < size ? place : uniformInt(random, 0, place);
    if (slot < size) kept[slot] = { place, item };
    place++;
  }
  return kept.sort((a, b) => a.place - b.place);
}
