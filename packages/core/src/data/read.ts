/** Preference pairs from files of any supported kind. */
import { DataError } from '../errors.js';
import { type DataFormat, FIELDS, parseRecord } from './formats.js';
import { readJsonArray, readJsonLines, type SourceRecord } from './jsonl.js';
import { readParquet } from './parquet.js';
import type { EqualAnswers, PreferenceRow, ReadReport } from './rows.js';

const REPORTED_EXAMPLES = 5;

export interface ReadOptions {
  /** Reading stops after so many pairs; null or absent: all are read. */
  readonly maxPairs?: number | null;
  /** Default drop. */
  readonly equalAnswers?: EqualAnswers;
}

/**
 * Reads the pairs of `files`, in order. Records that hold no pair (chosen equals rejected; dialogues of HH-RLHF without a
 * shared prompt) are counted in the reports, one a file; any other record that does not fit is an error.
 *
 * @throws DataError with file, row and field; also for a file that gives no pair at all
 */
export async function readPreferenceRows(
  files: readonly string[],
  format: DataFormat,
  { maxPairs = null, equalAnswers = 'drop' }: ReadOptions = {},
): Promise<{ rows: PreferenceRow[]; reports: ReadReport[] }> {
  const rows: PreferenceRow[] = [];
  const reports = new Map<string, ReadReport>();
  const limit = maxPairs ?? Number.POSITIVE_INFINITY;
  for (const file of files) {
    const report = reports.get(file) ?? newReport(file);
    reports.set(file, report);
    for await (const { row, value } of openRecords(file)) {
      report.rows++;
      const parsed = parseRecord(format, value, { file, row }, equalAnswers);
      if ('skipped' in parsed) {
        const reason = parsed.skipped;
        report.skipped[reason] = (report.skipped[reason] ?? 0) + 1;
        if (report.examples.length < REPORTED_EXAMPLES) report.examples.push({ row, reason });
      } else {
        rows.push({ file, row, ...parsed });
        report.used++;
      }
      report.stoppedEarly = rows.length === limit;
      if (report.stoppedEarly) break;
    }
    if (report.used === 0) throw emptyError(report);
    if (report.stoppedEarly) break;
  }
  return { rows, reports: [...reports.values()] };
}

const newReport = (file: string): ReadReport => ({
  file,
  rows: 0,
  used: 0,
  stoppedEarly: false,
  skipped: {},
  examples: [],
});

function openRecords(file: string): AsyncIterable<SourceRecord> {
  if (/\.jsonl(\.gz)?$/.test(file)) return readJsonLines(file);
  if (/\.json(\.gz)?$/.test(file)) return readJsonArray(file);
  if (file.endsWith('.parquet')) return readParquet(file, FIELDS);
  throw new DataError('The kind of file is not known by its extension.', {
    file,
    hint: 'Supported: .jsonl, .jsonl.gz, .json, .json.gz, .parquet.',
  });
}

function emptyError({ file, rows, skipped }: ReadReport): DataError {
  if (rows === 0) return new DataError('The file holds no record.', { file });
  const reasons = Object.entries(skipped).map(([reason, count]) => `${count}: ${reason}`);
  return new DataError(`None of the ${rows} records is a pair (${reasons.join('; ')}).`, {
    file,
    hint: 'Is data.format right?',
  });
}
