/** Rows from files of any supported kind. */

import type { DataFormat } from '../config/schema/data.js';
import { DataError } from '../errors.js';
import { BadRows } from './bad-rows.js';
import { rowsOfFile } from './file-rows.js';
import { DEFAULT_READING, type Reading } from './reading.js';
import { readRecords } from './records.js';
import type { PreferenceRow, ReadReport, Row } from './rows.js';

/** Rows in the order of their files and records. What became of the records is counted while they are read. */
export interface RowStream extends AsyncIterable<Row> {
  /** One a file that was opened, in order; complete when the stream has ended. */
  readonly reports: readonly ReadReport[];
}

export interface ReadLimits {
  /** Reading stops after so many rows; null or absent: all are read. */
  readonly maxPairs?: number | null;
}

/**
 * Streams the rows of `files`, in order; memory stays at a record (Parquet: a row group). Records that hold no row (chosen
 * equals rejected; ties; dialogues of HH-RLHF without a shared prompt) are counted in the reports. A record that does not fit
 * ends the stream behind the last record, with an error that names all of them; no rows come after it.
 *
 * @throws DataError, while it is iterated, with file, row and field; also for a file that gives no row at all; ConfigError
 *   for settings that the files do not allow
 */
export function streamRows(
  files: readonly string[],
  reading: Reading,
  { maxPairs = null }: ReadLimits = {},
): RowStream {
  const reports = new Map<string, ReadReport>();
  const limit = maxPairs ?? Number.POSITIVE_INFINITY;
  const bad = new BadRows();
  async function* rowsOfFiles(): AsyncGenerator<Row> {
    let taken = 0;
    for (const file of files) {
      const report = reports.get(file) ?? newReport(file);
      reports.set(file, report);
      const open = (columns: readonly string[] | null) => readRecords(file, columns);
      for await (const row of rowsOfFile(open, reading, report, bad)) {
        if (bad.count === 0) yield row;
        taken++;
        report.stoppedEarly = taken === limit;
        if (report.stoppedEarly) break;
      }
      if (report.used === 0 && bad.count === 0) throw emptyError(report);
      if (report.stoppedEarly) break;
    }
  }
  async function* allOrError(): AsyncGenerator<Row> {
    try {
      yield* rowsOfFiles();
    } catch (error) {
      // What is wrong with rows before a damaged place is said with it.
      if (bad.count === 0 || !(error instanceof DataError)) throw error;
      bad.add(error);
    }
    bad.throwIfAny();
  }
  return {
    get reports() {
      return [...reports.values()];
    },
    [Symbol.asyncIterator]: allOrError,
  };
}

/** Reads rows into memory, as `streamRows` gives them. */
export async function readRows(
  files: readonly string[],
  reading: Reading,
  limits: ReadLimits = {},
): Promise<{ rows: Row[]; reports: readonly ReadReport[] }> {
  const stream = streamRows(files, reading, limits);
  const rows: Row[] = [];
  for await (const row of stream) rows.push(row);
  return { rows, reports: stream.reports };
}

/**
 * Reads the pairs of `files` into memory.
 *
 * @throws DataError with file, row and field; also for a file that gives no pair at all
 */
export async function readPreferenceRows(
  files: readonly string[],
  format: DataFormat = 'auto',
  options: Partial<Reading> & ReadLimits = {},
): Promise<{ rows: PreferenceRow[]; reports: readonly ReadReport[] }> {
  return readRows(files, { ...DEFAULT_READING, ...options, format }, options);
}

const newReport = (file: string): ReadReport => ({
  ...{ file, format: null, by: [], kind: null, rows: 0, used: 0, stoppedEarly: false, skipped: {} },
  badRows: [],
  examples: [],
});

function emptyError({ file, rows, skipped, format }: ReadReport): DataError {
  if (rows === 0) return new DataError('The file holds no record.', { file });
  const reasons = Object.entries(skipped).map(([reason, count]) => `${count}: ${reason}`);
  return new DataError(`None of the ${rows} records gives anything to learn from (${reasons.join('; ')}).`, {
    file,
    hint: `Is data.format right? They were read as ${format}.`,
  });
}
