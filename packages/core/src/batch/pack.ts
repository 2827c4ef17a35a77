/**
 * Prefix-shared packing: what a batch of pairs looks like to the model.
 *
 * A pair is the prompt x with two children, y+ and y-: both continue x, neither sees the other, and x is computed
 * once. Pairs stand one after another in one token dimension, without padding. In the augmented view the quality
 * prompt p stands first, once for the whole batch, and every x is a child of it.
 *
 *   plain:      x0 y0+ y0- | x1 y1+ y1- | ...        augmented:  p | x0' y0+ y0- | x1' y1+ y1- | ...
 *
 * The last token of a response predicts nothing and is left out. The last prompt position predicts the first token of
 * both answers, so its row meets the output matrix once: the rows of a pair are ordered y+ (after its first token),
 * end of x, y- (after its first token), which keeps the targets of each answer together and the rows in order.
 */
import { DataError } from '../errors.js';

/** Token ids of one pair, in the two views. */
export interface PairTokens {
  /** x, with BOS where the tokenizer has one. At least one token. */
  readonly prompt: Int32Array;
  /** y+, unless cut with what ends it. At least one token. */
  readonly chosen: Int32Array;
  /** y- likewise. */
  readonly rejected: Int32Array;
  /** What follows the shared augmentation in the augmented view. */
  readonly augmentedPrompt: Int32Array;
}

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
/** Which answers are scored: both (preference methods), or the chosen one only (SFT). Q = 2B or B. */
export type Answers = 'both' | 'chosen';

/**
 * Packs pairs for one forward pass.
 *
 * @param sharedAugmentation p (with BOS where the tokenizer has one); empty when each augmentedPrompt contains it
 * @throws DataError when a prompt or a response has no token
 */
export function packPairs(
  pairs: readonly PairTokens[],
  view: View,
  answers: Answers,
  sharedAugmentation: Int32Array = new Int32Array(0),
): PackedBatch {
  const writer = new PackWriter();
  const augmented = view === 'augmented';
  const root = augmented && sharedAugmentation.length > 0 ? writer.segment(sharedAugmentation, 0, -1) : -1;
  const promptPosition = root === -1 ? 0 : sharedAugmentation.length;
  for (const pair of pairs) {
    const prompt = augmented ? pair.augmentedPrompt : pair.prompt;
    if (prompt.length === 0) {
      throw new DataError('A prompt has no token, so nothing predicts the first token of its answers.', {
        hint: 'Give every row a prompt.',
      });
    }
    writer.pair(prompt, promptPosition, root, pair.chosen, answers === 'both' ? pair.rejected : null);
  }
  return writer.finish();
}

/** Number of tokens `packPairs` would give one pair in a view (without the shared augmentation). */
export function packedTokens(pair: PairTokens, view: View, answers: Answers): number {
  const prompt = view === 'augmented' ? pair.augmentedPrompt : pair.prompt;
  return prompt.length + pair.chosen.length - 1 + (answers === 'both' ? pair.rejected.length - 1 : 0);
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
    rejected: Int32Array | null,
  ): void {
    const parent = this.segment(prompt, promptPosition, root);
    const lastPromptRow = this.tokens.length - 1;
    const answerPosition = promptPosition + prompt.length;

    const chosenStart = this.answerSegment(chosen, answerPosition, parent);
    for (let i = 1; i < chosen.length; i++) this.target(chosenStart + i - 1, chosen[i]!);
    this.target(lastPromptRow, chosen[0]!);
    this.endSequence(chosen.length);
    if (rejected === null) return;

    const rejectedStart = this.answerSegment(rejected, answerPosition, parent);
    this.sharedTarget(rejected[0]!);
    for (let i = 1; i < rejected.length; i++) this.target(rejectedStart + i - 1, rejected[i]!);
    this.endSequence(rejected.length);
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
