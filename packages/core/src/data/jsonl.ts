/** Records of JSON files: one a line (.jsonl), or an array or objects in a row (.json). */
import { DataError } from '../errors.js';
import { MAX_RECORD_BYTES, readBytes, tooLong } from './bytes.js';
import { JsonSplitter } from './json-splitter.js';
import { hasMark, isBlank, MARK, parseRecord } from './json-text.js';
import { type SourceRecord, sourceRecord } from './source-record.js';

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
      if (!isBlank(line)) yield sourceRecord(row, () => parseRecord(line, file, row));
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
 * Streams the records of a JSON file: the elements of an array; objects in a row, as many people name JSON lines so; or the
 * elements of the array that a single object holds under a name such as `data`. Memory stays at a record.
 *
 * @throws DataError naming the record, or the file when it holds none of these
 */
export async function* readJson(file: string): AsyncGenerator<SourceRecord> {
  const splitter = new JsonSplitter(file);
  // Whether an object is the whole file, and so not a record, is known behind it.
  let first: SourceRecord | null = null;
  for await (const chunk of readBytes(file)) {
    for (const { row, bytes } of splitter.push(chunk)) {
      const record = sourceRecord(row, () => parseRecord(bytes, file, row));
      if (first !== null) yield first;
      first = null;
      if (row === 1 && !splitter.inArray) first = record;
      else yield record;
    }
  }
  splitter.end();
  if (first !== null) yield* wrappedRecords(first, file);
}

/** Under these an object holds its records, in the files of people who keep facts about them beside them. */
const WRAPPERS: readonly string[] = [
  ...['data', 'rows', 'records', 'examples', 'instances'],
  ...['train', 'test', 'validation', 'eval'],
];

function* wrappedRecords(only: SourceRecord, file: string): Generator<SourceRecord> {
  if (only.error !== undefined) {
    yield only;
    return;
  }
  const lists = Object.entries(only.value as object).filter(
    ([key, value]) => WRAPPERS.includes(key) && Array.isArray(value),
  ) as [string, unknown[]][];
  if (lists.length > 1) {
    throw new DataError(
      `The object holds several lists of records: ${lists.map(([key]) => key).join(', ')}.`,
      {
        file,
        hint: `Write each into a file of its own: \`jq .${lists[0]![0]} ${file} > ${lists[0]![0]}.json\`.`,
      },
    );
  }
  const [list] = lists;
  if (list === undefined) yield only;
  else for (const [index, value] of list[1].entries()) yield { row: index + 1, value };
}
