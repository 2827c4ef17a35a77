/** Rows from files of any supported kind. */
import { DataError } from '../errors.js';
import { type DataFormat, FORMATS, parseRecord } from './formats/index.js';
import { readRecords } from './records.js';
import type { EqualAnswers, PreferenceRow, ReadReport, Row } from './rows.js';

const REPORTED_EXAMPLES = 5;

export interface ReadOptions {
  /** Reading stops after so many pairs; null or absent: all are read. */
  readonly maxPairs?: number | null;
  /** Default drop. */
  readonly equalAnswers?: EqualAnswers;
}

/** Rows in the order of their files and records. What became of the records is counted while they are read. */
export interface RowStream extends AsyncIterable<Row> {
  /** One a file that was opened, in order; complete when the stream has ended. */
  readonly reports: readonly ReadReport[];
}

/**
 * Streams the rows of `files`, in order; memory stays at a record (Parquet: a row group). Records that hold no row (chosen
 * equals rejected; dialogues of HH-RLHF without a shared prompt) are counted in the reports; any other record that does not
 * fit is an error.
 *
 * @throws DataError, while it is iterated, with file, row and field; also for a file that gives no row at all
 */
export function streamRows(
  files: readonly string[],
  format: DataFormat,
  { maxPairs = null, equalAnswers = 'drop' }: ReadOptions = {},
): RowStream {
  const reports = new Map<string, ReadReport>();
  const limit = maxPairs ?? Number.POSITIVE_INFINITY;
  async function* rowsOfFiles(): AsyncGenerator<Row> {
    let taken = 0;
    for (const file of files) {
      const report = reports.get(file) ?? newReport(file);
      reports.set(file, report);
      for await (const { row, value } of readRecords(file, FORMATS[format].fields)) {
        report.rows++;
        const parsed = parseRecord(FORMATS[format], value, { file, row }, { equalAnswers });
        if ('skipped' in parsed) countSkipped(report, row, parsed.skipped);
        else {
          const rows = parsed.rows.slice(0, limit - taken);
          taken += rows.length;
          report.used += rows.length;
          report.stoppedEarly = taken === limit;
          for (const content of rows) yield { file, row, ...content };
        }
        if (report.stoppedEarly) break;
      }
      if (report.used === 0) throw emptyError(report);
      if (report.stoppedEarly) break;
    }
  }
  return {
    get reports() {
      return [...reports.values()];
    },
    [Symbol.asyncIterator]: rowsOfFiles,
  };
}

/**
 * Reads the pairs of `files` into memory, as `streamRows` gives them.
 *
 * @throws DataError with file, row and field; also for a file that gives no pair at all
 */
export async function readPreferenceRows(
  files: readonly string[],
  format: DataFormat,
  options: ReadOptions = {},
): Promise<{ rows: PreferenceRow[]; reports: readonly ReadReport[] }> {
  const stream = streamRows(files, format, options);
  const rows: PreferenceRow[] = [];
  for await (const row of stream) rows.push(row);
  return { rows, reports: stream.reports };
}

function countSkipped(report: ReadReport, row: number, reason: string): void {
  report.skipped[reason] = (report.skipped[reason] ?? 0) + 1;
  if (report.examples.length < REPORTED_EXAMPLES) report.examples.push({ row, reason });
}

const newReport = (file: string): ReadReport => ({
  file,
  rows: 0,
  used: 0,
  stoppedEarly: false,
  skipped: {},
  examples: [],
});

function emptyError({ file, rows, skipped }: ReadReport): DataError {
  if (rows === 0) return new DataError('The file holds no record.', { file });
  const reasons = Object.entries(skipped).map(([reason, count]) => `${count}: ${reason}`);
  return new DataError(`None of the ${rows} records is a pair (${reasons.join('; ')}).`, {
    file,
    hint: 'Is data.format right?',
  });
}
