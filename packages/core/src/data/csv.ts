/** Records of CSV and TSV files: the first line names the columns, every value is a text. */
import { isUtf8 } from 'node:buffer';
import { pipeline } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { DataError } from '../errors.js';
import { MAX_RECORD_BYTES, readBytes, tooLong } from './bytes.js';
import { hasMark, MARK, notUtf8 } from './json-text.js';
import { type SourceRecord, sourceRecord } from './source-record.js';

/**
 * Streams the records of a CSV file (RFC 4180); memory stays at a record. A value may be quoted, and then holds line ends,
 * delimiters and doubled quotes. Blank lines are passed over. A record that is not UTF-8 or has another number of values than
 * there are names gives its error.
 *
 * @throws DataError naming the record, from 1 behind the line with the names, that is not CSV (where the next one begins is
 *   not known then) or too long; and names that are missing or stand there twice
 */
export async function* readCsv(file: string, delimiter: ',' | '\t'): AsyncGenerator<SourceRecord> {
  const parser = parse({
    delimiter,
    // Values stay bytes: the library would replace what is not UTF-8.
    encoding: null,
    max_record_size: MAX_RECORD_BYTES,
    skip_empty_lines: true,
    // A row with another number of values is a record that does not fit, not the end of the file.
    relax_column_count: true,
  });
  let row = 0;
  try {
    let names: string[] | null = null;
    for await (const values of pipeline(withoutMark(readBytes(file)), parser, () => {}) as AsyncIterable<
      Buffer[]
    >) {
      if (names === null) {
        names = namesOf(values, delimiter, file);
        continue;
      }
      row++;
      const at = row;
      const columns = names;
      yield sourceRecord(at, () => {
        if (values.length !== columns.length) throw otherCount(values.length, columns.length, file, at);
        return Object.fromEntries(
          columns.map((name, index) => [name, textOf(values[index]!, file, at, name)] as const),
        );
      });
    }
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    throw csvError(cause, file);
  }
}

function otherCount(values: number, names: number, file: string, row: number): DataError {
  const [has, named] = [
    `${values} value${values === 1 ? '' : 's'}`,
    `${names} column${names === 1 ? '' : 's'}`,
  ];
  return new DataError(`The row has ${has}, and the first line names ${named}.`, {
    ...{ file, row },
    hint:
      values > names
        ? 'Put a value that holds the delimiter between quotes.'
        : 'Write all of them, empty ones too; a value that holds a line end stands between quotes.',
  });
}

function textOf(bytes: Buffer, file: string, row: number, field: string): string {
  if (!isUtf8(bytes)) throw notUtf8(bytes, file, row, field);
  return bytes.toString('utf8');
}

async function* withoutMark(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let isFirst = true;
  for await (const chunk of chunks) {
    yield isFirst && hasMark(chunk) ? chunk.subarray(MARK.length) : chunk;
    isFirst = false;
  }
}

function namesOf(values: readonly Buffer[], delimiter: string, file: string): string[] {
  const odd = values.findIndex(bytes => !isUtf8(bytes));
  if (odd >= 0) throw new DataError(`The name of column ${odd + 1} is not UTF-8.`, { file });
  const names = values.map(bytes => bytes.toString('utf8'));
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new DataError('The file has this column twice.', {
      file,
      field: twice,
      hint: 'Rename one of them.',
    });
  }
  if (names.length > 1) return names;
  const other = [',', ';', '\t', '|'].find(char => char !== delimiter && names[0]!.includes(char));
  if (other === undefined) return names;
  throw new DataError(
    `Its columns are separated by ${other === '\t' ? 'tabs' : JSON.stringify(other)}, not by ${delimiter === ',' ? '","' : 'tabs'}.`,
    { file, hint: 'A file named .csv has commas between the values, one named .tsv has tabs.' },
  );
}

function csvError(cause: CsvError & { readonly records?: number }, file: string): DataError {
  // Complete ones, the line with the names among them: the parser is ahead of its reader.
  const row = cause.records ?? 0;
  if (cause.code === 'CSV_MAX_RECORD_SIZE') {
    return tooLong(file, row, 'Perhaps a quote that opens a value does not close.');
  }
  const hints: Partial<Record<CsvError['code'], string>> = {
    CSV_INVALID_CLOSING_QUOTE: 'Double the quotes inside a quoted value.',
    INVALID_OPENING_QUOTE: 'Put the value between quotes, and double the quotes inside.',
    CSV_QUOTE_NOT_CLOSED:
      'A quote that opens a value does not close: the file is cut off, or the quote is part of a text.',
  };
  const hint = hints[cause.code];
  return new DataError(`This is not valid CSV (${cause.message}).`, {
    file,
    row,
    ...(hint !== undefined && { hint }),
    cause,
  });
}
