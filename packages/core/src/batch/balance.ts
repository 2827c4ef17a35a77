/** Splits pairs over ranks so that they finish together. */

/**
 * Rounds of microbatches, one microbatch for every rank in each round; pairs are taken in their order, so with one rank a
 * round is simply the next `mostPairs` pairs. Within a round the ranks get about the same number of tokens: the
 * longest pair goes to the rank that has least. Every rank computes the same split.
 *
 * @param mostPairs in a microbatch
 * @param tokensOf what a pair costs
 * @returns `rounds[round][rank]`: the pairs, in their order; none where there are fewer pairs than ranks
 */
export function balancedRounds<T>(
  pairs: readonly T[],
  ranks: number,
  mostPairs: number,
  tokensOf: (pair: T) => number,
): T[][][] {
  const rounds: T[][][] = [];
  for (let start = 0; start < pairs.length; start += ranks * mostPairs) {
    rounds.push(balance(pairs.slice(start, start + ranks * mostPairs), ranks, mostPairs, tokensOf));
  }
  return rounds;
}

function balance<T>(
  pairs: readonly T[],
  ranks: number,
  mostPairs: number,
  tokensOf: (pair: T) => number,
): T[][] {
  const bins = Array.from({ length: ranks }, () => ({ tokens: 0, indices: [] as number[] }));
  const tokens = pairs.map(tokensOf);
  const longestFirst = [...pairs.keys()].sort((a, b) => tokens[b]! - tokens[a]! || a - b);
  for (const index of longestFirst) {
    const open = bins.filter(({ indices }) => indices.length < mostPairs);
    const least = open.reduce((best, bin) => (bin.tokens < best.tokens ? bin : best));
    least.indices.push(index);
    least.tokens += tokens[index]!;
  }
  return bins.map(({ indices }) => indices.sort((a, b) => a - b).map(index => pairs[index]!));
}
