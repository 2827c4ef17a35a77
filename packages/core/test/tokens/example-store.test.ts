/** Examples in typed arrays are the examples they were made of, and have the digests that every checkpoint has kept. */
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import type { EncodedExample, EncodedPair, EncodedSequence } from '../../src/tokens/encode.js';
import { chunkOf, exampleDigest, examplesOf } from '../../src/tokens/example-store.js';

const pair = (prompt: number[], augmentedPrompt: number[]): EncodedPair => ({
  ...{ file: `${prompt.length}.jsonl`, row: prompt[0]! },
  prompt: Int32Array.from(prompt),
  augmentedPrompt: Int32Array.from(augmentedPrompt),
  chosen: Int32Array.of(4, 5),
  rejected: Int32Array.of(6),
  cut: { promptTokens: 1, chosenTokens: 2, rejectedTokens: 3 },
});
// p in front of the prompt with and without BOS, and inside of it, shorter and longer.
const pairs = [
  pair([1, 2, 3], [1, 2, 3]),
  pair([1, 2, 3], [2, 3]),
  pair([1, 2, 3], [1, 3]),
  pair([1, 2], [1, 9, 2]),
];
const sequence: EncodedSequence = {
  ...{ file: 's.jsonl', row: 7, tokens: Int32Array.of(1, 2, 3), trained: Uint8Array.of(0, 1, 1) },
  cut: { promptTokens: 0, endTokens: 8 },
};

const plain = (example: EncodedExample): object => {
  const { file, row, cut } = example;
  if ('tokens' in example) return { file, row, cut, tokens: example.tokens, trained: example.trained };
  const { prompt, augmentedPrompt, chosen, rejected } = example;
  return { file, row, cut, prompt, augmentedPrompt, chosen, rejected };
};

it.each([
  ['pairs', pairs],
  ['sequences', [sequence, { ...sequence, row: 8, trained: Uint8Array.of(0, 0, 1) }]],
] as const)('%s', (_, examples) => {
  const chunk = chunkOf(examples);
  expect(examplesOf(chunk).map(plain)).toEqual(examples.map(plain));
  expect(Buffer.from(chunk.digests)).toEqual(Buffer.concat(examples.map(exampleDigest)));
});

it('a digest is of every length, token and mask', () => {
  const { prompt, augmentedPrompt, chosen, rejected } = pairs[3]!;
  const ofPair = createHash('sha256');
  for (const ids of [prompt, augmentedPrompt, chosen, rejected])
    ofPair.update(Int32Array.of(ids.length)).update(ids);
  expect(Buffer.from(exampleDigest(pairs[3]!))).toEqual(ofPair.digest().subarray(0, 8));
  const { tokens, trained } = sequence;
  const ofSequence = createHash('sha256').update(Int32Array.of(3)).update(tokens).update(trained);
  expect(Buffer.from(exampleDigest(sequence))).toEqual(ofSequence.digest().subarray(0, 8));
});
