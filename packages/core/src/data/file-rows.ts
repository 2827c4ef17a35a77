/** The rows of one file: its format is recognised, its records are parsed, and what becomes of them is counted. */
import { DataError } from '../errors.js';
import { BadRows, badRowReason, whatIsWrong } from './bad-rows.js';
import { checkColumns, inColumns, renameColumns, withoutOverruled } from './formats/columns.js';
import { checkGives, formatNamed, type Recognition, recognise } from './formats/detect.js';
import { has, isObject } from './formats/fields.js';
import type { Fields, ParsedRecord, ParseOptions, RowContent, Where } from './formats/format.js';
import { columnsToRead, type Reading } from './reading.js';
import { kindOf, type ReadReport, type Row } from './rows.js';
import type { SourceChecks } from './source-checks.js';
import type { SourceRecord } from './source-record.js';

/** Records at the beginning of a file that are looked at before the first is parsed: one odd record decides nothing. */
const SAMPLE_RECORDS = 20;
const REPORTED_EXAMPLES = 5;

/** Opens a file for the columns that are named (formats without columns give all they have); null: for all. */
export type OpenRecords = (columns: readonly string[] | null) => AsyncIterable<SourceRecord>;

/**
 * Streams the rows of a file. Records that hold none are counted in the report; those that do not fit are added to `bad`, or
 * left out and counted.
 *
 * @throws DataError when the file cannot be read or its format is not recognised; ConfigError for a method that cannot learn
 *   from it, and for a format that is none
 */
export async function* rowsOfFile(
  open: OpenRecords,
  reading: Reading,
  report: ReadReport,
  bad: BadRows,
  checks: SourceChecks,
): AsyncGenerator<Row> {
  const records = open(columnsToRead(reading))[Symbol.asyncIterator]();
  const skips = reading.onBadRow === 'skip';
  const leftOut = new BadRows();
  try {
    const { sample, rest } = await lookAhead(records);
    const how = await howToRead(sample, open, reading, report.file);
    if (how.recognition !== null) {
      report.format = how.recognition.name;
      report.by = how.recognition.by;
    }
    for await (const record of rest) {
      report.rows++;
      for (const row of rowsOf(record, how, reading, report, skips ? leftOut : bad, checks)) {
        report.used++;
        report.kind ??= kindOf(row);
        yield row;
      }
    }
  } finally {
    report.badRows = [...report.badRows, ...leftOut.lines()];
    await records.return?.();
  }
}

/** The first records, and all of them; a failure to read comes after what was read before it. */
async function lookAhead(
  records: AsyncIterator<SourceRecord>,
): Promise<{ sample: SourceRecord[]; rest: AsyncIterable<SourceRecord> }> {
  const sample: SourceRecord[] = [];
  let end: IteratorResult<SourceRecord> | { readonly failure: unknown } | null = null;
  while (end === null && sample.length < SAMPLE_RECORDS) {
    const next = await records.next().catch((failure: unknown) => ({ failure }));
    if ('failure' in next || next.done === true) end = next;
    else sample.push(next.value);
  }
  async function* all(): AsyncGenerator<SourceRecord> {
    yield* sample;
    if (end !== null && 'failure' in end) throw end.failure;
    if (end === null) yield* { [Symbol.asyncIterator]: () => records };
  }
  return { sample, rest: all() };
}

/** What is the same for all records of a file. */
interface HowToRead extends ParseOptions {
  /** null where no record of the sample is one. */
  readonly recognition: Recognition | null;
}

async function howToRead(
  sample: readonly SourceRecord[],
  open: OpenRecords,
  reading: Reading,
  file: string,
): Promise<HowToRead> {
  try {
    return decide(sample, reading, file);
  } catch (error) {
    // Columns that no format reads are what the message is about.
    const records = open(null)[Symbol.asyncIterator]();
    const all = await lookAhead(records).catch(() => null);
    await records.return?.();
    if (all !== null) decide(all.sample, reading, file);
    throw error;
  }
}

