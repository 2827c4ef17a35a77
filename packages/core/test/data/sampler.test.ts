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
        expect(told).toEqual([...new Set(given)]);
      }),
    );
    expect(new Sampler(5, 1).upcoming(Number.MAX_SAFE_INTEGER, 2).sort()).toEqual([0, 1, 2, 3, 4]);
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

  const blocks = fc
    .array(fc.record({ pairs: fc.integer({ min: 1, max: 40 }), weight: fc.integer({ min: 1, max: 13 }) }), {
      minLength: 1,
      maxLength: 4,
    })
    .map(list => list.map(({ pairs, weight }) => ({ pairs, weight: weight / 4 })))
    .filter(list => list.some(({ pairs, weight }) => Math.round(pairs * weight) > 0));

  it('visits the pairs of each source as often as its weight says', () => {
    fc.assert(
      fc.property(blocks, seeds, counts, (sources, seed, count) => {
        const sampler = new Sampler(sources, seed);
        for (let epoch = 0; epoch < 2; epoch++) {
          const order = epochOf(sampler, count).flat();
          expect(order).toHaveLength(sampler.epochPairs);
          let first = 0;
          for (const { pairs, weight } of sources) {
            const visits = Array.from(
              { length: pairs },
              (_, i) => order.filter(at => at === first + i).length,
            );
            expect(visits.reduce((sum, count) => sum + count, 0)).toBe(Math.round(pairs * weight));
            expect(Math.min(...visits)).toBeGreaterThanOrEqual(Math.floor(weight));
            expect(Math.max(...visits)).toBeLessThanOrEqual(Math.ceil(weight));
            first += pairs;
          }
        }
      }),
    );
  });

  it('goes on with weights as if it had never stopped, and knows what it gave', () => {
    fc.assert(
      fc.property(blocks, seeds, counts, fc.nat(30), (sources, seed, count, steps) => {
        const sampler = new Sampler(sources, seed);
        const given = Array.from({ length: steps }, () => sampler.next(count)).flat();
        const resumed = new Sampler(sources, seed, sampler.state);
        const visits = new Uint32Array(sources.reduce((sum, { pairs }) => sum + pairs, 0));
        for (const index of given) visits[index]!++;
        expect(resumed.visits()).toEqual(visits);
        for (let step = 0; step < 10; step++) expect(resumed.next(count)).toEqual(sampler.next(count));
      }),
    );
  });

  it('draws another part of a source each epoch', () => {
    const sampler = new Sampler([{ pairs: 40, weight: 0.5 }], 3);
    const [first, second] = [epochOf(sampler, 40), epochOf(sampler, 40)].map(epoch =>
      epoch.flat().toSorted(),
    );
    expect(first).toHaveLength(20);
    expect(first).not.toEqual(second);
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
