/** The bytes of a data file, decompressed, within limits that no file of records comes near. */
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { DataError, RunError } from '../errors.js';
import { reportProgress } from '../progress.js';
import { readZstd, ZstdError } from './zstd.js';

/** The longest record: about ten thousand pages of text. */
export const MAX_RECORD_BYTES = 64 * 1024 * 1024;

/**
 * Text shrinks to a third or a fifth, seldom to a twentieth. What grows more than fiftyfold, and beyond the longest
 * record, is made to fill memory.
 */
export const MAX_EXPANSION = 50;

const CHUNK_BYTES = 256 * 1024;
const HEAD_BYTES = 128;

/** How a file is compressed, which its name says. */
const COMPRESSIONS = {
  '.gz': { name: 'gzip', magic: Buffer.from([0x1f, 0x8b]), read: readGzip },
  '.zst': { name: 'Zstandard', magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), read: readZstd },
} as const;

type Compression = (typeof COMPRESSIONS)[keyof typeof COMPRESSIONS];

const compressionOf = (file: string): Compression | undefined =>
  Object.entries(COMPRESSIONS).find(([extension]) => file.endsWith(extension))?.[1];

/**
 * Opens a regular file for reading.
 *
 * @returns the handle, which the caller closes, and the size in bytes
 * @throws DataError when it cannot be read or is a pointer of Git LFS
 */
async function openData(file: string): Promise<{ handle: FileHandle; bytes: number }> {
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
  for (const [extension, { name, magic }] of Object.entries(COMPRESSIONS)) {
    if (file.endsWith(extension) || !head.subarray(0, magic.length).equals(magic)) continue;
    throw new DataError(`This is ${name} data.`, {
      file,
      hint: `Give the file a name that ends in ${extension}.`,
    });
  }
}

/**
 * The contents of a file in chunks; what ends in .gz or .zst is decompressed.
 *
 * @throws DataError when the file cannot be read, its compressed data are damaged, cut off, or expand beyond the limit
 */
export async function* readBytes(file: string): AsyncGenerator<Buffer> {
  const { handle, bytes } = await openData(file);
  const source = handle.createReadStream({ start: 0, highWaterMark: CHUNK_BYTES });
  const compression = compressionOf(file);
  const report = (done: number): void =>
    reportProgress({ phase: 'reading', subject: file, done, total: bytes, unit: 'bytes' });
  let total = 0;
  try {
    for await (const chunk of compression?.read(source) ?? (source as AsyncIterable<Buffer>)) {
      total += chunk.length;
      if (compression !== undefined && total > MAX_RECORD_BYTES + MAX_EXPANSION * source.bytesRead)
        throw expansionError(file, compression);
      report(source.bytesRead);
      yield chunk;
    }
    report(bytes);
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    const damaged =
      cause instanceof ZstdError || String((cause as NodeJS.ErrnoException).code).startsWith('Z_');
    const what =
      damaged && compression !== undefined
        ? `The ${compression.name} data is damaged or incomplete`
        : 'The file cannot be read';
    throw new DataError(`${what} (${(cause as Error).message}).`, { file, cause });
  } finally {
    source.destroy();
  }
}

/**
 * Opens a file for reading at any place: what is compressed is unpacked into a temporary file, which has no name any more
 * when this returns and is gone when it is closed, or the process ends.
 *
 * @returns the handle, which the caller closes, and the size in bytes
 * @throws DataError as `openData` and `readBytes`; RunError when the temporary file cannot be written
 */
export async function openUncompressed(file: string): Promise<{ handle: FileHandle; bytes: number }> {
  if (compressionOf(file) === undefined) return openData(file);
  const { handle, place } = await unnamedFile(file);
  let bytes = 0;
  try {
    for await (const chunk of readBytes(file)) {
      await handle.writeFile(chunk).catch(cause => {
        throw new RunError(`The file cannot be unpacked into ${place} (${cause.message}).`, {
          file,
          cause,
          hint: 'Set TMPDIR to a folder with more space, or decompress the file yourself.',
        });
      });
      bytes += chunk.length;
    }
    return { handle, bytes };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function unnamedFile(file: string): Promise<{ handle: FileHandle; place: string }> {
  const place = tmpdir();
  try {
    const folder = await mkdtemp(join(place, 'sralign-'));
    try {
      return { handle: await open(join(folder, 'data'), 'w+'), place };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  } catch (cause) {
    throw new RunError(`The file cannot be unpacked into ${place} (${(cause as Error).message}).`, {
      file,
      cause,
      hint: 'Set TMPDIR to a folder that can be written into.',
    });
  }
}

function readGzip(source: Readable): AsyncIterable<Buffer> {
  // Errors of either stream reach the reader of the last one; the callback only satisfies `pipeline`.
  return pipeline(source, createGunzip({ chunkSize: CHUNK_BYTES }), () => {});
}

function expansionError(file: string, { name }: Compression): DataError {
  return new DataError(`The ${name} data expands to more than ${MAX_EXPANSION} times its size.`, {
    file,
    hint: 'If the records are meant to be that alike, decompress the file first.',
  });
}

export function tooLong(
  file: string,
  row: number,
  hint = 'JSON lines have one record a line. Split or remove the record.',
): DataError {
  const limit = `${MAX_RECORD_BYTES / 1024 ** 2} MiB`;
  return new DataError(`The record is longer than ${limit}, the most a record may have.`, {
    file,
    row,
    hint,
  });
}