function decide(sample: readonly SourceRecord[], reading: Reading, file: string): HowToRead {
  const { columns, pairs, minScoreGap, method } = reading;
  const raw = sample.map(({ value }) => value).filter(isObject);
  if (raw.length === 0 && reading.format === 'auto') {
    return { recognition: null, chat: false, pairs, minScoreGap };
  }
  if (raw.length > 0) checkColumns(columns, new Set(raw.flatMap(Object.keys)), file);
  const records = raw.map(record => renameColumns(record, columns));
  const recognition = recognitionOf(records, reading, file);
  checkGives(recognition, file, method);
  const hasSystem = columns.system !== undefined || records.some(({ system }) => system !== undefined);
  const chat = reading.chat ?? (hasSystem && recognition.format.fields.includes('system'));
  return { recognition, chat, pairs, minScoreGap };
}

function recognitionOf(
  records: readonly Fields[],
  { format: name, columns, method }: Reading,
  file: string,
): Recognition {
  if (name === 'auto') return recognise(records, columns, file, method);
  const format = formatNamed(name);
  const by = records
    .map(record => format.recognise(withoutOverruled(record, format, columns)))
    .find(fields => fields !== null);
  return { name, format, by: by ?? [] };
}

/** The rows of a record; what it holds none for, or is wrong with it, is counted. */
function rowsOf(
  { row, value, error }: SourceRecord,
  how: HowToRead,
  reading: Reading,
  report: ReadReport,
  bad: BadRows,
  checks: SourceChecks,
): Row[] {
  const where = { file: report.file, row };
  try {
    if (error !== undefined) throw error;
    const parsed = parse(value, how, where, reading, checks);
    if ('skipped' in parsed) return skip(report, row, parsed.skipped);
    for (const reason of parsed.refused ?? []) skip(report, row, reason);
    return parsed.rows.map(content => ({ ...where, ...content }));
  } catch (cause) {
    if (!(cause instanceof DataError)) throw cause;
    const named = inColumns(cause, reading.columns);
    bad.add(named);
    return reading.onBadRow === 'skip' ? skip(report, row, badRowReason(whatIsWrong(named))) : [];
  }
}

function parse(
  value: unknown,
  how: HowToRead,
  where: Where,
  { columns, chat, method }: Reading,
  checks: SourceChecks,
): ParsedRecord {
  if (!isObject(value)) throw new DataError('Expected a record with fields.', { ...where });
  if (how.recognition === null) {
    throw new DataError('The format of the records is not known: the first ones have no fields.', {
      ...where,
      hint: 'Set data.format.',
    });
  }
  const { format } = how.recognition;
  checks.addRecord(value, where);
  const record = withoutOverruled(renameColumns(value, columns), format, columns);
  const hasSystem = format.fields.includes('system') && has(record, 'system') && record.system !== '';
  if (hasSystem && !how.chat && chat === null) {
    throw new DataError(
      'There is a system text here and none in the first records, which are read as plain texts.',
      {
        ...where,
        field: 'system',
        hint: 'Set data.chat to true, or to false to pass over system texts.',
      },
    );
  }
  const parsed = format.parse(record, where, how);
  if (parsed.label != null) checks.addLabel(parsed.label, where);
  if ('skipped' in parsed || method === 'sft') return parsed;
  const rows = parsed.rows.filter(row => !answersEqual(row));
  const equal = Array.from({ length: parsed.rows.length - rows.length }, () => EQUAL);
  return { rows, refused: [...(parsed.refused ?? []), ...equal] };
}

const EQUAL = 'chosen equals rejected';

const answersEqual = (row: RowContent): boolean =>
  row.kind === 'pair' &&
  (row.chosen === row.rejected ||
    (typeof row.chosen === 'object' && JSON.stringify(row.chosen) === JSON.stringify(row.rejected)));

function skip(report: ReadReport, row: number, reason: string): never[] {
  report.skipped[reason] = (report.skipped[reason] ?? 0) + 1;
  if (report.examples.length < REPORTED_EXAMPLES) report.examples.push({ row, reason });
  return [];
}
