/** The bytes of a data file, decompressed, within limits that no file of records comes near. */
import { type FileHandle, open } from 'node:fs/promises';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { DataError } from '../errors.js';
import { reportProgress } from '../progress.js';

/** The longest record: about ten thousand pages of text. */
export const MAX_RECORD_BYTES = 64 * 1024 * 1024;

/**
 * Text shrinks to a third or a fifth, seldom to a twentieth. What grows more than fiftyfold, and beyond the longest
 * record, is made to fill memory.
 */
export const MAX_EXPANSION = 50;

const CHUNK_BYTES = 256 * 1024;
const HEAD_BYTES = 128;
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b]);

/**
 * Opens a regular file for reading.
 *
 * @returns the handle, which the caller closes, and the size in bytes
 * @throws DataError when it cannot be read or is a pointer of Git LFS
 */
export async function openData(file: string): Promise<{ handle: FileHandle; bytes: number }> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(file);
    const facts = await handle.stat();
    // A folder, or a pipe that nobody writes into.
    if (!facts.isFile()) throw new Error('it is no regular file');
    await checkHead(handle, file);
    return { handle, bytes: facts.size };
  } catch (cause) {
    await handle?.close();
    if (cause instanceof DataError) throw cause;
    throw new DataError(`The file cannot be read (${(cause as Error).message}).`, { file, cause });
  }
}

async function checkHead(handle: FileHandle, file: string): Promise<void> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  const head = buffer.subarray(0, bytesRead);
  if (head.toString('latin1').startsWith('version https://git-lfs.github.com/spec/')) {
    throw new DataError('This is a pointer of Git LFS, not the data.', {
      file,
      hint: 'Fetch the data with `git lfs pull`.',
    });
  }
  if (head.subarray(0, 2).equals(GZIP_MAGIC) && !file.endsWith('.gz')) {
    throw new DataError('This is gzip data.', { file, hint: 'Give the file a name that ends in .gz.' });
  }
}

/**
 * The contents of a file in chunks; what ends in .gz is decompressed.
 *
 * @throws DataError when the file cannot be read, its gzip data are damaged, cut off, or expand beyond the limit
 */
export async function* readBytes(file: string): AsyncGenerator<Buffer> {
  const { handle, bytes } = await openData(file);
  const source = handle.createReadStream({ start: 0, highWaterMark: CHUNK_BYTES });
  // Errors of either stream reach the reader of the last one; the callback only satisfies `pipeline`.
  const gunzip = file.endsWith('.gz')
    ? pipeline(source, createGunzip({ chunkSize: CHUNK_BYTES }), () => {})
    : null;
  const report = (done: number): void =>
    reportProgress({ phase: 'reading', subject: file, done, total: bytes, unit: 'bytes' });
  let total = 0;
  try {
    for await (const chunk of (gunzip ?? source) as Readable as AsyncIterable<Buffer>) {
      total += chunk.length;
      if (gunzip !== null && total > MAX_RECORD_BYTES + MAX_EXPANSION * gunzip.bytesWritten)
        throw expansionError(file);
      report(source.bytesRead);
      yield chunk;
    }
    report(bytes);
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    const damaged = String((cause as NodeJS.ErrnoException).code).startsWith('Z_');
    const what = damaged ? 'The gzip data is damaged or incomplete' : 'The file cannot be read';
    throw new DataError(`${what} (${(cause as Error).message}).`, { file, cause });
  }
}

function expansionError(file: string): DataError {
  return new DataError(`The gzip data expands to more than ${MAX_EXPANSION} times its size.`, {
    file,
    hint: 'If the records are meant to be that alike, decompress the file first.',
  });
}

export function tooLong(file: string, row: number): DataError {
  return new DataError(
    `The record is longer than ${MAX_RECORD_BYTES / 1024 ** 2} MiB, the most a record may have.`,
    {
      file,
      row,
      hint: 'JSON lines have one record a line. Split or remove the record.',
    },
  );
}
