/** Records of Parquet files, one row group in memory at a time. */
import {
  type AsyncBuffer,
  asyncBufferFromFile,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { DataError } from '../errors.js';
import type { SourceRecord } from './jsonl.js';

/**
 * Streams the rows of a Parquet file as objects that hold only `columns` (those the file has).
 *
 * @throws DataError when the file cannot be read or is damaged
 */
export async function* readParquet(file: string, columns: readonly string[]): AsyncGenerator<SourceRecord> {
  let rowStart = 0;
  const { buffer, metadata } = await attempt(file, async () => openParquet(file));
  const present = parquetSchema(metadata)
    .children.map(child => child.element.name)
    .filter(name => columns.includes(name));
  for (const group of metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows);
    const records = await attempt(file, () =>
      parquetReadObjects({ file: buffer, metadata, columns: present, rowStart, rowEnd, compressors }),
    );
    for (const [index, value] of records.entries()) yield { row: rowStart + index + 1, value };
    rowStart = rowEnd;
  }
}

async function openParquet(file: string): Promise<{ buffer: AsyncBuffer; metadata: FileMetaData }> {
  const buffer = await asyncBufferFromFile(file);
  return { buffer, metadata: await parquetMetadataAsync(buffer) };
}

async function attempt<T>(file: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    throw new DataError(`The Parquet file cannot be read (${(cause as Error).message}).`, { file, cause });
  }
}
