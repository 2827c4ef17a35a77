/**
 * Weights in the safetensors format: the header's length (8 bytes, little-endian), the header (JSON), the bytes of the
 * tensors without holes. A file is read one tensor at a time, never whole.
 * Source: https://github.com/huggingface/safetensors#format
 */
import { constants } from 'node:buffer';
import { type FileHandle, open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ModelError, shown } from '../errors.js';
import { checkRegularFile, exists, systemErrorCode } from '../files.js';
import { readJsonFile } from './folder.js';
import { isRecord } from './json.js';
import {
  damaged,
  parseHeader,
  type SafetensorsHeader,
  type TensorDtype,
  type TensorEntry,
  tensorBytes,
} from './safetensors-header.js';

export type { SafetensorsHeader, TensorDtype, TensorEntry };

/** The limit of the format's reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;

/** A read call of the system fetches less than 2 GiB. */
const MAX_READ_BYTES = 2 ** 30;

export const SINGLE_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';

/**
 * Reads and checks the header of a file.
 *
 * @throws ModelError naming the file and the tensor: file missing or truncated, header too large or not JSON, unknown
 *   dtype, a name twice, offsets that overlap, leave holes or do not fit the shape
 */
export async function readSafetensorsHeader(file: string): Promise<SafetensorsHeader> {
  await using handle = await openFile(file);
  const { size } = await handle.stat();
  if (size < 8) throw damaged(file, `It is truncated: it has ${size} bytes.`);
  const prefix = await readBytes(handle, file, 0, 8);
  const headerBytes = Number(prefix.readBigUInt64LE());
  if (headerBytes > MAX_HEADER_BYTES) {
    throw damaged(
      file,
      `The header would have ${headerBytes} bytes; at most ${MAX_HEADER_BYTES} are allowed.`,
    );
  }
  const dataOffset = 8 + headerBytes;
  if (dataOffset > size) {
    throw damaged(file, `It is truncated: the header ends at byte ${dataOffset}, the file at byte ${size}.`);
  }
  return parseHeader(file, await readBytes(handle, file, 8, headerBytes), dataOffset, size);
}

/**
 * Reads the bytes of a tensor, or of its elements [start, end).
 *
 * @throws ModelError when the file is gone or shorter than its header said, or no buffer can be that large
 */
export async function readTensorBytes(
  entry: TensorEntry,
  start = 0,
  end = entry.byteLength / tensorBytes(entry.dtype, []),
): Promise<Uint8Array> {
  const elementBytes = tensorBytes(entry.dtype, []);
  const byteLength = (end - start) * elementBytes;
  if (byteLength > constants.MAX_LENGTH) {
    throw new ModelError(`The tensor has ${byteLength} bytes; at most ${constants.MAX_LENGTH} can be read.`, {
      file: entry.file,
      field: entry.name,
      hint: 'Store it as BF16.',
    });
  }
  await using handle = await openFile(entry.file);
  // Awaited here, as the handle closes on return.
  return await readBytes(handle, entry.file, entry.byteOffset + start * elementBytes, byteLength, entry.name);
}

/** The bits of the exponent, all ones in NaN and the infinities. */
const EXPONENT_BITS: Partial<Record<TensorDtype, number>> = { F32: 0x7f800000, F16: 0x7c00, BF16: 0x7f80 };

/** Whether the values of an F32, F16 or BF16 tensor include NaN or an infinity; false for other dtypes. */
export function hasNonFinite(bytes: Uint8Array, dtype: TensorDtype): boolean {
  const mask = EXPONENT_BITS[dtype];
  if (mask === undefined) return false;
  const wordBytes = dtype === 'F32' ? 4 : 2;
  const { buffer, byteOffset, byteLength } =
    bytes.byteOffset % wordBytes === 0 ? bytes : new Uint8Array(bytes);
  const words =
    wordBytes === 4
      ? new Uint32Array(buffer, byteOffset, byteLength / 4)
      : new Uint16Array(buffer, byteOffset, byteLength / 2);
  for (let i = 0; i < words.length; i++) {
    if ((words[i]! & mask) === mask) return true;
  }
  return false;
}

/**
 * The weights of a model folder: `model.safetensors`, or the shards that `model.safetensors.index.json` names.
 *
 * @throws ModelError naming what is missing or damaged
 */
export async function openWeights(folder: string): Promise<Map<string, TensorEntry>> {
  const singleFile = join(folder, SINGLE_FILE);
  if (await exists(singleFile, ModelError)) return (await readSafetensorsHeader(singleFile)).entries;
  const indexFile = join(folder, INDEX_FILE);
  if (!(await exists(indexFile, ModelError))) {
    throw new ModelError(`There are no weights: neither ${SINGLE_FILE} nor ${INDEX_FILE}.`, {
      file: folder,
      hint: 'Weights in other formats (pytorch_model.bin) must be converted to safetensors first.',
    });
  }
  const shardOf = await readShardIndex(indexFile);
  const shards = new Map<string, SafetensorsHeader>();
  for (const shard of new Set(shardOf.values())) {
    shards.set(shard, await readSafetensorsHeader(join(folder, shard)));
  }
  const entries = new Map<string, TensorEntry>();
  for (const [name, shard] of shardOf) {
    const entry = shards.get(shard)!.entries.get(name);
    if (entry === undefined) {
      throw damaged(join(folder, shard), `${INDEX_FILE} says that it is here, but it is not.`, name);
    }
    entries.set(name, entry);
  }
  return entries;
}

/** Names of the files that should hold the weights of a folder, there or not. */
export async function weightFiles(folder: string): Promise<string[]> {
  const indexFile = join(folder, INDEX_FILE);
  const sharded =
    !(await exists(join(folder, SINGLE_FILE), ModelError)) && (await exists(indexFile, ModelError));
  return sharded ? [...new Set((await readShardIndex(indexFile)).values())] : [SINGLE_FILE];
}

/** Tensor name to file name. */
async function readShardIndex(file: string): Promise<Map<string, string>> {
  const index = await readJsonFile(file);
  const shardOf = isRecord(index) ? index.weight_map : undefined;
  if (!isRecord(shardOf)) throw damaged(file, 'The index has no weight_map.');
  for (const [name, shard] of Object.entries(shardOf)) {
    if (typeof shard !== 'string' || shard !== basename(shard) || !shard.endsWith('.safetensors')) {
      throw damaged(file, `${shown(shard)} is not the name of a safetensors file in this folder.`, name);
    }
  }
  return new Map(Object.entries(shardOf as Record<string, string>));
}

async function openFile(file: string): Promise<FileHandle> {
  try {
    await checkRegularFile(file);
    return await open(file, 'r');
  } catch (error) {
    throw unreadable(file, error as Error);
  }
}

async function readBytes(
  handle: FileHandle,
  file: string,
  byteOffset: number,
  byteLength: number,
  tensor?: string,
): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(byteLength);
  for (let done = 0; done < byteLength; ) {
    const length = Math.min(byteLength - done, MAX_READ_BYTES);
    const { bytesRead } = await handle.read(bytes, done, length, byteOffset + done).catch(error => {
      throw unreadable(file, error);
    });
    if (bytesRead === 0)
      throw damaged(file, `It is truncated: it ends at byte ${byteOffset + done}.`, tensor);
    done += bytesRead;
  }
  return bytes;
}

function unreadable(file: string, cause: Error): ModelError {
  return systemErrorCode(cause) === 'ENOENT'
    ? new ModelError('The file is missing.', {
        file,
        cause,
        hint: 'Download or copy the model again, whole.',
      })
    : new ModelError(`The file cannot be read (${cause.message}).`, { file, cause });
}
