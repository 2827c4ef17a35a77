/** A source of records whose files are known. */
import type { SourceConfig } from '../config/schema/data.js';
import type { WeightedPairs } from './sampler.js';

export interface DataSource extends Pick<SourceConfig, 'format' | 'columns'> {
  /** In the order in which they are read. */
  readonly files: readonly string[];
  /** Of its own metrics, and in reports. */
  readonly name: string | null;
  /** Visits of a pair in an epoch. */
  readonly weight: number;
}

/** Files that are read as all others are. */
export const plainSource = (files: readonly string[]): DataSource => ({ files, name: null, weight: 1 });

/**
 * The pairs of each source with its weight, however many files it has; only their number where no source has a weight.
 *
 * @param counts the pairs that each file gave, in the order in which the pairs stand
 */
export function weightedPairs(
  counts: readonly { readonly file: string; readonly pairs: number }[],
  sources: readonly DataSource[],
): number | WeightedPairs[] {
  if (sources.every(({ weight }) => weight === 1)) return counts.reduce((sum, { pairs }) => sum + pairs, 0);
  const pairsOf = new Map(counts.map(({ file, pairs }) => [file, pairs]));
  return sources.map(({ files, weight }) => ({
    pairs: files.reduce((sum, file) => sum + (pairsOf.get(file) ?? 0), 0),
    weight,
  }));
}

export const filesOf = (sources: readonly DataSource[]): string[] => sources.flatMap(({ files }) => files);
