/**
 * Packing: what a batch looks like to the model. Examples stand one after another in one token dimension, without padding.
 *
 * An example of SFT is one sequence, some of whose tokens are trained on: the answers of a conversation, or a whole text. What
 * follows the last of them, and that token itself, predicts nothing that is trained and is left out.
 *
 * A preference pair shares its prefix: the prompt x has two children, y+ and y-; both continue x, neither sees the other, and
 * x is computed once. In the augmented view the quality prompt p stands first, once for the whole batch, and every x is a
 * child of it.
 *
 *   plain:      x0 y0+ y0- | x1 y1+ y1- | ...        augmented:  p | x0' y0+ y0- | x1' y1+ y1- | ...
 *
 * The last token of a response predicts nothing and is left out. The last prompt position predicts the first token of
 * both answers, so its row meets the output matrix once: the rows of a pair are ordered y+ (after its first token),
 * end of x, y- (after its first token), which keeps the targets of each answer together and the rows in order.
 */
import { DataError } from '../errors.js';
import { type ExampleTokens, isPair, type PairTokens, type SequenceTokens } from '../tokens/examples.js';

/** T tokens, S segments, M rows that meet the output matrix, R targets, Q sequences (answers). */
export interface PackedBatch {
  readonly tokens: Int32Array; // [T]
  readonly positions: Int32Array; // [T]
  readonly segments: Int32Array; // [S, 3]: start, length, parent
  readonly rows: Int32Array; // [M], positions in [0, T)
  readonly targetRows: Int32Array; // [R], indices into rows, non-decreasing
  readonly labels: Int32Array; // [R]
  readonly sequenceOffsets: Int32Array; // [Q + 1], targets of each answer
  readonly responseTokens: Int32Array; // [Q]
}

export type View = 'plain' | 'augmented';

/**
 * Packs examples of one kind for one forward pass: pairs in the plain view (Q = 2B), or sequences (Q = B).
 *
 * @throws DataError when a prompt or a response has no token, or no token of a sequence is trained on
 */
export function packExamples(examples: readonly ExampleTokens[]): PackedBatch {
  const writer = new PackWriter();
  for (const example of examples) {
    if (isPair(example)) writer.pair(example.prompt, 0, -1, example.chosen, example.rejected);
    else writer.sequence(example);
  }
  return writer.finish();
}

/**
 * Packs pairs in either view (Q = 2B).
 *
 * @param sharedAugmentation p (with BOS where the tokenizer has one); empty when each augmentedPrompt contains it
 * @throws DataError when a prompt or a response has no token
 */
export function packPairs(
  pairs: readonly PairTokens[],
  view: View,
  sharedAugmentation: Int32Array = new Int32Array(0),
): PackedBatch {
  const writer = new PackWriter();
  const augmented = view === 'augmented';
  const root = augmented && sharedAugmentation.length > 0 ? writer.segment(sharedAugmentation, 0, -1) : -1;
  const promptPosition = root === -1 ? 0 : sharedAugmentation.length;
  for (const pair of pairs) {
    const prompt = augmented ? pair.augmentedPrompt : pair.prompt;
    writer.pair(prompt, promptPosition, root, pair.chosen, pair.rejected);
  }
  return writer.finish();
}

/** Number of tokens that packing gives one example in a view (without the shared augmentation). */
export function packedTokens(example: ExampleTokens, view: View): number {
  if (!isPair(example)) return Math.max(0, example.trained.lastIndexOf(1));
  const prompt = view === 'augmented' ? example.augmentedPrompt : example.prompt;
  return prompt.length + example.chosen.length - 1 + example.rejected.length - 1;
}

class PackWriter {
  private readonly tokens: number[] = [];
  private readonly positions: number[] = [];
  private readonly segments: number[] = [];
  private readonly rows: number[] = [];
  private readonly targetRows: number[] = [];
  private readonly labels: number[] = [];
  private readonly sequenceOffsets: number[] = [0];
  private readonly responseTokens: number[] = [];

  /** Appends a segment and returns its index. */
  segment(ids: Int32Array, firstPosition: number, parent: number): number {
    this.segments.push(this.tokens.length, ids.length, parent);
    for (let i = 0; i < ids.length; i++) {
      this.tokens.push(ids[i]!);
      this.positions.push(firstPosition + i);
    }
    return this.segments.length / 3 - 1;
  }

  pair(
    prompt: Int32Array,
    promptPosition: number,
    root: number,
    chosen: Int32Array,
    rejected: Int32Array,
  ): void {
    if (prompt.length === 0) {
      throw new DataError('A prompt has no token, so nothing predicts the first token of its answers.', {
        hint: 'Give every row a prompt.',
      });
    }
    const parent = this.segment(prompt, promptPosition, root);
    const lastPromptRow = this.tokens.length - 1;
    const answerPosition = promptPosition + prompt.length;

    const chosenStart = this.answerSegment(chosen, answerPosition, parent);
    for (let i = 1; i < chosen.length; i++) this.target(chosenStart + i - 1, chosen[i]!);
    this.target(lastPromptRow, chosen[0]!);
    this.endSequence(chosen.length);

    const rejectedStart = this.answerSegment(rejected, answerPosition, parent);
    this.sharedTarget(rejected[0]!);
    for (let i = 1; i < rejected.length; i++) this.target(rejectedStart + i - 1, rejected[i]!);
    this.endSequence(rejected.length);
  }

  sequence({ tokens, trained }: SequenceTokens): void {
    const last = trained.lastIndexOf(1);
    if (last < 1 || trained[0] === 1) {
      throw new DataError(
        last < 1
          ? 'No token of a sequence is trained on.'
          : 'Nothing predicts the first token of a sequence.',
        { hint: 'Every sequence has a token that is trained on, behind another one.' },
      );
    }
    const start = this.tokens.length;
    this.segment(tokens.subarray(0, last), 0, -1);
    let count = 0;
    for (let i = 1; i <= last; i++) {
      if (trained[i] === 0) continue;
      this.target(start + i - 1, tokens[i]!);
      count++;
    }
    this.endSequence(count);
  }

  finish(): PackedBatch {
    return {
      tokens: Int32Array.from(this.tokens),
      positions: Int32Array.from(this.positions),
      segments: Int32Array.from(this.segments),
      rows: Int32Array.from(this.rows),
      targetRows: Int32Array.from(this.targetRows),
      labels: Int32Array.from(this.labels),
      sequenceOffsets: Int32Array.from(this.sequenceOffsets),
      responseTokens: Int32Array.from(this.responseTokens),
    };
  }

  /** The answer without its last token, which predicts nothing. Returns where it starts. */
  private answerSegment(answer: Int32Array, position: number, parent: number): number {
    if (answer.length === 0) {
      throw new DataError('A response has no token.', {
        hint: 'Every response has at least one: EOS, or the first of a cut one.',
      });
    }
    const start = this.tokens.length;
    if (answer.length > 1) this.segment(answer.subarray(0, -1), position, parent);
    return start;
  }

  private target(row: number, label: number): void {
    this.rows.push(row);
    this.sharedTarget(label);
  }

  /** A further target of the row that was added last. */
  private sharedTarget(label: number): void {
    this.targetRows.push(this.rows.length - 1);
    this.labels.push(label);
  }

  private endSequence(tokens: number): void {
    this.sequenceOffsets.push(this.labels.length);
    this.responseTokens.push(tokens);
  }
}
