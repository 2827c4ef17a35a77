import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type PackedBatch, packedTokens, packPairs } from '../../src/batch/pack.js';
import { pairArbitrary } from '../support.js';

/** Every answer's (context, labels) as the batch lays them out, read back through the segments. */
function unpack(batch: PackedBatch): { context: number[]; labels: number[] }[] {
  const segmentOf = (token: number): number => {
    for (let s = batch.segments.length / 3 - 1; s >= 0; s--) if (batch.segments[3 * s]! <= token) return s;
    throw new Error('token before the first segment');
  };
  const contextOf = (token: number): number[] => {
    const segment = segmentOf(token);
    const [start, , parent] = batch.segments.slice(3 * segment, 3 * segment + 3) as unknown as number[];
    const own = [...batch.tokens.slice(start, token + 1)];
    if (parent === -1) return own;
    const last = batch.segments[3 * parent!]! + batch.segments[3 * parent! + 1]! - 1;
    return [...contextOf(last), ...own];
  };
  const answers = [];
  for (let q = 0; q + 1 < batch.sequenceOffsets.length; q++) {
    const targets = [];
    for (let i = batch.sequenceOffsets[q]!; i < batch.sequenceOffsets[q + 1]!; i++) {
      targets.push({ context: contextOf(batch.rows[batch.targetRows[i]!]!), label: batch.labels[i]! });
    }
    targets.sort((a, b) => a.context.length - b.context.length);
    answers.push({ context: targets[0]!.context, labels: targets.map(target => target.label) });
    for (const [i, target] of targets.entries()) {
      expect(target.context).toEqual([...targets[0]!.context, ...answers.at(-1)!.labels.slice(0, i)]);
    }
  }
  return answers;
}

const batches = fc.array(pairArbitrary(), { minLength: 1, maxLength: 5 });
const augmentation = Int32Array.of(90, 91, 92);

describe('packPairs', () => {
  it('lets every label be predicted from exactly its own prompt and answer', () => {
    fc.assert(
      fc.property(batches, fc.boolean(), (pairs, augmented) => {
        const batch = packPairs(pairs, augmented ? 'augmented' : 'plain', 'both', augmentation);
        const prefix = augmented ? [...augmentation] : [];
        const expected = pairs.flatMap(pair => [
          { context: [...prefix, ...pair.prompt], labels: [...pair.chosen] },
          { context: [...prefix, ...pair.prompt], labels: [...pair.rejected] },
        ]);
        expect(unpack(batch)).toEqual(expected);
      }),
    );
  });

  it('computes each prompt once, p once per batch, and no last token', () => {
    fc.assert(
      fc.property(batches, pairs => {
        const plain = packPairs(pairs, 'plain', 'both');
        const expected = pairs.reduce((sum, pair) => sum + packedTokens(pair, 'plain', 'both'), 0);
        expect(plain.tokens.length).toBe(expected);
        const augmented = packPairs(pairs, 'augmented', 'both', augmentation);
        expect(augmented.tokens.length).toBe(expected + augmentation.length);
        const rows = pairs.reduce((sum, pair) => sum + pair.chosen.length + pair.rejected.length - 1, 0);
        expect(plain.rows.length).toBe(rows);
      }),
    );
  });

  it('gives distinct rows, targets in row order, and positions that run on from the parent', () => {
    fc.assert(
      fc.property(batches, pairs => {
        const batch = packPairs(pairs, 'augmented', 'both', augmentation);
        expect(new Set(batch.rows).size).toBe(batch.rows.length);
        expect([...batch.targetRows]).toEqual([...batch.targetRows].sort((a, b) => a - b));
        for (let s = 0; s < batch.segments.length / 3; s++) {
          const [start, length, parent] = batch.segments.slice(3 * s, 3 * s + 3) as unknown as number[];
          const first =
            parent === -1
              ? 0
              : batch.positions[batch.segments[3 * parent!]! + batch.segments[3 * parent! + 1]! - 1]! + 1;
          expect([...batch.positions.slice(start, start! + length!)]).toEqual(
            Array.from({ length: length! }, (_, i) => first + i),
          );
        }
      }),
    );
  });

  it('packs only the chosen answers for SFT', () => {
    fc.assert(
      fc.property(batches, pairs => {
        const batch = packPairs(pairs, 'plain', 'chosen');
        expect(unpack(batch)).toEqual(
          pairs.map(pair => ({ context: [...pair.prompt], labels: [...pair.chosen] })),
        );
        expect([...batch.responseTokens]).toEqual(pairs.map(pair => pair.chosen.length));
      }),
    );
  });

  it('refuses an empty prompt and an empty response', () => {
    const empty = new Int32Array(0);
    const one = Int32Array.of(1);
    const pair = { prompt: one, augmentedPrompt: one, chosen: one, rejected: one };
    expect(() => packPairs([{ ...pair, prompt: empty }], 'plain', 'both')).toThrow(/prompt has no token/);
    expect(() => packPairs([{ ...pair, rejected: empty }], 'plain', 'both')).toThrow(/response has no token/);
  });
});
