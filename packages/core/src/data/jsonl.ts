/** Records of JSON files: one a line (.jsonl) or one array (.json), plain or gzipped. */
import { MAX_RECORD_BYTES, readBytes, tooLong } from './bytes.js';
import { ArraySplitter } from './json-array.js';
import { hasMark, isBlank, MARK, parseRecord } from './json-text.js';

/** One record of a file, with its 1-based line (JSON lines) or index (JSON arrays, Parquet). */
export interface SourceRecord {
  readonly row: number;
  readonly value: unknown;
}

const NEWLINE = 0x0a;

/**
 * Streams the records of a JSON lines file; memory stays at a line. Blank lines are passed over. Lines end at \n (or \r\n,
 * white space to JSON) only: U+2028 and U+2029, at which node:readline ends them too, may stand in JSON strings.
 *
 * @throws DataError naming the line that is not UTF-8, not JSON, ambiguous or too long, or the file that cannot be read
 *   or decompressed
 */
export async function* readJsonLines(file: string): AsyncGenerator<SourceRecord> {
  let row = 0;
  function* records(lines: Buffer): Generator<SourceRecord> {
    for (let start = 0; start <= lines.length; ) {
      const newline = lines.indexOf(NEWLINE, start);
      const end = newline === -1 ? lines.length : newline;
      const line = lines.subarray(row === 0 && hasMark(lines) ? MARK.length : start, end);
      row++;
      if (!isBlank(line)) yield { row, value: parseRecord(line, file, row) };
      start = end + 1;
    }
  }
  let open: Buffer[] = [];
  let openBytes = 0;
  for await (const chunk of readBytes(file)) {
    const end = chunk.lastIndexOf(NEWLINE);
    if (end !== -1) {
      for (const record of records(Buffer.concat([...open, chunk.subarray(0, end)]))) yield record;
      open = [];
      openBytes = 0;
    }
    open.push(chunk.subarray(end + 1));
    openBytes += chunk.length - end - 1;
    if (openBytes > MAX_RECORD_BYTES) throw tooLong(file, row + 1);
  }
  if (openBytes > 0) yield* records(Buffer.concat(open));
}

/**
 * Streams the records of a JSON file that holds one array; memory stays at a record.
 *
 * @throws DataError naming the record, or the file when it is not a JSON array
 */
export async function* readJsonArray(file: string): AsyncGenerator<SourceRecord> {
  const splitter = new ArraySplitter(file);
  for await (const chunk of readBytes(file)) {
    for (const { row, bytes } of splitter.push(chunk)) {
      yield { row, value: parseRecord(bytes, file, row) };
    }
  }
  splitter.end();
}
