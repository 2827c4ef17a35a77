/**
 * How long the packed batches of a run are: the numbers of batch/pack.ts from the lengths of examples alone, without token
 * ids.
 */
import { packedTokens, type View } from '../batch/pack.js';
import { type ExampleTokens, isPair, scoredTokens } from '../tokens/examples.js';

/** Tokens of a pair. */
export interface PairLengths {
  readonly prompt: number;
  /** The prompt of the augmented view, without the shared augmentation. */
  readonly augmentedPrompt: number;
  readonly chosen: number;
  readonly rejected: number;
}

/** Tokens of an example of SFT. */
export interface SequenceLengths {
  /** Tokens that are computed: those before the last one that is trained on. */
  readonly inputs: number;
  readonly trained: number;
}

export type ExampleLengths = PairLengths | SequenceLengths;

/** A packed batch in numbers. */
export interface PackedShape {
  readonly examples: number;
  /** T: tokens of the batch. */
  readonly tokens: number;
  /** Segments of the forest. */
  readonly segments: number;
  /** Rows that meet the output matrix, of each example. */
  readonly rowsOfExamples: readonly number[];
  /** Tokens that are scored. */
  readonly targets: number;
  /** Tokens of the largest tree of the forest. */
  readonly longestTree: number;
  /** Tokens that the queries of all tokens look at, summed: what attention multiplies with. */
  readonly attendedTokens: number;
}

export function lengthsOf(example: ExampleTokens): ExampleLengths {
  if (!isPair(example)) {
    return { inputs: packedTokens(example, 'plain'), trained: scoredTokens(example)[0]! };
  }
  return {
    prompt: example.prompt.length,
    augmentedPrompt: example.augmentedPrompt.length,
    chosen: example.chosen.length,
    rejected: example.rejected.length,
  };
}

/**
 * @param sharedTokens tokens of p, which the augmented view has once in a batch
 * @param window sliding window of the model in tokens; 0 is none
 */
export function packedShape(
  examples: readonly ExampleLengths[],
  view: View,
  sharedTokens: number,
  window: number,
): PackedShape {
  const shared = view === 'augmented' ? sharedTokens : 0;
  let tokens = shared;
  let segments = shared > 0 ? 1 : 0;
  let attendedTokens = attended(0, shared, window);
  let targets = 0;
  let longestTree = 0;
  const rowsOfExamples: number[] = [];
  for (const example of examples) {
    if ('inputs' in example) {
      tokens += tokensIn(example, view);
      segments++;
      rowsOfExamples.push(example.trained);
      targets += example.trained;
      longestTree = Math.max(longestTree, example.inputs);
      attendedTokens += attended(0, example.inputs, window);
      continue;
    }
    const prompt = view === 'augmented' ? example.augmentedPrompt : example.prompt;
    // The last token of an answer predicts nothing, and the end of the prompt predicts the first of both.
    const inputs = [example.chosen - 1, example.rejected - 1];
    const answerTokens = inputs.reduce((sum, count) => sum + count, 0);
    tokens += tokensIn(example, view);
    segments += 1 + inputs.filter(count => count > 0).length;
    rowsOfExamples.push(answerTokens + 1);
    targets += answerTokens + inputs.length;
    longestTree = Math.max(longestTree, prompt + answerTokens);
    attendedTokens += attended(shared, prompt, window);
    for (const count of inputs) attendedTokens += attended(shared + prompt, count, window);
  }
  return {
    examples: examples.length,
    tokens,
    segments,
    rowsOfExamples,
    targets,
    longestTree: shared > 0 ? tokens : longestTree,
    attendedTokens,
  };
}

/** The examples, first those of which a view packs most tokens. */
export function longestFirst(examples: readonly ExampleLengths[], view: View): ExampleLengths[] {
  return [...examples].sort((a, b) => tokensIn(b, view) - tokensIn(a, view));
}

/** The `tokens` of a shape that has this example alone, and no p. */
function tokensIn(example: ExampleLengths, view: View): number {
  if ('inputs' in example) return example.inputs;
  const prompt = view === 'augmented' ? example.augmentedPrompt : example.prompt;
  return prompt + example.chosen - 1 + example.rejected - 1;
}

/** The shape of a batch of `count` average examples; `count` need not be whole. */
export function meanShape(
  examples: readonly ExampleLengths[],
  count: number,
  ...[view, sharedTokens, window]: Tail<Parameters<typeof packedShape>>
): PackedShape {
  const shape = packedShape(examples, view, sharedTokens, window);
  const shared = packedShape([], view, sharedTokens, window);
  const share = count / examples.length;
  const rows = shape.rowsOfExamples.reduce((sum, own) => sum + own, 0);
  return {
    ...shape,
    examples: count,
    tokens: shared.tokens + (shape.tokens - shared.tokens) * share,
    rowsOfExamples: [rows * share],
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

/** The largest group of examples whose logits are kept together (batch/groups.ts), and whether all groups' are kept. */
export function headGroups(
  rowsOfExamples: readonly number[],
  mostRows: number,
): { readonly mostRows: number; readonly keptRows: number; readonly recomputedRows: number } {
  let keptRows = 0;
  let recomputedRows = 0;
  let rows = 0;
  for (const own of rowsOfExamples) {
    if (own > mostRows) recomputedRows = Math.max(recomputedRows, own);
    rows = rows + own <= mostRows ? rows + own : own;
    if (rows <= mostRows) keptRows = Math.max(keptRows, rows);
  }
  return { mostRows: Math.max(keptRows, recomputedRows), keptRows, recomputedRows };
}
