import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type PackedBatch, packExamples, packedTokens, packPairs } from '../../src/batch/pack.js';
import { promptAndAnswer, type SequenceTokens, scoredTokens } from '../../src/tokens/examples.js';
import { examplesOf, pairArbitrary } from '../support.js';

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
        const batch = packPairs(pairs, augmented ? 'augmented' : 'plain', augmentation);
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
        const plain = packPairs(pairs, 'plain');
        const expected = pairs.reduce((sum, pair) => sum + packedTokens(pair, 'plain'), 0);
        expect(plain.tokens.length).toBe(expected);
        const augmented = packPairs(pairs, 'augmented', augmentation);
        expect(augmented.tokens.length).toBe(expected + augmentation.length);
        const rows = pairs.reduce((sum, pair) => sum + pair.chosen.length + pair.rejected.length - 1, 0);
        expect(plain.rows.length).toBe(rows);
      }),
    );
  });

  it('gives distinct rows, targets in row order, and positions that run on from the parent', () => {
    fc.assert(
      fc.property(batches, pairs => {
        const batch = packPairs(pairs, 'augmented', augmentation);
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

  it('is the plain view of packExamples', () => {
    fc.assert(
      fc.property(batches, pairs => {
        expect(packExamples(pairs)).toEqual(packPairs(pairs, 'plain'));
      }),
    );
  });

  it('refuses an empty prompt and an empty response', () => {
    const empty = new Int32Array(0);
    const one = Int32Array.of(1);
    const pair = { prompt: one, augmentedPrompt: one, chosen: one, rejected: one };
    expect(() => packPairs([{ ...pair, prompt: empty }], 'plain')).toThrow(/prompt has no token/);
    expect(() => packPairs([{ ...pair, rejected: empty }], 'plain')).toThrow(/response has no token/);
  });
});

/** Sequences of 2 to 20 tokens, of which any but the first may be trained on, and one is. */
const sequences = fc.array(
  fc
    .array(fc.tuple(fc.integer({ min: 0, max: 100 }), fc.boolean()), { minLength: 2, maxLength: 20 })
    .chain(tokens => fc.tuple(fc.constant(tokens), fc.integer({ min: 1, max: tokens.length - 1 })))
    .map(
      ([tokens, always]): SequenceTokens => ({
        tokens: Int32Array.from(tokens, ([id]) => id),
        trained: Uint8Array.from(tokens, ([, trained], i) => (i === always || (trained && i > 0) ? 1 : 0)),
      }),
    ),
  { minLength: 1, maxLength: 5 },
);

describe('packExamples of SFT', () => {
  it('has a target for every token that is trained on and no other, predicted from all tokens before it', () => {
    fc.assert(
      fc.property(sequences, examples => {
        const batch = packExamples(examples);
        const expected = examples.map(({ tokens, trained }) =>
          [...tokens.keys()]
            .filter(i => trained[i] === 1)
            .map(i => ({ context: [...tokens.subarray(0, i)], label: tokens[i]! })),
        );
        const got = examples.map((_, sequence) => {
          const targets = [];
          const end = batch.sequenceOffsets[sequence + 1]!;
          for (let i = batch.sequenceOffsets[sequence]!; i < end; i++) {
            const row = batch.rows[batch.targetRows[i]!]!;
            const start = batch.segments[3 * sequence]!;
            targets.push({ context: [...batch.tokens.slice(start, row + 1)], label: batch.labels[i]! });
          }
          return targets;
        });
        expect(got).toEqual(expected);
        expect([...batch.responseTokens]).toEqual(examples.map(example => scoredTokens(example)[0]));
        expect([...batch.responseTokens]).toEqual(expected.map(targets => targets.length));
      }),
    );
  });

  it('computes no token behind the last that predicts', () => {
    fc.assert(
      fc.property(sequences, examples => {
        const batch = packExamples(examples);
        expect(batch.tokens.length).toBe(
          examples.reduce((sum, each) => sum + packedTokens(each, 'plain'), 0),
        );
        expect(batch.rows.at(-1)).toBe(batch.tokens.length - 1);
        expect(batch.segments.length).toBe(3 * examples.length);
        expect([...batch.targetRows]).toEqual([...batch.rows.keys()]);
      }),
    );
  });

  it('trains on the answer to a prompt, first token and last', () => {
    fc.assert(
      fc.property(batches, pairs => {
        const batch = packExamples(examplesOf('sft', pairs));
        expect(unpack(batch)).toEqual(
          pairs.map(pair => ({ context: [...pair.prompt], labels: [...pair.chosen] })),
        );
      }),
    );
  });

  it('refuses a sequence without a trained token, and one whose first is trained on', () => {
    const tokens = Int32Array.of(1, 2, 3);
    const pack = (...trained: number[]) => packExamples([{ tokens, trained: Uint8Array.from(trained) }]);
    expect(() => pack(0, 0, 0)).toThrow('No token of a sequence is trained on.');
    expect(() => pack(1, 0, 1)).toThrow('Nothing predicts the first token of a sequence.');
    expect(() => packExamples([promptAndAnswer(tokens, new Int32Array())])).toThrow('No token of a sequence');
  });
});
