/** Writing weights in the safetensors format (see safetensors.ts), one tensor in memory at a time. */
import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { RunError } from '../errors.js';
import { type FileDigest, streamFileAtomic, writeFileAtomic } from '../files.js';
import { reportProgress } from '../progress.js';
import { hasNonFinite, INDEX_FILE, SINGLE_FILE } from './safetensors.js';
import { tensorBytes } from './safetensors-header.js';

/** A tensor to be stored. `bytes` is called when its turn comes, so that one tensor is in memory at a time. */
export interface StoredTensor<Bytes = Uint8Array> {
  readonly name: string;
  readonly dtype: 'F32' | 'BF16';
  readonly shape: readonly number[];
  readonly bytes: () => Bytes;
}

/** The bytes may have to be read from a file first. */
export type TensorToWrite = StoredTensor<Uint8Array | Promise<Uint8Array>>;

/** Weights that have become NaN or infinite are not written: a file that is there can be loaded. */
export class NotFiniteError extends RunError {
  constructor(readonly tensor: string) {
    super(`The tensor "${tensor}" holds NaN or infinite values.`);
  }
}

/**
 * Writes a file, one tensor after another, with the metadata `format: pt` that transformers asks for.
 *
 * @returns the digest of the file, computed while the disk writes
 * @throws NotFiniteError, RunError when the disk refuses; TypeError for a name given twice or bytes that do not fit the
 *   shape
 */
export async function writeSafetensors(
  file: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<FileDigest> {
  const sources = [...tensors];
  // Without a prototype: a tensor may have any name.
  const header: Record<string, unknown> = Object.assign(Object.create(null), {
    __metadata__: { format: 'pt', ...metadata },
  });
  let end = 0;
  for (const { name, dtype, shape } of sources) {
    if (Object.hasOwn(header, name)) throw new TypeError(`There are two tensors of the name "${name}".`);
    const begin = end;
    end += tensorBytes(dtype, shape);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  // Spaces after the JSON put the tensors at a multiple of 8 bytes, as the reference implementation does.
  const prefix = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  prefix.writeBigUInt64LE(BigInt(prefix.length - 8));
  json.copy(prefix, 8);
  const hash = createHash('sha256').update(prefix);
  const report = (done: number): void =>
    reportProgress({ phase: 'saving', subject: basename(file), done, total: end, unit: 'bytes' });
  await streamFileAtomic(file, async handle => {
    await handle.writeFile(prefix);
    let done = 0;
    for (const { name, dtype, shape, bytes } of sources) {
      report(done);
      const data = await bytes();
      const expectedBytes = tensorBytes(dtype, shape);
      if (data.byteLength !== expectedBytes) {
        throw new TypeError(
          `The tensor "${name}" has ${data.byteLength} bytes, not the ${expectedBytes} of its shape.`,
        );
      }
      if (hasNonFinite(data, dtype)) throw new NotFiniteError(name);
      const written = handle.writeFile(data);
      hash.update(data);
      await written;
      done += expectedBytes;
    }
  });
  report(end);
  return { bytes: prefix.length + end, sha256: hash.digest('hex') };
}

/**
 * Writes the weights of a model as `model.safetensors`, or, when they exceed `maxShardBytes`, as
 * `model-00001-of-0000N.safetensors` with `model.safetensors.index.json`; older weights in the folder are deleted.
 *
 * @param options.maxShardBytes size of the tensors in a file; a larger tensor gets a file of its own
 * @returns the digests of the files with tensors, by name
 * @throws NotFiniteError, RunError when the disk refuses
 */
export async function writeModelWeights(
  folder: string,
  tensors: Iterable<TensorToWrite>,
  options: { readonly maxShardBytes: number },
): Promise<Record<string, FileDigest>> {
  const shards = splitIntoShards(tensors, options.maxShardBytes);
  const digests: Record<string, FileDigest> = {};
  const written = new Set<string>();
  const weightMap: Record<string, string> = Object.create(null);
  for (const [i, shard] of shards.entries()) {
    const name = weightFileName(i, shards.length);
    digests[name] = await writeSafetensors(join(folder, name), shard);
    written.add(name);
    for (const tensor of shard) weightMap[tensor.name] = name;
  }
  if (shards.length > 1) {
    const totalBytes = shards.flat().reduce((sum, { dtype, shape }) => sum + tensorBytes(dtype, shape), 0);
    const index = { metadata: { total_size: totalBytes }, weight_map: weightMap };
    await writeFileAtomic(join(folder, INDEX_FILE), `${JSON.stringify(index, null, 2)}\n`);
    written.add(INDEX_FILE);
  }
  for (const name of await readdir(folder)) {
    const isWeights = /^model(-\d+-of-\d+)?\.safetensors(\.index\.json)?$/.test(name);
    if (isWeights && !written.has(name)) await rm(join(folder, name));
  }
  return digests;
}

/**
 * The files that `writeModelWeights` would write, by name and size.
 *
 * @param entryBytes that the header or the index takes for a tensor, at most
 */
export function plannedWeightFiles(
  tensors: Iterable<TensorToWrite>,
  options: { readonly maxShardBytes: number },
  entryBytes: number,
): { readonly name: string; readonly bytes: number }[] {
  const shards = splitIntoShards(tensors, options.maxShardBytes);
  const files = shards.map((shard, i) => ({
    name: weightFileName(i, shards.length),
    bytes: shard.reduce((sum, { dtype, shape }) => sum + tensorBytes(dtype, shape) + entryBytes, entryBytes),
  }));
  const index = { name: INDEX_FILE, bytes: entryBytes * (shards.flat().length + 1) };
  return shards.length === 1 ? files : [...files, index];
}

/** @param shard from 0 */
const weightFileName = (shard: number, shards: number): string =>
  shards === 1 ? SINGLE_FILE : `model-${digits(shard + 1)}-of-${digits(shards)}.safetensors`;

function splitIntoShards(tensors: Iterable<TensorToWrite>, maxShardBytes: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [[]];
  let shardBytes = 0;
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor.dtype, tensor.shape);
    if (shardBytes > 0 && shardBytes + bytes > maxShardBytes) {
      shards.push([]);
      shardBytes = 0;
    }
    shards.at(-1)!.push(tensor);
    shardBytes += bytes;
  }
  return shards;
}

const digits = (number: number): string => String(number).padStart(5, '0');
