import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Sampler } from '../../src/data/sampler.js';

const sizes = fc.integer({ min: 1, max: 200 });
const seeds = fc.integer({ min: 0, max: 0xffffffff });
const counts = fc.integer({ min: 1, max: 64 });

/** The batches of one epoch. */
function epochOf(sampler: Sampler, count: number): number[][] {
  const { epoch } = sampler.state;
  const batches: number[][] = [];
  while (sampler.state.epoch === epoch) batches.push(sampler.next(count));
  return batches;
}

describe('Sampler', () => {
  it('visits every index once an epoch, in full batches but for the last', () => {
    fc.assert(
      fc.property(sizes, seeds, counts, (size, seed, count) => {
        const sampler = new Sampler(size, seed);
        for (let epoch = 0; epoch < 3; epoch++) {
          const batches = epochOf(sampler, count);
          expect(batches.flat().sort((a, b) => a - b)).toEqual(
            Array.from({ length: size }, (_, index) => index),
          );
          expect(batches.slice(0, -1).every(batch => batch.length === count)).toBe(true);
          expect(batches.at(-1)!.length).toBe(size % count || Math.min(count, size));
        }
      }),
    );
  });

  it('knows what it will give', () => {
    fc.assert(
      fc.property(sizes, seeds, counts, fc.nat(9), fc.nat(9), (size, seed, count, before, batches) => {
        const sampler = new Sampler(size, seed);
        for (let batch = 0; batch < before; batch++) sampler.next(count);
        const told = sampler.upcoming(batches, count);
        const given = Array.from({ length: batches }, () => sampler.next(count)).flat();
        expect(told).toEqual([...new Set(given)].sort((a, b) => a - b));
      }),
    );
    expect(new Sampler(5, 1).upcoming(Number.MAX_SAFE_INTEGER, 2)).toEqual([0, 1, 2, 3, 4]);
  });

  it('goes on from any state as if it had never stopped', () => {
    fc.assert(
      fc.property(sizes, seeds, counts, fc.nat(30), (size, seed, count, steps) => {
        const sampler = new Sampler(size, seed);
        for (let step = 0; step < steps; step++) sampler.next(count);
        const resumed = new Sampler(size, seed, sampler.state);
        for (let step = 0; step < 10; step++) expect(resumed.next(count)).toEqual(sampler.next(count));
        expect(resumed.state).toEqual(sampler.state);
      }),
    );
  });

  it('orders each epoch and each seed differently', () => {
    const sampler = new Sampler(50, 1);
    const [first, second] = [epochOf(sampler, 50), epochOf(sampler, 50)];
    expect(first).not.toEqual(second);
    expect(epochOf(new Sampler(50, 2), 50)).not.toEqual(first);
  });

  it('keeps the order it has always had, so that old checkpoints resume', () => {
    const sampler = new Sampler(8, 0);
    expect([sampler.next(8), sampler.next(8)]).toMatchInlineSnapshot(`
      [
        [
          5,
          0,
          1,
          3,
          2,
          4,
          6,
          7,
        ],
        [
          6,
          7,
          3,
          4,
          2,
          5,
          1,
          0,
        ],
      ]
    `);
  });

  it('puts every index anywhere about equally often', () => {
    const hits = Array.from({ length: 5 }, () => 0);
    for (let seed = 0; seed < 2000; seed++) hits[new Sampler(5, seed).next(1)[0]!]!++;
    for (const hit of hits) expect(Math.abs(hit - 400)).toBeLessThan(80);
  });

  it.each([
    [0, { epoch: 0, position: 0 }],
    [3, { epoch: 0, position: 3 }],
    [3, { epoch: -1, position: 0 }],
    [3, { epoch: 0, position: 0.5 }],
    [3, { epoch: 2 ** 53 - 1, position: 0 }],
  ])('refuses %d pairs at %j', (size, state) => {
    expect(() => new Sampler(size, 0, state)).toThrow(RangeError);
  });
});
