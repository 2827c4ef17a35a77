/** How the records of files become rows: the settings of `data` that say so. */
import type { Method } from '../config/method.js';
import type { DataFormat } from '../config/schema/data.js';
import type { Config } from '../config/schema.js';
import { type Columns, rootOf } from './formats/columns.js';
import { formatNamed } from './formats/detect.js';
import type { ParseOptions } from './formats/format.js';
import { FIELDS } from './formats/index.js';

export interface ReadLimits {
  /** The most rows that are given; null or absent: all. */
  readonly maxPairs?: number | null;
  /** Which: the first (the default), behind which nothing is read; or a sample of all, drawn by `seed`, in their order. */
  readonly limit?: 'first' | 'sample';
  /** 32-bit integer; default 0. */
  readonly seed?: number;
}

export type OnBadRow = Config['data']['onBadRow'];

export interface Reading extends Pick<ParseOptions, 'pairs' | 'minScoreGap'> {
  readonly format: DataFormat;
  readonly columns: Columns;
  /** Whether texts are the turns of a chat; null: where they come with a system text. */
  readonly chat: boolean | null;
  /** What happens to a record that does not fit: it ends the reading at its end, or is left out and counted. */
  readonly onBadRow: OnBadRow;
  /** SFT reads the chosen answer only, so it keeps pairs of equal answers; it alone learns from single answers. */
  readonly method: Method;
}

export const DEFAULT_READING: Reading = {
  format: 'auto',
  columns: {},
  chat: null,
  pairs: 'best-worst',
  minScoreGap: 0,
  onBadRow: 'error',
  method: 'dpo',
};

/** As a run of this configuration reads. */
export const readingOf = ({ method, data }: Config): Reading => ({
  format: data.format,
  columns: data.columns,
  chat: data.chat,
  pairs: data.pairs,
  minScoreGap: data.minScoreGap,
  onBadRow: data.onBadRow,
  method,
});

/** Which rows a run of this configuration uses. */
export const limitsOf = ({ data, training }: Config, purpose: 'training' | 'evaluation'): ReadLimits => ({
  maxPairs: purpose === 'training' ? data.maxTrainPairs : data.maxEvalPairs,
  limit: data.limit,
  seed: training.seed,
});

/** The first so many rows of what it uses, or all of a smaller sample: enough to look at. */
export const measuredLimits = (config: Config, mostPairs: number): ReadLimits => {
  const limits = limitsOf(config, 'training');
  return (limits.maxPairs ?? Number.POSITIVE_INFINITY) <= mostPairs
    ? limits
    : { maxPairs: mostPairs, limit: 'first' };
};

/** The columns that a reading may need of a file that has more. @throws ConfigError for a format that is none */
export function columnsToRead({ format, columns }: Reading): string[] {
  const fields = format === 'auto' ? FIELDS : formatNamed(format).fields;
  const named = Object.values(columns);
  return [...new Set([...fields, ...named, ...named.map(rootOf)])];
}
