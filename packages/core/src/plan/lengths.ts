/**
 * How long the packed batches of a run are: the numbers of `packPairs` (batch/pack.ts) from the lengths of pairs alone,
 * without token ids.
 */
import type { Answers, PairTokens, View } from '../batch/pack.js';

/** Tokens of a pair. */
export interface PairLengths {
  readonly prompt: number;
  /** The prompt of the augmented view, without the shared augmentation. */
  readonly augmentedPrompt: number;
  readonly chosen: number;
  readonly rejected: number;
}

/** A packed batch in numbers. */
export interface PackedShape {
  readonly pairs: number;
  /** T: tokens of the batch. */
  readonly tokens: number;
  /** Segments of the forest. */
  readonly segments: number;
  /** Rows that meet the output matrix, of each pair. */
  readonly rowsOfPairs: readonly number[];
  /** Response tokens. */
  readonly targets: number;
  /** Tokens of the largest tree of the forest. */
  readonly longestTree: number;
  /** Tokens that the queries of all tokens look at, summed: what attention multiplies with. */
  readonly attendedTokens: number;
}

export const lengthsOf = (pair: PairTokens): PairLengths => ({
  prompt: pair.prompt.length,
  augmentedPrompt: pair.augmentedPrompt.length,
  chosen: pair.chosen.length,
  rejected: pair.rejected.length,
});

/**
 * @param sharedTokens tokens of p, which the augmented view has once in a batch
 * @param window sliding window of the model in tokens; 0 is none
 */
export function packedShape(
  pairs: readonly PairLengths[],
  view: View,
  answers: Answers,
  sharedTokens: number,
  window: number,
): PackedShape {
  const shared = view === 'augmented' ? sharedTokens : 0;
  let tokens = shared;
  let segments = shared > 0 ? 1 : 0;
  let attendedTokens = attended(0, shared, window);
  let targets = 0;
  let longestTree = 0;
  const rowsOfPairs: number[] = [];
  for (const pair of pairs) {
    const prompt = view === 'augmented' ? pair.augmentedPrompt : pair.prompt;
    // The last token of an answer predicts nothing, and the end of the prompt predicts the first of both.
    const inputs = [pair.chosen - 1, ...(answers === 'both' ? [pair.rejected - 1] : [])];
    const answerTokens = inputs.reduce((sum, count) => sum + count, 0);
    tokens += prompt + answerTokens;
    segments += 1 + inputs.filter(count => count > 0).length;
    rowsOfPairs.push(answerTokens + 1);
    targets += answerTokens + inputs.length;
    longestTree = Math.max(longestTree, prompt + answerTokens);
    attendedTokens += attended(shared, prompt, window);
    for (const count of inputs) attendedTokens += attended(shared + prompt, count, window);
  }
  return {
    pairs: pairs.length,
    tokens,
    segments,
    rowsOfPairs,
    targets,
    longestTree: shared > 0 ? tokens : longestTree,
    attendedTokens,
  };
}

/** The pairs, first those of which a view packs most tokens. */
export function longestFirst(pairs: readonly PairLengths[], view: View, answers: Answers): PairLengths[] {
  const tokens = new Map(pairs.map(pair => [pair, packedShape([pair], view, answers, 0, 0).tokens]));
  return [...pairs].sort((a, b) => tokens.get(b)! - tokens.get(a)!);
}

/** The shape of a batch of `count` average pairs; `count` need not be whole. */
export function meanShape(
  pairs: readonly PairLengths[],
  count: number,
  ...[view, answers, sharedTokens, window]: Tail<Parameters<typeof packedShape>>
): PackedShape {
  const shape = packedShape(pairs, view, answers, sharedTokens, window);
  const shared = packedShape([], view, answers, sharedTokens, window);
  const share = count / pairs.length;
  const rows = shape.rowsOfPairs.reduce((sum, own) => sum + own, 0);
  return {
    ...shape,
    pairs: count,
    tokens: shared.tokens + (shape.tokens - shared.tokens) * share,
    rowsOfPairs: [rows * share],
    targets: shape.targets * share,
    attendedTokens: shared.attendedTokens + (shape.attendedTokens - shared.attendedTokens) * share,
  };
}

type Tail<T extends readonly unknown[]> = T extends [unknown, ...infer Rest] ? Rest : never;

/** Sum over `count` tokens, the first at position `start`, of the tokens each sees, itself among them. */
function attended(start: number, count: number, window: number): number {
  const upTo = (end: number): number => {
    if (window === 0 || end <= window) return (end * (end + 1)) / 2;
    return (window * (window + 1)) / 2 + (end - window) * window;
  };
  return upTo(start + count) - upTo(start);
}

/** The largest group of pairs whose logits are kept together (batch/groups.ts), and whether all groups' are kept. */
export function headGroups(
  rowsOfPairs: readonly number[],
  mostRows: number,
): { readonly mostRows: number; readonly keptRows: number; readonly recomputedRows: number } {
  let keptRows = 0;
  let recomputedRows = 0;
  let rows = 0;
  for (const own of rowsOfPairs) {
    if (own > mostRows) recomputedRows = Math.max(recomputedRows, own);
    rows = rows + own <= mostRows ? rows + own : own;
    if (rows <= mostRows) keptRows = Math.max(keptRows, rows);
  }
  return { mostRows: Math.max(keptRows, recomputedRows), keptRows, recomputedRows };
}
