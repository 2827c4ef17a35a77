/**
 * Records of Parquet files, one row group in memory at a time. The library decodes; reading the file and joining the columns
 * stay here, so that its failures are ours to report and nothing goes on in the background.
 */
import { isUtf8 } from 'node:buffer';
import type { FileHandle } from 'node:fs/promises';
import { type FileMetaData, parquetMetadata, parquetSchema, type RowGroup, type SchemaTree } from 'hyparquet';
import { assembleNested } from 'hyparquet/src/assemble.js';
import { readColumn } from 'hyparquet/src/column.js';
import { DEFAULT_PARSERS } from 'hyparquet/src/convert.js';
import { flatten } from 'hyparquet/src/utils.js';
import { runWithin } from '../bounded.js';
import { DataError } from '../errors.js';
import { reportProgress } from '../progress.js';
import { openUncompressed } from './bytes.js';
import { notUtf8, parseRecord } from './json-text.js';
import { checkGroup, checkPages, type LeafChunk, leafChunks } from './parquet-claims.js';
import { type SourceRecord, sourceRecord } from './source-record.js';

/** Decoding may take as long as this, and a millisecond a kilobyte: far more than sound files need, even under load. */
const LIMIT_MS = 5000;

/**
 * Streams the rows of a Parquet file as objects that hold only `columns` (those the file has); null: all.
 *
 * @throws DataError when the file cannot be read or is damaged; with row and field for a text that is not UTF-8
 */
export async function* readParquet(
  file: string,
  columns: readonly string[] | null,
): AsyncGenerator<SourceRecord> {
  const { handle, bytes: fileBytes } = await openUncompressed(file);
  try {
    const metadata = await attempt(file, () => readMetadata(handle, fileBytes));
    const schema = await attempt(file, () => parquetSchema(metadata));
    const fields = fieldsOf(schema, columns, file);
    const total = Number(metadata.num_rows);
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      reportProgress({ phase: 'reading', subject: file, done: rowStart, total, unit: 'rows' });
      const columnsOfGroup = await attempt(file, async () => {
        checkGroup(group, fileBytes);
        const values: (readonly [string, readonly unknown[]])[] = [];
        for (const field of fields)
          values.push([field.element.name, await readField(handle, fileBytes, group, schema, field)]);
        return values;
      });
      for (let index = 0; index < Number(group.num_rows); index++) {
        const row = rowStart + index + 1;
        yield sourceRecord(row, () =>
          Object.fromEntries(
            columnsOfGroup.map(([name, values]) => [name, settled(values[index], file, row, name)]),
          ),
        );
      }
      rowStart += Number(group.num_rows);
    }
    reportProgress({ phase: 'reading', subject: file, done: total, total, unit: 'rows' });
  } finally {
    await handle.close();
  }
}

async function readMetadata(handle: FileHandle, fileBytes: number): Promise<FileMetaData> {
  const tail = await readAt(handle, Math.max(0, fileBytes - 8), Math.min(8, fileBytes));
  if (tail.length < 8 || tail.toString('latin1', 4) !== 'PAR1')
    throw new Error('it does not end as Parquet does');
  const length = tail.readUInt32LE(0);
  if (length + 12 > fileBytes) throw new Error(`its metadata claim ${length} bytes, more than the file has`);
  const footer = await readAt(handle, fileBytes - 8 - length, length + 8);
  return bounded(footer.length, () => parquetMetadata(footer, { geoparquet: false }));
}

/** The fields of the file that are wanted. */
function fieldsOf(schema: SchemaTree, columns: readonly string[] | null, file: string): SchemaTree[] {
  const fields = schema.children.filter(({ element }) => columns === null || columns.includes(element.name));
  const names = fields.map(({ element }) => element.name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new DataError('The file has this column twice.', {
      file,
      field: twice,
      hint: 'Remove one of them.',
    });
  }
  return fields;
}

/** The values of a field, one a row. */
async function readField(
  handle: FileHandle,
  fileBytes: number,
  group: RowGroup,
  schema: SchemaTree,
  field: SchemaTree,
): Promise<readonly unknown[]> {
  const rows = Number(group.num_rows);
  const values = new Map<string, unknown[]>();
  for (const leaf of leafChunks(group, schema, field, fileBytes)) {
    const bytes = await readAt(handle, leaf.start, leaf.bytes);
    values.set(leaf.path.join('.'), decode(leaf, bytes, rows, fileBytes));
  }
  if (field.children.length > 0) bounded(fileBytes, () => assembleNested(values, field, PARSERS));
  const own = values.get(field.element.name);
  if (own?.length !== rows) {
    throw new Error(`the column ${field.element.name} has ${own?.length ?? 0} of ${rows} rows`);
  }
  return own;
}

function decode(leaf: LeafChunk, bytes: Buffer, rows: number, fileBytes: number): unknown[] {
  return bounded(bytes.length, () => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const pages = checkPages(leaf, view, fileBytes);
    // The pages are decompressed by the check already, in the order in which they are read now.
    const compressors = { [leaf.codec]: () => pages.shift()! };
    const { data } = readColumn(
      { view, offset: 0 },
      { groupStart: 0, selectStart: 0, selectEnd: rows, groupRows: rows },
      {
        pathInSchema: leaf.path,
        element: leaf.schemaPath.at(-1)!.element,
        schemaPath: leaf.schemaPath,
        type: leaf.type,
        codec: leaf.codec,
        compressors,
        parsers: PARSERS,
      },
    );
    return Array.from(flatten(data));
  });
}

/** Stands for bytes that are not UTF-8 until their row is known. */
class NoText {
  constructor(readonly bytes: Uint8Array) {}
}

/** A text of a JSON column. */
class JsonText {
  constructor(readonly bytes: Uint8Array) {}
}

const PARSERS = {
  ...DEFAULT_PARSERS,
  stringFromBytes: (bytes: Uint8Array | undefined) =>
    bytes && (isUtf8(bytes) ? toBuffer(bytes).toString('utf8') : new NoText(bytes)),
  jsonFromBytes: (bytes: Uint8Array | undefined) => bytes && new JsonText(bytes),
};

/**
 * The value of a field once row and field are known, which the messages of bad texts name. Every row has all fields of a
 * struct, null where it has none; to a chat template a field that is null is there. So these are left out.
 */
function settled(value: unknown, file: string, row: number, field: string): unknown {
  if (value instanceof NoText) throw notUtf8(toBuffer(value.bytes), file, row, field);
  if (value instanceof JsonText) return parseRecord(toBuffer(value.bytes), file, row);
  if (Array.isArray(value)) return value.map((part, index) => settled(part, file, row, `${field}[${index}]`));
  if (!isPlain(value)) return value;
  const parts = Object.entries(value)
    .filter(([, part]) => part !== null && part !== undefined)
    .map(([key, part]) => [key, settled(part, file, row, `${field}.${key}`)]);
  return Object.fromEntries(parts);
}

const isPlain = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

async function readAt(handle: FileHandle, start: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  const { bytesRead } = await handle.read(buffer, 0, bytes, start);
  if (bytesRead !== bytes) throw new Error('it ended while it was read');
  return buffer;
}

function bounded<T>(bytes: number, task: () => T): T {
  return runWithin(LIMIT_MS + Math.ceil(bytes / 1024), task, () => new Error('its structure is endless'));
}

async function attempt<T>(file: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    throw new DataError(`The Parquet file cannot be read (${(cause as Error).message}).`, { file, cause });
  }
}
