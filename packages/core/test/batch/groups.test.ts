import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pairGroups } from '../../src/batch/groups.js';
import { packExamples, packPairs } from '../../src/batch/pack.js';
import { examplesOf, pairArbitrary } from '../support.js';

const batches = fc.array(pairArbitrary(), { minLength: 1, maxLength: 8 });

describe('pairGroups', () => {
  it.each(['dpo', 'sft'] as const)('covers the batch of %s in order', method => {
    fc.assert(
      fc.property(batches, fc.integer({ min: 1, max: 60 }), (pairs, mostRows) => {
        const batch = packExamples(examplesOf(method, pairs));
        const answersPerPair = method === 'sft' ? 1 : 2;
        const groups = pairGroups(batch, answersPerPair, mostRows);
        expect(groups.flatMap(group => [...group.rows])).toEqual([...batch.rows]);
        expect(groups.flatMap(group => [...group.labels])).toEqual([...batch.labels]);
        expect(groups[0]!.firstPair).toBe(0);
        expect(groups.at(-1)!.endPair).toBe(pairs.length);
        let [row, target] = [0, 0];
        for (const [i, group] of groups.entries()) {
          if (i > 0) expect(group.firstPair).toBe(groups[i - 1]!.endPair);
          expect(group.rows.length <= mostRows || group.endPair - group.firstPair === 1).toBe(true);
          const end = target + group.labels.length;
          expect([...group.targetRows]).toEqual([...batch.targetRows.slice(target, end)].map(r => r - row));
          const [first, last] = [group.firstPair * answersPerPair, group.endPair * answersPerPair];
          const offsets = batch.sequenceOffsets.slice(first, last + 1);
          expect([...group.sequenceOffsets]).toEqual([...offsets].map(offset => offset - target));
          row += group.rows.length;
          target = end;
        }
      }),
    );
  });

  it('fills a group before it starts the next', () => {
    const answer = Int32Array.of(1, 2, 3);
    const pair = { prompt: answer, augmentedPrompt: answer, chosen: answer, rejected: answer };
    const batch = packPairs([pair, pair, pair, pair, pair], 'plain');
    const sizes = (mostRows: number): number[] =>
      pairGroups(batch, 2, mostRows).map(group => group.endPair - group.firstPair);
    expect(sizes(10)).toEqual([2, 2, 1]); // five rows a pair
    expect(sizes(9)).toEqual([1, 1, 1, 1, 1]);
    expect(sizes(1)).toEqual([1, 1, 1, 1, 1]);
    expect(sizes(25)).toEqual([5]);
  });
});
