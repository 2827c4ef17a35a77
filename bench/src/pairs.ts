/** Pairs of random tokens with HH-like lengths. */
import { readFile } from 'node:fs/promises';
import type { PairTokens } from '@sralign/core';

/** Tokens of prompt, chosen and rejected answer. */
export type Lengths = readonly [prompt: number, chosen: number, rejected: number];

/** The multiplicative generator of Park and Miller: small, and the same everywhere. */
export class Random {
  constructor(private state: number) {}

  /** An integer in [low, high]. */
  integer(low: number, high: number): number {
    this.state = (this.state * 48_271) % 2_147_483_647;
    return low + (this.state % (high - low + 1));
  }
}

/** Lengths from a JSON file of triples, or drawn: prompts of 60 to 240, answers of 20 to 140 tokens. */
export async function pairLengths(
  count: number,
  file: string | undefined,
  random: Random,
): Promise<Lengths[]> {
  if (file === undefined) {
    return Array.from({ length: count }, () => [
      random.integer(60, 240),
      random.integer(20, 140),
      random.integer(20, 140),
    ]);
  }
  const triples = JSON.parse(await readFile(file, 'utf8')) as Lengths[];
  if (triples.length < count)
    throw new Error(`${file} holds ${triples.length} triples, but --pairs is ${count}.`);
  return triples.slice(0, count);
}

export function randomTokens(length: number, vocabularySize: number, random: Random): Int32Array {
  return Int32Array.from({ length }, () => random.integer(3, vocabularySize - 1));
}

export function randomPairs(
  lengths: readonly Lengths[],
  vocabularySize: number,
  random: Random,
): PairTokens[] {
  return lengths.map(([promptTokens, chosenTokens, rejectedTokens]) => {
    const prompt = randomTokens(promptTokens, vocabularySize, random);
    return {
      prompt,
      augmentedPrompt: prompt,
      chosen: randomTokens(chosenTokens, vocabularySize, random),
      rejected: randomTokens(rejectedTokens, vocabularySize, random),
    };
  });
}
