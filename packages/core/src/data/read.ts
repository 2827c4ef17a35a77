/** Preference pairs from files of any supported kind. */
import { DataError } from '../errors.js';
import { type DataFormat, FIELDS, parseRecord } from './formats.js';
import { readJsonArray, readJsonLines, type SourceRecord } from './jsonl.js';
import { readParquet } from './parquet.js';
import type { PreferenceRow, ReadReport } from './rows.js';

const REPORTED_EXAMPLES = 5;

/**
 * Reads all pairs of `files`, in order. Records of the published sets (HH-RLHF, UltraFeedback) that are known to
 * hold no pair are counted in the reports; any other record that does not fit is an error.
 *
 * @throws DataError with file, row and field; also for a file that gives no pair at all
 */
export async function readPreferenceRows(
  files: readonly string[],
  format: DataFormat,
): Promise<{ rows: PreferenceRow[]; reports: ReadReport[] }> {
  const rows: PreferenceRow[] = [];
  const reports: ReadReport[] = [];
  for (const file of files) {
    const report: ReadReport = { file, rows: 0, used: 0, skipped: {}, examples: [] };
    for await (const { row, value } of openRecords(file)) {
      report.rows++;
      const parsed = parseRecord(format, value, { file, row });
      if ('skipped' in parsed) {
        const reason = parsed.skipped;
        report.skipped[reason] = (report.skipped[reason] ?? 0) + 1;
        if (report.examples.length < REPORTED_EXAMPLES) report.examples.push({ row, reason });
      } else {
        rows.push({ file, row, ...parsed });
        report.used++;
      }
    }
    if (report.used === 0) throw emptyError(report);
    reports.push(report);
  }
  return { rows, reports };
}

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
