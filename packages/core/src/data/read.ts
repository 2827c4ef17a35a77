/** Rows from files of any supported kind. */

import type { DataFormat } from '../config/schema/data.js';
import { DataError } from '../errors.js';
import { BadRows } from './bad-rows.js';
import { rowsOfFile } from './file-rows.js';
import { DEFAULT_READING, type Reading, type ReadLimits } from './reading.js';
import { readRecords } from './records.js';
import type { PreferenceRow, ReadReport, Row } from './rows.js';
import { sampleOf } from './sample.js';
import { type DataSource, plainSource } from './source.js';
import { SourceChecks } from './source-checks.js';

/** Rows in the order of their files and records. What became of the records is counted while they are read. */
export interface RowStream extends AsyncIterable<Row> {
  /** One a file that was opened, in order; complete when the stream has ended. */
  readonly reports: readonly ReadReport[];
}

/**
 * Streams the rows of the sources, in order; memory stays at a record (Parquet: a row group), or at a sample. Records that hold no row (chosen
 * equals rejected; ties; dialogues of HH-RLHF without a shared prompt) are counted in the reports. A record that does not fit
 * ends the stream behind the last record, with an error that names all of them.
 *
 * @throws DataError, while it is iterated, with file, row and field; also for a file that gives no row at all; ConfigError
 *   for settings that the files do not allow
 */
export function streamRows(
  sources: readonly DataSource[],
  reading: Reading,
  { maxPairs = null, limit = 'first', seed = 0 }: ReadLimits = {},
): RowStream {
  const reports = new Map<string, ReadReport>();
  const samples = maxPairs !== null && limit === 'sample';
  const most = samples ? Number.POSITIVE_INFINITY : (maxPairs ?? Number.POSITIVE_INFINITY);
  const bad = new BadRows();
  async function* rowsOfFiles(): AsyncGenerator<Row> {
    let taken = 0;
    let complete = true;
    const checks = new Map<DataSource, SourceChecks>();
    for (const [file, source] of filesWithSources(sources)) {
      const report = reports.get(file) ?? newReport(file, source.name);
      reports.set(file, report);
      const own = readingOfSource(reading, source);
      const checked = checks.get(source) ?? new SourceChecks(own.columns);
      checks.set(source, checked);
      const open = (columns: readonly string[] | null) => readRecords(file, columns);
      for await (const row of rowsOfFile(open, own, report, bad, checked)) {
        yield row;
        taken++;
        report.stoppedEarly = taken === most;
        if (report.stoppedEarly) break;
      }
      if (report.used === 0 && bad.count === 0) throw emptyError(report);
      complete = !report.stoppedEarly;
      if (!complete) break;
    }
    for (const checked of checks.values()) checked.throwIfWrong(complete);
  }
  async function* sampledRows(size: number): AsyncGenerator<Row> {
    const kept = await sampleOf(allOrError(), size, seed);
    for (const report of reports.values()) report.notDrawn = report.used;
    for (const { item } of kept) reports.get(item.file)!.notDrawn--;
    for (const { item } of kept) yield item;
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
    [Symbol.asyncIterator]: samples ? () => sampledRows(maxPairs) : allOrError,
  };
}

/**
 * Reads rows into memory. Records that hold no row are counted in the reports.
 *
 * @returns rows in the order of files and records, and one report a file that was opened
 * @throws DataError with file, row and field, of all bad rows at once; ConfigError for settings that the files do not allow
 */
export async function readRows(
  sources: readonly DataSource[],
  reading: Reading,
  limits: ReadLimits = {},
): Promise<{ rows: Row[]; reports: readonly ReadReport[] }> {
  const stream = streamRows(sources, reading, limits);
  const rows: Row[] = [];
  for await (const row of stream) rows.push(row);
  return { rows, reports: stream.reports };
}

/**
 * Reads the pairs of `files`, in order, into memory; rows of other kinds are left out.
 *
 * @param options how records are read (by default as a run of DPO does), and how many
 * @throws DataError with file, row and field, of all bad rows at once, and for a file that gives no pair; ConfigError for a
 *   format that is none
 */
export async function readPreferenceRows(
  files: readonly string[],
  format: DataFormat = 'auto',
  options: Partial<Reading> & ReadLimits = {},
): Promise<{ rows: PreferenceRow[]; reports: readonly ReadReport[] }> {
  const sources = [plainSource(files)];
  const { rows, reports } = await readRows(sources, { ...DEFAULT_READING, ...options, format }, options);
  return { rows: rows.filter(row => row.kind === 'pair'), reports };
}

const filesWithSources = (sources: readonly DataSource[]): [string, DataSource][] =>
  sources.flatMap(source => source.files.map((file): [string, DataSource] => [file, source]));

const readingOfSource = (reading: Reading, { format, columns }: DataSource): Reading => ({
  ...reading,
  ...(format !== undefined && { format }),
  ...(columns !== undefined && { columns }),
});

const newReport = (file: string, source: string | null): ReadReport => ({
  file,
  source,
  format: null,
  by: [],
  kind: null,
  rows: 0,
  used: 0,
  notDrawn: 0,
  stoppedEarly: false,
  skipped: {},
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
