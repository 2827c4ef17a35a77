/** Splits a packed batch at pair boundaries, for the output matrix: only so many rows meet it at a time. */
import type { PackedBatch } from './pack.js';

/** Some pairs of a batch: which they are, and their targets with indices that start from 0. */
export interface PairGroup {
  /** Pairs [firstPair, endPair) of the batch. */
  readonly firstPair: number;
  readonly endPair: number;
  /** Where its rows and targets begin in those of the batch. */
  readonly firstRow: number;
  readonly firstTarget: number;
  readonly rows: Int32Array; // [m], positions in the whole batch's tokens
  readonly targetRows: Int32Array; // [r], indices into `rows`
  readonly labels: Int32Array; // [r]
  readonly sequenceOffsets: Int32Array; // [q + 1]
}

/**
 * Groups of neighbouring pairs with at most `mostRows` rows each; a pair that has more is a group of its own.
 *
 * @param answersPerPair Q / B of the batch: 2, or 1 for SFT
 */
export function pairGroups(batch: PackedBatch, answersPerPair: 1 | 2, mostRows: number): PairGroup[] {
  const pairs = batch.responseTokens.length / answersPerPair;
  const firstTarget = (pair: number): number => batch.sequenceOffsets[pair * answersPerPair]!;
  const firstRow = (pair: number): number =>
    pair === pairs ? batch.rows.length : batch.targetRows[firstTarget(pair)]!;

  const group = (firstPair: number, endPair: number): PairGroup => {
    const [row, target, endTarget] = [firstRow(firstPair), firstTarget(firstPair), firstTarget(endPair)];
    const sequences = batch.sequenceOffsets.subarray(
      firstPair * answersPerPair,
      endPair * answersPerPair + 1,
    );
    return {
      firstPair,
      endPair,
      firstRow: row,
      firstTarget: target,
      rows: batch.rows.subarray(row, firstRow(endPair)),
      targetRows: batch.targetRows.subarray(target, endTarget).map(index => index - row),
      labels: batch.labels.subarray(target, endTarget),
      sequenceOffsets: sequences.map(offset => offset - target),
    };
  };

  const groups: PairGroup[] = [];
  let first = 0;
  for (let pair = 1; pair <= pairs; pair++) {
    if (pair < pairs && firstRow(pair + 1) - firstRow(first) <= mostRows) continue;
    groups.push(group(first, pair));
    first = pair;
  }
  return groups;
}
