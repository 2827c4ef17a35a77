/** Records of JSON files: one a line (.jsonl) or one array (.json), plain or gzipped. */
import { createReadStream } from 'node:fs';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { DataError } from '../errors.js';

/** One record of a file, with its 1-based line (JSON lines) or index (JSON arrays, Parquet). */
export interface SourceRecord {
  readonly row: number;
  readonly value: unknown;
}

/**
 * Streams the records of a JSON lines file; memory stays at one line. Blank lines are passed over.
 *
 * @throws DataError naming the line that is not JSON, or the file that cannot be read or decompressed
 */
export async function* readJsonLines(file: string): AsyncGenerator<SourceRecord> {
  let row = 0;
  for await (const line of readLines(file)) {
    row++;
    if (line.trim() !== '') yield { row, value: parseJson(line, file, row) };
  }
}

/**
 * Reads the records of a JSON file that holds one array. The whole file is in memory at once.
 *
 * @throws DataError when the file cannot be read, or is not a JSON array
 */
export async function* readJsonArray(file: string): AsyncGenerator<SourceRecord> {
  const chunks: string[] = [];
  for await (const chunk of readText(file)) chunks.push(chunk);
  const records = parseJson(chunks.join(''), file);
  if (!Array.isArray(records)) {
    throw new DataError('Expected a JSON array of records.', {
      file,
      hint: 'A file with one record a line has the extension .jsonl.',
    });
  }
  for (const [index, value] of records.entries()) yield { row: index + 1, value };
}

/**
 * Lines end at \n or \r\n only. (node:readline also ends them at U+2028 and U+2029, which JSON strings may hold, and
 * does not pass on the errors of its input.)
 */
async function* readLines(file: string): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of readText(file)) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== '') yield rest;
}

/** The decompressed text of a file in chunks, without a byte order mark. */
async function* readText(file: string): AsyncGenerator<string> {
  const bytes = createReadStream(file);
  // Errors of either stream reach the reader of the last one; the callback only satisfies `pipeline`.
  const stream: Readable = file.endsWith('.gz') ? pipeline(bytes, createGunzip(), () => {}) : bytes;
  let first = true;
  try {
    for await (const chunk of stream.setEncoding('utf8') as AsyncIterable<string>) {
      yield first ? chunk.replace(/^\uFEFF/, '') : chunk;
      first = false;
    }
  } catch (cause) {
    const damaged = String((cause as NodeJS.ErrnoException).code).startsWith('Z_');
    const what = damaged ? 'The gzip data is damaged or incomplete' : 'The file cannot be read';
    throw new DataError(`${what} (${(cause as Error).message}).`, { file, cause });
  }
}

function parseJson(text: string, file: string, row?: number): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new DataError(`This is not valid JSON (${(cause as Error).message}).`, {
      file,
      ...(row === undefined ? {} : { row }),
      cause,
    });
  }
}
