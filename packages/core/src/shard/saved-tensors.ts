/**
 * The tensors of a checkpoint by their Hugging Face names, whichever way they are stored: whole, as in every model folder,
 * or sharded (shard/shards-file.ts). Elements are read when they are asked for, and no others.
 */
import { join } from 'node:path';
import type { Communicator } from '@sralign/native';
import { CheckpointError, ModelError } from '../errors.js';
import { exists } from '../files.js';
import { readJsonFile } from '../hf/folder.js';
import {
  openWeights,
  readSafetensorsHeader,
  readTensorBytes,
  type TensorDtype,
  type TensorEntry,
} from '../hf/safetensors.js';
import {
  elementsOf,
  parseShardsFile,
  SHARDS_FILE,
  type ShardsFile,
  shardFileName,
  shardMetadata,
} from './shards-file.js';

/** Moments of a checkpoint that is not sharded, under `<moment>.<Hugging Face tensor>`. */
export const OPTIMIZER_FILE = 'optimizer.safetensors';

const F32_BYTES = 4;

export interface SavedTensor {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  /** Where it is, for messages. */
  readonly file: string;
  /**
   * Bytes of elements [start, end).
   *
   * @throws ModelError, CheckpointError when a file is missing or damaged
   */
  read(start: number, end: number): Promise<Uint8Array>;
}

export type SavedTensors = ReadonlyMap<string, SavedTensor>;

/** The weights and the moments of a checkpoint; all ranks of `communicator` open it together. */
export interface SavedCheckpoint {
  /** Under Hugging Face names. */
  weights(): Promise<SavedTensors>;
  /** Under `<moment>.<Hugging Face name>`. */
  moments(): Promise<SavedTensors>;
}

/**
 * Opens a checkpoint of either kind. The first rank says which it is: where hosts share no file system only its host has
 * the small files, and every host its own shards.
 *
 * @throws ModelError, CheckpointError naming the file that is missing or damaged; so do the functions that it returns
 */
export async function openCheckpoint(folder: string, communicator: Communicator): Promise<SavedCheckpoint> {
  const own =
    communicator.rank === 0 && (await isShardedFolder(folder)) ? await readShardsFile(folder) : null;
  const shards = communicator.exchange(own)[0] ?? null;
  if (shards !== null) {
    const { weights, moments } = openShards(folder, shards);
    return { weights: async () => weights, moments: async () => moments };
  }
  const whole = async (entries: Promise<ReadonlyMap<string, TensorEntry>>): Promise<SavedTensors> =>
    new Map([...(await entries)].map(([name, entry]) => [name, savedTensor(entry)]));
  return {
    weights: () => whole(openWeights(folder)),
    moments: () => whole(readSafetensorsHeader(join(folder, OPTIMIZER_FILE)).then(({ entries }) => entries)),
  };
}

export const isShardedFolder = (folder: string): Promise<boolean> =>
  exists(join(folder, SHARDS_FILE), CheckpointError);

/** @throws CheckpointError when the file is missing or damaged */
export async function readShardsFile(folder: string): Promise<ShardsFile> {
  const value = await readJsonFile(join(folder, SHARDS_FILE)).catch(error => {
    throw error instanceof ModelError ? new CheckpointError(error.message, { cause: error }) : error;
  });
  return parseShardsFile(value, folder);
}

/** A tensor that lies in one file. */
export const savedTensor = (entry: TensorEntry): SavedTensor => ({
  ...entry,
  read: (start, end) => readTensorBytes(entry, start, end),
});

export interface OpenedShards {
  /** In the order in which a whole model is saved. */
  readonly weights: SavedTensors;
  readonly moments: SavedTensors;
  /** @throws CheckpointError naming the first rank whose shard is missing or damaged */
  checkAll(): Promise<void>;
}

