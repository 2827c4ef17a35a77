import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { balancedRounds } from '../../src/batch/balance.js';

const identity = (tokens: number): number => tokens;

describe('balancedRounds', () => {
  it('gives every pair to one rank once, at most so many at a time, in order', () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(
        lengths,
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 9 }),
        (tokens, ranks, most) => {
          const pairs = tokens.map((length, index) => ({ length, index }));
          const rounds = balancedRounds(pairs, ranks, most, ({ length }) => length);
          expect(rounds).toHaveLength(Math.ceil(pairs.length / (ranks * most)));
          expect(
            rounds
              .flat(2)
              .map(({ index }) => index)
              .sort((a, b) => a - b),
          ).toEqual([...pairs.keys()]);
          for (const round of rounds) {
            expect(round).toHaveLength(ranks);
            for (const own of round) {
              expect(own.length).toBeLessThanOrEqual(most);
              expect(own).toEqual([...own].sort((a, b) => a.index - b.index));
            }
          }
        },
      ),
    );
  });

  it('with one rank takes the pairs as they come', () => {
    expect(balancedRounds([5, 1, 4, 2, 3], 1, 2, identity)).toEqual([[[5, 1]], [[4, 2]], [[3]]]);
  });

  it('lets ranks finish together: no rank has more than the longest pair above another', () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(lengths, fc.integer({ min: 2, max: 4 }), (tokens, ranks) => {
        const [round] = balancedRounds(tokens, ranks, tokens.length, identity);
        const loads = round!.map(own => own.reduce((sum, length) => sum + length, 0));
        expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(Math.max(...tokens));
      }),
    );
  });

  it('leaves ranks without pairs where there are fewer pairs than ranks', () => {
    expect(balancedRounds([7, 9], 4, 3, identity)).toEqual([[[9], [7], [], []]]);
  });
});
