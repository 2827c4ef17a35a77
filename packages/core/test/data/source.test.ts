/** How often an epoch visits the pairs of each source, however many files it has. */
import { expect, it } from 'vitest';
import { Sampler } from '../../src/data/sampler.js';
import { plainSource, weightedPairs } from '../../src/data/source.js';

const SHARDS = Array.from({ length: 100 }, (_, index) => `shard-${index}.jsonl`);
const COUNTS = [...SHARDS.map(file => ({ file, pairs: 1 })), { file: 'own.jsonl', pairs: 100 }];

it.each([
  [0.4, 40],
  [0.5, 50],
  [1.5, 150],
  [2, 200],
])('visits a source in 100 shards of a pair as its weight %d says', (weight, expected) => {
  const sources = [{ files: SHARDS, name: null, weight }, plainSource(['own.jsonl'])];
  const sampler = new Sampler(weightedPairs(COUNTS, sources), 3);
  expect(sampler.epochPairs).toBe(expected + 100);
  const visits = Array.from(sampler.next(sampler.epochPairs));
  expect(visits.filter(index => index < 100)).toHaveLength(expected);
  expect(new Set(visits.filter(index => index >= 100)).size).toBe(100);
});

it('counts the files that were not reached, or read twice, as they were', () => {
  const weighted = [
    { files: ['a', 'b', 'c'], name: null, weight: 0.5 },
    { files: ['d'], name: null, weight: 2 },
  ];
  const counts = [
    { file: 'a', pairs: 3 },
    { file: 'b', pairs: 2 },
  ];
  expect(weightedPairs(counts, weighted)).toEqual([
    { pairs: 5, weight: 0.5 },
    { pairs: 0, weight: 2 },
  ]);
  expect(weightedPairs([{ file: 'a', pairs: 6 }], [plainSource(['a']), plainSource(['a'])])).toBe(6);
});