/** The tensors of a sharded checkpoint. A shard is opened when something in it is needed. */
export function openShards(
  folder: string,
  { worldSize, step, moments, flats, tensors }: ShardsFile,
): OpenedShards {
  const headers = Array.from({ length: worldSize }, (_, rank) => {
    let header: Promise<ReadonlyMap<string, TensorEntry>> | undefined;
    return () => (header ??= openShard(folder, rank, worldSize, step));
  });
  const kinds = ['', ...moments.map(moment => `${moment}.`)];

  const flatIn = async (rank: number, prefix: string, flat: string): Promise<TensorEntry> => {
    const entry = (await headers[rank]!()).get(prefix + flat);
    const elements = flats[flat]! / worldSize;
    if (entry?.dtype === 'F32' && elementsOf(entry.shape) === elements) return entry;
    throw new CheckpointError(
      entry === undefined
        ? `The shard of rank ${rank} does not have this tensor.`
        : `The shard of rank ${rank} has ${entry.dtype} [${entry.shape.join(', ')}], but ${SHARDS_FILE} says F32 [${elements}].`,
      {
        file: join(folder, shardFileName(rank, worldSize)),
        field: prefix + flat,
        hint: 'The files are not of one checkpoint: use another one.',
      },
    );
  };

  const saved = (prefix: string): SavedTensors =>
    new Map(
      tensors.map(({ name, shape, flat, offset }) => {
        const read = async (start: number, end: number): Promise<Uint8Array> => {
          const shardElements = flats[flat]! / worldSize;
          const first = offset + start;
          const last = offset + end;
          let whole: Buffer | null = null;
          for (let at = first; at < last; ) {
            const rank = Math.floor(at / shardElements);
            const shardStart = rank * shardElements;
            const stop = Math.min(last, shardStart + shardElements);
            const entry = await flatIn(rank, prefix, flat);
            const part = await readShard(rank, () =>
              readTensorBytes(entry, at - shardStart, stop - shardStart),
            );
            if (stop - at === last - first) return part;
            whole ??= Buffer.allocUnsafeSlow((last - first) * F32_BYTES);
            whole.set(part, (at - first) * F32_BYTES);
            at = stop;
          }
          return whole ?? new Uint8Array();
        };
        return [prefix + name, { name: prefix + name, dtype: 'F32', shape, file: folder, read }];
      }),
    );

  return {
    weights: saved(''),
    moments: new Map(kinds.slice(1).flatMap(prefix => [...saved(prefix)])),
    async checkAll() {
      for (let rank = 0; rank < worldSize; rank++) {
        for (const prefix of kinds) for (const flat of Object.keys(flats)) await flatIn(rank, prefix, flat);
      }
    },
  };
}

async function openShard(
  folder: string,
  rank: number,
  worldSize: number,
  step: number,
): Promise<ReadonlyMap<string, TensorEntry>> {
  const file = join(folder, shardFileName(rank, worldSize));
  if (await exists(file, CheckpointError)) {
    const { entries, metadata } = await readShard(rank, () => readSafetensorsHeader(file));
    const wrong = Object.entries(shardMetadata(rank, step)).find(([key, value]) => metadata[key] !== value);
    if (wrong === undefined) return entries;
    const [key, value] = wrong;
    throw new CheckpointError(
      `It should be the shard of ${key} ${value}, but says that it is that of ${key} ${metadata[key]}.`,
      { file, hint: 'The files are not of one checkpoint, or were mixed up when they were copied.' },
    );
  }
  throw new CheckpointError(`The shard of rank ${rank} of ${worldSize} is missing.`, {
    file,
    hint:
      'Hosts without a shared file system have one each: copy the shards of all hosts into one folder, or resume on as ' +
      'many ranks as wrote them.',
  });
}

/** Says of a damaged file whose it is. */
async function readShard<T>(rank: number, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (!(cause instanceof ModelError)) throw cause;
    throw new CheckpointError(`The shard of rank ${rank} cannot be read: ${cause.message}`, { cause });
  }
}
